//! A group of pictures on its way backwards: a random access point and all that depends on it, sent as one.

use std::time::Duration;

use seamline_media::Unit;
use seamline_routing::director::Head;
use seamline_routing::time::{TimeRange, Timestamp};
use smallvec::SmallVec;

/// Pictures of the master track in decoding order; never empty. Pictures that lead its random access point are not in it:
/// without the group before they cannot be decoded.
#[derive(Debug)]
pub(super) struct Group {
    units: Vec<Unit>,
    first: Timestamp,
    last: Timestamp,
    bytes: usize,
}

/// Shortest believed distance of two pictures.
const INTERVAL_MIN: Duration = Duration::from_millis(4);

impl Group {
    pub(super) fn new(mut units: Vec<Unit>) -> Option<Self> {
        units.retain(|unit| !unit.leading);
        let captures = || units.iter().map(|unit| unit.capture_us);
        Some(Group {
            first: Timestamp::from_micros(captures().min()?),
            last: Timestamp::from_micros(captures().max()?),
            bytes: units.iter().map(|unit| unit.packets.len_bytes()).sum(),
            units,
        })
    }

    /// Capture time of the earliest picture.
    pub(super) fn first(&self) -> Timestamp {
        self.first
    }

    /// Capture time of the latest picture.
    pub(super) fn last(&self) -> Timestamp {
        self.last
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Usual distance of two pictures.
    pub(super) fn interval(&self) -> Option<Duration> {
        let steps = self.units.len().checked_sub(1).filter(|steps| *steps > 0)?;
        let step = self.last.since(self.first) / steps as u32;
        Some(step.max(INTERVAL_MIN))
    }

    /// Its pictures as they are shown: the latest first. Each can be the first that is shown, whatever came before.
    pub(super) fn heads(&self) -> SmallVec<[Head; 64]> {
        let mut captures: SmallVec<[i64; 64]> =
            self.units.iter().map(|unit| unit.capture_us).collect();
        captures.sort_unstable_by(|one, other| other.cmp(one));
        captures
            .into_iter()
            .map(|capture_us| Head {
                capture: Timestamp::from_micros(capture_us),
                master: true,
                random_access: true,
                leading: false,
                shown_early: false,
            })
            .collect()
    }

    /// Leaves out what is not needed to show the pictures up to `last`.
    pub(super) fn up_to(mut self, last: Timestamp) -> Self {
        let shown = |unit: &Unit| unit.capture_us <= last.as_micros();
        let needed = self.units.iter().rposition(shown);
        self.units.truncate(needed.map_or(0, |last| last + 1));
        self.last = last;
        self
    }

    /// The stretch that it covers, when each picture lasts `interval`.
    pub(super) fn range(&self, interval: Duration) -> Option<TimeRange> {
        TimeRange::new(self.first, self.last + interval)
    }

    pub(super) fn into_units(self) -> Vec<Unit> {
        self.units
    }
}
