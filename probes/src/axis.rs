//! Axis cameras with edge storage: listed by `record/list.cgi`, played recording by recording.

use std::sync::Arc;

use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;

use crate::{
    build_error::BuildError,
    clock::Clock,
    http::{Basic, Device, HttpConfig},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    replay::{Face, Recording, UrlForm, ZoneOf},
    xml::Element,
    zone::Zone,
};

/// A camera that can be asked.
#[derive(Debug)]
pub struct AxisRecorder {
    device: Device,
    face: Face,
    clock: Clock,
}

impl AxisRecorder {
    /// Checks the URLs and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["rtsp"])?;
        let device = Device::new(config, Basic::Sealed)?;
        let login = device.login().cloned();
        let form = UrlForm {
            // Newer firmware stamps the pictures, and hands out faster than they were taken.
            playback: "/axis-media/media.amp?recordingid={recording}&onvifreplayext=1&pull=1",
            live: "/axis-media/media.amp?camera={camera}",
            named: str::to_owned,
            onvif: false,
        };
        let place = (device.host(), 554);
        let zone = ZoneOf::new(Some(Zone::UTC));
        let face = Face::by_url(config, place, login, &form, zone, clock)?;
        Ok(Self {
            device,
            face,
            clock,
        })
    }

    async fn list(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let reply = self.device.get(LIST).await?.success("list.cgi")?;
        let now = self.clock.now();
        let Listed { recordings, whole } = parse(&reply.body, &query.remote)?;
        let growing = recordings
            .last()
            .is_some_and(|last| last.range.end() == Timestamp::MAX);
        let periods: Vec<TimeRange> = recordings
            .iter()
            .filter_map(|recording| {
                let range = recording.range;
                let open = range.end() == Timestamp::MAX;
                let seen = now.max(range.start().shift(1));
                TimeRange::new(range.start(), if open { seen } else { range.end() })
            })
            .collect();
        let first = recordings.first().map(|first| first.range.start());
        // The list is of all that there is, whatever the question was.
        let known = match (whole, first) {
            (true, _) | (_, None) => TimeRange::ALL,
            (false, Some(first)) => TimeRange::new(first, Timestamp::MAX).unwrap_or(TimeRange::ALL),
        };
        if let Some(last) = periods.last() {
            self.face.recorded(&query.remote, last.end());
        }
        if let Some(book) = self.face.book() {
            book.note(&query.remote, TimeRange::ALL, recordings);
        }
        Ok(Coverage::new(known, periods, now, growing))
    }

    async fn answers(&self) -> Result<(), ProbeError> {
        // The shortest list there is.
        self.device.get(PING).await?.success("list.cgi").map(drop)
    }
}

impl Recorder for AxisRecorder {
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

/// What a list says of one source.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    /// In order of time.
    recordings: Vec<Recording>,
    /// Whether all that there are were listed.
    whole: bool,
}

/// Reads a list. A recording whose times cannot be read makes it unusable: what is left out would pass for a gap.
fn parse(body: &[u8], source: &str) -> Result<Listed, ProbeError> {
    let wrong = |what: &str| ProbeError::protocol(format!("list.cgi: {what}"));
    let root = Element::parse(body).map_err(|error| wrong(&error.to_string()))?;
    let list = root
        .child("recordings")
        .ok_or_else(|| wrong("no list of recordings"))?;
    let count = |name: &str| list.attribute(name)?.parse::<u64>().ok();
    let whole = match (
        count("totalnumberofrecordings"),
        count("numberofrecordings"),
    ) {
        (Some(total), Some(listed)) => listed >= total,
        _ => true,
    };
    let mut recordings = Vec::new();
    for recording in list.all("recording") {
        let text = |name: &str| recording.attribute(name).unwrap_or_default();
        // Older firmware names no source: it has one.
        if !matches!(text("source"), "" | "*") && text("source") != source {
            continue;
        }
        let start = Timestamp::parse_iso(text("starttime")).map_err(|_| wrong("starttime"))?;
        let end = match text("stoptime") {
            "" => Timestamp::MAX,
            stop => Timestamp::parse_iso(stop).map_err(|_| wrong("stoptime"))?,
        };
        let id = text("recordingid");
        if id.is_empty()
            || id.len() > ID_BYTES_MAX
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        {
            return Err(wrong("recordingid"));
        }
        recordings.extend(TimeRange::new(start, end).map(|range| Recording {
            id: id.to_owned(),
            range,
        }));
    }
    recordings.sort_by_key(|recording| recording.range.start());
    Ok(Listed { recordings, whole })
}

const LIST: &str = "/axis-cgi/record/list.cgi?recordingid=all";
const PING: &str = "/axis-cgi/record/list.cgi?recordingid=none";
const ID_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use seamline_routing::Held;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{method, path},
    };

    use super::*;
    use crate::replay::{AskError, Start};

    const LISTED: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<root><recordings totalnumberofrecordings="4" numberofrecordings="4">
