//! Which headers pass a relay, and which are its own (RFC 9110 §7.6).

use std::sync::LazyLock;

use axum::http::request::Parts;
use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA, WWW_AUTHENTICATE,
};
use url::Url;

use super::super::service::Guest;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Of one connection, whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// What a client says of itself to us, and what it cannot know better than we do.
const OF_THE_CLIENT: [HeaderName; 9] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    HOST,
    EXPECT,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_REAL_IP,
];

/// The methods of those who only read.
pub(super) const READING: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// This process among those that a request may pass.
static PSEUDONYM: LazyLock<String> =
    LazyLock::new(|| format!("seamline-{:08x}", rand::random::<u32>()));

/// Whether a request has passed here before.
pub(in crate::inbound) fn is_ours(headers: &HeaderMap) -> bool {
    let via = headers
        .get_all(VIA)
        .iter()
        .filter_map(|value| value.to_str().ok());
    via.flat_map(|value| value.split(','))
        .any(|hop| hop.contains(PSEUDONYM.as_str()))
}

/// Says in a request, or an answer, that it passed here.
pub(in crate::inbound) fn leave_mark(headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(format!("1.1 {}", *PSEUDONYM)) {
        headers.append(VIA, value);
    }
}

/// The protocol that a request asks to switch to.
pub(in crate::inbound) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| wanted).cloned()
}

/// Asks for a switch to `protocol`.
pub(in crate::inbound) fn ask_for(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// A request's headers as the recorder gets them.
pub(super) fn forwarded(parts: &Parts, guest: &Guest) -> HeaderMap {
    let mut headers = parts.headers.clone();
    strip(&mut headers);
    let host = parts.headers.get(HOST).cloned();
    for name in OF_THE_CLIENT {
        headers.remove(name);
    }
    let address = guest.peer.ip().to_canonical();
    let protocol = if guest.secure { "https" } else { "http" };
    let bracketed = match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let mut told = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(name, value);
        }
    };
    told(FORWARDED, format!("for={bracketed};proto={protocol}"));
    told(X_FORWARDED_FOR, address.to_string());
    told(X_FORWARDED_PROTO, protocol.to_owned());
    if let Some(host) = host {
        headers.append(X_FORWARDED_HOST, host);
    }
    leave_mark(&mut headers);
    headers
}

/// An answer's headers as the client gets them.
pub(super) fn answered(headers: &mut HeaderMap, recorder: &Url) {
    strip(headers);
    // Who we are is asked by us, not by the recorder.
    headers.remove(WWW_AUTHENTICATE);
    headers.remove(PROXY_AUTHENTICATE);
    // A recorder's own address leads clients past us.
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let local = location.and_then(|text| {
        let url = Url::parse(text).ok()?;
        (url.origin() == recorder.origin()).then(|| url[url::Position::BeforePath..].to_owned())
    });
    if let Some(value) = local.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(LOCATION, value);
    }
    leave_mark(headers);
}

/// The headers of a switch: its protocol stays.
pub(in crate::inbound) fn switched(headers: &mut HeaderMap) {
    let protocol = headers.get(UPGRADE).cloned();
    strip(headers);
    if let Some(protocol) = protocol {
        ask_for(headers, protocol);
    }
}

/// Takes out what is of one connection only, also what `Connection` names.
pub(in crate::inbound) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers)
        .filter_map(|token| HeaderName::try_from(token).ok())
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("location", "http://10.1.0.10/ISAPI/x?y=z"),
            ("www-authenticate", "Basic realm=\"nvr\""),
            ("content-type", "text/xml"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        answered(&mut headers, &Url::parse("http://10.1.0.10/").unwrap());
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "location", "via"]);
        assert_eq!(headers["location"], "/ISAPI/x?y=z");
        assert!(is_ours(&headers));
    }
}
