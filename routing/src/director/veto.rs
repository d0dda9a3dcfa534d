//! What one playback has learned against its copies: bars that grow, stretches that proved empty, formats that do not fit.

use std::time::{Duration, Instant};

use super::Failure;
use crate::camera::CopyIx;
use crate::coverage::{Coverage, Held};
use crate::plan::{CopyFacts, Direction};
use crate::time::{TimeRange, Timestamp};

/// First bar after a failure; doubles with each further one.
const BAR_FIRST: Duration = Duration::from_millis(500);
const BAR_MAX: Duration = Duration::from_secs(8);
/// Recorders lock accounts (CVE-2026-35902 and its like): no second try within minutes.
const BAR_CREDENTIALS: Duration = Duration::from_secs(300);
const BAR_WRONG_FOOTAGE: Duration = Duration::from_secs(60);
/// Separate empty stretches remembered of one copy. Beyond it those that playback has left behind are forgotten, and where that is
/// not enough, the one farthest ahead but for the latest: it proves empty again when it is reached.
const EMPTY_MAX: usize = 64;

#[derive(Debug)]
struct Veto {
    barred_until: Option<Instant>,
    /// When it failed last, in a way that says nothing of what it holds.
    lost_at: Option<Instant>,
    failures: u32,
    /// It proved to be of another format: all of it is useless.
    misfit: bool,
    /// Its windows, which hold no periods, are where the copy proved to hold nothing, whatever it lists.
    empty: Coverage,
    /// The same, for where it is known ahead to hold footage of another format.
    unfit: Coverage,
    /// Grows with each change of what was disproved; zero as long as there was none.
    revision: u32,
}

impl Veto {
    fn new() -> Self {
        Veto {
            barred_until: None,
            lost_at: None,
            failures: 0,
            misfit: false,
            empty: Coverage::unknown(),
            unfit: Coverage::unknown(),
            revision: 0,
        }
    }

    fn forget_behind(&mut self, at: Timestamp, direction: Direction) {
        let ahead = match direction {
            Direction::Forward => TimeRange::new(at, Timestamp::MAX),
            Direction::Reverse => TimeRange::new(Timestamp::MIN, at),
        };
        self.empty = ahead.map_or_else(Coverage::unknown, |ahead| self.empty.clip(ahead));
    }

    fn forget_farthest(&mut self, learned: TimeRange, direction: Direction) {
        let [first, .., last] = self.empty.windows() else {
            return;
        };
        let last_goes = match direction {
            Direction::Forward => !last.overlaps(learned),
            Direction::Reverse => first.overlaps(learned),
        };
        let kept = if last_goes {
            TimeRange::new(first.start(), last.start())
        } else {
            TimeRange::new(first.end(), last.end())
        };
        if let Some(kept) = kept {
            self.empty = self.empty.clip(kept);
        }
    }
}

/// One [`Veto`] a copy.
#[derive(Debug, Default)]
pub(super) struct Vetoes(Vec<Veto>);

impl Vetoes {
    pub(super) fn resize(&mut self, copies: usize) {
        if self.0.len() != copies {
            // A vector that grows by itself has room for four, and each playback has one.
            self.0.reserve_exact(copies.saturating_sub(self.0.len()));
            self.0.resize_with(copies, Veto::new);
        }
    }

    /// Differs from an earlier one after each change of what [`Vetoes::corrected`] answers.
    pub(super) fn revision(&self, ix: usize) -> u32 {
        self.0.get(ix).map_or(0, |veto| veto.revision)
    }

    /// What a copy holds by this playback's own experience; `None` when that says no more than `listed`.
    pub(super) fn corrected(&self, ix: usize, listed: &Coverage) -> Option<Coverage> {
        let veto = self.0.get(ix)?;
        if veto.misfit {
            return TimeRange::new(Timestamp::MIN, Timestamp::MAX)
                .map(|all| Coverage::new(all, [], Timestamp::MIN, false));
        }
        let admitted = |empty: &TimeRange| matches!(listed.held(empty.start()), Held::Gap { until } if until >= empty.end());
        let mut disproved = veto.empty.windows().iter().chain(veto.unfit.windows());
        let news = !disproved.all(admitted);
        let corrected = news.then(|| listed.merge(&veto.empty))?;
        Some(match veto.unfit.windows() {
            [] => corrected,
            _ => corrected.merge(&veto.unfit),
        })
    }

