//! A stand-in that lists as the reference says recorders do, with their quirks.

use seamline_routing::Held;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

use super::*;
use crate::replay::{AskError, Start};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_iso(text).unwrap()
}

fn recorder(server: &MockServer, more: &str, now: &str) -> HikvisionRecorder {
    let text = format!("url = '{}'\nrtsp = 'rtsp://nvr:554'\n{more}", server.uri());
    let config: HttpConfig = toml::from_str(&text).unwrap();
    HikvisionRecorder::new(&config, Clock::anchored(at(now))).unwrap()
}

fn query(window: TimeRange) -> CoverageQuery {
    CoverageQuery {
        remote: "101".into(),
        window,
    }
}

/// A recorder's files, as its own clock shows them, listed two to a page.
fn listing(files: Vec<(&'static str, &'static str)>) -> impl Fn(&Request) -> ResponseTemplate {
    move |request: &Request| {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let value = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        assert_eq!(value("trackID"), "101");
        let (from, to) = (value("startTime"), value("endTime"));
        // Some list only what begins in the window.
        let found: Vec<_> = files
            .iter()
            .filter(|(start, _)| **start >= *from && **start < *to)
            .collect();
        let position: usize = value("searchResultPostion").parse().unwrap();
        let page: Vec<_> = found.iter().skip(position).take(2).collect();
        let status = match (found.len(), position + page.len() < found.len()) {
            (0, _) => "NO MATCHES",
            (_, true) => "MORE",
            _ => "OK",
        };
        let items: Vec<String> = page
            .iter()
            .map(|(start, end)| {
                format!(
                    "<searchMatchItem><sourceID>{{0000}}</sourceID><trackID>101</trackID><timeSpan><startTime>{start}</startTime>\
                     <endTime>{end}</endTime></timeSpan><mediaSegmentDescriptor><contentType>video</contentType></mediaSegmentDescriptor></searchMatchItem>"
                )
            })
            .collect();
        let list = if page.is_empty() {
            String::new()
        } else {
            format!("<matchList>{}</matchList>", items.concat())
        };
        ResponseTemplate::new(200).set_body_string(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CMSearchResult version=\"2.0\" xmlns=\"urn:psialliance-org\">\
             <searchID>{}</searchID><responseStatus>true</responseStatus><responseStatusStrg>{status}</responseStatusStrg>\
             <numOfMatches>{}</numOfMatches>{list}</CMSearchResult>",
            value("searchID"),
            page.len(),
        ))
    }
}

async fn stand_in(files: Vec<(&'static str, &'static str)>, local: &str, rule: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(SEARCH))
        .respond_with(listing(files))
        .mount(&server)
        .await;
    let time = format!("<Time><localTime>{local}</localTime><timeZone>{rule}</timeZone></Time>");
    Mock::given(method("GET"))
        .and(path(TIME))
        .respond_with(ResponseTemplate::new(200).set_body_string(time))
        .mount(&server)
        .await;
    server
}

const FILES: [(&str, &str); 5] = [
    ("2026-01-01T12:00:00Z", "2026-01-01T12:10:00Z"),
    ("2026-01-01T12:10:00Z", "2026-01-01T12:20:00Z"),
    ("2026-01-01T12:20:01Z", "2026-01-01T12:30:00Z"),
    ("2026-01-01T12:40:00Z", "2026-01-01T12:50:00Z"),
    ("2026-01-01T12:50:00Z", "2026-01-01T12:58:30Z"),
];

#[tokio::test]
async fn pages_of_files_become_periods_in_the_configured_zone() {
    for (zone, hour) in [("UTC", 12), ("Europe/Zurich", 11)] {
        let server = stand_in(FILES.to_vec(), "2026-01-01T12:58:40", "CST-8").await;
        let recorder = recorder(&server, &format!("zone = '{zone}'"), "2026-01-05T00:00:00Z");
        let coverage = recorder.coverage(query(TimeRange::ALL)).await.unwrap();
        let time = |minute: &str| at(&format!("2026-01-01T{hour}:{minute}:00Z"));
        assert_eq!(
            coverage.held(time("05")),
            Held::Recorded { until: time("30") },
            "{zone}"
        );
        assert_eq!(
            coverage.held(time("35")),
            Held::Gap { until: time("40") },
            "{zone}"
        );
        assert_eq!(
            coverage.held(at("2026-01-04T00:00:00Z")),
            Held::Gap {
                until: Timestamp::MAX
            }
        );
        assert!(!coverage.growing());
    }
}

#[tokio::test]
async fn what_ends_now_is_being_written() {
    let server = stand_in(FILES.to_vec(), "", "").await;
    let recorder = recorder(&server, "zone = 'UTC'", "2026-01-01T12:58:40Z");
    let coverage = recorder.coverage(query(TimeRange::ALL)).await.unwrap();
    // By the recorder's own clock in `Date`, which here is the day of the test, it would not be.
    let open = coverage.held(at("2026-01-01T12:58:00Z"));
    assert!(matches!(open, Held::Recorded { .. }), "{open:?}");
}

