//! HLS (RFC 8216bis): any range of a camera as a playlist and segments of fragmented MP4.
//!
//! A playlist is made from what is known of the recordings, in milliseconds also for a day; footage is read when a player asks for a
//! segment. Every segment's name says all that is needed to fill it.

mod cutter;
mod feed;
mod formats;
mod growth;
mod name;
mod nothing;
mod parking;
mod playlist;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use hyper::{StatusCode, Uri};
use seamline_media::{Codec, Entry, Kind};
use seamline_routing::segments::{Content, Segment, segments};
use seamline_routing::{CopyIx, TimeRange, Timestamp};
use seamline_rtsp::sdp::{Media, Track};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::errors::Problem;
use super::gate::Admitted;
use super::service::Face;
use super::times::window;
use crate::access::{Access, LinkKey};
use crate::cameras::CameraEntry;
use crate::clock;
use crate::outbound::parameter_sets;
use formats::{Format, Rate, Seen};
use growth::{Listed, Row};
use name::Name;
use playlist::{Manner, Variant};
use store::NoSegment;

pub(super) use feed::{Feed, NoFeed, Shot};
pub(super) use store::{Store, fits, writer};

/// The routes.
pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new()
        .routes(routes!(index))
        .routes(routes!(media))
        .routes(routes!(segment))
}

/// Longest range of a playlist.
const WINDOW_MAX: Duration = Duration::from_secs(7 * 86_400);
/// What is younger is not listed yet: recorders list footage before they play it, and a border wants a random access point behind it.
const TAIL: Duration = Duration::from_secs(12);
/// A copy whose latest footage is younger goes on being recorded, whatever it says.
const GROWS_WITHIN: Duration = Duration::from_secs(120);
/// Players want a figure before anything was measured: bits a second.
const BANDWIDTH_UNKNOWN: u64 = 4_000_000;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// A stretch of time.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Window {
    /// Where it begins: RFC 3339 with a zone.
    #[param(required = true, format = DateTime, example = "2026-01-01T12:00:00Z")]
    start: Option<String>,
    /// Where it ends, RFC 3339. Without it and without a duration, the playlist grows for as long as the camera is recorded.
    #[param(format = DateTime, example = "2026-01-01T12:00:10Z")]
    end: Option<String>,
    /// How long it is: seconds, or as Go writes a duration, `1m30s`; instead of `end`.
    duration: Option<String>,
    /// `keep` lists holes as gaps, so that the time axis is true; `skip` leaves them out.
    #[param(example = "keep")]
    holes: Option<String>,
}

/// [`Window`], read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    start: Timestamp,
    end: Option<Timestamp>,
    close_holes: bool,
}

impl Window {
    fn read(&self) -> Result<Asked, Problem> {
        let (start, end) = (self.start.as_deref(), self.end.as_deref());
        let (start, end) = window(start, end, self.duration.as_deref(), WINDOW_MAX)?;
        // What a name of a segment can say.
        if start < Timestamp::EPOCH || start.as_unix_ms() >= YEAR_10000_MS {
            return Err(Problem::bad_request("start: before 1970 or after 9999"));
        }
        let close_holes = match self.holes.as_deref() {
            None | Some("keep") => false,
            Some("skip") => true,
            Some(_) => return Err(Problem::bad_request("holes: keep or skip")),
        };
        Ok(Asked {
            start,
            end,
            close_holes,
        })
    }
}

/// 10000-01-01T00:00:00Z.
const YEAR_10000_MS: i64 = 253_402_300_800_000;

/// A multivariant playlist of a camera: what its footage takes to be played, and where its segments are listed.
#[utoipa::path(
    get,
    path = "/hls/{camera}/index.m3u8",
    params(("camera" = String, Path, description = "the camera's id"), Window),
    responses(
        (status = 200, description = "a playlist", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 400, description = "a parameter that means nothing"),
        (status = 404, description = "no such camera, or none whose pictures HLS carries")
    )
)]
async fn index(
    State(face): State<Arc<Face>>,
    uri: Uri,
    headers: HeaderMap,
    admitted: Admitted<Window>,
) -> Result<Response, Problem> {
    admitted.query.read()?;
    let camera = &admitted.camera;
    let tracks = camera
        .describe()
        .await
        .map(|description| description.tracks);
    check(camera)?;
    let seen = seen(&face, camera).await;
    let rate = seen.iter().map(Seen::rate).reduce(Rate::or);
    let variant = variant(
        camera,
        &tracks.unwrap_or_default(),
        rate.unwrap_or_default(),
    );
    let query = uri.query().unwrap_or_default();
    let signed = Links::of(&face, &uri, &headers).map(|links| links.query("media.m3u8", query));
    let query = signed.unwrap_or_else(|| query.to_owned());
    let address = format!("media.m3u8?{query}");
    Ok(playlist(playlist::multivariant(&variant, &address)))
}

