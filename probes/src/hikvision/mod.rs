//! Hikvision recorders: listed by ISAPI, played by the times in the URL.
//!
//! The `Z` of their times means UTC or local by firmware. A configured `zone` says which; without one the recorder's own
//! clock and what it lists of the last minutes do, where it is recording.

mod search;
mod time;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::sdp::Description;

use crate::{
    build_error::BuildError,
    clock::{Clock, monotonic},
    http::{Basic, Device, HttpConfig},
    listing::{self, Listing},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    replay::{Face, UrlForm, ZoneOf},
    zone::Zone,
};
use search::{Found, Page};

/// A recorder that can be asked.
#[derive(Debug)]
pub struct HikvisionRecorder {
    device: Device,
    face: Face,
    zone: ZoneOf,
    clock: Clock,
}

impl HikvisionRecorder {
    /// Checks the URLs and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["rtsp", "zone"])?;
        let device = Device::new(config, Basic::Sealed)?;
        let login = device.login().cloned();
        let zone = ZoneOf::new(config.zone.clone());
        let form = UrlForm {
            playback: "/Streaming/tracks/{camera}?starttime={start:%Y%m%dT%H%M%SZ}&endtime={end:%Y%m%dT%H%M%SZ}",
            live: "/Streaming/Channels/{camera}",
            named: |remote| remote.to_owned(),
            onvif: false,
        };
        let place = (device.host(), 554);
        let face = Face::by_url(config, place, login, &form, zone.clone(), clock)?;
        Ok(Self {
            device,
            face,
            zone,
            clock,
        })
    }

    async fn list(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let zone = match self.zone.get() {
            Some(zone) => zone,
            None => match self.find_zone(&query.remote).await? {
                Some(zone) => Arc::new(zone),
                None => return Ok(Coverage::unknown()),
            },
        };
        let now = self.clock.now();
        let until = monotonic() + BUDGET;
        let window = listing::widened(query.window, now);
        // The newest first: the older may be too many pages for one question.
        let recent = (now - RECENT).max(window.start()).min(window.end());
        let mut known = Coverage::unknown();
        for (start, end) in [(recent, query.window.end()), (query.window.start(), recent)] {
            let Some(known_of) = TimeRange::new(start, end) else {
                continue;
            };
            let asked = listing::widened(known_of, now);
            let (listing, whole_to) = self.pages(&query.remote, asked, &zone, until).await?;
            if let Some(last) = listing.periods.iter().map(|period| period.end()).max() {
                self.face.recorded(&query.remote, last);
            }
            let Some(known_of) = TimeRange::new(start, whole_to.map_or(end, |to| to.min(end)))
            else {
                continue;
            };
            let part = listing::coverage(listing, known_of, &zone, now);
            known = part.merge(&known);
        }
        Ok(known)
    }

    /// All pages of a search, or those that there was time for: then up to when they are whole.
    async fn pages(
        &self,
        track: &str,
        window: TimeRange,
        zone: &Zone,
        until: Instant,
    ) -> Result<(Listing, Option<Timestamp>), ProbeError> {
        let mut periods = Vec::new();
        let mut whole_to = None;
        let mut there = self.clock.now();
        let mut position = 0;
        let id = search::id();
        loop {
            let body = search::request(&id, track, window, zone, position);
            let reply = self.device.post_xml(SEARCH, body).await?.success(SEARCH)?;
            there = reply.date.unwrap_or(there);
            let Found { items, page } = search::parse(&reply.body)?;
            position += items.len();
            periods.extend(items.into_iter().filter_map(|item| item.period(zone)));
            let out_of_time = monotonic() >= until || position >= ITEMS_MAX;
            match page {
                Page::More if !out_of_time => {}
                Page::More => {
                    whole_to = periods
                        .iter()
                        .map(|period: &TimeRange| period.start())
                        .max();
                    break;
                }
                Page::Last => break,
            }
        }
        let last = periods.iter().map(|period| period.end()).max();
        let now = self.clock.now();
        let ends_now = last.is_some_and(|last| listing::ends_now(last, there, now));
        let growing = whole_to.is_none() && ends_now;
        Ok((Listing { periods, growing }, whole_to))
    }

    /// Finds out what the recorder's times mean, by its clock and by what it has just recorded.
    async fn find_zone(&self, track: &str) -> Result<Option<Zone>, ProbeError> {
        let reply = self.device.get(TIME).await?.success(TIME)?;
        let now = self.clock.now();
        let local = time::zone(&reply.body, now)?;
        if local.offset_s(now) == 0 && local.repeated(year_around(now)).is_empty() {
            self.zone.learn(Zone::UTC);
            return Ok(Some(Zone::UTC));
        }
        let mut fits = Vec::new();
        for zone in [Zone::UTC, local] {
            let Some(window) = TimeRange::new(now - JUST_NOW, now + AHEAD) else {
                continue;
            };
            let (listing, _) = self
                .pages(track, window, &zone, monotonic() + BUDGET)
                .await?;
            let ends_now =
                |period: &TimeRange| period.end().micros_since(now).unsigned_abs() < NOW_US;
            if listing.periods.iter().any(ends_now) {
                fits.push(zone);
            }
        }
        let [zone] = &fits[..] else {
            tracing::warn!(
                recorder = self.device.host(),
                "its times may be UTC or local, and it records nothing that would tell: set `zone`"
            );
            return Ok(None);
        };
        self.zone.learn(zone.clone());
        Ok(Some(zone.clone()))
    }
}

impl Recorder for HikvisionRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move { self.list(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.device.get(TIME).await?.success(TIME).map(drop) })
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        self.face.describe_listed(remote, self)
    }

    fn media(&self) -> MediaSource {
        self.face.media()
    }
}

fn year_around(now: Timestamp) -> TimeRange {
    let half = Duration::from_secs(183 * 86_400);
    TimeRange::new(now - half, now + half).unwrap_or(TimeRange::ALL)
}

const SEARCH: &str = "/ISAPI/ContentMgmt/search";
const TIME: &str = "/ISAPI/System/time";
/// A question has this long; what it did not get to is unknown.
const BUDGET: Duration = Duration::from_secs(3);
/// Most files of one search.
const ITEMS_MAX: usize = 20_000;
const RECENT: Duration = Duration::from_secs(7 * 86_400);
/// What was recorded just now tells the zone: looked at so far back, and so close to now.
const JUST_NOW: Duration = Duration::from_secs(600);
const AHEAD: Duration = Duration::from_secs(60);
const NOW_US: u64 = 120_000_000;

#[cfg(test)]
mod tests;
