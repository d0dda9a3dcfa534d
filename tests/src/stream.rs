//! RTP as it came: the fields of each packet, and whether a track is one unbroken stream.

use std::time::Duration;

use crate::{
    clock::{from_ntp, iso},
    rtsp::Frame,
};

/// The ONVIF replay header extension (0xABAC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onvif {
    /// UTC of the access unit in milliseconds since 1970.
    pub capture_ms: i64,
    /// C, E, D and T, in the four upper bits.
    flags: u8,
    /// Low byte of the PLAY request's `CSeq`.
    pub cseq: u8,
}

impl Onvif {
    /// C: decoding can start here.
    pub fn clean_point(self) -> bool {
        self.flags & 0x80 != 0
    }

    /// E: the last of a contiguous section.
    pub fn section_end(self) -> bool {
        self.flags & 0x40 != 0
    }

    /// D: follows a discontinuity in transmission.
    pub fn discontinuity(self) -> bool {
        self.flags & 0x20 != 0
    }

    /// T: the last of all.
    pub fn terminal(self) -> bool {
        self.flags & 0x10 != 0
    }
}

/// One RTP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When it arrived, monotonic.
    pub arrival: Duration,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// In units of the track's clock.
    pub rtp_time: u32,
    /// The marker bit.
    pub marker: bool,
    /// The header extension, when it is an 0xABAC of length 3.
    pub onvif: Option<Onvif>,
    /// Without header, extension and padding.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads a frame of an RTP channel; panics when it is not RTP.
    pub fn read(frame: &Frame) -> Self {
        let bytes = &frame.bytes;
        assert!(
            bytes.len() >= 12 && bytes[0] >> 6 == 2,
            "not RTP: {:02x?}",
            &bytes[..bytes.len().min(16)]
        );
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut payload_at = 12 + 4 * usize::from(bytes[0] & 15);
        let mut onvif = None;
        if bytes[0] & 0x10 != 0 {
            let (head, data_at) = (word(payload_at), payload_at + 4);
            payload_at = data_at + 4 * (head & 0xFFFF) as usize;
            if head == 0xABAC_0003 {
                let ntp = u64::from(word(data_at)) << 32 | u64::from(word(data_at + 4));
                let (flags, cseq) = (bytes[data_at + 8], bytes[data_at + 9]);
                onvif = Some(Onvif {
                    capture_ms: from_ntp(ntp),
                    flags,
                    cseq,
                });
            }
        }
        let padding = if bytes[0] & 0x20 == 0 {
            0
        } else {
            usize::from(bytes[bytes.len() - 1])
        };
        Self {
            arrival: frame.arrival,
            ssrc: word(8),
            payload_type: bytes[1] & 0x7F,
            sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
            rtp_time: word(4),
            marker: bytes[1] & 0x80 != 0,
            onvif,
            payload: bytes[payload_at..bytes.len() - padding].to_vec(),
        }
    }
}

/// The packets of one access unit or audio frame.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Of its first packet.
    pub arrival: Duration,
    /// In units of the track's clock.
    pub rtp_time: u32,
    /// UTC in milliseconds since 1970, where the packets say it.
    pub capture_ms: Option<i64>,
    /// Flags of all its packets together.
    pub onvif: Option<Onvif>,
    /// How many packets.
    pub packets: usize,
}

/// Groups packets by their RTP time.
pub fn units(packets: &[Packet]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for packet in packets {
        match units
            .last_mut()
            .filter(|unit| unit.rtp_time == packet.rtp_time)
        {
            Some(unit) => {
                unit.packets += 1;
                if let (Some(all), Some(this)) = (&mut unit.onvif, packet.onvif) {
                    all.flags |= this.flags;
                }
            }
            None => units.push(Unit {
                arrival: packet.arrival,
                rtp_time: packet.rtp_time,
                capture_ms: packet.onvif.map(|onvif| onvif.capture_ms),
                onvif: packet.onvif,
                packets: 1,
            }),
        }
    }
    units
}

/// Panics unless all packets have one SSRC and one payload type, and their sequence numbers are dense.
pub fn assert_one_stream(packets: &[Packet]) {
    let first = packets.first().expect("a track has packets");
    for pair in packets.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert_eq!(
            after.ssrc, first.ssrc,
            "a second SSRC after sequence {}",
            before.sequence
        );
        assert_eq!(
            after.payload_type, first.payload_type,
            "a second payload type after {}",
            before.sequence
        );
        assert_eq!(
            after.sequence,
            before.sequence.wrapping_add(1),
            "a break of the sequence"
        );
    }
}

/// Panics unless every packet has the ONVIF extension of the PLAY with this `CSeq`.
pub fn assert_stamped(packets: &[Packet], cseq: u32) {
    for packet in packets {
        let onvif = packet
            .onvif
            .unwrap_or_else(|| panic!("packet {} has no 0xABAC", packet.sequence));
        assert_eq!(
            onvif.cseq, cseq as u8,
            "packet {} is of another PLAY",
            packet.sequence
        );
    }
}

/// The steps of capture time that are not `step` milliseconds: (before, after).
pub fn uneven_steps(units: &[Unit], step: i64) -> Vec<(String, String)> {
    let captures: Vec<i64> = units.iter().filter_map(|unit| unit.capture_ms).collect();
    let uneven = captures.windows(2).filter(|pair| pair[1] - pair[0] != step);
    uneven.map(|pair| (iso(pair[0]), iso(pair[1]))).collect()
}

/// The longest time between two arrivals, and the capture time (or RTP time) of the unit that came late.
pub fn longest_stall(units: &[Unit]) -> (Duration, i64) {
    let stalls = units.windows(2).map(|pair| {
        let at = pair[1].capture_ms.unwrap_or(i64::from(pair[1].rtp_time));
        (pair[1].arrival.saturating_sub(pair[0].arrival), at)
    });
    stalls.max_by_key(|(wait, _)| *wait).unwrap_or_default()
}
