//! One playback's state machine: facts and events in, actions and verdicts out.
//!
//! The director owns no queue and no socket. Its owner opens the legs it asks for, tells what became of them, and before
//! it sends an access unit asks [`Director::judge`] about it. Everything is decided on capture time.
//!
//! Rules that hold in every state, and that `tests/director_sim.rs` checks against random outages:
//! * an access unit is sent once; what a decoder needs again at a seam is marked [`Verdict::Preroll`];
//! * footage that a reachable copy holds is never skipped: a jump in one copy is filled from the others first;
//! * capture time never runs against the direction of play;
//! * a copy that failed is left alone for a growing while, so that switches are bounded.

mod event;
mod handover;
mod judge;
mod seam;
mod trouble;
mod veto;

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use crate::camera::CopyIx;
use crate::coverage::{Held, HeldBefore};
use crate::health::HealthState;
use crate::plan::{CopyFacts, Direction, Reason, Request, Step, next_step};
use crate::policy::{Failback, Holes, Mismatch, Policy};
use crate::time::{TimeRange, Timestamp};
use handover::{Goal, Handover};
use veto::Vetoes;

pub use event::{Action, End, Event, Failure, Lesson, Seam};
pub use judge::{Head, Outlook, Verdict};

/// A leg within one playback; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(u32);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leg {}", self.0)
    }
}

/// A leg as the director sees it.
#[derive(Clone, Copy, Debug)]
struct Leg {
    id: LegId,
    copy: CopyIx,
    from: Timestamp,
    reason: Reason,
    /// Capture time of its first unit, once it arrived.
    first: Option<Timestamp>,
    /// Units at or before this progress were sent by an earlier leg.
    cut: Option<i64>,
    /// It ended or failed.
    over: bool,
    stalled: bool,
    /// Progress that it has not gone beyond when it ended, failed or went silent; what arrived up to there may still wait to be sent.
    end: Option<i64>,
    /// Where the plan leaves this leg.
    until: Option<Timestamp>,
    /// Where its recorder was told to stop.
    ordered: Option<Timestamp>,
    /// A jump up to this progress was looked at: no other copy fills it.
    jump_allowed: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Playing,
    Paused,
    Ended,
}

/// Why nothing is being opened although something is wanted.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Outage {
        since: Instant,
    },
    Hole {
        until: Instant,
        resume_at: Timestamp,
    },
}

/// One playback's decisions. See the module's text.
#[derive(Debug)]
pub struct Director {
    policy: Policy,
    request: Request,
    phase: Phase,
    current: Option<Leg>,
    handover: Option<Handover>,
    waiting: Option<Waiting>,
    /// Since when there has been nothing to send, although something is wanted.
    without_since: Option<Instant>,
    /// Progress of the newest unit sent in this play.
    last: Option<i64>,
    interval_us: i64,
    /// The latest steps in capture time, µs.
    steps: VecDeque<i64>,
    /// Progress to go on from when nothing was sent since (behind a hole that was skipped).
    resume: Option<i64>,
    vetoes: Vetoes,
    switches: VecDeque<Instant>,
    /// Progress at which the plan must be looked at again.
    review_at: Option<i64>,
    /// Progress before which no return to a better copy is tried again.
    better_from: Option<i64>,
    actions: VecDeque<Action>,
    legs_opened: u32,
}

/// A frame interval until the footage shows its own (25 frames a second).
const INTERVAL_US: i64 = 40_000;
/// Frame intervals outside of this are not believed: 120 frames a second to one frame in two seconds.
const INTERVAL_RANGE_US: (i64, i64) = (8_333, 2_000_000);
/// A leg may start this much before the asked time: the longest group of pictures of "smart" encoders seen in the field.
const PREROLL_MAX_US: i64 = 15_000_000;
/// Footage this close to the time of day is live.
const LIVE_WITHIN_US: i64 = 15_000_000;
/// A return to a better copy is asked for this far ahead, so that its random access point is not yet past.
const BETTER_LEAD_US: i64 = 2_000_000;
/// A leg is asked for this much more than the plan wants of it.
const OVERLAP_US: i64 = 2_000_000;
/// Holes and slivers looked through in one decision.
const STEPS_MAX: usize = 64;

impl Director {
    /// A director for a camera; it does nothing before [`Event::Play`].
    pub fn new(policy: Policy) -> Self {
        Director {
            policy,
            request: Request {
                at: Timestamp::EPOCH,
                until: None,
                direction: Direction::Forward,
            },
            phase: Phase::Idle,
            current: None,
            handover: None,
            waiting: None,
            without_since: None,
            last: None,
            interval_us: INTERVAL_US,
            steps: VecDeque::with_capacity(judge::CADENCE_STEPS),
            resume: None,
            vetoes: Vetoes::default(),
            switches: VecDeque::new(),
            review_at: None,
            better_from: None,
            actions: VecDeque::new(),
            legs_opened: 0,
        }
    }

