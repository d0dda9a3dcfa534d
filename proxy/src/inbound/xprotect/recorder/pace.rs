//! How soon a recorder usually answers, and when it is late. Pure.

use std::time::Duration;

/// Nobody is late sooner: recorders read from disks.
const LATE_MIN: Duration = Duration::from_millis(200);
/// Behind this it is late however slow it usually is.
const LATE_MAX: Duration = Duration::from_secs(1);
/// Before anything is known of it.
const LATE_UNKNOWN: Duration = Duration::from_millis(400);

/// The mean of its answers, and how far they are from it (as RFC 6298 §2 has them of round trips). An answer that was waited for
/// longer counts like all others: who becomes slow is soon late no more, and is asked alone again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    usual: Option<(Duration, Duration)>,
}

impl Pace {
    /// An answer came after so long.
    pub(super) fn note(&mut self, took: Duration) {
        self.usual = Some(match self.usual {
            None => (took, took / 2),
            Some((mean, deviation)) => (
                (mean * 7 + took) / 8,
                (deviation * 3 + mean.abs_diff(took)) / 4,
            ),
        });
    }

    /// When one that is not there is late.
    pub(super) fn late_after(&self) -> Duration {
        self.usual.map_or(LATE_UNKNOWN, |(mean, deviation)| {
            (mean + deviation * 4).clamp(LATE_MIN, LATE_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_always_slow_is_late_later() {
        let mut pace = Pace::default();
        assert_eq!(pace.late_after(), LATE_UNKNOWN);
        let ms = Duration::from_millis;
        for _ in 0..20 {
            pace.note(ms(2));
        }
        assert_eq!(pace.late_after(), LATE_MIN);
        // One long answer is enough.
        pace.note(ms(1500));
        assert_eq!(pace.late_after(), LATE_MAX);
        for _ in 0..40 {
            pace.note(ms(300));
        }
        assert!((ms(300)..ms(400)).contains(&pace.late_after()));
    }
}
