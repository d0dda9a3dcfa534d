//! Copies whose recorders do not list what they hold are looked over ahead of who plays: a session of their key frames shows
//! where nothing was recorded, before it is reached.
//!
//! One session at a time and recorder, beside those of playbacks; a recorder that has none left for it is left alone, and one that
//! has none left for a playback gets it back.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seamline_probes::sounding::{Sounded, Walk, due};
use seamline_probes::{Lesson, MediaSource, RecorderClient};
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::policy::Policy;
use seamline_routing::{CameraId, CopyIx, HealthState, RecorderId, TimeRange, Timestamp};
use seamline_rtsp::headers::Frames;
use seamline_rtsp::sdp::{Media, Track};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

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
/// Footage younger than this may not be there to be played yet.
const WRITTEN: Duration = Duration::from_secs(60);
/// How long what was looked over is not looked over again: as long as a gap that was learned is believed.
const KEPT: Duration = Duration::from_secs(600);
/// How long a recorder is left alone that had no session for it, or sent what makes no sense.
const REST: Duration = Duration::from_secs(600);
/// Stretches of one copy that are remembered.
const STRETCHES_MAX: usize = 64;
/// So long after the latest playback of its camera showed itself, a sweep is of use to nobody. They show themselves every few
/// seconds.
const WANTED_FOR: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A recorder has another session so long after one was ended.
const FREED_AFTER: Duration = Duration::from_millis(250);
/// Stretches that playbacks were given during a sweep.
const DELIVERED_MAX: usize = 64;
/// Copies looked over at a time.
const AT_ONCE_MAX: usize = 8;

/// Who is looked over, and what was. Shared by all cameras.
#[derive(Debug, Default)]
pub struct Soundings(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    at_work: HashMap<RecorderId, Work>,
    resting: HashMap<RecorderId, Instant>,
    swept: HashMap<(CameraId, CopyIx), Vec<(TimeRange, Instant)>>,
}

/// A sweep that is under way.
#[derive(Debug)]
struct Work {
    camera: CameraId,
    copy: CopyIx,
    /// Turned true when a playback needs the session; closed when the sweep is over.
    stop: watch::Sender<bool>,
    /// When a playback last showed itself.
    wanted: Instant,
    /// What the copy gave to playbacks meanwhile.
    delivered: VecDeque<TimeRange>,
}

impl Work {
    fn is_of(&self, camera: &CameraId, copy: CopyIx) -> bool {
        self.camera == *camera && self.copy == copy
    }
}

/// The way of playbacks to a recorder, past who looks over what it holds.
#[derive(Clone, Debug)]
pub struct Door {
    soundings: Arc<Soundings>,
    recorder: Option<RecorderId>,
    source: MediaSource,
}

impl Door {
    /// To a copy of a camera.
    pub fn to(entry: &CameraEntry, copy: CopyIx) -> Self {
        let recorder = entry.slot.recorder(copy);
        Door {
            soundings: Arc::clone(&entry.soundings),
            recorder: recorder.map(|recorder| recorder.id().clone()),
            source: entry.media(copy),
        }
    }

    /// As [`Leg::open`]. A recorder that has no session left while it is looked over is asked once more, after that was ended.
    pub async fn open(self, order: Order) -> Result<Leg, LegFailure> {
        let Some(recorder) = self.recorder else {
            return Leg::open(self.source, order).await;
        };
        let opened = Leg::open(self.source.clone(), order.clone()).await;
        let busy = opened
            .as_ref()
            .is_err_and(|failure| failure.failure == Failure::Busy);
        if busy && self.soundings.give_way(&recorder).await {
            return Leg::open(self.source, order).await;
        }
        opened
    }
}

impl Soundings {
    /// A playback of a camera is at `at`: copies that do not list what they hold are looked over ahead of it, in the background.
    pub fn ahead(self: &Arc<Self>, entry: &CameraEntry, at: Timestamp, direction: Direction) {
        if entry.live {
            return;
        }
        let copies = entry.slot.camera().copies().map(|(copy, _)| copy);
        for copy in copies {
            let Some(recorder) = entry.slot.recorder(copy) else {
                continue;
            };
            let reach = reach(recorder, &entry.policy);
            if reach.is_zero() || !is_played_by_time(&recorder.media()) {
                continue;
            }
            let latest = clock::wall() - WRITTEN;
            if let Some((errand, window)) = self.begin(entry, copy, recorder, at, reach, direction)
                && let Some(window) = TimeRange::new(window.start(), window.end().min(latest))
            {
                tokio::spawn(errand.run(window));
            }
        }
    }

    /// Takes the recorder for one sweep, unless there is nothing to do or it is taken.
    fn begin(
        self: &Arc<Self>,
        entry: &CameraEntry,
        copy: CopyIx,
        recorder: &RecorderClient,
        at: Timestamp,
        reach: Duration,
        direction: Direction,
    ) -> Option<(Errand, TimeRange)> {
        let now = clock::now();
        let mut board = self.lock();
        board.resting.retain(|_, until| *until > now);
        if let Some(work) = board.at_work.get_mut(recorder.id()) {
            if work.is_of(entry.id(), copy) {
                work.wanted = now;
            }
            return None;
        }
        if board.resting.contains_key(recorder.id()) || board.at_work.len() >= AT_ONCE_MAX {
            return None;
        }
        let key = (entry.id().clone(), copy);
        let swept = board.swept.entry(key).or_default();
        swept.retain(|(_, when)| now.saturating_duration_since(*when) < KEPT);
        let known: Vec<TimeRange> = swept.iter().map(|(range, _)| *range).collect();
        let window = due(&known, at, reach, direction)?;
        let (stop, stopped) = watch::channel(false);
        let work = Work {
            camera: entry.id().clone(),
            copy,
            stop,
            wanted: now,
            delivered: VecDeque::new(),
        };
        board.at_work.insert(recorder.id().clone(), work);
        let errand = Errand {
            stopped,
            soundings: Arc::clone(self),
            recorder: recorder.clone(),
            entry: entry.owned(),
            copy,
            sessions: 0,
        };
        Some((errand, window))
    }

