//! One running playback: the director's decisions, the legs' units and the splice, joined.
//!
//! [`Playback::poll`] is called by the client's connection. It reads legs ahead of what is due, asks the director about
//! each unit, and writes what is due into the client's queue. Nothing here blocks and nothing is lost when a poll is
//! abandoned.

mod ahead;
mod decide;
mod emit;
mod group;
mod life;
mod pace;
mod queue;
mod reel;
mod resume;
mod reverse;
mod running;
mod same;
mod shelf;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use seamline_media::{Codec, OutQueue, Pacing, Play, Splice};
use seamline_probes::Changes;
use seamline_routing::camera::CopyIx;
use seamline_routing::director::{Action, Director, End, Event, Lesson};
use seamline_routing::plan::{Direction, Request};
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;
use seamline_rtsp::sdp::Track;
use tokio::time::Sleep;

use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::outbound::UNREAD_BYTES_MAX;
use crate::playing::Listed;
use ahead::{Demand, Depths, TAKE_OVER};
use pace::Pace;
pub use reel::{Begin, NoReel, Reel, Wanted};
use resume::Awaiting;
use reverse::Backwards;
use running::Running;
use same::History;
use shelf::Shelf;
pub use shelf::{Item, LegItem};

/// How the client takes its footage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery {
    /// Paced at this many footage seconds a second, forward or in reverse, or as fast as the client reads
    /// (`Rate-Control: no`).
    pub pacing: Option<f64>,
    /// Which pictures the client wants.
    pub frames: Frames,
    /// The play takes the place of another, or was asked for at once: its first packet is a discontinuity in transmission.
    pub discontinuity: bool,
    /// Delivery speed beside the pacing: media time per wall time (RTSP `Speed`).
    pub speed: f64,
    /// The client asked for ONVIF replay: it wants the header extension, and no BYE at an open end.
    pub onvif: bool,
    /// Low byte of the `CSeq` of the PLAY request.
    pub cseq: u8,
}

/// What [`Playback::poll`] came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// The first unit of the play is known: the PLAY request can be answered. Nothing of it was written yet.
    Started {
        /// Its capture time.
        at: Timestamp,
    },
    /// Bytes were written to the queue.
    Wrote,
    /// The playback is over; closing RTCP was written where it is due.
    Over(End),
}

/// Units read ahead of what is due, in footage time: an outage within it costs the viewer nothing, and a seam finds
/// its random access point in it.
const LOOKAHEAD: Duration = Duration::from_secs(4);
/// So many times as much is read ahead at the most, for play that is faster than the clock.
const LOOKAHEAD_TIMES_MAX: f64 = 8.0;
/// Key frames are this far apart at the most: the longest group of pictures of "smart" encoders seen in the field, with some
/// room.
const KEYS_APART_MAX: Duration = Duration::from_secs(20);
/// The same in bytes, for one leg.
const LOOKAHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The client's queue above which nothing more is written.
const OUT_HIGH: usize = 256 * 1024;
/// The same of samples: whoever takes them one by one has them in the processor's cache, and in memory once.
const SHELF_HIGH: usize = 64 * 1024;
/// The plan, the health and the legs are looked at this often at the least.
const TICK: Duration = Duration::from_millis(250);

/// A PLAY is answered within this time, well or not: VLC gives up after ten seconds.
const START_MAX: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Idle,
    /// A PLAY is not answered yet.
    Starting {
        asked: Instant,
    },
    Playing,
    Paused,
    /// At the end of the footage, until recording goes on.
    Awaiting(Awaiting),
    Over(End),
}

