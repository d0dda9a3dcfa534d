//! The books of one simulated playback: who was asked, what was delivered, and whether it was right.

mod units;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use seamline_routing::camera::CopyIx;
use seamline_routing::director::{Action, End, Event, Failure, LegId, Seam};
use seamline_routing::plan::{Direction, Request};
use seamline_routing::time::{TimeRange, Timestamp};

use super::checks::{self, Account};
use super::facts::Known;
use super::world::World;
use super::{Micros, SECOND};

/// What became of a leg.
#[derive(Debug)]
pub(super) struct LegLog {
    pub(super) copy: CopyIx,
    asked: Micros,
    closed: bool,
    /// It ended, failed or went silent.
    pub(super) troubled: bool,
    delivered: Option<i64>,
    /// The copy's bar as it was before this leg was reported silent.
    silent: Option<Micros>,
    /// There was cause to open it, even if it took over later.
    cause: bool,
}

/// The last unit that was sent to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) picture: i64,
    pub(super) capture: Timestamp,
    pub(super) copy: CopyIx,
    at: Micros,
}

/// Figures of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) shown: u64,
    pub(crate) preroll: u64,
    pub(crate) opens: u64,
    pub(crate) plays: u64,
    /// Copy played from each switch on, and the capture time of the seam.
    pub(crate) seams: Vec<Seam>,
    pub(crate) holes: Vec<TimeRange>,
    pub(crate) ends: Vec<End>,
    pub(crate) waits: u64,
    /// Longest time between two units, while none was held back by the client.
    pub(crate) silence_max: Micros,
    /// Pictures of the last play, in order.
    pub(crate) pictures: Vec<i64>,
}

/// The books.
pub(crate) struct Ledger<'a> {
    pub(super) world: &'a World,
    trace: Option<String>,
    violation: Option<String>,
    /// The rest of the run proves nothing.
    pub(crate) excused: bool,
    /// The leg that opened last, and its first picture.
    first: Option<(LegId, Timestamp)>,
    pub(crate) figures: Figures,
    pub(super) request: Option<Request>,
    pub(super) legs: BTreeMap<LegId, LegLog>,
    /// The leg that took over last.
    pub(super) playing: Option<LegId>,
    pub(super) shown: Option<Shown>,
    /// Copies that took over since.
    pub(super) taken_over: Vec<CopyIx>,
    /// Pictures up to which, in play order, holes were accounted for when they were passed.
    accounted: Option<i64>,
    /// By copy: until when the playback has cause to leave it alone.
    pub(super) barred_until: Vec<Micros>,
    switched: VecDeque<(Micros, bool)>,
    opened: VecDeque<Micros>,
    troubles_told: VecDeque<Micros>,
    idle_since: Micros,
    /// The longest time between two units of this play.
    waited: Micros,
    played_at: Micros,
    /// The client held playback until then.
    held_until: Micros,
}

/// Legs open at the same time.
const LEGS_MAX: usize = 3;
/// The longest bar of the director for failures that pass.
const BAR_MAX: Micros = 8 * SECOND;

impl<'a> Ledger<'a> {
    pub(crate) fn new(world: &'a World, traced: bool) -> Self {
        Ledger {
            world,
            trace: traced.then(String::new),
            violation: None,
            excused: false,
            first: None,
            figures: Figures::default(),
            request: None,
            legs: BTreeMap::new(),
            playing: None,
            shown: None,
            taken_over: Vec::new(),
            accounted: None,
            barred_until: vec![0; world.copies.len()],
            switched: VecDeque::new(),
            opened: VecDeque::new(),
            troubles_told: VecDeque::new(),
            idle_since: 0,
            waited: 0,
            played_at: 0,
            held_until: 0,
        }
    }

    /// Notes that a rule was broken; the first time counts.
    pub(crate) fn broken(&mut self, what: impl Into<String>) {
        if self.excused {
            return;
        }
        let what = what.into();
        self.note(self.idle_since, || format!("BROKEN: {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(crate) fn into_trace(self) -> String {
        self.trace.unwrap_or_default()
    }

    fn note(&mut self, now: Micros, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:9.3} s  {}", now as f64 / 1e6, line());
        }
    }

