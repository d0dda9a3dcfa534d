//! One camera's slot: what is known of its copies, who adds to it and who is asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use seamline_routing::{
    Camera, CopyIx, CopyRef, Coverage, FailureKind, HealthState, Held, RecorderId, TimeRange,
    Timestamp,
};
use seamline_rtsp::sdp::Description;
use smallvec::SmallVec;
use tokio::sync::watch;

use super::{
    UnknownRecorder,
    facts::{Changes, Facts, Known},
    learning::{Learning, Lesson},
};
use crate::{
    clock::monotonic,
    recorder::{CoverageQuery, ProbeError},
    service::{RecorderClient, hedged},
};

/// What is known of one camera. In this order in memory, so that what [`Slot::facts`] reads lies together: of a camera
/// that is seldom asked for nothing is in a cache.
#[derive(Debug)]
#[repr(C)]
pub struct Slot {
    origin: Instant,
    /// When a playback read it last, ms from the origin, plus 1.
    read_at: AtomicU64,
    /// As a rule in the slot itself: who reads it waits for memory once less.
    copies: SmallVec<[CopySlot; COPIES_IN_SLOT]>,
    /// None before anybody wants to be told.
    changes: OnceLock<watch::Sender<u64>>,
    camera: Camera,
}

#[derive(Debug)]
#[repr(C)]
struct CopySlot {
    recorder: RecorderClient,
    /// What planning reads.
    coverage: ArcSwap<Coverage>,
    /// What it is made of; nothing before there is anything.
    learning: Mutex<Option<Box<Learning>>>,
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
    /// up to [`super::COPIES_INLINE`] copies allocates nothing.
    pub fn facts(&self, now: Instant) -> Facts {
        self.mark_read(now);
        let copies = self.copies.iter().map(|copy| {
            let (health, healthy_for) = copy.recorder.health().standing(now);
            Known {
                coverage: copy.coverage.load(),
                health,
                healthy_for,
                lists: copy.recorder.shows_gaps(),
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
            let lists = copy.recorder.shows_gaps();
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
        let coverage = self.changes.get_or_init(|| watch::Sender::new(0));
        let health = self
            .copies
            .iter()
            .map(|copy| copy.recorder.health().changes());
        Changes(
            std::iter::once(coverage.subscribe())
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
        self.listed(copy, &listing, monotonic());
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
            let due = copy.lock().as_ref().is_some_and(|known| known.is_due(now));
            if due {
                copy.learn(&self.changes, |learning| learning.sweep(now));
            }
        }
    }

    pub(super) fn new(
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
            changes: OnceLock::new(),
            origin,
            read_at: AtomicU64::new(0),
        })
    }

    /// Whether it is this camera's, at these recorders.
    pub(super) fn is_of(
        &self,
        camera: &Camera,
        recorders: &HashMap<RecorderId, RecorderClient>,
    ) -> bool {
        self.camera == *camera
            && self.copies.iter().all(|copy| {
                let recorder = recorders.get(copy.recorder.id());
                recorder.is_some_and(|recorder| recorder.is(&copy.recorder))
            })
    }

    /// The same camera at the same recorders, of which nothing is known: what is live has no past to know of, and what a
    /// playback of it sees says nothing of what is recorded.
    #[must_use]
    pub fn of_what_is_live(&self) -> Self {
        let copies = self.copies.iter().map(|copy| {
            let slot = CopySlot::new(copy.recorder.clone(), None);
            slot.description.store(copy.description.load_full());
            slot
        });
        Self {
            camera: self.camera.clone(),
            copies: copies.collect(),
            changes: OnceLock::new(),
            origin: self.origin,
            read_at: AtomicU64::new(0),
        }
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
            coverage: ArcSwap::new(Arc::clone(&UNKNOWN)),
            learning: Mutex::default(),
            description: ArcSwapOption::empty(),
            asked_at: AtomicU64::new(0),
        };
        if let Some(known) = known {
            slot.coverage.store(known.coverage.load_full());
            slot.lock().clone_from(&known.lock());
            slot.description.store(known.description.load_full());
            let asked_at = known.asked_at.load(Ordering::Relaxed);
            slot.asked_at.store(asked_at, Ordering::Relaxed);
        }
        slot
    }

    fn learn(&self, changes: &OnceLock<watch::Sender<u64>>, act: impl FnOnce(&mut Learning)) {
        let differs = {
            let mut learning = self.lock();
            let learning = learning.get_or_insert_default();
            act(learning);
            let after = learning.coverage();
            let before = self.coverage.load();
            let differs = before.periods() != after.periods()
                || before.windows() != after.windows()
                || before.growing() != after.growing();
            self.coverage.store(Arc::new(after));
            differs
        };
        if differs && let Some(changes) = changes.get() {
            changes.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Learning>>> {
        self.learning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn knows(coverage: &Coverage, at: Timestamp) -> bool {
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

/// What nobody has told anything of: the same for all.
static UNKNOWN: LazyLock<Arc<Coverage>> = LazyLock::new(|| Arc::new(Coverage::unknown()));

/// Copies of one camera that lie in its slot.
const COPIES_IN_SLOT: usize = 2;
const READ_GRAIN_MS: u64 = 1_000;
