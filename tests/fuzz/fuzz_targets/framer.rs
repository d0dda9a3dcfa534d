//! A byte stream from a client or a recorder: it is cut the same way however it arrives, and within its bounds.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use seamline_rtsp::{Framer, Incoming};

#[path = "../../../proxy/src/inbound/rtsp/pipeline.rs"]
#[allow(dead_code, reason = "a file of the program, of which this uses what it is about")]
mod pipeline;

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

/// The requests of a client that are answered one after the other, as they come in blocks of this length; and whether it is refused then.
fn answered(data: &[u8], block: usize) -> (Vec<String>, bool) {
    let (mut requests, mut out) = (pipeline::Pipeline::default(), Vec::new());
    for part in data.chunks(block) {
        requests.buffer().extend_from_slice(part);
        loop {
            requests.cut();
            let Some(request) = requests.pop() else { break };
            out.push(show(&Incoming::Request(request)));
        }
        if requests.take_refusal().is_some() {
            return (out, true);
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
    let (mut requests, refused) = whole;
    requests.retain(|shown| shown.starts_with("Request"));
    assert_eq!((requests, refused), answered(data, data.len().max(1)));
});
