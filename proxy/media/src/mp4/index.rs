//! The index at the head of a fragmented file (`sidx`, ISO/IEC 14496-12 §8.16.3): where decoding can begin, and at what time.
//!
//! Its place is kept before it is known what it will say, so that no byte behind it moves: there is a `free` box in the file without
//! it, and with it, the index behind what is left of the place. It covers the file to its last byte: FFmpeg, which otherwise looks
//! for every `moof` of a file that can be seeked in, then reads none but those that it plays, as each reference is one fragment.
//!
//! Where nothing can be put in behind, the same is told at the end of the file (`mfra`, §8.8.9). GStreamer takes both, FFmpeg no more
//! than the first.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom::{Encode, FragmentInfo, Mfra, Mfro, SegmentReference, Sidx, Tfra};

use super::fragmented::Fragment;

/// References of one index, 192 KiB: of a day, one each five seconds. More than 65,535 cannot be told.
const REFERENCES_MAX: u64 = 16_384;
/// Parts that begin for another reason than that it is time, of a short file.
const REFERENCES_SPARE: u64 = 16;
/// What one reference stands for at least, and at most unless the file is very long.
const PART_MIN: Duration = Duration::from_secs(1);
const PART_MAX: Duration = Duration::from_secs(10);
/// `sidx` without its references, at most.
const SIDX_BYTES: usize = 40;
const REFERENCE_BYTES: usize = 12;
/// Length and name of a box.
const BOX_HEAD_BYTES: usize = 8;
/// Largest values of a reference's fields.
const SIZE_MAX: u64 = 0x7fff_ffff;
const DELTA_MAX: i64 = 0x0fff_ffff;

/// The index of a file in the making.
#[derive(Debug)]
pub(super) struct Index {
    /// Identifier of the track whose times it tells.
    track: u32,
    timescale: u32,
    /// References that there is room for.
    room: usize,
    points: Vec<Point>,
    /// Every so many points are noted.
    stride: u64,
    seen: u64,
    /// Bytes of fragments.
    len: u64,
    /// End of what is shown, in ticks.
    until: i64,
}

/// Where decoding can begin.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Offset of its `moof` from the end of the index.
    at: u64,
    /// When its first picture is shown, in ticks from media time zero.
    from: i64,
    /// Ticks from then to the picture that decoding begins with, where others are shown before it.
    delta: i64,
}

/// The least time of a part of a file of so much footage, so that there is a reference for each.
pub(super) fn least_part(footage: Duration) -> Duration {
    let share = footage.as_micros().div_ceil(u128::from(REFERENCES_MAX));
    Duration::from_micros(share as u64).clamp(PART_MIN, PART_MAX)
}

impl Index {
    /// Of a file of about so much footage.
    pub(super) fn new(track: u32, footage: Duration) -> Self {
        let parts = footage.as_micros() / least_part(footage).as_micros();
        let parts = u64::try_from(parts).unwrap_or(u64::MAX);
        let room = parts.saturating_add(REFERENCES_SPARE).min(REFERENCES_MAX);
        Index {
            track,
            timescale: 1,
            room: room as usize,
            points: Vec::new(),
            stride: 1,
            seen: 0,
            len: 0,
            until: 0,
        }
    }

    /// Bytes that are kept for it.
    pub(super) fn len_bytes(&self) -> usize {
        BOX_HEAD_BYTES + SIDX_BYTES + REFERENCE_BYTES * self.room
    }

    /// What is there in the file without it.
    pub(super) fn blank(&self) -> Bytes {
        blank(self.len_bytes()).freeze()
    }

    /// Takes note of the next fragment.
    pub(super) fn note(&mut self, fragment: &Fragment) {
        if let Some(shown) = &fragment.shown {
            self.timescale = shown.timescale;
            self.until = self.until.max(shown.until);
            if fragment.sync {
                self.point(Point {
                    at: self.len + fragment.moof_at as u64,
                    from: shown.from,
                    delta: shown.delta,
                });
            }
        }
        self.len += fragment.len_bytes() as u64;
    }

