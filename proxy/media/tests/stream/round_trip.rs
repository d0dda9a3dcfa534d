//! Packetize, assemble, splice: what a client gets is what archives held, in one numbering, wherever
//! the seams fall.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use seamline_media::{
    Assembler, Codec, Ending, Flags, Frame, Framing, How, LegFormat, Markers, OutQueue, Pacing,
    Packetizer, ParameterSets, Play, Splice, Unit, ntp,
};

use crate::recorder::{Got, PAYLOAD_TYPE, START_US, clock, drain, nals, out_track, read, video};

const FRAME_US: i64 = 40_000;
const GOP: usize = 5;

/// One picture of a leg: its NAL units, without parameter sets.
#[derive(Clone, Debug)]
struct Picture {
    capture_us: i64,
    nals: Vec<Vec<u8>>,
    sync: bool,
}

#[derive(Clone, Debug)]
struct Leg {
    pictures: Vec<Picture>,
    preroll: usize,
    hole: bool,
    stamped: bool,
    markers: Markers,
    sets: ParameterSets,
}

fn slice(codec: Codec, sync: bool, size: usize, fill: u8) -> Vec<u8> {
    let mut nal = match (codec, sync) {
        (Codec::H265, true) => vec![19 << 1, 1, 0x80],
        (Codec::H265, false) => vec![1 << 1, 1, 0x80],
        (_, true) => vec![0x65, 0x88],
        (_, false) => vec![0x41, 0x9a],
    };
    nal.resize(nal.len() + size, fill | 1);
    nal
}

fn sets(codec: Codec, leg: u8) -> ParameterSets {
    let set = |kind: u8| match codec {
        Codec::H265 => vec![Bytes::copy_from_slice(&[kind << 1, 1, leg, 0x80])],
        _ => vec![Bytes::copy_from_slice(&[kind, 0x42, leg, 0x1e])],
    };
    match codec {
        Codec::H265 => ParameterSets {
            vps: set(32),
            sps: set(33),
            pps: set(34),
        },
        _ => ParameterSets {
            vps: Vec::new(),
            sps: set(0x67),
            pps: set(0x68),
        },
    }
}

prop_compose! {
    fn any_leg(codec: Codec)(
        sizes in prop::collection::vec(prop_oneof![0usize..200, 1390usize..1410, 2000usize..6000], 1..12),
        second_slice: bool,
        preroll in 0usize..GOP,
        hole: bool,
        stamped: bool,
        marked: bool,
        fill: u8,
    ) -> Leg {
        let pictures = sizes.iter().enumerate().map(|(index, &size)| {
            let sync = index % GOP == 0;
            let mut nals = vec![slice(codec, sync, size, fill)];
            if second_slice {
                // Not the first of its picture.
                let mut rest = slice(codec, false, size / 2, fill);
                rest[if codec == Codec::H265 { 2 } else { 1 }] = 0x4d;
                nals.push(rest);
            }
            Picture { capture_us: 0, nals, sync }
        });
        Leg {
            pictures: pictures.collect(),
            preroll,
            hole,
            stamped,
            markers: if marked { Markers::Trusted } else { Markers::Unknown },
            sets: ParameterSets::default(),
        }
    }
}

/// Legs on one footage clock: each leg's preroll lies before its seam.
fn dated(codec: Codec, mut legs: Vec<Leg>) -> Vec<Leg> {
    let mut next_us = START_US;
    for (number, leg) in legs.iter_mut().enumerate() {
        leg.sets = sets(codec, number as u8 + 1);
        leg.preroll = leg.preroll.min(leg.pictures.len() - 1);
        next_us += if leg.hole && number > 0 { 7_000_000 } else { 0 };
        let first_us = next_us - leg.preroll as i64 * FRAME_US;
        for (index, picture) in leg.pictures.iter_mut().enumerate() {
            picture.capture_us = first_us + index as i64 * FRAME_US;
            next_us = picture.capture_us + FRAME_US;
        }
    }
    legs
}

/// Plays a leg out of an archive and through a connection that reads `read_bytes` at a time.
fn assembled(codec: Codec, leg: &Leg, read_bytes: usize) -> Vec<Unit> {
    let mut packetizer = Packetizer::new(0, codec, PAYLOAD_TYPE);
    let mut wire = Vec::new();
    for picture in &leg.pictures {
        let mut data = Vec::new();
        for nal in &picture.nals {
            data.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            data.extend_from_slice(nal);
        }
        let frame = Frame {
            data: &data,
            framing: Framing::LengthPrefixed(4),
            capture_us: picture.capture_us,
            rtp_time: (picture.capture_us * 9 / 100) as u32,
            sync: picture.sync,
            flags: Flags::NONE,
        };
        let unit = packetizer.unit(&frame).unwrap();
        assert_eq!(unit.random_access, picture.sync);
        for frame in unit.packets.iter() {
            wire.extend_from_slice(frame);
        }
    }
    if !leg.stamped {
        wire = without_extension(&wire);
    }
    let first_us = leg.pictures[0].capture_us;
    let mut clock = clock(1);
    clock.play_reply(0, first_us, (first_us * 9 / 100) as u32);
    let mut assembler = Assembler::new(vec![video(codec, leg.markers)], clock);
    let mut units = VecDeque::new();
    let mut buffer = BytesMut::new();
    for piece in wire.chunks(read_bytes) {
        buffer.extend_from_slice(piece);
        while let Some(length) = seamline_media::rtp::first_frame_bytes(&buffer) {
            assembler
                .push(0, buffer.split_to(length), &mut units)
                .unwrap();
        }
    }
    assembler.flush(Ending::Lost, &mut units);
    assert_eq!(assembler.counts().dropped(), 0);
    units.into()
}

