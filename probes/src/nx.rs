//! Nx Witness and its kin: listed by `recordedTimePeriods`, played from the position in the URL.

use std::sync::Arc;

use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use serde_json::Value;

use crate::{
    build_error::BuildError,
    clock::Clock,
    http::{Basic, Device, HttpConfig},
    listing,
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    replay::{Face, UrlForm, ZoneOf},
    zone::Zone,
};

/// A media server that can be asked.
#[derive(Debug)]
pub struct NxRecorder {
    device: Device,
    face: Face,
    clock: Clock,
}

impl NxRecorder {
    /// Checks the URLs and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["rtsp"])?;
        let device = Device::new(config, Basic::Sealed)?;
        let login = device.login().cloned();
        let form = UrlForm {
            playback: "/{camera}?pos={start:ms}",
            live: "/{camera}",
            named: str::to_owned,
            // It stamps its pictures when replay is demanded, on DESCRIBE already.
            onvif: true,
        };
        let place = (device.host(), device.port());
        let zone = ZoneOf::new(Some(Zone::UTC));
        let face = Face::by_url(config, place, login, &form, zone, clock)?;
        Ok(Self {
            device,
            face,
            clock,
        })
    }

    async fn list(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let now = self.clock.now();
        let asked = listing::widened(query.window, now);
        let path = format!(
            // `detail` is the longest hole that is left out.
            "/ec2/recordedTimePeriods?cameraId={}&startTime={}&endTime={}&detail=1&periodsType=0&flat=true",
            query.remote,
            asked.start().as_unix_ms(),
            asked.end().as_unix_ms(),
        );
        let reply = self
            .device
            .get(&path)
            .await?
            .success("recordedTimePeriods")?;
        let (periods, growing) = parse(&reply.body, now)?;
        if let Some(last) = periods.iter().map(|period| period.end()).max() {
            self.face.recorded(&query.remote, last);
        }
        Ok(Coverage::new(query.window, periods, now, growing))
    }

    async fn answers(&self) -> Result<(), ProbeError> {
        self.device
            .get("/api/ping")
            .await?
            .success("ping")
            .map(drop)
    }
}

impl Recorder for NxRecorder {
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
        self.face.describe_listed(remote, self)
    }

    fn media(&self) -> MediaSource {
        self.face.media()
    }
}

/// The periods of an answer, flat or by server, and whether one of them is still being written.
fn parse(body: &[u8], now: Timestamp) -> Result<(Vec<TimeRange>, bool), ProbeError> {
    let wrong = |what: &str| ProbeError::protocol(format!("recordedTimePeriods: {what}"));
    let answer: Value = serde_json::from_slice(body).map_err(|error| wrong(&error.to_string()))?;
    let reply = answer
        .get("reply")
        .and_then(Value::as_array)
        .ok_or_else(|| wrong("no reply"))?;
    let mut listed = Vec::new();
    for entry in reply {
        // A server's periods, or a period.
        match entry.get("periods").and_then(Value::as_array) {
            Some(periods) => listed.extend(periods),
            None => listed.push(entry),
        }
    }
    let mut periods = Vec::with_capacity(listed.len());
    let mut growing = false;
    for period in listed {
        let number = |name: &str| number(period.get(name)?);
        let (start, length) = number("startTimeMs")
            .zip(number("durationMs"))
            .ok_or_else(|| wrong("a period without its times"))?;
        if !(0..=MS_MAX).contains(&start) || !(-1..=MS_MAX).contains(&length) {
            return Err(wrong("a period out of all time"));
        }
        let start = Timestamp::from_unix_ms(start);
        let open = length < 0;
        growing |= open;
        let end = if open {
            now.max(start.shift(1))
        } else {
            start.shift(length * 1000)
        };
        periods.extend(TimeRange::new(start, end));
    }
    let last = periods.iter().map(|period| period.end()).max();
    // A server of several may have stopped while another still writes.
    Ok((periods, growing && last >= Some(now)))
}

/// A number, as such or as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The year 9999.
const MS_MAX: i64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use seamline_routing::Held;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{method, path, query_param},
    };

    use super::*;
    use crate::replay::Start;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    const NOON_MS: i64 = 1_767_268_800_000;

    #[tokio::test]
    async fn periods_flat_or_by_server_and_one_that_is_being_written() {
        let flat = format!(
            r#"{{"error":"0","reply":[{{"startTimeMs":"{NOON_MS}","durationMs":"600000"}},{{"startTimeMs":{},"durationMs":-1}}]}}"#,
            NOON_MS + 1_200_000
        );
        let grouped = format!(
            r#"{{"reply":[{{"guid":"{{a}}","periods":[{{"startTimeMs":"{NOON_MS}","durationMs":600000}}]}},{{"guid":"{{b}}","periods":[{{"startTimeMs":"{}","durationMs":"-1"}}]}}]}}"#,
            NOON_MS + 1_200_000
        );
        for body in [flat, grouped] {
            let server = MockServer::start().await;
            Mock::given(method("GET"))
                .and(path("/ec2/recordedTimePeriods"))
                .and(query_param("cameraId", "c1"))
                .and(query_param("detail", "1"))
                .respond_with(ResponseTemplate::new(200).set_body_string(body))
                .mount(&server)
                .await;
            let config: HttpConfig = toml::from_str(&format!("url = '{}'", server.uri())).unwrap();
            let recorder =
                NxRecorder::new(&config, Clock::anchored(at("2026-01-01T12:30:00Z"))).unwrap();
            let query = CoverageQuery {
                remote: "c1".into(),
                window: TimeRange::ALL,
            };
            let coverage = recorder.coverage(query).await.unwrap();
            assert_eq!(
                coverage.held(at("2026-01-01T12:05:00Z")),
                Held::Recorded {
                    until: at("2026-01-01T12:10:00Z")
                }
            );
            assert_eq!(
                coverage.held(at("2026-01-01T12:15:00Z")),
                Held::Gap {
                    until: at("2026-01-01T12:20:00Z")
                }
            );
            assert_eq!(
                coverage.held(at("2026-01-01T12:25:00Z")),
                Held::Recorded {
                    until: Timestamp::MAX
                }
            );
            let MediaSource::RtspByUrl(source) = recorder.media() else {
                panic!("played by URL")
            };
            let ask = source
                .ask("c1", at("2026-01-01T12:05:00.1234Z"), None)
                .unwrap();
            assert!(
                ask.url.as_str().ends_with("/c1?pos=1767269100123") && ask.onvif,
                "{}",
                ask.url
            );
            assert_eq!(ask.start, Start::Url(at("2026-01-01T12:05:00.123Z")));
        }
    }

    #[test]
    fn answers_that_make_no_sense_are_no_gaps() {
        for body in [
            "",
            "[]",
            r#"{"error":"3","errorString":"forbidden"}"#,
            r#"{"reply":[{"startTimeMs":"noon","durationMs":1}]}"#,
            r#"{"reply":[{"startTimeMs":1,"durationMs":-2}]}"#,
            r#"{"reply":[{"startTimeMs":1,"durationMs":9223372036854775807}]}"#,
            r#"{"reply":[{"startTimeMs":1}]}"#,
        ] {
            assert!(
                matches!(
                    parse(body.as_bytes(), Timestamp::EPOCH),
                    Err(ProbeError::Protocol(_))
                ),
                "{body}"
            );
        }
        assert_eq!(
            parse(br#"{"reply":[]}"#, Timestamp::EPOCH),
            Ok((Vec::new(), false))
        );
    }
}
