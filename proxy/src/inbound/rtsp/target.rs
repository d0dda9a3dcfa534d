//! What a client's URL names: a camera, a window of time, a track.

use seamline_routing::camera::CameraId;
use seamline_routing::time::{TimeRange, Timestamp};
use seamline_rtsp::RtspUrl;
use seamline_rtsp::headers::ClockTime;

/// A camera, and the window when the URL names one.
///
/// A window may stand in the query (`/gate?start=2026-11-22T10:00:00Z&end=...`) for players that can send no clock range. We
/// answer with the window in the path (`/gate/clock=20261122T100000Z-/`): clients join track names to a base in four
/// different ways, and a query survives none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) camera: CameraId,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
    /// Index of the track, when the URL names one.
    pub(super) track: Option<usize>,
    /// The window was named in a vendor's words: a `Range` of the client's is not heard against it (see
    /// [`super::dialect`]).
    pub(super) pinned: bool,
    /// What the camera sees now.
    pub(super) live: bool,
    /// A vendor's name of a recording, whose window is that recording's.
    pub(super) recording: Option<String>,
}

/// Why a URL cannot be served; the status to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetError {
    /// Not a URL of ours, or a path that no camera can have.
    NotFound,
    /// A time that cannot be read.
    Time,
    /// The end is not after the start.
    Empty,
}

impl TargetError {
    pub(super) fn status(self) -> u16 {
        match self {
            TargetError::NotFound => 404,
            TargetError::Time => 400,
            TargetError::Empty => 457,
        }
    }
}

/// Path element that holds the window.
const WINDOW: &str = "clock=";
/// The same, of a window that no `Range` is heard against.
const PINNED: &str = "only=";
/// Path element of what the camera sees now.
const LIVE: &str = "live=1";

/// Whether a path element is one of ours, so that no camera may be named so.
pub(crate) fn is_reserved(segment: &str) -> bool {
    segment == LIVE
        || segment.contains(TRACK)
        || [WINDOW, PINNED]
            .iter()
            .any(|word| segment.starts_with(word))
}
/// Path element that names a track.
const TRACK: &str = "trackID=";

impl Target {
    /// Reads the URL of a request, absolute or path-only, in any of the forms that clients make of ours.
    pub(super) fn parse(uri: &str) -> Result<Self, TargetError> {
        let url = url_of(uri)?;
        let mut segments = url.segments().ok_or(TargetError::NotFound)?;
        segments.retain(|segment| !segment.is_empty());
        let mut target = Target {
            camera: CameraId::from(""),
            start: None,
            end: None,
            track: None,
            pinned: false,
            live: false,
            recording: None,
        };
        // `rtsp://h/gate?start=X/trackID=1` is what some clients make of a base with a query.
        for (name, value) in url.parameters() {
            let (value, track) = value
                .split_once('/')
                .map_or((value.as_str(), ""), |(value, track)| (value, track));
            target.track = target.track.or(track_of(track));
            match name.to_ascii_lowercase().as_str() {
                "start" | "starttime" => target.start = Some(time(value)?),
                "end" | "endtime" => target.end = Some(time(value)?),
                "live" => target.live = true,
                _ => {}
            }
        }
        if let Some((before, track)) = segments.last().and_then(|segment| joined(segment)) {
            target.track = Some(track);
            segments.pop();
            // Some clients take the slash off the base, and add none.
            segments.extend((!before.is_empty()).then_some(before));
        }
        if segments.last().is_some_and(|segment| segment == LIVE) {
            target.live = true;
            segments.pop();
        }
        let window = segments.last().and_then(|segment| {
            let pinned = segment.strip_prefix(PINNED).map(|window| (window, true));
            pinned.or_else(|| Some((segment.strip_prefix(WINDOW)?, false)))
        });
        if let Some((window, pinned)) = window {
            target.pinned = pinned;
            let (start, end) = window.split_once('-').ok_or(TargetError::Time)?;
            target.start = (!start.is_empty()).then(|| time(start)).transpose()?;
            target.end = (!end.is_empty()).then(|| time(end)).transpose()?;
            segments.pop();
        }
        if segments.is_empty() {
            return Err(TargetError::NotFound);
        }
        if let (Some(start), Some(end)) = (target.start, target.end)
            && TimeRange::new(start, end).is_none()
        {
            return Err(TargetError::Empty);
        }
        target.camera = CameraId::from(segments.join("/").as_str());
        Ok(target)
    }

