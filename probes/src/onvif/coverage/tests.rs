//! The algorithm in scenes, and against a model that looks at one instant at a time.

use proptest::prelude::*;
use seamline_routing::Held;

use super::*;
use crate::testing::{at, span};

/// Not a whole second, as of a recorder that tells fractions.
fn fine(seconds: i64) -> Timestamp {
    at(seconds).shift(1_000)
}

fn edge(seconds: i64, present: bool) -> Edge {
    edge_of("VIDEO", fine(seconds), present)
}

fn edge_of(track: &str, at: Timestamp, present: bool) -> Edge {
    Edge {
        track: track.to_owned(),
        at,
        present,
        start_state: false,
    }
}

fn start_state(present: bool) -> Edge {
    Edge {
        start_state: true,
        ..edge_of("VIDEO", fine(0), present)
    }
}

fn track(token: &str, is_video: bool) -> Track {
    Track {
        token: token.to_owned(),
        is_video,
        ..Track::default()
    }
}

/// The past, from 0 to 100.
fn past() -> Asked {
    Asked {
        window: TimeRange::new(fine(0), fine(100)).unwrap(),
        to_the_present: false,
        now: fine(1_000),
        learned: at(5_000),
    }
}

/// From 0 to now, which is 100.
fn present() -> Asked {
    Asked {
        to_the_present: true,
        now: fine(100),
        ..past()
    }
}

fn recorded(status: Status, from: i64, to: i64) -> Information {
    Information {
        earliest: Some(fine(from)),
        latest: Some(fine(to)),
        status,
        ..Information::default()
    }
}

fn told(edges: Vec<Edge>, information: &Information, asked: Asked) -> Coverage {
    of_edges(edges, true, information, asked, true).coverage
}

fn held(coverage: &Coverage, seconds: i64) -> char {
    match coverage.held(fine(seconds).shift(250_000)) {
        Held::Recorded { .. } => 'R',
        Held::Gap { .. } => '-',
        Held::Unknown { .. } => '?',
    }
}

/// One letter for each second from 0 to 100 in steps of ten.
fn drawn(coverage: &Coverage) -> String {
    (0..10).map(|ten| held(coverage, ten * 10 + 5)).collect()
}

#[test]
fn changes_are_periods() {
    let nothing = Information::default();
    for (edges, expected) in [
        (
            vec![edge(20, true), edge(50, false), edge(80, true)],
            "--RRR---RR",
        ),
        // Ends without having begun: it had begun before.
        (
            vec![edge(30, false), edge(60, true), edge(70, false)],
            "RRR---R---",
        ),
        (
            vec![start_state(true), edge(30, false), edge(60, true)],
            "RRR---RRRR",
        ),
        (vec![start_state(false)], "----------"),
        (vec![start_state(true)], "RRRRRRRRRR"),
        // A beginning that comes twice: the first counts.
        (
            vec![edge(20, true), edge(40, true), edge(60, false)],
            "--RRRR----",
        ),
        // An end that comes twice: what began between them was lost.
        (
            vec![edge(20, true), edge(40, false), edge(70, false)],
            "--RR???---",
        ),
        // Nobody told anything.
        (vec![], "??????????"),
    ] {
        let coverage = told(edges.clone(), &nothing, past());
        assert_eq!(drawn(&coverage), expected, "{edges:?}");
        assert!(!coverage.growing());
        assert_eq!(held(&coverage, 110), '?');
        assert_eq!(held(&coverage, -10), '?');
        // Latest first, as of a device that searches backwards.
        let mut backwards = edges.clone();
        backwards.reverse();
        let reversed = told(backwards, &nothing, past());
        assert_eq!(reversed, coverage, "{edges:?}");
    }
}

#[test]
fn an_end_and_a_beginning_at_one_instant_are_a_border_between_files() {
    let nothing = Information::default();
    for (edges, expected) in [
        (
            vec![
                edge(10, true),
                edge(40, false),
                edge(40, true),
                edge(70, false),
            ],
            "-RRRRRR---",
        ),
        (
            vec![
                edge(10, true),
                edge(40, true),
                edge(40, false),
                edge(70, false),
            ],
            "-RRRRRR---",
        ),
        // Nothing lasts no time.
        (
            vec![
                start_state(false),
                edge(40, true),
                edge(40, false),
                edge(70, true),
            ],
            "-------RRR",
        ),
        (
            vec![
                start_state(false),
                edge(40, false),
                edge(40, true),
                edge(70, false),
            ],
            "----RRR---",
        ),
        // What is told twice is told once.
        (
            vec![
                edge(10, true),
                edge(10, true),
                edge(40, false),
                edge(40, false),
            ],
            "-RRR------",
        ),
    ] {
        assert_eq!(
            drawn(&told(edges.clone(), &nothing, past())),
            expected,
            "{edges:?}"
        );
    }
}

