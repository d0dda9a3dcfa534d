//! Paths that are not ours and belong to a recorder's own HTTP service: relayed to the preferred site that lives.
//!
//! Upstream addresses come from the configuration alone, and clients' credentials end here. A request that did not reach a
//! recorder goes to the next one; one that may have, only when doing it twice is doing it once (RFC 9110 §9.2.2) and its
//! body is at hand. Once the head of an answer has come, there is no other.

pub(in crate::inbound) mod headers;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use seamline_probes::{RecorderHealth, Relay, RelayBody, RelayError, RelayHead};
use seamline_routing::{HealthState, RecorderId, SiteId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::super::bodies::{Watched, both_ways};
use super::errors::Problem;
use super::gate::Visitor;
use super::service::{Face, Guest};
use crate::cameras::Cameras;
use crate::clock;

/// The head of an answer must have come this long after the request was sent whole.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// A request's body up to this length is kept until its answer comes, so that it can be sent again.
const KEPT_BYTES_MAX: u64 = 64 * 1024;
/// A body of a client may pause this long.
const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(30);
/// A recorder's body may pause this long: alarm streams are silent where nothing happens.
const DOWNLOAD_IDLE_MAX: Duration = Duration::from_secs(300);
/// A recorder that failed is passed over this long while another one lives.
const AVOID: Duration = Duration::from_secs(5);
/// Connections that were switched to another protocol.
const UPGRADES_MAX: usize = 256;
/// Such a connection ends when neither side says anything for so long.
const UPGRADED_IDLE_MAX: Duration = Duration::from_secs(600);

/// Paths that are relayed, and where to.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What a path begins with.
    pub prefixes: Vec<String>,
    /// Where it goes, the preferred one first.
    pub targets: Vec<Target>,
    /// Who may; `None` for whoever may see all cameras.
    pub users: Option<Vec<String>>,
    /// Nothing but GET, HEAD and OPTIONS.
    pub read_only: bool,
}

/// A recorder's HTTP service.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it stands.
    pub site: SiteId,
    /// Which recorder it is.
    pub recorder: RecorderId,
    /// What sends it requests.
    pub relay: Arc<Relay>,
}

/// All rules, with what is known of their targets.
#[derive(Debug)]
pub(super) struct Passthrough {
    rules: Vec<Known>,
    upgrades: Arc<Semaphore>,
}

#[derive(Debug)]
struct Known {
    rule: Rule,
    /// As the targets: whether each lives.
    standing: Vec<Standing>,
}

#[derive(Debug)]
struct Standing {
    /// What the house knows; `None` of a recorder without a camera.
    health: Option<Arc<RecorderHealth>>,
    /// When it last failed to answer here. Its HTTP service may be gone while it plays: the house is not told.
    failed: Mutex<Option<Instant>>,
}

impl Passthrough {
    /// The rules of a configuration.
    pub(super) fn new(rules: &[Rule], cameras: &Cameras) -> Self {
        let health = |recorder: &RecorderId| {
            cameras.iter().find_map(|entry| {
                let mut copies = entry.slot.camera().copies();
                let (ix, _) = copies.find(|(_, copy)| copy.recorder == *recorder)?;
                Some(Arc::clone(entry.slot.recorder(ix)?.health()))
            })
        };
        let rules = rules.iter().map(|rule| Known {
            standing: rule
                .targets
                .iter()
                .map(|target| Standing {
                    health: health(&target.recorder),
                    failed: Mutex::default(),
                })
                .collect(),
            rule: rule.clone(),
        });
        Passthrough {
            rules: rules.collect(),
            upgrades: Arc::new(Semaphore::new(UPGRADES_MAX)),
        }
    }

    /// The rule whose prefix says most of a path.
    fn rule(&self, path: &str) -> Option<&Known> {
        let fits = |known: &&Known| known.rule.reach(path);
        let best = self.rules.iter().filter(|known| fits(known).is_some());
        best.max_by_key(fits)
    }
}

impl Rule {
    /// How much of a path the longest fitting prefix says.
    fn reach(&self, path: &str) -> Option<usize> {
        let fitting = self
            .prefixes
            .iter()
            .filter(|prefix| path.starts_with(prefix.as_str()));
        fitting.map(String::len).max()
    }
}

impl Known {
    /// The targets in the order in which they are tried: those that seem to live first.
    fn order(&self, now: Instant) -> impl Iterator<Item = (&Target, &Standing)> {
        let mut order: Vec<_> = self.rule.targets.iter().zip(&self.standing).collect();
        order.sort_by_key(|(_, standing)| standing.troubles(now));
        order.into_iter()
    }
}

impl Standing {
    /// Whether it failed here lately, and whether the house takes it for down: what was seen here counts for more, as an HTTP
    /// service may live where nothing can be played, and the other way round.
    fn troubles(&self, now: Instant) -> (bool, bool) {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = failed.is_some_and(|at| now.saturating_duration_since(at) < AVOID);
        let health = self.health.as_ref();
        let down = health.is_some_and(|health| health.state() == HealthState::Down);
        (lately, down)
    }

