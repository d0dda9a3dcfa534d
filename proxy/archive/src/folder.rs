//! A folder of recorded files, indexed by time and kept up to date by what changed.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use crate::{error::ArchiveError, naming::Pattern, segment::Segment};

/// A folder of MP4 files that hold one camera's recording. Shared by all who read it.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    pattern: Pattern,
    options: Options,
    state: Mutex<State>,
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
            state: Mutex::new(State::default()),
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

#[derive(Debug, Default)]
struct State {
    files: HashMap<Arc<Path>, Entry>,
    listing: Option<Arc<Listing>>,
}

#[derive(Debug)]
struct Found {
    path: Arc<Path>,
    named_us: i64,
    stamp: Stamp,
}

/// What tells that a file is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    changed_us: i64,
}

#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    named_us: i64,
    /// See [`SegmentFile::base_us`]; kept, so that deleting older files moves nothing.
    base_us: Option<i64>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Start and end of the pictures, µs from the base.
    Closed {
        extent: Option<(i64, i64)>,
        fragmented: bool,
    },
    /// The index of a file that grows, to be continued where it ended.
    Open(Box<Segment>),
    Bad(Arc<ArchiveError>),
}

impl State {
    fn update(&mut self, found: Vec<Found>) {
        let newest = found
            .iter()
            .max_by_key(|file| (file.named_us, &file.path))
            .map(|file| Arc::clone(&file.path));
        let mut files = HashMap::with_capacity(found.len());
        for file in found {
            let known = self.files.remove(&file.path);
            let keep_open = newest.as_ref() == Some(&file.path);
            let base_us = known.as_ref().and_then(|known| known.base_us);
            let content = match known {
                Some(known) if known.stamp == file.stamp => known.content.settled(keep_open),
                Some(Entry {
                    stamp,
                    content: Content::Open(segment),
                    ..
                }) if stamp.len <= file.stamp.len => grown(segment, &file.path, keep_open),
                _ => read(&file.path, keep_open),
            };
            let entry = Entry {
                stamp: file.stamp,
                named_us: file.named_us,
                base_us,
                content,
            };
            files.insert(file.path, entry);
        }
        self.files = files;
    }

    fn list(&mut self, now_us: i64, pattern: &Pattern, options: &Options) -> Listing {
        let mut entries: Vec<_> = self.files.iter_mut().collect();
        entries.sort_by(|a, b| (a.1.named_us, a.0).cmp(&(b.1.named_us, b.0)));
        let newest = entries.len().saturating_sub(1);

        let mut listing = Listing {
            scanned_us: now_us,
            ..Listing::default()
        };
        let mut previous_end_us = None;
        for (index, (path, entry)) in entries.into_iter().enumerate() {
            let quiet_us = now_us.saturating_sub(entry.stamp.changed_us);
            let fresh = quiet_us < us(options.growing_within);
            let (extent, fragmented) = match &entry.content {
                Content::Closed { extent, fragmented } => (*extent, *fragmented),
                Content::Open(segment) => (segment.extent_us(), segment.is_fragmented()),
                Content::Bad(error) => {
                    let begun = matches!(**error, ArchiveError::Unfinished { .. })
                        && now_us.saturating_sub(entry.named_us) < LIVE_MAX_US;
                    if !(fresh && begun) {
                        listing.problems.push(Arc::clone(error));
                    }
                    listing.live |= fresh && begun;
                    continue;
                }
            };
            let Some((first_us, last_us)) = extent else {
                continue;
            };
            let mut base_us = entry.base_us.unwrap_or(entry.named_us);
            if pattern.is_coarse()
                && let Some(end_us) = previous_end_us
            {
                let adjoining_us = i64::saturating_sub(end_us, first_us);
                let adjoins = adjoining_us.abs_diff(entry.named_us) < COARSE_US as u64;
                base_us = if adjoins {
                    adjoining_us
                } else {
                    entry.named_us
                };
            }
            entry.base_us = Some(base_us);
            let end_us = base_us.saturating_add(last_us);
            previous_end_us = previous_end_us.max(Some(end_us));
            // Old footage that was copied here just now is not a recording that goes on.
            let current = now_us.saturating_sub(end_us) < SKEW_MAX_US;
            let growing = index == newest && current && fresh && fragmented;
            // Plain files appear when they are closed, the next one as much later as this is long.
            let due_us = us(options.growing_within).saturating_add(last_us - first_us);
            let due_us = if fragmented {
                0
            } else {
                due_us.min(LIVE_MAX_US)
            };
            listing.live |= growing
                || index == newest
                    && now_us.saturating_sub(end_us) < SKEW_MAX_US.saturating_add(due_us)
                    && quiet_us < due_us;
            listing.segments.push(SegmentFile {
                path: Arc::clone(path),
                base_us,
                start_us: base_us.saturating_add(first_us),
                end_us,
                growing,
            });
        }
        listing
            .segments
            .sort_by(|a, b| (a.start_us, &a.path).cmp(&(b.start_us, &b.path)));
        listing
    }
}

