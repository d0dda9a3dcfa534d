//! The verdict on each access unit before it is sent, and the count of what was sent.

use std::time::Instant;

use smallvec::SmallVec;

use super::handover::{Cut, Goal, Handover};
use super::seen::Seen;
use super::{Director, INTERVAL_RANGE_US, LegId, PREROLL_MAX_US, Phase, Waiting};
use crate::plan::{CopyFacts, Direction, Step};
use crate::policy::Holes;
use crate::time::Timestamp;

/// What the director needs to know of an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of a picture that do not depend on each other"
)]
pub struct Head {
    /// Capture time, in the camera's timeline.
    pub capture: Timestamp,
    /// Of the track that seams are cut on: video, or audio where there is no video.
    pub master: bool,
    /// Decoding can start here.
    pub random_access: bool,
    /// A leading picture of an open group: it refers to pictures before the random access point it follows.
    pub leading: bool,
    /// A leading picture that decodes (RADL): shown before the point that it follows, and no later one refers to it.
    pub shown_early: bool,
}

/// What to do with a unit at the head of a leg's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it; then call [`Director::sent`].
    Send,
    /// Send it for the decoder only, squeezed into the seam; it was shown before.
    Preroll,
    /// Drop it.
    Drop,
    /// Keep it and ask again after the next event.
    Wait,
    /// The leg's turn is over: drop its master units, send what other tracks still hold before the seam, then
    /// [`super::Event::Drained`].
    Handover,
    /// Capture time jumps: [`super::Event::Jump`].
    Jump,
    /// The requested range ends before this unit.
    RangeEnd,
    /// Footage of another time in mid leg: [`super::Event::LegFailed`] with [`super::Failure::WrongFootage`].
    Wrong,
}

/// What follows a unit, for the E and T flags of the ONVIF replay extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// More footage without a gap, as far as is known.
    Continues,
    /// A gap, then more footage.
    Gap,
    /// Nothing more will be sent in this play.
    Terminal,
}

impl Director {
    /// What to do with the unit at the head of the current leg's queue; other legs wait for their turn.
    pub fn judge(&self, leg: LegId, head: &Head) -> Verdict {
        if self.phase != Phase::Playing {
            return Verdict::Wait;
        }
        if self.current.is_some_and(|current| current.id == leg) {
            return self.judge_current(head);
        }
        Verdict::Wait
    }

    fn judge_current(&self, head: &Head) -> Verdict {
        let Some(leg) = self.current else {
            return Verdict::Drop;
        };
        let at = self.progress(head.capture);
        let seam = self.handover.as_ref().and_then(|handover| handover.cut);
        if !head.master {
            let early = leg.first.is_some_and(|first| at < self.progress(first))
                || leg.cut.is_some_and(|cut| at <= cut);
            let late = match seam {
                Some(Cut::At(cut)) => at >= cut,
                Some(Cut::Preroll { bound }) => at > bound,
                None => false,
            } || self.beyond_range(at);
            return if early || late {
                Verdict::Drop
            } else {
                Verdict::Send
            };
        }
        let first = leg.first.map_or(at, |first| self.progress(first));
        if head.leading && at < first {
            return Verdict::Drop;
        }
        let shown = self
            .last
            .is_some_and(|last| at <= last.saturating_add(self.tolerance()));
        // In reverse the group that a leg takes over within is asked about from its latest picture on.
        let back = self.request.direction == Direction::Reverse;
        if (head.shown_early || back) && at < first && shown {
            return Verdict::Drop;
        }
        if at.saturating_add(PREROLL_MAX_US) < first {
            return Verdict::Wrong;
        }
        if let Some(cut) = leg.cut
            && !leg.joined
            && at <= cut.saturating_add(self.tolerance())
        {
            return Verdict::Preroll;
        }
        if self.is_beyond_seam(head.capture) {
            return Verdict::Handover;
        }
        let Some(last) = self.last else {
            return if self.beyond_range(at) {
                Verdict::RangeEnd
            } else {
                Verdict::Send
            };
        };
        if at.saturating_add(PREROLL_MAX_US) < last {
            return Verdict::Wrong;
        }
        // Footage beyond the requested range says nothing about the footage before its end.
        let beyond = self.beyond_range(at);
        let here = self
            .request
            .until
            .filter(|_| beyond)
            .map_or(at, |until| self.progress(until));
        let allowed = leg
            .jump_allowed
            .is_some_and(|allowed| here <= allowed.saturating_add(self.tolerance()));
        let from = self.resume.map_or(last, |resume| resume.max(last));
        if here - from > self.jump_min() && !allowed {
            return if self.is_being_filled() || self.awaits_a_filler() {
                Verdict::Wait
            } else {
                Verdict::Jump
            };
        }
        if beyond {
            return Verdict::RangeEnd;
        }
        Verdict::Send
    }

