//! HTTP on a recorder's port: its SOAP services. Listings are merged over all sites, stills come from the site that holds them,
//! everything else goes to the recorder that the client means.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::super::super::link::Link;
use super::super::Face;
use super::super::recorders::Proxied;
use super::soap;

/// A request's head must have come within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The body of one: a call, or the mask of a search.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A body must have come within this time.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// An answer that is passed on: one still, or a long list.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// A long poll for the state of devices lasts up to a minute.
const RELAY_WITHIN: Duration = Duration::from_secs(90);

pub(super) type Answer = Response<Full<Bytes>>;

/// A request whose body is at hand.
pub(super) struct Asked {
    pub(super) head: hyper::http::request::Parts,
    pub(super) body: Bytes,
    /// Whether it came inside TLS.
    pub(super) is_sealed: bool,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    link: Link,
    face: Arc<Face>,
    port: usize,
    mut shutdown: watch::Receiver<bool>,
) {
    let (peer, is_sealed) = (link.peer(), link.is_sealed());
    let service = service_fn(move |request| {
        let face = Arc::clone(&face);
        async move { Ok::<_, Infallible>(answer(&face, port, peer, is_sealed, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(link), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        _ = shutdown.wait_for(|down| *down) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "recorder's HTTP connection ended");
    }
}

async fn answer(
    face: &Face,
    port: usize,
    peer: SocketAddr,
    is_sealed: bool,
    request: Request<Incoming>,
) -> Answer {
    let Some(recorder) = face.recorders.port(port) else {
        tracing::info!(%peer, port, "it is not known where this recorder is");
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "it is not known where this recorder is",
        );
    };
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect());
    let body = match body.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            tracing::info!(%peer, path = head.uri.path(), "a body longer than is taken");
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "a body longer than is taken");
        }
        Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "no body"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "no body in time"),
    };
    let asked = Asked {
        head,
        body,
        is_sealed,
    };
    if let Some(answer) = soap::answer(face, &recorder, peer, &asked).await {
        return answer;
    }
    passed_on(face, &recorder, peer, &asked).await
}

/// What only the recorder itself can answer.
pub(super) async fn passed_on(
    face: &Face,
    recorder: &Proxied,
    peer: SocketAddr,
    asked: &Asked,
) -> Answer {
    let path = asked
        .head
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(&asked.head.method).uri(format!(
        "{}{path}",
        recorder.address.origin().ascii_serialization()
    ));
    for (name, value) in &asked.head.headers {
        if !is_of_connection(name) {
            request = request.header(name, value);
        }
    }
    let Ok(request) = request.body(Full::new(asked.body.clone())) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "a request that cannot be passed on",
        );
    };
    let server = &face.settings.primary.server;
    let sent = tokio::time::timeout(RELAY_WITHIN, server.pass_on(request, ANSWER_BYTES_MAX));
    let why = match sent.await {
        Ok(Ok((mut head, body))) => {
            head.headers.remove(TRANSFER_ENCODING);
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            return Response::from_parts(head, Full::new(body));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(%peer, recorder = %recorder.name, site = %face.settings.primary.site, path, why, "not passed on");
    plain(StatusCode::BAD_GATEWAY, "the recorder does not answer")
}

/// Headers that concern one connection (RFC 9110 §7.6.1). The host stays the client's: recorders name it in what they describe.
fn is_of_connection(name: &HeaderName) -> bool {
    OF_CONNECTION.iter().any(|of| name.as_str() == *of)
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

const OF_CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
