//! Tells by the first bytes of a connection what it speaks.

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// RTSP, or something that its framer refuses.
    Rtsp,
    /// A TLS record with a handshake in it.
    Tls,
    /// HTTP/1.
    Http,
}

/// Content type and major version of the record that opens TLS (RFC 8446 §5.1).
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];
/// Methods of HTTP that RTSP does not have. The blank tells `GET` from `GET_PARAMETER`.
const HTTP_METHODS: [&[u8]; 8] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
];
/// The method that both have: the end of its line tells.
const OPTIONS: &[u8] = b"OPTIONS ";
/// Longest request line of `OPTIONS` that is waited for.
const LINE_BYTES_MAX: usize = 2048;

/// What `bytes`, the first of a connection, begin; `None` while they may still become more than one thing.
pub(super) fn sniff(bytes: &[u8]) -> Option<Spoken> {
    let may_become = |whole: &[u8]| whole.starts_with(bytes);
    if bytes.starts_with(&TLS_HANDSHAKE) {
        return Some(Spoken::Tls);
    }
    if HTTP_METHODS.iter().any(|method| bytes.starts_with(method)) {
        return Some(Spoken::Http);
    }
    if may_become(&TLS_HANDSHAKE) || HTTP_METHODS.iter().any(|method| may_become(method)) {
        return None;
    }
    if !bytes.starts_with(OPTIONS) {
        return (!may_become(OPTIONS)).then_some(Spoken::Rtsp);
    }
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = bytes.get(..end).unwrap_or_default().trim_ascii_end();
            let http = [&b" HTTP/1.1"[..], b" HTTP/1.0"]
                .iter()
                .any(|version| line.ends_with(version));
            Some(if http { Spoken::Http } else { Spoken::Rtsp })
        }
        None => (bytes.len() >= LINE_BYTES_MAX).then_some(Spoken::Rtsp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENINGS: [(&[u8], Spoken); 15] = [
        (
            b"OPTIONS rtsp://h/gate RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            Spoken::Rtsp,
        ),
        (b"OPTIONS * RTSP/1.0\r\n\r\n", Spoken::Rtsp),
        (b"OPTIONS /gate HTTP/1.1\r\nHost: h\r\n\r\n", Spoken::Http),
        (b"DESCRIBE rtsp://h/gate RTSP/1.0\r\n\r\n", Spoken::Rtsp),
        (
            b"GET_PARAMETER rtsp://h/gate RTSP/1.0\r\n\r\n",
            Spoken::Rtsp,
        ),
        (b"PLAY rtsp://h/gate RTSP/1.0\r\n\r\n", Spoken::Rtsp),
        (b"PAUSE rtsp://h/gate RTSP/1.0\r\n\r\n", Spoken::Rtsp),
        (b"GET /gate HTTP/1.0\r\n\r\n", Spoken::Http),
        (b"POST /gate HTTP/1.0\r\n\r\n", Spoken::Http),
        (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", Spoken::Http),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", Spoken::Http),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Spoken::Tls),
        (b"\x16\x04garbage", Spoken::Rtsp),
        (b"$\x01\x00\x00OPTIONS", Spoken::Rtsp),
        (b"\r\n\r\nOPTIONS * RTSP/1.0\r\n\r\n", Spoken::Rtsp),
    ];

    #[test]
    fn however_it_is_split_it_is_told_once_and_for_all() {
        for (opening, spoken) in OPENINGS {
            assert_eq!(sniff(opening), Some(spoken), "{}", opening.escape_ascii());
            assert_eq!(sniff(&[]), None);
            for end in 1..opening.len() {
                let verdict = sniff(&opening[..end]);
                assert!(
                    verdict.is_none() || verdict == Some(spoken),
                    "{}: {verdict:?}",
                    opening[..end].escape_ascii()
                );
            }
        }
    }

    #[test]
    fn no_client_keeps_it_guessing() {
        let endless = [OPTIONS, &[b'a'; LINE_BYTES_MAX]].concat();
        assert_eq!(sniff(&endless), Some(Spoken::Rtsp));
        for first in 0..=u8::MAX {
            assert!(sniff(&[first; 16]).is_some(), "{first}");
        }
    }
}
