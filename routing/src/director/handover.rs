//! From one leg to the next: what is being opened, where it can take over, and what happens when a leg fails.

use std::time::Duration;

use smallvec::SmallVec;

use super::seen::Seen;
use super::{
    Action, Director, Failure, INTERVAL_RANGE_US, LIVE_WITHIN_US, Leg, LegId, Lesson,
    PREROLL_MAX_US,
};
use crate::coverage::Held;
use crate::plan::{CopyFacts, Direction};
use crate::policy::Holes;
use crate::time::Timestamp;

/// Listings are taken to be this exact when footage that they deny arrives.
const LISTED_WITHIN_US: u64 = 2_000_000;

/// Pictures that tell the cadence of a leg that begins late: more than encoders usually put between two that are not in their order.
pub const START_UNITS: usize = 4;

/// The shortest frame interval that is believed.
const INTERVAL_MIN: Duration = Duration::from_micros(INTERVAL_RANGE_US.0.unsigned_abs());

/// Why another leg is being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Nothing plays yet.
    Start,
    /// The current leg cannot go beyond this progress.
    Forced { bound: i64 },
    /// The current leg could go on; a better copy is back.
    Better,
}

/// Where the current leg is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// At a random access point of the incoming leg that has not been sent yet.
    At(i64),
    /// At `bound`; the incoming leg's units up to there are decoding preroll.
    Preroll { bound: i64 },
}

/// Legs being opened to follow the current one. The first to be ready wins.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) goal: Goal,
    pub(super) cut: Option<Cut>,
    /// Units were dropped from the front of the ready leg: without a cut, decoding cannot start with what is left.
    pub(super) trimmed: bool,
    /// The random access point at the front of the ready leg, where it could take over.
    pub(super) point: Option<(Timestamp, i64)>,
    /// Progress up to which the ready leg has shown units; all there is once its owner reads no further.
    pub(super) reached: Option<i64>,
    ready: Option<LegId>,
    legs: SmallVec<[Leg; 2]>,
}

impl Handover {
    pub(super) fn new(goal: Goal, leg: Leg) -> Self {
        Handover {
            goal,
            cut: None,
            trimmed: false,
            point: None,
            reached: None,
            ready: None,
            legs: SmallVec::from_iter([leg]),
        }
    }

    /// The leg that will take over, once it has shown its first unit.
    pub(super) fn ready(&self) -> Option<LegId> {
        self.ready
    }

    pub(super) fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter()
    }

    pub(super) fn join(&mut self, leg: Leg) {
        self.legs.push(leg);
    }

    /// The leg that takes over.
    pub(super) fn into_ready(self) -> Option<Leg> {
        self.legs.into_iter().find(|leg| Some(leg.id) == self.ready)
    }

    pub(super) fn ready_leg(&self) -> Option<&Leg> {
        self.legs.iter().find(|leg| Some(leg.id) == self.ready)
    }

    pub(super) fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    pub(super) fn take_over_at(&mut self, first: Timestamp, at: i64) {
        self.cut = Some(Cut::At(at));
        if let Some(leg) = self.ready.and_then(|id| self.leg(id)) {
            leg.first = Some(first);
        }
    }
}

impl Director {
    pub(super) fn close_handover(&mut self) {
        if let Some(handover) = self.handover.take() {
            self.actions.extend(
                handover
                    .legs
                    .iter()
                    .map(|leg| Action::Close { leg: leg.id }),
            );
        }
    }

    pub(super) fn is_current(&self, leg: LegId) -> bool {
        self.current.is_some_and(|current| current.id == leg)
    }

    /// Gives up an incoming leg; the handover is gone with its last one.
    pub(super) fn close_incoming(&mut self, id: LegId) -> Option<Leg> {
        let handover = self.handover.as_mut()?;
        let ix = handover.legs.iter().position(|leg| leg.id == id)?;
        let leg = handover.legs.remove(ix);
        if handover.ready == Some(id) {
            handover.ready = None;
            handover.cut = None;
            handover.trimmed = false;
            handover.point = None;
            handover.reached = None;
        }
        if handover.legs.is_empty() {
            self.handover = None;
        }
        self.actions.push_back(Action::Close { leg: id });
        Some(leg)
    }

