//! A set of instants as sorted ranges that neither overlap nor touch, and the algebra of such sets.

use std::ops::Deref;

use smallvec::SmallVec;

use crate::time::{TimeRange, Timestamp};

/// Sorted ranges with at least one instant between each and the next.
///
/// A single one lies here and nowhere else: windows are as a rule the whole of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(SmallVec<[TimeRange; 1]>);

impl Spans {
    /// From ranges in any order, overlapping or not.
    pub(super) fn from_any(ranges: impl IntoIterator<Item = TimeRange>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable_by_key(|range| range.start());
        Self::from_sorted(ranges)
    }

    /// From ranges sorted by their start.
    fn from_sorted(ranges: impl IntoIterator<Item = TimeRange>) -> Self {
        let mut merged: Vec<TimeRange> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start() <= last.end() => *last = join(*last, range),
                _ => merged.push(range),
            }
        }
        merged.into()
    }

    /// The index of the first range that ends after `at`: the one that holds `at`, or else the next. It may be near `guess`.
    pub(super) fn ending_after(&self, at: Timestamp, guess: usize) -> usize {
        self.rank(guess, |range| range.end() <= at)
    }

    /// The last range that starts before `at`: the one that holds the instant before `at`, or else the previous. It may be near
    /// `guess`.
    pub(super) fn starting_before(&self, at: Timestamp, guess: usize) -> Option<TimeRange> {
        let count = self.rank(guess, |range| range.start() < at);
        self.get(count.checked_sub(1)?).copied()
    }

    /// How many ranges lie `before` what is looked for; those that do come first.
    ///
    /// Of a camera that is seldom asked for nothing is in a cache, and each place looked at waits for memory: the search widens
    /// from `guess`.
    fn rank(&self, guess: usize, before: impl Fn(&TimeRange) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        let mut step = 1;
        if self.get(guess).is_some_and(&before) {
            low = guess + 1;
            while let Some(range) = self.get(low + step) {
                if !before(range) {
                    high = low + step;
                    break;
                }
                low += step + 1;
                step *= 2;
            }
        } else {
            high = guess;
            while let Some(ix) = high.checked_sub(step) {
                if self.get(ix).is_some_and(&before) {
                    low = ix + 1;
                    break;
                }
                high = ix;
                step *= 2;
            }
        }
        let within = self.get(low..high).unwrap_or_default();
        low + within.partition_point(before)
    }

    /// Whether every instant of `range` is in the set.
    pub(super) fn covers(&self, range: TimeRange) -> bool {
        self.get(self.ending_after(range.start(), 0))
            .is_some_and(|held| held.start() <= range.start() && range.end() <= held.end())
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        Self::from_sorted(std::iter::from_fn(|| match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a.start() <= b.start() => left.next().copied(),
            (Some(_), None) => left.next().copied(),
            _ => right.next().copied(),
        }))
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut shared = Vec::new();
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            shared.extend(a.intersect(**b));
            if a.end() <= b.end() {
                left.next();
            } else {
                right.next();
            }
        }
        shared.into()
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        self.intersection(&other.complement())
    }

    /// The instants before `end`.
    pub(super) fn before(&self, end: Timestamp) -> Self {
        let keep = TimeRange::new(Timestamp::MIN, end);
        let kept = self.iter().filter_map(|range| range.intersect(keep?));
        kept.collect::<Vec<_>>().into()
    }

    /// Moved by `micros`. Ends at [`Timestamp::MIN`] and [`Timestamp::MAX`] mean "open" and stay; what would be moved
    /// out of time is lost.
    pub(super) fn shift(&self, micros: i64) -> Self {
        let moved = |at: Timestamp| match at {
            Timestamp::MIN | Timestamp::MAX => at,
            _ => at.shift(micros),
        };
        let ranges = self.iter();
        ranges
            .filter_map(|range| TimeRange::new(moved(range.start()), moved(range.end())))
            .collect::<Vec<_>>()
            .into()
    }

    /// The set with the end of its last range moved, to no less than one instant.
    pub(super) fn ending(mut self, end: Timestamp) -> Self {
        if let Some(last) = self.0.last_mut() {
            *last = TimeRange::new(last.start(), end).unwrap_or(*last);
        }
        self
    }

    fn complement(&self) -> Self {
        let starts = std::iter::once(Timestamp::MIN).chain(self.iter().map(|range| range.end()));
        let ends = self
            .iter()
            .map(|range| range.start())
            .chain(std::iter::once(Timestamp::MAX));
        starts
            .zip(ends)
            .filter_map(|(start, end)| TimeRange::new(start, end))
            .collect::<Vec<_>>()
            .into()
    }
}

impl From<Vec<TimeRange>> for Spans {
    /// From ranges that are as they should be.
    fn from(ranges: Vec<TimeRange>) -> Self {
        let mut spans = SmallVec::from_vec(ranges);
        spans.shrink_to_fit();
        Self(spans)
    }
}

impl Deref for Spans {
    type Target = [TimeRange];

    fn deref(&self) -> &[TimeRange] {
        &self.0
    }
}

fn join(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange::new(a.start().min(b.start()), a.end().max(b.end())).unwrap_or(a)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coverage::marks::Marks;

    /// Ranges with gaps of all sizes between them: dense here, days apart there.
    fn spans() -> impl Strategy<Value = Spans> {
        let size = || (0_u32..34).prop_flat_map(|bits| 1..=(1_i64 << bits));
        prop::collection::vec((size(), size()), 0..200).prop_map(|sizes| {
            let mut at = -1_000_000_000_000;
            Spans::from_any(sizes.into_iter().filter_map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                TimeRange::new(Timestamp::from_micros(start), Timestamp::from_micros(at))
            }))
        })
    }

    proptest! {
        #[test]
        fn a_place_is_found_wherever_it_is_guessed(spans in spans(), nth in any::<prop::sample::Index>(), guess in any::<prop::sample::Index>(), off in -2_i64..3) {
            let edges: Vec<Timestamp> = spans.iter().flat_map(|range| [range.start(), range.end()]).collect();
            let any_edge = [Timestamp::MIN, Timestamp::EPOCH, Timestamp::MAX];
            let at = nth.get(&[edges.as_slice(), &any_edge].concat()).shift(off);
            let ended = spans.iter().filter(|range| range.end() <= at).count();
            let started = spans.iter().rfind(|range| range.start() < at).copied();
            for guess in [Marks::of(&spans).guess(at), guess.index(spans.len() + 2)] {
                prop_assert_eq!(spans.ending_after(at, guess), ended);
                prop_assert_eq!(spans.starting_before(at, guess), started);
            }
        }
    }
}
