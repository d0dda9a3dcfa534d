//! One story at a time: what each rule of failover is for. The rules that always hold are checked in each of them too.

use std::ops::Range;
use std::time::Duration;

use seamline_routing::director::End;
use seamline_routing::plan::{Direction, Request};
use seamline_routing::policy::{Failback, Holes, Policy};
use seamline_routing::time::Timestamp;

use super::facts::{Listing, tail_listing};
use super::footage::{Footage, Scene};
use super::ledger::Figures;
use super::recorder::{Recorder, Trouble, UntilRule};
use super::script::START;
use super::world::{Client, CopySpec, World};
use super::{MILLI, Micros, SECOND};

/// A minute at 25 pictures a second.
const SCENE: Scene = Scene {
    start: START,
    interval_us: 40_000,
    pictures: 1_500,
};
const DAY: Micros = 86_400 * SECOND;
const NO_GAP: Range<i64> = 0..0;
const FOR_GOOD: Micros = 10_000 * SECOND;

/// A copy of all of the scene but a gap, at a recorder that is honest and quick.
fn copy(phase: i64, gap: Range<i64>) -> CopySpec {
    let mut footage = Footage::whole(SCENE, 25, phase);
    footage.cut(gap);
    let recorder = Recorder {
        footage,
        latency: 50 * MILLI,
        pace: MILLI,
        stops_at_gaps: false,
        until_rule: UntilRule::Before,
        misfit: false,
        troubles: Vec::new(),
        age: DAY,
    };
    CopySpec {
        listing: Listing::honest(tail_listing(&recorder, 0)),
        recorder,
    }
}

fn troubled(mut copy: CopySpec, troubles: &[(Range<Micros>, Trouble)]) -> CopySpec {
    copy.recorder.troubles = troubles.to_vec();
    copy
}

/// The recorder says that it holds all of the scene.
fn boasting(mut copy: CopySpec) -> CopySpec {
    copy.listing = self::copy(0, NO_GAP).listing;
    copy
}

/// All of the scene is played, as it happened.
fn world(copies: Vec<CopySpec>) -> World {
    World {
        seed: 0,
        scene: SCENE,
        copies,
        policy: Policy::default(),
        pacing: Some(1.0),
        lookahead: 4 * SECOND,
        age: DAY,
        client: vec![(0, Client::Play(request(START, None)))],
    }
}

fn request(at: Timestamp, until: Option<Timestamp>) -> Request {
    Request {
        at,
        until,
        direction: Direction::Forward,
    }
}

fn with_failback(failback: Failback, copies: Vec<CopySpec>) -> World {
    let mut world = world(copies);
    world.policy.failback = failback;
    world
}

fn play(world: &World) -> Figures {
    match world.run(true) {
        Ok(figures) => figures,
        Err((rule, trace)) => panic!("{rule}\n{trace}"),
    }
}

fn copies_played(figures: &Figures) -> Vec<u8> {
    figures.seams.iter().map(|seam| seam.copy.0).collect()
}

fn assert_whole(figures: &Figures) {
    assert_eq!(figures.pictures, (0..SCENE.pictures).collect::<Vec<_>>());
}

#[test]
fn a_planned_seam_is_free() {
    let figures = play(&world(vec![copy(0, 500..1_500), copy(7, NO_GAP)]));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1]);
    assert_eq!(figures.preroll, 0);
    assert!(figures.silence_max <= SCENE.interval_us);
}

#[test]
fn a_loss_within_the_look_ahead_needs_no_preroll_and_no_wait() {
    let killed = [(10 * SECOND..FOR_GOOD, Trouble::Killed)];
    let figures = play(&world(vec![
        troubled(copy(0, NO_GAP), &killed),
        copy(7, NO_GAP),
    ]));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1]);
    assert_eq!(figures.preroll, 0);
    assert!(figures.silence_max <= SCENE.interval_us);
}

