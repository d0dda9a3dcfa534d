//! Recorders that offer HLS of what they recorded: a playlist of all of it, or one for the time that its address says.
//!
//! Segments of fragmented MP4 are played. What dates them is `EXT-X-PROGRAM-DATE-TIME`; what it does not date is not used.

mod playlist;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::StatusCode;
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;
use url::Url;

use crate::{
    build_error::BuildError,
    clips::{self, Clip, Clips, Dating, Found},
    clock::{Clock, monotonic},
    http::{Basic, Device, HttpConfig},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    replay::Template,
    zone::Zone,
};
use playlist::{Media, Place, Playlist, Segment};

/// A recorder that can be asked.
#[derive(Debug)]
pub struct HlsRecorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    device: Device,
    /// The playlist's address as configured.
    address: String,
    /// Where it says the time.
    template: Option<Template>,
    zone: Zone,
    clock: Clock,
    known: Mutex<Known>,
}

/// What was asked for a short while ago.
#[derive(Debug, Default)]
struct Known {
    playlists: HashMap<Arc<str>, Arc<Listed>>,
    /// Movie headers.
    headers: HashMap<Place, Bytes>,
    /// Where the footage of each camera ends that was listed.
    recorded: HashMap<Arc<str>, Timestamp>,
}

/// A playlist as it was at an instant.
#[derive(Debug)]
struct Listed {
    media: Media,
    /// Its own address, which others are relative to.
    url: Url,
    /// The time that it is about.
    window: TimeRange,
    asked: Instant,
}

impl HlsRecorder {
    /// Checks the URL and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["zone"])?;
        let device = Device::new(config, Basic::Sealed)?;
        let template = Template::has_times(&config.url)
            .then(|| Template::new(&config.url))
            .transpose()
            .map_err(|error| BuildError::Url {
                url: config.url.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self(Arc::new(Inner {
            device,
            address: config.url.clone(),
            template,
            zone: config.zone.clone().unwrap_or(Zone::UTC),
            clock,
            known: Mutex::default(),
        })))
    }
}

impl Inner {
    async fn coverage(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let listed = self.fetch(&query.remote, query.window).await?;
        let now = self.clock.now();
        // A playlist of all that there is tells also of what was not asked for.
        let window = match self.template {
            Some(_) => listed.window,
            None => TimeRange::ALL,
        };
        let growing = self.grows(&listed.media);
        Ok(Coverage::new(window, listed.media.periods(), now, growing))
    }

    /// Whether recording goes on behind what is listed.
    fn grows(&self, media: &Media) -> bool {
        let near = |end: Timestamp| self.clock.now().since(end) < GROWING_WITHIN;
        (!media.ended || self.template.is_some()) && media.end().is_some_and(near)
    }

    /// Asks for the playlist of a time.
    async fn fetch(&self, remote: &Arc<str>, window: TimeRange) -> Result<Arc<Listed>, ProbeError> {
        let now = self.clock.now();
        let address = match &self.template {
            Some(template) => {
                // Of an open window the end: the rest stays unknown.
                let end = window.end().min(now + AHEAD).max(window.start() + AHEAD);
                let start = window.start().max(end - WINDOW_MAX);
                let start = template.start(start);
                let window = TimeRange::new(start, end).unwrap_or(window);
                (template.text(remote, start, end, &self.zone), window)
            }
            None => (self.address.replace("{camera}", remote), TimeRange::ALL),
        };
        let (address, window) = address;
        let unusable = |error: url::ParseError| ProbeError::protocol(format!("playlist: {error}"));
        let mut url = Url::parse(&address).map_err(unusable)?;
        let mut media = None;
        for _ in 0..PLAYLISTS_MAX {
            let reply = self.device.get(&self.path(&url)?).await?;
            if reply.status == StatusCode::NOT_FOUND && self.template.is_some() {
                // Nothing was recorded then.
                media = Some(Media::default());
                break;
            }
            let reply = reply.success("playlist")?;
            let parsed = playlist::parse(&reply.body)
                .map_err(|error| ProbeError::protocol(format!("playlist: {error}")))?;
            match parsed {
                Playlist::Media(parsed) => {
                    media = Some(parsed);
                    break;
                }
                Playlist::Variants(best) => url = url.join(&best).map_err(unusable)?,
            }
        }
        let media = media.ok_or_else(|| ProbeError::protocol("playlists lead to playlists"))?;
        let listed = Arc::new(Listed {
            media,
            url,
            window,
            asked: monotonic(),
        });
        let mut known = self.known();
        if let Some(end) = listed.media.end() {
            let recorded = known.recorded.entry(Arc::clone(remote)).or_insert(end);
            *recorded = end.max(*recorded);
        }
        known
            .playlists
            .insert(Arc::clone(remote), Arc::clone(&listed));
        Ok(listed)
    }

    /// The playlist that tells of an instant: one that was asked for a short while ago, where that does.
    async fn listed(&self, remote: &Arc<str>, from: Timestamp) -> Result<Arc<Listed>, ProbeError> {
        let known = self.known().playlists.get(remote).cloned();
        if let Some(known) = known {
            let age = monotonic().saturating_duration_since(known.asked);
            let holds = known.media.at(from).is_some() && known.window.contains(from);
            if age < FRESH && holds || age < FRESH_END {
                return Ok(known);
            }
        }
        let window = TimeRange::new(from - AHEAD, from + NEAR);
        self.fetch(remote, window.unwrap_or(TimeRange::ALL)).await
    }