    /// Takes in an event. `facts` are the camera's copies in priority order; `now` is monotonic.
    pub fn handle(&mut self, event: Event, facts: &[CopyFacts<'_>], now: Instant) {
        self.vetoes.resize(facts.len());
        match event {
            Event::Play(request) => self.play(request, facts, now),
            Event::Pause if self.phase == Phase::Playing => self.phase = Phase::Paused,
            Event::Resume if self.phase == Phase::Paused => {
                self.phase = Phase::Playing;
                self.without_since = None;
                if let Some(Waiting::Outage { since }) = &mut self.waiting {
                    *since = now;
                    self.without_since = Some(now);
                }
                self.review(facts, now);
            }
            _ if matches!(self.phase, Phase::Idle | Phase::Ended) => {}
            Event::LegOpened { leg, first, wall } => self.leg_opened(leg, first, wall, facts, now),
            Event::LegEnded { leg, newest } => self.leg_ended(leg, newest, facts, now),
            Event::LegFailed {
                leg,
                failure,
                newest,
            } => self.leg_failed(leg, failure, newest, facts, now),
            Event::Stalled { leg, newest } => self.stalled(leg, newest, facts, now),
            Event::Recovered { leg } => self.recovered(leg),
            Event::Drained { leg } => self.drained(leg, facts, now),
            Event::JumpAhead { leg, from, to } => self.jump_ahead(leg, from, to, facts, now),
            Event::Jump { leg, to } => self.jump(leg, to, facts, now),
            Event::RangeEnd => self.finish(End::Range),
            Event::FactsChanged | Event::Tick => self.review(facts, now),
            Event::Pause | Event::Resume => {}
        }
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Event::Tick`] is due at the latest; `None` while nothing is waited for.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.phase != Phase::Playing {
            return None;
        }
        match self.waiting? {
            Waiting::Outage { .. } if self.handover.is_some() => None,
            Waiting::Hole { until, .. } => Some(until),
            Waiting::Outage { since } => {
                let give_up = since + self.policy.outage_wait;
                Some(
                    self.vetoes
                        .next_release(now)
                        .map_or(give_up, |release| release.min(give_up)),
                )
            }
        }
    }

    /// Whether the position passed the point where the plan must be looked at again: [`Event::Tick`] is due now.
    pub fn wants_review(&self) -> bool {
        self.spent() || matches!((self.review_at, self.last), (Some(at), Some(last)) if last >= at)
    }

    /// The leg that units are taken from, if any.
    pub fn source(&self) -> Option<LegId> {
        self.current.map(|leg| leg.id)
    }

    /// The copy that is playing.
    pub fn playing(&self) -> Option<CopyIx> {
        self.current.map(|leg| leg.copy)
    }

    /// Capture time that is wanted next.
    pub fn position(&self) -> Timestamp {
        self.time(self.wanted())
    }

    /// Whether the playback ended.
    pub fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn play(&mut self, request: Request, facts: &[CopyFacts<'_>], now: Instant) {
        self.close_handover();
        if let Some(leg) = self.current.take() {
            self.actions.push_back(Action::Close { leg: leg.id });
        }
        self.request = request;
        self.phase = Phase::Playing;
        self.waiting = None;
        self.without_since = None;
        self.last = None;
        self.resume = None;
        self.review_at = None;
        self.better_from = None;
        self.vetoes.forget_lies();
        self.seek_source(Goal::Start, facts, now);
    }

    /// Progress along the direction of play, µs: grows while playing, forward or in reverse.
    fn progress(&self, at: Timestamp) -> i64 {
        match self.request.direction {
            Direction::Forward => at.as_micros(),
            Direction::Reverse => at.as_micros().saturating_neg(),
        }
    }

    fn time(&self, progress: i64) -> Timestamp {
        match self.request.direction {
            Direction::Forward => Timestamp::from_micros(progress),
            Direction::Reverse if progress == i64::MAX => Timestamp::MIN,
            Direction::Reverse => Timestamp::from_micros(progress.saturating_neg()),
        }
    }

    /// Two units closer than this are the same picture.
    fn tolerance(&self) -> i64 {
        self.interval_us / 2
    }

    /// What a copy lists beyond the wanted progress holds no picture when it is shorter than this. A picture lies at the
    /// start of its frame interval: forward the rest of it is empty, in reverse it comes last.
    fn sliver(&self) -> i64 {
        match self.request.direction {
            Direction::Forward => self.interval_us * 3 / 4,
            Direction::Reverse => self.interval_us / 4,
        }
    }

    /// A step in capture time above this may hide footage that another copy holds.
    fn jump_min(&self) -> i64 {
        (self.policy.min_gap.as_micros() as i64).max(self.interval_us * 5 / 2)
    }

    /// Progress of the next unit that is wanted.
    fn wanted(&self) -> i64 {
        let sent = self.last.map(|last| last.saturating_add(self.tolerance()));
        match (sent, self.resume) {
            (Some(sent), Some(resume)) => sent.max(resume),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => self.progress(self.request.at),
        }
    }

    /// What the plan says from `at` on, with this playback's own experience laid over the facts.
    ///
    /// Remainders shorter than a frame are passed over: the listing of a copy ends where its last frame ends.
    fn step(
        &self,
        at: i64,
        current: Option<CopyIx>,
        facts: &[CopyFacts<'_>],
        now: Instant,
    ) -> Step {
        let seen = self.vetoes.overlay(facts);
        let mut seen = seen.facts(facts, &self.vetoes, now);
        // A leg that delivers is proof enough that its recorder lives, whatever the probes say.
        if let Some(playing) = current.and_then(|copy| seen.get_mut(copy.index()))
            && playing.health == HealthState::Down
        {
            playing.health = HealthState::Suspect;
        }
        let policy = if self.flapping(now) {
            Policy {
                failback: Failback::Never,
                ..self.policy
            }
        } else {
            self.policy
        };
        let mut at = at;
        for _ in 0..STEPS_MAX {
            let step = next_step(self.time(at), &self.request, &seen, current, &policy);
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

    fn open(
        &mut self,
        copy: CopyIx,
        from: Timestamp,
        until: Option<Timestamp>,
        reason: Reason,
        facts: &[CopyFacts<'_>],
    ) -> Leg {
        self.legs_opened += 1;
        let bound = self.request.until.map(|until| self.progress(until));
        // Where a better copy takes over, the leg goes on in case that one fails.
        let ends = |until: &Timestamp| {
            facts
                .get(copy.index())
                .is_some_and(|facts| match self.request.direction {
                    Direction::Forward => {
                        !matches!(facts.coverage.held(*until), Held::Recorded { .. })
                    }
                    Direction::Reverse => !matches!(
                        facts.coverage.held_before(*until),
                        HeldBefore::Recorded { .. }
                    ),
                })
        };
        let ordered = until
            .filter(ends)
            .map(|until| self.progress(until).saturating_add(OVERLAP_US))
            .into_iter()
            .chain(bound)
            .min()
            .map(|ordered| self.time(ordered));
        let leg = Leg {
            id: LegId(self.legs_opened),
            copy,
            from,
            reason,
            first: None,
            cut: None,
            over: false,
            stalled: false,
            end: None,
            until,
            ordered,
            jump_allowed: None,
        };
        self.actions.push_back(Action::Open {
            leg: leg.id,
            copy,
            from,
            until: ordered,
            reason,
        });
        leg
    }

    fn finish(&mut self, end: End) {
        self.close_handover();
        if let Some(leg) = self.current.take() {
            self.actions.push_back(Action::Close { leg: leg.id });
        }
        self.waiting = None;
        self.phase = Phase::Ended;
        self.actions.push_back(Action::End(end));
    }

    /// Finds the leg that serves the wanted instant and opens it; else waits, skips or ends as the policy says.
    fn seek_source(&mut self, goal: Goal, facts: &[CopyFacts<'_>], now: Instant) {
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
        for _ in 0..STEPS_MAX {
            match self.step(at, None, facts, now) {
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
                    let leg = self.open(copy, from, until, reason, facts);
                    self.handover = Some(Handover::new(goal, leg));
                    return;
                }
                Step::Hole { from, until } => {
                    let from = self.progress(from);
                    let Some(until) = until.map(|until| self.progress(until)) else {
                        return self.finish(self.end_without_footage(facts));
                    };
                    match holes {
                        Holes::End => return self.finish(End::Hole),
                        Holes::Skip => {
                            hole_from.get_or_insert(from.max(at));
                            at = until;
                        }
                        Holes::Wait => return self.wait_out_hole(at, until, now),
                    }
                }
                Step::Outage { from, until } => {
                    let since = *self.without_since.get_or_insert(now);
                    let given_up = now.saturating_duration_since(since) >= self.policy.outage_wait;
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
                Step::End => return self.finish(self.end_without_footage(facts)),
            }
        }
        self.finish(End::Footage);
    }

    fn wait_for_a_copy(&mut self, at: i64, since: Instant) {
        if !matches!(self.waiting, Some(Waiting::Outage { .. })) {
            self.actions.push_back(Action::Wait { at: self.time(at) });
        }
        self.waiting = Some(Waiting::Outage { since });
    }

    /// What is left of the requested range is shorter than a frame.
    fn range_done(&self) -> bool {
        let left = |until: Timestamp| self.progress(until).saturating_sub(self.wanted());
        self.last.is_some()
            && self
                .request
                .until
                .is_some_and(|until| left(until) < self.interval_us * 3 / 4)
    }

    fn skip_hole(&mut self, start: i64, end: i64) {
        self.resume = Some(end);
        let (from, to) = (self.time(start.min(end)), self.time(end.max(start)));
        if let Some(range) = TimeRange::new(from.min(to), from.max(to)) {
            self.actions.push_back(Action::Hole(range));
        }
    }

    fn end_without_footage(&self, facts: &[CopyFacts<'_>]) -> End {
        let at = self.time(self.wanted());
        let misfit = self.policy.mismatch == Mismatch::End && self.vetoes.misfit_holds(facts, at);
        if misfit { End::Mismatch } else { End::Footage }
    }
}
