//! A folder of recorded files, indexed by time and kept up to date by what changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{error::ArchiveError, naming::Pattern};

mod catalogue;

pub(crate) use catalogue::open_file;
use catalogue::{Catalogue, Found, Stamp};

/// A folder of MP4 files that hold one camera's recording. Shared by all who read it.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    pattern: Pattern,
    options: Options,
    state: Mutex<Catalogue>,
}

/// What cannot be seen in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Holes between files shorter than this are none. `None`: 100 ms, or 1 s when file names tell
    /// whole seconds only.
    pub join: Option<Duration>,
    /// A recording goes on when its last file changed within this time. At least the longest time
    /// between two writes of the recorder.
    pub growing_within: Duration,
    /// How old a listing may be for readers that look for what comes next.
    pub rescan: Duration,
}

/// One readable file, and the time it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Where it is.
    pub path: Arc<Path>,
    /// Capture time (µs UTC) of the file's presentation time 0: what its name tells, moved to the
    /// end of the file before where names are coarse.
    pub base_us: i64,
    /// Capture time of the first picture, µs UTC.
    pub start_us: i64,
    /// End of the last picture, exclusive, µs UTC.
    pub end_us: i64,
    /// Whether it is still being written, fragment by fragment.
    pub growing: bool,
}

/// What a folder held at one moment.
#[derive(Debug, Default)]
pub struct Listing {
    /// Readable files by start, then name. They may overlap.
    pub segments: Vec<SegmentFile>,
    /// Files that fit the pattern but cannot be read. A file that the recorder has just begun and
    /// that has no movie header yet is not among them.
    pub problems: Vec<Arc<ArchiveError>>,
    /// Whether the recording goes on: more is to be expected behind the last file.
    pub live: bool,
    /// When the folder was read, µs UTC.
    pub scanned_us: i64,
}

/// A stretch without holes, half-open, µs UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// First instant.
    pub start_us: i64,
    /// First instant behind it.
    pub end_us: i64,
    /// Whether its last file is still being written.
    pub growing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            join: None,
            growing_within: Duration::from_secs(15),
            rescan: Duration::from_millis(500),
        }
    }
}

impl Folder {
    /// Takes a folder into use. It must exist; what it holds is read by the first scan.
    pub fn open(dir: &Path, pattern: Pattern, options: Options) -> Result<Arc<Self>, ArchiveError> {
        fs::read_dir(dir).map_err(|source| ArchiveError::Io {
            path: dir.to_path_buf(),
            source,
        })?;
        Ok(Arc::new(Self {
            dir: dir.to_path_buf(),
            pattern,
            options,
            state: Mutex::new(Catalogue::default()),
        }))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Holes shorter than this (µs) are none.
    pub fn join_us(&self) -> i64 {
        match self.options.join {
            Some(join) => us(join),
            None if self.pattern.is_coarse() => COARSE_US,
            None => JOIN_US,
        }
    }

    /// Reads the folder. Only files whose size or time of change differs from the last scan are
    /// opened. `now_us` is the wall clock, µs UTC.
    pub fn scan(&self, now_us: i64) -> Result<Arc<Listing>, ArchiveError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        self.collect(&self.dir, "", self.pattern.folders(), &mut found)?;
        state.update(found);
        let listing = Arc::new(state.list(now_us, &self.pattern, &self.options));
        state.listing = Some(Arc::clone(&listing));
        Ok(listing)
    }

