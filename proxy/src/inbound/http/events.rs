//! `/v1/events`: routing decisions as they are made, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use seamline_routing::CameraId;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::gate::{Parameters, Visitor};
use super::service::Face;
use super::times::Utc;
use crate::journal::{Decision, What};

/// Something is said this often at the least, so that a connection that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this time: clients come again, and prove again who they are.
const STREAM_TIME_MAX: Duration = Duration::from_secs(3600);

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only of this camera.
    camera: Option<String>,
}

/// Routing decisions from now on, of the cameras that the user may see.
///
/// Events are `route`, `hole`, `waiting`, `failed` and `ended`, each with a JSON object: `when` (wall clock), `camera`, `session`
/// (see `/v1/sessions`) and what was decided. Who reads too slowly gets `lagged` with how many were missed.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "playbacks",
    params(Filter),
    responses((status = 200, description = "a stream of events", body = String, content_type = "text/event-stream"))
)]
async fn events(
    State(face): State<Arc<Face>>,
    visitor: Visitor,
    Parameters(filter): Parameters<Filter>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let listener = Listener {
        decisions: face.cameras.journal.listen(),
        only: filter.camera.map(|camera| CameraId::from(camera.as_str())),
        until: Instant::now() + STREAM_TIME_MAX,
        visitor,
    };
    let stream = unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

struct Listener {
    decisions: Receiver<Decision>,
    only: Option<CameraId>,
    until: Instant,
    visitor: Visitor,
}

impl Listener {
    /// The next one that this listener may hear of; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let decision = tokio::select! {
                decision = self.decisions.recv() => decision,
                () = self.visitor.guest.leaving() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
            };
            match decision {
                Ok(decision) if self.hears_of(&decision.camera) => return Some(event(&decision)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    let data = json!({ "missed": missed }).to_string();
                    return Some(Event::default().event("lagged").data(data));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn hears_of(&self, camera: &CameraId) -> bool {
        self.only.as_ref().is_none_or(|only| only == camera) && self.visitor.may_see(camera)
    }
}

fn event(decision: &Decision) -> Event {
    let (kind, mut data) = told(&decision.what);
    data["when"] = json!(Utc(decision.when));
    data["camera"] = json!(decision.camera.as_str());
    data["session"] = json!(decision.playback);
    Event::default().event(kind).data(data.to_string())
}

fn told(what: &What) -> (&'static str, Value) {
    match what {
        What::Switch {
            at,
            from,
            to,
            reason,
            took,
        } => (
            "route",
            json!({
                "at": Utc(*at), "from": from, "to": to, "reason": reason, "took_ms": took.as_secs_f64() * 1e3,
            }),
        ),
        What::Hole { range, why, .. } => (
            "hole",
            json!({ "from": Utc(range.start()), "to": Utc(range.end()), "reason": why }),
        ),
        What::Waiting(at) => ("waiting", json!({ "at": Utc(*at) })),
        What::LegFailed { site, why } => ("failed", json!({ "site": site, "reason": why })),
        What::Ended { at, why } => ("ended", json!({ "at": Utc(*at), "reason": why })),
    }
}
