//! What nobody holds is skipped, waited out or the end, however it is met: the director alone decides.

use std::time::Duration;

use seamline_routing::director::{Action, End, Event, Failure, LegId, Verdict};
use seamline_routing::health::HealthState;
use seamline_routing::plan::Direction;
use seamline_routing::policy::{Failback, Holes, Policy};

use crate::scene::{Scene, at, key, picture, recorded};

/// The second copy plays, as the better one holds nothing before 9 s, and turns out to hold nothing from 5 s to 12 s.
fn before_a_hole(holes: Holes) -> (Scene, LegId) {
    let policy = Policy {
        holes,
        failback: Failback::After(Duration::ZERO),
        ..Policy::default()
    };
    let mut scene = Scene::under(policy, [recorded(9_000, 60_000), recorded(0, 60_000)]);
    scene.play();
    let (playing, copy) = scene.opened().expect("the copy that holds the start plays");
    assert_eq!(copy, 1);
    scene.show_first(playing, 0);
    scene.send(playing, 0, 960);
    scene.tell(Event::Tick);
    let (better, copy) = scene.opened().expect("the better copy is prepared");
    assert_eq!(copy, 0);
    scene.show_first(better, 9_000);
    assert!(!scene.director.incoming_drops(better, &key(9_000), true));
    scene.send(playing, 1_000, 4_960);
    assert_eq!(
        scene.director.judge(playing, &picture(12_000)),
        Verdict::Handover
    );
    scene.actions();
    scene.tell(Event::Drained { leg: playing });
    (scene, better)
}

fn has_hole(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Hole(range) if range.end() == at(9_000)))
}

#[test]
fn a_hole_before_the_leg_that_is_ready_is_skipped() {
    let (mut scene, better) = before_a_hole(Holes::Skip);
    assert!(has_hole(&scene.actions()));
    assert_eq!(scene.director.judge(better, &key(9_000)), Verdict::Send);
}

#[test]
fn a_hole_before_the_leg_that_is_ready_is_the_end() {
    let (mut scene, _) = before_a_hole(Holes::End);
    let actions = scene.actions();
    assert!(!has_hole(&actions));
    assert_eq!(actions.last(), Some(&Action::End(End::Hole)));
    assert!(scene.director.ended());
}

#[test]
fn a_hole_before_the_leg_that_is_ready_is_waited_out() {
    let (mut scene, _) = before_a_hole(Holes::Wait);
    let actions = scene.actions();
    assert!(actions.contains(&Action::Wait { at: at(9_000) }));
    scene.pass(3_900);
    assert!(scene.actions().is_empty());
    scene.pass(200);
    let actions = scene.actions();
    assert!(has_hole(&actions));
    assert!(matches!(
        actions.last(),
        Some(Action::Open { from, .. }) if *from == at(9_000)
    ));
}

#[test]
fn the_end_is_sure_where_who_might_hold_more_could_have_said_so() {
    let mut scene = Scene::new([recorded(0, 5_000), recorded(0, 60_000)]);
    for (health, sure) in [
        (HealthState::Up, true),
        (HealthState::Suspect, false),
        (HealthState::Down, false),
    ] {
        scene.health[1] = health;
        assert_eq!(scene.ends_surely_at(6_000), sure, "{health:?}");
        // Whoever is known to hold nothing more need not be asked.
        assert!(scene.ends_surely_at(61_000), "{health:?}");
    }
}

/// The better copy plays and jumps over seven seconds that it lists; the leg of the other one, that is to fill them, fails.
struct Jump {
    scene: Scene,
    playing: LegId,
    direction: Direction,
}

impl Jump {
    fn met(direction: Direction, failure: Failure) -> Self {
        let mut jump = Self::before(direction);
        jump.comes_to();
        let (filler, copy) = jump.scene.opened().expect("the other copy fills the jump");
        assert_eq!(copy, 1);
        jump.fail(filler, failure);
        jump
    }

    fn before(direction: Direction) -> Self {
        let mut scene = Scene::under(
            Policy::default(),
            [recorded(0, 60_000), recorded(0, 60_000)],
        );
        let (start, last) = Self::ends(direction);
        scene.play_from(start, direction);
        let (playing, copy) = scene.opened().expect("the better copy plays");
        assert_eq!(copy, 0);
        match direction {
            Direction::Forward => {
                scene.show_first(playing, start);
                scene.send(playing, start, last);
            }
            Direction::Reverse => {
                scene.show_first(playing, start - 40);
                scene.send_back(playing, start - 40, last);
            }
        }
        Self {
            scene,
            playing,
            direction,
        }
    }

    fn ends(direction: Direction) -> (i64, i64) {
        match direction {
            Direction::Forward => (0, 5_000),
            Direction::Reverse => (40_000, 35_000),
        }
    }

