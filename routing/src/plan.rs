//! Which copy plays next, and until when: the same facts always give the same step.

use std::time::Duration;

use crate::camera::{COPIES_MAX, CopyIx};
use crate::coverage::Coverage;
use crate::health::HealthState;
use crate::policy::{Failback, Policy};
use crate::time::Timestamp;

mod reason;
mod view;

pub use reason::{Reason, Trouble};
use view::{Backward, Forward, Holding, Moment, View, Way};

/// The way of a playback through time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// As it happened.
    #[default]
    Forward,
    /// Back in time.
    Reverse,
}

/// What a client asked for. In [`Direction::Reverse`], `at` is the later of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where playback starts. Forward, the first instant to play; in reverse, the first instant that is no longer played.
    pub at: Timestamp,
    /// Where playback ends, in play direction; none for as long as there is footage.
    pub until: Option<Timestamp>,
    /// Its way through time.
    pub direction: Direction,
}

/// What is known of one copy when a step is chosen.
#[derive(Clone, Copy, Debug)]
pub struct CopyFacts<'a> {
    /// What it holds, in true time.
    pub coverage: &'a Coverage,
    /// Whether its recorder lives.
    pub health: HealthState,
    /// For how long its recorder has been healthy without a break; none when it is not.
    pub healthy_for: Option<Duration>,
    /// Whether its recorder can list what it holds. What one that cannot does not say counts as recorded.
    pub lists: bool,
    /// Whether this playback has given up on it.
    pub barred: bool,
}

/// What to do from an instant on. Its times are in play order: in reverse, `until` is the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Play a copy.
    Leg {
        /// Which.
        copy: CopyIx,
        /// Where it starts.
        from: Timestamp,
        /// The first instant at which it must or should be left; none when nothing known ends it.
        until: Option<Timestamp>,
        /// Why this copy.
        reason: Reason,
    },
    /// Nothing was recorded.
    Hole {
        /// Where it starts.
        from: Timestamp,
        /// Where some copy holds, or may hold, footage again.
        until: Option<Timestamp>,
    },
    /// Only copies that cannot be reached hold, or may hold, the footage.
    Outage {
        /// Where it starts.
        from: Timestamp,
        /// Where a copy that can be reached holds, or may hold, footage again.
        until: Option<Timestamp>,
    },
    /// Nothing is left to play.
    End,
}

/// The whole of a playback, as far as it is known now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its steps in play order, each starting where the one before ends; without the final [`Step::End`].
    pub steps: Vec<Step>,
    /// Whether it was cut off at [`STEPS_MAX`].
    pub truncated: bool,
}

/// Most steps of a [`Plan`].
pub const STEPS_MAX: usize = 4_096;

/// Chooses the step that starts at `at`, with `current` the copy that has played up to there.
///
/// `copies` come in order of priority; those beyond [`COPIES_MAX`] are not looked at. Allocates nothing. Takes a few
/// look-ups a copy, and some more for each short gap that is played over and each short return that is not made.
///
/// - Copies whose recorder is down, or that this playback has barred, are not used.
/// - The first copy that is recorded at `at` is chosen, else the first of which it is not known. Gaps shorter than
///   [`Policy::min_gap`] between recorded stretches count as recorded.
/// - `current` is kept while it is recorded. A better copy takes over where its gap ends, or in mid-period, as
///   [`Policy::failback`] says; not while its recorder is suspect, nor for less than [`Policy::min_stay`].
/// - A current copy of unknown coverage gives way only to a recorded one.
///
/// The step ends at the first instant at which the same rules, facts unchanged, would choose otherwise. Trailing
/// stretches without footage are no step: once nothing is left before `request.until`, the answer is [`Step::End`].
pub fn next_step(
    at: Timestamp,
    request: &Request,
    copies: &[CopyFacts<'_>],
    current: Option<CopyIx>,
    policy: &Policy,
) -> Step {
    // As a rule each of them is asked about `at`, but only when the one before it has answered.
    for facts in copies {
        facts.coverage.fetch(at);
    }
    match request.direction {
        Direction::Forward => Planner::<Forward>::new(request, copies, policy).step(at, current),
        Direction::Reverse => Planner::<Backward>::new(request, copies, policy).step(at, current),
    }
}

/// Chooses all steps of a request, as if nothing changed while it plays.
pub fn plan(request: &Request, copies: &[CopyFacts<'_>], policy: &Policy) -> Plan {
    let mut plan = Plan::default();
    let (mut at, mut current) = (request.at, None);
    loop {
        let step = next_step(at, request, copies, current, policy);
        let until = match step {
            Step::Leg { copy, until, .. } => {
                current = Some(copy);
                until
            }
            Step::Hole { until, .. } | Step::Outage { until, .. } => {
                current = None;
                until
            }
            Step::End => return plan,
        };
        if plan.steps.len() == STEPS_MAX {
            plan.truncated = true;
            return plan;
        }
        plan.steps.push(step);
        match until {
            Some(until) => at = until,
            None => return plan,
        }
    }
}

/// The rules, written for one way through time. Moments grow in play direction.
struct Planner<'a, W> {
    copies: &'a [CopyFacts<'a>],
    policy: &'a Policy,
    /// Where the request ends.
    bound: Moment<W>,
}

