//! Cutting a byte stream: what arrives must not depend on how TCP cut it.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use seamline_rtsp::frame::{
    BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, URI_BYTES_MAX, VALUE_BYTES_MAX,
};
use seamline_rtsp::{FrameError, Framer, Incoming, Method, Request, Response};

const STREAM: &[u8] = b"\r\n\
    OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: a\r\nUser-Agent: b\r\n\r\n\
    $\x00\x00\x05hello\
    DESCRIBE rtsp://h/my cam RTSP/1.0\nCseq: 2\nAccept: application/sdp\n\n\
    RTSP/1.0 200 OK\r\nCSeq: 7\r\nContent-Length: 4\r\n\r\nv=0\n\
    $\x07\x00\x00\
    RTSP/1.0 551\r\ncseq:8\r\nX-Folded: a,\r\n \t b\r\nbanner without colon\r\n\r\n\
    \r\n\n\
    SET_PARAMETER rtsp://h/x RTSP/1.0\r\nCSeq: 3\r\nX-Name: K\xfcche\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\na\r\n";

/// Everything that comes out when `stream` arrives in pieces of these sizes, the rest at once.
fn cut(
    stream: &[u8],
    sizes: impl IntoIterator<Item = usize>,
) -> (Vec<Incoming>, Option<FrameError>) {
    let (mut framer, mut buf, mut out) = (Framer::new(), BytesMut::new(), Vec::new());
    let mut rest = stream;
    let mut sizes = sizes.into_iter();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        buf.put_slice(piece);
        loop {
            match framer.next(&mut buf) {
                Ok(Some(incoming)) => out.push(incoming),
                Ok(None) => break,
                Err(error) => return (out, Some(error)),
            }
        }
    }
    (out, None)
}

fn error_of(stream: &[u8]) -> Option<FrameError> {
    cut(stream, []).1
}

#[test]
fn reads_what_the_field_sends() {
    let (got, error) = cut(STREAM, []);
    assert_eq!(error, None);
    let mut got = got.into_iter();

    let Some(Incoming::Request(options)) = got.next() else {
        panic!("OPTIONS")
    };
    assert_eq!(
        (options.method, options.uri.as_str()),
        (Method::Options, "*")
    );
    assert_eq!(
        options.headers.get_all("user-agent").collect::<Vec<_>>(),
        ["a", "b"]
    );

    let Some(Incoming::Frame { channel: 0, bytes }) = got.next() else {
        panic!("frame")
    };
    assert_eq!(&bytes[..], b"$\x00\x00\x05hello");

    let Some(Incoming::Request(describe)) = got.next() else {
        panic!("DESCRIBE")
    };
    assert_eq!(
        (describe.cseq(), describe.uri.as_str()),
        (Some(2), "rtsp://h/my cam")
    );

    let Some(Incoming::Response(ok)) = got.next() else {
        panic!("200")
    };
    assert_eq!(
        (ok.status, ok.cseq(), &ok.body[..]),
        (200, Some(7), &b"v=0\n"[..])
    );

    let Some(Incoming::Frame { channel: 7, bytes }) = got.next() else {
        panic!("empty frame")
    };
    assert_eq!(&bytes[..], b"$\x07\x00\x00");

    let Some(Incoming::Response(refusal)) = got.next() else {
        panic!("551")
    };
    assert_eq!(
        (refusal.status, &*refusal.reason),
        (551, "Option Not Supported")
    );
    assert_eq!(refusal.headers.get("x-folded"), Some("a, b"));

    let Some(Incoming::Request(set)) = got.next() else {
        panic!("SET_PARAMETER")
    };
    assert_eq!(
        (set.headers.get("X-Name"), &set.body[..]),
        (Some("Küche"), &b"a\r\n"[..])
    );
    assert_eq!(got.next(), None);
}

#[test]
fn split_at_every_boundary_reads_the_same() {
    let whole = cut(STREAM, []);
    for at in 1..STREAM.len() {
        assert_eq!(cut(STREAM, [at]), whole, "split at {at}");
    }
    assert_eq!(cut(STREAM, std::iter::repeat_n(1, STREAM.len())), whole);
}

#[test]
fn a_frame_is_split_off_where_it_lies() {
    let mut buf = BytesMut::from(&b"$\x02\x00\x03abc$\x02\x00\x01d"[..]);
    let at = buf.as_ptr();
    let Ok(Some(Incoming::Frame { bytes, .. })) = Framer::new().next(&mut buf) else {
        panic!("frame")
    };
    assert_eq!(bytes.as_ptr(), at);
    assert_eq!(&buf[..], b"$\x02\x00\x01d");
}

