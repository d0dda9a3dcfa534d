//! One clip in the making: a reel, the file that is made of it, and the account of both.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use seamline_evidence::{
    About, Asked, Digest, Digester, Ledger, Origin, Program, Requester, Sealed, seal,
};
use seamline_media::mp4::{self, Fragmented, Piece, Settings};
use seamline_media::{Entry, Sample};
use seamline_routing::director::End;
use seamline_routing::time::{TimeRange, Timestamp};

use super::Evidence;
use super::holes::Gaps;
use crate::cameras::{CameraEntry, Cameras};
use crate::clock;
use crate::journal::Journal;
use crate::playback::{Begin, Item, LegItem, NoReel, Reel, Wanted};

/// What is to be exported, for whom.
pub struct Order {
    /// The range.
    pub asked: TimeRange,
    /// Who asked.
    pub requester: Requester,
    /// Where the playback's decisions are written.
    pub journal: Journal,
}

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub enum NoClip {
    /// There is nothing to play.
    #[error(transparent)]
    NoReel(#[from] NoReel),
    /// Something should be there, and nothing came.
    #[error("nothing came of it: {0}")]
    Ended(End),
}

/// A clip: its bytes are taken piece by piece, then its manifest.
///
/// The bytes are a pure function of the footage and of where seams lie, as every span begins a fragment.
pub struct Clip {
    cameras: Arc<Cameras>,
    camera: Arc<CameraEntry>,
    begin: Begin,
    master: usize,
    mux: Fragmented,
    ledger: Ledger,
    /// Legs whose first fragment was not written yet.
    legs: VecDeque<Leg>,
    gaps: Gaps,
    ready: VecDeque<Bytes>,
    has_head: bool,
    /// Of the pictures that come now.
    sets: Option<Digest>,
    /// Of the leg that plays.
    origin: Option<Origin>,
    end: Option<End>,
}

/// The first bytes of a clip.
#[derive(Debug)]
pub struct Prefix {
    /// Their SHA-256.
    pub digest: Digest,
    /// What comes behind them, as far as it was taken with them.
    pub rest: Bytes,
}

/// A leg, and what is known of it before its first fragment.
struct Leg {
    origin: Origin,
    /// Capture time of its first picture that is shown.
    from_us: Option<i64>,
    /// Frames that are only decoded, by index of the track.
    preroll: Vec<u64>,
    sets: Vec<Digest>,
}

impl Leg {
    fn of(origin: Origin) -> Self {
        Leg {
            origin,
            from_us: None,
            preroll: Vec::new(),
            sets: Vec::new(),
        }
    }
}

impl Clip {
    /// Opens the playback and waits for its first picture.
    pub async fn open(
        cameras: Arc<Cameras>,
        camera: Arc<CameraEntry>,
        order: Order,
    ) -> Result<Self, NoClip> {
        let Order {
            asked,
            requester,
            journal,
        } = order;
        let wanted = Wanted::all(asked.start(), asked.end());
        let reel = Reel::open(&camera, journal, wanted).await?;
        let master = reel.master();
        let begin = reel.begin().await.map_err(NoClip::Ended)?;
        let about = About {
            program: Program {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            requested_by: requester,
            camera: camera.id().to_string(),
            asked: Asked {
                from: asked.start().into(),
                to: asked.end().into(),
            },
            media_type: "video/mp4".to_owned(),
        };
        Ok(Clip {
            cameras,
            camera,
            begin,
            master,
            mux: Fragmented::listed(Settings {
                origin: mp4::Origin::First,
                holes: mp4::Holes::Close,
                master,
            }),
            ledger: Ledger::new(about),
            legs: VecDeque::new(),
            gaps: Gaps::new(asked),
            ready: VecDeque::new(),
            has_head: false,
            sets: None,
            origin: None,
            end: None,
        })
    }

    /// The next bytes; none behind the last. Nothing is lost when it is dropped before it is done.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.end.is_some() {
                return None;
            }
            match self.begin.next().await {
                Some(item) => self.take(item),
                None => self.finish(End::Footage),
            }
        }
    }

    /// Keeps recorders' sessions alive while nothing is taken; never comes back.
    pub async fn keep(&mut self) {
        self.begin.reel.keep().await;
    }

    /// Takes exactly the first `length` bytes, and what came with the last of them; none where there are not as many.
    pub async fn prefix(&mut self, length: u64) -> Option<Prefix> {
        let mut digester = Digester::default();
        let mut left = length;
        let mut rest = Bytes::new();
        while left > 0 {
            let mut bytes = self.next().await?;
            if left < bytes.len() as u64 {
                rest = bytes.split_off(left as usize);
            }
            left -= bytes.len() as u64;
            digester.write(&bytes);
        }
        Some(Prefix {
            digest: digester.finish(),
            rest,
        })
    }

    /// How far the footage has come.
    pub fn position(&self) -> Timestamp {
        self.gaps.position()
    }

    /// Whether something failed, so that what is missing may come at another try.
    pub fn failed(&self) -> bool {
        matches!(self.end, Some(End::Outage | End::Mismatch))
    }

    /// The manifest, once [`Self::next`] gave none.
    pub fn seal(self) -> Sealed {
        let end = self.end.unwrap_or(End::Outage);
        let mut ledger = self.ledger;
        let reached = !matches!(end, End::Outage | End::Mismatch);
        for hole in self.gaps.finish(&self.camera) {
            ledger.hole(hole);
        }
        let manifest = ledger.finish(&end.to_string(), reached, clock::wall());
        seal(manifest, self.cameras.evidence.key.as_ref())
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Leg(leg) => self.begin_leg(leg),
            Item::Format { track, entry } => {
                if track == self.master {
                    self.sets = sets_digest(&entry);
                }
                self.mux.format(track, entry);
            }
            Item::Sample(sample) => self.sample(sample),
            Item::Hole(range) => {
                self.gaps.told(range, &self.camera);
                self.go_on();
            }
            Item::End(end) => self.finish(end),
        }
    }

    fn begin_leg(&mut self, leg: LegItem) {
        self.mux.cut();
        let copy = self.camera.slot.camera().copy(leg.copy);
        let evidence: &Evidence = &self.cameras.evidence;
        let measured = leg.measured_offset_us;
        let origin = Origin {
            site: leg.site,
            recorder: copy.map_or_else(
                || evidence.recorder(&"?".into()),
                |copy| evidence.recorder(&copy.recorder),
            ),
            remote: leg.remote.to_string(),
            reason: leg.reason,
            clock_offset_us: leg.clock_offset_us,
            measured_skew_us: (measured != 0).then_some(measured),
            parameter_sets: Vec::new(),
        };
        self.origin = Some(origin.clone());
        self.legs.push_back(Leg::of(origin));
    }

    /// The same copy goes on behind a hole: what follows is a span of its own.
    fn go_on(&mut self) {
        let Some(origin) = self.origin.clone() else {
            return;
        };
        self.mux.cut();
        self.legs.push_back(Leg::of(Origin {
            reason: format!("goes on behind a hole; {}", origin.reason),
            ..origin
        }));
    }

    fn sample(&mut self, sample: Sample) {
        if sample.track == self.master && !sample.preroll {
            let hole = self.gaps.shown(sample.capture_us, &self.camera);
            let fresh = self.legs.back().is_some_and(|leg| leg.from_us.is_none());
            if hole && !fresh {
                self.go_on();
            }
        }
        if let Some(sets) = self.sets.filter(|_| sample.track == self.master) {
            match self.legs.back_mut() {
                Some(leg) if leg.sets.contains(&sets) => {}
                Some(leg) => leg.sets.push(sets),
                None => self.ledger.parameter_sets(sets),
            }
        }
        if let Some(leg) = self.legs.back_mut() {
            if sample.preroll {
                if leg.preroll.len() <= sample.track {
                    leg.preroll.resize(sample.track + 1, 0);
                }
                if let Some(count) = leg.preroll.get_mut(sample.track) {
                    *count += 1;
                }
            } else if sample.track == self.master {
                let first = leg.from_us.unwrap_or(sample.capture_us);
                leg.from_us = Some(first.min(sample.capture_us));
            }
        }
        self.mux.push(sample);
        let pieces = self.mux.pop();
        self.write(pieces);
    }

    fn finish(&mut self, end: End) {
        let pieces = self.mux.finish();
        self.write(pieces);
        self.ledger.tail();
        if let Some(list) = self.mux.tail() {
            self.put(list);
        }
        self.end = Some(end);
    }

    fn write(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                // One file has one head; what changes later is in the samples too.
                Piece::Head(_) if self.has_head => {}
                Piece::Head(bytes) => {
                    self.has_head = true;
                    self.put(bytes);
                }
                Piece::Fragment(fragment) => {
                    let (first, last) = fragment.captured_us;
                    self.enter(first);
                    if last > 0 {
                        let (first, last) =
                            (Timestamp::from_micros(first), Timestamp::from_micros(last));
                        self.ledger.shown(first, last);
                    }
                    let mut bytes = BytesMut::with_capacity(fragment.len_bytes());
                    for chunk in &fragment.chunks {
                        bytes.extend_from_slice(chunk);
                    }
                    self.put(bytes.freeze());
                }
            }
        }
    }

    /// A fragment whose first picture is of this time is written: legs that have begun by then become spans.
    fn enter(&mut self, first_us: i64) {
        while let Some(leg) = self.legs.front() {
            let begun = leg.from_us.is_none_or(|from| from <= first_us);
            if !begun {
                return;
            }
            // Of a leg that showed nothing before the next one took over, no fragment is.
            let Some(leg) = self.legs.pop_front() else {
                return;
            };
            self.ledger.span(leg.origin);
            for digest in leg.sets {
                self.ledger.parameter_sets(digest);
            }
            for (track, frames) in leg.preroll.into_iter().enumerate() {
                if frames > 0 {
                    self.ledger.preroll(track as u32 + 1, frames);
                }
            }
        }
    }

    fn put(&mut self, bytes: Bytes) {
        self.ledger.write(&bytes);
        self.ready.push_back(bytes);
    }
}

/// Of all parameter sets of a track of pictures, one behind the other.
fn sets_digest(entry: &Entry) -> Option<Digest> {
    let (Entry::H264 { sets, .. } | Entry::H265 { sets, .. }) = entry else {
        return None;
    };
    let all: Vec<&[u8]> = [&sets.vps, &sets.sps, &sets.pps]
        .into_iter()
        .flatten()
        .map(|set| &set[..])
        .collect();
    Some(Digest::of(&all.concat()))
}
