//! `Range` and its times: the reference's vectors, the field's sloppiness, the calendar.

use proptest::prelude::*;
use seamline_rtsp::headers::{ClockTime, HeaderError, NptTime, Range};

/// 2026-01-02T00:00:00Z.
const MIDNIGHT_US: i64 = 1_767_312_000_000_000;
const AT_03_04_05: i64 = MIDNIGHT_US + (3 * 3600 + 4 * 60 + 5) * 1_000_000;
const AT_03_15_00: i64 = MIDNIGHT_US + (3 * 3600 + 15 * 60) * 1_000_000;

fn clock(start: impl Into<Option<i64>>, end: impl Into<Option<i64>>) -> Range {
    Range::Clock {
        start: start.into().map(ClockTime::from_micros),
        end: end.into().map(ClockTime::from_micros),
    }
}

fn npt(start: impl Into<Option<u64>>, end: impl Into<Option<u64>>) -> Range {
    Range::Npt {
        start: start.into().map(NptTime::from_micros),
        end: end.into().map(NptTime::from_micros),
    }
}

#[test]
fn clock_ranges_of_the_reference() {
    let reads = [
        ("clock=20260102T030405Z-", clock(AT_03_04_05, None)),
        (
            "clock=20260102T030405.123456789Z-20260102T031500Z",
            clock(AT_03_04_05 + 123_456, AT_03_15_00),
        ),
        (
            "clock=20260102T031500Z-20260102T030405Z",
            clock(AT_03_15_00, AT_03_04_05),
        ),
        ("clock=-20260102T031500Z", clock(None, AT_03_15_00)),
        (" clock = 20260102T030405Z - ", clock(AT_03_04_05, None)),
        ("clock=2026-01-02T03:04:05Z-", clock(AT_03_04_05, None)),
        (
            "clock=2026-01-02T03:04:05Z-2026-01-02T03:15:00Z",
            clock(AT_03_04_05, AT_03_15_00),
        ),
        (
            "clock=20260102T030405.25Z-",
            clock(AT_03_04_05 + 250_000, None),
        ),
        (
            "CLOCK=20260102t030405z-;time=20260102T030405Z",
            clock(AT_03_04_05, None),
        ),
        ("clock=20260102T030405Z", clock(AT_03_04_05, None)),
        (
            "clock=20260102T030405-20260102T031500",
            clock(AT_03_04_05, AT_03_15_00),
        ),
    ];
    for (text, range) in reads {
        assert_eq!(Range::parse(text), Ok(range), "{text}");
    }
}

#[test]
fn presentation_ranges() {
    let reads = [
        ("npt=0.000-", npt(0, None)),
        ("npt=0-", npt(0, None)),
        ("npt=12.5-30", npt(12_500_000, 30_000_000)),
        ("npt=0:01:30-", npt(90_000_000, None)),
        ("npt=100:00:00.25-", npt(360_000_250_000, None)),
        ("npt=-30", npt(None, 30_000_000)),
        ("npt=now-", Range::NptNow),
        // GStreamer's replay server: seconds since 1900.
        (
            "npt=3976257600-3976257620",
            npt(3_976_257_600_000_000, 3_976_257_620_000_000),
        ),
    ];
    for (text, range) in reads {
        assert_eq!(Range::parse(text), Ok(range), "{text}");
    }
}

#[test]
fn ranges_that_cannot_be_read() {
    let malformed = [
        "",
        "clock",
        "clock=",
        "clock=-",
        "clock=20260102-",
        "clock=20261302T030405Z-",
        "clock=20260230T030405Z-",
        "clock=20260102T240000Z-",
        "clock=20260102T036005Z-",
        "clock=20260102T030460Z-",
        "clock=20260102T030405.Z-",
        "clock=20260102T030405.1234567890Z-",
        "clock=20260102T030405+0100-",
        "clock=20260102T030405Z-never",
        "clock=20260102T030405Z-;npt=0-",
        "clock=20260102T030405Z-,npt=0-",
        "clock=20260102T030405Z-npt=5",
        "npt=",
        "npt=-",
        "npt=1:2-",
        "npt=0:60:00-",
        "npt=1e3-",
        "npt=99999999999-",
        "npt=9999999999:00:00-",
        // Found by the fuzzer: its seconds could not be read again.
        "npt=022222222:01:4-",
        "npt=-1-2",
        "clock=+0260102T030405Z-",
        "clock=２0260102T030405Z-",
    ];
    for text in malformed {
        assert_eq!(
            Range::parse(text),
            Err(HeaderError::Malformed("Range")),
            "{text}"
        );
    }
    for text in ["smpte=01:02:03:12.50-", "smpte-25=0:0:0-", "frames=1-2"] {
        assert_eq!(
            Range::parse(text).map_err(HeaderError::status),
            Err(501),
            "{text}"
        );
    }
}

