//! A stand-in that lists as the reference says recorders do.

use std::sync::Mutex;

use seamline_routing::{Held, Timestamp};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_iso(text).unwrap()
}

/// Files as its clock shows them; what it was asked.
struct StandIn {
    files: Vec<(String, String, &'static str)>,
    clock: &'static str,
    position: Mutex<usize>,
}

impl Respond for StandIn {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let query: std::collections::HashMap<_, _> = request.url.query_pairs().collect();
        let body = match (request.url.path(), &*query["action"]) {
            ("/cgi-bin/global.cgi", "getCurrentTime") => format!("result={}\r\n", self.clock),
            (_, "factory.create") => "result=08137\r\n".to_owned(),
            (_, "findFile") => {
                assert_eq!(
                    (&*query["object"], &*query["condition.Channel"]),
                    ("08137", "1")
                );
                assert_eq!(query["condition.Types[0]"], "dav");
                *self.position.lock().unwrap() = 0;
                let (from, to) = (&*query["condition.StartTime"], &*query["condition.EndTime"]);
                let touches =
                    |(start, end, _): &&(String, String, &str)| **end > *from && **start < *to;
                if self.files.iter().any(|file| touches(&file)) {
                    "OK\r\n".to_owned()
                } else {
                    "Error\r\nNo files\r\n".to_owned()
                }
            }
            (_, "findNextFile") => {
                let mut position = self.position.lock().unwrap();
                let page: Vec<_> = self.files.iter().skip(*position).take(100).collect();
                *position += page.len();
                let mut text = format!("found={}\r\n", page.len());
                for (ix, (start, end, state)) in page.into_iter().enumerate() {
                    let file = format!(
                        "items[{ix}].Channel=0\r\nitems[{ix}].StartTime={start}\r\nitems[{ix}].EndTime={end}\r\nitems[{ix}].Type=dav\r\n{state}"
                    );
                    text.push_str(&file.replace("{ix}", &ix.to_string()));
                }
                text
            }
            (_, "close" | "destroy") => "OK\r\n".to_owned(),
            other => panic!("{other:?}"),
        };
        ResponseTemplate::new(200).set_body_string(body)
    }
}

