//! What a leg has at hand: its units by track, in reverse its groups of pictures, and the gaps between them.

use std::collections::VecDeque;
use std::time::Duration;

use seamline_media::{REORDERED_MAX, Unit};
use seamline_routing::time::Timestamp;
use smallvec::SmallVec;

use super::ahead::Stock;
use super::group::Group;

/// Units that a track has room for in any case.
const UNITS_MIN: usize = 8;
/// Steps in capture time that are a gap in the footage, not its cadence.
const GAP_MIN: Duration = Duration::from_secs(1);
/// Gaps that are remembered; with more the queue counts as longer than it is.
const GAPS_MAX: usize = 16;

pub(super) struct Queue {
    /// By track: recorders interleave their tracks loosely, we by capture time.
    tracks: SmallVec<[VecDeque<Unit>; 2]>,
    /// In reverse: whole groups of pictures, in the order of delivery.
    groups: VecDeque<Group>,
    bytes: usize,
    master: usize,
    /// Tracks that the client set up.
    wanted: usize,
    /// Stretches without footage inside: the unit of the master track behind each, and how long it is.
    gaps: SmallVec<[(Timestamp, Duration); 2]>,
}

impl Queue {
    pub(super) fn new(tracks: usize, master: usize, wanted: usize) -> Self {
        Queue {
            tracks: (0..tracks).map(|_| VecDeque::new()).collect(),
            groups: VecDeque::new(),
            bytes: 0,
            master,
            wanted,
            gaps: SmallVec::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Footage of the master track up to the `newest` that came, without the gaps in it.
    pub(super) fn span(&self, newest: Option<Timestamp>) -> Duration {
        let group = self.groups.front().map(|group| group.last().as_micros());
        let oldest = self.oldest_us().or(group);
        let (Some(newest), Some(oldest)) = (newest, oldest) else {
            return Duration::ZERO;
        };
        let inside = self.gaps.iter();
        let gaps: Duration = inside
            .filter(|(behind, _)| behind.as_micros() > oldest)
            .map(|(_, gap)| *gap)
            .sum();
        Duration::from_micros((newest.as_micros() - oldest).unsigned_abs()).saturating_sub(gaps)
    }

    pub(super) fn stock(&self, newest: Option<Timestamp>) -> Stock {
        let units = self.tracks.get(self.master).map_or(0, VecDeque::len);
        let filled = || self.tracks.iter().filter(|queue| !queue.is_empty()).count();
        Stock {
            span: self.span(newest),
            bytes: self.bytes,
            // A group is more than one picture, or all that there will be of it.
            units: units + 2 * self.groups.len(),
            lags: self.wanted > 1 && filled() < self.wanted,
        }
    }

    /// What waits of the master track, in decoding order.
    pub(super) fn master(&self) -> impl Iterator<Item = &Unit> + Clone {
        self.tracks.get(self.master).into_iter().flatten()
    }

    /// Capture time of the next unit of the master track.
    pub(super) fn first_of_master(&self) -> Option<Timestamp> {
        self.oldest_us().map(Timestamp::from_micros)
    }

    /// The unit of the master track behind the one that is next of it.
    pub(super) fn second_of_master(&self) -> Option<&Unit> {
        self.tracks.get(self.master)?.get(1)
    }

    fn oldest_us(&self) -> Option<i64> {
        self.master().next().map(|unit| unit.capture_us)
    }

    /// Pictures from the first one of the master track until decoding is exact.
    pub(super) fn settles_after(&self) -> u32 {
        self.master()
            .next()
            .map_or(0, |unit| u32::from(unit.refresh_pictures))
    }

    /// Whether none of the next pictures in decoding order lies before an end.
    pub(super) fn master_ends(&self, is_beyond: impl Fn(Timestamp) -> bool) -> bool {
        let mut captures = self
            .master()
            .take(1 + REORDERED_MAX)
            .map(|unit| Timestamp::from_micros(unit.capture_us));
        captures.all(is_beyond)
    }

    /// Capture times of neighbours, of the master track.
    pub(super) fn steps(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let captures = self
            .master()
            .map(|unit| Timestamp::from_micros(unit.capture_us));
        let ends = self.groups.iter().map(Group::first);
        let starts = self.groups.iter().skip(1).map(Group::last);
        captures
            .clone()
            .zip(captures.skip(1))
            .chain(ends.zip(starts))
    }

    /// The unit that is next by capture time.
    pub(super) fn front(&self) -> Option<&Unit> {
        self.tracks.get(self.next_track()?)?.front()
    }

    pub(super) fn pop(&mut self) -> Option<Unit> {
        let track = self.next_track()?;
        let unit = self.tracks.get_mut(track)?.pop_front()?;
        self.bytes = self.bytes.saturating_sub(unit.packets.len_bytes());
        Some(unit)
    }

    fn next_track(&self) -> Option<usize> {
        let fronts = self
            .tracks
            .iter()
            .enumerate()
            .filter_map(|(track, queue)| Some((track, queue.front()?.capture_us)));
        // At the same instant the picture goes first: its time is the one that the answer to PLAY named.
        fronts
            .min_by_key(|(track, capture_us)| (*capture_us, *track != self.master))
            .map(|(track, _)| track)
    }

    /// Takes a unit in; false when there is no such track.
    pub(super) fn push(&mut self, unit: Unit) -> bool {
        let Some(queue) = self.tracks.get_mut(unit.track) else {
            return false;
        };
        self.bytes += unit.packets.len_bytes();
        queue.push_back(unit);
        true
    }

    /// The group that is next, in reverse.
    pub(super) fn front_group(&self) -> Option<&Group> {
        self.groups.front()
    }

    pub(super) fn pop_group(&mut self) -> Option<Group> {
        let group = self.groups.pop_front()?;
        self.bytes = self.bytes.saturating_sub(group.len_bytes());
        Some(group)
    }

    pub(super) fn push_group(&mut self, group: Group) {
        self.bytes += group.len_bytes();
        self.groups.push_back(group);
    }

    /// Leaves out the first units of the master track.
    pub(super) fn skip_master(&mut self, count: usize) {
        if let Some(queue) = self.tracks.get_mut(self.master) {
            let skipped = queue.drain(..count.min(queue.len()));
            let bytes: usize = skipped.map(|unit| unit.packets.len_bytes()).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Drops what waits of the master track.
    pub(super) fn drop_master(&mut self) {
        if let Some(queue) = self.tracks.get_mut(self.master) {
            queue.clear();
        }
        self.groups.clear();
        let left = self.tracks.iter().flatten();
        self.bytes = left.map(|unit| unit.packets.len_bytes()).sum();
    }

    pub(super) fn clear(&mut self) {
        self.tracks.iter_mut().for_each(VecDeque::clear);
        self.groups.clear();
        self.bytes = 0;
    }

    /// Remembers the gap between the `newest` unit of the master track and the one captured at `capture`, which comes now, for as
    /// long as it is inside.
    pub(super) fn note_gap(&mut self, newest: Timestamp, capture: Timestamp) {
        let gap = capture.since(newest);
        if gap < GAP_MIN {
            return;
        }
        let oldest = self.oldest_us();
        self.gaps
            .retain(|(behind, _)| oldest.is_some_and(|oldest| behind.as_micros() > oldest));
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push((capture, gap));
        }
    }

    /// All of it was dated so much ahead of its time.
    pub(super) fn redate(&mut self, ahead_us: i64) {
        for unit in self.tracks.iter_mut().flatten() {
            unit.capture_us -= ahead_us;
        }
        for (behind, _) in &mut self.gaps {
            *behind = behind.shift(ahead_us.saturating_neg());
        }
    }

    /// Lets go of room: what comes at first, or before a seam, is more than what waits as a rule.
    pub(super) fn shrink(&mut self) {
        for queue in &mut self.tracks {
            if queue.capacity() > UNITS_MIN.max(queue.len() * 4) {
                queue.shrink_to(UNITS_MIN.max(queue.len() * 2));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use seamline_media::{Codec, Flags, Frame, Framing, Packetizer};

    use super::*;

    fn picture(ms: i64) -> Unit {
        let mut packetizer = Packetizer::new(0, Codec::H264, 96);
        let frame = Frame {
            data: &Bytes::from_static(&[0, 0, 0, 2, 0x41, 0x9a]),
            framing: Framing::LengthPrefixed(4),
            capture_us: ms * 1_000,
            rtp_time: 0,
            sync: false,
            flags: Flags::NONE,
        };
        packetizer.unit(&frame).expect("a picture")
    }

    #[test]
    fn an_end_is_reached_when_no_picture_ahead_of_it_can_still_come() {
        let end = Timestamp::from_unix_ms(1_000);
        for between in [0, 1, 7, 8, 15] {
            let mut queue = Queue::new(1, 0, 1);
            // In decoding order: one behind the end, and those that refer to it and are shown before it.
            queue.push(picture(1_000));
            for nth in 0..between {
                queue.push(picture(1_000 + 40 * nth));
            }
            assert!(queue.master_ends(|at| at >= end), "{between}");
            queue.push(picture(960));
            assert!(!queue.master_ends(|at| at >= end), "{between}");
        }
    }
}
