//! How far is read ahead, by what waits where.

use super::*;
use crate::clock;

const MS: Duration = Duration::from_millis(1);
const DEPTHS: Depths = Depths {
    full: Duration::from_secs(4),
    safe: Duration::from_millis(2_500),
    take_over: Some(Duration::from_millis(1_500)),
    near: Duration::from_millis(400),
    unlisted: Duration::from_secs(1),
    bytes_max: 4 << 20,
};

fn stock(span: Duration) -> Stock {
    Stock {
        span,
        bytes: 1,
        units: 9,
        lags: false,
    }
}

/// A leg of 4 Mbit/s, calm, and what is in the kernel.
fn calm(backlog: usize) -> Ahead {
    let mut ahead = Ahead::new(Demand::Paced, DEPTHS, clock::now());
    ahead.listed = true;
    for _ in 0..50 {
        ahead.count(20_000, Some(40_000));
    }
    assert_eq!(
        ahead.note_backlog(Some(backlog), clock::now()),
        Some(50_000)
    );
    ahead.calm = true;
    ahead
}

/// The least footage that is enough.
fn depth(ahead: &Ahead) -> Duration {
    let all = (0..9_000).map(|ms| MS * ms);
    all.into_iter()
        .find(|span| !ahead.is_short(stock(*span)))
        .expect("a bound")
}

#[test]
fn what_waits_in_the_kernel_need_not_wait_here() {
    for (backlog, expected) in [
        (0, 4_000),
        (100_000, 4_000),
        (500_000, 1_500),
        (1_000_000, 500),
        (2_000_000, 400),
    ] {
        assert_eq!(depth(&calm(backlog)), MS * expected, "{backlog} bytes");
    }
}

#[test]
fn the_kernel_has_room_for_what_is_to_wait_there() {
    let alone = Depths {
        safe: Duration::from_secs(1),
        take_over: None,
        ..DEPTHS
    };
    for (depths, rate, expected) in [
        (alone, 0, UNREAD_BYTES_MIN),
        (alone, 50_000, UNREAD_BYTES_MIN),
        (alone, 187_500, 375_000),
        (alone, 500_000, UNREAD_BYTES_MAX),
        (DEPTHS, 50_000, 250_000),
        (DEPTHS, u32::MAX, UNREAD_BYTES_MAX),
    ] {
        assert_eq!(depths.unread(rate), expected, "{rate} bytes a second");
    }
}

#[test]
fn where_nobody_could_take_over_what_is_safe_is_all_that_is_here_of_a_recorder_that_gives_nothing_ahead()
 {
    let mut ahead = calm(0);
    ahead.depths.take_over = None;
    ahead.note_backlog(Some(0), clock::now());
    assert_eq!(depth(&ahead), DEPTHS.safe);
    ahead.calm = false;
    assert_eq!(depth(&ahead), DEPTHS.full);
}

#[test]
fn what_a_recorder_sends_at_its_own_pace_goes_on_as_it_comes() {
    let interval = MS * 40;
    let alone = Stock {
        units: 1,
        ..stock(interval)
    };
    let mut ahead = calm(0);
    assert_eq!(ahead.early(alone, interval, true), interval / 2);
    let more = stock(MS * 400);
    assert_eq!(
        ahead.early(more, interval, true),
        Duration::ZERO,
        "sent ahead"
    );
    ahead.calm = false;
    assert_eq!(
        ahead.early(alone, interval, true),
        Duration::ZERO,
        "an end is near"
    );
    ahead.calm = true;
    for backlog in [Some(500_000), None] {
        ahead.note_backlog(backlog, clock::now());
        assert_eq!(ahead.early(alone, interval, true), Duration::ZERO);
    }
    let mut new = Ahead::new(Demand::Paced, DEPTHS, clock::now());
    new.calm = true;
    assert_eq!(
        new.early(alone, interval, true),
        Duration::ZERO,
        "not known yet"
    );
}

