//! Units to the client, asked about one by one and paced.

use seamline_routing::director::{Event, Failure, Head, LegId, Verdict};
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;

use super::super::facts::instant;
use super::super::recorder::Unit;
use super::super::{Micros, SECOND};
use super::{BURST, HOLD_BACK_MAX, Owner, TURNS_MAX};

/// What came of looking at the head of a leg.
enum Turn {
    Again,
    Rest,
    Send(Verdict),
}

impl Owner<'_> {
    /// Hands out what is due; returns how many units.
    pub(super) fn emit(&mut self) -> usize {
        self.due = None;
        self.ready_incoming();
        let mut sent = 0;
        for _ in 0..TURNS_MAX {
            if self.end.is_some() || (self.world.pacing.is_none() && sent >= BURST) {
                return sent;
            }
            let Some(source) = self.director.source() else {
                return sent;
            };
            let turn = match self.direction {
                Direction::Forward => self.turn(source),
                Direction::Reverse => {
                    let (turn, passed) = self.turn_back(source);
                    sent += passed;
                    turn
                }
            };
            match turn {
                Turn::Again => self.ready_incoming(),
                Turn::Rest => return sent,
                Turn::Send(verdict) => {
                    self.send(source, verdict);
                    self.ready_incoming();
                    sent += 1;
                }
            }
        }
        self.ledger.broken("livelock: a turn takes no end");
        sent
    }

    fn ready_incoming(&mut self) {
        let source = self.director.source();
        for leg in &mut self.legs {
            if Some(leg.id) == source || !leg.announced {
                continue;
            }
            let steady = leg.is_steady(self.now, self.world.lookahead);
            if let Some(newest) = leg.newest {
                let stocked = !leg.hungry(self.world.lookahead);
                self.director.incoming_shows(leg.id, newest, stocked);
            }
            while let Some(unit) = leg.queue.front() {
                if !self.director.incoming_drops(leg.id, &head(unit), steady) {
                    break;
                }
                self.ledger.dropped(leg.id, unit);
                leg.queue.pop_front();
            }
            while let Some(group) = leg.groups.front() {
                let mut units = group.iter();
                if !units.all(|unit| self.director.incoming_drops(leg.id, &head(unit), steady)) {
                    break;
                }
                for unit in group {
                    self.ledger.dropped(leg.id, unit);
                }
                leg.groups.pop_front();
            }
        }
    }

    /// [`Self::turn`] backwards: a group is asked about picture by picture, the latest first, and goes out as one; returns how many
    /// of its pictures went out as well.
    fn turn_back(&mut self, source: LegId) -> (Turn, usize) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return (Turn::Rest, 0);
        };
        let Some(group) = leg.groups.front() else {
            return (self.drained(source), 0);
        };
        if leg.handing_over {
            leg.groups.clear();
            return (Turn::Again, 0);
        }
        let news = group
            .iter()
            .map(|unit| (*unit, self.director.judge(source, &head(unit))))
            .find(|(_, verdict)| !matches!(verdict, Verdict::Drop | Verdict::Preroll));
        match news {
            None => {
                leg.groups.pop_front();
                (Turn::Again, 0)
            }
            Some((last, Verdict::Send)) => {
                if let Some(rate) = self.world.pacing {
                    let due = self.pace_due(last.capture, rate);
                    if due > self.now {
                        self.due = Some(due);
                        return (Turn::Rest, 0);
                    }
                }
                (Turn::Again, self.let_pass(source, last.capture))
            }
            Some((unit, verdict)) => (self.obey(source, &unit, verdict), 0),
        }
    }

    fn let_pass(&mut self, source: LegId, last: Timestamp) -> usize {
        let leg = self.legs.iter_mut().find(|leg| leg.id == source);
        let group = leg.and_then(|leg| leg.groups.pop_front());
        let shown: Vec<Unit> = group
            .into_iter()
            .flatten()
            .filter(|unit| unit.capture <= last)
            .collect();
        for unit in &shown {
            self.ledger
                .delivered(source, unit, false, &self.known, self.now);
            self.sent_any = true;
            self.director.sent(source, &head(unit));
        }
        shown.len()
    }

    fn drained(&mut self, source: LegId) -> Turn {
        let Some(leg) = self.legs.iter().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        if !leg.handing_over && !leg.over() {
            return Turn::Rest;
        }
        let event = if leg.range_done {
            Event::RangeEnd
        } else {
            Event::Drained { leg: source }
        };
        self.direct(event);
        let moved = self.director.source() != Some(source) || self.end.is_some();
        if moved { Turn::Again } else { Turn::Rest }
    }

    /// Does what a verdict asks that lets nothing pass for now.
    fn obey(&mut self, source: LegId, unit: &Unit, verdict: Verdict) -> Turn {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        match verdict {
            Verdict::Handover | Verdict::RangeEnd => {
                leg.handing_over = true;
                leg.range_done = verdict == Verdict::RangeEnd;
                leg.clear();
                Turn::Again
            }
            Verdict::Jump => {
                self.direct(Event::Jump {
                    leg: source,
                    to: unit.capture,
                });
                let again = self.director.source() != Some(source)
                    || self.director.judge(source, &head(unit)) != Verdict::Jump;
                if again { Turn::Again } else { Turn::Rest }
            }
            Verdict::Wrong => {
                leg.clear();
                self.leg_failed(source, Failure::WrongFootage);
                Turn::Again
            }
            Verdict::Wait | Verdict::Send | Verdict::Preroll | Verdict::Drop => Turn::Rest,
        }
    }

    fn turn(&mut self, source: LegId) -> Turn {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        let Some(unit) = leg.queue.front().copied() else {
            return self.drained(source);
        };
        if leg.handing_over {
            leg.queue.clear();
            return Turn::Again;
        }
        let verdict = self.director.judge(source, &head(&unit));
        if verdict == Verdict::Preroll
            && unit.random_access
            && let Some(needless) = self.director.needless_preroll(leg.queue.iter().map(head))
        {
            for unit in leg.queue.drain(..needless) {
                self.ledger.dropped(source, &unit);
            }
            return Turn::Again;
        }
        match verdict {
            Verdict::Drop => {
                self.ledger.dropped(source, &unit);
                leg.queue.pop_front();
                Turn::Again
            }
            Verdict::Handover if self.world.pacing.is_none() && self.director.holds_seam() => {
                Turn::Rest
            }
            Verdict::Preroll if !self.director.preroll_serves(source, leg.newest) && leg.over() => {
                leg.queue.clear();
                Turn::Again
            }
            Verdict::Preroll
                if !self.director.preroll_serves(source, leg.newest)
                    && leg.hungry(self.world.lookahead) =>
            {
                Turn::Rest
            }
            verdict @ (Verdict::Send | Verdict::Preroll) => self.when_due(source, &unit, verdict),
            verdict => self.obey(source, &unit, verdict),
        }
    }

    fn when_due(&mut self, source: LegId, unit: &Unit, verdict: Verdict) -> Turn {
        let Some(leg) = self.legs.iter().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        let waits = self.world.pacing.is_none()
            && self
                .director
                .holds_back(&head(unit), instant(self.base, self.now));
        let due = match self.world.pacing {
            _ if waits => return Turn::Rest,
            None => {
                let stocked = leg.span() >= self.world.lookahead / 2;
                let give_out = leg.over() || leg.handing_over || stocked;
                if give_out {
                    self.now
                } else {
                    leg.alive + HOLD_BACK_MAX
                }
            }
            Some(_) if verdict == Verdict::Preroll => self.now,
            Some(rate) => self.pace_due(unit.capture, rate),
        };
        if due > self.now {
            self.due = Some(due);
            return Turn::Rest;
        }
        Turn::Send(verdict)
    }

    fn pace_due(&mut self, capture: Timestamp, rate: f64) -> Micros {
        let at = self.progress(capture);
        let (base, origin) = *self.anchor.get_or_insert((at, self.now));
        if at < base {
            return self.now;
        }
        let due = origin + ((at - base) as f64 / rate) as Micros;
        if self.now - due > 2 * SECOND {
            self.anchor = Some((at, self.now));
            return self.now;
        }
        due
    }

    fn send(&mut self, source: LegId, verdict: Verdict) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return;
        };
        let Some(unit) = leg.queue.pop_front() else {
            return;
        };
        let preroll = verdict == Verdict::Preroll;
        self.ledger
            .delivered(source, &unit, preroll, &self.known, self.now);
        if !preroll {
            self.sent_any = true;
            self.director.sent(source, &head(&unit));
        }
    }
}

fn head(unit: &Unit) -> Head {
    Head {
        capture: unit.capture,
        master: true,
        random_access: unit.random_access,
        leading: false,
        shown_early: false,
    }
}
