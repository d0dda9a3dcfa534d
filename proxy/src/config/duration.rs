//! Durations as people write them: `500ms`, `30s`, `1m 30s`, `2h`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Longest duration that a setting may have.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// A duration with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Humane(pub(super) Duration);

impl Humane {
    /// Reads one; the error is for the operator.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parsed: jiff::SignedDuration = text.trim().parse().map_err(|_| {
            format!("{text:?} is not a duration such as \"500ms\", \"30s\" or \"2m\"")
        })?;
        let duration = Duration::try_from(parsed).map_err(|_| format!("{text:?} is negative"))?;
        if duration > DURATION_MAX {
            return Err(format!("{text:?} is longer than a day"));
        }
        Ok(Humane(duration))
    }
}

impl<'de> Deserialize<'de> for Humane {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HumaneVisitor)
    }
}

struct HumaneVisitor;

impl Visitor<'_> for HumaneVisitor {
    type Value = Humane;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit such as \"500ms\", \"30s\" or \"2m\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Humane, E> {
        Humane::parse(text).map_err(E::custom)
    }
}

/// The same for durations that must not be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Positive(pub(super) Duration);

impl<'de> Deserialize<'de> for Positive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Humane(duration) = Humane::deserialize(deserializer)?;
        if duration.is_zero() {
            return Err(D::Error::custom("a duration above zero is needed here"));
        }
        Ok(Positive(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_people_do() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1m 30s", 90_000),
            ("0s", 0),
        ] {
            assert_eq!(
                Humane::parse(text),
                Ok(Humane(Duration::from_millis(ms))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_unit_is_needed() {
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "25h",
            "1 fortnight",
            "99999999999999999999s",
        ] {
            assert!(Humane::parse(text).is_err(), "{text}");
        }
    }
}
