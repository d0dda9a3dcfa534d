//! HTTP on the port: who may ask, what is answered, and what hostile requests get.

mod access;
mod answers;
mod hostile;

use std::{
    io::{Read, Write},
    net::TcpStream,
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
