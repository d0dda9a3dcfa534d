//! Packets to access units: boundaries, markers, loss, random access and leading pictures.

use std::collections::VecDeque;

use crate::recorder::{
    AUD, B, I, IDR, P, P_REST, PAYLOAD_TYPE, PPS, RECOVERY_SEI, Recorder, SPS, START_US, clock,
    video,
};
use bytes::BytesMut;
use seamline_media::{
    Assembler, Codec, Dropped, Ending, Flags, Markers, PayloadError, Source, TrackFormat, Unit,
};

const FRAME_US: i64 = 40_000;

fn assembler(codec: Codec, markers: Markers) -> Assembler {
    Assembler::new(vec![video(codec, markers)], clock(1))
}

fn push_all(assembler: &mut Assembler, frames: Vec<BytesMut>) -> (Vec<Unit>, Vec<Dropped>) {
    let mut units = VecDeque::new();
    let dropped = frames
        .into_iter()
        .filter_map(|frame| assembler.push(0, frame, &mut units).err())
        .collect();
    (units.into(), dropped)
}

fn captures(units: &[Unit]) -> Vec<i64> {
    units
        .iter()
        .map(|unit| unit.capture_us - START_US)
        .collect()
}

#[test]
fn a_trusted_marker_ends_a_unit_at_once() {
    let mut recorder = Recorder::new();
    recorder
        .at(0)
        .send(SPS, false)
        .send(PPS, false)
        .send(IDR, true);
    let mut assembler = assembler(Codec::H264, Markers::Trusted);
    let (units, dropped) = push_all(&mut assembler, recorder.frames());
    assert_eq!(dropped, []);
    assert_eq!(captures(&units), [0]);
    assert!(units[0].random_access);
    assert_eq!(units[0].packets.count(), 3);
    assert_eq!(assembler.source(), Some(Source::Extension));
}

#[test]
fn packets_of_one_read_stay_one_buffer_where_they_lay() {
    let mut recorder = Recorder::new();
    recorder
        .at(0)
        .send(IDR, false)
        .send(P_REST, false)
        .send(P_REST, true);
    let frames = recorder.frames();
    let first_byte = frames[0].as_ptr();
    let (units, _) = push_all(&mut assembler(Codec::H264, Markers::Trusted), frames);
    let packets = units.into_iter().next().unwrap().packets;
    assert_eq!(packets.chunk_count(), 1);
    assert_eq!(packets.iter().next().unwrap().as_ptr(), first_byte);
}

#[test]
fn an_unknown_marker_is_learned_from_the_next_timestamp() {
    let mut recorder = Recorder::new();
    let mut assembler = assembler(Codec::H264, Markers::Unknown);
    recorder.at(0).send(IDR, true);
    assert!(push_all(&mut assembler, recorder.frames()).0.is_empty());
    recorder.at(FRAME_US).send(P, false).send(P_REST, true);
    let (units, _) = push_all(&mut assembler, recorder.frames());
    assert_eq!(captures(&units), [0, FRAME_US]);
    assert_eq!(assembler.markers(0), Markers::Trusted);
}

#[test]
fn without_markers_the_timestamp_ends_units() {
    let mut recorder = Recorder::new();
    for frame in 0..3 {
        recorder
            .at(frame * FRAME_US)
            .send(if frame == 0 { IDR } else { P }, false)
            .send(P_REST, false);
    }
    let mut assembler = assembler(Codec::H264, Markers::Unknown);
    let (units, dropped) = push_all(&mut assembler, recorder.frames());
    assert_eq!((captures(&units), dropped), (vec![0, FRAME_US], vec![]));
    let mut rest = VecDeque::new();
    assembler.flush(Ending::Lost, &mut rest);
    assert!(rest.is_empty(), "its tail may be missing");
    assert_eq!(assembler.counts().damaged_units, 1);
}

