//! Requests over HTTP that are none: what they get, and that nothing is left of them.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use seamline_tests::clock::{monotonic, poll};

use crate::{SOON, get, house, said, status};

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
