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
mod tests {
    use seamline_routing::Held;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header, method, path, query_param, query_param_is_missing},
    };

    use super::*;
    use crate::testing::{at, span};

    /// 2026-01-02T03:04:05Z.
    const AT: i64 = 1_767_323_045;

    fn recorder(url: &str) -> MediaMtxRecorder {
        let config = MediaMtxConfig {
            url: url.to_owned(),
            username: Some("viewer".to_owned()),
            password: Some(Secret::from("a:b".to_owned())),
            password_file: None,
            password_env: None,
        };
        MediaMtxRecorder::new(&config, Clock::anchored(at(AT + 7_200))).unwrap()
    }

    fn question(window: TimeRange) -> CoverageQuery {
        CoverageQuery {
            remote: "site a/gate".into(),
            window,
        }
    }

    async fn answered(response: ResponseTemplate) -> Result<Coverage, ProbeError> {
        let server = MockServer::start().await;
        Mock::given(path("/list"))
            .respond_with(response)
            .mount(&server)
            .await;
        let recorder = recorder(&server.uri());
        recorder.coverage(question(TimeRange::ALL)).await
    }

    fn listed(json: &str) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_raw(json, "application/json")
    }

    #[tokio::test]
    async fn the_question_is_put_as_the_server_wants_it() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/list"))
            .and(query_param("path", "site a/gate"))
            .and(query_param("start", "2026-01-02T03:04:05.000Z"))
            .and(query_param("end", "2026-01-02T04:04:05.250Z"))
            .and(header("authorization", "Basic dmlld2VyOmE6Yg=="))
            .respond_with(listed("[]"))
            .expect(1)
            .mount(&server)
            .await;
        Mock::given(query_param_is_missing("start"))
            .and(query_param_is_missing("end"))
            .respond_with(listed("[]"))
            .expect(1)
            .mount(&server)
            .await;
        let recorder = recorder(&server.uri());
        let end = at(AT + 3_600) + Duration::from_millis(250);
        let window = TimeRange::new(at(AT), end).unwrap();
        let coverage = recorder.coverage(question(window)).await.unwrap();
        assert_eq!(coverage.windows(), [window]);
        recorder.coverage(question(TimeRange::ALL)).await.unwrap();
    }

    #[tokio::test]
    async fn entries_become_periods_whatever_their_zone_and_order() {
        let coverage = answered(listed(
            r#"[{"start":"2026-01-02T05:04:05.000000000+01:00","duration":60,"url":"http://x/get"},
                {"start":"2026-01-02T03:04:05.123456789Z","duration":1799.96},
                {"start":"2026-01-02T03:24:05Z","duration":900.5},
                {"start":"2026-01-02T03:00:00Z","duration":0}]"#,
        ))
        .await
        .unwrap();
        let first = TimeRange::new(
            Timestamp::from_micros(AT * 1_000_000 + 123_456),
            at(AT + 2_100) + Duration::from_millis(500),
        );
        assert_eq!(
            coverage.periods(),
            [first.unwrap(), span(AT + 3_600, AT + 3_660)]
        );
        assert!(!coverage.growing());
        assert!(matches!(coverage.held(at(AT + 4_000)), Held::Gap { .. }));
    }

    #[tokio::test]
    async fn the_end_is_open_while_it_is_near_the_server_s_own_time() {
        let json = r#"[{"start":"2026-01-02T03:04:05Z","duration":100}]"#;
        let growing = |date: &str| answered(listed(json).insert_header("date", date));
        let coverage = growing("Fri, 02 Jan 2026 03:05:50 GMT").await.unwrap();
        assert!(coverage.growing());
        let coverage = growing("Fri, 02 Jan 2026 03:06:05 GMT").await.unwrap();
        assert!(!coverage.growing());
    }

    #[tokio::test]
    async fn nothing_is_an_answer() {
        let coverage = answered(ResponseTemplate::new(404)).await.unwrap();
        assert!(matches!(coverage.held(at(AT)), Held::Gap { .. }));
    }

    #[tokio::test]
    async fn refusals_keep_their_meaning() {
        for (status, error) in [
            (401, ProbeError::Credentials),
            (403, ProbeError::Credentials),
            (429, ProbeError::Busy),
            (503, ProbeError::Busy),
            (400, ProbeError::protocol("/list: 400 Bad Request")),
            (302, ProbeError::protocol("/list: 302 Found")),
        ] {
            let refused = answered(ResponseTemplate::new(status)).await;
            assert_eq!(refused, Err(error), "{status}");
        }
    }

    #[tokio::test]
    async fn answers_that_make_no_sense_are_refused() {
        for json in [
            "",
            "{}",
            "<html>",
            r#"[{"start":"2026-01-02T03:04:05Z"}]"#,
            r#"[{"start":"yesterday","duration":1}]"#,
            r#"[{"start":"2026-01-02 03:04:05","duration":1}]"#,
            r#"[{"start":"2026-01-02T03:04:05Z","duration":-1}]"#,
            r#"[{"start":"2026-01-02T03:04:05Z","duration":1e300}]"#,
            r#"[{"start":"2026-01-02T03:04:05Z","duration":null}]"#,
        ] {
            let refused = answered(listed(json)).await;
            assert!(
                matches!(refused, Err(ProbeError::Protocol(_))),
                "{json}: {refused:?}"
            );
        }
        let endless = " ".repeat(BODY_BYTES_MAX + 1);
        let refused = answered(listed(&endless)).await;
        let error = ProbeError::protocol("/list: the answer is too long");
        assert_eq!(refused, Err(error));
    }

    #[tokio::test]
    async fn nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let recorder = recorder(&format!("http://{address}"));
        assert_eq!(recorder.ping().await, Err(ProbeError::Refused));
    }

    #[tokio::test]
    async fn any_page_shows_life_but_a_refused_login_does_not() {
        let server = MockServer::start().await;
        let recorder = recorder(&server.uri());
        recorder.ping().await.unwrap();
        Mock::given(path("/list"))
            .respond_with(ResponseTemplate::new(401))
            .mount(&server)
            .await;
        assert_eq!(recorder.ping().await, Err(ProbeError::Credentials));
    }
}
