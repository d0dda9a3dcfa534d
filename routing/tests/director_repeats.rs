//! What was shown is not shown again: each way in which a seam would have to go back behind the last picture sent, and what is
//! done so that it need not.

use std::time::{Duration, Instant};

use seamline_routing::coverage::Coverage;
use seamline_routing::director::{Action, Director, Event, Failure, Head, LegId, Verdict};
use seamline_routing::health::HealthState;
use seamline_routing::plan::{CopyFacts, Direction, Request};
use seamline_routing::policy::{Failback, Policy};
use seamline_routing::time::{TimeRange, Timestamp};

const START: Timestamp = Timestamp::from_micros(1_767_323_040_000_000);
/// Pictures of both copies are this far apart, ms.
const STEP: usize = 40;

fn at(ms: i64) -> Timestamp {
    START.shift(ms * 1000)
}

fn recorded(from_ms: i64, until_ms: i64) -> Coverage {
    let all = TimeRange::new(Timestamp::MIN, Timestamp::MAX).expect("MIN is before MAX");
    let held = TimeRange::new(at(from_ms), at(until_ms)).expect("in order");
    Coverage::new(all, [held], START, false)
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

fn key(ms: i64) -> Head {
    Head {
        random_access: true,
        ..picture(ms)
    }
}

/// Two copies, the first the better one's.
struct Scene {
    director: Director,
    copies: [Coverage; 2],
    health: [HealthState; 2],
    now: Instant,
}

impl Scene {
    fn new(copies: [Coverage; 2]) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an origin for the test's own clock; nothing waits for it"
        )]
        let now = Instant::now();
        let policy = Policy {
            failback: Failback::After(Duration::ZERO),
            min_gap: Duration::ZERO,
            ..Policy::default()
        };
        Self {
            director: Director::new(policy),
            copies,
            health: [HealthState::Up; 2],
            now,
        }
    }

    fn tell(&mut self, event: Event) {
        let facts = |ix: usize| CopyFacts {
            coverage: &self.copies[ix],
            health: self.health[ix],
            healthy_for: Some(Duration::from_secs(600)),
            lists: true,
            barred: false,
        };
        self.director.handle(event, &[facts(0), facts(1)], self.now);
    }

    fn play(&mut self) {
        self.tell(Event::Play(Request {
            at: START,
            until: None,
            direction: Direction::Forward,
        }));
    }

    fn show_first(&mut self, leg: LegId, ms: i64) {
        self.tell(Event::LegOpened {
            leg,
            first: at(ms),
            wall: at(86_400_000),
        });
    }

    fn send(&mut self, leg: LegId, from_ms: i64, to_ms: i64) {
        for ms in (from_ms..=to_ms).step_by(STEP) {
            assert_eq!(
                self.director.judge(leg, &picture(ms)),
                Verdict::Send,
                "{ms} ms"
            );
            self.director.sent(leg, &picture(ms));
        }
    }

    /// Whether a client in no hurry waits before the picture that comes next.
    fn holds_back(&mut self) -> bool {
        let next = Head {
            capture: self.director.position(),
            ..picture(0)
        };
        self.director.holds_back(&next, self.now)
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        if self
            .director
            .deadline(self.now)
            .is_some_and(|at| at <= self.now)
        {
            self.tell(Event::Tick);
        }
    }

    /// The leg that the director asks for since it was last looked at.
    fn opened(&mut self) -> Option<(LegId, usize)> {
        let actions: Vec<Action> = std::iter::from_fn(|| self.director.poll_action()).collect();
        actions.iter().find_map(|action| match action {
            Action::Open { leg, copy, .. } => Some((*leg, copy.index())),
            _ => None,
        })
    }
}

#[test]
fn preroll_waits_for_the_picture_that_it_is_for() {
    let mut scene = Scene::new([recorded(0, 60_000), recorded(0, 60_000)]);
    scene.play();
    let (first, _) = scene.opened().expect("the first copy plays");
    scene.show_first(first, 0);
    scene.send(first, 0, 4_960);
    scene.tell(Event::LegFailed {
        leg: first,
        failure: Failure::Lost,
        newest: Some(at(4_960)),
    });
    let (second, copy) = scene.opened().expect("the other copy follows");
    assert_eq!(copy, 1);
    scene.show_first(second, 4_800);
    scene.tell(Event::Drained { leg: first });
    assert_eq!(scene.director.judge(second, &key(4_800)), Verdict::Preroll);
    let serves = |newest_ms| scene.director.preroll_serves(second, Some(at(newest_ms)));
    assert!(
        !serves(4_800) && !serves(4_960),
        "it would show nothing new"
    );
    assert!(serves(5_000));
}

/// The second copy plays; the first was lost and is back.
fn with_the_better_one_back() -> (Scene, LegId, LegId) {
    let mut scene = Scene::new([recorded(0, 60_000), recorded(0, 60_000)]);
    scene.health[0] = HealthState::Down;
    scene.play();
    let (playing, copy) = scene.opened().expect("the copy in reach plays");
    assert_eq!(copy, 1);
    scene.show_first(playing, 0);
    scene.send(playing, 0, 960);
    scene.health[0] = HealthState::Up;
    scene.tell(Event::FactsChanged);
    let (better, copy) = scene.opened().expect("a return to the better copy");
    assert_eq!(copy, 0);
    (scene, playing, better)
}

