//! `GET /get`: footage as one MP4 file, as `MediaMTX`'s playback server gives it, but across gaps and sites, and with byte ranges.
//!
//! A clip that lies in the past is one file of fixed bytes, whose tag is a digest of them. Who asks before the bytes are known gets
//! them as they come, under a tag that this process alone honours.
//!
//! Once it is whole there is a second file, which differs in its index alone: for players, who ask for all bytes from the first
//! on as a range and then for those that they seek to. Where no index told them, FFmpeg's read every fragment before they show a picture.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use futures::stream;
use rand::random;
use seamline_routing::time::Timestamp;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::errors::{MEDIAMTX, Problem, as_mediamtx};
use super::gate::Admitted;
use super::ranges::{Parts, Wish, names};
use super::service::Face;
use super::times::window;
use crate::clock;
use crate::playing::Client;
use crate::spool::{Clip, Entry, Fault, Format, Gaps, Index, Progress, Reading, Stage, Unspooled};

/// Recorders may still write what is younger than this: a clip that ends later is not the same a second time.
const TAIL_US: i64 = 30_000_000;
/// Longest clip: `/list` joins what follows without a gap, and each of its entries is a clip that can be had.
const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);
/// A clip of at most [`SHORT_MAX`] whose first byte is there is waited for this long, so that its length and tag can be told.
const WHOLE_WAIT: Duration = Duration::from_millis(1500);
const SHORT_MAX: Duration = Duration::from_secs(300);
/// More bytes than this are not waited for.
const WHOLE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Less footage does not tell how many bytes the rest will have.
const TELLING_MIN: Duration = Duration::from_secs(1);
/// Who asks for a byte range waits so long for the clip to be whole.
const RANGE_WAIT: Duration = Duration::from_secs(30);
/// Who asks for a plain file waits so long for it.
const PLAIN_WAIT: Duration = Duration::from_secs(120);
/// The first footage must be there within this time, whatever keeps it.
const START_WAIT: Duration = Duration::from_secs(20);
/// When it is worth to ask again for what is being made, seconds.
const RETRY_AFTER_S: u64 = 5;
const VIDEO_MP4: HeaderValue = HeaderValue::from_static("video/mp4");

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new()
        .routes(routes!(get))
        .layer(map_response(as_mediamtx))
}

/// Which footage.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(clippy::struct_field_names, reason = "the names of the parameters")]
struct Asked {
    /// The camera.
    #[param(required = true, example = "gate")]
    #[expect(dead_code, reason = "read where it is decided who may ask")]
    path: Option<String>,
    /// RFC 3339: the first instant.
    #[param(required = true, format = DateTime, example = "2026-01-01T12:00:00Z")]
    start: Option<String>,
    /// Seconds, or as Go writes a duration: `1m30s`.
    #[param(example = "2.5")]
    duration: Option<String>,
    /// RFC 3339: the first instant that is not wanted; instead of `duration`.
    #[param(format = DateTime)]
    end: Option<String>,
    /// `fmp4` (as it is when not given): fragments, sent as they come; or `mp4`: one table in front, sent when all is there.
    format: Option<String>,
    /// Stretches that no site holds: `skip` goes on at once, `keep` leaves their time, `end` ends; as the camera's policy says when
    /// not given.
    holes: Option<String>,
}

