//! Whether two copies hold the same pictures: what is coded is compared, not how it is packed, and the decision where one
//! copy can go on from the other.

use std::collections::HashMap;
use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::nal::aggregate;
use crate::rtp::Packet;
use crate::{Codec, Packets, Unit, h264, h265, jpeg};

/// What is coded of one picture: equal for equal slices, however they are cut into packets and whatever parameter sets,
/// delimiters and messages (SEI) a recorder added or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    hash: u64,
    bytes: u32,
}

/// One picture as a copy shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What is coded.
    pub identity: Identity,
    /// Capture time by the copy, UTC in µs.
    pub capture_us: i64,
}

/// Whether what waits goes on from what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// It begins with the last pictures that were sent, one for one: behind so many of them it goes on as if nothing had
    /// happened. `offset_us` is what the waiting copy's times are ahead.
    Same {
        /// Pictures to leave out.
        known: usize,
        /// Its capture times minus those sent, µs.
        offset_us: i64,
    },
    /// It does not.
    Different,
    /// Equal so far; more must arrive to tell.
    Unknown,
}

/// Two copies' clocks by pictures that both hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aligned {
    /// The second copy's capture times minus the first's, µs: the middle of all pairs.
    pub offset_us: i64,
    /// Half of the pairs are within this of it, µs.
    pub spread_us: i64,
    /// Pictures found in both.
    pub pairs: usize,
}

/// Pictures of fewer coded bytes may be equal by chance: encoders skip what does not move.
const TELLING_BYTES_MIN: u32 = 200;
/// Pairs below this prove nothing.
const PAIRS_MIN: usize = 3;
/// Pairs whose offsets differ by more are not of one clock: a repeated picture, a looped recording.
const AGREE_US: i64 = 20_000;

impl Shown {
    /// A picture of the only copy there is: asked again, its recorder gives it the same time and the same size. Nothing of it
    /// is read.
    pub fn stamped(unit: &Unit) -> Self {
        let bytes = u32::try_from(unit.packets.len_bytes()).unwrap_or(u32::MAX);
        Self {
            identity: Identity {
                hash: unit.capture_us.cast_unsigned(),
                bytes,
            },
            capture_us: unit.capture_us,
        }
    }

    /// What `unit` shows; `None` for what is no picture of a codec that is read.
    pub fn of(codec: Codec, unit: &Unit) -> Option<Self> {
        Some(Self {
            identity: Identity::of(codec, &unit.packets)?,
            capture_us: unit.capture_us,
        })
    }
}

impl Identity {
    /// Of the picture in `packets`.
    pub fn of(codec: Codec, packets: &Packets) -> Option<Self> {
        let mut picture = Coded::default();
        for frame in packets.iter() {
            let packet = Packet::parse_frame(frame).ok()?;
            match codec {
                Codec::H264 => picture.h264(packet.payload),
                Codec::H265 => picture.h265(packet.payload),
                Codec::Jpeg => jpeg::coded(packet.payload, |bytes| picture.write(bytes))?,
                _ => return None,
            }
        }
        let (hash, bytes) = (picture.hasher.finish(), picture.bytes);
        (bytes > 0).then_some(Self { hash, bytes })
    }

    /// Coded bytes.
    pub fn len_bytes(self) -> u32 {
        self.bytes
    }

    fn is_telling(self) -> bool {
        self.bytes >= TELLING_BYTES_MIN
    }
}

/// Coded bytes of one picture, NAL unit by NAL unit.
#[derive(Default)]
struct Coded {
    hasher: XxHash3_64,
    bytes: u32,
    /// The fragmented NAL in hand is a slice.
    in_slice: bool,
}

