//! `Range`: which stretch of footage to play, in absolute or in presentation time.

use std::fmt;

use super::{ClockTime, HeaderError};

/// Presentation time, microseconds since the start of the presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NptTime(u64);

impl NptTime {
    /// The start of the presentation.
    pub const ZERO: Self = Self(0);

    /// The instant `micros` after the start.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    pub fn as_micros(self) -> u64 {
        self.0
    }
}

/// A half-open stretch. The first value is the start of play in either direction; with a negative `Scale` the second
/// lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `clock=`: absolute UTC.
    Clock {
        /// Where to start; absent in `clock=-<end>`, which with a negative `Scale` means "backwards from `<end>`".
        start: Option<ClockTime>,
        /// Where to end; absent means open.
        end: Option<ClockTime>,
    },
    /// `npt=`: relative to the presentation.
    Npt {
        /// Where to start.
        start: Option<NptTime>,
        /// Where to end; absent means open.
        end: Option<NptTime>,
    },
    /// `npt=now-`: live.
    NptNow,
}

impl Range {
    /// Reads one range. Tolerates blanks, a missing dash (a single time, as PAUSE sends) and parameters behind `;`.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        const MALFORMED: HeaderError = HeaderError::Malformed("Range");
        let (spec, parameters) = value.split_once(';').unwrap_or((value, ""));
        let (unit, spec) = spec.split_once('=').ok_or(MALFORMED)?;
        let second_unit = parameters
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
            .any(|(name, _)| is_unit(name));
        if second_unit || spec.contains('=') {
            return Err(MALFORMED);
        }
        match unit.trim().to_ascii_lowercase().as_str() {
            "clock" => parse_clock(spec.trim()).ok_or(MALFORMED),
            "npt" => parse_npt(spec.trim()).ok_or(MALFORMED),
            _ => Err(HeaderError::RangeUnit),
        }
    }

    /// Whether this is what players send that cannot say a time: `npt=0-`, `clock=19000101T000000Z-`.
    pub fn expresses_no_wish(&self) -> bool {
        match *self {
            Self::Clock {
                start: Some(start),
                end: None,
            } => start.as_micros() <= NO_WISH_CLOCK_US,
            Self::Npt { start, end: None } => start.is_none_or(|start| start == NptTime::ZERO),
            _ => false,
        }
    }

    /// Whether the end lies before the start, as reverse play asks.
    pub fn is_reversed(&self) -> bool {
        match *self {
            Self::Clock {
                start: Some(start),
                end: Some(end),
            } => end < start,
            Self::Npt {
                start: Some(start),
                end: Some(end),
            } => end < start,
            _ => false,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock { start, end } => write!(f, "clock={}-{}", Shown(*start), Shown(*end)),
            Self::Npt { start, end } => write!(f, "npt={}-{}", Shown(*start), Shown(*end)),
            Self::NptNow => f.write_str("npt=now-"),
        }
    }
}

impl fmt::Display for NptTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if micros % 1000 == 0 {
            write!(f, "{seconds}.{:03}", micros / 1000)
        } else {
            write!(f, "{seconds}.{micros:06}")
        }
    }
}

struct Shown<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

fn is_unit(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    name == "clock" || name == "npt" || name.starts_with("smpte")
}

fn parse_clock(spec: &str) -> Option<Range> {
    let (start, rest) =
        ClockTime::parse_prefix(spec).map_or((None, spec), |(start, rest)| (Some(start), rest));
    let end = match rest.trim_start().strip_prefix('-').map(str::trim) {
        None if rest.trim().is_empty() => None,
        None => return None,
        Some("") => None,
        Some(end) => Some(ClockTime::parse(end).ok()?),
    };
    (start.is_some() || end.is_some()).then_some(Range::Clock { start, end })
}

fn parse_npt(spec: &str) -> Option<Range> {
    let (start, end) = spec.split_once('-').unwrap_or((spec, ""));
    if start.trim().eq_ignore_ascii_case("now") {
        return Some(Range::NptNow);
    }
    let time = |text: &str| match text.trim() {
        "" => Some(None),
        text => npt_time(text).map(Some),
    };
    let (start, end) = (time(start)?, time(end)?);
    (start.is_some() || end.is_some()).then_some(Range::Npt { start, end })
}

/// Seconds or `h:mm:ss`, each with an optional fraction.
fn npt_time(text: &str) -> Option<NptTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let seconds = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        (seconds, None, ..) => plain(seconds)?,
        (hours, Some(minutes), Some(seconds), None) => {
            let (hours, minutes, seconds) = (plain(hours)?, plain(minutes)?, plain(seconds)?);
            let valid = minutes < 60 && seconds < 60;
            valid.then(|| hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds))??
        }
        _ => return None,
    };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    let micros = digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    // What is written in seconds must be read again.
    (seconds <= NPT_SECONDS_MAX).then(|| NptTime(seconds * 1_000_000 + micros))
}

/// A number of at most ten digits: GStreamer's replay server counts seconds from 1900.
fn plain(text: &str) -> Option<u64> {
    let readable = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    readable.then(|| text.parse().ok()).flatten()
}

/// Ten digits of seconds.
const NPT_SECONDS_MAX: u64 = 9_999_999_999;
/// 1900-01-02T00:00:00Z: what GStreamer's timeline calls its start, and a day of slack for its rounding.
const NO_WISH_CLOCK_US: i64 = -2_208_902_400_000_000;