/// One playback of one client.
pub struct Playback {
    camera: Arc<CameraEntry>,
    journal: Journal,
    /// Its entry among those that play.
    listed: Listed,
    tracks: Arc<[Track]>,
    wanted: Arc<[bool]>,
    master: usize,
    /// Capture time of RTP time zero without rate control, the same for the life of the session.
    reference_us: i64,
    director: Director,
    changes: Changes,
    legs: Vec<Running>,
    /// What was sent, to tell copies of one stream.
    history: History,
    splice: Splice,
    /// Where units go as samples instead of packets.
    samples: Option<Shelf>,
    pace: Pace,
    delivery: Delivery,
    request: Option<Request>,
    state: State,
    /// Since when the client has been waiting for a unit that no leg can give, for the log.
    idle_since: Option<Instant>,
    /// The first unit of the play is known and was not announced yet.
    started: Option<Timestamp>,
    /// When the next unit is due.
    due: Option<Instant>,
    last_report: Option<Instant>,
    /// When the latest unit of the play was written.
    sent_at: Option<Instant>,
    end: Option<End>,
    /// In reverse: the group that is being sent, and what was shown last.
    back: Backwards,
    /// Capture time of the key frame that was sent last, where the client wants them at a distance.
    last_key: Option<Timestamp>,
    /// The first packet of the play is still to be sent, and marked.
    fresh: bool,
    /// The end of the footage that it stood at last.
    awaited: Option<Awaiting>,
    /// It looks for footage behind this again: what comes before was sent.
    reviving: Option<Timestamp>,
    /// Where the play is to be held, as the client asked ahead of it.
    hold_at: Option<Timestamp>,
    /// How long after the last unit the goodbye comes, where it may overtake.
    farewell_after: Option<Duration>,
    timer: Pin<Box<Sleep>>,
    /// The latest poll left wakers for all that can bring something.
    rests: bool,
}

impl Playback {
    /// A playback of `camera` for a client that set up the `wanted` of `tracks`.
    pub fn new(
        camera: Arc<CameraEntry>,
        journal: Journal,
        tracks: Arc<[Track]>,
        wanted: Arc<[bool]>,
        splice: Splice,
    ) -> Self {
        let is_video = |ix: &usize| tracks[*ix].media == seamline_rtsp::sdp::Media::Video;
        let set_up: Vec<usize> = (0..tracks.len()).filter(|ix| wanted[*ix]).collect();
        let master = set_up
            .iter()
            .copied()
            .find(is_video)
            .or(set_up.first().copied())
            .unwrap_or(0);
        let (journal, listed) = journal.begin(&camera);
        Playback {
            listed,
            director: Director::new(camera.policy),
            changes: camera.slot.changes(),
            camera,
            journal,
            tracks,
            wanted,
            master,
            reference_us: 0,
            legs: Vec::new(),
            history: History::default(),
            splice,
            samples: None,
            pace: Pace::new(),
            delivery: Delivery {
                pacing: Some(1.0),
                frames: Frames::All,
                discontinuity: false,
                speed: 1.0,
                onvif: false,
                cseq: 0,
            },
            request: None,
            state: State::Idle,
            idle_since: None,
            started: None,
            due: None,
            last_report: None,
            sent_at: None,
            end: None,
            back: Backwards::default(),
            last_key: None,
            fresh: false,
            awaited: None,
            reviving: None,
            hold_at: None,
            farewell_after: None,
            timer: Box::pin(tokio::time::sleep(TICK)),
            rests: false,
        }
    }

    /// The goodbye travels beside the media and may overtake it: it comes so long after the last unit.
    pub fn part_after(&mut self, farewell_after: Duration) {
        self.farewell_after = Some(farewell_after);
    }

    /// The play that starts next goes on where this copy was played before.
    pub fn prefer(&mut self, copy: CopyIx) {
        self.director.prefer(copy);
    }

    /// Starts or replaces the play.
    pub fn play(&mut self, request: Request, delivery: Delivery) {
        let now = clock::now();
        self.history.clear();
        self.delivery = delivery;
        self.pace.release(self.delivery.speed);
        if self.request.is_none() {
            self.reference_us = request.at.as_micros();
        }
        self.request = Some(request);
        self.state = State::Starting { asked: now };
        self.idle_since = Some(now);
        self.started = None;
        self.last_report = None;
        self.sent_at = None;
        self.end = None;
        self.back = Backwards::default();
        self.last_key = None;
        self.fresh = delivery.discontinuity;
        self.awaited = None;
        self.reviving = None;
        self.hold_at = None;
        self.director.space_pictures(match delivery.frames {
            Frames::Intra { .. } => self.spacing(),
            Frames::All | Frames::Predicted => Duration::ZERO,
        });
        self.tell_formats();
        self.direct(Event::Play(request), now);
    }

