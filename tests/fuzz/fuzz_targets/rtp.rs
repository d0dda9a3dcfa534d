//! One RTP packet: no byte outside of it is touched, and what is read of it adds up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_media::rtp::{Packet, first_frame_bytes, unframe};

fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = Packet::parse(data) {
        // Counted in a frame, whose head is four bytes.
        assert!(packet.payload_at() + packet.payload.len() <= data.len() + 4);
        let _ = packet.replay();
    }
    if let Some(bytes) = first_frame_bytes(data) {
        let frame = &data[..bytes];
        if let Ok(packet) = unframe(frame) {
            assert_eq!(packet.len() + 4, bytes);
        }
        let _ = Packet::parse_frame(frame);
    }
});