/// A media playlist: the segments of a camera's footage.
#[utoipa::path(
    get,
    path = "/hls/{camera}/media.m3u8",
    params(("camera" = String, Path, description = "the camera's id"), Window),
    responses(
        (status = 200, description = "a playlist", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 400, description = "a parameter that means nothing"),
        (status = 404, description = "no such camera, nothing was recorded, or pictures that HLS does not carry")
    )
)]
async fn media(
    State(face): State<Arc<Face>>,
    uri: Uri,
    headers: HeaderMap,
    admitted: Admitted<Window>,
) -> Result<Response, Problem> {
    let asked = admitted.query.read()?;
    let camera = &admitted.camera;
    camera.look_up(asked.start).await;
    check(camera)?;
    let wall = clock::wall();
    let tail = wall - TAIL;
    if let Some(end) = asked.end.filter(|end| *end < tail) {
        camera.look_up(end).await;
    }
    let growing = asked.end.is_none_or(|end| end > tail) && grows(camera, wall);
    let end = match asked.end {
        Some(end) if growing => end.min(tail),
        Some(end) => end,
        None if growing => tail.min(asked.start + WINDOW_MAX),
        None => last_recorded(camera).map_or(tail, |last| last.min(tail)),
    };
    let nothing = || Problem::not_found("no site holds footage of that time");
    let window = TimeRange::new(asked.start, end).ok_or_else(nothing)?;
    if window.duration() > WINDOW_MAX {
        let days = WINDOW_MAX.as_secs() / 86_400;
        return Err(Problem::bad_request(format!(
            "longer than {days} days: name an end"
        )));
    }
    // Those of a playlist that grows are numbered alike by whoever lists them, so that what one process happened to read must not count.
    let seen = if growing || asked.end.is_none() {
        Vec::new()
    } else {
        seen(&face, camera).await
    };
    let mut changes: Vec<(Timestamp, CopyIx)> = Vec::new();
    for ((copy, _), seen) in camera.slot.camera().copies().zip(&seen) {
        changes.extend(seen.changes().map(|at| (at, copy)));
    }
    changes.sort_unstable();
    let row = |segment: Segment| Row {
        segment,
        format: format(camera, &seen, &segment),
    };
    let facts = camera.slot.facts(clock::now());
    let copies = facts.copies(|_| false);
    let planned = segments(window, growing, &copies, &camera.policy, &changes);
    let planned = Listed {
        rows: planned.map(row).collect(),
        independent: face.hls.independent(camera.id()),
        sound: has_sound(camera),
    };
    drop(copies);
    let key = (camera.id().clone(), asked.start, asked.end);
    let (listed, grew) = face.hls.growth.extend(key, growing, planned).await;
    if listed.rows.is_empty() {
        return Err(nothing());
    }
    let links = Links::of(&face, &uri, &headers);
    let query = |name: &str| match &links {
        Some(links) => format!("?{}", links.query(name, "")),
        None => String::new(),
    };
    let manner = Manner {
        event: growing || grew,
        ended: !growing,
        close_holes: asked.close_holes,
        independent: listed.independent,
        sound: listed.sound,
        query: &query,
    };
    let rows = listed.rows.iter().copied();
    Ok(playlist(playlist::media(rows, &manner)))
}

/// A segment or the head of segments, as a playlist names it.
#[utoipa::path(
    get,
    path = "/hls/{camera}/{folder}/{file}",
    params(
        ("camera" = String, Path, description = "the camera's id"),
        ("folder" = String, Path, description = "as the playlist says"),
        ("file" = String, Path, description = "as the playlist says")
    ),
    responses(
        (status = 200, description = "fragmented MP4, the same bytes for ever; without samples where there is no footage", body = Vec<u8>, content_type = "video/mp4"),
        (status = 404, description = "no such camera, no such name, or a time to come"),
        (status = 502, description = "a segment that is larger than any"),
        (status = 503, description = "the sites that hold it cannot be reached"),
        (status = 504, description = "the sites that hold it do not deliver it in time")
    )
)]
async fn segment(
    State(face): State<Arc<Face>>,
    Path(parts): Path<(String, String, String)>,
    admitted: Admitted<Nothing>,
) -> Result<Response, Problem> {
    let camera = &admitted.camera;
    let (_, folder, file) = parts;
    let named = Name::parse(&folder, &file);
    let named = named.ok_or_else(|| Problem::not_found("no name of a segment"))?;
    let has = |copy: CopyIx| copy.index() < camera.slot.camera().copies.len();
    let wall = clock::wall();
    let journal = &admitted.visitor.journal(&face, "http/hls");
    let bytes = match named {
        Name::Footage(piece) if has(piece.copy) && piece.range.end() <= wall => {
            match Box::pin(face.hls.segment(camera, journal, piece)).await {
                Err(NoSegment::Nothing) => return Ok(empty(camera, piece.range.start())),
                told => told,
            }
        }
        Name::Gap(range) if range.end() <= wall => return Ok(empty(camera, range.start())),
        Name::Init { copy, at, sound } if has(copy) && at <= wall => {
            Box::pin(face.hls.init(camera, journal, (copy, sound), at)).await
        }
        Name::Gap(_) | Name::Footage(_) | Name::Init { .. } => Err(NoSegment::Nothing),
    };
    let bytes = bytes.map_err(problem)?;
    let shared = admitted.visitor.name().is_none();
    let cached = if shared {
        "public, max-age=31536000, immutable"
    } else {
        "private, max-age=31536000, immutable"
    };
    Ok(answer("video/mp4", cached, bytes))
}

