//! Another Seamline's timeline: what it holds is a part of what it knows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_probes::seamline::read_timeline;

fuzz_target!(|data: &[u8]| {
    let Some((known, periods)) = read_timeline(data) else {
        return;
    };
    assert!(periods.iter().all(|period| known.contains(period)));
});
