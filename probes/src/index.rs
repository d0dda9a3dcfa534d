//! What is known of every copy of every camera, read without asking and without a lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures::future::select_all;
use seamline_routing::{
    Camera, CameraId, CopyFacts, CopyIx, CopyRef, Coverage, FailureKind, HealthState, RecorderId,
    TimeRange, Timestamp,
};
use seamline_rtsp::sdp::Description;
use smallvec::SmallVec;
use tokio::sync::watch;

use crate::{
    recorder::{CoverageQuery, ProbeError},
    service::{RecorderClient, hedged},
};

mod learning;

use learning::Learning;
pub use learning::Lesson;

/// What is known, a slot for each configured camera.
#[derive(Debug)]
pub struct Index {
    slots: ArcSwap<HashMap<CameraId, Arc<Slot>>>,
    /// Where the slots' times count from.
    origin: Instant,
}

/// A camera names a recorder that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("camera {camera} names the unknown recorder {recorder}")]
pub struct UnknownRecorder {
    /// The camera.
    pub camera: CameraId,
    /// What it names.
    pub recorder: RecorderId,
}

impl Index {
    /// An index of `cameras`, of which nothing is known yet.
    pub fn new(
        cameras: impl IntoIterator<Item = Camera>,
        recorders: &HashMap<RecorderId, RecorderClient>,
        now: Instant,
    ) -> Result<Self, UnknownRecorder> {
        let index = Self {
            slots: ArcSwap::default(),
            origin: now,
        };
        index.replace(cameras, recorders)?;
        Ok(index)
    }

    /// Takes other cameras in their place, whole or not at all. Copies that stay as they were keep
    /// what is known of them.
    pub fn replace(
        &self,
        cameras: impl IntoIterator<Item = Camera>,
        recorders: &HashMap<RecorderId, RecorderClient>,
    ) -> Result<(), UnknownRecorder> {
        let before = self.slots.load_full();
        let mut slots = HashMap::new();
        for camera in cameras {
            let known = before.get(&camera.id).map(|slot| &**slot);
            let id = camera.id.clone();
            let slot = Slot::new(camera, recorders, known, self.origin)?;
            slots.insert(id, Arc::new(slot));
        }
        self.slots.store(Arc::new(slots));
        Ok(())
    }

    /// The slot of a camera.
    pub fn camera(&self, id: &str) -> Option<Arc<Slot>> {
        self.slots.load().get(id).cloned()
    }

    /// All slots, in no order.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.load().values().cloned().collect()
    }
}

/// What is known of one camera.
#[derive(Debug)]
pub struct Slot {
    camera: Camera,
    copies: Box<[CopySlot]>,
    changes: watch::Sender<u64>,
    origin: Instant,
    /// When a playback read it last, ms from the origin, plus 1.
    read_at: AtomicU64,
}

#[derive(Debug)]
struct CopySlot {
    recorder: RecorderClient,
    /// What planning reads.
    coverage: ArcSwap<Coverage>,
    /// What it is made of.
    learning: Mutex<Learning>,
    description: ArcSwapOption<Description>,
    /// When its listing was answered last, ms from the origin, plus 1.
    asked_at: AtomicU64,
}

impl Slot {
    /// The camera.
    pub fn camera(&self) -> &Camera {
        &self.camera
    }

    /// The client of the recorder that holds a copy.
    pub fn recorder(&self, copy: CopyIx) -> Option<&RecorderClient> {
        self.copies.get(copy.index()).map(|copy| &copy.recorder)
    }

    /// The facts that planning needs, of all copies at one moment. Asks nobody, locks nothing, and
    /// up to [`COPIES_INLINE`] copies allocates nothing.
    pub fn facts(&self, now: Instant) -> Facts {
        self.mark_read(now);
        let copies = self.copies.iter().map(|copy| {
            let (health, healthy_for) = copy.recorder.health().standing(now);
            Known {
                coverage: copy.coverage.load_full(),
                health,
                healthy_for,
                lists: copy.recorder.lists_coverage(),
            }
        });
        Facts(copies.collect())
    }