/// Footage of a camera as one MP4 file.
///
/// A clip that ended half a minute ago or earlier is one file of fixed bytes: it has a strong `ETag`, byte ranges and conditions,
/// the same at every replica and whichever site the bytes came from, as long as the sites hold the same stream. A body that cannot
/// go on is cut off. Players, who ask for `bytes=0-`, get a fragmented clip that is whole with an index of its fragments, under
/// a tag of its own; no byte lies elsewhere in it.
#[utoipa::path(
    get,
    path = "/get",
    tag = MEDIAMTX,
    params(Asked),
    responses(
        (status = 200, description = "the clip, or all of it that there is", content_type = "video/mp4"),
        (status = 206, description = "the byte ranges asked for", content((Vec<u8> = "video/mp4"), (Vec<u8> = "multipart/byteranges"))),
        (status = 304, description = "the clip is the one that `If-None-Match` names"),
        (status = 400, description = "a parameter that means nothing"),
        (status = 404, description = "no such camera, or no footage of it"),
        (status = 412, description = "the clip is not the one that `If-Match` names"),
        (status = 416, description = "none of the byte ranges lies within the clip"),
        (status = 500, description = "the folder of clips cannot be written"),
        (status = 507, description = "there is no room for the clip"),
        (status = 503, description = "no site can be reached that may hold it, or the byte range is not there yet: `Retry-After`"),
    )
)]
async fn get(
    State(face): State<Arc<Face>>,
    Admitted {
        camera,
        query,
        visitor,
    }: Admitted<Asked>,
    request: RequestParts,
) -> Result<Response, Problem> {
    let now = clock::wall();
    let clip = clip(&query, &camera, now)?;
    let conditions = Conditions::read(&request);
    // Nothing tells one program of a machine from another of the same kind.
    let agent = request.headers.get(header::USER_AGENT);
    let client = (visitor.guest.peer.ip(), visitor.name(), agent);
    let client = face.spool.client(client);
    let lasting = clip.until.micros_since(now) <= -TAIL_US;
    let journal = face.cameras.journal.of(Client {
        peer: visitor.guest.peer,
        user: visitor.name().map(str::to_owned),
        transport: "http/get",
    });
    let goes_on = |entry: &Entry| face.spool.goes_on(&clip, entry, client);
    let begins = |entry: &Entry| conditions.begins(entry, goes_on(entry));
    let resuming: Option<&dyn Fn(&Entry) -> u64> = match conditions.wish {
        Some(_) => Some(&begins),
        None => None,
    };
    // Counts as a reader while it waits.
    let (entry, waiting) = face
        .spool
        .open(&camera, &journal, &clip, !lasting, resuming)
        .map_err(|why| {
            tracing::warn!(camera = %clip.camera, %why, "no clip");
            match why {
                Unspooled::Busy => Problem::unavailable(why.to_string(), RETRY_AFTER_S),
                Unspooled::Folder(_) => Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the folder of clips cannot be written",
                ),
            }
        })?;
    let begun = timeout(
        START_WAIT,
        entry.until(|known| known.stage != Stage::Opening),
    )
    .await;
    let begun =
        begun.map_err(|_| Problem::unavailable("no footage came in time", RETRY_AFTER_S))?;
    check(&begun)?;
    // What is not has no ranges.
    let fixed = lasting || clip.format == Format::Plain;
    let answer = if fixed {
        answer(&entry, &clip, &conditions, &|| goes_on(&entry)).await
    } else {
        Ok(streamed(&entry))
    };
    drop(waiting);
    let sent = answer.as_ref().is_ok_and(|answer| {
        matches!(
            answer.status(),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT
        )
    });
    if sent && fixed && request.method == Method::GET {
        let begins = conditions.wish.as_ref().is_none_or(Wish::has_first);
        face.spool.serves(&clip, &entry, (client, begins));
    }
    answer
}

/// Reads the parameters.
fn clip(
    query: &Asked,
    camera: &crate::cameras::CameraEntry,
    now: Timestamp,
) -> Result<Clip, Problem> {
    let (start, end) = (query.start.as_deref(), query.end.as_deref());
    let (from, until) = window(start, end, query.duration.as_deref(), DURATION_MAX)?;
    let until = until.ok_or_else(|| Problem::bad_request("duration: how many seconds?"))?;
    if from >= now {
        return Err(Problem::not_found("that is still to come"));
    }
    let format = match query.format.as_deref() {
        None | Some("" | "fmp4") => Format::Fragmented,
        Some("mp4") => Format::Plain,
        Some(_) => return Err(Problem::bad_request("format: fmp4 or mp4")),
    };
    let gaps = match query.holes.as_deref() {
        None | Some("") => Gaps::from(camera.policy.holes),
        Some("skip") => Gaps::Close,
        Some("keep") => Gaps::Keep,
        Some("end") => Gaps::End,
        Some(_) => return Err(Problem::bad_request("holes: skip, keep or end")),
    };
    Ok(Clip {
        camera: camera.id().clone(),
        from,
        // What grows is frozen as it is now.
        until: until.min(now),
        format,
        gaps,
    })
}

/// What a request makes its answer depend on.
struct Conditions {
    wish: Option<Wish>,
    if_range: Option<String>,
    if_none_match: Option<String>,
    if_match: Option<String>,
}

impl Conditions {
    fn read(request: &RequestParts) -> Self {
        let text = |name: HeaderName| {
            let value = request.headers.get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        // RFC 9110 §14.2: ranges are for GET alone.
        let range = text(header::RANGE).filter(|_| request.method == Method::GET);
        Conditions {
            wish: range.and_then(|value| Wish::read(&value)),
            if_range: text(header::IF_RANGE),
            if_none_match: text(header::IF_NONE_MATCH),
            if_match: text(header::IF_MATCH),
        }
    }
}

impl Conditions {
    /// Whether they are about the clip with its index: they name that one, or nothing but all bytes from the first on.
    fn mean_index(&self, index: &Index) -> bool {
        let told = [&self.if_range, &self.if_none_match, &self.if_match];
        let mut told = told.into_iter().flatten().peekable();
        match told.peek() {
            None => self.wish.as_ref().is_some_and(Wish::is_everything),
            Some(_) => told.any(|list| *list != "*" && names(list, &[&index.tag], true)),
        }
    }