#[test]
fn a_clean_end_gives_the_last_unit() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(IDR, false);
    let mut assembler = assembler(Codec::H264, Markers::Unknown);
    push_all(&mut assembler, recorder.frames());
    let mut rest = VecDeque::new();
    assembler.flush(Ending::Clean, &mut rest);
    assert_eq!(rest.len(), 1);
}

#[test]
fn markers_on_every_packet_do_not_split_pictures() {
    let mut recorder = Recorder::new();
    for frame in 0..3 {
        recorder.at(frame * FRAME_US);
        recorder
            .send(SPS, true)
            .send(PPS, true)
            .send(IDR, true)
            .send(P_REST, true);
    }
    let mut assembler = assembler(Codec::H264, Markers::Unknown);
    let (units, dropped) = push_all(&mut assembler, recorder.frames());
    assert_eq!(dropped, []);
    assert_eq!(captures(&units), [0, FRAME_US]);
    assert!(units.iter().all(|unit| unit.packets.count() == 4));
    assert_eq!(assembler.markers(0), Markers::Ignored);
}

#[test]
fn a_marker_that_was_trusted_wrongly_costs_one_picture() {
    let mut recorder = Recorder::new();
    for frame in 0..3 {
        recorder
            .at(frame * FRAME_US)
            .send(IDR, true)
            .send(P_REST, true);
    }
    let mut assembler = assembler(Codec::H264, Markers::Trusted);
    let (units, dropped) = push_all(&mut assembler, recorder.frames());
    assert_eq!(dropped, [Dropped::AfterEnd]);
    assert_eq!(captures(&units), [0, FRAME_US]);
    assert_eq!(units[1].packets.count(), 2);
}

#[test]
fn the_flag_of_the_last_unit_ends_it_without_the_next() {
    let mut recorder = Recorder::new();
    recorder
        .at(0)
        .flags(Flags::END | Flags::TERMINAL)
        .send(IDR, true);
    let (units, _) = push_all(
        &mut assembler(Codec::H264, Markers::Unknown),
        recorder.frames(),
    );
    assert_eq!(units[0].flags, Flags::END | Flags::TERMINAL);
}

#[test]
fn parameter_sets_with_a_time_of_their_own_join_their_picture() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(SPS, true).send(PPS, true);
    recorder.at(FRAME_US).send(IDR, true);
    let (units, _) = push_all(
        &mut assembler(Codec::H264, Markers::Trusted),
        recorder.frames(),
    );
    assert_eq!(captures(&units), [FRAME_US]);
    assert_eq!(units[0].packets.count(), 3);
}

#[test]
fn a_hole_in_a_unit_drops_it_and_one_between_units_does_not() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(IDR, true);
    recorder.at(FRAME_US).send(P, false);
    recorder.next.sequence = recorder.next.sequence.wrapping_add(1);
    recorder.send(P_REST, true);
    recorder.next.sequence = recorder.next.sequence.wrapping_add(5);
    recorder.at(2 * FRAME_US).send(P, true);
    let mut assembler = assembler(Codec::H264, Markers::Trusted);
    let (units, _) = push_all(&mut assembler, recorder.frames());
    assert_eq!(captures(&units), [0, 2 * FRAME_US]);
    assert_eq!(assembler.counts().missing_packets, 6);
    assert_eq!(assembler.counts().damaged_units, 1);
}

/// Fragments that differ in nothing but their numbers, taken at once.
#[test]
fn a_run_with_a_packet_too_few_or_too_many_is_no_whole_picture_or_the_same() {
    let whole = || {
        let mut recorder = Recorder::new();
        recorder.at(0).send(&[0x7c, 0x85, 0x88, 1], false);
        for _ in 0..6 {
            recorder.send(&[0x7c, 0x05, 1], false);
        }
        recorder.send(&[0x7c, 0x45, 1], true);
        recorder.frames()
    };
    let taken = |frames: Vec<BytesMut>| {
        let mut assembler = assembler(Codec::H264, Markers::Trusted);
        let (mut buf, mut units) = (BytesMut::from(&frames.concat()[..]), VecDeque::new());
        while assembler.push_run(0, 4, &mut buf, &mut units) {}
        assembler.flush(Ending::Clean, &mut units);
        let packets: Vec<_> = units.iter().map(|unit| unit.packets.count()).collect();
        (packets, assembler.counts().dropped())
    };
    assert_eq!(taken(whole()), (vec![8], 0));
    let mut repeated = whole();
    repeated.insert(4, repeated[3].clone());
    assert_eq!(taken(repeated), (vec![8], 1));
    // The two behind the one that is missing, and the rest of its picture, are for nothing.
    let mut holed = whole();
    holed.remove(4);
    assert_eq!(taken(holed).0, [0; 0]);
}

