//! Devices with ONVIF's recording services (Profile G): what they hold by SOAP, footage by RTSP replay.

mod auth;
mod coverage;
mod device;
mod recordings;
mod replay;
mod search;
mod soap;
mod times;
mod transport;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_rtsp::{sdp::Description, url::Credentials};
use tokio::{sync::Semaphore, time::timeout};
use url::Url;

use coverage::Asked;
use device::{CallError, Device, is_refusal_of_call};
use recordings::{Information, Recording};
use replay::Addresses;
use transport::Transport;

use crate::{
    build_error::BuildError,
    clock::{Clock, monotonic},
    http::{Connections, HttpConfig, address, tls},
    recorder::{
        Answer, ClockOffset, CoverageQuery, FormatSpan, MediaSource, ProbeError, Recorder,
        RemoteCamera, ReplayAddresses,
    },
    rtsp::RtspSource,
};

/// A device that can be asked.
#[derive(Debug)]
pub struct OnvifRecorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    device: Device,
    addresses: Addresses,
    clock: Clock,
    /// Devices allow few searches at a time.
    searches: Semaphore,
    recordings: Mutex<Option<(Arc<[Recording]>, Instant)>>,
    /// Some recording's events have shown a gap: so the device tells of them.
    has_shown_gaps: AtomicBool,
    /// The latest listing could tell the bounds of a recording only.
    tells_bounds_only: AtomicBool,
    formats: Mutex<HashMap<Arc<str>, Formats>>,
}

/// What was told of a recording's formats, and when it was asked.
#[derive(Debug)]
struct Formats {
    spans: Arc<[FormatSpan]>,
    asked: Instant,
}

impl OnvifRecorder {
    /// Checks the URL and reads the password.
    pub fn new(config: &HttpConfig, clock: Clock) -> Result<Self, BuildError> {
        config.takes(&["trust_addresses", "rtsp_port"])?;
        let login = config.login()?;
        let credentials = login.as_ref().map(|login| Credentials {
            user: login.username.clone(),
            password: login.password.reveal().to_owned(),
        });
        let entry = entry(&config.url)?;
        let transport = Transport::new(Connections::new(config)?);
        let device = Device::new(entry, login, transport, config.trust_addresses, clock);
        Ok(Self(Arc::new(Inner {
            device,
            addresses: Addresses::new(credentials, config.rtsp_port, Arc::new(tls(config)?)),
            clock,
            searches: Semaphore::new(1),
            recordings: Mutex::default(),
            has_shown_gaps: AtomicBool::new(false),
            tells_bounds_only: AtomicBool::new(false),
            formats: Mutex::default(),
        })))
    }
}

impl Inner {
    async fn coverage(&self, query: CoverageQuery) -> Result<Coverage, ProbeError> {
        // Who waits for long is not served by being asked for once more: it comes back.
        let turn = timeout(TURN, self.searches.acquire()).await;
        let _turn = turn.map_err(|_| ProbeError::Crowded)?;
        let token = self.token(&query.remote).await?;
        let information = match self.device.information(&token).await {
            Ok(information) => information,
            Err(CallError::Fault { operation, fault })
                if fault.kind() == soap::FaultKind::NotFound =>
            {
                return Err(CallError::Fault { operation, fault }.into());
            }
            Err(error) if is_refusal_of_call(&error) => Information::default(),
            Err(error) => return Err(error.into()),
        };
        let now = self.device.now_there();
        let to_the_present = query.window.end() > now;
        let start = query
            .window
            .start()
            .max(information.earliest.unwrap_or(LONG_AGO));
        let Some(window) = TimeRange::new(start, query.window.end().min(now)) else {
            let asked = Asked {
                window: query.window,
                to_the_present,
                now,
                learned: self.clock.now(),
            };
            return Ok(coverage::of_bounds(&information, asked, None));
        };
        let asked = Asked {
            window,
            to_the_present,
            now,
            learned: self.clock.now(),
        };
        let (listed, ()) = tokio::join!(
            self.listed(&token, &information, asked),
            self.learn_formats(&query.remote, &token, &information, now),
        );
        let (coverage, shows_gaps) = listed?;
        self.tells_bounds_only.store(!shows_gaps, Ordering::Relaxed);
        Ok(coverage)
    }

