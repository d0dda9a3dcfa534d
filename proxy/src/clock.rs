//! The edge's clocks: the only place that reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use seamline_routing::time::Timestamp;

/// Monotonic time; follows tokio's clock, which tests may pause.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day, UTC.
pub fn wall() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that reads the clock"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(since.as_micros() as i64)
}
