//! Times as recorders write them, and what their own clock says.

use std::time::Duration;

use jiff::{civil, tz::TimeZone};
use seamline_routing::Timestamp;

use crate::recorder::ClockOffset;
use crate::xml::Element;

/// An `xs:dateTime`. One that names no zone is taken for UTC, which ONVIF demands (Recording Search, times).
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    Timestamp::parse_iso(text)
        .or_else(|_| Timestamp::parse_iso(&format!("{text}Z")))
        .ok()
}

/// A time in an element of this name; what no recorder of video can mean is none.
pub(super) fn within(element: &Element, name: &str) -> Option<Timestamp> {
    parse(element.text(name)?).filter(|at| *at >= BEFORE_ALL_RECORDERS)
}

/// What `GetSystemDateAndTime` answers, to the second: UTC, or else local time by the time zone that goes with it.
pub(super) fn system_time(answer: &Element) -> Option<Timestamp> {
    let system = answer.child("SystemDateAndTime").unwrap_or(answer);
    let utc = system
        .child("UTCDateTime")
        .and_then(date_and_time)
        .and_then(|time| TimeZone::UTC.to_timestamp(time).ok());
    let instant = utc.or_else(|| {
        let local = date_and_time(system.child("LocalDateTime")?)?;
        // A POSIX zone, whose sign is the other way round: `CST-8` is eight hours ahead of UTC.
        let zone = system.at(&["TimeZone", "TZ"])?.value()?;
        TimeZone::posix(zone).ok()?.to_timestamp(local).ok()
    })?;
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

fn date_and_time(element: &Element) -> Option<civil::DateTime> {
    let (date, time) = (element.child("Date")?, element.child("Time")?);
    let small = |of: &Element, name: &str| of.text(name)?.parse::<i8>().ok();
    let year = date.text("Year")?.parse().ok()?;
    let (month, day) = (small(date, "Month")?, small(date, "Day")?);
    let (hour, minute) = (small(time, "Hour")?, small(time, "Minute")?);
    // A leap second is the second before it.
    let second = small(time, "Second")?.min(59);
    civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()
}

/// The offset of a clock that said `there`, in whole seconds, to a question put at `asked` and answered `took` later.
pub(super) fn offset(there: Timestamp, asked: Timestamp, took: Duration) -> ClockOffset {
    // It was asked in the middle of the wait, and was on average half a second into the second it named.
    let here = asked + took / 2;
    ClockOffset {
        micros: there.micros_since(here).saturating_add(HALF_SECOND_US),
        // Some devices round, others cut off, and the answer was on its way for up to half of the wait.
        uncertainty: Duration::from_secs(1) + took / 2,
    }
}

/// Devices without data, or without a clock, name 1970 or the year 1.
const BEFORE_ALL_RECORDERS: Timestamp = Timestamp::from_unix_ms(631_152_000_000);
const HALF_SECOND_US: i64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn system(inner: &str) -> Option<Timestamp> {
        let document = format!("<R><SystemDateAndTime>{inner}</SystemDateAndTime></R>");
        system_time(&Element::parse(document.as_bytes()).unwrap())
    }

    const DATE: &str = "<Time><Hour>3</Hour><Minute>4</Minute><Second>5</Second></Time>\
        <Date><Year>2026</Year><Month>1</Month><Day>2</Day></Date>";

    fn iso(text: &str) -> Option<Timestamp> {
        Timestamp::parse_iso(text).ok()
    }

    #[test]
    fn times_without_a_zone_are_utc() {
        let expected = iso("2026-01-02T03:04:05.25Z");
        for text in [
            "2026-01-02T03:04:05.250Z",
            "2026-01-02T04:04:05.25+01:00",
            "2026-01-02T03:04:05.250000",
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(parse("yesterday"), None);
        let element = Element::parse(b"<R><A>1970-01-01T00:00:00Z</A><B/></R>").unwrap();
        assert_eq!(within(&element, "A"), None);
        assert_eq!(within(&element, "B"), None);
    }

    #[test]
    fn the_device_s_clock_is_read_in_utc_or_by_its_zone() {
        let utc = format!("<UTCDateTime>{DATE}</UTCDateTime>");
        assert_eq!(system(&utc), iso("2026-01-02T03:04:05Z"));
        let local = |zone: &str| {
            format!("<TimeZone><TZ>{zone}</TZ></TimeZone><LocalDateTime>{DATE}</LocalDateTime>")
        };
        assert_eq!(system(&local("CST-8")), iso("2026-01-01T19:04:05Z"));
        assert_eq!(
            system(&local("CET-1CEST,M3.5.0,M10.5.0/3")),
            iso("2026-01-02T02:04:05Z")
        );
        let summer = local("CET-1CEST,M3.5.0,M10.5.0/3").replace("<Month>1", "<Month>7");
        assert_eq!(system(&summer), iso("2026-07-02T01:04:05Z"));
        assert_eq!(system(&local("Mars")), None);
        assert_eq!(system(&utc.replace("<Month>1", "<Month>13")), None);
        assert_eq!(system(""), None);
    }

    #[test]
    fn the_offset_is_taken_in_the_middle_of_the_wait() {
        let asked = Timestamp::from_unix_ms(1_000_000);
        let there = Timestamp::from_unix_ms(1_003_000);
        let offset = offset(there, asked, Duration::from_millis(400));
        assert_eq!(offset.micros, 3_300_000);
        assert_eq!(offset.uncertainty, Duration::from_millis(1_200));
    }
}
