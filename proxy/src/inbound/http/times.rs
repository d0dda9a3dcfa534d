//! Times in answers and in questions: RFC 3339, UTC, microseconds.

use std::time::Duration;

use seamline_routing::{TimeRange, Timestamp};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::errors::Problem;

/// An instant as answers have it: always with six fraction digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-01-01T12:00:19.000000Z")]
pub(super) struct Utc(pub(super) Timestamp);

/// A stretch of time; the end does not belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Stretch {
    from: Utc,
    to: Utc,
}

/// Years that RFC 3339 can write.
const FIRST: Timestamp = Timestamp::from_micros(-62_167_219_200_000_000);
const LAST: Timestamp = Timestamp::from_micros(253_402_300_799_999_999);

impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.0.clamp(FIRST, LAST);
        let text = at.to_string();
        // Three digits where they say it all.
        match text.strip_suffix('Z') {
            Some(short) if at.as_micros() % 1000 == 0 => write!(f, "{short}000Z"),
            _ => f.write_str(&text),
        }
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<TimeRange> for Stretch {
    fn from(range: TimeRange) -> Self {
        Stretch {
            from: Utc(range.start()),
            to: Utc(range.end()),
        }
    }
}

/// Reads a parameter.
pub(super) fn time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    text.trim().parse().map_err(|error| {
        Problem::bad_request(format!(
            "{name}: {error}; a time looks like 2026-11-22T10:00:00Z, and the + of a zone is written %2B"
        ))
    })
}

/// The stretch of time that a question is about: where it begins, and where it ends, by `end` or by `duration` (seconds), if it
/// says so. It is at most `longest`.
pub(super) fn window(
    start: Option<&str>,
    end: Option<&str>,
    duration: Option<&str>,
    longest: Duration,
) -> Result<(Timestamp, Option<Timestamp>), Problem> {
    let start = start.ok_or_else(|| Problem::bad_request("start: from when on?"))?;
    let start = time("start", start)?;
    let end = match (end, duration) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("end or duration, not both"));
        }
        (Some(end), None) => time("end", end)?,
        (None, Some(text)) => start.shift(seconds_us(text, longest)?),
        (None, None) => return Ok((start, None)),
    };
    if end <= start {
        return Err(Problem::bad_request("the end is not after the start"));
    }
    if end.since(start) > longest {
        return Err(too_long(longest));
    }
    Ok((start, Some(end)))
}

fn seconds_us(text: &str, longest: Duration) -> Result<i64, Problem> {
    let text = text.trim();
    let seconds = text.parse().ok().or_else(|| go_seconds(text));
    let seconds = seconds.ok_or_else(|| Problem::bad_request("duration: no number of seconds"))?;
    if !(seconds.is_finite() && seconds > 0.0) {
        return Err(Problem::bad_request("duration: more than 0 s"));
    }
    if seconds > longest.as_secs_f64() {
        return Err(too_long(longest));
    }
    Ok(((seconds * 1e6).round() as i64).max(1))
}

/// A duration as Go writes it, such as `1m30.5s`: `MediaMTX` takes it beside a number of seconds.
fn go_seconds(text: &str) -> Option<f64> {
    let is_digit = |char: char| char.is_ascii_digit() || char == '.';
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|char| !is_digit(char))?);
        let (unit, behind) = behind.split_at(behind.find(is_digit).unwrap_or(behind.len()));
        let (_, length) = GO_UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * length;
        rest = behind;
    }
    (!text.is_empty()).then_some(seconds)
}

/// Units of Go's `time.ParseDuration`, in seconds; a micro may be written in two ways.
const GO_UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

fn too_long(longest: Duration) -> Problem {
    let days = longest.as_secs() / 86_400;
    Problem::bad_request(format!("longer than {days} days"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn windows_are_read_or_refused() {
        let noon = Some("2026-01-01T12:00:00Z");
        let (start, end) = window(noon, None, Some(" 1.5 "), DAY).unwrap();
        assert_eq!(end.unwrap().micros_since(start), 1_500_000);
        let (_, end) = window(noon, None, Some("1e-9"), DAY).unwrap();
        assert_eq!(end.unwrap().micros_since(start), 1);
        assert_eq!(window(noon, None, None, DAY).unwrap(), (start, None));
        for (text, us) in [
            ("1m30s", 90_000_000),
            ("1h2m3.5s", 3_723_500_000),
            ("250ms", 250_000),
            (".5s", 500_000),
            ("12\u{b5}s", 12),
        ] {
            let (_, end) = window(noon, None, Some(text), DAY).unwrap();
            assert_eq!(end.unwrap().micros_since(start), us, "{text}");
        }
        let later = Some("2026-01-01T14:00:00+01:00");
        assert!(window(noon, later, None, DAY).is_ok());
        for (start, end, duration) in [
            (None, later, None),
            (Some(""), None, None),
            (Some("now"), None, None),
            (Some("2026-01-01T12:00:00"), None, None),
            (noon, noon, None),
            (noon, Some("2025-01-01T12:00:00Z"), None),
            (noon, Some("2026-01-02T12:00:00.000001Z"), None),
            (noon, later, Some("1")),
            (noon, None, Some("")),
            (noon, None, Some("0")),
            (noon, None, Some("-1")),
            (noon, None, Some("NaN")),
            (noon, None, Some("inf")),
            (noon, None, Some("1e300")),
            (noon, None, Some("86401")),
            (noon, None, Some("25h")),
            (noon, None, Some("0s")),
            (noon, None, Some("-1s")),
            (noon, None, Some("1m30")),
            (noon, None, Some("1 s")),
            (noon, None, Some("s")),
            (noon, None, Some("1.2.3s")),
            (noon, None, Some("5d")),
        ] {
            assert!(
                window(start, end, duration, DAY).is_err(),
                "{start:?} {end:?} {duration:?}"
            );
        }
    }

    #[test]
    fn answers_tell_microseconds_and_no_impossible_year() {
        let at = |us| Utc(Timestamp::from_micros(us)).to_string();
        assert_eq!(at(1_767_268_800_000_000), "2026-01-01T12:00:00.000000Z");
        assert_eq!(at(1_767_268_800_000_001), "2026-01-01T12:00:00.000001Z");
        assert_eq!(at(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(at(i64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(at(i64::MIN), "0000-01-01T00:00:00.000000Z");
    }
}
