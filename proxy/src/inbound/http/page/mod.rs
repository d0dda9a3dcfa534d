//! `/`: one page to look at timelines and play them. It holds all that it needs, and knows nothing that `/v1` does not tell.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::gate::Visitor;
use super::service::Face;

const PAGE: &str = include_str!("index.html");

/// Names of cameras and sites are the operator's and reasons are recorders': none of them is ever more than text. Nothing is
/// fetched from elsewhere, and no other page shows this one.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; \
                      media-src 'self' blob:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'none'";

pub(super) fn routes() -> Router<Arc<Face>> {
    Router::new().route("/", get(page))
}

/// For users only, so that browsers ask for a name before the page does.
async fn page(_: Visitor) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, PAGE)
}
