//! One sweep: sessions of key frames at one recorder, and what they teach.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use seamline_probes::sounding::{Sounded, Walk};
use seamline_probes::{Lesson, RecorderClient};
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::{CopyIx, HealthState, TimeRange, Timestamp};
use seamline_rtsp::headers::Frames;
use seamline_rtsp::sdp::{Media, Track};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Soundings, WRITTEN};
use crate::cameras::CameraEntry;
use crate::clock;
use crate::outbound::{Arrival, Leg, LegFailure, Order, UNREAD_BYTES_MAX};

/// Sessions that look one copy over, one after the other: each gap costs two or three.
const SESSIONS_MAX: usize = 24;
/// How long that may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Footage that one session may cost: a recorder may send all pictures, whatever it is asked for.
const SESSION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The playback comes first: its session opens alone, and after so many bytes of a sweep its recorder gets a pause.
const SETTLE: Duration = Duration::from_millis(500);
const PIECE_BYTES: usize = 256 * 1024;
const PIECE_PAUSE: Duration = Duration::from_millis(20);
/// A recorder that holds nothing at an instant is asked again so much later, and no more than so often.
const REFUSED: Duration = Duration::from_secs(10);
const REFUSALS_MAX: u32 = 6;

/// One copy that is being looked over. Dropped, its recorder is free again.
pub(super) struct Errand {
    pub(super) soundings: Arc<Soundings>,
    pub(super) recorder: RecorderClient,
    pub(super) entry: CameraEntry,
    pub(super) copy: CopyIx,
    /// That were opened so far.
    pub(super) sessions: usize,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.soundings.lock().at_work.remove(self.recorder.id());
    }
}

/// Why a sweep came to an end before its window did.
enum Stopped {
    /// The recorder is to be left alone for a while.
    Rest(LegFailure),
    /// It is down, or enough was asked of it.
    Enough,
    /// Nobody plays any more.
    Forsaken,
}

/// How far one session came.
enum Walked {
    /// To the end of the window, or as far as one session may.
    Done,
    /// Over more time than is usual between key frames.
    Doubt(TimeRange),
    /// The recorder had no more.
    Ended,
    /// It agreed to play, and then sent nothing.
    Empty,
    /// It refused: it holds nothing there.
    Nothing,
}

impl Errand {
    pub(super) async fn run(mut self, window: TimeRange) {
        let mut walk = Walk::new(window.start(), self.entry.policy.min_gap);
        let outcome = self.sweep_while_wanted(&mut walk, window).await;
        let reached = walk
            .last()
            .and_then(|last| TimeRange::new(window.start(), last.min(window.end())));
        let swept = match &outcome {
            Ok(()) => Some(window),
            Err(Stopped::Rest(failure)) => {
                tracing::debug!(camera = %self.entry.id(), recorder = %self.recorder.id(), %failure, "sweep stopped");
                None
            }
            Err(Stopped::Enough | Stopped::Forsaken) => reached,
        };
        match swept {
            Some(swept) => self.soundings.done(self.entry.id(), self.copy, swept),
            None if matches!(outcome, Err(Stopped::Forsaken)) => {}
            // Not at once again.
            None => self.soundings.rest(self.recorder.id()),
        }
        tracing::debug!(
            camera = %self.entry.id(),
            site = self.entry.site(self.copy),
            from = %window.start(),
            to = %window.end(),
            sessions = self.sessions,
            "swept"
        );
    }

    async fn sweep_while_wanted(
        &mut self,
        walk: &mut Walk,
        window: TimeRange,
    ) -> Result<(), Stopped> {
        let (soundings, mut stopped) = (Arc::clone(&self.soundings), self.stopped.clone());
        let recorder = self.recorder.id().clone();
        let sweep = async {
            sleep(SETTLE).await;
            let swept = timeout(TIME_MAX, self.sweep(walk, window)).await;
            swept.unwrap_or(Err(Stopped::Enough))
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => {
                let why = "a playback needs the session";
                Err(Stopped::Rest(LegFailure::new(Failure::Busy, why)))
            }
            () = soundings.forsaken(&recorder) => Err(Stopped::Forsaken),
            swept = sweep => swept,
        }
    }

