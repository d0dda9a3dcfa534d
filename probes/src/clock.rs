//! The two clocks of the house's edge: the wall's, and the one that only runs forward.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use seamline_routing::Timestamp;

/// Where the time of day comes from.
#[derive(Debug, Clone, Copy, Default)]
pub enum Clock {
    /// The machine's clock, which may be stepped.
    #[default]
    System,
    /// Stood at a time of day at an instant, and keeps pace with the runtime's clock since: what
    /// tests with a paused clock use.
    Anchored {
        /// The time of day then.
        at: Timestamp,
        /// The instant.
        since: Instant,
    },
}

impl Clock {
    /// A clock that shows `at` now.
    pub fn anchored(at: Timestamp) -> Self {
        Self::Anchored {
            at,
            since: monotonic(),
        }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Anchored { at, since } => *at + monotonic().saturating_duration_since(*since),
        }
    }
}

/// The instant, by the runtime's clock, which tests can pause.
pub fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge: the one place where the crate reads the time of day"
)]
fn system_now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::EPOCH + since
}
