//! `GET /list`: what is recorded of a camera at any site, as `MediaMTX`'s playback server lists it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, header};
use axum::middleware::map_response;
use seamline_routing::time::{TimeRange, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::errors::{MEDIAMTX, Problem, as_mediamtx};
use super::gate::Admitted;
use super::service::{Face, Guest};
use super::times::time;
use crate::cameras::CameraEntry;
use crate::clock;

/// Entries of one answer; `start` asks for those behind.
const ENTRIES_MAX: usize = 100_000;
/// Longest `Host` that is repeated.
const HOST_BYTES_MAX: usize = 255;

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .layer(map_response(as_mediamtx))
}

/// Which stretch of time.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// The camera.
    #[param(required = true, example = "gate")]
    #[expect(dead_code, reason = "read where it is decided who may ask")]
    path: Option<String>,
    /// RFC 3339: nothing before it.
    #[param(format = DateTime, example = "2026-01-01T12:00:00Z")]
    start: Option<String>,
    /// RFC 3339: nothing from it on.
    #[param(format = DateTime)]
    end: Option<String>,
}

/// Footage without a gap, from whichever sites.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListEntry)]
struct Span {
    /// RFC 3339, UTC.
    start: String,
    /// Seconds.
    #[serde(serialize_with = "seconds")]
    duration: f64,
    /// Where it is to be had.
    url: String,
}

/// What is recorded of a camera.
#[utoipa::path(
    get,
    path = "/list",
    tag = MEDIAMTX,
    params(Asked),
    responses(
        (status = 200, body = Vec<Span>),
        (status = 400, description = "a parameter that means nothing"),
        (status = 404, description = "no such camera, or no footage of it"),
    )
)]
async fn list(
    State(face): State<Arc<Face>>,
    Admitted {
        camera,
        query,
        visitor,
    }: Admitted<Asked>,
    request: RequestParts,
) -> Result<Json<Vec<Span>>, Problem> {
    let given = |name: &str, text: &Option<String>| match text.as_deref().map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => time(name, text).map(Some),
    };
    let (start, end) = (given("start", &query.start)?, given("end", &query.end)?);
    let wanted = TimeRange::new(
        start.unwrap_or(Timestamp::MIN),
        end.unwrap_or(Timestamp::MAX),
    );
    let wanted = wanted.ok_or_else(|| Problem::bad_request("it ends before it starts"))?;
    camera.look_up(start.unwrap_or(Timestamp::EPOCH)).await;
    let base = base(&request.headers, &visitor.guest, face.trust_forwarded);
    let spans: Vec<Span> = recorded(&camera, wanted, clock::wall())
        .into_iter()
        .take(ENTRIES_MAX)
        .map(|range| {
            let (start, duration) = (shortest(range.start()), range.duration().as_secs_f64());
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("duration", &duration.to_string())
                .append_pair("path", camera.id().as_str())
                .append_pair("start", &start)
                .finish();
            Span {
                url: format!("{base}/get?{query}"),
                start,
                duration,
            }
        })
        .collect();
    if spans.is_empty() {
        return Err(Problem::not_found("no site holds footage of that time"));
    }
    Ok(Json(spans))
}

/// An instant as Go writes it: with no more digits of a second than it takes.
fn shortest(at: Timestamp) -> String {
    let text = at.to_string();
    let digits = text.trim_end_matches('Z').trim_end_matches('0');
    format!("{}Z", digits.trim_end_matches('.'))
}

/// Whole seconds are written as Go does, without a point.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn seconds<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if seconds.fract() == 0.0 {
        serializer.serialize_u64(*seconds as u64)
    } else {
        serializer.serialize_f64(*seconds)
    }
}

/// What any copy is known to hold, joined over gaps that are not worth a seam; what is still being written ends now.
fn recorded(camera: &CameraEntry, wanted: TimeRange, now: Timestamp) -> Vec<TimeRange> {
    let copies = camera.slot.camera().copies();
    let coverages = copies.filter_map(|(copy, _)| camera.slot.coverage(copy));
    let mut periods: Vec<TimeRange> = coverages
        .flat_map(|coverage| coverage.periods().to_vec())
        .filter_map(|period| period.intersect(wanted))
        .filter_map(|period| TimeRange::new(period.start(), period.end().min(now)))
        .collect();
    periods.sort_by_key(|period| period.start());
    let mut joined: Vec<TimeRange> = Vec::with_capacity(periods.len());
    for period in periods {
        match joined.last_mut() {
            Some(last) if period.start().since(last.end()) < camera.policy.min_gap => {
                let end = last.end().max(period.end());
                if let Some(longer) = TimeRange::new(last.start(), end) {
                    *last = longer;
                }
            }
            _ => joined.push(period),
        }
    }
    joined
}

/// What the client calls us: by the host that it asked for, or as a proxy in front says, where that is to be believed.
fn base(headers: &HeaderMap, guest: &Guest, trust_forwarded: bool) -> String {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        let first = value.split(',').next()?.trim();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let fit = !first.is_empty() && first.len() <= HOST_BYTES_MAX && first.bytes().all(plain);
        fit.then(|| first.to_owned())
    };
    let forwarded = |name| text(name).filter(|_| trust_forwarded);
    let host = forwarded("x-forwarded-host").or_else(|| text(header::HOST.as_str()));
    let scheme =
        forwarded("x-forwarded-proto").filter(|scheme| scheme == "http" || scheme == "https");
    let scheme = scheme.unwrap_or_else(|| if guest.secure { "https" } else { "http" }.to_owned());
    format!(
        "{scheme}://{}",
        host.unwrap_or_else(|| "localhost".to_owned())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_lengths_are_written_as_go_writes_them() {
        for (us, text) in [
            (1_767_268_800_000_000, "2026-01-01T12:00:00Z"),
            (1_767_268_800_500_000, "2026-01-01T12:00:00.5Z"),
            (1_767_268_800_120_300, "2026-01-01T12:00:00.1203Z"),
            (1_767_268_810_000_001, "2026-01-01T12:00:10.000001Z"),
        ] {
            assert_eq!(shortest(Timestamp::from_micros(us)), text);
        }
        for (duration, text) in [(10.0, "10"), (25.117, "25.117"), (0.04, "0.04")] {
            let span = Span {
                start: String::new(),
                duration,
                url: String::new(),
            };
            let told = serde_json::to_string(&span).expect("it has a JSON form");
            let wanted = format!("\"duration\":{text},");
            assert!(told.contains(&wanted), "{told}");
        }
    }
}
