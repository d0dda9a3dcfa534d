//! What one playback has learned against its copies: bars that grow, stretches that proved empty, formats that do not fit.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Failure;
use crate::camera::CopyIx;
use crate::coverage::{Coverage, Held};
use crate::plan::CopyFacts;
use crate::time::{TimeRange, Timestamp};

/// First bar after a failure; doubles with each further one.
const BAR_FIRST: Duration = Duration::from_millis(500);
const BAR_MAX: Duration = Duration::from_secs(8);
/// Recorders lock accounts (CVE-2026-35902 and its like): no second try within minutes.
const BAR_CREDENTIALS: Duration = Duration::from_secs(300);
const BAR_WRONG_FOOTAGE: Duration = Duration::from_secs(60);
/// Stretches remembered for one copy; beyond it neighbours are merged by forgetting the oldest.
const LIES_MAX: usize = 64;

#[derive(Debug, Default)]
struct Veto {
    barred_until: Option<Instant>,
    failures: u32,
    misfit: bool,
    empty: Vec<TimeRange>,
}

/// One [`Veto`] a copy.
#[derive(Debug, Default)]
pub(super) struct Vetoes(Vec<Veto>);

/// Coverages of the copies whose own answers this playback disproved.
pub(super) struct Overlay(SmallVec<[Option<Coverage>; 4]>);

impl Overlay {
    /// The facts as this playback sees them.
    pub(super) fn facts<'a>(
        &'a self,
        facts: &[CopyFacts<'a>],
        vetoes: &Vetoes,
        now: Instant,
    ) -> SmallVec<[CopyFacts<'a>; 4]> {
        facts
            .iter()
            .enumerate()
            .map(|(ix, copy)| CopyFacts {
                coverage: self
                    .0
                    .get(ix)
                    .and_then(Option::as_ref)
                    .unwrap_or(copy.coverage),
                barred: copy.barred || vetoes.barred(ix, now),
                ..*copy
            })
            .collect()
    }
}

impl Vetoes {
    pub(super) fn resize(&mut self, copies: usize) {
        if self.0.len() != copies {
            self.0.resize_with(copies, Veto::default);
        }
    }

    pub(super) fn overlay(&self, facts: &[CopyFacts<'_>]) -> Overlay {
        Overlay(
            self.0
                .iter()
                .zip(facts)
                .map(|(veto, copy)| {
                    if veto.misfit {
                        return TimeRange::new(Timestamp::MIN, Timestamp::MAX)
                            .map(|all| Coverage::new(all, [], Timestamp::MIN, false));
                    }
                    if veto.empty.is_empty() {
                        return None;
                    }
                    let mut coverage = copy.coverage.clone();
                    for range in &veto.empty {
                        coverage.learn_gap(*range);
                    }
                    Some(coverage)
                })
                .collect(),
        )
    }

    fn barred(&self, ix: usize, now: Instant) -> bool {
        self.0
            .get(ix)
            .and_then(|veto| veto.barred_until)
            .is_some_and(|until| until > now)
    }

    /// When the next bar ends.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.0
            .iter()
            .filter_map(|veto| veto.barred_until)
            .filter(|until| *until > now)
            .min()
    }

    pub(super) fn failed(&mut self, copy: CopyIx, failure: Failure, now: Instant) {
        let Some(veto) = self.0.get_mut(copy.index()) else {
            return;
        };
        veto.failures = veto.failures.saturating_add(1);
        let growing = BAR_FIRST
            .saturating_mul(1 << (veto.failures - 1).min(6))
            .min(BAR_MAX);
        let bar = match failure {
            Failure::Mismatch => {
                veto.misfit = true;
                return;
            }
            Failure::Credentials => BAR_CREDENTIALS,
            Failure::WrongFootage => BAR_WRONG_FOOTAGE,
            Failure::Lost | Failure::Busy | Failure::NoFootage => growing,
        };
        veto.barred_until = Some(now + bar);
    }

    /// The copy played well: its next failure counts as the first.
    pub(super) fn served(&mut self, copy: CopyIx) {
        if let Some(veto) = self.0.get_mut(copy.index()) {
            veto.failures = 0;
        }
    }

    /// A failure proved to be none: the slow leg delivered after all.
    pub(super) fn forgive(&mut self, copy: CopyIx) {
        if let Some(veto) = self.0.get_mut(copy.index()) {
            veto.failures = veto.failures.saturating_sub(1);
            veto.barred_until = None;
        }
    }

    /// The copy holds nothing in `range`, whatever it lists.
    pub(super) fn disproved(&mut self, copy: CopyIx, range: TimeRange) {
        let Some(veto) = self.0.get_mut(copy.index()) else {
            return;
        };
        if veto.empty.len() == LIES_MAX {
            veto.empty.remove(0);
        }
        veto.empty.push(range);
    }

    /// A new play may ask again what an earlier one found empty.
    pub(super) fn forget_lies(&mut self) {
        for veto in &mut self.0 {
            veto.empty.clear();
        }
    }

    /// Whether a copy of another format holds footage at `at`.
    pub(super) fn misfit_holds(&self, facts: &[CopyFacts<'_>], at: Timestamp) -> bool {
        self.0
            .iter()
            .zip(facts)
            .any(|(veto, copy)| veto.misfit && !matches!(copy.coverage.held(at), Held::Gap { .. }))
    }
}
