//! Where a clip's frames begin to count: at the key frame before a wanted start, or behind what the clip before it held.

use std::collections::VecDeque;

use bytes::Bytes;
use seamline_media::Unit;

/// Frames that wait to be counted, at most.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Where the picture that was delivered last is looked for in the next clip: clips of one recorder differ by what the
/// camera's clock and its own drift apart.
const NEAR_US: i64 = 500_000;
/// The same for clips that are dated by names, which are given when a file is opened, up to a group of pictures late.
const NAMED_NEAR_US: i64 = 3_000_000;
/// Pictures that must be the same, one after the other: in a scene that stands still single ones are.
const SAME: usize = 3;

/// A frame of a track that the client set up.
#[derive(Debug)]
pub(super) struct Frame {
    /// The client's track.
    pub(super) track: usize,
    /// In the camera's timeline.
    pub(super) capture_us: i64,
    pub(super) duration_us: i64,
    /// Ticks a second of the track's RTP time.
    pub(super) clock_rate: u32,
    pub(super) data: Bytes,
    /// `None` when the client does not want it.
    pub(super) unit: Option<Unit>,
}

impl Frame {
    fn shift(&mut self, shift_us: i64) {
        if shift_us == 0 {
            return;
        }
        self.capture_us = self.capture_us.saturating_add(shift_us);
        if let Some(unit) = &mut self.unit {
            unit.capture_us = self.capture_us;
            let ticks = i128::from(self.capture_us) * i128::from(self.clock_rate) / 1_000_000;
            unit.rtp_time = ticks as u32;
        }
    }
}

/// Decides from which of its frames on a clip counts.
#[derive(Debug)]
pub(super) struct Joiner {
    master: usize,
    state: State,
    /// The clip is dated by a name.
    named: bool,
    /// How much later its frames were taken than they are dated, µs.
    shift_us: i64,
    held: Vec<Frame>,
    held_bytes: usize,
    /// Pictures of this clip while it is compared with the one before, the latest last.
    seen: VecDeque<Bytes>,
    /// How far from where it is expected the picture lies that was delivered last, and how much is held up to it.
    same: Option<(u64, usize)>,
    /// Of those that were delivered, the latest.
    delivered: VecDeque<Bytes>,
    /// Where what was delivered of each track ends.
    newest_us: Vec<i64>,
    /// Where the picture ends.
    end_us: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The random access point at or before this instant, µs, is looked for.
    Start(i64),
    /// The picture behind the last one delivered is looked for.
    Behind,
    Counting,
}

