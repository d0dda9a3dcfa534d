//! Requests, responses and their headers; strict on the way out whatever came in.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// The methods of RTSP 1.0; names are case-sensitive (RFC 2326, 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `OPTIONS`
    Options,
    /// `DESCRIBE`
    Describe,
    /// `SETUP`
    Setup,
    /// `PLAY`
    Play,
    /// `PAUSE`
    Pause,
    /// `TEARDOWN`
    Teardown,
    /// `GET_PARAMETER`
    GetParameter,
    /// `SET_PARAMETER`
    SetParameter,
    /// `ANNOUNCE`
    Announce,
    /// `RECORD`
    Record,
    /// `REDIRECT`
    Redirect,
    /// Any other token.
    Other(Box<str>),
}

impl Method {
    /// The method a token names.
    pub fn from_token(token: &str) -> Self {
        match token {
            "OPTIONS" => Self::Options,
            "DESCRIBE" => Self::Describe,
            "SETUP" => Self::Setup,
            "PLAY" => Self::Play,
            "PAUSE" => Self::Pause,
            "TEARDOWN" => Self::Teardown,
            "GET_PARAMETER" => Self::GetParameter,
            "SET_PARAMETER" => Self::SetParameter,
            "ANNOUNCE" => Self::Announce,
            "RECORD" => Self::Record,
            "REDIRECT" => Self::Redirect,
            other => Self::Other(other.into()),
        }
    }

    /// The token on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Setup => "SETUP",
            Self::Play => "PLAY",
            Self::Pause => "PAUSE",
            Self::Teardown => "TEARDOWN",
            Self::GetParameter => "GET_PARAMETER",
            Self::SetParameter => "SET_PARAMETER",
            Self::Announce => "ANNOUNCE",
            Self::Record => "RECORD",
            Self::Redirect => "REDIRECT",
            Self::Other(token) => token,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Header fields in the order of the wire. Names compare without case; a name may occur more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<(Cow<'static, str>, String)>,
}

impl Headers {
    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// Every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Appends a field.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl fmt::Display) {
        self.fields.push((name.into(), value.to_string()));
    }

    /// Replaces every field of that name by one.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl fmt::Display) {
        let name = name.into();
        self.remove(&name);
        self.push(name, value);
    }

    /// Removes every field of that name.
    pub fn remove(&mut self, name: &str) {
        self.fields
            .retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }

    /// Name and value of every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The number in `CSeq`; `None` when it is missing or not a number of 32 bits.
    pub fn cseq(&self) -> Option<u32> {
        let value = self.get("CSeq")?.trim();
        value
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| value.parse().ok())
            .flatten()
    }

    /// Grows the value of the last field by a folded line.
    pub(crate) fn fold(&mut self, line: &str) -> Option<&str> {
        let (_, value) = self.fields.last_mut()?;
        value.push(' ');
        value.push_str(line);
        Some(value)
    }
}

/// A request of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// The request line's URI as it was sent; `*` is legal for OPTIONS.
    pub uri: String,
    /// Header fields; `Content-Length` is written by [`Request::encode`] from the body.
    pub headers: Headers,
    /// The body; empty when none was announced.
    pub body: Bytes,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        Self {
            method,
            uri: uri.into(),
            headers: Headers::default(),
            body: Bytes::new(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The same with a body and its type.
    #[must_use]
    pub fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.set("Content-Type", content_type);
        self.body = body.into();
        self
    }

    /// The number in `CSeq`.
    pub fn cseq(&self) -> Option<u32> {
        self.headers.cseq()
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(ENCODED_BYTES_HINT + self.body.len());
        put_text(&mut out, self.method.as_str());
        out.put_u8(b' ');
        put_text(&mut out, &self.uri);
        out.put_slice(b" RTSP/1.0\r\n");
        put_fields(&mut out, &self.headers, &self.body);
        out
    }
}

/// A response of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Three digits.
    pub status: u16,
    /// The words after the status; some recorders send none.
    pub reason: Cow<'static, str>,
    /// Header fields; `Content-Length` is written by [`Response::encode`] from the body.
    pub headers: Headers,
    /// The body; empty when none was announced.
    pub body: Bytes,
}

impl Response {
    /// A response without headers or body, with the status' own words.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            reason: reason(status).into(),
            headers: Headers::default(),
            body: Bytes::new(),
        }
    }

    /// The response to `request`: echoes its `CSeq` as a number, never as text.
    pub fn to(request: &Request, status: u16) -> Self {
        let mut response = Self::new(status);
        if let Some(cseq) = request.cseq() {
            response.headers.push("CSeq", cseq);
        }
        response
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The same with a body and its type.
    #[must_use]
    pub fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.set("Content-Type", content_type);
        self.body = body.into();
        self
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The number in `CSeq`.
    pub fn cseq(&self) -> Option<u32> {
        self.headers.cseq()
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(ENCODED_BYTES_HINT + self.body.len());
        put_text(
            &mut out,
            &format!("RTSP/1.0 {:03} {}", self.status.min(999), self.reason),
        );
        out.put_slice(b"\r\n");
        put_fields(&mut out, &self.headers, &self.body);
        out
    }
}

/// The words of a status in RFC 2326 and in use around it.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        451 => "Parameter Not Understood",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        456 => "Header Field Not Valid for Resource",
        457 => "Invalid Range",
        459 => "Aggregate Operation Not Allowed",
        460 => "Only Aggregate Operation Allowed",
        461 => "Unsupported Transport",
        462 => "Destination Unreachable",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "RTSP Version Not Supported",
        551 => "Option Not Supported",
        _ => "Unknown",
    }
}

fn put_fields(out: &mut BytesMut, headers: &Headers, body: &Bytes) {
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length"))
    {
        put_text(out, name);
        out.put_slice(b": ");
        put_text(out, value);
        out.put_slice(b"\r\n");
    }
    if !body.is_empty() {
        out.put_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.put_slice(b"\r\n");
    out.put_slice(body);
}

/// Writes the printable ASCII of `text`: what a peer made us repeat can end no line and hide no byte.
fn put_text(out: &mut BytesMut, text: &str) {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    if text.as_bytes().iter().all(printable) {
        out.put_slice(text.as_bytes());
    } else {
        out.extend(text.bytes().filter(printable));
    }
}

/// A request or response without body mostly fits.
const ENCODED_BYTES_HINT: usize = 512;
