//! Jumps in capture time: filled from another copy, or accepted as a hole that is skipped, waited out or the end.

use std::time::{Duration, Instant};

use super::handover::{Cut, Goal, Handover};
use super::seen::Seen;
use super::{Action, Director, End, LegId, STEPS_MAX, Waiting};
use crate::plan::Step;
use crate::policy::Holes;
use crate::time::Timestamp;

impl Director {
    /// A jump of the current leg that is not reached yet: opens the copy that fills it, if there is one.
    pub(super) fn jump_ahead(
        &mut self,
        id: LegId,
        from: Timestamp,
        to: Timestamp,
        seen: &mut Seen<'_>,
    ) {
        let Some(current) = self.current.filter(|current| current.id == id) else {
            return;
        };
        let start = self.progress(from).saturating_add(self.tolerance());
        if self.leaves_by(start) || start < self.wanted() || self.beyond_range(start) {
            return;
        }
        let target = self.progress(to);
        let gap_end = self.gap_end(target);
        if gap_end.saturating_sub(start) <= self.jump_min() {
            // Too short to be worth a seam after all.
            if let Some(current) = &mut self.current {
                current.jump_allowed = Some(target);
            }
            return;
        }
        self.disprove(current.copy, start, gap_end, seen);
        if self.better_fills(start, seen) {
            // Should it turn out to be no use, the plan says what fills the jump.
            return;
        }
        if self.other_fills(start, target, seen) {
            return self.prepare_fill(start, seen);
        }
        let wanting = match self.step(start, None, seen) {
            Step::Outage { until, .. } => until.map_or(target, |until| self.progress(until)),
            _ => start,
        };
        if wanting.saturating_sub(start) > self.jump_min() {
            self.hold(seen.now);
        }
    }

    /// Whether the leg of a better copy that is awaited is the one that fills a jump from `start` on.
    fn better_fills(&self, start: i64, seen: &mut Seen<'_>) -> bool {
        let Some(handover) = &self.handover else {
            return false;
        };
        let awaited = handover.goal == Goal::Better && handover.cut.is_none();
        let mut comes = handover
            .legs()
            .filter(|leg| !leg.over && !leg.stalled && self.progress(leg.from) <= start);
        let Some(leg) = comes.next().filter(|_| awaited) else {
            return false;
        };
        matches!(self.step(start, None, seen), Step::Leg { copy, from, .. }
            if copy == leg.copy && self.progress(from) <= start)
    }

    /// Whether the current leg is to be left at or before a point of progress. What follows it later, such as behind its end,
    /// is in the way of nothing that comes sooner.
    fn leaves_by(&self, at: i64) -> bool {
        let Some(handover) = &self.handover else {
            return false;
        };
        match (handover.cut, handover.goal) {
            (Some(Cut::At(seam) | Cut::Preroll { bound: seam }), _)
            | (None, Goal::Forced { bound: seam }) => seam <= at,
            (None, Goal::Start) => true,
            // One that has not shown yet that it goes on is no cause to run into the jump.
            (None, Goal::Better) => false,
        }
    }

    /// The current leg's next unit lies beyond a jump: fills it from another copy, or accepts the hole.
    pub(super) fn jump(&mut self, id: LegId, to: Timestamp, seen: &mut Seen<'_>) {
        let to = match self.request.until {
            Some(until) if self.beyond_range(self.progress(to)) => until,
            _ => to,
        };
        let (target, start) = (self.progress(to), self.wanted());
        let Some(current) = self.current.filter(|current| current.id == id) else {
            return;
        };
        if matches!(self.waiting, Some(Waiting::Hole { .. })) {
            return;
        }
        let gap_end = self.gap_end(target);
        if gap_end.saturating_sub(start) <= self.jump_min() {
            // Too short to be worth a seam after all.
            if let Some(current) = &mut self.current {
                current.jump_allowed = Some(target);
            }
            return;
        }
        self.disprove(current.copy, start, gap_end, seen);
        if self.better_fills(start, seen) && self.force_handover(start) {
            return;
        }
        if self.other_fills(start, target, seen) {
            return self.prepare_fill(start, seen);
        }
        if self.waits_for_a_filler(start, target, seen) {
            return;
        }
        match self.policy.holes {
            _ if self.misfit_ends(start, seen.facts) => self.finish(End::Mismatch),
            Holes::End => self.finish(End::Hole),
            Holes::Wait => self.wait_out_hole(start, target, seen.now),
            Holes::Skip => {
                self.skip_hole(start, target);
                if let Some(current) = &mut self.current {
                    current.jump_allowed = Some(target);
                }
                self.close_late_seam(target);
            }
        }
    }