    /// Whether who asks may have bytes of another file and would take these for its rest: they want what is behind some, and do
    /// not say of what.
    fn goes_on_unnamed(&self) -> bool {
        let named = self.if_range.is_some() || self.if_match.is_some();
        !named && self.wish.as_ref().is_some_and(Wish::goes_on)
    }

    /// The first byte that the answer has of a clip; of one that is what the client has bytes of (`fits`), as far as is known.
    fn begins(&self, entry: &Entry, fits: bool) -> u64 {
        let goes_on = match &self.if_range {
            Some(list) => entry.is_named(|tag| names(list, &[tag], false)),
            None => fits || !self.goes_on_unnamed(),
        };
        let begins = self.wish.as_ref().and_then(Wish::begins);
        begins.filter(|_| goes_on).unwrap_or(0)
    }
}

/// The answer of a clip that is the same a second time.
async fn answer(
    entry: &Arc<Entry>,
    clip: &Clip,
    conditions: &Conditions,
    goes_on: &(dyn Fn() -> bool + Sync),
) -> Result<Response, Problem> {
    let wish = conditions.wish.as_ref();
    let ranged = wish.is_some_and(|wish| !wish.is_everything());
    let patience = match clip.format {
        Format::Plain => PLAIN_WAIT,
        Format::Fragmented if ranged || conditions.if_match.is_some() => RANGE_WAIT,
        Format::Fragmented if clip.until.since(clip.from) <= SHORT_MAX => WHOLE_WAIT,
        Format::Fragmented => Duration::ZERO,
    };
    let only_short = !ranged && clip.format == Format::Fragmented && conditions.if_match.is_none();
    // A part that is there already can be had before its whole, by those who name no other file.
    let part = wish
        .and_then(Wish::bounded)
        .filter(|_| conditions.if_range.is_none() && conditions.if_match.is_none());
    let fits = || !conditions.goes_on_unnamed() || goes_on();
    let part = part.filter(|_| clip.format == Format::Fragmented && fits());
    let enough = |known: &Progress| {
        !matches!(known.stage, Stage::Opening | Stage::Growing)
            || (only_short && will_be_long(known, clip))
            || part.as_ref().is_some_and(|part| part.end <= known.readable)
    };
    let known = timeout(patience, entry.until(enough)).await;
    let known = known.unwrap_or_else(|_| entry.progress());
    check(&known)?;
    let Stage::Whole { tag, len } = &known.stage else {
        return match part {
            Some(part) if part.end <= known.readable => Ok(partial(entry, part)),
            _ if only_short => Ok(tagged(streamed(entry), entry)),
            _ => Err(Problem::unavailable(
                "the clip is still being made",
                RETRY_AFTER_S,
            )),
        };
    };
    let index = entry.index().filter(|index| conditions.mean_index(index));
    let (tag, also) = match index {
        Some(index) => (&*index.tag, None),
        None => (&**tag, Some(entry.delivery_tag())),
    };
    let read = |at, end| match index {
        Some(_) => entry.read_indexed(at, Some(end)),
        None => entry.read(at, Some(end)),
    };
    let ours: Vec<&str> = std::iter::once(tag).chain(also).collect();
    let named = |list: &Option<String>, weak| list.as_ref().map(|list| names(list, &ours, weak));
    if named(&conditions.if_match, false) == Some(false) {
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "the clip is another one now",
        ));
    }
    if named(&conditions.if_none_match, true) == Some(true) {
        let response = Response::builder().status(StatusCode::NOT_MODIFIED);
        return built(fixed(response, tag), Body::empty());
    }
    // A server may ignore a range (RFC 9110 §14.2): better all anew than a mix of two files.
    let current = named(&conditions.if_range, false) != Some(false) && fits();
    let parts = wish
        .filter(|_| current)
        .map_or(Parts::Whole, |wish| wish.of(*len));
    match parts {
        Parts::Whole => {
            let response = Response::builder().header(header::CONTENT_LENGTH, *len);
            let response = response.header(header::CONTENT_TYPE, VIDEO_MP4);
            built(fixed(response, tag), body(read(0, *len)))
        }
        Parts::Unsatisfiable => Err(Problem::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format!("the clip has {len} bytes"),
        )
        .with(
            header::CONTENT_RANGE,
            HeaderValue::try_from(format!("bytes */{len}")).expect("digits are fit for a header"),
        )),
        Parts::Some(parts) => match &parts[..] {
            [part] => {
                let response = Response::builder()
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(header::CONTENT_TYPE, VIDEO_MP4)
                    .header(header::CONTENT_LENGTH, part.end - part.start)
                    .header(header::CONTENT_RANGE, content_range(part, Some(*len)));
                let reading = read(part.start, part.end);
                built(fixed(response, tag), body(reading))
            }
            _ => multipart(entry, &parts, tag, *len, index.is_some()),
        },
    }
}

