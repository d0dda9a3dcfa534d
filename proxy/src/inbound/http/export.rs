//! `/export`: a clip across all seams with its manifest.
//!
//! One address gives both files, so that a browser needs one click and curl one line: by default a ZIP archive of `clip.mp4` and
//! `clip.json`, written as the footage comes. For programs there are the clip alone, which can be taken up where a broken
//! download ended, and the manifest alone. The clip's bytes are a pure function of the footage, so the manifest of one
//! delivery is that of any other with the same SHA-256.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue, LINK,
};
use seamline_evidence::{Digest, Requester, Sealed};
use seamline_routing::director::End;
use seamline_routing::time::{TimeRange, Timestamp};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::errors::Problem;
use super::gate::{Admitted, Visitor};
use super::service::Face;
use super::times::window;
use crate::cameras::{CameraEntry, Cameras};
use crate::clock;
use crate::evidence::{Clip, NoClip, Order, Zipped};
use crate::playback::NoReel;

/// Pieces of a clip that wait for a client: each is a fragment of about a second.
const PIECES_MAX: usize = 2;
/// The longest range of one clip: 31 days.
const RANGE_MAX: Duration = Duration::from_secs(31 * 86_400);
/// When a site that is down is worth another try.
const RETRY_S: u64 = 10;
/// How long the clip's bytes were taken up behind, for who goes on.
const SHA256: HeaderName = HeaderName::from_static("seamline-prefix-sha256");

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new().routes(routes!(export))
}

/// What is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wish {
    /// The camera's id.
    #[serde(rename = "path")]
    #[param(rename = "path", required = true, example = "gate")]
    _path: Option<String>,
    /// The first instant (RFC 3339).
    #[param(required = true, format = DateTime, example = "2026-01-01T12:00:00Z")]
    start: Option<String>,
    /// The first instant behind it (RFC 3339); this or `duration`.
    #[param(format = DateTime)]
    end: Option<String>,
    /// Seconds from `start` on, or as Go writes a duration: `1m30s`.
    #[param(example = "2.5")]
    duration: Option<String>,
    /// What is answered.
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// Of `format=mp4`: without these first bytes of the clip, of which `prefix` is the SHA-256.
    after: Option<u64>,
    /// See `after`. Where the clip does not begin like that any more, because other copies serve it now, the answer is 409.
    prefix: Option<String>,
    /// Of `format=manifest`: that of the clip with this SHA-256, when it was delivered lately; all footage need not be read again then.
    sha256: Option<String>,
    /// Of `format=mp4`: a clip that ends early, because no site that holds the rest can be reached, ends like a whole one; its manifest
    /// tells. Otherwise its connection is cut.
    #[serde(default)]
    partial: bool,
}

/// The forms of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A ZIP archive of both files.
    #[default]
    Zip,
    /// The clip alone.
    #[serde(alias = "fmp4")]
    Mp4,
    /// The manifest alone; all footage is read for it.
    #[serde(alias = "json")]
    Manifest,
}

