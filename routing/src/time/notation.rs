//! How instants are written: ONVIF and RTSP clock times, and ISO 8601 as RFC 3339 profiles it.

use std::fmt;
use std::str::FromStr;

use super::{MICROS_PER_SECOND, Timestamp};

/// Why a text is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It does not have the form of a date and a time.
    #[error("not a date and time")]
    Syntax,
    /// It has the form, but the calendar or the clock has no such value.
    #[error("no such date or time of day")]
    NoSuchTime,
    /// It does not say which zone it is in. Guessing one plays footage of another hour.
    #[error("a time without a zone: end it with Z or an offset")]
    NoZone,
}

impl Timestamp {
    /// Reads an RTSP `utc-time` such as `20260102T030405.25Z` (RFC 2326, 3.7).
    ///
    /// Takes 1 to 9 fraction digits, of which those below a microsecond are cut off, and the dashes, colons and blanks
    /// that some clients put in. The `Z` is required. A leap second reads as the second after it, as in Unix time.
    pub fn parse_clock(text: &str) -> Result<Self, TimeError> {
        let mut scan = Scan::new(text);
        let local = scan.date_time()?;
        if !scan.eat_any(b"Zz") {
            return Err(if scan.is_done() {
                TimeError::NoZone
            } else {
                TimeError::Syntax
            });
        }
        scan.done()?;
        local.at_offset(0)
    }

    /// Reads ISO 8601 as RFC 3339 profiles it, such as `2026-01-02T04:04:05.25+01:00`, and its compact form.
    ///
    /// Fractions and leap seconds as in [`Timestamp::parse_clock`]. The zone is required.
    pub fn parse_iso(text: &str) -> Result<Self, TimeError> {
        let mut scan = Scan::new(text);
        let local = scan.date_time()?;
        let offset_seconds = scan.zone()?;
        scan.done()?;
        local.at_offset(offset_seconds)
    }

    /// The instant as an RTSP `utc-time`, with only the fraction digits it needs.
    pub const fn clock(self) -> Clock {
        Clock(self)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse_iso(text)
    }
}

/// As `2026-01-02T03:04:05.250Z`; with six fraction digits where three do not say it all.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = Civil::of(*self);
        if (0..=YEAR_MAX).contains(&civil.year) {
            write!(f, "{:04}", civil.year)?;
        } else {
            write!(f, "{:+07}", civil.year)?;
        }
        let Civil {
            month,
            day,
            hour,
            minute,
            second,
            micros,
            ..
        } = civil;
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match micros % 1_000 {
            0 => write!(f, ".{:03}Z", micros / 1_000),
            _ => write!(f, ".{micros:06}Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Displays an instant as an RTSP `utc-time`, from year 0000 to 9999; others become the first or last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(Timestamp);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micros,
        } = Civil::of(self.0.clamp(CLOCK_MIN, CLOCK_MAX));
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}"
        )?;
        if micros != 0 {
            let (mut fraction, mut width) = (micros, 6);
            while fraction % 10 == 0 {
                fraction /= 10;
                width -= 1;
            }
            write!(f, ".{fraction:0width$}")?;
        }
        f.write_str("Z")
    }
}

/// A date and time of day of the Gregorian calendar, reckoned back before its introduction.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