    async fn clip(&self, remote: &Arc<str>, from: Timestamp) -> Result<Found, ProbeError> {
        let listed = self.listed(remote, from).await?;
        let growing = self.grows(&listed.media);
        let Some(segment) = listed.media.at(from) else {
            return Ok(Found::Nothing { growing });
        };
        let header = self.header(&listed, segment).await?;
        let path = self.path_of(&listed, &segment.place)?;
        let body = self.device.stream(&path, segment.place.bytes).await?;
        Ok(Found::Clip(Box::new(Clip {
            header,
            body,
            place: None,
            dating: Dating::First(segment.range.start()),
            ends: segment.range.end(),
            growing: growing && listed.media.end() == Some(segment.range.end()),
        })))
    }

    /// The movie header of a segment.
    async fn header(
        &self,
        listed: &Listed,
        segment: &Segment,
    ) -> Result<Option<Bytes>, ProbeError> {
        if segment.encrypted {
            return Err(ProbeError::protocol("its segments are encrypted"));
        }
        let Some(place) = &segment.header else {
            let name = segment.place.uri.split(['?', '#']).next();
            let kind = name.and_then(|name| name.rsplit_once('.'));
            if kind.is_some_and(|(_, kind)| kind.eq_ignore_ascii_case("ts")) {
                let only = "its segments are MPEG-TS: only fragmented MP4 is played";
                return Err(ProbeError::protocol(only));
            }
            return Ok(None);
        };
        let path = self.path_of(listed, place)?;
        let key = Place {
            uri: path.clone(),
            bytes: place.bytes,
        };
        if let Some(header) = self.known().headers.get(&key) {
            return Ok(Some(header.clone()));
        }
        let body = self.device.stream(&path, place.bytes).await?;
        let header = body.whole(HEADER_BYTES_MAX, "movie header").await?;
        let mut known = self.known();
        if known.headers.len() >= HEADERS_MAX {
            known.headers.clear();
        }
        known.headers.insert(key, header.clone());
        Ok(Some(header))
    }

    fn path_of(&self, listed: &Listed, place: &Place) -> Result<String, ProbeError> {
        let url = listed.url.join(&place.uri);
        let url = url.map_err(|error| ProbeError::protocol(format!("playlist: {error}")))?;
        self.path(&url)
    }

    /// What to ask the recorder for; other hosts than the configured one are not asked.
    fn path(&self, url: &Url) -> Result<String, ProbeError> {
        if url.origin() != self.device.url().origin() {
            let elsewhere = url.host_str().unwrap_or_default();
            return Err(ProbeError::protocol(format!(
                "leads to another place, {elsewhere:?}, which is not followed"
            )));
        }
        Ok(match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        })
    }

    async fn describe(&self, remote: Arc<str>) -> Result<Description, ProbeError> {
        let known = self.known().recorded.get(&remote).copied();
        let end = if let Some(end) = known {
            end
        } else {
            let listed = self.fetch(&remote, TimeRange::ALL).await?;
            listed.media.end().ok_or(ProbeError::NotFound)?
        };
        match self.clip(&remote, end - DESCRIBED).await? {
            Found::Clip(clip) => clips::describe(*clip).await,
            Found::Nothing { .. } => Err(ProbeError::NotFound),
        }
    }

    async fn answers(&self) -> Result<(), ProbeError> {
        // There may be no such page: any answer shows that it lives.
        match self.device.get("/").await?.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProbeError::Credentials),
            _ => Ok(()),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clips for Inner {
    fn clip(&self, remote: Arc<str>, from: Timestamp, _: Option<Timestamp>) -> Answer<'_, Found> {
        Box::pin(async move { self.clip(&remote, from).await })
    }
}

impl Recorder for HlsRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move { self.0.coverage(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.0.answers())
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        Box::pin(self.0.describe(remote))
    }

    fn media(&self) -> MediaSource {
        MediaSource::Clips(Arc::<Inner>::clone(&self.0))
    }
}

/// What a playlist says is recorded; nothing where it is none. For those who fuzz it from outside.
#[doc(hidden)]
pub fn read_playlist(text: &[u8]) -> Vec<TimeRange> {
    match playlist::parse(text) {
        Ok(Playlist::Media(media)) => media.periods(),
        Ok(Playlist::Variants(_)) | Err(_) => Vec::new(),
    }
}

/// Asked for ahead of the wanted start: recorders round.
const AHEAD: Duration = Duration::from_secs(30);
/// What is played next is asked for in playlists of this length, where the address says the time.
const NEAR: Duration = Duration::from_secs(600);
/// The longest time that is asked about at once.
const WINDOW_MAX: Duration = Duration::from_secs(86_400);
const DESCRIBED: Duration = Duration::from_millis(500);
/// How long a playlist counts that holds what is asked for, and one that does not.
const FRESH: Duration = Duration::from_secs(60);
const FRESH_END: Duration = Duration::from_millis(500);
/// A segment is listed when it is whole.
const GROWING_WITHIN: Duration = Duration::from_secs(60);
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 4 << 20;
/// A playlist of playlists, and one of segments.
const PLAYLISTS_MAX: usize = 2;

#[cfg(test)]
mod tests;
