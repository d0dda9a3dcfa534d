//! Clips of footage as files of fixed bytes: made once however many ask, kept for a while in memory and in a bounded folder.
//!
//! Bytes go from recorder to reader by reference. Into a file goes what memory has no room for: of readers that do not keep up, of
//! clips that were asked for more than once or left in the middle, and of what is on its way where many are made at a time.
//!
//! A clip that lies in the past is a pure function of the footage, and so is its tag, a digest of its bytes: replicas that made
//! it from the same elementary stream answer each other's byte ranges, and where they did not, the tags differ. The files have
//! no names: nothing of them is left when the process is gone, however it went.
//!
//! Once a clip is whole it can be had with an index too. That is another file under another tag; where the index lies, the one that is
//! sent as it is made has as many bytes that mean nothing.

mod budget;
mod clip;
mod entry;
mod filling;
mod served;
mod store;

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cameras::{CameraEntry, Cameras};
use crate::clock;
use crate::journal::Journal;
use budget::Budget;
pub use clip::{Clip, Format, Gaps};
pub use entry::{Cut, Entry, Fault, Index, Progress, Reading, Stage};
pub use served::ClientKey;
use served::Served;

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
pub struct Spool {
    settings: SpoolSettings,
    budget: Arc<Budget>,
    memory: Arc<Budget>,
    kept: Mutex<HashMap<Clip, Kept>>,
    served: Arc<Served>,
}