    /// What a copy is known to hold, in true time.
    pub fn coverage(&self, copy: CopyIx) -> Option<Arc<Coverage>> {
        Some(self.copies.get(copy.index())?.coverage.load_full())
    }

    /// The tracks of a copy, as last described.
    pub fn description(&self, copy: CopyIx) -> Option<Arc<Description>> {
        self.copies.get(copy.index())?.description.load_full()
    }

    /// Keeps the description of a copy that a playback or a probe has seen.
    pub fn describe(&self, copy: CopyIx, description: Arc<Description>) {
        if let Some(copy) = self.copies.get(copy.index()) {
            copy.description.store(Some(description));
        }
    }

    /// Takes in what a playback has seen of a copy. Times are true ones.
    pub fn teach(&self, copy: CopyIx, lesson: Lesson, now: Instant) {
        if let Some(copy) = self.copies.get(copy.index()) {
            let lists = copy.recorder.lists_coverage();
            copy.learn(&self.changes, |learning| learning.teach(lesson, lists, now));
        }
    }

    /// A playback gets footage from a copy.
    pub fn delivers(&self, copy: CopyIx, now: Instant) {
        if let Some(copy) = self.copies.get(copy.index()) {
            copy.recorder.health().delivers(now);
        }
    }

    /// A playback's leg failed by its recorder's fault.
    pub fn failed(&self, copy: CopyIx, kind: FailureKind, now: Instant) {
        if let Some(copy) = self.copies.get(copy.index()) {
            copy.recorder.health().failure(now, kind);
        }
    }

    /// Takes in a listing, answered now by the recorder's own clock.
    pub fn listed(&self, copy: CopyIx, listing: &Coverage, now: Instant) {
        let Some((copy, reference)) = self.copy(copy) else {
            return;
        };
        let offset_us = reference.clock_offset_us.saturating_neg();
        copy.learn(&self.changes, |learning| {
            learning.listed(&listing.shift(offset_us), now);
        });
        let asked_at = self.stamp(now);
        copy.asked_at.store(asked_at, Ordering::Relaxed);
    }

    /// Tells when coverage or health of any copy changes.
    pub fn changes(&self) -> Changes {
        let health = self
            .copies
            .iter()
            .map(|copy| copy.recorder.health().changes());
        Changes(
            std::iter::once(self.changes.subscribe())
                .chain(health)
                .collect(),
        )
    }

    /// How long ago a copy's listing was answered; `None` for never, or when it cannot list.
    pub fn age(&self, copy: CopyIx, now: Instant) -> Option<Duration> {
        let asked_at = self
            .copies
            .get(copy.index())?
            .asked_at
            .load(Ordering::Relaxed);
        self.since(asked_at, now)
    }

    /// Whether what is known around `at` should be asked for before planning: some recorder that
    /// lists and is not down was never asked, or not within `ttl`, or not within `tail_ttl` and
    /// nothing is known of `at`.
    pub fn is_stale(&self, at: Timestamp, ttl: Duration, tail_ttl: Duration, now: Instant) -> bool {
        self.listing_copies().any(|(ix, copy)| {
            let down = copy.recorder.health().state() == HealthState::Down;
            !down
                && self.age(ix, now).is_none_or(|age| {
                    age > ttl || age > tail_ttl && !knows(&copy.coverage.load(), at)
                })
        })
    }

    /// Asks the recorders of all copies at once, and takes in what arrives, until `deadline`. What
    /// comes later is taken in too, but not waited for.
    pub async fn refresh(
        self: &Arc<Self>,
        deadline: Duration,
    ) -> Vec<Option<Result<(), ProbeError>>> {
        let questions: Vec<_> = self
            .listing_copies()
            .map(|(ix, _)| {
                let slot = Arc::clone(self);
                let task = tokio::spawn(async move { slot.ask(ix, TimeRange::ALL).await });
                async move {
                    task.await
                        .unwrap_or_else(|_| Err(ProbeError::protocol("the question was abandoned")))
                }
            })
            .collect();
        hedged(questions, deadline).await
    }