#[test]
fn refuses_what_is_not_rtsp() {
    assert_eq!(error_of(b"\x16\x03\x01\x02\x00"), Some(FrameError::Garbage));
    assert_eq!(
        error_of(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Some(FrameError::NotRtsp)
    );
    assert_eq!(
        error_of(b"PLAY rtsp://h/x RTSP/2.0\r\n\r\n"),
        Some(FrameError::Version)
    );
    assert_eq!(
        error_of(b"RTSP/2.0 200 OK\r\n\r\n"),
        Some(FrameError::Version)
    );
    assert_eq!(
        error_of(b"PLAY\r\n\r\n"),
        Some(FrameError::Malformed("start line"))
    );
    assert_eq!(
        error_of(b"PLAY rtsp://h/x\r\n\r\n"),
        Some(FrameError::Malformed("request line"))
    );
    assert_eq!(
        error_of(b"PL(Y rtsp://h/x RTSP/1.0\r\n\r\n"),
        Some(FrameError::Malformed("method"))
    );
    assert_eq!(
        error_of(b"RTSP/1.0 2x0 OK\r\n\r\n"),
        Some(FrameError::Malformed("status"))
    );
    assert_eq!(
        error_of(b"RTSP/1.0 99 OK\r\n\r\n"),
        Some(FrameError::Malformed("status"))
    );
    assert_eq!(
        error_of(b"PLAY rtsp://h/x RTSP/1.0\r\n folded\r\n\r\n"),
        Some(FrameError::Malformed("folded line"))
    );
}

#[test]
fn refuses_control_bytes_as_soon_as_they_arrive() {
    assert_eq!(error_of(b"PLAY rtsp://h/\x00"), Some(FrameError::Garbage));
    assert_eq!(
        error_of(b"PLAY rtsp://h/x RTSP/1.0\r\nA: b\x1b"),
        Some(FrameError::Garbage)
    );
    assert_eq!(
        error_of(b"PLAY rtsp://h/x RTSP/1.0\r\nA: b\rC: d\r\n\r\n"),
        Some(FrameError::Garbage)
    );
}

#[test]
fn refuses_lengths_that_lie() {
    let with = |value: &str| {
        error_of(format!("PLAY rtsp://h/x RTSP/1.0\r\nContent-Length: {value}\r\n\r\n").as_bytes())
    };
    assert_eq!(with(&BODY_BYTES_MAX.to_string()), None);
    assert_eq!(
        with(&(BODY_BYTES_MAX + 1).to_string()),
        Some(FrameError::BodyTooLong)
    );
    assert_eq!(
        with("99999999999999999999999999"),
        Some(FrameError::BodyTooLong)
    );
    for malformed in [
        "-1",
        "+1",
        "0x10",
        "1 1",
        "",
        "1, 1",
        "1\r\nContent-Length: 2",
    ] {
        assert_eq!(
            with(malformed),
            Some(FrameError::Malformed("Content-Length")),
            "{malformed}"
        );
    }
}

#[test]
fn limits_hold_while_a_head_never_ends() {
    let endless = |line: &[u8]| {
        let mut stream = b"PLAY rtsp://h/x RTSP/1.0\r\n".to_vec();
        while stream.len() <= HEAD_BYTES_MAX {
            stream.extend_from_slice(line);
        }
        stream
    };
    assert_eq!(error_of(&endless(b"a")), Some(FrameError::HeadTooLong));
    assert_eq!(
        error_of(&endless(b"A: b\r\n")),
        Some(FrameError::HeadTooLong)
    );
    assert_eq!(
        error_of(&endless(b" folded\r\n")),
        Some(FrameError::HeadTooLong)
    );

    let message =
        |middle: &str| error_of(format!("PLAY rtsp://h/x RTSP/1.0\r\n{middle}\r\n").as_bytes());
    assert_eq!(message(&"A: b\r\n".repeat(HEADERS_MAX)), None);
    assert_eq!(
        message(&"A: b\r\n".repeat(HEADERS_MAX + 1)),
        Some(FrameError::HeadTooLong)
    );
    assert_eq!(
        message(&format!("A: {}\r\n", "b".repeat(VALUE_BYTES_MAX + 1))),
        Some(FrameError::HeadTooLong)
    );
    // It ends, but too late.
    let long = format!("A: {}\r\n", "b".repeat(VALUE_BYTES_MAX - 1));
    assert_eq!(
        message(&long.repeat(HEAD_BYTES_MAX / long.len() + 1)),
        Some(FrameError::HeadTooLong)
    );
    let folded = format!(
        "A: b\r\n{}",
        format!(" {}\r\n", "c".repeat(1000)).repeat(VALUE_BYTES_MAX / 1000 + 1)
    );
    assert_eq!(message(&folded), Some(FrameError::HeadTooLong));
    let uri = format!(
        "PLAY rtsp://h/{} RTSP/1.0\r\n\r\n",
        "x".repeat(URI_BYTES_MAX)
    );
    assert_eq!(error_of(uri.as_bytes()), Some(FrameError::UriTooLong));
}

#[test]
fn an_error_is_final() {
    let mut framer = Framer::new();
    let mut buf = BytesMut::from(&b"\x01OPTIONS * RTSP/1.0\r\n\r\n"[..]);
    assert_eq!(framer.next(&mut buf), Err(FrameError::Garbage));
    let mut good = BytesMut::from(&b"OPTIONS * RTSP/1.0\r\n\r\n"[..]);
    assert_eq!(framer.next(&mut good), Err(FrameError::Garbage));
}

#[test]
fn writes_nothing_that_a_peer_could_smuggle() {
    let request = Request::new(Method::Describe, "rtsp://h/x\r\nEvil: 1")
        .with("A\r\nB", "c\r\n\r\nd\0e\u{fc}");
    assert_eq!(
        &request.encode()[..],
        b"DESCRIBE rtsp://h/xEvil: 1 RTSP/1.0\r\nAB: cde\r\n\r\n"
    );
    let response = Response::to(
        &Request::new(Method::Play, "*").with("CSeq", "12\r\nEvil: 1"),
        200,
    );
    assert_eq!(&response.encode()[..], b"RTSP/1.0 200 OK\r\n\r\n");
}

#[test]
fn writes_the_body_s_true_length() {
    let response = Response::new(200)
        .with("Content-Length", 9999)
        .with_body("text/parameters", "position: 1\r\n");
    let text = b"RTSP/1.0 200 OK\r\nContent-Type: text/parameters\r\nContent-Length: 13\r\n\r\nposition: 1\r\n";
    assert_eq!(&response.encode()[..], text);
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z][A-Za-z0-9-]{0,12}".prop_filter("its own header", |name| {
        !name.eq_ignore_ascii_case("Content-Length")
    })
}

