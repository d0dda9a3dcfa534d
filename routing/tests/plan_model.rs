//! The planner against a naive model that decides again at every instant, in both directions.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use seamline_routing::camera::CopyIx;
use seamline_routing::coverage::{Coverage, Held};
use seamline_routing::health::HealthState;
use seamline_routing::plan::{CopyFacts, Direction, Request, Step, next_step, plan};
use seamline_routing::policy::{Failback, Policy};
use seamline_routing::time::{TimeRange, Timestamp};

/// What is modelled lies in 0..LINE. Everything is steady beyond it, as far as the model looks.
const LINE: i64 = 48;
const HORIZON: i64 = 120;
const TRUST: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Recorded,
    Gap,
    Unknown,
}

#[derive(Clone, Debug)]
struct Copy {
    coverage: Coverage,
    health: HealthState,
    trusted: bool,
    lists: bool,
    barred: bool,
}

impl Copy {
    fn facts(&self) -> CopyFacts<'_> {
        CopyFacts {
            coverage: &self.coverage,
            health: self.health,
            healthy_for: self.trusted.then_some(TRUST),
            lists: self.lists,
            barred: self.barred,
        }
    }

    fn usable(&self) -> bool {
        self.health != HealthState::Down && !self.barred
    }
}

/// What happens at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Leg(usize),
    Hole,
    Outage,
    End,
}

/// Instants in play order: in reverse, instant -1 - p is the p-th.
struct Model<'a> {
    copies: &'a [Copy],
    policy: &'a Policy,
    reverse: bool,
    bound: i64,
}

impl<'a> Model<'a> {
    fn new(copies: &'a [Copy], request: &Request, policy: &'a Policy) -> Self {
        let reverse = request.direction == Direction::Reverse;
        let bound = request.until.map_or(i64::MAX, |at| position(at, reverse));
        Self {
            copies,
            policy,
            reverse,
            bound,
        }
    }

    fn raw(&self, copy: &Copy, p: i64) -> Cell {
        match copy
            .coverage
            .held(us(if self.reverse { -1 - p } else { p }))
        {
            Held::Recorded { .. } => Cell::Recorded,
            Held::Unknown { .. } if !copy.lists => Cell::Recorded,
            Held::Unknown { .. } => Cell::Unknown,
            Held::Gap { .. } => Cell::Gap,
        }
    }

    fn cell(&self, copy: &Copy, p: i64) -> Cell {
        let raw = self.raw(copy, p);
        if raw != Cell::Gap {
            return raw;
        }
        let end = |step: i64| {
            (0..HORIZON)
                .map(|n| p + n * step)
                .find(|&q| self.raw(copy, q) != Cell::Gap)
        };
        match (end(-1), end(1)) {
            (Some(before), Some(after))
                if after - before - 1 < units(self.policy.min_gap)
                    && self.raw(copy, before) == Cell::Recorded
                    && self.raw(copy, after) == Cell::Recorded =>
            {
                Cell::Recorded
            }
            _ => Cell::Gap,
        }
    }

    fn recorded(&self, copy: &Copy, p: i64) -> bool {
        self.cell(copy, p) == Cell::Recorded
    }

    fn takes_over(&self, copy: &Copy, p: i64) -> bool {
        let slack = units(self.policy.min_gap).max(1);
        let starts = (p - slack + 1..=p)
            .rev()
            .take_while(|&q| self.recorded(copy, q))
            .any(|q| !self.recorded(copy, q - 1));
        let allowed = match self.policy.failback {
            Failback::Never => false,
            Failback::AtSeam => starts,
            Failback::After(_) => starts || copy.trusted,
        };
        let stay = units(self.policy.min_stay);
        let stays = (p..p + stay).all(|q| q < self.bound && self.recorded(copy, q));
        copy.usable()
            && copy.health != HealthState::Suspect
            && self.recorded(copy, p)
            && allowed
            && stays
    }

