//! The HTTP service: one connection and its limits, and the router that all routes hang on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue};
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use seamline_rtsp::auth::server::Login;
use tokio::sync::{Mutex, watch};
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

use super::super::link::Link;
use super::super::listener::Offer;
use super::super::tls::Certificates;
use super::batched::Batched;
use super::errors::{Problem, Refused};
use super::gate::AskedFor;
use super::head::{HEAD_BYTES_MAX, HEADERS_MAX, Head};
use super::passthrough::{self, Passthrough};
use super::patience::Patient;
use super::{
    cameras, description, events, export, get, health, hls, list, metrics, page, scrub, sessions,
    snapshot, timeline,
};
use crate::cameras::Cameras;
use crate::spool::Spool;

/// Longest path and query.
const TARGET_BYTES_MAX: usize = 8 * 1024;
/// A head must be whole this long after the answer before it, whether it is slow or does not come.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// What hyper buffers of a connection in either direction.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What all HTTP requests share.
pub(in crate::inbound) struct Face {
    pub(super) cameras: Arc<Cameras>,
    pub(super) passthrough: Passthrough,
    pub(super) hls: Arc<hls::Store>,
    /// Clips of footage as files.
    pub(super) spool: Arc<Spool>,
    /// What a proxy in front says of the host that clients asked for is believed.
    pub(super) trust_forwarded: bool,
    /// What TLS is answered with, where it is.
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) counts: Arc<Counts>,
}

/// What was asked since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) answered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Whom a request comes from; every request carries it as an extension.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) peer: SocketAddr,
    /// Nobody on the way can read what is sent (TLS).
    pub(super) secure: bool,
    /// What the connection has proved so far.
    pub(super) login: Arc<Mutex<Login>>,
    shutdown: watch::Receiver<bool>,
}

impl Guest {
    /// Whether the house is shutting down.
    pub(super) fn is_leaving(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Returns when the house shuts down.
    pub(super) async fn leaving(&self) {
        asked_to_stop(&mut self.shutdown.clone()).await;
    }
}

/// The routes, ready to answer by the configuration of the moment.
#[derive(Clone)]
pub(in crate::inbound) struct Service {
    router: Arc<ArcSwap<Router>>,
    kept: Arc<ArcSwap<Kept>>,
    counts: Arc<Counts>,
}

/// What is kept of footage, and the cameras that this holds for.
#[derive(Clone)]
struct Kept {
    of: Arc<Cameras>,
    /// Segments, whose names number a camera's copies.
    hls: Arc<hls::Store>,
    spool: Arc<Spool>,
}

impl Service {
    /// A service by this offer.
    pub(in crate::inbound) fn new(offer: &Offer) -> Self {
        let counts = Arc::default();
        let kept = Kept {
            of: Arc::clone(&offer.cameras),
            hls: Arc::default(),
            spool: Spool::new(&offer.settings.http.spool),
        };
        let router = router(offer, kept.clone(), Arc::clone(&counts));
        Service {
            router: Arc::new(ArcSwap::from_pointee(router)),
            kept: Arc::new(ArcSwap::from_pointee(kept)),
            counts,
        }
    }

    /// Answers by another offer from the next request on, on all connections.
    pub(in crate::inbound) fn renew(&self, offer: &Offer) {
        let before = self.kept.load();
        let hls = if before.of.stay_in(&offer.cameras) {
            Arc::clone(&before.hls)
        } else {
            Arc::default()
        };
        let settings = &offer.settings.http.spool;
        let kept = Kept {
            of: Arc::clone(&offer.cameras),
            hls,
            spool: before.spool.renewed(settings, &offer.cameras),
        };
        let router = router(offer, kept.clone(), Arc::clone(&self.counts));
        self.kept.store(Arc::new(kept));
        self.router.store(Arc::new(router));
    }

