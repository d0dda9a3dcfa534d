//! HTTP on the port: what is answered, and what hostile requests get.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    time::Duration,
};

use seamline_tests::{
    clock::{await_that, iso, monotonic, noon, poll},
    footage::Recipe,
    probe::Probe,
    program::{lab_folder, venv},
    seamline::{Config, Seamline},
};
use serde_json::{Value, json};

/// No answer takes longer.
const SOON: Duration = Duration::from_secs(20);

/// A program whose only recorder nobody can reach: nothing here needs footage.
fn house() -> Config {
    Config::default().site_at("primary", "rtsp://127.0.0.1:9/{camera}", 0)
}

/// Everything that comes back for these bytes until the connection is closed.
fn said(seamline: &Seamline, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket takes a timeout");
    // The answer to a request that is too long may come before its end.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!(
                "no end of the answer to {:?}: {error}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
            ),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The only answer to a request, which is closed behind it.
fn get(seamline: &Seamline, path: &str, headers: &str) -> (u16, String) {
    let answer = said(
        seamline,
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n").as_bytes(),
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (status(head), body.to_owned())
}

fn status(head: &str) -> u16 {
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {head:?}"))
}

fn json(seamline: &Seamline, path: &str) -> Value {
    let (status, body) = get(seamline, path, "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

/// Signed with `SECRET` by another program: guard, until 2100; guard, until 2023.
const GOOD_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJndWFyZCIsImV4cCI6NDEwMjQ0NDgwMH0.wqiVz2BXLDHa6CNRPfrTX1-m_61zUH2T0CjlZ-d3r_c";
const OLD_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJndWFyZCIsImV4cCI6MTcwMDAwMDAwMH0.WRR2Gyy1Q0mBm2FoA47dWvV5WkiYbUSI80254DyXd4I";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The head of the only answer.
fn head(seamline: &Seamline, request: &str) -> String {
    let answer = said(
        seamline,
        format!("{request}Connection: close\r\n\r\n").as_bytes(),
    );
    answer
        .split("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

#[test]
fn users_tokens_and_links_open_what_they_are_for() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let key = folder.path().join("key");
    std::fs::write(&key, SECRET).expect("the folder can be written");
    let config = house()
        .another_camera("yard/north")
        .user_as(json!({ "name": "guard", "password": "secret", "cameras": ["yard/*"] }))
        .auth("basic", true)
        .auth("link_key_file", key.display().to_string())
        .auth("token", json!({ "secret_file": key.display().to_string() }))
        .top(
            "http",
            json!({ "cors_origins": ["https://wall.example.org"] }),
        );
    let seamline = config.serve();
    let cameras = "/v1/cameras";
    let basic = |pair: &str| format!("Authorization: Basic {pair}\r\n");
    let (right, wrong) = (basic("Z3VhcmQ6c2VjcmV0"), basic("Z3VhcmQ6c2VjcmV1"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    // Health is everybody's, and says nothing.
    assert_eq!(get(&seamline, "/health", "").0, 200);
    for headers in [&right, &bearer(GOOD_TOKEN)] {
        let (status, body) = get(&seamline, cameras, headers);
        assert_eq!(status, 200, "{body}");
        assert!(
            body.contains("yard/north") && !body.contains("gate"),
            "{body}"
        );
        assert_eq!(get(&seamline, "/v1/cameras/yard%2Fnorth", headers).0, 200);
        // What they may not see may as well not be there.
        assert_eq!(get(&seamline, "/v1/cameras/gate", headers).0, 403);
        assert_eq!(get(&seamline, "/v1/cameras/nobody", headers).0, 403);
    }
    let challenged = head(&seamline, "GET /v1/cameras HTTP/1.1\r\nHost: h\r\n");
    assert_eq!(status(&challenged), 401);
    for scheme in ["digest realm", "basic realm", "bearer realm"] {
        assert!(
            challenged.contains(&format!("www-authenticate: {scheme}")),
            "{challenged}"
        );
    }
    assert_eq!(get(&seamline, cameras, &wrong).0, 401);
    let old = head(
        &seamline,
        &format!(
            "GET /v1/cameras HTTP/1.1\r\nHost: h\r\n{}",
            bearer(OLD_TOKEN)
        ),
    );
    assert!(
        status(&old) == 401 && old.contains("error=\"invalid_token\""),
        "{old}"
    );
    assert_eq!(
        get(
            &seamline,
            cameras,
            &bearer(&GOOD_TOKEN.replace("eyJz", "eyJt"))
        )
        .0,
        401
    );

    let signed = config.run(&["sign", "/v1/cameras/yard%2Fnorth?a=b", "--valid", "10m"]);
    let signed = signed.trim();
    assert_eq!(get(&seamline, signed, "").0, 200, "{signed}");
    assert_eq!(get(&seamline, &signed.replace("a=b", "a=c"), "").0, 403);
    assert_eq!(
        get(&seamline, &signed.replace("yard%2Fnorth", "gate"), "").0,
        403
    );
    assert_eq!(
        get(
            &seamline,
            &signed.replace("/v1/cameras/yard%2Fnorth", cameras),
            ""
        )
        .0,
        403
    );

    let origin = |origin: &str| {
        format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n"
        )
    };
    let preflight = |from: &str| {
        head(
            &seamline,
            &format!(
                "OPTIONS /v1/cameras HTTP/1.1\r\nHost: h\r\n{}",
                origin(from)
            ),
        )
    };
    let ours = preflight("https://wall.example.org");
    assert!(
        ours.contains("access-control-allow-origin: https://wall.example.org"),
        "{ours}"
    );
    assert!(
        ours.contains("access-control-allow-headers: ") && ours.contains("authorization"),
        "{ours}"
    );
    assert!(!preflight("https://other.example").contains("access-control-allow-origin"));
    seamline.await_log(&["token refused", "expired"], SOON);
    seamline.await_log(&["link refused"], SOON);
}

#[test]
fn who_guesses_over_http_waits() {
    let seamline = house().user("guard", "secret").auth("basic", true).serve();
    let guess = |n: usize| {
        let answer = format!(
            "Authorization: Basic {}\r\n",
            base64(&format!("guard:guess-{n}"))
        );
        get(&seamline, "/v1/cameras", &answer).0
    };
    let statuses: Vec<u16> = (0..8).map(guess).collect();
    assert_eq!(statuses[..5], [401; 5], "{statuses:?}");
    assert!(statuses[6..].contains(&429), "{statuses:?}");
    let waits = head(
        &seamline,
        "GET /v1/cameras HTTP/1.1\r\nHost: h\r\nAuthorization: Basic eDp5\r\n",
    );
    assert!(status(&waits) == 401, "other names still may: {waits}");
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = text.as_bytes().chunks(3).map(|group| {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]);
        let digits = (0..=group.len()).map(digit).collect::<String>();
        format!("{digits:=<4}")
    });
    groups.collect()
}

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
fn a_head_that_comes_by_bits_is_not_waited_for() {
    let seamline = house().serve();
    let begun = monotonic();
    let mut slow = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
    let mut piece = [0; 64];
    slow.set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a socket takes a timeout");
    slow.write_all(b"GET /health HTTP/1.1\r\nX: ")
        .expect("it reads");
    let closed = loop {
        let ended = match slow.read(&mut piece) {
            Ok(0) => true,
            Ok(_) => panic!("an answer to half a head"),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        if ended || slow.write_all(b"y").is_err() {
            break monotonic().saturating_sub(begun);
        }
        assert!(monotonic().saturating_sub(begun) < SOON, "still waited for");
    };
    assert!(closed > Duration::from_secs(8), "{closed:?}");
    assert_eq!(get(&seamline, "/health", "").0, 200);
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

#[test]
fn requests_that_are_none_are_refused_and_lead_nowhere() {
    let seamline = house().serve();
    let ask = |request: &str| said(&seamline, request.as_bytes());
    let long = "x".repeat(20 * 1024);
    let many = (0..200).fold(String::new(), |all, n| all + &format!("X-{n}: y\r\n"));
    let up = "..%2f".repeat(2000);
    for (request, wanted) in [
        (
            format!("GET /health HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (
            format!("GET /health HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
            431,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(9000)),
            414,
        ),
        (format!("GET /{up} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        (
            format!(
                "GET /{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                &up[..7000]
            ),
            404,
        ),
        (
            "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned(),
            400,
        ),
        ("GET /he\0alth HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        (
            "GET /health HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET http://other.example/nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                .to_owned(),
            404,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(),
            404,
        ),
        (
            "POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n".to_owned(),
            400,
        ),
        (
            "POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"
                .to_owned(),
            400,
        ),
        (
            "POST /health HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\nabc".to_owned(),
            400,
        ),
    ] {
        let answer = ask(&request);
        assert_eq!(
            status(&answer),
            wanted,
            "{:?}: {answer}",
            &request[..request.len().min(80)]
        );
    }
    // Whichever of two lengths is believed, what stands behind is not a second request.
    let smuggled = ask(
        "POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /v1/cameras HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert_eq!(smuggled.matches("HTTP/1.1 ").count(), 1, "{smuggled}");
    // Somebody who leaves in the middle of anything leaves nothing behind.
    let descriptors = seamline.descriptors();
    for cut in [1, 5, 20, 60] {
        let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
        let request =
            "GET /v1/cameras HTTP/1.1\r\nHost: h\r\nX-Padding: xxxxxxxxxxxxxxxxxxxx\r\n\r\n";
        stream
            .write_all(&request.as_bytes()[..cut])
            .expect("it reads");
        stream
            .shutdown(Shutdown::Both)
            .expect("an open socket can be closed");
    }
    let (status, _) = get(&seamline, "/health", "");
    assert_eq!(status, 200);
    poll(SOON, || {
        let open = seamline.descriptors();
        let left = (open <= descriptors).then_some(());
        left.ok_or_else(|| format!("{open} descriptors, {descriptors} before"))
    });
}
