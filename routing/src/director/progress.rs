//! Progress along the direction of play, and how near is near.

use std::time::Duration;

use super::{Director, INTERVAL_RANGE_US, INTERVAL_US};
use crate::coverage::{Coverage, Held, HeldBefore};
use crate::plan::Direction;
use crate::time::Timestamp;

/// Units before the frame interval that their distances show is believed.
const CADENCE_UNITS_MIN: usize = 4;

/// The longest usual frame interval: five frames a second.
const INTERVAL_SLOW_US: i64 = 200_000;

/// What a listing says of the footage that comes next at some progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Recorded,
    Gap,
    Unknown,
}

impl Director {
    pub(super) fn listed(&self, coverage: &Coverage, at: i64) -> Listed {
        match self.request.direction {
            Direction::Forward => match coverage.held(self.time(at)) {
                Held::Recorded { .. } => Listed::Recorded,
                Held::Gap { .. } => Listed::Gap,
                Held::Unknown { .. } => Listed::Unknown,
            },
            Direction::Reverse => match coverage.held_before(self.time(at)) {
                HeldBefore::Recorded { .. } => Listed::Recorded,
                HeldBefore::Gap { .. } => Listed::Gap,
                HeldBefore::Unknown { .. } => Listed::Unknown,
            },
        }
    }

    /// Progress along the direction of play, µs: grows while playing, forward or in reverse.
    pub(super) fn progress(&self, at: Timestamp) -> i64 {
        match self.request.direction {
            Direction::Forward => at.as_micros(),
            Direction::Reverse => at.as_micros().saturating_neg(),
        }
    }

    pub(super) fn time(&self, progress: i64) -> Timestamp {
        match self.request.direction {
            Direction::Forward => Timestamp::from_micros(progress),
            Direction::Reverse if progress == i64::MAX => Timestamp::MIN,
            Direction::Reverse => Timestamp::from_micros(progress.saturating_neg()),
        }
    }

    fn knows_cadence(&self) -> bool {
        self.recent.len() >= CADENCE_UNITS_MIN
    }

    /// Two units closer than this are the same picture.
    pub(super) fn tolerance(&self) -> i64 {
        // Too long an interval would take the next picture for a repeated one: pictures may be missing from a first step.
        if !self.knows_cadence() {
            return self.interval_us.min(INTERVAL_US) / 2;
        }
        self.interval_us / 2
    }

    /// What a copy lists beyond the wanted progress holds no picture when it is shorter than this. A picture lies at the
    /// start of its frame interval: forward the rest of it is empty, in reverse it comes last.
    pub(super) fn sliver(&self) -> i64 {
        match self.request.direction {
            Direction::Forward => self.interval_us * 3 / 4,
            Direction::Reverse => self.interval_us / 4,
        }
    }

    /// A step in capture time above this may hide footage that another copy holds.
    pub(super) fn jump_min(&self) -> i64 {
        (self.policy.min_gap.as_micros() as i64)
            .max(self.interval_us * 5 / 2)
            .max(self.spacing_us)
    }

    /// A leg that begins later than this leaves out footage that another copy may hold. Where nothing was sent yet only the leg itself
    /// shows its cadence: each whole `step` may have been a picture.
    pub(super) fn late_min(&self, step: Option<Duration>) -> i64 {
        let (min, max) = INTERVAL_RANGE_US;
        let step = step.map(|step| step.as_micros() as i64);
        match step.filter(|step| (min..=max).contains(step)) {
            None => self.jump_min(),
            Some(step) => (self.policy.min_gap.as_micros() as i64)
                .max(step * 3 / 4)
                .max(self.spacing_us),
        }
    }

    /// Progress of the next unit that is wanted. What a start at a random access point sends before the asked instant is not.
    pub(super) fn wanted(&self) -> i64 {
        let asked = self.progress(self.request.at);
        let sent = self.last.map(|last| last.saturating_add(self.tolerance()));
        [sent, self.resume]
            .into_iter()
            .flatten()
            .fold(asked, i64::max)
    }

    /// What is left of the requested range is shorter than a frame.
    pub(super) fn range_done(&self) -> bool {
        let left = |until: Timestamp| self.progress(until).saturating_sub(self.wanted());
        self.last.is_some()
            && self
                .request
                .until
                .is_some_and(|until| left(until) < self.interval_us * 3 / 4)
    }

    /// The end of the requested range, if a unit at this progress is beyond it.
    pub(super) fn beyond_range(&self, at: i64) -> bool {
        self.request
            .until
            .is_some_and(|until| at >= self.progress(until))
    }

    /// Where a gap ends that the picture at a point of progress follows: in reverse, its frame interval comes before it.
    pub(super) fn gap_end(&self, picture: i64) -> i64 {
        match self.request.direction {
            Direction::Forward => picture,
            Direction::Reverse => picture.saturating_sub(self.interval_us),
        }
    }

    /// How much of a gap that ends at `gap_end` is certain: in reverse the frame interval after the picture behind it may
    /// be longer than what is known yet.
    pub(super) fn sure_gap_end(&self, gap_end: i64) -> i64 {
        match self.request.direction {
            Direction::Reverse if !self.knows_cadence() => {
                gap_end.saturating_sub((INTERVAL_SLOW_US - self.interval_us).max(0))
            }
            _ => gap_end,
        }
    }
}
