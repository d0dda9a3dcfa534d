//! Instants and their notations, against the vectors of the standards and of the field.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use seamline_routing::time::{TimeError, TimeRange, Timestamp};

fn iso(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_ntp_vector_of_the_replay_extension() {
    let at = iso("2026-01-02T03:04:05.250Z");
    assert_eq!(at.to_ntp(), 0xED01_B425_4000_0000);
    assert_eq!(Timestamp::from_ntp(0xED01_B425_4000_0000), at);
    assert_eq!(at.as_unix_ms(), 1_767_323_045_250);
    assert_eq!(Timestamp::from_unix_ms(1_767_323_045_250), at);
}

#[test]
fn ntp_seconds_below_half_their_range_belong_to_the_era_of_2036() {
    assert_eq!(Timestamp::from_ntp(0), iso("2036-02-07T06:28:16Z"));
    assert_eq!(
        Timestamp::from_ntp(0xFFFF_FFFF_0000_0000),
        iso("2036-02-07T06:28:15Z")
    );
    assert_eq!(
        Timestamp::from_ntp(0x8000_0000_0000_0000),
        iso("1968-01-20T03:14:08Z")
    );
    assert_eq!(
        Timestamp::from_ntp(0x7FFF_FFFF_0000_0000),
        iso("2104-02-26T09:42:23Z")
    );
}

#[test]
fn instants_that_ntp_cannot_say_become_its_first_or_last() {
    assert_eq!(Timestamp::MIN.to_ntp(), 0x8000_0000_0000_0000);
    assert_eq!(Timestamp::MAX.to_ntp(), 0x7FFF_FFFF_FFFF_FFFF);
    assert_eq!(
        iso("1968-01-20T03:14:07.999999Z").to_ntp(),
        0x8000_0000_0000_0000
    );
    assert_eq!(iso("2104-02-26T09:42:24Z").to_ntp(), 0x7FFF_FFFF_FFFF_FFFF);
}

#[test]
fn an_ntp_fraction_just_short_of_a_microsecond_is_rounded_to_it() {
    // As a recorder writes that turns 250 ms into its fraction by cutting off.
    assert_eq!(
        Timestamp::from_ntp(0xED01_B425_3FFF_FFFF),
        iso("2026-01-02T03:04:05.250Z")
    );
    assert_eq!(
        Timestamp::from_ntp(0xED01_B425_FFFF_FFFF),
        iso("2026-01-02T03:04:06Z")
    );
}

#[test]
fn clock_times_as_clients_write_them() {
    for (text, wanted) in [
        ("20260102T030405Z", "2026-01-02T03:04:05.000Z"),
        ("20260102T030405.25Z", "2026-01-02T03:04:05.250Z"),
        ("20260102T030405.5Z", "2026-01-02T03:04:05.500Z"),
        ("20260102T030405.123456789Z", "2026-01-02T03:04:05.123456Z"),
        ("20260102T030405.999999999Z", "2026-01-02T03:04:05.999999Z"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        (" 20260102T030405Z ", "2026-01-02T03:04:05.000Z"),
        ("20260102t030405z", "2026-01-02T03:04:05.000Z"),
        ("19000101T000000Z", "1900-01-01T00:00:00.000Z"),
        ("00000101T000000Z", "0000-01-01T00:00:00.000Z"),
        ("99991231T235959.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("20240229T000000Z", "2024-02-29T00:00:00.000Z"),
        ("20161231T235960Z", "2017-01-01T00:00:00.000Z"),
        ("20161231T235960.5Z", "2017-01-01T00:00:00.500Z"),
    ] {
        assert_eq!(
            Timestamp::parse_clock(text).unwrap().to_string(),
            wanted,
            "{text}"
        );
    }
}

#[test]
fn clock_times_that_are_none() {
    for (text, wanted) in [
        ("", TimeError::Syntax),
        ("now", TimeError::Syntax),
        ("20260102", TimeError::Syntax),
        ("20260102T0304", TimeError::Syntax),
        ("20260102T030405.Z", TimeError::Syntax),
        ("20260102T030405.1234567890Z", TimeError::Syntax),
        ("20260102T030405Zx", TimeError::Syntax),
        ("2026-0102T030405Z", TimeError::Syntax),
        ("20260102T03:0405Z", TimeError::Syntax),
        ("+0260102T030405Z", TimeError::Syntax),
        ("２０２６0102T030405Z", TimeError::Syntax),
        ("20260102T030405+0100", TimeError::Syntax),
        ("20260102T030405", TimeError::NoZone),
        ("20260002T030405Z", TimeError::NoSuchTime),
        ("20261302T030405Z", TimeError::NoSuchTime),
        ("20260230T030405Z", TimeError::NoSuchTime),
        ("19000229T000000Z", TimeError::NoSuchTime),
        ("20260102T240000Z", TimeError::NoSuchTime),
        ("20260102T036005Z", TimeError::NoSuchTime),
        ("20260102T030460Z", TimeError::NoSuchTime),
        ("20260102T235961Z", TimeError::NoSuchTime),
    ] {
        assert_eq!(Timestamp::parse_clock(text), Err(wanted), "{text}");
    }
}

#[test]
fn iso_times_with_offsets() {
    for (text, wanted) in [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T04:04:05.25+01:00", "2026-01-02T03:04:05.250Z"),
        ("2026-01-01T19:34:05-07:30", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02 03:04:05+0000", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05.000Z"),
        ("20260102T030405Z", "2026-01-02T03:04:05.000Z"),
        // The repeated hour of a change of clocks, told apart by its offset.
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00.000Z"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00.000Z"),
        ("2017-01-01T08:59:60+09:00", "2017-01-01T00:00:00.000Z"),
        ("0000-01-01T00:00:00+23:59", "-000001-12-31T00:01:00.000Z"),
    ] {
        assert_eq!(
            Timestamp::parse_iso(text).unwrap().to_string(),
            wanted,
            "{text}"
        );
    }
    for (text, wanted) in [
        ("2026-01-02T03:04:05", TimeError::NoZone),
        ("2026-01-02T03:04:05+1", TimeError::Syntax),
        ("2026-01-02T03:04:05+24:00", TimeError::NoSuchTime),
        ("2026-01-02T03:04:05 Z", TimeError::Syntax),
        ("2026-01-02", TimeError::Syntax),
    ] {
        assert_eq!(Timestamp::parse_iso(text), Err(wanted), "{text}");
    }
}

#[test]
fn clock_times_are_written_with_the_digits_they_need() {
    for (at, wanted) in [
        ("2026-01-02T03:04:05Z", "20260102T030405Z"),
        ("2026-01-02T03:04:05.250Z", "20260102T030405.25Z"),
        ("2026-01-02T03:04:05.000001Z", "20260102T030405.000001Z"),
        ("2026-01-02T03:04:05.100Z", "20260102T030405.1Z"),
    ] {
        assert_eq!(iso(at).clock().to_string(), wanted);
    }
    assert_eq!(Timestamp::MIN.clock().to_string(), "00000101T000000Z");
    assert_eq!(
        Timestamp::MAX.clock().to_string(),
        "99991231T235959.999999Z"
    );
}

#[test]
fn the_ends_of_time_are_printed_and_saturate() {
    assert_eq!(Timestamp::MAX.to_string(), "+294247-01-10T04:00:54.775807Z");
    assert_eq!(Timestamp::MIN.to_string(), "-290308-12-21T19:59:05.224192Z");
    assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
    assert_eq!(Timestamp::MIN - Duration::MAX, Timestamp::MIN);
    assert_eq!(Timestamp::MIN.shift(-1), Timestamp::MIN);
    assert_eq!(
        Timestamp::EPOCH - Duration::from_secs(1) + Duration::from_secs(1),
        Timestamp::EPOCH
    );
    assert_eq!(
        Timestamp::MAX.since(Timestamp::MIN),
        Duration::from_micros(u64::MAX)
    );
    assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
    assert_eq!(Timestamp::MAX.micros_since(Timestamp::MIN), i64::MAX);
    assert_eq!(Timestamp::from_unix_ms(i64::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::from_micros(-1).as_unix_ms(), -1);
}

#[test]
fn ranges_hold_their_start_and_not_their_end() {
    let at = Timestamp::from_micros;
    let range = |start, end| TimeRange::new(at(start), at(end));
    assert_eq!(range(5, 5), None);
    assert_eq!(range(6, 5), None);
    let five = range(5, 10).unwrap();
    assert!(five.contains(at(5)) && five.contains(at(9)) && !five.contains(at(10)));
    assert_eq!(five.duration(), Duration::from_micros(5));
    assert_eq!(five.intersect(range(8, 20).unwrap()), range(8, 10));
    assert_eq!(five.intersect(range(10, 20).unwrap()), None);
    assert!(!five.overlaps(range(10, 20).unwrap()));
    assert!(five.overlaps(range(9, 20).unwrap()));
    let hour = TimeRange::new(iso("2026-01-02T03:00:00Z"), iso("2026-01-02T04:00:00Z")).unwrap();
    assert_eq!(
        hour.to_string(),
        "2026-01-02T03:00:00.000Z/2026-01-02T04:00:00.000Z"
    );
}

const YEAR_0: i64 = -62_167_219_200_000_000;
const YEAR_10000: i64 = 253_402_300_800_000_000;

proptest! {
    #[test]
    fn notations_round_trip(micros in YEAR_0..YEAR_10000) {
        let at = Timestamp::from_micros(micros);
        prop_assert_eq!(Timestamp::parse_iso(&at.to_string()), Ok(at));
        prop_assert_eq!(Timestamp::parse_clock(&at.to_string()), Ok(at));
        prop_assert_eq!(Timestamp::parse_clock(&at.clock().to_string()), Ok(at));
    }

    #[test]
    fn ntp_round_trips_in_its_range(micros in -61_505_152_000_000i64..4_233_462_144_000_000) {
        let at = Timestamp::from_micros(micros);
        prop_assert_eq!(Timestamp::from_ntp(at.to_ntp()), at);
    }

    #[test]
    fn all_of_ntp_is_an_instant(ntp: u64) {
        let at = Timestamp::from_ntp(ntp);
        prop_assert!(at >= iso("1968-01-20T03:14:08Z") && at <= iso("2104-02-26T09:42:24Z"));
    }

    #[test]
    fn dates_follow_each_other(days in -800_000i64..2_900_000) {
        let midnight = Timestamp::from_micros(days * 86_400_000_000);
        let (day, next) = (midnight.to_string(), (midnight + Duration::from_secs(86_400)).to_string());
        let fields = |text: &str| -> Vec<i64> {
            let date = text.split('T').next().unwrap().trim_start_matches(['+', '-']);
            date.split('-').map(|field| field.parse().unwrap()).collect()
        };
        let (day, next) = (fields(&day), fields(&next));
        let new_month = next[2] == 1 && day[2] >= 28;
        prop_assert!(next[2] == day[2] + 1 || new_month, "{:?} {:?}", day, next);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,40}", digits in "[0-9TZ:.+ -]{0,40}") {
        for text in [text, digits] {
            let _ = Timestamp::parse_clock(&text);
            let _ = Timestamp::parse_iso(&text);
        }
    }

    #[test]
    fn any_instant_is_printed_without_a_panic(micros: i64) {
        let at = Timestamp::from_micros(micros);
        prop_assert!(!at.to_string().is_empty() && !at.clock().to_string().is_empty());
    }
}
