//! A device as SOAP sees it: where its services are, what its clock says, and how it is asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::StatusCode;
use seamline_routing::Timestamp;
use url::Url;

use super::{
    auth::{Keeper, Proof, Shown},
    soap::{self, Fault, FaultKind, Service, SoapError},
    times,
    transport::{Reply, Transport},
};
use crate::xml::{Element, Markup};
use crate::{
    clock::{Clock, monotonic},
    login::Login,
    recorder::{ClockOffset, ProbeError},
};

/// One device.
pub(super) struct Device {
    /// The device service, as configured.
    entry: Url,
    trust_addresses: bool,
    transport: Transport,
    keeper: Keeper,
    clock: Clock,
    services: tokio::sync::Mutex<Option<(Arc<Services>, Instant)>>,
    offset: Mutex<Option<(ClockOffset, Instant)>>,
}

/// What a device offers, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Services {
    pub(super) recording: Option<Url>,
    pub(super) replay: Option<Url>,
    pub(super) search: Option<Url>,
    /// `ListRecordedSegments` answers.
    pub(super) lists_segments: bool,
}

/// Why a question to a device has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The device does not have this service, or this operation.
    #[error("{0} is not offered")]
    NotOffered(&'static str),
    /// It says no.
    #[error("{operation}: {fault}")]
    Fault {
        operation: &'static str,
        fault: Fault,
    },
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

impl From<CallError> for ProbeError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Probe(error) => error,
            CallError::NotOffered(_) => Self::protocol(error.to_string()),
            CallError::Fault { ref fault, .. } => match fault.kind() {
                FaultKind::NotAuthorized => Self::Credentials,
                FaultKind::NotFound => Self::NotFound,
                FaultKind::Busy => Self::Busy,
                FaultKind::NotSupported | FaultKind::Other => Self::protocol(error.to_string()),
            },
        }
    }
}

impl Device {
    pub(super) fn new(
        entry: Url,
        login: Option<Login>,
        transport: Transport,
        trust_addresses: bool,
        clock: Clock,
    ) -> Self {
        Self {
            entry,
            trust_addresses,
            transport,
            keeper: Keeper::new(login),
            clock,
            services: tokio::sync::Mutex::default(),
            offset: Mutex::default(),
        }
    }

    /// The host that is dialled.
    pub(super) fn host(&self) -> &str {
        self.entry.host_str().unwrap_or_default()
    }

    /// Whether the device's word on addresses is taken.
    pub(super) fn trusts_addresses(&self) -> bool {
        self.trust_addresses
    }

    /// Asks one of the services; the credentials are shown when it wants them.
    pub(super) async fn ask(
        &self,
        service: Service,
        operation: &'static str,
        request: Markup,
        within: Duration,
    ) -> Result<Element, CallError> {
        let services = self.services().await?;
        let url = match service {
            Service::Device => Some(&self.entry),
            Service::Recording => services.recording.as_ref(),
            Service::Replay => services.replay.as_ref(),
            Service::Search => services.search.as_ref(),
        };
        let url = url.ok_or(CallError::NotOffered(operation))?;
        self.call(url, service, operation, request, within).await
    }

    /// Where its services are: asked once in a while.
    pub(super) async fn services(&self) -> Result<Arc<Services>, CallError> {
        let mut known = self.services.lock().await;
        let now = monotonic();
        if let Some((services, at)) = &*known
            && now.saturating_duration_since(*at) < SERVICES_KEPT
        {
            return Ok(Arc::clone(services));
        }
        // Tokens carry the device's own time.
        self.fresh_offset().await?;
        let services = Arc::new(self.look_up_services().await?);
        *known = Some((Arc::clone(&services), now));
        Ok(services)
    }

