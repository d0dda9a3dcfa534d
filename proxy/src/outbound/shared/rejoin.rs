//! Where a taker that was left behind goes on in a leg of its own: behind the last unit that it took. Pure.

use seamline_media::Unit;
use smallvec::SmallVec;

/// Capture times that differ by less are of one picture: recorders stamp it the same each time, but for rounding.
const SAME_US: i64 = 2_000;
/// Past the last unit by so much, it does not come any more.
const PAST_US: i64 = 2_000_000;

/// What was taken last, track by track.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    last_us: SmallVec<[Option<i64>; 2]>,
}

impl Taken {
    pub(super) fn note(&mut self, unit: &Unit) {
        if self.last_us.len() <= unit.track {
            self.last_us.resize(unit.track + 1, None);
        }
        if let Some(last) = self.last_us.get_mut(unit.track) {
            *last = Some(unit.capture_us);
        }
    }

    pub(super) fn last_us(&self, track: usize) -> Option<i64> {
        self.last_us.get(track).copied().flatten()
    }
}

/// What is to be done with a unit of the own leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was taken.
    Before,
    /// It is next.
    Behind,
    /// The last unit that was taken is not in this leg.
    Missing,
}

/// Leaves out what was taken.
#[derive(Debug)]
pub(super) struct Rejoin {
    taken: Taken,
    master: usize,
    found: bool,
}

impl Rejoin {
    pub(super) fn new(taken: Taken, master: usize) -> Self {
        let found = taken.last_us(master).is_none();
        Rejoin {
            taken,
            master,
            found,
        }
    }

    /// Where a unit lies. Pictures come in the order of decoding, the same as before.
    pub(super) fn place(&mut self, track: usize, capture_us: i64) -> Place {
        let Some(last_us) = self.taken.last_us(track) else {
            return Place::Behind;
        };
        if track != self.master {
            return if capture_us <= last_us + SAME_US {
                Place::Before
            } else {
                Place::Behind
            };
        }
        if self.found {
            return Place::Behind;
        }
        if capture_us > last_us + PAST_US {
            return Place::Missing;
        }
        self.found = (capture_us - last_us).abs() <= SAME_US;
        Place::Before
    }
}

#[cfg(test)]
mod tests {
    use super::Place::{Before, Behind, Missing};
    use super::*;

    fn taken(last_us: [Option<i64>; 2]) -> Taken {
        Taken {
            last_us: last_us.into_iter().collect(),
        }
    }

    #[test]
    fn it_goes_on_behind_the_last_picture_in_the_order_of_decoding() {
        let mut rejoin = Rejoin::new(
            taken([Some(120), Some(90)].map(|ms: Option<i64>| ms.map(|ms| ms * 1_000))),
            0,
        );
        let places = |rejoin: &mut Rejoin, track, all: &[i64]| -> Vec<Place> {
            all.iter()
                .map(|ms| rejoin.place(track, ms * 1_000))
                .collect()
        };
        // A picture that is shown later may have been sent before, and one that is shown before comes behind.
        assert_eq!(places(&mut rejoin, 0, &[0, 160, 40, 80, 120]), [Before; 5]);
        assert_eq!(places(&mut rejoin, 0, &[100, 200]), [Behind; 2]);
        assert_eq!(
            places(&mut rejoin, 1, &[60, 90, 120]),
            [Before, Before, Behind]
        );
        let mut lost = Rejoin::new(taken([Some(120_000), None]), 0);
        assert_eq!(
            places(&mut lost, 0, &[0, 40, 160, 2_200]),
            [Before, Before, Before, Missing]
        );
        assert_eq!(places(&mut lost, 1, &[0]), [Behind]);
        let mut fresh = Rejoin::new(Taken::default(), 0);
        assert_eq!(places(&mut fresh, 0, &[0]), [Behind]);
    }
}
