//! `MediaMTX`'s playback server: `GET /list`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, DATE},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use serde::Deserialize;
use url::Url;

use crate::{
    clock::Clock,
    kinds::{BuildError, LoginFields, Secret},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
};

/// Where the playback server is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaMtxConfig {
    /// `http://host:9996`. A copy's own name is the name of its path.
    pub url: String,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password in clear.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    #[serde(default)]
    pub password_env: Option<String>,
}

/// A playback server that can be asked.
#[derive(Debug)]
pub struct MediaMtxRecorder {
    url: Url,
    authorization: Option<Secret>,
    client: Client<HttpConnector, Empty<Bytes>>,
    clock: Clock,
}

impl MediaMtxRecorder {
    /// Checks the URL and reads the password.
    pub fn new(config: &MediaMtxConfig, clock: Clock) -> Result<Self, BuildError> {
        let login = LoginFields {
            username: config.username.as_deref(),
            password: config.password.as_ref(),
            password_file: config.password_file.as_ref(),
            password_env: config.password_env.as_deref(),
        };
        let authorization = login.read()?.map(|login| {
            let pair = format!("{}:{}", login.username, login.password.reveal());
            Secret::from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        });
        let wrong = |reason: &str| BuildError::Url {
            url: config.url.clone(),
            reason: reason.to_owned(),
        };
        let url = Url::parse(&config.url).map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != "http" || !url.has_host() {
            return Err(wrong("http://host:port is needed"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BuildError::Url {
                url: "http://…".to_owned(),
                reason: "state user name and password in their own fields".to_owned(),
            });
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .build(connector);
        Ok(Self {
            url,
            authorization,
            client,
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
            status => return Err(refused(status)),
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
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("list");
        }
        {
            let mut pairs = url.query_pairs_mut();
            pairs.clear().append_pair("path", path);
            if let Some(window) = window {
                if window.start() != Timestamp::MIN {
                    pairs.append_pair("start", &window.start().to_string());
                }
                if window.end() != Timestamp::MAX {
                    pairs.append_pair("end", &window.end().to_string());
                }
            }
        }
        let mut request = Request::get(url.as_str()).header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.reveal());
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| ProbeError::protocol(error.to_string()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| failed(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ProbeError::protocol("/list: the answer is too long")
            } else {
                ProbeError::Unreachable(error.to_string().into())
            }
        })?;
        Ok(Reply {
            status: head.status,
            date: date(&head.headers),
            body: body.to_bytes(),
        })
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

struct Reply {
    status: StatusCode,
    /// The server's own time of day, to the second.
    date: Option<Timestamp>,
    body: Bytes,
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

fn refused(status: StatusCode) -> ProbeError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProbeError::Credentials,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ProbeError::Busy,
        status => ProbeError::protocol(format!("/list: {status}")),
    }
}

fn failed(error: &hyper_util::client::legacy::Error) -> ProbeError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return ProbeError::connecting(io);
        }
        source = cause.source();
    }
    if error.is_connect() {
        return ProbeError::Unreachable(error.to_string().into());
    }
    ProbeError::protocol(error.to_string())
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_micros(date.timestamp().as_microsecond()))
}

const BODY_BYTES_MAX: usize = 16 << 20;
const CONNECT: Duration = Duration::from_secs(2);
const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Files are written once a second, and listed with the delay of one part.
const GROWING_WITHIN: Duration = Duration::from_secs(15);
const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_IDLE_MAX: usize = 2;

#[cfg(test)]
mod tests;