    pub(super) fn direction(&self) -> Direction {
        self.request
            .map_or(Direction::Forward, |request| request.direction)
    }

    pub(crate) fn play(&mut self, request: Request, now: Micros) {
        self.note(now, || format!("client: {request:?}"));
        self.request = Some(request);
        self.shown = None;
        self.playing = None;
        self.taken_over.clear();
        self.accounted = None;
        self.figures.plays += 1;
        self.figures.pictures.clear();
        self.idle_since = now;
        self.waited = 0;
        self.played_at = now;
    }

    /// Time passes: a playback that neither delivers nor ends is stuck.
    pub(crate) fn pass(&mut self, now: Micros, active: bool) {
        if !active {
            self.idle_since = now;
            self.held_until = now;
        }
        if now - self.idle_since > self.world.patience() {
            self.broken("stuck: nothing was delivered, and nothing ended");
        }
    }

    pub(crate) fn event(&mut self, event: &Event, known: &[Known], now: Micros) {
        if !matches!(event, Event::Tick | Event::FactsChanged) {
            self.note(now, || format!("    {event:?}"));
        }
        match *event {
            Event::LegOpened { leg, .. } | Event::Recovered { leg } => {
                if let Event::LegOpened { first, .. } = *event {
                    self.first = Some((leg, first));
                    self.excuse(leg, first, known);
                }
                if let Some(log) = self.legs.get_mut(&leg)
                    && let Some(before) = log.silent.take()
                {
                    self.barred_until[log.copy.index()] = before;
                    log.troubled = false;
                }
            }
            Event::LegEnded { leg, newest } => {
                self.trouble_of(leg, now, newest.map_or(BAR_MAX, |_| SECOND));
            }
            Event::LegFailed { leg, failure, .. } => self.trouble_of(
                leg,
                now,
                match failure {
                    Failure::Lost | Failure::Busy | Failure::NoFootage => BAR_MAX,
                    Failure::Credentials => 300 * SECOND,
                    Failure::WrongFootage => 60 * SECOND,
                    Failure::Mismatch => Micros::MAX / 2,
                },
            ),
            Event::Stalled { leg, .. } => {
                let before = self
                    .legs
                    .get(&leg)
                    .map(|log| self.barred_until[log.copy.index()]);
                self.trouble_of(leg, now, BAR_MAX);
                if let Some(log) = self.legs.get_mut(&leg) {
                    log.silent = before;
                }
            }
            _ => {}
        }
    }

    fn trouble_of(&mut self, leg: LegId, now: Micros, bar: Micros) {
        self.troubles_told.push_back(now);
        if let Some(log) = self.legs.get_mut(&leg) {
            log.troubled = true;
            let until = &mut self.barred_until[log.copy.index()];
            *until = (*until).max(now + bar);
        }
    }

    pub(crate) fn action(
        &mut self,
        action: &Action,
        known: &[Known],
        position: Timestamp,
        now: Micros,
    ) {
        self.note(now, || format!("        -> {action:?}"));
        match *action {
            Action::Open {
                leg, copy, from, ..
            } => self.open(leg, copy, from, known, now),
            Action::Close { leg } => match self.legs.get_mut(&leg) {
                Some(log) if !log.closed => {
                    log.closed = true;
                }
                _ => self.broken(format!("{leg} is closed, but was not open")),
            },
            Action::Switch(seam) => self.switch(seam, known, now),
            Action::Hole(range) => {
                self.figures.holes.push(range);
                if range.start() == Timestamp::MIN || range.end() == Timestamp::MAX {
                    self.broken("a hole without an end");
                }
                self.idle_since = now;
                let account = self.account(known, now);
                let (from, to) = checks::pictures_in(&account, range);
                if let Some(lost) = checks::lost(&account, from, to, None, true) {
                    self.broken(format!("hole {range}: {lost}"));
                }
                self.accounted = Some(to);
            }
            Action::Wait { .. } => self.figures.waits += 1,
            Action::Teach { copy, lesson } => self.taught(copy, lesson, known, now),
            Action::End(end) => self.end(end, known, position, now),
        }
    }

