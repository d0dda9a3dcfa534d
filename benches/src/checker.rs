//! What a player must receive, packet by packet. A fast wrong answer is a failure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::footage::{Footage, PICTURE_US, from_ntp};

/// What one player received.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Verdict {
    /// Whole pictures.
    pub(crate) pictures: u64,
    /// RTP packets.
    pub(crate) packets: u64,
    /// What was wrong.
    pub(crate) faults: u64,
    /// The first of it.
    pub(crate) first_fault: Option<String>,
    /// Pictures that were left out, and that came again: faults, too, unless they were to be only counted.
    pub(crate) missing: u64,
    pub(crate) repeated: u64,
    /// Packets that a relay of live streams dropped, where it may.
    pub(crate) dropped: u64,
    /// Longest time between two pictures, in ms.
    pub(crate) stall_ms_max: f64,
    /// From asking to the first whole picture, in ms.
    #[serde(skip)]
    pub(crate) first_ms: Vec<f64>,
    /// Each change from one recorder's pictures to another's, in ms between the two pictures.
    #[serde(skip)]
    pub(crate) seams_ms: Vec<f64>,
}

impl Verdict {
    /// The verdicts of several players as one.
    pub(crate) fn merged(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), |mut sum, one| {
            sum.first_ms.extend(one.first_ms);
            sum.seams_ms.extend(one.seams_ms);
            Self {
                pictures: sum.pictures + one.pictures,
                packets: sum.packets + one.packets,
                faults: sum.faults + one.faults,
                first_fault: sum.first_fault.or(one.first_fault),
                missing: sum.missing + one.missing,
                repeated: sum.repeated + one.repeated,
                dropped: sum.dropped + one.dropped,
                stall_ms_max: sum.stall_ms_max.max(one.stall_ms_max),
                ..sum
            }
        })
    }

    /// Counts something wrong.
    pub(crate) fn fault(&mut self, what: impl Into<String>) {
        self.faults += 1;
        if self.first_fault.is_none() {
            self.first_fault = Some(what.into());
        }
    }

    /// A picture that is whole, and the one before it.
    pub(crate) fn saw(&mut self, now: Instant, before: Option<Instant>) {
        if let Some(before) = before {
            let stall = now.saturating_duration_since(before);
            self.stall_ms_max = self.stall_ms_max.max(ms(stall));
        }
        self.pictures += 1;
    }
}

/// Follows one stream.
#[derive(Debug)]
pub(crate) struct Checker {
    /// What must come; `None` where that is not known, and only its order can be checked.
    footage: Option<Arc<Footage>>,
    asked: Instant,
    /// Where it was asked to begin, until that is seen.
    begins_us: Option<i64>,
    /// Sequence number and source of the last packet.
    last: Option<(u16, u32)>,
    /// Capture time and RTP time of the last whole picture.
    picture: Option<(Option<i64>, u32)>,
    /// The latest capture time so far, while nothing else is asked for.
    furthest_us: i64,
    payload_bytes: usize,
    seen: Option<Instant>,
    /// Whose pictures come, and since when.
    pub(crate) mark: Option<(u8, Instant)>,
    /// What is left out or comes again is counted, and no fault.
    pub(crate) counts_only: bool,
    /// Packets that are left out are counted, and no fault.
    pub(crate) may_drop: bool,
    pub(crate) verdict: Verdict,
}

/// What is looked at of a packet.
struct Packet<'a> {
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    capture_us: Option<i64>,
    payload: &'a [u8],
}

impl Checker {
    /// Of a player that asked at `asked` for what begins at `begins_us` (UTC).
    pub(crate) fn new(
        footage: Option<Arc<Footage>>,
        begins_us: Option<i64>,
        asked: Instant,
    ) -> Self {
        Self {
            footage,
            asked,
            begins_us,
            last: None,
            picture: None,
            furthest_us: i64::MIN,
            payload_bytes: 0,
            seen: None,
            mark: None,
            counts_only: false,
            may_drop: false,
            verdict: Verdict::default(),
        }
    }

    /// From now on other footage comes; numbering goes on.
    pub(crate) fn restart(&mut self, begins_us: i64, asked: Instant) {
        self.asked = asked;
        self.begins_us = Some(begins_us);
        self.picture = None;
        self.furthest_us = i64::MIN;
        self.payload_bytes = 0;
        self.seen = None;
    }

