//! Looks at every packet a player gets: what is missing, what comes twice, how long the viewer waits.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use seamline_media::rtp::Packet;
use seamline_routing::Timestamp;

/// Capture times closer than this (µs) are the same picture's.
pub(super) const SAME_US: i64 = 2_000;
/// Pictures that are only there to decode the next one are squeezed into the seam: RTP ticks of 1/90000 s to the one
/// before, where pictures to be shown are at least thousands apart.
const SQUEEZED_TICKS: u32 = 90;
/// RTP ticks in a ms.
const TICKS_PER_MS: i64 = 90;

/// The state of one video stream as its player sees it.
#[derive(Debug)]
pub(super) struct Judge {
    /// Capture times (µs), ascending.
    expected: Vec<i64>,
    seen: Vec<bool>,
    unit: Option<Unit>,
    /// The last picture that was shown.
    last: Option<Shown>,
    sequence: Option<u16>,
    sources: BTreeSet<(u32, u8)>,
    report: Report,
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    rtp_time: u32,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    capture_us: i64,
    rtp_time: u32,
    arrived: Instant,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Pictures that were shown.
    pub(super) shown: usize,
    /// Pictures that some site holds and that did not come.
    pub(super) missing: usize,
    /// Pictures that came again.
    pub(super) repeated: usize,
    /// Pictures older than the one before that are no preroll.
    pub(super) backward: usize,
    /// Pictures that no site holds.
    pub(super) strange: usize,
    /// Pictures without a capture time.
    pub(super) timeless: usize,
    /// Pictures squeezed into a seam: decoded, not shown.
    pub(super) preroll: usize,
    /// Steps of RTP time that differ from the step of capture time.
    pub(super) uneven: usize,
    /// RTP packets.
    pub(super) packets: usize,
    /// Packets that do not follow the number before.
    pub(super) sequence_breaks: usize,
    /// Different pairs of source and payload type.
    pub(super) sources: usize,
    /// Longest time between the arrivals of two pictures, and the capture time of the second.
    pub(super) longest_wait: Option<(Duration, Timestamp)>,
}

impl Judge {
    /// `expected` are capture times (µs), ascending.
    pub(super) fn new(expected: Vec<i64>) -> Self {
        Judge {
            seen: vec![false; expected.len()],
            expected,
            unit: None,
            last: None,
            sequence: None,
            sources: BTreeSet::new(),
            report: Report::default(),
        }
    }

    /// Takes in a packet; the capture time of the picture that it begins, when that is one to be shown.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, arrived: Instant) -> Option<Timestamp> {
        self.report.packets += 1;
        self.sources.insert((packet.ssrc, packet.payload_type));
        if self
            .sequence
            .is_some_and(|last| last.wrapping_add(1) != packet.sequence)
        {
            self.report.sequence_breaks += 1;
        }
        self.sequence = Some(packet.sequence);
        let unit = Unit {
            rtp_time: packet.timestamp,
        };
        let before = self.unit.replace(unit);
        if before.is_some_and(|before| before.rtp_time == unit.rtp_time) {
            return None;
        }
        let Some(replay) = packet.replay() else {
            self.report.timeless += 1;
            return None;
        };
        let capture_us = Timestamp::from_ntp(replay.ntp).as_micros();
        let squeezed = before
            .is_some_and(|before| unit.rtp_time.wrapping_sub(before.rtp_time) < SQUEEZED_TICKS);
        self.picture(
            Shown {
                capture_us,
                rtp_time: unit.rtp_time,
                arrived,
            },
            squeezed,
        )
    }

    fn picture(&mut self, picture: Shown, squeezed: bool) -> Option<Timestamp> {
        let at = self
            .expected
            .partition_point(|expected| *expected <= picture.capture_us - SAME_US);
        let known = self
            .expected
            .get(at)
            .is_some_and(|expected| (expected - picture.capture_us).abs() < SAME_US);
        let older = self
            .last
            .is_some_and(|last| picture.capture_us < last.capture_us + SAME_US);
        match self.seen.get_mut(at).filter(|_| known) {
            _ if older && squeezed => {
                self.report.preroll += 1;
                return None;
            }
            Some(true) => self.report.repeated += 1,
            _ if older => self.report.backward += 1,
            Some(seen) => *seen = true,
            None => self.report.strange += 1,
        }
        self.report.shown += 1;
        let capture = Timestamp::from_micros(picture.capture_us);
        if let Some(last) = self.last {
            let wait = picture.arrived.saturating_duration_since(last.arrived);
            if self
                .report
                .longest_wait
                .is_none_or(|(longest, _)| wait > longest)
            {
                self.report.longest_wait = Some((wait, capture));
            }
            let ticks = i64::from(picture.rtp_time.wrapping_sub(last.rtp_time));
            let due = (picture.capture_us - last.capture_us) * TICKS_PER_MS / 1000;
            if (ticks - due).abs() > TICKS_PER_MS {
                self.report.uneven += 1;
            }
        }
        self.last = Some(picture);
        Some(capture)
    }

    /// Whether all pictures came.
    pub(super) fn is_complete(&self) -> bool {
        self.seen.last() == Some(&true)
    }

    /// The verdict, once nothing more comes.
    pub(super) fn report(&self) -> Report {
        let missing = self.seen.iter().filter(|seen| !**seen).count();
        Report {
            missing,
            sources: self.sources.len(),
            ..self.report.clone()
        }
    }
}

