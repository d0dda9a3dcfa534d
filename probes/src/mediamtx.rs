//! `MediaMTX`'s playback server: `/list` says what was recorded, `/get` hands it out as fragmented MP4.
//!
//! How it answers was read in its source of August 2026 (`internal/playback`):
//!
//! * A path without footage in the window is 404; one that has not recorded anything yet, and one it does not know, are 400.
//! * `/list` joins files that continue each other. The first entry is cut to `start`, the last to `end`; the last file's length
//!   is that of its whole parts so far.
//! * `/get` begins with all pictures since the key frame, without duration, and counts decode times from `start`, cut to
//!   whole ticks: with whole seconds the same picture has the same time whichever second was asked for. A start between
//!   two stretches that do not continue each other is 404, though the second lies within the duration, and with
//!   nanoseconds in its times any instant rounded down may be such a start: entries are asked for by their own words.
//! * What is handed out ends, without a word, where the next file does not continue the one before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::StatusCode;
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use serde::Deserialize;
use url::form_urlencoded;

use crate::{
    build_error::BuildError,
    clips::{self, Clip, Clips, Dating, Found},
    clock::Clock,
    http::{Basic, Device, HttpConfig, refusal},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
};

/// A playback server that can be asked.
#[derive(Debug)]
pub struct MediaMtxRecorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    device: Device,
    clock: Clock,
    /// Where the footage of each path ends that was listed.
    recorded: Mutex<HashMap<Arc<str>, Timestamp>>,
}

impl MediaMtxRecorder {
    /// Checks the URL and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&[])?;
        Ok(Self(Arc::new(Inner {
            device: Device::new(config, Basic::Always)?,
            clock,
            recorded: Mutex::default(),
        })))
    }
}

impl Inner {
    async fn coverage(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let listed = self.list(&query.remote, query.window).await?;
        let periods = listed.stretches.iter().filter_map(Stretch::range);
        let (growing, now) = (listed.growing(), self.clock.now());
        let windows = listed.windows.iter().copied();
        Ok(Coverage::of_windows(windows, periods, now, growing))
    }

    /// What is in a window. One file that the server cannot read, such as one that was begun when the power went, fails its
    /// answer for all of it: then the window is asked for in parts, and what is around that file stays unknown.
    async fn list(&self, remote: &Arc<str>, window: TimeRange) -> Result<Listed, ProbeError> {
        let mut failed = match self.list_at_once(remote, window).await? {
            Ok(listed) => return Ok(listed),
            Err(failed) => failed,
        };
        let mut all: Option<Listed> = None;
        let mut parts = parts(window, self.clock.now());
        for _ in 0..PARTS_MAX {
            let Some(part) = parts.pop() else { break };
            match self.list_at_once(remote, part).await? {
                Ok(listed) => match &mut all {
                    Some(all) => all.add(listed),
                    None => all = Some(listed),
                },
                Err(error) => {
                    failed = error;
                    parts.extend(halves(part));
                }
            }
        }
        all.ok_or(failed)
    }

    /// The inner error is the server's own fault.
    async fn list_at_once(
        &self,
        remote: &Arc<str>,
        window: TimeRange,
    ) -> Result<Result<Listed, ProbeError>, ProbeError> {
        let mut pairs = vec![("path", remote.to_string())];
        if window.start() != Timestamp::MIN {
            pairs.push(("start", window.start().to_string()));
        }
        if window.end() != Timestamp::MAX {
            pairs.push(("end", window.end().to_string()));
        }
        let reply = self.device.get(&self.path("list", &pairs)).await?;
        let entries: Vec<Entry> = match reply.status {
            StatusCode::OK => serde_json::from_slice(&reply.body)
                .map_err(|error| ProbeError::protocol(format!("/list: {error}")))?,
            // Nothing in the window; in some versions a path that it does not know looks the same.
            StatusCode::NOT_FOUND => Vec::new(),
            StatusCode::BAD_REQUEST if has_no_folder(&words(&reply.body)) => Vec::new(),
            StatusCode::INTERNAL_SERVER_ERROR => {
                let fault = format!("/list: 500 {}", words(&reply.body));
                return Ok(Err(ProbeError::protocol(fault)));
            }
            status => return Err(refusal(status, "/list")),
        };
        let mut stretches: Vec<Stretch> = entries
            .into_iter()
            .filter(Entry::is_of_the_window)
            .map(Stretch::try_from)
            .collect::<Result<_, _>>()?;
        stretches.sort_by_key(|stretch| stretch.start);
        let listed = Listed {
            windows: vec![window],
            stretches,
            there: reply.date.unwrap_or_else(|| self.clock.now()),
        };
        if let Some(end) = listed.end() {
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            let known = recorded.entry(Arc::clone(remote)).or_insert(end);
            *known = end.max(*known);
        }
        Ok(Ok(listed))
    }

