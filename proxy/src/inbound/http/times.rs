//! Times in answers and in questions: RFC 3339, UTC, microseconds.

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
    text.parse().map_err(|error| {
        Problem::bad_request(format!(
            "{name}: {error}; a time looks like 2026-11-22T10:00:00Z, and the + of a zone is written %2B"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
