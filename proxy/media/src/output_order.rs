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

/// So many pictures wait for one that is shown behind them at the most: decoders hold sixteen, or twice as many fields.
const WAITING_MAX: usize = 32;

/// Pictures in decoding order, until it is known at which of the times at which they came each of them is shown: at the next one
/// that is shown behind all of them. What follows that one in decoding order is taken to be shown behind them as well, which the
/// standards do not demand: an encoder that goes back further has a picture dated a frame early.
#[derive(Debug)]
pub struct Showing<T> {
    waiting: Vec<Waiting<T>>,
    /// The highest count of what went on last.
    highest: Option<i64>,
    /// The smallest distance between two counts.
    step: Option<i64>,
}

#[derive(Debug)]
struct Waiting<T> {
    picture: T,
    came: i64,
    count: Option<i64>,
}

impl<T> Default for Showing<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            highest: None,
            step: None,
        }
    }
}

impl<T> Showing<T> {
    /// The next picture, and what therefore goes on, each with the time at which it is shown. What has no count is shown when it
    /// came.
    pub fn push(&mut self, picture: T, came: i64, count: Option<i64>) -> Vec<(T, i64)> {
        let within = self.waiting.len() < WAITING_MAX
            && count.is_some_and(|count| self.top().is_some_and(|top| count < top));
        let known = if within { Vec::new() } else { self.finish() };
        self.waiting.push(Waiting {
            picture,
            came,
            count,
        });
        known
    }

    /// What waits, as nothing follows that is shown before it.
    pub fn finish(&mut self) -> Vec<(T, i64)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut counts: Vec<i64> = self.waiting.iter().filter_map(|one| one.count).collect();
        counts.extend(self.highest);
        counts.sort_unstable();
        let apart = counts
            .iter()
            .zip(counts.iter().skip(1))
            .map(|(one, next)| next - one);
        self.step = apart.filter(|step| *step > 0).chain(self.step).min();
        self.highest = self.top().or(self.highest);
        shown(std::mem::take(&mut self.waiting))
    }

    /// As [`Self::finish`] where pictures broke off: nothing, unless all came that are shown before the last one.
    pub fn break_off(&mut self) -> Vec<(T, i64)> {
        let distance = self
            .top()
            .zip(self.highest)
            .map(|(top, highest)| top - highest);
        let whole = match (distance, self.step) {
            (Some(distance), Some(step)) => self.waiting.len() as i64 * step == distance,
            _ => self.top().is_none(),
        };
        if !whole {
            self.waiting.clear();
        }
        self.finish()
    }

    fn top(&self) -> Option<i64> {
        self.waiting.iter().filter_map(|one| one.count).max()
    }
}

/// Whoever is shown first has the earliest of the times.
fn shown<T>(pictures: Vec<Waiting<T>>) -> Vec<(T, i64)> {
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    order.sort_by_key(|place| pictures.get(*place).and_then(|one| one.count));
    let mut sorted: Vec<i64> = pictures.iter().map(|one| one.came).collect();
    sorted.sort_unstable();
    let mut shown: Vec<(T, i64)> = pictures
        .into_iter()
        .map(|one| (one.picture, one.came))
        .collect();
    for (place, time) in order.into_iter().zip(sorted) {
        if let Some((_, shown)) = shown.get_mut(place) {
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

    /// Pictures that come every 40 ms with these counts, each named by its own.
    fn came(showing: &mut Showing<i64>, from: i64, counts: &[i64]) -> Vec<(i64, i64)> {
        let each = counts.iter().zip(0..);
        each.flat_map(|(count, place)| showing.push(*count, from + place * 40, Some(*count)))
            .collect()
    }

    #[test]
    fn who_is_shown_first_has_the_earliest_time() {
        let mut showing = Showing::default();
        // I P B B P B B, and an open group: I B B.
        let known = came(&mut showing, 0, &[0, 6, 2, 4, 12, 8, 10, 18, 14, 16]);
        let shown = [(0, 0), (6, 120), (2, 40), (4, 80)];
        let shown = [&shown[..], &[(12, 240), (8, 160), (10, 200)]].concat();
        assert_eq!(known, shown);
        assert_eq!(showing.finish(), [(18, 360), (14, 280), (16, 320)]);
        // A pyramid, and pictures that come in the order in which they are shown.
        let known = came(&mut showing, 0, &[20, 28, 24, 22, 26, 30, 32]);
        let shown = [(20, 0), (28, 160), (24, 80), (22, 40), (26, 120), (30, 200)];
        assert_eq!(known, shown);
        assert_eq!(showing.finish(), [(32, 240)]);
        assert_eq!(showing.finish(), []);
    }

    #[test]
    fn what_has_no_count_is_shown_when_it_came() {
        let mut showing = Showing::default();
        let known: Vec<_> = [(7, Some(4)), (5, None), (3, None), (9, Some(2))]
            .into_iter()
            .flat_map(|(came, count)| showing.push(came, came, count))
            .collect();
        assert_eq!(known, [(7, 7), (5, 5), (3, 3)]);
        assert_eq!(showing.break_off(), [], "nothing tells whether it is whole");
        let _ = showing.push(1, 1, None);
        assert_eq!(showing.break_off(), [(1, 1)]);
    }

    #[test]
    fn of_what_breaks_off_goes_on_what_is_known_to_be_whole() {
        // Behind I P B B: how many more came, and whether the last ones are whole.
        for (more, last) in [
            (&[12][..], 0),
            (&[12, 8], 0),
            (&[12, 10], 0),
            (&[12, 8, 10], 3),
            (&[8], 1),
            (&[8, 12], 0),
            (&[8, 12, 10], 2),
        ] {
            let mut showing = Showing::default();
            let counts = [&[0, 6, 2, 4], more].concat();
            let mut known = came(&mut showing, 0, &counts);
            let rest = showing.break_off();
            assert_eq!(rest.len(), last, "{more:?}");
            known.extend(rest);
            for (count, shown) in known {
                assert_eq!(shown, count * 20, "{more:?}");
            }
            assert_eq!(showing.finish(), []);
        }
        // Nothing tells yet how far counts are apart.
        let mut showing = Showing::default();
        assert_eq!(came(&mut showing, 0, &[0, 6]), [(0, 0)]);
        assert_eq!(showing.break_off(), []);
        // Pictures that each stand alone.
        let mut showing = Showing::default();
        let _ = came(&mut showing, 0, &[ERA, 2 * ERA, 3 * ERA]);
        assert_eq!(showing.break_off(), [(3 * ERA, 80)]);
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
        fn times_are_dealt_out_by_rank(counts: Vec<Option<i32>>, breaks_off: bool) {
            let mut showing = Showing::default();
            let mut known = Vec::new();
            for (count, came) in counts.iter().zip(0_i64..) {
                let batch = showing.push(*count, came, count.map(i64::from));
                let mut ranked: Vec<_> = batch.iter().filter_map(|(count, at)| count.map(|count| (count, *at))).collect();
                ranked.sort_unstable();
                prop_assert!(ranked.is_sorted_by_key(|(_, at)| *at));
                known.extend(batch);
            }
            let all = !breaks_off;
            known.extend(if all { showing.finish() } else { showing.break_off() });
            prop_assert!(counts.starts_with(&known.iter().map(|(count, _)| *count).collect::<Vec<_>>()));
            prop_assert!(!all || known.len() == counts.len());
            let mut times: Vec<_> = known.iter().map(|(_, at)| *at).collect();
            times.sort_unstable();
            prop_assert_eq!(times, (0..known.len() as i64).collect::<Vec<_>>());
        }
    }
}