fn value() -> impl Strategy<Value = String> {
    "[!-~]([ -~]{0,40}[!-~])?"
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((token(), value()), 0..8)
}

fn message() -> impl Strategy<Value = Incoming> {
    let body = || prop::collection::vec(any::<u8>(), 0..64);
    let method = "[A-Z][A-Z_]{0,11}".prop_map(|token| Method::from_token(&token));
    let request = (
        method,
        "rtsp://[a-z0-9.]{1,20}(/[!-~]{0,20})?",
        fields(),
        body(),
    );
    let response = (100_u16..1000, "[A-Z][A-Za-z]{0,20}", fields(), body());
    let frame = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..64));
    prop_oneof![
        request.prop_map(|(method, uri, fields, body)| {
            let mut request = Request::new(method, uri);
            for (name, value) in fields {
                request.headers.push(name, value);
            }
            if !body.is_empty() {
                request.headers.push("Content-Length", body.len());
            }
            Incoming::Request(Request {
                body: body.into(),
                ..request
            })
        }),
        response.prop_map(|(status, reason, fields, body)| {
            let mut response = Response::new(status);
            for (name, value) in fields {
                response.headers.push(name, value);
            }
            if !body.is_empty() {
                response.headers.push("Content-Length", body.len());
            }
            Incoming::Response(Response {
                reason: reason.into(),
                body: body.into(),
                ..response
            })
        }),
        frame.prop_map(|(channel, payload)| {
            let mut bytes = BytesMut::new();
            bytes.put_slice(&[b'$', channel]);
            bytes.put_u16(payload.len() as u16);
            bytes.put_slice(&payload);
            Incoming::Frame { channel, bytes }
        }),
    ]
}

fn encode(incoming: &Incoming) -> BytesMut {
    match incoming {
        Incoming::Frame { bytes, .. } => bytes.clone(),
        Incoming::Request(request) => request.encode(),
        Incoming::Response(response) => response.encode(),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        messages in prop::collection::vec(message(), 0..6),
        sizes in prop::collection::vec(1_usize..40, 0..40),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(encode).collect();
        let (got, error) = cut(&stream, sizes);
        prop_assert_eq!(error, None);
        prop_assert_eq!(got, messages);
    }

    #[test]
    fn a_strict_parser_accepts_what_is_written(message in message()) {
        let bytes = encode(&message);
        let (_, consumed) = rtsp_types::Message::<Vec<u8>>::parse(&bytes[..]).expect("strict parser");
        prop_assert_eq!(consumed, bytes.len());
    }

    #[test]
    fn damage_reads_the_same_however_it_is_cut(
        at in 0..STREAM.len(),
        byte in any::<u8>(),
        sizes in prop::collection::vec(1_usize..40, 0..40),
    ) {
        let mut stream = STREAM.to_vec();
        stream[at] = byte;
        prop_assert_eq!(cut(&stream, sizes), cut(&stream, []));
    }
}