#[test]
fn a_loss_without_look_ahead_loses_nothing_by_preroll() {
    let killed = [(10 * SECOND..FOR_GOOD, Trouble::Killed)];
    let mut primary = troubled(copy(0, NO_GAP), &killed);
    primary.recorder.pace = SCENE.interval_us;
    let figures = play(&world(vec![primary, copy(7, NO_GAP)]));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1]);
    assert!((1..=25).contains(&figures.preroll));
    assert!(figures.silence_max <= 150 * MILLI);
}

#[test]
fn a_stall_is_hedged_and_recovers_without_a_switch() {
    let frozen = [(10 * SECOND..12 * SECOND, Trouble::Frozen)];
    let figures = play(&world(vec![
        troubled(copy(0, NO_GAP), &frozen),
        copy(7, NO_GAP),
    ]));

    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0]);
    assert_eq!(figures.opens, 2);
}

#[test]
fn a_stall_that_lasts_is_left() {
    let frozen = [(10 * SECOND..FOR_GOOD, Trouble::Frozen)];
    let mut primary = troubled(copy(0, NO_GAP), &frozen);
    for pace in [MILLI, SCENE.interval_us] {
        primary.recorder.pace = pace;
        let figures = play(&world(vec![primary.clone(), copy(7, NO_GAP)]));
        assert_whole(&figures);
        assert_eq!(copies_played(&figures), [0, 1]);
        assert!(figures.silence_max <= SECOND);
    }
}

#[test]
fn wrong_footage_is_never_delivered() {
    for trouble in [
        Trouble::WrongBy(-3_600 * SECOND),
        Trouble::WrongBy(3_600 * SECOND),
        Trouble::Live,
    ] {
        let wrong = [(0..FOR_GOOD, trouble)];
        let figures = play(&world(vec![
            troubled(copy(0, NO_GAP), &wrong),
            copy(7, NO_GAP),
        ]));
        assert_whole(&figures);
        assert_eq!(figures.seams[0].copy.0, 1);
    }
}

#[test]
fn a_late_start_is_filled_by_the_other_copy_which_gives_way_again() {
    let late = boasting(copy(0, 0..500));
    let figures = play(&world(vec![late, copy(7, NO_GAP)]));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [1, 0]);
    assert_eq!(figures.preroll, 0);
}

#[test]
fn a_jump_is_filled_by_the_other_copy() {
    for stops_at_gaps in [false, true] {
        let mut primary = boasting(copy(0, 500..700));
        primary.recorder.stops_at_gaps = stops_at_gaps;
        let figures = play(&world(vec![primary, copy(7, NO_GAP)]));
        assert_whole(&figures);
        // Where the primary goes on is found out only by asking: the secondary may have to be asked twice meanwhile.
        let mut copies = copies_played(&figures);
        copies.dedup();
        assert_eq!(copies, [0, 1, 0]);
    }
}

#[test]
fn flapping_is_bounded() {
    let flapping: Vec<_> = (0..30)
        .map(|ix| {
            (
                ix * 2 * SECOND + SECOND..(ix + 1) * 2 * SECOND,
                Trouble::Killed,
            )
        })
        .collect();
    let figures = play(&with_failback(
        Failback::After(Duration::ZERO),
        vec![troubled(copy(0, NO_GAP), &flapping), copy(7, NO_GAP)],
    ));
    assert_whole(&figures);
    assert!(
        figures.seams.len() <= 1 + 6,
        "{} seams",
        figures.seams.len()
    );
}

#[test]
fn three_sites_stand_in_for_each_other() {
    let figures = play(&world(vec![
        troubled(copy(0, NO_GAP), &[(5 * SECOND..FOR_GOOD, Trouble::Killed)]),
        troubled(
            copy(7, NO_GAP),
            &[(15 * SECOND..FOR_GOOD, Trouble::Vanished)],
        ),
        copy(11, NO_GAP),
    ]));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1, 2]);
}

