//! What nobody holds is skipped, waited out or the end, however it is met: the director alone decides.

use std::time::Duration;

use seamline_routing::director::{Action, End, Event, LegId, Verdict};
use seamline_routing::health::HealthState;
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
