//! MJPEG, sound and metadata from packets to packets: what a client gets over a seam.

use std::collections::VecDeque;

use bytes::BytesMut;
use proptest::prelude::*;
use seamline_media::{
    Assembler, Codec, Dropped, Ending, Flags, How, LegFormat, Markers, OutQueue, Pacing,
    PayloadError, Play, Splice, Unit,
};

use crate::recorder::{Got, Recorder, START_US, clock, drain, out_track, read, video};

const FRAME_US: i64 = 40_000;

fn units(codec: Codec, frames: Vec<BytesMut>) -> (Vec<Unit>, Vec<Dropped>) {
    let mut assembler = Assembler::new(vec![video(codec, Markers::Unknown)], clock(1));
    let mut units = VecDeque::new();
    let dropped = frames
        .into_iter()
        .filter_map(|frame| assembler.push(0, frame, &mut units).err())
        .collect();
    assembler.flush(Ending::Clean, &mut units);
    (units.into(), dropped)
}

fn spliced(codec: Codec, legs: Vec<Vec<Unit>>, extension: bool) -> (Vec<u8>, Splice) {
    let mut splice = Splice::new(vec![out_track(codec, 7)]);
    splice.start_play(Play {
        cseq: 1,
        pacing: Pacing::Unpaced {
            reference_us: START_US,
        },
        scale: 1.0,
        start_us: START_US,
        hole_us: 0,
        extension,
    });
    let mut out = OutQueue::new();
    for leg in legs {
        splice.begin_leg(LegFormat::default());
        for unit in leg {
            splice
                .write(unit, How::NORMAL, &mut out)
                .expect("a unit with packets");
        }
    }
    (drain(&mut out, 999), splice)
}

fn payloads(got: &[Got]) -> Vec<&[u8]> {
    got.iter().map(|packet| &packet.payload[..]).collect()
}

/// A payload of RFC 2435 with tables filled with `fill` where `fill` is given.
fn jpeg(offset: u8, quality: u8, fill: Option<u8>, data: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 0, 0, offset, 1, quality, 80, 45];
    if offset == 0 && quality >= 128 {
        payload.extend([0, 0, 0, if fill.is_some() { 128 } else { 0 }]);
        payload.extend(fill.map_or(Vec::new(), |fill| vec![fill; 128]));
    }
    payload.extend(data);
    payload
}

#[test]
fn tables_sent_once_reach_a_client_that_joins_later() {
    let leg = |fill| {
        let mut recorder = Recorder::new();
        for frame in 0..3 {
            let tables = (frame == 0).then_some(fill);
            recorder
                .at(frame * FRAME_US)
                .send(&jpeg(0, 200, tables, &[1, 2, 3]), false)
                .send(&jpeg(3, 200, None, &[4]), true);
        }
        let (mut units, dropped) = units(Codec::Jpeg, recorder.frames());
        assert_eq!((units.len(), dropped), (3, Vec::new()));
        assert!(units.iter().all(|unit| unit.random_access && !unit.leading));
        // The picture that brought them is not sent.
        units.remove(0);
        units
    };
    let (bytes, splice) = spliced(Codec::Jpeg, vec![leg(5), leg(6), leg(5)], true);
    let got = read(&bytes);
    let expected: Vec<Vec<u8>> = [(200, 5), (255, 6), (200, 5)]
        .into_iter()
        .flat_map(|(quality, fill)| [(quality, fill); 2])
        .flat_map(|(quality, fill)| {
            [
                jpeg(0, quality, Some(fill), &[1, 2, 3]),
                jpeg(3, quality, None, &[4]),
            ]
        })
        .collect();
    assert!(
        payloads(&got)
            .into_iter()
            .eq(expected.iter().map(Vec::as_slice))
    );
    assert!(
        got.iter()
            .map(|packet| packet.marker)
            .eq([false, true].repeat(6))
    );
    assert!(
        got.iter()
            .step_by(2)
            .all(|packet| packet.replay.unwrap().flags == Flags::CLEAN)
    );
    assert_eq!(splice.counts().tables_set_apart, 2);
}

