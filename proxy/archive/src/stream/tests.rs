//! Movies in pieces of any size, and such as are none.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{
    segment::Segment,
    testing::{FRAME_US, GROUP, boxed, fragment, fragmented, fragmented_head, frame, ftyp, plain},
};

/// All that comes of a movie that arrives in pieces of `step` bytes.
fn received(movie: &[u8], step: usize) -> Result<Vec<Piece>, StreamError> {
    let mut stream = Stream::new();
    let mut pieces = Vec::new();
    for chunk in movie.chunks(step.max(1)) {
        stream.push(chunk);
        while let Some(piece) = stream.next_piece()? {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

fn frames(pieces: &[Piece]) -> Vec<&StreamFrame> {
    let frames = pieces.iter().filter_map(|piece| match piece {
        Piece::Frame(frame) => Some(frame),
        Piece::Tracks(_) => None,
    });
    frames.collect()
}

/// A plain movie whose index is ahead of its media.
fn fast_start(count: usize) -> Vec<u8> {
    let file = plain(count, 0);
    let moov_at = file.windows(4).position(|kind| kind == b"moov").unwrap() - 4;
    let (ahead, moov) = file.split_at(moov_at);
    let (head, media) = ahead.split_at(ftyp().len());
    let mut moov = moov.to_vec();
    let stco = moov.windows(4).rposition(|kind| kind == b"stco").unwrap() + 12;
    let place = (head.len() + moov.len() + 8) as u32;
    moov[stco..stco + 4].copy_from_slice(&place.to_be_bytes());
    [head, &moov, media].concat()
}

#[test]
fn what_comes_is_what_a_file_of_it_would_hold() {
    for movie in [fragmented(3), fast_start(2 * GROUP)] {
        let whole = received(&movie, movie.len()).unwrap();
        assert!(matches!(&whole[0], Piece::Tracks(formats) if formats.len() == 1));
        let mut file = std::io::Cursor::new(&movie);
        let segment = Segment::read(Path::new("movie"), &mut file).unwrap();
        let track = &segment.tracks()[0];
        assert_eq!(frames(&whole).len(), track.samples().len());
        for (number, (frame_, sample)) in
            frames(&whole).into_iter().zip(track.samples()).enumerate()
        {
            assert_eq!(frame_.decode_us, segment.decode_us(track, sample));
            assert_eq!(frame_.decode_us, number as i64 * FRAME_US);
            assert_eq!((frame_.duration_us, frame_.composition_us), (FRAME_US, 0));
            assert_eq!(frame_.sync, number % GROUP == 0);
            assert_eq!(frame_.data, frame(number));
        }
        for step in [1, 7, 64] {
            assert_eq!(received(&movie, step).unwrap(), whole, "{step}");
        }
    }
}

#[test]
fn a_header_of_its_own_comes_before_segments() {
    let mut stream = Stream::new();
    stream.push(&fragmented_head());
    assert!(matches!(stream.next_piece(), Ok(Some(Piece::Tracks(_)))));
    for segment in [2, 9] {
        stream.begin_media();
        stream.push(&boxed(*b"styp", &[b"msdh\0\0\0\0"]));
        stream.push(&fragment(segment, 3));
        for number in segment..segment + 3 {
            let Ok(Some(Piece::Frame(received))) = stream.next_piece() else {
                panic!("{number}");
            };
            assert_eq!(received.data, frame(number));
        }
        assert_eq!(stream.next_piece(), Ok(None));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let head = fragmented_head();
    let one = fragment(0, 3);
    let moof_len = u32::from_be_bytes(*one.first_chunk().unwrap()) as usize;
    let with = |bytes: &[u8]| [&head[..], bytes].concat();
    let mut large = one[..moof_len].to_vec();
    // The size of the first sample, behind the head of the run.
    let trun = large.windows(4).position(|kind| kind == b"trun").unwrap();
    large[trun + 16..trun + 20].copy_from_slice(&u32::MAX.to_be_bytes());
    let media = boxed(*b"mdat", &[&[0; 64]]);
    for (what, movie, error) in [
        (
            "a page",
            b"<!doctype html><html>".to_vec(),
            StreamError::NotMp4,
        ),
        ("media first", plain(GROUP, 0), StreamError::IndexBehind),
        (
            "a box smaller than its head",
            with(b"\0\0\0\x04free"),
            StreamError::Malformed("box size"),
        ),
        (
            "an index to the end",
            with(b"\0\0\0\0moofxxxx"),
            StreamError::Malformed("index size"),
        ),
        (
            "an index of 2^63 bytes",
            with(b"\0\0\0\x01moof\x80\0\0\0\0\0\0\0"),
            StreamError::TooLarge("index"),
        ),
        (
            "no media",
            with(&[&one[..moof_len], &one[..moof_len]].concat()),
            StreamError::Malformed("fragment: its media is missing"),
        ),
        (
            "a frame beyond its media",
            with(&[&large[..], &media].concat()),
            StreamError::Malformed("sample: it reaches beyond its media"),
        ),
    ] {
        assert_eq!(received(&movie, 5), Err(error), "{what}");
    }
}

#[test]
fn boxes_of_any_length_cost_no_memory() {
    // A box of 2^63 bytes, and media to the end behind which nothing can come.
    for kind in [*b"free", *b"mdat"] {
        let head = [&[0, 0, 0, 1][..], &kind, &(1_u64 << 63).to_be_bytes()].concat();
        let mut stream = Stream::new();
        stream.push(&[fragmented_head(), head].concat());
        assert!(matches!(stream.next_piece(), Ok(Some(Piece::Tracks(_)))));
        for _ in 0..1_000 {
            stream.push(&[0; 4096]);
            assert_eq!(stream.next_piece(), Ok(None));
            assert!(stream.buffer.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn any_damage_is_survived(
        at in 0_usize..2_000,
        damage in proptest::collection::vec(any::<u8>(), 1..24),
        step in 1_usize..300,
        plain in any::<bool>(),
    ) {
        let mut movie = if plain { fast_start(GROUP) } else { fragmented(2) };
        let at = at % movie.len();
        let end = (at + damage.len()).min(movie.len());
        movie[at..end].copy_from_slice(&damage[..end - at]);
        if let Ok(pieces) = received(&movie, step) {
            let bytes: usize = frames(&pieces).iter().map(|frame| frame.data.len()).sum();
            prop_assert!(bytes <= movie.len());
        }
    }
}
