//! Sessions at the port of an XProtect recorder: how they last, and what passes in them as it is.

mod lasting;
mod passing;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn answers(of: &Value) -> &Vec<Value> {
    of["answers"].as_array().unwrap_or_else(|| panic!("{of}"))
}

/// A call by SOAP on a connection that stays, and its answer.
fn post(stream: &mut TcpStream, body: &str) -> String {
    let path = "/RecorderCommandService/RecorderCommandService.asmx";
    let length = body.len();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    let mut piece = [0; 4096];
    while !answer.contains("Envelope>") {
        let read = stream.read(&mut piece).expect("it is answered");
        assert!(read > 0, "closed behind {answer}");
        answer.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    answer
}
