//! Keeps the index fresh and the health true, in the background.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use seamline_routing::{CameraId, CopyIx, HealthState, RecorderId, TimeRange, Timestamp};
use tokio::{task::JoinSet, time::sleep};
use tracing::{debug, warn};

use crate::{
    clock::{Clock, monotonic},
    index::{Index, Slot},
    recorder::ProbeError,
    service::RecorderClient,
};

/// How often what is asked.
#[derive(Debug, Clone, Copy)]
pub struct WatchOptions {
    /// Between two pings of a recorder that answers. One that fails is asked as its breaker allows.
    pub ping: Duration,
    /// After which a whole listing is asked for again.
    pub ttl: Duration,
    /// After which the growing end of a camera that is being played is asked for again.
    pub tail_ttl: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(10),
            ttl: Duration::from_secs(300),
            tail_ttl: Duration::from_secs(5),
        }
    }
}

/// The background tasks, two for each recorder: one that fails or stalls delays no other. Ends when
/// dropped.
#[derive(Debug)]
pub struct Watch {
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Starts watching.
    pub fn start(
        index: &Arc<Index>,
        recorders: &HashMap<RecorderId, RecorderClient>,
        options: WatchOptions,
        clock: Clock,
    ) -> Self {
        let mut tasks = JoinSet::new();
        for recorder in recorders.values() {
            tasks.spawn(ping(recorder.clone(), options.ping));
            if recorder.lists_coverage() {
                let listings = Listings {
                    recorder: recorder.clone(),
                    index: Arc::clone(index),
                    options,
                    clock,
                };
                tasks.spawn(listings.run());
            }
        }
        tasks.spawn(sweep(Arc::clone(index)));
        Self { _tasks: tasks }
    }
}

async fn ping(recorder: RecorderClient, every: Duration) {
    loop {
        if let Err(error) = recorder.ping().await
            && error.was_asked()
        {
            debug!(recorder = %recorder.id(), %error, "ping failed");
        }
        let pause = match recorder.health().state() {
            HealthState::Up => every,
            HealthState::Unknown | HealthState::Suspect => every.min(PING_DOUBTFUL),
            HealthState::Down => match recorder.health().retry_at() {
                Some(at) => at
                    .saturating_duration_since(monotonic())
                    .clamp(PING_TRIAL_MIN, every),
                None => every.min(PING_DOUBTFUL),
            },
        };
        sleep(jittered(pause)).await;
    }
}

/// The listings of one recorder.
struct Listings {
    recorder: RecorderClient,
    index: Arc<Index>,
    options: WatchOptions,
    clock: Clock,
}

impl Listings {
    async fn run(self) {
        let listings = &self;
        let mut failed: HashMap<(CameraId, CopyIx), Instant> = HashMap::new();
        loop {
            let now = monotonic();
            failed.retain(|_, at| now.saturating_duration_since(*at) < RETRY);
            if self.recorder.health().state() != HealthState::Down {
                let due = self.due(now).into_iter();
                let due = due.filter(|due| !failed.contains_key(&due.key()));
                let failures: Vec<_> = stream::iter(due)
                    .map(|due| async move { listings.ask(due).await.err() })
                    .buffer_unordered(LISTINGS_AT_ONCE)
                    .filter_map(std::future::ready)
                    .collect()
                    .await;
                failed.extend(failures.into_iter().map(|key| (key, monotonic())));
            }
            sleep(jittered(self.options.tail_ttl.min(self.options.ttl) / 4)).await;
        }
    }

    /// The copies that this recorder is to be asked about, and for which time.
    fn due(&self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        for slot in self.index.slots() {
            for (ix, copy) in slot.camera().copies() {
                if copy.recorder != *self.recorder.id() {
                    continue;
                }
                let wanted = slot.is_wanted(WANTED, now);
                let window = match slot.age(ix, now) {
                    None => TimeRange::ALL,
                    Some(age) if age >= self.spread(&copy.remote) => TimeRange::ALL,
                    Some(age) if wanted && age >= self.options.tail_ttl => self.tail(&slot, ix),
                    Some(_) => continue,
                };
                let slot = Arc::clone(&slot);
                due.push(Due { slot, ix, window });
            }
        }
        due
    }

    /// The ttl of one camera: up to a quarter shorter, so that not all fall due at once.
    fn spread(&self, remote: &str) -> Duration {
        let sum: u32 = remote.bytes().map(u32::from).sum();
        self.options.ttl / 64 * (64 - sum % 16)
    }

    /// From a little before what was last seen: some recorders list only what begins in the window.
    fn tail(&self, slot: &Slot, copy: CopyIx) -> TimeRange {
        let now = self.clock.now();
        let seen = slot.coverage(copy).and_then(|coverage| coverage.last());
        let from = seen.unwrap_or(now).min(now) - TAIL_MARGIN;
        TimeRange::new(from, Timestamp::MAX).unwrap_or(TimeRange::ALL)
    }

    /// Puts one question. The error names the copy, to be left alone for a while.
    async fn ask(&self, due: Due) -> Result<(), (CameraId, CopyIx)> {
        let camera = &due.slot.camera().id;
        let recorder = self.recorder.id();
        let error = match due.slot.ask(due.ix, due.window).await {
            Err(error) if error.was_asked() => error,
            _ => return Ok(()),
        };
        match error {
            ProbeError::NotFound => {
                warn!(%camera, %recorder, "the recorder does not know this camera");
            }
            error => warn!(%camera, %recorder, %error, "listing failed"),
        }
        Err(due.key())
    }
}

/// A question that is due.
struct Due {
    slot: Arc<Slot>,
    ix: CopyIx,
    window: TimeRange,
}

impl Due {
    fn key(&self) -> (CameraId, CopyIx) {
        (self.slot.camera().id.clone(), self.ix)
    }
}

async fn sweep(index: Arc<Index>) {
    loop {
        sleep(SWEEP).await;
        let now = monotonic();
        for slot in index.slots() {
            slot.sweep(now);
        }
    }
}

/// Between four fifths of a wait and six.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.8 + 0.4 * rand::random::<f64>())
}

/// Beside these, the client's own limit holds.
const LISTINGS_AT_ONCE: usize = 4;
/// Between pings of a recorder that is not known to be well.
const PING_DOUBTFUL: Duration = Duration::from_secs(1);
/// How long a camera is left alone whose listing failed.
const RETRY: Duration = Duration::from_secs(30);
const PING_TRIAL_MIN: Duration = Duration::from_millis(100);
const SWEEP: Duration = Duration::from_secs(1);
const TAIL_MARGIN: Duration = Duration::from_secs(600);
/// How long after the last look a camera counts as being played.
const WANTED: Duration = Duration::from_secs(60);
