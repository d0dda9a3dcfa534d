//! One question to a recorder over HTTP and its answer: Digest or Basic, bounded in bytes, never the same wrong answer
//! twice, never to another host than the configured one.

mod config;
mod connections;
mod relay;
mod trust;

use std::sync::{Mutex, PoisonError};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_auth::{PasswordClient, PasswordParams};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, LAST_MODIFIED, LOCATION, RANGE, USER_AGENT,
        WWW_AUTHENTICATE,
    },
};
use seamline_routing::Timestamp;
use url::Url;

pub use config::HttpConfig;
pub use connections::Body;
pub(crate) use connections::{Connections, address, whole};
pub use relay::{Relay, RelayBody, RelayError, RelayHead, StreamBody};
pub use trust::handshake_failure;
pub(crate) use trust::{Trust, tls, trusting};

use crate::{build_error::BuildError, login::Login, recorder::ProbeError};

/// A recorder's HTTP face.
#[derive(Debug)]
pub(crate) struct Device {
    url: Url,
    login: Option<Login>,
    basic: Basic,
    connections: Connections,
    /// The challenge that was answered well last: its nonce serves the next questions.
    challenge: Mutex<Option<PasswordClient>>,
}

/// When the password itself is shown (RFC 7617).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basic {
    /// Inside TLS, where the recorder wants it.
    Sealed,
    /// With each question: the recorder knows nothing else.
    Always,
}

/// What a recorder answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Its time of day, to the second.
    pub(crate) date: Option<Timestamp>,
    pub(crate) body: Bytes,
}

/// What a recorder says of a file without giving it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// Its time of day, to the second.
    pub(crate) date: Option<Timestamp>,
    /// When the file was written last, to the second.
    pub(crate) modified: Option<Timestamp>,
}

impl Reply {
    /// The body of a success; what any other status means, of the question `what`.
    pub(crate) fn success(self, what: &str) -> Result<Self, ProbeError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(refusal(self.status, what))
    }
}

/// What a status means that is no success.
pub(crate) fn refusal(status: StatusCode, what: &str) -> ProbeError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProbeError::Credentials,
        StatusCode::NOT_FOUND => ProbeError::NotFound,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ProbeError::Busy,
        // Redirects too: no configured site is left on a recorder's word.
        status => ProbeError::protocol(format!("{what}: {status}")),
    }
}

impl Device {
    /// The recorder at a URL; its path counts for nothing.
    pub(crate) fn new(config: &HttpConfig, basic: Basic) -> Result<Self, BuildError> {
        Ok(Self {
            url: address(&config.url)?,
            login: config.login()?,
            basic,
            connections: Connections::new(config)?,
            challenge: Mutex::default(),
        })
    }

