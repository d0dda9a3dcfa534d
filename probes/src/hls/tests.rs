//! Playlists at a server that says what it is told to.

use seamline_routing::Held;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, path, query_param},
};

use super::*;
use crate::testing::{at, span};

/// 2026-01-02T03:04:05Z.
const AT: i64 = 1_767_323_045;

fn recorder(url: &str) -> HlsRecorder {
    let config = HttpConfig {
        url: url.to_owned(),
        ..HttpConfig::default()
    };
    HlsRecorder::new(&config, Clock::anchored(at(AT + 7_200))).unwrap()
}

fn question(window: TimeRange) -> CoverageQuery {
    CoverageQuery {
        remote: "gate".into(),
        window,
    }
}

async fn says(server: &MockServer, at: &str, text: impl Into<String>) {
    Mock::given(path(at))
        .respond_with(ResponseTemplate::new(200).set_body_string(text))
        .mount(server)
        .await;
}

async fn refusal(recorder: &HlsRecorder) -> String {
    let clip = recorder.0.clip(&"gate".into(), at(AT)).await;
    clip.unwrap_err().to_string()
}

#[tokio::test]
async fn a_playlist_of_playlists_leads_to_what_is_recorded() {
    let server = MockServer::start().await;
    says(
        &server,
        "/gate/all.m3u8",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow/a.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhigh/a.m3u8\n",
    )
    .await;
    says(
        &server,
        "/gate/high/a.m3u8",
        "#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05Z\n#EXTINF:10,\n1.m4s\n\
         #EXT-X-GAP\n#EXTINF:5,\n2.m4s\n#EXTINF:10,\n3.m4s\n#EXT-X-ENDLIST\n",
    )
    .await;
    let recorder = recorder(&format!("{}/{{camera}}/all.m3u8", server.uri()));
    let coverage = recorder.coverage(question(TimeRange::ALL)).await.unwrap();
    assert_eq!(
        coverage.periods(),
        [span(AT, AT + 10), span(AT + 15, AT + 25)]
    );
    assert!(!coverage.growing());
    assert!(matches!(coverage.held(at(AT + 12)), Held::Gap { .. }));
    assert!(matches!(coverage.held(at(AT + 99)), Held::Gap { .. }));
}

#[tokio::test]
async fn an_address_with_times_is_asked_for_what_is_wanted() {
    let server = MockServer::start().await;
    let list = "#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:10Z\n#EXTINF:10,\n1.m4s\n#EXT-X-ENDLIST\n";
    Mock::given(path("/vod/gate/index.m3u8"))
        .and(query_param("from", AT.to_string()))
        .and(query_param("to", (AT + 60).to_string()))
        .respond_with(ResponseTemplate::new(200).set_body_string(list))
        .expect(1)
        .mount(&server)
        .await;
    let url = format!(
        "{}/vod/{{camera}}/index.m3u8?from={{start:s}}&to={{end:s}}",
        server.uri()
    );
    let recorder = recorder(&url);
    let window = span(AT, AT + 60);
    let coverage = recorder.coverage(question(window)).await.unwrap();
    assert_eq!(coverage.periods(), [span(AT + 5, AT + 15)]);
    assert_eq!(coverage.windows(), [window]);
    // Nothing was recorded then.
    let coverage = recorder
        .coverage(question(span(AT + 100, AT + 200)))
        .await
        .unwrap();
    assert!(matches!(coverage.held(at(AT + 150)), Held::Gap { .. }));
    assert!(matches!(coverage.held(at(AT + 50)), Held::Unknown { .. }));
}

#[tokio::test]
async fn what_cannot_be_played_is_said() {
    let date = "#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05Z";
    for (list, reason) in [
        (format!("#EXTM3U\n{date}\n#EXTINF:10,\n1.ts\n"), "MPEG-TS"),
        (
            format!("#EXTM3U\n{date}\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:10,\n1.m4s\n"),
            "encrypted",
        ),
        (
            format!("#EXTM3U\n{date}\n#EXTINF:10,\nhttp://203.0.113.9/1.m4s\n"),
            "another place",
        ),
        (
            format!(
                "#EXTM3U\n{date}\n#EXT-X-MAP:URI=\"//203.0.113.9/i.mp4\"\n#EXTINF:10,\n1.m4s\n"
            ),
            "another place",
        ),
        (
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlist.m3u8\n".to_owned(),
            "lead to playlists",
        ),
        ("<html>".to_owned(), "no playlist"),
    ] {
        let server = MockServer::start().await;
        says(&server, "/list.m3u8", list).await;
        let recorder = recorder(&format!("{}/list.m3u8", server.uri()));
        let refused = refusal(&recorder).await;
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
}

#[tokio::test]
async fn redirections_are_not_followed() {
    let elsewhere = MockServer::start().await;
    let server = MockServer::start().await;
    let date = "#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05Z";
    says(
        &server,
        "/list.m3u8",
        format!("#EXTM3U\n{date}\n#EXTINF:10,\n1.m4s\n"),
    )
    .await;
    let moved =
        ResponseTemplate::new(302).insert_header("Location", format!("{}/1.m4s", elsewhere.uri()));
    Mock::given(path("/1.m4s"))
        .respond_with(moved)
        .mount(&server)
        .await;
    let recorder = recorder(&format!("{}/list.m3u8", server.uri()));
    let refused = refusal(&recorder).await;
    assert!(refused.contains("not followed"), "{refused}");
    assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn parts_of_files_are_asked_for_as_such() {
    let server = MockServer::start().await;
    let date = "#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05Z";
    let list = format!(
        "#EXTM3U\n{date}\n#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"7@0\"\n#EXTINF:10,\n#EXT-X-BYTERANGE:5@7\nall.mp4\n"
    );
    says(&server, "/list.m3u8", list).await;
    for (range, body) in [("bytes=0-6", "header!"), ("bytes=7-11", "media")] {
        Mock::given(path("/all.mp4"))
            .and(header("range", range))
            .respond_with(ResponseTemplate::new(206).set_body_string(body))
            .mount(&server)
            .await;
    }
    let recorder = recorder(&format!("{}/list.m3u8", server.uri()));
    let found = recorder.0.clip(&"gate".into(), at(AT + 3)).await.unwrap();
    let Found::Clip(clip) = found else {
        panic!("{found:?}");
    };
    assert_eq!(clip.header.as_deref(), Some(&b"header!"[..]));
    assert_eq!(clip.dating, Dating::First(at(AT)));
    assert_eq!(clip.body.whole(100, "media").await.unwrap(), "media");
}
