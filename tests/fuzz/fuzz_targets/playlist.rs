//! A recorder's HLS playlist: bounded, and in the order of time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_probes::hls::read_playlist;

fuzz_target!(|data: &[u8]| {
    let periods = read_playlist(data);
    assert!(periods.iter().all(|period| period.start() < period.end()));
    assert!(periods.is_sorted_by_key(|period| period.start()));
});