    /// Asks for the formats of a recording, now and then, and for no longer than a listing mostly takes. That of all of it is
    /// told by its description; a change is told here alone.
    async fn learn_formats(
        &self,
        remote: &Arc<str>,
        token: &str,
        information: &Information,
        now: Timestamp,
    ) {
        let asked = monotonic();
        let known = || self.formats.lock().unwrap_or_else(PoisonError::into_inner);
        let recent =
            |formats: &Formats| asked.saturating_duration_since(formats.asked) < FORMATS_KEPT;
        let latest = information.latest.unwrap_or(now).min(now);
        let window = information
            .earliest
            .and_then(|earliest| TimeRange::new(earliest, latest));
        let Some(window) = window.filter(|_| !known().get(remote).is_some_and(recent)) else {
            return;
        };
        let spans = timeout(FORMATS_WITHIN, self.device.formats(token, window)).await;
        let spans = spans.ok().and_then(Result::ok).unwrap_or_default().into();
        let mut known = known();
        if known.len() < FORMATS_MAX || known.contains_key(remote) {
            known.insert(Arc::clone(remote), Formats { spans, asked });
        }
    }

    /// What the device lists by the best way it offers, and whether that shows gaps.
    async fn listed(
        &self,
        token: &str,
        information: &Information,
        asked: Asked,
    ) -> Result<(Coverage, bool), ProbeError> {
        let services = self.device.services().await?;
        if services.lists_segments {
            let wider = TimeRange::new(asked.window.start() - SEGMENT_MAX, asked.window.end());
            let wider = wider.unwrap_or(asked.window);
            match self.device.segments(token, wider, SEARCH).await {
                Ok((segments, until)) => {
                    let listed = coverage::of_segments(&segments, until, information, asked);
                    return Ok((listed, true));
                }
                Err(error) if is_refusal_of_call(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.device.edges(token, asked.window, SEARCH).await {
            Ok(found) => {
                let trusted = self.has_shown_gaps.load(Ordering::Relaxed);
                let told =
                    coverage::of_edges(found.edges, found.complete, information, asked, trusted);
                self.has_shown_gaps
                    .fetch_or(told.shows_gaps, Ordering::Relaxed);
                Ok((told.coverage, trusted || told.shows_gaps))
            }
            Err(CallError::Fault { operation, fault }) if fault.kind() == soap::FaultKind::Busy => {
                Err(CallError::Fault { operation, fault }.into())
            }
            Err(error) if is_refusal_of_call(&error) => {
                tracing::debug!(device = self.device.host(), %error, "no search for events");
                Ok((coverage::of_bounds(information, asked, None), false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The token of the recording that a copy names.
    async fn token(&self, remote: &Arc<str>) -> Result<Arc<str>, ProbeError> {
        let recordings = match self.recordings(RECORDINGS_KEPT).await {
            Ok(recordings) => recordings,
            // What cannot be listed is named by its token.
            Err(error) if is_refusal_of_call(&error) => return Ok(Arc::clone(remote)),
            Err(error) => return Err(error.into()),
        };
        if let Some(token) = find(&recordings, remote)? {
            return Ok(token);
        }
        // One that was added a moment ago.
        let recordings = self.recordings(RECORDINGS_AGAIN).await?;
        find(&recordings, remote)?.ok_or(ProbeError::NotFound)
    }

    /// The device's recordings, as listed no longer ago than `kept`.
    async fn recordings(&self, kept: Duration) -> Result<Arc<[Recording]>, CallError> {
        let known = || {
            self.recordings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let now = monotonic();
        if let Some((recordings, at)) = &*known()
            && now.saturating_duration_since(*at) < kept
        {
            return Ok(Arc::clone(recordings));
        }
        let recordings: Arc<[Recording]> = self.device.recordings().await?.into();
        *known() = Some((Arc::clone(&recordings), now));
        Ok(recordings)
    }

    async fn inventory(&self) -> Result<Vec<RemoteCamera>, ProbeError> {
        let recordings = self.recordings(RECORDINGS_AGAIN).await?;
        let cameras = stream::iter(recordings.iter().take(INVENTORY_MAX).cloned());
        let cameras = cameras.map(|recording| self.listed_camera(recording));
        let cameras: Vec<_> = cameras.buffered(INVENTORY_AT_ONCE).collect().await;
        cameras.into_iter().collect()
    }

    async fn listed_camera(&self, recording: Recording) -> Result<RemoteCamera, ProbeError> {
        let information = match self.device.information(&recording.token).await {
            Ok(information) => information,
            Err(error) if is_refusal_of_call(&error) => Information::default(),
            Err(error) => return Err(error.into()),
        };
        let recorded = information.earliest.zip(information.latest);
        let recorded = recorded.and_then(|(first, last)| TimeRange::new(first, last));
        let codec = match information.latest {
            Some(last) => self.device.codec(&recording.token, last).await?,
            None => None,
        };
        Ok(RemoteCamera {
            remote: recording.token,
            name: recording.name,
            source: recording.source_id,
            address: recording.address,
            location: recording.location,
            format: codec.map(|codec| codec.format.into()),
            recorded,
        })
    }

    async fn source(&self, remote: &Arc<str>, fresh: bool) -> Result<RtspSource, ProbeError> {
        let token = self.token(remote).await?;
        self.addresses.of(&self.device, &token, fresh).await
    }
}

impl Recorder for OnvifRecorder {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn shows_gaps(&self) -> bool {
        !self.0.tells_bounds_only.load(Ordering::Relaxed)
    }

    fn listing_patience(&self) -> Option<Duration> {
        Some(LISTING)
    }

    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(self.0.coverage(query))
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async {
            match self.0.device.ask_clock().await {
                // It lives, and says so in its own way.
                Err(error) if is_refusal_of_call(&error) => Ok(()),
                Err(error) => Err(error.into()),
                Ok(_) => Ok(()),
            }
        })
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        Box::pin(async move {
            let source = self.0.source(&remote, false).await?;
            match source.description(&remote).await {
                Err(ProbeError::NotFound) => {
                    let source = self.0.source(&remote, true).await?;
                    source.description(&remote).await
                }
                answer => answer,
            }
        })
    }

    fn media(&self) -> MediaSource {
        MediaSource::RtspOnRequest(Arc::<Inner>::clone(&self.0))
    }

    fn formats(&self, remote: &str) -> Arc<[FormatSpan]> {
        let known = self
            .0
            .formats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known
            .get(remote)
            .map_or_else(Arc::default, |formats| Arc::clone(&formats.spans))
    }

    fn clock_offset(&self) -> Option<Answer<'_, ClockOffset>> {
        Some(Box::pin(async { Ok(self.0.device.ask_clock().await?) }))
    }

    fn inventory(&self) -> Option<Answer<'_, Vec<RemoteCamera>>> {
        Some(Box::pin(self.0.inventory()))
    }
}

impl ReplayAddresses for Inner {
    fn address(&self, remote: Arc<str>, fresh: bool) -> Answer<'_, RtspSource> {
        Box::pin(async move { self.source(&remote, fresh).await })
    }
}

/// The recording that a name means: by token, else by source id, else by name. Not one of several.
fn find(recordings: &[Recording], remote: &str) -> Result<Option<Arc<str>>, ProbeError> {
    let fields: [Field; 3] = [
        |recording| Some(&recording.token),
        |recording| recording.source_id.as_ref(),
        |recording| recording.name.as_ref(),
    ];
    for field in fields {
        let mut named = recordings
            .iter()
            .filter(|recording| field(recording).is_some_and(|text| &**text == remote));
        match (named.next(), named.next()) {
            (Some(recording), None) => return Ok(Some(Arc::clone(&recording.token))),
            (Some(one), Some(other)) => {
                let (one, other) = (&one.token, &other.token);
                return Err(ProbeError::protocol(format!(
                    "{remote:?} means recording {one:?} and recording {other:?}: name one by its token"
                )));
            }
            (None, _) => {}
        }
    }
    Ok(None)
}

type Field = fn(&Recording) -> Option<&Arc<str>>;

/// The device service that a configured URL means.
fn entry(text: &str) -> Result<Url, BuildError> {
    let mut url = address(text)?;
    if url.path() == "/" {
        url.set_path("/onvif/device_service");
    }
    Ok(url)
}

/// How long what was told of a recording's formats is believed, and how long telling it may take.
const FORMATS_KEPT: Duration = Duration::from_secs(600);
const FORMATS_WITHIN: Duration = Duration::from_secs(1);
const FORMATS_MAX: usize = 4_096;
/// How long a listing may take altogether.
const LISTING: Duration = Duration::from_secs(30);
/// How long the pages of one search are read.
const SEARCH: Duration = Duration::from_secs(20);
/// How long a listing waits for the one before it.
const TURN: Duration = Duration::from_secs(1);
/// Where a search starts for a recording whose first picture is not told.
const LONG_AGO: Timestamp = Timestamp::from_unix_ms(946_684_800_000);
/// Devices that list only the segments that begin in a window have none longer than this.
const SEGMENT_MAX: Duration = Duration::from_secs(3_600);
const RECORDINGS_KEPT: Duration = Duration::from_secs(300);
/// A name that is not known is looked for again, but not with every question.
const RECORDINGS_AGAIN: Duration = Duration::from_secs(10);
const INVENTORY_MAX: usize = 4_096;
const INVENTORY_AT_ONCE: usize = 2;

/// Reads a device's answer as every question would; whether it is one. For those who fuzz it from outside.
#[doc(hidden)]
pub fn read_answer(bytes: &[u8]) -> bool {
    let Ok(answer) = soap::answer(bytes) else {
        return false;
    };
    let _ = times::system_time(&answer);
    let _ = recordings::read_all(&answer);
    true
}

#[cfg(test)]
mod tests;