    /// The path that carries all of it, without slashes at its ends.
    pub(super) fn path(&self) -> String {
        let clock = |at: Option<Timestamp>| at.map(|at| at.clock().to_string()).unwrap_or_default();
        if self.live {
            return format!("{}/{LIVE}", self.camera);
        }
        if self.start.is_none() && self.end.is_none() {
            return self.camera.to_string();
        }
        format!(
            "{}/{}{}-{}",
            self.camera,
            if self.pinned { PINNED } else { WINDOW },
            clock(self.start),
            clock(self.end)
        )
    }

    /// Whether both name the same camera and window, whatever track.
    pub(super) fn same_presentation(&self, other: &Target) -> bool {
        let parts = |target: &Target| (target.start, target.end, target.pinned, target.live);
        self.camera == other.camera && parts(self) == parts(other)
    }
}

/// The URL of a request, absolute or path-only.
pub(super) fn url_of(uri: &str) -> Result<RtspUrl, TargetError> {
    let url = if uri.starts_with('/') {
        RtspUrl::parse(&format!("rtsp://seamline{uri}"))
    } else {
        RtspUrl::parse(uri)
    };
    url.map_err(|_| TargetError::NotFound)
}

/// The name of a track at the end of a path element, and what is before it.
fn joined(segment: &str) -> Option<(String, usize)> {
    let at = segment.rfind(TRACK)?;
    let (before, track) = segment.split_at(at);
    Some((before.to_owned(), track_of(track)?))
}

pub(super) fn track_of(segment: &str) -> Option<usize> {
    segment
        .strip_prefix(TRACK)?
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
}

fn time(text: &str) -> Result<Timestamp, TargetError> {
    ClockTime::parse(text)
        .map(|time| Timestamp::from_micros(time.as_micros()))
        .or_else(|_| Timestamp::parse_iso(text))
        .map_err(|_| TargetError::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Target {
        Target::parse(uri).unwrap()
    }

    #[test]
    fn a_window_in_the_query_moves_into_the_path() {
        let asked =
            target("rtsp://h:554/gate?start=2026-01-01T12:00:00Z&end=2026-01-01T12:01:00.5Z");
        assert_eq!(
            asked.path(),
            "gate/clock=20260101T120000Z-20260101T120100.5Z"
        );
        assert_eq!(target(&format!("rtsp://h/{}/", asked.path())), asked);
    }

    #[test]
    fn every_way_of_joining_the_track_is_read() {
        let plain = target("rtsp://h/north/gate");
        for uri in [
            "rtsp://h/north/gate/trackID=2",
            "/north/gate/trackID=2",
            "rtsp://10.0.0.9/north/gate/trackID=2?x=1",
            "rtsp://h/north/gatetrackID=2",
        ] {
            let joined = target(uri);
            assert_eq!(joined.track, Some(1), "{uri}");
            assert!(joined.same_presentation(&plain), "{uri}");
        }
        let windowed = target("rtsp://h/gate/clock=20260101T120000Z-20260101T120100ZtrackID=1");
        assert_eq!((windowed.track, windowed.end.is_some()), (Some(0), true));
        let joined = target("rtsp://h/gate?start=2026-01-01T12:00:00Z/trackID=1");
        assert_eq!((joined.track, joined.start.is_some()), (Some(0), true));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for uri in [
            "*",
            "",
            "rtsp://h/",
            "rtsp://h/trackID=1",
            "http://h/gate",
            "rtsp://h/../gate",
            "rtsp://h/a%2fb",
        ] {
            assert_eq!(Target::parse(uri), Err(TargetError::NotFound), "{uri}");
        }
        assert_eq!(
            Target::parse("rtsp://h/gate?start=yesterday"),
            Err(TargetError::Time)
        );
        let reversed = "rtsp://h/gate?start=2026-01-01T12:00:00Z&end=2026-01-01T12:00:00Z";
        assert_eq!(Target::parse(reversed), Err(TargetError::Empty));
    }
}