    /// Whether a leg is being opened for what is wanted next, not only for a later seam.
    fn is_being_filled(&self) -> bool {
        let wanted = self.wanted().saturating_add(self.tolerance());
        self.handover
            .as_ref()
            .is_some_and(|handover| match handover.goal {
                Goal::Start => true,
                Goal::Forced { bound } => handover.cut.is_none() && bound <= wanted,
                Goal::Better => false,
            })
    }

    /// Whether a copy that failed to answer is waited for, as it may hold what is wanted next.
    fn awaits_a_filler(&self) -> bool {
        let awaits =
            |waiting| matches!(waiting, Waiting::Outage { jump_to, .. } if jump_to.is_some());
        self.handover.is_none() && self.waiting.is_some_and(awaits)
    }

    /// Whether a unit lies at or behind the point where the next leg takes over.
    pub fn is_beyond_seam(&self, capture: Timestamp) -> bool {
        let at = self.progress(capture);
        match self.handover.as_ref().and_then(|handover| handover.cut) {
            Some(Cut::At(cut)) => at >= cut.saturating_sub(self.tolerance()),
            Some(Cut::Preroll { bound }) => at > bound.saturating_add(self.tolerance()),
            None => false,
        }
    }

    /// A picture behind the seam must be sent, because one ahead of it refers to it: the seam moves behind it, so that it is
    /// shown once, in its place. What the next leg holds up to there is decoding preroll.
    pub fn keep_until(&mut self, capture: Timestamp) {
        let at = self.progress(capture);
        if let Some(handover) = &mut self.handover {
            handover.cut = handover.cut.map(|cut| match cut {
                Cut::At(_) => Cut::Preroll { bound: at },
                Cut::Preroll { bound } => Cut::Preroll {
                    bound: bound.max(at),
                },
            });
        }
    }

    /// The leg that waits for its turn starts where decoding is exact only after some more pictures (gradual refresh): the
    /// current one plays on until then, if it can.
    pub fn settles_after(&mut self, leg: LegId, pictures: u32) {
        let settle_us = i64::from(pictures).saturating_mul(self.interval_us);
        if self.current.is_none() {
            return;
        }
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.ready() != Some(leg) {
            return;
        }
        if let Some(Cut::At(at)) = handover.cut {
            let exact = at.saturating_add(settle_us);
            let bound = match handover.goal {
                Goal::Forced { bound } => exact.min(bound),
                Goal::Start | Goal::Better => exact,
            };
            if bound > at {
                handover.cut = Some(Cut::Preroll { bound });
            }
        }
    }

    /// The current leg's next picture follows the last one that was sent in the same elementary stream: nothing of it is
    /// preroll. Its times turned out to be `ahead_us` (µs) too late and are set right from here on.
    pub fn goes_on_exactly(&mut self, leg: LegId, ahead_us: i64) {
        let ahead_progress = self.progress(Timestamp::from_micros(ahead_us));
        if let Some(current) = self.current.as_mut().filter(|current| current.id == leg) {
            current.joined = true;
            let earlier = |at: Timestamp| at.shift(ahead_us.saturating_neg());
            current.first = current.first.map(earlier);
            current.from = earlier(current.from);
            current.end = current.end.map(|end| end.saturating_sub(ahead_progress));
            current.jump_allowed = current
                .jump_allowed
                .map(|allowed| allowed.saturating_sub(ahead_progress));
        }
    }

    /// Whether a unit lies at or behind the end of the requested range.
    pub fn is_beyond_range(&self, capture: Timestamp) -> bool {
        self.beyond_range(self.progress(capture))
    }