    async fn clip(
        &self,
        remote: &Arc<str>,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Found, ProbeError> {
        // Between here and `from` pictures have their own times, and so has the key frame if it is among them.
        let ahead = whole_second(from - AHEAD);
        let near = from + NEAR;
        let last = until.map_or(near, |until| until.min(near)).max(from) + BEHIND;
        let window = TimeRange::new(ahead, last)
            .ok_or_else(|| ProbeError::protocol("no time of a recording"))?;
        let listed = self.list(remote, window).await?;
        let mut stretches = listed.stretches.iter();
        for stretch in stretches
            .by_ref()
            .filter(|stretch| stretch.end > from)
            .take(TRIES)
        {
            let (start, text) = if stretch.start <= ahead {
                (ahead, ahead.to_string())
            } else {
                (stretch.start, stretch.text.clone())
            };
            let seconds = last.since(start).as_secs_f64();
            let pairs = [
                ("path", remote.to_string()),
                ("start", text),
                ("duration", format!("{seconds:.6}")),
                ("format", "fmp4".to_owned()),
            ];
            match self.device.stream(&self.path("get", &pairs), None).await {
                Ok(body) => {
                    return Ok(Found::Clip(Box::new(Clip {
                        header: None,
                        body,
                        place: None,
                        dating: Dating::Zero(start),
                        ends: stretch.end,
                        growing: listed.growing(),
                    })));
                }
                // Listed by the length of its sound, or deleted meanwhile.
                Err(ProbeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let growing = listed.growing();
        Ok(Found::Nothing { growing })
    }

    async fn answers(&self) -> Result<(), ProbeError> {
        // The server has no page of its own: any answer shows that it lives.
        let path = self.path("list", &[("path", String::new())]);
        match self.device.get(&path).await?.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProbeError::Credentials),
            _ => Ok(()),
        }
    }

    async fn describe(&self, remote: Arc<str>) -> Result<Description, ProbeError> {
        let known = {
            let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.get(&remote).copied()
        };
        let end = if let Some(end) = known {
            end
        } else {
            let listed = self.list(&remote, TimeRange::ALL).await?;
            listed.end().ok_or(ProbeError::NotFound)?
        };
        match self.clip(&remote, end - DESCRIBED, Some(end)).await? {
            Found::Clip(clip) => clips::describe(*clip).await,
            Found::Nothing { .. } => Err(ProbeError::NotFound),
        }
    }

    /// A service's path with its query; the server may stand behind another one, in a folder.
    fn path(&self, service: &str, pairs: &[(&str, String)]) -> String {
        let base = self.device.url().path().trim_end_matches('/');
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        format!("{base}/{service}?{query}")
    }
}

impl Clips for Inner {
    fn clip(
        &self,
        remote: Arc<str>,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Answer<'_, Found> {
        Box::pin(async move { self.clip(&remote, from, until).await })
    }
}

impl Recorder for MediaMtxRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move { self.0.coverage(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.0.answers())
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        Box::pin(self.0.describe(remote))
    }

    fn media(&self) -> MediaSource {
        MediaSource::Clips(Arc::<Inner>::clone(&self.0))
    }
}

/// One stretch of files that the server joins, as it says it.
#[derive(Debug, Deserialize)]
struct Entry {
    /// RFC 3339 with an offset and up to nine digits of fraction.
    start: String,
    /// Seconds.
    duration: f64,
}

impl Entry {
    /// Version 1.11.0 cuts the file before a gap that `start` lies in to less than nothing, where others leave it out.
    fn is_of_the_window(&self) -> bool {
        self.duration >= 0.0
    }
}

#[derive(Debug)]
struct Stretch {
    /// Its start in the server's words, to the nanosecond.
    text: String,
    start: Timestamp,
    end: Timestamp,
}

impl TryFrom<Entry> for Stretch {
    type Error = ProbeError;

