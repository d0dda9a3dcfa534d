//! Legs that end, fail or fall silent: what that says of their copies, and what must be ready when they are spent.

use std::time::Instant;

use super::handover::{Cut, Goal, Handover};
use super::seen::Seen;
use super::{Action, Director, Failure, Leg, LegId, Lesson, Waiting};
use crate::camera::CopyIx;
use crate::coverage::{Held, HeldBefore};
use crate::plan::{Direction, Step};
use crate::time::{TimeRange, Timestamp};

/// A better copy's leg that came to its end with less is not switched to.
const BETTER_MIN_US: i64 = 1_000_000;

impl Director {
    pub(super) fn leg_ended(&mut self, id: LegId, newest: Option<Timestamp>, seen: &mut Seen<'_>) {
        let Some(newest) = newest else {
            return self.leg_failed(id, Failure::NoFootage, None, seen);
        };
        let end = self.progress(newest).saturating_add(self.tolerance());
        if self.is_current(id) {
            let Some(current) = &mut self.current else {
                return;
            };
            current.over = true;
            let current = *current;
            self.nothing_beyond(&current, end, seen);
            return self.bound_current(end, seen);
        }
        // An incoming leg may be short and already received whole.
        let wanted = self.wanted();
        let Some(handover) = &mut self.handover else {
            return;
        };
        let better = handover.goal == Goal::Better && handover.cut.is_none();
        let point = handover.point.filter(|_| better);
        let goal = handover.goal;
        let Some(leg) = handover.leg(id) else { return };
        leg.over = true;
        leg.end = Some(end);
        let leg = *leg;
        // Too little is not worth two seams, and what the current leg holds itself is none.
        let worth = |(_, at): &(Timestamp, i64)| end.saturating_sub(*at) >= BETTER_MIN_US;
        let short = matches!(goal, Goal::Forced { bound } if end <= bound);
        let useless = end <= wanted
            || short && self.current.is_some()
            || better && !point.as_ref().is_some_and(worth);
        if let Some((first, at)) = point.filter(|_| !useless)
            && let Some(handover) = &mut self.handover
        {
            handover.take_over_at(first, at);
        }
        self.nothing_beyond(&leg, end, seen);
        if useless {
            self.close_incoming(id);
            self.replace_incoming(goal, seen);
        }
    }

    /// A leg came to its end at progress `from`. Before the point where it was to be left, that is news of its copy.
    fn nothing_beyond(&mut self, leg: &Leg, from: i64, seen: &mut Seen<'_>) {
        let reached = |until: Option<Timestamp>| {
            until.is_some_and(|until| from >= self.progress(until).saturating_sub(self.jump_min()))
        };
        let asked = self.progress(leg.from);
        let played = leg.first.is_some() && from > asked.saturating_add(self.interval_us);
        if played && (reached(leg.until) || reached(self.request.until)) {
            return;
        }
        let growing = seen
            .facts
            .get(leg.copy.index())
            .is_some_and(|copy| copy.coverage.growing());
        if growing && leg.until.is_none() {
            // Not recorded yet: ask again in a while.
            return self.vetoes.failed(leg.copy, Failure::NoFootage, seen.now);
        }
        // Less would pass for a gap too short to matter.
        let gap = from.saturating_add(self.jump_min() + self.interval_us);
        if leg.first.is_some() && from.saturating_add(self.jump_min()) >= asked {
            // It may only have stopped at a gap. Asked again behind it, it starts where it goes on, or refuses.
            self.set_aside(leg.copy, from, gap, seen);
        } else {
            let until = leg.until.map_or(i64::MAX, |until| self.progress(until));
            let ordered = self
                .request
                .until
                .map_or(i64::MAX, |until| self.progress(until));
            self.set_aside(leg.copy, from, until.max(gap), seen);
            self.disprove(leg.copy, from.max(asked), until.min(ordered), seen);
        }
    }

