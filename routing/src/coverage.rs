//! What a copy holds, as far as it is known.

use std::{hint::black_box, time::Duration};

use crate::time::{TimeRange, Timestamp};

mod marks;
mod spans;

use marks::Marks;
use spans::Spans;

/// What is known of an instant, and until when that is the whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Recorded, up to `until`; [`Timestamp::MAX`] while it is still being written.
    Recorded {
        /// The first instant that is not.
        until: Timestamp,
    },
    /// Known not to be recorded, up to `until`.
    Gap {
        /// The first instant that is recorded or unknown.
        until: Timestamp,
    },
    /// Never asked, or not answered: not a gap.
    Unknown {
        /// The first instant that is known; [`Timestamp::MAX`] when none is.
        until: Timestamp,
    },
}

/// [`Held`], looking back: what is known of the instant just before another, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBefore {
    /// Recorded, from `since`.
    Recorded {
        /// The first instant of the period.
        since: Timestamp,
    },
    /// Known not to be recorded, from `since`.
    Gap {
        /// The first instant of the gap, as far as it is known.
        since: Timestamp,
    },
    /// Never asked, or not answered.
    Unknown {
        /// The first instant after the last known one; [`Timestamp::MIN`] when there is none.
        since: Timestamp,
    },
}

/// What a copy is known to hold: recorded periods, the windows for which that is known, when it was learned, and
/// whether the last period is still being written.
///
/// Times are UTC, corrected for the copy's clock offset ([`Coverage::shift`]). The end of a growing copy is open: it
/// answers `Recorded` for the whole future, so callers limit what they ask for to the present. Listings that were asked
/// without an end and found nothing being written should say so with a window that ends at [`Timestamp::MAX`]; for the
/// time after any other window the answer is `Unknown`, which is worth a try and not a gap.
///
/// Look-ups take logarithmic time and allocate nothing. What they read lies together, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Coverage {
    growing: bool,
    /// Holds all periods. Ends with the last one when that is growing.
    known: Spans,
    periods: Spans,
    /// Of the periods.
    marks: Marks,
    learned: Timestamp,
}

impl Coverage {
    /// Nothing is known.
    pub fn unknown() -> Self {
        Self::of(Spans::default(), Spans::default(), Timestamp::MIN, false)
    }

    /// The answer to a question about `window`, learned at `learned` by the wall clock.
    ///
    /// Periods may come in any order, overlap, and reach out of the window: where they do, they are believed. `growing`
    /// says that the one that ends last is still being written; without periods it has no meaning.
    pub fn new(
        window: TimeRange,
        periods: impl IntoIterator<Item = TimeRange>,
        learned: Timestamp,
        growing: bool,
    ) -> Self {
        Self::of_windows([window], periods, learned, growing)
    }

    /// As [`Coverage::new`], where the answer is about several windows and what lies between them is unknown.
    pub fn of_windows(
        windows: impl IntoIterator<Item = TimeRange>,
        periods: impl IntoIterator<Item = TimeRange>,
        learned: Timestamp,
        growing: bool,
    ) -> Self {
        let periods = Spans::from_any(periods);
        let known = Spans::from_any(windows).union(&periods);
        let growing = growing && !periods.is_empty();
        let written = periods.last().map_or(Timestamp::MAX, |last| last.end());
        let known = if growing {
            known.before(written)
        } else {
            known
        };
        Self::of(periods, known, learned, growing)
    }

    /// What is known of the instant `at`.
    pub fn held(&self, at: Timestamp) -> Held {
        let next = match self.ending_after(at) {
            Some(period) if period.start() <= at => {
                let open = self.growing && period.end() == self.written();
                return Held::Recorded {
                    until: if open { Timestamp::MAX } else { period.end() },
                };
            }
            None if self.growing => {
                return Held::Recorded {
                    until: Timestamp::MAX,
                };
            }
            Some(period) => period.start(),
            None => Timestamp::MAX,
        };
        match self.known.get(self.known.ending_after(at, 0)) {
            Some(window) if window.start() <= at => Held::Gap {
                until: next.min(window.end()),
            },
            Some(window) => Held::Unknown {
                until: window.start(),
            },
            None => Held::Unknown {
                until: Timestamp::MAX,
            },
        }
    }

    /// Has what [`Coverage::held`] will read fetched from memory, without waiting for it: of several copies at once.
    pub(crate) fn fetch(&self, at: Timestamp) {
        let guessed = self.periods.get(self.marks.guess(at));
        black_box(guessed.map(|period| period.start()));
    }

