//! `GET /ISAPI/System/time`: the recorder's clock and the rule of its zone.

use jiff::civil::DateTime;
use seamline_routing::Timestamp;

use crate::{listing, recorder::ProbeError, xml::Element, zone::Zone};

/// The zone of the recorder's local times, asked at `now`.
pub(super) fn zone(body: &[u8], now: Timestamp) -> Result<Zone, ProbeError> {
    let wrong = |what: &str| ProbeError::protocol(format!("time: {what}"));
    let answer = Element::parse(body).map_err(|error| wrong(&error.to_string()))?;
    let text = answer
        .text("localTime")
        .ok_or_else(|| wrong("no localTime"))?;
    let shown = text
        .get(..19)
        .and_then(|shown| shown.parse::<DateTime>().ok());
    let shown = shown.ok_or_else(|| wrong("localTime is no time"))?;
    // Where the clock is, whatever it says of its zone.
    let offset_s =
        listing::offset_s(shown, now).ok_or_else(|| wrong("a clock that is days off"))?;
    let ruled = answer
        .text("timeZone")
        .and_then(posix)
        .and_then(|rule| Zone::posix(&rule));
    match ruled {
        Some(zone) if zone.offset_s(now) == offset_s => Ok(zone),
        // A clock that does not follow its own rule is believed, not the rule.
        _ => Zone::fixed(offset_s).ok_or_else(|| wrong("a clock that is days off")),
    }
}

/// `CET-1:00:00DST01:00:00,M3.5.0/02:00:00,M10.5.0/03:00:00` as POSIX has it: what stands behind `DST` is how far clocks are
/// set forward, where POSIX has the offset that results.
fn posix(text: &str) -> Option<String> {
    let Some((standard, rest)) = text.split_once("DST") else {
        return Some(text.to_owned());
    };
    let (forward, rules) = rest.split_once(',')?;
    let name_ends = standard.find(|sign: char| !sign.is_ascii_alphabetic())?;
    let (name, offset) = standard.split_at(name_ends);
    let summer_s = seconds(offset)? - seconds(forward)?;
    let sign = if summer_s < 0 { "-" } else { "" };
    let (hours, minutes) = (summer_s.abs() / 3600, summer_s.abs() / 60 % 60);
    Some(format!(
        "{name}{offset}DST{sign}{hours}:{minutes:02}:00,{rules}"
    ))
}

/// Seconds of `-1:00:00`, `8` or `01:30`.
fn seconds(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut parts = text.trim_start_matches(['-', '+']).split(':');
    let mut part = |unit: i32| match parts.next() {
        Some(text) => text.parse::<u16>().ok().map(|part| i32::from(part) * unit),
        None => Some(0),
    };
    let (hours, minutes, seconds) = (part(3600)?, part(60)?, part(1)?);
    Some(sign * (hours + minutes + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    fn read(local: &str, rule: &str, now: &str) -> Result<Zone, ProbeError> {
        let body = format!(
            "<?xml version=\"1.0\"?><Time version=\"2.0\" xmlns=\"http://www.hikvision.com/ver20/XMLSchema\">\
             <timeMode>NTP</timeMode><localTime>{local}</localTime><timeZone>{rule}</timeZone></Time>"
        );
        zone(body.as_bytes(), at(now))
    }

    #[test]
    fn the_sign_is_inverted_and_summer_is_counted_from_winter() {
        let zone = read(
            "2026-01-02T11:04:07+08:00",
            "CST-8:00:00",
            "2026-01-02T03:04:05Z",
        )
        .unwrap();
        assert_eq!(zone.offset_s(at("2026-07-01T00:00:00Z")), 8 * 3600);
        let rule = "CET-1:00:00DST01:00:00,M3.5.0/02:00:00,M10.5.0/03:00:00";
        let zone = read("2026-01-02T04:04:05+01:00", rule, "2026-01-02T03:04:05Z").unwrap();
        assert_eq!(zone.offset_s(at("2026-01-02T00:00:00Z")), 3600);
        assert_eq!(zone.offset_s(at("2026-07-01T00:00:00Z")), 7200);
        assert!(zone.is_repeated(at("2026-10-25T00:30:00Z")));
        let zone = read(
            "2026-01-01T22:04:05-05:00",
            "EST5:00:00DST01:00:00,M3.2.0/02:00:00,M11.1.0/02:00:00",
            "2026-01-02T03:04:05Z",
        );
        assert_eq!(
            zone.unwrap().offset_s(at("2026-07-01T00:00:00Z")),
            -4 * 3600
        );
    }

    #[test]
    fn the_clock_is_believed_over_its_rule() {
        let zone = read("2026-01-02T04:04:05", "CST-8:00:00", "2026-01-02T03:04:05Z").unwrap();
        assert_eq!(zone, Zone::fixed(3600).unwrap());
        let zone = read("2026-01-02T03:04:05Z", "rubbish", "2026-01-02T03:04:05Z").unwrap();
        assert_eq!(zone.offset_s(at("2026-01-02T00:00:00Z")), 0);
        assert!(read("2020-01-02T04:04:05", "CST-8", "2026-01-02T03:04:05Z").is_err());
        assert!(read("soon", "CST-8", "2026-01-02T03:04:05Z").is_err());
    }
}
