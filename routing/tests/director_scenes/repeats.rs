//! What was shown is not shown again: each way in which a seam would have to go back behind the last picture sent, and what is
//! done so that it need not.

use seamline_routing::director::{Event, Failure, Head, LegId, Verdict};
use seamline_routing::health::HealthState;

use crate::scene::{Scene, at, key, picture, recorded};

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
fn a_better_copy_that_is_awaited_is_who_fills_a_later_jump() {
    let (mut scene, playing, better) = with_the_better_one_back();
    scene.show_first(better, 2_960);
    scene.tell(Event::JumpAhead {
        leg: playing,
        from: at(4_960),
        to: at(9_000),
    });
    assert!(scene.opened().is_none(), "it comes before the jump does");
    scene.send(playing, 1_000, 2_960);
    assert!(scene.holds_back(), "who is in no hurry waits for it here");
    // Not steady by the time the jump is reached, it takes over there all the same.
    scene.send(playing, 3_000, 4_960);
    assert!(scene.director.incoming_drops(better, &key(2_960), false));
    assert!(!scene.director.incoming_drops(better, &key(5_000), false));
    assert_eq!(
        scene.director.judge(playing, &picture(9_000)),
        Verdict::Jump
    );
    scene.tell(Event::Jump {
        leg: playing,
        to: at(9_000),
    });
    assert!(scene.opened().is_none());
    assert_eq!(
        scene.director.judge(playing, &picture(9_000)),
        Verdict::Handover
    );
    scene.tell(Event::Drained { leg: playing });
    assert_eq!(scene.director.judge(better, &key(5_000)), Verdict::Send);
}

#[test]
fn a_better_copy_that_was_to_fill_a_jump_and_fails_leaves_it_to_the_plan() {
    let (mut scene, playing, better) = with_the_better_one_back();
    scene.tell(Event::JumpAhead {
        leg: playing,
        from: at(4_960),
        to: at(9_000),
    });
    scene.tell(Event::LegFailed {
        leg: better,
        failure: Failure::Lost,
        newest: None,
    });
    scene.send(playing, 1_000, 3_000);
    scene.pass(600);
    scene.tell(Event::Tick);
    let (again, copy) = scene
        .opened()
        .expect("the jump is filled before it is reached");
    assert_eq!(copy, 0);
    // Not behind the jump, though that is less than the usual lead away.
    scene.show_first(again, 4_960);
    scene.send(playing, 3_040, 4_920);
    assert_eq!(
        scene.director.judge(playing, &picture(4_960)),
        Verdict::Handover
    );
    let mut holds_at = |newest_ms, stocked| {
        let newest = at(newest_ms);
        scene.director.incoming_shows(again, newest, stocked);
        scene.director.holds_seam()
    };
    assert!(
        holds_at(4_960, false),
        "what the other holds itself is no news"
    );
    assert!(!holds_at(5_000, false));
    assert!(!holds_at(4_960, true), "more is not read before");
}

#[test]
fn a_leg_that_ends_within_what_the_current_one_holds_is_not_gone_to() {
    let mut scene = Scene::new([recorded(0, 5_000), recorded(0, 60_000)]);
    scene.play();
    let (first, _) = scene.opened().expect("the better copy plays");
    scene.show_first(first, 0);
    scene.send(first, 0, 960);
    scene.tell(Event::Tick);
    let (short, copy) = scene.opened().expect("the seam is prepared");
    assert_eq!(copy, 1);
    scene.show_first(short, 4_600);
    scene.send(first, 1_000, 4_560);
    assert!(scene.director.holds_seam());
    scene.tell(Event::LegEnded {
        leg: short,
        newest: Some(at(4_600)),
    });
    scene.send(first, 4_600, 4_960);
    assert_eq!(scene.director.source(), Some(first));
}

