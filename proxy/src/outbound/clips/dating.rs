//! When the pictures of a clip were taken.

use seamline_archive::StreamFrame;
use seamline_probes::Dating;

/// Frames that wait for what dates them, at most.
const WAITING_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Dates of segments are told rounded, and added up from rounded lengths: within this the time goes on as in the segment
/// before.
const ROUNDING_US: u64 = 500_000;
/// Dates that count from a start are cut to ticks, of a track's clock of 90 kHz or so: those that are so near to a whole
/// millisecond are taken for it, so that who asks for that instant gets the picture.
const TICK_US: i64 = 12;
const MILLISECOND_US: i64 = 1_000;
/// What a picture lasts where nothing tells.
const INTERVAL_US: i64 = 40_000;

/// A frame with its capture time on the recorder's clock.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dated {
    pub(super) frame: StreamFrame,
    pub(super) capture_us: i64,
}

/// Dates the frames of one clip.
#[derive(Debug)]
pub(super) struct Dater {
    dating: Dating,
    /// The instant of presentation time zero, where the first picture tells it; before that as the clip before had it.
    zero_us: Option<i64>,
    before_us: Option<i64>,
    /// How much later than decoded the latest random access point is shown of the track that leads: with [`Dating::Zero`] all
    /// tracks are as much earlier, so that sound stays with its picture.
    reorder_us: Option<i64>,
    lanes: Vec<Lane>,
    waiting_bytes: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// A frame that lasts was seen: those from there on have their own times.
    lasts: bool,
    /// One was given out.
    begun: bool,
    waiting: Vec<StreamFrame>,
}

/// More waits for its time than a movie that is one would let wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Dater {
    /// `before_us` is what [`Self::zero_us`] came to in the clip before.
    pub(super) fn new(dating: Dating, tracks: usize, before_us: Option<i64>) -> Self {
        Dater {
            dating,
            zero_us: None,
            // Every file counts from its own beginning.
            before_us: before_us.filter(|_| !matches!(dating, Dating::Named(_))),
            reorder_us: None,
            lanes: (0..tracks).map(|_| Lane::default()).collect(),
            waiting_bytes: 0,
        }
    }

    /// The instant of presentation time zero, of a clip that is dated by its first picture.
    pub(super) fn zero_us(&self) -> Option<i64> {
        self.zero_us
    }

    /// Takes a frame and gives out those whose time is known now. `leads` says that the track is the one whose first
    /// picture a clip is dated by.
    pub(super) fn take(
        &mut self,
        frame: StreamFrame,
        leads: bool,
        dated: &mut Vec<Dated>,
    ) -> Result<(), TooLong> {
        let track = frame.track;
        let known = match self.dating {
            Dating::Zero(_) => {
                let Some(lane) = self.lanes.get_mut(track) else {
                    return Ok(());
                };
                lane.lasts |= frame.duration_us > 0;
                if leads && self.reorder_us.is_none() && frame.sync {
                    self.reorder_us = Some(frame.composition_us);
                }
                self.reorder_us.is_some()
            }
            Dating::First(first) | Dating::Named(first) => {
                if leads && self.zero_us.is_none() {
                    let shown_us = frame.decode_us.saturating_add(frame.composition_us);
                    let told_us = first.as_micros().saturating_sub(shown_us);
                    let goes_on = |before: &i64| before.abs_diff(told_us) <= ROUNDING_US;
                    self.zero_us = self.before_us.filter(goes_on).or(Some(told_us));
                }
                self.zero_us.is_some()
            }
        };
        self.waiting_bytes += frame.data.len();
        if self.waiting_bytes > WAITING_BYTES_MAX {
            return Err(TooLong);
        }
        if let Some(lane) = self.lanes.get_mut(track) {
            lane.waiting.push(frame);
        }
        if known {
            (0..self.lanes.len())
                .for_each(|lane| self.release(lane, leads && lane == track, false, dated));
        }
        Ok(())
    }

    /// Gives out what still waits: nothing that dates it can come any more.
    pub(super) fn finish(&mut self, dated: &mut Vec<Dated>) {
        for lane in 0..self.lanes.len() {
            self.release(lane, false, true, dated);
        }
    }

    /// Gives out what waits on a track and has its time: with [`Dating::Zero`] from the first frame on that lasts, and those before
    /// it as many intervals earlier; where it is `over`, nothing that lasts will come. `leads` says that it is the track that leads.
    fn release(&mut self, track: usize, leads: bool, over: bool, dated: &mut Vec<Dated>) {
        let Some(lane) = self.lanes.get_mut(track) else {
            return;
        };
        let from_zero = matches!(self.dating, Dating::Zero(_));
        if lane.waiting.is_empty() || (from_zero && !lane.lasts && !over) {
            return;
        }
        let last = lane.waiting.len() - 1;
        let lasting = lane.waiting.iter().position(|frame| frame.duration_us > 0);
        let own = if lane.begun {
            0
        } else {
            lasting.unwrap_or(last)
        };
        let interval_us = lasting
            .and_then(|nth| lane.waiting.get(nth))
            .map_or(INTERVAL_US, |frame| frame.duration_us);
        lane.begun = true;
        for (nth, frame) in lane.waiting.drain(..).enumerate() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(frame.data.len());
            let capture_us = match self.dating {
                Dating::Zero(zero) => {
                    if leads && frame.sync {
                        self.reorder_us = Some(frame.composition_us);
                    }
                    let ahead = own.saturating_sub(nth) as i64;
                    let told_us = zero
                        .as_micros()
                        .saturating_add(frame.decode_us)
                        .saturating_sub(ahead.saturating_mul(interval_us))
                        .saturating_add(frame.composition_us - self.reorder_us.unwrap_or(0));
                    unrounded(told_us)
                }
                Dating::First(first) | Dating::Named(first) => self
                    .zero_us
                    .unwrap_or(first.as_micros())
                    .saturating_add(frame.decode_us)
                    .saturating_add(frame.composition_us),
            };
            dated.push(Dated { frame, capture_us });
        }
    }
}

