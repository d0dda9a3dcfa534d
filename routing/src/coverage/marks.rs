//! Where among periods an instant lies, as nearly as a few numbers can tell.

use crate::time::{TimeRange, Timestamp};

/// The time from the first start to the last in equal parts, and how many periods start before each: within a part they are
/// spread evenly enough to guess a place. A look-up waits for these numbers, which lie together, and then as a rule for the one
/// line of memory that it looks for.
#[derive(Clone, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct Marks {
    /// The first start.
    from: i64,
    /// Parts a microsecond.
    scale: f64,
    starting: [u32; PARTS + 1],
}

// `scale` is a number.
impl Eq for Marks {}

impl Marks {
    /// Of sorted ranges.
    pub(super) fn of(ranges: &[TimeRange]) -> Self {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
            return Self::default();
        };
        let micros = |at: Timestamp| at.as_micros() as f64;
        let span = micros(last.start()) - micros(first.start());
        if span <= 0.0 {
            return Self::default();
        }
        let mut marks = Self {
            from: first.start().as_micros(),
            scale: PARTS as f64 / span,
            starting: [ranges.len() as u32; PARTS + 1],
        };
        let mut unmarked = 0;
        for (rank, range) in ranges.iter().enumerate() {
            let part = marks.place(range.start()) as usize;
            for mark in marks.starting.iter_mut().take(part + 1).skip(unmarked) {
                *mark = rank as u32;
            }
            unmarked = unmarked.max(part + 1);
        }
        marks
    }

    /// The index of the last range that starts before `at`, or of one near it; 0 without any.
    pub(super) fn guess(&self, at: Timestamp) -> usize {
        let place = self.place(at);
        let part = (place as usize).min(PARTS - 1);
        let (Some(from), Some(to)) = (self.starting.get(part), self.starting.get(part + 1)) else {
            return 0;
        };
        let (from, to) = (f64::from(*from), f64::from(*to));
        let started = from + (to - from) * (place - part as f64);
        (started - 0.5) as usize
    }

    /// In which part an instant lies, and where in it.
    fn place(&self, at: Timestamp) -> f64 {
        let since = at.as_micros().saturating_sub(self.from) as f64;
        (since * self.scale).clamp(0.0, PARTS as f64)
    }
}

/// With its end two lines of memory.
const PARTS: usize = 31;

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is far off would still be found, and only cost more: nothing else would tell.
    #[test]
    fn a_guess_is_near_where_recording_is_uneven() {
        let mut at = 0;
        let periods: Vec<_> = (0..1_000_i64)
            .filter_map(|number| {
                // Busy days and quiet nights, no two periods alike.
                let busy = number / 100 % 2;
                at += 60_000_000 * (1 + 9 * busy) + number * 7_919 % 60 * 1_000_000;
                TimeRange::new(
                    Timestamp::from_micros(at),
                    Timestamp::from_micros(at + 30_000_000),
                )
            })
            .collect();
        let marks = Marks::of(&periods);
        let off = |(ix, period): (usize, &TimeRange)| marks.guess(period.start()).abs_diff(ix);
        let off: usize = periods.iter().enumerate().map(off).sum();
        // By the first start and the last alone it would be 37.
        assert!(off <= 8 * periods.len(), "{off} of all");
    }
}