    fn point(&mut self, point: Point) {
        if self.seen.is_multiple_of(self.stride) {
            if self.points.len() == self.room {
                self.stride *= 2;
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            if self.seen.is_multiple_of(self.stride) {
                self.points.push(point);
            }
        }
        self.seen += 1;
    }

    /// What goes in the place of [`Self::blank`] once the file is whole; `None` where there is nothing to tell, or no field for it.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        let first = self.points.first()?;
        let ends = self.points.iter().skip(1).map(|next| (next.at, next.from));
        let ends = ends.chain([(self.len, self.until)]);
        let references = self.points.iter().zip(ends).map(|(point, (end, until))| {
            let size = Some(end - point.at).filter(|size| *size <= SIZE_MAX)?;
            Some(SegmentReference {
                reference_type: false,
                referenced_size: size as u32,
                subsegment_duration: u32::try_from((until - point.from).max(0)).ok()?,
                starts_with_sap: true,
                // Annex I: 1 where nothing is shown before it, else others may need what came before.
                sap_type: if point.delta == 0 { 1 } else { 3 },
                sap_delta_time: point.delta.clamp(0, DELTA_MAX) as u32,
            })
        });
        let sidx = Sidx {
            reference_id: self.track,
            timescale: self.timescale,
            earliest_presentation_time: first.from.max(0) as u64,
            first_offset: first.at,
            references: references.collect::<Option<_>>()?,
        };
        let mut told = Vec::new();
        sidx.encode(&mut told).ok()?;
        let mut bytes = blank(self.len_bytes().checked_sub(told.len())?);
        bytes.extend_from_slice(&told);
        Some(bytes.freeze())
    }
}

impl Index {
    /// What goes behind the last fragment of a file whose first one is at `begins` and whose media time is zero at `lead` ticks; `None`
    /// where there is nothing to tell.
    pub(super) fn tail(&self, begins: u64, lead: i64) -> Option<Bytes> {
        let entry = |point: &Point| FragmentInfo {
            time: (point.from + lead).max(0) as u64,
            moof_offset: begins + point.at,
            // The first picture of the first run of the first track.
            traf_number: 1,
            trun_number: 1,
            sample_delta: 1,
        };
        self.points.first()?;
        let mut told = Mfra {
            tfra: vec![Tfra {
                track_id: self.track,
                entries: self.points.iter().map(entry).collect(),
            }],
            mfro: Mfro::default(),
        };
        // The box at its end says how long all of it is, in as many bytes whatever it says.
        let mut bytes = Vec::new();
        told.encode(&mut bytes).ok()?;
        told.mfro.parent_size = u32::try_from(bytes.len()).ok()?;
        bytes.clear();
        told.encode(&mut bytes).ok()?;
        Some(bytes.into())
    }
}

