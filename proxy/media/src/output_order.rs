//! In which order pictures are shown that come in decoding order: their picture order counts.

use crate::bitstream::annex_b;
use crate::nal::Bits;
use crate::sps::{Counting, Sps};
use crate::{Codec, h264, h265};

/// Reads picture order counts from the first slice headers of pictures (ITU-T H.264, 8.2.1; H.265, 8.3.1).
///
/// They rise from an IDR picture on; each is taken for the one of its low bits that lies nearest to the one before.
#[derive(Debug)]
pub struct OutputOrder {
    codec: Codec,
    sps: Option<Sps>,
    /// H.265, of the picture parameter set: `num_extra_slice_header_bits`, `output_flag_present_flag`.
    extra: (u8, bool),
    last: i64,
    /// What pictures behind the latest IDR picture count from.
    base: i64,
}

/// Between the counts of pictures before an IDR picture and behind it.
const ERA: i64 = 1 << 32;

impl OutputOrder {
    /// For pictures of `codec`; only H.264 and H.265 have an order of their own.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            sps: None,
            extra: (0, false),
            last: 0,
            base: 0,
        }
    }

    /// Whether pictures may be shown in another order than they come in, by the sets that came.
    pub fn may_differ(&self) -> bool {
        self.sps
            .is_some_and(|sps| sps.reorder != Some(0) && sps.counting.count_bits.is_some())
    }

    /// The count of a whole picture, its NAL units behind start codes; `None` where it cannot be told.
    pub fn count(&mut self, picture: &[u8]) -> Option<i64> {
        annex_b(picture).find_map(|nal| match self.codec {
            Codec::H264 => self.of_h264(nal),
            Codec::H265 => self.of_h265(nal),
            _ => None,
        })
    }

    fn of_h264(&mut self, nal: &[u8]) -> Option<i64> {
        let kind = nal.first()? & 0x1f;
        if kind == h264::SPS {
            self.sps = Sps::h264(nal);
        }
        if !matches!(kind, 1 | h264::IDR) {
            return None;
        }
        let counting = self.sps?.counting;
        let mut bits = Bits::new(nal.get(1..)?);
        if bits.ue()? != 0 {
            return None;
        }
        bits.ue()?;
        bits.ue()?;
        if counting.planes {
            bits.skip(2)?;
        }
        bits.skip(counting.number_bits.into())?;
        if !counting.frames_only && bits.flag()? {
            bits.skip(1)?;
        }
        if kind == h264::IDR {
            bits.ue()?;
            self.begin();
        }
        let low = bits.bits(counting.count_bits?)?;
        Some(self.whole(low, counting))
    }

    fn of_h265(&mut self, nal: &[u8]) -> Option<i64> {
        let kind = (nal.first()? >> 1) & 0x3f;
        match kind {
            h265::SPS => self.sps = Sps::h265(nal),
            h265::PPS => self.extra = extra_of(nal).unwrap_or(self.extra),
            _ => {}
        }
        // Slices, without the values kept for later (ITU-T H.265, table 7-1).
        if !matches!(kind, 0..=9 | 16..=21) {
            return None;
        }
        let counting = self.sps?.counting;
        let mut bits = Bits::new(nal.get(2..)?);
        if !bits.flag()? {
            return None;
        }
        if matches!(kind, 16..=23) {
            bits.skip(1)?;
        }
        bits.ue()?;
        if matches!(kind, 19 | 20) {
            self.begin();
            return Some(self.base);
        }
        bits.skip(self.extra.0.into())?;
        bits.ue()?;
        if self.extra.1 {
            bits.skip(1)?;
        }
        if counting.planes {
            bits.skip(2)?;
        }
        let low = bits.bits(counting.count_bits?)?;
        Some(self.whole(low, counting))
    }

    fn begin(&mut self) {
        self.base += ERA;
        self.last = 0;
    }

    fn whole(&mut self, low: u32, counting: Counting) -> i64 {
        let round = 1_i64 << counting.count_bits.unwrap_or(16);
        let ahead = (i64::from(low) - self.last).rem_euclid(round);
        let ahead = if ahead >= round / 2 {
            ahead - round
        } else {
            ahead
        };
        self.last += ahead;
        self.base + self.last
    }
}

/// What of a picture parameter set slice headers depend on (ITU-T H.265, 7.3.2.3.1).
fn extra_of(nal: &[u8]) -> Option<(u8, bool)> {
    let mut bits = Bits::new(nal.get(2..)?);
    bits.ue()?;
    bits.ue()?;
    bits.skip(1)?;
    let output = bits.flag()?;
    Some((bits.bits(3)? as u8, output))
}