#[test]
fn a_better_copy_that_is_behind_is_asked_anew_where_the_current_one_ends() {
    let (mut scene, playing, better) = with_the_better_one_back();
    // The first unit of what was asked for at 2.98 s comes when that is passed.
    scene.send(playing, 1_000, 4_000);
    scene.show_first(better, 2_800);
    scene.send(playing, 4_040, 9_960);
    scene.tell(Event::LegFailed {
        leg: playing,
        failure: Failure::Lost,
        newest: Some(at(9_960)),
    });
    let (again, copy) = scene.opened().expect("it follows from there");
    assert_eq!((copy, again == better), (0, false));
    scene.show_first(again, 9_600);
    scene.tell(Event::Drained { leg: playing });
    assert_eq!(scene.director.judge(again, &key(9_600)), Verdict::Preroll);
}

#[test]
fn preroll_for_a_random_access_point_is_for_nothing() {
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
    let (second, _) = scene.opened().expect("the other copy follows");
    scene.show_first(second, 4_600);
    scene.tell(Event::Drained { leg: first });
    assert_eq!(scene.director.judge(second, &key(4_600)), Verdict::Preroll);
    let needless = |follow: &[Head]| {
        let known = [key(4_600), picture(4_640), picture(4_960)];
        let all = known.into_iter().chain(follow.iter().copied());
        scene.director.needless_preroll(all)
    };
    assert_eq!(needless(&[]), None);
    assert_eq!(needless(&[picture(5_000), key(5_040)]), None);
    assert_eq!(needless(&[key(5_000), picture(5_040)]), Some(3));
    // Pictures may lie between, and lead it.
    assert_eq!(needless(&[key(5_040)]), None);
    // Behind a gap nothing does.
    assert_eq!(needless(&[key(7_000)]), Some(3));
    assert_eq!(needless(&[picture(7_000)]), None);
}

#[test]
fn preroll_begins_at_the_last_random_access_point_that_serves() {
    let mut scene = Scene::new([recorded(0, 60_000), recorded(0, 60_000)]);
    scene.play();
    let (first, _) = scene.opened().expect("the first copy plays");
    scene.show_first(first, 0);
    scene.send(first, 0, 4_960);
    let needless = |heads: &[Head]| scene.director.needless_preroll(heads.iter().copied());
    let groups = [key(600), picture(640), key(2_600), picture(2_640)];
    assert_eq!(needless(&groups), Some(2));
    // More of them waits.
    let more = [key(4_600), picture(4_640), picture(5_000), key(6_600)];
    assert_eq!(needless(&[groups.as_slice(), &more].concat()), Some(4));
    // One that pictures not sent lead does not serve them.
    let lead = [key(5_040), picture(5_000)];
    assert_eq!(needless(&[groups.as_slice(), &lead].concat()), Some(2));
    assert_eq!(needless(&more), None);
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
fn a_better_copy_that_was_no_use_is_asked_again_before_the_current_one_ends() {
    let mut scene = Scene::new([recorded(0, 60_000), recorded(0, 5_000)]);
    scene.health[0] = HealthState::Down;
    scene.play();
    let (playing, _) = scene.opened().expect("the copy in reach plays");
    scene.show_first(playing, 0);
    scene.send(playing, 0, 2_000);
    scene.health[0] = HealthState::Up;
    scene.tell(Event::FactsChanged);
    let (better, copy) = scene.opened().expect("a return to the better copy");
    assert_eq!(copy, 0);
    scene.show_first(better, 3_960);
    scene.send(playing, 2_040, 3_920);
    scene.tell(Event::Stalled {
        leg: better,
        newest: Some(at(5_400)),
    });
    assert!(scene.opened().is_none(), "it is barred");
    assert!(scene.holds_back(), "and nobody else holds what comes");
    scene.pass(600);
    let (again, copy) = scene.opened().expect("it is asked again when the bar ends");
    assert_eq!(copy, 0);
    assert!(scene.holds_back(), "until it has answered");
    scene.show_first(again, 4_800);
    scene.send(playing, 3_960, 4_760);
    assert_eq!(
        scene.director.judge(playing, &picture(4_800)),
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
