//! A compound of RTCP packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_media::{CaptureClock, rtcp};

fuzz_target!(|data: &[u8]| {
    let report = rtcp::parse(data);
    let mut clock = CaptureClock::new([90_000], 1_767_323_045_000_000, 0, 1.0);
    if let Some((_, ntp, rtp_time)) = report.sender {
        clock.sender_report(0, ntp, rtp_time, 1_767_323_045_000_000);
    }
    let _ = clock.stamp(0, 7, None);
});