    pub(super) fn leg_opened(
        &mut self,
        id: LegId,
        (first, step): (Timestamp, Option<Duration>),
        wall: Timestamp,
        seen: &mut Seen<'_>,
    ) {
        let step = step.filter(|_| self.last.is_none());
        let step_us = step.map(|step| step.as_micros() as i64);
        let (min, max) = INTERVAL_RANGE_US;
        if let Some(step_us) = step_us.filter(|step| (min..=max).contains(step)) {
            self.interval_us = step_us;
        }
        let (at, wanted) = (self.progress(first), self.wanted());
        let late_min = self.late_min(step);
        let Some(handover) = &mut self.handover else {
            return;
        };
        let goal = handover.goal;
        let taken = handover.ready.is_some();
        let Some(leg) = handover.leg(id) else { return };
        if taken {
            self.close_incoming(id);
            return;
        }
        leg.first = Some(first);
        let was_slow = std::mem::take(&mut leg.stalled);
        leg.end = None;
        let leg = *leg;
        if was_slow {
            self.vetoes.forgive(leg.copy);
        }
        let asked = self.progress(leg.from);
        if self.wrong_footage(&leg, first, wall, seen.facts) {
            self.close_incoming(id);
            self.actions.push_back(Action::Teach {
                copy: leg.copy,
                lesson: Lesson::WrongFootage,
            });
            self.vetoes
                .failed(leg.copy, Failure::WrongFootage, seen.now);
            return self.replace_incoming(goal, seen);
        }
        // It starts late: the copy does not hold [asked, first). Another may.
        let missing = asked.max(wanted);
        let gap_end = self.gap_end(at);
        if gap_end.saturating_sub(missing) > late_min && goal != Goal::Better {
            self.disprove(leg.copy, missing, gap_end, seen);
            let hedged = self
                .handover
                .as_ref()
                .is_some_and(|handover| handover.legs.len() > 1);
            // Behind a hole that ends playback, or that is waited out, its turn has not come.
            let too_soon = self.last.is_some()
                && (self.policy.holes != Holes::Skip || self.misfit_ends(missing, seen.facts));
            let beyond = self.beyond_range(at);
            if hedged
                || too_soon
                || beyond
                || self.other_fills_more_than(late_min, missing, at, seen)
            {
                self.close_incoming(id);
                return self.replace_incoming(goal, seen);
            }
        }
        let fresh = self
            .last
            .is_none_or(|last| at > last.saturating_add(self.tolerance()));
        let goal = match goal {
            Goal::Forced { bound } if self.goes_on_at(bound, seen) => Goal::Better,
            goal => goal,
        };
        let Some(handover) = &mut self.handover else {
            return;
        };
        handover.goal = goal;
        handover.ready = Some(id);
        handover.point = fresh.then_some((first, at));
        handover.cut = match goal {
            // Where it has shown that it goes on: see `judge_incoming`.
            Goal::Better => None,
            _ if fresh => Some(Cut::At(at)),
            Goal::Forced { bound } => Some(Cut::Preroll { bound }),
            Goal::Start => None,
        };
        let beaten: SmallVec<[LegId; 2]> = handover
            .legs
            .iter()
            .map(|leg| leg.id)
            .filter(|leg| *leg != id)
            .collect();
        handover.legs.retain(|leg| leg.id == id);
        self.actions
            .extend(beaten.into_iter().map(|leg| Action::Close { leg }));
        if self.current.is_none() {
            self.switch(seen);
        } else {
            self.switch_when_spent(seen);
        }
    }

    /// Whether a leg's first picture is late by so little that only its cadence tells whether another is missing before it. Its owner
    /// then reads [`START_UNITS`] of them, as far as they come at once, before it tells [`super::Event::LegOpened`]. `wall` is
    /// the time of day: what is live begins where it begins.
    pub fn doubts_start(&self, leg: LegId, first: Timestamp, wall: Timestamp) -> bool {
        let unsure = self.last.is_none()
            && self.request.direction == Direction::Forward
            && wall.micros_since(first).abs() >= LIVE_WITHIN_US;
        let mut legs = self.handover.iter().flat_map(Handover::legs);
        let Some(leg) = legs.find(|opening| opening.id == leg).filter(|_| unsure) else {
            return false;
        };
        let missing = self.progress(leg.from).max(self.wanted());
        let late = self.progress(first).saturating_sub(missing);
        late > self.late_min(Some(INTERVAL_MIN)) && late <= self.jump_min()
    }

    /// Whether the current leg can go on behind a point where the plan leaves it for a better copy: then it is left where that
    /// copy's next random access point is, and nothing needs to be sent again.
    pub(super) fn goes_on_at(&self, bound: i64, seen: &mut Seen<'_>) -> bool {
        let alive = |leg: &Leg| !leg.over && !leg.stalled && leg.end.is_none();
        let Some(current) = self.current.filter(alive) else {
            return false;
        };
        let behind = self.time(bound.saturating_add(self.interval_us));
        let copies = seen.copies(&self.vetoes);
        self.request.direction == Direction::Forward
            && copies
                .get(current.copy.index())
                .is_some_and(|copy| !matches!(copy.coverage.held(behind), Held::Gap { .. }))
    }

    /// Footage of another time: too early for a group of pictures, where its recorder lists nothing, or live where old footage was
    /// asked for.
    fn wrong_footage(
        &self,
        leg: &Leg,
        first: Timestamp,
        wall: Timestamp,
        facts: &[CopyFacts<'_>],
    ) -> bool {
        if self.progress(first).saturating_add(PREROLL_MAX_US) < self.progress(leg.from) {
            return true;
        }
        let near = Duration::from_micros(LISTED_WITHIN_US);
        let lists_none = facts.get(leg.copy.index()).is_some_and(|copy| {
            let gap = copy.coverage.held(first - near);
            copy.lists && matches!(gap, Held::Gap { until } if until > first + near)
        });
        if lists_none && self.progress(first) > self.progress(leg.from) {
            return true;
        }
        let live = wall.micros_since(first).abs() < LIVE_WITHIN_US;
        let asked_old = wall.micros_since(leg.from) > LIVE_WITHIN_US * 4;
        let next = facts
            .get(leg.copy.index())
            .and_then(|copy| copy.coverage.next_start(leg.from));
        // A recorder that really resumed a moment ago lists no earlier footage after the asked time.
        let listed = next.is_some_and(|next| wall.micros_since(next).abs() < LIVE_WITHIN_US * 2);
        live && asked_old && !listed
    }
}