#[test]
fn a_picture_with_a_hole_in_it_is_not_shown() {
    let mut recorder = Recorder::new();
    recorder.at(0).send(&jpeg(0, 50, None, &[1, 2, 3]), false);
    // Nothing is missing by its number: the recorder lies.
    recorder.send(&jpeg(9, 50, None, &[4]), true);
    recorder.at(FRAME_US).send(&jpeg(0, 50, None, &[5]), true);
    recorder
        .at(2 * FRAME_US)
        .send(&jpeg(0, 200, None, &[6]), true);
    let (units, dropped) = units(Codec::Jpeg, recorder.frames());
    assert_eq!(units.len(), 1);
    assert_eq!(units[0].capture_us, START_US + FRAME_US);
    let reasons = [PayloadError::Fragment, PayloadError::Tables].map(Dropped::Payload);
    assert_eq!(dropped, reasons);
}

/// One packet with an extension of these words, as a camera of ONVIF sends it.
fn extended(payload: &[u8], id: [u8; 2], words: &[u8]) -> BytesMut {
    let mut bytes = vec![b'$', 4, 0, 0, 0x90, 0xE0, 0, 7];
    bytes.extend([0, 0, 0, 1, 0x12, 0x34, 0x56, 0x78]);
    bytes.extend(id);
    bytes.extend(((words.len() / 4) as u16).to_be_bytes());
    bytes.extend(words);
    bytes.extend(payload);
    let length = (bytes.len() - 4) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    BytesMut::from(&bytes[..])
}

#[test]
fn the_extension_is_three_words_long_unless_the_picture_needs_more() {
    let segments = [0xFF, 0xC0, 0, 6, 8, 0x07, 0x98, 0x0A];
    let stamp = [0xED, 0x01, 0xB4, 0x25, 0x40, 0, 0, 0, 0, 9, 0, 0];
    let combined = [&stamp[..], &[0xFF, 0xD8, 0, 2], &segments].concat();
    let (usual, mut large) = (jpeg(0, 50, None, &[1]), jpeg(0, 50, None, &[1]));
    large[6] = 0;
    for (payload, id, words, length) in [
        (&usual, [0xAB, 0xAC], &combined[..], 3),
        (&usual, [0xFF, 0xD8], &segments, 3),
        (&large, [0xAB, 0xAC], &combined, 6),
        (&large, [0xFF, 0xD8], &segments, 6),
    ] {
        let (units, dropped) = units(Codec::Jpeg, vec![extended(payload, id, words)]);
        assert_eq!((units.len(), dropped), (1, Vec::new()));
        let (bytes, _) = spliced(Codec::Jpeg, vec![units], true);
        assert_eq!(bytes[16..20], [0xAB, 0xAC, 0, length], "{id:x?}");
        assert_eq!(bytes[28], 0x80, "C");
        let got = read(&bytes);
        assert_eq!(&got[0].payload, payload);
        if length > 3 {
            let tail = [&[0xFF, 0xD8, 0, 2][..], &segments].concat();
            assert_eq!(bytes[32..32 + tail.len()], tail);
        }
    }
}

#[test]
fn every_packet_of_opus_and_g726_stands_alone() {
    for codec in [Codec::Opus, Codec::G726] {
        let leg = |from: i64| {
            let mut recorder = Recorder::new();
            for frame in 0..3 {
                // Opus says nothing with it, and some set it on every packet.
                recorder
                    .at(from + frame * 20_000)
                    .send(&[7, 8, frame as u8], frame == 1);
            }
            units(codec, recorder.frames()).0
        };
        let (bytes, _) = spliced(codec, vec![leg(0), leg(60_000)], true);
        let got = read(&bytes);
        assert_eq!(got.len(), 6);
        // A talk spurt starts at each seam.
        let starts: Vec<bool> = got.iter().map(|packet| packet.marker).collect();
        assert_eq!(starts, [true, true, false, true, true, false]);
    }
}

const ONE: &str = "<tt:MetadataStream xmlns:tt=\"http://www.onvif.org/ver10/schema\"><tt:Event>1</tt:Event></tt:MetadataStream>";

