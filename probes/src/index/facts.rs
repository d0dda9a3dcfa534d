//! What planning reads of a camera, and how it learns that this has changed.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use futures::future::select_all;
use seamline_routing::{CopyFacts, CopyIx, Coverage, HealthState};
use smallvec::SmallVec;
use tokio::sync::watch;

/// The facts of all copies at one moment: to be looked at, and let go of before anything is awaited.
#[derive(Debug)]
pub struct Facts(pub(super) SmallVec<[Known; COPIES_INLINE]>);

#[derive(Debug)]
pub(super) struct Known {
    pub(super) coverage: Guard<Arc<Coverage>>,
    pub(super) health: HealthState,
    pub(super) healthy_for: Option<Duration>,
    pub(super) lists: bool,
}

impl Facts {
    /// As planning takes them. `barred` tells the copies that this playback has given up on.
    pub fn copies(
        &self,
        barred: impl Fn(CopyIx) -> bool,
    ) -> SmallVec<[CopyFacts<'_>; COPIES_INLINE]> {
        let known = (0..=u8::MAX).map(CopyIx).zip(&self.0);
        known
            .map(|(ix, known)| CopyFacts {
                coverage: &known.coverage,
                health: known.health,
                healthy_for: known.healthy_for,
                lists: known.lists,
                barred: barred(ix),
            })
            .collect()
    }
}

/// Tells a playback that facts have changed.
#[derive(Debug)]
pub struct Changes(pub(super) Vec<watch::Receiver<u64>>);

impl Changes {
    /// Whether anything has changed since the last call; does not wait.
    pub fn take_news(&mut self) -> bool {
        let mut news = false;
        for source in &mut self.0 {
            if source.has_changed().unwrap_or(false) {
                source.mark_unchanged();
                news = true;
            }
        }
        news
    }

    /// Returns when coverage or health of any copy has changed since the last call, or since this
    /// was made. Waits for ever when the camera is no longer configured.
    pub async fn changed(&mut self) {
        while !self.0.is_empty() {
            let waits = self.0.iter_mut().map(|source| Box::pin(source.changed()));
            let (outcome, index, _) = select_all(waits).await;
            if outcome.is_ok() {
                return;
            }
            self.0.swap_remove(index);
        }
        std::future::pending::<()>().await;
    }
}

/// Copies of one camera whose facts need no memory of their own.
pub const COPIES_INLINE: usize = 4;