    async fn sweep(&mut self, walk: &mut Walk, window: TimeRange) -> Result<(), Stopped> {
        let (mut from, mut refusals) = (window.start(), 0);
        loop {
            let before = walk.last();
            let walked = self.walk(walk, from, window).await?;
            match walked {
                Walked::Done => return Ok(()),
                Walked::Doubt(stretch) => {
                    self.settle(walk, stretch).await?;
                    from = stretch.end();
                    walk.behind(from);
                }
                // It may only have stopped at a gap: asked behind it, it shows where it goes on.
                Walked::Ended if walk.last() > before => {
                    from = walk.last().unwrap_or(from) + walk.step();
                    walk.again(from);
                }
                // It did not say that it holds nothing: it may have no second session for us.
                Walked::Empty => {
                    let why = "ended without a picture";
                    return Err(Stopped::Rest(LegFailure::new(Failure::Busy, why)));
                }
                Walked::Nothing if self.soundings.was_delivered(self.recorder.id(), from) => {
                    let why = "refuses what it plays to others";
                    return Err(Stopped::Rest(LegFailure::new(Failure::Busy, why)));
                }
                // It says so of this instant, and not of what comes after it.
                Walked::Ended | Walked::Nothing => {
                    refusals += 1;
                    if refusals > REFUSALS_MAX {
                        return Err(Stopped::Enough);
                    }
                    if matches!(walked, Walked::Nothing) {
                        self.teach(Lesson::Refused { at: from });
                    }
                    from = from + REFUSED;
                    walk.again(from);
                }
            }
            if from >= window.end() {
                return Ok(());
            }
        }
    }

    /// One session of key frames.
    async fn walk(
        &mut self,
        walk: &mut Walk,
        from: Timestamp,
        window: TimeRange,
    ) -> Result<Walked, Stopped> {
        let frames = Frames::Intra { interval_ms: None };
        let Some(mut leg) = self.open(from, frames).await? else {
            return Ok(Walked::Nothing);
        };
        let (mut bytes, mut empty) = (0, true);
        loop {
            let Some(at) = self.next(&mut leg, &mut bytes).await? else {
                return Ok(if empty { Walked::Empty } else { Walked::Ended });
            };
            empty = false;
            for found in walk.see(at) {
                match found {
                    Sounded::Whole(range) => self.teach(Lesson::Recorded(range)),
                    Sounded::Gap(gap) => self.teach_gap(gap.intersect(window)),
                    Sounded::Doubt(stretch) => return Ok(Walked::Doubt(stretch)),
                }
            }
            if at >= window.end() {
                return Ok(Walked::Done);
            }
            if bytes > SESSION_BYTES_MAX {
                return Err(Stopped::Enough);
            }
        }
    }

    /// Between two key frames lies more time than is usual: all pictures of that stretch tell whether there is a gap, and where.
    async fn settle(&mut self, walk: &mut Walk, stretch: TimeRange) -> Result<(), Stopped> {
        let Some(mut leg) = self.open(stretch.start(), Frames::All).await? else {
            return Ok(());
        };
        let (mut bytes, mut last, mut interval) = (0, None::<Timestamp>, None::<Duration>);
        let (min_gap, mut whole) = (self.entry.policy.min_gap, true);
        while let Some(at) = self.next(&mut leg, &mut bytes).await? {
            let before = last.unwrap_or(stretch.start());
            if at > before {
                let (step, usual) = (at.since(before), interval.unwrap_or_default());
                if step > min_gap + usual {
                    whole = false;
                    self.teach_gap(TimeRange::new(before + usual, at));
                } else if last.is_some() {
                    interval = Some(interval.map_or(step, |known| known.min(step)));
                }
            }
            last = last.max(Some(at));
            if at >= stretch.end() {
                if whole {
                    walk.is_whole(stretch);
                    self.teach(Lesson::Recorded(stretch));
                }
                return Ok(());
            }
            if bytes > SESSION_BYTES_MAX {
                return Err(Stopped::Enough);
            }
        }
        Ok(())
    }

