//! What a user may see, as management servers say it in what they tell him of cameras.

use std::collections::HashMap;

use crate::configuration::{Configuration, RecordingServer};

/// What a user may see: nothing of a camera that is not named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// By GUID in lower case.
    cameras: HashMap<String, CameraRights>,
}

/// What a user may see of a camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CameraRights {
    /// Recordings (`Browse`).
    pub play: bool,
    /// What it sees now (`Live`).
    pub live: bool,
    /// What is recorded, and when (`GetSequences`).
    pub list: bool,
}

impl Rights {
    /// What an answer allows. Where a camera is named without a word on a right, it is there: the server decides again on use.
    pub fn of(told: &Configuration) -> Self {
        let mut rights = Self::default();
        rights.take_over(&told.recorders);
        rights
    }

    /// What is allowed of a camera.
    pub fn camera(&self, device: &str) -> CameraRights {
        let device = device.to_ascii_lowercase();
        self.cameras.get(&device).copied().unwrap_or_default()
    }

    /// How many cameras are named.
    pub fn count(&self) -> usize {
        self.cameras.len()
    }

    /// What both allow, and nothing else: a right that one of the two withholds is withheld.
    #[must_use]
    pub fn narrowed_to(&self, other: &Self) -> Self {
        let both = self.cameras.iter().filter_map(|(device, ours)| {
            let theirs = other.cameras.get(device)?;
            let common = CameraRights {
                play: ours.play && theirs.play,
                live: ours.live && theirs.live,
                list: ours.list && theirs.list,
            };
            Some((device.clone(), common))
        });
        Self {
            cameras: both.collect(),
        }
    }

    /// The same with less: a right is withheld where `part`, which tells of some cameras, withholds it.
    #[must_use]
    pub fn lowered_by(&self, part: &Self) -> Self {
        let mut lowered = self.clone();
        for (device, rights) in &mut lowered.cameras {
            if let Some(told) = part.cameras.get(device) {
                rights.play &= told.play;
                rights.live &= told.live;
                rights.list &= told.list;
            }
        }
        lowered
    }

    fn take_over(&mut self, recorders: &[RecordingServer]) {
        let cameras = recorders.iter().flat_map(|recorder| &recorder.cameras);
        let others = recorders.iter().flat_map(|recorder| &recorder.others);
        let cameras = cameras.chain(others);
        for camera in cameras {
            let said = CameraRights {
                play: camera.may_play.unwrap_or(true),
                live: camera.may_live.unwrap_or(true),
                list: camera.may_list.unwrap_or(true),
            };
            // Named twice: the narrower counts.
            let device = camera.id.to_ascii_lowercase();
            let known = self.cameras.entry(device).or_insert(said);
            known.play &= said.play;
            known.live &= said.live;
            known.list &= said.list;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::configuration::Camera;

    fn said() -> impl Strategy<Value = Option<bool>> {
        prop::option::of(any::<bool>())
    }

    fn told() -> impl Strategy<Value = Configuration> {
        let camera = ("[abAB]", said(), said(), said()).prop_map(|(id, play, live, list)| Camera {
            id,
            may_play: play,
            may_live: live,
            may_list: list,
            ..Camera::default()
        });
        prop::collection::vec(camera, 0..6).prop_map(|cameras| Configuration {
            recorders: vec![RecordingServer {
                cameras,
                ..RecordingServer::default()
            }],
        })
    }

    /// Whether every mention of a camera allows it, and there is one.
    fn allows(told: &Configuration, device: &str, right: fn(&Camera) -> Option<bool>) -> bool {
        let mut cameras = told.recorders[0].cameras.iter();
        let named = || {
            told.recorders[0]
                .cameras
                .iter()
                .any(|camera| camera.id.eq_ignore_ascii_case(device))
        };
        named()
            && cameras.all(|camera| {
                !camera.id.eq_ignore_ascii_case(device) || right(camera) != Some(false)
            })
    }

    proptest! {
        #[test]
        fn no_right_comes_from_nowhere(one in told(), other in told()) {
            let narrowed = Rights::of(&one).narrowed_to(&Rights::of(&other));
            for device in ["a", "B", "c"] {
                let found = narrowed.camera(device);
                let both = |right: fn(&Camera) -> Option<bool>| {
                    allows(&one, device, right) && allows(&other, device, right)
                };
                prop_assert_eq!(found.play, both(|camera| camera.may_play));
                prop_assert_eq!(found.live, both(|camera| camera.may_live));
                prop_assert_eq!(found.list, both(|camera| camera.may_list));
            }
            prop_assert_eq!(narrowed.narrowed_to(&Rights::of(&one)), narrowed.clone());
            prop_assert_eq!(Rights::of(&other).narrowed_to(&Rights::of(&one)), narrowed);
        }
    }
}
