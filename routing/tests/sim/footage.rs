//! What a camera saw, and which of its pictures a copy holds.

use std::ops::Range;

use seamline_routing::plan::Direction;
use seamline_routing::time::{TimeRange, Timestamp};

use super::{MILLI, Micros};

/// The pictures of a camera, one every `interval_us`. Picture `0` was taken at `start`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) start: Timestamp,
    pub(crate) interval_us: i64,
    pub(crate) pictures: i64,
}

impl Scene {
    pub(crate) fn capture(&self, picture: i64) -> Timestamp {
        self.start.shift(picture * self.interval_us)
    }

    /// The picture taken at or last before an instant.
    pub(crate) fn picture(&self, at: Timestamp) -> i64 {
        at.micros_since(self.start).div_euclid(self.interval_us)
    }

    /// The first picture taken at or after an instant.
    pub(crate) fn picture_from(&self, at: Timestamp) -> i64 {
        self.picture(at.shift(self.interval_us - 1))
    }
}

/// Gaps of less are played over by any recorder.
const GAP_MIN: Micros = 600 * MILLI;

/// One copy's share of a scene.
#[derive(Clone, Debug)]
pub(crate) struct Footage {
    pub(crate) scene: Scene,
    /// What is left of the copy's clock error after its configured offset.
    pub(crate) skew_us: i64,
    /// Recorded pictures: sorted, with pictures between. Each section starts with a random access point.
    pub(crate) sections: Vec<Range<i64>>,
    /// Pictures lost within sections, too few to be listed as a gap.
    pub(crate) dropped: Vec<Range<i64>>,
    /// Pictures from one random access point to the next, and which of them is the first.
    pub(crate) group: i64,
    pub(crate) phase: i64,
}

impl Footage {
    pub(crate) fn whole(scene: Scene, group: i64, phase: i64) -> Self {
        Footage {
            scene,
            skew_us: 0,
            sections: Vec::from([Range {
                start: 0,
                end: scene.pictures,
            }]),
            dropped: Vec::new(),
            group,
            phase,
        }
    }

    /// Takes pictures out; what follows starts a new section.
    pub(crate) fn cut(&mut self, gap: Range<i64>) {
        self.sections = std::mem::take(&mut self.sections)
            .into_iter()
            .flat_map(|section| {
                [
                    section.start..section.end.min(gap.start),
                    section.start.max(gap.end)..section.end,
                ]
            })
            .filter(|section| !section.is_empty())
            .collect();
    }

    pub(crate) fn capture(&self, picture: i64) -> Timestamp {
        self.scene.capture(picture).shift(self.skew_us)
    }

    pub(crate) fn holds(&self, picture: i64) -> bool {
        let within = |ranges: &[Range<i64>]| ranges.iter().any(|range| range.contains(&picture));
        within(&self.sections) && (!within(&self.dropped) || self.random_access(picture))
    }

    pub(crate) fn random_access(&self, picture: i64) -> bool {
        let on_grid = (picture - self.phase).rem_euclid(self.group) == 0;
        on_grid || self.sections.iter().any(|section| section.start == picture)
    }

    /// Whether decoding can start at a picture, as it is played in a direction: in reverse only such pictures are sent.
    pub(crate) fn starts_decoding(&self, picture: i64, direction: Direction) -> bool {
        direction == Direction::Reverse || self.random_access(picture)
    }

    /// The picture after another in play order, and whether a gap between sections lies between that matters.
    pub(crate) fn following(&self, picture: i64, direction: Direction) -> Option<(i64, bool)> {
        let step = match direction {
            Direction::Forward => 1,
            Direction::Reverse => -1,
        };
        let mut at = picture + step;
        let mut gap = 0;
        while (0..self.scene.pictures).contains(&at) {
            if self.holds(at) {
                return Some((at, gap * self.scene.interval_us >= GAP_MIN));
            }
            gap += i64::from(!self.sections.iter().any(|section| section.contains(&at)));
            at += step;
        }
        None
    }

    /// Where a replay of `from` starts: the random access point at or before, in a gap the next section. Of pictures
    /// below `newest` only.
    pub(crate) fn start(&self, from: Timestamp, direction: Direction, newest: i64) -> Option<i64> {
        let asked = self.scene.picture(from.shift(-self.skew_us));
        match direction {
            Direction::Forward => {
                let section = self.sections.iter().find(|section| section.end > asked)?;
                let asked = asked.clamp(section.start, newest.max(section.start));
                (section.start..=asked)
                    .rev()
                    .find(|picture| self.random_access(*picture) && self.holds(*picture))
                    .filter(|picture| *picture <= newest)
            }
            Direction::Reverse => (0..=asked.min(newest))
                .rev()
                .find(|picture| self.holds(*picture)),
        }
    }

    /// What an honest recorder lists, up to but without picture `newest`.
    pub(crate) fn periods(&self, newest: i64) -> Vec<TimeRange> {
        self.sections
            .iter()
            .filter_map(|section| {
                TimeRange::new(
                    self.capture(section.start),
                    self.capture(section.end.min(newest)),
                )
            })
            .collect()
    }
}
