//! Copies whose recorders do not list what they hold are looked over ahead of who plays: a session of their key frames shows
//! where nothing was recorded, before it is reached.
//!
//! One session at a time and recorder, beside those of playbacks; a recorder that has none left for it is left alone, and one that
//! has none left for a playback gets it back.

mod errand;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seamline_probes::sounding::due;
use seamline_probes::{MediaSource, RecorderClient};
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::policy::Policy;
use seamline_routing::{CameraId, CopyIx, RecorderId, TimeRange, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cameras::CameraEntry;
use crate::clock;
use crate::outbound::{Leg, LegFailure, Order};
use errand::Errand;

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

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

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
