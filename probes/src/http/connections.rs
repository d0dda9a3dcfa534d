//! Connections to recorders, kept for the next question; what failed ones say; bodies, whole or as they come.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, Response, body::Body as _, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

use super::{HttpConfig, trust};
use crate::{
    build_error::BuildError,
    recorder::ProbeError,
    stream::{ASKED_EVERY, USER_TIMEOUT},
};

/// Connections to one recorder.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Connections {
    /// Opens none yet. Reads the file of authorities.
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, BuildError> {
        Ok(Self(client(config)?))
    }

    /// Sends a question; again where the recorder closed a kept connection just as it was on its way.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ProbeError> {
        match self.0.request(request.clone()).await {
            Err(error) if is_dropped(&error) => self.0.request(request).await,
            answer => answer,
        }
        .map_err(|error| failed(&error))
    }
}

/// A client whose bodies are `B`; opens no connection yet.
pub(super) fn client<B>(
    config: &HttpConfig,
) -> Result<Client<HttpsConnector<HttpConnector>, B>, BuildError>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(ASKED_EVERY));
    connector.set_keepalive_interval(Some(ASKED_EVERY));
    connector.set_tcp_user_timeout(Some(USER_TIMEOUT));
    connector.set_recv_buffer_size(Some(RECEIVE_BYTES));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust::tls(config)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(POOL_IDLE_MAX)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .build(connector))
}

/// The URL of a recorder: `http` or `https`, with a host, and without a login that would be shown.
pub(crate) fn address(url: &str) -> Result<Url, BuildError> {
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
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(wrong("http://host:port or https://host:port is needed"));
    }
    Ok(parsed)
}

/// All of a body, of so many bytes at most. `what` names it in errors.
pub(crate) async fn whole(
    body: Incoming,
    bytes_max: usize,
    what: &str,
) -> Result<Bytes, ProbeError> {
    let body = Limited::new(body, bytes_max).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ProbeError::protocol(format!("{what}: the answer is too long"))
        } else {
            ProbeError::Unreachable(error.to_string().into())
        }
    })?;
    Ok(body.to_bytes())
}

/// The bytes of an answer as they come. What is not read holds the recorder back; dropped, it ends the connection.
pub struct Body(Incoming);

impl Body {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(body)
    }

    /// All of it, of so many bytes at most. `what` names it in errors.
    pub(crate) async fn whole(self, bytes_max: usize, what: &str) -> Result<Bytes, ProbeError> {
        whole(self.0, bytes_max, what).await
    }

    /// The next bytes; `None` at its end. An answer that breaks off before that is an error.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ProbeError>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
            return Poll::Ready(match frame {
                None => None,
                Some(Err(error)) => Some(Err(ProbeError::Unreachable(broken(&error).into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Some(Ok(bytes)),
                    // Trailers say nothing here.
                    Err(_) => continue,
                },
            });
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(..)")
    }
}

/// An error with its causes: the outermost alone says only that something failed.
pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Whether the connection ended before anything of an answer came.
fn is_dropped(error: &Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_incomplete_message()
        {
            return true;
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let kinds = [
                std::io::ErrorKind::ConnectionReset,
                std::io::ErrorKind::BrokenPipe,
            ];
            return !error.is_connect() && kinds.contains(&io.kind());
        }
        source = cause.source();
    }
    false
}

fn failed(error: &Error) -> ProbeError {
    if is_dropped(error) {
        return ProbeError::Unreachable("closed without an answer".into());
    }
    if let Some(tls) = trust::tls_error(error) {
        return ProbeError::Unreachable(trust::refusal(tls).into());
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return ProbeError::connecting(io);
        }
        source = cause.source();
    }
    if error.is_connect() {
        return ProbeError::Unreachable(broken(error).into());
    }
    ProbeError::protocol(broken(error))
}

const CONNECT: Duration = Duration::from_secs(2);
const HEAD_BYTES_MAX: usize = 64 << 10;
const POOL_IDLE: Duration = Duration::from_secs(15);
const POOL_IDLE_MAX: usize = 2;
/// The kernel holds about twice this of what is not read yet.
const RECEIVE_BYTES: usize = 512 << 10;