    /// Where copies are known to hold what the session cannot show.
    pub(super) fn tell_formats(&mut self) {
        let Some(track) = self.tracks.get(self.master).filter(|_| !self.camera.live) else {
            return;
        };
        let codec = Codec::from_encoding(&track.encoding);
        for (copy, _) in self.camera.slot.camera().copies() {
            self.director.unfit(copy, self.camera.unfit(copy, codec));
        }
    }

    /// How far apart two pictures may be that are to be sent.
    fn spacing(&self) -> Duration {
        match self.delivery.frames {
            Frames::All | Frames::Predicted => Duration::ZERO,
            Frames::Intra { interval_ms } => {
                KEYS_APART_MAX + Duration::from_millis(interval_ms.unwrap_or(0).into())
            }
        }
    }

    /// Footage seconds a second; without rate control a guess.
    fn rate(&self) -> f64 {
        self.delivery
            .pacing
            .map_or(LOOKAHEAD_TIMES_MAX / 2.0, |rate| rate * self.delivery.speed)
    }

    /// Footage that is read ahead.
    fn lookahead(&self) -> Duration {
        let paced = self.delivery.pacing.is_some();
        let times = match self.delivery.frames {
            // Key frames alone are few.
            Frames::Intra { .. } => LOOKAHEAD_TIMES_MAX,
            Frames::All | Frames::Predicted if paced => self.rate(),
            Frames::All | Frames::Predicted => 1.0,
        };
        LOOKAHEAD.mul_f64(times.clamp(1.0, LOOKAHEAD_TIMES_MAX))
    }

    fn demand(&self) -> Demand {
        match self.delivery.pacing {
            Some(_) => Demand::Paced,
            None if self.alone() && !self.reverse() => Demand::BulkAlone,
            None => Demand::Bulk,
        }
    }

    fn depths(&self) -> Depths {
        let full = self.lookahead();
        let (safe, near, unlisted) = if self.alone() {
            (full / 4, full / 50, full / 50)
        } else {
            (full * 5 / 8, full / 10, full / 4)
        };
        let noticed = self.camera.policy.reaction.stall_after + TAKE_OVER;
        let take_over =
            (!self.alone()).then(|| noticed.mul_f64(self.rate().clamp(1.0, LOOKAHEAD_TIMES_MAX)));
        Depths {
            full,
            safe,
            take_over,
            near,
            unlisted,
            bytes_max: LOOKAHEAD_BYTES_MAX,
        }
    }

    /// What the kernel is to hold unread of a leg of this copy.
    fn unread(&self, copy: CopyIx) -> u32 {
        let rate = self.camera.legs.rates.of(copy);
        let rate = rate.filter(|_| self.is_plain() && self.demand() == Demand::Paced);
        rate.map_or(UNREAD_BYTES_MAX, |rate| self.depths().unread(rate))
    }

    /// Whether all pictures are shown, one after the other: what a second of them comes to holds for the next time.
    fn is_plain(&self) -> bool {
        !self.reverse() && matches!(self.delivery.frames, Frames::All)
    }

    /// Whether the camera has one copy only: an outage of its recorder cannot be played over.
    fn alone(&self) -> bool {
        self.camera.slot.camera().copies.len() < 2
    }

    /// Whether its legs may be those of other players too. A file is made once however many ask for it.
    fn shares(&self) -> bool {
        self.camera.policy.share_legs && self.samples.is_none()
    }

    /// Whether nothing but an outage is to be expected while the footage at hand is played.
    fn calm(&self) -> bool {
        let near = self.lookahead() * 2;
        let ends = self.request.and_then(|request| request.until);
        self.legs.len() == 1
            && !self.reverse()
            && self.delivery.frames == Frames::All
            && ends.is_none_or(|end| end.since(self.position()) > near)
    }