    /// The last listing when it is recent enough ([`Options::rescan`]), otherwise a new one.
    pub fn listing(&self, now_us: i64) -> Result<Arc<Listing>, ArchiveError> {
        let known = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.listing.clone()
        };
        match known {
            Some(known) if (0..us(self.options.rescan)).contains(&(now_us - known.scanned_us)) => {
                Ok(known)
            }
            _ => self.scan(now_us),
        }
    }

    fn collect(
        &self,
        dir: &Path,
        relative: &str,
        levels: &[Option<String>],
        found: &mut Vec<Found>,
    ) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Io {
            path: dir.to_path_buf(),
            source,
        };
        let Some((level, deeper)) = levels.split_first() else {
            for entry in fs::read_dir(dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let Some(name) = entry.file_name().to_str().map(|name| join(relative, name)) else {
                    continue;
                };
                let Some(named_us) = self.pattern.start_us(&name) else {
                    continue;
                };
                if found.len() >= FILES_MAX {
                    return Err(ArchiveError::TooLarge {
                        path: self.dir.clone(),
                        what: "number of files",
                    });
                }
                // A file deleted since the folder was read is simply not there.
                if let Ok(meta) = fs::metadata(entry.path())
                    && meta.is_file()
                {
                    found.push(Found {
                        path: entry.path().into(),
                        named_us,
                        stamp: Stamp::of(&meta),
                    });
                }
            }
            return Ok(());
        };
        let mut enter = |name: &str| match self.collect(
            &dir.join(name),
            &join(relative, name),
            deeper,
            found,
        ) {
            Err(ArchiveError::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(())
            }
            other => other,
        };
        if let Some(fixed) = level {
            return enter(fixed);
        }
        for entry in fs::read_dir(dir).map_err(failed)? {
            if let Some(name) = entry.map_err(failed)?.file_name().to_str() {
                enter(name)?;
            }
        }
        Ok(())
    }
}

impl Listing {
    /// The file to play `at_us` from: of those that cover it the one that begins last.
    pub fn segment_at(&self, at_us: i64) -> Option<&SegmentFile> {
        let after = self.segments.partition_point(|file| file.start_us <= at_us);
        self.segments
            .get(..after)?
            .iter()
            .rev()
            .take(OVERLAPPING_MAX)
            .find(|file| at_us < file.end_us)
    }

    /// The first file that begins at or after `at_us`.
    pub fn next_segment(&self, at_us: i64) -> Option<&SegmentFile> {
        let before = self.segments.partition_point(|file| file.start_us < at_us);
        self.segments.get(before)
    }

    /// The file that goes on after `current`, which covered everything before `until_us`.
    pub(crate) fn successor(&self, current: &SegmentFile, until_us: i64) -> Option<&SegmentFile> {
        let after = self.segments.partition_point(|file| {
            (file.start_us, &file.path) <= (current.start_us, &current.path)
        });
        self.segments
            .get(after..)?
            .iter()
            .find(|file| file.end_us > until_us && file.path != current.path)
    }

    /// The file whose pictures come last before `before_us`: of those that reach farthest the one that begins last.
    pub(crate) fn segment_before(&self, before_us: i64) -> Option<&SegmentFile> {
        let after = self
            .segments
            .partition_point(|file| file.start_us < before_us);
        let near = self
            .segments
            .get(after.saturating_sub(OVERLAPPING_MAX)..after)?;
        near.iter().max_by_key(|file| file.end_us.min(before_us))
    }

    /// The file in front of the one at `path`.
    pub(crate) fn predecessor(&self, path: &Path) -> Option<&SegmentFile> {
        let at = self.segments.iter().position(|file| &*file.path == path)?;
        self.segments.get(at.checked_sub(1)?)
    }
}

/// Joins files into periods: sorted, disjoint, with holes of at least `join_us` between them.
pub fn periods(segments: &[SegmentFile], join_us: i64) -> Vec<Period> {
    let mut periods: Vec<Period> = Vec::new();
    for file in segments {
        match periods.last_mut() {
            Some(last) if file.start_us.saturating_sub(last.end_us) < join_us => {
                last.end_us = last.end_us.max(file.end_us);
                last.growing |= file.growing;
            }
            _ => periods.push(Period {
                start_us: file.start_us,
                end_us: file.end_us,
                growing: file.growing,
            }),
        }
    }
    periods
}

fn join(relative: &str, name: &str) -> String {
    if relative.is_empty() {
        return name.to_owned();
    }
    format!("{relative}/{name}")
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

const COARSE_US: i64 = 1_000_000;
const FILES_MAX: usize = 1 << 20;
const JOIN_US: i64 = 100_000;
/// Files that may cover one instant.
const OVERLAPPING_MAX: usize = 64;

#[cfg(test)]
mod tests;
