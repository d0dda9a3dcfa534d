//! Listings in local time to the second: what they say of the time line, and what they cannot say.

use std::time::Duration;

use jiff::civil::DateTime;
use seamline_routing::{Coverage, TimeRange, Timestamp};

use crate::zone::Zone;

/// What a listing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Recorded periods; a last one that is still being written ends where it was seen.
    pub(crate) periods: Vec<TimeRange>,
    /// Whether the last one is still being written.
    pub(crate) growing: bool,
}

/// The period between two local times. The last second that a file is in belongs to it.
pub(crate) fn period(start: DateTime, end: DateTime, zone: &Zone) -> Option<TimeRange> {
    TimeRange::new(zone.read(start).earliest(), zone.read(end).latest())
}

/// What a listing says about `window`, learned at `now`.
///
/// Hours that clocks show twice are unknown: the listing does not say which of the two it means, and neither could we
/// when asking for them.
pub(crate) fn coverage(
    listing: Listing,
    window: TimeRange,
    zone: &Zone,
    now: Timestamp,
) -> Coverage {
    let Listing { periods, growing } = listing;
    let bounds = periods.iter().copied().reduce(|all, period| {
        let (start, end) = (all.start().min(period.start()), all.end().max(period.end()));
        TimeRange::new(start, end).unwrap_or(all)
    });
    let listed = Coverage::new(window, periods, now, growing).bridge(JOIN);
    let repeated = bounds
        .map(|bounds| zone.repeated(bounds))
        .unwrap_or_default();
    if repeated.is_empty() {
        return listed;
    }
    let starts = repeated
        .iter()
        .map(|range| range.start())
        .chain([Timestamp::MAX]);
    let mut from = Timestamp::MIN;
    let mut known = Coverage::unknown();
    for (ix, until) in starts.enumerate() {
        if let Some(piece) = TimeRange::new(from, until) {
            known = known.merge(&listed.clip(piece));
        }
        from = repeated.get(ix).map_or(until, |range| range.end());
    }
    known
}

/// Whether a file ends now by the clock of its recorder or by ours: then it is still being written. Some recorders' `Date` is
/// their local time: either clock will do.
pub(crate) fn ends_now(last: Timestamp, there: Timestamp, now: Timestamp) -> bool {
    let off_us = [there, now].map(|clock| last.micros_since(clock).unsigned_abs());
    off_us.into_iter().any(|off_us| off_us < GROWING_US)
}

/// The zone of a clock that shows `local` at `now`, when nothing else is known of it: its offset, to the quarter of an hour
/// that zones are apart; `None` for a clock that is days off.
pub(crate) fn offset_s(local: DateTime, now: Timestamp) -> Option<i32> {
    let shown = Zone::UTC.read(local).earliest();
    let ahead_s = i32::try_from(shown.micros_since(now) / 1_000_000).ok()?;
    let quarters = (ahead_s + ahead_s.signum() * QUARTER_S / 2) / QUARTER_S;
    Some(quarters * QUARTER_S).filter(|offset_s| offset_s.abs() <= OFFSET_S_MAX)
}

/// `window` a little wider: some recorders list only what begins in it. Open ends become `now` and long ago.
pub(crate) fn widened(window: TimeRange, now: Timestamp) -> TimeRange {
    let end = window.end().min(now + AHEAD);
    let start = window.start().max(OLDEST).shift(-WIDER_US);
    TimeRange::new(start, end).unwrap_or(window)
}

/// Holes between files of second-granular listings up to this are none.
const JOIN: Duration = Duration::from_millis(1100);
/// A file that ends this close to now is being written.
const GROWING_US: u64 = 30_000_000;
const QUARTER_S: i32 = 900;
/// Zones reach from -12 to +14 hours.
const OFFSET_S_MAX: i32 = 14 * 3600;
/// The longest file that is common.
const WIDER_US: i64 = 3_600_000_000;
/// Clocks of recorders run ahead.
const AHEAD: Duration = Duration::from_secs(86_400);
/// 2000-01-02: nothing was recorded to disk before.
const OLDEST: Timestamp = Timestamp::from_micros(946_771_200_000_000);

#[cfg(test)]
mod tests {
    use seamline_routing::Held;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    fn range(start: &str, end: &str) -> TimeRange {
        TimeRange::new(at(start), at(end)).unwrap()
    }

    #[test]
    fn a_clock_tells_its_offset_to_the_quarter_of_an_hour() {
        let now = at("2026-01-02T03:04:05Z");
        for (local, offset_s) in [
            ("2026-01-02T11:04:40", Some(8 * 3600)),
            ("2026-01-02T08:33:01", Some(5 * 3600 + 1800)),
            ("2026-01-01T23:34:05", Some(-3 * 3600 - 1800)),
            ("2026-01-02T03:01:00", Some(0)),
            ("2020-01-02T03:04:05", None),
        ] {
            assert_eq!(
                super::offset_s(local.parse().unwrap(), now),
                offset_s,
                "{local}"
            );
        }
    }

    #[test]
    fn files_that_follow_each_other_are_one_period() {
        let zone = Zone::UTC;
        let files = [
            ("2026-01-01T12:00:00", "2026-01-01T12:00:19"),
            ("2026-01-01T12:00:20", "2026-01-01T12:00:40"),
            ("2026-01-01T12:00:45", "2026-01-01T12:01:00"),
        ];
        let periods = files.map(|(start, end)| {
            period(start.parse().unwrap(), end.parse().unwrap(), &zone).unwrap()
        });
        let listing = Listing {
            periods: periods.to_vec(),
            growing: false,
        };
        let window = range("2026-01-01T11:00:00Z", "2026-01-01T13:00:00Z");
        let coverage = coverage(listing, window, &zone, at("2026-01-02T00:00:00Z"));
        assert_eq!(
            coverage.periods(),
            [
                range("2026-01-01T12:00:00Z", "2026-01-01T12:00:40Z"),
                range("2026-01-01T12:00:45Z", "2026-01-01T12:01:00Z")
            ]
        );
    }

    #[test]
    fn the_hour_that_occurs_twice_is_unknown_and_the_rest_is_not() {
        let zone: Zone = "Europe/Zurich".parse().unwrap();
        let all_night = period(
            "2026-10-24T20:00:00".parse().unwrap(),
            "2026-10-25T06:00:00".parse().unwrap(),
            &zone,
        );
        let listing = Listing {
            periods: vec![all_night.unwrap()],
            growing: true,
        };
        let window = range("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z");
        let coverage = coverage(listing, window, &zone, at("2026-10-25T05:00:01Z"));
        assert_eq!(
            coverage.held(at("2026-10-24T23:00:00Z")),
            Held::Recorded {
                until: at("2026-10-25T00:00:00Z")
            }
        );
        assert_eq!(
            coverage.held(at("2026-10-25T00:30:00Z")),
            Held::Unknown {
                until: at("2026-10-25T02:00:00Z")
            }
        );
        assert_eq!(
            coverage.held(at("2026-10-25T01:30:00Z")),
            Held::Unknown {
                until: at("2026-10-25T02:00:00Z")
            }
        );
        assert_eq!(
            coverage.held(at("2026-10-25T02:00:00Z")),
            Held::Recorded {
                until: Timestamp::MAX
            }
        );
        assert!(coverage.growing());
        assert_eq!(
            coverage.held(at("2026-10-24T01:00:00Z")),
            Held::Gap {
                until: at("2026-10-24T18:00:00Z")
            }
        );
    }
}