#[test]
fn a_document_is_one_unit_however_its_packets_are_stamped() {
    let (head, rest) = ONE.as_bytes().split_at(90);
    let mut recorder = Recorder::new();
    recorder.at(0).send(head, false).at(30_000).send(rest, true);
    recorder.at(500_000).send(ONE.as_bytes(), false);
    recorder.at(1_000_000).send(head, true).send(rest, true);
    let (units, dropped) = units(Codec::Metadata, recorder.frames());
    assert_eq!(dropped, []);
    let captures: Vec<i64> = units
        .iter()
        .map(|unit| unit.capture_us - START_US)
        .collect();
    assert_eq!(captures, [0, 500_000, 1_000_000]);
    assert!(units.iter().all(|unit| unit.random_access));
    let (bytes, _) = spliced(Codec::Metadata, vec![units], true);
    let got = read(&bytes);
    assert!(
        payloads(&got)
            .into_iter()
            .eq([head, rest, ONE.as_bytes(), head, rest])
    );
    // The marker closes a document, whether its recorder knew that or not.
    assert!(
        got.iter()
            .map(|packet| packet.marker)
            .eq([false, true, true, false, true])
    );
    assert_eq!(got[0].timestamp, got[1].timestamp);
}

#[test]
fn a_document_that_is_not_whole_never_leaves() {
    let (head, rest) = ONE.as_bytes().split_at(90);
    let mut recorder = Recorder::new();
    // The leg begins in the middle of one, loses the middle of another and ends in a third.
    recorder.at(0).send(rest, true).send(head, false);
    recorder.next.sequence = recorder.next.sequence.wrapping_add(1);
    recorder
        .send(rest, true)
        .send(ONE.as_bytes(), true)
        .send(head, false);
    let (units, _) = units(Codec::Metadata, recorder.frames());
    let (bytes, _) = spliced(Codec::Metadata, vec![units], false);
    assert_eq!(payloads(&read(&bytes)), [ONE.as_bytes()]);
}

#[test]
fn a_stream_that_never_ends_a_document_costs_little() {
    let mut assembler = Assembler::new(vec![video(Codec::Metadata, Markers::Unknown)], clock(1));
    let mut recorder = Recorder::new();
    let mut units = VecDeque::new();
    recorder.at(0).send(&ONE.as_bytes()[..90], false);
    let mut large = 0;
    for _ in 0..2000 {
        recorder.send(&[b'x'; 1400], false);
        for frame in recorder.frames() {
            large += u64::from(assembler.push(0, frame, &mut units) == Err(Dropped::TooLarge));
        }
    }
    assert_eq!((large, assembler.counts().too_large), (1, 1));
    recorder
        .send(b"x</tt:MetadataStream>", true)
        .send(ONE.as_bytes(), true);
    for frame in recorder.frames() {
        let _ = assembler.push(0, frame, &mut units);
    }
    assert_eq!(units.len(), 1, "the next whole one");
}

proptest! {
    /// Legs of documents cut up and damaged in any way: what arrives is whole documents, in order.
    #[test]
    fn only_whole_documents(
        legs in prop::collection::vec(prop::collection::vec((0usize..4, prop::collection::vec(55usize..110, 0..3), 0u8..8), 1..6), 1..4),
    ) {
        let mut sent = Vec::new();
        for leg in legs {
            let mut recorder = Recorder::new();
            for (number, cuts, fault) in leg {
                let text = ONE.replace('1', &number.to_string());
                let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
                cuts.sort_unstable();
                cuts.dedup();
                let mut from = 0;
                for (index, cut) in cuts.iter().copied().chain([text.len()]).enumerate() {
                    let last = cut == text.len();
                    if fault == 1 && index == 0 || fault == 2 && index == 1 {
                        recorder.next.sequence = recorder.next.sequence.wrapping_add(1);
                    } else {
                        recorder.send(&text.as_bytes()[from..cut], last && fault != 3);
                    }
                    from = cut;
                }
            }
            sent.push(units(Codec::Metadata, recorder.frames()).0);
        }
        let (bytes, _) = spliced(Codec::Metadata, sent, true);
        let mut document = Vec::new();
        for packet in read(&bytes) {
            document.extend_from_slice(&packet.payload);
            if packet.marker {
                let text = String::from_utf8(std::mem::take(&mut document)).unwrap();
                let number = text.split_once("<tt:Event>").and_then(|(_, rest)| rest.get(..1)).unwrap();
                prop_assert_eq!(&text, &ONE.replace('1', number));
            }
        }
        prop_assert!(document.is_empty());
    }
}
