//! Segments against a naive model that asks the plan about every instant.

use std::time::Duration;

use proptest::prelude::*;
use seamline_routing::camera::CopyIx;
use seamline_routing::coverage::Coverage;
use seamline_routing::health::HealthState;
use seamline_routing::plan::{CopyFacts, Direction, Request, Step, plan};
use seamline_routing::policy::{Failback, Policy};
use seamline_routing::segments::{
    Closing, Content, GRID, JOINT_MAX, LENGTH_MAX, Opening, SLIVER_MAX, Segment, segments,
};
use seamline_routing::time::{TimeRange, Timestamp};

/// What is modelled lies in 0..LINE tenths of a second after [`BASE_MS`], which is on the grid.
const LINE: i64 = 900;
const BASE_MS: i64 = 1_767_268_800_000;
const TENTH_MS: i64 = 100;

fn at(tenth: i64) -> Timestamp {
    Timestamp::from_unix_ms(BASE_MS + tenth * TENTH_MS)
}

fn range(from: i64, until: i64) -> TimeRange {
    TimeRange::new(at(from), at(until)).expect("the test names ranges that hold something")
}

fn facts(coverage: &Coverage) -> CopyFacts<'_> {
    CopyFacts {
        coverage,
        health: HealthState::Up,
        healthy_for: Some(Duration::from_secs(60)),
        lists: true,
        barred: false,
    }
}

fn cut(window: TimeRange, growing: bool, coverages: &[Coverage], policy: &Policy) -> Vec<Segment> {
    let copies: Vec<_> = coverages.iter().map(facts).collect();
    segments(window, growing, &copies, policy, &[]).collect()
}

fn coverage() -> impl Strategy<Value = Coverage> {
    let period =
        (0..LINE - 1, 1..LINE / 2).prop_map(|(from, long)| range(from, (from + long).min(LINE)));
    let growing = any::<bool>();
    (prop::collection::vec(period, 0..6), growing)
        .prop_map(|(periods, growing)| Coverage::new(range(0, LINE), periods, at(LINE), growing))
}

fn policy() -> impl Strategy<Value = Policy> {
    let failback = prop_oneof![
        Just(Failback::Never),
        Just(Failback::AtSeam),
        Just(Failback::After(Duration::from_secs(30))),
    ];
    (failback, 0..20_u64).prop_map(|(failback, gap)| Policy {
        failback,
        min_gap: Duration::from_millis(gap * 100),
        ..Policy::default()
    })
}

fn window() -> impl Strategy<Value = TimeRange> {
    (0..LINE - 1, 1..LINE).prop_map(|(from, long)| range(from, (from + long).min(LINE)))
}

/// The copy that the plan plays at an instant.
fn planned(steps: &[Step], instant: Timestamp) -> Option<CopyIx> {
    steps.iter().find_map(|step| match *step {
        Step::Leg {
            copy, from, until, ..
        } => (from <= instant && until.is_none_or(|until| instant < until)).then_some(copy),
        _ => None,
    })
}

