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
    /// Longest time between two pictures, in ms.
    pub(crate) stall_ms_max: f64,
}

impl Verdict {
    /// The verdicts of several players as one.
    pub(crate) fn merged(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            pictures: sum.pictures + one.pictures,
            packets: sum.packets + one.packets,
            faults: sum.faults + one.faults,
            first_fault: sum.first_fault.or(one.first_fault),
            stall_ms_max: sum.stall_ms_max.max(one.stall_ms_max),
        })
    }
}

/// Follows one stream.
#[derive(Debug)]
pub(crate) struct Checker {
    footage: Arc<Footage>,
    /// Sequence number and source of the last packet.
    last: Option<(u16, u32)>,
    /// Capture time and RTP time of the last whole picture.
    picture: Option<(i64, u32)>,
    payload_bytes: usize,
    seen: Option<Instant>,
    pub(crate) verdict: Verdict,
}

impl Checker {
    pub(crate) fn new(footage: Arc<Footage>) -> Self {
        Self {
            footage,
            last: None,
            picture: None,
            payload_bytes: 0,
            seen: None,
            verdict: Verdict::default(),
        }
    }

    /// Looks at one RTP packet, which arrived at `now`.
    pub(crate) fn packet(&mut self, packet: &[u8], now: Instant) {
        let Some((head, payload)) = packet.split_first_chunk::<28>() else {
            return self.fault("a packet without its extension");
        };
        if head[0] != 0x90 || head[12..16] != [0xab, 0xac, 0, 3] {
            return self.fault("a packet without its extension");
        }
        let sequence = u16::from_be_bytes([head[2], head[3]]);
        let timestamp = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let ssrc = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if let Some((last, source)) = self.last {
            if sequence != last.wrapping_add(1) {
                self.fault(format!("sequence number {sequence} behind {last}"));
            }
            if ssrc != source {
                self.fault("another source");
            }
        }
        self.last = Some((sequence, ssrc));
        self.verdict.packets += 1;
        self.payload_bytes += payload.len();
        if head[1] & 0x80 != 0 {
            let mut ntp = [0; 8];
            ntp.copy_from_slice(&head[16..24]);
            self.whole_picture(from_ntp(u64::from_be_bytes(ntp)), timestamp, now);
        }
    }

    fn whole_picture(&mut self, capture_us: i64, timestamp: u32, now: Instant) {
        if let Some((last_us, last_time)) = self.picture {
            let step = capture_us - last_us;
            if (step - PICTURE_US).abs() > 2 {
                self.fault(format!("capture time goes on by {step} µs"));
            }
            if timestamp.wrapping_sub(last_time) as i32 <= 0 {
                self.fault("RTP time does not go on");
            }
        }
        // The fraction of an NTP time is cut off on the way: the nearest picture is meant.
        let nearest = (capture_us + PICTURE_US / 2).div_euclid(PICTURE_US) * PICTURE_US;
        let expected = self.footage.payload_bytes(nearest);
        if self.payload_bytes != expected {
            let got = self.payload_bytes;
            self.fault(format!("picture of {got} bytes in place of {expected}"));
        }
        self.payload_bytes = 0;
        self.picture = Some((capture_us, timestamp));
        if let Some(seen) = self.seen {
            let stall = now.saturating_duration_since(seen);
            self.verdict.stall_ms_max = self.verdict.stall_ms_max.max(ms(stall));
        }
        self.seen = Some(now);
        self.verdict.pictures += 1;
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.verdict.faults += 1;
        if self.verdict.first_fault.is_none() {
            self.verdict.first_fault = Some(what.into());
        }
    }
}

/// Milliseconds.
pub(crate) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
