//! One client's connection to a server behind the house, a management server's or a recorder's: its own, as NTLM proves a
//! connection and not a request.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use seamline_probes::xprotect::Site;
use url::Url;

use super::dial::dial;

/// A server that does not accept sooner is not there.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// What is buffered of a connection in either direction.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::inbound::xprotect) enum Failure {
    /// Nothing of the request reached the server.
    #[error("not reached: {0}")]
    Unreached(String),
    /// It may have reached it.
    #[error("{0}")]
    Broken(String),
    /// There was no answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// A connection that is made when it is first used, and again when it ended in between.
pub(in crate::inbound::xprotect) struct Upstream {
    url: Url,
    /// Whose certificates are trusted there.
    site: Arc<Site>,
    kept: Option<SendRequest<Body>>,
}

impl Upstream {
    pub(in crate::inbound::xprotect) fn new(url: Url, site: Arc<Site>) -> Self {
        Upstream {
            url,
            site,
            kept: None,
        }
    }

    /// Where it leads.
    pub(in crate::inbound::xprotect) fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a request whose target is a path, and waits so long for the head of its answer.
    pub(in crate::inbound::xprotect) async fn send(
        &mut self,
        request: Request<Body>,
        patience: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.ready().await?;
        let answer = tokio::time::timeout(patience, sender.send_request(request)).await;
        match answer {
            Ok(Ok(response)) => {
                self.kept = Some(sender);
                Ok(response)
            }
            Ok(Err(error)) => {
                // The server closed the kept connection before anything was written.
                let unsent = error.is_canceled();
                let text = told(&error);
                Err(if unsent {
                    Failure::Unreached(text)
                } else {
                    Failure::Broken(text)
                })
            }
            Err(_) => Err(Failure::Late(patience)),
        }
    }

    /// The kept connection where it lives, else another.
    async fn ready(&mut self) -> Result<SendRequest<Body>, Failure> {
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let dialled = tokio::time::timeout(CONNECT_MAX, dial(self.url(), self.site.tls()));
        let io = dialled
            .await
            .map_err(|_| Failure::Unreached(format!("no connection within {CONNECT_MAX:?}")))?;
        let io = io.map_err(|error| Failure::Unreached(error.to_string()))?;
        let (mut sender, connection) = Builder::new()
            .preserve_header_case(true)
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| Failure::Unreached(told(&error)))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = told(&error), "connection to a server ended");
            }
        });
        sender
            .ready()
            .await
            .map_err(|error| Failure::Unreached(told(&error)))?;
        Ok(sender)
    }
}

/// An error with its causes.
fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
