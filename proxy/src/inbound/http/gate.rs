//! Who may ask for what. Routes take [`Admitted`] or [`Visitor`] and need to know nothing else of users and rights.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use seamline_routing::CameraId;
use seamline_rtsp::auth::server::Ask;
use serde::de::DeserializeOwned;

use super::errors::Problem;
use super::service::{Face, Guest};
use crate::access::{Grant, Refusal};
use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::playing::Client;

/// As much of a camera's name goes into the log.
const NAME_CHARS_MAX: usize = 256;

/// A request for one camera that its sender may see, with its query read as `Q`.
///
/// The camera is the route's `{camera}`, else the query's `path` (as `MediaMTX` has it) or `camera`.
pub(super) struct Admitted<Q> {
    /// The camera.
    pub(super) camera: Arc<CameraEntry>,
    /// The query's other parameters.
    pub(super) query: Q,
    /// Who asks.
    pub(super) visitor: Visitor,
}

/// The camera that a request asks for, told to the log; an extension of each request.
#[derive(Clone, Debug, Default)]
pub(super) struct AskedFor(pub(super) Arc<OnceLock<String>>);

/// A request that names no camera, of somebody who may ask at all.
#[derive(Clone)]
pub(super) struct Visitor {
    /// Where from.
    pub(super) guest: Guest,
    grant: Grant,
}

impl Visitor {
    /// Whether this camera exists for them.
    pub(super) fn may_see(&self, camera: &CameraId) -> bool {
        self.grant.may_see(camera.as_str())
    }

    /// Whether no camera is hidden from them.
    pub(super) fn sees_all(&self) -> bool {
        self.grant.sees_all()
    }

    /// The journal for a playback of theirs; `transport` is how it is served, such as `http/get`.
    pub(super) fn journal(&self, face: &Face, transport: &'static str) -> Journal {
        face.cameras.journal.of(Client {
            peer: self.guest.peer,
            user: self.name().map(str::to_owned),
            transport,
        })
    }

    /// The user's name; `None` where everybody may come in.
    pub(super) fn name(&self) -> Option<&str> {
        self.grant.name()
    }
}

impl FromRequestParts<Arc<Face>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Arc<Face>) -> Result<Self, Problem> {
        let guest = parts.extensions.get::<Guest>().cloned();
        let guest = guest.expect("every request carries whom it comes from");
        let uri = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let authorization = parts.headers.get(AUTHORIZATION);
        let authorization = authorization
            .map(|value| {
                value
                    .to_str()
                    .map_err(|_| Problem::bad_request("credentials beyond ASCII"))
            })
            .transpose()?;
        let ask = Ask {
            method: parts.method.as_str(),
            uri,
            authorization,
            secure: guest.secure,
            now_s: (clock::wall().as_unix_ms() / 1000).max(0) as u64,
        };
        let grant = {
            let mut login = guest.login.lock().await;
            let access = &face.cameras.access;
            access.admit_web(ask, guest.peer.ip(), &mut login).await
        };
        let grant = grant.map_err(refusal)?;
        Ok(Visitor { guest, grant })
    }
}

impl<Q: DeserializeOwned> FromRequestParts<Arc<Face>> for Admitted<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Arc<Face>) -> Result<Self, Problem> {
        // First of all: strangers do not learn what is wrong with their questions, nor which cameras there are.
        let visitor = Visitor::from_request_parts(parts, face).await?;
        let named = camera_named(parts, face).await?;
        let camera = CameraId::from(named.as_str());
        if let Some(asked) = parts.extensions.get::<AskedFor>() {
            let _ = asked.0.set(named.chars().take(NAME_CHARS_MAX).collect());
        }
        if !visitor.may_see(&camera) {
            let user = visitor.name().unwrap_or("-");
            tracing::warn!(peer = %visitor.guest.peer, user, %camera, "not this user's camera");
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "not this user's camera",
            ));
        }
        let entry = face.cameras.get(&camera);
        let camera =
            entry.ok_or_else(|| Problem::not_found(format!("there is no camera {named:?}")))?;
        let Parameters(query) = Parameters::from_request_parts(parts, face).await?;
        Ok(Admitted {
            camera,
            query,
            visitor,
        })
    }
}

/// A query, of a route that names no camera.
pub(super) struct Parameters<Q>(pub(super) Q);

impl<Q: DeserializeOwned> FromRequestParts<Arc<Face>> for Parameters<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Arc<Face>) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, face).await;
        query
            .map(|Query(query)| Parameters(query))
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// The name in the path or in the query.
async fn camera_named(parts: &mut Parts, face: &Arc<Face>) -> Result<String, Problem> {
    let path: Result<Path<HashMap<String, String>>, _> =
        Path::from_request_parts(parts, face).await;
    if let Ok(Path(mut names)) = path
        && let Some(name) = names.remove("camera")
    {
        return Ok(name);
    }
    let query = parts.uri.query().unwrap_or_default();
    let parameter = |wanted: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(name, _)| name == wanted)
            .map(|(_, value): (_, Cow<'_, str>)| value.into_owned())
    };
    let named = parameter("path").or_else(|| parameter("camera"));
    named
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Problem::bad_request("which camera? `path` names it"))
}

fn refusal(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Challenge(values) => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "who asks?");
            let values = values
                .iter()
                .filter_map(|value| HeaderValue::from_str(value).ok());
            values.fold(problem, |problem, value| {
                problem.with(WWW_AUTHENTICATE, value)
            })
        }
        Refusal::Damped(wait) => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong answers came from this address",
        )
        .retry_after(wait.as_secs() + 1),
        Refusal::Link(problem) => Problem::new(StatusCode::FORBIDDEN, problem.to_string()),
        Refusal::Busy => Problem::unavailable("more passwords wait to be compared than may", 1),
    }
}
