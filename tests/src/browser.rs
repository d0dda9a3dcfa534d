//! What a browser showed, held against what was recorded: in order, each picture at its time, and nobody waited.

use std::time::Duration;

use crate::{
    clock::{FRAME_MS, iso},
    player::Player,
    program::Picture,
};

/// What a browser may show late and still be called fluent.
pub const STALL_MAX: Duration = Duration::from_millis(500);

/// Panics unless a browser showed all of it in order, each picture at its time, and nobody waited.
pub fn assert_fluent(player: &Player, from: i64, until: i64) {
    assert_fluent_pictures(&player.pictures, from, until);
    assert_eq!(player.errors, [""; 0]);
}

/// As [`assert_fluent`], of some of its pictures.
pub fn assert_fluent_pictures(pictures: &[Picture], from: i64, until: i64) {
    let clock = |at: usize| {
        pictures[at]
            .clock_ms
            .unwrap_or_else(|| panic!("picture {at} has no clock"))
    };
    // The picture that a decoder begins with may flash up.
    let first = usize::from(clock(0) < from);
    let axis = |at: usize| clock(at) - pictures[at].pts_ms.unwrap_or(f64::NAN).round() as i64;
    let mut offsets: Vec<i64> = (first..pictures.len()).map(axis).collect();
    let (_, usual, _) = offsets.select_nth_unstable(pictures.len().saturating_sub(first) / 2);
    let usual = *usual;
    let (mut stall, mut shown, mut early) = (Duration::ZERO, 1, 0);
    for at in first + 1..pictures.len() {
        let step = clock(at) - clock(at - 1);
        assert!(step >= 0, "back by {step} ms at {}", iso(clock(at)));
        shown += usize::from(step > 0);
        // What was not presented was there: the next picture came at its own time. A canvas that is read late has the next one.
        let off = axis(at) - usual;
        early += usize::from((off - FRAME_MS).abs() <= 1);
        assert!(
            off.abs() <= 1 || (off - FRAME_MS).abs() <= 1,
            "{} was shown {off} ms off",
            iso(clock(at)),
        );
        let wait = pictures[at]
            .arrival_ns
            .saturating_sub(pictures[at - 1].arrival_ns);
        stall = stall.max(Duration::from_nanos(wait));
    }
    let whole = ((until - from) / FRAME_MS) as usize;
    println!(
        "{shown} of {whole} pictures presented, longest stall {} ms",
        stall.as_millis()
    );
    assert!(
        clock(first) - from <= 5 * FRAME_MS,
        "begins at {}",
        iso(clock(first))
    );
    assert!(
        until - clock(pictures.len() - 1) <= 5 * FRAME_MS,
        "ends at {}",
        iso(clock(pictures.len() - 1))
    );
    assert!(early * 50 <= whole, "{early} pictures were read late");
    assert!(shown * 10 >= whole * 7, "{shown} of {whole} pictures");
    assert!(stall < STALL_MAX, "nothing moved for {stall:?}");
}
