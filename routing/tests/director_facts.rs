//! What the director makes of changing facts, and what that costs.

use std::time::{Duration, Instant};

use seamline_routing::coverage::Coverage;
use seamline_routing::director::{Action, Director, Event, Head, LegId};
use seamline_routing::health::HealthState;
use seamline_routing::plan::{CopyFacts, Direction, Request};
use seamline_routing::policy::Policy;
use seamline_routing::time::{TimeRange, Timestamp};

const START: Timestamp = Timestamp::from_micros(1_767_323_040_000_000);
const SECOND: i64 = 1_000_000;

fn second(second: i64) -> Timestamp {
    START.shift(second * SECOND)
}

/// Periods of nine seconds with one second between, of which all is known.
fn coverage(periods: i64) -> Coverage {
    let all = TimeRange::new(Timestamp::MIN, Timestamp::MAX).expect("MIN is before MAX");
    let periods =
        (0..periods).filter_map(|ix| TimeRange::new(second(10 * ix), second(10 * ix + 9)));
    Coverage::new(all, periods, START, false)
}

fn facts(coverage: &Coverage, health: HealthState) -> CopyFacts<'_> {
    CopyFacts {
        coverage,
        health,
        healthy_for: (health == HealthState::Up).then_some(Duration::from_secs(600)),
        lists: true,
        barred: false,
    }
}

fn actions(director: &mut Director) -> Vec<Action> {
    std::iter::from_fn(|| director.poll_action()).collect()
}

/// A director that has played a second of its first copy.
fn playing(copies: &[CopyFacts<'_>], now: Instant) -> (Director, LegId) {
    let mut director = Director::new(Policy::default());
    let request = Request {
        at: START,
        until: None,
        direction: Direction::Forward,
    };
    director.handle(Event::Play(request), copies, now);
    let opened = actions(&mut director);
    let [Action::Open { leg, .. }] = opened[..] else {
        panic!("{opened:?}");
    };
    let wall = second(86_400);
    let first = START;
    let opened = Event::LegOpened {
        leg,
        first,
        step: None,
        wall,
    };
    director.handle(opened, copies, now);
    for picture in 0..25 {
        let head = Head {
            capture: START.shift(picture * SECOND / 25),
            master: true,
            random_access: picture == 0,
            leading: false,
            shown_early: false,
        };
        director.sent(leg, &head);
    }
    actions(&mut director);
    (director, leg)
}

#[test]
fn a_leg_that_delivers_is_kept_although_its_recorder_is_said_to_be_down() {
    let (now, whole) = (origin(), coverage(3));
    let up = facts(&whole, HealthState::Up);
    let (mut director, leg) = playing(&[up, up], now);
    let down = facts(&whole, HealthState::Down);
    director.handle(Event::FactsChanged, &[down, up], now);
    director.handle(Event::Tick, &[down, up], now);
    assert_eq!(actions(&mut director), []);
    assert_eq!(director.source(), Some(leg));
}

#[test]
fn a_review_costs_no_allocation_while_no_copy_was_disproved() {
    let (now, long) = (origin(), coverage(1_000));
    let copies = [facts(&long, HealthState::Up); 2];
    let (mut director, _) = playing(&copies, now);
    let cost = allocation_counter::measure(|| {
        director.handle(Event::FactsChanged, &copies, now);
    });
    assert_eq!(cost.count_total, 0);
}

#[test]
fn disproved_stretches_are_laid_over_a_listing_once_a_decision() {
    let (now, long) = (origin(), coverage(1_000));
    let copies = [facts(&long, HealthState::Up)];
    let (mut director, leg) = playing(&copies, now);
    let mut empty = Coverage::unknown();
    for ix in 1..=60 {
        let (from, to) = (second(10 * ix + 3), second(10 * ix + 5));
        director.handle(Event::JumpAhead { leg, from, to }, &copies, now);
        empty.learn_gap(TimeRange::new(from, to).expect("in order"));
    }
    assert_eq!(actions(&mut director).len(), 60);
    let once = allocation_counter::measure(|| {
        assert!(long.merge(&empty).periods().len() > 1_000);
    });
    let cost = allocation_counter::measure(|| {
        director.handle(Event::FactsChanged, &copies, now);
    });
    assert!(
        (1..=once.count_total + 2).contains(&cost.count_total),
        "{cost:?}, not {once:?}"
    );
}

/// The base of the simulated time.
fn origin() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "an origin for the test's own clock; nothing waits for it"
    )]
    Instant::now()
}