async fn stand_in(files: Vec<(&str, &str, &'static str)>, clock: &'static str) -> MockServer {
    let server = MockServer::start().await;
    let files = files
        .into_iter()
        .map(|(start, end, state)| (start.to_owned(), end.to_owned(), state))
        .collect();
    let stand_in = StandIn {
        files,
        clock,
        position: Mutex::default(),
    };
    Mock::given(any())
        .respond_with(stand_in)
        .mount(&server)
        .await;
    server
}

fn recorder(server: &MockServer, more: &str, now: &str) -> DahuaRecorder {
    let text = format!("url = '{}'\nrtsp = 'rtsp://nvr:554'\n{more}", server.uri());
    let config: HttpConfig = toml::from_str(&text).unwrap();
    DahuaRecorder::new(&config, Clock::anchored(at(now))).unwrap()
}

fn query() -> CoverageQuery {
    CoverageQuery {
        remote: "1".into(),
        window: TimeRange::ALL,
    }
}

/// Waits until the recorder was told to destroy its object.
async fn destroyed(server: &MockServer) -> usize {
    for _ in 0..200 {
        let asked = server.received_requests().await.unwrap();
        let of = |action: &str| {
            asked
                .iter()
                .filter(|request| request.url.as_str().contains(action))
                .count()
        };
        if of("action=destroy") == of("factory.create") {
            return of("action=destroy");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("an object is left at the recorder");
}

#[tokio::test]
async fn files_in_local_time_and_one_that_is_being_written() {
    let files = vec![
        ("2026-01-01 13:00:00", "2026-01-01 13:20:00", ""),
        ("2026-01-01 13:20:00", "2026-01-01 13:30:00", ""),
        (
            "2026-01-01 13:40:00",
            "2026-01-01 13:55:00",
            "items[{ix}].FileState=Temporary\r\n",
        ),
    ];
    let server = stand_in(files, "").await;
    let recorder = recorder(&server, "zone = 'Europe/Zurich'", "2026-01-01T12:58:00Z");
    let coverage = recorder.coverage(query()).await.unwrap();
    assert_eq!(
        coverage.held(at("2026-01-01T12:05:00Z")),
        Held::Recorded {
            until: at("2026-01-01T12:30:00Z")
        }
    );
    assert_eq!(
        coverage.held(at("2026-01-01T12:35:00Z")),
        Held::Gap {
            until: at("2026-01-01T12:40:00Z")
        }
    );
    assert_eq!(
        coverage.held(at("2026-01-01T12:57:00Z")),
        Held::Recorded {
            until: Timestamp::MAX
        }
    );
    assert_eq!(destroyed(&server).await, 2);
    let MediaSource::RtspByUrl(source) = recorder.media() else {
        panic!("played by URL")
    };
    let ask = source
        .ask(
            "1",
            at("2026-01-01T12:05:00.9Z"),
            Some(at("2026-01-01T12:30:00Z")),
        )
        .unwrap();
    assert_eq!(
        ask.url.as_str(),
        "rtsp://nvr:554/cam/playback?channel=1&subtype=0&starttime=2026_01_01_13_05_00&endtime=2026_01_01_13_30_00"
    );
    assert_eq!(
        source.live_url("2/1").unwrap().as_str(),
        "rtsp://nvr:554/cam/realmonitor?channel=2&subtype=1"
    );
}

#[tokio::test]
async fn more_than_a_page_of_files() {
    let files: Vec<(String, String)> = (0..250)
        .map(|n| {
            (
                format!("2026-01-01 {:02}:{:02}:00", n / 60, n % 60),
                format!("2026-01-01 {:02}:{:02}:00", (n + 1) / 60, (n + 1) % 60),
            )
        })
        .collect();
    let files = files
        .iter()
        .map(|(start, end)| (start.as_str(), end.as_str(), ""))
        .collect();
    let server = stand_in(files, "").await;
    let recorder = recorder(&server, "zone = 'UTC'", "2026-01-05T00:00:00Z");
    let coverage = recorder.coverage(query()).await.unwrap();
    assert_eq!(coverage.periods().len(), 1);
    assert_eq!(coverage.last(), Some(at("2026-01-01T04:10:00Z")));
    destroyed(&server).await;
}

#[tokio::test]
async fn its_clock_tells_its_zone() {
    let files = vec![("2026-01-01 17:30:00", "2026-01-01 18:00:00", "")];
    let server = stand_in(files, "2026-01-02 01:30:03").await;
    let recorder = recorder(&server, "", "2026-01-01T20:00:00Z");
    let coverage = recorder.coverage(query()).await.unwrap();
    assert!(matches!(
        coverage.held(at("2026-01-01T12:10:00Z")),
        Held::Recorded { .. }
    ));
}

#[tokio::test]
async fn where_it_finds_nothing_nothing_is_known() {
    let server = stand_in(Vec::new(), "").await;
    let recorder = recorder(&server, "zone = 'UTC'", "2026-01-05T00:00:00Z");
    let coverage = recorder.coverage(query()).await.unwrap();
    assert!(matches!(
        coverage.held(at("2026-01-01T12:10:00Z")),
        Held::Unknown { .. }
    ));
    destroyed(&server).await;
}

#[test]
fn pages_that_make_no_sense_are_no_gaps() {
    for text in [
        "",
        "found=many",
        "found=2\r\nitems[0].StartTime=2026-01-01 00:00:00\r\nitems[0].EndTime=2026-01-01 01:00:00",
        "found=1\r\nitems[0].StartTime=noon\r\nitems[0].EndTime=2026-01-01 01:00:00",
        "found=1\r\nitems[9999999].StartTime=2026-01-01 00:00:00",
        "found=101",
        "<html>",
    ] {
        assert!(
            matches!(find::parse(text, &Zone::UTC), Err(ProbeError::Protocol(_))),
            "{text}"
        );
    }
    let newer = "found=1\r\nitems[0].StartTime=2026-01-01 08:00:00\r\nitems[0].EndTime=2026-01-01 09:00:00\r\n\
        items[0].StartTimeRealUTC=2026-01-01T00:00:00Z\r\nitems[0].EndTimeRealUTC=2026-01-01T01:00:00Z\r\n";
    let (_, files) = find::parse(newer, &Zone::UTC).unwrap();
    assert_eq!(files[0].range.start(), at("2026-01-01T00:00:00Z"));
}