    /// Its host, as the URL has it.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(80)
    }

    /// Its URL, as configured.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Who it is asked as.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Asks for a path with its query, both percent-encoded.
    pub(crate) async fn get(&self, path: &str) -> Result<Reply, ProbeError> {
        let response = self.ask(&Method::GET, path, None, None).await?;
        Self::read(response, path).await
    }

    /// Asks for what may have no end; of `bytes` for the first of them and how many.
    pub(crate) async fn stream(
        &self,
        path: &str,
        bytes: Option<(u64, u64)>,
    ) -> Result<Body, ProbeError> {
        let range = bytes.map(|(start, length)| {
            let last = start.saturating_add(length.saturating_sub(1));
            format!("bytes={start}-{last}")
        });
        let response = self.ask(&Method::GET, path, None, range.as_deref()).await?;
        let (head, body) = response.into_parts();
        if range.is_some() && head.status == StatusCode::OK {
            return Err(ProbeError::protocol("ranges of bytes are not honoured"));
        }
        if !head.status.is_success() {
            let what = path.split('?').next().unwrap_or(path);
            return Err(match head.headers.get(LOCATION) {
                Some(location) => ProbeError::protocol(format!(
                    "{what}: {} to {location:?}: not followed",
                    head.status
                )),
                None => refusal(head.status, what),
            });
        }
        Ok(Body::new(body))
    }

    /// What is said of a file.
    pub(crate) async fn head(&self, path: &str) -> Result<Told, ProbeError> {
        let response = self.ask(&Method::HEAD, path, None, None).await?;
        if !response.status().is_success() {
            return Err(refusal(response.status(), path));
        }
        Ok(Told {
            date: date(response.headers()),
            modified: instant(response.headers(), &LAST_MODIFIED),
        })
    }

    /// So many bytes of a file from `start` on, fewer at its end; `None` where files are given as a whole alone.
    pub(crate) async fn part(
        &self,
        path: &str,
        start: u64,
        length: u64,
    ) -> Result<Option<Body>, ProbeError> {
        let last = start.saturating_add(length.saturating_sub(1));
        let range = format!("bytes={start}-{last}");
        let response = self.ask(&Method::GET, path, None, Some(&range)).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => Ok(Some(Body::new(response.into_body()))),
            StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            status => Err(refusal(status, path)),
        }
    }

    /// Sends an XML document.
    pub(crate) async fn post_xml(
        &self,
        path: &str,
        document: Vec<u8>,
    ) -> Result<Reply, ProbeError> {
        let document = Some(document.into());
        let response = self.ask(&Method::POST, path, document, None).await?;
        Self::read(response, path).await
    }

    async fn read(response: Response<Incoming>, path: &str) -> Result<Reply, ProbeError> {
        let (head, body) = response.into_parts();
        let what = path.split('?').next().unwrap_or(path);
        Ok(Reply {
            status: head.status,
            date: date(&head.headers),
            body: whole(body, BODY_BYTES_MAX, what).await?,
        })
    }

    async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        range: Option<&str>,
    ) -> Result<Response<Incoming>, ProbeError> {
        let answered = self.authorization(method, path, body.as_ref());
        let known = answered.is_some();
        let response = self
            .send(method, path, body.as_ref(), range, answered)
            .await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // A nonce that wore out is worth another answer; a fresh one that was refused is not: devices lock accounts.
        self.take_challenge(response.headers(), known)?;
        // Read to its end, so that the connection serves again.
        let _ = whole(response.into_body(), REFUSAL_BYTES_MAX, path).await;
        let answered = self.authorization(method, path, body.as_ref());
        let response = self
            .send(method, path, body.as_ref(), range, answered)
            .await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            *self.challenge() = None;
            return Err(ProbeError::Credentials);
        }
        Ok(response)
    }

    /// Takes the challenge of a refusal. `known` says that an earlier one was answered.
    fn take_challenge(&self, headers: &HeaderMap, known: bool) -> Result<(), ProbeError> {
        let mut challenge = self.challenge();
        let before = challenge.take();
        if self.login.is_none() || self.basic == Basic::Always {
            return Err(ProbeError::Credentials);
        }
        let mut builder = PasswordClient::builder();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            builder = builder.challenges(value.to_str().unwrap_or_default());
        }
        let offered = builder.build().map_err(|_| ProbeError::Credentials)?;
        let worn_out = match (&before, &offered) {
            (Some(PasswordClient::Digest(before)), PasswordClient::Digest(offered)) => {
                offered.stale() || before.nonce() != offered.nonce()
            }
            // In clear it would show the password to everybody on the way.
            (_, PasswordClient::Basic(_)) if self.url.scheme() != "https" => {
                return Err(ProbeError::Credentials);
            }
            (Some(PasswordClient::Basic(_)), PasswordClient::Basic(_)) => false,
            _ => true,
        };
        if known && !worn_out {
            return Err(ProbeError::Credentials);
        }
        *challenge = Some(offered);
        Ok(())
    }

    fn authorization(&self, method: &Method, path: &str, body: Option<&Bytes>) -> Option<String> {
        let login = self.login.as_ref()?;
        if self.basic == Basic::Always {
            let pair = format!("{}:{}", login.username, login.password.reveal());
            return Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        }
        let parameters = PasswordParams {
            username: &login.username,
            password: login.password.reveal(),
            uri: path,
            method: method.as_str(),
            body: body.map(|body| &body[..]),
        };
        self.challenge().as_mut()?.respond(&parameters).ok()
    }

    fn challenge(&self) -> std::sync::MutexGuard<'_, Option<PasswordClient>> {
        self.challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Bytes>,
        range: Option<&str>,
        authorization: Option<String>,
    ) -> Result<Response<Incoming>, ProbeError> {
        let origin = self.url.origin().ascii_serialization();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{origin}{path}"))
            .header(USER_AGENT, AGENT);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/xml");
        }
        let request = request
            .body(Full::new(body.cloned().unwrap_or_default()))
            .map_err(|error| ProbeError::protocol(error.to_string()))?;
        self.connections.send(request).await
    }
}

pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    instant(headers, &DATE)
}

fn instant(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_micros(date.timestamp().as_microsecond()))
}

/// What we call ourselves to recorders.
pub(crate) const AGENT: &str = concat!("seamline/", env!("CARGO_PKG_VERSION"));
const BODY_BYTES_MAX: usize = 16 << 20;
const REFUSAL_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header_exists, method},
    };

    use super::*;
    use crate::login::Secret;

    fn device(server: &MockServer) -> Device {
        let config = HttpConfig {
            url: server.uri(),
            username: Some("viewer".to_owned()),
            password: Some(Secret::from("s3cret".to_owned())),
            ..HttpConfig::default()
        };
        Device::new(&config, Basic::Sealed).unwrap()
    }

    fn challenge(nonce: &str) -> ResponseTemplate {
        let value = format!("Digest realm=\"nvr\", nonce=\"{nonce}\", qop=\"auth\"");
        ResponseTemplate::new(401).insert_header("WWW-Authenticate", value)
    }

    #[tokio::test]
    async fn a_nonce_serves_until_it_wears_out() {
        let server = MockServer::start().await;
        let ok =
            || Mock::given(header_exists("authorization")).respond_with(ResponseTemplate::new(200));
        Mock::given(method("GET"))
            .respond_with(challenge("one"))
            .up_to_n_times(1)
            .mount(&server)
            .await;
        ok().up_to_n_times(2).mount(&server).await;
        let device = device(&server);
        for _ in 0..2 {
            assert_eq!(device.get("/a?b=c").await.unwrap().status, StatusCode::OK);
        }
        assert_eq!(server.received_requests().await.unwrap().len(), 3);
        server.reset().await;
        Mock::given(method("GET"))
            .respond_with(challenge("two"))
            .up_to_n_times(1)
            .mount(&server)
            .await;
        ok().mount(&server).await;
        assert_eq!(device.get("/a").await.unwrap().status, StatusCode::OK);
        let sent = server.received_requests().await.unwrap();
        let last = sent.last().unwrap().headers["authorization"]
            .to_str()
            .unwrap();
        assert!(
            last.contains("nonce=\"two\"") && last.contains("uri=\"/a\""),
            "{last}"
        );
    }

    #[tokio::test]
    async fn a_password_that_is_not_accepted_is_sent_once() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .respond_with(challenge("one"))
            .mount(&server)
            .await;
        let refused = device(&server).get("/").await;
        assert_eq!(refused.unwrap_err(), ProbeError::Credentials);
        let sent = server.received_requests().await.unwrap();
        let answers = sent
            .iter()
            .filter(|request| request.headers.contains_key("authorization"));
        assert_eq!(answers.count(), 1);
    }

    #[tokio::test]
    async fn a_password_is_not_shown_to_who_asks_for_it_in_clear() {
        let server = MockServer::start().await;
        let basic =
            ResponseTemplate::new(401).insert_header("WWW-Authenticate", "Basic realm=\"nvr\"");
        Mock::given(method("GET"))
            .respond_with(basic)
            .mount(&server)
            .await;
        let refused = device(&server).get("/").await;
        assert_eq!(refused.unwrap_err(), ProbeError::Credentials);
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_has_no_end_is_cut_off() {
        let server = MockServer::start().await;
        let long = ResponseTemplate::new(200).set_body_bytes(vec![b'x'; BODY_BYTES_MAX + 1]);
        Mock::given(method("GET"))
            .respond_with(long)
            .mount(&server)
            .await;
        let refused = device(&server).get("/").await;
        assert!(matches!(refused, Err(ProbeError::Protocol(_))));
    }
}