/// Links for who came by a link: as good as that one, and no longer.
struct Links<'a> {
    access: &'a Access,
    /// The path of the playlist, up to its last slash.
    folder: &'a str,
    expires_s: u64,
}

impl<'a> Links<'a> {
    /// Of an admitted request; `None` for one that brought credentials, or needed none.
    fn of(face: &'a Face, uri: &'a Uri, headers: &HeaderMap) -> Option<Self> {
        let access = &face.cameras.access;
        let by_link = !access.is_open() && !headers.contains_key(AUTHORIZATION);
        let expires_s = by_link
            .then(|| LinkKey::expires_s(uri.query()?))
            .flatten()?;
        let folder = uri.path().rsplit_once('/')?.0;
        Some(Links {
            access,
            folder,
            expires_s,
        })
    }

    /// The signed query of a file beside the playlist.
    fn query(&self, name: &str, query: &str) -> String {
        let path = format!("{}/{name}", self.folder);
        let signed = self.access.link_on(&path, query, self.expires_s);
        signed.unwrap_or_default()
    }
}

/// No parameters.
#[derive(Deserialize)]
struct Nothing {}

fn playlist(text: String) -> Response {
    answer(PLAYLIST, "no-cache", text.into())
}

/// A segment in which nothing was recorded. To be asked for again, as there may be footage that is not known yet.
fn empty(camera: &CameraEntry, at: Timestamp) -> Response {
    let mut copies = camera.slot.camera().copies();
    let track = copies.find_map(|(copy, _)| {
        let description = camera.slot.description(copy)?;
        description
            .tracks
            .iter()
            .position(|track| entry_of(track).is_some())
    });
    answer(
        "video/mp4",
        "no-cache",
        nothing::segment(at, track.unwrap_or(0)),
    )
}

/// Refuses a camera of which all copies that were described have pictures that no HLS carries.
fn check(camera: &CameraEntry) -> Result<(), Problem> {
    let mut described = 0;
    let copies = camera.slot.camera().copies();
    for description in copies.filter_map(|(copy, _)| camera.slot.description(copy)) {
        let mut pictures = description
            .tracks
            .iter()
            .filter(|track| track.media == Media::Video);
        let carried = |track: &Track| {
            matches!(
                Codec::from_encoding(&track.encoding),
                Codec::H264 | Codec::H265
            )
        };
        if pictures.any(carried) {
            return Ok(());
        }
        described += 1;
    }
    if described == 0 {
        return Ok(());
    }
    Err(problem(NoSegment::Codec))
}

fn answer(kind: &'static str, cached: &'static str, body: Bytes) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, cached)], body).into_response()
}

fn problem(why: NoSegment) -> Problem {
    match why {
        NoSegment::Nothing | NoSegment::Codec => Problem::not_found(why.to_string()),
        NoSegment::Outage => Problem::unavailable(why.to_string(), 2),
        NoSegment::Late => Problem::new(StatusCode::GATEWAY_TIMEOUT, why.to_string()),
        NoSegment::Large => Problem::new(StatusCode::BAD_GATEWAY, why.to_string()),
    }
}

/// Whether footage will come that is not there yet, as far as is known.
fn grows(camera: &CameraEntry, wall: Timestamp) -> bool {
    let copies = camera.slot.camera().copies();
    copies.into_iter().any(|(ix, _)| {
        let recorder = camera.slot.recorder(ix);
        let lists = recorder.is_some_and(seamline_probes::RecorderClient::lists_coverage);
        let Some(coverage) = camera.slot.coverage(ix) else {
            return true;
        };
        let young = coverage
            .last()
            .is_some_and(|last| wall.since(last) < GROWS_WITHIN);
        !lists || coverage.growing() || young || coverage.learned() == Timestamp::MIN
    })
}

fn last_recorded(camera: &CameraEntry) -> Option<Timestamp> {
    let copies = camera.slot.camera().copies();
    copies
        .into_iter()
        .filter_map(|(ix, _)| camera.slot.coverage(ix)?.last())
        .max()
}

