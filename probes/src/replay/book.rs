//! Recordings that are asked for by their names.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use seamline_routing::{TimeRange, Timestamp};

/// Recordings further apart than this have a gap between them.
const STEP_MAX: Duration = Duration::from_secs(1);

/// Recordings that are played by their names, as listed last: of each camera, in order of time.
#[derive(Debug, Default)]
pub struct Book(RwLock<HashMap<String, Arc<[Recording]>>>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its name at the recorder.
    pub id: String,
    /// From when to when; to [`Timestamp::MAX`] while it is written.
    pub range: TimeRange,
}

impl Book {
    /// The recording that holds `at`, or the next one.
    pub fn at(&self, remote: &str, at: Timestamp) -> Option<Recording> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let recordings = known.get(remote)?;
        let next = recordings
            .iter()
            .find(|recording| at < recording.range.end());
        next.cloned()
    }

    /// The latest recording that begins before `at`.
    pub fn before(&self, remote: &str, at: Timestamp) -> Option<Recording> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut recordings = known.get(remote)?.iter().rev();
        recordings
            .find(|recording| recording.range.start() < at)
            .cloned()
    }

    /// The recording that goes on where one ended whose last picture was of `last`, with no more than a step between them.
    pub fn following(&self, remote: &str, last: Timestamp) -> Option<Recording> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut recordings = known.get(remote)?.iter();
        let near = |recording: &&Recording| {
            let start = recording.range.start();
            start > last && start.since(last) <= STEP_MAX
        };
        recordings.find(near).cloned()
    }

    /// The recording of this name.
    pub fn named(&self, remote: &str, id: &str) -> Option<Recording> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut recordings = known.get(remote)?.iter();
        recordings.find(|recording| recording.id == id).cloned()
    }

    /// Takes in a listing of a camera: all of it, or what it has in a window.
    pub(crate) fn note(&self, remote: &str, window: TimeRange, mut listed: Vec<Recording>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = known
            .get(remote)
            .into_iter()
            .flat_map(|recordings| recordings.iter());
        let kept = before.filter(|recording| {
            !recording.range.overlaps(window) && !listed.iter().any(|new| new.id == recording.id)
        });
        let kept: Vec<_> = kept.cloned().collect();
        listed.extend(kept);
        listed.sort_by_key(|recording| recording.range.start());
        known.insert(remote.to_owned(), listed.into());
    }
}
