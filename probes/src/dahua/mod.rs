//! Dahua recorders: listed by `mediaFileFind.cgi`, played by the times in the URL, all of them local.
//!
//! A configured `zone` says what local is. Without one the recorder's clock does: then its offset of today, or the rule of this
//! machine's zone where that has the same offset.

mod find;

use std::{sync::Arc, time::Duration};

use seamline_routing::{Coverage, TimeRange};
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
use find::Finder;

/// A recorder that can be asked.
#[derive(Debug)]
pub struct DahuaRecorder {
    device: Arc<Device>,
    face: Face,
    zone: ZoneOf,
    clock: Clock,
}

impl DahuaRecorder {
    /// Checks the URLs and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["rtsp", "zone"])?;
        let device = Device::new(config, Basic::Sealed)?;
        let login = device.login().cloned();
        let zone = ZoneOf::new(config.zone.clone());
        let form = UrlForm {
            playback: "/cam/playback?{camera}&starttime={start:%Y_%m_%d_%H_%M_%S}&endtime={end:%Y_%m_%d_%H_%M_%S}",
            live: "/cam/realmonitor?{camera}",
            named: |remote| {
                let (channel, subtype) = remote.split_once('/').unwrap_or((remote, "0"));
                format!("channel={channel}&subtype={subtype}")
            },
            onvif: false,
        };
        let place = (device.host(), 554);
        let face = Face::by_url(config, place, login, &form, zone.clone(), clock)?;
        Ok(Self {
            device: Arc::new(device),
            face,
            zone,
            clock,
        })
    }

    async fn list(&self, query: &CoverageQuery) -> Result<Coverage, ProbeError> {
        let zone = match self.zone.get() {
            Some(zone) => zone,
            None => Arc::new(self.find_zone().await?),
        };
        let now = self.clock.now();
        let until = monotonic() + BUDGET;
        let recent = (now - RECENT)
            .max(query.window.start())
            .min(query.window.end());
        let mut known = Coverage::unknown();
        // The newest first: the older may be too many pages for one question.
        for (start, end) in [(recent, query.window.end()), (query.window.start(), recent)] {
            let Some(window) = TimeRange::new(start, end) else {
                continue;
            };
            let finder = Finder::create(&self.device).await?;
            let asked = listing::widened(window, now);
            let found = finder.find(&query.remote, asked, &zone, until).await?;
            let Some(found) = found else { continue };
            let last = found.files.iter().map(|file| file.range.end()).max();
            if let Some(last) = last {
                self.face.recorded(&query.remote, last);
            }
            let open = found
                .files
                .iter()
                .any(|file| file.open && Some(file.range.end()) == last);
            let there = found.there.unwrap_or(now);
            let ends_now = last.is_some_and(|last| listing::ends_now(last, there, now));
            let listing = Listing {
                growing: found.whole_to.is_none() && (open || ends_now),
                periods: found.files.into_iter().map(|file| file.range).collect(),
            };
            let whole_to = found.whole_to.map_or(end, |to| to.min(end));
            if let Some(window) = TimeRange::new(start, whole_to) {
                known = listing::coverage(listing, window, &zone, now).merge(&known);
            }
        }
        Ok(known)
    }

    async fn find_zone(&self) -> Result<Zone, ProbeError> {
        let reply = self.device.get(TIME).await?.success(TIME)?;
        let text = String::from_utf8_lossy(&reply.body);
        let shown = text.trim().strip_prefix("result=").map(str::trim);
        let shown = shown.and_then(|shown| shown.parse().ok());
        let now = self.clock.now();
        let offset_s = shown.and_then(|shown| listing::offset_s(shown, now));
        let offset_s =
            offset_s.ok_or_else(|| ProbeError::protocol("getCurrentTime: no usable time"))?;
        let ours = Zone::of_this_machine().filter(|zone| zone.offset_s(now) == offset_s);
        let has_rule = ours.is_some();
        let zone = ours.or_else(|| Zone::fixed(offset_s)).unwrap_or(Zone::UTC);
        if self.zone.learn(zone.clone()) && !has_rule {
            tracing::warn!(
                recorder = self.device.host(),
                offset_s,
                "its clock tells its offset of today only: footage from before clocks were changed is taken with it; set `zone`"
            );
        }
        Ok(zone)
    }

    async fn answers(&self) -> Result<(), ProbeError> {
        self.device.get(TIME).await?.success(TIME).map(drop)
    }
}

impl Recorder for DahuaRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(async move { self.list(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.answers())
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        self.face.describe_listed(remote, self)
    }

    fn media(&self) -> MediaSource {
        self.face.media()
    }
}

const TIME: &str = "/cgi-bin/global.cgi?action=getCurrentTime";
/// A question has this long; what it did not get to is unknown.
const BUDGET: Duration = Duration::from_secs(3);
const RECENT: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests;