    /// Asks the recorder of one copy for what it holds in `window`, in true time, and takes the
    /// answer in. [`ProbeError::NotFound`] when it does not know the camera.
    pub async fn ask(&self, copy: CopyIx, window: TimeRange) -> Result<(), ProbeError> {
        let Some((of, reference)) = self.copy(copy) else {
            return Ok(());
        };
        let query = CoverageQuery {
            remote: Arc::clone(&reference.remote),
            window: on_clock(window, reference.clock_offset_us),
        };
        let listing = of.recorder.coverage(query).await?;
        self.listed(copy, &listing, crate::clock::monotonic());
        Ok(())
    }

    /// Asks the recorder of one copy for its tracks, and keeps them.
    pub async fn ask_description(&self, copy: CopyIx) -> Result<Arc<Description>, ProbeError> {
        let Some((of, reference)) = self.copy(copy) else {
            return Err(ProbeError::NotFound);
        };
        let description = of.recorder.describe(Arc::clone(&reference.remote)).await?;
        of.description.store(Some(Arc::clone(&description)));
        Ok(description)
    }

    /// Copies whose recorder can list.
    fn listing_copies(&self) -> impl Iterator<Item = (CopyIx, &CopySlot)> {
        (0..=u8::MAX)
            .map(CopyIx)
            .zip(&self.copies)
            .filter(|(_, copy)| copy.recorder.lists_coverage())
    }

    /// Whether a playback has read it within `span`.
    pub(crate) fn is_wanted(&self, span: Duration, now: Instant) -> bool {
        self.since(self.read_at.load(Ordering::Relaxed), now)
            .is_some_and(|ago| ago < span)
    }

    /// Forgets lessons whose time is over.
    pub(crate) fn sweep(&self, now: Instant) {
        for copy in &self.copies {
            if copy.lock().is_due(now) {
                copy.learn(&self.changes, |learning| learning.sweep(now));
            }
        }
    }

    fn new(
        camera: Camera,
        recorders: &HashMap<RecorderId, RecorderClient>,
        known: Option<&Self>,
        origin: Instant,
    ) -> Result<Self, UnknownRecorder> {
        let copies = camera
            .copies
            .iter()
            .map(|copy| {
                let recorder = recorders
                    .get(&copy.recorder)
                    .ok_or_else(|| UnknownRecorder {
                        camera: camera.id.clone(),
                        recorder: copy.recorder.clone(),
                    })?;
                let known = known.and_then(|slot| {
                    let same = |(_, other): &(_, &CopyRef)| *other == copy;
                    let (ix, _) = slot.camera.copies().find(same)?;
                    slot.copies.get(ix.index())
                });
                Ok(CopySlot::new(recorder.clone(), known))
            })
            .collect::<Result<_, UnknownRecorder>>()?;
        Ok(Self {
            camera,
            copies,
            changes: watch::Sender::new(0),
            origin,
            read_at: AtomicU64::new(0),
        })
    }

    fn copy(&self, ix: CopyIx) -> Option<(&CopySlot, &CopyRef)> {
        Some((self.copies.get(ix.index())?, self.camera.copy(ix)?))
    }

    /// Written once a second at most: readers on many cores share the line it lies in.
    fn mark_read(&self, now: Instant) {
        let now = self.stamp(now);
        if now.abs_diff(self.read_at.load(Ordering::Relaxed)) > READ_GRAIN_MS {
            self.read_at.store(now, Ordering::Relaxed);
        }
    }

    fn stamp(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        (elapsed.as_millis() as u64).saturating_add(1)
    }

    fn since(&self, stamp: u64, now: Instant) -> Option<Duration> {
        let stamp = stamp.checked_sub(1)?;
        let elapsed = now.saturating_duration_since(self.origin);
        Some(elapsed.saturating_sub(Duration::from_millis(stamp)))
    }
}

impl CopySlot {
    fn new(recorder: RecorderClient, known: Option<&Self>) -> Self {
        let slot = Self {
            recorder,
            coverage: ArcSwap::from_pointee(Coverage::unknown()),
            learning: Mutex::default(),
            description: ArcSwapOption::empty(),
            asked_at: AtomicU64::new(0),
        };
        if let Some(known) = known {
            slot.coverage.store(known.coverage.load_full());
            *slot.lock() = known.lock().clone();
            slot.description.store(known.description.load_full());
            let asked_at = known.asked_at.load(Ordering::Relaxed);
            slot.asked_at.store(asked_at, Ordering::Relaxed);
        }
        slot
    }

