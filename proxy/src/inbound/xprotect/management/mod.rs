//! The management face: everything is passed on to the primary management server, byte for byte but for the fields that say where
//! recorders and the server itself are; while it is down, [`down`] answers what can be answered.
//!
//! Each client's connection has one to the server, as NTLM proves connections ([`super::upstream`]). Answers to logins are read on their
//! way: that is how tokens, users and rights are known ([`answers`]).

mod answers;
mod down;
mod errand;
mod leaks;
mod rewriting;
mod schemes;
mod who;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderValue,
    RETRY_AFTER,
};
use hyper::http::uri::Authority;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use seamline_xprotect::asked::{self, Asked};
use seamline_xprotect::soap::SoapError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, watch};

use self::errand::Errand;
use self::leaks::Leaks;
use self::who::Credentials;
use super::super::bodies::{Gathered, both_ways, uploaded};
use super::super::http::{Patient, headers};
use super::super::link::Link;
use super::Face;
use super::upstream::{Failure, Upstream};
use crate::clock;

/// Longest path and query.
const TARGET_BYTES_MAX: usize = 8 * 1024;
/// A head must be whole this long after the answer before it.
const HEAD_TIME_MAX: Duration = Duration::from_secs(120);
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// A body of a server that is read whole.
const DOWNLOAD_REST_MAX: Duration = Duration::from_secs(30);
/// A body that passes.
const STREAM_REST_MAX: Duration = Duration::from_secs(300);
/// A server that failed is passed over this long where there is another answer.
const AVOID: Duration = Duration::from_secs(3);
/// Connections that were switched to another protocol, of one face.
const UPGRADES_MAX: usize = 1024;
/// Such a connection ends when neither side says anything for so long.
const UPGRADED_IDLE_MAX: Duration = Duration::from_secs(600);

/// What the connections of one face share.
pub(super) struct Office {
    /// When the primary last failed.
    failed: Mutex<Option<Instant>>,
    credentials: Credentials,
    leaks: Arc<Leaks>,
    upgrades: Arc<Semaphore>,
}

impl Default for Office {
    fn default() -> Self {
        Office {
            failed: Mutex::default(),
            credentials: Credentials::default(),
            leaks: Arc::default(),
            upgrades: Arc::new(Semaphore::new(UPGRADES_MAX)),
        }
    }
}

impl Office {
    fn failed_lately(&self, now: Instant) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| now.saturating_duration_since(at) < AVOID)
    }

    /// Whether it has not answered since it last failed.
    fn is_down(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some()
    }

    fn note(&self, failed: Option<Instant>) -> bool {
        let mut before = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *before, failed).is_some() != failed.is_some()
    }
}

/// One connection of a client.
struct Visit {
    face: Arc<Face>,
    peer: SocketAddr,
    secure: bool,
    local: SocketAddr,
    primary: AsyncMutex<Upstream>,
    secondary: Option<AsyncMutex<Upstream>>,
    /// Whom NTLM proved this connection to be.
    proved: Mutex<Option<String>>,
    shutdown: watch::Receiver<bool>,
}

/// A request, as far as it was read.
struct Call {
    errand: Errand,
    method: Method,
    /// With its query.
    target: String,
    headers: HeaderMap,
    /// As the client wrote the host that it asks.
    authority: Authority,
    /// What was asked by SOAP, where it could be read.
    asked: Option<Asked>,
    /// `Authorization`, where it is text.
    shown: Option<String>,
}

/// Why there is no answer but this one.
#[derive(Debug)]
struct Refused(StatusCode, String);

type Answered = Result<Response<Body>, Refused>;

