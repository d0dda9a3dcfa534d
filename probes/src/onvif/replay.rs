//! Where a recording is replayed (`GetReplayUri`): asked for each playback, and kept for a short while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use seamline_rtsp::{RtspUrl, url::Credentials};

use super::{
    device::{ANSWER, CallError, Device},
    soap::Service,
};
use crate::xml::Markup;
use crate::{clock::monotonic, recorder::ProbeError, rtsp::RtspSource};

/// The addresses that a device has told.
#[derive(Debug)]
pub(super) struct Addresses {
    credentials: Option<Credentials>,
    /// Of the replay service, where the device names one that does not lead there.
    port: Option<u16>,
    tls: Arc<ClientConfig>,
    told: Mutex<HashMap<Arc<str>, (RtspUrl, Instant)>>,
}

impl Addresses {
    pub(super) fn new(
        credentials: Option<Credentials>,
        port: Option<u16>,
        tls: Arc<ClientConfig>,
    ) -> Self {
        Self {
            credentials,
            port,
            tls,
            told: Mutex::default(),
        }
    }

    /// Where a recording is replayed.
    pub(super) async fn of(
        &self,
        device: &Device,
        token: &Arc<str>,
        fresh: bool,
    ) -> Result<RtspSource, ProbeError> {
        let now = monotonic();
        let known = self.lock().get(token).cloned();
        if let Some((url, at)) = &known
            && !fresh
            && now.saturating_duration_since(*at) < KEPT
        {
            return Ok(self.source(url));
        }
        let url = match ask(device, token).await {
            Ok(text) => self.reachable(&text, device)?,
            Err(error) => {
                // A replay service may live on where the other services do not answer.
                return match (ProbeError::from(error), known) {
                    (
                        ProbeError::Timeout
                        | ProbeError::Unreachable(_)
                        | ProbeError::Refused
                        | ProbeError::Busy,
                        Some((url, _)),
                    ) if !fresh => Ok(self.source(&url)),
                    (error, _) => Err(error),
                };
            }
        };
        let source = self.source(&url);
        let mut told = self.lock();
        if told.len() >= TOLD_MAX {
            told.retain(|_, (_, at)| now.saturating_duration_since(*at) < KEPT);
        }
        if told.len() < TOLD_MAX {
            told.insert(Arc::clone(token), (url, now));
        }
        Ok(source)
    }

    fn source(&self, url: &RtspUrl) -> RtspSource {
        RtspSource::of_camera(url, self.credentials.clone(), Arc::clone(&self.tls))
    }

    /// An address at the host that is dialled: devices behind NAT name one that only they know, and no device chooses
    /// whom we connect to.
    fn reachable(&self, text: &str, device: &Device) -> Result<RtspUrl, ProbeError> {
        let unusable = |why: String| ProbeError::protocol(format!("GetReplayUri: {why}"));
        let mut url = RtspUrl::parse(text).map_err(|error| unusable(error.to_string()))?;
        let scheme = if url.is_secure() { "rtsps" } else { "rtsp" };
        let port = self.port.unwrap_or(url.port());
        let host = if device.trusts_addresses() {
            url.host()
        } else {
            device.host()
        };
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let rest = url
            .as_str()
            .get(scheme.len() + "://".len() + url.authority().len()..);
        let moved = format!("{scheme}://{host}:{port}{}", rest.unwrap_or_default());
        url = RtspUrl::parse(&moved).map_err(|error| unusable(error.to_string()))?;
        Ok(url)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, (RtspUrl, Instant)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(device: &Device, token: &str) -> Result<String, CallError> {
    let request = request(token);
    let answer = device
        .ask(Service::Replay, "GetReplayUri", request, ANSWER)
        .await?;
    let uri = answer.text("Uri").map(str::to_owned);
    Ok(uri.ok_or_else(|| ProbeError::protocol("GetReplayUri: no address"))?)
}

/// RTP in the RTSP connection (ONVIF Replay, `GetReplayUri`).
fn request(token: &str) -> Markup {
    let transport = Markup::node("tt:Transport", [Markup::text("tt:Protocol", "RTSP")]);
    let setup = [Markup::text("tt:Stream", "RTP-Unicast"), transport];
    Markup::node(
        "trp:GetReplayUri",
        [
            Markup::node("trp:StreamSetup", setup),
            Markup::text("trp:RecordingToken", token),
        ],
    )
}

/// Long enough for a playback's seams and seeks, short enough for a device that starts anew.
const KEPT: Duration = Duration::from_secs(60);
const TOLD_MAX: usize = 4_096;
