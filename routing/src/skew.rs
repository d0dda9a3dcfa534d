//! What a copy's clock is ahead of another's, from pictures that both hold and from what their recorders say.
//!
//! Clocks are steps and slow drifts: every measure is of one instant of footage and counts less the further one goes from it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::time::Timestamp;

/// An offset and how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The copy's clock minus the reference's, µs.
    pub offset_us: i64,
    /// How far off that may be, either way, µs.
    pub within_us: i64,
    /// What it rests on.
    pub basis: Basis,
}

/// What an estimate rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Pictures found in both copies, so many times.
    Pictures(usize),
    /// What the recorders say of their clocks now.
    Clocks,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: i64| (us.saturating_add(us.signum() * 500)) / 1000;
        let within = self.within_us.saturating_add(999) / 1000;
        write!(f, "{:+} ms within {within} ms", ms(self.offset_us))?;
        match self.basis {
            Basis::Pictures(1) => write!(f, " by equal pictures"),
            Basis::Pictures(times) => write!(f, " by equal pictures, {times} times"),
            Basis::Clocks => write!(f, " by the recorders' clocks"),
        }
    }
}

/// Follows the offset of one copy from the reference copy of its camera.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    /// In the order measured.
    measures: VecDeque<Measure>,
    clocks: Option<Measure>,
}

#[derive(Clone, Copy, Debug)]
struct Measure {
    at: Timestamp,
    offset_us: i64,
    within_us: i64,
}

/// Measures that are kept; the oldest goes first.
const MEASURES_MAX: usize = 64;
/// Measures that an estimate is made of: those nearest in footage time.
const NEAREST: usize = 9;
/// Faster than any crystal drifts (500 ppm): what is further off stepped.
const DRIFT_PPM_MAX: i64 = 500;
/// Over less footage the jitter of stamps would pass for drift.
const DRIFT_SPAN_US: i64 = 600_000_000;
/// No stamp of a recorder is better than this: a frame interval of 50 frames a second.
const WITHIN_US_MIN: i64 = 20_000;
/// With a wider doubt an estimate is worth less than none.
const WITHIN_US_MAX: i64 = 2_000_000;

impl Skew {
    /// Nothing measured.
    pub const fn new() -> Self {
        Self {
            measures: VecDeque::new(),
            clocks: None,
        }
    }

    /// The two copies date the same pictures, captured around `at`, `offset_us` apart, within `within_us`.
    pub fn measured(&mut self, at: Timestamp, offset_us: i64, within_us: i64) {
        if self.measures.len() == MEASURES_MAX {
            self.measures.pop_front();
        }
        self.measures.push_back(Measure {
            at,
            offset_us,
            within_us: within_us.max(0),
        });
    }

    /// The recorders' clocks are `offset_us` apart at `now`, within `within`. That says something of footage being recorded
    /// now; `None` takes it back.
    pub fn clocks(&mut self, now: Timestamp, told: Option<(i64, Duration)>) {
        self.clocks = told.map(|(offset_us, within)| Measure {
            at: now,
            offset_us,
            within_us: i64::try_from(within.as_micros()).unwrap_or(i64::MAX),
        });
    }

    /// The offset for footage captured around `at`; `None` when nothing is known that is worth using.
    pub fn at(&self, at: Timestamp) -> Option<Estimate> {
        let by_pictures = self.by_pictures(at);
        let by_clocks = self.clocks.map(|told| Estimate {
            offset_us: told.offset_us,
            within_us: told
                .within_us
                .max(WITHIN_US_MIN)
                .saturating_add(drift(distance(told.at, at))),
            basis: Basis::Clocks,
        });
        by_pictures
            .into_iter()
            .chain(by_clocks)
            .filter(|estimate| estimate.within_us <= WITHIN_US_MAX)
            .min_by_key(|estimate| estimate.within_us)
    }

    fn by_pictures(&self, at: Timestamp) -> Option<Estimate> {
        let mut near: Vec<Measure> = self.measures.iter().copied().collect();
        near.sort_by_key(|measure| distance(measure.at, at));
        near.truncate(NEAREST);
        let slope = slope(&near);
        let moved = |measure: &Measure| {
            let since = at.micros_since(measure.at);
            measure
                .offset_us
                .saturating_add((slope * since as f64) as i64)
        };
        let mut offsets: Vec<i64> = near.iter().map(moved).collect();
        let offset_us = middle(&mut offsets)?;
        let mut errors: Vec<i64> = offsets
            .iter()
            .map(|offset| offset.saturating_sub(offset_us).saturating_abs())
            .collect();
        let spread_us = middle(&mut errors)?;
        // Those that agree bear witness; how near the nearest of them is decides how much may have changed since.
        let agrees = |measure: &&Measure| {
            moved(measure).saturating_sub(offset_us).saturating_abs()
                <= spread_us.saturating_mul(3).max(WITHIN_US_MIN)
        };
        let nearest = near
            .iter()
            .filter(agrees)
            .map(|measure| distance(measure.at, at))
            .min()?;
        let own = near
            .iter()
            .filter(agrees)
            .map(|measure| measure.within_us)
            .min()?;
        Some(Estimate {
            offset_us,
            within_us: WITHIN_US_MIN
                .max(own)
                .max(spread_us.saturating_mul(3))
                .saturating_add(drift(nearest)),
            basis: Basis::Pictures(near.iter().filter(agrees).count()),
        })
    }
}

