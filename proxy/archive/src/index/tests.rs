//! Indexes behind and ahead of their media, entered anywhere.

use proptest::prelude::*;

use super::*;
use crate::{
    stream::{Piece, Stream, StreamFrame},
    testing::{FRAME_US, GROUP, boxed, fragmented, ftyp, plain, plain_with},
};

/// As somebody finds it who is given so many bytes at a time.
fn found(file: &[u8], look: usize) -> Located {
    let mut at = 0_u64;
    for _ in 0..8 {
        let from = usize::try_from(at).unwrap().min(file.len());
        let bytes = &file[from..file.len().min(from + look)];
        match locate_index(bytes, at) {
            Located::Behind(next) if next > at => at = next,
            located => return located,
        }
    }
    Located::Nowhere
}

fn moov_of(file: &[u8]) -> (u64, &[u8]) {
    let Located::At { at, len } = found(file, 64) else {
        panic!("no index");
    };
    (at, &file[at as usize..(at + len) as usize])
}

#[test]
fn the_index_is_found_wherever_it_is() {
    let file = plain(10, 0);
    let at = file.windows(4).position(|kind| kind == b"moov").unwrap() as u64 - 4;
    for look in [16, 32, 64, 4096] {
        let Located::At { at: place, len } = found(&file, look) else {
            panic!("not found by {look}");
        };
        assert_eq!((place, place + len), (at, file.len() as u64));
    }
    assert_eq!(found(&fragmented(2)[..40], 16), found(&fragmented(2), 16));
    for hostile in [
        &b"<html>"[..],
        b"",
        b"\0\0\0\x08moof",
        &[
            ftyp(),
            vec![0, 0, 0, 0, b'm', b'd', b'a', b't', 1, 2, 3, 4, 5, 6, 7, 8],
        ]
        .concat(),
        &[ftyp(), boxed(*b"mdat", &[])].concat(),
        &[
            ftyp(),
            vec![
                0, 0, 0, 1, b'f', b'r', b'e', b'e', 255, 255, 255, 255, 255, 255, 255, 255,
            ],
        ]
        .concat(),
    ] {
        assert!(
            !matches!(found(hostile, 64), Located::At { .. }),
            "{hostile:?}"
        );
    }
    assert!(MovieIndex::read(b"junk").is_err());
    let fragmented = fragmented(2);
    let (_, moov) = moov_of(&fragmented);
    assert!(MovieIndex::read(moov).unwrap().is_none());
}

proptest! {
    /// From wherever it is entered: the frames that a reader of the whole has from there on.
    #[test]
    fn what_is_entered_is_the_rest(count in 1_usize..40, after_ms in 0_i64..2_000, sound in 0_usize..200, step in 1_usize..64) {
        let sound = vec![7_u8; sound];
        let file = plain_with(count, 0, &sound);
        let (_, moov) = moov_of(&file);
        let index = MovieIndex::read(moov).unwrap().unwrap();
        prop_assert_eq!(index.length_us(), count as i64 * FRAME_US);
        let entrance = index.entrance(after_ms * 1_000).unwrap();
        let wanted = (after_ms * 1_000 / FRAME_US).min(count as i64 - 1);
        let group = GROUP as i64;
        prop_assert_eq!(entrance.after_us, wanted / group * group * FRAME_US);
        let mut stream = Stream::entered(moov, entrance.place);
        let mut frames: Vec<StreamFrame> = Vec::new();
        for bytes in file[entrance.place as usize..].chunks(step) {
            stream.push(bytes);
            while let Some(piece) = stream.next_piece().unwrap() {
                if let Piece::Frame(frame) = piece {
                    frames.push(frame);
                }
            }
        }
        let pictures: Vec<i64> = frames.iter().filter(|frame| frame.track == 0).map(|frame| frame.decode_us).collect();
        let first = entrance.after_us / FRAME_US;
        let rest: Vec<i64> = (first..count as i64).map(|n| n * FRAME_US).collect();
        prop_assert_eq!(pictures, rest);
    }

    #[test]
    fn no_index_is_too_odd(bytes in prop::collection::vec(0_u8.., 0..300), place in 0_u64.., cut in 0_usize..400, flip in 0_usize..400) {
        let _ = locate_index(&bytes, place);
        let _ = MovieIndex::read(&bytes);
        let mut moov = moov_of(&plain(10, 0)).1.to_vec();
        moov.truncate(cut.max(8));
        if let Some(byte) = moov.get_mut(flip) {
            *byte ^= 0x41;
        }
        if let Ok(Some(index)) = MovieIndex::read(&moov) {
            let _ = (index.length_us(), index.entrance(i64::MAX), index.entrance(i64::MIN));
        }
    }
}
