//! A leg while it is opened, read and drained.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use seamline_media::{LegFormat, Unit};
use seamline_routing::camera::CopyIx;
use seamline_routing::director::{Director, Failure, Head, LegId, START_UNITS};
use seamline_routing::time::{TimeRange, Timestamp};
use seamline_rtsp::headers::Frames;
use smallvec::SmallVec;
use tokio::task::JoinHandle;

use super::ahead::{Ahead, Stock};
use super::group::Group;
use super::life::Life;
use super::queue::Queue;
use crate::cameras::TEACH_EVERY;
use crate::outbound::{Arrival, Leg, LegFailure, wants};

/// A leg being opened in the background; given up when dropped.
pub(super) struct Opening(JoinHandle<Result<Leg, LegFailure>>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) enum Stage {
    Opening(Opening),
    Open(Leg),
    /// Ended or failed; what was received may still be in the queue.
    Over,
}

pub(super) struct Running {
    pub(super) id: LegId,
    pub(super) copy: CopyIx,
    pub(super) stage: Stage,
    pub(super) queue: Queue,
    frames: Frames,
    pub(super) ahead: Ahead,
    /// The recorder is gone: what it had sent is read to its end.
    draining: bool,
    master: usize,
    /// Of `clock_offset_us`, what was measured rather than configured, and what the leg was set right by since, µs.
    pub(super) measured_us: i64,
    /// What its times were set right by since it was opened, µs.
    redated_us: i64,
    /// Whether it goes on from what was sent before it.
    pub(super) joining: Joining,
    /// Whether its clock was compared with that of the leg before it.
    pub(super) clock: ClockCheck,
    /// Capture time of the first unit of the master track.
    first: Option<Timestamp>,
    /// What the director is not told of yet: that unit, and until when it is not.
    withheld: Option<(Timestamp, Instant)>,
    /// Newest capture time of the master track; in reverse the oldest.
    pub(super) newest: Option<Timestamp>,
    /// Newest capture time of each track, and when it came.
    shown: SmallVec<[Option<(Timestamp, Instant)>; 2]>,
    interval: Duration,
    pub(super) stalled: bool,
    pub(super) turn: LegTurn,
    /// When its turn was over, and the capture time of the unit it was over with.
    turned: Option<(Instant, Timestamp)>,
    /// A stretch that was sent without a break, not yet told to the index, and when it was last told.
    pub(super) sent: Option<TimeRange>,
    pub(super) told: Instant,
    /// What the latest poll left behind.
    polled: Polled,
    /// Parameter sets and the like, known once it is open.
    pub(super) format: LegFormat,
    pub(super) life: Life,
}

/// How far a leg's turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegTurn {
    /// Not over: the leg plays, or waits to.
    Open,
    /// Over, with another leg to follow: only other tracks' units before the seam are still sent.
    HandingOver,
    /// Over, with the requested range: only other tracks' units before its end are still sent.
    RangeDone,
}

/// Whether a leg is known to go on from what was sent before it, in the same elementary stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    /// Not looked at yet.
    Undecided,
    /// Equal so far.
    Comparing {
        /// When that began.
        since: Instant,
    },
    /// Looked at, and acted on where it does.
    Decided,
}

/// What the latest poll of a leg left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polled {
    /// There was none.
    Never,
    /// No waker: the leg need not be read.
    Read,
    /// Its waker, with the leg.
    Listening,
}

/// Whether a leg's clock was compared with that of the leg before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockCheck {
    /// Once it has shown enough.
    Due,
    /// It was.
    Done,
}

/// The tracks of the client's session.
#[derive(Debug)]
pub(super) struct Lanes {
    /// How many there are.
    pub(super) tracks: usize,
    /// The one that seams are cut on.
    pub(super) master: usize,
    /// How many the client set up.
    pub(super) wanted: usize,
    /// Which pictures of them it wants.
    pub(super) frames: Frames,
    pub(super) ahead: Ahead,
}

/// What reading a leg brought to light.
pub(super) enum Sign {
    Opened,
    First(Timestamp),
    Recovered,
    /// A step in capture time between two units that follow each other.
    Step {
        from: Timestamp,
        to: Timestamp,
    },
    Ended,
    Failed(LegFailure),
}

