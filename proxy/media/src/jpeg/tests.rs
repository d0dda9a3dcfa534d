//! Headers, tables and files of MJPEG, byte by byte.

use proptest::prelude::*;

use super::*;
use crate::{Codec, Flags, Frame, Framing, PacketizeError, Packetizer};

/// A file of one colour or another: its scan is not decoded here.
fn file(width: u16, height: u16, sampling: u8, interval: u16, scan: &[u8]) -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, b'J', b'F'];
    for id in 0..2_u8 {
        file.extend([0xFF, 0xDB, 0, 67, id]);
        file.extend([id + 1; 64]);
    }
    file.extend([0xFF, 0xC0, 0, 17, 8]);
    file.extend(height.to_be_bytes());
    file.extend(width.to_be_bytes());
    file.extend([3, 1, sampling, 0, 2, 0x11, 1, 3, 0x11, 1]);
    for (class, counts, values) in [
        (0x00, huffman::DC_LUMA, &huffman::DC_VALUES[..]),
        (0x10, huffman::AC_LUMA, &huffman::AC_LUMA_VALUES),
        (0x01, huffman::DC_CHROMA, &huffman::DC_VALUES),
        (0x11, huffman::AC_CHROMA, &huffman::AC_CHROMA_VALUES),
    ] {
        file.extend([0xFF, 0xC4]);
        file.extend((19 + values.len() as u16).to_be_bytes());
        file.push(class);
        file.extend(counts);
        file.extend(values);
    }
    if interval > 0 {
        file.extend([0xFF, 0xDD, 0, 4]);
        file.extend(interval.to_be_bytes());
    }
    file.extend([0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    file.extend(scan);
    file.extend([0xFF, 0xD9]);
    file
}

fn frame(data: &[u8]) -> Frame<'_> {
    Frame {
        data,
        framing: Framing::Raw,
        capture_us: 1_767_323_045_250_000,
        rtp_time: 9000,
        sync: true,
        flags: Flags::NONE,
    }
}

fn packets(data: &[u8]) -> Packets {
    let mut packetizer = Packetizer::new(0, Codec::Jpeg, 26);
    packetizer.unit(&frame(data)).unwrap().packets
}

fn payloads(packets: &Packets) -> Vec<Vec<u8>> {
    let parse = |frame| Packet::parse_frame(frame).unwrap().payload.to_vec();
    packets.iter().map(parse).collect()
}

/// One packet around `payload`, with an extension of these words where there is one.
fn packet(payload: &[u8], extension: Option<(u16, &[u8])>) -> BytesMut {
    let mut bytes = vec![b'$', 0, 0, 0, 0x80, 26, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
    if let Some((id, words)) = extension {
        bytes[4] |= 0x10;
        bytes.extend(id.to_be_bytes());
        bytes.extend(((words.len() / 4) as u16).to_be_bytes());
        bytes.extend(words);
    }
    bytes.extend(payload);
    let length = (bytes.len() - 4) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    BytesMut::from(&bytes[..])
}

fn one(payload: &[u8]) -> Packets {
    let mut packets = Packets::new();
    packets.push(packet(payload, None));
    packets
}

/// A payload with this Q and tables of these bytes.
fn with_tables(quality: u8, tables: &[u8], data: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 0, 0, 0, 1, quality, 80, 45, 0, 0];
    payload.extend((tables.len() as u16).to_be_bytes());
    payload.extend(tables);
    payload.extend(data);
    payload
}

#[test]
fn golden_packets_of_a_file() {
    let scan: Vec<u8> = (0..3000_u32).map(|n| (n % 251) as u8).collect();
    let got = payloads(&packets(&file(640, 358, 0x22, 0, &scan)));
    assert_eq!(got.len(), 3);
    // 358 lines are 45 blocks.
    assert_eq!(got[0][..8], [0, 0, 0, 0, 1, 255, 80, 45]);
    assert_eq!(got[0][8..12], [0, 0, 0, 128]);
    assert_eq!(got[0][12..140], [[1; 64], [2; 64]].concat());
    let first = got[0].len() - 140;
    let [_, high, middle, low] = (first as u32).to_be_bytes();
    assert_eq!(got[1][..8], [0, high, middle, low, 1, 255, 80, 45]);
    let joined = [&got[0][140..], &got[1][8..], &got[2][8..]].concat();
    assert_eq!(joined, scan);
}

#[test]
fn restart_markers_have_their_header() {
    let got = payloads(&packets(&file(640, 360, 0x21, 80, &[7; 2000])));
    assert_eq!(
        got[0][..12],
        [0, 0, 0, 0, 64, 255, 80, 45, 0, 80, 0xFF, 0xFF]
    );
    assert_eq!(got[0][12..16], [0, 0, 0, 128]);
    let mut reader = Reader::default();
    for payload in &got {
        reader.contents(payload).unwrap();
    }
    assert_eq!(reader.contents(&got[0][..11]), Err(PayloadError::Short));
}

