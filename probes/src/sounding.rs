//! What a copy holds, made of the pictures that a play of it shows: for recorders that do not list it. Pure: capture times in,
//! stretches out.

use std::time::Duration;

use seamline_routing::{TimeRange, Timestamp, plan::Direction};

/// What is found out between two pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sounded {
    /// They follow each other as the others do.
    Whole(TimeRange),
    /// Nothing lies between them.
    Gap(TimeRange),
    /// More time lies between them than is usual; as only key frames were shown, there may be pictures.
    Doubt(TimeRange),
}

/// A way through a copy's footage, from picture to picture.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Where the latest play was asked to start, until its first picture came.
    asked: Option<Timestamp>,
    /// The steps that wait until the usual one is known.
    waiting: Vec<(Timestamp, Timestamp)>,
    /// The longest step that is no gap.
    usual: Option<Duration>,
    min_gap: Duration,
    last: Option<Timestamp>,
}

impl Walk {
    /// Begins with a play that is asked to start at `from`. Holes below `min_gap` do not matter.
    pub fn new(from: Timestamp, min_gap: Duration) -> Self {
        Self {
            asked: Some(from),
            waiting: Vec::new(),
            usual: None,
            min_gap,
            last: None,
        }
    }

    /// Goes on with another play. What lies between the latest picture and its first one is looked at, too.
    pub fn again(&mut self, from: Timestamp) {
        self.asked = Some(self.last.unwrap_or(from));
    }

    /// Goes on with another play, which is asked to start at a picture that was seen.
    pub fn behind(&mut self, picture: Timestamp) {
        self.asked = None;
        self.last = Some(picture);
    }

    /// The latest picture.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// What a step may be that is none over a gap.
    pub fn step(&self) -> Duration {
        self.usual.unwrap_or(STEP) * 3 / 2 + self.min_gap
    }

    /// Takes the next picture; pictures that were reordered tell nothing.
    pub fn see(&mut self, at: Timestamp) -> Vec<Sounded> {
        let from = self.asked.take().or(self.last);
        if self.last.is_some_and(|last| at <= last) {
            return Vec::new();
        }
        self.last = Some(at);
        if let Some(from) = from.filter(|from| *from < at) {
            self.waiting.push((from, at));
        }
        if self.usual.is_none() {
            if self.waiting.len() < STEPS_MIN {
                return Vec::new();
            }
            let steps = self.waiting.iter().map(|(from, to)| to.since(*from));
            self.usual = steps.min();
        }
        let waiting = std::mem::take(&mut self.waiting);
        waiting
            .into_iter()
            .filter_map(|(from, to)| self.judge(from, to))
            .collect()
    }

    /// A stretch that was doubted proved to be whole: such steps are usual here.
    pub fn is_whole(&mut self, stretch: TimeRange) {
        let step = stretch.end().since(stretch.start());
        self.usual = self.usual.max(Some(step));
    }

    fn judge(&mut self, from: Timestamp, to: Timestamp) -> Option<Sounded> {
        let (range, step) = (TimeRange::new(from, to)?, to.since(from));
        let usual = self.usual.unwrap_or(STEP);
        if step <= self.step() {
            self.usual = Some(usual.max(step));
            return Some(Sounded::Whole(range));
        }
        if usual > PICTURE_MAX {
            return Some(Sounded::Doubt(range));
        }
        TimeRange::new(from + usual, to).map(Sounded::Gap)
    }
}

/// What of the time around a playback is to be looked over: up to `reach` ahead of `at`, but for what was looked over already;
/// `None` while that is half of it or more.
pub fn due(
    swept: &[TimeRange],
    at: Timestamp,
    reach: Duration,
    direction: Direction,
) -> Option<TimeRange> {
    match direction {
        Direction::Forward => {
            let mut from = at;
            while let Some(next) = swept.iter().find(|range| range.contains(from)) {
                from = next.end();
            }
            let open = from < at + reach / 2;
            open.then(|| TimeRange::new(from, at + reach)).flatten()
        }
        Direction::Reverse => {
            let mut to = at;
            let reaches = |range: &&TimeRange, to| range.start() < to && to <= range.end();
            while let Some(next) = swept.iter().find(|range| reaches(range, to)) {
                to = next.start();
            }
            let open = to > at - reach / 2;
            open.then(|| TimeRange::new(at - reach, to)).flatten()
        }
    }
}

/// Steps that are looked at before one of them passes for usual.
const STEPS_MIN: usize = 3;
/// What passes for a step until some were seen.
const STEP: Duration = Duration::from_secs(2);
/// Pictures are no farther apart than this where all are shown.
const PICTURE_MAX: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, span};

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn walk(from: i64, pictures: impl IntoIterator<Item = i64>) -> Vec<Sounded> {
        let mut walk = Walk::new(ms(from), Duration::from_millis(500));
        pictures
            .into_iter()
            .flat_map(|at| walk.see(ms(at)))
            .filter(|found| !matches!(found, Sounded::Whole(_)))
            .collect()
    }

    #[test]
    fn a_gap_among_all_pictures_is_one_and_among_key_frames_a_doubt() {
        let pictures = (0..50).chain(150..200).map(|nth| nth * 40);
        let gap = TimeRange::new(ms(2000), ms(6000)).unwrap();
        assert_eq!(walk(0, pictures), [Sounded::Gap(gap)]);
        let keys = [0, 2000, 4000, 5900, 12_000, 14_000];
        let doubt = TimeRange::new(ms(5900), ms(12_000)).unwrap();
        assert_eq!(walk(700, keys), [Sounded::Doubt(doubt)]);
        assert_eq!(walk(0, (0..9).map(|nth| nth * 2000)), []);
    }

    #[test]
    fn what_is_missing_at_the_start_is_seen_once_steps_are_known() {
        let late = [60_000, 62_000, 64_000, 66_000];
        let doubt = TimeRange::new(ms(0), ms(60_000)).unwrap();
        assert_eq!(walk(0, late), [Sounded::Doubt(doubt)]);
        // It begins at its next key frame, as some do.
        assert_eq!(walk(59_000, late), []);
    }

    #[test]
    fn a_doubt_that_proved_wrong_is_not_raised_again() {
        let mut walk = Walk::new(ms(0), Duration::from_millis(500));
        for nth in 0..5 {
            walk.see(ms(nth * 1000));
        }
        let doubts = walk.see(ms(12_000));
        let [Sounded::Doubt(range)] = doubts[..] else {
            panic!("{doubts:?}");
        };
        walk.is_whole(range);
        walk.behind(range.end());
        assert!(matches!(walk.see(ms(20_000))[..], [Sounded::Whole(_)]));
        // Reordered pictures tell nothing.
        assert_eq!(walk.see(ms(19_960)), []);
    }

    #[test]
    fn only_what_was_not_looked_over_is_due_and_not_before_half_is_used_up() {
        let reach = Duration::from_secs(100);
        let forward = |swept: &[TimeRange], now| due(swept, at(now), reach, Direction::Forward);
        assert_eq!(forward(&[], 50), Some(span(50, 150)));
        let swept = [span(120, 200), span(50, 120)];
        assert_eq!(forward(&swept, 60), None);
        assert_eq!(forward(&swept, 151), Some(span(200, 251)));
        assert_eq!(forward(&swept, 0), Some(span(0, 100)));
        let reverse = |swept: &[TimeRange], now| due(swept, at(now), reach, Direction::Reverse);
        assert_eq!(reverse(&[], 150), Some(span(50, 150)));
        assert_eq!(reverse(&swept, 190), None);
        assert_eq!(reverse(&swept, 99), Some(span(-1, 50)));
    }
}