#[test]
fn a_picture_that_lost_its_head_is_dropped() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(P_REST, true);
    recorder.at(FRAME_US).send(IDR, true);
    let (units, dropped) = push_all(
        &mut assembler(Codec::H264, Markers::Trusted),
        recorder.frames(),
    );
    assert_eq!(dropped, [Dropped::Payload(PayloadError::Headless)]);
    assert_eq!(captures(&units), [FRAME_US]);
}

#[test]
fn a_fragment_without_a_start_drops_its_unit() {
    let mut recorder = Recorder::new();
    recorder
        .at(0)
        .send(&[0x7c, 0x05, 1, 2], false)
        .send(&[0x7c, 0x45, 3], true);
    recorder.at(FRAME_US).send(IDR, true);
    let mut assembler = assembler(Codec::H264, Markers::Trusted);
    let (units, dropped) = push_all(&mut assembler, recorder.frames());
    assert_eq!(dropped, [Dropped::Payload(PayloadError::Fragment); 2]);
    assert_eq!(captures(&units), [FRAME_US]);
}

#[test]
fn strangers_are_dropped_until_they_are_the_only_ones() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(IDR, true);
    recorder.next.payload_type = 97;
    recorder.send(P, true);
    recorder.next.payload_type = PAYLOAD_TYPE;
    recorder.next.ssrc = 7;
    for frame in 1..=20 {
        recorder.at(frame * FRAME_US).send(P, true);
    }
    let mut assembler = assembler(Codec::H264, Markers::Trusted);
    let (units, _) = push_all(&mut assembler, recorder.frames());
    assert_eq!(assembler.counts().payload_type, 1);
    assert_eq!(assembler.counts().source, 16);
    assert_eq!(units.len(), 5);
    assert_eq!(assembler.ssrc(0), Some(7));
}

#[test]
fn repeated_and_late_packets_are_dropped() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(IDR, false);
    recorder.next.sequence = recorder.next.sequence.wrapping_sub(1);
    recorder.send(IDR, false).send(P_REST, true);
    let mut assembler = assembler(Codec::H264, Markers::Trusted);
    let (units, dropped) = push_all(&mut assembler, recorder.frames());
    assert_eq!(dropped, [Dropped::Repeated]);
    assert_eq!(units[0].packets.count(), 2);
}

#[test]
fn an_h264_recovery_point_opens_and_its_leading_pictures_are_told() {
    let mut recorder = Recorder::new();
    // Decoding order I0 b1 b2 P3, shown b1 b2 I0 P3; an IDR later closes.
    recorder
        .at(3 * FRAME_US)
        .send(AUD, false)
        .send(RECOVERY_SEI, false)
        .send(I, true);
    recorder.at(FRAME_US).send(B, true);
    recorder.at(2 * FRAME_US).send(P, true);
    recorder.at(4 * FRAME_US).send(P, true);
    recorder.at(8 * FRAME_US).send(IDR, true);
    recorder.at(7 * FRAME_US).send(B, true);
    let (units, _) = push_all(
        &mut assembler(Codec::H264, Markers::Trusted),
        recorder.frames(),
    );
    let told: Vec<_> = units
        .iter()
        .map(|unit| (unit.random_access, unit.leading))
        .collect();
    let (point, lead, plain) = ((true, false), (false, true), (false, false));
    assert_eq!(told, [point, lead, lead, plain, point, plain]);
}

