//! Scenes as lines of coverage, and plans as stories.
//!
//! One character of a line is a second: `#` is recorded, `.` a gap, `?` unknown, and a `>` at the end means that the last
//! period is still being written.

use std::fmt::Write;
use std::time::Duration;

use seamline_routing::camera::CopyRef;
use seamline_routing::coverage::Coverage;
use seamline_routing::health::HealthState;
use seamline_routing::plan::{CopyFacts, Direction, Request, Step, plan};
use seamline_routing::policy::{Failback, Policy};
use seamline_routing::time::{TimeRange, Timestamp};

const HEALTHY: Duration = Duration::from_secs(3_600);

pub(crate) struct Copy {
    pub(crate) coverage: Coverage,
    pub(crate) health: HealthState,
    pub(crate) healthy_for: Option<Duration>,
    pub(crate) lists: bool,
    pub(crate) barred: bool,
}

impl Copy {
    pub(crate) fn up(line: &str) -> Self {
        Self {
            coverage: coverage(line),
            health: HealthState::Up,
            healthy_for: Some(HEALTHY),
            lists: true,
            barred: false,
        }
    }

    pub(crate) fn down(line: &str) -> Self {
        Self {
            health: HealthState::Down,
            healthy_for: None,
            ..Self::up(line)
        }
    }

    pub(crate) fn back_for(seconds: u64, line: &str) -> Self {
        Self {
            healthy_for: Some(Duration::from_secs(seconds)),
            ..Self::up(line)
        }
    }

    pub(crate) fn suspect(line: &str) -> Self {
        Self {
            health: HealthState::Suspect,
            healthy_for: None,
            ..Self::up(line)
        }
    }

    pub(crate) fn mute(line: &str) -> Self {
        Self {
            lists: false,
            ..Self::up(line)
        }
    }

    pub(crate) fn facts(&self) -> CopyFacts<'_> {
        CopyFacts {
            coverage: &self.coverage,
            health: self.health,
            healthy_for: self.healthy_for,
            lists: self.lists,
            barred: self.barred,
        }
    }
}

pub(crate) fn second(count: usize) -> Timestamp {
    at("2026-11-22T10:00:00Z") + Duration::from_secs(count as u64)
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A window is asked for everything up to the last character that is not `?`.
pub(crate) fn coverage(line: &str) -> Coverage {
    let (line, growing) = line
        .strip_suffix('>')
        .map_or((line, false), |line| (line, true));
    let line = line.as_bytes();
    let runs = |is_in: fn(u8) -> bool| {
        (0..line.len())
            .filter(move |&ix| is_in(line[ix]))
            .filter_map(|ix| TimeRange::new(second(ix), second(ix + 1)))
    };
    let empty = Coverage::unknown();
    let known = runs(|cell| cell == b'.').fold(empty, |mut coverage, range| {
        coverage.learn_gap(range);
        coverage
    });
    let periods: Vec<_> = runs(|cell| cell == b'#').collect();
    let Some(first) = periods.first() else {
        return known;
    };
    known.merge(&Coverage::new(*first, periods, second(line.len()), growing))
}

pub(crate) fn from(start: usize) -> Request {
    Request {
        at: second(start),
        until: None,
        direction: Direction::Forward,
    }
}

pub(crate) fn between(start: usize, end: usize) -> Request {
    Request {
        until: Some(second(end)),
        ..from(start)
    }
}

pub(crate) fn back(start: usize, end: usize) -> Request {
    Request {
        direction: Direction::Reverse,
        ..between(start, end)
    }
}

/// The plan in words, one step a line.
pub(crate) fn told(request: &Request, copies: &[Copy], policy: &Policy) -> String {
    told_of(
        &plan(
            request,
            &copies.iter().map(Copy::facts).collect::<Vec<_>>(),
            policy,
        )
        .steps,
    )
}

pub(crate) fn told_of(steps: &[Step]) -> String {
    let names = ["primary", "secondary", "tertiary"];
    let mut story = String::new();
    for step in steps {
        let (from, until, what) = match step {
            Step::Leg {
                copy,
                from,
                until,
                reason,
            } => (from, until, format!("{} ({reason})", names[copy.index()])),
            Step::Hole { from, until } => (from, until, "hole".to_owned()),
            Step::Outage { from, until } => (from, until, "outage".to_owned()),
            Step::End => continue,
        };
        let until = until.map_or("open".to_owned(), short);
        writeln!(story, "{} to {until}: {what}", short(*from)).unwrap();
    }
    story.push_str("end");
    story
}

/// Minutes and seconds.
pub(crate) fn short(at: Timestamp) -> String {
    at.to_string()
        .get(14..23)
        .unwrap()
        .trim_end_matches(".000")
        .to_owned()
}

#[track_caller]
pub(crate) fn expect(request: &Request, copies: &[Copy], wanted: &[&str]) {
    expect_by(&Policy::default(), request, copies, wanted);
}

#[track_caller]
pub(crate) fn expect_by(policy: &Policy, request: &Request, copies: &[Copy], wanted: &[&str]) {
    let wanted: Vec<_> = wanted.iter().copied().chain(["end"]).collect();
    assert_eq!(told(request, copies, policy), wanted.join("\n"));
}

pub(crate) fn failback(failback: Failback) -> Policy {
    Policy {
        failback,
        ..Policy::default()
    }
}

pub(crate) fn site(name: &str) -> CopyRef {
    CopyRef {
        site: name.into(),
        recorder: name.into(),
        remote: name.into(),
        clock_offset_us: 0,
    }
}