#[test]
fn an_outage_of_all_is_waited_for() {
    let figures = play(&world(vec![
        troubled(copy(0, NO_GAP), &[(10 * SECOND..FOR_GOOD, Trouble::Killed)]),
        troubled(
            copy(7, NO_GAP),
            &[(10 * SECOND..25 * SECOND, Trouble::Killed)],
        ),
    ]));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1]);
    assert!(figures.waits > 0);
    assert_eq!(figures.ends, [End::Footage]);
}

#[test]
fn an_outage_of_all_for_good_ends_the_playback() {
    for trouble in [Trouble::Killed, Trouble::Vanished, Trouble::Frozen] {
        let lost = [(10 * SECOND..FOR_GOOD, trouble)];
        let figures = play(&world(vec![
            troubled(copy(0, NO_GAP), &lost),
            troubled(copy(7, NO_GAP), &lost),
        ]));
        assert_eq!(figures.ends, [End::Outage], "{trouble:?}");
    }
}

#[test]
fn a_range_ends_before_the_picture_taken_at_its_end() {
    for (micros, pictures) in [(0, 500), (1, 501), (-1, 500)] {
        let until = SCENE.capture(500).shift(micros);
        for until_rule in [UntilRule::Before, UntilRule::Including, UntilRule::Ignored] {
            let mut primary = copy(0, NO_GAP);
            primary.recorder.until_rule = until_rule;
            let mut world = world(vec![primary]);
            world.client = vec![(0, Client::Play(request(START, Some(until))))];
            let figures = play(&world);
            assert_eq!(figures.pictures, (0..pictures).collect::<Vec<_>>());
            assert_eq!(figures.ends, [End::Range]);
        }
    }
}

#[test]
fn failback_never_stays() {
    let killed = [(5 * SECOND..6 * SECOND, Trouble::Killed)];
    let figures = play(&with_failback(
        Failback::Never,
        vec![troubled(copy(0, NO_GAP), &killed), copy(7, NO_GAP)],
    ));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1]);
}

#[test]
fn failback_after_returns_in_mid_period() {
    let killed = [(5 * SECOND..6 * SECOND, Trouble::Killed)];
    let figures = play(&with_failback(
        Failback::After(Duration::from_secs(5)),
        vec![troubled(copy(0, NO_GAP), &killed), copy(7, NO_GAP)],
    ));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1, 0]);
    assert_eq!(figures.preroll, 0);
    let back = figures.seams[2].at;
    assert!(
        back > START.shift(10 * SECOND) && back < START.shift(25 * SECOND),
        "{back}"
    );
}

#[test]
fn failback_at_seam_returns_where_a_gap_ends() {
    let killed = [(5 * SECOND..6 * SECOND, Trouble::Killed)];
    let figures = play(&with_failback(
        Failback::AtSeam,
        vec![troubled(copy(0, 1_000..1_050), &killed), copy(7, NO_GAP)],
    ));
    assert_whole(&figures);
    assert_eq!(copies_played(&figures), [0, 1, 0]);
    assert_eq!(figures.seams[2].at, SCENE.capture(1_050));
}

#[test]
fn holes_are_skipped_waited_out_or_the_end() {
    let gap = 500..750;
    for (holes, pictures, silence) in [
        (Holes::Skip, 1_250, 0..SECOND),
        (Holes::Wait, 1_250, 9 * SECOND..12 * SECOND),
        (Holes::End, 500, 0..SECOND),
    ] {
        let mut world = world(vec![copy(0, gap.clone()), copy(7, gap.clone())]);
        world.policy.holes = holes;
        let figures = play(&world);
        assert_eq!(figures.pictures.len(), pictures, "{holes:?}");
        assert!(
            silence.contains(&figures.silence_max),
            "{holes:?}: {}",
            figures.silence_max
        );
        let end = if holes == Holes::End {
            End::Hole
        } else {
            End::Footage
        };
        assert_eq!(figures.ends, [end]);
    }
}

