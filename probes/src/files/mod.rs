//! Folders of MP4 files behind a web server: what `motion`, cameras that upload and many small recorders leave. Files are named by
//! the time of their beginning; the server's page of a folder says which there are.
//!
//! * Where a file ends is told by when it was written last (`Last-Modified`), to the second, and where the next one begins
//!   shortly behind by that.
//! * Names tell seconds, and are given when a file is opened: its first picture may be some seconds older. What goes on from one
//!   file to the next is dated behind what came before ([`Dating::Named`]).
//! * Inside a file its own stamps count. Some recorders stamp pictures by when they took them up (`motion` does): a seam to an exact
//!   recorder is as exact as these stamps, and shows again, or leaves out, what they are off by.
//! * Of plain files the index is asked for by its bytes, wherever it is, and then the media from the wanted picture on. Servers
//!   that know no ranges of bytes give files from their beginning, as long as the index is there.
//! * A file that is still being written is not handed out.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::StatusCode;
use seamline_archive::{Located, MovieIndex, Pattern, locate_index};
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use url::Url;

use crate::{
    build_error::BuildError,
    clips::{self, Clip, Clips, Dating, Found},
    clock::{Clock, monotonic},
    http::{Basic, Device, HttpConfig},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    zone::Zone,
};

mod listing;

/// A web server that can be asked.
#[derive(Debug)]
pub struct FilesRecorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    device: Device,
    /// The address of the folder, with a slash at its end.
    base: Url,
    pattern: String,
    zone: Zone,
    clock: Clock,
    known: Mutex<Known>,
}

/// What was asked for before.
#[derive(Debug, Default)]
struct Known {
    listed: HashMap<Arc<str>, Arc<Listed>>,
    /// When finished files were written last, by their paths.
    written: HashMap<Arc<str>, Timestamp>,
    /// The indexes of finished files, by their paths; `None` of files that have none apart from their media.
    indexes: HashMap<Arc<str>, Option<Index>>,
}

#[derive(Debug, Clone)]
struct Index {
    bytes: Bytes,
    movie: Arc<MovieIndex>,
}

/// What the pages of a camera's folders said.
#[derive(Debug)]
struct Listed {
    /// The time that they are about.
    window: TimeRange,
    /// By their starts.
    files: Vec<File>,
    asked: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    start: Timestamp,
    /// On the server, percent-encoded.
    path: Arc<str>,
}

/// A file and where it ends; `None` while it is written.
type Ended = (File, Option<Timestamp>);

impl FilesRecorder {
    /// Checks address and pattern and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["pattern", "zone"])?;
        let device = Device::new(config, Basic::Sealed)?;
        let missing = || BuildError::Url {
            url: config.url.clone(),
            reason: "how are the files below it named? `pattern` is missing".to_owned(),
        };
        let pattern = config.pattern.clone().ok_or_else(missing)?;
        Pattern::parse(&pattern, Some("camera"))?;
        let mut base = device.url().clone();
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self(Arc::new(Inner {
            device,
            base,
            pattern,
            zone: config.zone.clone().unwrap_or(Zone::UTC),
            clock,
            known: Mutex::default(),
        })))
    }
}

impl Inner {
    async fn coverage(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let listed = self.list(&query.remote, query.window).await?;
        let (mut window, files) = (listed.window, &listed.files[..]);
        let end = query.window.end().min(window.end());
        let until = files.partition_point(|file| file.start < end);
        // The one before may reach into the window.
        let start = query.window.start().max(window.start());
        let first = files.partition_point(|file| file.start < start);
        let mut first = first.saturating_sub(1).min(until);
        if until - first > ENDS_MAX {
            first = until - ENDS_MAX;
            window = files
                .get(first)
                .and_then(|file| TimeRange::new(file.start, window.end()))
                .unwrap_or(window);
        }
        let ended = self.ends(files, first..until).await?;
        let growing = ended.last().is_some_and(|(_, end)| end.is_none());
        let ranges = ended
            .iter()
            .filter_map(|(file, end)| TimeRange::new(file.start, (*end)?));
        let now = self.clock.now();
        // All is listed where folders tell no times, but ends were asked for only of what was asked about.
        let window = window.intersect(query.window).unwrap_or(query.window);
        Ok(Coverage::new(window, ranges, now, growing))
    }

