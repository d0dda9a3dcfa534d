//! Local times of recorders: zones by name, by POSIX rule or by offset, and the hours that occur twice.

use std::str::FromStr;

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use seamline_routing::{TimeRange, Timestamp};
use serde::{Deserialize, Deserializer, de};

/// The rule by which a recorder's local times are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// What a local time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// One instant.
    Once(Timestamp),
    /// The clocks were set back over it: two instants.
    Twice {
        /// Before the clocks were set back.
        first: Timestamp,
        /// After.
        second: Timestamp,
    },
    /// The clocks were set forward over it: read as if they had not been.
    Never(Timestamp),
}

impl Reading {
    /// The instant; the first of two. What begins at a time that occurs twice begins there at the earliest.
    pub fn earliest(self) -> Timestamp {
        match self {
            Self::Once(at) | Self::Never(at) | Self::Twice { first: at, .. } => at,
        }
    }

    /// The instant; the second of two. What ends at a time that occurs twice ends there at the latest.
    pub fn latest(self) -> Timestamp {
        match self {
            Self::Once(at) | Self::Never(at) | Self::Twice { second: at, .. } => at,
        }
    }
}

/// There is no zone of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {0:?}")]
pub struct UnknownZone(pub String);

impl Zone {
    /// Local time is UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// A POSIX rule, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    pub fn posix(rule: &str) -> Option<Self> {
        TimeZone::posix(rule).ok().map(Self)
    }

    /// Always so many seconds ahead of UTC; at most 25 hours and a little.
    pub fn fixed(seconds: i32) -> Option<Self> {
        Offset::from_seconds(seconds)
            .ok()
            .map(|offset| Self(TimeZone::fixed(offset)))
    }

    /// The zone of this machine, when it is known.
    pub fn of_this_machine() -> Option<Self> {
        TimeZone::try_system().ok().map(Self)
    }

    /// The instant or instants at which clocks show `local`.
    pub fn read(&self, local: DateTime) -> Reading {
        let ambiguous = self.0.to_ambiguous_timestamp(local);
        let at = |offset: Offset| {
            // Out of the calendar's range only where no recorder has footage.
            let at = offset
                .to_timestamp(local)
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            Timestamp::from_micros(at.as_microsecond())
        };
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => Reading::Once(at(offset)),
            AmbiguousOffset::Gap { before, .. } => Reading::Never(at(before)),
            AmbiguousOffset::Fold { before, after } => Reading::Twice {
                first: at(before),
                second: at(after),
            },
        }
    }

    /// What clocks show at `at`.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.0.to_datetime(instant(at))
    }

    /// As others take it.
    pub(crate) fn time_zone(&self) -> TimeZone {
        self.0.clone()
    }

    /// Seconds that clocks are ahead of UTC at `at`.
    pub fn offset_s(&self, at: Timestamp) -> i32 {
        self.0.to_offset(instant(at)).seconds()
    }

    /// Whether clocks show the time of `at` twice: told by it alone, a recorder may play the other pass.
    pub fn is_repeated(&self, at: Timestamp) -> bool {
        matches!(self.read(self.local(at)), Reading::Twice { .. })
    }

    /// The stretches within `window`, both passes of each, whose local times occur twice: at most [`REPEATED_MAX`].
    pub fn repeated(&self, window: TimeRange) -> Vec<TimeRange> {
        let from =
            instant(window.start()).saturating_sub(jiff::SignedDuration::from_hours(REACH_H));
        let Ok(from) = from else { return Vec::new() };
        let mut before = self.0.to_offset(from);
        let mut repeated = Vec::new();
        for transition in self.0.following(from) {
            let at = Timestamp::from_micros(transition.timestamp().as_microsecond());
            let back_s = before.seconds() - transition.offset().seconds();
            before = transition.offset();
            let set_back = i64::from(back_s) * 1_000_000;
            if at.shift(-set_back) >= window.end() || repeated.len() == REPEATED_MAX {
                break;
            }
            if back_s > 0 {
                let range = TimeRange::new(at.shift(-set_back), at.shift(set_back));
                repeated.extend(range.filter(|range| range.overlaps(window)));
            }
        }
        repeated
    }
}

/// By the name that the IANA data base has for it, such as `Europe/Zurich`, or `UTC`.
impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        TimeZone::get(name)
            .map(Self)
            .map_err(|_| UnknownZone(name.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}

fn instant(at: Timestamp) -> jiff::Timestamp {
    let bounds = (
        jiff::Timestamp::MIN.as_microsecond(),
        jiff::Timestamp::MAX.as_microsecond(),
    );
    jiff::Timestamp::from_microsecond(at.as_micros().clamp(bounds.0, bounds.1))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// Most repeated hours that are looked for in one listing: a century of them.
pub const REPEATED_MAX: usize = 200;
/// A transition is looked for from this long before a window on: its second pass may reach into it.
const REACH_H: i64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    fn local(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    fn zurich() -> Zone {
        "Europe/Zurich".parse().unwrap()
    }

    #[test]
    fn an_hour_that_occurs_twice_and_one_that_never_does() {
        let zone = zurich();
        assert_eq!(
            zone.read(local("2026-01-01T13:00:00")),
            Reading::Once(at("2026-01-01T12:00:00Z"))
        );
        let twice = zone.read(local("2026-10-25T02:30:00"));
        assert_eq!(twice.earliest(), at("2026-10-25T00:30:00Z"));
        assert_eq!(twice.latest(), at("2026-10-25T01:30:00Z"));
        assert_eq!(
            zone.read(local("2026-03-29T02:30:00")),
            Reading::Never(at("2026-03-29T01:30:00Z"))
        );
        for (text, repeated) in [
            ("2026-10-24T23:59:59Z", false),
            ("2026-10-25T00:00:00Z", true),
            ("2026-10-25T01:59:59Z", true),
            ("2026-10-25T02:00:00Z", false),
        ] {
            assert_eq!(zone.is_repeated(at(text)), repeated, "{text}");
        }
    }

    #[test]
    fn repeated_stretches_hold_both_passes() {
        let year = TimeRange::new(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")).unwrap();
        let fold = TimeRange::new(at("2026-10-25T00:00:00Z"), at("2026-10-25T02:00:00Z")).unwrap();
        assert_eq!(zurich().repeated(year), [fold]);
        let rule = Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(rule.repeated(year), [fold]);
        let second =
            TimeRange::new(at("2026-10-25T01:30:00Z"), at("2026-10-25T03:00:00Z")).unwrap();
        assert_eq!(zurich().repeated(second), [fold]);
        assert_eq!(Zone::UTC.repeated(TimeRange::ALL), []);
        assert_eq!(Zone::fixed(3600).unwrap().repeated(TimeRange::ALL), []);
        assert!(zurich().repeated(TimeRange::ALL).len() <= REPEATED_MAX);
    }
}
