//! From one leg to the next: what is being opened, where it can take over, and what happens when a leg fails.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{
    Action, BETTER_LEAD_US, Director, End, Failure, LIVE_WITHIN_US, Leg, LegId, Lesson,
    PREROLL_MAX_US, Phase, STEPS_MAX, Seam, Waiting,
};
use crate::camera::CopyIx;
use crate::coverage::Held;
use crate::plan::{CopyFacts, Step};
use crate::policy::Holes;
use crate::time::{TimeRange, Timestamp};

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
    ready: Option<LegId>,
    legs: SmallVec<[Leg; 2]>,
}

impl Handover {
    pub(super) fn new(goal: Goal, leg: Leg) -> Self {
        Handover {
            goal,
            cut: None,
            ready: None,
            legs: SmallVec::from_iter([leg]),
        }
    }

    /// The leg that will take over, once it has shown its first unit.
    pub(super) fn ready(&self) -> Option<LegId> {
        self.ready
    }

    fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
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

    fn is_current(&self, leg: LegId) -> bool {
        self.current.is_some_and(|current| current.id == leg)
    }

    /// Takes a leg out of the handover; the handover is gone with its last leg.
    fn drop_incoming(&mut self, id: LegId) -> Option<Leg> {
        let handover = self.handover.as_mut()?;
        let ix = handover.legs.iter().position(|leg| leg.id == id)?;
        let leg = handover.legs.remove(ix);
        if handover.ready == Some(id) {
            handover.ready = None;
            handover.cut = None;
        }
        if handover.legs.is_empty() {
            self.handover = None;
        }
        Some(leg)
    }

    pub(super) fn leg_opened(
        &mut self,
        id: LegId,
        first: Timestamp,
        wall: Timestamp,
        facts: &[CopyFacts<'_>],
        now: Instant,
    ) {
        let (at, wanted, jump_min) = (self.progress(first), self.wanted(), self.jump_min());
        let Some(handover) = &mut self.handover else {
            return;
        };
        let goal = handover.goal;
        let taken = handover.ready.is_some();
        let Some(leg) = handover.leg(id) else { return };
        if taken {
            self.drop_incoming(id);
            self.actions.push_back(Action::Close { leg: id });
            return;
        }
        leg.first = Some(first);
        let leg = *leg;
        if leg.stalled {
            self.vetoes.forgive(leg.copy);
        }
        let asked = self.progress(leg.from);
        if self.wrong_footage(&leg, first, wall, facts) {
            self.actions.push_back(Action::Close { leg: id });
            self.actions.push_back(Action::Teach {
                copy: leg.copy,
                lesson: Lesson::WrongFootage,
            });
            self.drop_incoming(id);
            self.vetoes.failed(leg.copy, Failure::WrongFootage, now);
            return self.replace_incoming(goal, facts, now);
        }
        // It starts late: the copy does not hold [asked, first). Another may.
        let missing = asked.max(wanted);
        if at - missing > jump_min && goal != Goal::Better {
            self.disprove(leg.copy, missing, at);
            if self.other_fills(missing, at, facts, now) {
                self.actions.push_back(Action::Close { leg: id });
                self.drop_incoming(id);
                return self.replace_incoming(goal, facts, now);
            }
        }
        let fresh = self
            .last
            .is_none_or(|last| at > last.saturating_add(self.tolerance()));
        let Some(handover) = &mut self.handover else {
            return;
        };
        handover.ready = Some(id);
        handover.cut = match goal {
            _ if fresh => Some(Cut::At(at)),
            Goal::Forced { bound } => Some(Cut::Preroll { bound }),
            Goal::Start | Goal::Better => None,
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
            self.switch(now);
        }
    }

    /// Footage of another time: too early for a group of pictures, or live where old footage was asked for.
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
        let live = wall.micros_since(first).abs() < LIVE_WITHIN_US;
        let asked_old = wall.micros_since(leg.from) > LIVE_WITHIN_US * 4;
        let next = facts
            .get(leg.copy.index())
            .and_then(|copy| copy.coverage.next_start(leg.from));
        // A recorder that really resumed a moment ago lists no earlier footage after the asked time.
        let listed = next.is_some_and(|next| wall.micros_since(next).abs() < LIVE_WITHIN_US * 2);
        live && asked_old && !listed
    }

