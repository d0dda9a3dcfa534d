//! Clients and recorders that mean harm, or do not know better.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use seamline_tests::{
    clock::{await_that, noon},
    imageserver::Client,
    pair::{Pair, TOKEN, place},
    xprotect::CAMERA,
};
use serde_json::json;

use crate::SOON;

/// What is no client of an ImageServer costs little and disturbs nobody.
#[test]
fn hostile_clients_are_turned_away() {
    let pair = Pair::new(&[(0, 10)], &[(5, 45)]);
    let mut friend = pair.client();
    let connect = format!(
        "<methodcall><requestid>1</requestid><methodname>connect</methodname><connectparam>id={CAMERA}&amp;connectiontoken={TOKEN}</connectparam></methodcall>"
    );
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><methodcall>&c;</methodcall>\r\n\r\n";
    let external = "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><methodcall/>\r\n\r\n";
    let deep = "<a>".repeat(200) + "\r\n\r\n";
    let unknown = "<methodcall><methodname>goto</methodname><time>1</time></methodcall>\r\n\r\n";
    pair.await_call("connect");
    for junk in [
        bomb,
        external,
        &deep,
        unknown,
        "\u{1}\u{2}junk<methodcall/>\r\n\r\n",
        "<methodresponse/>\r\n\r\n",
        "<methodcall><methodname>con&#13;nect</methodname></methodcall>\r\n\r\n",
        "<methodcall><methodname>goto</methodname><time>99999999999999999999</time></methodcall>\r\n\r\n",
    ] {
        let mut client = Client::open(pair.port);
        client.order(&json!({ "do": "raw", "text": junk }));
        let answer = client.order(&json!({ "do": "read" }));
        assert!(answer["gone"].is_string(), "{junk}: {answer}");
    }
    // Nor does it help to be known.
    for junk in [
        bomb,
        external,
        &deep,
        "\u{1}\u{2}junk\r\n\r\n",
        "<methodcall><methodname>be\0gin</methodname></methodcall>\r\n\r\n",
    ] {
        let mut client = pair.client();
        client.order(&json!({ "do": "raw", "text": junk }));
        let answer = client.order(&json!({ "do": "read" }));
        assert!(answer["gone"].is_string(), "{junk:?}: {answer}");
    }
    // A number is a number: nothing of a client's goes into the lines of a head.
    let mut client = pair.client();
    let forged = "<methodcall><requestid>7&#13;&#10;Evil: 1</requestid><methodname>begin</methodname></methodcall>\r\n\r\n";
    client.order(&json!({ "do": "raw", "text": forged }));
    let answer = client.order(&json!({ "do": "read" }));
    assert_eq!(
        (&answer["requestid"], place(&answer).0),
        (&json!(0), 0),
        "{answer}"
    );
    let before = pair.seamline.resident();
    let mut client = Client::open(pair.port);
    let endless = json!({ "do": "flood", "text": "<methodcall>aaaaaaaaaaaaaaaaaaaaaaaa", "times": 1000, "bytes": 200_000_000 });
    let answer = client.order(&endless);
    assert!(answer["ended"].is_string(), "{answer}");
    // Calls without end, and nobody who reads the answers.
    let mut client = pair.client();
    let next =
        "<methodcall><requestid>1</requestid><methodname>next</methodname></methodcall>\r\n\r\n";
    let deaf =
        json!({ "do": "flood", "text": next, "times": 100, "bytes": 200_000_000, "patience": 2.0 });
    client.order(&deaf);
    let grown = pair.seamline.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for two clients");
    // Byte by byte it is a client like any other.
    let mut client = Client::open(pair.port);
    for piece in connect.as_bytes().chunks(1) {
        let text = String::from_utf8_lossy(piece).into_owned();
        client.order(&json!({ "do": "raw", "text": text }));
    }
    client.order(&json!({ "do": "raw", "text": "\r\n\r\n" }));
    let answer = client.order(&json!({ "do": "read" }));
    assert_eq!(answer["connected"], "yes", "{answer}");
    // Three devices that nobody has are enough.
    let mut client = Client::open(pair.port);
    for _ in 0..3 {
        assert_eq!(client.connect("nowhere", TOKEN)["connected"], "no");
    }
    assert!(client.connect("nowhere", TOKEN)["gone"].is_string());
    assert_eq!(place(&friend.goto(noon(3.0))).0, 3);
}

/// A recorder that answers anything: the other site's answer, within the client's patience, and nothing that grows.
#[test]
fn what_is_no_answer_is_not_passed_on() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let before = pair.seamline.resident();
    for lie in [
        "endless",
        "huge",
        "numbers",
        "otherwhen",
        "other-request",
        "words",
        "junk",
        "xml-bomb",
    ] {
        pair.primary.obey(lie);
        let mut client = pair.client();
        let met = format!("met {lie}");
        await_that(SOON, &met, || {
            let answer = client.goto(noon(6.0));
            assert_eq!(place(&answer), (6, 5, 7), "{lie}: {answer}");
            assert_eq!(answer["pictures"], 25, "{lie}: {answer}");
            pair.primary.calls().contains(&met)
        });
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, 7, "{lie}: {answer}");
    }
    let grown = pair.seamline.resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes");
}

