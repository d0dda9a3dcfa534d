//! What a shared leg has delivered and some of its takers have not taken yet: units, and how far each taker has come. Pure.

use std::collections::{BTreeMap, VecDeque};

/// What the ring must know of a unit.
pub(super) trait Kept {
    /// Bytes that it takes.
    fn bytes(&self) -> usize;
    /// Its capture time, where decoding can start at it and seams are cut on its track.
    fn begins(&self) -> Option<i64>;
    /// Its capture time, where seams are cut on its track.
    fn captured(&self) -> Option<i64>;
}

/// Names a taker.
pub(super) type Taker = u64;

/// Units in the order of the leg, from the first one that somebody may still want.
#[derive(Debug)]
pub(super) struct Ring<T> {
    units: VecDeque<T>,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    /// The number of the unit that each taker takes next.
    next: BTreeMap<Taker, u64>,
    named: Taker,
    /// Newest capture time of the track that seams are cut on.
    newest: Option<i64>,
    /// More takers may come: all is kept.
    open: bool,
}

/// What taking came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a, T> {
    /// The next unit; others may want it too.
    Unit(&'a T),
    /// There is none yet.
    Nothing,
    /// It was too far behind, and was left behind.
    Lost,
}

/// Takers whose footage begins so far behind what has come begin with what has come: as good a place as its recorder would
/// choose, as far as can be told.
const AHEAD_US_MAX: i64 = 2_000_000;

impl<T: Kept> Ring<T> {
    /// With nothing in it.
    pub(super) fn new() -> Self {
        Ring {
            units: VecDeque::new(),
            first: 0,
            bytes: 0,
            next: BTreeMap::new(),
            named: 0,
            newest: None,
            open: true,
        }
    }

    /// Another taker that begins with the first unit, as long as that is there.
    pub(super) fn join(&mut self) -> Option<Taker> {
        (self.open && self.first == 0).then(|| self.begin(0))
    }

    /// Another taker, who wants footage from `from_us` on: it begins with the random access point at or before, if that is there.
    pub(super) fn join_at(&mut self, from_us: i64) -> Option<Taker> {
        if !self.open || self.newest? < from_us.saturating_sub(AHEAD_US_MAX) {
            return None;
        }
        let begins = |unit: &T| unit.begins().is_some_and(|at| at <= from_us);
        let at = self.units.iter().rposition(begins)?;
        Some(self.begin(self.first + at as u64))
    }

    fn begin(&mut self, at: u64) -> Taker {
        self.named += 1;
        self.next.insert(self.named, at);
        self.named
    }