    /// A session from an instant on; `None` where the recorder says that it holds nothing there.
    async fn open(&mut self, from: Timestamp, frames: Frames) -> Result<Option<Leg>, Stopped> {
        let down = self.recorder.health().state() != HealthState::Up;
        if down || self.sessions >= SESSIONS_MAX {
            return Err(Stopped::Enough);
        }
        self.sessions += 1;
        let tracks = self.tracks().await?;
        let master = tracks.iter().position(|track| track.media == Media::Video);
        let master = master.unwrap_or(0);
        let wanted: Vec<bool> = (0..tracks.len()).map(|track| track == master).collect();
        let order = Order {
            remote: self.entry.remote(self.copy),
            from,
            clock_offset_us: self.entry.clock_offset_us(self.copy)
                + self.entry.measured_offset_us(self.copy, from),
            direction: Direction::Forward,
            until: None,
            live: false,
            recorded_until: None,
            recorded_from: None,
            rate: 1.0,
            frames,
            tracks,
            wanted: wanted.into(),
            master,
            reaction: self.entry.policy.reaction,
            unread: UNREAD_BYTES_MAX,
        };
        match Leg::open(self.recorder.media(), order).await {
            Ok(leg) => Ok(Some(leg)),
            Err(failure) if failure.failure == Failure::NoFootage => Ok(None),
            Err(failure) => Err(Stopped::Rest(failure)),
        }
    }

    async fn tracks(&self) -> Result<Arc<[Track]>, Stopped> {
        if let Some(known) = self.entry.slot.description(self.copy) {
            return Ok(known.tracks.clone().into());
        }
        let asked = self.entry.slot.ask_description(self.copy).await;
        let description = asked.map_err(|_| Stopped::Enough)?;
        Ok(description.tracks.clone().into())
    }

    /// Capture time of the next picture; `None` when the recorder has no more.
    async fn next(&self, leg: &mut Leg, bytes: &mut usize) -> Result<Option<Timestamp>, Stopped> {
        loop {
            let patience = self.entry.policy.reaction.first_unit;
            let Ok(arrival) = timeout(patience, poll_fn(|cx| leg.poll_next(cx))).await else {
                return Err(Stopped::Enough);
            };
            match arrival {
                Arrival::Unit(unit) => {
                    let pieces = *bytes / PIECE_BYTES;
                    *bytes += unit.packets.len_bytes();
                    if *bytes / PIECE_BYTES > pieces {
                        sleep(PIECE_PAUSE).await;
                    }
                    // What nothing dates would be dated wrong behind each gap that it runs over.
                    if !leg.is_stamped() {
                        let undated = "its pictures are not stamped";
                        return Err(Stopped::Rest(LegFailure::new(
                            Failure::WrongFootage,
                            undated,
                        )));
                    }
                    let at = Timestamp::from_micros(unit.capture_us);
                    if clock::wall().micros_since(at) < WRITTEN.as_micros() as i64 {
                        // What is live now, perhaps, in place of what was asked for.
                        return Err(Stopped::Enough);
                    }
                    return Ok(Some(at));
                }
                Arrival::Alive | Arrival::Group(_) => {}
                Arrival::Ended => return Ok(None),
                Arrival::Failed(failure) => return Err(Stopped::Rest(failure)),
            }
        }
    }

    fn teach_gap(&self, gap: Option<TimeRange>) {
        let matters = |gap: &TimeRange| gap.end().since(gap.start()) >= self.entry.policy.min_gap;
        let Some(gap) = gap.filter(matters) else {
            return;
        };
        tracing::info!(
            camera = %self.entry.id(),
            site = self.entry.site(self.copy),
            from = %gap.start(),
            to = %gap.end(),
            "gap found ahead"
        );
        self.teach(Lesson::Gap(gap));
    }

    fn teach(&self, lesson: Lesson) {
        self.entry.slot.teach(self.copy, lesson, clock::now());
    }
}
