//! Parameter sets, as cameras and files say them: whatever is in them, what is understood is told again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_media::{Codec, Entry, ParameterSets};

const VPS: &[u8] = &[0x40, 0x01, 0x0c, 0x01, 0xff, 0xff];
const PPS_H264: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
const PPS_H265: &[u8] = &[0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40];

fuzz_target!(|data: &[u8]| {
    // As they lie in a stream.
    for (codec, others) in [(Codec::H264, vec![PPS_H264]), (Codec::H265, vec![VPS, PPS_H265])] {
        let mut sets = ParameterSets::default();
        sets.add(codec, data);
        others.into_iter().for_each(|set| sets.add(codec, set));
        understood(codec, &sets);
    }
    // As they lie in the description of a track.
    if let Some((sets, lengths)) = ParameterSets::from_avcc(data) {
        assert!((1..=4).contains(&lengths), "lengths of {lengths} bytes");
        understood(Codec::H264, &sets);
    }
    if let Some((sets, lengths)) = ParameterSets::from_hvcc(data) {
        assert!((1..=4).contains(&lengths), "lengths of {lengths} bytes");
        understood(Codec::H265, &sets);
    }
});

fn understood(codec: Codec, sets: &ParameterSets) {
    let Some(entry) = Entry::of_sets(codec, sets) else {
        return;
    };
    let (width, height) = entry.size().expect("a picture has a size");
    assert!(width > 0 && height > 0, "{width}x{height}");
    assert!(entry.codecs().is_ascii());
    let again = ParameterSets::from_fmtp(codec, &sets.to_fmtp(codec));
    assert_eq!(Entry::of_sets(codec, &again), Some(entry), "told otherwise");
}