#[test]
fn in_a_crowd_what_was_sent_ahead_goes_two_pictures_at_a_time() {
    let interval = MS * 40;
    let mut ahead = calm(1_000_000);
    let more = stock(MS * 400);
    assert_eq!(ahead.early(more, interval, true), Duration::ZERO, "alone");
    ahead.pairs_within = EARLY_IN_A_CROWD;
    let early = ahead.early(more, interval, true);
    assert!(interval <= early && early < interval * 2, "{early:?}");
    assert_eq!(
        ahead.early(more, interval, false),
        Duration::ZERO,
        "nothing goes now that it could go with"
    );
    let last = Stock { units: 1, ..more };
    assert_eq!(
        ahead.early(last, interval, true),
        Duration::ZERO,
        "what is behind it decides about its flags"
    );
    ahead.calm = false;
    assert_eq!(
        ahead.early(more, interval, true),
        Duration::ZERO,
        "a seam is near"
    );
    let mut clocked = calm(0);
    clocked.pairs_within = EARLY_IN_A_CROWD;
    assert_eq!(
        clocked.early(more, interval, true),
        Duration::ZERO,
        "what little is ahead is for silence"
    );
}

#[test]
fn what_is_not_listed_may_have_a_gap_which_is_seen_early() {
    let mut ahead = calm(2_000_000);
    ahead.listed = false;
    ahead.note_backlog(Some(2_000_000), clock::now());
    assert_eq!(depth(&ahead), DEPTHS.unlisted);
}

#[test]
fn of_a_recorder_that_falls_silent_all_is_taken_while_there_is_some() {
    let mut ahead = calm(1_000_000);
    let mut now = clock::now();
    let mut look = |ahead: &mut Ahead, backlog| {
        now += LOOK_EVERY;
        for _ in 0..5 {
            ahead.count(20_000, Some(40_000));
        }
        ahead.note_backlog(Some(backlog), now);
        depth(ahead)
    };
    for _ in 0..20 {
        assert_eq!(look(&mut ahead, 1_000_000), MS * 500);
    }
    let silent: Vec<Duration> = (1..=5)
        .map(|looks| look(&mut ahead, 1_000_000 - looks * 100_000))
        .collect();
    assert_eq!(silent.last(), Some(&DEPTHS.full), "{silent:?}");
    assert!(look(&mut ahead, 900_000) < MS * 1_000);
}

/// Plays a leg of 25 pictures a second and 4 Mbit/s whose recorder freezes with so much in the kernel; gives back what is at
/// hand when it has been silent for `STALL`.
fn left_when_noticed(backlog_ms: u64, group_ms: u64, freezes_at_ms: u64) -> Duration {
    const STALL: Duration = Duration::from_millis(580);
    const PICTURE: u64 = 40;
    let start = clock::now();
    let mut ahead = Ahead::new(Demand::Paced, DEPTHS, start);
    (ahead.calm, ahead.listed) = (true, true);
    let (mut read_ms, mut came_ms, mut alive) = (0, 0, start);
    for at_ms in (0..60_000).step_by(PICTURE as usize) {
        let now = start + MS * at_ms as u32;
        if at_ms < freezes_at_ms {
            // As much as there is room for.
            came_ms = read_ms + backlog_ms;
        }
        if ahead.looks(now) {
            ahead.note_backlog(Some((came_ms.saturating_sub(read_ms) * 500) as usize), now);
        }
        loop {
            let span = MS * read_ms.saturating_sub(at_ms) as u32;
            let short = ahead.is_short(Stock {
                units: (span.as_millis() as u64 / PICTURE) as usize,
                ..stock(span)
            });
            ahead.settle(short);
            if !short {
                alive = now;
                break;
            }
            if read_ms + PICTURE > came_ms {
                break;
            }
            if read_ms % group_ms == 0 {
                ahead.note_key(Timestamp::from_unix_ms(read_ms as i64));
            }
            ahead.count(20_000, Some(PICTURE as i64 * 1_000));
            read_ms += PICTURE;
            alive = now;
        }
        if now.saturating_duration_since(alive) >= STALL {
            assert!(at_ms >= freezes_at_ms, "silent at {at_ms} ms, {backlog_ms}");
            return MS * read_ms.saturating_sub(at_ms) as u32;
        }
    }
    panic!("it is never noticed");
}

#[test]
fn where_a_recorder_freezes_a_group_of_pictures_is_at_hand_when_that_is_noticed() {
    for group_ms in [400, 1_000, 2_000, 4_000] {
        for backlog_ms in (1_000..12_000).step_by(120) {
            for freezes_at_ms in [20_000, 20_480, 21_120] {
                let left = left_when_noticed(backlog_ms, group_ms, freezes_at_ms);
                // A copy that is asked for what follows begins with the random access point before.
                assert!(
                    left > MS * group_ms as u32,
                    "groups of {group_ms} ms, {backlog_ms} ms in the kernel: {left:?}"
                );
            }
        }
    }
}

