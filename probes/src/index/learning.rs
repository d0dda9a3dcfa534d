//! What a copy's coverage is made of: its listings, and what playbacks have seen.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use seamline_routing::{Coverage, TimeRange, Timestamp};

/// What a playback has seen of a copy. Times are true ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// Its frames have come without a break. Told every few seconds, not for each frame.
    Recorded(TimeRange),
    /// Its frames have jumped over this, or the recorder has marked it.
    Gap(TimeRange),
    /// It has refused to play from here, or has sent nothing, or other footage.
    Refused {
        /// Where it was asked to.
        at: Timestamp,
    },
    /// Its footage has ended here, for now.
    End {
        /// Behind the last frame.
        at: Timestamp,
    },
}

/// Listings and lessons of one copy.
#[derive(Debug, Clone)]
pub(super) struct Learning {
    /// What was listed, or seen of a copy whose recorder lists.
    base: Coverage,
    /// What was seen of one whose recorder does not: no listing will ever say that it was deleted. Lately, and before that.
    seen: [Coverage; 2],
    /// When what was seen lately is no longer that.
    turns: Option<Instant>,
    /// What is doubted for a while: a listing that says otherwise does not change that, or each
    /// refresh would send playbacks back to footage that is not there.
    doubts: VecDeque<Doubt>,
}

#[derive(Debug, Clone, Copy)]
struct Doubt {
    range: TimeRange,
    until: Instant,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            base: Coverage::unknown(),
            seen: [Coverage::unknown(), Coverage::unknown()],
            turns: None,
            doubts: VecDeque::new(),
        }
    }
}

impl Learning {
    /// Takes in a listing, in true time.
    pub(super) fn listed(&mut self, listing: &Coverage, now: Instant) {
        self.base = self.base.merge(listing);
        self.sweep(now);
    }

    /// Takes in a lesson. `lists` says whether the copy's recorder can list.
    pub(super) fn teach(&mut self, lesson: Lesson, lists: bool, now: Instant) {
        self.sweep(now);
        let doubted = if lists { DOUBT_LISTED } else { DOUBT_LEARNED };
        match lesson {
            Lesson::Recorded(range) => {
                if lists {
                    self.base.learn_recorded(range);
                } else {
                    self.seen[0].learn_recorded(range);
                    self.turns.get_or_insert(now + SEEN_KEPT);
                }
                self.doubts.retain(|doubt| !doubt.range.overlaps(range));
                self.bound();
            }
            Lesson::Gap(range) => self.doubt(Some(range), doubted, now),
            Lesson::Refused { at } => {
                self.doubt(TimeRange::new(at, at + REFUSED), doubted, now);
            }
            Lesson::End { at } => {
                self.doubt(TimeRange::new(at, Timestamp::MAX), DOUBT_END, now);
            }
        }
    }

    /// What planning is to know.
    pub(super) fn coverage(&self) -> Coverage {
        let mut coverage = self.base.clone();
        for period in self.seen.iter().rev().flat_map(Coverage::periods) {
            coverage.learn_recorded(*period);
        }
        for doubt in &self.doubts {
            coverage.learn_gap(doubt.range);
        }
        coverage
    }

    /// Whether [`Learning::sweep`] would change something.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.doubts.iter().any(|doubt| doubt.until <= now)
            || self.turns.is_some_and(|turns| turns <= now)
    }

    /// Forgets doubts whose time is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.doubts.retain(|doubt| now < doubt.until);
        if self.turns.is_some_and(|turns| turns <= now) {
            let lately = std::mem::replace(&mut self.seen[0], Coverage::unknown());
            self.turns = (!lately.periods().is_empty()).then_some(now + SEEN_KEPT);
            self.seen[1] = lately;
        }
    }

    fn doubt(&mut self, range: Option<TimeRange>, lasting: Duration, now: Instant) {
        let Some(range) = range else { return };
        self.doubts.retain(|doubt| doubt.range != range);
        if self.doubts.len() >= DOUBTS_MAX {
            self.doubts.pop_front();
        }
        let until = now + lasting;
        self.doubts.push_back(Doubt { range, until });
    }

    /// A client that seeks about for days must not make one copy's coverage grow without end.
    fn bound(&mut self) {
        for kept in [&mut self.base, &mut self.seen[0]] {
            if let Some(keep) = kept
                .periods()
                .len()
                .checked_sub(PERIODS_MAX)
                .and_then(|over| kept.periods().get(over + PERIODS_MAX / 4))
                && let Some(recent) = TimeRange::new(keep.start(), Timestamp::MAX)
            {
                *kept = kept.clip(recent);
            }
        }
    }
}

/// How long what was seen of a copy whose recorder lists nothing is believed at least; at most twice as long.
const SEEN_KEPT: Duration = Duration::from_secs(3_600);
/// How long a listing is doubted where a playback has found otherwise.
const DOUBT_LISTED: Duration = Duration::from_secs(60);
/// How long a gap is believed that no listing can confirm: it may be filled by a late upload.
const DOUBT_LEARNED: Duration = Duration::from_secs(600);
/// How long the end of footage is believed to be the end: it may grow.
const DOUBT_END: Duration = Duration::from_secs(5);
/// How much a refusal says nothing about more than.
const REFUSED: Duration = Duration::from_secs(10);
const DOUBTS_MAX: usize = 64;
const PERIODS_MAX: usize = 100_000;
