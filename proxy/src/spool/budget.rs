//! How many bytes all clips may have together, and how many are being made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct Budget {
    max: u64,
    used: AtomicU64,
    fillings: AtomicUsize,
}

/// Counts a clip that is being made, while it is held.
#[derive(Debug)]
pub(super) struct Seat(Arc<Budget>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fillings.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    pub(super) fn new(max: u64) -> Arc<Self> {
        Arc::new(Budget {
            max,
            used: AtomicU64::new(0),
            fillings: AtomicUsize::new(0),
        })
    }

    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        self.fillings.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(self))
    }

    pub(super) fn fillings(&self) -> usize {
        self.fillings.load(Ordering::Relaxed)
    }

    /// Takes so many bytes, if there are as many.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Takes bytes that are there already, whether they fit or not.
    pub(super) fn take_anyway(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// More is taken than there is.
    pub(super) fn is_short(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let budget = Budget::new(10);
        assert!(budget.take(6) && !budget.take(5) && budget.take(4) && !budget.take(1));
        budget.give_back(4);
        assert!(budget.take(4) && !budget.take(u64::MAX));
        assert!(!budget.is_short());
        budget.take_anyway(1);
        assert!(budget.is_short());
        budget.give_back(1);
        let seat = budget.seat();
        assert_eq!(budget.fillings(), 1);
        drop(seat);
        assert_eq!(budget.fillings(), 0);
    }
}