#[test]
fn a_picture_too_large_for_its_header_brings_its_size_along() {
    let packets = packets(&file(2592, 1944, 0x22, 0, &[7; 2000]));
    let got = payloads(&packets);
    assert_eq!(got[0][6..8], [0, 243]);
    assert!(needs_extension(&packets));
    let first = Packet::parse_frame(packets.iter().next().unwrap()).unwrap();
    let (id, words) = first.extension.unwrap();
    assert_eq!((id, words.len()), (0xABAC, 4 * (4 + 5)));
    let tail = [
        0xFF, 0xD8, 0, 5, 0xFF, 0xC0, 0, 17, 8, 0x07, 0x98, 0x0A, 0x20, 3, 1, 0x22, 0, 2, 0x11, 1,
        3, 0x11, 1, 0xFF,
    ];
    assert_eq!(words[12..], tail);
    assert_eq!(segments(id, words), Some(&tail[..]));
    let second = Packet::parse_frame(packets.iter().nth(1).unwrap()).unwrap();
    assert_eq!(second.extension.unwrap().1.len(), 12);
    assert!(!needs_extension(&self::packets(&file(
        2040,
        2040,
        0x22,
        0,
        &[7]
    ))));
}

#[test]
fn what_rtp_cannot_carry_is_refused() {
    let good = file(640, 360, 0x22, 0, &[7; 100]);
    assert!(Picture::parse(&good).is_some());
    let with = |from: &[u8], to: &[u8]| {
        let at = good
            .windows(from.len())
            .position(|bytes| bytes == from)
            .unwrap();
        let mut bad = good.clone();
        bad[at..at + to.len()].copy_from_slice(to);
        bad
    };
    for bad in [
        with(&[0xFF, 0xC0], &[0xFF, 0xC2]),
        with(&[3, 1, 0x22], &[3, 1, 0x11]),
        with(&[0x7D, 1, 2, 3], &[0x7D, 1, 3, 2]),
        with(&[0xFF, 0xDB, 0, 67, 0], &[0xFF, 0xDB, 0, 67, 0x10]),
        good[..200].to_vec(),
        Vec::new(),
    ] {
        let refused = Packetizer::new(0, Codec::Jpeg, 26).unit(&frame(&bad)).err();
        assert_eq!(refused, Some(PacketizeError::Jpeg));
    }
}

#[test]
fn tables_that_were_left_out_are_put_in() {
    let mut reader = Reader::default();
    let lacking = with_tables(200, &[], &[1, 2, 3]);
    assert_eq!(reader.contents(&lacking), Err(PayloadError::Tables));
    let whole = with_tables(200, &[9; 128], &[1, 2, 3]);
    assert!(reader.contents(&whole).is_ok());
    assert!(reader.completed(&packet(&whole, None)).is_none());
    assert!(reader.contents(&lacking).is_ok());
    for extension in [None, Some((0xFFD8, &[0xFF; 8][..]))] {
        let completed = reader.completed(&packet(&lacking, extension)).unwrap();
        let got = Packet::parse_frame(&completed).unwrap();
        assert_eq!(got.payload, whole);
        assert_eq!(got.extension, extension);
    }
    // Q 255 names no tables that were sent before.
    assert_eq!(
        reader.contents(&with_tables(255, &[], &[1])),
        Err(PayloadError::Tables)
    );
    assert_eq!(
        reader.contents(&with_tables(201, &[1; 1025], &[1])),
        Err(PayloadError::Tables)
    );
}

#[test]
fn fragments_must_follow_each_other() {
    let mut reader = Reader::default();
    assert!(
        reader
            .contents(&[0, 0, 0, 0, 1, 50, 80, 45, 1, 2, 3])
            .is_ok()
    );
    assert!(reader.contents(&[0, 0, 0, 3, 1, 50, 80, 45, 4]).is_ok());
    for offset in [3, 5, 0xFF] {
        let found = reader.contents(&[0, 0, 0, offset, 1, 50, 80, 45, 4]);
        assert_eq!(found, Err(PayloadError::Fragment));
    }
    assert_eq!(
        reader.contents(&[0, 0, 0, 0, 1, 50, 80, 45]),
        Err(PayloadError::Short)
    );
}

#[test]
fn tables_of_one_name_are_told_apart() {
    let quality = |packets: &Packets| payloads(packets)[0][5];
    let mut tables = Tables::default();
    let (ours, theirs) = (
        with_tables(200, &[1; 128], &[1]),
        with_tables(200, &[2; 128], &[1]),
    );
    for (payload, apart) in [(&ours, false), (&theirs, true), (&ours, false)] {
        let mut packets = one(payload);
        assert_eq!(tables.set_apart(&mut packets), apart);
        assert_eq!(quality(&packets), if apart { 255 } else { 200 });
    }
    for payload in [
        with_tables(255, &[2; 128], &[1]),
        vec![0, 0, 0, 0, 1, 50, 8, 8, 1],
    ] {
        assert!(!tables.set_apart(&mut one(&payload)));
    }
}