/// A group of pictures that no memory holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Joiner {
    /// Of a leg that is to start at or before an instant.
    pub(super) fn start(from_us: i64, master: usize, tracks: usize) -> Self {
        Joiner {
            master,
            state: State::Start(from_us),
            named: false,
            shift_us: 0,
            held: Vec::new(),
            held_bytes: 0,
            seen: VecDeque::new(),
            same: None,
            delivered: VecDeque::new(),
            newest_us: vec![i64::MIN; tracks],
            end_us: None,
        }
    }

    /// Where the pictures delivered so far end, µs.
    pub(super) fn end_us(&self) -> Option<i64> {
        self.end_us
    }

    /// A clip begins; `named` says that it is dated by the name of a file.
    pub(super) fn begin(&mut self, named: bool) {
        self.named = named;
        self.shift_us = 0;
    }

    /// Takes a frame, gives out units that count.
    pub(super) fn take(
        &mut self,
        mut frame: Frame,
        units: &mut VecDeque<Unit>,
    ) -> Result<(), TooLong> {
        let is_master = frame.track == self.master;
        let near_us = if self.named { NAMED_NEAR_US } else { NEAR_US };
        match self.state {
            State::Counting => {
                frame.shift(self.shift_us);
                self.count(frame, units);
            }
            State::Start(from_us) => {
                let (capture_us, begins) = (frame.capture_us, is_master && is_start(&frame));
                if begins && capture_us <= from_us {
                    self.held.retain(|held| {
                        held.track != frame.track && held.capture_us >= frame.capture_us
                    });
                    self.held_bytes = self.held.iter().map(|held| held.data.len()).sum();
                }
                self.hold(frame)?;
                if is_master && capture_us >= from_us {
                    self.release(units);
                }
            }
            State::Behind => {
                let last_us = self.newest_us.get(self.master).copied().unwrap_or(i64::MIN);
                let capture_us = frame.capture_us;
                if is_master {
                    self.seen.push_back(frame.data.clone());
                    if self.seen.len() > SAME {
                        self.seen.pop_front();
                    }
                }
                self.hold(frame)?;
                if is_master && self.is_last_delivered() {
                    let off_us = capture_us.abs_diff(last_us);
                    let better = self.same.is_none_or(|(best_us, _)| off_us < best_us);
                    if better && off_us <= near_us as u64 {
                        self.same = Some((off_us, self.held.len()));
                    }
                }
                if is_master && capture_us > last_us.saturating_add(near_us) {
                    self.release(units);
                }
            }
        }
        Ok(())
    }

    /// The clip is over; another one may follow, and begin before the end of this one if clips overlap. What is held counts
    /// only where it lies behind what was delivered.
    pub(super) fn clip_over(&mut self, overlap: bool, units: &mut VecDeque<Unit>) {
        match self.state {
            // The start lies behind this clip.
            State::Start(_) => {
                self.held.clear();
                self.held_bytes = 0;
            }
            State::Behind => self.release(units),
            State::Counting => {}
        }
        if self.state == State::Counting && overlap {
            self.state = State::Behind;
        }
    }

    fn hold(&mut self, frame: Frame) -> Result<(), TooLong> {
        self.held_bytes += frame.data.len();
        self.held.push(frame);
        if self.held_bytes > HELD_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(())
    }

    /// Gives out what is held and lies behind what was delivered: behind the same picture where it was seen, else by time. Of
    /// sound that is by more than half a piece: its times are cut to ticks otherwise in each clip.
    fn release(&mut self, units: &mut VecDeque<Unit>) {
        let behind = self.state == State::Behind;
        self.state = State::Counting;
        self.held_bytes = 0;
        self.seen.clear();
        let same = self.same.take();
        let before = self.newest_us.clone();
        let held = std::mem::take(&mut self.held);
        if behind && self.named {
            self.shift_us = self.late_us(&held, same);
        }
        for (nth, mut frame) in held.into_iter().enumerate() {
            frame.shift(self.shift_us);
            let known = before.get(frame.track).copied().unwrap_or(i64::MIN);
            let fresh = match same {
                Some((_, held)) if frame.track == self.master => nth >= held,
                _ if behind && frame.track != self.master => {
                    frame.capture_us > known.saturating_add(frame.duration_us / 2)
                }
                _ => frame.capture_us > known,
            };
            if fresh {
                self.count(frame, units);
            }
        }
    }

    /// How much later the frames of a clip were taken than its name says, when it goes on where the one before ended, µs.
    fn late_us(&self, held: &[Frame], same: Option<(u64, usize)>) -> i64 {
        let repeated = same.and_then(|(_, until)| held.get(until.checked_sub(1)?));
        let last_us = self.newest_us.get(self.master);
        if let (Some(repeated), Some(last_us)) = (repeated, last_us) {
            return last_us.saturating_sub(repeated.capture_us);
        }
        let first = held.iter().find(|frame| frame.track == self.master);
        let late = first
            .zip(self.end_us)
            .map(|(first, end_us)| end_us.saturating_sub(first.capture_us));
        late.filter(|late_us| late_us.unsigned_abs() <= NAMED_NEAR_US as u64)
            .unwrap_or(0)
    }

    fn count(&mut self, frame: Frame, units: &mut VecDeque<Unit>) {
        if let Some(newest) = self.newest_us.get_mut(frame.track) {
            *newest = frame.capture_us.max(*newest);
        }
        if frame.track == self.master {
            let end_us = frame.capture_us.saturating_add(frame.duration_us);
            self.end_us = self.end_us.max(Some(end_us));
            self.delivered.push_back(frame.data);
            if self.delivered.len() > SAME {
                self.delivered.pop_front();
            }
        }
        units.extend(frame.unit);
    }

    /// Whether the latest pictures of this clip are the last ones delivered.
    fn is_last_delivered(&self) -> bool {
        !self.delivered.is_empty() && self.seen == self.delivered
    }
}

