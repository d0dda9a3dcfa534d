//! `/v1/cameras`: the cameras that a user may see.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::gate::{Admitted, Visitor};
use super::service::Face;
use crate::cameras::CameraEntry;

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new()
        .routes(routes!(cameras))
        .routes(routes!(camera))
}

/// A camera as clients name it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CameraItem {
    /// The id: what URLs name.
    id: String,
    /// The name that people gave it.
    name: String,
    /// Its sites, in the order in which they are preferred.
    sites: Vec<String>,
}

impl CameraItem {
    pub(super) fn of(entry: &CameraEntry) -> Self {
        let camera = entry.slot.camera();
        let mut sites: Vec<String> = Vec::new();
        for (_, copy) in camera.copies() {
            let site = copy.site.to_string();
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        CameraItem {
            id: camera.id.to_string(),
            name: camera.name.to_string(),
            sites,
        }
    }
}

/// The cameras that the user may see, by id.
#[utoipa::path(get, path = "/v1/cameras", tag = "timeline", responses((status = 200, body = Vec<CameraItem>)))]
async fn cameras(State(face): State<Arc<Face>>, visitor: Visitor) -> Json<Vec<CameraItem>> {
    let seen = face
        .cameras
        .iter()
        .filter(|entry| visitor.may_see(entry.id()));
    let mut items: Vec<CameraItem> = seen.map(|entry| CameraItem::of(entry)).collect();
    items.sort_by(|one, other| one.id.cmp(&other.id));
    Json(items)
}

/// One camera.
#[utoipa::path(
    get,
    path = "/v1/cameras/{camera}",
    tag = "timeline",
    params(("camera" = String, Path, description = "the camera's id")),
    responses((status = 200, body = CameraItem), (status = 404, description = "no such camera"))
)]
async fn camera(Admitted { camera, .. }: Admitted<Nothing>) -> Json<CameraItem> {
    Json(CameraItem::of(&camera))
}

/// No parameters.
#[derive(Deserialize)]
struct Nothing {}
