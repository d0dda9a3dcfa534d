//! HTTP on a recorder's port: its SOAP services. Listings are merged over all sites, stills come from the site that holds them,
//! everything else goes to the recorder that the client means, as it comes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use seamline_xprotect::rewrite::{self, Told, host_of};
use seamline_xprotect::soap::{self as envelope, RECORDER_PATH};
use tokio::sync::{Mutex, watch};

use super::super::super::bodies::{Gathered, UPLOAD_REST_MAX, Watched, gather, uploaded};
use super::super::super::http::{Patient, headers};
use super::super::super::link::Link;
use super::super::Face;
use super::super::recorders::Proxied;
use super::super::upstream::{Failure, Upstream};
use super::soap;
use crate::clock;

/// A request's head must have come within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What is buffered of a connection.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// A call by SOAP: the longest has the mask of a search in it.
const CALL_BYTES_MAX: usize = 1 << 20;
/// An answer that is turned into another version, or a description in which addresses are changed.
const READ_BYTES_MAX: usize = 32 << 20;
/// A long poll for the state of devices lasts up to a minute.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// A body of a recorder may pause this long.
const DOWNLOAD_REST_MAX: Duration = Duration::from_secs(90);

pub(super) type Answer = Response<Body>;

/// One client's connection.
pub(super) struct Visit {
    pub(super) face: Arc<Face>,
    pub(super) peer: SocketAddr,
    /// Whether it came inside TLS.
    pub(super) is_sealed: bool,
    port: usize,
    upstream: Mutex<Option<Upstream>>,
}