fn is_start(frame: &Frame) -> bool {
    frame.unit.as_ref().is_some_and(|unit| unit.random_access)
}

#[cfg(test)]
mod tests {
    use seamline_media::{Codec, Flags, Framing, Packetizer};

    use super::*;

    const FRAME: i64 = 40_000;

    /// Picture `n` of a scene in which each tenth picture is a key frame; shown `late` µs later than it was taken.
    fn picture(n: i64, late: i64) -> Frame {
        let header = if n % 10 == 0 { 0x65 } else { 0x41 };
        // Most of the scene stands still.
        let data = Bytes::from(vec![header, 0x88, (n % 8) as u8, (n / 16) as u8]);
        let capture_us = n * FRAME + late;
        let mut packetizer = Packetizer::new(0, Codec::H264, 96);
        let unit = packetizer.unit(&seamline_media::Frame {
            data: &Bytes::from([&[0, 0, 0, 4], &data[..]].concat()),
            framing: Framing::LengthPrefixed(4),
            capture_us,
            rtp_time: 0,
            sync: n % 10 == 0,
            flags: Flags::NONE,
        });
        Frame {
            track: 0,
            capture_us,
            duration_us: FRAME,
            clock_rate: 90_000,
            data,
            unit: Some(unit.unwrap()),
        }
    }

    fn sound(at_us: i64) -> Frame {
        Frame {
            track: 1,
            capture_us: at_us,
            duration_us: 20_000,
            clock_rate: 8_000,
            data: Bytes::from_static(b"s"),
            unit: Some(Unit {
                track: 1,
                ..picture(0, at_us).unit.unwrap()
            }),
        }
    }

    fn clip(joiner: &mut Joiner, frames: impl IntoIterator<Item = Frame>) -> Vec<(usize, i64)> {
        let mut units = VecDeque::new();
        for frame in frames {
            joiner.take(frame, &mut units).unwrap();
        }
        joiner.clip_over(true, &mut units);
        units
            .iter()
            .map(|unit| (unit.track, unit.capture_us))
            .collect()
    }

    fn pictures(range: std::ops::Range<i64>) -> Vec<(usize, i64)> {
        range.map(|n| (0, n * FRAME)).collect()
    }

    #[test]
    fn it_starts_with_the_key_frame_before_the_start() {
        let mut joiner = Joiner::start(25 * FRAME + 1, 0, 2);
        let frames = (0..40).map(|n| picture(n, 0));
        assert_eq!(clip(&mut joiner, frames), pictures(20..40));
        let mut joiner = Joiner::start(30 * FRAME, 0, 2);
        let frames = (0..40).map(|n| picture(n, 0));
        assert_eq!(clip(&mut joiner, frames), pictures(30..40));
        // There is nothing as early.
        let mut joiner = Joiner::start(0, 0, 2);
        let frames = (10..20).map(|n| picture(n, 0));
        assert_eq!(clip(&mut joiner, frames), pictures(10..20));
        // It lies behind this clip, and a sound that comes early belongs to it.
        let mut joiner = Joiner::start(25 * FRAME, 0, 2);
        assert_eq!(clip(&mut joiner, (0..20).map(|n| picture(n, 0))), []);
        let frames = [sound(19 * FRAME), sound(20 * FRAME)].into_iter();
        let got = clip(&mut joiner, frames.chain((20..26).map(|n| picture(n, 0))));
        assert_eq!(got[0], (1, 20 * FRAME));
        assert_eq!(got[1..], pictures(20..26));
    }

