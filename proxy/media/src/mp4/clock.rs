//! When each sample of a track is decoded and shown, in ticks of the track.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::sps::REORDER_MAX;

/// Sound that strays from its capture time by less goes on without a break, ms: recorders round, and drift.
const STRAY_MS: i64 = 60;
/// Sound that comes so much too late for its place was heard already, from another site whose clock is behind, ms.
const HEARD_MS: i64 = 150;

/// Times of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) decode: i64,
    pub(crate) show: i64,
}

/// Decode times that rise strictly, whatever the pictures do.
///
/// With pictures reordered by `depth` places, the decode times are the times of display in their order, `depth` pictures late:
/// each picture is then decoded before it is shown. Where the depth changes, or was told wrong, the times still rise, and only
/// the offset may become negative for a moment.
#[derive(Debug)]
pub(crate) struct Pictures {
    depth: usize,
    /// Times of display that are not yet used up as decode times.
    waiting: BinaryHeap<Reverse<i64>>,
    last_decode: i64,
    /// Latest time of display.
    last_show: i64,
    /// Time of the last preroll behind a seam: all that is shown comes later.
    floor: i64,
}

impl Pictures {
    /// The first decode time is `first`.
    pub(crate) fn new(depth: usize, first: i64) -> Self {
        Self {
            depth,
            waiting: BinaryHeap::new(),
            last_decode: first - 1,
            last_show: first - 1,
            floor: first - 1,
        }
    }

    /// Pictures are reordered by so many places from here on.
    pub(crate) fn set_depth(&mut self, depth: usize) {
        self.depth = depth;
    }

    /// The times of a picture that is shown at `show` or as soon behind it as can be.
    pub(crate) fn place(&mut self, show: i64) -> Times {
        let mut show = show;
        if show <= self.floor {
            self.floor += 1;
            show = self.floor;
        }
        self.note(show)
    }

    /// The times of a picture that is only there to be decoded: one tick, behind everything that was shown at the seam. The first
    /// one of a seam is a point (`sync`); others may come between pictures that are shown already.
    pub(crate) fn squeeze(&mut self, sync: bool) -> Times {
        if sync {
            self.floor = self.floor.max(self.last_show);
        }
        self.floor += 1;
        self.note(self.floor)
    }

    fn note(&mut self, show: i64) -> Times {
        let next = self.last_decode + 1;
        let times = if self.depth == 0 {
            self.waiting.clear();
            let show = show.max(next);
            Times { decode: show, show }
        } else {
            self.waiting.push(Reverse(show));
            let mut due = None;
            while self.waiting.len() > self.depth {
                due = self.waiting.pop().map(|Reverse(show)| show);
            }
            Times {
                decode: due.map_or(next, |due| due.max(next)),
                show,
            }
        };
        self.last_decode = times.decode;
        self.last_show = self.last_show.max(times.show);
        times
    }
}

/// By how many places pictures are reordered that are shown at these times, given in decoding order.
pub(crate) fn reordering(shows: impl IntoIterator<Item = i64>) -> usize {
    let mut later: Vec<i64> = Vec::new();
    let mut depth = 0;
    for show in shows {
        let at = later.partition_point(|known| *known <= show);
        depth = depth.max(later.len() - at);
        later.insert(at, show);
        if later.len() > REORDER_MAX {
            later.remove(0);
        }
    }
    depth
}

/// Sound: piece behind piece, set right only where it strays.
#[derive(Debug, Default)]
pub(crate) struct Sound {
    end: Option<i64>,
}

