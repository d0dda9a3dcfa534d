//! What the demo plays on: unpacked footage, and houses around it.

use std::fs::File;
use std::path::{Path, PathBuf};

use seamline_archive::{Folder, Options, Pattern, Segment};
use seamline_probes::Clock;
use seamline_routing::TimeRange;
use tempfile::TempDir;

use super::DemoError;
use super::clips::{self, CAMERA, PATTERN, PRIMARY, SECONDARY};
use crate::clock;
use crate::config::{Config, Problems};
use crate::house::House;
use crate::journal::Journal;

/// The unpacked footage; deleted when dropped.
pub(super) struct Stage {
    folder: TempDir,
}

/// Both sites by priority.
pub(super) const SITES: [&str; 2] = [PRIMARY, SECONDARY];

impl Stage {
    pub(super) fn unpack() -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new()
            .prefix("seamline-demo-")
            .tempdir()?;
        clips::unpack(folder.path())?;
        Ok(Stage { folder })
    }

    /// Where a site's files are.
    pub(super) fn site(&self, site: &str) -> PathBuf {
        self.folder.path().join(site)
    }

    /// A house that reads both sites' files.
    pub(super) fn archives(&self, journal: Journal) -> Result<House, DemoError> {
        let recorders = SITES.map(|site| (site, archive(&self.site(site))));
        Ok(house(&recorders, journal)?)
    }

    /// Capture times (µs) of all pictures in `window`, those that both sites hold once.
    pub(super) fn pictures(&self, window: TimeRange) -> Result<Vec<i64>, DemoError> {
        let mut captured = Vec::new();
        for site in SITES {
            let pattern = Pattern::parse(PATTERN, None).map_err(DemoError::footage)?;
            let folder = Folder::open(&self.site(site), pattern, Options::default())
                .map_err(DemoError::footage)?;
            let listing = folder
                .scan(clock::wall().as_micros())
                .map_err(DemoError::footage)?;
            for file in &listing.segments {
                let segment = Segment::read(&file.path, &mut File::open(&file.path)?)
                    .map_err(DemoError::footage)?;
                let Some(video) = segment.tracks().first() else {
                    continue;
                };
                let all = video
                    .samples()
                    .iter()
                    .map(|sample| file.base_us + segment.presentation_us(video, sample));
                captured.extend(all.filter(|at| {
                    (window.start().as_micros()..window.end().as_micros()).contains(at)
                }));
            }
        }
        captured.sort_unstable();
        // Two recorders' time scales round to neighbouring microseconds.
        captured.dedup_by(|later, kept| *later - *kept < super::judge::SAME_US);
        Ok(captured)
    }
}

/// The lines of a recorder that is a folder.
pub(super) fn archive(folder: &Path) -> String {
    let path = toml::Value::from(folder.display().to_string());
    format!("kind = \"archive\"\npath = {path}\npattern = \"{PATTERN}\"")
}

/// A house with the demo's camera at each of `sites`, given with the lines of their recorders.
pub(super) fn house(sites: &[(&str, String)], journal: Journal) -> Result<House, Problems> {
    let copies: Vec<String> = sites
        .iter()
        .map(|(site, _)| format!("{{ recorder = \"{site}\", remote = \"{CAMERA}\" }}"))
        .collect();
    let recorders: Vec<String> = sites.iter().map(|(site, recorder)| {
        format!("[[site]]\nname = \"{site}\"\n[[recorder]]\nname = \"{site}\"\nsite = \"{site}\"\n{recorder}\n")
    }).collect();
    let text = format!(
        "[policy]\nfailback = \"after 1s\"\n[[camera]]\nid = \"{CAMERA}\"\nname = \"Gate\"\ncopies = [{}]\n{}",
        copies.join(", "),
        recorders.concat(),
    );
    Config::parse(&text, "demo", Clock::System).map(|config| House::build(config, journal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clips_hold_every_picture_of_the_minute_at_one_site_at_least() {
        let stage = Stage::unpack().unwrap();
        let start = clips::START;
        let minute = TimeRange::new(start, start + std::time::Duration::from_secs(60)).unwrap();
        let pictures = stage.pictures(minute).unwrap();
        assert_eq!(pictures.len(), 60 * 25);
        assert!(
            pictures
                .iter()
                .zip(pictures.iter().skip(1))
                .all(|(one, next)| next - one == 40_000)
        );
    }
}