    fn disprove(&mut self, copy: CopyIx, from: i64, to: i64) {
        let (from, to) = (self.time(from), self.time(to));
        if let Some(range) = TimeRange::new(from.min(to), from.max(to)) {
            self.vetoes.disproved(copy, range);
            self.actions.push_back(Action::Teach {
                copy,
                lesson: Lesson::Gap(range),
            });
        }
    }

    /// Whether the plan has a leg that starts before `end` in place of what proved missing from `start` on.
    fn other_fills(&self, start: i64, end: i64, facts: &[CopyFacts<'_>], now: Instant) -> bool {
        let mut at = start;
        for _ in 0..STEPS_MAX {
            match self.step(at, None, facts, now) {
                Step::Leg { from, .. } => {
                    return self.progress(from).max(at) < end.saturating_sub(self.jump_min());
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
    fn replace_incoming(&mut self, goal: Goal, facts: &[CopyFacts<'_>], now: Instant) {
        if self.handover.is_some() {
            return;
        }
        match (goal, self.current) {
            (Goal::Better, _) => self.review(facts, now),
            (Goal::Forced { bound }, Some(_)) => self.prepare(bound, facts, now),
            (_, None) | (Goal::Start, _) => {
                let bound = self.wanted();
                self.seek_source(
                    if self.last.is_none() {
                        Goal::Start
                    } else {
                        Goal::Forced { bound }
                    },
                    facts,
                    now,
                );
            }
        }
    }

    /// Opens the leg that follows the current one at `bound`, if the plan has one on another copy.
    ///
    /// Holes, outages and ends are acted on only when the current leg is drained: the facts may be better by then.
    fn prepare(&mut self, bound: i64, facts: &[CopyFacts<'_>], now: Instant) {
        if self.beyond_range(bound.saturating_add(self.interval_us * 3 / 4)) {
            return;
        }
        let mut at = bound.max(self.wanted());
        for _ in 0..STEPS_MAX {
            match self.step(at, None, facts, now) {
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
                _ => return,
            }
        }
    }

    pub(super) fn leg_ended(
        &mut self,
        id: LegId,
        newest: Option<Timestamp>,
        facts: &[CopyFacts<'_>],
        now: Instant,
    ) {
        let Some(newest) = newest else {
            return self.leg_failed(id, Failure::NoFootage, None, facts, now);
        };
        if !self.is_current(id) {
            // An incoming leg may be short and already received whole.
            if let Some(leg) = self.handover.as_mut().and_then(|handover| handover.leg(id)) {
                leg.over = true;
            }
            return;
        }
        let Some(current) = &mut self.current else {
            return;
        };
        current.over = true;
        let (copy, until) = (current.copy, current.until);
        let end = self.progress(newest).saturating_add(self.tolerance());
        self.nothing_beyond(copy, end, until, facts, now);
        self.bound_current(end, facts, now);
    }

    /// A copy delivered nothing from `from` on, although the plan would have left it only at `until`.
    fn nothing_beyond(
        &mut self,
        copy: CopyIx,
        from: i64,
        until: Option<Timestamp>,
        facts: &[CopyFacts<'_>],
        now: Instant,
    ) {
        let growing = facts
            .get(copy.index())
            .is_some_and(|copy| copy.coverage.growing());
        match until {
            Some(until) if from < self.progress(until).saturating_sub(self.jump_min()) => {
                self.disprove(copy, from, self.progress(until));
            }
            Some(_) => {}
            // Not recorded yet: ask again in a while.
            None if growing => self.vetoes.failed(copy, Failure::NoFootage, now),
            // An open range was refused or ended: the recorder holds nothing further.
            None => self.disprove(copy, from, i64::MAX),
        }
    }

    pub(super) fn leg_failed(
        &mut self,
        id: LegId,
        failure: Failure,
        newest: Option<Timestamp>,
        facts: &[CopyFacts<'_>],
        now: Instant,
    ) {
        if self.is_current(id) {
            let Some(current) = &mut self.current else {
                return;
            };
            current.over = true;
            let copy = current.copy;
            self.vetoes.failed(copy, failure, now);
            let end = newest.map_or(self.wanted(), |newest| {
                self.progress(newest).saturating_add(self.tolerance())
            });
            return self.bound_current(end.max(self.wanted()), facts, now);
        }
        let Some(goal) = self.handover.as_ref().map(|handover| handover.goal) else {
            return;
        };
        let Some(leg) = self.drop_incoming(id) else {
            return;
        };
        if failure == Failure::NoFootage {
            let from = self.progress(leg.from).max(self.wanted());
            self.nothing_beyond(leg.copy, from, leg.until, facts, now);
        } else {
            self.vetoes.failed(leg.copy, failure, now);
        }
        self.replace_incoming(goal, facts, now);
    }

    /// The current leg cannot go beyond `end`: what follows must be ready by then.
    fn bound_current(&mut self, end: i64, facts: &[CopyFacts<'_>], now: Instant) {
        let keep = self.handover.as_ref().is_some_and(|handover| {
            handover
                .legs
                .iter()
                .any(|leg| self.progress(leg.from) <= end.saturating_add(self.tolerance()))
        });
        if !keep {
            self.close_handover();
            return self.prepare(end, facts, now);
        }
        let last = self.last;
        let tolerance = self.tolerance();
        if let Some(handover) = &mut self.handover {
            handover.goal = Goal::Forced { bound: end };
            if handover.ready.is_some()
                && !matches!(handover.cut, Some(Cut::At(cut)) if last.is_none_or(|last| cut > last + tolerance))
            {
                handover.cut = Some(Cut::Preroll { bound: end });
            }
        }
    }

    pub(super) fn stalled(
        &mut self,
        id: LegId,
        newest: Option<Timestamp>,
        facts: &[CopyFacts<'_>],
        now: Instant,
    ) {
        if self.is_current(id) {
            let Some(current) = &mut self.current else {
                return;
            };
            if current.stalled || current.over {
                return;
            }
            current.stalled = true;
            let copy = current.copy;
            let end = newest.map_or(self.wanted(), |newest| {
                self.progress(newest).saturating_add(self.tolerance())
            });
            // Only for this decision: the leg may still recover.
            self.vetoes.failed(copy, Failure::Lost, now);
            return self.bound_current(end.max(self.wanted()), facts, now);
        }
        // Hedge: an opening leg that is slow gets company; the first to be ready wins.
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.legs.len() > 1 || handover.ready.is_some() {
            return;
        }
        let Some(leg) = handover.leg(id) else { return };
        leg.stalled = true;
        let leg = *leg;
        self.vetoes.failed(leg.copy, Failure::Lost, now);
        if let Step::Leg {
            copy,
            from,
            until,
            reason,
        } = self.step(self.progress(leg.from), None, facts, now)
            && copy != leg.copy
            && from == leg.from
        {
            let hedge = self.open(copy, from, until, reason);
            if let Some(handover) = &mut self.handover {
                handover.legs.push(hedge);
            }
        }
    }

    pub(super) fn recovered(&mut self, id: LegId) {
        let Some(current) = &mut self.current else {
            return;
        };
        if current.id != id || !current.stalled {
            return;
        }
        current.stalled = false;
        let copy = current.copy;
        self.vetoes.forgive(copy);
        if matches!(
            self.handover,
            Some(Handover {
                goal: Goal::Forced { .. },
                ready: None,
                ..
            })
        ) {
            self.close_handover();
        }
    }

    pub(super) fn drained(&mut self, id: LegId, facts: &[CopyFacts<'_>], now: Instant) {
        if !self.is_current(id) {
            return;
        }
        let bound = self.wanted();
        match &mut self.handover {
            Some(handover) if handover.ready.is_some() => self.switch(now),
            Some(handover) => {
                handover.goal = Goal::Forced { bound };
                self.retire_current();
            }
            None => {
                self.retire_current();
                self.seek_source(Goal::Forced { bound }, facts, now);
            }
        }
    }

    fn retire_current(&mut self) {
        if let Some(leg) = self.current.take() {
            self.actions.push_back(Action::Close { leg: leg.id });
        }
    }

    fn switch(&mut self, now: Instant) {
        let Some(handover) = self.handover.take() else {
            return;
        };
        let Some(mut leg) = handover
            .legs
            .into_iter()
            .find(|leg| Some(leg.id) == handover.ready)
        else {
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
        if jump
            && self
                .resume
                .is_none_or(|resume| resume <= self.last.unwrap_or(resume))
        {
            self.skip_hole(self.wanted(), at);
        }
        leg.jump_allowed = Some(at);
        self.switches.push_back(now);
        while self
            .switches
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > self.policy.flap.window)
        {
            self.switches.pop_front();
        }
        self.review_at = Some(at);
        self.waiting = None;
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
    }

    /// The current leg's next unit lies beyond a jump: fills it from another copy, or accepts the hole.
    pub(super) fn jump(&mut self, id: LegId, to: Timestamp, facts: &[CopyFacts<'_>], now: Instant) {
        let to = match self.request.until {
            Some(until) if self.beyond_range(self.progress(to)) => until,
            _ => to,
        };
        let (target, start) = (self.progress(to), self.wanted());
        let Some(current) = self.current.filter(|current| current.id == id) else {
            return;
        };
        if self.handover.is_some() {
            return;
        }
        self.disprove(current.copy, start, target);
        if self.other_fills(start, target, facts, now) {
            return self.prepare_fill(start, facts, now);
        }
        match self.policy.holes {
            Holes::End => self.finish(End::Hole),
            Holes::Wait if self.waiting.is_none() => {
                let length = Duration::from_micros((target - start).max(0) as u64);
                self.waiting = Some(Waiting::Hole {
                    until: now + length,
                    resume_at: to,
                });
                self.actions.push_back(Action::Wait { at: to });
            }
            Holes::Wait => {}
            Holes::Skip => {
                self.skip_hole(start, target);
                if let Some(current) = &mut self.current {
                    current.jump_allowed = Some(target);
                }
            }
        }
    }

    /// Opens the copy that fills a jump of the current leg, whose next unit waits.
    fn prepare_fill(&mut self, start: i64, facts: &[CopyFacts<'_>], now: Instant) {
        let mut at = start;
        for _ in 0..STEPS_MAX {
            match self.step(at, None, facts, now) {
                Step::Leg {
                    copy,
                    from,
                    until,
                    reason,
                } => {
                    let leg = self.open(copy, from, until, reason);
                    self.handover = Some(Handover::new(Goal::Forced { bound: start }, leg));
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

    /// Looks at the plan again: a bar ended, coverage grew, a better copy is back, a seam comes near.
    pub(super) fn review(&mut self, facts: &[CopyFacts<'_>], now: Instant) {
        if self.phase != Phase::Playing {
            return;
        }
        match self.waiting {
            Some(Waiting::Hole { until, resume_at }) if now >= until => {
                self.waiting = None;
                let resume = self.progress(resume_at);
                self.skip_hole(self.wanted(), resume);
                if let Some(current) = &mut self.current {
                    current.jump_allowed = Some(resume);
                    return;
                }
                return self.seek_source(Goal::Forced { bound: resume }, facts, now);
            }
            Some(Waiting::Hole { .. }) => return,
            Some(Waiting::Outage { .. }) if self.handover.is_none() && self.current.is_none() => {
                let bound = self.wanted();
                return self.seek_source(
                    if self.last.is_none() {
                        Goal::Start
                    } else {
                        Goal::Forced { bound }
                    },
                    facts,
                    now,
                );
            }
            _ => {}
        }
        let Some(current) = self.current else { return };
        let at = self.wanted();
        self.review_at = Some(at.saturating_add(REVIEW_EVERY_US));
        if self.handover.is_some() {
            return;
        }
        if current.over || current.stalled {
            return self.prepare(at, facts, now);
        }
        match self.step(at, Some(current.copy), facts, now) {
            Step::Leg { copy, until, .. } if copy == current.copy => {
                if let Some(leg) = &mut self.current {
                    leg.until = until;
                }
                let lead = self.policy.prefetch.as_micros() as i64;
                if let Some(bound) = until.map(|until| self.progress(until))
                    && bound.saturating_sub(at) <= lead
                    && self.request.until != until
                {
                    self.prepare(bound, facts, now);
                }
            }
            Step::Leg {
                copy,
                until,
                reason,
                ..
            } if !self.flapping(now) => {
                let from = self.time(at.saturating_add(BETTER_LEAD_US));
                let holds = facts
                    .get(copy.index())
                    .is_some_and(|facts| !matches!(facts.coverage.held(from), Held::Gap { .. }));
                if holds {
                    let leg = self.open(copy, from, until, reason);
                    self.handover = Some(Handover::new(Goal::Better, leg));
                }
            }
            _ => {}
        }
    }

    /// Enough switches for now: the playback stays where it is as long as it can.
    fn flapping(&self, now: Instant) -> bool {
        let recent = self
            .switches
            .iter()
            .filter(|at| now.saturating_duration_since(**at) <= self.policy.flap.window)
            .count();
        recent >= self.policy.flap.switches_max as usize
    }
}

/// How far playback goes, in footage time, before the plan is looked at again.
const REVIEW_EVERY_US: i64 = 1_000_000;
