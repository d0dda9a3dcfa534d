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
    at + rest_of_step(since)
}

/// From `since` to the end of the step that it lies in.
fn rest_of_step(since: Duration) -> Duration {
    let over = since.as_nanos() as u64 % TOGETHER.as_nanos() as u64;
    match over {
        0 => Duration::ZERO,
        _ => TOGETHER.saturating_sub(Duration::from_nanos(over)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_woken_at_the_end_of_its_step_however_long_the_process_has_run() {
        const DAY: Duration = Duration::from_secs(86_400);
        const MS: Duration = Duration::from_millis(1);
        for days in [0, 1, 248, 249, 10_000] {
            let since = DAY * days;
            assert_eq!(rest_of_step(since), Duration::ZERO);
            assert_eq!(rest_of_step(since + MS), MS * 4);
            assert_eq!(
                rest_of_step(since + Duration::from_nanos(4_999_999)),
                Duration::from_nanos(1)
            );
        }
    }
}