    fn try_from(entry: Entry) -> Result<Self, ProbeError> {
        let start = Timestamp::parse_iso(&entry.start)
            .map_err(|error| ProbeError::protocol(format!("/list: start: {error}")))?;
        let duration = Duration::try_from_secs_f64(entry.duration)
            .ok()
            .filter(|duration| *duration <= DURATION_MAX)
            .ok_or_else(|| ProbeError::protocol("/list: duration"))?;
        Ok(Self {
            text: entry.start,
            start,
            end: start + duration,
        })
    }
}

impl Stretch {
    fn range(&self) -> Option<TimeRange> {
        TimeRange::new(self.start, self.end)
    }
}

#[derive(Debug)]
struct Listed {
    windows: Vec<TimeRange>,
    /// By their starts.
    stretches: Vec<Stretch>,
    /// The server's time of day.
    there: Timestamp,
}

impl Listed {
    fn add(&mut self, other: Self) {
        self.windows.extend(other.windows);
        self.stretches.extend(other.stretches);
        self.stretches.sort_by_key(|stretch| stretch.start);
    }

    fn end(&self) -> Option<Timestamp> {
        self.stretches.iter().map(|stretch| stretch.end).max()
    }

    /// Whether what was listed last is still being written: it is listed with what is in it so far.
    fn growing(&self) -> bool {
        self.end()
            .is_some_and(|end| self.there.since(end) < GROWING_WITHIN)
    }
}

/// What the server says of a failure.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Fault {
        error: String,
    }
    let fault: Result<Fault, _> = serde_json::from_slice(body);
    let error = fault.map(|fault| fault.error).unwrap_or_default();
    let letters = error.chars().filter(|letter| !letter.is_control());
    letters.take(FAULT_CHARS_MAX).collect()
}

/// Whether these are its words, on one of its systems, for a path that is configured and has not recorded yet.
fn has_no_folder(words: &str) -> bool {
    ["no such file or directory", "cannot find the"]
        .iter()
        .any(|known| words.contains(known))
}

/// A window in parts, the first one to ask for last: the latest days first, then ever longer times before them, as no window of
/// a recorder's is endless.
fn parts(window: TimeRange, now: Timestamp) -> Vec<TimeRange> {
    let until = window.end().min(now + PART);
    let mut edges = vec![window.end()];
    let (mut edge, mut length) = (until, PART);
    while edge > window.start() && edges.len() < EDGES_MAX {
        if edge < window.end() {
            edges.push(edge);
        }
        edge = edge - length;
        length = length.saturating_mul(2);
    }
    edges.push(window.start());
    let pairs = edges.iter().zip(edges.iter().skip(1));
    let mut parts: Vec<TimeRange> = pairs
        .filter_map(|(&end, &start)| TimeRange::new(start, end))
        .collect();
    parts.reverse();
    parts
}

/// Nothing where halves would be shorter than [`PART_MIN`], or have no middle.
fn halves(part: TimeRange) -> Vec<TimeRange> {
    if part.start() == Timestamp::MIN || part.end() == Timestamp::MAX {
        return Vec::new();
    }
    let half = part.end().since(part.start()) / 2;
    if half < PART_MIN {
        return Vec::new();
    }
    let middle = whole_second(part.start() + half);
    let halves = [(part.start(), middle), (middle, part.end())];
    halves
        .iter()
        .filter_map(|&(start, end)| TimeRange::new(start, end))
        .collect()
}

/// The second that an instant lies in.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros().div_euclid(1_000_000) * 1_000_000)
}

/// What is asked for ahead of the wanted start, besides the pictures since the key frame.
const AHEAD: Duration = Duration::from_secs(1);
/// What is asked for behind the wanted end: it counts by decode times.
const BEHIND: Duration = Duration::from_secs(1);
const DESCRIBED: Duration = Duration::from_secs(2);
/// Of the words of a failure that go into the log.
const FAULT_CHARS_MAX: usize = 200;
/// A window that has to be asked for in parts begins with one so long, each before it being twice the next.
const PART: Duration = Duration::from_secs(86_400);
/// Back to 45 years.
const EDGES_MAX: usize = 16;
/// What is not asked for in halves any more: the server's files are of an hour where nothing else is configured.
const PART_MIN: Duration = Duration::from_secs(300);
/// Parts of one window that are asked for.
const PARTS_MAX: usize = 64;
const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Files are written once a second, and listed with the delay of one part.
const GROWING_WITHIN: Duration = Duration::from_secs(15);
/// Asked for at once at most: within one answer times follow the camera's clock, which may be off by some 20 ms an hour.
const NEAR: Duration = Duration::from_secs(3_600);
/// Stretches of one listing that are tried.
const TRIES: usize = 3;

#[cfg(test)]
mod tests;
