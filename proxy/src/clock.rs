//! The edge's clocks: the only place that reads them.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use seamline_routing::time::Timestamp;

/// Monotonic time; follows tokio's clock, which tests may pause.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What falls due within this is done together: waking up costs more than sending a picture.
const TOGETHER: Duration = Duration::from_millis(5);

/// The first instant at or after `at` for which all that waits wakes up together.
pub fn together(at: Instant) -> Instant {
    static ZERO: LazyLock<Instant> = LazyLock::new(now);
    let Some(since) = at.checked_duration_since(*ZERO) else {
        return at;
    };
    let steps = since.as_micros().div_ceil(TOGETHER.as_micros());
    *ZERO + TOGETHER * u32::try_from(steps).unwrap_or(u32::MAX)
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
