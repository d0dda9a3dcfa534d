//! Pictures and sound on their way into files: of whatever packets, the boxes are whole, and hold what was put in.
#![no_main]

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use seamline_archive::{Piece as Read, Stream};
use seamline_media::mp4::{Fragmented, Holes, Origin, Piece, Settings, Whole};
use seamline_media::{
    Assembler, CaptureClock, Codec, Ending, Kind, LegFormat, Markers, ParameterSets, Sample, Sampler, Taken, TrackFormat,
};

const START_US: i64 = 1_767_323_045_000_000;
/// x264, High, 1280x720, pictures reordered by up to two places.
const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0xff, 0x00, 0x03, 0x00, 0x04, 0x10, 0x00, 0x00, 0x03, 0x00,
    0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

fuzz_target!(|data: &[u8]| {
    let &[choice, layout, ref packets @ ..] = data else {
        return;
    };
    let config = vec![("config".to_owned(), "1190".to_owned())];
    let encodings = ["H264", "H265", "JPEG", "MPEG4-GENERIC", "PCMU", "OPUS"];
    let encoding = encodings[usize::from(choice) % encodings.len()];
    let rate = if encoding == "PCMU" { 8_000 } else { 90_000 };
    let kind = Kind::of(encoding, rate, 1, &config).expect("each has a name in MP4");
    let is_picture = matches!(kind, Kind::H264 | Kind::H265);
    let settings = Settings {
        origin: match layout % 3 {
            0 => Origin::First,
            1 => Origin::At(START_US),
            _ => Origin::Segment(START_US - 1_000_000),
        },
        holes: if layout & 4 == 0 { Holes::Close } else { Holes::Keep },
        master: 0,
    };
    let (mut fragments, mut whole) = (Fragmented::new(settings), Whole::new(settings));
    let (mut file, mut media, mut pushed) = (Vec::new(), 0, 0);
    for taken in taken(kind, rate, layout & 8 != 0, packets) {
        match taken {
            Taken::Format { track, entry } => {
                fragments.format(track, entry.clone());
                whole.format(track, entry);
            }
            Taken::Sample(sample) => {
                pushed += sample.data.len();
                fragments.push(Sample::clone(&sample));
                whole.push(sample);
                write(fragments.pop(), &mut file);
                media += len(&whole.pop().expect("it is short"));
            }
        }
    }
    write(fragments.finish(), &mut file);
    assert!(boxes(&file), "boxes that are not whole");
    if let Some((rest, head)) = whole.finish().expect("it is short") {
        media += len(&rest);
        let mut plain = head.to_vec();
        // The head of the media, whose length is the last thing ahead of it.
        plain.resize(head.len() + media, 0);
        assert!(boxes(&plain), "tables and media do not fit");
    }
    assert!(media <= pushed, "{media} bytes of {pushed}");
    // Segments are read behind each other's heads; the reader of files wants one.
    if is_picture && layout % 3 != 2 {
        let read = read(&file);
        assert!(read <= media, "{read} bytes of {media}");
    }
});

/// What samples come of these packets: each a length, a step of time, flags, and its payload.
fn taken(kind: Kind, rate: u32, announced: bool, mut rest: &[u8]) -> Vec<Taken> {
    let codec = kind.codec();
    let clock = CaptureClock::new([rate], START_US, 0, 1.0);
    let format = TrackFormat {
        codec,
        clock_rate: rate,
        payload_type: 96,
        markers: Markers::Unknown,
    };
    let mut assembler = Assembler::new(vec![format], clock);
    let mut units = VecDeque::new();
    let (mut seq, mut time) = (0u16, 0u32);
    while let &[length, step, flags, ref after @ ..] = rest {
        let (payload, next) = after.split_at(usize::from(length).min(after.len()));
        rest = next;
        time = time.wrapping_add_signed(i32::from(step.cast_signed()) * 900);
        let mut frame = BytesMut::from(&[b'$', 0, 0, (12 + payload.len()) as u8][..]);
        frame.extend_from_slice(&[0x80, 96 | (flags & 0x80)]);
        frame.extend_from_slice(&seq.to_be_bytes());
        frame.extend_from_slice(&time.to_be_bytes());
        frame.extend_from_slice(b"seam");
        frame.extend_from_slice(payload);
        if payload.len() + 12 < 256 {
            let _ = assembler.push(0, frame, &mut units);
        }
        seq = seq.wrapping_add(1 + u16::from(flags & 1));
    }
    assembler.flush(Ending::Lost, &mut units);
    let mut sampler = Sampler::new([Some(kind)]);
    let mut sets = ParameterSets::default();
    if announced && codec == Codec::H264 {
        sets.add(codec, SPS);
        sets.add(codec, PPS);
    }
    sampler.begin_leg(&LegFormat {
        parameter_sets: vec![sets],
        discontinuity: None,
    });
    let mut taken: Vec<Taken> = sampler.formats().into_iter().collect();
    for unit in &units {
        taken.extend(sampler.take(unit, false).into_iter().flatten());
    }
    taken
}

/// Writes what leaves a writer of one file: its first head, and all fragments.
fn write(pieces: Vec<Piece>, file: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Head(head) if file.is_empty() => file.extend_from_slice(&head),
            Piece::Head(_) => {}
            Piece::Fragment(fragment) => fragment.chunks.iter().for_each(|chunk| file.extend_from_slice(chunk)),
        }
    }
}

fn len(chunks: &[Bytes]) -> usize {
    chunks.iter().map(Bytes::len).sum()
}

/// Whether a file is boxes from its first byte to its last.
fn boxes(mut rest: &[u8]) -> bool {
    while let Some(head) = rest.first_chunk::<8>() {
        let short = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = match (short, rest.get(8..16)) {
            (1, Some(long)) => u64::from_be_bytes(long.try_into().expect("eight bytes")),
            _ => u64::from(short),
        };
        match usize::try_from(length).ok().filter(|length| *length >= 8).and_then(|length| rest.get(length..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}

/// How many bytes of frames a reader finds.
fn read(file: &[u8]) -> usize {
    let mut stream = Stream::new();
    let mut bytes = 0;
    for chunk in file.chunks(1000) {
        stream.push(chunk);
        while let Some(piece) = stream.next_piece().expect("what is written can be read") {
            if let Read::Frame(frame) = piece {
                bytes += frame.data.len();
            }
        }
    }
    bytes
}