    /// Looks at one RTP packet, which arrived at `now`.
    pub(crate) fn packet(&mut self, bytes: &[u8], now: Instant) {
        let Some(packet) = Packet::read(bytes) else {
            return self.fault("no RTP packet");
        };
        if self.footage.is_some() && packet.capture_us.is_none() {
            return self.fault("a packet without its extension");
        }
        if let Some((last, source)) = self.last {
            let left_out = packet.sequence.wrapping_sub(last).wrapping_sub(1);
            if self.may_drop && left_out < u16::MAX / 2 {
                self.verdict.dropped += u64::from(left_out);
            } else if left_out != 0 {
                self.fault(format!("sequence number {} behind {last}", packet.sequence));
            }
            if packet.ssrc != source {
                self.fault("another source");
            }
        }
        self.last = Some((packet.sequence, packet.ssrc));
        self.verdict.packets += 1;
        self.payload_bytes += packet.payload.len();
        if packet.marker {
            self.whole_picture(&packet, now);
        }
    }

    fn whole_picture(&mut self, packet: &Packet<'_>, now: Instant) {
        if let Some((last_us, last_time)) = self.picture {
            if let (Some(last_us), Some(capture_us)) = (last_us, packet.capture_us) {
                self.capture_goes_on(capture_us - last_us, capture_us);
            }
            if packet.timestamp.wrapping_sub(last_time) as i32 <= 0 {
                self.fault("RTP time does not go on");
            }
        }
        if let (Some(footage), Some(capture_us)) = (self.footage.clone(), packet.capture_us) {
            self.is_the_one(&footage, capture_us);
            self.whose(packet.payload, now);
        }
        self.payload_bytes = 0;
        self.furthest_us = self.furthest_us.max(packet.capture_us.unwrap_or(i64::MIN));
        self.picture = Some((packet.capture_us, packet.timestamp));
        if self.seen.is_none() {
            let waited = now.saturating_duration_since(self.asked);
            self.verdict.first_ms.push(ms(waited));
        }
        self.verdict.saw(now, self.seen);
        self.seen = Some(now);
    }

    /// Where the pace is known each picture is one step behind the one before.
    fn capture_goes_on(&mut self, step: i64, capture_us: i64) {
        let known = self.footage.as_ref().map(|footage| footage.picture_us());
        let picture_us = known.unwrap_or(PICTURE_US);
        let goes_on = match known {
            Some(picture_us) => (step - picture_us).abs() <= 2,
            None => step > 0,
        };
        if !goes_on && !self.counts_only {
            self.fault(format!("capture time goes on by {step} µs"));
        }
        // What was shown again is left behind, not left out.
        let beyond = capture_us - self.furthest_us;
        if beyond <= picture_us / 2 {
            self.verdict.repeated += 1;
        } else if known.is_some() {
            let left_out = (beyond - picture_us / 2) / picture_us;
            self.verdict.missing += left_out.unsigned_abs();
        }
    }

    fn is_the_one(&mut self, footage: &Footage, capture_us: i64) {
        // The fraction of an NTP time is cut off on the way: the nearest picture is meant.
        let picture_us = footage.picture_us();
        let nearest = (capture_us + picture_us / 2).div_euclid(picture_us) * picture_us;
        let expected = footage.payload_bytes(nearest);
        if self.payload_bytes != expected {
            let got = self.payload_bytes;
            self.fault(format!("picture of {got} bytes in place of {expected}"));
        }
        if let Some(begins_us) = self.begins_us.take() {
            let key_us = Footage::key_before(begins_us) * crate::footage::GROUP_US;
            if nearest != key_us {
                self.fault(format!(
                    "begins {} µs from where it was asked",
                    nearest - key_us
                ));
            }
        }
    }

    /// The last byte of a slice says whose recording it is.
    fn whose(&mut self, payload: &[u8], now: Instant) {
        let mark = payload.last().copied().unwrap_or_default();
        match (self.mark, self.seen) {
            (Some((before, _)), _) if before == mark => return,
            (Some(_), Some(seen)) => {
                let seam = now.saturating_duration_since(seen);
                self.verdict.seams_ms.push(ms(seam));
            }
            _ => {}
        }
        self.mark = Some((mark, now));
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.verdict.fault(what);
    }
}

