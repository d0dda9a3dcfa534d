//! Random scripts: what may go wrong, drawn from a seed.

use std::ops::Range;
use std::time::Duration;

use seamline_routing::coverage::Coverage;
use seamline_routing::plan::{Direction, Request};
use seamline_routing::policy::{Failback, Flap, Holes, Policy, Reaction};
use seamline_routing::time::{TimeRange, Timestamp};

use super::facts::{Listing, tail_listing};
use super::footage::{Footage, Scene};
use super::recorder::{Recorder, Trouble, UntilRule};
use super::rng::Rng;
use super::world::{Client, CopySpec, World};
use super::{MILLI, Micros, SECOND};

/// 2026-01-02T03:04:00Z.
pub(super) const START: Timestamp = Timestamp::from_micros(1_767_323_040_000_000);

/// The script of a seed.
pub(crate) fn random_world(seed: u64) -> World {
    let mut rng = Rng::new(seed);
    let interval_us = rng.pick(&[40_000, 66_667, 100_000, 200_000]);
    let seconds = rng.within(8..60);
    let scene = Scene {
        start: START,
        interval_us,
        pictures: seconds * SECOND / interval_us,
    };
    let growing = rng.percent(10);
    let direction = if !growing && rng.percent(20) {
        Direction::Reverse
    } else {
        Direction::Forward
    };
    let length = scene.pictures * interval_us;
    let age = if growing {
        length * rng.within(30..90) / 100
    } else {
        86_400 * SECOND
    };
    let pacing = match rng.within(0..4) {
        _ if growing => Some(1.0),
        0 => None,
        1 => Some(4.0),
        _ => Some(1.0),
    };
    let copies = match rng.within(0..10) {
        0 => 1,
        1 | 2 => 3,
        _ => 2,
    };
    let paced_all = rng.percent(25) && pacing == Some(1.0);
    let horizon = length + 20 * SECOND;
    let calm = rng.percent(15);
    let copies = (0..copies)
        .map(|_| copy(&mut rng, scene, age, growing, paced_all, calm, horizon))
        .collect();
    let policy = policy(&mut rng);
    let request = request(&mut rng, scene, direction, growing);
    let mut client = vec![(0, Client::Play(request))];
    let mut at = 0;
    while rng.percent(25) && client.len() < 6 {
        at += rng.within(MILLI..length / 2);
        if rng.percent(50) {
            let direction = if rng.percent(30) && !growing {
                Direction::Reverse
            } else {
                Direction::Forward
            };
            client.push((
                at,
                Client::Play(self::request(&mut rng, scene, direction, growing)),
            ));
        } else {
            client.push((at, Client::Pause));
            at += rng.within(MILLI..20 * SECOND);
            client.push((at, Client::Resume));
        }
    }
    World {
        seed,
        scene,
        copies,
        policy,
        pacing,
        lookahead: if paced_all {
            4 * SECOND
        } else {
            rng.pick(&[SECOND, 4 * SECOND, 4 * SECOND])
        },
        age,
        client,
    }
}

fn request(rng: &mut Rng, scene: Scene, direction: Direction, growing: bool) -> Request {
    let length = scene.pictures * scene.interval_us;
    let early = scene.start.shift(rng.within(-2 * SECOND..length / 3));
    let late = scene
        .start
        .shift(rng.within(length / 2..length + 2 * SECOND));
    let bounded = growing || rng.percent(50);
    let (at, until) = match direction {
        Direction::Forward => (early, late),
        Direction::Reverse => (late, early),
    };
    Request {
        at,
        until: bounded.then_some(until),
        direction,
    }
}

fn policy(rng: &mut Rng) -> Policy {
    Policy {
        failback: rng.pick(&[
            Failback::Never,
            Failback::AtSeam,
            Failback::After(Duration::ZERO),
            Failback::After(Duration::from_secs(3)),
            Failback::After(Duration::from_secs(30)),
        ]),
        holes: rng.pick(&[
            Holes::Skip,
            Holes::Skip,
            Holes::Skip,
            Holes::Wait,
            Holes::End,
        ]),
        outage_wait: Duration::from_secs(rng.pick(&[5, 30])),
        flap: Flap {
            switches_max: rng.pick(&[2, 6]),
            window: Duration::from_secs(60),
        },
        reaction: Reaction::default(),
        ..Policy::default()
    }
}

