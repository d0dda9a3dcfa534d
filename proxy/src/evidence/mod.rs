//! Exports: clips across all seams, with an account of every byte.

mod clip;
mod holes;
mod zip;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use seamline_evidence::{Digest, RecorderFacts, Requester, Sealed, SigningKey};
use seamline_routing::RecorderId;

pub use clip::{Clip, NoClip, Order};
pub(crate) use holes::explain;
pub use zip::Zipped;

/// What exports need of the configuration.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What manifests are signed with.
    pub key: Option<SigningKey>,
    /// What manifests say of each recorder.
    pub recorders: HashMap<RecorderId, RecorderFacts>,
    /// Manifests of the latest deliveries, so that they need not be made again by reading all footage again.
    recent: Mutex<VecDeque<Arc<Sealed>>>,
}

/// Manifests that are kept, and their bytes.
const RECENT_MAX: usize = 64;
const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Evidence {
    /// For these recorders.
    pub fn new(key: Option<SigningKey>, recorders: HashMap<RecorderId, RecorderFacts>) -> Self {
        Evidence {
            key,
            recorders,
            recent: Mutex::default(),
        }
    }

    /// Keeps the manifest of a clip that was delivered.
    pub fn keep(&self, sealed: Sealed) {
        let mut recent = self.recent.lock().expect("nobody panics while it looks");
        recent.push_back(Arc::new(sealed));
        let too_many = |recent: &VecDeque<Arc<Sealed>>| {
            let bytes: usize = recent.iter().map(|sealed| sealed.json.len()).sum();
            recent.len() > RECENT_MAX || bytes > RECENT_BYTES_MAX
        };
        while too_many(&recent) {
            recent.pop_front();
        }
    }

    /// The manifest of a clip of this camera with this digest, when it was delivered lately to the same user.
    pub fn recent(
        &self,
        camera: &str,
        digest: Digest,
        requester: &Requester,
    ) -> Option<Arc<Sealed>> {
        let recent = self.recent.lock().expect("nobody panics while it looks");
        let fits = |sealed: &&Arc<Sealed>| {
            let manifest = &sealed.manifest;
            manifest.camera == camera
                && manifest.file.sha256 == digest
                && manifest.requested_by == *requester
        };
        recent.iter().rev().find(fits).cloned()
    }

    fn recorder(&self, id: &RecorderId) -> RecorderFacts {
        let unknown = || RecorderFacts {
            name: id.to_string(),
            kind: "unknown".to_owned(),
            address: String::new(),
        };
        self.recorders.get(id).cloned().unwrap_or_else(unknown)
    }
}
