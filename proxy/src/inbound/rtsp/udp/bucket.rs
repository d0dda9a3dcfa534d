//! How fast datagrams may go out: nothing tells a sender of UDP that its receiver cannot follow.

use std::time::{Duration, Instant};

/// Lets `bytes_per_s` through, and a burst at once after silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    bytes_per_s: u32,
    burst_bytes: u32,
    /// When it is full again.
    full_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(bytes_per_s: u32, burst_bytes: u32) -> Self {
        Bucket {
            bytes_per_s: bytes_per_s.max(1),
            burst_bytes,
            full_at: None,
        }
    }

    pub(super) fn set_rate(&mut self, bytes_per_s: u32) {
        self.bytes_per_s = bytes_per_s.max(1);
    }

    /// When the next bytes may go, if not now.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        let full_at = self.full_at?;
        let open_at = full_at.checked_sub(self.time_of(self.burst_bytes as usize))?;
        (open_at > now).then_some(open_at)
    }

    /// Counts what went.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) {
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(from + self.time_of(bytes));
    }

    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / u64::from(self.bytes_per_s))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_its_rate() {
        let now = clock::now();
        let mut bucket = Bucket::new(1_000_000, 10_000);
        assert_eq!(bucket.wait(now), None);
        bucket.take(10_000, now);
        assert_eq!(bucket.wait(now), None);
        bucket.take(5_000, now);
        assert_eq!(bucket.wait(now), Some(now + Duration::from_millis(5)));
        assert_eq!(bucket.wait(now + Duration::from_millis(5)), None);
    }

    proptest! {
        /// Over any stretch no more goes than the rate, a burst and the one batch that overdraws it.
        #[test]
        fn the_rate_is_kept(batches in prop::collection::vec((1usize..30_000, 0u64..4_000), 1..200)) {
            let (rate, burst) = (4_000_000_u32, 32_000_u32);
            let start = clock::now();
            let (mut bucket, mut now, mut sent) = (Bucket::new(rate, burst), start, 0usize);
            for (bytes, idle_us) in batches {
                now += Duration::from_micros(idle_us);
                if let Some(at) = bucket.wait(now) {
                    now = at;
                }
                bucket.take(bytes, now);
                sent += bytes;
                let allowed = now.duration_since(start).as_secs_f64() * f64::from(rate) + f64::from(burst) + 30_001.0;
                prop_assert!(sent as f64 <= allowed, "{sent} of {allowed}");
            }
        }
    }
}
