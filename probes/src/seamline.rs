//! Another Seamline as a recorder: its timeline says what it holds, its RTSP face plays it.
//!
//! What it does not know stays unknown here, what it cannot reach now too, and its holes are holes.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use rand::random;
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use serde::Deserialize;
use url::form_urlencoded;

use crate::{
    build_error::BuildError,
    clock::Clock,
    http::{Basic, Device, HttpConfig},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    rtsp::{RtspConfig, RtspRecorder},
};

/// Another Seamline that can be asked.
#[derive(Debug)]
pub struct SeamlineRecorder {
    device: Device,
    rtsp: RtspRecorder,
    clock: Clock,
    /// For each camera the processes that its footage comes from, the other's own first.
    behind: Mutex<HashMap<Arc<str>, Vec<Arc<str>>>>,
}

/// What this process is called among Seamlines: another one each time it starts.
pub fn instance() -> Arc<str> {
    static INSTANCE: LazyLock<Arc<str>> =
        LazyLock::new(|| format!("{:032x}", random::<u128>()).into());
    Arc::clone(&INSTANCE)
}

impl SeamlineRecorder {
    /// Checks the URLs and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["rtsp"])?;
        let device = Device::new(config, Basic::Sealed)?;
        // Its one port speaks both.
        let base = match &config.rtsp {
            Some(rtsp) => rtsp.trim_end_matches('/').to_owned(),
            None if config.url.starts_with("https:") => {
                format!("rtsps://{}:{}", device.host(), device.port())
            }
            None => format!("rtsp://{}:{}", device.host(), device.port()),
        };
        // Elsewhere the trust is that of its HTTP side.
        let sealed = base.starts_with("rtsps:");
        let rtsp = RtspConfig {
            url: format!("{base}/{{camera}}"),
            live: Some(format!("{base}/{{camera}}?live")),
            zone: None,
            username: config.username.clone(),
            password: config.password.clone(),
            password_file: config.password_file.clone(),
            password_env: config.password_env.clone(),
            ca_file: config.ca_file.clone().filter(|_| sealed),
            pin_sha256: config.pin_sha256.clone().filter(|_| sealed),
            insecure: config.insecure && sealed,
        };
        Ok(Self {
            device,
            rtsp: RtspRecorder::new(&rtsp, clock)?,
            clock,
            behind: Mutex::default(),
        })
    }

    async fn list(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let window = query.window;
        let bounds = [
            ("from", window.start(), Timestamp::MIN),
            ("to", window.end(), Timestamp::MAX),
        ];
        let given = bounds.into_iter().filter(|(_, at, open)| at != open);
        let given = given.map(|(name, at, _)| (name, at.to_string()));
        let pairs: Vec<(&str, String)> = given.collect();
        let path = {
            let camera: String = form_urlencoded::byte_serialize(query.remote.as_bytes()).collect();
            let wanted = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .finish();
            format!("/v1/cameras/{camera}/timeline?{wanted}")
        };
        let reply = self.device.get(&path).await?.success("timeline")?;
        let timeline = read(&reply.body)?;
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        if timeline.instances.contains(&instance()) {
            behind.remove(&query.remote);
            let loops = "it has this camera from this very Seamline";
            return Err(ProbeError::protocol(loops));
        }
        behind.insert(Arc::clone(&query.remote), timeline.instances);
        let growing = timeline.growing;
        let (known, periods) = (timeline.known, timeline.periods);
        Ok(Coverage::of_windows(
            known,
            periods,
            self.clock.now(),
            growing,
        ))
    }

    async fn answers(&self) -> Result<(), ProbeError> {
        self.device
            .get("/health")
            .await?
            .success("health")
            .map(drop)
    }
}

impl Recorder for SeamlineRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move { self.list(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.answers())
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        self.rtsp.describe(remote)
    }

    fn media(&self) -> MediaSource {
        self.rtsp.media()
    }

    fn behind(&self, remote: &str) -> Vec<Arc<str>> {
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.get(remote).cloned().unwrap_or_default()
    }
}

/// What a timeline comes to.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    known: Vec<TimeRange>,
    periods: Vec<TimeRange>,
    growing: bool,
    instances: Vec<Arc<str>>,
}