    fn learn(&self, changes: &watch::Sender<u64>, act: impl FnOnce(&mut Learning)) {
        let differs = {
            let mut learning = self.lock();
            act(&mut learning);
            let after = learning.coverage();
            let before = self.coverage.load();
            let differs = before.periods() != after.periods()
                || before.windows() != after.windows()
                || before.growing() != after.growing();
            self.coverage.store(Arc::new(after));
            differs
        };
        if differs {
            changes.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Learning> {
        self.learning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The facts of all copies at one moment.
#[derive(Debug)]
pub struct Facts(SmallVec<[Known; COPIES_INLINE]>);

#[derive(Debug)]
struct Known {
    coverage: Arc<Coverage>,
    health: HealthState,
    healthy_for: Option<Duration>,
    lists: bool,
}

impl Facts {
    /// As planning takes them. `barred` tells the copies that this playback has given up on.
    pub fn copies(
        &self,
        barred: impl Fn(CopyIx) -> bool,
    ) -> SmallVec<[CopyFacts<'_>; COPIES_INLINE]> {
        let known = (0..=u8::MAX).map(CopyIx).zip(&self.0);
        known
            .map(|(ix, known)| CopyFacts {
                coverage: &known.coverage,
                health: known.health,
                healthy_for: known.healthy_for,
                lists: known.lists,
                barred: barred(ix),
            })
            .collect()
    }
}

/// Tells a playback that facts have changed.
#[derive(Debug)]
pub struct Changes(Vec<watch::Receiver<u64>>);

impl Changes {
    /// Whether anything has changed since the last call; does not wait.
    pub fn take_news(&mut self) -> bool {
        let mut news = false;
        for source in &mut self.0 {
            if source.has_changed().unwrap_or(false) {
                source.mark_unchanged();
                news = true;
            }
        }
        news
    }

    /// Returns when coverage or health of any copy has changed since the last call, or since this
    /// was made. Waits for ever when the camera is no longer configured.
    pub async fn changed(&mut self) {
        while !self.0.is_empty() {
            let waits = self.0.iter_mut().map(|source| Box::pin(source.changed()));
            let (outcome, index, _) = select_all(waits).await;
            if outcome.is_ok() {
                return;
            }
            self.0.swap_remove(index);
        }
        std::future::pending::<()>().await;
    }
}

fn knows(coverage: &Coverage, at: Timestamp) -> bool {
    use seamline_routing::Held;
    match coverage.held(at) {
        // Behind what was last seen written it is only hoped for.
        Held::Recorded { .. } => {
            !coverage.growing() || coverage.last().is_some_and(|last| at < last)
        }
        Held::Gap { .. } => true,
        Held::Unknown { .. } => false,
    }
}

/// `window` as a clock that is `offset_us` ahead shows it; open ends stay open.
fn on_clock(window: TimeRange, offset_us: i64) -> TimeRange {
    let moved = |at: Timestamp| match at {
        Timestamp::MIN | Timestamp::MAX => at,
        _ => at.shift(offset_us),
    };
    TimeRange::new(moved(window.start()), moved(window.end())).unwrap_or(window)
}

/// Copies of one camera whose facts need no memory of their own.
pub const COPIES_INLINE: usize = 4;
const READ_GRAIN_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use std::thread;

    use futures::FutureExt;
    use seamline_routing::Held;

    use super::*;
    use crate::{
        clock::monotonic,
        testing::{Fake, at, camera, copy, span},
    };

    const FIRST: CopyIx = CopyIx(0);
    const SECOND: CopyIx = CopyIx(1);

    fn recorders(ids: &[&str]) -> HashMap<RecorderId, RecorderClient> {
        ids.iter()
            .map(|id| (RecorderId::from(*id), Fake::new().client(id)))
            .collect()
    }

    fn index(ids: &[&str]) -> Index {
        Index::new([camera("gate", ids)], &recorders(ids), monotonic()).unwrap()
    }

    #[tokio::test]
    async fn facts_are_those_of_each_copy() {
        let index = index(&["a", "b"]);
        assert!(index.camera("yard").is_none());
        let slot = index.camera("gate").unwrap();
        let now = monotonic();
        slot.listed(
            SECOND,
            &Coverage::new(span(0, 100), [span(10, 20)], at(0), false),
            now,
        );
        slot.delivers(SECOND, now);
        slot.failed(FIRST, FailureKind::Refused, now);
        let facts = slot.facts(now + Duration::from_secs(2));
        let copies = facts.copies(|ix| ix == SECOND);
        assert_eq!(copies.len(), 2);
        assert_eq!(copies[0].health, HealthState::Down);
        assert!(matches!(
            copies[0].coverage.held(at(15)),
            Held::Unknown { .. }
        ));
        assert_eq!(copies[1].health, HealthState::Up);
        assert_eq!(copies[1].healthy_for, Some(Duration::from_secs(2)));
        assert_eq!(
            copies[1].coverage.held(at(15)),
            Held::Recorded { until: at(20) }
        );
        assert!(copies[1].lists && copies[1].barred && !copies[0].barred);
    }

    #[tokio::test]
    async fn listings_are_kept_in_true_time_and_asked_in_the_recorder_s() {
        let fake = Fake::new();
        fake.hold(&[span(13, 23)]);
        let clients = [(RecorderId::from("a"), fake.client("a"))].into();
        let mut gate = camera("gate", &[]);
        gate.copies = vec![copy("a", 3_000_000)];
        let index = Index::new([gate], &clients, monotonic()).unwrap();
        let slot = index.camera("gate").unwrap();
        slot.ask(FIRST, span(0, 100)).await.unwrap();
        assert_eq!(fake.queries.lock().unwrap()[0].window, span(3, 103));
        let coverage = slot.coverage(FIRST).unwrap();
        assert_eq!(coverage.periods(), [span(10, 20)]);
        assert_eq!(coverage.windows(), [span(0, 100)]);
        slot.ask(FIRST, TimeRange::ALL).await.unwrap();
        assert_eq!(fake.queries.lock().unwrap()[1].window, TimeRange::ALL);
    }

    #[tokio::test]
    async fn what_a_playback_found_outlives_the_next_listing() {
        let index = index(&["a"]);
        let slot = index.camera("gate").unwrap();
        let now = monotonic();
        let listing = Coverage::new(span(0, 100), [span(0, 100)], at(0), false);
        slot.listed(FIRST, &listing, now);
        slot.teach(FIRST, Lesson::Gap(span(40, 45)), now);
        slot.listed(FIRST, &listing, now + Duration::from_secs(5));
        let held = slot.coverage(FIRST).unwrap();
        assert_eq!(held.periods(), [span(0, 40), span(45, 100)]);
        slot.teach(FIRST, Lesson::Recorded(span(39, 46)), now);
        assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 100)]);
        slot.teach(FIRST, Lesson::End { at: at(90) }, now);
        assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 90)]);
        slot.listed(FIRST, &listing, now + Duration::from_secs(6));
        assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 100)]);
    }

    #[tokio::test]
    async fn a_recorder_without_listings_is_learned_piece_by_piece() {
        let index = index(&["a"]);
        let slot = index.camera("gate").unwrap();
        let now = monotonic();
        for start in [0, 20, 10] {
            slot.teach(FIRST, Lesson::Recorded(span(start, start + 10)), now);
        }
        slot.teach(FIRST, Lesson::Gap(span(30, 35)), now);
        let coverage = slot.coverage(FIRST).unwrap();
        assert_eq!(coverage.periods(), [span(0, 30)]);
        assert_eq!(coverage.held(at(32)), Held::Gap { until: at(35) });
        assert!(matches!(coverage.held(at(40)), Held::Unknown { .. }));
    }

    #[tokio::test]
    async fn playbacks_learn_of_changes_and_of_nothing_else() {
        let index = index(&["a", "b"]);
        let slot = index.camera("gate").unwrap();
        let now = monotonic();
        let mut changes = slot.changes();
        let listing = Coverage::new(span(0, 100), [span(0, 50)], at(0), false);
        slot.listed(FIRST, &listing, now);
        changes.changed().await;
        slot.listed(
            FIRST,
            &Coverage::new(span(0, 100), [span(0, 50)], at(9), false),
            now,
        );
        assert!(changes.changed().now_or_never().is_none());
        slot.failed(SECOND, FailureKind::Refused, now);
        changes.changed().await;
        assert!(changes.changed().now_or_never().is_none());
        drop((slot, index));
        assert!(changes.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn other_cameras_take_their_place_and_known_copies_stay_known() {
        let clients = recorders(&["a", "b"]);
        let index = Index::new([camera("gate", &["a"])], &clients, monotonic()).unwrap();
        let now = monotonic();
        let listing = Coverage::new(span(0, 100), [span(0, 50)], at(0), false);
        index.camera("gate").unwrap().listed(FIRST, &listing, now);
        let cameras = [camera("gate", &["b", "a"]), camera("yard", &["a"])];
        index.replace(cameras, &clients).unwrap();
        let slot = index.camera("gate").unwrap();
        assert_eq!(slot.coverage(SECOND).unwrap().periods(), [span(0, 50)]);
        assert!(slot.age(SECOND, now).is_some() && slot.age(FIRST, now).is_none());
        let error = index
            .replace([camera("yard", &["c"])], &clients)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "camera yard names the unknown recorder c"
        );
        assert!(index.camera("gate").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn staleness_is_about_the_instant_asked() {
        let index = index(&["a"]);
        let slot = index.camera("gate").unwrap();
        let (ttl, tail_ttl) = (Duration::from_secs(300), Duration::from_secs(5));
        let now = monotonic();
        assert!(slot.is_stale(at(10), ttl, tail_ttl, now));
        slot.listed(
            FIRST,
            &Coverage::new(span(0, 100), [span(0, 50)], at(0), true),
            now,
        );
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(!slot.is_stale(at(200), ttl, tail_ttl, later(4)));
        assert!(slot.is_stale(at(200), ttl, tail_ttl, later(6)));
        assert!(!slot.is_stale(at(10), ttl, tail_ttl, later(6)));
        assert!(slot.is_stale(at(10), ttl, tail_ttl, later(301)));
        slot.failed(FIRST, FailureKind::Refused, later(301));
        assert!(!slot.is_stale(at(10), ttl, tail_ttl, later(302)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_returns_what_arrived_and_keeps_what_comes_late() {
        let (prompt, late) = (Fake::new(), Fake::new());
        late.hold(&[span(1, 2)]);
        late.delay(Duration::from_secs(3));
        let clients = [
            ("a".into(), prompt.client("a")),
            ("b".into(), late.client("b")),
        ]
        .into();
        let index = Index::new([camera("gate", &["a", "b"])], &clients, monotonic()).unwrap();
        let slot = index.camera("gate").unwrap();
        let answers = slot.refresh(Duration::from_secs(2)).await;
        assert_eq!(answers, [Some(Ok(())), None]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(slot.coverage(SECOND).unwrap().periods(), [span(1, 2)]);
    }

    #[tokio::test]
    async fn readers_always_see_one_whole_coverage() {
        let index = Arc::new(index(&["a", "b"]));
        let whole = |shift: i64| {
            let periods = (0..200).map(move |n| span(shift + n * 10, shift + n * 10 + 5));
            Coverage::new(TimeRange::ALL, periods, at(0), false)
        };
        let now = monotonic();
        thread::scope(|scope| {
            for writer in 0..2_i64 {
                let index = Arc::clone(&index);
                scope.spawn(move || {
                    let slot = index.camera("gate").unwrap();
                    for round in 0..300 {
                        slot.listed(CopyIx(writer as u8), &whole(round % 7), now);
                        slot.delivers(FIRST, now);
                        slot.failed(SECOND, FailureKind::Lost, now);
                    }
                });
            }
            for _ in 0..2 {
                let index = Arc::clone(&index);
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        let slot = index.camera("gate").unwrap();
                        let facts = slot.facts(now);
                        for copy in facts.copies(|_| false) {
                            let periods = copy.coverage.periods();
                            assert!(periods.is_empty() || periods.len() == 200);
                        }
                    }
                });
            }
        });
    }
}