impl Report {
    /// Whether a viewer saw every picture once and in order, in one stream.
    pub(super) fn is_clean(&self) -> bool {
        let faults = [
            self.missing,
            self.repeated,
            self.backward,
            self.strange,
            self.timeless,
            self.uneven,
            self.sequence_breaks,
            self.sources.abs_diff(1),
        ];
        self.shown > 0 && faults.iter().all(|count| *count == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wait, at) = self
            .longest_wait
            .unwrap_or((Duration::ZERO, Timestamp::EPOCH));
        writeln!(
            f,
            "shown         {} pictures, each checked by its capture time",
            self.shown
        )?;
        writeln!(f, "missing       {}", self.missing)?;
        writeln!(f, "repeated      {}", self.repeated)?;
        writeln!(f, "out of order  {}", self.backward)?;
        writeln!(f, "not recorded  {}", self.strange + self.timeless)?;
        writeln!(
            f,
            "preroll       {} decoded to enter a group of pictures, not shown",
            self.preroll
        )?;
        writeln!(
            f,
            "longest wait  {} ms between two pictures, at {at}",
            wait.as_millis()
        )?;
        writeln!(
            f,
            "stream        {} source, {} packets, {} sequence breaks",
            self.sources, self.packets, self.sequence_breaks
        )?;
        write!(
            f,
            "media clock   {} steps that differ from capture time",
            self.uneven
        )
    }
}

#[cfg(test)]
mod tests {
    use seamline_media::abac::{Flags, Replay};

    use super::*;

    /// Feeds pictures 40 ms apart, unless told otherwise.
    struct Player {
        judge: Judge,
        sequence: u16,
        rtp_time: u32,
        now: Instant,
    }

    impl Player {
        fn new(pictures: i64) -> Self {
            let expected = (0..pictures).map(|ix| ix * 40_000).collect();
            Player {
                judge: Judge::new(expected),
                sequence: 65_533,
                rtp_time: u32::MAX - 4_000,
                now: crate::clock::now(),
            }
        }

        /// A picture of two packets.
        fn picture(&mut self, index: i64, ticks: u32) -> Option<Timestamp> {
            self.rtp_time = self.rtp_time.wrapping_add(ticks);
            self.now += Duration::from_millis(u64::from(ticks / 90));
            let capture = Timestamp::from_micros(index * 40_000);
            let bytes = Replay {
                ntp: capture.to_ntp(),
                flags: Flags::NONE,
                cseq: 0,
            }
            .to_bytes();
            let shown = (0..2).map(|_| {
                self.sequence = self.sequence.wrapping_add(1);
                let packet = Packet {
                    marker: false,
                    payload_type: 96,
                    sequence: self.sequence,
                    timestamp: self.rtp_time,
                    ssrc: 7,
                    sources: 0,
                    extension: Some((seamline_media::abac::ID, &bytes[4..])),
                    payload: &[],
                };
                self.judge.packet(&packet, self.now)
            });
            shown.collect::<Vec<_>>().into_iter().flatten().next()
        }

        fn play(&mut self, pictures: impl IntoIterator<Item = i64>) {
            for index in pictures {
                self.picture(index, 3_600);
            }
        }
    }

    #[test]
    fn a_whole_stream_is_clean() {
        let mut player = Player::new(10);
        player.play(0..10);
        let report = player.judge.report();
        assert!(
            report.is_clean() && player.judge.is_complete(),
            "{report:?}"
        );
        assert_eq!((report.shown, report.packets), (10, 20));
        assert_eq!(report.longest_wait.unwrap().0, Duration::from_millis(40));
    }

    #[test]
    fn preroll_is_not_shown() {
        let mut player = Player::new(10);
        player.play(0..6);
        for index in 3..6 {
            assert_eq!(player.picture(index, 1), None);
        }
        assert!(player.picture(6, 3_600 - 3).is_some());
        player.play(7..10);
        let report = player.judge.report();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.shown, report.preroll), (10, 3));
    }

    #[test]
    fn what_is_lost_is_missing_and_uneven_where_the_clock_goes_on() {
        let mut player = Player::new(10);
        player.play((0..4).chain(6..10));
        let report = player.judge.report();
        assert_eq!(
            (report.missing, report.uneven, report.is_clean()),
            (2, 1, false)
        );
    }

    #[test]
    fn what_comes_again_is_repeated() {
        let mut player = Player::new(10);
        player.play((0..6).chain(4..10));
        let report = player.judge.report();
        assert_eq!(
            (report.repeated, report.missing, report.is_clean()),
            (2, 0, false)
        );
    }

    #[test]
    fn a_stall_is_the_longest_wait() {
        let mut player = Player::new(4);
        player.play(0..2);
        player.now += Duration::from_millis(700);
        player.play(2..4);
        let (wait, at) = player.judge.report().longest_wait.unwrap();
        assert_eq!(
            (wait.as_millis(), at),
            (740, Timestamp::from_micros(80_000))
        );
    }

    #[test]
    fn broken_numbers_and_strangers_are_counted() {
        let mut player = Player::new(4);
        player.play(0..2);
        player.sequence += 5;
        player.play(2..5);
        let report = player.judge.report();
        assert_eq!(
            (report.sequence_breaks, report.strange, report.is_clean()),
            (1, 1, false)
        );
    }
}
