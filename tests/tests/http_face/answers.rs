//! What is answered over HTTP, and whether the description of it is true.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use seamline_tests::{
    clock::{await_that, iso, monotonic, noon},
    footage::Recipe,
    probe::Probe,
    program::{lab_folder, venv},
    seamline::Config,
};
use serde_json::{Value, json};

use crate::{SOON, get, house, json, said, status};

/// Reads from a stream until it holds `wanted`.
fn until(stream: &mut TcpStream, text: &mut String, wanted: &str) {
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket takes a timeout");
    let mut piece = [0; 4096];
    while !text.contains(wanted) {
        let read = stream
            .read(&mut piece)
            .unwrap_or_else(|error| panic!("{wanted:?} did not come: {error}: {text}"));
        assert!(read > 0, "{wanted:?} did not come: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
}

/// Two archives; the primary lacks the file that begins 20 seconds after noon.
#[test]
fn the_timeline_sessions_and_events_tell_what_a_playback_does() {
    let footage = Recipe::default().mp4().make();
    let (from, seam, until_at) = (noon(0.0), noon(20.0), noon(60.0));
    let (one, other) = (
        footage.archive_without(&[seam]),
        footage.archive_without(&[]),
    );
    let seamline = Config::default()
        .archive("primary", one.path())
        .archive("secondary", other.path())
        .another_camera("yard")
        .serve();
    let window = format!("from={}&to={}", iso(from), iso(until_at));
    let timeline = json(&seamline, &format!("/v1/cameras/gate/timeline?{window}"));
    let shown = format!("{timeline:#}");
    assert_eq!(timeline["from"], "2026-01-01T12:00:00.000000Z", "{shown}");
    let merged = timeline["merged"].as_array().expect("a list");
    let told: Vec<(&str, &str)> = merged
        .iter()
        .map(|span| {
            (
                span["kind"].as_str().unwrap_or(""),
                span["site"].as_str().unwrap_or(""),
            )
        })
        .collect();
    assert_eq!(
        told[..2],
        [("leg", "primary"), ("leg", "secondary")],
        "{shown}"
    );
    assert_eq!(merged[0]["to"], merged[1]["from"], "{shown}");
    assert!(
        merged[1]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("gap")),
        "{shown}"
    );
    assert_eq!(timeline["copies"][0]["health"], "up", "{shown}");
    assert_eq!(
        timeline["copies"][1]["recorded"][0]["from"], "2026-01-01T12:00:00.000000Z",
        "{shown}"
    );
    for bad in [
        "from=noon",
        "from=2026-01-01T12:00:00",
        "from=2026-01-01T12:00:10Z&to=2026-01-01T12:00:00Z",
        "from=a&from=b",
    ] {
        assert_eq!(
            get(&seamline, &format!("/v1/cameras/gate/timeline?{bad}"), "").0,
            400,
            "{bad}"
        );
    }

    let mut listener = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
    listener
        .write_all(b"GET /v1/events?camera=gate HTTP/1.1\r\nHost: h\r\n\r\n")
        .expect("it reads");
    let mut heard = String::new();
    until(&mut listener, &mut heard, "text/event-stream");
    assert_eq!(json(&seamline, "/v1/sessions"), json!([]));
    let mut player = Probe::open(&seamline.url());
    assert_eq!(player.play(seam - 2_000, None, &[]).status, 200);
    player.receive_until(seam + 1_000, SOON);
    let sessions = json(&seamline, "/v1/sessions");
    let session = &sessions[0];
    assert_eq!(
        (&session["camera"], &session["transport"]),
        (&json!("gate"), &json!("rtsp/tcp")),
        "{sessions:#}"
    );
    assert_eq!(session["site"], "secondary", "{sessions:#}");
    assert!(
        session["position"].as_str() > Some("2026-01-01T12:00:19"),
        "{sessions:#}"
    );
    until(&mut listener, &mut heard, "\"to\":\"secondary\"");
    assert!(
        heard.contains("event: route") && heard.contains("\"session\":1"),
        "{heard}"
    );
    drop(player);
    await_that(SOON, "the session is still listed", || {
        json(&seamline, "/v1/sessions") == json!([])
    });
    // A house that shuts down does not wait for who listens.
    let mut seamline = seamline;
    let asked = monotonic();
    assert_eq!(seamline.shut_down(), Some(0));
    assert!(monotonic().saturating_sub(asked) < Duration::from_secs(5));
}

/// The head of the answer to a request without anything.
fn head_of(port: u16, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    until(&mut stream, &mut answer, "\r\n\r\n");
    answer
}

/// Every path that the description names answers as it says, and nothing it does not name is 200.
#[test]
fn the_description_is_true() {
    let seamline = house().serve();
    let description = json(&seamline, "/openapi.json");
    let paths = description["paths"].as_object().expect("paths");
    assert!(paths.len() >= 7, "{paths:?}");
    for (path, item) in paths {
        for method in item
            .as_object()
            .expect("methods")
            .keys()
            .filter(|key| key.as_str() != "parameters")
        {
            let operation = &item[method];
            let named = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for parameter in named.iter().filter(|parameter| parameter["in"] == "path") {
                let name = parameter["name"].as_str().expect("a name");
                assert!(path.contains(&format!("{{{name}}}")), "{path}: {name}");
            }
            let asked = path.replace("{camera}", "gate");
            let answer = head_of(seamline.port(), &method.to_uppercase(), &asked);
            let status = status(&answer);
            let responses = operation["responses"].as_object().expect("responses");
            let told = responses.contains_key(&status.to_string());
            assert!(
                told || responses.contains_key("default") && (400..=503).contains(&status),
                "{path}: {answer}"
            );
            if asked.contains('{') {
                // Nothing has such a name, but there is a place for it: only then is a method refused.
                let refused = head_of(seamline.port(), "DELETE", &asked);
                assert!(refused.contains(" 405 "), "{path} is not there: {refused}");
            } else {
                assert_ne!(status, 404, "{path} is not there: {answer}");
            }
            assert_ne!(status, 405, "{path}: {answer}");
            if told && let Some(content) = responses[&status.to_string()]["content"].as_object() {
                let kind = answer.lines().find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-type: ")
                        .map(str::to_owned)
                });
                let kind = kind.expect("a type");
                assert!(
                    content.keys().any(|known| kind.starts_with(known.as_str())),
                    "{path}: {kind}"
                );
            }
        }
    }
}

