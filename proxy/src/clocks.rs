//! What is known of the clocks of a camera's copies besides the offsets that are configured.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use seamline_probes::Slot;
use seamline_routing::policy::{ClockSkew, Policy};
use seamline_routing::skew::{Basis, Estimate, Skew};
use seamline_routing::{CopyIx, Timestamp};

use crate::clock;

/// One skew a copy, against the first copy, on top of what is configured for both. Shared by all playbacks of the camera.
#[derive(Debug)]
pub struct CopyClocks {
    skews: Mutex<Vec<Skew>>,
    asked: Mutex<Option<Instant>>,
}

/// How often recorders are asked what time they have.
const ASK_EVERY: Duration = Duration::from_secs(600);

impl CopyClocks {
    /// Nothing known of so many copies.
    pub fn new(copies: usize) -> Arc<Self> {
        Arc::new(CopyClocks {
            skews: Mutex::new(vec![Skew::new(); copies]),
            asked: Mutex::new(None),
        })
    }

    /// Pictures captured around `at` are dated `offset_us` later by `copy` than by `against`, within `within_us`.
    pub fn measured(
        &self,
        copy: CopyIx,
        against: CopyIx,
        at: Timestamp,
        offset_us: i64,
        within_us: i64,
    ) {
        let mut skews = self.skews();
        let known = |skews: &[Skew], copy: CopyIx| match copy.index() {
            0 => Some(0),
            index => Some(skews.get(index)?.at(at)?.offset_us),
        };
        let (target, offset_us) = match (copy.index(), against.index()) {
            (copy, against) if copy == against => return,
            (0, against) => (against, offset_us.saturating_neg()),
            (copy, 0) => (copy, offset_us),
            (index, _) if known(&skews, against).is_some() => {
                let base = known(&skews, against).unwrap_or(0);
                (index, base.saturating_add(offset_us))
            }
            (_, index) => match known(&skews, copy) {
                Some(base) => (index, base.saturating_sub(offset_us)),
                None => return,
            },
        };
        if let Some(skew) = skews.get_mut(target) {
            skew.measured(at, offset_us, within_us);
        }
    }

    /// What a copy's clock is ahead of the first copy's for footage of `at`.
    pub fn estimate(&self, copy: CopyIx, at: Timestamp) -> Option<Estimate> {
        self.skews().get(copy.index())?.at(at)
    }

    /// What of it counts by this policy, µs.
    pub fn in_use(&self, copy: CopyIx, at: Timestamp, policy: &Policy) -> i64 {
        if policy.clock_skew == ClockSkew::Configured {
            return 0;
        }
        let estimate = self.estimate(copy, at);
        estimate
            .filter(|estimate| is_usable(estimate, policy))
            .map_or(0, |estimate| estimate.offset_us)
    }

    /// Asks the recorders what time they have, in the background and not too often.
    pub fn ask(self: &Arc<Self>, slot: &Arc<Slot>, now: Instant) {
        let copies = slot.camera().copies.len();
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let recently = asked.is_some_and(|at| now.saturating_duration_since(at) < ASK_EVERY);
            if copies < 2 || recently {
                return;
            }
            *asked = Some(now);
        }
        let (clocks, slot) = (Arc::clone(self), Arc::clone(slot));
        tokio::spawn(async move { clocks.ask_now(&slot).await });
    }

    /// Asks the recorders what time they have.
    pub async fn ask_now(&self, slot: &Slot) {
        let questions = slot.camera().copies().map(|(copy, _)| async move {
            slot.recorder(copy)?.clock_offset().await.ok().flatten()
        });
        let told = join_all(questions).await;
        let now = clock::wall();
        let Some(first) = told.first().copied().flatten() else {
            return;
        };
        for (copy, skew) in slot
            .camera()
            .copies
            .iter()
            .zip(self.skews().iter_mut())
            .zip(&told)
            .skip(1)
            .map(|((copy, skew), told)| ((copy, told), skew))
        {
            let (reference, told) = copy;
            let configured = reference.clock_offset_us
                - slot
                    .camera()
                    .copies
                    .first()
                    .map_or(0, |copy| copy.clock_offset_us);
            skew.clocks(
                now,
                told.map(|told| {
                    let apart = told.micros.saturating_sub(first.micros);
                    (
                        apart.saturating_sub(configured),
                        told.uncertainty + first.uncertainty,
                    )
                }),
            );
        }
    }

    fn skews(&self) -> MutexGuard<'_, Vec<Skew>> {
        self.skews.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an offset is small enough for this policy, and sure enough to be better than none.
pub fn is_usable(estimate: &Estimate, policy: &Policy) -> bool {
    let max_us = i64::try_from(policy.max_skew.as_micros()).unwrap_or(i64::MAX);
    let size_us = estimate.offset_us.saturating_abs();
    let sure = match estimate.basis {
        Basis::Pictures(_) => size_us > estimate.within_us / 2,
        Basis::Clocks => size_us > estimate.within_us.saturating_mul(2),
    };
    size_us <= max_us && sure
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_767_268_800_000_000);

    fn offsets(clocks: &CopyClocks) -> Vec<Option<i64>> {
        (0..3)
            .map(|copy| {
                clocks
                    .estimate(CopyIx(copy), AT)
                    .map(|known| known.offset_us)
            })
            .collect()
    }

    #[test]
    fn all_are_told_against_the_first() {
        let clocks = CopyClocks::new(3);
        // Nothing to hang it on yet.
        clocks.measured(CopyIx(2), CopyIx(1), AT, 500_000, 0);
        assert_eq!(offsets(&clocks), [None, None, None]);
        clocks.measured(CopyIx(0), CopyIx(1), AT, -3_000_000, 0);
        assert_eq!(offsets(&clocks), [None, Some(3_000_000), None]);
        clocks.measured(CopyIx(1), CopyIx(2), AT, -500_000, 0);
        assert_eq!(offsets(&clocks), [None, Some(3_000_000), Some(3_500_000)]);
    }

    #[test]
    fn what_is_measured_counts_when_the_policy_says_so() {
        let clocks = CopyClocks::new(2);
        clocks.measured(CopyIx(1), CopyIx(0), AT, 3_000_000, 0);
        let mut policy = Policy::default();
        assert_eq!(clocks.in_use(CopyIx(1), AT, &policy), 0);
        policy.clock_skew = ClockSkew::Measured;
        assert_eq!(clocks.in_use(CopyIx(1), AT, &policy), 0, "beyond max_skew");
        policy.max_skew = Duration::from_secs(5);
        assert_eq!(clocks.in_use(CopyIx(1), AT, &policy), 3_000_000);
        assert_eq!(clocks.in_use(CopyIx(0), AT, &policy), 0);
    }
}