/// Whether the copy that plays at an instant does so for a moment only, right behind another one.
fn is_sliver(steps: &[Step], instant: Timestamp) -> bool {
    let copy = planned(steps, instant);
    let tenth = |at: Timestamp| at.micros_since(self::at(0)).div_euclid(1_000 * TENTH_MS);
    let begin = (0..=tenth(instant)).rev().map(at);
    let begin = begin.take_while(|at| planned(steps, *at) == copy).last();
    let end = (tenth(instant)..=LINE).map(at);
    let end = end.take_while(|at| planned(steps, *at) == copy).last();
    let (Some(begin), Some(end)) = (begin, end) else {
        return false;
    };
    end.since(begin) + Duration::from_millis(TENTH_MS as u64) < SLIVER_MAX
        && planned(steps, begin.shift(-1)).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_instant_that_is_played_is_in_exactly_one_segment(
        coverages in prop::collection::vec(coverage(), 1..4),
        policy in policy(),
        window in window(),
    ) {
        let copies: Vec<_> = coverages.iter().map(facts).collect();
        let request = Request { at: window.start(), until: Some(window.end()), direction: Direction::Forward };
        let steps = plan(&request, &copies, &policy).steps;
        let cut = cut(window, false, &coverages, &policy);
        let mut instant = window.start();
        while instant < window.end() {
            let holders: Vec<_> = cut.iter().filter(|segment| segment.range.contains(instant)).collect();
            let played = planned(&steps, instant);
            prop_assert!(holders.len() <= 1);
            match holders.first().map(|segment| segment.content) {
                Some(Content::Footage { copy, .. }) => {
                    prop_assert!(played.is_some());
                    prop_assert!(played == Some(copy) || is_sliver(&steps, instant));
                }
                Some(Content::Nothing) | None => prop_assert_eq!(None, played),
            }
            instant = instant + Duration::from_millis(50);
        }
    }

    #[test]
    fn they_follow_each_other_within_their_bounds(
        coverages in prop::collection::vec(coverage(), 1..4),
        policy in policy(),
        window in window(),
    ) {
        let cut = cut(window, false, &coverages, &policy);
        let mut before: Option<Segment> = None;
        for segment in &cut {
            prop_assert!(segment.range.duration() < LENGTH_MAX);
            let Content::Footage { copy, opening, closing } = segment.content else {
                prop_assert!(before.is_some(), "a hole comes first");
                before = Some(*segment);
                continue;
            };
            if closing == Closing::Continues {
                prop_assert_eq!(segment.range.end().as_micros() % GRID.as_micros() as i64, 0);
            }
            let expected = match before.map(|before| before.content) {
                None | Some(Content::Nothing) => Opening::Exact,
                Some(Content::Footage { closing: Closing::Ends, copy: other, .. }) => {
                    prop_assert_ne!(copy, other);
                    let short = before.is_some_and(|before| before.range.duration() < JOINT_MAX);
                    prop_assert!(short, "a leg that could have been handed over");
                    Opening::Exact
                }
                Some(Content::Footage { closing: Closing::Hands { to }, .. }) => {
                    prop_assert_eq!(copy, to);
                    Opening::Joins
                }
                Some(Content::Footage { closing: Closing::Continues, copy: same, .. }) => {
                    prop_assert_eq!(copy, same);
                    Opening::Continues
                }
            };
            // The shifted start lies before the joint.
            if let (Opening::Continues, Closing::Hands { .. }) = (opening, closing) {
                prop_assert!(segment.range.duration() >= GRID + JOINT_MAX);
            }
            prop_assert_eq!(opening, expected);
            if let Some(before) = before {
                prop_assert_eq!(before.range.end(), segment.range.start());
            }
            before = Some(*segment);
        }
        if let Some(last) = before {
            let ends = matches!(last.content, Content::Footage { closing: Closing::Ends, .. });
            prop_assert!(ends, "a hole, or a segment that goes on, comes last");
        }
    }

    /// A border inside a leg is not so close before its end that no random access point could be looked for behind it.
    #[test]
    fn behind_a_border_there_is_room(
        coverages in prop::collection::vec(coverage(), 1..3),
        window in window(),
    ) {
        for segment in cut(window, false, &coverages, &Policy::default()) {
            if let Content::Footage { opening: Opening::Continues, .. } = segment.content {
                prop_assert!(segment.range.duration() >= GRID);
            }
        }
    }

    #[test]
    fn what_grows_only_appends(
        coverages in prop::collection::vec(coverage(), 1..3),
        policy in policy(),
        from in 0..300_i64,
        long in 1..300_i64,
        more in 1..300_i64,
    ) {
        let early = cut(range(from, from + long), true, &coverages, &policy);
        let late = cut(range(from, from + long + more), true, &coverages, &policy);
        prop_assert!(late.starts_with(&early), "{early:?} {late:?}");
    }
}

/// Whatever window is asked for, the pieces inside of a leg are the same ones.
#[test]
fn another_window_names_the_same_pieces() {
    let coverages = [Coverage::new(
        range(0, LINE),
        [range(0, LINE)],
        at(LINE),
        false,
    )];
    let inner = |window| -> Vec<Segment> {
        let inside = |segment: &Segment| {
            matches!(
                segment.content,
                Content::Footage {
                    opening: Opening::Continues,
                    closing: Closing::Continues,
                    ..
                }
            )
        };
        cut(window, false, &coverages, &Policy::default())
            .into_iter()
            .filter(inside)
            .collect()
    };
    let (one, other) = (inner(range(13, 700)), inner(range(101, 800)));
    let shared = |segments: &[Segment]| -> Vec<Segment> {
        segments
            .iter()
            .copied()
            .filter(|segment| segment.range.start() >= at(160) && segment.range.end() <= at(640))
            .collect()
    };
    assert_eq!(shared(&one), shared(&other));
    assert_eq!(shared(&one).len(), 12);
}

