//! A leg while it is opened, read and drained, as its owner keeps it.

use std::collections::VecDeque;
use std::time::Duration;

use seamline_routing::camera::CopyIx;
use seamline_routing::director::{Failure, LegId, START_UNITS};
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;

use super::recorder::{Answer, Arrival, Recorder, Session, Trouble, Unit};
use super::{Micros, SECOND};

/// How far a leg has come.
pub(super) enum Stage {
    Opening { ready: Micros, answer: Answer },
    Open(Session),
    Over,
}

/// A leg and its queue of units.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent marks, as in the owner that this stands for"
)]
pub(super) struct Running {
    pub(super) id: LegId,
    pub(super) copy: CopyIx,
    pub(super) stage: Stage,
    pub(super) queue: VecDeque<Unit>,
    /// Backwards: whole groups, their pictures in the order in which they are shown.
    pub(super) groups: VecDeque<Vec<Unit>>,
    /// Backwards: the group that is not whole yet.
    coming: Vec<Unit>,
    direction: Direction,
    pub(super) first: Option<Timestamp>,
    pub(super) newest: Option<Timestamp>,
    pub(super) interval_us: i64,
    pub(super) announced: bool,
    pub(super) stalled: bool,
    pub(super) handing_over: bool,
    pub(super) range_done: bool,
    pub(super) asked: Micros,
    pub(super) opened: Option<Micros>,
    pub(super) alive: Micros,
    /// Its first picture, and until when that is kept from the director.
    pub(super) withheld: Option<(Timestamp, Micros)>,
}

/// What reading a leg brought to light.
pub(super) enum Sign {
    Opened,
    First(Timestamp),
    Recovered,
    Ended,
    Failed(Failure),
}