    fn note(&self, failed: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }
}

/// Relays a request, or says that there is nothing at its path.
pub(super) async fn relay(State(face): State<Arc<Face>>, request: Request) -> Response {
    match try_relay(&face, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn try_relay(face: &Arc<Face>, request: Request) -> Result<Response, Problem> {
    let nothing = || Problem::not_found("there is nothing at this path");
    let path = request.uri().path().to_owned();
    let known = face.passthrough.rule(&path).ok_or_else(nothing)?;
    // What a recorder reads as a way up may lead out of the prefix.
    if leads_elsewhere(&path) {
        return Err(nothing());
    }
    let (mut parts, body) = request.into_parts();
    let visitor = Visitor::from_request_parts(&mut parts, face).await?;
    admit(&known.rule, &visitor, &parts.method)?;
    if headers::is_ours(&parts.headers) {
        let detail = "this request has come by here before";
        return Err(Problem::new(StatusCode::LOOP_DETECTED, detail));
    }
    let upgrade = headers::upgrade(&parts.headers);
    let client_side = upgrade
        .as_ref()
        .and_then(|_| parts.extensions.remove::<OnUpgrade>());
    let mut head = RelayHead {
        path: parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        headers: headers::forwarded(&parts, &visitor.guest),
        method: parts.method,
    };
    if let Some(protocol) = upgrade.filter(|_| client_side.is_some()) {
        headers::ask_for(&mut head.headers, protocol);
    }
    let body = at_hand(body, UPLOAD_IDLE_MAX).await?;
    let (target, answer) = ask(known, &head, body).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client_side =
            client_side.ok_or_else(|| bad_gateway("it switched protocols unasked"))?;
        let upgrades = Arc::clone(&face.passthrough.upgrades);
        let permit = upgrades.try_acquire_owned();
        let permit =
            permit.map_err(|_| Problem::unavailable("too many switched connections", 10))?;
        return Ok(switch(answer, client_side, visitor.guest, permit));
    }
    let (mut parts, body) = answer.into_parts();
    headers::answered(&mut parts.headers, target.relay.url());
    let body = Body::new(Watched::new(body, DOWNLOAD_IDLE_MAX, None));
    Ok(Response::from_parts(parts, body))
}

fn admit(rule: &Rule, visitor: &Visitor, method: &Method) -> Result<(), Problem> {
    let may = match &rule.users {
        Some(users) => visitor
            .name()
            .is_some_and(|name| users.iter().any(|user| user == name)),
        None => visitor.sees_all(),
    };
    if !may {
        let user = visitor.name().unwrap_or("-");
        tracing::warn!(peer = %visitor.guest.peer, user, "may not speak to recorders");
        let detail = "not for this user: recorders' own services show all cameras";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if *method == Method::CONNECT || (rule.read_only && !reads) {
        let detail = "recorders are only read here";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
            .with(hyper::header::ALLOW, headers::READING));
    }
    Ok(())
}

/// Asks one target after the other, for as long as that can do no harm.
async fn ask<'k>(
    known: &'k Known,
    head: &RelayHead,
    body: RelayBody,
) -> Result<(&'k Target, hyper::Response<Incoming>), Problem> {
    let repeats = is_idempotent(&head.method);
    let mut last = bad_gateway("no recorder is configured");
    let mut next = Some(body);
    for (target, standing) in known.order(clock::now()) {
        let Some(body) = next.take() else {
            break;
        };
        let again = match &body {
            RelayBody::Whole(bytes) => Some(RelayBody::Whole(bytes.clone())),
            RelayBody::Stream(_) => None,
        };
        let (site, recorder, path) = (&target.site, &target.recorder, &head.path);
        let (why, harmless) = match once(target, head, body).await {
            Ok(answer) => {
                standing.note(None);
                tracing::debug!(%site, %recorder, method = %head.method, path, status = answer.status().as_u16(), "relayed");
                return Ok((target, answer));
            }
            Err(why @ Failure::Relay(RelayError::Unreached(_) | RelayError::Credentials)) => {
                (why, true)
            }
            Err(why @ Failure::Relay(RelayError::Again)) => {
                return Err(Problem::unavailable(why.to_string(), 1));
            }
            Err(why) => (why, repeats),
        };
        standing.note(Some(clock::now()));
        tracing::warn!(%site, %recorder, method = %head.method, path, reason = %why, "recorder's HTTP service failed");
        last = why.problem();
        next = again.filter(|_| harmless);
    }
    Err(last)
}

/// Why one target gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Relay(RelayError),
    #[error("no answer within {ANSWER_MAX:?}")]
    Late,
}

