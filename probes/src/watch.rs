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

mod offset;
mod places;

use places::Places;

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
    /// Starts watching the cameras that are in the index now: to be started anew when they are
    /// replaced.
    pub fn start(
        index: &Arc<Index>,
        recorders: &HashMap<RecorderId, RecorderClient>,
        options: WatchOptions,
        clock: Clock,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let places = Places::new();
        for recorder in recorders.values() {
            tasks.spawn(ping(recorder.clone(), options.ping, places.clone()));
            let offsets = copies_at(recorder.id(), index).into_iter();
            let offsets =
                offsets.filter_map(|(slot, ix)| Some(slot.camera().copy(ix)?.clock_offset_us));
            tasks.spawn(offset::watch(
                recorder.clone(),
                offsets.collect(),
                places.clone(),
            ));
            if recorder.lists_coverage() {
                let listings = Listings {
                    recorder: recorder.clone(),
                    copies: copies_at(recorder.id(), index),
                    options,
                    clock,
                    places: places.clone(),
                };
                tasks.spawn(listings.run());
            }
        }
        tasks.spawn(sweep(Arc::clone(index)));
        Self { _tasks: tasks }
    }
}

/// The copies that a recorder holds.
fn copies_at(recorder: &RecorderId, index: &Index) -> Vec<(Arc<Slot>, CopyIx)> {
    let slots = index.slots();
    let copies = slots.iter().flat_map(|slot| {
        let held = slot.camera().copies();
        let held = held.filter(|(_, copy)| copy.recorder == *recorder);
        held.map(|(ix, _)| (Arc::clone(slot), ix))
    });
    copies.collect()
}

async fn ping(recorder: RecorderClient, every: Duration, places: Places) {
    loop {
        if let Err(error) = places.ask(recorder.ping()).await
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
    copies: Vec<(Arc<Slot>, CopyIx)>,
    options: WatchOptions,
    clock: Clock,
    places: Places,
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
        let due = self.copies.iter().filter_map(|(slot, ix)| {
            let window = match slot.age(*ix, now) {
                None => TimeRange::ALL,
                Some(age) if age >= self.spread(slot.camera().id.as_str()) => TimeRange::ALL,
                Some(age) if age >= self.options.tail_ttl && slot.is_wanted(WANTED, now) => {
                    self.tail(slot, *ix)
                }
                Some(_) => return None,
            };
            Some(Due {
                slot: Arc::clone(slot),
                ix: *ix,
                window,
            })
        });
        due.collect()
    }

    /// The ttl of one camera: up to a quarter shorter, so that not all fall due at once.
    fn spread(&self, camera: &str) -> Duration {
        let sum: u32 = camera.bytes().map(u32::from).sum();
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
        let answer = self.places.ask(due.slot.ask(due.ix, due.window)).await;
        let error = match answer {
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

#[cfg(test)]
mod tests {
    use seamline_routing::CopyIx;

    use super::*;
    use crate::testing::{Fake, at, camera, span};

    const FIRST: CopyIx = CopyIx(0);
    const SECOND: CopyIx = CopyIx(1);

    struct House {
        good: Arc<Fake>,
        bad: Arc<Fake>,
        recorders: HashMap<RecorderId, RecorderClient>,
        index: Arc<Index>,
    }

    fn house() -> House {
        let (good, bad) = (Fake::new(), Fake::new());
        good.hold(&[span(0, 100)]);
        let recorders: HashMap<RecorderId, RecorderClient> = [
            ("good".into(), good.client("good")),
            ("bad".into(), bad.client("bad")),
        ]
        .into();
        let cameras = [camera("gate", &["good", "bad"])];
        let index = Index::new(cameras, &recorders, monotonic()).unwrap();
        House {
            good,
            bad,
            recorders,
            index: Arc::new(index),
        }
    }

    impl House {
        fn watch(&self) -> Watch {
            let clock = Clock::anchored(at(100));
            Watch::start(&self.index, &self.recorders, WatchOptions::default(), clock)
        }

        fn slot(&self) -> Arc<Slot> {
            self.index.camera("gate").unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_recorder_that_hangs_delays_no_other() {
        let house = house();
        house.bad.delay(Duration::from_secs(3_600));
        let _watch = house.watch();
        sleep(Duration::from_millis(100)).await;
        let slot = house.slot();
        assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 100)]);
        assert_eq!(slot.age(SECOND, monotonic()), None);
        sleep(Duration::from_secs(60)).await;
        let state = |id: &str| house.recorders.get(id).unwrap().health().state();
        assert_eq!(state("good"), HealthState::Up);
        assert_eq!(state("bad"), HealthState::Down);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_asked_for_often_only_while_somebody_plays() {
        let house = house();
        let _watch = house.watch();
        sleep(Duration::from_secs(200)).await;
        assert_eq!(house.good.asked(), 1, "nobody looks");
        for second in 0..60 {
            house.good.hold(&[span(0, 300 + second)]);
            house.slot().facts(monotonic());
            sleep(Duration::from_secs(1)).await;
        }
        let asked = house.good.asked();
        assert!((8..=14).contains(&asked), "{asked}");
        let tail = house.good.queries.lock().unwrap().last().unwrap().window;
        assert!(tail.start() > Timestamp::MIN && tail.end() == Timestamp::MAX);
        let coverage = house.slot().coverage(FIRST).unwrap();
        assert_eq!(coverage.periods().len(), 1);
        assert!(coverage.last().unwrap() >= at(350));
    }

    #[tokio::test(start_paused = true)]
    async fn a_recorder_that_comes_back_is_noticed_within_its_back_off() {
        let house = house();
        house.bad.fail(ProbeError::Refused);
        let _watch = house.watch();
        sleep(Duration::from_secs(300)).await;
        let health = Arc::clone(house.recorders.get("bad").unwrap().health());
        assert_eq!(health.state(), HealthState::Down);
        let tries = house.bad.pings() + house.bad.asked();
        assert!(tries < 20, "{tries} questions to a recorder that is down");
        let mut changes = house.slot().changes();
        house.bad.fail(None);
        changes.changed().await;
        assert_eq!(health.state(), HealthState::Up);
        assert!(health.standing(monotonic()).1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_fails_is_left_alone_for_a_while() {
        let house = house();
        house.bad.fail(ProbeError::NotFound);
        let _watch = house.watch();
        sleep(Duration::from_secs(100)).await;
        assert!(house.bad.asked() <= 4, "{}", house.bad.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_dropped() {
        let house = house();
        let watch = house.watch();
        sleep(Duration::from_secs(30)).await;
        drop(watch);
        let pings = house.good.pings();
        assert!(pings >= 3);
        sleep(Duration::from_secs(300)).await;
        assert_eq!(house.good.pings(), pings);
    }

    #[tokio::test(start_paused = true)]
    async fn doubts_end_by_themselves() {
        let house = house();
        let _watch = house.watch();
        sleep(Duration::from_secs(1)).await;
        let slot = house.slot();
        let lesson = crate::Lesson::Refused { at: at(50) };
        slot.teach(FIRST, lesson, monotonic());
        assert_eq!(
            slot.coverage(FIRST).unwrap().periods(),
            [span(0, 50), span(60, 100)]
        );
        sleep(Duration::from_secs(62)).await;
        assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 100)]);
    }
}
