//! The 0xABAC extension: what is read is written as it was, but for the bits that must be zero.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_media::CaptureClock;
use seamline_media::abac::Replay;

fuzz_target!(|data: (u16, &[u8])| {
    let (id, words) = data;
    let Some(replay) = Replay::parse(id, words) else {
        return;
    };
    let bytes = replay.to_bytes();
    let again = Replay::parse(0xabac, &bytes[4..]);
    assert!(again.is_none() || again.is_some_and(|again| again.to_bytes() == bytes));
    let mut clock = CaptureClock::new([90_000], 1_767_323_045_000_000, 0, 1.0);
    let _ = clock.stamp(0, 7, Some(replay.ntp));
});
