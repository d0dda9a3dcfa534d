//! Listings and ends of files, against a server that says what it is told to.

use seamline_routing::Held;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use super::*;
use crate::testing::{at, span};

/// 2026-01-02T03:04:05Z.
const AT: i64 = 1_767_323_045;

fn recorder(url: &str, pattern: &str) -> FilesRecorder {
    let config = HttpConfig {
        url: url.to_owned(),
        pattern: Some(pattern.to_owned()),
        ..HttpConfig::default()
    };
    FilesRecorder::new(&config, Clock::anchored(at(AT + 7_200))).unwrap()
}

fn question(window: TimeRange) -> CoverageQuery {
    CoverageQuery {
        remote: "gate 1".into(),
        window,
    }
}

async fn page(server: &MockServer, folder: &str, names: &[&str]) {
    let links: Vec<String> = names
        .iter()
        .map(|name| format!("<a href=\"{name}\">x</a>"))
        .collect();
    let links = links.concat();
    Mock::given(method("GET"))
        .and(path(folder))
        .respond_with(ResponseTemplate::new(200).set_body_raw(links, "text/html"))
        .mount(server)
        .await;
}

async fn written(server: &MockServer, file: &str, when: &str, questions: u64) {
    Mock::given(method("HEAD"))
        .and(path(file))
        .respond_with(
            ResponseTemplate::new(200)
                .insert_header("Last-Modified", when)
                .insert_header("Date", "Fri, 02 Jan 2026 03:10:00 GMT"),
        )
        .expect(questions)
        .mount(server)
        .await;
}

#[tokio::test]
async fn files_last_from_their_names_to_their_last_writing() {
    let server = MockServer::start().await;
    page(
        &server,
        "/motion/gate%201/",
        &[
            "../",
            "20260102030405.mp4",
            "20260102030505.mp4",
            "20260102030700.mp4",
            "lastsnap.jpg",
            "2026.mp4",
        ],
    )
    .await;
    // The next one begins shortly behind; the last one is being written.
    written(
        &server,
        "/motion/gate%201/20260102030405.mp4",
        "Fri, 02 Jan 2026 03:05:04 GMT",
        1,
    )
    .await;
    written(
        &server,
        "/motion/gate%201/20260102030505.mp4",
        "Fri, 02 Jan 2026 03:05:35 GMT",
        1,
    )
    .await;
    written(
        &server,
        "/motion/gate%201/20260102030700.mp4",
        "Fri, 02 Jan 2026 03:09:55 GMT",
        2,
    )
    .await;
    let recorder = recorder(
        &format!("{}/motion", server.uri()),
        "{camera}/%Y%m%d%H%M%S.mp4",
    );
    for _ in 0..2 {
        let coverage = recorder.coverage(question(TimeRange::ALL)).await.unwrap();
        assert_eq!(coverage.periods().to_vec(), [span(AT, AT + 91)]);
        assert!(coverage.growing());
        assert!(matches!(coverage.held(at(AT - 10)), Held::Gap { .. }));
    }
}

#[tokio::test]
async fn folders_of_days_are_asked_for_where_they_matter() {
    let server = MockServer::start().await;
    page(
        &server,
        "/gate%201/2026-01-02/",
        &["03-04-05.mp4", "23-59-00.mp4"],
    )
    .await;
    page(&server, "/gate%201/2026-01-03/", &["00-10-00.mp4"]).await;
    written(
        &server,
        "/gate%201/2026-01-02/03-04-05.mp4",
        "Fri, 02 Jan 2026 03:05:05 GMT",
        1,
    )
    .await;
    written(
        &server,
        "/gate%201/2026-01-02/23-59-00.mp4",
        "Sat, 03 Jan 2026 00:00:30 GMT",
        0,
    )
    .await;
    let recorder = recorder(&server.uri(), "{camera}/%Y-%m-%d/%H-%M-%S.mp4");
    let window = span(AT - 600, AT + 3_600);
    let coverage = recorder.coverage(question(window)).await.unwrap();
    assert_eq!(coverage.periods().to_vec(), [span(AT, AT + 61)]);
    assert!(matches!(coverage.held(at(AT - 100)), Held::Gap { .. }));
    assert!(matches!(
        coverage.held(at(AT - 86_400)),
        Held::Unknown { .. }
    ));
}

#[tokio::test]
async fn what_is_no_listing_is_told() {
    let server = MockServer::start().await;
    let recorder = recorder(&server.uri(), "{camera}/%s.mp4");
    let missing = recorder.coverage(question(TimeRange::ALL)).await;
    assert_eq!(missing.unwrap_err(), ProbeError::NotFound);
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(403))
        .mount(&server)
        .await;
    let refused = recorder.coverage(question(TimeRange::ALL)).await;
    assert_eq!(refused.unwrap_err(), ProbeError::Credentials);
    assert_eq!(recorder.ping().await.unwrap_err(), ProbeError::Credentials);
}

#[test]
fn what_cannot_work_is_refused() {
    let of = |url: &str, pattern: Option<&str>| {
        let config = HttpConfig {
            url: url.to_owned(),
            pattern: pattern.map(str::to_owned),
            ..HttpConfig::default()
        };
        FilesRecorder::new(&config, Clock::System)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert!(of("http://nvr/motion", Some("{camera}/%Y%m%d%H%M%S.mp4")).is_ok());
    assert!(
        of("http://nvr/motion", None)
            .unwrap_err()
            .contains("pattern")
    );
    assert!(of("http://nvr/motion", Some("%v")).is_err());
    assert!(of("ftp://nvr/motion", Some("%s")).is_err());
}