/// Steps below this are looked at only when their unit is due.
const STEP_MIN: Duration = Duration::from_millis(100);
/// Most that is read of a leg whose recorder is gone.
const DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Footage that is read of a leg to find the last picture sent in it: a group of pictures and a clock that is ahead.
const COMPARED_MAX: Duration = Duration::from_secs(20);
/// Footage younger than this is being recorded now: its recorder delivers it at the pace of the clock.
const TAIL_US: i64 = 20_000_000;
/// How long the pictures behind a late first one are waited for: at five pictures a second, one.
const START_WAIT: Duration = Duration::from_millis(250);
/// A leg that has delivered for so long, and so much footage, is taken to go on.
const STEADY_AFTER: Duration = Duration::from_secs(1);
/// How long a seam waits for the next unit of a track that is behind the picture, and for all of them.
const STRAGGLER_WAIT: Duration = Duration::from_millis(150);
const STRAGGLERS_MAX: Duration = Duration::from_secs(1);
/// A track that is this far behind has fallen silent.
const STRAGGLE_MAX: Duration = Duration::from_secs(8);
/// A frame interval until the leg shows its own.
const INTERVAL: Duration = Duration::from_millis(40);

/// Before the first random access point nothing can be shown.
fn unit_counts(unit: &Unit, announced: bool) -> bool {
    announced || unit.random_access
}

impl Running {
    pub(super) fn new(
        id: LegId,
        copy: CopyIx,
        opening: JoinHandle<Result<Leg, LegFailure>>,
        Lanes {
            tracks,
            master,
            wanted,
            frames,
            ahead,
        }: Lanes,
        now: Instant,
    ) -> Self {
        Running {
            id,
            copy,
            stage: Stage::Opening(Opening(opening)),
            queue: Queue::new(tracks, master, wanted),
            frames,
            ahead,
            draining: false,
            master,
            measured_us: 0,
            redated_us: 0,
            joining: Joining::Undecided,
            clock: ClockCheck::Due,
            first: None,
            withheld: None,
            newest: None,
            shown: SmallVec::from_elem(None, tracks),
            interval: INTERVAL,
            stalled: false,
            turn: LegTurn::Open,
            turned: None,
            sent: None,
            told: now,
            polled: Polled::Never,
            format: LegFormat::default(),
            life: Life::new(now),
        }
    }

    /// The director knows of its first unit.
    pub(super) fn announced(&self) -> bool {
        self.newest.is_some()
    }

    pub(super) fn over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether a leg that played is being opened again.
    pub(super) fn reopens(&self) -> bool {
        matches!(&self.stage, Stage::Open(leg) if leg.is_opening())
    }

    pub(super) fn keep_alive(&mut self, now: Instant) {
        if let Stage::Open(leg) = &mut self.stage {
            leg.keep_alive(now);
        }
    }

    /// Forgets silence that the client itself caused.
    pub(super) fn revive(&mut self, now: Instant) {
        self.life.revive(now);
    }

    /// Whether more should be read: the look-ahead is not full, or a track lags behind the picture.
    pub(super) fn hungry(&self) -> bool {
        if self.draining {
            return self.queue.bytes() < DRAIN_BYTES_MAX;
        }
        if matches!(self.joining, Joining::Comparing { .. }) {
            return self.queue.bytes() < DRAIN_BYTES_MAX
                && self.queue.span(self.newest) < COMPARED_MAX;
        }
        let lacks = || self.queue.master().count() < START_UNITS;
        self.ahead.is_short(self.stock()) || self.withheld.is_some() && lacks()
    }

    /// Keeps the first picture from the director until the next ones tell their cadence, as far as they come soon.
    pub(super) fn withhold(&mut self, first: Timestamp, now: Instant) {
        self.withheld = Some((first, now + START_WAIT));
    }

    /// Until when its first picture is kept from the director.
    pub(super) fn withheld_until(&self) -> Option<Instant> {
        self.withheld.map(|(_, until)| until)
    }