/// Serves a connection to its end; after `shutdown` only the request that runs.
pub(super) async fn serve(link: Link, face: Arc<Face>, mut shutdown: watch::Receiver<bool>) {
    let peer = link.peer();
    let settings = &face.settings;
    let upstream = |server: &super::Server| {
        let url = server.server.server().clone();
        AsyncMutex::new(Upstream::new(url, Arc::clone(&server.server)))
    };
    let visit = Arc::new(Visit {
        peer,
        secure: link.is_sealed(),
        local: link.local(),
        primary: upstream(&settings.primary),
        secondary: settings.secondary.as_ref().map(upstream),
        proved: Mutex::default(),
        shutdown: shutdown.clone(),
        face,
    });
    let answer = service_fn(move |request| {
        let visit = Arc::clone(&visit);
        async move { Ok::<_, Infallible>(visit.answer(request).await) }
    });
    let connection = connection(link, answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = shutdown.wait_for(|down| *down) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(why) = ended {
        tracing::debug!(%peer, %why, "connection ended");
    }
}

/// Heads come in time and are no longer than they may be; who does not read is not waited for.
fn connection<S, F>(stream: S, answer: F) -> UpgradeableConnection<TokioIo<Patient<S>>, F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(Patient::new(stream)), answer)
        .with_upgrades()
}

impl Call {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Visit {
    fn lock_proved(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let method = request.method().clone();
        match self.try_answer(request).await {
            Ok(response) => {
                tracing::debug!(peer = %self.peer, %method, path, status = response.status().as_u16(), "relayed");
                response
            }
            Err(Refused(status, reason)) => {
                tracing::info!(peer = %self.peer, %method, path, status = status.as_u16(), reason, "refused");
                refusal(status, &reason)
            }
        }
    }

    async fn try_answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Answered {
        let authority = self.fit(&request)?;
        let uri = request.uri();
        let call = Call {
            errand: Errand::of(request.method(), uri.path(), uri.query()),
            method: request.method().clone(),
            target: uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            headers: request.headers().clone(),
            authority,
            asked: None,
            shown: None,
        };
        let upgrade = headers::upgrade(request.headers());
        let client_side = upgrade
            .as_ref()
            .and_then(|_| request.extensions_mut().remove::<OnUpgrade>());
        let (mut parts, body) = request.into_parts();
        let (call, mut body, mut at_hand) = self.read(call, body).await?;
        if let Some(first) = at_hand
            .as_ref()
            .and_then(|bytes| self.as_first_login(&call, bytes))
        {
            body = Body::from(first.clone());
            at_hand = Some(first);
        }
        if let Some(answer) = self.from_house(&call).await {
            return answer;
        }
        let fit = Self::forwarded(&call, self.url_of_primary());
        parts.headers = fit;
        parts.uri = call
            .target
            .parse()
            .map_err(|_| bad("a path that is none"))?;
        parts.version = Version::HTTP_11;
        if let Some(protocol) = upgrade.filter(|_| client_side.is_some()) {
            headers::ask_for(&mut parts.headers, protocol);
        }
        if at_hand.is_some() {
            // It has the length that it has.
            parts.headers.remove(CONTENT_LENGTH);
        }
        let outcome = self
            .ask_primary(&call, Request::from_parts(parts, body), at_hand.as_ref())
            .await;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(why) => return self.while_down(&call, at_hand, &why).await,
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(answer, client_side);
        }
        self.finish(&call, at_hand.as_ref(), answer).await
    }

