//! One POST and its answer, bounded in bytes and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT, WWW_AUTHENTICATE},
};
use tokio::time::timeout;
use url::Url;

use crate::http::{AGENT, Connections, whole};
use crate::recorder::ProbeError;
use crate::xml::DOCUMENT_BYTES_MAX;

/// Connections to one device.
#[derive(Debug, Clone)]
pub(super) struct Transport(Connections);

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
    pub(super) fn new(connections: Connections) -> Self {
        Self(connections)
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
        let answered = self.send(url, action, authorization, envelope);
        timeout(within, answered)
            .await
            .unwrap_or(Err(ProbeError::Timeout))
    }

    async fn send(
        &self,
        url: &Url,
        action: &str,
        authorization: Option<&str>,
        envelope: Bytes,
    ) -> Result<Reply, ProbeError> {
        let content = format!("application/soap+xml; charset=utf-8; action=\"{action}\"");
        let mut request = Request::post(url.as_str())
            .header(CONTENT_TYPE, content)
            .header(USER_AGENT, AGENT);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(envelope))
            .map_err(|error| ProbeError::protocol(error.to_string()))?;
        let (head, body) = self.0.send(request).await?.into_parts();
        let text = |value: &hyper::header::HeaderValue| value.to_str().ok().map(str::to_owned);
        Ok(Reply {
            status: head.status,
            challenges: head
                .headers
                .get_all(WWW_AUTHENTICATE)
                .iter()
                .filter_map(text)
                .collect(),
            location: head.headers.get(LOCATION).and_then(text),
            body: whole(body, DOCUMENT_BYTES_MAX, "SOAP").await?,
        })
    }
}