/// One clip across all seams, with a manifest of where every byte of it comes from.
///
/// A hole is no error: it is closed up in the clip and told in the manifest. The manifest's format is described in
/// `proxy/evidence/README.md`; `seamline verify` holds one against the other.
#[utoipa::path(
    get,
    path = "/export",
    params(Wish),
    responses(
        (status = 200, description = "the export", content((Vec<u8> = "application/zip"), (Vec<u8> = "video/mp4"), (Vec<u8> = "application/json"))),
        (status = 400, description = "a parameter means nothing"),
        (status = 404, description = "nobody recorded anything of it"),
        (status = 422, description = "no track of it fits into a file"),
        (status = 409, description = "the clip does not begin like that any more"),
        (status = 503, description = "who holds it, or may, cannot be reached")
    )
)]
async fn export(
    State(face): State<Arc<Face>>,
    Admitted {
        camera,
        query,
        visitor,
    }: Admitted<Wish>,
) -> Result<Response, Problem> {
    let asked = query.range()?;
    let resume = query.resume()?;
    let order = Order {
        asked,
        requester: requester(&visitor),
        journal: visitor.journal(&face, "http/export"),
    };
    let evidence = &face.cameras.evidence;
    if query.format == Format::Manifest
        && let Some(digest) = query.sha256.as_deref().and_then(Digest::parse)
        && let Some(sealed) = evidence.recent(camera.id().as_str(), digest, &order.requester)
    {
        let name = file_name(&camera, asked.start());
        let body = Body::from(sealed.json.clone());
        return Ok(attached(&format!("{name}.json"), "application/json", body));
    }
    let clip = Clip::open(face.cameras.clone(), camera.clone(), order)
        .await
        .map_err(|error| refusal(&error))?;
    let name = file_name(&camera, asked.start());
    let mut response = match query.format {
        Format::Zip => attached(
            &format!("{name}.zip"),
            "application/zip",
            zipped(clip, name),
        ),
        Format::Manifest => {
            let sealed = read_through(clip).await;
            let body = Body::from(sealed.json);
            attached(&format!("{name}.json"), "application/json", body)
        }
        Format::Mp4 => {
            let (clip, first) = match resume {
                Some((after, prefix)) => skip(clip, after, prefix).await?,
                None => (clip, Bytes::new()),
            };
            let body = alone(clip, first, query.partial, face.cameras.clone());
            let mut response = attached(&format!("{name}.mp4"), "video/mp4", body);
            let link = manifest_link(&camera, asked);
            if let Ok(link) = HeaderValue::from_str(&link) {
                response.headers_mut().insert(LINK, link);
            }
            if let Some((_, prefix)) = resume
                && let Ok(prefix) = HeaderValue::from_str(&prefix.to_string())
            {
                response.headers_mut().insert(SHA256, prefix);
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Wish {
    fn range(&self) -> Result<TimeRange, Problem> {
        let (start, end) = (self.start.as_deref(), self.end.as_deref());
        let (start, end) = window(start, end, self.duration.as_deref(), RANGE_MAX)?;
        let unsaid = || Problem::bad_request("either `end` or `duration` says how much");
        let range = TimeRange::new(start, end.ok_or_else(unsaid)?).ok_or_else(unsaid)?;
        if start > clock::wall() {
            return Err(Problem::not_found("nothing is recorded of the future"));
        }
        Ok(range)
    }

    fn resume(&self) -> Result<Option<(u64, Digest)>, Problem> {
        let prefix = match (self.after, &self.prefix) {
            (None, None) => return Ok(None),
            (Some(after), Some(prefix)) if self.format == Format::Mp4 => {
                Digest::parse(prefix).map(|prefix| (after, prefix))
            }
            _ => None,
        };
        prefix.map(Some).ok_or_else(|| {
            Problem::bad_request(
                "`after` goes with `prefix`, the SHA-256 of so many bytes, and with format=mp4",
            )
        })
    }
}

fn requester(visitor: &Visitor) -> Requester {
    Requester {
        user: visitor.name().map(str::to_owned),
        address: Some(visitor.guest.peer.ip().to_canonical().to_string()),
    }
}

fn refusal(error: &NoClip) -> Problem {
    let what = error.to_string();
    match error {
        NoClip::NoReel(NoReel::Nothing) | NoClip::Ended(End::Range | End::Footage | End::Hole) => {
            Problem::not_found(what)
        }
        NoClip::NoReel(NoReel::Undescribed(_)) | NoClip::Ended(End::Outage) => {
            Problem::unavailable(what, RETRY_S)
        }
        NoClip::NoReel(NoReel::NoTrack) | NoClip::Ended(End::Mismatch) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what)
        }
    }
}

/// A name that every file system takes: the camera and the time.
fn file_name(camera: &CameraEntry, start: Timestamp) -> String {
    let id = camera.id().to_string();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || letter == '-' {
            letter
        } else {
            '_'
        }
    };
    let id: String = id.chars().map(plain).take(FILE_NAME_CHARS_MAX).collect();
    let time: String = start.to_string().chars().map(plain).collect();
    format!("{id}_{time}")
}

const FILE_NAME_CHARS_MAX: usize = 64;

/// RFC 8288: where the manifest of a clip is.
fn manifest_link(camera: &CameraEntry, asked: TimeRange) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("path", camera.id().as_str())
        .append_pair("start", &asked.start().to_string())
        .append_pair("end", &asked.end().to_string())
        .append_pair("format", "manifest")
        .finish();
    format!("</export?{query}>; rel=\"describedby\"; type=\"application/json\"")
}