    /// Asks its clock (ONVIF Core, `GetSystemDateAndTime`).
    pub(super) async fn ask_clock(&self) -> Result<ClockOffset, CallError> {
        let (asked, started) = (self.clock.now(), monotonic());
        let request = Markup::node("tds:GetSystemDateAndTime", []);
        let answer = self
            .call(&self.entry, Service::Device, CLOCK, request, ANSWER)
            .await?;
        let now = monotonic();
        let took = now.saturating_duration_since(started);
        let there = times::system_time(&answer)
            .ok_or_else(|| ProbeError::protocol("GetSystemDateAndTime: no time that is known"))?;
        let offset = times::offset(there, asked, took);
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner) = Some((offset, now));
        Ok(offset)
    }

    /// The time by its clock; by ours while that is not known.
    pub(super) fn now_there(&self) -> Timestamp {
        let offset = self.offset().map_or(0, |(offset, _)| offset.micros);
        self.clock.now().shift(offset)
    }

    fn offset(&self) -> Option<(ClockOffset, Instant)> {
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the clock was asked lately. A device that does not tell its time is asked all the same.
    async fn fresh_offset(&self) -> Result<(), CallError> {
        let fresh = |at: Instant| monotonic().saturating_duration_since(at) < OFFSET_KEPT;
        if self.offset().is_some_and(|(_, at)| fresh(at)) {
            return Ok(());
        }
        match self.ask_clock().await {
            Err(error) if !is_refusal_of_call(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn look_up_services(&self) -> Result<Services, CallError> {
        let request = Markup::node(
            "tds:GetServices",
            [Markup::text("tds:IncludeCapability", "false")],
        );
        let answer = self
            .call(&self.entry, Service::Device, "GetServices", request, ANSWER)
            .await;
        let mut services = match answer {
            Ok(answer) => self.listed_services(&answer),
            Err(error) if is_refusal_of_call(&error) => self.old_services().await?,
            Err(error) => return Err(error),
        };
        if let Some(recording) = services.recording.clone() {
            services.lists_segments = self.lists_segments(&recording).await?;
        }
        Ok(services)
    }

    fn listed_services(&self, answer: &Element) -> Services {
        let address = |service: Service| {
            let is = |listed: &&Element| {
                let namespace = listed.text("Namespace").unwrap_or_default();
                namespace.trim_end_matches('/') == service.namespace()
            };
            self.address(answer.all("Service").find(is)?.text("XAddr")?)
        };
        Services {
            recording: address(Service::Recording),
            replay: address(Service::Replay),
            search: address(Service::Search),
            lists_segments: false,
        }
    }

    async fn old_services(&self) -> Result<Services, CallError> {
        let request = Markup::node("tds:GetCapabilities", [Markup::text("tds:Category", "All")]);
        let operation = "GetCapabilities";
        let answer = self
            .call(&self.entry, Service::Device, operation, request, ANSWER)
            .await?;
        let address = |name: &str| {
            let listed = answer.at(&["Capabilities", "Extension", name])?;
            self.address(listed.text("XAddr")?)
        };
        Ok(Services {
            recording: address("Recording"),
            replay: address("Replay"),
            search: address("Search"),
            lists_segments: false,
        })
    }

    async fn lists_segments(&self, recording: &Url) -> Result<bool, CallError> {
        let request = Markup::node("trc:GetServiceCapabilities", []);
        let operation = "GetServiceCapabilities";
        match self
            .call(recording, Service::Recording, operation, request, ANSWER)
            .await
        {
            Ok(answer) => {
                let capabilities = answer.child("Capabilities");
                let exports = capabilities.and_then(|found| found.attribute("SegmentExport"));
                Ok(exports.is_some_and(is_true))
            }
            Err(error) if is_refusal_of_call(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A service's address, at the host that is dialled: devices behind NAT name one that only they know.
    fn address(&self, text: &str) -> Option<Url> {
        let mut address = self.entry.join(text).ok()?;
        if self.trust_addresses {
            let speaks = matches!(address.scheme(), "http" | "https");
            return (speaks && address.has_host()).then_some(address);
        }
        if address.host() != self.entry.host() || address.scheme() != self.entry.scheme() {
            let mut dialled = self.entry.clone();
            dialled.set_path(address.path());
            dialled.set_query(address.query());
            address = dialled;
        }
        let _ = address.set_username("");
        let _ = address.set_password(None);
        Some(address)
    }

    async fn call(
        &self,
        url: &Url,
        service: Service,
        operation: &'static str,
        request: Markup,
        within: Duration,
    ) -> Result<Element, CallError> {
        // Asked before the device's time is known, and open to everybody (ONVIF Core, access classes).
        let mut bare = operation == CLOCK;
        let _alone = if bare {
            None
        } else {
            self.keeper.alone().await
        };
        let action = service.action(operation);
        let mut shown = Shown::default();
        let mut url = url.clone();
        let (mut redirected, mut clock_asked) = (false, operation == CLOCK);
        loop {
            let proof = if bare {
                Proof::Nothing
            } else {
                self.keeper
                    .proof(&path(&url), self.now_there(), monotonic())?
            };
            let (header, token) = match &proof {
                Proof::Nothing => (None, None),
                Proof::Digest(header) => (Some(header.as_str()), None),
                Proof::Token(token) => (None, Some(token.clone())),
            };
            let envelope = Bytes::from(soap::request(request.clone(), token));
            let reply = self
                .transport
                .post(&url, &action, header, envelope, within)
                .await?;
            if reply.status.is_redirection() && !redirected {
                redirected = true;
                url = self.redirection(&url, &reply)?;
                continue;
            }
            let outcome = read(&reply, operation);
            if !wants_other_proof(&reply, &outcome) {
                self.keeper.accepted(&proof);
                return outcome;
            }
            bare = false;
            let now = monotonic();
            let refusal = self
                .keeper
                .refused(&proof, &reply.challenges, &mut shown, now);
            let Err(refusal) = refusal else {
                continue;
            };
            // A token is refused also for its time.
            if matches!(proof, Proof::Token(_)) && !clock_asked {
                clock_asked = true;
                let before = self.offset().map(|(offset, _)| offset.micros);
                let after = Box::pin(self.ask_clock()).await?.micros;
                if before.is_none_or(|before| before.abs_diff(after) > CLOCK_STEP_US) {
                    self.keeper.clock_was_wrong();
                    continue;
                }
            }
            return Err(refusal.into());
        }
    }

    /// Where a redirection leads, when that is the same host.
    fn redirection(&self, from: &Url, reply: &Reply) -> Result<Url, ProbeError> {
        let location = reply.location.as_deref().unwrap_or_default();
        let to = from.join(location).ok();
        to.filter(|to| to.scheme() == self.entry.scheme() && to.host() == self.entry.host())
            .ok_or_else(|| {
                let shown: String = location.chars().take(LOCATION_CHARS_MAX).collect();
                ProbeError::protocol(format!("redirects to {shown:?}, which is not followed"))
            })
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("entry", &self.entry.as_str())
            .finish_non_exhaustive()
    }
}

/// As the request line and the digest have it.
fn path(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Whether the device lives and lets us in, and just does not do this.
pub(super) fn is_refusal_of_call(error: &CallError) -> bool {
    match error {
        CallError::NotOffered(_) | CallError::Probe(ProbeError::Protocol(_)) => true,
        CallError::Fault { fault, .. } => fault.kind() != FaultKind::NotAuthorized,
        CallError::Probe(_) => false,
    }
}

fn read(reply: &Reply, operation: &'static str) -> Result<Element, CallError> {
    // Faults come with 400 and 500, and with 200 from some: the body is what counts.
    match soap::answer(&reply.body) {
        Ok(answer) => Ok(answer),
        Err(SoapError::Fault(fault)) if fault.kind() == FaultKind::NotSupported => {
            Err(CallError::NotOffered(operation))
        }
        Err(SoapError::Fault(fault)) => Err(CallError::Fault { operation, fault }),
        Err(error) => Err(match reply.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProbeError::Credentials,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ProbeError::Busy,
            StatusCode::OK => ProbeError::protocol(format!("{operation}: {error}")),
            status => ProbeError::protocol(format!("{operation}: {status}")),
        }
        .into()),
    }
}

fn wants_other_proof(reply: &Reply, outcome: &Result<Element, CallError>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(CallError::Fault { fault, .. }) if fault.kind() == FaultKind::NotAuthorized => true,
        Err(_) => reply.status == StatusCode::UNAUTHORIZED,
    }
}

/// As XML writes truth.
pub(super) fn is_true(text: &str) -> bool {
    matches!(text.trim(), "true" | "1" | "TRUE" | "True")
}

/// How long a question may take that needs no search.
pub(super) const ANSWER: Duration = Duration::from_secs(4);
/// How long a device's addresses are believed.
const SERVICES_KEPT: Duration = Duration::from_secs(600);
/// How long its clock is taken to go right.
const OFFSET_KEPT: Duration = Duration::from_secs(600);
/// A clock that has moved by this much was set.
const CLOCK_STEP_US: u64 = 5_000_000;
const CLOCK: &str = "GetSystemDateAndTime";
const LOCATION_CHARS_MAX: usize = 80;
