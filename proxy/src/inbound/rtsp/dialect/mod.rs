//! Vendors' URLs: a client that was set up for a recorder changes the host, and asks for our camera in the recorder's words.
//!
//! Which camera a vendor's name means is configured: a camera has `aliases` such as `hikvision:101`, and a copy at a
//! recorder of that vendor is one without being written down. The window in the URL beats the client's `Range`, as it does
//! at the recorders themselves.

mod forms;
mod times;

use std::collections::HashMap;

use seamline_probes::zone::{Reading, Zone};
use seamline_routing::camera::CameraId;
use seamline_routing::time::{TimeRange, Timestamp};
use seamline_rtsp::RtspUrl;
use seamline_rtsp::headers::Range;

use super::target::{Target, TargetError, track_of};
use forms::{FORMS, Form, parameter};
use times::{Rules, Written};

/// Vendors' names of our cameras.
#[derive(Clone, Debug, Default)]
pub struct Dialects {
    aliases: HashMap<String, Alias>,
}

/// One of a camera's names in a vendor's URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Ours.
    pub camera: CameraId,
    /// Of the times in its URLs that are local.
    pub zone: Zone,
    /// Whether the `Z` of Hikvision's times means local.
    pub z_is_local: bool,
}

/// The vendors whose URLs are understood, as aliases name them.
pub(crate) fn vendors() -> Vec<&'static str> {
    let mut vendors: Vec<_> = FORMS.iter().map(|form| form.dialect).collect();
    vendors.sort_unstable();
    vendors.dedup();
    vendors
}

impl Dialects {
    /// Adds a name such as `hikvision:101`; the camera that has it already, if one does.
    pub fn insert(&mut self, name: &str, alias: Alias) -> Option<CameraId> {
        let known = self.aliases.insert(name.to_ascii_lowercase(), alias);
        known.map(|alias| alias.camera)
    }

    /// The camera that has a name already.
    pub fn get(&self, name: &str) -> Option<&CameraId> {
        self.aliases
            .get(&name.to_ascii_lowercase())
            .map(|alias| &alias.camera)
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &str) {
        self.aliases.remove(&name.to_ascii_lowercase());
    }

    /// Adds the names of another, which go before those that are there.
    pub fn extend(&mut self, other: Self) {
        self.aliases.extend(other.aliases);
    }

    /// What a vendor's URL asks for; `None` when it is none, or names nothing of ours.
    pub(super) fn target(&self, uri: &str) -> Option<Result<Target, TargetError>> {
        // The common case: nobody asks in another's words.
        if self.aliases.is_empty() {
            return None;
        }
        let url = super::target::url_of(uri).ok()?;
        let mut segments = url.segments()?;
        let track = segments.last().and_then(|segment| track_of(segment));
        if track.is_some() {
            segments.pop();
        }
        FORMS.iter().find_map(|form| {
            let keys = form.keys(&segments, &url)?;
            let mut named = keys.iter();
            let alias = named.find_map(|key| {
                let name = format!("{}:{key}", form.dialect).to_ascii_lowercase();
                self.aliases.get(&name)
            })?;
            Some(read(form, &url, alias).map(|target| Target {
                track: track.or_else(|| track_in_query(&url)),
                ..target
            }))
        })
    }
}

/// The window of a URL.
fn read(form: &Form, url: &RtspUrl, alias: &Alias) -> Result<Target, TargetError> {
    let rules = Rules {
        zone: alias.zone.clone(),
        z_is_local: alias.z_is_local,
    };
    let base = form.base_in(url);
    let time = |names: &[&str]| {
        let Some(text) = names.iter().find_map(|name| parameter(url, name)) else {
            return Ok(None);
        };
        let written = Written::parse(&text).ok_or(TargetError::Time)?;
        Ok(Some(written.read(base, &rules)))
    };
    // Of a time that occurred twice the first is the start and the second the end: more than was asked for, nothing less.
    let mut start = time(form.start)?.map(Reading::earliest);
    let mut end = time(form.end)?.map(Reading::latest);
    if let (Some(start), None, Some(length)) = (start, end, parameter(url, form.length)) {
        let seconds = length
            .parse::<f64>()
            .ok()
            .filter(|length| (0.0..LENGTH_S_MAX).contains(length));
        let seconds = seconds.ok_or(TargetError::Time)?;
        end = Some(start.shift((seconds * 1e6) as i64));
    }
    if let Some(range) = parameter(url, "range") {
        let range = Range::parse(&range).map_err(|_| TargetError::Time)?;
        let Range::Clock {
            start: from,
            end: to,
        } = range
        else {
            return Err(TargetError::Time);
        };
        let time =
            |time: seamline_rtsp::headers::ClockTime| Timestamp::from_micros(time.as_micros());
        (start, end) = (from.map(time).or(start), to.map(time).or(end));
    }
    if let (Some(start), Some(end)) = (start, end)
        && TimeRange::new(start, end).is_none()
    {
        return Err(TargetError::Empty);
    }
    Ok(Target {
        camera: alias.camera.clone(),
        start,
        end,
        track: None,
        pinned: start.is_some(),
        live: form.is_live(url),
        recording: parameter(url, "recordingid"),
    })
}

/// `?starttime=X/trackID=1` is what some clients make of a base with a query.
fn track_in_query(url: &RtspUrl) -> Option<usize> {
    url.query()?.rsplit('/').find_map(track_of)
}

/// Longest length in a URL: a year.
const LENGTH_S_MAX: f64 = 366.0 * 86_400.0;

#[cfg(test)]
mod tests;
