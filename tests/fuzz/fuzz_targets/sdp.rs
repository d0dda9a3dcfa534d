//! A recorder's description: bounded, and what we tell clients of it holds no line of the recorder's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_media::{Codec, ParameterSets};
use seamline_rtsp::sdp::Description;

fuzz_target!(|data: &[u8]| {
    let Ok(description) = Description::parse(data) else {
        return;
    };
    assert!(
        description.tracks.len() <= 64,
        "{} tracks",
        description.tracks.len()
    );
    for track in &description.tracks {
        let _ = ParameterSets::from_fmtp(Codec::from_encoding(&track.encoding), &track.fmtp);
    }
    let ours = description.write("gate", 1, [127, 0, 0, 1].into());
    let read = Description::parse(&ours).expect("we read what we write");
    assert_eq!(read.tracks.len(), description.tracks.len());
});