#[test]
fn start_states_may_have_odd_times_and_everything_may_be_called_one() {
    let early = Edge {
        at: fine(-500),
        ..start_state(true)
    };
    let coverage = told(
        vec![early, edge(50, false), edge(70, true)],
        &Information::default(),
        past(),
    );
    assert_eq!(drawn(&coverage), "RRRRR--RRR");
    let all: Vec<_> = [edge(20, true), edge(50, false), edge(80, true)]
        .into_iter()
        .map(|edge| Edge {
            start_state: true,
            ..edge
        })
        .collect();
    assert_eq!(
        drawn(&told(all, &Information::default(), past())),
        "--RRR---RR"
    );
}

#[test]
fn only_pictures_count_and_any_of_their_tracks_will_do() {
    let mut information = Information {
        tracks: vec![track("V1", true), track("V2", true), track("A1", false)],
        ..Information::default()
    };
    let edges = || {
        vec![
            edge_of("A1", fine(0), true),
            edge_of("V1", fine(10), true),
            edge_of("V2", fine(20), true),
            edge_of("V1", fine(30), false),
            edge_of("V2", fine(50), false),
            edge_of("V1", fine(70), true),
            edge_of("A1", fine(90), false),
        ]
    };
    assert_eq!(drawn(&told(edges(), &information, past())), "-RRRR--RRR");
    // The events call the tracks otherwise than the list does.
    information.tracks = vec![track("VIDEO001", true)];
    assert_eq!(drawn(&told(edges(), &information, past())), "RRRRRRRRRR");
}

#[test]
fn tracks_without_end_hide_none_that_is_listed() {
    let information = Information {
        tracks: vec![track("VIDEO", true)],
        ..Information::default()
    };
    let own = [edge(20, true), edge(40, false), edge(60, true)];
    let alone = drawn(&told(own.to_vec(), &information, past()));
    assert_eq!(alone, "--RR--RRRR");
    // They come before it by name.
    let others = (0..10_000).map(|nth| edge_of(&format!("A{nth:05}"), fine(50), nth % 2 == 0));
    let edges = others.chain(own).collect();
    assert_eq!(drawn(&told(edges, &information, past())), alone);
}

#[test]
fn two_events_are_made_up_until_a_gap_was_seen() {
    let synthetic = || vec![edge(0, true), edge(100, false)];
    let information = recorded(Status::Stopped, 10, 90);
    let asked = Asked {
        window: TimeRange::new(fine(-50), fine(150)).unwrap(),
        ..past()
    };
    let unsure = of_edges(synthetic(), true, &information, asked, false);
    assert!(!unsure.shows_gaps);
    assert_eq!(drawn(&unsure.coverage), "??????????");
    // The earlier beginning and the later end of both.
    assert_eq!(
        (held(&unsure.coverage, -5), held(&unsure.coverage, 95)),
        ('-', '?')
    );
    let sure = of_edges(synthetic(), true, &information, asked, true);
    assert_eq!(drawn(&sure.coverage), "-RRRRRRRRR");
    let gap = vec![edge(0, true), edge(40, false), edge(60, true)];
    let shown = of_edges(gap, true, &Information::default(), past(), false);
    assert!(shown.shows_gaps);
    assert_eq!(drawn(&shown.coverage), "RRRR--RRRR");
    // A start state is no event.
    let quiet = of_edges(
        vec![start_state(true)],
        true,
        &Information::default(),
        past(),
        false,
    );
    assert_eq!(drawn(&quiet.coverage), "??????????");
}

#[test]
fn what_was_deleted_is_a_gap_though_its_history_remains() {
    let information = recorded(Status::Unknown, 35, 100);
    let edges = vec![
        edge(0, true),
        edge(20, false),
        edge(25, true),
        edge(60, false),
    ];
    let coverage = told(edges, &information, past());
    assert_eq!(drawn(&coverage), "---RRR----");
    assert_eq!(held(&coverage, -1_000), '-');
    // Bounds that cannot be are none.
    let nonsense = recorded(Status::Stopped, 80, 20);
    let coverage = told(vec![edge(10, true), edge(50, false)], &nonsense, past());
    assert_eq!(drawn(&coverage), "-RRRR-----");
}

