//! What the plan says comes next, and opening it.

use std::time::{Duration, Instant};

use super::handover::{Goal, Handover};
use super::progress::Listed;
use super::seen::Seen;
use super::{Action, Director, End, Hold, Leg, LegId, STEPS_MAX, Waiting};
use crate::camera::CopyIx;
use crate::health::HealthState;
use crate::plan::{CopyFacts, Reason, Step, next_step};
use crate::policy::{Failback, Holes, Mismatch, Policy};
use crate::time::{TimeRange, Timestamp};

/// A return to a better copy that failed is tried again behind so much more footage.
const BETTER_AGAIN_US: i64 = 1_000_000;

/// A leg that could go on is held back only for a copy that can be asked again within this time.
const HOLD_MAX: Duration = Duration::from_secs(2);

impl Director {
    /// What the plan says from `at` on, with this playback's own experience laid over the facts.
    ///
    /// Remainders shorter than a frame are passed over: the listing of a copy ends where its last frame ends.
    pub(super) fn step(&self, at: i64, current: Option<CopyIx>, seen: &mut Seen<'_>) -> Step {
        let policy = if self.flapping(seen.now) {
            Policy {
                failback: Failback::Never,
                ..self.policy
            }
        } else {
            self.policy
        };
        let mut copies = seen.copies(&self.vetoes);
        // A leg that delivers is proof enough that its recorder lives, whatever the probes say.
        if let Some(playing) = current.and_then(|copy| copies.get_mut(copy.index()))
            && playing.health == HealthState::Down
        {
            playing.health = HealthState::Suspect;
        }
        let mut at = at;
        for _ in 0..STEPS_MAX {
            let step = next_step(self.time(at), &self.request, &copies, current, &policy);
            match step {
                Step::Leg {
                    until: Some(until), ..
                } if Some(until) != self.request.until
                    && self.progress(until).saturating_sub(at) < self.sliver() =>
                {
                    at = self.progress(until);
                }
                step => return step,
            }
        }
        Step::End
    }

    pub(super) fn open(
        &mut self,
        copy: CopyIx,
        from: Timestamp,
        until: Option<Timestamp>,
        reason: Reason,
    ) -> Leg {
        self.legs_opened += 1;
        let leg = Leg {
            id: LegId(self.legs_opened),
            copy,
            from,
            reason,
            first: None,
            cut: None,
            joined: false,
            over: false,
            stalled: false,
            end: None,
            until,
            jump_allowed: None,
        };
        self.actions.push_back(Action::Open {
            leg: leg.id,
            copy,
            from,
            until: self.request.until,
            reason,
        });
        leg
    }