#[test]
fn a_claim_to_be_clean_is_believed_of_intra_pictures_only() {
    let mut recorder = Recorder::new();
    recorder.at(0).flags(Flags::CLEAN).send(I, true);
    recorder.at(FRAME_US).flags(Flags::CLEAN).send(P, true);
    recorder.at(2 * FRAME_US).send(I, true);
    let (units, _) = push_all(
        &mut assembler(Codec::H264, Markers::Trusted),
        recorder.frames(),
    );
    let points: Vec<bool> = units.iter().map(|unit| unit.random_access).collect();
    assert_eq!(points, [true, false, false]);
}

#[test]
fn h265_points_and_skipped_leading_pictures() {
    let nal = |kind: u8| vec![kind << 1, 1, 0x80, 5];
    let mut recorder = Recorder::new();
    for (frame, kind) in [21, 9, 8, 7, 1, 19, 9].into_iter().enumerate() {
        recorder.at(frame as i64 * FRAME_US).send(&nal(kind), true);
    }
    let (units, _) = push_all(
        &mut assembler(Codec::H265, Markers::Trusted),
        recorder.frames(),
    );
    let points: Vec<bool> = units.iter().map(|unit| unit.random_access).collect();
    assert_eq!(points, [true, false, false, false, false, true, false]);
    let leading: Vec<bool> = units.iter().map(|unit| unit.leading).collect();
    assert_eq!(leading, [false, true, true, false, false, false, true]);
}

#[test]
fn unread_codecs_pass_by_timestamp_and_marker() {
    let mut recorder = Recorder::new();
    recorder
        .at(0)
        .send(&[1], false)
        .send(&[2], true)
        .send(&[3], true);
    recorder.at(FRAME_US).send(&[4], false);
    recorder.at(2 * FRAME_US).send(&[5], true);
    let (units, _) = push_all(
        &mut assembler(Codec::Other, Markers::Unknown),
        recorder.frames(),
    );
    let counts: Vec<usize> = units.iter().map(|unit| unit.packets.count()).collect();
    assert_eq!(counts, [2, 1, 1, 1]);
    assert!(units.iter().all(|unit| unit.random_access && !unit.leading));
}

#[test]
fn each_packet_of_g711_is_a_unit() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(&[0xff; 160], true);
    recorder.at(20_000).send(&[0xff; 160], false);
    let format = TrackFormat {
        clock_rate: 8000,
        ..video(Codec::G711, Markers::Unknown)
    };
    let mut assembler = Assembler::new(vec![format], clock(1));
    assert_eq!(push_all(&mut assembler, recorder.frames()).0.len(), 2);
}

#[test]
fn an_endless_unit_is_dropped() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(IDR, false);
    let mut assembler = assembler(Codec::H264, Markers::Ignored);
    push_all(&mut assembler, recorder.frames());
    for _ in 0..200 {
        recorder.send(&vec![0x41; 60_000], false);
        push_all(&mut assembler, recorder.frames());
    }
    recorder.at(FRAME_US).send(IDR, true);
    recorder.at(2 * FRAME_US).send(P, true);
    let (units, _) = push_all(&mut assembler, recorder.frames());
    assert_eq!(captures(&units), [FRAME_US]);
    assert_eq!(assembler.counts().too_large, 1);
}

#[test]
fn a_picture_of_the_smallest_packets_is_dropped_too() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(IDR, false);
    for _ in 0..20_000 {
        recorder.send(P_REST, false);
    }
    recorder.at(FRAME_US).send(IDR, true);
    recorder.at(2 * FRAME_US).send(P, true);
    let mut assembler = assembler(Codec::H264, Markers::Ignored);
    let (units, _) = push_all(&mut assembler, recorder.frames());
    assert_eq!(captures(&units), [FRAME_US]);
    assert_eq!(assembler.counts().too_large, 1);
}
