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
mod hole;
mod judge;
mod progress;
mod seam;
mod search;
mod seen;
mod trouble;
mod veto;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::camera::CopyIx;
use crate::plan::{CopyFacts, Direction, Reason, Request};
use crate::policy::Policy;
use crate::time::{TimeRange, Timestamp};
use handover::{Goal, Handover};
use seen::Seen;
use veto::Vetoes;

pub use event::{Action, End, Event, Failure, Lesson, Seam};
pub use handover::START_UNITS;
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
    /// Its pictures follow the last one sent in the same elementary stream.
    joined: bool,
    /// It ended or failed.
    over: bool,
    stalled: bool,
    /// Progress that it has not gone beyond when it ended, failed or went silent; what arrived up to there may still wait to be sent.
    end: Option<i64>,
    /// Where the plan leaves this leg.
    until: Option<Timestamp>,
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
        /// Progress that the leg that plays jumps to, where a copy is waited for that may fill the jump.
        jump_to: Option<i64>,
    },
    Hole {
        until: Instant,
        resume_at: Timestamp,
    },
}

/// The end of the current leg is kept from a client that is in no hurry until it is known who follows.
#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Instant,
    until: Instant,
    /// The leg cannot go on.
    ended: bool,
    /// The client is in no hurry, and did wait.
    kept: bool,
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
    /// What follows the current leg cannot be asked yet, though it may be soon.
    hold: Option<Hold>,
    /// Progress of the newest unit sent in this play.
    last: Option<i64>,
    interval_us: i64,
    /// Pictures are left out on purpose: this far apart, µs, they still follow each other.
    spacing_us: i64,
    /// Progress of the latest units, in the order sent.
    recent: VecDeque<i64>,
    /// Progress to go on from when nothing was sent since (behind a hole that was skipped).
    resume: Option<i64>,
    vetoes: Vetoes,
    switches: VecDeque<Instant>,
    /// When the plan was last looked at.
    looked: Option<Instant>,
    /// Progress at which the plan must be looked at again.
    review_at: Option<i64>,
    /// Progress before which no return to a better copy is tried again.
    better_from: Option<i64>,
    actions: VecDeque<Action>,
    legs_opened: u32,
    /// The copy that a play begins with, where it may be used and the policy does not ask for a better one.
    preferred: Option<CopyIx>,
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
            hold: None,
            last: None,
            interval_us: INTERVAL_US,
            spacing_us: 0,
            recent: VecDeque::with_capacity(judge::CADENCE_UNITS),
            resume: None,
            vetoes: Vetoes::default(),
            switches: VecDeque::new(),
            looked: None,
            review_at: None,
            better_from: None,
            actions: VecDeque::new(),
            legs_opened: 0,
            preferred: None,
        }
    }

    /// A copy is known to hold footage in these stretches whose format does not fit the session, and none that does. Stays so
    /// until it is said anew.
    pub fn unfit(&mut self, copy: CopyIx, ranges: impl IntoIterator<Item = TimeRange>) {
        self.vetoes.unfit(copy, ranges);
    }

    /// What plays next goes on where this copy played before: it is chosen as if it still did.
    pub fn prefer(&mut self, copy: CopyIx) {
        self.preferred = Some(copy);
    }

    /// What plays next leaves pictures out on purpose (key frames only): those up to `spacing` apart have no gap between them.
    /// Zero for all pictures.
    pub fn space_pictures(&mut self, spacing: Duration) {
        self.spacing_us = spacing.as_micros() as i64;
        self.interval_us = INTERVAL_US;
    }

    /// Takes in an event. `facts` are the camera's copies in priority order; `now` is monotonic.
    pub fn handle(&mut self, event: Event, facts: &[CopyFacts<'_>], now: Instant) {
        self.vetoes.resize(facts.len());
        let seen = &mut Seen::new(facts, now);
        match event {
            Event::Play(request) => self.play(request, seen),
            Event::Pause if self.phase == Phase::Playing => self.phase = Phase::Paused,
            Event::Resume if self.phase == Phase::Paused => {
                self.phase = Phase::Playing;
                self.without_since = None;
                if let Some(Waiting::Outage { since, .. }) = &mut self.waiting {
                    *since = now;
                    self.without_since = Some(now);
                }
                self.hold = None;
                self.review(seen);
            }
            _ if matches!(self.phase, Phase::Idle | Phase::Ended) => {}
            Event::LegOpened {
                leg,
                first,
                step,
                wall,
            } => self.leg_opened(leg, (first, step), wall, seen),
            Event::LegEnded { leg, newest } => self.leg_ended(leg, newest, seen),
            Event::LegFailed {
                leg,
                failure,
                newest,
            } => self.leg_failed(leg, failure, newest, seen),
            Event::Stalled { leg, newest } => self.stalled(leg, newest, seen),
            Event::Recovered { leg } => self.recovered(leg),
            Event::Drained { leg } => self.drained(leg, seen),
            Event::JumpAhead { leg, from, to } => self.jump_ahead(leg, from, to, seen),
            Event::Jump { leg, to } => self.jump(leg, to, seen),
            Event::RangeEnd => self.finish(End::Range),
            Event::FactsChanged | Event::Tick => self.review(seen),
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
        // A bar that ended since the plan was looked at is due now.
        let release = self.vetoes.next_release(self.looked.unwrap_or(now));
        match self.waiting {
            Some(Waiting::Hole { until, .. }) => Some(until),
            _ if self.handover.is_some() => None,
            Some(Waiting::Outage { since, jump_to }) => {
                let give_up = since + self.policy.outage_wait;
                // Not before what a silent leg delivered is sent.
                let due = jump_to.is_some() || self.is_spent();
                let give_up = Some(give_up).filter(|at| *at > now || due);
                release.into_iter().chain(give_up).min()
            }
            None => release.filter(|_| self.hold.is_some()),
        }
    }

    /// Whether all that a leg delivered before it ended, failed or fell silent was sent.
    fn is_spent(&self) -> bool {
        let end = self.current.and_then(|leg| leg.end);
        // Its newest may be the picture that was sent last, as another copy dates it.
        let sent = self.wanted().saturating_add(self.tolerance());
        end.is_none_or(|end| sent >= end)
    }

    /// Whether the position passed the point where the plan must be looked at again: [`Event::Tick`] is due now.
    pub fn wants_review(&self) -> bool {
        self.spent() || matches!((self.review_at, self.last), (Some(at), Some(last)) if last >= at)
    }

    /// The leg that units are taken from, if any.
    pub fn source(&self) -> Option<LegId> {
        self.current.map(|leg| leg.id)
    }

    /// Capture time that is wanted next.
    pub fn position(&self) -> Timestamp {
        self.time(self.wanted())
    }

    /// Whether the playback ended.
    pub fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn play(&mut self, request: Request, seen: &mut Seen<'_>) {
        self.close_handover();
        if let Some(leg) = self.current.take() {
            self.actions.push_back(Action::Close { leg: leg.id });
        }
        self.request = request;
        self.phase = Phase::Playing;
        self.waiting = None;
        self.without_since = None;
        self.hold = None;
        self.last = None;
        self.recent.clear();
        self.resume = None;
        self.looked = Some(seen.now);
        self.review_at = None;
        self.better_from = None;
        self.vetoes.forget_empty();
        self.seek_source(Goal::Start, seen);
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
}
