//! The segment of a stretch in which nothing was recorded: a fragment without samples that says where it lies.
//!
//! Players end at a 404, and GStreamer asks for gaps too, which clients must not (RFC 8216bis §4.4.4.7). Its newer elements (`hlsdemux2`)
//! stall at a segment without a fragment of a known track, and the older ones abort at an `mdat` behind one.

use bytes::{BufMut, Bytes, BytesMut};
use seamline_routing::Timestamp;

/// Ticks a second of tracks of pictures.
const VIDEO_TICKS: i128 = 90_000;
const STYP: &[u8] = b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix";
/// ISO/IEC 14496-12 §8.8.7: offsets count from the fragment, and no sample lasts.
const BASE_IS_MOOF: u32 = 0x02_0000;
const NO_DURATION: u32 = 0x01_0000;
const VERSION_1: u32 = 0x0100_0000;

/// A segment at an instant, of the track with this number, counted from 0.
pub(super) fn segment(at: Timestamp, track: usize) -> Bytes {
    let ticks = i128::from(at.as_micros()) * VIDEO_TICKS / 1_000_000;
    let ticks = u64::try_from(ticks).unwrap_or(0);
    let mut header = BytesMut::new();
    header.put_u32(BASE_IS_MOOF | NO_DURATION);
    header.put_u32(track as u32 + 1);
    let mut time = BytesMut::new();
    time.put_u32(VERSION_1);
    time.put_u64(ticks);
    let traf = named(
        *b"traf",
        &[named(*b"tfhd", &[header]), named(*b"tfdt", &[time])],
    );
    let mut number = BytesMut::zeroed(4);
    number.put_u32(1);
    let moof = named(*b"moof", &[named(*b"mfhd", &[number]), traf]);
    let mut whole = BytesMut::from(STYP);
    whole.extend_from_slice(&moof);
    whole.freeze()
}

fn named(name: [u8; 4], parts: &[BytesMut]) -> BytesMut {
    let body: usize = parts.iter().map(BytesMut::len).sum();
    let mut whole = BytesMut::with_capacity(8 + body);
    whole.put_u32(8 + body as u32);
    whole.extend_from_slice(&name);
    for part in parts {
        whole.extend_from_slice(part);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_it_lies_and_holds_nothing() {
        let bytes = segment(Timestamp::from_unix_ms(1_767_268_831_520), 1);
        let golden = [
            &b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix"[..],
            b"\0\0\0\x44moof\0\0\0\x10mfhd\0\0\0\0\0\0\0\x01",
            b"\0\0\0\x2ctraf\0\0\0\x10tfhd\0\x03\0\0\0\0\0\x02",
            b"\0\0\0\x14tfdt\x01\0\0\0",
            &(1_767_268_831_520_u64 * 90).to_be_bytes(),
        ];
        assert_eq!(bytes, golden.concat());
    }
}
