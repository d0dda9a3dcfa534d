//! `/health` and `/ready`, for whoever looks after the process.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use axum::Extension;

use super::errors::Problem;
use super::service::{Face, Guest};

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
}

/// Whether the process answers; says nothing else, to anybody.
#[utoipa::path(get, path = "/health", tag = "process", security(()), responses((status = 200, description = "it answers", body = String, content_type = "text/plain")))]
async fn health() -> &'static str {
    "ok\n"
}

/// Whether new clients should come here: not while the process drains. Recorders that cannot be reached change nothing, as
/// every replica has the same ones.
#[utoipa::path(get, path = "/ready", tag = "process", security(()), responses((status = 200, description = "it takes clients", body = String, content_type = "text/plain")))]
async fn ready(Extension(guest): Extension<Guest>) -> Result<&'static str, Problem> {
    if guest.is_leaving() {
        return Err(Problem::unavailable("it drains, and ends soon", DRAINED_S));
    }
    Ok("ready\n")
}

/// When another process may stand in its place, seconds.
const DRAINED_S: u64 = 10;