/// When pictures are shown that came at these times, in decoding order: who is shown first has the earliest. Where a count is
/// not known, each is shown when it came.
pub fn shown_at(came: &[i64], counts: &[Option<i64>]) -> Vec<i64> {
    let mut order: Vec<(i64, usize)> = Vec::with_capacity(counts.len());
    for (place, count) in counts.iter().enumerate() {
        let Some(count) = count else {
            return came.to_vec();
        };
        order.push((*count, place));
    }
    order.sort_unstable();
    let mut sorted = came.to_vec();
    sorted.sort_unstable();
    let mut shown = came.to_vec();
    for ((_, place), time) in order.into_iter().zip(sorted) {
        if let Some(shown) = shown.get_mut(place) {
            *shown = time;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes bits, the highest first.
    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn bits(mut self, value: u32, count: u8) -> Self {
            self.0
                .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn ue(self, value: u32) -> Self {
            let length = (value + 1).ilog2() as u8;
            self.bits(0, length).bits(value + 1, length + 1)
        }

        fn nal(self, header: &[u8]) -> Vec<u8> {
            let mut nal = [&[0, 0, 0, 1], header].concat();
            let mut bits = self.0;
            bits.push(true);
            for byte in bits.chunks(8) {
                let value = byte
                    .iter()
                    .fold(0, |value, bit| value << 1 | u8::from(*bit));
                nal.push(value << (8 - byte.len()));
            }
            nal
        }
    }

    /// Main profile, 16 frame numbers, 64 counts, 320 x 240, nothing said of reordering.
    fn set() -> Vec<u8> {
        let set = Writer::default()
            .bits(77, 8)
            .bits(0, 16)
            .ue(0)
            .ue(0)
            .ue(0)
            .ue(2);
        let set = set
            .ue(2)
            .bits(0, 1)
            .ue(19)
            .ue(14)
            .bits(1, 1)
            .bits(1, 1)
            .bits(0, 1);
        set.bits(0, 1).nal(&[0x67])
    }

    fn slice(idr: bool, count: u32) -> Vec<u8> {
        let slice = Writer::default().ue(0).ue(7).ue(0).bits(3, 4);
        let slice = if idr { slice.ue(1) } else { slice };
        slice
            .bits(count % 64, 6)
            .bits(0b1011, 4)
            .nal(&[if idr { 0x65 } else { 0x41 }])
    }

    #[test]
    fn counts_go_on_over_their_low_bits_and_begin_anew_at_an_idr() {
        let mut order = OutputOrder::new(Codec::H264);
        assert!(!order.may_differ());
        assert_eq!(order.count(&slice(false, 4)), None, "no set came");
        let first = [set(), slice(true, 0)].concat();
        let begins = order.count(&first).unwrap();
        assert!(order.may_differ());
        for count in [6, 2, 4, 30, 61, 70, 66, 90] {
            assert_eq!(
                order.count(&slice(false, count)),
                Some(begins + i64::from(count))
            );
        }
        assert!(order.count(&first).unwrap() > begins + 100);
        assert_eq!(order.count(&[1, 2, 3]), None);
        assert_eq!(OutputOrder::new(Codec::Jpeg).count(&first), None);
    }

    #[test]
    fn who_is_shown_first_has_the_earliest_time() {
        // I P B B P B B, as they came.
        let counts = [0, 6, 2, 4, 12, 8, 10].map(Some);
        let came = [0, 40, 80, 120, 160, 200, 240];
        assert_eq!(shown_at(&came, &counts), [0, 120, 40, 80, 240, 160, 200]);
        assert_eq!(shown_at(&came, &[None; 7]), came);
        assert_eq!(shown_at(&[], &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_harm(pictures: Vec<Vec<u8>>, h265: bool) {
            let mut order = OutputOrder::new(if h265 { Codec::H265 } else { Codec::H264 });
            let _ = order.count(&[set(), slice(true, 0)].concat());
            for picture in pictures {
                let _ = order.count(&[&[0, 0, 1], &picture[..]].concat());
            }
        }

        #[test]
        fn times_are_dealt_out_by_rank(counts in proptest::collection::vec(any::<i64>(), 0..40)) {
            let came: Vec<i64> = (0..counts.len() as i64).map(|place| place * 40).collect();
            let shown = shown_at(&came, &counts.iter().copied().map(Some).collect::<Vec<_>>());
            for (one, at) in counts.iter().zip(&shown) {
                for (other, then) in counts.iter().zip(&shown) {
                    prop_assert!(one >= other || at < then);
                }
            }
        }
    }
}
