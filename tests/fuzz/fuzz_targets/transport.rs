//! `Transport`: what is offered is bounded, and what is written is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_rtsp::headers::Transport;

fuzz_target!(|text: &str| {
    // The framer lets no such byte into a header.
    if text.contains(|letter: char| letter.is_control()) {
        return;
    }
    for transport in Transport::parse_list(text) {
        let written = transport.to_string();
        assert!(!written.contains(['\r', '\n', '\0']), "{written:?}");
        assert!(
            Transport::parse(&written).is_some(),
            "{text:?} is written {written:?}"
        );
    }
});
