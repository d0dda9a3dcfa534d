//! The owner of the director, as `proxy` has it: legs with queues, read ahead, watched for silence, asked about unit by unit.

mod emit;

use std::time::{Duration, Instant};

use seamline_routing::director::{Action, Director, End, Event, Failure, LegId};
use seamline_routing::plan::{CopyFacts, Direction};
use seamline_routing::time::Timestamp;

use super::facts::{Known, instant};
use super::ledger::Ledger;
use super::leg::{Running, Sign, Stage};
use super::world::{Client, World};
use super::{MILLI, Micros, SECOND};

/// One playback and the world around it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent marks, as in the owner that this stands for"
)]
pub(crate) struct Owner<'a> {
    world: &'a World,
    base: Instant,
    pub(crate) now: Micros,
    pub(crate) known: Vec<Known>,
    pub(crate) ledger: Ledger<'a>,
    director: Director,
    legs: Vec<Running>,
    facts_changed: bool,
    active: bool,
    end: Option<End>,
    direction: Direction,
    /// A capture progress and the moment at which it is due.
    anchor: Option<(i64, Micros)>,
    due: Option<Micros>,
    sent_any: bool,
    /// A leg was opened since the legs were last read.
    opened: bool,
}

/// Most that an owner does at one moment.
const TURNS_MAX: usize = 20_000;
const TICK: Micros = 250 * MILLI;
/// How long the first pictures of a leg that begins late are waited for.
const START_WAIT: Micros = 250 * MILLI;
const HOLD_BACK_MAX: Micros = 150 * MILLI;
/// Units that a client that takes what it can get takes at once, and how often.
const BURST: usize = 32;
const BURST_EVERY: Micros = 20 * MILLI;
const TAIL_US: i64 = 20 * SECOND;
const TAIL_PATIENCE: Micros = 5 * SECOND;

impl<'a> Owner<'a> {
    pub(crate) fn new(world: &'a World, base: Instant, traced: bool) -> Self {
        Owner {
            world,
            base,
            now: 0,
            known: world
                .copies
                .iter()
                .enumerate()
                .map(|(ix, copy)| Known::new(copy.listing.clone(), base, world.seed ^ ix as u64))
                .collect(),
            ledger: Ledger::new(world, traced),
            director: Director::new(world.policy),
            legs: Vec::new(),
            facts_changed: false,
            active: false,
            end: None,
            direction: Direction::Forward,
            anchor: None,
            due: None,
            sent_any: false,
            opened: false,
        }
    }

    pub(crate) fn ended(&self) -> bool {
        self.director.ended()
    }

    fn wall(&self) -> Timestamp {
        self.world.wall(self.now)
    }

    fn progress(&self, at: Timestamp) -> i64 {
        match self.direction {
            Direction::Forward => at.as_micros(),
            Direction::Reverse => at.as_micros().saturating_neg(),
        }
    }

    /// Does what the client asks.
    pub(crate) fn client(&mut self, client: Client) {
        match client {
            Client::Play(request) => {
                self.direction = request.direction;
                self.anchor = None;
                self.active = true;
                self.end = None;
                self.sent_any = false;
                self.ledger.play(request, self.now);
                self.direct(Event::Play(request));
            }
            Client::Pause if self.active => {
                self.active = false;
                self.direct(Event::Pause);
            }
            Client::Resume if !self.active && !self.ended() => {
                self.active = true;
                self.anchor = None;
                for leg in &mut self.legs {
                    leg.alive = self.now;
                    leg.asked = self.now;
                }
                self.direct(Event::Resume);
            }
            Client::Pause | Client::Resume => {}
        }
    }

    /// Does all there is to do now; returns when there may be more.
    pub(crate) fn poll(&mut self) -> Micros {
        for (known, copy) in self.known.iter_mut().zip(&self.world.copies) {
            self.facts_changed |= known.pass(&copy.recorder, self.now);
        }
        self.ledger.pass(self.now, self.active);
        if !self.active {
            return self.now + TICK;
        }
        for _ in 0..TURNS_MAX {
            if !self.active {
                return self.now + TICK;
            }
            self.look_around();
            let wake = self.poll_legs();
            self.watch_legs();
            let sent = self.emit();
            if sent == 0 && !std::mem::take(&mut self.opened) {
                return self.next_wake(wake);
            }
            if self.world.pacing.is_none() && sent >= BURST {
                return self.now + BURST_EVERY;
            }
        }
        self.ledger.broken("livelock: one moment takes no end");
        self.now + TICK
    }

    fn next_wake(&self, arrival: Micros) -> Micros {
        let silence = self
            .legs
            .iter()
            .filter(|leg| !leg.over() && !leg.stalled && leg.hungry(self.world.lookahead))
            .map(|leg| leg.silent_since() + self.silence_limit(leg));
        let deadline = self
            .director
            .deadline(instant(self.base, self.now))
            .map(|at| at.saturating_duration_since(self.base).as_micros() as Micros);
        let withheld = self.legs.iter().filter_map(|leg| leg.withheld);
        silence
            .chain(withheld.map(|(_, until)| until))
            .chain(self.due)
            .chain(deadline)
            .chain([arrival])
            .fold(self.now + TICK, Micros::min)
            .max(self.now + 1)
    }

    fn look_around(&mut self) {
        let now = instant(self.base, self.now);
        if std::mem::take(&mut self.facts_changed) {
            self.direct(Event::FactsChanged);
        } else if self.director.wants_review()
            || self.director.deadline(now).is_some_and(|at| at <= now)
        {
            self.direct(Event::Tick);
        }
    }