impl Running {
    pub(super) fn new(
        id: LegId,
        copy: CopyIx,
        (ready, answer): (Micros, Answer),
        direction: Direction,
        now: Micros,
    ) -> Self {
        Running {
            id,
            copy,
            stage: Stage::Opening { ready, answer },
            queue: VecDeque::new(),
            groups: VecDeque::new(),
            coming: Vec::new(),
            direction,
            first: None,
            newest: None,
            interval_us: 40_000,
            announced: false,
            stalled: false,
            handing_over: false,
            range_done: false,
            asked: now,
            opened: None,
            alive: now,
            withheld: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.groups.clear();
    }

    pub(super) fn over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    pub(super) fn silent_since(&self) -> Micros {
        if self.opened.is_some() {
            self.alive
        } else {
            self.asked
        }
    }

    pub(super) fn span(&self) -> Micros {
        let group = self.groups.front().and_then(|group| group.first());
        match (self.newest, self.queue.front().or(group)) {
            (Some(newest), Some(oldest)) => newest.micros_since(oldest.capture).abs(),
            _ => 0,
        }
    }

    pub(super) fn hungry(&self, lookahead: Micros) -> bool {
        self.span() < lookahead || self.withheld.is_some() && self.queue.len() < START_UNITS
    }

    /// What was withheld, once its cadence is known or nothing more is waited for.
    pub(super) fn told_start(&mut self, now: Micros) -> Option<(Timestamp, Option<Duration>)> {
        let (first, until) = self.withheld?;
        if self.queue.len() < START_UNITS && now < until && !self.over() {
            return None;
        }
        self.withheld = None;
        let mut shown: Vec<i64> = self
            .queue
            .iter()
            .map(|unit| unit.capture.as_micros())
            .collect();
        shown.sort_unstable();
        let steps = shown.windows(2).map(|pair| pair[1] - pair[0]);
        let step = steps.filter(|step| *step > 0).min();
        Some((first, step.map(|step| Duration::from_micros(step as u64))))
    }

    /// Whether it has shown that it goes on.
    pub(super) fn is_steady(&self, now: Micros, lookahead: Micros) -> bool {
        let shown = self.first.zip(self.newest);
        let shown = shown.map_or(0, |(first, newest)| newest.micros_since(first).abs());
        let lasts = self.opened.is_some_and(|opened| now - opened >= SECOND);
        !self.stalled && shown >= SECOND && (lasts || self.span() >= lookahead * 3 / 4)
    }

    /// Reads until a sign, until the look-ahead is full, or until there is no more for now: then when to look again.
    pub(super) fn poll(
        &mut self,
        now: Micros,
        recorder: &Recorder,
        lookahead: Micros,
    ) -> Result<Sign, Micros> {
        if let Stage::Opening { ready, answer } = &self.stage {
            let killed = recorder.troubles.iter().any(|(when, trouble)| {
                *trouble == Trouble::Killed
                    && when.start > self.asked
                    && when.start <= now.min(*ready)
            });
            if killed {
                self.stage = Stage::Over;
                return Ok(Sign::Failed(Failure::Lost));
            }
            if *ready > now {
                return Err(*ready);
            }
            self.alive = now;
            self.opened = Some(now);
            return Ok(match answer.clone() {
                Ok(session) => {
                    self.stage = Stage::Open(session);
                    Sign::Opened
                }
                Err(failure) => {
                    self.stage = Stage::Over;
                    Sign::Failed(failure)
                }
            });
        }
        loop {
            if !self.hungry(lookahead) {
                self.alive = now;
                return Err(Micros::MAX);
            }
            let Stage::Open(session) = &mut self.stage else {
                return Err(Micros::MAX);
            };
            match recorder.read(session, now) {
                Arrival::Unit(unit) => {
                    self.alive = now;
                    let sign = match self.direction {
                        Direction::Forward => self.take(unit),
                        Direction::Reverse => self.take_back(unit, now),
                    };
                    if let Some(sign) = sign {
                        return Ok(sign);
                    }
                }
                Arrival::Ended => {
                    self.stage = Stage::Over;
                    return Ok(Sign::Ended);
                }
                Arrival::Failed => {
                    self.stage = Stage::Over;
                    return Ok(Sign::Failed(Failure::Lost));
                }
                Arrival::NotBefore(again) => return Err(again),
            }
        }
    }

    /// Backwards a group is of use once it is whole.
    fn take_back(&mut self, unit: Unit, now: Micros) -> Option<Sign> {
        self.coming.push(unit);
        if !self.announced {
            // Its recorder lives: what owners are told while they wait for the first group.
            self.asked = now;
            self.opened = Some(now);
        }
        if !unit.begins_group {
            return None;
        }
        let group = std::mem::take(&mut self.coming);
        let last = group.first().map_or(unit.capture, |last| last.capture);
        let steps = group.len() as i64 - 1;
        if steps > 0 {
            self.interval_us = (last.micros_since(unit.capture) / steps).max(4_000);
        }
        self.first.get_or_insert(last);
        self.newest = Some(unit.capture);
        self.groups.push_back(group);
        if !std::mem::replace(&mut self.announced, true) {
            self.stalled = false;
            return Some(Sign::First(last));
        }
        std::mem::take(&mut self.stalled).then_some(Sign::Recovered)
    }

    pub(super) fn take(&mut self, unit: Unit) -> Option<Sign> {
        if !self.announced && !unit.random_access {
            return None;
        }
        if let Some(newest) = self.newest {
            let step = unit.capture.micros_since(newest).abs();
            if step > 0 && step < 2 * SECOND {
                self.interval_us = (self.interval_us * 3 + step) / 4;
            }
        }
        self.first.get_or_insert(unit.capture);
        self.newest = Some(unit.capture);
        self.queue.push_back(unit);
        if !self.announced {
            self.announced = true;
            self.stalled = false;
            return Some(Sign::First(unit.capture));
        }
        if std::mem::take(&mut self.stalled) {
            return Some(Sign::Recovered);
        }
        None
    }
}