#[test]
fn a_better_copy_is_returned_to_only_once_it_is_steady() {
    let (mut scene, playing, better) = with_the_better_one_back();
    scene.show_first(better, 2_960);
    assert!(!scene.director.incoming_drops(better, &key(3_000), false));
    assert_eq!(
        scene.director.judge(playing, &picture(3_000)),
        Verdict::Jump,
        "only what is missing before it is in the way"
    );
    assert!(!scene.holds_back());
    scene.send(playing, 1_000, 2_960);
    assert!(scene.holds_back(), "who is in no hurry waits for it here");
    scene.send(playing, 3_000, 3_000);
    // Not steady while its first point passed: its next one will do.
    assert!(scene.director.incoming_drops(better, &key(3_000), false));
    assert!(scene.director.incoming_drops(better, &picture(3_040), true));
    assert!(!scene.director.incoming_drops(better, &key(3_400), true));
    scene.send(playing, 3_040, 3_360);
    assert_eq!(
        scene.director.judge(playing, &picture(3_400)),
        Verdict::Handover
    );
    scene.tell(Event::Drained { leg: playing });
    assert_eq!(scene.director.judge(better, &key(3_400)), Verdict::Send);
}

#[test]
fn a_better_copy_that_falls_silent_at_once_is_not_returned_to() {
    let (mut scene, playing, better) = with_the_better_one_back();
    scene.show_first(better, 2_960);
    assert!(!scene.director.incoming_drops(better, &key(2_960), false));
    scene.tell(Event::Stalled {
        leg: better,
        newest: Some(at(3_000)),
    });
    assert!(scene.opened().is_none(), "not again at once");
    scene.send(playing, 1_000, 8_000);
    assert_eq!(scene.director.source(), Some(playing));
}

#[test]
fn a_jump_is_filled_though_a_better_copy_is_awaited() {
    let (mut scene, playing, better) = with_the_better_one_back();
    scene.show_first(better, 2_960);
    assert!(!scene.director.incoming_drops(better, &key(2_960), false));
    scene.tell(Event::JumpAhead {
        leg: playing,
        from: at(1_960),
        to: at(9_000),
    });
    let (_, copy) = scene
        .opened()
        .expect("the jump is filled before it is reached");
    assert_eq!(copy, 0);
    assert!(scene.holds_back());
}

#[test]
fn a_better_copy_takes_over_where_it_was_asked_for_and_not_before() {
    let (mut scene, playing, better) = with_the_better_one_back();
    // Asked for at 2.98 s; what it holds before that may be a stretch that it does not play to its end.
    scene.show_first(better, 2_400);
    assert!(!scene.director.incoming_drops(better, &key(2_400), true));
    scene.send(playing, 1_000, 2_400);
    assert!(scene.director.incoming_drops(better, &key(2_400), true));
    assert!(!scene.director.incoming_drops(better, &key(3_000), true));
    scene.send(playing, 2_440, 2_960);
    assert_eq!(
        scene.director.judge(playing, &picture(3_000)),
        Verdict::Handover
    );
}

#[test]
fn the_end_of_a_leg_is_held_back_while_nobody_can_be_asked() {
    let mut scene = Scene::new([recorded(0, 60_000), recorded(0, 5_000)]);
    scene.play();
    let (first, _) = scene.opened().expect("the better copy plays");
    scene.tell(Event::LegFailed {
        leg: first,
        failure: Failure::Lost,
        newest: None,
    });
    let (second, _) = scene.opened().expect("the other one plays instead");
    scene.show_first(second, 0);
    scene.send(second, 0, 3_000);
    assert!(!scene.holds_back());
    scene.tell(Event::LegEnded {
        leg: second,
        newest: Some(at(4_960)),
    });
    assert!(scene.holds_back(), "the better copy is barred");
    scene.pass(600);
    let (again, copy) = scene.opened().expect("it is asked again when the bar ends");
    assert_eq!(copy, 0);
    assert!(scene.holds_back(), "until it has answered");
    scene.show_first(again, 4_800);
    assert!(!scene.holds_back());
    scene.send(second, 3_040, 4_760);
    assert_eq!(
        scene.director.judge(second, &picture(4_800)),
        Verdict::Handover
    );
}

#[test]
fn what_is_held_back_is_given_out_in_the_end() {
    let mut scene = Scene::new([recorded(0, 60_000), recorded(0, 5_000)]);
    scene.health[0] = HealthState::Down;
    scene.play();
    let (playing, _) = scene.opened().expect("the copy in reach plays");
    scene.show_first(playing, 0);
    scene.send(playing, 0, 3_000);
    scene.tell(Event::LegEnded {
        leg: playing,
        newest: Some(at(4_960)),
    });
    scene.pass(29_000);
    assert!(scene.holds_back());
    scene.pass(1_001);
    assert!(!scene.holds_back());
    scene.send(playing, 3_040, 4_960);
    scene.tell(Event::Drained { leg: playing });
    assert!(
        scene.director.ended(),
        "the wait is over, and not begun again"
    );
}

#[test]
fn a_jump_is_not_reached_while_who_fills_it_can_be_asked_soon() {
    let mut scene = Scene::new([recorded(0, 60_000), recorded(0, 60_000)]);
    scene.play();
    let (first, _) = scene.opened().expect("the better copy plays");
    scene.tell(Event::LegFailed {
        leg: first,
        failure: Failure::Lost,
        newest: None,
    });
    let (second, _) = scene.opened().expect("the other one plays instead");
    scene.show_first(second, 0);
    scene.send(second, 0, 3_000);
    scene.tell(Event::JumpAhead {
        leg: second,
        from: at(4_960),
        to: at(9_000),
    });
    assert!(scene.holds_back());
    scene.pass(600);
    let (again, copy) = scene.opened().expect("it is asked when the bar ends");
    assert_eq!(copy, 0);
    scene.show_first(again, 4_800);
    assert!(!scene.holds_back());
}