    fn choose(&self, p: i64, current: Option<usize>) -> Option<usize> {
        let first = |cell| {
            self.copies
                .iter()
                .position(|copy| copy.usable() && self.cell(copy, p) == cell)
        };
        let current = current.filter(|&ix| self.copies[ix].usable());
        match current.map(|ix| (ix, self.cell(&self.copies[ix], p))) {
            Some((ix, Cell::Recorded)) => Some(
                (0..ix)
                    .find(|&better| self.takes_over(&self.copies[better], p))
                    .unwrap_or(ix),
            ),
            Some((ix, Cell::Unknown)) => first(Cell::Recorded).or(Some(ix)),
            _ => first(Cell::Recorded).or_else(|| first(Cell::Unknown)),
        }
    }

    fn frames(&self, from: i64, mut current: Option<usize>) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut outage = false;
        for p in from..from + HORIZON {
            let chosen = (p < self.bound).then(|| self.choose(p, current)).flatten();
            let maybe = |usable: bool, q: i64| {
                self.copies
                    .iter()
                    .any(|copy| copy.usable() == usable && self.cell(copy, q) != Cell::Gap)
            };
            let rest = p..(p + HORIZON).min(self.bound);
            let frame = match chosen {
                Some(ix) => Frame::Leg(ix),
                None if p >= self.bound => Frame::End,
                None if outage || maybe(false, p) => Frame::Outage,
                None if rest.into_iter().any(|q| maybe(true, q) || maybe(false, q)) => Frame::Hole,
                None => Frame::End,
            };
            outage = frame == Frame::Outage;
            current = chosen;
            frames.push(frame);
            if frame == Frame::End {
                break;
            }
        }
        frames
    }
}

fn us(at: i64) -> Timestamp {
    Timestamp::from_micros(at)
}

fn units(duration: Duration) -> i64 {
    duration.as_micros() as i64
}

fn position(at: Timestamp, reverse: bool) -> i64 {
    if reverse {
        -at.as_micros()
    } else {
        at.as_micros()
    }
}

/// The frames of a step, up to where the model looks; and where it ends.
fn expand(step: Step, from: i64, reverse: bool) -> (Vec<Frame>, Option<i64>) {
    let (frame, start, until) = match step {
        Step::Leg {
            copy, from, until, ..
        } => (Frame::Leg(copy.index()), from, until),
        Step::Hole { from, until } => (Frame::Hole, from, until),
        Step::Outage { from, until } => (Frame::Outage, from, until),
        Step::End => return (vec![Frame::End], None),
    };
    assert_eq!(position(start, reverse), from);
    let until = until.map(|until| position(until, reverse));
    let length = until.map_or(HORIZON, |until| until - from);
    assert!(length > 0, "{step:?}");
    (vec![frame; length.min(HORIZON) as usize], until)
}

fn span() -> impl Strategy<Value = TimeRange> {
    (0..LINE - 1, 1..16i64).prop_map(|(start, length)| {
        TimeRange::new(us(start), us((start + length).min(LINE))).unwrap()
    })
}

/// Periods with short holes between them.
fn perforated() -> impl Strategy<Value = Vec<TimeRange>> {
    (
        0..LINE / 2,
        prop::collection::vec((1..12i64, 1..6i64), 1..5),
    )
        .prop_map(|(start, runs)| {
            let mut start = start;
            let mut periods = Vec::new();
            for (recorded, hole) in runs {
                periods.extend(TimeRange::new(us(start), us((start + recorded).min(LINE))));
                start += recorded + hole;
            }
            periods
        })
}

fn coverage() -> impl Strategy<Value = Coverage> {
    let window = prop_oneof![
        span(),
        Just(TimeRange::new(us(0), us(LINE)).unwrap()),
        Just(TimeRange::new(us(0), Timestamp::MAX).unwrap()),
        Just(TimeRange::ALL),
    ];
    let periods = prop_oneof![prop::collection::vec(span(), 0..6), perforated()];
    (window, periods, any::<bool>())
        .prop_map(|(window, periods, growing)| Coverage::new(window, periods, us(0), growing))
}