    pub(super) fn leg_failed(
        &mut self,
        id: LegId,
        failure: Failure,
        newest: Option<Timestamp>,
        seen: &mut Seen<'_>,
    ) {
        if self.is_current(id) {
            let Some(current) = &mut self.current else {
                return;
            };
            current.over = true;
            let copy = current.copy;
            self.vetoes.failed(copy, failure, seen.now);
            let end = self.spent_at(newest);
            return self.bound_current(end, seen);
        }
        let Some(goal) = self.handover.as_ref().map(|handover| handover.goal) else {
            return;
        };
        let Some(leg) = self.close_incoming(id) else {
            return;
        };
        if failure == Failure::NoFootage {
            let from = self.progress(leg.from).max(self.wanted());
            let unplayed = Leg { first: None, ..leg };
            self.nothing_beyond(&unplayed, from, seen);
        } else {
            self.vetoes.failed(leg.copy, failure, seen.now);
        }
        self.replace_incoming(goal, seen);
    }

    /// Progress beyond which a leg has nothing, when `newest` is the last that it delivered.
    fn spent_at(&self, newest: Option<Timestamp>) -> i64 {
        newest.map_or(self.wanted(), |newest| {
            let end = self.progress(newest).saturating_add(self.tolerance());
            end.max(self.wanted())
        })
    }

    /// The current leg cannot go beyond `end`: what follows must be ready by then.
    pub(super) fn bound_current(&mut self, end: i64, seen: &mut Seen<'_>) {
        if let Some(current) = &mut self.current {
            current.end = Some(end);
        }
        if !self.force_handover(end) {
            self.close_handover();
            self.prepare(end, None, seen);
        }
        self.wait_while_silent(seen.now);
    }

    /// What was being prepared must take over where the current leg ends; false when it is of no use for that.
    pub(super) fn force_handover(&mut self, end: i64) -> bool {
        let (last, tolerance, interval) = (self.last, self.tolerance(), self.interval_us);
        // Forward a leg starts before the point it is asked for; in reverse the picture that comes next must not lie there.
        let reach = end.saturating_add(match self.request.direction {
            Direction::Forward => tolerance,
            Direction::Reverse => tolerance / 2,
        });
        let keep = self.handover.as_ref().is_some_and(|handover| {
            let usable = match handover.cut {
                // Not behind the picture that comes next.
                Some(Cut::At(cut)) => cut <= end.saturating_add(interval),
                Some(Cut::Preroll { .. }) => true,
                None => {
                    let point = handover.point.map(|(_, at)| at);
                    let by_choice = handover.goal == Goal::Better;
                    // What was asked for by choice and is passed by now would begin with a long preroll.
                    let passed = by_choice
                        && handover
                            .legs()
                            .all(|leg| self.progress(leg.from) < self.wanted());
                    handover.ready().is_none() && !passed
                        || point.is_some_and(|at| at <= end.saturating_add(interval))
                        || point.is_none() && !handover.trimmed && !by_choice
                }
            };
            usable && handover.legs().any(|leg| self.progress(leg.from) <= reach)
        });
        let Some(handover) = self.handover.as_mut().filter(|_| keep) else {
            return false;
        };
        handover.goal = Goal::Forced { bound: end };
        let fresh = |cut: i64| last.is_none_or(|last| cut > last.saturating_add(tolerance));
        if handover.cut.is_none()
            && let Some((first, at)) = handover.point.filter(|(_, at)| fresh(*at))
        {
            handover.take_over_at(first, at);
        }
        if handover.ready().is_some() && !matches!(handover.cut, Some(Cut::At(cut)) if fresh(cut)) {
            handover.cut = Some(Cut::Preroll { bound: end });
        }
        true
    }

    /// A silent leg that nothing can follow is waited for, but not for ever.
    pub(super) fn wait_while_silent(&mut self, now: Instant) {
        let silent = self.current.is_some_and(|leg| leg.stalled && !leg.over);
        let in_hole = matches!(self.waiting, Some(Waiting::Hole { .. }));
        if silent && self.handover.is_none() && !in_hole {
            let since = *self.without_since.get_or_insert(now);
            self.waiting = Some(Waiting::Outage {
                since,
                jump_to: None,
            });
        }
    }