    /// What is known of the instant just before `at`. Nothing is known before [`Timestamp::MIN`].
    pub fn held_before(&self, at: Timestamp) -> HeldBefore {
        let previous = match self.starting_before(at) {
            Some(period) if at <= period.end() || self.is_tail(period) => {
                return HeldBefore::Recorded {
                    since: period.start(),
                };
            }
            Some(period) => period.end(),
            None => Timestamp::MIN,
        };
        match self.known.starting_before(at, 0) {
            Some(window) if at <= window.end() => HeldBefore::Gap {
                since: previous.max(window.start()),
            },
            Some(window) => HeldBefore::Unknown {
                since: window.end(),
            },
            None => HeldBefore::Unknown {
                since: Timestamp::MIN,
            },
        }
    }

    /// The first recorded instant at or after `at`.
    pub fn next_start(&self, at: Timestamp) -> Option<Timestamp> {
        match self.ending_after(at) {
            Some(period) => Some(period.start().max(at)),
            None => self.growing.then_some(at),
        }
    }

    /// The end, at or before `at`, of the last recorded stretch before it: `at` itself when the instant before is recorded.
    pub fn previous_end(&self, at: Timestamp) -> Option<Timestamp> {
        let period = self.starting_before(at)?;
        Some(if self.is_tail(period) {
            at
        } else {
            period.end().min(at)
        })
    }

    /// The recorded periods, sorted, with time between them. A growing one ends where it was last seen.
    pub fn periods(&self) -> &[TimeRange] {
        &self.periods
    }

    /// The stretches for which it is known what is recorded, sorted, with time between them; all periods lie in them.
    pub fn windows(&self) -> &[TimeRange] {
        &self.known
    }

    /// Whether the last period is still being written.
    pub fn growing(&self) -> bool {
        self.growing
    }

    /// When this was learned, by the wall clock; [`Timestamp::MIN`] for never.
    pub fn learned(&self) -> Timestamp {
        self.learned
    }