    /// What comes behind the jump.
    fn next(&self) -> i64 {
        let (_, last) = Self::ends(self.direction);
        match self.direction {
            Direction::Forward => last + 7_040,
            Direction::Reverse => last - 7_040,
        }
    }

    fn verdict(&self) -> Verdict {
        let next = key(self.next());
        self.scene.director.judge(self.playing, &next)
    }

    fn comes_to(&mut self) {
        assert_eq!(self.verdict(), Verdict::Jump);
        let (leg, to) = (self.playing, at(self.next()));
        self.scene.tell(Event::Jump { leg, to });
    }

    fn fail(&mut self, leg: LegId, failure: Failure) {
        self.scene.tell(Event::LegFailed {
            leg,
            failure,
            newest: None,
        });
    }
}

const WAYS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

fn is_hole(action: &Action) -> bool {
    matches!(action, Action::Hole(_))
}

#[test]
fn a_jump_that_a_silent_copy_may_fill_is_not_passed_over_before_it_was_asked_again() {
    for direction in WAYS {
        let mut jump = Jump::met(direction, Failure::Lost);
        jump.comes_to();
        assert_eq!(jump.verdict(), Verdict::Wait, "{direction:?}");
        assert!(!jump.scene.actions().iter().any(is_hole));
        jump.scene.pass(300);
        assert_eq!(jump.scene.opened(), None, "it is left alone for a while");
        jump.scene.pass(300);
        let (filler, copy) = jump.scene.opened().expect("it is asked again");
        assert_eq!((copy, jump.verdict()), (1, Verdict::Wait));
        // A second failure is no proof either.
        jump.fail(filler, Failure::Lost);
        jump.comes_to();
        jump.scene.pass(1_100);
        let (filler, _) = jump.scene.opened().expect("it is asked a third time");
        let (_, last) = Jump::ends(direction);
        let first = match direction {
            Direction::Forward => last + 40,
            Direction::Reverse => last - 40,
        };
        jump.scene.show_first(filler, first);
        assert_eq!(jump.verdict(), Verdict::Handover);
        let leg = jump.playing;
        jump.scene.tell(Event::Drained { leg });
        assert_eq!(
            jump.scene.director.judge(filler, &key(first)),
            Verdict::Send
        );
        assert!(!jump.scene.actions().iter().any(is_hole));
    }
}

#[test]
fn a_copy_that_does_not_come_back_is_waited_for_so_long_and_no_longer() {
    for direction in WAYS {
        let mut jump = Jump::met(direction, Failure::Lost);
        let mut waited = 0;
        while jump.verdict() != Verdict::Send {
            if jump.verdict() == Verdict::Jump {
                jump.comes_to();
            }
            if let Some((filler, copy)) = jump.scene.opened() {
                assert_eq!(copy, 1);
                jump.fail(filler, Failure::Lost);
            }
            jump.scene.pass(100);
            waited += 100;
            assert!(waited < 60_000, "{direction:?}: it waits for ever");
        }
        // As long as for any copy, and for the bar that may have ended by then.
        assert!((29_000..=39_000).contains(&waited), "{waited} ms");
    }
}

#[test]
fn a_jump_is_a_hole_at_once_where_nobody_is_left_to_ask() {
    for direction in WAYS {
        // It answered, and has nothing there.
        let mut jump = Jump::met(direction, Failure::NoFootage);
        jump.comes_to();
        assert!(jump.scene.actions().iter().any(is_hole));
        assert_eq!(jump.verdict(), Verdict::Send, "{direction:?}");
        // It was down before it could be asked.
        let mut jump = Jump::before(direction);
        jump.scene.health[1] = HealthState::Down;
        jump.comes_to();
        assert!(jump.scene.actions().iter().any(is_hole));
        assert_eq!(jump.verdict(), Verdict::Send, "{direction:?}");
    }
}

#[test]
fn a_copy_that_goes_down_while_it_is_waited_for_is_asked_when_it_is_up_again() {
    for direction in WAYS {
        let mut jump = Jump::met(direction, Failure::Lost);
        jump.comes_to();
        jump.scene.health[1] = HealthState::Down;
        jump.scene.tell(Event::FactsChanged);
        jump.scene.pass(10_000);
        let asked = |action: &Action| matches!(action, Action::Open { .. }) || is_hole(action);
        assert!(!jump.scene.actions().iter().any(asked));
        assert_eq!(jump.verdict(), Verdict::Wait, "{direction:?}");
        jump.scene.health[1] = HealthState::Up;
        jump.scene.tell(Event::FactsChanged);
        let (_, copy) = jump.scene.opened().expect("it is asked again");
        assert_eq!(copy, 1);
    }
}