    pub(super) fn barred(&self, ix: usize, now: Instant) -> bool {
        self.0
            .get(ix)
            .and_then(|veto| veto.barred_until)
            .is_some_and(|until| until > now)
    }

    /// Whether a copy failed to answer within this time before `now`: it may be back soon, and is worth waiting for.
    pub(super) fn lost_within(&self, ix: usize, time: Duration, now: Instant) -> bool {
        let lost_at = self.0.get(ix).and_then(|veto| veto.lost_at);
        lost_at.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    /// When the first of the bars ends that last beyond `after`.
    pub(super) fn next_release(&self, after: Instant) -> Option<Instant> {
        self.0
            .iter()
            .filter_map(|veto| veto.barred_until)
            .filter(|until| *until > after)
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
                veto.revision = veto.revision.wrapping_add(1);
                return;
            }
            Failure::Credentials => BAR_CREDENTIALS,
            Failure::WrongFootage => BAR_WRONG_FOOTAGE,
            Failure::Lost | Failure::Busy | Failure::NoFootage => growing,
        };
        veto.lost_at = matches!(failure, Failure::Lost | Failure::Busy).then_some(now);
        veto.barred_until = Some(now + bar);
    }

    /// The copy played well: its next failure counts as the first.
    pub(super) fn served(&mut self, copy: CopyIx) {
        if let Some(veto) = self.0.get_mut(copy.index()) {
            veto.failures = 0;
            veto.lost_at = None;
        }
    }

    /// A failure proved to be none: the slow leg delivered after all.
    pub(super) fn forgive(&mut self, copy: CopyIx) {
        if let Some(veto) = self.0.get_mut(copy.index()) {
            veto.failures = veto.failures.saturating_sub(1);
            veto.barred_until = None;
            veto.lost_at = None;
        }
    }

    /// The copy holds nothing in `range`, whatever it lists. Playback goes on from `at`.
    pub(super) fn disproved(
        &mut self,
        copy: CopyIx,
        range: TimeRange,
        at: Timestamp,
        direction: Direction,
    ) {
        let Some(veto) = self.0.get_mut(copy.index()) else {
            return;
        };
        veto.empty.learn_gap(range);
        veto.revision = veto.revision.wrapping_add(1);
        if veto.empty.windows().len() > EMPTY_MAX {
            veto.forget_behind(at, direction);
        }
        if veto.empty.windows().len() > EMPTY_MAX {
            veto.forget_farthest(range, direction);
        }
    }

    /// The copy holds footage of another format in these stretches, and nothing that is of use.
    pub(super) fn unfit(&mut self, copy: CopyIx, ranges: impl IntoIterator<Item = TimeRange>) {
        let ix = copy.index();
        if self.0.len() <= ix {
            self.resize(ix + 1);
        }
        let Some(veto) = self.0.get_mut(ix) else {
            return;
        };
        let mut unfit = Coverage::unknown();
        for range in ranges {
            unfit.learn_gap(range);
        }
        if unfit.windows() != veto.unfit.windows() {
            veto.unfit = unfit;
            veto.revision = veto.revision.wrapping_add(1);
        }
    }

    /// A new play may ask again what an earlier one found empty.
    pub(super) fn forget_empty(&mut self) {
        for veto in self.0.iter_mut().filter(|veto| veto.revision > 0) {
            veto.empty = Coverage::unknown();
            veto.revision = veto.revision.wrapping_add(1);
        }
    }

    /// Whether a copy of another format holds footage at `at`, or from the picture on that comes `next`.
    pub(super) fn misfit_holds(
        &self,
        facts: &[CopyFacts<'_>],
        at: Timestamp,
        next: Timestamp,
    ) -> bool {
        let is_gap = |coverage: &Coverage, at| matches!(coverage.held(at), Held::Gap { .. });
        self.0.iter().zip(facts).any(|(veto, copy)| {
            let unfit = |at| is_gap(&veto.unfit, at) && !is_gap(copy.coverage, at);
            veto.misfit && !is_gap(copy.coverage, at) || unfit(at) || unfit(next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1_000)
    }

    fn seconds(from: i64, to: i64) -> TimeRange {
        TimeRange::new(second(from), second(to)).expect("in order")
    }

    fn empty(vetoes: &Vetoes) -> &[TimeRange] {
        vetoes.0.first().map_or(&[], |veto| veto.empty.windows())
    }

    fn disproved(ranges: impl IntoIterator<Item = TimeRange>, at: i64, way: Direction) -> Vetoes {
        let mut vetoes = Vetoes::default();
        vetoes.resize(1);
        for range in ranges {
            vetoes.disproved(CopyIx(0), range, second(at), way);
        }
        vetoes
    }

    #[test]
    fn empty_stretches_that_touch_are_one() {
        let ranges = [seconds(5, 6), seconds(1, 3), seconds(2, 5)];
        let vetoes = disproved(ranges, 0, Direction::Forward);
        assert_eq!(empty(&vetoes), [seconds(1, 6)]);
    }

    #[test]
    fn those_left_behind_are_forgotten_first_and_then_the_farthest() {
        let many = EMPTY_MAX as i64 + 1;
        let ranges = || (0..many).map(|ix| seconds(10 * ix, 10 * ix + 5));
        let ahead = disproved(ranges(), 25, Direction::Forward);
        assert_eq!(empty(&ahead).len(), EMPTY_MAX + 1 - 3);
        assert_eq!(empty(&ahead).first(), Some(&seconds(30, 35)));
        let mut nearest_last = ranges().rev().collect::<Vec<_>>();
        let all_ahead = disproved(nearest_last.clone(), -1, Direction::Forward);
        assert_eq!(empty(&all_ahead).len(), EMPTY_MAX);
        assert_eq!(empty(&all_ahead).first(), nearest_last.last());
        nearest_last.reverse();
        let reverse = disproved(nearest_last.clone(), 10 * many, Direction::Reverse);
        assert_eq!(empty(&reverse).len(), EMPTY_MAX);
        assert_eq!(empty(&reverse).last(), nearest_last.last());
    }

    #[test]
    fn the_latest_is_never_forgotten() {
        let ranges: Vec<_> = (0..200).map(|ix| seconds(10 * ix, 10 * ix + 5)).collect();
        let vetoes = disproved(ranges.iter().copied(), -1, Direction::Forward);
        assert_eq!(empty(&vetoes).len(), EMPTY_MAX);
        assert_eq!(empty(&vetoes).last(), ranges.last());
    }

    #[test]
    fn footage_of_another_format_is_of_no_use_and_yet_there() {
        let mut vetoes = Vetoes::default();
        vetoes.unfit(CopyIx(1), [seconds(4, 6)]);
        vetoes.resize(2);
        let listed = Coverage::new(seconds(0, 10), [seconds(0, 10)], Timestamp::MIN, false);
        let corrected = vetoes.corrected(1, &listed).expect("a correction");
        assert_eq!(corrected.periods(), [seconds(0, 4), seconds(6, 10)]);
        assert_eq!(vetoes.corrected(0, &listed), None);
        let facts = [&listed, &listed].map(|coverage| CopyFacts {
            coverage,
            health: crate::health::HealthState::Up,
            healthy_for: None,
            lists: true,
            barred: false,
        });
        assert!(vetoes.misfit_holds(&facts, second(5), second(5)));
        assert!(!vetoes.misfit_holds(&facts, second(7), second(8)));
        // It stays so for the next play, until something else is known.
        vetoes.forget_empty();
        assert!(vetoes.misfit_holds(&facts, second(5), second(5)));
        let before = vetoes.revision(1);
        vetoes.unfit(CopyIx(1), []);
        assert!(!vetoes.misfit_holds(&facts, second(5), second(5)) && vetoes.revision(1) != before);
    }

    #[test]
    fn a_copy_that_admits_its_gaps_needs_no_correction() {
        let vetoes = disproved([seconds(4, 6)], 0, Direction::Forward);
        let listed = |held| Coverage::new(seconds(0, 10), held, Timestamp::MIN, false);
        assert_eq!(vetoes.corrected(0, &listed(vec![seconds(0, 4)])), None);
        let corrected = vetoes.corrected(0, &listed(vec![seconds(0, 10)]));
        let periods = corrected.expect("a correction").periods().to_vec();
        assert_eq!(periods, [seconds(0, 4), seconds(6, 10)]);
    }
}