    /// Nobody else may come.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.trim();
    }

    /// Whether nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.first == 0 && self.units.is_empty()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn leave(&mut self, taker: Taker) {
        self.next.remove(&taker);
        self.trim();
    }

    /// What waits for a taker, in bytes.
    pub(super) fn ahead_of(&self, taker: Taker) -> usize {
        let Some(next) = self.next.get(&taker) else {
            return 0;
        };
        if *next == self.first {
            return self.bytes;
        }
        let behind = self.units.iter().skip((next - self.first) as usize);
        behind.map(Kept::bytes).sum()
    }

    /// Whether a unit that comes is this taker's alone, and it has all that came before.
    pub(super) fn is_alone(&self, taker: Taker) -> bool {
        !self.open
            && self.units.is_empty()
            && self.next.len() == 1
            && self.next.contains_key(&taker)
    }

    pub(super) fn push(&mut self, unit: T) {
        self.newest = unit.captured().or(self.newest);
        self.bytes += unit.bytes();
        self.units.push_back(unit);
    }

    /// The next unit of a taker; [`Self::took`] says that it was taken.
    pub(super) fn take(&self, taker: Taker) -> Taken<'_, T> {
        let Some(next) = self.next.get(&taker) else {
            return Taken::Lost;
        };
        let unit = self.units.get((next - self.first) as usize);
        unit.map_or(Taken::Nothing, Taken::Unit)
    }

    pub(super) fn took(&mut self, taker: Taker) {
        if let Some(next) = self.next.get_mut(&taker) {
            *next += 1;
        }
        self.trim();
    }

    /// Leaves the slowest takers behind, but never `keep`, until what is kept fits.
    pub(super) fn shrink(&mut self, bytes_max: usize, keep: Taker) {
        if self.bytes > bytes_max {
            self.close();
        }
        while self.bytes > bytes_max {
            let others = self.next.iter().filter(|(taker, _)| **taker != keep);
            let Some((slowest, _)) = others.min_by_key(|(_, next)| **next) else {
                return;
            };
            let slowest = *slowest;
            self.next.remove(&slowest);
            self.trim();
        }
    }

    fn trim(&mut self) {
        if self.open {
            return;
        }
        let wanted = self.next.values().copied().min();
        let wanted = wanted.unwrap_or(self.first + self.units.len() as u64);
        while self.first < wanted {
            let Some(unit) = self.units.pop_front() else {
                return;
            };
            self.bytes -= unit.bytes();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A picture: its capture time, and whether decoding can start at it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Picture(i64, bool);

    impl Kept for Picture {
        fn bytes(&self) -> usize {
            10
        }

        fn begins(&self) -> Option<i64> {
            self.1.then_some(self.0)
        }

        fn captured(&self) -> Option<i64> {
            Some(self.0)
        }
    }

    /// Pictures 40 ms apart in groups of five.
    fn ring(pictures: i64) -> Ring<Picture> {
        let mut ring = Ring::new();
        for n in 0..pictures {
            ring.push(Picture(n * 40_000, n % 5 == 0));
        }
        ring
    }

    fn all(ring: &mut Ring<Picture>, taker: Taker) -> Vec<i64> {
        let mut got = Vec::new();
        while let Taken::Unit(picture) = ring.take(taker) {
            got.push(picture.0 / 40_000);
            ring.took(taker);
        }
        got
    }

    #[test]
    fn a_taker_begins_where_its_recorder_would() {
        let mut ring = ring(12);
        let at = |ring: &mut Ring<Picture>, us| {
            let taker = ring.join_at(us)?;
            all(ring, taker).first().copied()
        };
        assert_eq!(at(&mut ring, 0), Some(0));
        assert_eq!(at(&mut ring, 199_999), Some(0));
        assert_eq!(at(&mut ring, 200_000), Some(5));
        // Not there yet, but soon; much later; before all that is there.
        assert_eq!(at(&mut ring, 2_400_000), Some(10));
        assert_eq!(at(&mut ring, 2_500_000), None);
        assert_eq!(at(&mut ring, -1), None);
        let first = ring.join().unwrap();
        assert_eq!(all(&mut ring, first), (0..12).collect::<Vec<_>>());
        ring.close();
        assert_eq!((ring.join(), ring.join_at(0)), (None, None));
        assert_eq!(ring.bytes, 0);
    }

    #[test]
    fn who_falls_behind_is_left_behind_and_no_one_else() {
        let mut ring = ring(10);
        let (quick, slow) = (ring.join().unwrap(), ring.join().unwrap());
        all(&mut ring, quick);
        ring.shrink(100, quick);
        assert!(ring.is_open());
        assert_eq!((ring.ahead_of(slow), ring.ahead_of(quick)), (100, 0));
        ring.push(Picture(400_000, true));
        ring.shrink(100, quick);
        assert_eq!(ring.take(slow), Taken::Lost);
        assert_eq!(all(&mut ring, quick), [10]);
        assert!(ring.is_alone(quick) && !ring.is_alone(slow));
        assert_eq!(ring.bytes, 0);
    }

    proptest! {
        /// Against a list for each taker.
        #[test]
        fn each_taker_gets_all_in_order(steps in prop::collection::vec((0_u8..5, 0_usize..4), 0..200)) {
            let mut ring = Ring::new();
            let mut takers: Vec<(Taker, Vec<i64>, i64)> = Vec::new();
            let mut pushed = 0;
            for (step, which) in steps {
                match step {
                    0 => {
                        if let Some(taker) = ring.join() {
                            takers.push((taker, Vec::new(), 0));
                        }
                    }
                    1 => {
                        ring.push(Picture(pushed, true));
                        pushed += 1;
                    }
                    2 if pushed > 100 => ring.close(),
                    3 if takers.len() > 3 => {
                        let (taker, ..) = takers.swap_remove(which);
                        ring.leave(taker);
                    }
                    _ => {
                        if let Some((taker, got, _)) = takers.get_mut(which)
                            && let Taken::Unit(picture) = ring.take(*taker)
                        {
                            got.push(picture.0);
                            ring.took(*taker);
                        }
                    }
                }
                prop_assert_eq!(ring.next.len(), takers.len());
            }
            for (taker, mut got, _) in takers {
                while let Taken::Unit(picture) = ring.take(taker) {
                    got.push(picture.0);
                    ring.took(taker);
                }
                prop_assert_eq!(got, (0..pushed).collect::<Vec<_>>());
            }
        }
    }
}