impl Sound {
    /// The time of a piece of `length` ticks that belongs at `exact`; `None` when it was heard already.
    pub(crate) fn place(&mut self, exact: i64, length: u32, timescale: u32) -> Option<i64> {
        let ticks = |ms: i64| i64::from(timescale) * ms / 1000;
        let at = match self.end {
            Some(end) if end - exact >= ticks(HEARD_MS) => return None,
            Some(end) if exact - end < ticks(STRAY_MS) => end,
            _ => exact.max(0),
        };
        self.end = Some(at + i64::from(length.max(1)));
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(depth: usize, shows: &[i64]) -> Vec<(i64, i64)> {
        let mut pictures = Pictures::new(depth, 0);
        shows
            .iter()
            .map(|show| {
                let times = pictures.place(*show);
                (times.decode, times.show)
            })
            .collect()
    }

    #[test]
    fn pictures_in_order_are_decoded_when_they_are_shown() {
        assert_eq!(
            times(0, &[0, 3600, 7200]),
            [(0, 0), (3600, 3600), (7200, 7200)]
        );
        assert_eq!(times(0, &[0, 0, 7200]), [(0, 0), (1, 1), (7200, 7200)]);
    }

    #[test]
    fn reordered_pictures_are_decoded_in_time() {
        // I P B B P B B, shown from 2 on.
        let shows = [2, 302, 102, 202, 602, 402, 502];
        assert_eq!(reordering(shows), 1);
        assert_eq!(
            times(2, &shows),
            [
                (0, 2),
                (1, 302),
                (2, 102),
                (102, 202),
                (202, 602),
                (302, 402),
                (402, 502)
            ]
        );
        // A pyramid: I P B b b.
        assert_eq!(reordering([0, 400, 200, 100, 300]), 2);
    }

    #[test]
    fn sound_goes_on_where_it_does_not_stray() {
        let mut sound = Sound::default();
        let placed: Vec<Option<i64>> = [0, 161, 319, 480, 2000, 2160]
            .map(|exact| sound.place(exact, 160, 8000))
            .into();
        assert_eq!(placed, [0, 160, 320, 480, 2000, 2160].map(Some));
        // A second site's clock is a little behind: nothing overlaps. Then it is far behind: nothing comes twice.
        assert_eq!(sound.place(2300, 160, 8000), Some(2320));
        assert_eq!(sound.place(1200, 160, 8000), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Group { depth: usize, pictures: usize },
        Preroll(usize),
        Depth(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..5, 1usize..30).prop_map(|(depth, pictures)| Step::Group { depth, pictures }),
            (1usize..20).prop_map(Step::Preroll),
            (0usize..5).prop_map(Step::Depth),
        ]
    }

    proptest! {
        /// Whatever comes, decode times rise; and with the true depth nothing is shown before it is decoded.
        #[test]
        fn decode_times_rise(steps in prop::collection::vec(step(), 1..20)) {
            let mut pictures = Pictures::new(0, 0);
            let (mut last, mut now) = (-1, 0);
            for step in steps {
                match step {
                    Step::Depth(depth) => pictures.set_depth(depth),
                    Step::Preroll(count) => {
                        for index in 0..count {
                            let times = pictures.squeeze(index == 0);
                            prop_assert!(times.decode > last);
                            last = times.decode;
                        }
                    }
                    Step::Group { depth, pictures: count } => {
                        // The first picture of each run of `depth + 1` is shown last.
                        for index in 0..count {
                            let run = index / (depth + 1) * (depth + 1);
                            let place = if index == run { run + depth } else { index - 1 };
                            let times = pictures.place(now + place as i64 * 3600);
                            prop_assert!(times.decode > last);
                            last = times.decode;
                        }
                        now += (count + depth) as i64 * 3600 + 3600;
                    }
                }
            }
        }

        #[test]
        fn nothing_is_shown_before_it_is_decoded(depth in 0usize..6, runs in 1usize..20) {
            let shows = (0..runs).flat_map(|run| (0..=depth).map(move |index| {
                let place = if index == 0 { depth } else { index - 1 };
                (run * (depth + 1) + place) as i64 * 3600 + depth as i64
            }));
            let shows: Vec<i64> = shows.collect();
            prop_assert_eq!(reordering(shows.iter().copied()), usize::from(depth > 0));
            for (decode, show) in times(depth, &shows) {
                prop_assert!(decode <= show);
            }
        }
    }
}