impl Failure {
    fn problem(&self) -> Problem {
        // Where recorders are is nothing that clients need to know.
        match self {
            Failure::Late => {
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "the recorder does not answer")
            }
            Failure::Relay(RelayError::Credentials) => {
                bad_gateway("the recorder does not accept the house's credentials")
            }
            Failure::Relay(_) => bad_gateway("the recorder cannot be reached"),
        }
    }
}

async fn once(
    target: &Target,
    head: &RelayHead,
    body: RelayBody,
) -> Result<hyper::Response<Incoming>, Failure> {
    // The time for an answer begins when nothing is left to send.
    let (sent, all_sent) = oneshot::channel::<()>();
    let body = match body {
        RelayBody::Stream(body) => RelayBody::Stream(BodyExt::boxed_unsync(Watched::new(
            body,
            UPLOAD_IDLE_MAX,
            Some(sent),
        ))),
        whole @ RelayBody::Whole(_) => {
            drop(sent);
            whole
        }
    };
    let late = async {
        let _ = all_sent.await;
        tokio::time::sleep(ANSWER_MAX).await;
    };
    tokio::select! {
        answer = target.relay.send(head, body) => answer.map_err(Failure::Relay),
        () = late => Err(Failure::Late),
    }
}

/// Reads a short body whole; leaves a long one, or one of unknown length, to be read as it is sent.
async fn at_hand(body: Body, patience: Duration) -> Result<RelayBody, Problem> {
    match HttpBody::size_hint(&body).exact() {
        Some(0) => Ok(RelayBody::Whole(Bytes::new())),
        Some(length) if length <= KEPT_BYTES_MAX => {
            let whole = Limited::new(body, KEPT_BYTES_MAX as usize).collect();
            let read = tokio::time::timeout(patience, whole).await;
            let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come");
            let body = read.map_err(late)?;
            let body = body.map_err(|_| Problem::bad_request("the body ended early"))?;
            Ok(RelayBody::Whole(body.to_bytes()))
        }
        _ => Ok(RelayBody::Stream(body.map_err(Into::into).boxed_unsync())),
    }
}

/// Passes bytes both ways from now on, whatever they are.
fn switch(
    mut answer: hyper::Response<Incoming>,
    client_side: OnUpgrade,
    guest: Guest,
    permit: OwnedSemaphorePermit,
) -> Response {
    let recorder_side = hyper::upgrade::on(&mut answer);
    let peer = guest.peer;
    tokio::spawn(async move {
        let _permit = permit;
        let both = async {
            let (client, recorder) = tokio::try_join!(client_side, recorder_side)?;
            let (client, recorder) = (TokioIo::new(client), TokioIo::new(recorder));
            both_ways(client, recorder, UPGRADED_IDLE_MAX).await;
            Ok::<_, hyper::Error>(())
        };
        tokio::select! {
            done = both => if let Err(why) = done {
                tracing::debug!(%peer, %why, "switched connection");
            },
            () = guest.leaving() => {}
        }
    });
    let (mut parts, _) = answer.into_parts();
    headers::switched(&mut parts.headers);
    Response::from_parts(parts, Body::empty())
}

fn bad_gateway(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, detail)
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whether a path has a segment that servers resolve, in any spelling, or a separator in disguise.
fn leads_elsewhere(path: &str) -> bool {
    let mut plain = path.to_ascii_lowercase();
    // Twice, as some servers decode twice.
    for _ in 0..2 {
        plain = percent_encoding::percent_decode_str(&plain)
            .decode_utf8_lossy()
            .into_owned();
    }
    let up = plain
        .split(['/', '\\'])
        .any(|part| matches!(part.split(';').next(), Some("." | "..")));
    up || plain.contains('\\') || plain.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_out_of_a_prefix_are_seen_in_any_spelling() {
        for path in [
            "/a/../b",
            "/a/..",
            "/a/%2e%2E/b",
            "/a/.%2e/b",
            "/a%2f..%2fb",
            "/a/..%5cb",
            "/a/%252e%252e/b",
            "/a/./b",
            "/a/..;x=y/b",
            "/a/%00",
            "/a\\b",
        ] {
            assert!(leads_elsewhere(path), "{path}");
        }
        for path in [
            "/a/b", "/a/b.c", "/a/..b", "/a/b..", "/a/%20b", "/", "/a//b",
        ] {
            assert!(!leads_elsewhere(path), "{path}");
        }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let rule = Rule {
            prefixes: vec!["/".to_owned(), "/ISAPI/".to_owned()],
            targets: Vec::new(),
            users: None,
            read_only: true,
        };
        assert_eq!(rule.reach("/ISAPI/System"), Some(7));
        assert_eq!(rule.reach("/other"), Some(1));
        let narrow = Rule {
            prefixes: vec!["/ISAPI/".to_owned()],
            ..rule
        };
        assert_eq!(narrow.reach("/other"), None);
    }
}
