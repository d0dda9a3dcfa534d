//! Capture time to media time: on one line, with holes left open or closed up.

use std::collections::VecDeque;

/// What a stretch without footage does to media time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holes {
    /// The footage behind it follows at once.
    #[default]
    Close,
    /// Its time is left: the last picture before it stands still.
    Keep,
}

/// A step of this much footage between two pictures is a hole, when it is also [`INTERVALS`] times the usual one. As over RTSP.
const HOLE_US: i64 = 1_000_000;
const INTERVALS: i64 = 3;
/// Usual distance of two pictures until some were seen, and the limits of what is believed.
const INTERVAL_US: i64 = 40_000;
const INTERVAL_US_MIN: i64 = 4_000;
const INTERVAL_US_MAX: i64 = 1_000_000;
/// Sound that lies so far inside a hole still belongs to the picture beside it.
const EDGE_US: i64 = 200_000;
/// Closed holes that late sound may still lie before.
const HOLES_MAX: usize = 16;

/// The line of one file.
#[derive(Debug)]
pub(crate) struct Axis {
    holes: Holes,
    /// Capture time of media time zero.
    origin_us: i64,
    /// Capture time of the picture shown last.
    latest_us: Option<i64>,
    interval_us: i64,
    /// Where footage goes on behind closed holes, and what was closed up until there.
    closed: VecDeque<Hole>,
}

/// A hole that was closed up, in µs.
#[derive(Clone, Copy, Debug)]
struct Hole {
    /// Capture times of the pictures before and behind it.
    before: i64,
    from: i64,
    /// What was closed up until its end, all in all.
    closed: i64,
}

impl Axis {
    pub(crate) fn new(holes: Holes, origin_us: i64) -> Self {
        Self {
            holes,
            origin_us,
            latest_us: None,
            interval_us: INTERVAL_US,
            closed: VecDeque::new(),
        }
    }

    /// Whether a picture lies behind a hole that is closed up.
    pub(crate) fn is_beyond_hole(&self, capture_us: i64) -> bool {
        let limit = HOLE_US.max(self.interval_us * INTERVALS);
        self.holes == Holes::Close
            && self
                .latest_us
                .is_some_and(|latest| capture_us.saturating_sub(latest) > limit)
    }

    /// Media time of the next picture, µs.
    pub(crate) fn place(&mut self, capture_us: i64) -> i64 {
        if self.is_beyond_hole(capture_us)
            && let Some(latest_us) = self.latest_us
        {
            let closed_us = capture_us - latest_us - self.interval_us;
            let before_us = self.closed.back().map_or(0, |hole| hole.closed);
            if self.closed.len() == HOLES_MAX {
                self.closed.pop_front();
            }
            self.closed.push_back(Hole {
                before: latest_us,
                from: capture_us,
                closed: before_us + closed_us,
            });
        } else if let Some(latest_us) = self.latest_us
            && capture_us > latest_us
        {
            let step_us = (capture_us - latest_us).clamp(INTERVAL_US_MIN, INTERVAL_US_MAX);
            self.interval_us = step_us;
        }
        self.latest_us = self.latest_us.max(Some(capture_us));
        self.media_us(capture_us)
    }

    /// Media time of sound, µs; `None` for what was recorded inside a hole.
    pub(crate) fn sound_us(&self, capture_us: i64) -> Option<i64> {
        let behind = |hole: &&Hole| hole.from.saturating_sub(EDGE_US) <= capture_us;
        let inside = self.closed.iter().any(|hole| {
            hole.before.saturating_add(EDGE_US) < capture_us
                && capture_us < hole.from.saturating_sub(EDGE_US)
        });
        let closed_us = self.closed.iter().rev().find(behind);
        (!inside).then(|| {
            capture_us
                .saturating_sub(self.origin_us)
                .saturating_sub(closed_us.map_or(0, |hole| hole.closed))
        })
    }

    fn media_us(&self, capture_us: i64) -> i64 {
        let behind = |hole: &&Hole| hole.from <= capture_us;
        let closed_us = self.closed.iter().rev().find(behind);
        capture_us
            .saturating_sub(self.origin_us)
            .saturating_sub(closed_us.map_or(0, |hole| hole.closed))
    }

    /// Usual distance of two pictures, µs.
    pub(crate) fn interval_us(&self) -> i64 {
        self.interval_us
    }
}

/// Ticks in a media time, to the nearest.
pub(crate) fn ticks(media_us: i64, timescale: u32) -> i64 {
    let scaled = i128::from(media_us) * i128::from(timescale);
    (scaled + 500_000).div_euclid(1_000_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_closed_up_to_one_interval() {
        let mut axis = Axis::new(Holes::Close, 1_000_000);
        let placed: Vec<i64> = [1_000_000, 1_050_000, 1_100_000, 61_100_000, 61_150_000]
            .map(|capture_us| axis.place(capture_us))
            .into();
        assert_eq!(placed, [0, 50_000, 100_000, 150_000, 200_000]);
        // Sound from before the hole, and from behind it.
        assert_eq!(axis.sound_us(1_080_000), Some(80_000));
        assert_eq!(axis.sound_us(61_120_000), Some(170_000));
        // Just behind the last picture, in the middle, and just before the first one.
        assert_eq!(axis.sound_us(1_120_000), Some(120_000));
        assert_eq!(axis.sound_us(31_000_000), None);
        assert_eq!(axis.sound_us(61_090_000), Some(140_000));
    }

    #[test]
    fn or_kept() {
        let mut axis = Axis::new(Holes::Keep, 0);
        assert_eq!(axis.place(0), 0);
        assert_eq!(axis.place(60_000_000), 60_000_000);
    }

    #[test]
    fn sparse_pictures_are_no_holes() {
        let mut axis = Axis::new(Holes::Close, 0);
        // One a second, as time lapse recordings have them.
        for second in 0..10 {
            assert_eq!(axis.place(second * 990_000), second * 990_000);
        }
    }
}
