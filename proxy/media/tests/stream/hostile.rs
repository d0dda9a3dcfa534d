//! Recorders that send nonsense: never a panic, never garbage onwards, every packet accounted for.

use std::collections::VecDeque;

use bytes::BytesMut;
use proptest::prelude::*;
use seamline_media::rtp::{Packet, RtpError};
use seamline_media::{
    Assembler, Codec, Dropped, Ending, Flags, Fragments, How, LegFormat, Markers, OutQueue, Pacing,
    ParameterSets, PayloadError, Play, Splice, Unit, h264, h265, rtcp,
};

use crate::recorder::{
    AUD, B, I, IDR, P, P_REST, PPS, RECOVERY_SEI, Recorder, SPS, START_US, clock, drain, out_track,
    read, video,
};

const CODECS: [Codec; 5] = [
    Codec::H264,
    Codec::H265,
    Codec::Jpeg,
    Codec::Metadata,
    Codec::Other,
];

/// What a recorder does wrong with one packet.
#[derive(Clone, Debug)]
enum Fault {
    None,
    Flip { at: usize, mask: u8 },
    Cut { to: usize },
    Grow { by: usize },
    Drop,
    Repeat,
    Timestamp(u32),
    Sequence(u16),
    Source(u32),
    Ntp(u64),
    Flags(u8),
    Payload(Vec<u8>),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        2 => (0usize..60, 1u8..).prop_map(|(at, mask)| Fault::Flip { at, mask }),
        1 => (0usize..60).prop_map(|to| Fault::Cut { to }),
        1 => (1usize..60).prop_map(|by| Fault::Grow { by }),
        1 => Just(Fault::Drop),
        1 => Just(Fault::Repeat),
        1 => any::<u32>().prop_map(Fault::Timestamp),
        1 => any::<u16>().prop_map(Fault::Sequence),
        1 => any::<u32>().prop_map(Fault::Source),
        1 => any::<u64>().prop_map(Fault::Ntp),
        1 => any::<u8>().prop_map(Fault::Flags),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Fault::Payload),
    ]
}

fn payload() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![
        Just(IDR),
        Just(P),
        Just(B),
        Just(I),
        Just(P_REST),
        Just(SPS),
        Just(PPS),
        Just(AUD),
        Just(RECOVERY_SEI),
        Just(&[0x7c, 0x85, 0x88, 1][..]),
        Just(&[0x7c, 0x05, 1][..]),
        Just(&[0x7c, 0x45, 1][..]),
        Just(&[0x78, 0, 2, 0x67, 1, 0, 9, 1][..]),
        Just(&[0x62, 1, 0x93, 0x80][..]),
        Just(&[0x62, 1, 0x13, 1][..]),
        Just(&[0x2a, 1, 0x80][..]),
    ]
}

/// What a recorder sends: payload, marker, whether the time goes on, and what is wrong with it.
type Sent = (&'static [u8], bool, bool, Fault);

/// Packets of all kinds.
fn mixture() -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec((payload(), any::<bool>(), any::<bool>(), fault()), 1..60)
}

/// Long NAL units in many fragments, of which few are the first or last, as most of what is sent is.
fn fragmented() -> impl Strategy<Value = Vec<Sent>> {
    let piece = prop_oneof![
        1 => Just(&[0x7c, 0x85, 0x88, 1][..]),
        8 => Just(&[0x7c, 0x05, 1][..]),
        1 => Just(&[0x7c, 0x05, 1, 2, 3, 4][..]),
        1 => Just(&[0x7c, 0x05][..]),
        1 => Just(&[0x7c, 0x45, 1][..]),
        1 => Just(&[0x62, 1, 0x93, 0x80][..]),
        8 => Just(&[0x62, 1, 0x13, 1][..]),
        1 => Just(&[0x62, 1, 0x53, 1][..]),
        1 => payload(),
    ];
    let fault = prop_oneof![8 => Just(Fault::None), 1 => fault()];
    let rarely = || prop::bool::weighted(0.1);
    prop::collection::vec((piece, rarely(), rarely(), fault), 1..80)
}

