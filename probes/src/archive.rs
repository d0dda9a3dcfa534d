//! A folder of MP4 files as a recorder.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use seamline_archive::{
    ArchiveError, Folder, Listing, Options, Pattern, PatternError, Segment, periods,
};
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::{
    build_error::BuildError,
    clock::Clock,
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
};

mod describe;

pub use describe::describe_tracks;

/// Where an archive is and how its files are named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// The folder.
    pub path: PathBuf,
    /// How files below it are named: see [`Pattern`]. `{camera}` stands for the copy's own name.
    pub pattern: String,
    /// IANA zone of the times in file names; UTC when not stated.
    #[serde(default)]
    pub zone: Option<String>,
    /// Holes between files shorter than this many ms are none.
    #[serde(default)]
    pub join_ms: Option<u64>,
    /// The longest time, in ms, between two writes to a file that is being recorded.
    #[serde(default)]
    pub growing_within_ms: Option<u64>,
}

/// The folders of one archive, one for each camera, opened when first asked for.
#[derive(Debug)]
pub struct Folders {
    path: PathBuf,
    pattern: String,
    zone: Option<String>,
    options: Options,
    open: Mutex<HashMap<Arc<str>, Arc<Folder>>>,
}

/// Why a camera's folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Its name does not fit into the pattern.
    #[error(transparent)]
    Name(#[from] PatternError),
    /// The file system refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// An archive that can be asked.
#[derive(Debug)]
pub struct ArchiveRecorder {
    folders: Arc<Folders>,
    clock: Clock,
    /// A disk that hangs keeps a thread for each question: only so many.
    threads: Arc<Semaphore>,
}

impl Folders {
    /// The folder of a camera. Blocks on the file system when it is new.
    pub fn folder(&self, remote: &str) -> Result<Arc<Folder>, FolderError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = open.get(remote) {
            return Ok(Arc::clone(folder));
        }
        let pattern = self.named(remote)?;
        let folder = Folder::open(&self.path, pattern, self.options.clone())?;
        open.insert(remote.into(), Arc::clone(&folder));
        Ok(folder)
    }

    fn named(&self, remote: &str) -> Result<Pattern, PatternError> {
        let pattern = Pattern::parse(&self.pattern, Some(remote))?;
        match &self.zone {
            Some(zone) => pattern.in_zone(zone),
            None => Ok(pattern),
        }
    }
}

impl ArchiveRecorder {
    /// Checks the pattern; the folder itself may come and go.
    pub fn new(config: &ArchiveConfig, clock: Clock) -> Result<Self, BuildError> {
        let defaults = Options::default();
        let options = Options {
            join: config.join_ms.map(Duration::from_millis),
            growing_within: config
                .growing_within_ms
                .map_or(defaults.growing_within, Duration::from_millis),
            ..defaults
        };
        let folders = Folders {
            path: config.path.clone(),
            pattern: config.pattern.clone(),
            zone: config.zone.clone(),
            options,
            open: Mutex::default(),
        };
        folders.named("camera")?;
        Ok(Self {
            folders: Arc::new(folders),
            clock,
            threads: Arc::new(Semaphore::new(THREADS)),
        })
    }

    /// Runs `work` where it may block. Whoever stops waiting does not stop the work.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folders) -> Result<T, ProbeError> + Send + 'static,
    ) -> Result<T, ProbeError> {
        let folders = Arc::clone(&self.folders);
        let permit = Arc::clone(&self.threads)
            .acquire_owned()
            .await
            .map_err(|_| ProbeError::Crowded)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&folders)
        })
        .await
        .unwrap_or_else(|_| Err(ProbeError::protocol("the reader of the archive failed")))
    }
}

impl Recorder for ArchiveRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        let clock = self.clock;
        Box::pin(self.blocking(move |folders| {
            let folder = folders.folder(&query.remote).map_err(sorted_out)?;
            let now = clock.now();
            let listing = folder.scan(now.as_micros()).map_err(unreadable)?;
            for problem in &listing.problems {
                warn!(camera = %query.remote, %problem, "unreadable file");
            }
            Ok(covered(&listing, folder.join_us(), query.window, now))
        }))
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(
            self.blocking(|folders| match std::fs::read_dir(&folders.path) {
                Ok(_) => Ok(()),
                Err(error) => Err(ProbeError::Unreachable(
                    format!("{}: {error}", folders.path.display()).into(),
                )),
            }),
        )
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        let clock = self.clock;
        Box::pin(self.blocking(move |folders| {
            let folder = folders.folder(&remote).map_err(sorted_out)?;
            let listing = folder
                .listing(clock.now().as_micros())
                .map_err(unreadable)?;
            let newest = listing.segments.last().ok_or(ProbeError::NotFound)?;
            let mut file = std::fs::File::open(&newest.path)
                .map_err(|error| ProbeError::protocol(error.to_string()))?;
            let segment = Segment::read(&newest.path, &mut file).map_err(unreadable)?;
            let formats = segment.tracks().iter().map(seamline_archive::Track::format);
            Ok(describe_tracks(formats))
        }))
    }

    fn media(&self) -> MediaSource {
        MediaSource::Archive(Arc::clone(&self.folders))
    }
}

