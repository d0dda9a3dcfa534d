//! The bytes of the protocol: golden ones both ways, whatever else recorders and clients say, and what is asked by SOAP.

mod golden;
mod reading;
mod soap;

use bytes::{Bytes, BytesMut};
use seamline_xprotect::{
    Content, Framer, ImageHead, Incoming, WireError,
    gbd::{Codec, Video},
};

/// 2025-01-01T00:00:00Z.
const NOON_MS: i64 = 1_735_689_600_000;

const CAMERA: &str = "11111111-2222-3333-4444-555555555555";

const KEY: &[u8] = &[
    0x00, 0x10, 0x00, 0x00, 0x00, 0x34, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x01, 0x94,
    0x1f, 0x29, 0x7c, 0x00, 0x00, 0x00, 0x01, 0x94, 0x1f, 0x29, 0x7c, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x67, 0x42, 0x80, 0x00, 0x00, 0x00, 0x00, 0x01, 0x68, 0xce, 0x00, 0x00,
    0x00, 0x01, 0x65, 0x88,
];

const DELTA: &[u8] = &[
    0x00, 0x10, 0x00, 0x00, 0x00, 0x26, 0x00, 0x0a, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x94,
    0x1f, 0x29, 0x7c, 0x00, 0x00, 0x00, 0x01, 0x94, 0x1f, 0x29, 0x7c, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x41, 0x9a,
];

fn key() -> Video {
    Video {
        codec: Codec::H264,
        sequence: 0,
        flags: 1,
        sync_ms: NOON_MS,
        picture_ms: NOON_MS,
        payload: Bytes::from_static(&KEY[32..]),
    }
}

fn delta() -> Video {
    Video {
        codec: Codec::H264,
        sequence: 1,
        flags: 0,
        sync_ms: NOON_MS,
        picture_ms: NOON_MS + 100,
        payload: Bytes::from_static(&DELTA[32..]),
    }
}

fn head(request_id: i64, content: Content) -> ImageHead {
    ImageHead {
        request_id: Some(request_id),
        prev_ms: Some(NOON_MS - 1000),
        current_ms: Some(NOON_MS),
        next_ms: Some(NOON_MS + 1000),
        content,
        privacy_mask: None,
        more: Vec::new(),
    }
}

fn single(bytes: usize) -> Content {
    Content::Body {
        bytes,
        kind: ImageHead::GENERIC.to_owned(),
    }
}

fn one_picture() -> Vec<u8> {
    let body = key().write();
    let head = head(2, single(body.len())).write();
    [&head, &body[..], b"\r\n\r\n"].concat()
}

/// What a connection gives out when its bytes come in these pieces.
fn read(pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<Incoming>, WireError> {
    let (mut framer, mut buf, mut found) = (Framer::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(&piece);
        while let Some(incoming) = framer.next(&mut buf)? {
            found.push(incoming);
        }
    }
    Ok(found)
}