fn attached(name: &str, kind: &'static str, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    response
}

type Pieces = mpsc::Sender<std::io::Result<Bytes>>;

/// A body that a task of its own fills, which keeps recorders' sessions alive while the client does not read.
fn filled<F>(fill: impl FnOnce(Pieces) -> F) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (pieces, taken) = mpsc::channel(PIECES_MAX);
    tokio::spawn(fill(pieces));
    Body::from_stream(stream::unfold(taken, |mut taken| async {
        taken.recv().await.map(|piece| (piece, taken))
    }))
}

/// Hands a piece over; false when nobody takes any more.
async fn hand(clip: &mut Clip, pieces: &Pieces, bytes: Bytes) -> bool {
    if bytes.is_empty() {
        return true;
    }
    tokio::select! {
        biased;
        sent = pieces.send(Ok(bytes)) => sent.is_ok(),
        () = clip.keep() => false,
    }
}

fn alone(mut clip: Clip, first: Bytes, partial: bool, cameras: Arc<Cameras>) -> Body {
    filled(move |pieces| async move {
        if !hand(&mut clip, &pieces, first).await {
            return;
        }
        while let Some(bytes) = clip.next().await {
            if !hand(&mut clip, &pieces, bytes).await {
                return;
            }
        }
        if clip.failed() && !partial {
            let cut = std::io::Error::other("who holds the rest cannot be reached");
            let _ = pieces.send(Err(cut)).await;
            return;
        }
        // Before the body ends: who asks for it then finds it.
        cameras.evidence.keep(clip.seal());
    })
}

fn zipped(mut clip: Clip, name: String) -> Body {
    filled(move |pieces| async move {
        let mut archive = Zipped::new();
        if let Err(error) = zip(&mut clip, &pieces, &mut archive, &name).await {
            let _ = pieces.send(Err(error)).await;
            return;
        }
        if pieces.is_closed() {
            return;
        }
        let sealed = clip.seal();
        let rest = archive
            .begin(&format!("{name}.json"))
            .and_then(|()| archive.write(&sealed.json))
            .and_then(|bytes| Ok([bytes, archive.finish()?].concat().into()));
        let _ = pieces.send(rest).await;
    })
}

async fn zip(
    clip: &mut Clip,
    pieces: &Pieces,
    archive: &mut Zipped,
    name: &str,
) -> std::io::Result<()> {
    archive.begin(&format!("{name}.mp4"))?;
    while let Some(bytes) = clip.next().await {
        let bytes = archive.write(&bytes)?;
        if !hand(clip, pieces, bytes).await {
            return Ok(());
        }
    }
    Ok(())
}

async fn read_through(mut clip: Clip) -> Sealed {
    while clip.next().await.is_some() {}
    clip.seal()
}

/// Leaves out the first bytes of a clip, when they are those that the client has.
async fn skip(mut clip: Clip, after: u64, prefix: Digest) -> Result<(Clip, Bytes), Problem> {
    let changed = || {
        Problem::new(
            StatusCode::CONFLICT,
            "the clip does not begin like that any more: begin anew",
        )
    };
    let ahead = clip.prefix(after).await.ok_or_else(changed)?;
    if ahead.digest != prefix {
        return Err(changed());
    }
    Ok((clip, ahead.rest))
}