/// Whether a clip has, or by the footage that is there will have, more bytes than are waited for.
fn will_be_long(known: &Progress, clip: &Clip) -> bool {
    let whole = clip.until.since(clip.from);
    let telling = known.footage >= TELLING_MIN;
    let times = whole.as_secs_f64() / known.footage.as_secs_f64();
    known.readable > WHOLE_BYTES_MAX
        || telling && known.readable as f64 * times > WHOLE_BYTES_MAX as f64
}

/// Headers of a file whose bytes are known.
fn fixed(response: axum::http::response::Builder, tag: &str) -> axum::http::response::Builder {
    response
        .header(header::ETAG, tag)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-cache")
}

fn built(response: axum::http::response::Builder, body: Body) -> Result<Response, Problem> {
    response.body(body).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("headers: {error}"),
        )
    })
}

/// The clip as it comes. That is nothing to seek in.
fn streamed(entry: &Arc<Entry>) -> Response {
    let mut response = Response::new(body(entry.read(0, None)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, VIDEO_MP4);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    response
}

/// The same of a clip that is the same a second time: who got a part of it may come for the rest.
fn tagged(mut response: Response, entry: &Arc<Entry>) -> Response {
    if let Ok(tag) = HeaderValue::from_str(entry.delivery_tag()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A part of a clip that still grows.
fn partial(entry: &Arc<Entry>, part: std::ops::Range<u64>) -> Response {
    let mut response = tagged(streamed(entry), entry);
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    if let Ok(range) = HeaderValue::try_from(content_range(&part, None)) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.body_mut() = body(entry.read(part.start, Some(part.end)));
    response
}

fn content_range(part: &std::ops::Range<u64>, len: Option<u64>) -> String {
    let len = len.map_or_else(|| "*".to_owned(), |len| len.to_string());
    format!("bytes {}-{}/{len}", part.start, part.end - 1)
}

/// Several parts in one answer (RFC 9110 §14.6).
fn multipart(
    entry: &Arc<Entry>,
    parts: &[std::ops::Range<u64>],
    tag: &str,
    len: u64,
    indexed: bool,
) -> Result<Response, Problem> {
    let boundary = format!("{:032x}", random::<u128>());
    let mut pieces: Vec<Slice> = Vec::new();
    let mut length = 0;
    for part in parts {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: {}\r\n\r\n",
            content_range(part, Some(len))
        );
        length += head.len() as u64 + part.end - part.start;
        pieces.push(Slice::Text(head.into()));
        pieces.push(Slice::Part(part.clone()));
    }
    let foot = format!("\r\n--{boundary}--\r\n");
    length += foot.len() as u64;
    pieces.push(Slice::Text(foot.into()));
    let entry = Arc::clone(entry);
    let kind = format!("multipart/byteranges; boundary={boundary}");
    let response = Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_LENGTH, length);
    let all = stream::unfold((pieces.into_iter(), None), move |(mut pieces, reading)| {
        let entry = Arc::clone(&entry);
        async move {
            let mut reading: Option<Reading> = reading;
            loop {
                if let Some(from) = &mut reading {
                    match from.next().await {
                        Some(bytes) => return Some((bytes, (pieces, reading))),
                        None => reading = None,
                    }
                }
                match pieces.next()? {
                    Slice::Text(text) => return Some((Ok(text), (pieces, reading))),
                    Slice::Part(part) if indexed => {
                        reading = Some(entry.read_indexed(part.start, Some(part.end)));
                    }
                    Slice::Part(part) => reading = Some(entry.read(part.start, Some(part.end))),
                }
            }
        }
    });
    built(fixed(response, tag), Body::from_stream(all))
}

/// A piece of an answer in several parts.
enum Slice {
    Text(Bytes),
    Part(std::ops::Range<u64>),
}

fn body(reading: Reading) -> Body {
    Body::from_stream(stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    }))
}

/// What a clip that cannot be made is answered with.
fn check(known: &Progress) -> Result<(), Problem> {
    let Stage::Failed(fault) = &known.stage else {
        return Ok(());
    };
    let text = fault.to_string();
    Err(match fault {
        Fault::Nothing => Problem::not_found(text),
        Fault::TooLong => Problem::bad_request(text),
        Fault::Unreachable | Fault::Abandoned => Problem::unavailable(text, RETRY_AFTER_S),
        Fault::Unfit(_) => Problem::new(StatusCode::NOT_FOUND, text),
        Fault::Disk(_) => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "there is no room for the clip",
        ),
    })
}
