//! Requests of others passed on to a recorder, asked as the house is: bodies stream both ways.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, HeaderValue},
};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use url::Url;

use super::{
    Basic, Device, HttpConfig, REFUSAL_BYTES_MAX,
    connections::{broken, client, whole},
};
use crate::build_error::BuildError;

/// A recorder's HTTP service, to which requests are passed on.
#[derive(Debug)]
pub struct Relay {
    device: Device,
    client: Client<HttpsConnector<HttpConnector>, StreamBody>,
}

/// A body that is sent as it comes.
pub type StreamBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What a request brings along.
#[derive(Debug)]
pub enum RelayBody {
    /// At hand, so that it can be sent again.
    Whole(Bytes),
    /// As it comes, once.
    Stream(StreamBody),
}

/// A request's method, its path with query, and the headers that are to reach the recorder.
#[derive(Debug, Clone)]
pub struct RelayHead {
    /// As the client has it.
    pub method: Method,
    /// Percent-encoded.
    pub path: String,
    /// Without `Host` and `Authorization`.
    pub headers: HeaderMap,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Nothing of the request reached the recorder.
    #[error("{0}")]
    Unreached(String),
    /// It may have reached it.
    #[error("{0}")]
    Broken(String),
    /// The recorder refused the request for the house's credentials, and did nothing else.
    #[error("it does not accept our credentials")]
    Credentials,
    /// The recorder asked who we are, and the body is gone. The next request will know the answer.
    #[error("it asked who we are behind a body that cannot be sent twice")]
    Again,
}

impl Relay {
    /// Contacts nobody yet.
    pub fn new(config: &HttpConfig) -> Result<Self, BuildError> {
        config.takes(&[])?;
        Ok(Self {
            device: Device::new(config, Basic::Sealed)?,
            client: client(config)?,
        })
    }

    /// The address that requests go to; its path counts for nothing.
    pub fn url(&self) -> &Url {
        self.device.url()
    }

    /// Sends a request. Answers a challenge, where the body can be sent again.
    pub async fn send(
        &self,
        head: &RelayHead,
        body: RelayBody,
    ) -> Result<Response<Incoming>, RelayError> {
        let (at_hand, body) = match body {
            RelayBody::Whole(bytes) => (Some(bytes.clone()), full(bytes)),
            RelayBody::Stream(body) => (None, body),
        };
        let answered = self.answered(head, at_hand.as_ref());
        let known = answered.is_some();
        let response = self.once(head, body, answered).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.device
            .take_challenge(response.headers(), known)
            .map_err(|_| RelayError::Credentials)?;
        let bytes = at_hand.ok_or(RelayError::Again)?;
        let _ = whole(response.into_body(), REFUSAL_BYTES_MAX, &head.path).await;
        let answered = self.answered(head, Some(&bytes));
        let response = self.once(head, full(bytes), answered).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            *self.device.challenge() = None;
            return Err(RelayError::Credentials);
        }
        Ok(response)
    }

    fn answered(&self, head: &RelayHead, body: Option<&Bytes>) -> Option<String> {
        self.device.authorization(&head.method, &head.path, body)
    }

    async fn once(
        &self,
        head: &RelayHead,
        body: StreamBody,
        authorization: Option<String>,
    ) -> Result<Response<Incoming>, RelayError> {
        let origin = self.url().origin().ascii_serialization();
        let mut request = Request::builder()
            .method(&head.method)
            .uri(format!("{origin}{}", head.path))
            .body(body)
            .map_err(|error| RelayError::Unreached(error.to_string()))?;
        *request.headers_mut() = head.headers.clone();
        if let Some(value) = authorization.and_then(|text| HeaderValue::try_from(text).ok()) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.client.request(request).await.map_err(|error| {
            let text = broken(&error);
            if error.is_connect() {
                RelayError::Unreached(text)
            } else {
                RelayError::Broken(text)
            }
        })
    }
}

fn full(bytes: Bytes) -> StreamBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}
