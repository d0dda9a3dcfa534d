//! Cameras' names in vendors' URLs: those that are written down, and those that follow from their copies.

use std::collections::{HashMap, HashSet};

use seamline_probes::Zone;
use seamline_routing::Camera;
use toml::Spanned;

use super::RecorderEntry;
use super::model::{DialectsTable, HikvisionZ};
use super::problems::Problems;
use crate::inbound::{Alias, Dialects, vendors};

/// Most names of one camera.
const ALIASES_MAX: usize = 64;

/// The names so far.
pub(super) struct Aliases {
    zone: Zone,
    z_is_local: bool,
    written: Dialects,
    implied: Dialects,
    /// Names that follow from the copies of more than one camera: they say nothing.
    ambiguous: HashSet<String>,
}

impl Aliases {
    pub(super) fn new(table: &DialectsTable) -> Self {
        Aliases {
            zone: table.zone.clone().unwrap_or(Zone::UTC),
            z_is_local: table.hikvision_z == HikvisionZ::Local,
            written: Dialects::default(),
            implied: Dialects::default(),
            ambiguous: HashSet::new(),
        }
    }

    /// Adds a camera's names.
    pub(super) fn add(
        &mut self,
        camera: &Camera,
        zone: Option<&Zone>,
        names: &[Spanned<String>],
        recorders: &HashMap<&str, &RecorderEntry>,
        problems: &mut Problems,
    ) {
        for (ix, name) in names.iter().enumerate() {
            if let Some(problem) = self.problem(name.get_ref(), ix) {
                problems.add(&name.span(), problem);
                continue;
            }
            let alias = Alias {
                camera: camera.id.clone(),
                zone: zone.unwrap_or(&self.zone).clone(),
                z_is_local: self.z_is_local,
            };
            self.written.insert(name.get_ref(), alias);
        }
        for copy in &camera.copies {
            let recorder = recorders.get(copy.recorder.as_str());
            let Some((dialect, its_zone)) = recorder.and_then(|entry| entry.dialect.clone()) else {
                continue;
            };
            let name = format!("{dialect}:{}", copy.remote);
            // A zone that is configured for a recorder is that of all its times, whatever letter they end with.
            let alias = Alias {
                camera: camera.id.clone(),
                z_is_local: self.z_is_local || its_zone.is_some(),
                zone: zone
                    .cloned()
                    .or(its_zone)
                    .unwrap_or_else(|| self.zone.clone()),
            };
            let other = self.implied.insert(&name, alias);
            if other.is_some_and(|other| other != camera.id) {
                self.ambiguous.insert(name);
            }
        }
    }

    fn problem(&self, name: &str, ix: usize) -> Option<String> {
        let vendors = vendors();
        let fits = name
            .split_once(':')
            .is_some_and(|(vendor, key)| vendors.contains(&vendor) && !key.is_empty());
        if !fits {
            let known = vendors.join(", ");
            return Some(format!(
                "{name:?} is no vendor and name such as \"hikvision:101\"; there are {known}"
            ));
        }
        if ix >= ALIASES_MAX {
            return Some(format!("a camera has up to {ALIASES_MAX} aliases"));
        }
        let other = self.written.get(name)?;
        Some(format!(
            "{name:?} is already an alias of camera {:?}",
            other.as_str()
        ))
    }

    /// All names: what is written down goes before what follows from copies.
    pub(super) fn done(mut self) -> Dialects {
        for name in &self.ambiguous {
            self.implied.remove(name);
        }
        self.implied.extend(self.written);
        self.implied
    }
}
