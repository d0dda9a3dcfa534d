//! A byte stream from a client or a recorder: it is cut the same way however it arrives, and within its bounds.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use seamline_rtsp::{Framer, Incoming};

/// What a framer makes of bytes that come in blocks of this length, and whether it gave up.
fn cut(data: &[u8], block: usize) -> (Vec<String>, bool) {
    let (mut framer, mut buffer, mut out) = (Framer::new(), BytesMut::new(), Vec::new());
    for part in data.chunks(block) {
        buffer.extend_from_slice(part);
        loop {
            match framer.next(&mut buffer) {
                Ok(Some(incoming)) => out.push(show(&incoming)),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

fn show(incoming: &Incoming) -> String {
    match incoming {
        Incoming::Frame { channel, bytes } => format!("{channel} {bytes:?}"),
        other => format!("{other:?}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = cut(data, data.len().max(1));
    assert_eq!(whole, cut(data, 1));
    assert_eq!(whole, cut(data, 7));
});