<recording diskid="SD_DISK" recordingid="20260101_123000_B_ACCC8E000001" starttime="2026-01-01T12:30:00.250000Z" starttimelocal="2026-01-01T13:30:00.250000+01:00" stoptime="" stoptimelocal="" recordingtype="continuous" recordingstatus="recording" source="1"><video mimetype="video/x-h264"/></recording>
<recording diskid="SD_DISK" recordingid="20260101_120000_A_ACCC8E000001" starttime="2026-01-01T12:00:00Z" stoptime="2026-01-01T12:10:00.500000Z" recordingstatus="completed" source="1"><video mimetype="video/x-h264"/></recording>
<recording diskid="SD_DISK" recordingid="20260101_121000_C_ACCC8E000001" starttime="2026-01-01T12:20:00Z" stoptime="2026-01-01T12:20:00Z" recordingstatus="completed" source="1"/>
<recording diskid="SD_DISK" recordingid="20260101_110000_D_ACCC8E000001" starttime="2026-01-01T11:00:00Z" stoptime="2026-01-01T12:59:00Z" recordingstatus="completed" source="2"/>
</recordings></root>"#;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    #[tokio::test]
    async fn recordings_become_periods_and_are_played_by_name() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/axis-cgi/record/list.cgi"))
            .respond_with(ResponseTemplate::new(200).set_body_string(LISTED))
            .mount(&server)
            .await;
        let config: HttpConfig =
            toml::from_str(&format!("url = '{}'\nrtsp = 'rtsp://cam'", server.uri())).unwrap();
        let recorder =
            AxisRecorder::new(&config, Clock::anchored(at("2026-01-01T12:40:00Z"))).unwrap();
        let MediaSource::RtspByUrl(source) = recorder.media() else {
            panic!("played by URL")
        };
        assert_eq!(
            source.ask("1", at("2026-01-01T12:00:00Z"), None),
            Err(AskError::NoRecording)
        );
        let query = CoverageQuery {
            remote: "1".into(),
            window: TimeRange::ALL,
        };
        let coverage = recorder.coverage(query).await.unwrap();
        assert_eq!(
            coverage.held(at("2026-01-01T12:05:00Z")),
            Held::Recorded {
                until: at("2026-01-01T12:10:00.5Z")
            }
        );
        assert_eq!(
            coverage.held(at("2026-01-01T12:15:00Z")),
            Held::Gap {
                until: at("2026-01-01T12:30:00.25Z")
            }
        );
        assert_eq!(
            coverage.held(at("2026-01-01T12:50:00Z")),
            Held::Recorded {
                until: Timestamp::MAX
            }
        );
        let ask = source.ask("1", at("2026-01-01T12:05:00.5Z"), None).unwrap();
        assert_eq!(
            ask.url.as_str(),
            "rtsp://cam/axis-media/media.amp?recordingid=20260101_120000_A_ACCC8E000001&onvifreplayext=1&pull=1"
        );
        assert_eq!(ask.start, Start::Range(at("2026-01-01T12:05:00.5Z")));
        // In a gap it is the next recording, from its start.
        let ask = source.ask("1", at("2026-01-01T12:15:00Z"), None).unwrap();
        assert_eq!(ask.start, Start::Range(at("2026-01-01T12:30:00.25Z")));
    }

    #[test]
    fn lists_that_make_no_sense_are_no_gaps() {
        for body in [
            "<root/>",
            "<root><recordings><recording recordingid='a' starttime='noon' stoptime=''/></recordings></root>",
            "<root><recordings><recording recordingid='a&amp;b=c' starttime='2026-01-01T12:00:00Z' stoptime=''/></recordings></root>",
            "<root><recordings><recording recordingid='' starttime='2026-01-01T12:00:00Z' stoptime=''/></recordings></root>",
            "<root><recordings><recording starttime='2026-01-01T12:00:00Z' stoptime=''/></recordings></root>",
            "",
        ] {
            assert!(
                matches!(parse(body.as_bytes(), "1"), Err(ProbeError::Protocol(_))),
                "{body}"
            );
        }
        let named = |length: usize| {
            let name = "a".repeat(length);
            let body = format!(
                "<root><recordings><recording recordingid='{name}' starttime='2026-01-01T12:00:00Z' stoptime=''/></recordings></root>"
            );
            parse(body.as_bytes(), "1").is_ok()
        };
        assert!(named(ID_BYTES_MAX) && !named(ID_BYTES_MAX + 1));
        let some = "<root><recordings totalnumberofrecordings='9' numberofrecordings='1'><recording recordingid='a' starttime='2026-01-01T12:00:00Z' stoptime=''/></recordings></root>";
        assert!(!parse(some.as_bytes(), "1").unwrap().whole);
    }
}