/// Frames of a leg in which each packet may be faulty, whole by their length field.
fn frames(script: &[Sent]) -> Vec<BytesMut> {
    let mut recorder = Recorder::new();
    let mut us = 0;
    let mut frames = Vec::new();
    for (payload, marker, advance, fault) in script {
        us += if *advance { 40_000 } else { 0 };
        recorder.at(us);
        match fault {
            Fault::Timestamp(timestamp) => recorder.next.timestamp = *timestamp,
            Fault::Sequence(sequence) => recorder.next.sequence = *sequence,
            Fault::Source(ssrc) => recorder.next.ssrc = *ssrc,
            Fault::Ntp(ntp) => recorder.next.replay.as_mut().unwrap().ntp = *ntp,
            Fault::Flags(bits) => {
                recorder.flags(Flags::from_bits(*bits));
            }
            _ => {}
        }
        match fault {
            Fault::Payload(bytes) => recorder.send(bytes, *marker),
            _ => recorder.send(payload, *marker),
        };
        let mut frame = recorder.frames().remove(0);
        match fault {
            Fault::Flip { at, mask } => {
                let at = 4 + at % (frame.len() - 4);
                frame[at] ^= mask;
            }
            Fault::Cut { to } => frame.truncate((4 + to).min(frame.len())),
            Fault::Grow { by } => frame.resize(frame.len() + by, 0xff),
            Fault::Drop => continue,
            Fault::Repeat => frames.push(BytesMut::from(&frame[..])),
            _ => {}
        }
        let length = (frame.len() - 4) as u16;
        frame[2..4].copy_from_slice(&length.to_be_bytes());
        frames.push(frame);
    }
    frames
}

