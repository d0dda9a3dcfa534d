//! RTSP URLs: bounded, without user info, kept as text because recorders and digests compare them as text.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Longest URL.
pub const URL_BYTES_MAX: usize = crate::frame::URI_BYTES_MAX;

/// Why a text is no RTSP URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// More than [`URL_BYTES_MAX`].
    #[error("URL longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Not `rtsp://` or `rtsps://`.
    #[error("not an rtsp:// or rtsps:// URL")]
    Scheme,
    /// No host, or one with bytes that no host has.
    #[error("no usable host in the URL")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("no usable port in the URL")]
    Port,
    /// A control byte.
    #[error("control byte in the URL")]
    Control,
}

/// User name and password of a recorder. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password in clear.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// An absolute `rtsp://` or `rtsps://` URL of printable ASCII without user info.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RtspUrl {
    text: String,
    secure: bool,
    /// Byte ranges of `text`: where the authority, the path and the query's `?` start.
    authority_at: usize,
    path_at: usize,
    query_at: usize,
    port: u16,
}

impl RtspUrl {
    /// Parses an absolute URL; user info is dropped, a fragment too, and bytes that no URL may hold are
    /// percent-encoded.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::parse_with_credentials(text).map(|(url, _)| url)
    }

    /// As [`RtspUrl::parse`], giving the user info too, percent-decoded.
    pub fn parse_with_credentials(text: &str) -> Result<(Self, Option<Credentials>), UrlError> {
        let text = text.trim();
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(UrlError::Control);
        }
        let text = text.split_once('#').map_or(text, |(kept, _)| kept);
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match () {
            () if scheme.eq_ignore_ascii_case("rtsp") => false,
            () if scheme.eq_ignore_ascii_case("rtsps") => true,
            () => return Err(UrlError::Scheme),
        };
        let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_bytes);
        let (user_info, host_port) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user_info, host)| {
                (Some(user_info), host)
            });
        let port = port_of(host_port)?.unwrap_or(if secure { PORT_RTSPS } else { PORT_RTSP });

        let mut text = String::with_capacity(text.len());
        text.push_str(if secure { "rtsps://" } else { "rtsp://" });
        let authority_at = text.len();
        text.push_str(host_port);
        let path_at = text.len();
        text.extend(utf8_percent_encode(tail, NOT_IN_URL));
        let query_at = text
            .get(path_at..)
            .and_then(|tail| tail.find('?'))
            .map_or(text.len(), |at| path_at + at);
        Ok((
            Self {
                text,
                secure,
                authority_at,
                path_at,
                query_at,
                port,
            },
            user_info.map(credentials),
        ))
    }

    /// The URL as it is sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is `rtsps`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host name or address; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = without_port(self.authority());
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port, 554 or 322 (`rtsps`) where none is written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they are written.
    pub fn authority(&self) -> &str {
        self.text
            .get(self.authority_at..self.path_at)
            .unwrap_or_default()
    }

    /// The path, percent-encoded, from its `/`; empty when there is none.
    pub fn path(&self) -> &str {
        self.text
            .get(self.path_at..self.query_at)
            .unwrap_or_default()
    }

    /// The query, percent-encoded, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.query_at..)?.strip_prefix('?')
    }

    /// The first value of a query parameter, percent-decoded once; names compare without case.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The query's parameters, percent-decoded once; `+` stays itself, as in times with an offset.
    pub fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        self.query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name).into_owned(), decode(value).into_owned())
            })
    }

    /// The path's segments, percent-decoded once. `None` when one of them could leave its place: `.`, `..`, or a
    /// slash or backslash that was hidden by encoding.
    pub fn segments(&self) -> Option<Vec<String>> {
        self.path()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(plain_segment)
            .collect()
    }

    /// Whether `other` is at the same host and port.
    pub fn same_host(&self, other: &Self) -> bool {
        self.port == other.port
            && self.secure == other.secure
            && self.host().eq_ignore_ascii_case(other.host())
    }

    /// The URLs that a control attribute may mean against this base, likeliest first.
    ///
    /// `*` and nothing mean the base itself, an absolute URL itself. A relative one is appended to the base, as
    /// FFmpeg and live555 do and every recorder expects, then joined after RFC 3986 where that differs.
    pub fn control(&self, control: &str) -> Vec<Self> {
        let control = control.trim();
        if control.is_empty() || control == "*" {
            return vec![self.clone()];
        }
        if let Ok(absolute) = Self::parse(control) {
            return vec![absolute];
        }
        let appended = (!control.starts_with('/')).then(|| {
            let slash = if self.text.ends_with('/') { "" } else { "/" };
            Self::parse(&format!("{}{slash}{control}", self.text)).ok()
        });
        let joined = ::url::Url::parse(&self.text)
            .and_then(|base| base.join(control))
            .ok();
        let joined = joined.and_then(|url| Self::parse(url.as_str()).ok());
        let mut candidates: Vec<Self> = appended.flatten().into_iter().chain(joined).collect();
        candidates.dedup();
        candidates
    }
}

impl fmt::Display for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::str::FromStr for RtspUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

/// The path of a request URI, absolute or path-only, without its query; empty for `*`.
pub fn request_path(uri: &str) -> &str {
    let path = match uri.split_once("://") {
        Some((_, rest)) => rest
            .find(['/', '?'])
            .and_then(|at| rest.get(at..))
            .unwrap_or_default(),
        None if uri.starts_with('/') => uri,
        None => "",
    };
    path.split_once('?').map_or(path, |(path, _)| path)
}

fn plain_segment(segment: &str) -> Option<String> {
    let decoded = decode(segment);
    let plain = !matches!(&*decoded, "." | "..")
        && !decoded.contains(['/', '\\'])
        && !decoded.contains(char::is_control);
    plain.then(|| decoded.into_owned())
}

fn port_of(host_port: &str) -> Result<Option<u16>, UrlError> {
    let host = without_port(host_port);
    let plain = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    let valid = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => plain(host),
    };
    if !valid {
        return Err(UrlError::Host);
    }
    match host_port
        .get(host.len()..)
        .unwrap_or_default()
        .strip_prefix(':')
    {
        None | Some("") => Ok(None),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port
            .parse()
            .ok()
            .filter(|&port: &u16| port != 0)
            .map(Some)
            .ok_or(UrlError::Port),
        Some(_) => Err(UrlError::Port),
    }
}

fn without_port(host_port: &str) -> &str {
    let host_bytes = match host_port.find(']') {
        Some(bracket) => bracket + 1,
        None => host_port.find(':').unwrap_or(host_port.len()),
    };
    host_port.get(..host_bytes).unwrap_or_default()
}

fn credentials(user_info: &str) -> Credentials {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    Credentials {
        user: decode(user).into_owned(),
        password: decode(password).into_owned(),
    }
}

/// Percent-decodes once; what is no encoding stays, what is no UTF-8 is replaced.
fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

const PORT_RTSP: u16 = 554;
const PORT_RTSPS: u16 = 322;

/// Bytes that no URL may hold; `%` is not among them, since what is encoded stays so.
const NOT_IN_URL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
