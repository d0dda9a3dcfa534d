//! `MediaMTX`'s playback server: `GET /list`.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use serde::Deserialize;
use url::form_urlencoded;

use crate::{
    clock::Clock,
    http::{Basic, Device, HttpConfig, Reply, refusal},
    kinds::BuildError,
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
};

/// A playback server that can be asked.
#[derive(Debug)]
pub struct MediaMtxRecorder {
    device: Device,
    clock: Clock,
}

impl MediaMtxRecorder {
    /// Checks the URL and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&[])?;
        Ok(Self {
            device: Device::new(config, Basic::Always)?,
            clock,
        })
    }

    async fn list(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let answer = self.get(&query.remote, Some(query.window)).await?;
        let entries: Vec<Entry> = match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body)
                .map_err(|error| ProbeError::protocol(format!("/list: {error}")))?,
            // Nothing in the window; a path that it does not know looks the same.
            StatusCode::NOT_FOUND => Vec::new(),
            status => return Err(refusal(status, "/list")),
        };
        let now = self.clock.now();
        let there = answer.date.unwrap_or(now);
        covered(&entries, query.window, there, now)
    }

    async fn answers(&self) -> Result<(), ProbeError> {
        // The server has no page of its own: any answer shows that it lives.
        match self.get("", None).await?.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProbeError::Credentials),
            _ => Ok(()),
        }
    }

    async fn get(&self, path: &str, window: Option<TimeRange>) -> Result<Reply, ProbeError> {
        let mut pairs = vec![("path", path.to_owned())];
        if let Some(window) = window {
            if window.start() != Timestamp::MIN {
                pairs.push(("start", window.start().to_string()));
            }
            if window.end() != Timestamp::MAX {
                pairs.push(("end", window.end().to_string()));
            }
        }
        self.device.get(&self.path("list", &pairs)).await
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

impl Recorder for MediaMtxRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move { self.list(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.answers())
    }

    fn describe(&self, _: Arc<str>) -> Answer<'_, Description> {
        Box::pin(std::future::ready(Err(ProbeError::NotFound)))
    }

    fn media(&self) -> MediaSource {
        MediaSource::None
    }
}

/// One stretch of files that the server joins.
#[derive(Debug, Deserialize)]
struct Entry {
    /// RFC 3339 with an offset and up to nine digits of fraction.
    start: String,
    /// Seconds.
    duration: f64,
}

/// What the entries say about `window`. `there` is the server's time of day, `now` ours.
fn covered(
    entries: &[Entry],
    window: TimeRange,
    there: Timestamp,
    now: Timestamp,
) -> Result<Coverage, ProbeError> {
    let mut periods = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = Timestamp::parse_iso(&entry.start)
            .map_err(|error| ProbeError::protocol(format!("/list: start: {error}")))?;
        let duration = Duration::try_from_secs_f64(entry.duration)
            .ok()
            .filter(|duration| *duration <= DURATION_MAX)
            .ok_or_else(|| ProbeError::protocol("/list: duration"))?;
        periods.extend(TimeRange::new(start, start + duration));
    }
    let last = periods.iter().map(|period| period.end()).max();
    // The growing file is listed with what is in it so far.
    let growing = last.is_some_and(|last| there.since(last) < GROWING_WITHIN);
    Ok(Coverage::new(window, periods, now, growing))
}

const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Files are written once a second, and listed with the delay of one part.
const GROWING_WITHIN: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