impl Coded {
    fn write(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u32);
    }

    /// Its type as it is and as a mark between two: start codes cannot occur in a NAL.
    fn begin(&mut self, header: &[u8], is_slice: bool) {
        self.in_slice = is_slice;
        if is_slice {
            self.hasher.write(&[0, 0, 1]);
            self.write(header);
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        if self.in_slice {
            self.write(bytes);
        }
    }

    fn h264(&mut self, payload: &[u8]) {
        let slice = |header: u8| (1..=5).contains(&(header & 0x1f));
        match payload {
            [indicator, fu, body @ ..] if indicator & 0x1f == h264::FU_A => {
                if fu & 0x80 != 0 {
                    let header = indicator & 0xe0 | fu & 0x1f;
                    self.begin(&[header], slice(header));
                }
                self.body(body);
            }
            [header, list @ ..] if header & 0x1f == h264::STAP_A => {
                let _ = aggregate(list, |nal| self.whole_h264(nal));
            }
            nal => self.whole_h264(nal),
        }
    }

    fn whole_h264(&mut self, nal: &[u8]) {
        if let Some((header, body)) = nal.split_first() {
            self.begin(&[*header], (1..=5).contains(&(header & 0x1f)));
            self.body(body);
        }
    }

    fn h265(&mut self, payload: &[u8]) {
        match payload {
            [first, second, fu, body @ ..] if first >> 1 & 0x3f == h265::FU => {
                if fu & 0x80 != 0 {
                    let header = [first & 0x81 | (fu & 0x3f) << 1, *second];
                    self.begin(&header, fu & 0x3f < 32);
                }
                self.body(body);
            }
            [first, _, list @ ..] if first >> 1 & 0x3f == h265::AGGREGATE => {
                let _ = aggregate(list, |nal| self.whole_h265(nal));
            }
            nal => self.whole_h265(nal),
        }
    }

    fn whole_h265(&mut self, nal: &[u8]) {
        if let Some((header, body)) = nal.split_first_chunk::<2>() {
            self.begin(header, header[0] >> 1 & 0x3f < 32);
            self.body(body);
        }
    }
}

/// Whether the pictures that wait go on from those that were `sent`, both in decoding order. What waits begins with a random
/// access point: when that and everything sent since is equal, a decoder is in the state that what follows wants.
pub fn goes_on(sent: &[Shown], waiting: impl IntoIterator<Item = Shown>) -> Sameness {
    let mut waiting = waiting.into_iter();
    let Some(first) = waiting.next() else {
        return Sameness::Unknown;
    };
    let point = sent
        .iter()
        .rposition(|shown| shown.identity == first.identity)
        .filter(|_| first.identity.is_telling());
    let Some(since) = point.and_then(|at| sent.get(at..)) else {
        return Sameness::Different;
    };
    let mut offsets = Vec::with_capacity(since.len());
    for (ours, theirs) in since.iter().zip(std::iter::once(first).chain(waiting)) {
        if ours.identity != theirs.identity {
            return Sameness::Different;
        }
        offsets.push(theirs.capture_us.saturating_sub(ours.capture_us));
    }
    if offsets.len() < since.len() {
        return Sameness::Unknown;
    }
    Sameness::Same {
        known: offsets.len(),
        offset_us: middle(&mut offsets),
    }
}

/// Finds the pictures that two stretches have in common and what their clocks differ by. `None` without enough of them, or
/// where they contradict each other.
pub fn align(ours: &[Shown], theirs: &[Shown]) -> Option<Aligned> {
    // A picture that comes twice in one stretch tells nothing.
    let mut places: HashMap<Identity, Option<i64>> = HashMap::with_capacity(ours.len());
    for shown in ours.iter().filter(|shown| shown.identity.is_telling()) {
        places
            .entry(shown.identity)
            .and_modify(|place| *place = None)
            .or_insert(Some(shown.capture_us));
    }
    let mut offsets: Vec<i64> = theirs
        .iter()
        .filter_map(|shown| {
            let place = places.get(&shown.identity).copied().flatten()?;
            Some(shown.capture_us.saturating_sub(place))
        })
        .collect();
    let pairs = offsets.len();
    if pairs < PAIRS_MIN {
        return None;
    }
    let offset_us = middle(&mut offsets);
    let mut errors: Vec<i64> = offsets
        .iter()
        .map(|offset| offset.saturating_sub(offset_us).saturating_abs())
        .collect();
    let spread_us = middle(&mut errors);
    (spread_us <= AGREE_US).then_some(Aligned {
        offset_us,
        spread_us,
        pairs,
    })
}

fn middle(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
