//! The cameras that clients see: what is known of each, how its copies are played, who may watch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use seamline_media::Codec;
use seamline_probes::{FormatSpan, Lesson, MediaSource, ProbeError, Slot};
use seamline_routing::director::{Failure, Lesson as Learned};
use seamline_routing::health::FailureKind;
use seamline_routing::plan::{Request, Step, next_step};
use seamline_routing::policy::{Holes, Policy};
use seamline_routing::{CameraId, CopyIx, CopyRef, Held, HeldBefore, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;

use crate::access::Access;
use crate::clock;
use crate::clocks::CopyClocks;
use crate::evidence::Evidence;
use crate::inbound::Dialects;
use crate::journal::Journal;
use crate::outbound::shared::Hub;
use crate::soundings::Soundings;

/// All cameras, and who may see them.
pub struct Cameras {
    by_id: HashMap<CameraId, Arc<CameraEntry>>,
    /// Who may come in.
    pub access: Access,
    /// Their names in vendors' URLs.
    pub dialects: Dialects,
    /// Where routing decisions are written.
    pub journal: Journal,
    /// What exports say of recorders, and are signed with.
    pub evidence: Evidence,
}

impl Cameras {
    /// The cameras of a configuration.
    pub fn new(
        entries: impl IntoIterator<Item = CameraEntry>,
        access: Access,
        dialects: Dialects,
        journal: Journal,
    ) -> Self {
        let by_id = entries
            .into_iter()
            .map(|entry| (entry.id().clone(), Arc::new(entry)))
            .collect();
        Cameras {
            by_id,
            access,
            dialects,
            journal,
            evidence: Evidence::default(),
        }
    }

    /// The same, with what exports need.
    #[must_use]
    pub fn with_evidence(self, evidence: Evidence) -> Self {
        Cameras { evidence, ..self }
    }

    /// The camera with this id.
    pub fn get(&self, id: &CameraId) -> Option<Arc<CameraEntry>> {
        self.by_id.get(id).cloned()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<CameraEntry>> {
        self.by_id.values()
    }

    /// Whether all of them are the same in `next`, with the same copies at the same recorders; more may have come.
    pub fn stay_in(&self, next: &Cameras) -> bool {
        self.by_id.iter().all(|(id, camera)| {
            let same = next.by_id.get(id);
            same.is_some_and(|same| Arc::ptr_eq(&same.slot, &camera.slot))
        })
    }
}

/// One camera.
pub struct CameraEntry {
    /// What is known of its copies.
    pub slot: Arc<Slot>,
    /// What its operator chose.
    pub policy: Policy,
    /// What the camera sees now, and not what is recorded of it.
    pub live: bool,
    /// What was measured of its copies' clocks.
    pub clocks: Arc<CopyClocks>,
    /// Who looks over copies that do not list what they hold.
    pub soundings: Arc<Soundings>,
    /// Legs that players may have in common.
    pub legs: Arc<Hub>,
}

impl CameraEntry {
    /// The same camera as it sees now: relayed from the best site that has it live.
    #[must_use]
    pub fn as_live(&self) -> Self {
        CameraEntry {
            slot: Arc::new(self.slot.of_what_is_live()),
            policy: Policy {
                // There is nothing to wait for in a hole of the present.
                holes: Holes::Skip,
                ..self.policy
            },
            live: true,
            ..self.owned()
        }
    }

    /// The same camera, for a task of its own.
    #[must_use]
    pub fn owned(&self) -> Self {
        CameraEntry {
            slot: Arc::clone(&self.slot),
            policy: self.policy,
            live: self.live,
            clocks: Arc::clone(&self.clocks),
            soundings: Arc::clone(&self.soundings),
            legs: Arc::clone(&self.legs),
        }
    }

    /// Its id.
    pub fn id(&self) -> &CameraId {
        &self.slot.camera().id
    }

    /// Whether what is played of the other is what is played of it: the same copies at the same recorders, by the same rules.
    pub fn plays_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot) && self.policy == other.policy
    }

    fn copy(&self, copy: CopyIx) -> Option<&CopyRef> {
        self.slot.camera().copy(copy)
    }

    /// The site of a copy.
    pub fn site(&self, copy: CopyIx) -> &str {
        self.copy(copy).map_or("?", |copy| copy.site.as_str())
    }

    /// The recorder's own name of the camera.
    pub fn remote(&self, copy: CopyIx) -> Arc<str> {
        self.copy(copy)
            .map_or_else(|| Arc::from(""), |copy| copy.remote.clone())
    }

    /// The copy's clock minus the timeline's, µs, as configured.
    pub fn clock_offset_us(&self, copy: CopyIx) -> i64 {
        self.copy(copy).map_or(0, |copy| copy.clock_offset_us)
    }

    /// What counts of a copy's measured offset for footage of `at`, µs, on top of what is configured.
    pub fn measured_offset_us(&self, copy: CopyIx, at: Timestamp) -> i64 {
        self.clocks.in_use(copy, at, &self.policy)
    }

    /// How a copy is played.
    pub fn media(&self, copy: CopyIx) -> MediaSource {
        self.slot
            .recorder(copy)
            .map_or(MediaSource::None, seamline_probes::RecorderClient::media)
    }

    /// The first instant that any copy is known to hold.
    pub fn first_recorded(&self) -> Option<Timestamp> {
        let copies = self.slot.camera().copies().map(|(ix, _)| ix);
        copies
            .filter_map(|copy| self.slot.coverage(copy)?.first())
            .min()
    }

    /// A window with its open ends drawn in to what is known to be recorded; `None` when nothing of it is left.
    pub fn extent(&self, asked: TimeRange, wall: Timestamp) -> Option<TimeRange> {
        let copies = || {
            let copies = self.slot.camera().copies();
            copies.filter_map(|(ix, _)| self.slot.coverage(ix))
        };
        let start = if asked.start() == Timestamp::MIN {
            let first = copies().filter_map(|coverage| coverage.first()).min();
            first.unwrap_or(Timestamp::EPOCH)
        } else {
            asked.start()
        };
        let end = if asked.end() == Timestamp::MAX {
            let growing = copies().any(|coverage| coverage.growing());
            let last = copies().filter_map(|coverage| coverage.last()).max();
            last.filter(|_| !growing).unwrap_or(wall)
        } else {
            asked.end()
        };
        TimeRange::new(start, end)
    }

    /// The camera's tracks: those of the best copy that is or was known, else of the first recorder to answer well.
    ///
    /// A better recorder that is a little slower than a worse one still wins.
    pub async fn describe(&self) -> Result<Description, ProbeError> {
        let copies = || self.slot.camera().copies().map(|(ix, _)| ix);
        if let Some(known) = copies().find_map(|copy| self.slot.description(copy)) {
            return Ok((*known).clone());
        }
        let mut answers: FuturesUnordered<_> = copies()
            .map(|copy| async move { (copy, self.slot.ask_description(copy).await) })
            .collect();
        let mut waiting = answers.len();
        let mut best: Option<(CopyIx, Arc<Description>)> = None;
        let mut failure = ProbeError::NotFound;
        let deadline = tokio::time::sleep(self.policy.probe_deadline);
        tokio::pin!(deadline);
        while waiting > 0 && best.as_ref().is_none_or(|(copy, _)| copy.0 > 0) {
            tokio::select! {
                Some((copy, answer)) = answers.next() => {
                    waiting -= 1;
                    match answer {
                        Ok(description) if best.as_ref().is_none_or(|(known, _)| copy < *known) => {
                            let patience = clock::now() + self.policy.reaction.stall_after;
                            let sooner = deadline.deadline().min(patience.into());
                            deadline.as_mut().reset(sooner);
                            best = Some((copy, description));
                        }
                        Ok(_) => {}
                        Err(error) => failure = error,
                    }
                }
                () = &mut deadline => break,
            }
        }
        match best {
            Some((_, description)) => Ok((*description).clone()),
            None if waiting > 0 => Err(ProbeError::Timeout),
            None => Err(failure),
        }
    }

    /// Asks all recorders at once when too little is known around `at`; returns when they answered or time is up.
    pub async fn look_up(&self, at: Timestamp) {
        if self.live {
            return;
        }
        let policy = &self.policy;
        self.clocks.ask(&self.slot, clock::now());
        if self
            .slot
            .is_stale(at, policy.ttl, policy.tail_ttl, clock::now())
        {
            self.slot.refresh(policy.probe_deadline).await;
        }
    }

    /// Whether it is known that no copy holds anything of what is asked for.
    pub fn holds_nothing(&self, request: &Request) -> bool {
        let facts = self.slot.facts(clock::now());
        let step = next_step(
            request.at,
            request,
            &facts.copies(|_| false),
            None,
            &self.policy,
        );
        step == Step::End
    }

    /// Passes on what a playback that wanted `at` learned about a copy.
    pub fn teach(&self, copy: CopyIx, lesson: Learned, at: Timestamp) {
        let now = clock::now();
        match lesson {
            Learned::Gap(range) => {
                // Nothing is known of what is not yet recorded.
                let known = TimeRange::new(Timestamp::MIN, clock::wall())
                    .and_then(|past| past.intersect(range));
                if let Some(range) = known {
                    self.slot.teach(copy, Lesson::Gap(range), now);
                }
            }
            Learned::WrongFootage => {
                self.slot.teach(copy, Lesson::Refused { at }, now);
                self.report_failure(copy, Failure::WrongFootage, now);
            }
        }
    }

    /// Whether a copy lists footage behind `at` that its recorder has had time to write.
    pub fn holds_after(&self, copy: CopyIx, at: Timestamp, wall: Timestamp) -> bool {
        let held = self.slot.coverage(copy).map(|coverage| coverage.held(at));
        matches!(held, Some(Held::Recorded { until }) if until.min(wall).micros_since(at) > WRITTEN_LATE_US)
    }

    /// Whether a copy lists footage that leads up to `at`.
    pub fn holds_before(&self, copy: CopyIx, at: Timestamp) -> bool {
        let held = self
            .slot
            .coverage(copy)
            .map(|coverage| coverage.held_before(at));
        matches!(held, Some(HeldBefore::Recorded { since }) if at.micros_since(since) > WRITTEN_LATE_US)
    }

    /// Where the recording of a copy that holds `at` is listed to end; `None` when that is open, or not known.
    pub fn recorded_until(&self, copy: CopyIx, at: Timestamp) -> Option<Timestamp> {
        match self.slot.coverage(copy)?.held(at) {
            Held::Recorded { until } if until != Timestamp::MAX => Some(until),
            _ => None,
        }
    }

    /// Where the recording of a copy that lies before `at` is listed to begin; `None` when that is not known.
    pub fn recorded_from(&self, copy: CopyIx, at: Timestamp) -> Option<Timestamp> {
        match self.slot.coverage(copy)?.held_before(at) {
            HeldBefore::Recorded { since } if since != Timestamp::MIN => Some(since),
            _ => None,
        }
    }

    /// Where a copy is told to hold pictures of another codec than this, of those that it tells of a change: one codec
    /// throughout is what its description says, and that is believed.
    pub fn unfit(&self, copy: CopyIx, codec: Codec) -> Vec<TimeRange> {
        let Some(recorder) = self.slot.recorder(copy) else {
            return Vec::new();
        };
        let spans = recorder.formats(&self.remote(copy));
        let fits = |span: &&FormatSpan| Codec::from_encoding(&span.encoding) == codec;
        if !spans.iter().any(|span| fits(&span)) {
            return Vec::new();
        }
        let moved = |at: Timestamp| at.shift(-self.clock_offset_us(copy));
        spans
            .iter()
            .filter(|span| !fits(span))
            .filter_map(|span| TimeRange::new(moved(span.range.start()), moved(span.range.end())))
            .collect()
    }

    /// From when to when a recording lasts that one of the recorders calls `id`, by what was listed last.
    pub fn recording(&self, id: &str) -> Option<TimeRange> {
        let copies = self.slot.camera().copies();
        copies.into_iter().find_map(|(ix, copy)| {
            let MediaSource::RtspByUrl(source) = self.media(ix) else {
                return None;
            };
            let range = source.book()?.named(&copy.remote, id)?.range;
            let moved = |at: Timestamp| match at {
                Timestamp::MAX => at,
                at => at.shift(-copy.clock_offset_us),
            };
            TimeRange::new(moved(range.start()), moved(range.end()))
        })
    }

    /// Asks again, in the background, what a copy's tracks are.
    pub fn look_again(&self, copy: CopyIx) {
        let slot = Arc::clone(&self.slot);
        tokio::spawn(async move {
            if let Err(error) = slot.ask_description(copy).await {
                tracing::debug!(camera = %slot.camera().id, %error, "describe");
            }
        });
    }

    /// A stretch that a copy delivered without a break.
    pub fn teach_recorded(&self, copy: CopyIx, range: TimeRange) {
        self.soundings.delivered(self, copy, range);
        self.slot.teach(copy, Lesson::Recorded(range), clock::now());
    }

    /// A copy's recorder delivers footage.
    pub fn report_up(&self, copy: CopyIx, now: Instant) {
        self.slot.delivers(copy, now);
    }

    /// A recorder accepted a playback and went silent.
    pub fn report_stalled(&self, copy: CopyIx, now: Instant) {
        self.slot.failed(copy, FailureKind::Stalled, now);
    }

    /// A leg failed by its recorder's fault.
    pub fn report_failure(&self, copy: CopyIx, failure: Failure, now: Instant) {
        let kind = match failure {
            Failure::Lost => FailureKind::Lost,
            Failure::Busy => FailureKind::Busy,
            Failure::Credentials => FailureKind::Credentials,
            Failure::WrongFootage => FailureKind::Protocol,
            // The recorder answered well; it is the copy that does not fit.
            Failure::NoFootage | Failure::Mismatch => return,
        };
        self.slot.failed(copy, kind, now);
    }
}

/// Recorders list footage this long before it can be played.
const WRITTEN_LATE_US: i64 = 30_000_000;

/// How often a playback tells what it saw recorded.
pub const TEACH_EVERY: Duration = Duration::from_secs(2);
