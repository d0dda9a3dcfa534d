//! `/snapshot`: one picture, as JPEG or as an MP4 file that shows it alone.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use seamline_routing::director::End;
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::errors::Problem;
use super::gate::Admitted;
use super::service::Face;
use super::times::{Utc, time};
use crate::clock;
use crate::playback::NoReel;
use crate::still::{NoStill, Still};

/// Decoders at work at one time: each may take a core, and some hundred megabytes for the largest pictures.
const DECODERS_MAX: usize = 2;
static DECODERS: Semaphore = Semaphore::const_new(DECODERS_MAX);
/// How long a request waits for one.
const DECODER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a picture is looked for.
const FIND_MAX: Duration = Duration::from_secs(20);
/// When a busy or broken house is worth another try.
const RETRY_S: u64 = 10;
/// A picture that old is not recorded anew: it may be kept for an hour by whoever asked.
const SETTLED: Duration = Duration::from_secs(60);

const CAPTURE_TIME: HeaderName = HeaderName::from_static("seamline-capture-time");
const BEFORE_ASKED: HeaderName = HeaderName::from_static("seamline-before-asked");
const SITE: HeaderName = HeaderName::from_static("seamline-site");

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new().routes(routes!(snapshot))
}

/// What is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wish {
    /// The camera's id.
    #[serde(rename = "path")]
    #[param(rename = "path", required = true, example = "gate")]
    _path: Option<String>,
    /// The instant (RFC 3339): the picture that was shown then is the last one at or before it.
    #[param(required = true, format = DateTime, example = "2026-01-01T12:00:02.5Z")]
    at: Option<String>,
    /// What is answered.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// The forms of a still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A JPEG file. MJPEG is copied as it was recorded.
    #[default]
    #[serde(alias = "jpg")]
    Jpeg,
    /// An MP4 file that shows this picture alone, coded as it was recorded.
    Mp4,
}

/// The picture that a camera showed at an instant.
///
/// `Seamline-Capture-Time` says when it was taken (UTC), `Seamline-Before-Asked` how many seconds before the asked instant, and
/// `Seamline-Site` where it was recorded.
#[utoipa::path(
    get,
    path = "/snapshot",
    params(Wish),
    responses(
        (status = 200, description = "the picture", content((Vec<u8> = "image/jpeg"), (Vec<u8> = "video/mp4"))),
        (status = 400, description = "a parameter means nothing"),
        (status = 404, description = "no picture at that time, nor in the ten seconds before"),
        (status = 422, description = "there is no picture in it, or none that can be decoded"),
        (status = 415, description = "this coding is not decoded here: format=mp4 is"),
        (status = 503, description = "who holds it, or may, cannot be reached; or too many pictures are being decoded")
    )
)]
async fn snapshot(
    State(face): State<Arc<Face>>,
    Admitted {
        camera,
        query,
        visitor,
    }: Admitted<Wish>,
) -> Result<Response, Problem> {
    let at = query.at.as_deref();
    let at = at.ok_or_else(|| Problem::bad_request("at: which instant?"))?;
    let at = time("at", at)?;
    let find = Still::find(&camera, visitor.journal(&face, "http/snapshot"), at);
    let still = tokio::time::timeout(FIND_MAX, find)
        .await
        .map_err(|_| Problem::unavailable("no site delivers it in time", RETRY_S))?
        .map_err(|error| refusal(&error))?;
    let (capture, site) = (still.capture, still.leg.site.clone());
    let (kind, body) = match query.format {
        Format::Mp4 => {
            let file = still
                .mp4()
                .ok_or_else(|| undecodable("it does not fit into a file"))?;
            ("video/mp4", file)
        }
        Format::Jpeg => ("image/jpeg", picture(still).await?),
    };
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let before_us = at.micros_since(capture);
    let told = [
        (CAPTURE_TIME, Utc(capture).to_string()),
        (
            BEFORE_ASKED,
            format!("{}.{:06}", before_us / 1_000_000, before_us % 1_000_000),
        ),
        (SITE, site),
    ];
    for (name, value) in told {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    let keep = if clock::wall().since(at) > SETTLED {
        "private, max-age=3600"
    } else {
        "no-store"
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    Ok(response)
}

fn refusal(error: &NoStill) -> Problem {
    let what = error.to_string();
    match error {
        NoStill::Nothing | NoStill::NoReel(NoReel::Nothing) => Problem::not_found(what),
        NoStill::NoReel(NoReel::Undescribed(_)) | NoStill::Ended(End::Outage) => {
            Problem::unavailable(what, RETRY_S)
        }
        NoStill::NoReel(NoReel::NoTrack)
        | NoStill::Ended(_)
        | NoStill::TooLong
        | NoStill::Blind => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what),
    }
}

fn undecodable(what: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what.to_owned())
}

/// The picture as a JPEG file.
async fn picture(still: Still) -> Result<Bytes, Problem> {
    if let Some(copied) = still.jpeg() {
        return Ok(copied);
    }
    let free = tokio::time::timeout(DECODER_WAIT_MAX, DECODERS.acquire()).await;
    let Ok(Ok(_permit)) = free else {
        return Err(Problem::unavailable(
            "too many pictures are being decoded",
            RETRY_S,
        ));
    };
    // A decoder computes for as long as it needs; what it does with a hostile stream stays in its own thread.
    tokio::task::spawn_blocking(move || decode(&still))
        .await
        .unwrap_or_else(|_| Err(undecodable("the decoder gave up")))
}

#[cfg(feature = "stills")]
fn decode(still: &Still) -> Result<Bytes, Problem> {
    use seamline_media::Entry;
    use seamline_stills::{Codec, QUALITY};

    let codec = match &*still.entry {
        Entry::H264 { .. } => Codec::H264,
        Entry::H265 { .. } => Codec::H265,
        _ => return Err(unknown_coding()),
    };
    let samples = still.samples.iter().map(|sample| &sample.data[..]);
    let picture =
        seamline_stills::decode(codec, samples).map_err(|error| undecodable(&error.to_string()))?;
    let file = seamline_stills::jpeg(&picture, QUALITY)
        .map_err(|error| undecodable(&error.to_string()))?;
    Ok(file.into())
}

#[cfg(not(feature = "stills"))]
fn decode(_: &Still) -> Result<Bytes, Problem> {
    Err(unknown_coding())
}

fn unknown_coding() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "this coding is not decoded here; ask for format=mp4",
    )
}