    fn direct(&mut self, event: Event) {
        let facts: Vec<CopyFacts<'_>> = self
            .known
            .iter()
            .map(|known| known.facts(self.now))
            .collect();
        self.ledger.event(&event, &self.known, self.now);
        self.director
            .handle(event, &facts, instant(self.base, self.now));
        drop(facts);
        while let Some(action) = self.director.poll_action() {
            self.act(&action);
        }
    }

    fn act(&mut self, action: &Action) {
        self.ledger
            .action(action, &self.known, self.director.position(), self.now);
        match *action {
            Action::Open {
                leg,
                copy,
                from,
                until,
                ..
            } => {
                let answer = self.world.copies[copy.index()].recorder.ask(
                    self.now,
                    from,
                    until,
                    self.direction,
                    self.world.policy.reaction,
                );
                self.opened = true;
                let running = Running::new(leg, copy, answer, self.direction, self.now);
                self.legs.push(running);
            }
            Action::Close { leg } => self.legs.retain(|running| running.id != leg),
            Action::Hole(range) => {
                let (from, to) = match self.direction {
                    Direction::Forward => (range.start(), range.end()),
                    Direction::Reverse => (range.end(), range.start()),
                };
                let length = self.progress(to).saturating_sub(self.progress(from));
                if self.sent_any
                    && let Some((base, _)) = &mut self.anchor
                {
                    *base = base.saturating_add(length.max(0));
                }
            }
            Action::Teach { copy, lesson } => {
                self.facts_changed |= self.known[copy.index()].learn(lesson);
            }
            Action::End(end) => {
                self.end = Some(end);
                self.active = false;
            }
            Action::Switch(_) | Action::Wait { .. } => {}
        }
    }

    /// Reads the legs; returns when the next unit may arrive.
    fn poll_legs(&mut self) -> Micros {
        let mut wake = Micros::MAX;
        let mut seen: usize = 0;
        loop {
            // Legs opened on the way are looked at too.
            let Some(id) = self.legs.get(seen).map(|leg| leg.id) else {
                return wake;
            };
            while let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) {
                let recorder = &self.world.copies[leg.copy.index()].recorder;
                let sign = leg.poll(self.now, recorder, self.world.lookahead);
                let (copy, newest) = (leg.copy, leg.newest);
                if let Some((first, step)) = leg.told_start(self.now) {
                    self.leg_opened(id, first, step);
                }
                match sign {
                    Err(again) => {
                        wake = wake.min(again);
                        break;
                    }
                    Ok(Sign::Opened) => {
                        self.facts_changed |= self.known[copy.index()].delivers(self.now);
                    }
                    Ok(Sign::First(first)) => {
                        if self.director.doubts_start(id, first, self.wall()) {
                            let until = self.now + START_WAIT;
                            let leg = self.legs.iter_mut().find(|leg| leg.id == id);
                            leg.expect("it was just read").withheld = Some((first, until));
                        } else {
                            self.leg_opened(id, first, None);
                        }
                    }
                    Ok(Sign::Recovered) => self.direct(Event::Recovered { leg: id }),
                    Ok(Sign::Ended) => self.direct(Event::LegEnded { leg: id, newest }),
                    Ok(Sign::Failed(failure)) => self.leg_failed(id, failure),
                }
            }
            seen = match self.legs.iter().position(|leg| leg.id == id) {
                Some(at) => at + 1,
                None => 0,
            };
        }
    }

    fn leg_opened(&mut self, leg: LegId, first: Timestamp, step: Option<Duration>) {
        let wall = self.wall();
        self.direct(Event::LegOpened {
            leg,
            first,
            step,
            wall,
        });
    }

    fn leg_failed(&mut self, id: LegId, failure: Failure) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) else {
            return;
        };
        leg.stage = Stage::Over;
        let (copy, newest) = (leg.copy, leg.newest);
        self.facts_changed |= self.known[copy.index()].fails(failure, self.now);
        self.direct(Event::LegFailed {
            leg: id,
            failure,
            newest,
        });
    }

    fn watch_legs(&mut self) {
        let first_unit = self.world.policy.reaction.first_unit.as_micros() as Micros;
        let ids: Vec<LegId> = self.legs.iter().map(|leg| leg.id).collect();
        for id in ids {
            let Some(leg) = self.legs.iter().find(|leg| leg.id == id) else {
                continue;
            };
            let since = self.now - leg.silent_since();
            let dead = leg.opened.is_some() && !leg.announced && since >= first_unit;
            let silent = since >= self.silence_limit(leg) && !leg.stalled;
            if leg.withheld.is_some() || leg.over() || !(dead || silent) {
                continue;
            }
            if dead {
                self.leg_failed(id, Failure::Lost);
                continue;
            }
            let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) else {
                continue;
            };
            leg.stalled = true;
            let (copy, newest, announced) = (leg.copy, leg.newest, leg.announced);
            if announced {
                self.facts_changed |= self.known[copy.index()].fails(Failure::Lost, self.now);
            }
            self.direct(Event::Stalled { leg: id, newest });
        }
    }

    fn silence_limit(&self, leg: &Running) -> Micros {
        let limit = self.world.policy.reaction.stall_after.as_micros() as Micros;
        match leg.newest {
            None => limit,
            Some(newest) if self.wall().micros_since(newest) < TAIL_US => limit.max(TAIL_PATIENCE),
            Some(_) => limit + leg.interval_us * 2,
        }
    }
}

/// The base of simulated time.
pub(crate) fn origin() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "an origin for the simulation's own clock; nothing waits for it"
    )]
    Instant::now()
}
