//! NTP 64-bit time (32.32 seconds since 1900) to and from Unix microseconds.

/// Seconds from 1900-01-01 to 1970-01-01.
const UNIX_EPOCH_S: i64 = 2_208_988_800;
const ERA_S: i64 = 1 << 32;
const US_PER_S: i64 = 1_000_000;

/// Unix time in µs, to the nearest; `None` for the two values that mean "no time": zero and all ones.
///
/// Seconds below `0x8000_0000` belong to era 1, which begins on 2036-02-07.
pub fn to_unix_us(ntp: u64) -> Option<i64> {
    if ntp == 0 || ntp == u64::MAX {
        return None;
    }
    let seconds = (ntp >> 32) as i64;
    let seconds = if seconds < ERA_S / 2 {
        seconds + ERA_S
    } else {
        seconds
    };
    let fraction = ntp & 0xffff_ffff;
    let micros = (fraction * US_PER_S as u64 + (1 << 31)) >> 32;
    Some((seconds - UNIX_EPOCH_S) * US_PER_S + micros as i64)
}

/// The nearest NTP time, its seconds modulo 2^32.
pub fn from_unix_us(unix_us: i64) -> u64 {
    let seconds = unix_us.div_euclid(US_PER_S) + UNIX_EPOCH_S;
    let micros = unix_us.rem_euclid(US_PER_S) as u64;
    let fraction = ((micros << 32) + US_PER_S as u64 / 2) / US_PER_S as u64;
    (u64::from(seconds as u32) << 32) | fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-01-02T03:04:05.250Z
    const FOOTAGE_US: i64 = 1_767_323_045_250_000;

    #[test]
    fn the_reference_instant() {
        assert_eq!(from_unix_us(FOOTAGE_US), 0xED01_B425_4000_0000);
        assert_eq!(to_unix_us(0xED01_B425_4000_0000), Some(FOOTAGE_US));
    }

    #[test]
    fn no_time_is_not_a_time() {
        assert_eq!(to_unix_us(0), None);
        assert_eq!(to_unix_us(u64::MAX), None);
    }

    #[test]
    fn the_era_turns_in_2036() {
        let turn_us = (ERA_S - UNIX_EPOCH_S) * US_PER_S;
        assert_eq!(turn_us, 2_085_978_496_000_000);
        assert_eq!(to_unix_us(1), Some(turn_us));
        assert_eq!(to_unix_us(0xFFFF_FFFF_0000_0000), Some(turn_us - US_PER_S));
    }

    proptest! {
        /// Microseconds survive, from 1968 to 2104.
        #[test]
        fn round_trip(us in -61_505_152_000_000i64..4_233_462_143_000_000) {
            prop_assume!(from_unix_us(us) != 0);
            prop_assert_eq!(to_unix_us(from_unix_us(us)), Some(us));
        }

        #[test]
        fn never_panics(us: i64, ntp: u64) {
            let _ = from_unix_us(us);
            let _ = to_unix_us(ntp);
        }
    }
}
