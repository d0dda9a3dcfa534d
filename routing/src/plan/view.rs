//! One copy's coverage as the planner sees it: in play direction, with the gaps filled that are too short to matter.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::time::Duration;

use crate::coverage::{Coverage, Held, HeldBefore};
use crate::time::Timestamp;

/// A way through time: where a moment lies, and what a copy holds ahead of it and behind.
pub(super) trait Way: Sized {
    /// Order-preserving in play direction, and its own inverse.
    fn turn(micros: i64) -> i64;
    fn ahead(coverage: &Coverage, at: Timestamp) -> Stretch<Self>;
    fn behind(coverage: &Coverage, at: Timestamp) -> Stretch<Self>;
}

/// As it happened.
pub(super) enum Forward {}

/// Back in time.
pub(super) enum Backward {}

impl Way for Forward {
    fn turn(micros: i64) -> i64 {
        micros
    }

    fn ahead(coverage: &Coverage, at: Timestamp) -> Stretch<Self> {
        Stretch::after(coverage.held(at))
    }

    fn behind(coverage: &Coverage, at: Timestamp) -> Stretch<Self> {
        Stretch::before(coverage.held_before(at))
    }
}

impl Way for Backward {
    fn turn(micros: i64) -> i64 {
        !micros
    }

    fn ahead(coverage: &Coverage, at: Timestamp) -> Stretch<Self> {
        Stretch::before(coverage.held_before(at))
    }

    fn behind(coverage: &Coverage, at: Timestamp) -> Stretch<Self> {
        Stretch::after(coverage.held(at))
    }
}

/// A boundary between instants, ordered in play direction.
pub(super) struct Moment<W> {
    turned: i64,
    way: PhantomData<W>,
}

impl<W: Way> Moment<W> {
    /// After everything there is to play.
    pub(super) const LAST: Self = Self {
        turned: i64::MAX,
        way: PhantomData,
    };

    pub(super) fn of(time: Timestamp) -> Self {
        Self {
            turned: W::turn(time.as_micros()),
            way: PhantomData,
        }
    }

    pub(super) fn time(self) -> Timestamp {
        Timestamp::from_micros(W::turn(self.turned))
    }

    /// None for a moment that stands for "after everything".
    pub(super) fn known_time(self) -> Option<Timestamp> {
        (self != Self::LAST).then(|| self.time())
    }

    pub(super) fn since(self, earlier: Self) -> Duration {
        Timestamp::from_micros(self.turned).since(Timestamp::from_micros(earlier.turned))
    }
}

impl<W> Clone for Moment<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Moment<W> {}

impl<W> PartialEq for Moment<W> {
    fn eq(&self, other: &Self) -> bool {
        self.turned == other.turned
    }
}

impl<W> Eq for Moment<W> {}

impl<W> PartialOrd for Moment<W> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<W> Ord for Moment<W> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.turned.cmp(&other.turned)
    }
}

/// What a copy is worth at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Recorded,
    Gap,
    Unknown,
}

/// A stretch of one answer, and the moment at which it ends in the direction it was asked for.
pub(super) struct Stretch<W> {
    holding: Holding,
    end: Moment<W>,
}

impl<W: Way> Stretch<W> {
    fn after(held: Held) -> Self {
        let (holding, end) = match held {
            Held::Recorded { until } => (Holding::Recorded, until),
            Held::Gap { until } => (Holding::Gap, until),
            Held::Unknown { until } => (Holding::Unknown, until),
        };
        Self {
            holding,
            end: Moment::of(end),
        }
    }

    fn before(held: HeldBefore) -> Self {
        let (holding, end) = match held {
            HeldBefore::Recorded { since } => (Holding::Recorded, since),
            HeldBefore::Gap { since } => (Holding::Gap, since),
            HeldBefore::Unknown { since } => (Holding::Unknown, since),
        };
        Self {
            holding,
            end: Moment::of(end),
        }
    }
}

/// One copy's coverage in play direction. Gaps shorter than `min_gap` between recorded stretches count as recorded, and
/// so does what a recorder that cannot list does not say.
pub(super) struct View<'a, W> {
    coverage: &'a Coverage,
    lists: bool,
    min_gap: Duration,
    way: PhantomData<W>,
}

impl<'a, W: Way> View<'a, W> {
    pub(super) fn new(coverage: &'a Coverage, lists: bool, min_gap: Duration) -> Self {
        Self {
            coverage,
            lists,
            min_gap,
            way: PhantomData,
        }
    }

    /// What it holds from a moment on.
    pub(super) fn holding(&self, at: Moment<W>) -> Holding {
        self.look(at).holding
    }

    /// Where the stretch that is recorded at a moment ends; the moment itself when it is not recorded.
    pub(super) fn recorded_until(&self, at: Moment<W>) -> Moment<W> {
        self.find(at, |holding| holding != Holding::Recorded)
            .unwrap_or(Moment::LAST)
    }

    /// The first moment after `at` at which another answer may begin.
    pub(super) fn same_until(&self, at: Moment<W>) -> Moment<W> {
        self.ahead(at).end
    }

    /// The first recorded moment at or after `at`.
    pub(super) fn next_recorded(&self, at: Moment<W>) -> Option<Moment<W>> {
        self.find(at, |holding| holding == Holding::Recorded)
    }

    /// The first moment at or after `at` that is recorded or unknown.
    pub(super) fn next_maybe(&self, at: Moment<W>) -> Option<Moment<W>> {
        self.find(at, |holding| holding != Holding::Gap)
    }

    /// Whether the stretch that is recorded at a moment started there, or less than `slack` before.
    pub(super) fn started_within(&self, at: Moment<W>, slack: Duration) -> bool {
        let mut start = at;
        while start == at || at.since(start) < slack {
            let behind = self.behind(start);
            let recorded = behind.holding == Holding::Recorded
                || behind.holding == Holding::Gap && self.is_bridged(start);
            if !recorded {
                return true;
            }
            start = behind.end;
        }
        false
    }

    fn find(&self, from: Moment<W>, wanted: impl Fn(Holding) -> bool) -> Option<Moment<W>> {
        let mut at = from;
        while at < Moment::LAST {
            let stretch = self.look(at);
            if wanted(stretch.holding) {
                return Some(at);
            }
            at = stretch.end;
        }
        None
    }

    fn look(&self, at: Moment<W>) -> Stretch<W> {
        let ahead = self.ahead(at);
        if ahead.holding == Holding::Gap && self.is_bridged(at) {
            return Stretch {
                holding: Holding::Recorded,
                ..ahead
            };
        }
        ahead
    }

    /// Whether the gap that a moment lies in, or borders on, is short and has footage on both sides.
    fn is_bridged(&self, at: Moment<W>) -> bool {
        let edge = |side: Stretch<W>| {
            if side.holding == Holding::Gap {
                side.end
            } else {
                at
            }
        };
        let (start, end) = (edge(self.behind(at)), edge(self.ahead(at)));
        end.since(start) < self.min_gap
            && self.behind(start).holding == Holding::Recorded
            && self.ahead(end).holding == Holding::Recorded
    }

    fn ahead(&self, at: Moment<W>) -> Stretch<W> {
        self.counted(W::ahead(self.coverage, at.time()))
    }

    fn behind(&self, at: Moment<W>) -> Stretch<W> {
        self.counted(W::behind(self.coverage, at.time()))
    }

    fn counted(&self, stretch: Stretch<W>) -> Stretch<W> {
        match stretch.holding {
            Holding::Unknown if !self.lists => Stretch {
                holding: Holding::Recorded,
                ..stretch
            },
            _ => stretch,
        }
    }
}