/// HTTP on the recorder's port: lengths that lie, heads without end, what is no request, and who says nothing.
#[test]
fn hostile_requests_get_their_status() {
    let pair = Pair::new(&[(0, 10)], &[(5, 45)]);
    let mut friend = pair.client();
    let connected = || {
        let stream = TcpStream::connect(("127.0.0.1", pair.port)).expect("the face listens");
        let patient = stream.set_read_timeout(Some(SOON));
        patient.expect("a socket has a patience");
        stream
    };
    let raw = |request: &[u8]| {
        let mut stream = connected();
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    pair.await_call("connect");
    // Calls that have begun, and come no further: they are let go while all else happens.
    let mut slow: Vec<TcpStream> = ["<methodcall>", "POST / HTTP/1.1\r\nHost: a\r\n"]
        .map(|begun| {
            let mut stream = connected();
            stream.write_all(begun.as_bytes()).expect("it is taken");
            stream
        })
        .into();
    let idle: Vec<TcpStream> = (0..100).map(|_| connected()).collect();
    pair.primary.calls();
    let path = "/RecorderCommandService/RecorderCommandService.asmx";
    let post = |headers: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n{body}")
    };
    let long = "x".repeat(100_000);
    for (request, status) in [
        (post("Content-Length: -1\r\n", ""), "400"),
        (post("Content-Length: 99999999999999999999\r\n", ""), "400"),
        (
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "12345"),
            "400",
        ),
        (
            post("Content-Length: 2000000\r\n", &"x".repeat(2_000_000)),
            "413",
        ),
        (post(&format!("A: {long}\r\n"), ""), "431"),
        (post("A: b\0c\r\n", ""), "400"),
        (post("Content-Length: 4\r\n", "<a/>"), "500"),
        (post("", ""), "500"),
        (post("Content-Length: 2\r\n", "<a/>"), "500"),
        (post("Transfer-Encoding: chunked\r\n", "zz\r\n"), "400"),
        (
            "TRACK /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            "404",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            "404",
        ),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), ""),
    ] {
        let answer = raw(request.as_bytes());
        let got = answer.split(' ').nth(1).unwrap_or_default();
        let shown = request.get(..200).unwrap_or(&request);
        assert_eq!(got, status, "{shown}: {answer}");
    }
    for bomb in [
        "<!DOCTYPE a [<!ENTITY b \"bbbb\">]><s:Envelope xmlns:s='x'><s:Body><SequencesGet>&b;</SequencesGet></s:Body></s:Envelope>",
        &("<a>".repeat(5000)),
    ] {
        let answer = raw(post(&format!("Content-Length: {}\r\n", bomb.len()), bomb).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    }
    // None of this came to a recorder; wrong tokens come there once each, and are the client's to hear.
    let calls = pair.primary.calls();
    assert!(calls.is_empty(), "{calls:?}");
    for count in 0..5 {
        let answer = Client::open(pair.port).connect(CAMERA, &format!("TOKEN#guess{count}"));
        assert_eq!(answer["errorreason"], "Invalid token", "{answer}");
    }
    let tried = pair.primary.calls();
    assert_eq!(
        tried.iter().filter(|call| *call == "connect").count(),
        5,
        "{tried:?}"
    );
    assert_eq!(place(&friend.goto(noon(3.0))).0, 3);
    for stream in &mut slow {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok(), "{ended:?}");
    }
    drop(idle);
    assert_eq!(place(&pair.client().goto(noon(3.0))).0, 3);
}

/// Clients that say nothing for hours are asked by TCP whether they are there; of others, HTTP's own patience takes care.
#[test]
fn who_says_nothing_for_long_is_asked_by_tcp_whether_it_is_there() {
    let pair = Pair::new(&[(0, 10)], &[(5, 45)]);
    let mut client = pair.client();
    assert_eq!(place(&client.goto(noon(3.0))).0, 3);
    // Linux: the timer that runs (2 is the one of keep-alives) and the hundredths of a second until it is due.
    let timers = || -> Vec<(u32, u32)> {
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux tells of its sockets");
        let local = format!(":{:04X}", pair.port);
        let ours = table.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_ours = words.get(1)?.ends_with(&local) && *words.get(3)? == "01";
            let (kind, due) = words.get(5)?.split_once(':')?;
            let number = |digits| u32::from_str_radix(digits, 16).ok();
            is_ours.then_some((number(kind)?, number(due)?))
        });
        ours.collect()
    };
    await_that(SOON, "no question is due", || {
        let timers = timers();
        timers.len() == 1 && timers.iter().all(|(kind, due)| *kind == 2 && *due <= 6_100)
    });
}
