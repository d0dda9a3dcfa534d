//! The seam itself: one leg gives way to the next; and what is looked at again while a leg plays.

use std::time::Instant;

use super::handover::{Cut, Goal, Handover};
use super::progress::Listed;
use super::seen::Seen;
use super::{Action, BETTER_LEAD_US, Director, Leg, LegId, Phase, STEPS_MAX, Seam, Waiting};
use crate::camera::CopyIx;
use crate::coverage::{Held, HeldBefore};
use crate::plan::{Direction, Step};
use crate::policy::Holes;
use crate::time::Timestamp;

/// How far playback goes, in footage time, before the plan is looked at again.
const REVIEW_EVERY_US: i64 = 1_000_000;
/// A return to a better copy that found no random access point for this much footage is given up for [`BETTER_PAUSE_US`].
const BETTER_MAX_US: i64 = 10_000_000;
const BETTER_PAUSE_US: i64 = 60_000_000;

impl Director {
    pub(super) fn drained(&mut self, id: LegId, seen: &mut Seen<'_>) {
        if !self.is_current(id) {
            return;
        }
        let bound = self.wanted();
        // What was known when the next leg was prepared may have left a hole before it that can be filled now.
        if let Some(start) = self.handover_start()
            && start.saturating_sub(bound) > self.jump_min()
        {
            // One that was told to hand over has shown, or ended with, a unit from behind the hole.
            let beyond = |leg: &Leg| leg.end.is_none_or(|end| end > start);
            if let Some(current) = self.current.filter(beyond) {
                self.set_aside(current.copy, bound, start, seen);
            }
            if self.other_fills(bound, start, seen) || self.other_may_fill(bound, start, seen) {
                self.close_handover();
            }
        }
        match &mut self.handover {
            Some(handover) if handover.cut.is_some() => self.switch(seen),
            Some(handover) if handover.ready().is_none() => {
                handover.goal = Goal::Forced { bound };
                self.retire_current();
            }
            _ => {
                self.close_handover();
                self.retire_current();
                self.seek_source(Goal::Forced { bound }, seen);
            }
        }
    }

    /// The first progress that the legs being opened serve.
    fn handover_start(&self) -> Option<i64> {
        let handover = self.handover.as_ref()?;
        match handover.cut {
            Some(Cut::At(cut)) => Some(cut),
            Some(Cut::Preroll { bound }) => Some(bound),
            None => handover.legs().map(|leg| self.progress(leg.from)).min(),
        }
    }

    fn retire_current(&mut self) {
        if let Some(leg) = self.current.take() {
            self.actions.push_back(Action::Close { leg: leg.id });
        }
    }

    /// Whether a silent leg's units were all sent, and another leg is ready.
    pub(super) fn spent(&self) -> bool {
        let ready = self
            .handover
            .as_ref()
            .is_some_and(|handover| handover.cut.is_some());
        let silent = self
            .current
            .is_some_and(|leg| leg.stalled && leg.end.is_some());
        ready && silent && self.is_spent()
    }

    pub(super) fn switch_when_spent(&mut self, seen: &mut Seen<'_>) {
        if self.spent() {
            self.switch(seen);
        }
    }

    pub(super) fn switch(&mut self, seen: &mut Seen<'_>) {
        if self.policy.holes != Holes::Skip && self.follows_a_hole() {
            // Whether it is waited out or the end is decided where every hole is.
            self.close_handover();
            self.retire_current();
            let bound = self.wanted();
            return self.seek_source(Goal::Forced { bound }, seen);
        }
        let Some(mut leg) = self.handover.take().and_then(Handover::into_ready) else {
            return;
        };
        let from = self.current.map(|current| current.copy);
        self.retire_current();
        let first = leg.first.unwrap_or(leg.from);
        let at = self.progress(first);
        let preroll = self
            .last
            .is_some_and(|last| at <= last.saturating_add(self.tolerance()));
        leg.cut = self.last.filter(|_| preroll);
        let jump = self.last.is_some_and(|last| at - last > self.jump_min());
        if jump && at - self.wanted() > self.jump_min() {
            self.skip_hole(self.wanted(), at);
        }
        leg.jump_allowed = Some(at);
        self.count_switch(seen.now);
        self.review_at = Some(at);
        self.waiting = None;
        self.hold = None;
        let seam_at = if preroll {
            self.time(self.wanted())
        } else {
            first
        };
        self.actions.push_back(Action::Switch(Seam {
            from,
            leg: leg.id,
            copy: leg.copy,
            at: seam_at,
            reason: leg.reason,
            preroll,
            jump,
        }));
        self.current = Some(leg);
        // It may have come to its end, or fallen silent, while it waited for its turn.
        if let Leg {
            end: Some(end),
            over,
            stalled,
            ..
        } = leg
            && (over || stalled)
        {
            self.bound_current(end.max(self.wanted()), seen);
        }
    }