struct Kept {
    entry: Arc<Entry>,
    /// What it is made of.
    camera: Arc<CameraEntry>,
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
            settings: settings.clone(),
            budget: Budget::new(settings.max_bytes),
            memory: Budget::new(MEMORY_MAX),
            kept: Mutex::default(),
            served: Arc::default(),
        })
    }

    /// The spool by a configuration that was read again: the same, with the clips of those of its `cameras` that stay what they
    /// were. By other settings it is another one, without a clip, but the memory of both is counted together, and what was served is known to both. Who reads a clip
    /// reads on in either case.
    #[must_use]
    pub fn renewed(self: &Arc<Self>, settings: &SpoolSettings, cameras: &Cameras) -> Arc<Self> {
        if self.settings != *settings {
            return Arc::new(Spool {
                settings: settings.clone(),
                budget: Budget::new(settings.max_bytes),
                memory: Arc::clone(&self.memory),
                kept: Mutex::default(),
                served: Arc::clone(&self.served),
            });
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|clip, kept| {
            let camera = cameras.get(&clip.camera);
            camera.is_some_and(|camera| camera.plays_as(&kept.camera))
        });
        drop(kept);
        Arc::clone(self)
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
            let fit = !found.entry.has_failed() && !outdated && found.camera.plays_as(camera);
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
        std::fs::create_dir_all(&self.settings.folder)?;
        let file = tempfile::tempfile_in(&self.settings.folder)?;
        let entry = Entry::new(file, &self.budget, &self.memory);
        let waiting = entry.read(0, Some(0));
        if !passing {
            kept.insert(
                clip.clone(),
                Kept {
                    entry: Arc::clone(&entry),
                    camera: Arc::clone(camera),
                    used: now,
                },
            );
        }
        drop(kept);
        filling::start(self, &entry, camera, journal, clip, !passing);
        Ok((entry, waiting))
    }

    /// Whom these words are about, as far as they tell.
    pub fn client(&self, told: impl Hash) -> ClientKey {
        self.served.client(told)
    }

    /// Bytes of a clip are sent to a client, which asked for the first of them (`true`) or for later ones.
    pub fn serves(&self, clip: &Clip, entry: &Entry, client: (ClientKey, bool)) {
        self.served.serves(clip, entry.name(), client, clock::now());
    }

    /// Whether a client that goes on behind some bytes, and does not say of which file, may be given those of this one. While the
    /// clip is made that may not be known: then not.
    pub fn goes_on(&self, clip: &Clip, entry: &Entry, client: ClientKey) -> bool {
        self.served.goes_on(clip, entry.name(), client)
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

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;

    use seamline_probes::Index as Coverage;
    use seamline_routing::{Camera, CameraId, Policy, Timestamp};
    use seamline_rtsp::auth::server::Users;

    use super::*;
    use crate::access::Access;
    use crate::clocks::CopyClocks;
    use crate::inbound::Dialects;

    /// A camera that no recorder has.
    pub(crate) fn camera(id: &str) -> Arc<CameraEntry> {
        let camera = Camera {
            id: CameraId::from(id),
            name: id.into(),
            copies: Vec::new(),
        };
        let index = Coverage::new([camera], &HashMap::new(), clock::now());
        let index = index.expect("it has no recorder to be unknown");
        Arc::new(CameraEntry {
            slot: index.camera(id).expect("it is the one"),
            policy: Policy::default(),
            live: false,
            clocks: CopyClocks::new(0),
            soundings: Arc::default(),
            legs: Arc::default(),
        })
    }

    pub(crate) fn clip(camera: &str) -> Clip {
        Clip {
            camera: CameraId::from(camera),
            from: Timestamp::EPOCH,
            until: Timestamp::EPOCH,
            format: Format::Fragmented,
            gaps: Gaps::Close,
        }
    }

    /// Keeps a clip that is whole.
    pub(crate) fn keep(spool: &Spool, camera: &Arc<CameraEntry>, file: File) -> Arc<Entry> {
        let entry = Entry::new(file, &spool.budget, &spool.memory);
        let kept = Kept {
            entry: Arc::clone(&entry),
            camera: Arc::clone(camera),
            used: clock::now(),
        };
        let clip = clip(camera.id().as_str());
        spool.kept.lock().unwrap().insert(clip, kept);
        entry
    }

    fn cameras(entries: &[&Arc<CameraEntry>]) -> Cameras {
        let entries = entries.iter().map(|entry| entry.owned());
        let access = Access::new(Users::new([7; 32]));
        let (dialects, journal) = (Dialects::default(), Journal::default());
        Cameras::new(entries, access, dialects, journal)
    }

    #[tokio::test]
    async fn a_reload_keeps_the_clips_of_cameras_that_stay_what_they_were() {
        let settings = SpoolSettings::default();
        let spool = Spool::new(&settings);
        let [gate, yard, door, hall] = ["gate", "yard", "door", "hall"].map(camera);
        let file = || tempfile::tempfile().expect("there is a folder");
        for camera in [&gate, &yard, &door, &hall] {
            let entry = keep(&spool, camera, file());
            entry.append(vec![bytes::Bytes::from_static(&[7; 1000])], Duration::ZERO);
            entry.whole(None, "\"whole\"", 1000);
        }
        // The yard is recorded elsewhere now, the door plays by another rule, and the hall is gone.
        let door = Arc::new(CameraEntry {
            policy: Policy {
                min_gap: Policy::default().min_gap * 2,
                ..door.policy
            },
            ..door.owned()
        });
        let (yard_now, gate_now) = (camera("yard"), Arc::new(gate.owned()));
        let next = cameras(&[&gate_now, &yard_now, &door]);
        let renewed = spool.renewed(&settings, &next);
        assert!(Arc::ptr_eq(&spool, &renewed));
        let journal = Journal::default();
        let whole = |spool: &Arc<Spool>, camera: &Arc<CameraEntry>| {
            let clip = clip(camera.id().as_str());
            let (entry, _) = spool
                .open(camera, &journal, &clip, false, None)
                .expect("there is room");
            entry.is_whole()
        };
        assert!(whole(&renewed, &gate_now));
        assert!(!whole(&renewed, &yard_now) && !whole(&renewed, &door));
        // Who was let in before, and asks for the footage of then, gets it from then; and nobody else does.
        assert!(!whole(&renewed, &yard));
        assert!(!whole(&renewed, &yard_now));

        let roomier = SpoolSettings {
            max_bytes: settings.max_bytes * 2,
            ..settings
        };
        let other = renewed.renewed(&roomier, &next);
        assert!(!whole(&other, &gate_now));
        assert!(Arc::ptr_eq(&other.memory, &spool.memory), "counted twice");
    }
}