impl Civil {
    fn of(at: Timestamp) -> Self {
        let seconds = at.as_micros().div_euclid(MICROS_PER_SECOND);
        let (year, month, day) = date_of(seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        Self {
            year,
            month,
            day,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            micros: at.as_micros().rem_euclid(MICROS_PER_SECOND),
        }
    }

    fn at_offset(&self, offset_seconds: i64) -> Result<Timestamp, TimeError> {
        let of_calendar = (1..=12).contains(&self.month)
            && (1..=days_in(self.year, self.month)).contains(&self.day);
        if !of_calendar || self.hour > 23 || self.minute > 59 || self.second > 60 {
            return Err(TimeError::NoSuchTime);
        }
        let seconds = days_to(self.year, self.month, self.day) * SECONDS_PER_DAY
            + self.hour * 3_600
            + self.minute * 60
            + self.second
            - offset_seconds;
        // Leap seconds are put in before midnight UTC and nowhere else.
        if self.second == 60 && seconds.rem_euclid(SECONDS_PER_DAY) != 0 {
            return Err(TimeError::NoSuchTime);
        }
        Ok(Timestamp::from_micros(
            seconds * MICROS_PER_SECOND + self.micros,
        ))
    }
}

/// What is left of a text; each step takes a fixed shape off its front.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self(text.trim_ascii().as_bytes())
    }

    fn date_time(&mut self) -> Result<Civil, TimeError> {
        let year = self.digits(4)?;
        let dashes = self.eat_any(b"-");
        let month = self.digits(2)?;
        self.expect_if(dashes, b'-')?;
        let day = self.digits(2)?;
        if !self.eat_any(b"Tt ") {
            return Err(TimeError::Syntax);
        }
        let hour = self.digits(2)?;
        let colons = self.eat_any(b":");
        let minute = self.digits(2)?;
        self.expect_if(colons, b':')?;
        let second = self.digits(2)?;
        let micros = if self.eat_any(b".,") {
            self.fraction_micros()?
        } else {
            0
        };
        Ok(Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micros,
        })
    }

    fn fraction_micros(&mut self) -> Result<i64, TimeError> {
        let (mut nanos, mut scale) = (0, 1_000_000_000);
        while let Some(digit) = self.digit() {
            if scale == 1 {
                return Err(TimeError::Syntax);
            }
            scale /= 10;
            nanos += digit * scale;
        }
        if scale == 1_000_000_000 {
            return Err(TimeError::Syntax);
        }
        Ok(nanos / 1_000)
    }

    fn zone(&mut self) -> Result<i64, TimeError> {
        if self.eat_any(b"Zz") {
            return Ok(0);
        }
        let sign = match self.0.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return Err(TimeError::Syntax),
            None => return Err(TimeError::NoZone),
        };
        self.eat_any(b"+-");
        let hours = self.digits(2)?;
        self.eat_any(b":");
        let minutes = self.digits(2)?;
        if hours > 23 || minutes > 59 {
            return Err(TimeError::NoSuchTime);
        }
        Ok(sign * (hours * 3_600 + minutes * 60))
    }

    fn digits(&mut self, count: usize) -> Result<i64, TimeError> {
        (0..count)
            .try_fold(0, |value, _| self.digit().map(|digit| value * 10 + digit))
            .ok_or(TimeError::Syntax)
    }

    fn digit(&mut self) -> Option<i64> {
        let (&first, rest) = self.0.split_first()?;
        let digit = char::from(first).to_digit(10)?;
        self.0 = rest;
        Some(i64::from(digit))
    }

    fn eat_any(&mut self, accepted: &[u8]) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if accepted.contains(first) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect_if(&mut self, wanted: bool, byte: u8) -> Result<(), TimeError> {
        if !wanted || self.eat_any(&[byte]) {
            Ok(())
        } else {
            Err(TimeError::Syntax)
        }
    }

    fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    fn done(&self) -> Result<(), TimeError> {
        if self.is_done() {
            Ok(())
        } else {
            Err(TimeError::Syntax)
        }
    }
}

/// Days from 1970-01-01 to a date, counted in eras of 400 years that start in March, where a leap day comes last.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year
        - ERA_TO_1970_DAYS
}

/// The date that is `days` from 1970-01-01: the inverse of [`days_to`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + ERA_TO_1970_DAYS;
    let of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = days.div_euclid(DAYS_PER_ERA) * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
const ERA_TO_1970_DAYS: i64 = 719_468;
const YEAR_MAX: i64 = 9_999;
/// 0000-01-01T00:00:00Z.
const CLOCK_MIN: Timestamp = Timestamp::from_micros(-62_167_219_200 * MICROS_PER_SECOND);
/// 9999-12-31T23:59:59.999999Z.
const CLOCK_MAX: Timestamp = Timestamp::from_micros(253_402_300_800 * MICROS_PER_SECOND - 1);
