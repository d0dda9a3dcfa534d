//! Where a playback puts samples for who takes them one by one.

use std::collections::VecDeque;
use std::sync::Arc;

use seamline_media::{Entry, Kind, LegFormat, Sample, Sampler, Taken, Unit};
use seamline_routing::camera::CopyIx;
use seamline_routing::director::{End, Seam};
use seamline_routing::plan::Trouble;
use seamline_routing::time::{TimeRange, Timestamp};

use super::Playback;

/// What plays, in order. Times are capture times in UTC.
#[derive(Clone, Debug)]
pub enum Item {
    /// What follows comes from another copy.
    Leg(LegItem),
    /// How the samples of a track are coded from here on: ahead of its first one, and whenever it changes.
    Format {
        /// Index of the track in the camera's description.
        track: usize,
        /// What a container must say of it.
        entry: Arc<Entry>,
    },
    /// A picture or a piece of sound.
    Sample(Sample),
    /// No copy holds this stretch; footage goes on behind it.
    Hole(TimeRange),
    /// The last item.
    End(End),
}

/// A leg begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegItem {
    /// The copy.
    pub copy: CopyIx,
    /// Its site.
    pub site: String,
    /// The recorder's own name of the camera.
    pub remote: Arc<str>,
    /// Where it takes over.
    pub at: Timestamp,
    /// Why this copy.
    pub reason: String,
    /// What is the matter with each better copy, best first.
    pub troubles: Vec<Trouble>,
    /// What is taken off its clock, µs: as configured, and as measured on top of it.
    pub clock_offset_us: i64,
    /// The measured part.
    pub measured_offset_us: i64,
}

/// Counts for items that are no samples.
const ITEM_BYTES: usize = 64;

/// Items that wait to be taken.
#[derive(Debug)]
pub(super) struct Shelf {
    sampler: Sampler,
    items: VecDeque<Item>,
    bytes: usize,
    /// Pictures before this instant are only there to be decoded.
    from: Timestamp,
    /// A refused unit was logged.
    complained: bool,
}

impl Shelf {
    /// For footage from `from` on, in either direction of play.
    pub(super) fn new(kinds: impl IntoIterator<Item = Option<Kind>>, from: Timestamp) -> Self {
        let mut shelf = Shelf {
            sampler: Sampler::new(kinds),
            items: VecDeque::new(),
            bytes: 0,
            from,
            complained: false,
        };
        let formats = shelf.sampler.formats();
        shelf.take_up(formats);
        shelf
    }

    /// What waits, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.bytes
    }

    pub(super) fn begin_leg(&mut self, format: &LegFormat) {
        self.sampler.begin_leg(format);
    }

    pub(super) fn unit(&mut self, unit: &Unit, preroll: bool) {
        let early = unit.capture_us < self.from.as_micros();
        match self.sampler.take(unit, preroll || early) {
            Ok(harvest) => self.take_up(harvest),
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(track = unit.track, capture_us = unit.capture_us, %error, "unit left out of the file");
                }
            }
        }
    }

    pub(super) fn put(&mut self, item: Item) {
        self.bytes += weight(&item);
        self.items.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(weight(&item));
        Some(item)
    }

    fn take_up(&mut self, harvest: impl IntoIterator<Item = Taken>) {
        for taken in harvest {
            self.put(match taken {
                Taken::Format { track, entry } => Item::Format { track, entry },
                Taken::Sample(sample) => Item::Sample(sample),
            });
        }
    }
}

fn weight(item: &Item) -> usize {
    match item {
        Item::Sample(sample) => ITEM_BYTES + sample.data.len(),
        _ => ITEM_BYTES,
    }
}

impl Playback {
    /// Tells who takes samples of the leg that takes over.
    pub(super) fn tell_leg(&mut self, seam: Seam) {
        let Some(samples) = &mut self.samples else {
            return;
        };
        let leg = self.legs.iter().find(|leg| leg.id == seam.leg);
        let measured_offset_us = leg.map_or(0, |leg| leg.measured_us);
        samples.put(Item::Leg(LegItem {
            copy: seam.copy,
            site: self.camera.site(seam.copy).to_owned(),
            remote: self.camera.remote(seam.copy),
            at: seam.at,
            reason: seam.reason.named(self.camera.slot.camera()).to_string(),
            troubles: seam.reason.troubles().map(|(_, trouble)| trouble).collect(),
            clock_offset_us: self.camera.clock_offset_us(seam.copy) + measured_offset_us,
            measured_offset_us,
        }));
    }
}