    pub(super) fn stalled(&mut self, id: LegId, newest: Option<Timestamp>, seen: &mut Seen<'_>) {
        if self.is_current(id) {
            let Some(current) = &mut self.current else {
                return;
            };
            if current.stalled || current.over {
                return;
            }
            current.stalled = true;
            let copy = current.copy;
            // Only for this decision: the leg may still recover.
            self.vetoes.failed(copy, Failure::Lost, seen.now);
            let end = self.spent_at(newest);
            self.bound_current(end, seen);
            return self.switch_when_spent(seen);
        }
        let end = newest.map(|newest| self.progress(newest).saturating_add(self.tolerance()));
        let Some(handover) = &mut self.handover else {
            return;
        };
        let alone = handover.legs().count() == 1 && handover.ready().is_none();
        let goal = handover.goal;
        let Some(leg) = handover.leg(id) else { return };
        leg.stalled = true;
        leg.end = end;
        let leg = *leg;
        self.vetoes.failed(leg.copy, Failure::Lost, seen.now);
        let goes_on = |current: Leg| !current.over && !current.stalled;
        let short = |bound: i64| leg.end.is_some_and(|end| end <= bound);
        let useless = match goal {
            Goal::Better => leg.first.is_some() && self.current.is_some_and(goes_on),
            // It fell silent within what the current leg holds itself.
            Goal::Forced { bound } => self.current.is_some() && short(bound),
            Goal::Start => false,
        };
        if useless {
            self.close_incoming(id);
            self.replace_incoming(goal, seen);
        } else if alone && goal != Goal::Better {
            self.hedge(&leg, seen);
        }
    }

    /// An opening leg that is slow gets company, unless the current one can go on; the first to be ready wins.
    fn hedge(&mut self, slow: &Leg, seen: &mut Seen<'_>) {
        let playing = self.current.filter(|leg| !leg.over && !leg.stalled);
        if let Step::Leg {
            copy,
            from,
            until,
            reason,
        } = self.step(self.progress(slow.from), playing.map(|leg| leg.copy), seen)
            && copy != slow.copy
            && playing.is_none_or(|leg| leg.copy != copy)
            && from == slow.from
        {
            let hedge = self.open(copy, from, until, reason);
            if let Some(handover) = &mut self.handover {
                handover.join(hedge);
            }
        }
    }

    pub(super) fn recovered(&mut self, id: LegId) {
        if !self.is_current(id) {
            if let Some(leg) = self.handover.as_mut().and_then(|handover| handover.leg(id)) {
                leg.stalled = false;
                leg.end = None;
                let copy = leg.copy;
                self.vetoes.forgive(copy);
            }
            return;
        }
        let Some(current) = &mut self.current else {
            return;
        };
        if !current.stalled || current.over {
            return;
        }
        current.stalled = false;
        current.end = None;
        let copy = current.copy;
        self.vetoes.forgive(copy);
        self.hold = None;
        if matches!(self.waiting, Some(Waiting::Outage { .. })) {
            self.waiting = None;
        }
        // Its look-ahead bridged the silence: there is no cause to leave it.
        let forced = |handover: &Handover| matches!(handover.goal, Goal::Forced { .. });
        if self.handover.as_ref().is_some_and(forced) {
            self.close_handover();
        }
    }
}

impl Director {
    /// A copy holds nothing between two points of progress: this playback and the index learn it.
    pub(super) fn disprove(&mut self, copy: CopyIx, from: i64, to: i64, seen: &Seen<'_>) {
        self.set_aside(copy, from, to, seen);
        if let Some(range) = self.not_admitted(copy, from, self.sure_gap_end(to), seen) {
            self.actions.push_back(Action::Teach {
                copy,
                lesson: Lesson::Gap(range),
            });
        }
    }

    /// A copy is not to be asked for what lies between two points of progress.
    pub(super) fn set_aside(&mut self, copy: CopyIx, from: i64, to: i64, seen: &Seen<'_>) {
        if let Some(range) = self.not_admitted(copy, from, to, seen) {
            let (at, direction) = (self.position(), self.request.direction);
            self.vetoes.disproved(copy, range, at, direction);
        }
    }

    /// What of a stretch a copy's listing does not begin or end by admitting to lack: what it lists there later, as recording
    /// goes on, is believed.
    fn not_admitted(&self, copy: CopyIx, from: i64, to: i64, seen: &Seen<'_>) -> Option<TimeRange> {
        if to <= from {
            return None;
        }
        let (from, to) = (self.time(from), self.time(to));
        let (mut start, mut end) = (from.min(to), from.max(to));
        if let Some(facts) = seen.facts.get(copy.index()) {
            if let Held::Gap { until } = facts.coverage.held(start) {
                start = until;
            }
            if let HeldBefore::Gap { since } = facts.coverage.held_before(end) {
                end = since;
            }
        }
        TimeRange::new(start, end)
    }
}
