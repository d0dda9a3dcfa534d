//! When each unit is due at the client: media time against the wall.

use std::time::{Duration, Instant};

/// Later than this, playback goes on from here instead of catching up.
const BEHIND_MAX: Duration = Duration::from_secs(2);

/// What is late is sent at this many times the pace at most: players that measure arrival times bend theirs otherwise.
const CATCH_UP_MAX: u32 = 2;

/// Maps media time (µs, holes closed up, scale applied) to the moment at which it is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Media time per wall time.
    speed: f64,
    /// A media time and the moment at which it is due.
    anchor: Option<(i64, Instant)>,
    /// The media time that was sent last, and when.
    sent: Option<(i64, Instant)>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace {
            speed: 1.0,
            anchor: None,
            sent: None,
        }
    }

    /// Forgets the past: the next unit that is asked about is due at once, what follows at this speed.
    pub(super) fn release(&mut self, speed: f64) {
        *self = Pace {
            speed,
            anchor: None,
            sent: None,
        };
    }

    /// When media time `media_us` is due. The first one asked about is due now, and so is what lies before it.
    pub(super) fn due(&mut self, media_us: i64, now: Instant) -> Instant {
        let (base, origin) = *self.anchor.get_or_insert((media_us, now));
        let due = origin + self.wall(media_us - base);
        if now.saturating_duration_since(due) > BEHIND_MAX {
            self.anchor = Some((media_us, now));
            return now;
        }
        let soonest = self.soonest(media_us);
        soonest.map_or(due, |soonest| due.max(soonest))
    }

    /// When what is at `media_us` may go behind what was sent last, however late it is.
    fn soonest(&self, media_us: i64) -> Option<Instant> {
        let (last_us, at) = self.sent?;
        Some(at + self.wall(media_us - last_us) / CATCH_UP_MAX)
    }

    /// Whether what is at `media_us` should have gone before now, or what went before it was so late that it is caught up with: nothing
    /// of that goes early.
    pub(super) fn is_late(&self, media_us: i64, now: Instant) -> bool {
        self.anchor.is_some_and(|(base, origin)| {
            let due = origin + self.wall(media_us - base);
            due <= now || self.soonest(media_us).is_some_and(|soonest| due < soonest)
        })
    }

    /// Counts a unit that was sent in its turn.
    pub(super) fn sent(&mut self, media_us: i64, now: Instant) {
        if self.sent.is_none_or(|(last_us, _)| media_us > last_us) {
            self.sent = Some((media_us, now));
        }
    }

    fn wall(&self, media_us: i64) -> Duration {
        let media_us = media_us.max(0);
        if (self.speed - 1.0).abs() < f64::EPSILON {
            return Duration::from_micros(media_us.unsigned_abs());
        }
        Duration::from_secs_f64(media_us as f64 / 1e6 / self.speed)
    }

    /// The media time that is due now.
    pub(super) fn media_us(&self, now: Instant) -> Option<i64> {
        let (base, origin) = self.anchor?;
        Some(base + (now.saturating_duration_since(origin).as_secs_f64() * 1e6 * self.speed) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn units_are_due_at_their_distance() {
        let now = clock::now();
        let mut pace = Pace::new();
        assert_eq!(pace.due(5_000_000, now), now);
        assert_eq!(pace.due(5_400_000, now), now + Duration::from_millis(400));
        assert_eq!(
            pace.due(4_960_000, now),
            now,
            "what lies before the start is due at once"
        );
        assert_eq!(pace.media_us(now + Duration::from_secs(1)), Some(6_000_000));
    }

    #[test]
    fn after_a_short_stall_it_catches_up_at_twice_the_pace() {
        let now = clock::now();
        let mut pace = Pace::new();
        pace.due(0, now);
        let late = now + Duration::from_secs(1);
        pace.sent(0, late);
        assert_eq!(pace.due(400_000, late), late + Duration::from_millis(200));
        assert!(
            pace.is_late(400_000, late),
            "its pace is not to be broken by what may go early"
        );
    }

    #[test]
    fn behind_a_picture_that_came_late_none_goes_early() {
        let now = clock::now();
        let mut pace = Pace::new();
        pace.due(0, now);
        // By less than half of the interval: wake-ups are late by as much.
        for (late_ms, is_late) in [(0, false), (5, false), (20, false), (21, true), (39, true)] {
            let at = now + Duration::from_millis(40 + late_ms);
            pace.sent = Some((40_000, at));
            assert_eq!(pace.is_late(80_000, at), is_late, "{late_ms} ms");
        }
    }

    #[test]
    fn after_a_long_stall_playback_goes_on_from_there() {
        let now = clock::now();
        let mut pace = Pace::new();
        pace.due(0, now);
        let late = now + Duration::from_secs(9);
        assert_eq!(pace.due(40_000, late), late);
        assert_eq!(pace.due(80_000, late), late + Duration::from_millis(40));
    }
}
