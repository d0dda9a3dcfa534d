//! A leg's packets: grouped into units of every codec and spliced; every packet is counted once, and the client's stream is whole.
#![no_main]

use std::collections::VecDeque;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use seamline_media::{
    Assembler, CaptureClock, Codec, Ending, Fragments, Markers, TrackFormat, h264, h265,
};

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    const CODECS: [Codec; 5] = [
        Codec::H264,
        Codec::H265,
        Codec::Jpeg,
        Codec::Metadata,
        Codec::Other,
    ];
    let codec = CODECS[usize::from(*choice) % CODECS.len()];
    let clock = CaptureClock::new([90_000], 1_767_323_045_000_000, 0, 1.0);
    let format = TrackFormat {
        codec,
        clock_rate: 90_000,
        payload_type: 96,
        markers: Markers::Unknown,
    };
    let mut assembler = Assembler::new(vec![format], clock);
    let (mut units, mut pushed) = (VecDeque::new(), 0);
    while let [length, after @ ..] = rest {
        // The length of an RTP packet, and its bytes; the head of the frame is right, as the framer makes sure.
        let length = usize::from(*length).min(after.len());
        let (packet, next) = after.split_at(length);
        rest = next;
        let _ = h264::contents(packet, &mut Fragments::default());
        let _ = h265::contents(packet, &mut Fragments::default());
        let mut frame = BytesMut::from(&[b'$', 0, 0, length as u8][..]);
        frame.extend_from_slice(packet);
        let _ = assembler.push(0, frame, &mut units);
        pushed += 1;
    }
    assembler.flush(Ending::Lost, &mut units);
    let counts = *assembler.counts();
    assert_eq!(counts.packets + counts.dropped(), pushed);
    assert_eq!(counts.units, units.len() as u64);
    assert!(units.iter().all(|unit| !unit.packets.is_empty()));
});
