//! Times as vendors' URLs have them: digits with any separators, and what says which zone they are in.

use jiff::civil::DateTime;
use seamline_probes::zone::{Reading, Zone};
use seamline_routing::time::Timestamp;

/// A time as it is written: what clocks showed, or an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// An instant: milliseconds since 1970, or a time with an offset.
    At(Timestamp),
    /// A time that ends with `Z`, which not every vendor means.
    Z(DateTime),
    /// A time without a zone.
    Bare(DateTime),
}

/// How a vendor means the times in its URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// UTC, with or without a `Z`.
    Utc,
    /// Local, with or without a `Z`.
    Local,
    /// UTC with a `Z`, else local.
    AsWritten,
    /// Hikvision: with a `Z`, which means UTC or local by firmware.
    HikvisionZ,
}

/// The zone rules of whoever the URL is written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Of local times.
    pub(super) zone: Zone,
    /// Whether Hikvision's `Z` means local.
    pub(super) z_is_local: bool,
}

impl Written {
    /// Reads a time: eight digits of a date and six of a time of day, with or without separators, a fraction, `Z` or an
    /// offset; or milliseconds since 1970.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && text.len() != COMPACT_DIGITS {
            let ms = text.parse::<i64>().ok().filter(|ms| *ms <= MS_MAX)?;
            return Some(Self::At(Timestamp::from_unix_ms(ms)));
        }
        let (digits, rest) = digits(text)?;
        let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
        let (fraction, rest) = fraction(rest)?;
        let date_time = DateTime::new(
            number(0, 4)?,
            number(4, 6)? as i8,
            number(6, 8)? as i8,
            number(8, 10)? as i8,
            number(10, 12)? as i8,
            number(12, 14)? as i8,
            fraction,
        );
        let local = date_time.ok()?;
        match rest.trim_end() {
            "" => Some(Self::Bare(local)),
            "Z" | "z" => Some(Self::Z(local)),
            offset => {
                Zone::fixed(offset_s(offset)?).map(|zone| Self::At(zone.read(local).earliest()))
            }
        }
    }

    /// What it means.
    pub(super) fn read(self, base: Base, rules: &Rules) -> Reading {
        let (local, has_z) = match self {
            Self::At(at) => return Reading::Once(at),
            Self::Z(local) => (local, true),
            Self::Bare(local) => (local, false),
        };
        let utc = match base {
            Base::Utc => true,
            Base::Local => false,
            Base::AsWritten => has_z,
            Base::HikvisionZ => has_z && !rules.z_is_local,
        };
        if utc {
            Zone::UTC.read(local)
        } else {
            rules.zone.read(local)
        }
    }
}

/// The 14 digits of a date and a time of day, and what follows them.
fn digits(text: &str) -> Option<(String, &str)> {
    let mut digits = String::with_capacity(COMPACT_DIGITS);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => digits.push(char::from(byte)),
            b'-' | b'_' | b':' | b' ' | b'+' | b'T' | b't' if !digits.is_empty() => {}
            _ => return None,
        }
        if digits.len() == COMPACT_DIGITS {
            return Some((digits, text.get(at + 1..)?));
        }
    }
    None
}

/// Nanoseconds of a fraction, when there is one, and what follows.
fn fraction(text: &str) -> Option<(i32, &str)> {
    let Some(rest) = text.strip_prefix(['.', ',']) else {
        return Some((0, text));
    };
    let end = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = rest.split_at_checked(end)?;
    let nanoseconds = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    (end > 0).then_some((nanoseconds, rest))
}

/// Seconds of `+01:00`, `-0530` or `+01`. A blank is a plus that was decoded once too often.
fn offset_s(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.get(1..)?.chars().filter(|sign| *sign != ':').collect();
    if !text.starts_with(['+', '-', ' ']) || !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let hours: i32 = digits.get(..2)?.parse().ok()?;
    let minutes: i32 = digits
        .get(2..)
        .filter(|rest| !rest.is_empty())
        .unwrap_or("0")
        .parse()
        .ok()?;
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

const COMPACT_DIGITS: usize = 14;
/// The year 9999.
const MS_MAX: i64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    fn rules(z_is_local: bool) -> Rules {
        Rules {
            zone: "Asia/Shanghai".parse().unwrap(),
            z_is_local,
        }
    }

    fn read(text: &str, base: Base, z_is_local: bool) -> Timestamp {
        let reading = Written::parse(text).unwrap().read(base, &rules(z_is_local));
        assert_eq!(reading.earliest(), reading.latest());
        reading.earliest()
    }

    #[test]
    fn every_notation() {
        let (utc, local) = (at("2026-01-02T03:04:05Z"), at("2026-01-01T19:04:05Z"));
        for (text, base, expected) in [
            ("20260102T030405Z", Base::HikvisionZ, utc),
            ("2026-01-02T03:04:05Z", Base::HikvisionZ, utc),
            ("2026_01_02_03_04_05", Base::Local, local),
            ("2026-01-02 03:04:05", Base::Local, local),
            ("2026-01-02+03:04:05", Base::Local, local),
            ("1767323045000", Base::AsWritten, utc),
            ("2026-01-02T03:04:05", Base::AsWritten, local),
            ("2026-01-02T04:04:05+01:00", Base::Local, utc),
            ("2026-01-02T04:04:05 0100", Base::Local, utc),
            ("20260102030405", Base::Utc, utc),
        ] {
            assert_eq!(read(text, base, false), expected, "{text}");
        }
        assert_eq!(read("20260102T030405Z", Base::HikvisionZ, true), local);
        let vivotek = read("20260102_030405.250", Base::Utc, false);
        assert_eq!(vivotek, at("2026-01-02T03:04:05.25Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "20260102",
            "2026-01-02T03:04Z",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05X",
            "2026-01-02T03:04:05+25:00",
            "2026-01-02T03:04:05.",
            "99999999999999999999",
            "-2026-01-02T03:04:05",
        ] {
            let read = Written::parse(text);
            // Eight digits are milliseconds since 1970: nobody writes them, and they are far from any footage.
            assert!(read.is_none() || text == "20260102", "{text}: {read:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[0-9TZ:_. +-]{0,30}") {
            let _ = Written::parse(&text);
        }
    }
}