#[tokio::test]
async fn the_zone_is_told_by_what_is_being_recorded() {
    for (files_end_in, expected) in [("local", "Asia/Shanghai"), ("utc", "UTC")] {
        // 04:58 UTC is 12:58 in Shanghai.
        let files = if files_end_in == "local" {
            FILES.to_vec()
        } else {
            vec![("2026-01-01T04:50:00Z", "2026-01-01T04:58:30Z")]
        };
        let server = stand_in(files, "2026-01-01T12:58:40+08:00", "CST-8:00:00").await;
        let recorder = recorder(&server, "", "2026-01-01T04:58:40Z");
        let source = recorder.media();
        let MediaSource::RtspByUrl(source) = source else {
            panic!("played by URL")
        };
        assert_eq!(
            source.ask("101", at("2026-01-01T04:00:00Z"), None),
            Err(AskError::Zone)
        );
        let coverage = recorder.coverage(query(TimeRange::ALL)).await.unwrap();
        assert!(
            matches!(
                coverage.held(at("2026-01-01T04:55:00Z")),
                Held::Recorded { .. }
            ),
            "{expected}"
        );
        let ask = source
            .ask(
                "101",
                at("2026-01-01T04:55:00.7Z"),
                Some(at("2026-01-01T04:56:00Z")),
            )
            .unwrap();
        let url = if expected == "UTC" {
            "rtsp://nvr:554/Streaming/tracks/101?starttime=20260101T045500Z&endtime=20260101T045600Z"
        } else {
            "rtsp://nvr:554/Streaming/tracks/101?starttime=20260101T125500Z&endtime=20260101T125600Z"
        };
        assert_eq!(ask.url.as_str(), url);
        assert_eq!(ask.start, Start::Url(at("2026-01-01T04:55:00Z")));
    }
}

#[tokio::test]
async fn a_zone_that_nothing_tells_is_not_guessed() {
    let server = stand_in(FILES.to_vec(), "2026-02-01T12:58:40+08:00", "CST-8:00:00").await;
    let recorder = recorder(&server, "", "2026-02-01T04:58:40Z");
    assert_eq!(
        recorder.coverage(query(TimeRange::ALL)).await,
        Ok(Coverage::unknown())
    );
}

#[tokio::test]
async fn the_repeated_hour_is_not_asked_for() {
    let server = stand_in(Vec::new(), "", "").await;
    let recorder = recorder(&server, "zone = 'Europe/Zurich'", "2026-11-01T00:00:00Z");
    let MediaSource::RtspByUrl(source) = recorder.media() else {
        panic!("played by URL")
    };
    assert_eq!(
        source.ask("101", at("2026-10-25T00:30:00Z"), None),
        Err(AskError::Repeated)
    );
    assert!(source.ask("101", at("2026-10-25T02:00:00Z"), None).is_ok());
}

#[tokio::test]
async fn answers_that_make_no_sense_are_no_gaps() {
    let page = |status: &str, items: &str| {
        format!(
            "<CMSearchResult><responseStatusStrg>{status}</responseStatusStrg>{items}</CMSearchResult>"
        )
    };
    let broken = "<matchList><searchMatchItem><timeSpan><startTime>noon</startTime></timeSpan></searchMatchItem></matchList>";
    for body in [
        page("OK", broken),
        page("FAILED", ""),
        page("OK", "<matchList>"),
        "<!DOCTYPE x [<!ENTITY a 'b'>]><CMSearchResult/>".to_owned(),
        "<ResponseStatus><statusCode>4</statusCode><subStatusCode>methodNotAllowed</subStatusCode></ResponseStatus>".to_owned(),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_string(&body)).mount(&server).await;
        let listed = recorder(&server, "zone = 'UTC'", "2026-01-05T00:00:00Z").coverage(query(TimeRange::ALL)).await;
        assert!(matches!(listed, Err(ProbeError::Protocol(_))), "{body}");
    }
    // It says that more follows and gives nothing: asked once, not for ever.
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_body_string(page("MORE", "")))
        .mount(&server)
        .await;
    let listed = recorder(&server, "zone = 'UTC'", "2026-01-05T00:00:00Z")
        .coverage(query(TimeRange::ALL))
        .await;
    assert!(listed.is_ok());
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
    // And behind a page that holds something.
    let some = "<matchList><searchMatchItem><timeSpan><startTime>2026-01-01T12:00:00Z</startTime><endTime>2026-01-01T12:10:00Z</endTime></timeSpan></searchMatchItem></matchList>";
    let server = MockServer::start().await;
    for (priority, times, items) in [(1, Some(1), some), (2, None, "")] {
        let answer = ResponseTemplate::new(200).set_body_string(page("MORE", items));
        let mock = Mock::given(method("POST"))
            .respond_with(answer)
            .with_priority(priority);
        match times {
            Some(times) => mock.up_to_n_times(times).mount(&server).await,
            None => mock.mount(&server).await,
        }
    }
    let listed = recorder(&server, "zone = 'UTC'", "2026-01-05T00:00:00Z")
        .coverage(query(TimeRange::ALL))
        .await;
    assert_eq!(listed.unwrap().periods().len(), 1);
    let asked = server.received_requests().await.unwrap().len();
    assert!(asked <= 4, "asked {asked} times");
}