    /// Whether a copy that failed to answer lately may hold what a jump leaves out: then it is waited for, as long as for any copy.
    fn waits_for_a_filler(&mut self, start: i64, target: i64, seen: &Seen<'_>) -> bool {
        let since = self.without_since.unwrap_or(seen.now);
        let given_up = seen.now.saturating_duration_since(since) >= self.policy.outage_wait;
        let waits = !given_up && self.other_may_fill(start, target, seen);
        if waits {
            self.without_since = Some(since);
            self.wait_for_a_copy(start, since);
            let jump_to = Some(target);
            self.waiting = Some(Waiting::Outage { since, jump_to });
        }
        waits
    }

    /// The leg that plays waits before a jump for a copy that may fill it: asks that again, and accepts the jump where it is known
    /// not to be of use.
    pub(super) fn review_jump(&mut self, since: Instant, target: i64, seen: &mut Seen<'_>) {
        let start = self.wanted();
        if self.other_fills(start, target, seen) {
            return self.prepare_fill(start, seen);
        }
        let given_up = seen.now.saturating_duration_since(since) >= self.policy.outage_wait;
        if given_up || !self.other_may_fill(start, target, seen) {
            // Its next unit is asked about again: then it is a hole.
            self.waiting = None;
            self.wait_while_silent(seen.now);
        }
    }

    /// A leg that was to fill a hole and starts behind it is no better than the current one, which goes on at `target`.
    pub(super) fn close_late_seam(&mut self, target: i64) {
        let late = self.handover.as_ref().is_some_and(|handover| {
            matches!(handover.goal, Goal::Forced { bound } if bound < target)
                && matches!(handover.cut, Some(Cut::At(cut)) if cut >= target)
        });
        if late {
            self.close_handover();
        }
    }

    /// Opens the copy that fills a jump of the current leg, whose next unit waits.
    pub(super) fn prepare_fill(&mut self, start: i64, seen: &mut Seen<'_>) {
        let mut at = start;
        for _ in 0..STEPS_MAX {
            match self.step(at, None, seen) {
                Step::Leg {
                    copy,
                    from,
                    until,
                    reason,
                } => {
                    self.close_handover();
                    let leg = self.open(copy, from, until, reason);
                    self.handover = Some(Handover::new(Goal::Forced { bound: start }, leg));
                    // Should it be of no use, the jump is looked at anew.
                    self.waiting = None;
                    return;
                }
                Step::Hole {
                    until: Some(until), ..
                }
                | Step::Outage {
                    until: Some(until), ..
                } => at = self.progress(until),
                _ => return,
            }
        }
    }

    /// Lets the time of a hole pass, counted from when there was nothing more to send.
    pub(super) fn wait_out_hole(&mut self, start: i64, end: i64, now: Instant) {
        let length = Duration::from_micros(end.saturating_sub(start).max(0) as u64);
        let since = *self.without_since.get_or_insert(now);
        let resume_at = self.time(end);
        self.waiting = Some(Waiting::Hole {
            until: since + length,
            resume_at,
        });
        self.actions.push_back(Action::Wait { at: resume_at });
    }

    /// The time of a hole passes; unless somebody turns out to hold it.
    pub(super) fn review_hole(
        &mut self,
        until: Instant,
        resume_at: Timestamp,
        seen: &mut Seen<'_>,
    ) {
        let (start, resume) = (self.wanted(), self.progress(resume_at));
        if self.other_fills(start, resume, seen) {
            self.waiting = None;
            if self.current.is_some() {
                return self.prepare_fill(start, seen);
            }
            return self.seek_source(Goal::Forced { bound: start }, seen);
        }
        if seen.now < until {
            return;
        }
        self.waiting = None;
        self.skip_hole(start, resume);
        if let Some(current) = &mut self.current {
            current.jump_allowed = Some(resume);
            return self.wait_while_silent(seen.now);
        }
        self.seek_source(Goal::Forced { bound: resume }, seen);
    }
}