/// What was seen of each copy, in their order.
async fn seen(face: &Face, camera: &CameraEntry) -> Vec<Seen> {
    let mut all = Vec::new();
    for (copy, _) in camera.slot.camera().copies() {
        all.push(face.hls.formats.seen(camera.id(), copy).await);
    }
    all
}

/// What the head of a segment is for; of no meaning where it holds nothing.
fn format(camera: &CameraEntry, seen: &[Seen], segment: &Segment) -> Format {
    let Content::Footage { copy, .. } = segment.content else {
        return Format {
            copy: CopyIx(0),
            since: Timestamp::MIN,
        };
    };
    let start = segment.range.start();
    let seen = seen.get(copy.index());
    let since = seen.map_or(Timestamp::MIN, |seen| seen.since(start));
    // What a copy announces is one way of coding; of another that it was seen to have, nothing is announced.
    let mut before = (0..copy.0).map(CopyIx);
    let alike = before.find(|other| since == Timestamp::MIN && are_alike(camera, *other, copy));
    Format {
        copy: alike.unwrap_or(copy),
        since,
    }
}

/// Whether two copies announce the same pictures: one decoder plays both.
fn are_alike(camera: &CameraEntry, one: CopyIx, other: CopyIx) -> bool {
    let pictures = |copy| {
        let description = camera.slot.description(copy)?;
        description.tracks.iter().find_map(entry_of)
    };
    let (one, other) = (pictures(one), pictures(other));
    one.is_some() && one == other
}

/// How a track of pictures is coded, where its description says it.
fn entry_of(track: &Track) -> Option<Entry> {
    if track.media != Media::Video {
        return None;
    }
    Entry::of_sets(
        Codec::from_encoding(&track.encoding),
        &parameter_sets(track),
    )
}

/// Whether all copies that were described have sound that HLS carries, and the same. Browsers wait for ever for sound that was
/// promised.
fn has_sound(camera: &CameraEntry) -> bool {
    let copies = camera.slot.camera().copies().map(|(ix, _)| ix);
    let described = copies.filter_map(|copy| camera.slot.description(copy));
    let mut sounds = described.map(|description| description.tracks.iter().find_map(sound_of));
    let Some(Some(first)) = sounds.next() else {
        return false;
    };
    sounds.all(|sound| sound.as_ref() == Some(&first))
}

fn sound_of(track: &Track) -> Option<Kind> {
    if track.media != Media::Audio {
        return None;
    }
    let Track {
        encoding,
        clock_rate,
        channels,
        fmtp,
        ..
    } = track;
    let kind = Kind::of(encoding, *clock_rate, *channels, fmtp)?;
    matches!(kind, Kind::Aac(_) | Kind::Opus).then_some(kind)
}

fn sound_codecs(kind: &Kind) -> String {
    match kind {
        Kind::Aac(aac) => format!("mp4a.40.{}", aac.config.first().map_or(2, |byte| byte >> 3)),
        _ => "opus".to_owned(),
    }
}

fn variant(camera: &CameraEntry, tracks: &[Track], rate: Rate) -> Variant {
    let sound = tracks.iter().find_map(sound_of);
    let sound = sound.filter(|_| has_sound(camera));
    let pictures = tracks.iter().find_map(entry_of);
    Variant {
        size: pictures
            .as_ref()
            .and_then(Entry::size)
            .map(|(width, height)| (width.into(), height.into())),
        codecs: pictures
            .iter()
            .map(Entry::codecs)
            .chain(sound.iter().map(sound_codecs))
            .collect(),
        bandwidth: rate.average().map_or(BANDWIDTH_UNKNOWN, |_| rate.peak),
        average: rate.average(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: &str, end: Option<&str>, duration: Option<&str>) -> Window {
        Window {
            start: Some(start.to_owned()),
            end: end.map(str::to_owned),
            duration: duration.map(str::to_owned),
            holes: None,
        }
    }

    #[test]
    fn windows_are_read_or_refused() {
        let noon = "2026-01-01T12:00:00Z";
        assert_eq!(window(noon, None, None).read().unwrap().end, None);
        assert!(
            window(noon, None, Some("1.5"))
                .read()
                .unwrap()
                .end
                .is_some()
        );
        let hostile = Window {
            holes: Some("maybe".to_owned()),
            ..window(noon, None, None)
        };
        assert!(hostile.read().is_err());
        for hostile in [
            window("0000-01-01T00:00:00Z", None, Some("1")),
            window("1969-12-31T23:59:59Z", None, Some("1")),
            window(noon, None, Some("691200")),
            window(noon, Some("9999-12-31T23:59:59Z"), None),
        ] {
            assert!(hostile.read().is_err(), "{hostile:?}");
        }
    }
}