    /// The files of a camera that begin in a time, and shortly before it.
    async fn list(&self, remote: &Arc<str>, window: TimeRange) -> Result<Arc<Listed>, ProbeError> {
        let pattern = self.pattern(remote)?;
        let folders = Folders::of(&pattern, window, self.clock.now());
        let mut questions = Vec::new();
        for folder in &folders.paths {
            questions.push(self.page(folder, folders.dated));
        }
        let pages: Vec<Vec<String>> = stream::iter(questions)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut files: Vec<File> = folders
            .paths
            .iter()
            .zip(&pages)
            .flat_map(|(folder, names)| names.iter().map(move |name| format!("{folder}{name}")))
            .filter_map(|path| {
                let start = Timestamp::from_micros(pattern.start_us(&path)?);
                let path = self.path(&path)?.into();
                Some(File { start, path })
            })
            .collect();
        files.sort_by_key(|file| file.start);
        let listed = Arc::new(Listed {
            window: folders.window,
            files,
            asked: monotonic(),
        });
        let mut known = self.known();
        known.listed.insert(Arc::clone(remote), Arc::clone(&listed));
        Ok(listed)
    }

    /// The names on a folder's page. `dated` folders are there when something was recorded then.
    async fn page(&self, folder: &str, dated: bool) -> Result<Vec<String>, ProbeError> {
        let unusable = || ProbeError::protocol(format!("{folder:?} is no folder of a web server"));
        let path = self.path(folder).ok_or_else(unusable)?;
        let reply = self.device.get(&path).await?;
        if reply.status == StatusCode::NOT_FOUND && dated {
            return Ok(Vec::new());
        }
        let reply = reply.success("listing")?;
        let url = self.base.join(&path).map_err(|_| unusable())?;
        Ok(listing::names(&reply.body, &url))
    }

    /// Where some of the files end.
    async fn ends(&self, files: &[File], range: Range<usize>) -> Result<Vec<Ended>, ProbeError> {
        let mut questions = Vec::with_capacity(range.len());
        let asked = files.iter().enumerate().take(range.end).skip(range.start);
        for (nth, file) in asked.clone() {
            let next = files.get(nth + 1).map(|next| next.start);
            questions.push(self.end(file, next));
        }
        let ends: Vec<Option<Timestamp>> = stream::iter(questions)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(asked.map(|(_, file)| file.clone()).zip(ends).collect())
    }

