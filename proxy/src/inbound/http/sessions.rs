//! `/v1/sessions`: who plays what now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::gate::Visitor;
use super::service::Face;
use super::times::Utc;
use crate::playing::Entry;

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new().routes(routes!(sessions))
}

/// A playback.
#[derive(Debug, Serialize, ToSchema)]
struct SessionItem {
    /// Its number, as in events.
    id: u64,
    camera: String,
    /// Address and port of the client; null for what nobody asked for.
    peer: Option<String>,
    /// Where users are known.
    user: Option<String>,
    /// Such as `rtsp/tcp`, `rtsp/udp`, `http/get`.
    transport: Option<&'static str>,
    /// When it began, wall clock.
    since: Utc,
    /// Capture time of what is sent next; null before the first picture.
    position: Option<Utc>,
    /// The site that its footage comes from; null before the first picture.
    site: Option<String>,
    /// Since when it does, wall clock.
    site_since: Option<Utc>,
}

impl SessionItem {
    fn of(entry: &Entry) -> Self {
        let client = entry.client.as_deref();
        let source = entry.source();
        SessionItem {
            id: entry.id,
            camera: entry.camera.to_string(),
            peer: client.map(|client| client.peer.to_string()),
            user: client.and_then(|client| client.user.clone()),
            transport: client.map(|client| client.transport),
            since: Utc(entry.since),
            position: entry.position().map(Utc),
            site: source.as_deref().map(|source| source.site.clone()),
            site_since: source.as_deref().map(|source| Utc(source.since)),
        }
    }
}

/// The playbacks of the cameras that the user may see, by RTSP and by HTTP, the oldest first.
#[utoipa::path(get, path = "/v1/sessions", tag = "playbacks", responses((status = 200, body = Vec<SessionItem>)))]
async fn sessions(State(face): State<Arc<Face>>, visitor: Visitor) -> Json<Vec<SessionItem>> {
    let list = face.cameras.journal.playing().list();
    let seen = list.iter().filter(|entry| visitor.may_see(&entry.camera));
    Json(seen.map(|entry| SessionItem::of(entry)).collect())
}