#[test]
fn the_end_is_open_while_something_is_written() {
    let open = || vec![edge(10, true), edge(30, false), edge(50, true)];
    let coverage = told(open(), &recorded(Status::Recording, 10, 90), present());
    assert!(coverage.growing());
    assert_eq!(coverage.last(), Some(fine(90)));
    assert_eq!(drawn(&coverage), "-RR--RRRRR");
    assert_eq!(held(&coverage, 500), 'R');
    // A bound that is told late does not take away what an event tells.
    let late = told(open(), &recorded(Status::Recording, 10, 40), present());
    assert!(late.growing());
    assert_eq!(held(&late, 55), 'R');
    // The device tells nothing but events.
    let bare = told(open(), &Information::default(), present());
    assert!(bare.growing());
    assert_eq!(
        bare.last(),
        Some(fine(70)),
        "what may not be written yet is not counted"
    );
    // It has stopped, and never said so: a crash.
    let crashed = told(open(), &recorded(Status::Stopped, 10, 70), present());
    assert!(!crashed.growing());
    assert_eq!(drawn(&crashed), "-RR--RR---");
    assert_eq!(held(&crashed, 500), '-');
    // Nobody knows whether it still writes.
    let asked = Asked {
        window: TimeRange::new(fine(0), fine(1_000)).unwrap(),
        now: fine(1_000),
        ..present()
    };
    let stale = told(open(), &recorded(Status::Unknown, 10, 70), asked);
    assert!(!stale.growing());
    assert_eq!((held(&stale, 65), held(&stale, 75)), ('R', '?'));
    // It ended, and nothing was written since.
    let ended = told(
        vec![edge(10, true), edge(30, false)],
        &Information::default(),
        present(),
    );
    assert!(!ended.growing());
    assert_eq!((held(&ended, 50), held(&ended, 5_000)), ('-', '-'));
}

#[test]
fn a_search_that_was_not_read_to_its_end_says_nothing_about_the_rest() {
    let edges = vec![
        edge(10, true),
        edge(30, false),
        edge(50, true),
        edge(60, false),
    ];
    let part = of_edges(edges, false, &Information::default(), present(), true);
    assert_eq!(drawn(&part.coverage), "-RR--R????");
    assert!(!part.coverage.growing());
    let mixed = vec![edge(60, false), edge(10, true), edge(70, true)];
    let part = of_edges(mixed, false, &Information::default(), present(), true);
    assert_eq!(drawn(&part.coverage), "??????????");
    let nothing = of_edges(
        vec![],
        false,
        &recorded(Status::Stopped, 20, 80),
        present(),
        true,
    );
    assert_eq!(drawn(&nothing.coverage), "--??????--");
}

#[test]
fn segments_are_periods_without_the_holes_between_files() {
    let segment = |from: i64, to: i64| Segment {
        range: span(from, to),
    };
    let segments = [
        segment(60, 80),
        segment(10, 30),
        segment(31, 40),
        segment(40, 50),
    ];
    let asked = Asked {
        window: span(0, 100),
        now: at(100),
        ..present()
    };
    let nothing = Information::default();
    let coverage = of_segments(&segments, at(100), &nothing, asked);
    assert_eq!(coverage.periods(), [span(10, 50), span(60, 80)]);
    // Twenty seconds old: it may go on.
    assert!(coverage.growing());
    let coverage = of_segments(
        &segments,
        at(100),
        &recorded(Status::Stopped, 10, 80),
        asked,
    );
    assert!(!coverage.growing());
    assert!(matches!(coverage.held(at(55)), Held::Gap { .. }));
    assert!(matches!(coverage.held(at(9_000)), Held::Gap { .. }));
    // Only the first pages were read.
    let part = of_segments(&segments, at(80), &nothing, asked);
    assert!(!part.growing());
    assert!(matches!(part.held(at(90)), Held::Unknown { .. }));
}

#[test]
fn bounds_alone_prove_what_lies_outside_of_them() {
    let coverage = of_bounds(&recorded(Status::Stopped, 20, 60), present(), None);
    assert_eq!(drawn(&coverage), "--????----");
    let coverage = of_bounds(&recorded(Status::Recording, 20, 60), present(), None);
    assert_eq!(drawn(&coverage), "--????????");
    assert_eq!(
        of_bounds(&Information::default(), present(), None).windows(),
        []
    );
    assert_eq!(
        of_bounds(&recorded(Status::Stopped, 60, 20), present(), None).windows(),
        []
    );
}