    /// What is wrong with a request whatever it asks for; else whom it asks.
    fn fit(&self, request: &Request<Incoming>) -> Result<Authority, Refused> {
        let target = request.uri().path_and_query();
        if target.is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
            return Err(Refused(
                StatusCode::URI_TOO_LONG,
                format!("more than {TARGET_BYTES_MAX} bytes of path"),
            ));
        }
        if *request.method() == Method::CONNECT {
            return Err(Refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "this is no such proxy".to_owned(),
            ));
        }
        if headers::is_ours(request.headers()) {
            return Err(Refused(
                StatusCode::LOOP_DETECTED,
                "this request has come by here before".to_owned(),
            ));
        }
        // RFC 9112 §3.2: exactly one, also where the target is absolute; what it says is written into answers.
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok().map(str::to_owned),
            (None, None) if request.version() < Version::HTTP_11 => Some(self.local.to_string()),
            _ => None,
        };
        let host = host.filter(|host| !host.contains('@'));
        let authority = host.and_then(|host| host.parse::<Authority>().ok());
        authority
            .filter(|authority| !authority.host().is_empty())
            .ok_or_else(|| bad("a request has one Host"))
    }

    /// Reads what is to be understood of a request: the body is given back to be sent, and as bytes where it was read whole.
    async fn read(
        &self,
        mut call: Call,
        body: Incoming,
    ) -> Result<(Call, Body, Option<Bytes>), Refused> {
        let shown = call.headers.get(AUTHORIZATION);
        call.shown = shown
            .and_then(|shown| shown.to_str().ok())
            .map(str::to_owned);
        let bytes_max = call.errand.read_bytes_max();
        if bytes_max == 0 || call.method != Method::POST {
            return Ok((call, Body::new(body), None));
        }
        let gathered = uploaded(body, bytes_max).await;
        let bytes = match gathered.map_err(|broken| bad(broken.to_string()))? {
            Gathered::Whole(bytes) => bytes,
            Gathered::Longer(_) if call.errand == Errand::Token => {
                return Err(Refused(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("more than {bytes_max} bytes of a form"),
                ));
            }
            // Views and the like are long, and nothing in them concerns us.
            Gathered::Longer(body) => return Ok((call, body, None)),
        };
        if matches!(call.errand, Errand::Soap { .. }) {
            match Asked::read(&bytes) {
                Ok(asked) => call.asked = Some(asked),
                Err(SoapError::Xml(
                    why @ (seamline_xprotect::XmlError::DocumentType
                    | seamline_xprotect::XmlError::TooDeep),
                )) => {
                    return Err(bad(why.to_string()));
                }
                // Encrypted, or of a service that is not known.
                Err(why) => tracing::debug!(peer = %self.peer, %why, "a question that is not read"),
            }
        }
        Ok((call, Body::from(bytes.clone()), Some(bytes)))
    }

    fn url_of_primary(&self) -> &url::Url {
        self.face.settings.primary.server.server()
    }

    /// The headers of a request as a server gets them.
    fn forwarded(call: &Call, server: &url::Url) -> HeaderMap {
        let mut forwarded = call.headers.clone();
        headers::strip(&mut forwarded);
        // What is to be changed must be readable.
        forwarded.remove(ACCEPT_ENCODING);
        forwarded.remove(EXPECT);
        headers::leave_mark(&mut forwarded);
        let host = match server.port() {
            Some(port) => format!("{}:{port}", server.host_str().unwrap_or_default()),
            None => server.host_str().unwrap_or_default().to_owned(),
        };
        if let Ok(host) = HeaderValue::try_from(host) {
            forwarded.insert(HOST, host);
        }
        forwarded
    }

    /// Asks the primary, a second time where the kept connection ended as the request was on its way.
    async fn ask_primary(
        &self,
        call: &Call,
        request: Request<Body>,
        at_hand: Option<&Bytes>,
    ) -> Result<Response<Incoming>, Failure> {
        let (office, now) = (&self.face.office, clock::now());
        let replaceable = self.is_replaceable(call);
        if replaceable && office.failed_lately(now) {
            return Err(Failure::Unreached("it failed a moment ago".to_owned()));
        }
        let operation = call.asked.as_ref().map(|asked| asked.operation.as_str());
        let is_small = operation
            .is_some_and(|name| asked::is_lasting(name) || asked::finds_nothing(name).is_some());
        let patience = call
            .errand
            .patience(replaceable, is_small, office.is_down());
        let mut primary = self.primary.lock().await;
        let (parts, body) = request.into_parts();
        let again = at_hand.map(|bytes| (parts.clone(), Body::from(bytes.clone())));
        let mut outcome = primary
            .send(Request::from_parts(parts, body), patience)
            .await;
        if let (Err(Failure::Unreached(_)), Some((parts, body))) = (&outcome, again) {
            outcome = primary
                .send(Request::from_parts(parts, body), patience)
                .await;
        }
        if let Ok(answer) = &outcome
            && replaceable
            && matches!(
                answer.status(),
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            )
        {
            outcome = Err(Failure::Broken(format!("it answers {}", answer.status())));
        }
        // What breaks in the middle may be the client's own body.
        let failed = outcome.as_ref().err();
        let failed = failed.filter(|why| replaceable || matches!(why, Failure::Unreached(_)));
        let site = &self.face.settings.primary.site;
        let tells = outcome.is_ok() || failed.is_some();
        if tells && office.note(failed.map(|_| now)) {
            if let Some(why) = failed {
                tracing::warn!(%site, server = %primary.url(), %why, "management server down");
            } else {
                tracing::info!(%site, server = %primary.url(), "management server back");
            }
        }
        outcome
    }

    /// Passes bytes both ways from now on, whatever they are.
    fn switch(&self, mut answer: Response<Incoming>, client_side: Option<OnUpgrade>) -> Answered {
        let bad_gateway = |why: &str| Refused(StatusCode::BAD_GATEWAY, why.to_owned());
        let client_side =
            client_side.ok_or_else(|| bad_gateway("it switched protocols unasked"))?;
        let permit: OwnedSemaphorePermit = Arc::clone(&self.face.office.upgrades)
            .try_acquire_owned()
            .map_err(|_| {
                Refused(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many switched connections".to_owned(),
                )
            })?;
        let server_side = hyper::upgrade::on(&mut answer);
        let (peer, mut shutdown) = (self.peer, self.shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let both = async {
                let (client, server) = tokio::try_join!(client_side, server_side)?;
                both_ways(
                    TokioIo::new(client),
                    TokioIo::new(server),
                    UPGRADED_IDLE_MAX,
                )
                .await;
                Ok::<_, hyper::Error>(())
            };
            tokio::select! {
                done = both => if let Err(why) = done {
                    tracing::debug!(%peer, %why, "switched connection");
                },
                _ = shutdown.wait_for(|down| *down) => {}
            }
        });
        let (mut parts, _) = answer.into_parts();
        headers::switched(&mut parts.headers);
        Ok(Response::from_parts(parts, Body::empty()))
    }
}