/// See [`TICK_US`].
fn unrounded(told_us: i64) -> i64 {
    let behind_us = told_us.rem_euclid(MILLISECOND_US);
    if behind_us <= TICK_US {
        told_us - behind_us
    } else if behind_us >= MILLISECOND_US - TICK_US {
        told_us.saturating_add(MILLISECOND_US - behind_us)
    } else {
        told_us
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use seamline_routing::time::Timestamp;

    use super::*;

    const ZERO: i64 = 1_767_268_800_000_000;

    fn frame(
        track: usize,
        decode_us: i64,
        duration_us: i64,
        composition_us: i64,
        sync: bool,
    ) -> StreamFrame {
        StreamFrame {
            track,
            decode_us,
            composition_us,
            duration_us,
            sync,
            data: Bytes::from_static(b"x"),
        }
    }

    fn captures(dating: Dating, frames: Vec<(StreamFrame, bool)>) -> Vec<(usize, i64)> {
        let mut dater = Dater::new(dating, 2, None);
        let mut out = Vec::new();
        for (frame, leads) in frames {
            dater.take(frame, leads, &mut out).unwrap();
        }
        dater.finish(&mut out);
        let captures = out
            .iter()
            .map(|dated| (dated.frame.track, dated.capture_us - ZERO));
        captures.collect()
    }

    #[test]
    fn preroll_without_duration_lies_before_what_it_is_there_for() {
        let zero = Dating::Zero(Timestamp::from_micros(ZERO));
        // As MediaMTX hands out: three pictures since the key frame, at the time of the first that is asked for.
        let frames = vec![
            (frame(0, 10_000, 0, 0, true), true),
            (frame(0, 10_000, 0, 0, false), true),
            (frame(0, 10_000, 0, 0, false), true),
            (frame(0, 10_000, 40_000, 0, false), true),
            (frame(0, 50_000, 40_000, 0, false), true),
            (frame(1, 4_000, 0, 0, true), false),
            (frame(1, 4_000, 20_000, 0, true), false),
            // A time stamp that was repeated later on is no preroll.
            (frame(0, 90_000, 0, 0, false), true),
            (frame(0, 90_000, 40_000, 0, true), true),
        ];
        let expected = [
            (0, -110_000),
            (0, -70_000),
            (0, -30_000),
            (0, 10_000),
            (0, 50_000),
            (1, -16_000),
            (1, 4_000),
            (0, 90_000),
            (0, 90_000),
        ];
        assert_eq!(captures(zero, frames), expected);
    }

    #[test]
    fn a_tick_beside_a_millisecond_is_the_millisecond() {
        let zero = Dating::Zero(Timestamp::from_micros(ZERO));
        let told = [40_011, 79_989, 120_013, 159_987, 200_500].into_iter();
        let frames = told.map(|at| (frame(0, at, 40_000, 0, true), true));
        let expected = [40_000, 80_000, 120_013, 159_987, 200_500];
        assert_eq!(captures(zero, frames.collect()), expected.map(|at| (0, at)));
    }

    #[test]
    fn reordered_pictures_are_dated_as_they_are_shown() {
        let zero = Dating::Zero(Timestamp::from_micros(ZERO));
        let frames = vec![
            (frame(0, 0, 40_000, 80_000, true), true),
            (frame(0, 40_000, 40_000, 160_000, false), true),
            (frame(0, 80_000, 40_000, 40_000, false), true),
        ];
        assert_eq!(captures(zero, frames), [(0, 0), (0, 120_000), (0, 40_000)]);
    }

    #[test]
    fn sound_stays_with_pictures_that_are_reordered() {
        let zero = Dating::Zero(Timestamp::from_micros(ZERO));
        // Sound comes first, and what of it is there to begin with has no length.
        let frames = vec![
            (frame(1, 60_000, 0, 0, true), false),
            (frame(1, 60_000, 20_000, 0, true), false),
            (frame(1, 80_000, 20_000, 0, true), false),
            (frame(0, 0, 40_000, 80_000, true), true),
            (frame(0, 40_000, 40_000, 160_000, false), true),
            (frame(1, 100_000, 20_000, 0, true), false),
        ];
        let expected = [
            (0, 0),
            (1, -40_000),
            (1, -20_000),
            (1, 0),
            (0, 120_000),
            (1, 20_000),
        ];
        assert_eq!(captures(zero, frames), expected);
        // Where no picture comes, sound is not held back for ever.
        let alone = vec![(frame(1, 60_000, 20_000, 0, true), false)];
        assert_eq!(captures(zero, alone), [(1, 60_000)]);
    }

    #[test]
    fn a_segment_is_dated_by_its_first_picture() {
        let first = Dating::First(Timestamp::from_micros(ZERO));
        let frames = vec![
            (frame(1, 7_000_000, 20_000, 0, true), false),
            (frame(0, 7_010_000, 40_000, 80_000, true), true),
            (frame(0, 7_050_000, 40_000, 80_000, false), true),
        ];
        assert_eq!(captures(first, frames), [(0, 0), (1, -90_000), (0, 40_000)]);
    }

    #[test]
    fn segments_with_rounded_dates_go_on_evenly() {
        for (told, shown) in [
            (ZERO, ZERO),
            (ZERO - 3_000, ZERO),
            (ZERO + 9_000_000, ZERO + 9_000_000),
        ] {
            let first = Dating::First(Timestamp::from_micros(told));
            let mut dater = Dater::new(first, 1, Some(ZERO - 7_000_000));
            let mut out = Vec::new();
            let frame = frame(0, 7_000_000, 40_000, 0, true);
            dater.take(frame, true, &mut out).unwrap();
            assert_eq!(out[0].capture_us, shown);
        }
    }

    #[test]
    fn what_never_begins_is_not_kept() {
        let mut dater = Dater::new(Dating::Zero(Timestamp::from_micros(0)), 1, None);
        let data = Bytes::from(vec![0; 1 << 20]);
        let mut out = Vec::new();
        let outcomes = (0..100).map(|_| {
            let frame = StreamFrame {
                data: data.clone(),
                ..frame(0, 0, 0, 0, true)
            };
            dater.take(frame, true, &mut out)
        });
        assert!(outcomes.last().unwrap() == Err(TooLong) && out.is_empty());
    }
}