#[test]
fn groups_are_kept_as_long_as_they_may_be() {
    let mut ahead = calm(0);
    assert_eq!(ahead.safe(), DEPTHS.safe);
    for (at_ms, safe_ms) in [(0, 2_500), (2_000, 4_000), (4_000, 4_000), (12_000, 8_000)] {
        ahead.note_key(Timestamp::from_unix_ms(at_ms));
        assert_eq!(ahead.safe().as_millis(), safe_ms, "{at_ms} ms");
    }
    // A jump is no group.
    ahead.note_key(Timestamp::from_unix_ms(90_000));
    ahead.note_key(Timestamp::from_unix_ms(90_400));
    assert_eq!(ahead.safe(), DEPTHS.safe);
}

#[test]
fn what_comes_in_steps_is_no_silence() {
    let mut ahead = calm(1_200_000);
    let mut now = clock::now();
    // The kernel takes less than it did at first, and opens its window after every 600 ms of footage.
    for looks in 0..100 {
        now += LOOK_EVERY;
        for _ in 0..5 {
            ahead.count(20_000, Some(40_000));
        }
        ahead.note_backlog(Some(1_000_000 - looks % 3 * 100_000), now);
        assert!(depth(&ahead) < MS * 1_000, "{looks}");
    }
}

#[test]
fn a_client_that_takes_nothing_makes_no_recorder_silent() {
    let mut ahead = calm(1_000_000);
    let start = clock::now();
    for looks in 1..20 {
        ahead.note_backlog(Some(1_000_000), start + LOOK_EVERY * looks);
        assert_eq!(depth(&ahead), MS * 500);
    }
}

#[test]
fn where_something_is_to_be_decided_all_of_it_is_here() {
    let mut ahead = calm(2_000_000);
    ahead.calm = false;
    assert_eq!(depth(&ahead), DEPTHS.full);
}

#[test]
fn a_track_that_lags_is_waited_for() {
    let ahead = calm(2_000_000);
    let lags = |span| Stock {
        lags: true,
        ..stock(span)
    };
    assert!(ahead.is_short(lags(MS * 7_999)));
    assert!(!ahead.is_short(lags(MS * 8_000)));
}

#[test]
fn one_that_was_full_is_filled_again_when_a_part_is_used() {
    let mut ahead = calm(2_000_000);
    ahead.settle(false);
    assert_eq!(depth(&ahead), MS * 350);
    ahead.settle(true);
    assert_eq!(depth(&ahead), MS * 400);
}

#[test]
fn pictures_far_apart_are_two_at_hand() {
    let ahead = calm(2_000_000);
    let one = Stock {
        units: 1,
        ..stock(Duration::ZERO)
    };
    assert!(ahead.is_short(one));
    assert!(ahead.is_short(Stock {
        units: 1,
        ..stock(MS * 900)
    }));
    assert!(!ahead.is_short(Stock {
        units: 2,
        ..stock(MS * 900)
    }));
}

#[test]
fn in_bulk_nothing_is_held_back_where_nobody_could_take_over() {
    let now = clock::now();
    let two = |bytes| Stock {
        units: 2,
        bytes,
        ..stock(MS * 40)
    };
    for (demand, ample) in [(Demand::Bulk, false), (Demand::BulkAlone, true)] {
        let mut ahead = Ahead::new(demand, DEPTHS, now);
        assert_eq!(ahead.is_ample(two(40_000)), ample);
        // The first picture goes out with the next one at hand.
        assert_eq!(ahead.is_short(two(BULK_BYTES_FIRST)), !ample);
        for _ in 0..20 {
            ahead.settle(false);
        }
        assert!(ahead.is_short(two(BULK_BYTES - 1)));
        assert_eq!(ahead.is_short(two(BULK_BYTES)), !ample);
    }
}

#[test]
fn without_a_rate_nothing_is_said() {
    let mut ahead = Ahead::new(Demand::Paced, DEPTHS, clock::now());
    assert_eq!(ahead.note_backlog(Some(1), clock::now()), None);
    ahead.count(5, Some(i64::MAX));
    ahead.count(5, Some(-40_000));
    assert_eq!(ahead.note_backlog(Some(usize::MAX), clock::now()), None);
}

#[test]
fn looks_are_rare() {
    let start = clock::now();
    let mut ahead = Ahead::new(Demand::Paced, DEPTHS, start);
    let looks = (0..1_000)
        .filter(|ms| ahead.looks(start + MS * *ms))
        .count();
    assert_eq!(looks, 4);
}