    /// What was withheld, and how far its first pictures are apart, once that is known or not waited for any longer.
    pub(super) fn told_start(&mut self, now: Instant) -> Option<(Timestamp, Option<Duration>)> {
        let (first, until) = self.withheld?;
        if self.queue.master().count() < START_UNITS && now < until && !self.over() {
            return None;
        }
        self.withheld = None;
        let mut shown: SmallVec<[i64; START_UNITS]> = self
            .queue
            .master()
            .take(START_UNITS)
            .map(|unit| unit.capture_us)
            .collect();
        shown.sort_unstable();
        let steps = shown.iter().zip(shown.iter().skip(1));
        let step = steps.map(|(before, after)| after - before);
        let shortest = step.filter(|step| *step > 0).min();
        let shortest = shortest.map(|step| Duration::from_micros(step.unsigned_abs()));
        Some((first, shortest))
    }

    fn stock(&self) -> Stock {
        self.queue.stock(self.newest)
    }

    /// See [`Ahead::early`].
    pub(super) fn early(&self, follows: bool) -> Duration {
        if self.over() || self.draining {
            return Duration::ZERO;
        }
        self.ahead.early(self.stock(), self.interval, follows)
    }

    /// Whether nothing of it need be read before its waker or a timer says so.
    pub(super) fn rests(&self) -> bool {
        match self.polled {
            Polled::Never => false,
            Polled::Listening => true,
            Polled::Read => {
                let stock = self.stock();
                self.over() || self.ahead.lasts(stock) || !self.hungry()
            }
        }
    }

    /// Whether it is at the end of a recording that still grows.
    pub(super) fn grows(&self, wall: Timestamp) -> bool {
        self.newest
            .is_some_and(|newest| wall.micros_since(newest) < TAIL_US)
    }

    /// Enough is held back that an outage now would still find a random access point ahead.
    pub(super) fn well_stocked(&self) -> bool {
        self.ahead.is_ample(self.stock())
    }

    /// Whether it has shown that it goes on: a leg that plays well is not left for another before.
    pub(super) fn is_steady(&self, now: Instant) -> bool {
        let shown = self.first.zip(self.newest);
        let shown = shown.map_or(0, |(first, newest)| newest.micros_since(first));
        let lasts = self
            .life
            .opened_for(now)
            .is_some_and(|opened| opened >= STEADY_AFTER);
        !self.stalled
            && Duration::from_micros(shown.unsigned_abs()) >= STEADY_AFTER
            && (lasts || self.well_stocked())
    }

    /// Its clock turned out to be that much ahead: what waits and what comes is dated right.
    pub(super) fn redate(&mut self, ahead_us: i64) {
        self.measured_us += ahead_us;
        self.redated_us += ahead_us;
        self.queue.redate(ahead_us);
        let earlier = |at: Timestamp| at.shift(ahead_us.saturating_neg());
        self.first = self.first.map(earlier);
        self.newest = self.newest.map(earlier);
        for (at, _) in self.shown.iter_mut().flatten() {
            *at = earlier(*at);
        }
    }

    /// Its turn is over with the unit captured at `with`: what the seam leaves of the master track is dropped.
    pub(super) fn turn_over(&mut self, turn: LegTurn, with: Timestamp, now: Instant) {
        self.turn = turn;
        self.turned.get_or_insert((now, with));
        self.queue.drop_master();
    }

    /// Until when another track's units before the end of the turn may still come: recorders send sound behind the
    /// picture it belongs to, some by seconds. `None` when all have come or can come no more.
    pub(super) fn awaits_stragglers(&self, now: Instant) -> Option<Instant> {
        let (turned, with) = self.turned?;
        if self.stalled || !matches!(self.stage, Stage::Open(_)) {
            return None;
        }
        let others = self.shown.iter().enumerate();
        others
            .filter(|(track, _)| *track != self.master)
            .filter_map(|(_, shown)| *shown)
            .filter(|(newest, _)| *newest < with && with.since(*newest) < STRAGGLE_MAX)
            .map(|(_, came)| (came.max(turned) + STRAGGLER_WAIT).min(turned + STRAGGLERS_MAX))
            .filter(|until| *until > now)
            .max()
    }

