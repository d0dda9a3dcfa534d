//! The clocks of the tests: UTC milliseconds of the footage, and the monotonic clock of the machine.

use std::{fmt::Display, thread, time::Duration};

/// 2026-01-01T12:00:00Z, the hour of all footage, in milliseconds since 1970.
pub const NOON_MS: i64 = 1_767_268_800_000;

/// Milliseconds from one picture to the next.
pub const FRAME_MS: i64 = 40;

/// Between two looks at what is waited for: an eighth of the time that it took already, within these.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];
const DAY_MS: i64 = 86_400_000;
const NTP_EPOCH_S: i64 = 2_208_988_800;

/// Milliseconds since 1970 of an instant `seconds` after noon.
pub fn noon(seconds: f64) -> i64 {
    NOON_MS + (seconds * 1000.0).round() as i64
}

/// The monotonic clock that the players' `arrival_ns` count on, too.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Looks until there is what is waited for, again and again; panics when it is not there `within` that time, with what was last said
/// to be missing.
#[track_caller]
pub fn poll<T, M: Display>(within: Duration, mut look: impl FnMut() -> Result<T, M>) -> T {
    let begun = monotonic();
    loop {
        let looked = look();
        let waited = monotonic().saturating_sub(begun);
        match looked {
            Ok(seen) => return seen,
            Err(missing) => assert!(waited < within, "after {waited:?}: {missing}"),
        }
        thread::sleep((waited / 8).clamp(LOOK_AGAIN[0], LOOK_AGAIN[1]));
    }
}

/// [`poll`] for what is there or not.
#[track_caller]
pub fn await_that(within: Duration, missing: &str, mut there: impl FnMut() -> bool) {
    poll(within, || there().then_some(()).ok_or(missing));
}

/// The time of day in milliseconds since 1970.
pub fn wall_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// `2026-01-01T12:00:00.040Z`
pub fn iso(epoch_ms: i64) -> String {
    let (year, month, day) = civil(epoch_ms.div_euclid(DAY_MS));
    let of_day = epoch_ms.rem_euclid(DAY_MS);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// `20260101T120000.040Z`, as a `Range: clock=` has it.
pub fn range_time(epoch_ms: i64) -> String {
    iso(epoch_ms)
        .chars()
        .filter(|letter| !matches!(letter, '-' | ':'))
        .collect()
}

/// Milliseconds since 1970 of a 64-bit NTP stamp of the years 1968 to 2036, rounded.
pub fn from_ntp(stamp: u64) -> i64 {
    let seconds = (stamp >> 32) as i64 - NTP_EPOCH_S;
    let fraction = ((stamp & 0xFFFF_FFFF) * 1000 + (1 << 31)) >> 32;
    seconds * 1000 + fraction as i64
}

/// The stamp of these milliseconds since 1970, rounded up so that whoever rounds down gets them back.
pub fn to_ntp(epoch_ms: i64) -> u64 {
    let seconds = (epoch_ms.div_euclid(1000) + NTP_EPOCH_S) as u64;
    let fraction = ((epoch_ms.rem_euclid(1000) as u64) << 32).div_ceil(1000);
    seconds << 32 | fraction
}

/// UTC in milliseconds of `20260101T120000.040Z`; `None` for anything else.
pub fn from_range_time(text: &str) -> Option<i64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    // Days of a year that begins in March.
    let of_march = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = of_march * 365 + of_march / 4 - of_march / 100 + of_march / 400 + of_year - 719_468;
    let seconds = number(9..11)? * 3600 + number(11..13)? * 60 + number(13..15)?;
    let fraction = text.get(15..)?.strip_suffix('Z')?.trim_start_matches('.');
    let ms = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    Some(days * DAY_MS + seconds * 1000 + ms)
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian calendar).
fn civil(days: i64) -> (i64, i64, i64) {
    // Years that begin in March put the leap day last; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noon_reads_as_noon() {
        assert_eq!(iso(noon(0.04)), "2026-01-01T12:00:00.040Z");
        assert_eq!(range_time(noon(-10.0)), "20260101T115950.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        for at in [0, 951_782_400_040, noon(0.04), noon(-10.0)] {
            assert_eq!(from_range_time(&range_time(at)), Some(at));
            assert_eq!(from_ntp(to_ntp(at)), at);
        }
    }

    #[test]
    fn ntp_is_rounded_to_the_millisecond() {
        let seconds = (NOON_MS / 1000 + NTP_EPOCH_S) as u64;
        assert_eq!(from_ntp(seconds << 32), NOON_MS);
        assert_eq!(from_ntp(seconds << 32 | 0x0A3D_70A3), NOON_MS + 40);
    }
}