    /// Where a file ends; `None` while it is written.
    async fn end(
        &self,
        file: &File,
        next: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, ProbeError> {
        let known = self.known().written.get(&file.path).copied();
        let written = if let Some(known) = known {
            known
        } else {
            let head = match self.device.head(&file.path).await {
                Ok(head) => head,
                // Deleted meanwhile.
                Err(ProbeError::NotFound) => return Ok(Some(file.start)),
                Err(error) => return Err(error),
            };
            let there = head.date.unwrap_or_else(|| self.clock.now());
            let written = head.modified.unwrap_or(there);
            if next.is_none() && there.since(written) < SETTLED {
                return Ok(None);
            }
            let mut known = self.known();
            if known.written.len() >= WRITTEN_MAX {
                known.written.clear();
            }
            known.written.insert(Arc::clone(&file.path), written);
            written
        };
        // Times of writing are cut to the second. Of a file that was copied later they say nothing.
        let written = written + SECOND;
        let written = written.min(file.start + FILE_MAX).max(file.start);
        Ok(Some(match next {
            Some(next) if written + JOINED >= next => next,
            _ => written,
        }))
    }

    async fn clip(&self, remote: &Arc<str>, from: Timestamp) -> Result<Found, ProbeError> {
        let listed = self.near(remote, from).await?;
        let files = &listed.files[..];
        let first = files
            .partition_point(|file| file.start <= from)
            .saturating_sub(1);
        let ended = self.ends(files, first..first + TRIES).await?;
        let growing = ended.last().is_some_and(|(_, end)| end.is_none());
        for (file, end) in ended {
            let Some(end) = end.filter(|end| *end > from) else {
                continue;
            };
            match self.open(&file, from).await {
                Ok(opened) => {
                    return Ok(Found::Clip(Box::new(Clip {
                        ends: end,
                        growing,
                        ..opened
                    })));
                }
                Err(ProbeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Found::Nothing { growing })
    }

    /// What is known of the files about an instant, or asked anew.
    async fn near(&self, remote: &Arc<str>, from: Timestamp) -> Result<Arc<Listed>, ProbeError> {
        let known = self.known().listed.get(remote).cloned();
        if let Some(known) = known {
            let age = monotonic().saturating_duration_since(known.asked);
            let inside = known.window.start() <= from
                && known.files.last().is_some_and(|last| last.start > from);
            if inside && age < FRESH {
                return Ok(known);
            }
        }
        let window = TimeRange::new(from - FILE_MAX, from + FILE_MAX);
        self.list(remote, window.unwrap_or(TimeRange::ALL)).await
    }

    /// Opens a file for an instant. Where it ends is for who asked.
    async fn open(&self, file: &File, from: Timestamp) -> Result<Clip, ProbeError> {
        let index = self.index(file).await?;
        let after_us = from.micros_since(file.start).max(0);
        let entrance = index
            .as_ref()
            .and_then(|index| Some((index, index.movie.entrance(after_us)?)));
        let clip = |header, body, place, after_us| Clip {
            header,
            body,
            place,
            dating: Dating::Named(file.start.shift(after_us)),
            ends: file.start,
            growing: false,
        };
        Ok(match entrance {
            Some((index, entrance)) => {
                let bytes = Some((entrance.place, REST_BYTES_MAX));
                let body = self.device.stream(&file.path, bytes).await?;
                let header = Some(index.bytes.clone());
                clip(header, body, Some(entrance.place), entrance.after_us)
            }
            None => clip(None, self.device.stream(&file.path, None).await?, None, 0),
        })
    }

    /// The index of a plain file; `None` where it is read as it comes.
    async fn index(&self, file: &File) -> Result<Option<Index>, ProbeError> {
        if let Some(known) = self.known().indexes.get(&file.path) {
            return Ok(known.clone());
        }
        let found = self.find_index(&file.path).await?;
        let mut known = self.known();
        if known.indexes.len() >= INDEXES_MAX {
            known.indexes.clear();
        }
        known.indexes.insert(Arc::clone(&file.path), found.clone());
        Ok(found)
    }

    async fn find_index(&self, path: &str) -> Result<Option<Index>, ProbeError> {
        let mut at = 0;
        for _ in 0..BOXES_MAX {
            let Some(bytes) = self.part(path, at, LOOK_BYTES).await? else {
                return Ok(None);
            };
            match locate_index(&bytes, at) {
                Located::Nowhere => return Ok(None),
                Located::Behind(next) if next <= at => return Ok(None),
                Located::Behind(next) => at = next,
                Located::At { at: place, len } if len <= INDEX_BYTES_MAX => {
                    let here = usize::try_from(place - at).ok();
                    let whole = here.and_then(|from| {
                        let until = from.checked_add(usize::try_from(len).ok()?)?;
                        (until <= bytes.len()).then(|| bytes.slice(from..until))
                    });
                    let moov = match whole {
                        Some(moov) => Some(moov),
                        None => self.part(path, place, len).await?,
                    };
                    let Some(moov) = moov else { return Ok(None) };
                    let movie = MovieIndex::read(&moov)
                        .map_err(|error| ProbeError::protocol(format!("{path}: {error}")))?;
                    return Ok(movie.map(|movie| Index {
                        bytes: moov,
                        movie: Arc::new(movie),
                    }));
                }
                Located::At { .. } => {
                    return Err(ProbeError::protocol(format!("{path}: an index too long")));
                }
            }
        }
        Ok(None)
    }

    /// Some bytes of a file; `None` where the server gives files as a whole alone.
    async fn part(&self, path: &str, at: u64, len: u64) -> Result<Option<Bytes>, ProbeError> {
        match self.device.part(path, at, len).await? {
            Some(body) => {
                let bytes_max = usize::try_from(len).unwrap_or(usize::MAX);
                Ok(Some(body.whole(bytes_max, "file").await?))
            }
            None => Ok(None),
        }
    }

    async fn describe(&self, remote: Arc<str>) -> Result<Description, ProbeError> {
        let known = self.known().listed.get(&remote).cloned();
        let listed = match known.filter(|known| !known.files.is_empty()) {
            Some(known) => known,
            None => self.list(&remote, TimeRange::ALL).await?,
        };
        let count = listed.files.len();
        let latest = count.saturating_sub(TRIES)..count;
        for (file, end) in self.ends(&listed.files, latest).await?.into_iter().rev() {
            if end.is_none() {
                continue;
            }
            match self.open(&file, file.start).await {
                Ok(clip) => return clips::describe(clip).await,
                Err(ProbeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ProbeError::NotFound)
    }

    fn pattern(&self, remote: &str) -> Result<Pattern, ProbeError> {
        let pattern = Pattern::parse(&self.pattern, Some(remote));
        let pattern = pattern.map_err(|error| ProbeError::protocol(error.to_string()))?;
        Ok(pattern.in_time_zone(self.zone.time_zone()))
    }

    /// The path on the server of a name below the folder.
    fn path(&self, name: &str) -> Option<String> {
        let mut url = self.base.clone();
        let (name, slash) = match name.strip_suffix('/') {
            Some(name) => (name, true),
            None => (name, false),
        };
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(name.split('/').filter(|part| !part.is_empty()));
        let slash = if slash || name.is_empty() { "/" } else { "" };
        Some(format!("{}{slash}", url.path().trim_end_matches('/')))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folders in which files of a time lie.
#[derive(Debug, PartialEq, Eq)]
struct Folders {
    /// Relative, with a slash at the end unless empty.
    paths: BTreeSet<String>,
    /// Whether their names tell times.
    dated: bool,
    /// The time that they tell all of.
    window: TimeRange,
}

impl Folders {
    fn of(pattern: &Pattern, window: TimeRange, now: Timestamp) -> Self {
        let at = |time: Timestamp| {
            let name = pattern.name_at(time.as_micros())?;
            let cut = name.rfind('/').map_or(0, |slash| slash + 1);
            Some(name.get(..cut)?.to_owned())
        };
        let [one, other] = APART.map(|micros| at(Timestamp::from_micros(micros)));
        if one == other {
            let paths = one.into_iter().collect();
            return Folders {
                paths,
                dated: false,
                window: TimeRange::ALL,
            };
        }
        let end = window.end().min(now + FOLDER_STEP);
        let start = window.start().max(end - WINDOW_MAX).min(end - FOLDER_STEP);
        let (mut paths, mut time) = (BTreeSet::new(), start - FILE_MAX);
        while time < end + FOLDER_STEP && paths.len() < FOLDERS_MAX {
            paths.extend(at(time));
            time = time + FOLDER_STEP;
        }
        // What there were too many folders for is not known.
        let told = if time < end {
            time
        } else {
            window.end().max(end)
        };
        Folders {
            paths,
            dated: true,
            window: TimeRange::new(start, told).unwrap_or(window),
        }
    }
}

impl Clips for Inner {
    fn clip(&self, remote: Arc<str>, from: Timestamp, _: Option<Timestamp>) -> Answer<'_, Found> {
        Box::pin(async move { self.clip(&remote, from).await })
    }
}

impl Recorder for FilesRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move { self.0.coverage(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // There may be no page of the folder itself: any answer shows that the server lives.
            match self.0.device.get(self.0.base.path()).await?.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProbeError::Credentials),
                _ => Ok(()),
            }
        })
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        Box::pin(self.0.describe(remote))
    }

    fn media(&self) -> MediaSource {
        MediaSource::Clips(Arc::<Inner>::clone(&self.0))
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// No file is longer.
const FILE_MAX: Duration = Duration::from_secs(3 * 3_600);
/// Files that are no further apart follow each other: names and times of writing tell seconds.
const JOINED: Duration = Duration::from_secs(3);
/// The latest file is finished when it was not written for this long.
const SETTLED: Duration = Duration::from_secs(10);
/// A listing serves for this long where it shows a file behind what is asked for.
const FRESH: Duration = Duration::from_secs(30);
/// Where folders tell times, so much is asked for at once.
const WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// Folders are not made for shorter times.
const FOLDER_STEP: Duration = Duration::from_secs(600);
const FOLDERS_MAX: usize = 400;
/// Two times of which all parts differ, µs: 2001-02-03 04:05:06 and 2012-11-10 19:47:38.
const APART: [i64; 2] = [981_173_106_000_000, 1_352_576_858_000_000];
/// Files of one listing whose ends are asked for.
const ENDS_MAX: usize = 3_000;
const AT_ONCE: usize = 8;
const WRITTEN_MAX: usize = 100_000;
const INDEXES_MAX: usize = 32;
const INDEX_BYTES_MAX: u64 = 16 << 20;
/// What is asked for to find the index: mostly its own head.
const LOOK_BYTES: u64 = 4 << 10;
/// To the end of a file; servers refuse numbers that are no lengths of files.
const REST_BYTES_MAX: u64 = 1 << 40;
/// Boxes ahead of the index.
const BOXES_MAX: usize = 16;
/// Files of one listing that are tried.
const TRIES: usize = 3;

#[cfg(test)]
mod tests;