    /// Whether the current leg must be left and the leg that follows it has not shown a unit yet.
    pub fn prepares(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| {
            matches!(handover.goal, Goal::Forced { .. }) && handover.ready().is_none()
        })
    }

    /// Whether a client that is in no hurry should wait before the unit at the head of the current leg, where a clean seam is
    /// still ahead: the leg that follows is being opened, or may be soon, or has not shown yet that it goes on.
    pub fn holds_back(&mut self, head: &Head, now: Instant) -> bool {
        let free = self.handover.is_none();
        let waits = self.hold.as_mut().filter(|hold| free && now < hold.until);
        waits.map(|hold| hold.kept = true).is_some()
            || self.prepares()
            || self.is_at_point(head.capture)
    }

    /// Whether a unit lies at or behind the point where a better copy takes over once it is steady.
    fn is_at_point(&self, capture: Timestamp) -> bool {
        let at = self.progress(capture);
        self.handover.as_ref().is_some_and(|handover| {
            let point = handover.point.filter(|_| handover.cut.is_none());
            point.is_some_and(|(_, point)| {
                self.is_due(handover, point) && at >= point.saturating_sub(self.tolerance())
            })
        })
    }

    /// Whether a random access point of the ready leg lies where it was asked for, not before.
    fn is_due(&self, handover: &Handover, point: i64) -> bool {
        let asked = handover.ready_leg().map(|leg| leg.from);
        asked.is_none_or(|asked| point >= self.progress(asked).saturating_sub(self.tolerance()))
    }

    /// Whether decoding preroll of the current leg, which has delivered up to `newest`, leads to a picture that was not sent yet.
    /// Until then it would be shown again for nothing.
    pub fn preroll_serves(&self, leg: LegId, newest: Option<Timestamp>) -> bool {
        let cut = self
            .current
            .filter(|current| current.id == leg)
            .and_then(|current| current.cut);
        let known = cut.map(|cut| cut.saturating_add(self.tolerance()));
        known.is_none_or(|known| newest.is_some_and(|newest| self.progress(newest) > known))
    }

    /// Whether a step in capture time between two units of a leg, µs, leads so far back that what follows is of another time: of a
    /// clock that was set, or of live video.
    pub fn is_wrong_step(step_us: i64) -> bool {
        step_us < -PREROLL_MAX_US
    }

    /// Whether a step in capture time, µs, may hide footage that another copy holds.
    pub fn is_jump(&self, step_us: i64) -> bool {
        step_us.abs() > self.jump_min()
    }

    /// A leg that has not taken over has shown units up to `newest`. One that is `stocked` is not read further for now.
    pub fn incoming_shows(&mut self, leg: LegId, newest: Timestamp, stocked: bool) {
        let reached = if stocked {
            i64::MAX
        } else {
            self.progress(newest)
        };
        if let Some(handover) = &mut self.handover
            && handover.ready() == Some(leg)
        {
            handover.reached = Some(reached);
        }
    }

    /// Whether a client that is in no hurry should wait at a seam: the leg that takes over has not shown yet that it leads beyond
    /// where the current one ends. If it does not, the current one is played on.
    pub fn holds_seam(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| {
            let Goal::Forced { bound } = handover.goal else {
                return false;
            };
            let over = handover.ready_leg().is_none_or(|leg| leg.over);
            let before = matches!(handover.cut, Some(Cut::At(cut)) if cut < bound);
            before && !over && handover.reached.is_none_or(|reached| reached <= bound)
        })
    }

    /// How many pictures at the front of the leg that took over are decoding preroll for nothing: decoding can begin at a later one
    /// as well, or the first one that was not sent yet is a random access point right behind what was, or behind a gap. `heads`
    /// are its pictures in decoding order, as far as they have come.
    pub fn needless_preroll(&self, heads: impl IntoIterator<Item = Head>) -> Option<usize> {
        let last = self.last?;
        let mut point = 0;
        for (count, head) in heads.into_iter().enumerate() {
            let step = self.progress(head.capture) - last;
            if step <= self.tolerance() {
                // What follows it and was not sent is shown behind it, and needs no more.
                if head.random_access {
                    point = count;
                }
                continue;
            }
            // Pictures may lie between that lead it.
            let next = step <= self.interval_us + self.tolerance();
            if head.random_access && (next || step > self.jump_min()) {
                point = count;
            }
            break;
        }
        (point > 0).then_some(point)
    }

    /// Whether the unit at the head of a leg that has not taken over yet is of no use. A leg is `steady` when it has shown that
    /// it goes on: one that could go on is not left for another that is not.
    pub fn incoming_drops(&mut self, leg: LegId, head: &Head, steady: bool) -> bool {
        self.phase == Phase::Playing
            && self
                .handover
                .as_ref()
                .is_some_and(|handover| handover.ready() == Some(leg))
            && self.judge_incoming(head, steady) == Verdict::Drop
    }

    /// What follows a unit, when `next` is the next one of its track on the current leg; a gap is looked at further by
    /// [`Self::outlook_at_gap`].
    pub fn outlook_before(&self, next: &Head) -> Outlook {
        let own = self.progress(next.capture);
        let Some(follows) = self.follows(own) else {
            return Outlook::Continues;
        };
        if self.beyond_range(follows) {
            return Outlook::Terminal;
        }
        match self.last {
            Some(last) if follows - last > self.jump_min() + self.interval_us => Outlook::Gap,
            _ => Outlook::Continues,
        }
    }

    /// What a gap behind the next unit comes to.
    pub fn outlook_at_gap(&self, facts: &[CopyFacts<'_>]) -> Outlook {
        let behind = self.wanted().saturating_add(self.interval_us);
        if self.policy.holes == Holes::End || self.misfit_ends(behind, facts) {
            Outlook::Terminal
        } else {
            Outlook::Gap
        }
    }

    /// Progress of what is sent next: the current leg's own next unit or the first of the leg that takes over; `None`
    /// while a leg that may fill what lies between has not shown a unit.
    fn follows(&self, own: i64) -> Option<i64> {
        let Some(handover) = &self.handover else {
            return Some(own);
        };
        match (handover.cut, handover.goal) {
            (Some(Cut::At(cut)), _) => Some(own.min(cut)),
            (None, Goal::Better) => Some(own),
            (Some(Cut::Preroll { .. }), _) | (None, Goal::Start | Goal::Forced { .. }) => None,
        }
    }

    /// What follows the unit captured at `last`, the final one of the current leg.
    pub fn outlook_after(&self, last: Timestamp, facts: &[CopyFacts<'_>], now: Instant) -> Outlook {
        if self.handover.is_some() {
            return Outlook::Continues;
        }
        let at = self.progress(last).saturating_add(self.tolerance());
        if self.beyond_range(at.saturating_add(self.interval_us * 3 / 4)) {
            return Outlook::Terminal;
        }
        match self.step(at, None, &mut Seen::new(facts, now)) {
            Step::Leg { .. } | Step::Outage { .. } => Outlook::Continues,
            Step::Hole { until: Some(_), .. } if self.policy.holes != Holes::End => Outlook::Gap,
            Step::Hole { .. } | Step::End => Outlook::Terminal,
        }
    }

    /// A leg that waits for its turn: finds the random access point it can take over at.
    fn judge_incoming(&mut self, head: &Head, steady: bool) -> Verdict {
        let at = self.progress(head.capture);
        let fresh = self
            .last
            .is_none_or(|last| at > last.saturating_add(self.tolerance()));
        let Some(handover) = &mut self.handover else {
            return Verdict::Drop;
        };
        if handover.cut.is_some() {
            return Verdict::Wait;
        }
        if head.master && head.random_access && fresh {
            handover.point = Some((head.capture, at));
            let due = self
                .handover
                .as_ref()
                .is_some_and(|handover| self.is_due(handover, at));
            if let Some(handover) = &mut self.handover
                && (handover.goal != Goal::Better || steady && due)
            {
                handover.take_over_at(head.capture, at);
            }
            return Verdict::Wait;
        }
        handover.point = None;
        handover.trimmed = true;
        Verdict::Drop
    }

    /// Counts a unit that was sent after [`Verdict::Send`].
    pub fn sent(&mut self, leg: LegId, head: &Head) {
        if !head.master {
            return;
        }
        let at = self.progress(head.capture);
        self.learn_interval(at);
        self.without_since = None;
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        if let Some(current) = &mut self.current
            && current.id == leg
            && current
                .first
                .is_some_and(|first| (head.capture.micros_since(first)).abs() > SERVED_WELL_US)
        {
            let copy = current.copy;
            self.vetoes.served(copy);
        }
    }

    /// The frame interval is the middle distance of the latest units, so that no single gap or seam moves it. Units come
    /// in decoding order: B pictures lie between two that were sent before.
    fn learn_interval(&mut self, at: i64) {
        if self.spacing_us > 0 {
            self.recent.push_back(at);
            self.recent.truncate(CADENCE_UNITS);
            return;
        }
        if self.recent.len() == CADENCE_UNITS {
            self.recent.pop_front();
        }
        self.recent.push_back(at);
        let mut shown: SmallVec<[i64; CADENCE_UNITS]> = self.recent.iter().copied().collect();
        shown.sort_unstable();
        let (min, max) = INTERVAL_RANGE_US;
        let mut steps: SmallVec<[i64; CADENCE_UNITS]> = shown
            .iter()
            .zip(shown.iter().skip(1))
            .map(|(before, after)| after - before)
            .filter(|step| (min..=max).contains(step))
            .collect();
        steps.sort_unstable();
        // Of few, the shortest: too long an interval would take the next picture for a repeated one.
        let middle = if self.recent.len() == CADENCE_UNITS {
            steps.len() / 2
        } else {
            0
        };
        if let Some(step) = steps.get(middle) {
            self.interval_us = *step;
        }
    }
}

/// Units that the frame interval is learned from.
pub(super) const CADENCE_UNITS: usize = 8;
/// After this much footage a copy's earlier failures are forgotten.
const SERVED_WELL_US: i64 = 10_000_000;