fn copy(
    rng: &mut Rng,
    scene: Scene,
    age: Micros,
    growing: bool,
    paced: bool,
    calm: bool,
    horizon: Micros,
) -> CopySpec {
    let per_second = (SECOND / scene.interval_us).max(1);
    let group = rng.pick(&[
        per_second / 2 + 1,
        per_second,
        2 * per_second,
        5 * per_second,
    ]);
    let mut footage = Footage::whole(scene, group, rng.within(0..group));
    footage.skew_us = if rng.percent(40) {
        // Within the first steps of a play the interval is not known: no more than fits the shortest guess.
        let skew_max = (scene.interval_us / 6).min(9 * MILLI);
        rng.within(-skew_max..skew_max)
    } else {
        0
    };
    let written = if growing {
        age / scene.interval_us
    } else {
        scene.pictures
    };
    for _ in 0..rng.pick(&[0, 0, 1, 1, 2, 4]) {
        let gap = stretch(rng, written, written / 3 + 2);
        footage.cut(gap);
    }
    if rng.percent(15) {
        footage
            .dropped
            .push(stretch(rng, written, (per_second / 3).max(2)));
    }
    let recorder = Recorder {
        footage,
        latency: rng.pick(&[5, 30, 100, 100, 300, 800]) * MILLI + rng.within(0..5 * MILLI),
        pace: if paced {
            scene.interval_us
        } else {
            (scene.interval_us / rng.within(10..40)).max(MILLI)
        },
        stops_at_gaps: rng.percent(30),
        until_rule: rng.pick(&[UntilRule::Before, UntilRule::Including, UntilRule::Ignored]),
        misfit: rng.percent(2),
        troubles: if calm {
            Vec::new()
        } else {
            troubles(rng, horizon, growing)
        },
        age,
    };
    let listing = listing(rng, &recorder, growing);
    CopySpec { recorder, listing }
}

fn stretch(rng: &mut Rng, pictures: i64, length_max: i64) -> Range<i64> {
    let start = rng.within(0..pictures.max(1));
    start..(start + rng.within(1..length_max.max(2)))
}

fn troubles(rng: &mut Rng, horizon: Micros, growing: bool) -> Vec<(Range<Micros>, Trouble)> {
    if rng.percent(8) {
        // Up and down every second.
        let from = rng.within(0..horizon / 2);
        let trouble = rng.pick(&[Trouble::Killed, Trouble::Frozen]);
        return (0..20)
            .map(|ix| {
                let start = from + ix * 2 * SECOND;
                (start..start + SECOND, trouble)
            })
            .collect();
    }
    let mut at = 0;
    let mut troubles = Vec::new();
    for _ in 0..rng.pick(&[0, 0, 1, 1, 2, 3, 5]) {
        let trouble = rng.pick(&[
            Trouble::Killed,
            Trouble::Killed,
            Trouble::Stopped,
            Trouble::Vanished,
            Trouble::Frozen,
            Trouble::Frozen,
            Trouble::Hangs,
            Trouble::WrongBy(-3_600 * SECOND),
            Trouble::WrongBy(-60 * SECOND),
            // At the growing end live video is late footage.
            if growing {
                Trouble::Busy
            } else {
                Trouble::Live
            },
            Trouble::Credentials,
            Trouble::Busy,
        ]);
        let start = at + rng.within(0..horizon / 2);
        let end = start + rng.pick(&[SECOND / 5, SECOND, 4 * SECOND, 15 * SECOND, 600 * SECOND]);
        troubles.push((start..end, trouble));
        at = end;
    }
    troubles
}

fn listing(rng: &mut Rng, recorder: &Recorder, growing: bool) -> Listing {
    let honest = tail_listing(recorder, 0);
    let mut listing = Listing::honest(honest.clone());
    listing.watch_every = rng.pick(&[SECOND / 2, SECOND, 3 * SECOND]);
    listing.learns = rng.percent(80);
    listing.refresh = growing.then_some(2 * SECOND);
    if growing {
        return listing;
    }
    match rng.within(0..20) {
        // Cannot list.
        0..3 => {
            listing.lists = false;
            listing.answers.clear();
        }
        // Not asked yet.
        3 | 4 => listing.answers = vec![(rng.within(0..20 * SECOND), honest)],
        // Known only so far.
        5 | 6 => {
            let scene = recorder.footage.scene;
            let known = rng.within(1..scene.pictures.max(2));
            let window = TimeRange::new(Timestamp::MIN, scene.capture(known));
            let stale = window.map(|window| honest.clip(window));
            listing.answers = vec![
                (0, stale.unwrap_or_else(Coverage::unknown)),
                (rng.within(0..60 * SECOND), honest),
            ];
        }
        // Lists what it does not hold, or not what it holds.
        7..10 => {
            let scene = recorder.footage.scene;
            let mut said = recorder.footage.clone();
            let lie = stretch(rng, scene.pictures, scene.pictures / 3 + 2);
            if rng.percent(60) {
                let whole = said.sections.first().map_or(0, |first| first.start)
                    ..said.sections.last().map_or(0, |last| last.end);
                said.sections = Vec::from([whole]);
                said.sections.retain(|section| !section.is_empty());
            } else {
                said.cut(lie);
            }
            let said = Recorder {
                footage: said,
                ..recorder.clone()
            };
            listing.answers = vec![(0, tail_listing(&said, 0))];
        }
        _ => {}
    }
    listing
}