impl<'a, W: Way> Planner<'a, W> {
    fn new(request: &Request, copies: &'a [CopyFacts<'a>], policy: &'a Policy) -> Self {
        Self {
            copies: copies.get(..COPIES_MAX).unwrap_or(copies),
            policy,
            bound: request.until.map_or(Moment::LAST, Moment::of),
        }
    }

    fn step(&self, at: Timestamp, current: Option<CopyIx>) -> Step {
        let from = Moment::of(at);
        if from >= self.bound {
            return Step::End;
        }
        match self.choose(from, current.map(CopyIx::index)) {
            Some(chosen) => Step::Leg {
                copy: CopyIx(chosen as u8),
                from: at,
                until: self.leave(from, chosen).known_time(),
                reason: self.reason(from, chosen),
            },
            None => self.nothing(from),
        }
    }

    /// The copy to play at a moment, with `current` playing up to it.
    fn choose(&self, at: Moment<W>, current: Option<usize>) -> Option<usize> {
        let playing = current.and_then(|ix| Some((ix, self.usable(ix)?.holding(at))));
        match playing {
            Some((ix, Holding::Recorded)) => Some(
                (0..ix)
                    .find(|&better| self.takes_over(better, at))
                    .unwrap_or(ix),
            ),
            Some((ix, Holding::Unknown)) => self.first(at, Holding::Recorded).or(Some(ix)),
            _ => self
                .first(at, Holding::Recorded)
                .or_else(|| self.first(at, Holding::Unknown)),
        }
    }

    /// The first moment at which a copy chosen at `from` is no longer the choice.
    fn leave(&self, from: Moment<W>, chosen: usize) -> Moment<W> {
        let mut at = from;
        for _ in 0..LEG_PIECES_MAX {
            at = self.piece_end(at, chosen);
            if at >= self.bound {
                return self.bound;
            }
            if self.choose(at, Some(chosen)) != Some(chosen) {
                return at;
            }
        }
        at
    }

    /// The next moment at which the choice may change while `chosen` plays.
    fn piece_end(&self, at: Moment<W>, chosen: usize) -> Moment<W> {
        let Some(view) = self.usable(chosen) else {
            return at;
        };
        match view.holding(at) {
            Holding::Recorded => {
                let end = view.recorded_until(at).min(self.bound);
                (0..chosen).fold(end, |end, better| self.taken_over(better, at, end))
            }
            _ => (0..self.copies.len())
                .filter(|&other| other != chosen)
                .filter_map(|other| self.usable(other)?.next_recorded(at))
                .fold(view.same_until(at), Moment::min),
        }
    }

    /// Whether a better copy takes over at a moment from one that has footage.
    fn takes_over(&self, better: usize, at: Moment<W>) -> bool {
        self.returnable(better).is_some_and(|view| {
            view.holding(at) == Holding::Recorded
                && (self.returns_anywhere(better) || self.returns_at_start(&view, at))
                && self.stays(&view, at)
        })
    }

    /// The first moment after `at` and before `end` at which a better copy takes over, else `end`.
    fn taken_over(&self, better: usize, at: Moment<W>, end: Moment<W>) -> Moment<W> {
        let Some(view) = self.returnable(better) else {
            return end;
        };
        let mut at = at;
        loop {
            let gap = if view.holding(at) == Holding::Recorded {
                view.recorded_until(at)
            } else {
                at
            };
            match view.next_recorded(gap) {
                Some(start) if start < end => {
                    if self.stays(&view, start) {
                        return start;
                    }
                    at = start;
                }
                _ => return end,
            }
        }
    }

    /// A better copy, if one may return to it at all.
    fn returnable(&self, better: usize) -> Option<View<'a, W>> {
        let facts = self.copies.get(better)?;
        let trusted =
            facts.health != HealthState::Suspect && self.policy.failback != Failback::Never;
        self.usable(better).filter(|_| trusted)
    }

    fn returns_anywhere(&self, better: usize) -> bool {
        match (
            self.policy.failback,
            self.copies.get(better).and_then(|facts| facts.healthy_for),
        ) {
            (Failback::After(wanted), Some(healthy_for)) => healthy_for >= wanted,
            _ => false,
        }
    }

    /// Frames do not start exactly where periods do: a start counts for as long as a gap would not.
    fn returns_at_start(&self, view: &View<'a, W>, at: Moment<W>) -> bool {
        view.started_within(at, self.policy.min_gap)
    }

    fn stays(&self, view: &View<'a, W>, from: Moment<W>) -> bool {
        view.recorded_until(from).min(self.bound).since(from) >= self.policy.min_stay
    }

    fn first(&self, at: Moment<W>, wanted: Holding) -> Option<usize> {
        (0..self.copies.len()).find(|&ix| {
            self.usable(ix)
                .is_some_and(|view| view.holding(at) == wanted)
        })
    }

    /// The step at a moment at which no copy is to be played.
    fn nothing(&self, from: Moment<W>) -> Step {
        let nearest = |usable: bool| {
            (0..self.copies.len())
                .filter(|&ix| self.usable(ix).is_some() == usable)
                .filter_map(|ix| self.view(ix)?.next_maybe(from))
                .filter(|&at| at < self.bound)
                .min()
        };
        let (playable, lost) = (nearest(true), nearest(false));
        let until = |at: Option<Moment<W>>| at.unwrap_or(self.bound).known_time();
        match (playable, lost) {
            (None, None) => Step::End,
            (_, Some(lost)) if lost <= from => Step::Outage {
                from: from.time(),
                until: until(playable),
            },
            (None, lost) => Step::Hole {
                from: from.time(),
                until: until(lost),
            },
            (Some(playable), lost) => {
                let until = lost.map_or(playable, |lost| lost.min(playable));
                Step::Hole {
                    from: from.time(),
                    until: until.known_time(),
                }
            }
        }
    }

    fn reason(&self, at: Moment<W>, chosen: usize) -> Reason {
        let unknown = self
            .usable(chosen)
            .is_some_and(|view| view.holding(at) == Holding::Unknown);
        let troubles = self
            .copies
            .iter()
            .take(chosen)
            .enumerate()
            .map(|(ix, facts)| {
                if facts.health == HealthState::Down {
                    return Trouble::Offline;
                }
                if facts.barred {
                    return Trouble::Barred;
                }
                match self
                    .view(ix)
                    .map(|view| (view.holding(at), self.stays(&view, at)))
                {
                    Some((Holding::Recorded, true)) => Trouble::NotYet,
                    Some((Holding::Recorded, false)) => Trouble::TooShort,
                    Some((Holding::Unknown, _)) => Trouble::Unknown,
                    Some((Holding::Gap, _)) | None => Trouble::Gap,
                }
            });
        Reason::new(unknown, troubles)
    }

    fn usable(&self, ix: usize) -> Option<View<'a, W>> {
        let facts = self.copies.get(ix)?;
        let usable = facts.health != HealthState::Down && !facts.barred;
        self.view(ix).filter(|_| usable)
    }

    fn view(&self, ix: usize) -> Option<View<'a, W>> {
        let facts = self.copies.get(ix)?;
        Some(View::new(facts.coverage, facts.lists, self.policy.min_gap))
    }
}

/// Most changes of what is known of a copy that one leg crosses; beyond it the next step goes on with the same copy.
const LEG_PIECES_MAX: usize = 64;
