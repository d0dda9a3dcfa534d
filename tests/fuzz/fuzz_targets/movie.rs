//! MP4 as a recorder hands it out over HTTP: no more comes of it than went in, in whatever pieces it arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_archive::{Piece, Stream};

fuzz_target!(|data: &[u8]| {
    let Some((step, movie)) = data.split_first() else {
        return;
    };
    let whole = frames(movie, movie.len());
    let pieces = frames(movie, usize::from(*step));
    assert_eq!(whole, pieces, "it depends on how it arrives");
    let bytes: usize = whole.iter().sum();
    assert!(bytes <= movie.len(), "{bytes} bytes of {}", movie.len());
});

/// The lengths of all frames up to the first error.
fn frames(movie: &[u8], step: usize) -> Vec<usize> {
    let mut stream = Stream::new();
    let mut frames = Vec::new();
    for chunk in movie.chunks(step.max(1)) {
        stream.push(chunk);
        loop {
            match stream.next_piece() {
                Ok(Some(Piece::Frame(frame))) => frames.push(frame.data.len()),
                Ok(Some(Piece::Tracks(_))) => {}
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}