    /// Finds the leg that serves the wanted instant and opens it; else waits, skips or ends as the policy says.
    pub(super) fn seek_source(&mut self, goal: Goal, seen: &mut Seen<'_>) {
        if self.range_done() {
            return self.finish(End::Range);
        }
        let mut at = self.wanted();
        let mut hole_from: Option<i64> = None;
        // A hole before the first unit is always skipped: the start moves to the next footage (ONVIF Streaming, playback).
        let holes = if self.last.is_none() {
            Holes::Skip
        } else {
            self.policy.holes
        };
        let preferred = self.preferred.filter(|copy| {
            let copies = seen.copies(&self.vetoes);
            let facts = copies.get(copy.index());
            matches!(goal, Goal::Start)
                && facts.is_some_and(|facts| facts.health != HealthState::Down && !facts.barred)
        });
        for _ in 0..STEPS_MAX {
            match self.step(at, preferred, seen) {
                Step::Leg {
                    copy,
                    from,
                    until,
                    reason,
                } => {
                    if let Some(start) = hole_from {
                        self.skip_hole(start, self.progress(from));
                    }
                    self.waiting = None;
                    let leg = self.open(copy, from, until, reason);
                    self.handover = Some(Handover::new(goal, leg));
                    return;
                }
                Step::Hole { .. } if self.last.is_some() && self.misfit_ends(at, seen.facts) => {
                    return self.finish(End::Mismatch);
                }
                Step::Hole { from, until } => {
                    let from = self.progress(from);
                    let Some(until) = until.map(|until| self.progress(until)) else {
                        return self.finish(self.end_without_footage(seen.facts));
                    };
                    match holes {
                        Holes::End => return self.finish(End::Hole),
                        Holes::Skip => {
                            hole_from.get_or_insert(from.max(at));
                            at = until;
                        }
                        Holes::Wait => return self.wait_out_hole(at, until, seen.now),
                    }
                }
                Step::Outage { from, until } => {
                    // The end of the leg before was held back for it already.
                    let kept = self.hold.filter(|hold| hold.ended && hold.kept);
                    let kept = kept.map(|hold| hold.since);
                    let since = *self.without_since.get_or_insert(kept.unwrap_or(seen.now));
                    let given_up =
                        seen.now.saturating_duration_since(since) >= self.policy.outage_wait;
                    let until = until.map(|until| self.progress(until));
                    let short = |until: i64| until.saturating_sub(at) <= self.jump_min();
                    match until {
                        // Somebody in reach holds what comes later.
                        Some(until) if short(until) || given_up && holes != Holes::End => {
                            hole_from.get_or_insert(self.progress(from).max(at));
                            at = until;
                        }
                        _ if given_up => return self.finish(End::Outage),
                        _ => return self.wait_for_a_copy(at, since),
                    }
                }
                Step::End => return self.finish(self.end_without_footage(seen.facts)),
            }
        }
        self.finish(End::Footage);
    }

    pub(super) fn wait_for_a_copy(&mut self, at: i64, since: Instant) {
        if !matches!(self.waiting, Some(Waiting::Outage { .. })) {
            self.actions.push_back(Action::Wait { at: self.time(at) });
        }
        self.waiting = Some(Waiting::Outage {
            since,
            jump_to: None,
        });
    }

    pub(super) fn skip_hole(&mut self, start: i64, end: i64) {
        self.resume = Some(end);
        let (from, to) = (self.time(start.min(end)), self.time(end.max(start)));
        if let Some(range) = TimeRange::new(from.min(to), from.max(to)) {
            self.actions.push_back(Action::Hole(range));
        }
    }