/// The middle of the slopes between all pairs that are far enough apart (Theil and Sen): a few wild ones do not move it.
fn slope(measures: &[Measure]) -> f64 {
    let mut slopes: Vec<f64> = Vec::new();
    for (index, a) in measures.iter().enumerate() {
        for b in measures.iter().skip(index + 1) {
            let span_us = b.at.micros_since(a.at);
            if span_us.saturating_abs() >= DRIFT_SPAN_US {
                slopes.push((b.offset_us.saturating_sub(a.offset_us)) as f64 / span_us as f64);
            }
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let slope = slopes.get(slopes.len() / 2).copied().unwrap_or(0.0);
    let fastest = DRIFT_PPM_MAX as f64 * 1e-6;
    // What moves much faster has stepped; a little is the jitter of stamps.
    if slope.abs() > fastest * 2.0 {
        return 0.0;
    }
    slope.clamp(-fastest, fastest)
}

fn middle(values: &mut [i64]) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn distance(a: Timestamp, b: Timestamp) -> i64 {
    a.micros_since(b).saturating_abs()
}

fn drift(distance_us: i64) -> i64 {
    (distance_us / 1_000_000).saturating_mul(DRIFT_PPM_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: Timestamp = Timestamp::from_micros(1_767_268_800_000_000);

    fn at(seconds: i64) -> Timestamp {
        NOON.shift(seconds * 1_000_000)
    }

    #[test]
    fn nothing_measured_is_nothing_known() {
        assert_eq!(Skew::new().at(NOON), None);
    }

    #[test]
    fn one_measure_is_believed_near_its_instant() {
        let mut skew = Skew::new();
        skew.measured(at(0), 3_000_000, 0);
        let near = skew.at(at(2)).expect("known");
        assert_eq!((near.offset_us, near.within_us), (3_000_000, 21_000));
        assert_eq!(near.to_string(), "+3000 ms within 21 ms by equal pictures");
        // A day on it may have drifted by 43 s.
        assert_eq!(skew.at(at(86_400)), None);
    }

    #[test]
    fn the_recorders_clocks_do_until_pictures_tell_better() {
        let mut skew = Skew::new();
        let second = Duration::from_secs(1);
        skew.clocks(at(0), Some((2_400_000, second)));
        let coarse = skew.at(at(0)).expect("known");
        assert_eq!((coarse.offset_us, coarse.basis), (2_400_000, Basis::Clocks));
        skew.measured(at(-60), 3_000_000, 0);
        let fine = skew.at(at(0)).expect("known");
        assert_eq!(
            (fine.offset_us, fine.basis),
            (3_000_000, Basis::Pictures(1))
        );
        skew.clocks(at(0), None);
        assert_eq!(skew.at(at(86_400)), None);
    }

    #[test]
    fn a_step_is_followed_and_the_time_before_it_keeps_its_own() {
        // Over less footage than tells drift, and over more: the line through both would be steeper than any drift is.
        for every in [60, 300] {
            let mut skew = Skew::new();
            for nth in 0..10 {
                let offset_us = if nth < 5 { 3_000_000 } else { -200_000 };
                skew.measured(at(nth * every), offset_us, 0);
            }
            let offset = |seconds| skew.at(at(seconds)).map(|estimate| estimate.offset_us);
            for nth in [0, 1] {
                assert_eq!(offset(nth * every), Some(3_000_000), "each {every} s");
                assert_eq!(offset((9 - nth) * every), Some(-200_000), "each {every} s");
            }
        }
    }

    proptest! {
        /// Against the truth: offset and drift of a clock, measured with jitter and a few wild measures.
        #[test]
        fn slow_drift_is_followed_and_outliers_are_not(
            offset_us in -10_000_000i64..10_000_000,
            drift_ppm in -500i64..=500,
            jitter in prop::collection::vec(-5_000i64..=5_000, 40),
            wild in prop::collection::vec((0usize..8, -30_000_000i64..30_000_000), 0..4),
            every_s in 100i64..900,
        ) {
            let truth = |seconds: i64| offset_us + seconds * drift_ppm;
            let mut skew = Skew::new();
            for (index, jitter) in (0..).zip(&jitter) {
                let seconds = index * every_s;
                // No more than one in eight.
                let wild = wild.iter().find(|(slot, _)| *slot as i64 * 5 == index);
                let error = wild.map_or(*jitter, |(_, error)| *error);
                skew.measured(at(seconds), truth(seconds) + error, 0);
            }
            for seconds in [39 * every_s, 39 * every_s + 30, 20 * every_s] {
                let found = skew.at(at(seconds)).expect("measured");
                let error = (found.offset_us - truth(seconds)).abs();
                prop_assert!(error <= found.within_us, "{found} but {}", truth(seconds));
                prop_assert!(error <= 20_000 + every_s * 500, "{found} but {}", truth(seconds));
            }
        }

        #[test]
        fn any_numbers_are_survived(measures in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>()), 0..20), when: i64) {
            let mut skew = Skew::new();
            for (at, offset_us, within_us) in measures {
                skew.measured(Timestamp::from_micros(at), offset_us, within_us);
            }
            let _ = skew.at(Timestamp::from_micros(when));
        }
    }
}