    /// How long ago this was learned; zero when `now` is earlier, since wall clocks step.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.learned)
    }

    /// The first recorded instant.
    pub fn first(&self) -> Option<Timestamp> {
        self.periods.first().map(|period| period.start())
    }

    /// The end of the last period; of a growing one, where it was last seen.
    pub fn last(&self) -> Option<Timestamp> {
        self.periods.last().map(|period| period.end())
    }

    /// What two copies hold together: recorded where one is, a gap where both are, else unknown.
    ///
    /// As fresh as the older of the two.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let periods = self.open_periods().union(&other.open_periods());
        let known = self
            .open_known()
            .intersection(&other.open_known())
            .union(&periods);
        let growing = self.growing || other.growing;
        let written = self.written().max(other.written());
        Self::from_open(
            periods,
            known,
            growing.then_some(written),
            self.learned.min(other.learned),
        )
    }

    /// What this copy holds and the other does not: recorded where this is and the other is a gap, a gap where this is
    /// one or the other is recorded, else unknown.
    ///
    /// As fresh as the older of the two.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let (recorded, others) = (self.open_periods(), other.open_periods());
        let periods = recorded.intersection(&other.open_known().difference(&others));
        let known = self
            .open_known()
            .difference(&recorded)
            .union(&others)
            .union(&periods);
        let written = self.growing.then_some(self.written());
        Self::from_open(periods, known, written, self.learned.min(other.learned))
    }

    /// Both together, where `newer` is right about everything it knows.
    ///
    /// A growing end stays open unless `newer` has a gap at the last instant that was seen written, or later.
    #[must_use]
    pub fn merge(&self, newer: &Self) -> Self {
        let (newer_periods, newer_known) = (newer.open_periods(), newer.open_known());
        let (mut periods, mut known) = (self.open_periods(), self.open_known());
        let mut written = self.growing.then_some(self.written());
        if let Some(seen) = written {
            let gaps = newer_known.difference(&newer_periods);
            if let Some(gap) = gaps.get(gaps.ending_after(seen.shift(-1), 0)) {
                let stop = gap.start();
                (periods, known) = (periods.before(stop), known.before(stop));
                written = None;
            }
        }
        if newer.growing {
            written = Some(newer.written());
        } else if let Some(seen) = written {
            // The open end may swallow periods of `newer` that were seen further on.
            written = Some(newer.last().map_or(seen, |last| last.max(seen)));
        }
        let periods = periods.difference(&newer_known).union(&newer_periods);
        let known = known.union(&newer_known);
        Self::from_open(periods, known, written, self.learned.max(newer.learned))
    }

    /// Teaches that the whole of `range` is recorded, as its frames have shown. Leaves [`Coverage::learned`] alone.
    pub fn learn_recorded(&mut self, range: TimeRange) {
        if !self.periods.covers(range) {
            *self = self.merge(&Self::new(range, [range], Timestamp::MIN, false));
        }
    }

    /// Teaches that nothing in `range` is recorded, as a refusal or a jump has shown. Leaves [`Coverage::learned`] alone.
    ///
    /// Ends the growth of a period that was not seen written beyond the range.
    pub fn learn_gap(&mut self, range: TimeRange) {
        *self = self.merge(&Self::new(range, [], Timestamp::MIN, false));
    }

    /// Moved by a signed number of microseconds, to correct for a recorder's clock. Open ends stay open;
    /// [`Coverage::learned`] is our own clock's and stays.
    #[must_use]
    pub fn shift(&self, micros: i64) -> Self {
        let (periods, known) = (self.periods.shift(micros), self.known.shift(micros));
        let growing = self.growing && periods.len() == self.periods.len();
        Self::of(periods, known, self.learned, growing)
    }

    /// Only what lies in `range`; the rest is unknown. A growing end stays open when `range` ends later than where it
    /// was last seen.
    #[must_use]
    pub fn clip(&self, range: TimeRange) -> Self {
        let range_spans = Spans::from_any([range]);
        let periods = self.open_periods().intersection(&range_spans);
        let known = self.open_known().intersection(&range_spans);
        if self.growing && self.written() < range.end() && !periods.is_empty() {
            let written = self.written();
            let open = periods.ending(Timestamp::MAX);
            return Self::from_open(open, known, Some(written), self.learned);
        }
        Self::from_open(periods, known, None, self.learned)
    }

    /// With the gaps filled that are shorter than `shortest` and lie between recorded periods, as recorders leave them
    /// between their files. Looking far ahead is quicker in what this returns.
    #[must_use]
    pub fn bridge(&self, shortest: Duration) -> Self {
        let gaps = self.periods.iter().zip(self.periods.iter().skip(1));
        let filled = gaps
            .filter_map(|(before, after)| TimeRange::new(before.end(), after.start()))
            .filter(|gap| gap.duration() < shortest && self.known.covers(*gap));
        let periods = Spans::from_any(filled).union(&self.periods);
        Self::of(periods, self.known.clone(), self.learned, self.growing)
    }

    /// From sets in which a growing period ends at [`Timestamp::MAX`], and where it was last seen written.
    fn from_open(
        periods: Spans,
        known: Spans,
        written: Option<Timestamp>,
        learned: Timestamp,
    ) -> Self {
        match (written, periods.last()) {
            (Some(written), Some(tail)) if tail.end() == Timestamp::MAX => {
                let written = written.max(tail.start() + Duration::from_micros(1));
                let (periods, known) = (periods.ending(written), known.before(written));
                Self::of(periods, known, learned, true)
            }
            _ => Self::of(periods, known, learned, false),
        }
    }

    fn of(periods: Spans, known: Spans, learned: Timestamp, growing: bool) -> Self {
        Self {
            growing,
            known,
            marks: Marks::of(&periods),
            periods,
            learned,
        }
    }

    /// The first period that ends after `at`.
    fn ending_after(&self, at: Timestamp) -> Option<TimeRange> {
        let ix = self.periods.ending_after(at, self.marks.guess(at));
        self.periods.get(ix).copied()
    }

    /// The last period that starts before `at`.
    fn starting_before(&self, at: Timestamp) -> Option<TimeRange> {
        self.periods.starting_before(at, self.marks.guess(at))
    }

    fn open_periods(&self) -> Spans {
        let periods = self.periods.clone();
        if self.growing {
            periods.ending(Timestamp::MAX)
        } else {
            periods
        }
    }

    fn open_known(&self) -> Spans {
        let known = self.known.clone();
        if self.growing {
            known.ending(Timestamp::MAX)
        } else {
            known
        }
    }

    /// Where the last period was last seen to end; before everything when there is none.
    fn written(&self) -> Timestamp {
        self.last().unwrap_or(Timestamp::MIN)
    }

    fn is_tail(&self, period: TimeRange) -> bool {
        self.growing && period.end() == self.written()
    }
}
