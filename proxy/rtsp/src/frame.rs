//! Cuts a TCP byte stream into `$` frames, requests and responses: lenient in form, strict in size.

use bytes::{Buf, Bytes, BytesMut};

use crate::message::{Headers, Method, Request, Response, reason};

/// Longest start line and header block.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most header fields of a message.
pub const HEADERS_MAX: usize = 128;
/// Longest value of one header, folded lines joined.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Longest URI of a request line.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// Longest method token.
pub const METHOD_BYTES_MAX: usize = 32;
/// Bytes of an interleaved frame before its payload: `$`, channel, 16-bit length.
pub const FRAME_HEADER_BYTES: usize = 4;

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// An interleaved frame.
    Frame {
        /// The channel number of its header.
        channel: u8,
        /// The whole frame with its header of [`FRAME_HEADER_BYTES`], split off the read buffer without copying.
        bytes: BytesMut,
    },
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// Why the stream cannot be understood any further. There is no way to resynchronise: answer
/// [`FrameError::status`] if the peer is a client, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A byte that starts neither a frame nor a message, or a control byte inside a head.
    #[error("bytes that are no RTSP")]
    Garbage,
    /// A start line or header that cannot be read.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// HTTP or another protocol of the same shape.
    #[error("another protocol's message")]
    NotRtsp,
    /// Not RTSP/1.x.
    #[error("unsupported RTSP version")]
    Version,
    /// More than [`URI_BYTES_MAX`].
    #[error("request URI longer than {URI_BYTES_MAX} bytes")]
    UriTooLong,
    /// More than [`HEAD_BYTES_MAX`], [`HEADERS_MAX`] or [`VALUE_BYTES_MAX`].
    #[error("header block beyond its limits")]
    HeadTooLong,
    /// More than [`BODY_BYTES_MAX`] announced.
    #[error("body longer than {BODY_BYTES_MAX} bytes")]
    BodyTooLong,
}

impl FrameError {
    /// The status to answer before closing; `None` where the peer does not speak RTSP.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Garbage | Self::NotRtsp => None,
            Self::Malformed(_) | Self::HeadTooLong => Some(400),
            Self::BodyTooLong => Some(413),
            Self::UriTooLong => Some(414),
            Self::Version => Some(505),
        }
    }
}

/// The state of one connection's reading side.
#[derive(Debug, Default)]
pub struct Framer {
    /// Bytes of the unfinished head that were looked at.
    scanned: usize,
    /// Bytes of the unfinished line that were looked at, carriage returns apart.
    line_bytes: usize,
    /// A message whose body is still arriving, and the body's length.
    body_of: Option<(Incoming, usize)>,
    failed: Option<FrameError>,
}

impl Framer {
    /// The reading side of a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next frame or message off the front of `buf`; `None` when more bytes are needed.
    ///
    /// Only bytes of what is returned, and blank lines between messages, are taken, so the caller may append to `buf`
    /// between calls but must not take from it. After an error every call gives the same error.
    #[inline]
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        // Nearly all that arrives; inlined, its result is never moved.
        if buf.first() == Some(&b'$') && self.body_of.is_none() && self.failed.is_none() {
            return Ok(split_frame(buf));
        }
        self.next_message(buf)
    }

    fn next_message(&mut self, buf: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.step(buf)
            .inspect_err(|error| self.failed = Some(*error))
    }

    /// Whether what is at the front of the buffer begins a frame or a message: then whole frames may be taken off it by
    /// others too.
    pub fn is_at_boundary(&self) -> bool {
        self.body_of.is_none() && self.failed.is_none()
    }

    /// Whether a message has begun whose end has not arrived; `buf` is what [`Self::next`] was given last.
    pub fn is_partial(&self, buf: &BytesMut) -> bool {
        self.body_of.is_some() || !buf.is_empty()
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        if self.body_of.is_none() {
            match *buf.as_ref() {
                [] => return Ok(None),
                [b'$', ..] => return Ok(split_frame(buf)),
                [b'\r' | b'\n', ..] => {
                    let blank = buf
                        .iter()
                        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                        .count();
                    buf.advance(blank);
                    return self.step(buf);
                }
                [first, ..] if !first.is_ascii_alphabetic() => return Err(FrameError::Garbage),
                _ => {}
            }
            let Some(head_bytes) = self.scan_head(buf)? else {
                return Ok(None);
            };
            let head = buf.split_to(head_bytes);
            self.body_of = Some(parse_head(&head)?);
        }
        let Some((message, body_bytes)) = self.body_of.take() else {
            return Ok(None);
        };
        if buf.len() < body_bytes {
            self.body_of = Some((message, body_bytes));
            return Ok(None);
        }
        Ok(Some(with_body(message, buf.split_to(body_bytes).freeze())))
    }

    /// The length of the head at the front of `buf` with its blank line; each byte is looked at once.
    fn scan_head(&mut self, buf: &BytesMut) -> Result<Option<usize>, FrameError> {
        for (offset, &byte) in buf
            .iter()
            .enumerate()
            .skip(self.scanned)
            .take(HEAD_BYTES_MAX - self.scanned)
        {
            match byte {
                b'\n' if self.line_bytes == 0 => {
                    self.scanned = 0;
                    return Ok(Some(offset + 1));
                }
                b'\n' => self.line_bytes = 0,
                b'\r' => {}
                b'\t' | b' '..=b'~' | 0x80.. => self.line_bytes += 1,
                _ => return Err(FrameError::Garbage),
            }
        }
        if buf.len() >= HEAD_BYTES_MAX {
            return Err(FrameError::HeadTooLong);
        }
        self.scanned = buf.len();
        Ok(None)
    }
}

