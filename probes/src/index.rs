//! What is known of every copy of every camera, read without asking and without a lock.

use std::{collections::HashMap, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use seamline_routing::{Camera, CameraId, RecorderId};

use crate::service::RecorderClient;

mod facts;
mod learning;
mod slot;

pub use facts::{COPIES_INLINE, Changes, Facts};
pub use learning::Lesson;
pub use slot::Slot;

/// What is known, a slot for each configured camera.
#[derive(Debug)]
pub struct Index {
    slots: ArcSwap<HashMap<CameraId, Arc<Slot>>>,
    /// Where the slots' times count from.
    origin: Instant,
}

/// A camera names a recorder that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("camera {camera} names the unknown recorder {recorder}")]
pub struct UnknownRecorder {
    /// The camera.
    pub camera: CameraId,
    /// What it names.
    pub recorder: RecorderId,
}

impl Index {
    /// An index of `cameras`, of which nothing is known yet.
    pub fn new(
        cameras: impl IntoIterator<Item = Camera>,
        recorders: &HashMap<RecorderId, RecorderClient>,
        now: Instant,
    ) -> Result<Self, UnknownRecorder> {
        let index = Self {
            slots: ArcSwap::default(),
            origin: now,
        };
        index.replace(cameras, recorders)?;
        Ok(index)
    }

    /// Takes other cameras in their place, whole or not at all. Copies that stay as they were keep
    /// what is known of them; of cameras whose recorders stay as well, those who play them learn on.
    pub fn replace(
        &self,
        cameras: impl IntoIterator<Item = Camera>,
        recorders: &HashMap<RecorderId, RecorderClient>,
    ) -> Result<(), UnknownRecorder> {
        let before = self.slots.load_full();
        let mut slots = HashMap::new();
        for camera in cameras {
            let known = before.get(&camera.id);
            let id = camera.id.clone();
            let slot = match known.filter(|slot| slot.is_of(&camera, recorders)) {
                Some(slot) => Arc::clone(slot),
                None => Arc::new(Slot::new(
                    camera,
                    recorders,
                    known.map(|slot| &**slot),
                    self.origin,
                )?),
            };
            slots.insert(id, slot);
        }
        self.slots.store(Arc::new(slots));
        Ok(())
    }

    /// The slot of a camera.
    pub fn camera(&self, id: &str) -> Option<Arc<Slot>> {
        self.slots.load().get(id).cloned()
    }

    /// All slots, in no order.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.load().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
