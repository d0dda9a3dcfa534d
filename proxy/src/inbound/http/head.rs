//! The head of an HTTP/1 request, within limits.

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::AsyncReadExt;

use super::super::link::Link;

/// Longest head that is read.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header fields.
pub(super) const HEADERS_MAX: usize = 64;

/// The head of a request.
#[derive(Debug)]
pub(in crate::inbound) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    /// As it was received.
    pub(super) raw: BytesMut,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::inbound) enum HeadError {
    /// More than [`HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    #[error("HTTP head beyond its limits")]
    TooLong,
    /// Not HTTP/1.
    #[error("malformed HTTP head")]
    Malformed,
    /// The client left in the middle of it.
    #[error("closed in the middle of an HTTP head")]
    Gone,
}

impl Head {
    /// Reads a head; what follows it stays in the link.
    pub(in crate::inbound) async fn read(link: &mut Link) -> Result<Self, HeadError> {
        let mut bytes = BytesMut::new();
        loop {
            let read = link.read_buf(&mut bytes).await;
            if read.map_or(true, |bytes| bytes == 0) {
                return Err(HeadError::Gone);
            }
            if let Some((head, rest)) = Self::parse(&mut bytes)? {
                if !rest.is_empty() {
                    link.unread(rest);
                }
                return Ok(head);
            }
        }
    }

    /// The head at the front of `bytes` and what follows it; `None` while it is not whole.
    pub(super) fn parse(bytes: &mut BytesMut) -> Result<Option<(Self, BytesMut)>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
            Err(_) => return Err(HeadError::Malformed),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let headers = request
            .headers
            .iter()
            .map(|header| (header.name.to_owned(), text(header.value)))
            .collect();
        let method = request.method.unwrap_or_default().to_owned();
        let path = request.path.unwrap_or_default().to_owned();
        let raw = bytes.split_to(length);
        let head = Head {
            method,
            path,
            headers,
            raw,
        };
        Ok(Some((head, bytes.split())))
    }

    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self
            .headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    /// Whether a header that is a list has this element, parameters aside.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        let named = self
            .headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name));
        named
            .flat_map(|(_, value)| value.split(','))
            .any(|element| {
                let element = element.split(';').next().unwrap_or_default();
                element.trim().eq_ignore_ascii_case(token)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "POST /gate HTTP/1.0\r\nx-sessioncookie: abc\r\n\r\nT1BU";

    #[test]
    fn a_head_is_whole_at_its_blank_line_and_leaves_the_rest() {
        let head_bytes = REQUEST.find("T1BU").unwrap();
        for end in 0..head_bytes {
            let mut bytes = BytesMut::from(&REQUEST[..end]);
            assert!(Head::parse(&mut bytes).unwrap().is_none(), "{end}");
        }
        let mut bytes = BytesMut::from(REQUEST);
        let (head, rest) = Head::parse(&mut bytes).unwrap().unwrap();
        assert_eq!(
            (head.method.as_str(), head.path.as_str()),
            ("POST", "/gate")
        );
        assert_eq!(head.header("X-SessionCookie"), Some("abc"));
        assert_eq!(&rest[..], b"T1BU");
    }

    #[test]
    fn heads_have_limits() {
        let long = format!(
            "GET / HTTP/1.1\r\nx: {}\r\n\r\n",
            "y".repeat(HEAD_BYTES_MAX)
        );
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "x: y\r\n".repeat(HEADERS_MAX + 1)
        );
        for (request, error) in [
            (&*long, HeadError::TooLong),
            (&long[..HEAD_BYTES_MAX], HeadError::TooLong),
            (&*many, HeadError::TooLong),
            ("GET / HTTP/2.0\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\n\0: x\r\n\r\n", HeadError::Malformed),
        ] {
            let parsed = Head::parse(&mut BytesMut::from(request));
            assert_eq!(parsed.err(), Some(error));
        }
    }
}
