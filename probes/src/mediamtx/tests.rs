//! The listing, against a server that says what it is told to.

use seamline_routing::Held;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path, query_param, query_param_is_missing},
};

use super::*;
use crate::login::Secret;
use crate::testing::{at, span};

/// 2026-01-02T03:04:05Z.
const AT: i64 = 1_767_323_045;

fn recorder(url: &str) -> MediaMtxRecorder {
    let config = HttpConfig {
        url: url.to_owned(),
        username: Some("viewer".to_owned()),
        password: Some(Secret::from("a:b".to_owned())),
        ..HttpConfig::default()
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
    // Of a path that has not recorded yet, in its own words.
    let words = r#"{"status":"error","error":"lstat /srv/rec/gate: no such file or directory"}"#;
    let no_folder = ResponseTemplate::new(400).set_body_raw(words, "application/json");
    for nothing in [ResponseTemplate::new(404), no_folder] {
        let coverage = answered(nothing).await.unwrap();
        assert!(matches!(coverage.held(at(AT)), Held::Gap { .. }));
    }
}

#[tokio::test]
async fn what_ends_before_it_begins_is_not_of_the_window() {
    let coverage = answered(listed(
        r#"[{"start":"2026-01-02T03:04:05Z","duration":-39.5},
            {"start":"2026-01-02T04:04:05Z","duration":60}]"#,
    ))
    .await
    .unwrap();
    assert_eq!(coverage.periods(), [span(AT + 3_600, AT + 3_660)]);
}

#[tokio::test]
async fn a_file_that_the_server_cannot_read_hides_little_of_the_others() {
    // 1,800 s of footage twice; between them a file without a moof, which is in the way until the next one begins.
    let files = [AT - 90_000, AT, AT + 1_800];
    let (damaged, length) = (files[1], 1_800);
    let server = MockServer::start().await;
    Mock::given(path("/list"))
        .respond_with(move |request: &wiremock::Request| {
            let told = |name: &str| {
                let mut pairs = request.url.query_pairs();
                let value = pairs.find(|(key, _)| key == name)?.1;
                Some(Timestamp::parse_iso(&value).unwrap())
            };
            let (start, end) = (told("start"), told("end"));
            let mut within = files.to_vec();
            within.retain(|file| end.is_none_or(|end| at(*file) <= end));
            if let Some(start) = start {
                let first = within.iter().rposition(|file| at(*file) <= start);
                within.drain(..first.unwrap_or(0));
            }
            if within.contains(&damaged) {
                let error = r#"{"status":"error","error":"no moof boxes found"}"#;
                return ResponseTemplate::new(500).set_body_raw(error, "application/json");
            }
            let entries = within.iter().filter_map(|file| {
                let whole = span(*file, *file + length);
                let from = start.unwrap_or(Timestamp::MIN).max(whole.start());
                let until = end.unwrap_or(Timestamp::MAX).min(whole.end());
                let cut = TimeRange::new(from, until)?;
                let seconds = cut.end().since(cut.start()).as_secs_f64();
                Some(format!(
                    r#"{{"start":"{}","duration":{seconds}}}"#,
                    cut.start()
                ))
            });
            let entries: Vec<String> = entries.collect();
            if entries.is_empty() {
                ResponseTemplate::new(404)
            } else {
                listed(&format!("[{}]", entries.join(",")))
            }
        })
        .mount(&server)
        .await;
    let config = HttpConfig {
        url: server.uri(),
        ..HttpConfig::default()
    };
    let recorder = MediaMtxRecorder::new(&config, Clock::anchored(at(AT + 7_200))).unwrap();
    let coverage = recorder.coverage(question(TimeRange::ALL)).await.unwrap();
    assert_eq!(
        coverage.periods(),
        [
            span(files[0], files[0] + length),
            span(files[2], files[2] + length)
        ]
    );
    assert!(matches!(
        coverage.held(at(damaged + 900)),
        Held::Unknown { .. }
    ));
    assert!(matches!(coverage.held(at(damaged - 300)), Held::Gap { .. }));
    let asked = server.received_requests().await.unwrap().len();
    assert!(asked <= 1 + PARTS_MAX, "{asked} requests");

    // Where nothing but that file lies, there is no answer.
    let inside = span(damaged + 300, damaged + 330);
    let refused = recorder.coverage(question(inside)).await;
    let error = ProbeError::protocol("/list: 500 no moof boxes found");
    assert_eq!(refused, Err(error));
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
        r#"[{"start":"2026-01-02T03:04:05Z","duration":1e300}]"#,
        r#"[{"start":"2026-01-02T03:04:05Z","duration":null}]"#,
    ] {
        let refused = answered(listed(json)).await;
        assert!(
            matches!(refused, Err(ProbeError::Protocol(_))),
            "{json}: {refused:?}"
        );
    }
    let endless = " ".repeat((16 << 20) + 1);
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