    /// Whether the leg that would take over now leaves out more than a frame or two of what is wanted.
    fn follows_a_hole(&self) -> bool {
        let leg = self.handover.as_ref().and_then(Handover::ready_leg);
        let first = leg.map(|leg| self.progress(leg.first.unwrap_or(leg.from)));
        self.last.is_some()
            && first.is_some_and(|at| at.saturating_sub(self.wanted()) > self.jump_min())
    }

    fn count_switch(&mut self, now: Instant) {
        self.switches.push_back(now);
        while self
            .switches
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > self.policy.flap.window)
        {
            self.switches.pop_front();
        }
    }

    /// Looks at the plan again: a bar ended, coverage grew, a better copy is back, a seam comes near.
    pub(super) fn review(&mut self, seen: &mut Seen<'_>) {
        self.looked = Some(seen.now);
        if self.phase != Phase::Playing {
            return;
        }
        match self.waiting {
            Some(Waiting::Hole { until, resume_at }) => {
                return self.review_hole(until, resume_at, seen);
            }
            Some(Waiting::Outage { since, jump_to }) if self.handover.is_none() => {
                return match jump_to.filter(|_| self.current.is_some()) {
                    Some(target) => self.review_jump(since, target, seen),
                    None => self.review_outage(since, seen),
                };
            }
            _ => {}
        }
        let Some(current) = self.current else { return };
        let at = self.wanted();
        self.review_at = Some(at.saturating_add(REVIEW_EVERY_US));
        if self.handover.is_some() {
            self.give_up_better(at);
            self.force_better(at, &current, seen);
            self.give_up_seam(at, seen);
            return self.switch_when_spent(seen);
        }
        if current.over || current.stalled {
            return self.prepare(current.end.unwrap_or(at), None, seen);
        }
        match self.step(at, Some(current.copy), seen) {
            Step::Leg { copy, until, .. } if copy == current.copy => {
                if let Some(leg) = &mut self.current {
                    leg.until = until;
                }
                let lead = self.policy.prefetch.as_micros() as i64;
                if let Some(bound) = until.map(|until| self.progress(until))
                    && bound.saturating_sub(at) <= lead
                    && self.request.until != until
                    && (!self.rests(at) || !self.goes_on_at(bound, seen))
                {
                    self.prepare(bound, Some(current.copy), seen);
                }
            }
            Step::Leg {
                copy,
                until,
                reason,
                ..
            } => {
                let start = at.saturating_add(BETTER_LEAD_US);
                let end = self.known_end(current.copy, at, start, seen);
                if end < start {
                    // The current copy is known to hold nothing there: no matter of choice, whatever came of an earlier return.
                    return self.prepare(end, Some(current.copy), seen);
                }
                if self.may_return(at) && self.is_worth_it(&current, copy, start, until, seen) {
                    let leg = self.open(copy, self.time(start), until, reason);
                    self.handover = Some(Handover::new(Goal::Better, leg));
                }
            }
            _ => {}
        }
    }

    /// Whether a leg that could go on is left for one of a better copy that takes over at `start`.
    fn is_worth_it(
        &self,
        current: &Leg,
        better: CopyIx,
        start: i64,
        until: Option<Timestamp>,
        seen: &mut Seen<'_>,
    ) -> bool {
        let listed = |copy: CopyIx, at: i64| {
            let facts = seen.facts.get(copy.index());
            facts.map(|facts| self.listed(facts.coverage, at))
        };
        // What a leg delivers is proof enough, whatever its recorder lists.
        if listed(current.copy, self.wanted()) == Some(Listed::Gap)
            || listed(better, start) == Some(Listed::Gap)
        {
            return false;
        }
        let min_stay = self.policy.min_stay.as_micros() as i64;
        if until.is_some_and(|until| self.progress(until).saturating_sub(start) < min_stay) {
            return false;
        }
        // That the current copy ends, or is of unknown coverage, may be no cause any more where the better one would take over.
        let at = self.wanted();
        let held = |at| listed(current.copy, at) == Some(Listed::Recorded);
        held(at) && held(at.saturating_add(self.interval_us))
            || matches!(
                self.step(start, Some(current.copy), seen),
                Step::Leg { copy, .. } if copy == better
            )
    }

    /// The first progress between two at which a copy is known to hold nothing; the second where there is none.
    fn known_end(&self, copy: CopyIx, from: i64, to: i64, seen: &mut Seen<'_>) -> i64 {
        let copies = seen.copies(&self.vetoes);
        let Some(coverage) = copies.get(copy.index()).map(|copy| copy.coverage) else {
            return to;
        };
        let mut at = from;
        for _ in 0..STEPS_MAX {
            let until = match self.request.direction {
                Direction::Forward => match coverage.held(self.time(at)) {
                    Held::Recorded { until } | Held::Unknown { until } => until,
                    Held::Gap { .. } => return at,
                },
                Direction::Reverse => match coverage.held_before(self.time(at)) {
                    HeldBefore::Recorded { since } | HeldBefore::Unknown { since } => since,
                    HeldBefore::Gap { .. } => return at,
                },
            };
            at = self.progress(until);
            if at >= to {
                return to;
            }
        }
        to
    }

    /// Without a known frame interval the same picture of two copies cannot be told from the next one.
    fn may_return(&self, at: i64) -> bool {
        self.recent.len() >= 3 && !self.rests(at)
    }

    /// Whether a better copy that was no use is left alone for now.
    fn rests(&self, at: i64) -> bool {
        self.better_from.is_some_and(|from| at < from)
    }

    /// No leg can be had; asks again, and gives up in the end.
    fn review_outage(&mut self, since: Instant, seen: &mut Seen<'_>) {
        let given_up =
            seen.now.saturating_duration_since(since) >= self.policy.outage_wait && self.is_spent();
        let Some(silent) = self.current.filter(|_| !given_up) else {
            self.retire_current();
            let goal = match self.last {
                None => Goal::Start,
                Some(_) => Goal::Forced {
                    bound: self.wanted(),
                },
            };
            return self.seek_source(goal, seen);
        };
        self.prepare(silent.end.unwrap_or(self.wanted()), None, seen);
    }

    /// A better copy that does not catch up is no use.
    fn give_up_better(&mut self, at: i64) {
        let Some(handover) = &self.handover else {
            return;
        };
        let late = handover
            .legs()
            .all(|leg| at.saturating_sub(self.progress(leg.from)) > BETTER_MAX_US);
        if handover.goal == Goal::Better && handover.cut.is_none() && late {
            self.close_handover();
            self.better_from = Some(at.saturating_add(BETTER_PAUSE_US));
        }
    }

    /// Where the current leg is known to end soon, a better copy that has not come so far is no matter of choice any more.
    fn force_better(&mut self, at: i64, current: &Leg, seen: &mut Seen<'_>) {
        let awaited = self.handover.as_ref().is_some_and(|handover| {
            handover.goal == Goal::Better && handover.cut.is_none() && handover.point.is_none()
        });
        if !awaited || current.end.is_some() {
            return;
        }
        let soon = at.saturating_add(BETTER_LEAD_US);
        let end = self.known_end(current.copy, at, soon, seen);
        if end < soon && !self.force_handover(end) {
            self.close_handover();
            self.prepare(end, Some(current.copy), seen);
        }
    }

    /// The facts may have changed since a seam was prepared: the leg that plays goes on.
    fn give_up_seam(&mut self, at: i64, seen: &mut Seen<'_>) {
        let (Some(current), Some(handover)) = (self.current, &self.handover) else {
            return;
        };
        let Goal::Forced { bound } = handover.goal else {
            return;
        };
        if current.end.is_some() {
            return;
        }
        if let Step::Leg { copy, until, .. } = self.step(at, Some(current.copy), seen)
            && copy == current.copy
            && until
                .is_none_or(|until| self.progress(until).saturating_sub(bound) > self.jump_min())
        {
            self.close_handover();
        }
    }

    /// Enough switches for now: the playback stays where it is as long as it can.
    pub(super) fn flapping(&self, now: Instant) -> bool {
        let recent = self
            .switches
            .iter()
            .filter(|at| now.saturating_duration_since(**at) <= self.policy.flap.window)
            .count();
        recent >= self.policy.flap.switches_max as usize
    }
}