    fn reverse(&self) -> bool {
        self.request
            .is_some_and(|request| request.direction == Direction::Reverse)
    }

    /// Holds delivery; returns the capture time at which it goes on.
    pub fn pause(&mut self) -> Timestamp {
        if self.active() {
            self.state = State::Paused;
            self.direct(Event::Pause, clock::now());
        }
        self.director.position()
    }

    /// Holds delivery once it reaches `at`; false when that lies behind what was sent or outside of what plays.
    pub fn pause_at(&mut self, at: Timestamp) -> bool {
        let position = self.position();
        let until = self.request.and_then(|request| request.until);
        let ahead = if self.reverse() {
            at <= position && until.is_none_or(|until| at >= until)
        } else {
            at >= position && until.is_none_or(|until| at <= until)
        };
        if ahead && self.active() {
            self.hold_at = Some(at);
        }
        ahead && self.active()
    }

    /// Goes on after [`Self::pause`]; returns the capture time of what comes next.
    pub fn resume(&mut self, cseq: u8) -> Timestamp {
        if self.state == State::Paused {
            let now = clock::now();
            self.state = State::Playing;
            self.hold_at = None;
            self.delivery.cseq = cseq;
            self.pace.release(self.delivery.speed);
            self.begin_play(self.director.position());
            for leg in &mut self.legs {
                leg.revive(now);
            }
            self.direct(Event::Resume, now);
        }
        self.director.position()
    }

