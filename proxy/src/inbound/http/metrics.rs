//! `/metrics`, figures of the process in the text form of Prometheus; none of them names a camera or a user.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use tokio::runtime::Handle;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::service::Face;

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Figures of the process for Prometheus: when the certificate expires, what plays, what was answered and refused.
#[utoipa::path(get, path = "/metrics", tag = "process", security(()), responses((status = 200, description = "the figures", body = String, content_type = "text/plain")))]
async fn metrics(State(face): State<Arc<Face>>) -> impl IntoResponse {
    let (counts, refused) = (&face.counts, face.cameras.access.refused());
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, figures: &[(&str, String)]| {
        // Nothing can go wrong while a String is written to.
        let _ = write!(
            text,
            "# HELP seamline_{name} {help}\n# TYPE seamline_{name} {kind}\n"
        );
        for (labels, figure) in figures {
            let _ = writeln!(text, "seamline_{name}{labels} {figure}");
        }
    };
    if let Some(expires_s) = face
        .certificates
        .as_ref()
        .map(|certificates| certificates.expires_s())
    {
        put(
            "certificate_expiry_seconds",
            "gauge",
            "When the certificate that TLS is answered with expires, seconds since 1970.",
            &[("", expires_s.to_string())],
        );
    }
    let count = |count: u64| count.to_string();
    put(
        "cameras",
        "gauge",
        "Cameras of the configuration.",
        &[("", face.cameras.iter().count().to_string())],
    );
    put(
        "playbacks",
        "gauge",
        "Playbacks that run.",
        &[("", face.cameras.journal.playing().count().to_string())],
    );
    put(
        "tasks",
        "gauge",
        "Tasks of the runtime: connections, legs that are opened, recorders that are watched.",
        &[(
            "",
            Handle::current().metrics().num_alive_tasks().to_string(),
        )],
    );
    put(
        "http_requests_total",
        "counter",
        "Requests over HTTP by what came of them.",
        &[
            (
                "{outcome=\"answered\"}",
                count(counts.answered.load(Relaxed)),
            ),
            ("{outcome=\"refused\"}", count(counts.refused.load(Relaxed))),
            ("{outcome=\"failed\"}", count(counts.failed.load(Relaxed))),
        ],
    );
    put(
        "credentials_refused_total",
        "counter",
        "Credentials that were wrong, or not looked at for those before them.",
        &[
            ("{reason=\"wrong\"}", count(refused.wrong)),
            ("{reason=\"damped\"}", count(refused.damped)),
        ],
    );
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}