#[test]
fn only_what_needs_onvifs_extension_keeps_it() {
    let large = [0, 0, 0, 0, 1, 50, 0, 243, 1];
    let usual = [0, 0, 0, 0, 1, 50, 240, 135, 1];
    let mut combined = vec![0; 12];
    combined.extend([0xFF, 0xD8, 0, 1, 0xFF, 0xC0, 0, 2]);
    let mut huffman = combined.clone();
    huffman[17] = 0xC4;
    for (payload, words, needed) in [
        (large, &combined, true),
        (usual, &combined, false),
        (usual, &huffman, true),
    ] {
        let mut packets = Packets::new();
        packets.push(packet(&payload, Some((0xABAC, words))));
        assert_eq!(needs_extension(&packets), needed);
    }
    assert_eq!(
        tail(0xFFD8, &[1, 2, 3, 4]).unwrap()[..],
        [0xFF, 0xD8, 0, 1, 1, 2, 3, 4]
    );
    assert_eq!(tail(0xBEDE, &[1, 2, 3, 4]), None);
    // A length past the end.
    combined[15] = 9;
    assert_eq!(segments(0xABAC, &combined), None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut reader = Reader::default();
        let _ = reader.contents(&bytes);
        let _ = reader.completed(&bytes);
        let _ = Picture::parse(&bytes);
        let _ = segments(0xABAC, &bytes);
    }

    #[test]
    fn any_picture_survives_the_way(scan in prop::collection::vec(0u8..0xFE, 1..6000), interval in 0u16..3) {
        let got = packets(&file(640, 360, 0x22, interval, &scan));
        let mut reader = Reader::default();
        let mut joined = Vec::new();
        for payload in payloads(&got) {
            reader.contents(&payload).unwrap();
            let header = header(&payload).unwrap();
            prop_assert_eq!(header.offset as usize, joined.len());
            joined.extend_from_slice(&payload[payload.len() - header.data_bytes..]);
        }
        prop_assert_eq!(joined, scan);
    }
}

/// Marker and content of each segment up to the scan, and the scan with its end.
fn taken_apart(file: &[u8]) -> (Vec<(u8, Vec<u8>)>, Vec<u8>) {
    let mut rest = file.strip_prefix(&[0xFF, 0xD8]).unwrap();
    let mut segments = Vec::new();
    loop {
        let (kind, content, behind) = segment(rest).unwrap();
        // JFIF says nothing of the picture.
        if kind != 0xE0 {
            segments.push((kind, content.to_vec()));
        }
        rest = behind;
        if kind == 0xDA {
            segments.sort();
            return (segments, rest.to_vec());
        }
    }
}

/// A decoder's view: each table under its class and name.
fn tables_apart((segments, scan): (Vec<(u8, Vec<u8>)>, Vec<u8>)) -> (Vec<(u8, Vec<u8>)>, Vec<u8>) {
    let mut apart = Vec::new();
    for (kind, content) in segments {
        match kind {
            0xDB => apart.extend(content.chunks(65).map(|table| (kind, table.to_vec()))),
            _ => apart.push((kind, content)),
        }
    }
    apart.sort();
    (apart, scan)
}

#[test]
fn a_file_comes_back_as_it_went() {
    for (width, height, sampling, interval) in [
        (640, 360, 0x22, 0),
        (640, 360, 0x21, 0),
        (1280, 720, 0x22, 80),
        // Only ONVIF's extension can say this size.
        (4096, 2160, 0x22, 0),
    ] {
        let scan = vec![0x5A; 5000];
        let sent = file(width, height, sampling, interval, &scan);
        let (got, size) = super::file(&packets(&sent)).unwrap();
        assert_eq!(size, (width, height));
        assert_eq!(
            tables_apart(taken_apart(&got)),
            tables_apart(taken_apart(&sent))
        );
    }
}

#[test]
fn tables_by_their_quality() {
    // The standard's own tables at 50; at 99 nearly nothing is lost.
    let of = |quality: u8| {
        let (got, size) = super::file(&one(&[0, 0, 0, 0, 1, quality, 2, 1, 9, 9])).unwrap();
        assert_eq!(size, (16, 8));
        let (segments, _) = taken_apart(&got);
        let tables = segments
            .into_iter()
            .find(|(kind, _)| *kind == 0xDB)
            .unwrap();
        (tables.1[1], tables.1[66], tables.1.len())
    };
    assert_eq!(of(50), (16, 17, 130));
    assert_eq!(of(99), (1, 1, 130));
    assert_eq!(of(1), (255, 255, 130));
}

#[test]
fn a_picture_without_its_head_is_no_file() {
    let late = one(&[0, 0, 1, 0, 1, 50, 2, 1, 9, 9]);
    assert_eq!(super::file(&late).err(), Some(PayloadError::Headless));
    assert_eq!(
        super::file(&Packets::new()).err(),
        Some(PayloadError::Headless)
    );
}