    /// Serves a connection whose first head was read, to its end; after `shutdown` only the request that runs.
    pub(super) async fn serve(
        &self,
        mut link: Link,
        head: Head,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let guest = Guest {
            peer: link.peer(),
            secure: link.is_sealed(),
            login: Arc::default(),
            shutdown: shutdown.clone(),
        };
        let peer = guest.peer;
        link.unread(head.raw);
        let (current, proved) = (
            Arc::clone(&self.router),
            ArcSwap::from_pointee((self.router.load_full(), guest)),
        );
        let answer =
            hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let router = current.load_full();
                // What was proved to another configuration is to be proved again.
                if !Arc::ptr_eq(&proved.load().0, &router) {
                    let login = Arc::default();
                    let guest = Guest {
                        login,
                        ..proved.load().1.clone()
                    };
                    proved.store(Arc::new((Arc::clone(&router), guest)));
                }
                let guest = proved.load().1.clone();
                let router = Router::clone(&router);
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(guest);
                let answer = router.oneshot(request);
                async { Ok::<_, Infallible>(answer.await?.map(Batched::new)) }
            });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(Patient::new(link)), answer)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = asked_to_stop(&mut shutdown) => None,
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            connection.as_mut().graceful_shutdown();
            connection.await
        };
        if let Err(why) = ended {
            tracing::debug!(%peer, %why, "HTTP connection ended");
        }
    }
}

async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // Nobody left who could ask is as good as being asked.
    let _ = shutdown.wait_for(|down| *down).await;
}

fn router(offer: &Offer, kept: Kept, counts: Arc<Counts>) -> Router {
    let settings = &offer.settings.http;
    let face = Arc::new(Face {
        passthrough: Passthrough::new(&settings.passthrough, &offer.cameras),
        cameras: Arc::clone(&offer.cameras),
        certificates: offer.settings.certificates.clone(),
        hls: kept.hls,
        spool: kept.spool,
        trust_forwarded: settings.trust_forwarded,
        counts,
    });
    let (router, openapi) = routes().split_for_parts();
    let router = router
        .merge(description::routes(openapi))
        .merge(page::routes())
        .fallback(passthrough::relay)
        .method_not_allowed_fallback(not_allowed);
    let router = match settings.cors.layer() {
        Some(cors) => router.layer(cors),
        None => router,
    };
    let router = router.layer(from_fn_with_state(face.clone(), front));
    router.with_state(face)
}

/// All routes with their descriptions. A route file gives its own as `routes()`; it is merged here.
fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::with_openapi(description::head())
        .merge(cameras::routes())
        .merge(timeline::routes())
        .merge(sessions::routes())
        .merge(events::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(hls::routes())
        .merge(scrub::routes())
        .merge(get::routes())
        .merge(list::routes())
        .merge(export::routes())
        .merge(snapshot::routes())
}

/// What all requests and answers pass: limits before, the log and the counts behind.
async fn front(
    axum::extract::State(face): axum::extract::State<Arc<Face>>,
    mut request: Request,
    next: Next,
) -> Response {
    let asked_for = AskedFor::default();
    request.extensions_mut().insert(asked_for.clone());
    let peer = request.extensions().get::<Guest>().map(|guest| guest.peer);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = match fault(&request) {
        Some(problem) => {
            let mut refused = problem.into_response();
            refused
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            refused
        }
        None => next.run(request).await,
    };
    if method == Method::OPTIONS && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = options(&response);
    }
    let status = response.status();
    let counts = &face.counts;
    let count = match status.as_u16() {
        500.. => &counts.failed,
        400.. => &counts.refused,
        _ => &counts.answered,
    };
    count.fetch_add(1, Ordering::Relaxed);
    let camera = asked_for.0.get().map_or("-", String::as_str);
    let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    let reason = response.extensions().get::<Refused>();
    let reason = reason.map_or("", |refused| &refused.reason);
    match status.as_u16() {
        500.. => {
            tracing::warn!(peer, %method, path, camera, status = status.as_u16(), reason, "HTTP request failed");
        }
        400.. => {
            tracing::info!(peer, %method, path, camera, status = status.as_u16(), reason, "HTTP request refused");
        }
        _ => {
            tracing::debug!(peer, %method, path, camera, status = status.as_u16(), "HTTP request");
        }
    }
    response
}

/// What is wrong with a request whatever it asks for.
fn fault(request: &Request) -> Option<Problem> {
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
        let detail = format!("a path and query of more than {TARGET_BYTES_MAX} bytes");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, detail));
    }
    // RFC 9112 §3.2: exactly one, also where the target is absolute.
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() >= Version::HTTP_11) {
        return Some(Problem::bad_request("a request has one Host"));
    }
    None
}

async fn not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "not with this method; Allow names those that are",
    )
}

/// The answer to OPTIONS, from a 405 that names the methods.
fn options(refused: &Response) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Some(allow) = refused.headers().get(ALLOW) {
        headers.insert(ALLOW, allow.clone());
    }
    headers.remove(CONTENT_LENGTH);
    response
}