/// What a listing says about `window`, the end of a recording that goes on being open.
fn covered(listing: &Listing, join_us: i64, window: TimeRange, now: Timestamp) -> Coverage {
    let periods = periods(&listing.segments, join_us);
    let growing = periods.last().is_some_and(|last| last.growing);
    let known = if listing.live && !growing {
        // The file that is being written now shows when it is closed.
        let seen = periods.last().map_or(now.as_micros(), |last| last.end_us);
        let end = window.end().min(Timestamp::from_micros(seen));
        TimeRange::new(window.start(), end)
    } else {
        Some(window)
    };
    let ranges = periods.iter().filter_map(|period| {
        let start = Timestamp::from_micros(period.start_us);
        TimeRange::new(start, Timestamp::from_micros(period.end_us))
    });
    match known {
        Some(known) => Coverage::new(known, ranges, now, growing),
        None => Coverage::unknown(),
    }
}

fn sorted_out(error: FolderError) -> ProbeError {
    match error {
        // No file of this archive can be this camera's; the others are not concerned.
        FolderError::Name(_) => ProbeError::NotFound,
        FolderError::Archive(error) => unreadable(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn unreadable(error: ArchiveError) -> ProbeError {
    match error {
        ArchiveError::Io { .. } => ProbeError::Unreachable(error.to_string().into()),
        _ => ProbeError::protocol(error.to_string()),
    }
}

const THREADS: usize = 4;

#[cfg(test)]
mod tests {
    use seamline_archive::SegmentFile;
    use seamline_routing::Held;

    use super::*;
    use crate::testing::{at, span};

    fn listing(files: &[(i64, i64, bool)], live: bool) -> Listing {
        Listing {
            segments: files
                .iter()
                .map(|&(start, end, growing)| SegmentFile {
                    path: std::path::Path::new("x.mp4").into(),
                    base_us: start * 1_000_000,
                    start_us: start * 1_000_000,
                    end_us: end * 1_000_000,
                    growing,
                })
                .collect(),
            live,
            ..Listing::default()
        }
    }

    #[test]
    fn a_finished_archive_is_known_for_ever() {
        let listing = listing(&[(0, 10, false), (10, 20, false), (30, 40, false)], false);
        let coverage = covered(&listing, 100_000, TimeRange::ALL, at(50));
        assert_eq!(coverage.periods(), [span(0, 20), span(30, 40)]);
        assert_eq!(coverage.held(at(20)), Held::Gap { until: at(30) });
        assert_eq!(
            coverage.held(at(45)),
            Held::Gap {
                until: Timestamp::MAX
            }
        );
    }

    #[test]
    fn a_file_that_grows_is_open() {
        let listing = listing(&[(0, 10, true)], true);
        let coverage = covered(&listing, 100_000, TimeRange::ALL, at(11));
        assert_eq!(
            coverage.held(at(15)),
            Held::Recorded {
                until: Timestamp::MAX
            }
        );
    }

    #[test]
    fn what_is_being_written_but_cannot_be_seen_is_unknown() {
        let live = listing(&[(0, 10, false)], true);
        let coverage = covered(&live, 100_000, TimeRange::ALL, at(30));
        assert!(matches!(coverage.held(at(12)), Held::Unknown { .. }));
        let begun = covered(&listing(&[], true), 100_000, span(20, 90), at(30));
        assert!(matches!(begun.held(at(25)), Held::Gap { .. }));
        assert!(matches!(begun.held(at(35)), Held::Unknown { .. }));
        let before = covered(&live, 100_000, span(20, 90), at(30));
        assert!(matches!(before.held(at(25)), Held::Unknown { .. }));
    }

    fn recorder(path: PathBuf) -> ArchiveRecorder {
        let config = ArchiveConfig {
            path,
            pattern: "{camera}/%s".to_owned(),
            zone: None,
            join_ms: None,
            growing_within_ms: None,
        };
        ArchiveRecorder::new(&config, Clock::System).unwrap()
    }

    fn question(remote: &str) -> CoverageQuery {
        CoverageQuery {
            remote: remote.into(),
            window: TimeRange::ALL,
        }
    }

    #[tokio::test]
    async fn a_disk_that_is_not_there_is_unreachable() {
        let recorder = recorder(PathBuf::from("/nonexistent/disk"));
        let unreachable = |error: &ProbeError| matches!(error, ProbeError::Unreachable(text) if text.contains("/nonexistent/disk"));
        assert!(unreachable(&recorder.ping().await.unwrap_err()));
        assert!(unreachable(
            &recorder.coverage(question("gate")).await.unwrap_err()
        ));
    }

    #[tokio::test]
    async fn a_camera_without_files_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = recorder(dir.path().to_path_buf());
        recorder.ping().await.unwrap();
        let coverage = recorder.coverage(question("gate")).await.unwrap();
        assert!(matches!(coverage.held(at(0)), Held::Gap { .. }));
        assert_eq!(
            recorder.describe("gate".into()).await,
            Err(ProbeError::NotFound)
        );
        let outside = recorder.coverage(question("../gate")).await;
        assert_eq!(outside, Err(ProbeError::NotFound));
    }
}