#[inline]
fn split_frame(buf: &mut BytesMut) -> Option<Incoming> {
    let [_, channel, high, low, ..] = *buf.as_ref() else {
        return None;
    };
    let whole = FRAME_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    (buf.len() >= whole).then(|| Incoming::Frame {
        channel,
        bytes: buf.split_to(whole),
    })
}

fn with_body(message: Incoming, bytes: Bytes) -> Incoming {
    match message {
        Incoming::Request(request) => Incoming::Request(Request {
            body: bytes,
            ..request
        }),
        Incoming::Response(response) => Incoming::Response(Response {
            body: bytes,
            ..response
        }),
        frame @ Incoming::Frame { .. } => frame,
    }
}

/// A message without its body, and the length of the body that follows.
fn parse_head(head: &[u8]) -> Result<(Incoming, usize), FrameError> {
    let mut lines = head.split(|&byte| byte == b'\n').map(without_returns);
    let start = text(lines.next().unwrap_or_default())?;
    let headers = parse_headers(lines)?;
    let body_bytes = body_bytes(&headers)?;
    Ok((parse_start(&start, headers)?, body_bytes))
}

fn parse_start(line: &str, headers: Headers) -> Result<Incoming, FrameError> {
    let body = Bytes::new();
    let (first, rest) = line
        .split_once(' ')
        .ok_or(FrameError::Malformed("start line"))?;
    if let Some(version) = strip_protocol(first) {
        check_version(version)?;
        let (code, words) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let status = digits(code).filter(|status| (100..1000).contains(status));
        let status = status.ok_or(FrameError::Malformed("status"))? as u16;
        let reason = if words.is_empty() {
            reason(status).into()
        } else {
            words.trim().to_owned().into()
        };
        return Ok(Incoming::Response(Response {
            status,
            reason,
            headers,
            body,
        }));
    }
    // The URI may hold blanks: cameras' names do.
    let (uri, protocol) = rest
        .trim()
        .rsplit_once(' ')
        .ok_or(FrameError::Malformed("request line"))?;
    check_version(strip_protocol(protocol).ok_or(FrameError::NotRtsp)?)?;
    if first.len() > METHOD_BYTES_MAX
        || !first
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    {
        return Err(FrameError::Malformed("method"));
    }
    if uri.len() > URI_BYTES_MAX {
        return Err(FrameError::UriTooLong);
    }
    Ok(Incoming::Request(Request {
        method: Method::from_token(first),
        uri: uri.trim().to_owned(),
        headers,
        body,
    }))
}

fn strip_protocol(token: &str) -> Option<&str> {
    let (protocol, version) = token.split_once('/')?;
    protocol.eq_ignore_ascii_case("RTSP").then_some(version)
}

fn check_version(version: &str) -> Result<(), FrameError> {
    if version.starts_with("1.") {
        Ok(())
    } else {
        Err(FrameError::Version)
    }
}

fn parse_headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Headers, FrameError> {
    let mut headers = Headers::default();
    for line in lines.filter(|line| !line.is_empty()) {
        let line = text(line)?;
        if line.starts_with([' ', '\t']) {
            let grown = headers
                .fold(line.trim())
                .ok_or(FrameError::Malformed("folded line"))?;
            if grown.len() > VALUE_BYTES_MAX {
                return Err(FrameError::HeadTooLong);
            }
            continue;
        }
        // A line without a colon says nothing; some cameras print banners here.
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if value.len() > VALUE_BYTES_MAX || headers.len() >= HEADERS_MAX {
            return Err(FrameError::HeadTooLong);
        }
        headers.push(name.trim().to_owned(), value.trim());
    }
    Ok(headers)
}

/// Absent means zero (RFC 2326, 4.4); said twice it must agree.
fn body_bytes(headers: &Headers) -> Result<usize, FrameError> {
    let mut announced = None;
    for value in headers.get_all("Content-Length") {
        let length = digits(value).ok_or(FrameError::Malformed("Content-Length"))?;
        if announced.is_some_and(|before| before != length) {
            return Err(FrameError::Malformed("Content-Length"));
        }
        announced = Some(length);
    }
    let length = announced.unwrap_or(0);
    usize::try_from(length)
        .ok()
        .filter(|&length| length <= BODY_BYTES_MAX)
        .ok_or(FrameError::BodyTooLong)
}

/// A number of plain digits; one that does not fit reads as the largest.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().unwrap_or(u64::MAX))
}

/// UTF-8 where it is, Latin-1 where it is not: older cameras write names so.
fn text(line: &[u8]) -> Result<String, FrameError> {
    if line.contains(&b'\r') {
        return Err(FrameError::Garbage);
    }
    Ok(std::str::from_utf8(line).map_or_else(
        |_| line.iter().copied().map(char::from).collect(),
        str::to_owned,
    ))
}

fn without_returns(line: &[u8]) -> &[u8] {
    let kept = line
        .iter()
        .rposition(|&byte| byte != b'\r')
        .map_or(0, |last| last + 1);
    line.get(..kept).unwrap_or_default()
}