fn copy() -> impl Strategy<Value = Copy> {
    let health = prop_oneof![
        4 => Just(HealthState::Up),
        1 => Just(HealthState::Unknown),
        1 => Just(HealthState::Suspect),
        2 => Just(HealthState::Down),
    ];
    let often = prop::bool::weighted(0.8);
    let seldom = prop::bool::weighted(0.1);
    (coverage(), health, any::<bool>(), often, seldom).prop_map(
        |(coverage, health, trusted, lists, barred)| Copy {
            coverage,
            health,
            trusted,
            lists,
            barred,
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let failback = prop_oneof![
        Just(Failback::Never),
        Just(Failback::AtSeam),
        Just(Failback::After(TRUST)),
    ];
    (failback, 0..6u64, 0..8u64).prop_map(|(failback, min_gap, min_stay)| Policy {
        failback,
        min_gap: Duration::from_micros(min_gap),
        min_stay: Duration::from_micros(min_stay),
        ..Policy::default()
    })
}

fn request() -> impl Strategy<Value = Request> {
    (-2..LINE + 2, prop::option::of(1..LINE), any::<bool>()).prop_map(|(at, length, reverse)| {
        let (direction, sign) = if reverse {
            (Direction::Reverse, -1)
        } else {
            (Direction::Forward, 1)
        };
        Request {
            at: us(at),
            until: length.map(|length| us(at + sign * length)),
            direction,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn plans_decide_as_if_asked_at_every_instant(
        copies in prop::collection::vec(copy(), 0..4),
        request in request(),
        policy in policy(),
    ) {
        let facts: Vec<_> = copies.iter().map(Copy::facts).collect();
        let plan = plan(&request, &facts, &policy);
        let reverse = request.direction == Direction::Reverse;
        let start = position(request.at, reverse);
        let (mut frames, mut at) = (Vec::new(), Some(start));
        for step in &plan.steps {
            let from = at.expect("no step follows an open one");
            let (more, until) = expand(*step, from, reverse);
            frames.extend(more);
            at = until;
        }
        if at.is_some() {
            frames.push(Frame::End);
        }
        frames.truncate(HORIZON as usize);
        prop_assert!(!plan.truncated);
        prop_assert_eq!(frames, Model::new(&copies, &request, &policy).frames(start, None));
        let legs_differ = plan.steps.windows(2).all(|pair| match pair {
            [Step::Leg { copy: a, .. }, Step::Leg { copy: b, .. }] => a != b,
            _ => true,
        });
        prop_assert!(legs_differ, "{:?}", plan);
    }

    #[test]
    fn steps_go_on_from_whatever_plays(
        copies in prop::collection::vec(copy(), 1..4),
        request in request(),
        policy in policy(),
        current in 0..4u8,
    ) {
        let facts: Vec<_> = copies.iter().map(Copy::facts).collect();
        let reverse = request.direction == Direction::Reverse;
        let start = position(request.at, reverse);
        let step = next_step(request.at, &request, &facts, Some(CopyIx(current)), &policy);
        let (frames, _) = expand(step, start, reverse);
        let playing = Some(usize::from(current)).filter(|&ix| ix < copies.len());
        let mut wanted = Model::new(&copies, &request, &policy).frames(start, playing);
        let length = wanted.iter().take_while(|&frame| *frame == wanted[0]).count();
        wanted.truncate(length);
        prop_assert_eq!(frames, wanted);
    }

    #[test]
    fn any_facts_give_a_plan(
        edges in prop::collection::vec((any::<i64>(), any::<i64>()), 0..8),
        window in (any::<i64>(), any::<i64>()),
        growing: bool,
        lists: bool,
        at: i64,
        until: Option<i64>,
        reverse: bool,
    ) {
        let periods = edges.into_iter().filter_map(|(start, end)| TimeRange::new(us(start), us(end)));
        let window = TimeRange::new(us(window.0), us(window.1)).unwrap_or(TimeRange::ALL);
        let coverage = Coverage::new(window, periods, us(0), growing);
        let facts = CopyFacts { coverage: &coverage, health: HealthState::Up, healthy_for: None, lists, barred: false };
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let request = Request { at: us(at), until: until.map(us), direction };
        prop_assert!(!plan(&request, &[facts, facts], &Policy::default()).truncated);
    }
}
