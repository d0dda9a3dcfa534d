//! What a browser showed, held against what was recorded: in order, each picture at its time, and nobody waited.

use std::time::Duration;

use crate::{
    clock::{FRAME_MS, iso},
    player::Player,
    program::Picture,
};

/// What a browser may show late and still be called fluent.
pub const STALL_MAX: Duration = Duration::from_millis(500);
/// So many pictures after the one that was presented a canvas may be read.
const READ_LATE_MAX: i64 = 10;
/// So many in a row: what is off for longer was given another time.
const LATE_MAX: usize = 24;
/// Pictures that a busy machine may not present at either end.
const EDGE_MAX: i64 = 12;

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
    let (mut stall, mut starved, mut shown, mut late) = (Duration::ZERO, Duration::ZERO, 1, 0);
    for at in first + 1..pictures.len() {
        let step = clock(at) - clock(at - 1);
        assert!(step >= 0, "back by {step} ms at {}", iso(clock(at)));
        shown += usize::from(step > 0);
        // What was not presented was there: the next picture came at its own time. A canvas that is read late has a later one, now and then.
        let off = axis(at) - usual;
        let pictures_off = (off + FRAME_MS / 2).div_euclid(FRAME_MS);
        late = if pictures_off == 0 { 0 } else { late + 1 };
        assert!(
            (off - pictures_off * FRAME_MS).abs() <= 1
                && (0..=READ_LATE_MAX).contains(&pictures_off)
                && late <= LATE_MAX,
            "{} was shown {off} ms off, {late} in a row",
            iso(clock(at)),
        );
        let wait = pictures[at]
            .arrival_ns
            .saturating_sub(pictures[at - 1].arrival_ns);
        let wait = Duration::from_nanos(wait);
        stall = stall.max(wait);
        // A busy machine shows late what it has; what it has not is the server's.
        let had = pictures[at - 1].ahead_ms.unwrap_or(0.0).max(0.0);
        starved = starved.max(wait.saturating_sub(Duration::from_secs_f64(had / 1000.0)));
    }
    let whole = ((until - from) / FRAME_MS) as usize;
    let counted = |at: usize| pictures[at].decoded.unwrap_or(0);
    let decoded = counted(pictures.len() - 1).saturating_sub(counted(first)) as usize;
    println!(
        "{shown} of {whole} pictures presented, {decoded} decoded behind the first, longest stall {} ms, {} ms without anything to show",
        stall.as_millis(),
        starved.as_millis()
    );
    assert!(
        clock(first) - from <= EDGE_MAX * FRAME_MS,
        "begins at {}",
        iso(clock(first))
    );
    assert!(
        until - clock(pictures.len() - 1) <= EDGE_MAX * FRAME_MS,
        "ends at {}",
        iso(clock(pictures.len() - 1))
    );
    // How many are presented is up to the machine, and what it decodes is what it was given.
    assert!(
        shown * 10 >= whole * 7 || decoded * 10 >= whole * 9,
        "{shown} shown and {decoded} decoded of {whole} pictures"
    );
    assert!(
        starved < STALL_MAX,
        "nothing was there to be shown for {starved:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::noon;

    const UNTIL_S: f64 = 8.0;

    /// Eight seconds as a browser shows them that has a second at hand.
    fn pictures() -> Vec<Picture> {
        let picture = |nth: i64| Picture {
            clock_ms: Some(noon(0.0) + nth * FRAME_MS),
            md5: String::new(),
            capture_ms: None,
            pts_ms: Some((nth * FRAME_MS) as f64),
            arrival_ns: nth as u64 * 40_000_000,
            ahead_ms: Some(1_000.0),
            decoded: Some(nth as u64),
        };
        (0..200).map(picture).collect()
    }

    fn assert_all(pictures: &[Picture]) {
        assert_fluent_pictures(pictures, noon(0.0), noon(UNTIL_S));
    }

    /// Later by so much from the hundredth on.
    fn delayed(ms: u64, ahead_ms: f64) -> Vec<Picture> {
        let mut pictures = pictures();
        pictures[99].ahead_ms = Some(ahead_ms);
        for picture in &mut pictures[100..] {
            picture.arrival_ns += ms * 1_000_000;
        }
        pictures
    }

    #[test]
    fn a_busy_machine_is_not_blamed_on_the_server() {
        assert_all(&pictures());
        // It had what it did not show, it left every other one out, and it read some late.
        assert_all(&delayed(900, 1_000.0));
        let every_other: Vec<_> = pictures().into_iter().step_by(2).collect();
        assert_all(&every_other);
        let mut late = pictures();
        for at in [50, 120] {
            late[at].pts_ms = late[at - 3].pts_ms;
        }
        assert_all(&late);
    }

    #[test]
    #[should_panic(expected = "nothing was there to be shown")]
    fn who_has_nothing_to_show_is_noticed() {
        assert_all(&delayed(900, 300.0));
    }

    #[test]
    #[should_panic(expected = "in a row")]
    fn footage_at_another_time_is_noticed() {
        let mut pictures = pictures();
        for picture in &mut pictures[120..] {
            picture.pts_ms = picture.pts_ms.map(|pts| pts - 40.0);
        }
        assert_all(&pictures);
    }

    #[test]
    #[should_panic(expected = "of 200 pictures")]
    fn a_hole_is_noticed() {
        let mut pictures = pictures();
        pictures.drain(50..130);
        for (nth, picture) in pictures.iter_mut().enumerate() {
            picture.decoded = Some(nth as u64);
        }
        assert_all(&pictures);
    }
}
