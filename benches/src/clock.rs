//! The one place that reads the monotonic clock.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Monotonic time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that reads the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The same clock as a number that other processes of this machine read alike, in ns.
pub(crate) fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Waits until a moment; one that has passed is no wait.
pub(crate) async fn sleep_until(then: Instant) {
    tokio::time::sleep_until(then.into()).await;
}

/// Waits on the calling thread's runtime.
pub(crate) async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}

/// UTC in µs.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that reads the clock"
)]
pub(crate) fn unix_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_micros() as i64
}
