//! Two copies and a director that plays them, told event by event.

use std::time::{Duration, Instant};

use seamline_routing::coverage::Coverage;
use seamline_routing::director::{Action, Director, Event, Head, LegId, Verdict};
use seamline_routing::health::HealthState;
use seamline_routing::plan::{CopyFacts, Direction, Request};
use seamline_routing::policy::{Failback, Policy};
use seamline_routing::time::{TimeRange, Timestamp};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_323_040_000_000);
/// Pictures of both copies are this far apart, ms.
const STEP: usize = 40;

pub(crate) fn at(ms: i64) -> Timestamp {
    START.shift(ms * 1000)
}

pub(crate) fn recorded(from_ms: i64, until_ms: i64) -> Coverage {
    let all = TimeRange::new(Timestamp::MIN, Timestamp::MAX).expect("MIN is before MAX");
    let held = TimeRange::new(at(from_ms), at(until_ms)).expect("in order");
    Coverage::new(all, [held], START, false)
}

pub(crate) fn picture(ms: i64) -> Head {
    Head {
        capture: at(ms),
        master: true,
        random_access: false,
        leading: false,
        shown_early: false,
    }
}

pub(crate) fn key(ms: i64) -> Head {
    Head {
        random_access: true,
        ..picture(ms)
    }
}

fn facts(copies: &[Coverage; 2], health: [HealthState; 2]) -> [CopyFacts<'_>; 2] {
    [0, 1].map(|ix| CopyFacts {
        coverage: &copies[ix],
        health: health[ix],
        healthy_for: Some(Duration::from_secs(600)),
        lists: true,
        barred: false,
    })
}

/// Two copies, the first the better one's.
pub(crate) struct Scene {
    pub(crate) director: Director,
    pub(crate) copies: [Coverage; 2],
    pub(crate) health: [HealthState; 2],
    now: Instant,
}

impl Scene {
    pub(crate) fn new(copies: [Coverage; 2]) -> Self {
        let policy = Policy {
            failback: Failback::After(Duration::ZERO),
            min_gap: Duration::ZERO,
            ..Policy::default()
        };
        Self::under(policy, copies)
    }

    pub(crate) fn under(policy: Policy, copies: [Coverage; 2]) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an origin for the test's own clock; nothing waits for it"
        )]
        let now = Instant::now();
        Self {
            director: Director::new(policy),
            copies,
            health: [HealthState::Up; 2],
            now,
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let facts = facts(&self.copies, self.health);
        self.director.handle(event, &facts, self.now);
    }

    /// Whether the end of the footage there is one.
    pub(crate) fn ends_surely_at(&self, ms: i64) -> bool {
        let mut director = Director::new(Policy::default());
        let facts = facts(&self.copies, self.health);
        let request = Request {
            at: at(ms),
            until: None,
            direction: Direction::Forward,
        };
        director.handle(Event::Play(request), &facts, self.now);
        director.is_end_sure(&facts)
    }

    pub(crate) fn play(&mut self) {
        self.play_from(0, Direction::Forward);
    }

    pub(crate) fn play_from(&mut self, ms: i64, direction: Direction) {
        self.tell(Event::Play(Request {
            at: at(ms),
            until: None,
            direction,
        }));
    }

    pub(crate) fn show_first(&mut self, leg: LegId, ms: i64) {
        self.tell(Event::LegOpened {
            leg,
            first: at(ms),
            step: None,
            wall: at(86_400_000),
        });
    }

    pub(crate) fn send(&mut self, leg: LegId, from_ms: i64, to_ms: i64) {
        self.send_each(leg, (from_ms..=to_ms).step_by(STEP));
    }

    /// As they are shown backwards.
    pub(crate) fn send_back(&mut self, leg: LegId, from_ms: i64, to_ms: i64) {
        self.send_each(leg, (to_ms..=from_ms).rev().step_by(STEP));
    }

    fn send_each(&mut self, leg: LegId, pictures: impl Iterator<Item = i64>) {
        for ms in pictures {
            assert_eq!(
                self.director.judge(leg, &picture(ms)),
                Verdict::Send,
                "{ms} ms"
            );
            self.director.sent(leg, &picture(ms));
        }
    }

    /// Whether a client in no hurry waits before the picture that comes next.
    pub(crate) fn holds_back(&mut self) -> bool {
        let next = Head {
            capture: self.director.position(),
            ..picture(0)
        };
        self.director.holds_back(&next, self.now)
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        if self
            .director
            .deadline(self.now)
            .is_some_and(|at| at <= self.now)
        {
            self.tell(Event::Tick);
        }
    }

    /// What the director asks for since it was last looked at.
    pub(crate) fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.director.poll_action()).collect()
    }

    /// The leg that the director asks for since it was last looked at.
    pub(crate) fn opened(&mut self) -> Option<(LegId, usize)> {
        self.actions().iter().find_map(|action| match action {
            Action::Open { leg, copy, .. } => Some((*leg, copy.index())),
            _ => None,
        })
    }
}
