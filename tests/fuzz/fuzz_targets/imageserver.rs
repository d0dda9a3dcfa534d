//! A byte stream of an XProtect recorder: cut the same way however it arrives, and what is written is read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use seamline_xprotect::{Answer, Call, CallFramer, Framer, Incoming, gbd};

/// What a framer makes of bytes that come in blocks of this length, and whether it gave up.
fn cut(data: &[u8], block: usize) -> (Vec<Incoming>, bool) {
    let (mut framer, mut buffer, mut out) = (Framer::default(), BytesMut::new(), Vec::new());
    for part in data.chunks(block) {
        buffer.extend_from_slice(part);
        loop {
            match framer.next(&mut buffer) {
                Ok(Some(incoming)) => out.push(incoming),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

fuzz_target!(|data: &[u8]| {
    let whole = cut(data, data.len().max(1));
    assert_eq!(whole, cut(data, 1));
    assert_eq!(whole, cut(data, 7));
    for incoming in whole.0 {
        match incoming {
            Incoming::Body(body) => {
                for packet in gbd::packets(&body).unwrap_or_default() {
                    if let gbd::Packet::Video(video) = packet {
                        let written = video.write();
                        assert_eq!(gbd::packets(&written).unwrap(), [gbd::Packet::Video(video)]);
                    }
                }
            }
            Incoming::Document(document) => {
                if let Ok(answer) = Answer::parse(&document) {
                    let written = answer.write();
                    assert!(Answer::parse(&written[..written.len() - 4]).is_ok());
                }
            }
            Incoming::Head(_) | Incoming::End => {}
        }
    }
    let mut buffer = BytesMut::from(data);
    let mut framer = CallFramer::default();
    while let Ok(Some(document)) = framer.next(&mut buffer) {
        if let Ok(call) = Call::parse(&document) {
            let written = call.write();
            assert!(Call::parse(&written[..written.len() - 4]).is_ok());
        }
    }
});
