//! HTTP on the port: what is answered, and what hostile requests get.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use seamline_tests::seamline::{Config, Seamline};
use serde_json::Value;

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
#[expect(clippy::too_many_lines, reason = "a list of requests")]
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
    let left = (0..50).find(|_| {
        std::thread::sleep(Duration::from_millis(100));
        seamline.descriptors() <= descriptors
    });
    assert!(
        left.is_some(),
        "{} descriptors, {descriptors} before",
        seamline.descriptors()
    );
}