    fn open(&mut self, leg: LegId, copy: CopyIx, from: Timestamp, known: &[Known], now: Micros) {
        self.figures.opens += 1;
        let played = self.playing.map(|leg| self.legs[&leg].copy);
        let cause = checks::switch(&self.account(known, now), played, copy, from).is_ok();
        let log = LegLog {
            copy,
            asked: now,
            closed: false,
            troubled: false,
            delivered: None,
            silent: None,
            cause,
        };
        if self.legs.insert(leg, log).is_some() {
            self.broken(format!("{leg} is opened twice"));
        }
        let open = self.legs.values().filter(|leg| !leg.closed).count();
        if open > LEGS_MAX {
            self.broken(format!("{open} legs are open"));
        }
        self.opened.push_back(now);
        while self.opened.front().is_some_and(|at| now - at > 60 * SECOND) {
            self.opened.pop_front();
        }
        if self.opened.len() > self.world.opens_max() {
            self.broken(format!("{} legs opened in a minute", self.opened.len()));
        }
    }

    fn switch(&mut self, seam: Seam, known: &[Known], now: Micros) {
        self.figures.seams.push(seam);
        if self.legs.get(&seam.leg).is_none_or(|log| log.closed) {
            self.broken(format!("{} takes over, but is not open", seam.leg));
        }
        let account = self.account(known, now);
        let cause = self.legs.get(&seam.leg).is_some_and(|log| log.cause);
        match checks::switch(&account, seam.from, seam.copy, seam.at) {
            Ok(voluntary) => self.switched.push_back((now, voluntary)),
            Err(_) if cause => self.switched.push_back((now, false)),
            Err(why) => self.broken(why),
        }
        self.playing = Some(seam.leg);
        self.taken_over.push(seam.copy);
        let window = self.world.policy.flap.window.as_micros() as Micros;
        while self
            .switched
            .front()
            .is_some_and(|(at, _)| now - at > window)
        {
            self.switched.pop_front();
        }
        while self
            .troubles_told
            .front()
            .is_some_and(|at| now - at > window)
        {
            self.troubles_told.pop_front();
        }
        let voluntary = self.switched.iter().filter(|(_, voluntary)| *voluntary);
        if voluntary.count() > self.world.policy.flap.switches_max as usize {
            self.broken("more switches of choice than the flap window allows");
        }
        let forced_max = self.troubles_told.len() + self.world.seams_max();
        if self.switched.len() > forced_max + self.world.policy.flap.switches_max as usize {
            self.broken(format!(
                "{} switches in a flap window with {} troubles",
                self.switched.len(),
                self.troubles_told.len()
            ));
        }
    }

    fn end(&mut self, end: End, known: &[Known], position: Timestamp, now: Micros) {
        self.figures.ends.push(end);
        if let Some((leg, _)) = self.legs.iter().find(|(_, log)| !log.closed) {
            let leg = *leg;
            self.broken(format!("{leg} is still open at the end"));
        }
        let account = self.account(known, now);
        if let Err(why) = checks::end(&account, end, position) {
            self.broken(why);
        }
        let outage_wait = self.world.policy.outage_wait.as_micros() as Micros;
        let idle = now - self.shown.map_or(self.played_at, |shown| shown.at);
        // A client in no hurry waits before the last units that there are, not behind them.
        let idle = idle.max(self.waited);
        if end == End::Outage && idle < outage_wait - SECOND / 2 {
            self.broken(format!("gave up after {idle} µs"));
        }
    }

    fn account<'b>(&'b self, known: &'b [Known], now: Micros) -> Account<'b, 'a> {
        Account {
            ledger: self,
            known,
            now,
            passed: match (self.shown, self.accounted) {
                (Some(shown), Some(accounted)) => Some(match self.direction() {
                    Direction::Forward => shown.picture.max(accounted),
                    Direction::Reverse => shown.picture.min(accounted),
                }),
                (Some(shown), None) => Some(shown.picture),
                (None, accounted) => accounted,
            },
        }
    }
}
