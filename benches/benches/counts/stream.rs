//! A stream as a recorder sends it, and the machines that it goes through.

use std::collections::VecDeque;

use bytes::BytesMut;
use seamline_media::{
    Assembler, CaptureClock, Codec, Kind, LegFormat, Markers, OutTrack, Pacing, ParameterSets,
    Play, Sampler, Splice, TrackFormat, Unit,
};

pub(crate) const PICTURES: u64 = 100;
/// Packets of a picture: 20 kB, 25 times a second are 4 Mbit/s.
pub(crate) const PACKETS: u64 = 15;
pub(crate) const PAYLOAD_BYTES: usize = 1_380;
const START_US: i64 = 1_704_067_200_000_000;
const PICTURE_US: i64 = 40_000;
const GROUP: u64 = 50;
const READ_BYTES: usize = 64 * 1024;
const SETS: [&[u8]; 2] = [
    &[0x67, 0x42, 0x00, 0x0a, 0x96, 0x53, 0x05, 0x89, 0x88],
    &[0x68, 0xc9, 0x63, 0x88],
];

/// A stream as reads bring it: whole frames up to 64 KiB.
pub(crate) fn reads() -> Vec<BytesMut> {
    let mut reads = Vec::new();
    let mut read = BytesMut::with_capacity(READ_BYTES);
    let mut sequence = 0_u16;
    for picture in 0..PICTURES {
        for packet in 0..PACKETS {
            let frame = frame(picture, packet, sequence);
            sequence = sequence.wrapping_add(1);
            if read.len() + frame.len() > READ_BYTES {
                reads.push(std::mem::replace(
                    &mut read,
                    BytesMut::with_capacity(READ_BYTES),
                ));
            }
            read.extend_from_slice(&frame);
        }
    }
    reads.push(read);
    reads
}

/// One packet of a picture that is one slice in fragments (FU-A), behind the sets where it is a key picture.
fn frame(picture: u64, packet: u64, sequence: u16) -> Vec<u8> {
    let key = picture.is_multiple_of(GROUP);
    let sets = if key { SETS.len() as u64 } else { 0 };
    let payload = if packet < sets {
        SETS[packet as usize].to_vec()
    } else {
        let first = u8::from(packet == sets) << 7;
        let last = u8::from(packet + 1 == PACKETS) << 6;
        let (nal, header): (u8, u8) = if key { (0x65, 0x7c) } else { (0x41, 0x5c) };
        let mut payload = vec![picture as u8 | 0x80; PAYLOAD_BYTES];
        payload[0] = header;
        payload[1] = first | last | nal & 0x1f;
        payload
    };
    let capture_us = START_US + picture as i64 * PICTURE_US;
    let mut rtp = vec![0x90, 0x60 | u8::from(packet + 1 == PACKETS) << 7];
    rtp.extend(sequence.to_be_bytes());
    rtp.extend(((capture_us * 9 / 100) as u32).to_be_bytes());
    rtp.extend(b"seam");
    rtp.extend([0xab, 0xac, 0, 3]);
    rtp.extend(seamline_media::ntp::from_unix_us(capture_us).to_be_bytes());
    rtp.extend([0; 4]);
    rtp.extend(payload);
    let mut frame = vec![b'$', 0];
    frame.extend((rtp.len() as u16).to_be_bytes());
    frame.extend(rtp);
    frame
}

pub(crate) fn assembler() -> Assembler {
    let format = TrackFormat {
        codec: Codec::H264,
        clock_rate: 90_000,
        payload_type: 96,
        markers: Markers::Trusted,
    };
    Assembler::new(vec![format], CaptureClock::new([90_000], START_US, 0, 1.0))
}

pub(crate) fn units() -> Vec<Unit> {
    let mut units = VecDeque::new();
    let mut assembler = assembler();
    for mut read in reads() {
        while assembler.push_run(0, 0, &mut read, &mut units) {}
    }
    units.into()
}

pub(crate) fn splice() -> Splice {
    let mut splice = Splice::new(vec![OutTrack {
        channel_rtp: 2,
        channel_rtcp: 3,
        payload_type: 100,
        ssrc: 7,
        first_seq: 65_000,
        first_rtptime: 1,
        clock_rate: 90_000,
        codec: Codec::H264,
        announced: ParameterSets::default(),
        packet_bytes_max: usize::MAX,
    }]);
    splice.start_play(Play {
        cseq: 1,
        pacing: Pacing::RateControlled,
        scale: 1.0,
        start_us: START_US,
        hole_us: 0,
        extension: true,
    });
    splice.begin_leg(LegFormat::default());
    splice
}

pub(crate) fn sampler() -> Sampler {
    let mut sampler = Sampler::new([Some(Kind::H264)]);
    sampler.begin_leg(&LegFormat::default());
    sampler
}