/// As `/v1/cameras/{camera}/timeline` has it; what else it says is for people.
#[derive(Debug, Deserialize)]
struct Timeline {
    merged: Vec<Span>,
    #[serde(default)]
    copies: Vec<Copy>,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    instances: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Span {
    kind: Kind,
    from: String,
    to: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Leg,
    Hole,
    /// Unknown, an outage, and whatever later versions tell apart.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Copy {
    #[serde(default)]
    growing: bool,
}

fn read(body: &[u8]) -> Result<Read, ProbeError> {
    let wrong = |error: &dyn std::fmt::Display| ProbeError::protocol(format!("timeline: {error}"));
    let timeline: Timeline = serde_json::from_slice(body).map_err(|error| wrong(&error))?;
    if timeline.instances.len() > INSTANCES_MAX {
        return Err(wrong(&"too many instances"));
    }
    let (mut known, mut periods) = (Vec::new(), Vec::new());
    for span in &timeline.merged {
        let time = |text: &str| Timestamp::parse_iso(text).map_err(|error| wrong(&error));
        let range = TimeRange::new(time(&span.from)?, time(&span.to)?);
        if span.kind == Kind::Unknown {
            continue;
        }
        known.extend(range);
        if span.kind == Kind::Leg {
            periods.extend(range);
        }
    }
    let ends_recorded = timeline
        .merged
        .last()
        .is_some_and(|span| span.kind == Kind::Leg);
    Ok(Read {
        known,
        periods,
        growing: ends_recorded
            && !timeline.truncated
            && timeline.copies.iter().any(|copy| copy.growing),
        instances: timeline.instances.into_iter().map(Into::into).collect(),
    })
}

/// What a timeline says is known and what is recorded. For those who fuzz it from outside.
#[doc(hidden)]
pub fn read_timeline(body: &[u8]) -> Option<(Vec<TimeRange>, Vec<TimeRange>)> {
    let read = read(body).ok()?;
    Some((read.known, read.periods))
}

/// Seamlines one behind the other.
const INSTANCES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seamline_routing::Held;
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{path, query_param},
    };

    use super::*;
    use crate::testing::{at, span};

    /// 2026-01-02T03:04:05Z.
    const AT: i64 = 1_767_323_045;

    fn timeline(instances: &[Arc<str>]) -> serde_json::Value {
        json!({
            "camera": { "id": "gate" }, "now": "2026-01-02T03:05:05.000000Z",
            "from": "2026-01-02T03:04:05.000000Z", "to": "2026-01-02T03:05:05.000000Z",
            "copies": [{ "site": "a", "growing": true, "new": 1 }],
            "merged": [
                { "kind": "leg", "from": "2026-01-02T03:04:05.000000Z", "to": "2026-01-02T03:04:15.000000Z", "site": "a" },
                { "kind": "hole", "from": "2026-01-02T03:04:15.000000Z", "to": "2026-01-02T03:04:25.000000Z" },
                { "kind": "unknown", "from": "2026-01-02T03:04:25.000000Z", "to": "2026-01-02T03:04:35.000000Z" },
                { "kind": "outage", "from": "2026-01-02T03:04:35.000000Z", "to": "2026-01-02T03:04:45.000000Z" },
                { "kind": "leg", "from": "2026-01-02T03:04:45.000000Z", "to": "2026-01-02T03:05:05.000000Z" },
            ],
            "truncated": false, "instances": instances.iter().map(|name| &**name).collect::<Vec<&str>>(),
        })
    }

    async fn asked(answer: ResponseTemplate) -> (SeamlineRecorder, Result<Coverage, ProbeError>) {
        let server = MockServer::start().await;
        Mock::given(path("/v1/cameras/gate/timeline"))
            .and(query_param("from", "2026-01-02T03:04:05.000Z"))
            .and(query_param("to", "2026-01-02T03:05:05.000Z"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let config = HttpConfig {
            url: server.uri(),
            ..HttpConfig::default()
        };
        let recorder = SeamlineRecorder::new(&config, Clock::anchored(at(AT + 60))).unwrap();
        let query = CoverageQuery {
            remote: "gate".into(),
            window: span(AT, AT + 60),
        };
        let answer = recorder.coverage(query).await;
        (recorder, answer)
    }

    #[tokio::test]
    async fn what_it_does_not_know_stays_unknown() {
        let other: Arc<str> = "1234".into();
        let answer =
            ResponseTemplate::new(200).set_body_json(timeline(std::slice::from_ref(&other)));
        let (recorder, coverage) = asked(answer).await;
        let coverage = coverage.unwrap();
        assert_eq!(
            coverage.periods(),
            [span(AT, AT + 10), span(AT + 40, AT + 60)]
        );
        assert!(coverage.growing());
        assert!(matches!(coverage.held(at(AT + 12)), Held::Gap { .. }));
        for unknown in [22, 32] {
            assert!(matches!(
                coverage.held(at(AT + unknown)),
                Held::Unknown { .. }
            ));
        }
        assert!(matches!(coverage.held(at(AT + 70)), Held::Recorded { .. }));
        assert_eq!(recorder.behind("gate"), [other]);
        let MediaSource::Rtsp(source) = recorder.media() else {
            panic!("{:?}", recorder.media());
        };
        let url = source.url("gate").unwrap();
        assert!(url.as_str().starts_with("rtsp://127.0.0.1:") && url.as_str().ends_with("/gate"));
    }

    #[tokio::test]
    async fn footage_that_comes_from_here_is_not_asked_for() {
        let answer =
            ResponseTemplate::new(200).set_body_json(timeline(&["1234".into(), instance()]));
        let (recorder, refused) = asked(answer).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("this very Seamline"), "{refused}");
        assert!(recorder.behind("gate").is_empty());
    }

    #[tokio::test]
    async fn refusals_keep_their_meaning() {
        for (status, error) in [
            (401, ProbeError::Credentials),
            (404, ProbeError::NotFound),
            (503, ProbeError::Busy),
        ] {
            let (_, refused) = asked(ResponseTemplate::new(status)).await;
            assert_eq!(refused.unwrap_err(), error);
        }
        for body in [
            "",
            "{}",
            "[]",
            r#"{"merged":[{"kind":"leg","from":"yesterday","to":"today"}]}"#,
        ] {
            let (_, refused) = asked(ResponseTemplate::new(200).set_body_string(body)).await;
            assert!(matches!(refused, Err(ProbeError::Protocol(_))), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0_usize..900, damage in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut body = serde_json::to_vec(&timeline(&[])).unwrap();
            let at = at % body.len();
            let end = (at + damage.len()).min(body.len());
            body.splice(at..end, damage);
            if let Ok(read) = read(&body) {
                prop_assert!(read.periods.iter().all(|period| read.known.contains(period)));
            }
        }
    }
}