    /// Counts a unit of the master track that was sent; a stretch worth telling the index now and then.
    pub(super) fn count(&mut self, capture: Timestamp, now: Instant) -> Option<TimeRange> {
        let joins = |sent: TimeRange| capture.since(sent.end()) < self.interval * 3;
        let start = self
            .sent
            .filter(|sent| joins(*sent))
            .map_or(capture, TimeRange::start);
        self.sent = TimeRange::new(start, capture + Duration::from_micros(1));
        if now.saturating_duration_since(self.told) < TEACH_EVERY {
            return None;
        }
        self.told = now;
        let sent = self.sent?;
        self.sent = TimeRange::new(capture, sent.end());
        Some(sent)
    }

    /// As [`Self::count`], of a group that is sent backwards.
    pub(super) fn count_back(&mut self, group: TimeRange, now: Instant) -> Option<TimeRange> {
        let joins = |sent: TimeRange| sent.start().since(group.end()) < self.interval * 3;
        let end = self
            .sent
            .filter(|sent| joins(*sent))
            .map_or(group.end(), TimeRange::end);
        self.sent = TimeRange::new(group.start(), end);
        if now.saturating_duration_since(self.told) < TEACH_EVERY {
            return None;
        }
        self.told = now;
        self.sent
    }

    /// How long a picture lasts, as far as is known.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn head(&self, unit: &Unit) -> Head {
        Head {
            capture: Timestamp::from_micros(unit.capture_us),
            master: unit.track == self.master,
            random_access: unit.random_access,
            leading: unit.leading,
            shown_early: unit.shown_early,
        }
    }

    /// Since when it has shown no sign of life.
    pub(super) fn silent_since(&self) -> Instant {
        if self.announced() {
            self.life.last()
        } else {
            self.life.asked()
        }
    }

    /// Whether the recorder agreed to play and has sent nothing that can be shown since.
    pub(super) fn mute_for(&self, now: Instant) -> Duration {
        let waits = self.life.opened_for(now).filter(|_| !self.announced());
        waits.unwrap_or_default()
    }

    /// How long silence is normal, beyond `stall_after`.
    pub(super) fn patience(&self) -> Duration {
        self.interval * 2
    }

    /// Reads until the look-ahead is full or the recorder has no more for now. `Pending` leaves the waker registered.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Sign> {
        self.polled = Polled::Read;
        if let Stage::Opening(opening) = &mut self.stage {
            let Poll::Ready(result) = Pin::new(&mut opening.0).poll(cx) else {
                self.polled = Polled::Listening;
                return Poll::Pending;
            };
            let result = result.unwrap_or_else(|_| {
                Err(LegFailure::new(
                    Failure::Lost,
                    "the opening of the leg was given up",
                ))
            });
            self.life.agreed(now);
            return Poll::Ready(match result {
                Ok(mut leg) => {
                    self.format = leg.format();
                    if let Some(bytes) = self.ahead.opened(now) {
                        leg.read_in(bytes);
                    }
                    self.stage = Stage::Open(leg);
                    Sign::Opened
                }
                Err(failure) => {
                    self.stage = Stage::Over;
                    Sign::Failed(failure)
                }
            });
        }
        self.look(cx, now);
        loop {
            let hungry = self.hungry();
            self.ahead.settle(hungry);
            let Stage::Open(leg) = &mut self.stage else {
                return Poll::Pending;
            };
            if !hungry {
                self.life.left_alone(now);
                return Poll::Pending;
            }
            let Poll::Ready(arrival) = leg.poll_next(cx) else {
                self.polled = Polled::Listening;
                return Poll::Pending;
            };
            match arrival {
                Arrival::Alive => {
                    self.life.shown(now);
                    if !self.announced() {
                        self.life.asked_again(now);
                    }
                }
                Arrival::Group(units) => {
                    self.life.shown(now);
                    if let Some(sign) = Group::new(units).and_then(|group| self.take_group(group)) {
                        return Poll::Ready(sign);
                    }
                }
                Arrival::Unit(unit) if !wants(self.frames, self.master, &unit) => {
                    self.life.heard();
                    if unit.track == self.master && self.announced() {
                        self.life.shown(now);
                    }
                }
                Arrival::Unit(mut unit) => {
                    unit.capture_us -= self.redated_us;
                    self.life.heard();
                    if unit.track == self.master && unit_counts(&unit, self.announced()) {
                        self.life.went_on(now);
                    }
                    if let Some(failure) = self.is_of_another_time(&unit) {
                        self.stage = Stage::Over;
                        return Poll::Ready(Sign::Failed(failure));
                    }
                    if let Some(sign) = self.take(unit, now) {
                        return Poll::Ready(sign);
                    }
                }
                Arrival::Ended => {
                    self.stage = Stage::Over;
                    return Poll::Ready(Sign::Ended);
                }
                Arrival::Failed(failure) => {
                    self.stage = Stage::Over;
                    return Poll::Ready(Sign::Failed(failure));
                }
            }
        }
    }

    /// Now and then: a loss is worth knowing while there is still footage to play over it, and so is how much waits in the
    /// kernel. No waker: looked at every tick.
    fn look(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Stage::Open(leg) = &mut self.stage else {
            return;
        };
        if self.draining || !self.ahead.looks(now) {
            return;
        }
        self.draining = leg.peer_closed(cx);
        if let Some(bytes) = self.ahead.note_backlog(leg.backlog(), now) {
            leg.read_in(bytes);
        }
        self.queue.shrink();
    }

    /// Takes in a group, in reverse: its latest picture is shown first, its first one last.
    fn take_group(&mut self, group: Group) -> Option<Sign> {
        if let Some(step) = group.interval() {
            self.interval = step;
        }
        let step = self
            .newest
            .filter(|newest| newest.since(group.last()) > STEP_MIN);
        let first = !self.announced();
        let (last, began) = (group.last(), group.first());
        self.first.get_or_insert(last);
        self.newest = Some(began);
        self.queue.push_group(group);
        if first {
            self.stalled = false;
            return Some(Sign::First(last));
        }
        if std::mem::take(&mut self.stalled) {
            return Some(Sign::Recovered);
        }
        step.map(|from| Sign::Step { from, to: last })
    }

    /// Found before its turn comes, there is still footage to play over it.
    fn is_of_another_time(&self, unit: &Unit) -> Option<LegFailure> {
        let newest = self.newest.filter(|_| unit.track == self.master)?;
        let capture = Timestamp::from_micros(unit.capture_us);
        Director::is_wrong_step(capture.micros_since(newest)).then(|| {
            let detail = format!("footage of {capture} in mid leg");
            LegFailure::new(Failure::WrongFootage, detail)
        })
    }

    /// Takes in a unit. The first one of the master track is news, and so is life after a stall.
    fn take(&mut self, unit: Unit, now: Instant) -> Option<Sign> {
        let capture = Timestamp::from_micros(unit.capture_us);
        let is_master = unit.track == self.master;
        let first = is_master && !self.announced();
        let mut step = None;
        let newest = self.newest.filter(|_| is_master);
        self.ahead.count(
            unit.packets.len_bytes(),
            newest.map(|newest| capture.micros_since(newest)),
        );
        if is_master {
            if !self.announced() && !unit.random_access {
                return None;
            }
            if let Some(newest) = self.newest {
                let step = Duration::from_micros(capture.micros_since(newest).unsigned_abs());
                if step > Duration::ZERO && step < Duration::from_secs(2) {
                    self.interval = (self.interval * 3 + step) / 4;
                }
            }
            step = self
                .newest
                .filter(|newest| capture.since(*newest) > STEP_MIN);
            if let Some(newest) = self.newest {
                self.queue.note_gap(newest, capture);
            }
            if unit.random_access {
                self.ahead.note_key(capture);
            }
            self.first.get_or_insert(capture);
            self.newest = Some(capture);
        }
        // Legs deliver only the tracks they were ordered.
        let track = unit.track;
        if !self.queue.push(unit) {
            return None;
        }
        if let Some(shown) = self.shown.get_mut(track) {
            *shown = Some((capture, now));
        }
        if first {
            self.stalled = false;
            return Some(Sign::First(capture));
        }
        // Sound over a picture that stands still is no sign of life.
        if is_master && self.stalled {
            self.stalled = false;
            return Some(Sign::Recovered);
        }
        step.map(|from| Sign::Step { from, to: capture })
    }
}