impl<'a> Packet<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut payload) = bytes.split_first_chunk::<12>()?;
        if head[0] >> 6 != 2 {
            return None;
        }
        payload = payload.get(usize::from(head[0] & 0x0f) * 4..)?;
        let mut capture_us = None;
        if head[0] & 0x10 != 0 {
            let (extension, rest) = payload.split_first_chunk::<4>()?;
            let words = usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            let (data, rest) = rest.split_at_checked(words * 4)?;
            if extension[..2] == [0xab, 0xac] && words == 3 {
                let ntp = data.first_chunk::<8>()?;
                capture_us = Some(from_ntp(u64::from_be_bytes(*ntp)));
            }
            payload = rest;
        }
        Some(Self {
            marker: head[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            capture_us,
            payload,
        })
    }
}

/// Milliseconds.
pub(crate) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    const START_US: i64 = 1_704_067_200_000_000;

    /// The packets of so many pictures, behind their frame heads.
    fn packets(footage: &Footage, pictures: i64) -> Vec<Vec<u8>> {
        let (mut bytes, mut sequence) = (Vec::new(), 0);
        for index in 0..pictures {
            footage.append(START_US / PICTURE_US + index, &mut sequence, &mut bytes);
        }
        let (mut rest, mut packets) = (&bytes[..], Vec::new());
        while let [_, _, high, low, behind @ ..] = rest {
            let (packet, after) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            packets.push(packet.to_vec());
            rest = after;
        }
        packets
    }

    fn judge(footage: Option<Arc<Footage>>, packets: &[Vec<u8>]) -> Verdict {
        let begins = footage.as_ref().map(|_| START_US);
        let mut checker = Checker::new(footage, begins, now());
        for packet in packets {
            checker.packet(packet, now());
        }
        checker.verdict
    }

    #[test]
    fn what_is_right_has_no_fault() {
        let footage = Arc::new(Footage::new(1_000));
        let packets = packets(&footage, 120);
        for known in [Some(footage), None] {
            let verdict = judge(known, &packets);
            assert_eq!((verdict.pictures, verdict.faults), (120, 0), "{verdict:?}");
        }
    }

    #[test]
    fn what_is_lost_repeated_or_late_is_seen() {
        let footage = Arc::new(Footage::new(1_000));
        let whole = packets(&footage, 60);
        let per_picture = whole.len() / 60;
        let mut lost = whole.clone();
        lost.remove(per_picture * 10);
        assert!(judge(Some(Arc::clone(&footage)), &lost).faults > 0);
        assert!(judge(None, &lost).faults > 0);
        // A picture that is left out, numbers mended.
        let mut leapt = packets(&footage, 10);
        leapt.extend(packets(&footage, 12).split_off(packets(&footage, 11).len()));
        for (number, packet) in leapt.iter_mut().enumerate() {
            packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        }
        let verdict = judge(Some(Arc::clone(&footage)), &leapt);
        assert_eq!(verdict.missing, 1, "{verdict:?}");
        let mut twice = packets(&footage, 10);
        let of_one = twice.len() - packets(&footage, 9).len();
        twice.extend(twice[twice.len() - of_one..].to_vec());
        for (number, packet) in twice.iter_mut().enumerate() {
            packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        }
        assert_eq!(judge(Some(Arc::clone(&footage)), &twice).repeated, 1);
        let late = &whole[packets(&footage, 50).len()..];
        assert!(judge(Some(footage), late).faults > 0);
    }

    #[test]
    fn what_a_relay_of_live_streams_drops_is_counted() {
        let mut packets = packets(&Footage::new(1_000), 20);
        packets.drain(7..10);
        let mut checker = Checker::new(None, None, now());
        checker.may_drop = true;
        for packet in &packets {
            checker.packet(packet, now());
        }
        let verdict = &checker.verdict;
        assert_eq!((verdict.dropped, verdict.faults), (3, 0), "{verdict:?}");
        // What comes again is wrong all the same.
        checker.packet(&packets[0], now());
        assert!(checker.verdict.faults > 0);
    }

    #[test]
    fn another_recorders_pictures_are_told_apart() {
        let (one, other) = (Footage::marked(1_000, 1), Footage::marked(1_000, 2));
        let mut stream = packets(&one, 50);
        let joined = stream.len();
        stream.extend(packets(&other, 60).split_off(joined));
        let verdict = judge(Some(Arc::new(one)), &stream);
        assert_eq!(
            (verdict.seams_ms.len(), verdict.faults),
            (1, 0),
            "{verdict:?}"
        );
    }
}