#[test]
fn a_seam_and_a_hole() {
    let primary = Coverage::new(range(0, 400), [range(0, 185)], at(LINE), false);
    let secondary = Coverage::new(
        range(0, 400),
        [range(100, 220), range(320, 400)],
        at(LINE),
        false,
    );
    let footage = |from, until, copy, opening, closing| Segment {
        range: range(from, until),
        content: Content::Footage {
            copy: CopyIx(copy),
            opening,
            closing,
        },
    };
    let nothing = |from, until| Segment {
        range: range(from, until),
        content: Content::Nothing,
    };
    let cut = cut(
        range(15, 400),
        false,
        &[primary, secondary],
        &Policy::default(),
    );
    assert_eq!(
        cut,
        [
            footage(15, 40, 0, Opening::Exact, Closing::Continues),
            footage(40, 80, 0, Opening::Continues, Closing::Continues),
            footage(80, 120, 0, Opening::Continues, Closing::Continues),
            footage(
                120,
                185,
                0,
                Opening::Continues,
                Closing::Hands { to: CopyIx(1) }
            ),
            footage(185, 220, 1, Opening::Joins, Closing::Ends),
            nothing(220, 300),
            nothing(300, 320),
            footage(320, 360, 1, Opening::Exact, Closing::Continues),
            footage(360, 400, 1, Opening::Continues, Closing::Ends),
        ]
    );
}

/// Copies that end some milliseconds apart before a hole: what lies between may hold no picture, and is no segment by itself.
#[test]
fn what_is_shorter_than_a_picture_goes_with_the_leg_before_it() {
    let ms = |ms: i64| Timestamp::from_unix_ms(BASE_MS + ms);
    let range = |from, until| TimeRange::new(ms(from), ms(until)).expect("it lasts");
    let holds = |until| {
        Coverage::new(
            range(0, 60_000),
            [range(0, until), range(50_000, 60_000)],
            ms(60_000),
            false,
        )
    };
    let (primary, secondary) = (holds(40_000), holds(40_020));
    let cut = cut(
        range(34_000, 56_000),
        false,
        &[primary, secondary],
        &Policy::default(),
    );
    let pieces: Vec<_> = cut
        .iter()
        .map(|segment| match segment.content {
            Content::Footage { copy, closing, .. } => (segment.range, Some((copy.0, closing))),
            Content::Nothing => (segment.range, None),
        })
        .collect();
    assert_eq!(
        pieces,
        [
            (range(34_000, 36_000), Some((0, Closing::Continues))),
            (range(36_000, 40_020), Some((0, Closing::Ends))),
            (range(40_020, 48_020), None),
            (range(48_020, 50_000), None),
            (range(50_000, 52_000), Some((0, Closing::Continues))),
            (range(52_000, 56_000), Some((0, Closing::Ends))),
        ]
    );
}

/// Where a copy is known to be encoded otherwise, one leg ends and another begins, in the middle of a segment as well.
#[test]
fn another_way_of_coding_begins_a_leg() {
    let coverage = Coverage::new(range(0, 400), [range(0, 400)], at(400), false);
    let copies = [facts(&coverage)];
    let changes = [
        (at(100), CopyIx(0)),
        (at(150), CopyIx(1)),
        (at(400), CopyIx(0)),
    ];
    let policy = Policy::default();
    let cut = segments(range(15, 200), false, &copies, &policy, &changes);
    let cut: Vec<_> = cut
        .map(|segment| match segment.content {
            Content::Footage {
                opening, closing, ..
            } => (segment.range, opening, closing),
            Content::Nothing => panic!("all of it is there"),
        })
        .collect();
    assert_eq!(
        cut,
        [
            (range(15, 40), Opening::Exact, Closing::Continues),
            (range(40, 100), Opening::Continues, Closing::Ends),
            (range(100, 120), Opening::Exact, Closing::Continues),
            (range(120, 160), Opening::Continues, Closing::Continues),
            (range(160, 200), Opening::Continues, Closing::Ends),
        ]
    );
}