fn bad(why: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, why.into())
}

fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{reason}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if status == StatusCode::BAD_REQUEST {
        headers.insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// That there is no answer, in the form in which there would be one: clients read no other.
fn failure(status: StatusCode, call: &Call, reason: &str) -> Answered {
    let response = match (call.errand, &call.asked) {
        (Errand::Soap { .. }, Some(_)) => soap_answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            call,
            asked::failure(reason),
        ),
        (Errand::Gateway, _) => {
            let details = serde_json::json!([{ "errorText": reason }]);
            let error = serde_json::json!({ "httpCode": status.as_u16(), "details": details });
            let mut response = refusal(status, "");
            *response.body_mut() = Body::from(serde_json::json!({ "error": error }).to_string());
            let kind = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        _ => return Err(Refused(status, reason.to_owned())),
    };
    Ok(response)
}

/// An answer by SOAP of our own.
fn soap_answer(status: StatusCode, call: &Call, answer: Vec<u8>) -> Response<Body> {
    let is_12 = call.asked.as_ref().is_some_and(|asked| asked.is_12);
    let text = asked::in_version(String::from_utf8(answer).unwrap_or_default(), is_12);
    let kind = if is_12 {
        "application/soap+xml; charset=utf-8"
    } else {
        "text/xml; charset=utf-8"
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a client is served that does so; every request is answered with megabytes.
    async fn served<F>(does: impl FnOnce(DuplexStream) -> F) -> Duration
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (ours, theirs) = duplex(4096);
        let client = tokio::spawn(does(theirs));
        let begun = Instant::now();
        let answer = service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Body::from(vec![0; 8 << 20])))
        });
        let ended = connection(ours, answer).await;
        client.abort();
        assert!(ended.is_err(), "the client is let go");
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_a_head_by_bits_is_let_go() {
        let silent = served(|stream| async move {
            sleep(86_400 * SECOND).await;
            drop(stream);
        });
        assert_eq!(silent.await, HEAD_TIME_MAX);
        let slow = served(|mut stream| async move {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
            while stream.write_all(b"x").await.is_ok() {
                sleep(SECOND).await;
            }
        });
        assert_eq!(slow.await, HEAD_TIME_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_or_next_to_nothing_is_let_go() {
        for apart in [SECOND, 86_400 * SECOND] {
            let deaf = served(move |mut stream| async move {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                loop {
                    sleep(apart).await;
                    let _ = stream.read_u8().await;
                }
            });
            let after = deaf.await;
            assert!(after < 1800 * SECOND, "a byte every {apart:?}: {after:?}");
        }
    }
}