/// Asked by a tester that this project did not write, with what the description allows and with what it forbids, whatever comes is
/// what the description says: status, type, headers and schema.
#[test]
fn a_stranger_finds_the_description_true() {
    let footage = Recipe::default().mp4().make();
    let (one, other) = (
        footage.archive_without(&[noon(20.0)]),
        footage.archive_without(&[]),
    );
    let seamline = Config::default()
        .archive("primary", one.path())
        .archive("secondary", other.path())
        .another_camera("yard/north")
        .serve();
    let here = tempfile::tempdir().expect("a temporary folder can be made");
    let mut tester = Command::new(venv().join("bin/st"));
    tester
        .current_dir(here.path())
        .arg(format!(
            "--config-file={}",
            lab_folder().join("schemathesis.toml").display()
        ))
        .arg("run")
        .arg(format!(
            "http://127.0.0.1:{}/openapi.json",
            seamline.port()
        ))
        .args(["--seed=1", "--max-examples=25", "--phases=examples,coverage,fuzzing"])
        .args(["--generation-database=none", "--request-timeout=10", "--no-color"])
        // One has no end, and one is a WebSocket.
        .args(["--exclude-path=/v1/events", "--exclude-path=/v1/cameras/{camera}/scrub"])
        .arg(
            "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
             response_schema_conformance,unsupported_method,allow_header_conformance",
        );
    let output = tester
        .output()
        .expect("tests/run venv installs schemathesis");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success());
    assert!(!said.contains("Unresolvable"), "a reference to nothing");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let seamline = house().serve();
    let answer = said(
        &seamline,
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    let (head, page) = answer.split_once("\r\n\r\n").expect("a page");
    assert!(
        head.to_lowercase()
            .contains("content-security-policy: default-src 'none'"),
        "{head}"
    );
    assert!(
        page.starts_with("<!doctype html>") && page.ends_with("</html>\n"),
        "cut"
    );
    for elsewhere in ["http://", "https://", "src=\"//", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    let guarded = house().user("guard", "secret").serve();
    assert_eq!(get(&guarded, "/", "").0, 401);
}

#[test]
fn routes_answer_and_what_is_not_there_is_told_as_a_problem() {
    let seamline = house().another_camera("yard/north").serve();
    assert_eq!(get(&seamline, "/health", ""), (200, "ok\n".to_owned()));
    let cameras = json(&seamline, "/v1/cameras");
    assert_eq!(cameras[0]["id"], "gate");
    assert_eq!(cameras[1]["id"], "yard/north");
    assert_eq!(cameras[0]["sites"][0], "primary");
    assert_eq!(
        json(&seamline, "/v1/cameras/yard%2Fnorth")["id"],
        "yard/north"
    );
    let description = json(&seamline, "/openapi.json");
    assert!(description["paths"]["/v1/cameras"]["get"].is_object());
    for (path, wanted) in [
        ("/v1/cameras/nobody", 404),
        ("/nowhere", 404),
        ("/v1/cameras/%00", 404),
    ] {
        let (status, body) = get(&seamline, path, "");
        let problem: Value = serde_json::from_str(&body).expect("a problem is JSON");
        assert_eq!(
            (status, problem["status"].as_u64()),
            (wanted, Some(u64::from(wanted))),
            "{path}"
        );
    }
    // A connection answers one request after the other, and says which methods there are.
    let answers = said(
        &seamline,
        b"DELETE /v1/cameras HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS /v1/cameras HTTP/1.1\r\nHost: h\r\n\r\n\
          HEAD /v1/cameras HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 3, "{answers}");
    let of = |status: &str| {
        answers
            .split("HTTP/1.1 ")
            .find(|answer| answer.starts_with(status))
            .expect(status)
    };
    assert!(
        of("405").to_lowercase().contains("allow: get,head"),
        "{answers}"
    );
    assert!(
        of("204").to_lowercase().contains("allow: get,head"),
        "{answers}"
    );
    assert!(of("200").ends_with("\r\n\r\n"), "{answers}");
    seamline.await_log(
        &[
            "HTTP request refused",
            "path=\"/v1/cameras/nobody\"",
            "camera=\"nobody\"",
            "no camera",
        ],
        SOON,
    );
}
