//! Clips of footage as files of fixed bytes: made once however many ask, kept for a while in memory and in a bounded folder.
//!
//! Bytes go from recorder to reader by reference. Into a file goes what memory has no room for: of readers that do not keep up, of
//! clips that were asked for more than once or left in the middle, and of what is on its way where many are made at a time.
//!
//! A clip that lies in the past is a pure function of the footage, and so is its tag, a digest of its bytes: replicas that made
//! it from the same elementary stream answer each other's byte ranges, and where they did not, the tags differ. The files have
//! no names: nothing of them is left when the process is gone, however it went.

mod budget;
mod clip;
mod entry;
mod filling;
mod store;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use budget::Budget;
pub use clip::{Clip, Format, Gaps};
pub use entry::{Cut, Entry, Fault, Progress, Reading, Stage};

/// Where clips lie, and how many bytes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The folder; its file system should be able to make holes in files.
    pub folder: PathBuf,
    /// Bytes of all clips together.
    pub max_bytes: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        SpoolSettings {
            folder: std::env::temp_dir(),
            max_bytes: 2 * 1024 * 1024 * 1024,
        }
    }
}

/// Clips that are made at the same time.
const FILLINGS_MAX: usize = 256;
/// Memory of all clips together, beyond [`store::CLIP_BYTES_MIN`] for each that is being made.
const MEMORY_MAX: u64 = 2 * store::CLIP_BYTES_MAX;
/// Clips that are kept.
const KEPT_MAX: usize = 4096;
/// A clip that nobody asked for in this time is let go.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// A clip that was made while a site was down is made anew for those who come later than this.
const FLAWED_MAX: Duration = Duration::from_secs(30);

/// All clips of a process.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    budget: Arc<Budget>,
    memory: Arc<Budget>,
    kept: Mutex<HashMap<Clip, Kept>>,
}

#[derive(Debug)]
struct Kept {
    entry: Arc<Entry>,
    used: Instant,
}

/// Why a clip is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Unspooled {
    /// As many are made as may be.
    #[error("as many clips are being made as may be at a time")]
    Busy,
    /// The folder cannot be written.
    #[error("the folder of clips cannot be written: {0}")]
    Folder(#[from] std::io::Error),
}

impl Spool {
    /// An empty spool. The folder is made where there is none, at the first clip.
    pub fn new(settings: &SpoolSettings) -> Arc<Self> {
        Arc::new(Spool {
            folder: settings.folder.clone(),
            budget: Budget::new(settings.max_bytes),
            memory: Budget::new(MEMORY_MAX),
            kept: Mutex::default(),
        })
    }

    /// The clip, which is made from now on unless it is there, and a reader of nothing: while that one is there, nothing is let
    /// go of. One that goes on growing (`passing`) is nobody else's. Who goes on
    /// with what they have (`resuming` behind some bytes) get the clip that is kept, even if a better one could be made by now.
    pub fn open(
        self: &Arc<Self>,
        camera: &Arc<CameraEntry>,
        journal: &Journal,
        clip: &Clip,
        passing: bool,
        resuming: Option<&dyn Fn(&Entry) -> u64>,
    ) -> Result<(Arc<Entry>, Reading), Unspooled> {
        let now = clock::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !passing && let Some(found) = kept.get_mut(clip) {
            let outdated = found.entry.is_flawed_since(now, FLAWED_MAX) && resuming.is_none();
            let wished = resuming.map_or(0, |from| from(&found.entry));
            let fit = !found.entry.has_failed() && !outdated;
            if let Some(waiting) = fit.then(|| found.entry.join(wished)).flatten() {
                found.used = now;
                return Ok((Arc::clone(&found.entry), waiting));
            }
            kept.remove(clip);
        }
        sweep(&mut kept, now);
        if self.budget.fillings() >= FILLINGS_MAX {
            return Err(Unspooled::Busy);
        }
        std::fs::create_dir_all(&self.folder)?;
        let file = tempfile::tempfile_in(&self.folder)?;
        let entry = Entry::new(file, &self.budget, &self.memory);
        let waiting = entry.read(0, Some(0));
        if !passing {
            kept.insert(
                clip.clone(),
                Kept {
                    entry: Arc::clone(&entry),
                    used: now,
                },
            );
        }
        drop(kept);
        filling::start(self, &entry, camera, journal, clip);
        Ok((entry, waiting))
    }

    /// Those who come later do not get this clip.
    fn forget(&self, entry: &Arc<Entry>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, kept| !Arc::ptr_eq(&kept.entry, entry));
    }

    /// Lets the clip go that was asked for least recently, of those that are whole; false when there is none.
    fn evict(&self) -> bool {
        self.let_go(Entry::is_whole)
    }

    /// The same, of those that lie in memory and that who asked for them has; they are kept for nobody known.
    fn let_go_had(&self) -> bool {
        self.let_go(Entry::is_had)
    }

    fn let_go(&self, may_go: impl Fn(&Entry) -> bool) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let clip = oldest(&kept, may_go).map(|(clip, _)| clip.clone());
        clip.is_some_and(|clip| kept.remove(&clip).is_some())
    }

    /// The clip that was asked for least recently, of those that are whole and in memory.
    fn resting(&self) -> Option<Arc<Entry>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = oldest(&kept, Entry::rests_in_memory);
        found.map(|(_, kept)| Arc::clone(&kept.entry))
    }
}

fn oldest(kept: &HashMap<Clip, Kept>, fits: impl Fn(&Entry) -> bool) -> Option<(&Clip, &Kept)> {
    kept.iter()
        .filter(|(_, kept)| fits(&kept.entry))
        .min_by_key(|(_, kept)| kept.used)
}

fn sweep(kept: &mut HashMap<Clip, Kept>, now: Instant) {
    kept.retain(|_, kept| {
        !kept.entry.has_failed() && now.saturating_duration_since(kept.used) < IDLE_MAX
    });
    while kept.len() >= KEPT_MAX {
        let oldest = kept
            .iter()
            .min_by_key(|(_, kept)| kept.used)
            .map(|(clip, _)| clip.clone());
        let Some(clip) = oldest else { return };
        kept.remove(&clip);
    }
}