fn spliced(codec: Codec, units: Vec<Unit>, pacing: Pacing, scale: f64, preroll: usize) -> Vec<u8> {
    let mut splice = Splice::new(vec![out_track(codec, 1)]);
    splice.start_play(Play {
        cseq: 1,
        pacing,
        scale,
        start_us: START_US,
        hole_us: 0,
        extension: true,
    });
    splice.begin_leg(LegFormat::default());
    let mut out = OutQueue::new();
    for (index, unit) in units.into_iter().enumerate() {
        let how = if index < preroll {
            How::PREROLL
        } else {
            How::NORMAL
        };
        splice.write(unit, how, &mut out).unwrap();
    }
    drain(&mut out, 999)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn faulty_packets_never_reach_the_client(
        script in prop_oneof![mixture(), fragmented()],
        codec in prop::sample::select(&CODECS[..]),
        markers in prop_oneof![Just(Markers::Unknown), Just(Markers::Trusted), Just(Markers::Ignored)],
        scale in prop_oneof![Just(1.0), Just(-1.0), Just(4.0), Just(0.0), Just(f64::NAN)],
        rate_controlled: bool,
        preroll in 0usize..3,
    ) {
        let frames = frames(&script);
        let sent = frames.len() as u64;
        let mut assembler = Assembler::new(vec![video(codec, markers)], clock(1));
        let mut units = VecDeque::new();
        let mut refused = 0;
        for frame in frames {
            refused += u64::from(assembler.push(0, frame, &mut units).is_err());
        }
        assembler.flush(Ending::Clean, &mut units);
        let counts = *assembler.counts();
        prop_assert_eq!(counts.packets + counts.dropped(), sent);
        prop_assert_eq!(counts.dropped(), refused);
        prop_assert_eq!(counts.units, units.len() as u64);
        prop_assert!(units.iter().all(|unit| !unit.packets.is_empty()));

        let pacing = if rate_controlled { Pacing::RateControlled } else { Pacing::Unpaced { reference_us: START_US } };
        let packets: usize = units.iter().map(|unit| unit.packets.count()).sum();
        let got = read(&spliced(codec, units.into(), pacing, scale, preroll));
        prop_assert!(got.len() >= packets);
        prop_assert!(got.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
        prop_assert!(got.iter().all(|packet| packet.ssrc == 1 && packet.payload_type == 100));
    }

    /// A run of frames taken where they lie comes to the same as each of them alone, in whatever reads they came.
    #[test]
    fn runs_come_to_the_same_as_frames(
        script in prop_oneof![mixture(), fragmented()],
        codec in prop::sample::select(&CODECS[..]),
        markers in prop_oneof![Just(Markers::Unknown), Just(Markers::Trusted), Just(Markers::Ignored)],
        read_bytes in 1usize..2_000,
    ) {
        let frames = frames(&script);
        let stream = frames.concat();
        let mut alone = Assembler::new(vec![video(codec, markers)], clock(1));
        let mut expected = VecDeque::new();
        for frame in frames {
            let _ = alone.push(0, frame, &mut expected);
        }
        let mut assembler = Assembler::new(vec![video(codec, markers)], clock(1));
        let mut units = VecDeque::new();
        let mut buf = BytesMut::new();
        for read in stream.chunks(read_bytes) {
            buf.extend_from_slice(read);
            while assembler.push_run(0, 4, &mut buf, &mut units) {}
        }
        prop_assert!(buf.is_empty());
        prop_assert_eq!(assembler.counts(), alone.counts());
        alone.flush(Ending::Clean, &mut expected);
        assembler.flush(Ending::Clean, &mut units);
        let plain = |units: &VecDeque<Unit>| -> Vec<_> {
            let frames = |unit: &Unit| unit.packets.iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
            let facts = |unit: &Unit| (unit.capture_us, unit.rtp_time, unit.random_access, unit.flags, unit.packets.count(), unit.packets.len_bytes(), frames(unit));
            units.iter().map(facts).collect()
        };
        prop_assert_eq!(plain(&units), plain(&expected));
        let sent = |units: VecDeque<Unit>| spliced(codec, units.into(), Pacing::RateControlled, 1.0, 0);
        prop_assert_eq!(sent(units), sent(expected));
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Packet::parse(&bytes);
        let _ = Packet::parse_frame(&bytes);
        let _ = h264::contents(&bytes, &mut Fragments::default());
        let _ = h265::contents(&bytes, &mut Fragments::default());
        let _ = rtcp::parse(&bytes);
        let _ = ParameterSets::from_avcc(&bytes);
        let _ = ParameterSets::from_hvcc(&bytes);
    }

    #[test]
    fn a_parsed_packet_is_the_one_that_others_parse(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        let independent = rtp_types::RtpPacket::parse(&bytes);
        match Packet::parse(&bytes) {
            Ok(ours) => {
                let theirs = independent.expect("a packet to both");
                prop_assert_eq!(ours.payload, theirs.payload());
                prop_assert_eq!(ours.extension, theirs.extension());
                prop_assert_eq!(ours.marker, theirs.marker_bit());
            }
            Err(_) => prop_assert!(independent.is_err() || bytes.last() == Some(&0)),
        }
    }
}

/// Sends one packet that is wrong.
type Faulty = Box<dyn Fn(&mut Recorder) -> BytesMut>;

/// A recorder's packets, and what becomes of each: rows 21 and 22 of hostile inputs, one guard a row.
#[test]
fn each_fault_of_a_packet_is_named_and_the_next_picture_comes() {
    let whole = |recorder: &mut Recorder| recorder.send(IDR, true).frames().remove(0);
    let changed = |change: fn(&mut Vec<u8>)| {
        move |recorder: &mut Recorder| {
            let mut bytes = recorder.send(IDR, true).frames().remove(0).to_vec();
            change(&mut bytes);
            let length = (bytes.len() - 4) as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            BytesMut::from(&bytes[..])
        }
    };
    let sent = |payload: &'static [u8]| {
        move |recorder: &mut Recorder| recorder.send(payload, true).frames().remove(0)
    };
    let faults: Vec<(Dropped, Faulty)> = vec![
        (
            RtpError::Short.into(),
            Box::new(changed(|bytes| bytes.truncate(4 + 11))),
        ),
        (
            RtpError::Version.into(),
            Box::new(changed(|bytes| bytes[4] = 0x50)),
        ),
        (
            RtpError::Padding.into(),
            Box::new(changed(|bytes| {
                bytes[4] |= 0x20;
                *bytes.last_mut().unwrap() = 0xff;
            })),
        ),
        (
            RtpError::Extension.into(),
            Box::new(changed(|bytes| bytes[18] = 0xff)),
        ),
        (
            RtpError::Sources.into(),
            Box::new(changed(|bytes| {
                bytes[4] = 0x8f;
                bytes.truncate(4 + 20);
            })),
        ),
        (
            Dropped::PayloadType,
            Box::new(changed(|bytes| bytes[5] = 97)),
        ),
        (
            PayloadError::Fragment.into(),
            Box::new(sent(&[0x7c, 0x45, 1])),
        ),
        (
            PayloadError::Aggregate.into(),
            Box::new(sent(&[0x78, 0, 99, 0x65, 0x88])),
        ),
        (
            PayloadError::Interleaved.into(),
            Box::new(sent(&[0x79, 0, 0, 0, 1, 0x65])),
        ),
        (PayloadError::Short.into(), Box::new(sent(&[0x7c]))),
        (PayloadError::Headless.into(), Box::new(sent(P_REST))),
    ];
    for (expected, fault) in faults {
        let mut recorder = Recorder::new();
        let mut units = VecDeque::new();
        let mut assembler = Assembler::new(vec![video(Codec::H264, Markers::Trusted)], clock(1));
        recorder.at(0);
        let refused = assembler.push(0, fault(&mut recorder), &mut units);
        assert_eq!(refused, Err(expected));
        assert_eq!(assembler.counts().dropped(), 1, "{expected}");
        recorder.at(40_000);
        assert_eq!(
            assembler.push(0, whole(&mut recorder), &mut units),
            Ok(()),
            "{expected}"
        );
        assert_eq!(units.len(), 1, "{expected}");
        assert_eq!(units[0].capture_us, START_US + 40_000);
    }
}