#[test]
fn a_hole_that_no_copy_lists_ends_playback_too() {
    let mut world = world(vec![
        boasting(copy(0, 700..900)),
        boasting(copy(7, 650..950)),
    ]);
    world.policy.holes = Holes::End;
    let figures = play(&world);
    assert_eq!(figures.pictures, (0..700).collect::<Vec<_>>());
    assert_eq!(figures.ends, [End::Hole]);
}

#[test]
fn reverse_play_crosses_seams_too() {
    let killed = [(30 * SECOND..FOR_GOOD, Trouble::Killed)];
    let mut world = world(vec![
        troubled(copy(0, 1_000..1_200), &killed),
        copy(7, NO_GAP),
    ]);
    world.client = vec![(
        0,
        Client::Play(Request {
            at: SCENE.capture(SCENE.pictures),
            until: None,
            direction: Direction::Reverse,
        }),
    )];
    let figures = play(&world);
    assert_eq!(
        figures.pictures,
        (0..SCENE.pictures).rev().collect::<Vec<_>>()
    );
    assert_eq!(copies_played(&figures), [0, 1, 0, 1]);
}

#[test]
fn a_seek_and_a_pause_lose_nothing() {
    let mut world = world(vec![copy(0, 700..900), copy(7, NO_GAP)]);
    world.client = vec![
        (0, Client::Play(request(START, None))),
        (5 * SECOND, Client::Pause),
        (50 * SECOND, Client::Resume),
        (55 * SECOND, Client::Play(request(SCENE.capture(600), None))),
    ];
    let figures = play(&world);
    assert_eq!(figures.pictures, (600..SCENE.pictures).collect::<Vec<_>>());
    assert_eq!(figures.preroll, 0);
}

/// Whatever the cadence, how much is missing and where between two pictures the play begins.
#[test]
fn a_late_start_loses_nothing_that_the_other_copy_holds() {
    for interval_us in [10_000, 20_000, 40_000, 66_667, 100_000, 200_000] {
        for missing in 0..12 {
            for (between, paced) in [(0, false), (0, true), (5, false), (7, true)] {
                let scene = Scene {
                    interval_us,
                    pictures: 300,
                    ..SCENE
                };
                let recorder = |phase, gap| {
                    let mut copy = copy(phase, NO_GAP);
                    copy.recorder.footage = Footage::whole(scene, 25, phase);
                    copy.recorder.footage.cut(gap);
                    if paced {
                        copy.recorder.pace = interval_us;
                    }
                    copy.listing.lists = false;
                    copy.listing.answers.clear();
                    copy
                };
                // Asked before a picture by some tenths of the frame interval: that one is the first that is owed.
                let first = 100;
                let at = scene.capture(first).shift(-between * interval_us / 10);
                let mut world = world(vec![recorder(0, 0..first + missing), recorder(7, NO_GAP)]);
                world.scene = scene;
                world.policy.min_gap = Duration::ZERO;
                world.client = vec![(0, Client::Play(request(at, None)))];
                let figures = play(&world);
                let owed = figures.pictures.iter().filter(|picture| **picture >= first);
                assert_eq!(
                    owed.copied().collect::<Vec<_>>(),
                    (first..scene.pictures).collect::<Vec<_>>(),
                    "{interval_us} us, {missing} missing, {between} tenths before, paced: {paced}"
                );
            }
        }
    }
}

#[test]
fn a_late_start_that_nobody_fills_is_taken() {
    let lone = |pictures: Range<i64>| {
        let mut copy = copy(0, 0..pictures.start);
        copy.recorder.footage.cut(pictures.end..SCENE.pictures);
        copy.listing.lists = false;
        copy.listing.answers.clear();
        copy
    };
    for pictures in [102..103, 102..104, 101..110, 102..SCENE.pictures] {
        let mut world = world(vec![lone(pictures.clone())]);
        world.policy.min_gap = Duration::ZERO;
        world.client = vec![(0, Client::Play(request(SCENE.capture(100), None)))];
        let figures = play(&world);
        assert_eq!(figures.pictures, pictures.collect::<Vec<_>>());
    }
}