/// A box of so many bytes, of which none means anything.
fn blank(len: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(len);
    bytes.put_u32(len as u32);
    bytes.put_slice(b"free");
    bytes.resize(len.max(BOX_HEAD_BYTES), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Any, DecodeMaybe};

    use super::super::fragmented::Shown;
    use super::*;

    const PRFT: usize = 28;

    fn fragment(second: i64, bytes: usize, sync: bool) -> Fragment {
        Fragment {
            captured_us: (0, 0),
            sync,
            shown: Some(Shown {
                timescale: 90_000,
                from: second * 90_000,
                until: (second + 1) * 90_000,
                delta: 0,
            }),
            moof_at: PRFT,
            chunks: vec![Bytes::from(vec![0; PRFT + bytes])],
        }
    }

    fn read(index: &Index) -> Sidx {
        let bytes = index.bytes().expect("there is something to tell");
        assert_eq!(bytes.len(), index.len_bytes());
        let mut rest = &bytes[..];
        let Ok(Some(Any::Free(_))) = Any::decode_maybe(&mut rest) else {
            panic!("what is left of the place");
        };
        let Ok(Some(Any::Sidx(sidx))) = Any::decode_maybe(&mut rest) else {
            panic!("no index");
        };
        assert!(rest.is_empty());
        sidx
    }

    #[test]
    fn references_begin_with_a_moof_and_end_with_the_file() {
        let mut index = Index::new(1, Duration::from_secs(4));
        assert_eq!(index.bytes(), None);
        let mut len = 0;
        for (second, sync) in [(0, true), (1, false), (2, true), (3, true)] {
            let fragment = fragment(second, 1000 * (second as usize + 1), sync);
            len += fragment.len_bytes() as u64;
            index.note(&fragment);
        }
        let sidx = read(&index);
        assert_eq!((sidx.reference_id, sidx.timescale), (1, 90_000));
        assert_eq!(sidx.first_offset, PRFT as u64);
        let told = sidx.references.iter();
        let told: Vec<_> = told
            .map(|told| (told.referenced_size, told.subsegment_duration / 90_000))
            .collect();
        let prft = PRFT as u32;
        assert_eq!(told, [(3000 + 2 * prft, 2), (3000 + prft, 1), (4000, 1)]);
        let bytes: u32 = told.iter().map(|(bytes, _)| bytes).sum();
        assert_eq!(sidx.first_offset + u64::from(bytes), len);
        let blank = index.blank();
        assert_eq!(
            (blank.len(), &blank[4..8]),
            (index.len_bytes(), &b"free"[..])
        );
    }

    #[test]
    fn at_the_end_the_same_is_told_by_where_it_is_in_the_file() {
        let mut index = Index::new(1, Duration::from_secs(4));
        assert_eq!(index.tail(0, 0), None);
        for (second, sync) in [(0, true), (1, false), (2, true)] {
            index.note(&fragment(second, 1000, sync));
        }
        let bytes = index.tail(700, 45_000).expect("there is something to tell");
        let Ok(Some(Any::Mfra(told))) = Any::decode_maybe(&mut &bytes[..]) else {
            panic!("no list");
        };
        assert_eq!(told.mfro.parent_size as usize, bytes.len());
        let [list] = &told.tfra[..] else {
            panic!("one track is told of");
        };
        let places = list.entries.iter();
        let places: Vec<_> = places.map(|told| (told.time, told.moof_offset)).collect();
        let moof = |nth: u64| 700 + nth * (1000 + PRFT as u64) + PRFT as u64;
        assert_eq!(places, [(45_000, moof(0)), (225_000, moof(2))]);
    }

    #[test]
    fn more_points_than_there_is_room_for_are_told_more_coarsely() {
        let footage = Duration::from_secs(10);
        let mut index = Index::new(1, footage);
        for second in 0..1000 {
            index.note(&fragment(second, 100, true));
        }
        let sidx = read(&index);
        let count = sidx.references.len();
        assert!((13..=26).contains(&count), "{count}");
        let bytes: u64 = sidx
            .references
            .iter()
            .map(|told| u64::from(told.referenced_size))
            .sum();
        assert_eq!(sidx.first_offset + bytes, 1000 * (100 + PRFT as u64));
        let ticks: u64 = sidx
            .references
            .iter()
            .map(|told| u64::from(told.subsegment_duration))
            .sum();
        assert_eq!(ticks, 1000 * 90_000);
    }

    #[test]
    fn the_place_is_bounded() {
        for (footage_s, least_us, references) in [
            (0, 1_000_000, 16),
            (3600, 1_000_000, 3616),
            (86_400, 5_273_438, 16_384),
            (31_622_400, 10_000_000, 16_384),
        ] {
            let footage = Duration::from_secs(footage_s);
            assert_eq!(least_part(footage).as_micros(), least_us, "{footage_s}");
            assert_eq!(Index::new(1, footage).room, references, "{footage_s}");
        }
    }

    #[test]
    fn what_has_no_field_is_not_told() {
        let mut index = Index::new(1, Duration::from_secs(86_400));
        index.note(&fragment(0, 100, true));
        // A hole of fourteen hours that was left open: more ticks than a field holds.
        index.note(&fragment(14 * 3600, 100, true));
        assert_eq!(index.bytes(), None);
    }
}
