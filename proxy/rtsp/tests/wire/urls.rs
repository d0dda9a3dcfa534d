//! RTSP URLs: user info stripped, nothing escapes its place, control attributes joined as recorders expect.

use seamline_rtsp::RtspUrl;
use seamline_rtsp::url::{UrlError, request_path};

fn url(text: &str) -> RtspUrl {
    RtspUrl::parse(text).expect(text)
}

fn controls(base: &str, control: &str) -> Vec<String> {
    url(base)
        .control(control)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn parts() {
    let full = url("RTSPS://cam.example:8554/a/b?start=1&End=2026-01-02T03%3A04%3A05%2B01:00&x");
    assert_eq!(
        (full.host(), full.port(), full.is_secure()),
        ("cam.example", 8554, true)
    );
    assert_eq!(
        (full.path(), full.query()),
        (
            "/a/b",
            Some("start=1&End=2026-01-02T03%3A04%3A05%2B01:00&x")
        )
    );
    assert_eq!(
        full.parameter("END").as_deref(),
        Some("2026-01-02T03:04:05+01:00")
    );
    assert_eq!(full.parameter("x").as_deref(), Some(""));
    assert_eq!(full.parameter("y"), None);
    let bare = url("rtsp://[2001:db8::1]");
    assert_eq!(
        (bare.host(), bare.port(), bare.path(), bare.query()),
        ("2001:db8::1", 554, "", None)
    );
    assert_eq!(url("rtsps://h").port(), 322);
    assert_eq!(url("rtsp://h?q").query(), Some("q"));
}

#[test]
fn user_info_never_reaches_the_wire() {
    let (url, credentials) =
        RtspUrl::parse_with_credentials("rtsp://viewer:p%40ss:w@h:554/x").expect("URL");
    let credentials = credentials.expect("user info");
    assert_eq!(url.as_str(), "rtsp://h:554/x");
    assert_eq!(
        (credentials.user.as_str(), credentials.password.as_str()),
        ("viewer", "p@ss:w")
    );
    assert!(!format!("{credentials:?}").contains("p@ss"));
}

#[test]
fn odd_bytes_are_encoded_and_encoded_ones_stay() {
    assert_eq!(
        url("rtsp://h/my cam/{é}?a=%20").as_str(),
        "rtsp://h/my%20cam/%7B%C3%A9%7D?a=%20"
    );
    assert_eq!(url("rtsp://h/x#fragment").as_str(), "rtsp://h/x");
}

#[test]
fn refused() {
    let refused = [
        ("http://h/x", UrlError::Scheme),
        ("h/x", UrlError::Scheme),
        ("rtsp:///x", UrlError::Host),
        ("rtsp://h h/x", UrlError::Host),
        ("rtsp://[::1/x", UrlError::Host),
        ("rtsp://[nonsense]/x", UrlError::Host),
        ("rtsp://h:0/x", UrlError::Port),
        ("rtsp://h:65536/x", UrlError::Port),
        ("rtsp://h:+1/x", UrlError::Port),
        ("rtsp://h/a\r\nb", UrlError::Control),
    ];
    for (text, error) in refused {
        assert_eq!(RtspUrl::parse(text), Err(error), "{text}");
    }
    assert_eq!(
        RtspUrl::parse(&format!("rtsp://h/{}", "x".repeat(10_000))),
        Err(UrlError::TooLong)
    );
}

#[test]
fn segments_stay_in_their_place() {
    let segments = |text: &str| url(text).segments();
    assert_eq!(
        segments("rtsp://h/a//b%20c/"),
        Some(vec!["a".to_owned(), "b c".to_owned()])
    );
    // Decoded once: what is encoded twice stays a name.
    assert_eq!(segments("rtsp://h/%252e"), Some(vec!["%2e".to_owned()]));
    for text in [
        "rtsp://h/a/../b",
        "rtsp://h/%2e%2E/b",
        "rtsp://h/./b",
        "rtsp://h/a%2Fb",
        "rtsp://h/a%5cb",
        "rtsp://h/a%00",
    ] {
        assert_eq!(segments(text), None, "{text}");
    }
}

#[test]
fn control_attributes() {
    assert_eq!(
        controls("rtsp://h/x/", "trackID=1"),
        ["rtsp://h/x/trackID=1"]
    );
    assert_eq!(controls("rtsp://h/x/", "*"), ["rtsp://h/x/"]);
    assert_eq!(controls("rtsp://h/x", ""), ["rtsp://h/x"]);
    assert_eq!(
        controls("rtsp://h/x/", "rtsp://other/y?z"),
        ["rtsp://other/y?z"]
    );
    assert_eq!(
        controls("rtsp://h/x", "trackID=1"),
        ["rtsp://h/x/trackID=1", "rtsp://h/trackID=1"]
    );
    assert_eq!(
        controls("rtsp://h/x?a=1", "trackID=1"),
        ["rtsp://h/x?a=1/trackID=1", "rtsp://h/trackID=1"]
    );
    assert_eq!(controls("rtsp://h/x/y", "/z"), ["rtsp://h/z"]);
}

#[test]
fn hosts_compare_without_case_and_with_port() {
    assert!(url("rtsp://H/x").same_host(&url("rtsp://h:554/y")));
    assert!(!url("rtsp://h/x").same_host(&url("rtsp://h:8554/x")));
    assert!(!url("rtsp://h/x").same_host(&url("rtsp://g/x")));
    assert!(!url("rtsp://h:554/x").same_host(&url("rtsps://h:554/x")));
}

#[test]
fn paths_of_request_lines() {
    for (uri, path) in [
        ("rtsp://h/x/?q", "/x/"),
        ("/x?q/y", "/x"),
        ("*", ""),
        ("rtsp://h", ""),
        ("rtsp://h?q", ""),
    ] {
        assert_eq!(request_path(uri), path, "{uri}");
    }
}
