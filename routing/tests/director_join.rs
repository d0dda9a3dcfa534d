//! Joins that are finer than a group of pictures: one stream at two sites, reordered and gradually refreshed pictures.

use std::time::{Duration, Instant};

use seamline_routing::coverage::Coverage;
use seamline_routing::director::{Action, Director, Event, Failure, Head, LegId, Verdict};
use seamline_routing::health::HealthState;
use seamline_routing::plan::{CopyFacts, Direction, Request};
use seamline_routing::policy::Policy;
use seamline_routing::time::{TimeRange, Timestamp};

const START: Timestamp = Timestamp::from_micros(1_767_323_040_000_000);

fn at(ms: i64) -> Timestamp {
    START.shift(ms * 1000)
}

fn recorded(until_ms: i64) -> Coverage {
    let all = TimeRange::new(Timestamp::MIN, Timestamp::MAX).expect("MIN is before MAX");
    Coverage::new(all, TimeRange::new(START, at(until_ms)), START, false)
}

fn facts(coverage: &Coverage) -> CopyFacts<'_> {
    CopyFacts {
        coverage,
        health: HealthState::Up,
        healthy_for: Some(Duration::from_secs(600)),
        lists: true,
        barred: false,
    }
}

fn picture(ms: i64) -> Head {
    Head {
        capture: at(ms),
        master: true,
        random_access: false,
        leading: false,
        shown_early: false,
    }
}

fn origin() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "an origin for the test's own clock; nothing waits for it"
    )]
    Instant::now()
}

/// A first copy that ends at nine seconds and is played up to `played_ms`; a second that holds more, and whose leg is ready
/// with a picture of `first_ms`.
struct Scene {
    director: Director,
    first: LegId,
    second: LegId,
    copies: [Coverage; 2],
    now: Instant,
}

impl Scene {
    fn new(played_ms: i64, first_ms: i64, fails: bool) -> Self {
        let (now, copies) = (origin(), [recorded(9_000), recorded(60_000)]);
        let mut director = Director::new(Policy::default());
        let request = Request {
            at: START,
            until: None,
            direction: Direction::Forward,
        };
        let known = [facts(&copies[0]), facts(&copies[1])];
        director.handle(Event::Play(request), &known, now);
        let first = opened(&mut director);
        let mut scene = Self {
            director,
            first,
            second: first,
            copies,
            now,
        };
        scene.show_first(first, 0);
        for ms in (0..=played_ms).step_by(40) {
            scene.director.sent(scene.first, &picture(ms));
        }
        if fails {
            scene.tell(Event::LegFailed {
                leg: scene.first,
                failure: Failure::Lost,
                newest: Some(at(played_ms)),
            });
        } else {
            scene.tell(Event::Tick);
        }
        scene.second = opened(&mut scene.director);
        scene.show_first(scene.second, first_ms);
        scene
    }

    fn tell(&mut self, event: Event) {
        let facts = [facts(&self.copies[0]), facts(&self.copies[1])];
        self.director.handle(event, &facts, self.now);
    }

    fn show_first(&mut self, leg: LegId, ms: i64) {
        self.tell(Event::LegOpened {
            leg,
            first: at(ms),
            step: None,
            wall: at(86_400_000),
        });
    }

    fn of_first(&self, ms: i64) -> Verdict {
        self.director.judge(self.first, &picture(ms))
    }

    fn of_second(&self, head: Head) -> Verdict {
        self.director.judge(self.second, &head)
    }
}

/// The leg that the director asks for.
fn opened(director: &mut Director) -> LegId {
    let actions: Vec<Action> = std::iter::from_fn(|| director.poll_action()).collect();
    let opened = actions.iter().find_map(|action| match action {
        Action::Open { leg, .. } => Some(*leg),
        _ => None,
    });
    opened.unwrap_or_else(|| panic!("{actions:?}"))
}

#[test]
fn a_leg_of_the_same_stream_repeats_nothing() {
    for joined in [false, true] {
        let mut scene = Scene::new(1_960, 0, true);
        let leg = scene.first;
        scene.tell(Event::Drained { leg });
        assert_eq!(scene.director.source(), Some(scene.second));
        if joined {
            scene.director.goes_on_exactly(scene.second, 0);
        }
        // In decoding order a picture shown before the last one sent may come first.
        let early = scene.of_second(picture(1_920));
        assert_eq!(
            early,
            if joined {
                Verdict::Send
            } else {
                Verdict::Preroll
            }
        );
        assert_eq!(scene.of_second(picture(2_000)), Verdict::Send);
    }
}

#[test]
fn a_leg_of_the_same_stream_on_another_clock_is_set_right() {
    // Its clock is a second ahead: what it calls 1.0 s is the start.
    let mut scene = Scene::new(1_960, 1_000, true);
    let leg = scene.first;
    scene.tell(Event::Drained { leg });
    scene.director.goes_on_exactly(scene.second, 1_000_000);
    assert_eq!(scene.of_second(picture(2_000)), Verdict::Send);
    let sound = Head {
        master: false,
        ..picture(1_990)
    };
    assert_eq!(scene.of_second(sound), Verdict::Send);
    let heard = Head {
        master: false,
        ..picture(1_900)
    };
    assert_eq!(scene.of_second(heard), Verdict::Drop);
}

#[test]
fn a_picture_that_others_need_moves_the_seam_behind_it() {
    let mut scene = Scene::new(7_960, 8_000, false);
    assert_eq!(scene.of_first(8_000), Verdict::Handover);
    // Pictures of 7.96 s and before refer to that of 8.08 s, which is therefore sent.
    scene.director.keep_until(at(8_080));
    assert_eq!(scene.of_first(8_080), Verdict::Send);
    scene.director.sent(scene.first, &picture(8_080));
    assert_eq!(scene.of_first(8_000), Verdict::Send);
    assert_eq!(scene.of_first(8_120), Verdict::Handover);
}

#[test]
fn a_gradual_refresh_is_played_through_before_it_takes_over() {
    let mut scene = Scene::new(8_000, 8_040, false);
    assert_eq!(scene.of_first(8_040), Verdict::Handover);
    scene.director.settles_after(scene.second, 12);
    assert_eq!(scene.of_first(8_480), Verdict::Send);
    assert_eq!(scene.of_first(8_560), Verdict::Handover);
    // Not beyond the end of what plays.
    scene.director.settles_after(scene.second, 500);
    assert_eq!(scene.of_first(8_560), Verdict::Handover);
}

#[test]
fn leading_pictures_that_decode_are_not_shown_twice() {
    let mut scene = Scene::new(7_960, 8_000, false);
    let leg = scene.first;
    scene.tell(Event::Drained { leg });
    assert_eq!(scene.director.source(), Some(scene.second));
    let leading = Head {
        shown_early: true,
        ..picture(7_920)
    };
    assert_eq!(scene.of_second(leading), Verdict::Drop);
    assert_eq!(scene.of_second(picture(8_000)), Verdict::Send);
}
