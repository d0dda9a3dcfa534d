//! UTC instants and half-open ranges of them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

mod notation;

pub use notation::{Clock, TimeError};

/// An instant in UTC, in microseconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// All arithmetic saturates at [`Timestamp::MIN`] and [`Timestamp::MAX`], which stand for "before" and "after everything".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before everything.
    pub const MIN: Self = Self(i64::MIN);
    /// After everything: the end of what is still being written.
    pub const MAX: Self = Self(i64::MAX);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// From milliseconds since 1970; saturates.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(MICROS_PER_MS))
    }

    /// Whole milliseconds since 1970, rounded down.
    pub const fn as_unix_ms(self) -> i64 {
        self.0.div_euclid(MICROS_PER_MS)
    }

    /// From an NTP timestamp: seconds since 1900 in the upper 32 bits, their fraction in the lower.
    ///
    /// NTP seconds wrap in 2036. Those below 2^31 are read as the era that starts then, so the values reach from
    /// 1968-01-20T03:14:08Z to 2104-02-26T09:42:24Z. The fraction is rounded to the nearest microsecond.
    pub const fn from_ntp(ntp: u64) -> Self {
        let seconds = (ntp >> 32) as i64;
        let era = if seconds < NTP_ERA_PIVOT {
            NTP_ERA_SECONDS
        } else {
            0
        };
        let fraction = ntp & 0xFFFF_FFFF;
        let micros = (fraction * MICROS_PER_SECOND as u64 + (1 << 31)) >> 32;
        Self((seconds + era - NTP_TO_UNIX_SECONDS) * MICROS_PER_SECOND + micros as i64)
    }

    /// As an NTP timestamp, rounded to the nearest of its units, so that [`Timestamp::from_ntp`] returns the same instant.
    ///
    /// Instants outside the range of [`Timestamp::from_ntp`] become its first or last value.
    pub const fn to_ntp(self) -> u64 {
        let seconds = self
            .0
            .div_euclid(MICROS_PER_SECOND)
            .saturating_add(NTP_TO_UNIX_SECONDS);
        if seconds < NTP_ERA_PIVOT {
            return (NTP_ERA_PIVOT as u64) << 32;
        }
        if seconds >= NTP_ERA_PIVOT + NTP_ERA_SECONDS {
            return ((NTP_ERA_PIVOT as u64) << 32) - 1;
        }
        let micros = self.0.rem_euclid(MICROS_PER_SECOND) as u64;
        let fraction = ((micros << 32) + MICROS_PER_SECOND as u64 / 2) / MICROS_PER_SECOND as u64;
        ((seconds as u64 & 0xFFFF_FFFF) << 32) | fraction
    }

    /// The time from `earlier` until `self`; zero when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        if self.0 <= earlier.0 {
            return Duration::ZERO;
        }
        Duration::from_micros(self.0.abs_diff(earlier.0))
    }

    /// Signed microseconds from `other` to `self`; saturates.
    pub const fn micros_since(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    /// Moved by a signed number of microseconds, such as a clock offset; saturates.
    #[must_use]
    pub const fn shift(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

/// A stretch of time that holds at least one microsecond: its start belongs to it, its end does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start: Timestamp,
    end: Timestamp,
}

impl TimeRange {
    /// Every instant but [`Timestamp::MAX`].
    pub const ALL: Self = Self {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
    };

    /// The range from `start` up to `end`; none when it would hold nothing.
    pub const fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        if start.0 < end.0 {
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// The first instant.
    pub const fn start(self) -> Timestamp {
        self.start
    }

    /// The first instant after the range.
    pub const fn end(self) -> Timestamp {
        self.end
    }

    /// Whether `at` is one of its instants.
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether both share an instant; ranges that only touch do not.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The instants that belong to both.
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Its length.
    pub const fn duration(self) -> Duration {
        self.end.since(self.start)
    }
}

/// As an ISO 8601 interval: `2026-01-02T03:04:05.000Z/2026-01-02T03:15:00.000Z`.
impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

impl fmt::Debug for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

const MICROS_PER_MS: i64 = 1_000;
const MICROS_PER_SECOND: i64 = 1_000_000;
const NTP_TO_UNIX_SECONDS: i64 = 2_208_988_800;
const NTP_ERA_SECONDS: i64 = 1 << 32;
const NTP_ERA_PIVOT: i64 = 1 << 31;
