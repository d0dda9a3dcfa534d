//! One POST and its answer, bounded in bytes and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT, WWW_AUTHENTICATE},
};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;
use url::Url;

use crate::recorder::ProbeError;
use crate::xml::DOCUMENT_BYTES_MAX;

/// Connections to one device.
#[derive(Debug, Clone)]
pub(super) struct Transport(Client<HttpConnector, Full<Bytes>>);

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// The `WWW-Authenticate` headers.
    pub(super) challenges: Vec<String>,
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

impl Transport {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .build(connector);
        Self(client)
    }

    /// Sends an envelope. `action` is the SOAP action, `authorization` the header of that name.
    pub(super) async fn post(
        &self,
        url: &Url,
        action: &str,
        authorization: Option<&str>,
        envelope: Bytes,
        within: Duration,
    ) -> Result<Reply, ProbeError> {
        let answered = async {
            let sent = self
                .send(url, action, authorization, envelope.clone())
                .await;
            match sent {
                // The device closed a kept connection just as the question was on its way.
                Err(Unsent::Dropped(_)) => self.send(url, action, authorization, envelope).await,
                sent => sent,
            }
        };
        match timeout(within, answered).await {
            Ok(answer) => answer.map_err(|(Unsent::Dropped(error) | Unsent::Failed(error))| error),
            Err(_) => Err(ProbeError::Timeout),
        }
    }

    async fn send(
        &self,
        url: &Url,
        action: &str,
        authorization: Option<&str>,
        envelope: Bytes,
    ) -> Result<Reply, Unsent> {
        let content = format!("application/soap+xml; charset=utf-8; action=\"{action}\"");
        let mut request = Request::post(url.as_str())
            .header(CONTENT_TYPE, content)
            .header(USER_AGENT, AGENT);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(envelope))
            .map_err(|error| Unsent::Failed(ProbeError::protocol(error.to_string())))?;
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| failed(&error))?;
        let (head, body) = response.into_parts();
        let text = |value: &hyper::header::HeaderValue| value.to_str().ok().map(str::to_owned);
        let body = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            Unsent::Failed(if error.is::<LengthLimitError>() {
                ProbeError::protocol("the answer is too long")
            } else {
                ProbeError::Unreachable(error.to_string().into())
            })
        })?;
        Ok(Reply {
            status: head.status,
            challenges: head
                .headers
                .get_all(WWW_AUTHENTICATE)
                .iter()
                .filter_map(text)
                .collect(),
            location: head.headers.get(LOCATION).and_then(text),
            body: body.to_bytes(),
        })
    }
}

/// Why there is no answer.
enum Unsent {
    /// The connection ended before anything of an answer came.
    Dropped(ProbeError),
    Failed(ProbeError),
}

fn failed(error: &Error) -> Unsent {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_incomplete_message()
        {
            return Unsent::Dropped(ProbeError::Unreachable("closed without an answer".into()));
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let probe = ProbeError::connecting(io);
            return match io.kind() {
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
                    Unsent::Dropped(probe)
                }
                _ => Unsent::Failed(probe),
            };
        }
        source = cause.source();
    }
    Unsent::Failed(if error.is_connect() {
        ProbeError::Unreachable(error.to_string().into())
    } else {
        ProbeError::protocol(error.to_string())
    })
}

const AGENT: &str = concat!("seamline/", env!("CARGO_PKG_VERSION"));
const CONNECT: Duration = Duration::from_secs(2);
const POOL_IDLE: Duration = Duration::from_secs(15);
const POOL_IDLE_MAX: usize = 2;