    #[test]
    fn clips_that_overlap_are_one_whatever_their_clocks() {
        for late in [-100_000, -30_000, -1, 0, 1, 30_000, 100_000] {
            let mut joiner = Joiner::start(0, 0, 2);
            let first = clip(&mut joiner, (0..55).map(|n| picture(n, 0)));
            assert_eq!(first, pictures(0..55));
            assert_eq!(joiner.end_us(), Some(55 * FRAME));
            let second = clip(&mut joiner, (30..80).map(|n| picture(n, late)));
            let numbers: Vec<i64> = second.iter().map(|(_, at)| (at - late) / FRAME).collect();
            assert_eq!(numbers, (55..80).collect::<Vec<_>>(), "{late}");
        }
    }

    #[test]
    fn sound_that_overlaps_is_not_heard_twice() {
        for late in [-62, -1, 0, 1, 62] {
            let mut joiner = Joiner::start(0, 0, 2);
            let both = |from: i64, until: i64, late: i64| {
                (from..until).flat_map(move |n| {
                    let at = n * FRAME + late;
                    [picture(n, 0), sound(at), sound(at + 20_000)]
                })
            };
            clip(&mut joiner, both(0, 55, 0));
            let second = clip(&mut joiner, both(30, 80, late));
            let heard = second.iter().filter(|(track, _)| *track == 1);
            let heard: Vec<i64> = heard.map(|(_, at)| at - late).collect();
            assert_eq!(heard.first(), Some(&(55 * FRAME)), "{late}");
            assert_eq!(heard.len(), 50, "{late}");
        }
    }

    #[test]
    fn files_that_are_named_late_go_on_where_the_one_before_ended() {
        for late in [-2_500_000, -1_000_000, -1, 0, 700_000, 2_400_000] {
            // With the group over again that was begun, and without a picture in common.
            for begins in [50, 55] {
                let mut joiner = Joiner::start(0, 0, 2);
                joiner.begin(true);
                assert_eq!(
                    clip(&mut joiner, (0..55).map(|n| picture(n, 0))),
                    pictures(0..55)
                );
                joiner.begin(true);
                let second = clip(&mut joiner, (begins..160).map(|n| picture(n, late)));
                assert_eq!(second, pictures(55..160), "{late} {begins}");
            }
        }
        // Much later it is another recording.
        let mut joiner = Joiner::start(0, 0, 2);
        joiner.begin(true);
        clip(&mut joiner, (0..20).map(|n| picture(n, 0)));
        joiner.begin(true);
        assert_eq!(
            clip(&mut joiner, (200..210).map(|n| picture(n, 7))).first(),
            Some(&(0, 200 * FRAME + 7))
        );
    }

    #[test]
    fn nothing_new_is_nothing_and_what_does_not_join_counts_by_its_time() {
        let mut joiner = Joiner::start(0, 0, 2);
        clip(&mut joiner, (0..20).map(|n| picture(n, 0)));
        assert_eq!(clip(&mut joiner, (10..20).map(|n| picture(n, 0))), []);
        // Another encoding from the next picture on.
        let frames = (20..30).map(|n| Frame {
            data: Bytes::from_static(b"other"),
            ..picture(n, 0)
        });
        assert_eq!(clip(&mut joiner, frames), pictures(20..30));
        let frames = (100..110).map(|n| picture(n, 0));
        assert_eq!(clip(&mut joiner, frames), pictures(100..110));
    }

    #[test]
    fn a_group_without_end_is_not_kept() {
        let mut joiner = Joiner::start(i64::MAX, 0, 1);
        let mut units = VecDeque::new();
        let outcome = (1..10).find_map(|n| {
            let frame = Frame {
                data: Bytes::from(vec![0; 16 << 20]),
                ..picture(n, 0)
            };
            joiner.take(frame, &mut units).err()
        });
        assert_eq!(outcome, Some(TooLong));
    }
}
