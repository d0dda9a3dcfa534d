//! What footage of a camera's copies comes to, as it was seen last: what its next legs are given room for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use seamline_routing::camera::CopyIx;
use smallvec::SmallVec;

/// Of what is known this part is forgotten each time: half of it in ten minutes of play.
const FORGETS: u32 = 4_096;

/// Bytes a second of footage, of each copy. Lost with the process; nothing but the size of buffers hangs on it.
#[derive(Debug, Default)]
pub struct Rates {
    of: Mutex<SmallVec<[u32; 4]>>,
}

impl Rates {
    /// What a copy's footage comes to a second, where some of it was played before.
    pub fn of(&self, copy: CopyIx) -> Option<u32> {
        let rate = self.all().get(copy.index()).copied();
        rate.filter(|rate| *rate > 0)
    }

    /// A copy's footage comes to so much, five times a second. A camera sees more by day than by night, so that more is believed at
    /// once, and less by and by.
    pub fn note(&self, copy: CopyIx, rate: u32) {
        let mut all = self.all();
        if all.len() <= copy.index() {
            all.resize(copy.index() + 1, 0);
        }
        let known = &mut all[copy.index()];
        *known = rate.max(*known - *known / FORGETS);
    }

    fn all(&self) -> MutexGuard<'_, SmallVec<[u32; 4]>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_believed_at_once_and_less_by_and_by() {
        let rates = Rates::default();
        let (first, third) = (CopyIx(0), CopyIx(2));
        rates.note(third, 1_000);
        assert_eq!((rates.of(first), rates.of(third)), (None, Some(1_000)));
        rates.note(third, 4_000);
        assert_eq!(rates.of(third), Some(4_000));
        rates.note(third, 1_000);
        assert_eq!(rates.of(third), Some(4_000));
        rates.note(third, 400_000);
        for _ in 0..3_000 {
            rates.note(third, 1_000);
        }
        let after_ten_minutes = rates.of(third).unwrap();
        assert!((180_000..210_000).contains(&after_ten_minutes));
    }
}