impl Content {
    /// Drops the index of a file that is not the newest any more.
    fn settled(self, keep_open: bool) -> Self {
        match self {
            Self::Open(segment) if !keep_open => Self::of(segment, false),
            other => other,
        }
    }

    fn of(segment: Box<Segment>, keep_open: bool) -> Self {
        if keep_open && segment.is_fragmented() {
            return Self::Open(segment);
        }
        Self::Closed {
            extent: segment.extent_us(),
            fragmented: segment.is_fragmented(),
        }
    }
}

fn read(path: &Path, keep_open: bool) -> Content {
    match open_file(path).and_then(|mut file| Segment::read(path, &mut file)) {
        Ok(segment) => Content::of(Box::new(segment), keep_open),
        Err(error) => Content::Bad(Arc::new(error)),
    }
}

fn grown(mut segment: Box<Segment>, path: &Path, keep_open: bool) -> Content {
    match open_file(path).and_then(|mut file| segment.refresh(&mut file)) {
        Ok(_) => Content::of(segment, keep_open),
        Err(error) => Content::Bad(Arc::new(error)),
    }
}

pub(crate) fn open_file(path: &Path) -> Result<io::BufReader<File>, ArchiveError> {
    let file = File::open(path).map_err(|source| ArchiveError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(io::BufReader::with_capacity(READ_BYTES, file))
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let changed = meta.modified().unwrap_or(UNIX_EPOCH);
        let since = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            len: meta.len(),
            changed_us: us(since),
        }
    }
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
/// A recording whose last file is older than this has ended, however long its files are.
const LIVE_MAX_US: i64 = 3_600_000_000;
/// How far the recorder's clock may be behind ours.
const SKEW_MAX_US: i64 = 300_000_000;
/// Files that may cover one instant.
const OVERLAPPING_MAX: usize = 64;
/// A fragment's head is a few hundred bytes: the default buffer reads 20 of them too many.
const READ_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;
    use crate::testing::{FRAME_US, fragment, fragmented, plain};

    /// 2026-01-02T03:04:05Z, and long after.
    const AT: i64 = 1_767_323_045_000_000;
    const LATER: i64 = AT + 86_400_000_000;

    struct Dir {
        dir: tempfile::TempDir,
        pattern: Pattern,
    }

    impl Dir {
        fn new(pattern: &str) -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                pattern: Pattern::parse(pattern, Some("gate")).unwrap(),
            }
        }

        /// Writes the file that begins at `at_us`, changed last at `changed_us`.
        fn put(&self, at_us: i64, bytes: &[u8], changed_us: i64) -> PathBuf {
            let path = self.dir.path().join(self.pattern.name_at(at_us).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            let changed = SystemTime::UNIX_EPOCH + Duration::from_micros(changed_us as u64);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(changed).unwrap();
            path
        }

        fn folder(&self) -> Arc<Folder> {
            Folder::open(self.dir.path(), self.pattern.clone(), Options::default()).unwrap()
        }
    }

    fn spans(listing: &Listing) -> Vec<(i64, i64)> {
        listing
            .segments
            .iter()
            .map(|file| (file.start_us - AT, file.end_us - AT))
            .collect()
    }

    #[test]
    fn files_become_periods() {
        let dir = Dir::new("{camera}/%Y-%m-%d/%H-%M-%S-%f");
        let second = 25 * FRAME_US;
        for start in [
            0,
            second,
            2 * second + 90_000,
            5 * second,
            5 * second + 500_000,
        ] {
            dir.put(AT + start, &plain(25, 0), AT);
        }
        fs::write(dir.dir.path().join("gate/notes.txt"), "x").unwrap();
        let folder = dir.folder();
        let listing = folder.scan(LATER).unwrap();
        assert_eq!(listing.segments.len(), 5);
        assert!(listing.problems.is_empty() && !listing.live);
        let periods: Vec<_> = periods(&listing.segments, folder.join_us())
            .iter()
            .map(|period| (period.start_us - AT, period.end_us - AT))
            .collect();
        assert_eq!(
            periods,
            [(0, 3 * second + 90_000), (5 * second, 6 * second + 500_000)]
        );
        let at = |at: i64| listing.segment_at(AT + at).map(|file| file.start_us - AT);
        assert_eq!(at(-1), None);
        assert_eq!(at(0), Some(0));
        assert_eq!(at(second), Some(second));
        assert_eq!(at(4 * second), None);
        assert_eq!(at(5 * second + 700_000), Some(5 * second + 500_000));
        let next = listing.next_segment(AT + 4 * second).unwrap();
        assert_eq!(next.start_us, AT + 5 * second);
        assert_eq!(listing.next_segment(LATER), None);
    }

    #[test]
    fn coarse_names_follow_the_file_before_them() {
        let dir = Dir::new("%Y%m%dT%H%M%SZ");
        let length = 26 * FRAME_US;
        for second in [0, 1, 2, 3, 9] {
            dir.put(AT + second * 1_000_000, &plain(26, 0), AT);
        }
        let folder = dir.folder();
        let listing = folder.scan(LATER).unwrap();
        let expected = [
            (0, length),
            (length, 2 * length),
            (2 * length, 3 * length),
            (3 * length, 4 * length),
            (9_000_000, 9_000_000 + length),
        ];
        assert_eq!(spans(&listing), expected);
        fs::remove_file(&listing.segments[0].path).unwrap();
        assert_eq!(spans(&folder.scan(LATER).unwrap()), expected[1..]);
    }

    #[test]
    fn a_growing_file_is_followed_until_it_rests() {
        let dir = Dir::new("{epoch_ms}");
        let bytes = fragmented(3);
        let folder = dir.folder();
        let path = dir.put(AT, &bytes[..bytes.len() - 1], AT);
        let listing = folder.scan(AT + 1_000_000).unwrap();
        assert_eq!(spans(&listing), [(0, 10 * FRAME_US)]);
        assert!(listing.live && listing.segments[0].growing);

        dir.put(AT, &bytes, AT + 2_000_000);
        let now = AT + 2_100_000;
        assert_eq!(spans(&folder.scan(now).unwrap()), [(0, 15 * FRAME_US)]);
        let known = folder.listing(now + 100_000).unwrap();
        assert_eq!(known.scanned_us, now);

        let listing = folder.scan(AT + 60_000_000).unwrap();
        assert!(!listing.live && !listing.segments[0].growing);

        fs::remove_file(path).unwrap();
        assert!(folder.scan(LATER).unwrap().segments.is_empty());
    }

    #[test]
    fn a_replaced_file_is_read_anew() {
        let dir = Dir::new("{epoch_ms}");
        let folder = dir.folder();
        dir.put(AT, &fragmented(3), AT);
        assert_eq!(spans(&folder.scan(LATER).unwrap()), [(0, 15 * FRAME_US)]);
        dir.put(AT, &fragmented(1), AT + 1);
        assert_eq!(spans(&folder.scan(LATER).unwrap()), [(0, 5 * FRAME_US)]);
        let grown = [fragmented(1), fragment(5, 5)].concat();
        dir.put(AT, &grown, AT + 2);
        assert_eq!(spans(&folder.scan(LATER).unwrap()), [(0, 10 * FRAME_US)]);
    }

    #[test]
    fn unreadable_files_are_named_and_the_others_play() {
        let dir = Dir::new("{epoch_ms}");
        dir.put(AT, &plain(25, 0), AT);
        let bad = dir.put(AT + 10_000_000, b"rubbish, not a recording", AT);
        let begun = dir.put(AT + 20_000_000, &plain(25, 0)[..200], AT + 20_000_000);
        let folder = dir.folder();
        let listing = folder.scan(AT + 21_000_000).unwrap();
        assert_eq!(spans(&listing), [(0, 25 * FRAME_US)]);
        let problems: Vec<_> = listing.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [format!("{}: not an MP4 file", bad.display())]);
        assert!(listing.live, "a file has just been begun");
        let listing = folder.scan(LATER).unwrap();
        assert!(
            listing.problems[1]
                .to_string()
                .contains(begun.to_str().unwrap())
        );
        assert!(!listing.live);
    }

    #[test]
    fn old_footage_copied_now_does_not_grow() {
        let dir = Dir::new("{epoch_ms}");
        dir.put(AT, &fragmented(3), LATER);
        let listing = dir.folder().scan(LATER + 1).unwrap();
        assert!(!listing.live && !listing.segments[0].growing);
    }

    #[test]
    fn a_folder_that_is_not_there() {
        let pattern = Pattern::parse("%s", None).unwrap();
        let error = Folder::open(Path::new("/nonexistent"), pattern, Options::default());
        assert!(error.unwrap_err().to_string().contains("/nonexistent"));
    }
}
