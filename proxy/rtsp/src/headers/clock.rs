//! Absolute time as `Range: clock=` writes it.

use std::fmt;

use super::HeaderError;

/// An instant in UTC, microseconds since 1970 without leap seconds, between the years 0 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockTime(i64);

impl ClockTime {
    /// 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// The last microsecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The instant `micros` after 1970, clamped to what can be written.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since 1970.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads `YYYYMMDDTHHMMSS[.f]Z`: one to nine fraction digits, cut to microseconds. Tolerates dashes and colons as
    /// in ISO 8601, lower case and a missing `Z`; a leap second reads as the second after it.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        match Self::parse_prefix(text.trim()) {
            Some((time, "")) => Ok(time),
            _ => Err(HeaderError::Malformed("clock time")),
        }
    }

    /// The time at the start of `text` and what follows it.
    pub(super) fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let (year, rest) = number(text, 4)?;
        let (month, rest) = number(skip(rest, '-'), 2)?;
        let (day, rest) = number(skip(rest, '-'), 2)?;
        let rest = rest.strip_prefix(['T', 't'])?;
        let (hour, rest) = number(rest, 2)?;
        let (minute, rest) = number(skip(rest, ':'), 2)?;
        let (second, rest) = number(skip(rest, ':'), 2)?;
        let (micros, rest) = match rest.strip_prefix(['.', ',']) {
            Some(rest) => fraction(rest)?,
            None => (0, rest),
        };
        let rest = rest.strip_prefix(['Z', 'z']).unwrap_or(rest);
        let leap = second == 60 && minute == 59 && hour == 23;
        let valid = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && (second < 60 || leap);
        let seconds =
            days_from_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        valid.then(|| (Self::from_micros(seconds * 1_000_000 + micros), rest))
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = date_from_days(days);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{:02}{:02}{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )?;
        if micros != 0 {
            let digits = format!("{micros:06}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

fn skip(text: &str, separator: char) -> &str {
    text.strip_prefix(separator).unwrap_or(text)
}

/// A number of exactly `digits` digits at the start of `text`.
fn number(text: &str, digits: usize) -> Option<(i64, &str)> {
    let (head, rest) = text.split_at_checked(digits)?;
    let plain = head.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| head.parse().ok().map(|value| (value, rest)))
        .flatten()
}

/// One to nine fraction digits as microseconds.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (head, rest) = text
        .split_at_checked(digits)
        .filter(|_| (1..=9).contains(&digits))?;
    let micros = head.bytes().chain(std::iter::repeat(b'0')).take(6);
    Some((
        micros.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')),
        rest,
    ))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; years are counted from March in eras of 400.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_1970`].
fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}
