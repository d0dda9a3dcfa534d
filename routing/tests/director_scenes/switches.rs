//! Which leg plays when there is a choice: who fills a jump, and who has changed often enough.

use std::time::Duration;

use seamline_routing::director::{Event, Failure, LegId, Verdict};
use seamline_routing::policy::{Failback, Flap, Policy};

use crate::scene::{Scene, at, key, picture, recorded};

/// The first copy plays its first five seconds.
fn playing(policy: Policy) -> (Scene, LegId) {
    let mut scene = Scene::under(policy, [recorded(0, 60_000), recorded(0, 60_000)]);
    scene.play();
    let (first, copy) = scene.opened().expect("the first copy plays");
    assert_eq!(copy, 0);
    scene.show_first(first, 0);
    scene.send(first, 0, 4_960);
    (scene, first)
}

#[test]
fn a_jump_that_was_not_seen_ahead_is_filled_as_well() {
    let (mut scene, first) = playing(Policy::default());
    let behind = picture(9_000);
    assert_eq!(scene.director.judge(first, &behind), Verdict::Jump);
    scene.tell(Event::Jump {
        leg: first,
        to: at(9_000),
    });
    let (_, copy) = scene
        .opened()
        .expect("the other copy may hold what is missing");
    assert_eq!(copy, 1);
    assert_ne!(scene.director.judge(first, &behind), Verdict::Send);
}

#[test]
fn who_has_changed_often_enough_stays_where_it_is() {
    // The start is one, the change to the other copy the second.
    for (switches_max, returns) in [(3, true), (2, false)] {
        let window = Duration::from_secs(60);
        let (mut scene, first) = playing(Policy {
            failback: Failback::After(Duration::ZERO),
            flap: Flap {
                switches_max,
                window,
            },
            ..Policy::default()
        });
        scene.tell(Event::LegFailed {
            leg: first,
            failure: Failure::Lost,
            newest: Some(at(4_960)),
        });
        let (second, _) = scene.opened().expect("the other copy follows");
        scene.show_first(second, 5_000);
        scene.tell(Event::Drained { leg: first });
        assert_eq!(scene.director.judge(second, &key(5_000)), Verdict::Send);
        scene.director.sent(second, &key(5_000));
        scene.send(second, 5_040, 5_960);
        // The better one can be asked again.
        scene.pass(30_000);
        scene.tell(Event::FactsChanged);
        let better = scene.opened().map(|(_, copy)| copy);
        assert_eq!(better, returns.then_some(0), "of {switches_max} switches");
        // Behind the window all is as it was.
        scene.pass(31_000);
        scene.tell(Event::FactsChanged);
        let later = scene.opened().map(|(_, copy)| copy);
        assert_eq!(better.or(later), Some(0));
    }
}
