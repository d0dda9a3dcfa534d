//! One question to a device over HTTP and its answer: Digest, bounded in bytes, never the same wrong answer twice.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_auth::{PasswordClient, PasswordParams};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, USER_AGENT, WWW_AUTHENTICATE},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use seamline_routing::Timestamp;
use url::Url;

use crate::{
    kinds::{BuildError, Login},
    recorder::ProbeError,
};

/// A device's HTTP face.
#[derive(Debug)]
pub(crate) struct Device {
    url: Url,
    login: Option<Login>,
    client: Client<HttpConnector, Full<Bytes>>,
    /// The challenge that was answered well last: its nonce serves the next questions.
    challenge: Mutex<Option<PasswordClient>>,
}

/// What a device answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Its time of day, to the second.
    pub(crate) date: Option<Timestamp>,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body of a success; what any other status means, of the question `what`.
    pub(crate) fn success(self, what: &str) -> Result<Self, ProbeError> {
        match self.status {
            status if status.is_success() => Ok(self),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProbeError::Credentials),
            StatusCode::NOT_FOUND => Err(ProbeError::NotFound),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(ProbeError::Busy)
            }
            // Redirects too: no configured site is left on a device's word.
            status => Err(ProbeError::protocol(format!("{what}: {status}"))),
        }
    }
}

impl Device {
    /// The device at `http://host[:port]`.
    pub(crate) fn new(url: &str, login: Option<Login>) -> Result<Self, BuildError> {
        let wrong = |reason: &str| BuildError::Url {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(BuildError::Url {
                url: "http://…".to_owned(),
                reason: "state user name and password in their own fields".to_owned(),
            });
        }
        if parsed.scheme() != "http" || !parsed.has_host() {
            return Err(wrong("http://host:port is needed"));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .build(connector);
        Ok(Self {
            url: parsed,
            login,
            client,
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

    /// Asks for a path with its query, both percent-encoded.
    pub(crate) async fn get(&self, path: &str) -> Result<Reply, ProbeError> {
        self.ask(Method::GET, path, None).await
    }

    /// Sends an XML document.
    pub(crate) async fn post_xml(
        &self,
        path: &str,
        document: Vec<u8>,
    ) -> Result<Reply, ProbeError> {
        self.ask(Method::POST, path, Some(document.into())).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Reply, ProbeError> {
        let answered = self.authorization(&method, path, body.as_ref());
        let known = answered.is_some();
        let (reply, headers) = self.send(&method, path, body.as_ref(), answered).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        // A nonce that wore out is worth another answer; a fresh one that was refused is not: devices lock accounts.
        self.take_challenge(&headers, known)?;
        let answered = self.authorization(&method, path, body.as_ref());
        let (reply, _) = self.send(&method, path, body.as_ref(), answered).await?;
        if reply.status == StatusCode::UNAUTHORIZED {
            *self.challenge() = None;
            return Err(ProbeError::Credentials);
        }
        Ok(reply)
    }

    /// Takes the challenge of a refusal. `known` says that an earlier one was answered.
    fn take_challenge(&self, headers: &HeaderMap, known: bool) -> Result<(), ProbeError> {
        let mut challenge = self.challenge();
        let before = challenge.take();
        if self.login.is_none() {
            return Err(ProbeError::Credentials);
        }
        let mut builder = PasswordClient::builder();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            builder = builder.challenges(value.to_str().unwrap_or_default());
        }
        let Ok(PasswordClient::Digest(offered)) = builder.build() else {
            // Basic would show the password to everybody on the way.
            return Err(ProbeError::Credentials);
        };
        let worn_out = match &before {
            Some(PasswordClient::Digest(before)) => {
                offered.stale() || before.nonce() != offered.nonce()
            }
            _ => true,
        };
        if known && !worn_out {
            return Err(ProbeError::Credentials);
        }
        *challenge = Some(PasswordClient::Digest(offered));
        Ok(())
    }

    fn authorization(&self, method: &Method, path: &str, body: Option<&Bytes>) -> Option<String> {
        let login = self.login.as_ref()?;
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
        authorization: Option<String>,
    ) -> Result<(Reply, HeaderMap), ProbeError> {
        let origin = self.url.origin().ascii_serialization();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{origin}{path}"))
            .header(USER_AGENT, AGENT);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/xml");
        }
        let request = request
            .body(Full::new(body.cloned().unwrap_or_default()))
            .map_err(|error| ProbeError::protocol(error.to_string()))?;
        let response = self.client.request(request).await;
        let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ProbeError::protocol(format!("{path}: the answer is too long"))
            } else {
                ProbeError::Unreachable(error.to_string().into())
            }
        })?;
        let reply = Reply {
            status: head.status,
            date: date(&head.headers),
            body: body.to_bytes(),
        };
        Ok((reply, head.headers))
    }
}

fn failed(error: &hyper_util::client::legacy::Error) -> ProbeError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return ProbeError::connecting(io);
        }
        source = cause.source();
    }
    if error.is_connect() {
        return ProbeError::Unreachable(error.to_string().into());
    }
    ProbeError::protocol(error.to_string())
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_micros(date.timestamp().as_microsecond()))
}

const AGENT: &str = concat!("seamline/", env!("CARGO_PKG_VERSION"));
const BODY_BYTES_MAX: usize = 8 << 20;
const CONNECT: Duration = Duration::from_secs(2);
const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_IDLE_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header_exists, method},
    };

    use super::*;
    use crate::kinds::Secret;

    fn device(server: &MockServer) -> Device {
        let login = Login {
            username: "viewer".to_owned(),
            password: Secret::from("s3cret".to_owned()),
        };
        Device::new(&server.uri(), Some(login)).unwrap()
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