#[test]
fn a_timestamp_that_stands_still_joins_nothing_and_holds_nothing() {
    let mut assembler = Assembler::new(vec![video(Codec::H264, Markers::Unknown)], clock(1));
    let mut units = VecDeque::new();
    let mut recorder = Recorder::new();
    recorder.at(0).send(IDR, true);
    for _ in 0..40_000 {
        recorder.next.timestamp = 7;
        recorder.next.replay = None;
        recorder.send(P, true);
        for frame in recorder.frames() {
            let _ = assembler.push(0, frame, &mut units);
        }
    }
    // One picture is told from another by its time: the rest is given up, and nothing of it is held.
    assembler.flush(Ending::Clean, &mut units);
    assert!(units.len() <= 2);
    assert_eq!(assembler.counts().damaged_units, 1);
}

#[test]
fn signatures_over_pictures_are_seen() {
    let mut signature = vec![0x06, 5, 40];
    signature.extend(b"Signed Video...0");
    signature.extend([7; 24]);
    for (message, signed) in [(&signature[..], true), (RECOVERY_SEI, false)] {
        let mut recorder = Recorder::new();
        recorder.at(0).send(message, false).send(IDR, true);
        let mut assembler = Assembler::new(vec![video(Codec::H264, Markers::Trusted)], clock(1));
        let mut units = VecDeque::new();
        for frame in recorder.frames() {
            assembler.push(0, frame, &mut units).unwrap();
        }
        assert_eq!(units[0].signed, signed);
    }
}

proptest! {
    /// Row 27: whatever a recorder's clock does, the time that a client reads never steps back in forward play.
    #[test]
    fn footage_time_never_steps_back(
        legs in prop::collection::vec(prop::collection::vec(-5_000_000i64..5_000_000, 1..12), 1..4),
        rate_controlled: bool,
    ) {
        let pacing = if rate_controlled { Pacing::RateControlled } else { Pacing::Unpaced { reference_us: START_US } };
        let mut splice = Splice::new(vec![out_track(Codec::H264, 1)]);
        splice.start_play(Play { cseq: 1, pacing, scale: 1.0, start_us: START_US, extension: true, hole_us: 0 });
        let mut out = OutQueue::new();
        for steps in legs {
            splice.begin_leg(LegFormat::default());
            let mut recorder = Recorder::new();
            let mut assembler = Assembler::new(vec![video(Codec::H264, Markers::Trusted)], clock(1));
            let mut units = VecDeque::new();
            let mut us = 0;
            for (index, step) in (1i64..).zip(steps) {
                us += step;
                recorder.at(us);
                // The RTP clock goes on: it is the clock of the stamps that was stepped.
                recorder.next.timestamp = (index * 3600) as u32;
                recorder.send(if index == 1 { IDR } else { P }, true);
            }
            for frame in recorder.frames() {
                let _ = assembler.push(0, frame, &mut units);
            }
            for unit in units {
                splice.write(unit, How::NORMAL, &mut out).expect("it has packets");
            }
        }
        let times: Vec<u64> = read(&drain(&mut out, 999)).iter().filter_map(|packet| packet.replay).map(|replay| replay.ntp).collect();
        prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    }
}
