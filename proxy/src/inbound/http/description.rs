//! What the routes say of themselves: the `OpenAPI` description at `/openapi.json`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;
use utoipa::OpenApi;

use super::service::Face;

/// The description's head. Each route file adds its own paths and schemas.
#[derive(OpenApi)]
#[openapi(info(
    title = "Seamline",
    description = "Recorded video of cameras that several sites record, as one timeline.\n\n\
                   Times are RFC 3339 in UTC with microseconds, on the timeline's clock: a copy's configured clock offset is \
                   taken off. A camera's id stands percent-encoded in a path (`yard%2Fnorth`). Refusals are problems \
                   (RFC 9457)."
))]
struct Head;

/// What is said before any path.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// `/openapi.json`: the description of everything that was merged.
pub(super) fn routes(openapi: &utoipa::openapi::OpenApi) -> Router<Arc<Face>> {
    let text = openapi
        .to_json()
        .expect("a description is made of texts, which all have a JSON form");
    let text = Bytes::from(text);
    let answer = move || async move {
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-cache"),
        ];
        (headers, text)
    };
    Router::new().route("/openapi.json", get(answer))
}