fn without_extension(wire: &[u8]) -> Vec<u8> {
    let mut bare = BytesMut::new();
    for got in read(wire) {
        let script = crate::recorder::Script {
            channel: got.channel,
            payload_type: got.payload_type,
            ssrc: got.ssrc,
            sequence: got.sequence,
            timestamp: got.timestamp,
            marker: got.marker,
            replay: None,
            payload: got.payload,
        };
        crate::recorder::put(&mut bare, &script);
    }
    bare.to_vec()
}

struct Played {
    got: Vec<Got>,
    /// Packets of each unit, with whether it was preroll and its capture time.
    units: Vec<(usize, bool, i64)>,
}

fn played(
    codec: Codec,
    pacing: Pacing,
    legs: &[Leg],
    read_bytes: usize,
    write_bytes: usize,
) -> Played {
    let mut track = out_track(codec, 0xCAFE);
    track.announced = sets(codec, 1);
    let mut splice = Splice::new(vec![track]);
    splice.start_play(Play {
        cseq: 7,
        pacing,
        scale: 1.0,
        start_us: START_US,
        hole_us: 0,
        extension: true,
    });
    let mut out = OutQueue::new();
    let mut units = Vec::new();
    for leg in legs {
        let seam_us = leg.pictures[leg.preroll].capture_us;
        splice.begin_leg(LegFormat {
            parameter_sets: vec![leg.sets.clone()],
            discontinuity: leg.hole.then_some(seam_us),
        });
        for unit in assembled(codec, leg, read_bytes) {
            let capture_us = unit.capture_us;
            let preroll = capture_us < seam_us;
            assert!(splice.decodable(&unit));
            let how = if preroll { How::PREROLL } else { How::NORMAL };
            let written = splice.write(unit, how, &mut out).unwrap();
            assert!(!written.sets_missing);
            units.push((written.packets, preroll, capture_us));
        }
    }
    assert_eq!(splice.counts().clamped, 0);
    Played {
        got: read(&drain(&mut out, write_bytes)),
        units,
    }
}

fn check(codec: Codec, pacing: Pacing, legs: &[Leg], played: &Played) {
    let Played { got, units } = played;
    assert_eq!(units.iter().map(|unit| unit.0).sum::<usize>(), got.len());
    for pair in got.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
    assert!(
        got.iter()
            .all(|packet| (packet.channel, packet.payload_type, packet.ssrc) == (0, 100, 0xCAFE))
    );

    let mut rest = &got[..];
    let mut last_time = None;
    for &(count, preroll, capture_us) in units {
        let (packets, after) = rest.split_at(count);
        rest = after;
        let time = packets[0].timestamp;
        for (index, packet) in packets.iter().enumerate() {
            assert_eq!(packet.timestamp, time, "one time for a unit");
            assert_eq!(packet.marker, index + 1 == count, "the marker ends it");
            let replay = packet.replay.expect("on every packet");
            assert_eq!(
                (replay.ntp, replay.cseq),
                (ntp::from_unix_us(capture_us), 7)
            );
            assert!(index == 0 || replay.flags == Flags::NONE);
        }
        if let Some(last) = last_time {
            let step = time.wrapping_sub(last) as i32;
            assert!(step > 0, "times rise");
            match pacing {
                Pacing::RateControlled => assert!(step <= 3600, "and never jump: {step}"),
                Pacing::Unpaced { .. } if preroll => assert_eq!(step, 1),
                Pacing::Unpaced { .. } => {}
            }
        }
        if let (Pacing::Unpaced { reference_us }, false, true) =
            (pacing, preroll, capture_us > START_US)
        {
            let ticks = ((capture_us - reference_us) * 9 / 100) as u32;
            assert_eq!(time, 1_500_000_000u32.wrapping_add(ticks));
        }
        last_time = Some(time);
    }

    let expected = legs.iter().flat_map(|leg| {
        leg.pictures.iter().flat_map(|picture| {
            let foreign = leg.sets != sets(codec, 1);
            let sets =
                if picture.sync && (foreign || std::ptr::eq(picture, &raw const leg.pictures[0])) {
                    leg.sets
                        .vps
                        .iter()
                        .chain(&leg.sets.sps)
                        .chain(&leg.sets.pps)
                        .map(|set| set.to_vec())
                        .collect()
                } else {
                    Vec::new()
                };
            sets.into_iter().chain(picture.nals.iter().cloned())
        })
    });
    let expected: Vec<Vec<u8>> = expected.collect();
    assert_eq!(
        nals(codec, got.iter().map(|packet| &packet.payload[..])),
        expected
    );
}

fn legs(codec: Codec) -> impl Strategy<Value = Vec<Leg>> {
    prop::collection::vec(any_leg(codec), 1..4).prop_map(move |legs| dated(codec, legs))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_unit_once_in_one_stream(
        (codec, legs) in prop_oneof![Just(Codec::H264), Just(Codec::H265)]
            .prop_flat_map(|codec| (Just(codec), legs(codec))),
        rate_controlled: bool,
        read_bytes in 1usize..70_000,
        write_bytes in 1usize..70_000,
    ) {
        let pacing = if rate_controlled {
            Pacing::RateControlled
        } else {
            Pacing::Unpaced { reference_us: START_US }
        };
        let played = played(codec, pacing, &legs, read_bytes, write_bytes);
        check(codec, pacing, &legs, &played);
    }
}