    /// Whether a PLAY has not been answered yet.
    pub fn starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// Whether media is flowing or about to.
    pub fn flowing(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Playing)
    }

    /// Whether a play runs: media flows, or will as soon as there is some.
    pub fn active(&self) -> bool {
        self.flowing() || matches!(self.state, State::Awaiting(_))
    }

    /// Whether the play is held by the client.
    pub fn paused(&self) -> bool {
        self.state == State::Paused
    }

    /// The next capture time that is wanted.
    pub fn position(&self) -> Timestamp {
        self.director.position()
    }

    /// See [`Director::is_end_sure`].
    fn is_end_sure(&self) -> bool {
        let facts = self.camera.slot.facts(clock::now());
        self.director.is_end_sure(&facts.copies(|_| false))
    }

    /// How the client takes its footage.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The splice, for RTP-Info.
    pub fn splice(&self) -> &Splice {
        &self.splice
    }

    /// Keeps recorders' sessions alive; to be called at least every second while the playback is not polled.
    pub fn keep_alive(&mut self, now: Instant) {
        for leg in &mut self.legs {
            leg.keep_alive(now);
        }
    }

    /// Drives the playback. Ready only with news; otherwise the waker is registered for all that can bring some.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut OutQueue) -> Poll<Progress> {
        self.rests = false;
        if !self.active() {
            return Poll::Pending;
        }
        loop {
            let now = clock::now();
            if let State::Awaiting(awaiting) = self.state
                && let Some(wake) = self.await_footage(awaiting, now)
            {
                if self.poll_timer(cx, wake).is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            if self.overdue(now) {
                return Poll::Ready(self.give_up());
            }
            self.look_around(now);
            self.poll_legs(cx, now);
            self.watch_legs(now);
            let before = self.waiting(out);
            let news = self.emit(now, out);
            if let Some(progress) = news {
                return Poll::Ready(progress);
            }
            if self.waiting(out) > before {
                self.listed.at(self.position());
                self.rests = self.poll_rest(cx, now, out);
                return Poll::Ready(Progress::Wrote);
            }
            // One that was full, and of which units were dropped since, has left no waker.
            if !self.legs.iter().all(Running::rests) {
                continue;
            }
            let wake = self.next_wake(now);
            if self.poll_timer(cx, wake).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Whether the latest poll, which wrote something, would be pending if it were repeated at once, with every waker left.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// Leaves the wakers for what comes next, where nothing is left to do now.
    fn poll_rest(&mut self, cx: &mut Context<'_>, now: Instant, out: &OutQueue) -> bool {
        let done = self.state == State::Playing
            && self.started.is_none()
            && self.end.is_none()
            && self.waiting(out) < self.waiting_max()
            && self.legs.iter().all(Running::rests);
        done && {
            let wake = self.next_wake(now);
            self.poll_timer(cx, wake).is_pending()
        }
    }

    /// What the client has not taken yet.
    fn waiting(&self, out: &OutQueue) -> usize {
        out.len() + self.samples.as_ref().map_or(0, Shelf::weight)
    }

    /// What may wait for it before nothing more is written.
    fn waiting_max(&self) -> usize {
        self.samples.as_ref().map_or(OUT_HIGH, |_| SHELF_HIGH)
    }

    /// Whether a PLAY has waited for its first unit for as long as players do.
    fn overdue(&self, now: Instant) -> bool {
        matches!(self.state, State::Starting { asked } if now.saturating_duration_since(asked) >= START_MAX)
    }

    fn give_up(&mut self) -> Progress {
        self.legs.clear();
        self.journal
            .ended(&self.camera, self.position(), "nothing came in time");
        self.state = State::Over(End::Outage);
        Progress::Over(End::Outage)
    }

    /// Tells the splice that a PLAY begins with the unit captured at `start`.
    fn begin_play(&mut self, start: Timestamp) {
        let sign = if self.reverse() { -1.0 } else { 1.0 };
        self.splice.start_play(Play {
            cseq: self.delivery.cseq,
            pacing: match self.delivery.pacing {
                Some(_) => Pacing::RateControlled,
                None => Pacing::Unpaced {
                    reference_us: self.reference_us,
                },
            },
            scale: sign * self.delivery.pacing.unwrap_or(1.0),
            start_us: start.as_micros(),
            hole_us: self.spacing().as_micros() as i64,
            extension: self.delivery.onvif,
        });
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, wake: Instant) -> Poll<()> {
        let wake = tokio::time::Instant::from_std(wake);
        let armed = self.timer.deadline();
        // Where nothing is due, looking a little too early costs less than setting the timer anew for each picture.
        let stands = armed == wake || self.due.is_none() && armed < wake && armed + TICK >= wake;
        if !stands || self.timer.is_elapsed() {
            self.timer.as_mut().reset(wake);
        }
        self.timer.as_mut().poll(cx)
    }

    /// Facts that changed, and deadlines of the director that passed.
    fn look_around(&mut self, now: Instant) {
        if self.changes.take_news() {
            self.direct(Event::FactsChanged, now);
        } else if self.director.wants_review()
            || self.director.deadline(now).is_some_and(|at| at <= now)
        {
            self.direct(Event::Tick, now);
        }
    }

    /// Hands an event to the director with the facts of this moment, and does what it asks.
    fn direct(&mut self, event: Event, now: Instant) {
        {
            let facts = self.camera.slot.facts(now);
            self.director.handle(event, &facts.copies(|_| false), now);
        }
        while let Some(action) = self.director.poll_action() {
            self.act(&action, now);
        }
    }

    fn act(&mut self, action: &Action, now: Instant) {
        match *action {
            Action::Open {
                leg,
                copy,
                from,
                reason,
                ..
            } => self.open_leg(leg, copy, from, reason, now),
            Action::Close { leg } => self.close_leg(leg),
            Action::Switch(seam) => self.take_over(seam, now),
            Action::Hole(range) => self.enter_hole(range),
            Action::Wait { at } => {
                self.journal.waiting(&self.camera, at);
            }
            Action::Teach { copy, lesson } => {
                let at = self.position();
                if lesson == Lesson::WrongFootage {
                    let site = self.camera.site(copy);
                    self.journal
                        .leg_failed(&self.camera, site, at, "footage of another time");
                }
                self.camera.teach(copy, lesson, at);
            }
            Action::End(end) => self.end = Some(end),
        }
    }
}
