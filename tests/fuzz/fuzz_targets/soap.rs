//! An ONVIF device's answer: read as every question would read it, within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_probes::onvif::read_answer;

fuzz_target!(|data: &[u8]| {
    read_answer(data);
});
