//! Where a play begins: a first picture that comes a little late may be the cadence, or hide what the other copy holds.

use std::time::Duration;

use seamline_routing::coverage::Coverage;
use seamline_routing::director::{Action, Event, LegId, Lesson};
use seamline_routing::policy::Policy;

use crate::scene::{START, Scene, at, recorded};

/// Two copies that list nothing, and the first one's leg.
fn begun(policy: Policy) -> (Scene, LegId) {
    let mut scene = Scene::under(policy, [Coverage::unknown(), Coverage::unknown()]);
    scene.play();
    let (leg, copy) = scene.opened().expect("the first copy plays");
    assert_eq!(copy, 0);
    (scene, leg)
}

fn any_gap() -> Policy {
    Policy {
        min_gap: Duration::ZERO,
        ..Policy::default()
    }
}

fn show(scene: &mut Scene, leg: LegId, first_ms: i64, step_ms: Option<u64>) {
    scene.tell(Event::LegOpened {
        leg,
        first: at(first_ms),
        step: step_ms.map(Duration::from_millis),
        wall: at(86_400_000),
    });
}

#[test]
fn two_pictures_that_a_start_leaves_out_are_asked_of_the_other_copy() {
    let (mut scene, first) = begun(any_gap());
    assert!(scene.director.doubts_start(first, at(80), at(86_400_000)));
    show(&mut scene, first, 80, Some(40));
    let (second, copy) = scene.opened().expect("the other copy may hold them");
    assert_eq!(copy, 1);
    scene.show_first(second, 0);
    scene.send(second, 0, 40);
}

#[test]
fn a_start_within_its_own_cadence_leaves_nothing_out() {
    for (first_ms, step_ms) in [(80, Some(200)), (80, None), (20, Some(40)), (0, Some(40))] {
        let (mut scene, first) = begun(any_gap());
        show(&mut scene, first, first_ms, step_ms);
        assert!(scene.opened().is_none(), "{first_ms} ms, {step_ms:?}");
        scene.send(first, first_ms, first_ms);
    }
}

#[test]
fn nobody_waits_for_the_cadence_where_it_decides_nothing() {
    let wall = at(86_400_000);
    let (mut scene, first) = begun(any_gap());
    // At or before what was asked for, and so late that no cadence explains it.
    for first_ms in [-2_000, 0, 5, 500] {
        let doubts = scene.director.doubts_start(first, at(first_ms), wall);
        assert!(!doubts, "{first_ms} ms");
    }
    // What is live begins where it begins.
    assert!(!scene.director.doubts_start(first, at(80), at(300)));
    // Later legs are held against what was sent.
    scene.show_first(first, 0);
    scene.send(first, 0, 160);
    assert!(!scene.director.doubts_start(first, at(240), wall));
    // Gaps of half a second are not worth a seam by default.
    let (scene, first) = begun(Policy::default());
    assert!(!scene.director.doubts_start(first, at(80), wall));
    assert_eq!(scene.director.position(), START);
}

#[test]
fn what_is_live_is_not_what_was_recorded_though_nobody_else_holds_it() {
    let nothing_of_it = recorded(-20_000, -10_000);
    for (behind_ms, refused) in [(1_000, true), (3_600_000, false)] {
        let mut scene = Scene::new([Coverage::unknown(), nothing_of_it.clone()]);
        scene.play();
        let (leg, _) = scene.opened().expect("the first copy may hold it");
        // A day later, where it is the present: a recorder that plays live whatever it is asked for.
        scene.show_first(leg, 86_400_000 - behind_ms);
        let refuses = |action: &Action| match action {
            Action::Teach { copy, lesson } => {
                copy.index() == 0 && matches!(lesson, Lesson::WrongFootage)
            }
            _ => false,
        };
        assert_eq!(
            scene.actions().iter().any(refuses),
            refused,
            "{behind_ms} ms ago"
        );
    }
}

#[test]
fn who_is_slow_to_begin_gets_company_and_the_first_to_be_ready_plays() {
    for slow_after_all in [false, true] {
        let (mut scene, slow) = begun(Policy::default());
        scene.tell(Event::Stalled {
            leg: slow,
            newest: None,
        });
        let (company, copy) = scene.opened().expect("the other copy is asked as well");
        assert_eq!(copy, 1);
        let ready = if slow_after_all { slow } else { company };
        scene.show_first(ready, 0);
        assert_eq!(scene.director.source(), Some(ready));
        scene.send(ready, 0, 200);
    }
}