    /// A copy gave this to a playback.
    pub fn delivered(&self, entry: &CameraEntry, copy: CopyIx, range: TimeRange) {
        if entry.live {
            return;
        }
        let Some(recorder) = entry.slot.recorder(copy) else {
            return;
        };
        let mut board = self.lock();
        let work = board.at_work.get_mut(recorder.id());
        if let Some(work) = work.filter(|work| work.is_of(entry.id(), copy)) {
            if work.delivered.len() >= DELIVERED_MAX {
                work.delivered.pop_front();
            }
            work.delivered.push_back(range);
        }
    }

    fn was_delivered(&self, recorder: &RecorderId, at: Timestamp) -> bool {
        let board = self.lock();
        let work = board.at_work.get(recorder);
        work.is_some_and(|work| work.delivered.iter().any(|range| range.contains(at)))
    }

    /// Ends the sweep that has a session at a recorder, if there is one, and leaves the recorder alone from then on.
    async fn give_way(&self, recorder: &RecorderId) -> bool {
        let stop = self
            .lock()
            .at_work
            .get(recorder)
            .map(|work| work.stop.clone());
        let Some(stop) = stop else {
            return false;
        };
        stop.send_replace(true);
        stop.closed().await;
        sleep(FREED_AFTER).await;
        true
    }

    /// Returns when nobody has played what is looked over for a while.
    async fn forsaken(&self, recorder: &RecorderId) {
        loop {
            sleep(LOOK_EVERY).await;
            let wanted = self.lock().at_work.get(recorder).map(|work| work.wanted);
            let is_wanted = |wanted| clock::now().saturating_duration_since(wanted) < WANTED_FOR;
            if !wanted.is_some_and(is_wanted) {
                return;
            }
        }
    }

    fn rest(&self, recorder: &RecorderId) {
        let until = clock::now() + REST;
        self.lock().resting.insert(recorder.clone(), until);
    }

    fn done(&self, camera: &CameraId, copy: CopyIx, range: TimeRange) {
        let mut board = self.lock();
        let swept = board.swept.entry((camera.clone(), copy)).or_default();
        if swept.len() >= STRETCHES_MAX {
            swept.remove(0);
        }
        swept.push((range, clock::now()));
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far ahead a copy at this recorder is looked over; zero for not at all.
fn reach(recorder: &RecorderClient, policy: &Policy) -> Duration {
    if recorder.shows_gaps() {
        return Duration::ZERO;
    }
    let unasked = if recorder.lists_coverage() {
        Policy::SWEEP
    } else {
        Duration::ZERO
    };
    policy.sweep.unwrap_or(unasked)
}

fn is_played_by_time(media: &MediaSource) -> bool {
    matches!(
        media,
        MediaSource::Rtsp(_) | MediaSource::RtspByUrl(_) | MediaSource::RtspOnRequest(_)
    )
}

/// One copy that is being looked over. Dropped, its recorder is free again.
struct Errand {
    soundings: Arc<Soundings>,
    recorder: RecorderClient,
    entry: CameraEntry,
    copy: CopyIx,
    sessions: usize,
    stopped: watch::Receiver<bool>,
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
    async fn run(mut self, window: TimeRange) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn work(at_work: &Soundings, wanted: Instant) -> (RecorderId, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        let nvr = RecorderId::from("nvr");
        let work = Work {
            camera: CameraId::from("gate"),
            copy: CopyIx(0),
            stop,
            wanted,
            delivered: VecDeque::new(),
        };
        at_work.lock().at_work.insert(nvr.clone(), work);
        (nvr, stopped)
    }

    #[tokio::test(start_paused = true)]
    async fn a_playback_gets_the_session_of_a_sweep_once_that_is_over() {
        let soundings = Soundings::default();
        assert!(!soundings.give_way(&RecorderId::from("nvr")).await);
        let (nvr, mut stopped) = work(&soundings, clock::now());
        let ends = Duration::from_secs(3);
        let begun = tokio::time::Instant::now();
        let sweep = async move {
            assert!(stopped.wait_for(|stopped| *stopped).await.is_ok());
            sleep(ends).await;
        };
        let (gave, ()) = tokio::join!(soundings.give_way(&nvr), sweep);
        assert!(gave);
        assert!(begun.elapsed() >= ends + FREED_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_is_forsaken_when_no_playback_shows_itself() {
        let soundings = Soundings::default();
        let (nvr, _stopped) = work(&soundings, clock::now());
        let soon = Duration::from_secs(3);
        assert!(timeout(soon, soundings.forsaken(&nvr)).await.is_err());
        let long_ago = clock::now().checked_sub(WANTED_FOR).unwrap();
        let (nvr, _stopped) = work(&soundings, long_ago);
        assert!(timeout(soon, soundings.forsaken(&nvr)).await.is_ok());
    }
}