/// A request, and its body where that is at hand.
pub(super) struct Asked {
    pub(super) head: hyper::http::request::Parts,
    pub(super) body: Bytes,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    link: Link,
    face: Arc<Face>,
    port: usize,
    mut shutdown: watch::Receiver<bool>,
) {
    let peer = link.peer();
    let visit = Arc::new(Visit {
        face,
        peer,
        is_sealed: link.is_sealed(),
        port,
        upstream: Mutex::default(),
    });
    let service = service_fn(move |request| {
        let visit = Arc::clone(&visit);
        async move { Ok::<_, Infallible>(visit.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Patient::new(link)), service);
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

impl Visit {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (face, peer, port) = (&*self.face, self.peer, self.port);
        let Some(recorder) = face.recorders.port(port) else {
            tracing::info!(%peer, port, "it is not known where this recorder is");
            let (what, now) = (format!("port {port}"), clock::now());
            face.recorders.look_again(&what, now);
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "it is not known where this recorder is",
            );
        };
        if headers::is_ours(request.headers()) {
            let why = "this request has come by here before";
            return plain(StatusCode::LOOP_DETECTED, why);
        }
        let (head, body) = request.into_parts();
        if is_description(&head) {
            let asked = Asked {
                head,
                body: Bytes::new(),
            };
            return self.described(&recorder, &asked).await;
        }
        if !head.uri.path().eq_ignore_ascii_case(RECORDER_PATH) {
            let length = body.size_hint().upper();
            let is_short = length.is_some_and(|length| length <= CALL_BYTES_MAX as u64);
            if !is_short {
                let body = Watched::new(body, UPLOAD_REST_MAX, None);
                return self.passed_on(&recorder, head, Body::new(body), None).await;
            }
            // At hand, it can be sent again where the kept connection had ended.
            return match uploaded(body, CALL_BYTES_MAX).await {
                Ok(Gathered::Whole(body)) => {
                    let again = Some(body.clone());
                    self.passed_on(&recorder, head, Body::from(body), again)
                        .await
                }
                Ok(Gathered::Longer(body)) => self.passed_on(&recorder, head, body, None).await,
                Err(broken) => {
                    tracing::info!(%peer, %broken, "no request");
                    plain(StatusCode::BAD_REQUEST, "no body")
                }
            };
        }
        let body = match uploaded(body, CALL_BYTES_MAX).await {
            Ok(Gathered::Whole(body)) => body,
            Ok(Gathered::Longer(_)) => {
                tracing::info!(%peer, path = head.uri.path(), "a body longer than is taken");
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "a body longer than is taken");
            }
            Err(broken) => {
                tracing::info!(%peer, %broken, "no request");
                return plain(StatusCode::BAD_REQUEST, "no body");
            }
        };
        let asked = Asked { head, body };
        match soap::answer(self, &recorder, &asked).await {
            Some(answer) if envelope::is_12(&asked.body) => in_version_12(answer).await,
            Some(answer) => answer,
            None => self.call_passed_on(&recorder, &asked).await,
        }
    }

    /// A service's description: the recorder's own, with the authority that this client asked in place of whatever it names as its
    /// address; where it has none to give, that of what is answered here.
    async fn described(&self, recorder: &Proxied, asked: &Asked) -> Answer {
        let host = asked.head.headers.get(HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let host = host.filter(|host| soap::is_authority(host));
        let mut plain_only = Asked {
            head: asked.head.clone(),
            body: Bytes::new(),
        };
        plain_only.head.headers.remove(ACCEPT_ENCODING);
        let theirs = self.call_passed_on(recorder, &plain_only).await;
        if !theirs.status().is_success() {
            let own = host.and_then(|host| soap::described(self.is_sealed, host, &asked.head.uri));
            return own.unwrap_or(theirs);
        }
        let (mut head, body) = theirs.into_parts();
        let Ok((Gathered::Whole(body), _)) = gather(body, READ_BYTES_MAX, DOWNLOAD_REST_MAX).await
        else {
            return plain(StatusCode::BAD_GATEWAY, "a description that broke off");
        };
        let changed = host.and_then(|host| {
            let port = host
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok());
            let told = Told {
                authority: host.to_owned(),
                host: host_of(host),
                secure: self.is_sealed,
                http_port: port.unwrap_or(80),
                // Only inside TLS is it known that there is such a port: who asked in clear is led nowhere else.
                https_port: self.is_sealed.then(|| port.unwrap_or(443)),
            };
            rewrite::description(&String::from_utf8_lossy(&body), &told)
        });
        head.headers.remove(CONTENT_LENGTH);
        Response::from_parts(head, changed.map_or_else(|| Body::from(body), Body::from))
    }

    /// A call that only the recorder itself can answer.
    pub(super) async fn call_passed_on(&self, recorder: &Proxied, asked: &Asked) -> Answer {
        let (mut head, body) = (asked.head.clone(), asked.body.clone());
        // It has the length that it has.
        head.headers.remove(CONTENT_LENGTH);
        self.passed_on(recorder, head, Body::from(body.clone()), Some(body))
            .await
    }

    /// Asks the recorder, a second time where the kept connection had ended and the body is at hand.
    async fn passed_on(
        &self,
        recorder: &Proxied,
        mut head: hyper::http::request::Parts,
        body: Body,
        at_hand: Option<Bytes>,
    ) -> Answer {
        // The host stays the client's: recorders name it in what they describe.
        headers::strip(&mut head.headers);
        head.headers.remove(EXPECT);
        headers::leave_mark(&mut head.headers);
        head.version = Version::HTTP_11;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.to_owned();
        head.uri = path.parse().unwrap_or_default();
        let server = &self.face.settings.primary.server;
        let mut kept = self.upstream.lock().await;
        if kept
            .as_ref()
            .is_none_or(|upstream| *upstream.url() != recorder.address)
        {
            let upstream = Upstream::new(recorder.address.clone(), Arc::clone(server));
            *kept = Some(upstream);
        }
        let Some(upstream) = kept.as_mut() else {
            return plain(StatusCode::BAD_GATEWAY, "the recorder does not answer");
        };
        let again = at_hand.map(|body| Request::from_parts(head.clone(), Body::from(body)));
        let request = Request::from_parts(head, body);
        let mut outcome = upstream.send(request, ANSWER_WITHIN).await;
        if let (Err(Failure::Unreached(_)), Some(again)) = (&outcome, again) {
            outcome = upstream.send(again, ANSWER_WITHIN).await;
        }
        match outcome {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                headers::strip(&mut head.headers);
                let body = Watched::new(body, DOWNLOAD_REST_MAX, None);
                Response::from_parts(head, Body::new(body))
            }
            Err(why) => {
                tracing::warn!(peer = %self.peer, recorder = %recorder.name, site = %self.face.settings.primary.site, path, %why, "not passed on");
                plain(StatusCode::BAD_GATEWAY, "the recorder does not answer")
            }
        }
    }
}

/// Whether a service's description is asked for.
fn is_description(head: &hyper::http::request::Parts) -> bool {
    let query = head.uri.query().unwrap_or_default().to_ascii_lowercase();
    head.method == hyper::Method::GET
        && (query.starts_with("wsdl") || query.starts_with("singlewsdl"))
}

/// An answer of ours for who asked in SOAP 1.2.
async fn in_version_12(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    let Ok((Gathered::Whole(body), _)) = gather(body, READ_BYTES_MAX, DOWNLOAD_REST_MAX).await
    else {
        return plain(StatusCode::BAD_GATEWAY, "an answer longer than is turned");
    };
    head.headers.remove(CONTENT_LENGTH);
    let kind = HeaderValue::from_static("application/soap+xml; charset=utf-8");
    head.headers.insert(CONTENT_TYPE, kind);
    Response::from_parts(head, Body::from(envelope::in_12(&body)))
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
