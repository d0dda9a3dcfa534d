//! What is known of a folder's files from one scan to the next, and how they lie in time.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io,
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};

use super::{COARSE_US, Listing, Options, SegmentFile, us};
use crate::{error::ArchiveError, naming::Pattern, segment::Segment};

/// The files of a folder, and the last listing of them.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    files: HashMap<Arc<Path>, Entry>,
    pub(super) listing: Option<Arc<Listing>>,
}

/// A file whose name fits.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: Arc<Path>,
    pub(super) named_us: i64,
    pub(super) stamp: Stamp,
}

/// What tells that a file is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
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

impl Catalogue {
    /// Reads what is new or has changed.
    pub(super) fn update(&mut self, found: Vec<Found>) {
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

    /// Places the files in time.
    pub(super) fn list(&mut self, now_us: i64, pattern: &Pattern, options: &Options) -> Listing {
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
    pub(super) fn of(meta: &Metadata) -> Self {
        let changed = meta.modified().unwrap_or(UNIX_EPOCH);
        let since = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            len: meta.len(),
            changed_us: us(since),
        }
    }
}

/// A recording whose last file is older than this has ended, however long its files are.
const LIVE_MAX_US: i64 = 3_600_000_000;
/// How far the recorder's clock may be behind ours.
const SKEW_MAX_US: i64 = 300_000_000;
/// A fragment's head is a few hundred bytes: the default buffer reads 20 of them too many.
const READ_BYTES: usize = 4096;
