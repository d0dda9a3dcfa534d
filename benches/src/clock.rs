//! The one place that reads the monotonic clock.

use std::time::{Duration, Instant};

/// Monotonic time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that reads the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until a moment; one that has passed is no wait.
pub(crate) async fn sleep_until(then: Instant) {
    tokio::time::sleep_until(then.into()).await;
}

/// Waits on the calling thread's runtime.
pub(crate) async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}