/// The same by looking at one instant: at the last thing said before it and at the first one after it.
fn modelled(edges: &[Edge], seconds: i64) -> char {
    let instant = fine(seconds).shift(250_000);
    if instant < fine(0) || instant >= fine(100) {
        return '?';
    }
    let before = edges
        .iter()
        .filter(|edge| edge.at <= instant)
        .max_by_key(|edge| edge.at);
    let after = edges
        .iter()
        .filter(|edge| edge.at > instant)
        .min_by_key(|edge| edge.at);
    match (
        before.map(|edge| edge.present),
        after.map(|edge| edge.present),
    ) {
        (Some(true), _) | (None, Some(false)) => 'R',
        (Some(false), Some(false)) | (None, None) => '?',
        (Some(false), _) | (None, Some(true)) => '-',
    }
}

/// Changes at different seconds, of any order and sense, after a start state or none.
fn histories() -> impl Strategy<Value = Vec<Edge>> {
    let changes = proptest::collection::btree_map(1..100_i64, any::<bool>(), 0..30);
    (changes, proptest::option::of(any::<bool>())).prop_map(|(changes, first)| {
        let first = first.map(start_state);
        let changes = changes.into_iter().map(|(at, present)| edge(at, present));
        first.into_iter().chain(changes).collect()
    })
}

/// What really was, second by second, and a list of its edges with a start state: as a device without fault tells it.
fn truths() -> impl Strategy<Value = (Vec<bool>, Vec<Edge>)> {
    proptest::collection::vec(any::<bool>(), 100).prop_map(|truth| {
        let mut edges = vec![start_state(truth[0])];
        for second in 1..100 {
            if truth[second] != truth[second - 1] {
                edges.push(edge(second as i64, truth[second]));
            }
        }
        (truth, edges)
    })
}

proptest! {
    #[test]
    fn the_algorithm_says_what_the_model_says(edges in histories(), shuffle in any::<prop::sample::Index>()) {
        let mut given = edges.clone();
        if !given.is_empty() {
            let pivot = shuffle.index(given.len());
            given.rotate_left(pivot);
        }
        let coverage = told(given, &Information::default(), past());
        for second in -2..102 {
            prop_assert_eq!(held(&coverage, second), modelled(&edges, second), "{}", second);
        }
    }

    #[test]
    fn what_is_told_without_fault_is_known_exactly((truth, edges) in truths()) {
        let coverage = told(edges, &Information::default(), past());
        for (second, recorded) in truth.iter().enumerate() {
            prop_assert_eq!(held(&coverage, second as i64), if *recorded { 'R' } else { '-' });
        }
    }

    #[test]
    fn a_lost_beginning_makes_no_gap((truth, edges) in truths(), lost in any::<prop::sample::Index>()) {
        let beginnings: Vec<_> = edges.iter().filter(|edge| edge.present && !edge.start_state).cloned().collect();
        prop_assume!(!beginnings.is_empty());
        let lost = beginnings[lost.index(beginnings.len())].clone();
        // The last beginning has no end that would tell of it.
        prop_assume!(edges.iter().any(|edge| !edge.present && edge.at > lost.at));
        let edges: Vec<_> = edges.into_iter().filter(|edge| *edge != lost).collect();
        let coverage = told(edges, &Information::default(), past());
        for (second, recorded) in truth.iter().enumerate() {
            prop_assert!(!(*recorded && held(&coverage, second as i64) == '-'), "{}", second);
        }
    }

    #[test]
    fn two_tracks_hold_what_either_holds(one in histories(), other in histories()) {
        let mut edges = one.clone();
        edges.extend(other.iter().map(|edge| Edge { track: "SECOND".to_owned(), ..edge.clone() }));
        let coverage = told(edges, &Information::default(), past());
        for second in 0..100 {
            let expected = match (one.is_empty(), other.is_empty()) {
                (true, true) => '?',
                (true, false) => modelled(&other, second),
                (false, true) => modelled(&one, second),
                (false, false) => match (modelled(&one, second), modelled(&other, second)) {
                    ('R', _) | (_, 'R') => 'R',
                    ('-', '-') => '-',
                    _ => '?',
                },
            };
            prop_assert_eq!(held(&coverage, second), expected, "{}", second);
        }
    }
}