#[test]
fn ranges_that_express_no_wish() {
    for text in [
        "npt=0.000-",
        "npt=0-",
        "clock=19000101T000000Z-",
        "clock=00000101T000000Z-",
    ] {
        assert!(
            Range::parse(text).expect(text).expresses_no_wish(),
            "{text}"
        );
    }
    for text in [
        "npt=now-",
        "npt=0-10",
        "npt=1-",
        "clock=20260102T030405Z-",
        "clock=-20260102T030405Z",
    ] {
        assert!(
            !Range::parse(text).expect(text).expresses_no_wish(),
            "{text}"
        );
    }
}

#[test]
fn direction_of_a_range() {
    assert!(clock(2, 1).is_reversed() && npt(2, 1).is_reversed());
    assert!(
        !clock(1, 1).is_reversed()
            && !clock(1, None).is_reversed()
            && !clock(None, 1).is_reversed()
    );
}

#[test]
fn clock_time_edges() {
    assert_eq!(ClockTime::parse("00000101T000000Z"), Ok(ClockTime::MIN));
    assert_eq!(
        ClockTime::parse("99991231T235959.999999999Z"),
        Ok(ClockTime::MAX)
    );
    assert_eq!(
        ClockTime::from_micros(i64::MIN).to_string(),
        "00000101T000000Z"
    );
    assert_eq!(
        ClockTime::from_micros(i64::MAX).to_string(),
        "99991231T235959.999999Z"
    );
    // The leap second of 2016 and the second after it are one instant in Unix time.
    assert_eq!(
        ClockTime::parse("20161231T235960Z"),
        ClockTime::parse("20170101T000000Z")
    );
}

#[test]
fn the_calendar_counts_every_day() {
    let (mut year, mut month, mut day) = (1896, 1, 1);
    let first = ClockTime::parse("18960101T000000Z")
        .expect("a day")
        .as_micros();
    for index in 0..220_i64 * 365 {
        let text = format!("{year:04}{month:02}{day:02}T000000Z");
        let time = ClockTime::parse(&text).expect(&text);
        assert_eq!(time.as_micros() - first, index * 86_400_000_000, "{text}");
        assert_eq!(time.to_string(), text);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = [
            31,
            if leap { 29 } else { 28 },
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ];
        day += 1;
        if day > days[month - 1] {
            (month, day) = (month + 1, 1);
        }
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
}

fn clock_time() -> impl Strategy<Value = ClockTime> {
    (ClockTime::MIN.as_micros()..=ClockTime::MAX.as_micros()).prop_map(ClockTime::from_micros)
}

fn range() -> impl Strategy<Value = Range> {
    let npt_time = || (0_u64..900_000_000_000_000).prop_map(NptTime::from_micros);
    prop_oneof![
        (clock_time(), prop::option::of(clock_time())).prop_map(|(start, end)| Range::Clock {
            start: Some(start),
            end
        }),
        clock_time().prop_map(|end| Range::Clock {
            start: None,
            end: Some(end)
        }),
        (npt_time(), prop::option::of(npt_time())).prop_map(|(start, end)| Range::Npt {
            start: Some(start),
            end
        }),
        Just(Range::NptNow),
    ]
}

proptest! {
    #[test]
    fn a_written_range_is_read(range in range()) {
        prop_assert_eq!(Range::parse(&range.to_string()), Ok(range));
    }

    #[test]
    fn a_written_clock_range_passes_a_strict_parser(start in clock_time(), end in clock_time()) {
        use rtsp_types::headers::{self, TypedHeader};
        let range = Range::Clock { start: Some(start), end: Some(end) };
        let request = rtsp_types::Request::builder(rtsp_types::Method::Play, rtsp_types::Version::V1_0)
            .header(headers::RANGE, range.to_string())
            .empty();
        let strict = headers::Range::from_headers(&request);
        prop_assert!(matches!(strict, Ok(Some(headers::Range::Utc(_)))), "{:?}", strict);
    }

    #[test]
    fn clock_times_keep_their_order_when_written(a in clock_time(), b in clock_time()) {
        // Fixed width up to the fraction, and `.` sorts before `Z`: text order within a second is by fraction.
        let (x, y) = (a.to_string(), b.to_string());
        let whole = |text: &str| text.get(..15).map(str::to_owned);
        prop_assert!(whole(&x).cmp(&whole(&y)) == (a.as_micros().div_euclid(1_000_000)).cmp(&b.as_micros().div_euclid(1_000_000)));
    }
}
