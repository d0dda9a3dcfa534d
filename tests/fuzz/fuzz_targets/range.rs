//! `Range`: what is read is written so that it is read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_rtsp::headers::Range;

fuzz_target!(|text: &str| {
    let Ok(range) = Range::parse(text) else {
        return;
    };
    let written = range.to_string();
    let again = Range::parse(&written)
        .unwrap_or_else(|error| panic!("{text:?} is written {written:?}: {error}"));
    assert_eq!(again.to_string(), written);
    assert_eq!(again.is_reversed(), range.is_reversed());
});