    pub(super) fn end_without_footage(&self, facts: &[CopyFacts<'_>]) -> End {
        if self.misfit_ends(self.wanted(), facts) {
            End::Mismatch
        } else {
            End::Footage
        }
    }

    /// Whether, where playback ends for want of footage, each copy that is not known to hold nothing more could have said so: one
    /// that cannot be asked may hold more, and what ends there is not whole.
    pub fn is_end_sure(&self, facts: &[CopyFacts<'_>]) -> bool {
        facts.iter().all(|copy| {
            self.listed(copy.coverage, self.wanted()) == Listed::Gap
                || !matches!(copy.health, HealthState::Suspect | HealthState::Down)
        })
    }

    /// Whether a copy that does not fit may hold what comes at this progress, and the policy ends playback there.
    pub(super) fn misfit_ends(&self, at: i64, facts: &[CopyFacts<'_>]) -> bool {
        let next = self.time(at.saturating_add(self.interval_us));
        self.policy.mismatch == Mismatch::End
            && self.vetoes.misfit_holds(facts, self.time(at), next)
    }

    /// Whether the plan has a leg that starts before `end` in place of what proved missing from `start` on.
    pub(super) fn other_fills(&self, start: i64, end: i64, seen: &mut Seen<'_>) -> bool {
        self.other_fills_more_than(self.jump_min(), start, end, seen)
    }

    /// As [`Director::other_fills`], by a copy that failed to answer lately. It is asked again before what only it may hold is passed
    /// over. One that has been down for longer, or was not asked, is not waited for.
    pub(super) fn other_may_fill(&self, start: i64, end: i64, seen: &Seen<'_>) -> bool {
        let mut seen = seen.patiently(self.policy.outage_wait);
        self.other_fills(start, end, &mut seen)
    }

    /// As [`Director::other_fills`], where that fills more than `least` of it.
    pub(super) fn other_fills_more_than(
        &self,
        least: i64,
        start: i64,
        end: i64,
        seen: &mut Seen<'_>,
    ) -> bool {
        let mut at = start;
        for _ in 0..STEPS_MAX {
            match self.step(at, None, seen) {
                Step::Leg { from, .. } => {
                    return self.progress(from).max(at) < end.saturating_sub(least);
                }
                Step::Hole {
                    until: Some(until), ..
                }
                | Step::Outage {
                    until: Some(until), ..
                } if self.progress(until) < end => {
                    at = self.progress(until);
                }
                Step::Hole { .. } | Step::Outage { .. } | Step::End => return false,
            }
        }
        false
    }

    /// After an incoming leg proved useless: opens what the plan says now.
    pub(super) fn replace_incoming(&mut self, goal: Goal, seen: &mut Seen<'_>) {
        if self.handover.is_some() {
            return;
        }
        match (goal, self.current) {
            (Goal::Better, _) => {
                let again = self.wanted().saturating_add(BETTER_AGAIN_US);
                self.better_from = self.better_from.max(Some(again));
                self.review(seen);
            }
            (Goal::Forced { bound }, Some(_)) => {
                let goes_on = self.current.filter(|leg| leg.end.is_none());
                self.prepare(bound, goes_on.map(|leg| leg.copy), seen);
                self.wait_while_silent(seen.now);
            }
            (_, None) | (Goal::Start, _) => {
                let bound = self.wanted();
                self.seek_source(
                    if self.last.is_none() {
                        Goal::Start
                    } else {
                        Goal::Forced { bound }
                    },
                    seen,
                );
            }
        }
    }

    /// Opens the leg that follows the current one at `bound`, if the plan has one on another copy.
    ///
    /// Holes, outages and ends are acted on only when the current leg is drained: the facts may be better by then.
    pub(super) fn prepare(&mut self, bound: i64, current: Option<CopyIx>, seen: &mut Seen<'_>) {
        if self.beyond_range(bound.saturating_add(self.interval_us * 3 / 4)) {
            return;
        }
        let mut at = bound.max(self.wanted());
        for _ in 0..STEPS_MAX {
            match self.step(at, current, seen) {
                Step::Leg {
                    copy,
                    from,
                    until,
                    reason,
                } => {
                    let alive = self.current.filter(|leg| !leg.over && !leg.stalled);
                    if alive.is_some_and(|leg| leg.copy == copy) {
                        return;
                    }
                    let leg = self.open(copy, from, until, reason);
                    self.handover = Some(Handover::new(Goal::Forced { bound }, leg));
                    return;
                }
                Step::Hole {
                    until: Some(until), ..
                } if self.policy.holes == Holes::Skip => at = self.progress(until),
                Step::Outage { until, .. } => {
                    let worth = until.is_none_or(|until| {
                        self.progress(until).saturating_sub(at) > self.jump_min()
                    });
                    if worth {
                        self.hold(seen.now);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// Who may follow the current leg cannot be asked now: what is left of it is held back for as long as that is worth.
    pub(super) fn hold(&mut self, now: Instant) {
        let ended = self.current.is_some_and(|leg| leg.end.is_some());
        let until = if ended {
            Some(now + self.policy.outage_wait)
        } else {
            let release = self.vetoes.next_release(now);
            release.filter(|at| at.saturating_duration_since(now) <= HOLD_MAX)
        };
        let holds = self
            .hold
            .is_some_and(|hold| hold.ended == ended && (ended || now < hold.until));
        if let Some(until) = until.filter(|_| !holds) {
            self.hold = Some(Hold {
                since: now,
                until,
                ended,
                kept: false,
            });
        }
    }
}
