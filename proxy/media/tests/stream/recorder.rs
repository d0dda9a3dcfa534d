//! A recorder by script: packets as they lie in a read buffer, and a reader of what a client gets.
use bytes::{BufMut, BytesMut};
use seamline_media::abac::Replay;
use seamline_media::rtp::{Packet, first_frame_bytes};
use seamline_media::{
    CaptureClock, Codec, Flags, Markers, OutQueue, OutTrack, ParameterSets, TrackFormat,
};

/// 2026-01-02T03:04:05Z
pub(crate) const START_US: i64 = 1_767_323_045_000_000;
pub(crate) const PAYLOAD_TYPE: u8 = 96;

/// First slices of pictures: macroblock 0 and the slice type, then filling.
pub(crate) const IDR: &[u8] = &[0x65, 0x88, 0x84, 1, 2, 3];
pub(crate) const P: &[u8] = &[0x41, 0x9a, 1, 2, 3];
pub(crate) const B: &[u8] = &[0x01, 0x9e, 1, 2, 3];
/// Macroblock 1 first: the rest of a picture.
pub(crate) const P_REST: &[u8] = &[0x41, 0x4d, 1, 2];
pub(crate) const I: &[u8] = &[0x41, 0x88, 1, 2, 3];
pub(crate) const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 9];
pub(crate) const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
pub(crate) const AUD: &[u8] = &[0x09, 0xf0];
pub(crate) const RECOVERY_SEI: &[u8] = &[0x06, 0x06, 0x01, 0xc4, 0x80];

/// One packet to be.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) channel: u8,
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) replay: Option<Replay>,
    pub(crate) payload: Vec<u8>,
}

/// A recorder that numbers its packets.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) next: Script,
    pub(crate) buffer: BytesMut,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            next: Script {
                channel: 4,
                payload_type: PAYLOAD_TYPE,
                ssrc: 0x1234_5678,
                sequence: 65_530,
                timestamp: u32::MAX - 10_000,
                marker: false,
                replay: None,
                payload: Vec::new(),
            },
            buffer: BytesMut::new(),
        }
    }

    /// Sets time and stamp of what follows, `us` after the start.
    pub(crate) fn at(&mut self, us: i64) -> &mut Self {
        self.next.timestamp = (u32::MAX - 10_000).wrapping_add((us * 9 / 100) as u32);
        self.next.replay = Some(Replay {
            ntp: seamline_media::ntp::from_unix_us(START_US + us),
            flags: Flags::NONE,
            cseq: 9,
        });
        self
    }

    pub(crate) fn flags(&mut self, flags: Flags) -> &mut Self {
        if let Some(replay) = &mut self.next.replay {
            replay.flags = flags;
        }
        self
    }

    pub(crate) fn send(&mut self, payload: &[u8], marker: bool) -> &mut Self {
        self.next.payload = payload.to_vec();
        self.next.marker = marker;
        put(&mut self.buffer, &self.next);
        self.next.sequence = self.next.sequence.wrapping_add(1);
        self
    }

    /// The frames sent so far, split off one read buffer.
    pub(crate) fn frames(&mut self) -> Vec<BytesMut> {
        frames(&mut self.buffer)
    }
}

pub(crate) fn put(buffer: &mut BytesMut, script: &Script) {
    let extension = script.replay.map(Replay::to_bytes);
    let length = 12 + extension.map_or(0, |bytes| bytes.len()) + script.payload.len();
    buffer.put_slice(&[b'$', script.channel]);
    buffer.put_u16(length as u16);
    buffer.put_u8(if extension.is_some() { 0x90 } else { 0x80 });
    buffer.put_u8(script.payload_type | if script.marker { 0x80 } else { 0 });
    buffer.put_u16(script.sequence);
    buffer.put_u32(script.timestamp);
    buffer.put_u32(script.ssrc);
    if let Some(bytes) = extension {
        buffer.put_slice(&bytes);
    }
    buffer.put_slice(&script.payload);
}

pub(crate) fn frames(buffer: &mut BytesMut) -> Vec<BytesMut> {
    let mut frames = Vec::new();
    while let Some(length) = first_frame_bytes(buffer) {
        frames.push(buffer.split_to(length));
    }
    frames
}

pub(crate) fn video(codec: Codec, markers: Markers) -> TrackFormat {
    TrackFormat {
        codec,
        clock_rate: 90_000,
        payload_type: PAYLOAD_TYPE,
        markers,
    }
}

pub(crate) fn clock(tracks: usize) -> CaptureClock {
    CaptureClock::new(std::iter::repeat_n(90_000, tracks), START_US, 0, 1.0)
}

pub(crate) fn out_track(codec: Codec, ssrc: u32) -> OutTrack {
    OutTrack {
        channel_rtp: 0,
        channel_rtcp: 1,
        payload_type: 100,
        ssrc,
        first_seq: 65_000,
        first_rtptime: 1_500_000_000,
        clock_rate: 90_000,
        codec,
        announced: ParameterSets::default(),
        packet_bytes_max: usize::MAX,
    }
}

/// Everything in a queue, read in pieces of `step` bytes.
pub(crate) fn drain(queue: &mut OutQueue, step: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !queue.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let filled = queue.io_slices(&mut slices);
        let first = slices[..filled].first().unwrap();
        let written = first.len().min(step);
        bytes.extend_from_slice(&first[..written]);
        queue.advance(written);
    }
    bytes
}

/// A packet as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) channel: u8,
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) replay: Option<Replay>,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn read(mut bytes: &[u8]) -> Vec<Got> {
    let mut got = Vec::new();
    while let Some(length) = first_frame_bytes(bytes) {
        let (frame, rest) = bytes.split_at(length);
        let packet = Packet::parse_frame(frame).unwrap();
        let independent = rtp_types::RtpPacket::parse(&frame[4..]).unwrap();
        assert_eq!(independent.sequence_number(), packet.sequence);
        assert_eq!(independent.timestamp(), packet.timestamp);
        assert_eq!(independent.payload(), packet.payload);
        assert_eq!(independent.n_csrcs(), 0);
        got.push(Got {
            channel: frame[1],
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            replay: packet.replay(),
            payload: packet.payload.to_vec(),
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "whole frames only");
    got
}

/// NAL units of payloads, fragments joined, by a reader of its own.
pub(crate) fn nals<'a>(codec: Codec, payloads: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    for payload in payloads {
        match (codec, payload[0] & 0x1f, (payload[0] >> 1) & 0x3f) {
            (Codec::H264, 28, _) => {
                if payload[1] & 0x80 != 0 {
                    nals.push(vec![payload[0] & 0xe0 | payload[1] & 0x1f]);
                }
                nals.last_mut().unwrap().extend_from_slice(&payload[2..]);
            }
            (Codec::H265, _, 49) => {
                if payload[2] & 0x80 != 0 {
                    let first = payload[0] & 0x81 | (payload[2] & 0x3f) << 1;
                    nals.push(vec![first, payload[1]]);
                }
                nals.last_mut().unwrap().extend_from_slice(&payload[3..]);
            }
            _ => nals.push(payload.to_vec()),
        }
    }
    nals
}
