//! Which recorder has which port here, which cameras it serves, and where else each of them is recorded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use seamline_probes::MediaSource;
use seamline_probes::xprotect::{Site, recorder_url};
use seamline_routing::{CameraId, CopyIx, RecorderId, SiteId};
use seamline_xprotect::configuration::Configuration;
use tokio::sync::Notify;
use url::Url;

use super::cache::Cache;
use super::settings::FaceSettings;
use crate::cameras::{CameraEntry, Cameras};
use crate::clock;

/// How often the sites are asked whether anything changed.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often while it is not known yet where anything is, and the first time because a site did not tell.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often at most because something was met that is not known.
const MET_EVERY: Duration = Duration::from_secs(5);
/// What was met and not explained by a look is a reason for the next one so much later, and twice as much each time: microphones and
/// the like are told of nowhere, and cameras that the house's account may not see.
const SAME_AGAIN: Duration = Duration::from_secs(15);
const SAME_AGAIN_MAX: Duration = Duration::from_secs(600);
/// What was not met for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(1200);
/// Things that were met; behind that no more are reasons, until some are forgotten.
const MET_MAX: usize = 1024;

/// Of a recorder whose address names none.
const RECORDER_PORT: u16 = 7563;

/// The recorders of a face, as far as they are known.
#[derive(Debug, Default)]
pub(in crate::inbound) struct Recorders {
    /// As the settings have the ports.
    ports: ArcSwap<Vec<Option<Arc<Proxied>>>>,
    /// Everything that the primary tells of, also what has no port here.
    primary: ArcSwap<Option<Arc<Configuration>>>,
    /// What was met that is not known.
    met: Mutex<HashMap<String, Met>>,
    told: Notify,
}

/// Something that is not known.
#[derive(Debug)]
struct Met {
    /// The last time.
    at: Instant,
    /// When it was last a reason to look, or looked for with others.
    looked: Instant,
    /// Looks that did not explain it.
    unexplained: u32,
}

impl Met {
    /// How long after a look it is a reason for another.
    fn pause(&self) -> Duration {
        let times = 1_u32.checked_shl(self.unexplained.saturating_sub(1));
        SAME_AGAIN
            .saturating_mul(times.unwrap_or(u32::MAX))
            .min(SAME_AGAIN_MAX)
    }
}

/// A recorder of the primary that has a port here.
#[derive(Debug, Clone)]
pub(in crate::inbound) struct Proxied {
    /// Its GUID.
    pub(in crate::inbound) id: Arc<str>,
    /// Its name for people.
    pub(in crate::inbound) name: Arc<str>,
    /// Where it is; `https` where it wants TLS.
    pub(in crate::inbound) address: Url,
    /// The port that clients are told.
    pub(in crate::inbound) told_port: u16,
    /// Its cameras, by GUID in lower case.
    devices: HashMap<String, Arc<Device>>,
}

/// A camera of a recorder that has a port here.
#[derive(Debug, Clone)]
pub(in crate::inbound) struct Device {
    /// Its GUID at the primary: the one that clients know.
    pub(in crate::inbound) id: Arc<str>,
    /// The camera of the configuration; `None` where it has none: then there is but the primary's copy.
    pub(in crate::inbound) camera: Option<CameraId>,
    /// Where it is recorded by XProtect, as the camera has its copies: the best first.
    pub(in crate::inbound) copies: Vec<CopyAt>,
}

/// A camera's recording at a recorder of XProtect.
#[derive(Debug, Clone)]
pub(in crate::inbound) struct CopyAt {
    /// Its place among the camera's copies, for the index of coverage; `None` where the configuration has no such camera.
    pub(in crate::inbound) ix: Option<CopyIx>,
    /// The `[[recorder]]`.
    pub(in crate::inbound) recorder: RecorderId,
    /// Where it stands.
    pub(in crate::inbound) site: SiteId,
    /// Who we are at its management server.
    pub(in crate::inbound) server: Arc<Site>,
    /// The camera's GUID there.
    pub(in crate::inbound) device: Arc<str>,
    /// Its recording server there; `https` where it wants TLS.
    pub(in crate::inbound) address: Url,
    /// Whether this is the recorder that clients believe to speak to.
    pub(in crate::inbound) is_primary: bool,
    /// How far its clock is ahead of the timeline's, µs, as configured.
    pub(in crate::inbound) clock_offset_us: i64,
}

impl Recorders {
    /// What was known under the settings of before, until the sites are asked again.
    pub(super) fn after(before: &Self, known: &FaceSettings, settings: &FaceSettings) -> Self {
        let ports = settings.ports.iter().map(|port| {
            let mut known = known.ports.iter();
            let ix = known.position(|known| known.recorder == port.recorder)?;
            let known = before.port(ix)?;
            Some(Arc::new(Proxied {
                told_port: port.told_port(),
                ..(*known).clone()
            }))
        });
        Recorders {
            ports: ArcSwap::from_pointee(ports.collect()),
            primary: ArcSwap::from_pointee(before.primary()),
            ..Recorders::default()
        }
    }

    /// The recorder behind a port; `None` while it is not known where it is.
    pub(in crate::inbound) fn port(&self, ix: usize) -> Option<Arc<Proxied>> {
        self.ports.load().get(ix)?.clone()
    }

    /// The recorder with this GUID, where it has a port.
    pub(in crate::inbound) fn by_id(&self, id: &str) -> Option<Arc<Proxied>> {
        let ports = self.ports.load();
        let mut known = ports.iter().flatten();
        known.find(|port| port.id.eq_ignore_ascii_case(id)).cloned()
    }

    /// What the primary tells of all its recorders, to the house.
    pub(in crate::inbound) fn primary(&self) -> Option<Arc<Configuration>> {
        self.primary.load().as_ref().clone()
    }

    /// Asks the sites again, soon: something was met that is not known.
    pub(in crate::inbound) fn look_again(&self, what: &str, now: Instant) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let what = what.to_ascii_lowercase();
        if let Some(known) = met.get_mut(&what) {
            known.at = now;
            if now.saturating_duration_since(known.looked) < known.pause() {
                return;
            }
            known.looked = now;
        } else {
            if met.len() >= MET_MAX {
                met.retain(|_, met| now.saturating_duration_since(met.at) < FORGOTTEN);
            }
            if met.len() >= MET_MAX {
                return;
            }
            let first = Met {
                at: now,
                looked: now,
                unexplained: 0,
            };
            met.insert(what.clone(), first);
        }
        tracing::debug!(what, "not known: the sites are asked");
        self.told.notify_one();
    }

    /// The primary told anew since `began`: that explains what was met before, or nothing does. One look is for all of them.
    fn looked(&self, began: Instant) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.retain(|_, met| began.saturating_duration_since(met.at) < FORGOTTEN);
        for met in met.values_mut().filter(|met| met.looked <= began) {
            met.looked = began;
            met.unexplained = met.unexplained.saturating_add(1);
        }
    }

    /// Asks the sites again where the primary tells a client of a camera that is not known here.
    pub(in crate::inbound) fn compare(&self, told: &Configuration) {
        let Some(known) = self.primary() else {
            return;
        };
        let ids = |configuration: &Configuration| -> Vec<String> {
            let recorders = configuration.recorders.iter();
            let cameras = recorders.flat_map(|recorder| &recorder.cameras);
            cameras
                .map(|camera| camera.id.to_ascii_lowercase())
                .collect()
        };
        let known: std::collections::HashSet<String> = ids(&known).into_iter().collect();
        if let Some(new) = ids(told).iter().find(|id| !known.contains(*id)) {
            self.look_again(new, clock::now());
        }
    }

    /// Keeps this true; never returns.
    pub(super) async fn follow(
        &self,
        settings: &FaceSettings,
        cameras: &Cameras,
        cache: Option<&Cache>,
    ) {
        let (mut fresh, mut seen) = (false, HashMap::new());
        let mut again = LOOK_AGAIN;
        loop {
            let outcome = self.look(settings, cameras, cache, fresh, &mut seen).await;
            let (pause, looked) = (outcome.pause(&mut again), clock::now());
            fresh = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = self.told.notified() => {
                    let since = clock::now().saturating_duration_since(looked);
                    tokio::time::sleep(MET_EVERY.saturating_sub(since)).await;
                    true
                }
            };
        }
    }

    /// Asks all sites of the face once.
    async fn look(
        &self,
        settings: &FaceSettings,
        cameras: &Cameras,
        cache: Option<&Cache>,
        fresh: bool,
        seen: &mut HashMap<RecorderId, Arc<Configuration>>,
    ) -> Look {
        let mut told: HashMap<RecorderId, Arc<Configuration>> = HashMap::new();
        let primary = &settings.primary;
        let (began, mut is_complete) = (clock::now(), false);
        let mut look = Look::Whole;
        for (recorder, server) in servers(settings, cameras) {
            match server.configuration(fresh).await {
                Ok(configuration) => {
                    let before = seen.insert(recorder.clone(), Arc::clone(&configuration));
                    let is_news = before.is_none_or(|before| !Arc::ptr_eq(&before, &configuration));
                    is_complete |= fresh && is_news && recorder == primary.recorder;
                    if let Some(cache) = cache.filter(|_| is_news) {
                        cache.keep_site(&recorder, &configuration).await;
                    }
                    told.insert(recorder, configuration);
                }
                Err(error) => {
                    look = Look::Part;
                    let kept = match cache {
                        Some(cache) => cache.site(&recorder).await,
                        None => None,
                    };
                    tracing::warn!(%recorder, server = %server.server(), %error, cached = kept.is_some(), "XProtect site's configuration");
                    if let Some(kept) = kept {
                        told.insert(recorder, Arc::new(kept));
                    }
                }
            }
        }
        let Some(of_primary) = told.get(&primary.recorder).cloned() else {
            return Look::Nothing;
        };
        let mut ports = Vec::with_capacity(settings.ports.len());
        for port in &settings.ports {
            let found = proxied(settings, &port.recorder, port.told_port(), cameras, &told);
            let found = match found {
                Ok(found) if is_here(&found.address, settings).await => Err(format!(
                    "its address is {}, which is here: let its management server tell this host the recorder's own address (a local IP range)",
                    found.address
                )),
                found => found,
            };
            if let Err(why) = &found {
                tracing::warn!(recorder = port.recorder, server = %primary.server.server(), %why, "XProtect recorder's port");
            }
            ports.push(found.ok().map(Arc::new));
        }
        self.ports.store(Arc::new(ports));
        self.primary.store(Arc::new(Some(of_primary)));
        if is_complete {
            self.looked(began);
        }
        look
    }
}

/// What a look at the sites came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All of them told.
    Whole,
    /// The primary is known, from it or from the cache, and some site did not tell.
    Part,
    /// It is not known where anything is.
    Nothing,
}

impl Look {
    /// When to look again; `again` is for sites that do not tell, and grows.
    fn pause(self, again: &mut Duration) -> Duration {
        match self {
            Look::Whole => {
                *again = LOOK_AGAIN;
                LOOK_EVERY
            }
            Look::Part => {
                let pause = *again;
                *again = (pause * 2).min(LOOK_EVERY);
                pause
            }
            Look::Nothing => LOOK_AGAIN,
        }
    }
}

/// Whether an address leads to one of the face's own ports: management servers tell it where recorders' public addresses are set to
/// this house, and who is asked by that would ask himself.
async fn is_here(address: &Url, settings: &FaceSettings) -> bool {
    let port = address.port_or_known_default().unwrap_or(RECORDER_PORT);
    let mut ports = settings.ports.iter();
    let is_told = ports.any(|known| {
        known.public_port == Some(port) || known.listen.iter().any(|own| own.port() == port)
    });
    let Some(host) = address.host_str().filter(|_| is_told) else {
        return false;
    };
    let is_public = settings.public_host.as_deref();
    if is_public.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
        return true;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(mut found) = tokio::net::lookup_host((host, port)).await else {
        return false;
    };
    found.any(|at| {
        let mut listens = settings.ports.iter().flat_map(|known| &known.listen);
        let is_listened_on = listens
            .any(|own| own.port() == port && (own.ip() == at.ip() || own.ip().is_unspecified()));
        // Only an address of this host can be bound to.
        is_listened_on && std::net::UdpSocket::bind((at.ip(), 0)).is_ok()
    })
}

impl Proxied {
    /// The camera with this GUID.
    pub(in crate::inbound) fn device(&self, id: &str) -> Option<&Arc<Device>> {
        self.devices.get(&id.to_ascii_lowercase())
    }
}

/// Every management server that has a say in a face's cameras, each once.
fn servers(settings: &FaceSettings, cameras: &Cameras) -> Vec<(RecorderId, Arc<Site>)> {
    let primary = &settings.primary;
    let mut found = vec![(primary.recorder.clone(), Arc::clone(&primary.server))];
    for entry in cameras.iter().filter(|entry| is_of(entry, settings)) {
        for (ix, copy) in entry.slot.camera().copies() {
            if let MediaSource::XProtect(server) = entry.media(ix)
                && found.iter().all(|(recorder, _)| *recorder != copy.recorder)
            {
                found.push((copy.recorder.clone(), server));
            }
        }
    }
    found
}

/// Whether a camera is recorded at the primary.
fn is_of(entry: &CameraEntry, settings: &FaceSettings) -> bool {
    let mut copies = entry.slot.camera().copies();
    copies.any(|(_, copy)| copy.recorder == settings.primary.recorder)
}

/// Puts together what is known of a recorder.
fn proxied(
    settings: &FaceSettings,
    name: &str,
    told_port: u16,
    cameras: &Cameras,
    told: &HashMap<RecorderId, Arc<Configuration>>,
) -> Result<Proxied, String> {
    let primary = &settings.primary;
    let of_primary = told
        .get(&primary.recorder)
        .ok_or("the primary is not known")?;
    let recorder = of_primary
        .recorder(name)
        .map_err(|ambiguous| ambiguous.to_string())?
        .ok_or("the primary tells of no such recorder")?;
    let address = recorder_url(&recorder.uri).map_err(|error| error.to_string())?;
    let mut devices: HashMap<String, Arc<Device>> = HashMap::new();
    for camera in &recorder.cameras {
        let copy = CopyAt {
            ix: None,
            recorder: primary.recorder.clone(),
            site: primary.site.clone(),
            server: Arc::clone(&primary.server),
            device: camera.id.as_str().into(),
            address: address.clone(),
            is_primary: true,
            clock_offset_us: 0,
        };
        let device = Device {
            id: camera.id.as_str().into(),
            camera: None,
            copies: vec![copy],
        };
        devices.insert(camera.id.to_ascii_lowercase(), Arc::new(device));
    }
    for entry in cameras.iter().filter(|entry| is_of(entry, settings)) {
        let copies = copies_of(entry, settings, &recorder.id, told);
        // A single site may have both copies: each of them is a camera that clients see.
        for copy in copies.iter().filter(|copy| copy.is_primary) {
            let mut copies = copies.clone();
            for other in &mut copies {
                other.is_primary = other.ix == copy.ix;
            }
            let device = Device {
                id: Arc::clone(&copy.device),
                camera: Some(entry.id().clone()),
                copies,
            };
            devices.insert(copy.device.to_ascii_lowercase(), Arc::new(device));
        }
    }
    Ok(Proxied {
        id: recorder.id.as_str().into(),
        name: recorder.name.as_str().into(),
        address,
        told_port,
        devices,
    })
}

/// The copies of a camera that are at recorders of XProtect and known; primary are those at this recorder of the primary.
fn copies_of(
    entry: &CameraEntry,
    settings: &FaceSettings,
    recorder: &str,
    told: &HashMap<RecorderId, Arc<Configuration>>,
) -> Vec<CopyAt> {
    let copies = entry.slot.camera().copies().filter_map(|(ix, copy)| {
        let MediaSource::XProtect(server) = entry.media(ix) else {
            return None;
        };
        let (holder, camera) = told.get(&copy.recorder)?.camera(&copy.remote).ok()??;
        Some(CopyAt {
            ix: Some(ix),
            recorder: copy.recorder.clone(),
            site: copy.site.clone(),
            server,
            device: camera.id.as_str().into(),
            address: recorder_url(&holder.uri).ok()?,
            is_primary: copy.recorder == settings.primary.recorder
                && holder.id.eq_ignore_ascii_case(recorder),
            clock_offset_us: copy.clock_offset_us,
        })
    });
    copies.collect()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    async fn is_told(recorders: &Recorders) -> bool {
        timeout(Duration::ZERO, recorders.told.notified())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn what_is_met_is_a_reason_to_look_once_in_a_while() {
        let (recorders, now) = (Recorders::default(), clock::now());
        recorders.look_again("A", now);
        assert!(is_told(&recorders).await);
        recorders.look_again("a", now + SAME_AGAIN / 2);
        assert!(!is_told(&recorders).await);
        // Nobody answered.
        recorders.look_again("a", now + SAME_AGAIN);
        assert!(is_told(&recorders).await);
        for what in 0..2 * MET_MAX {
            recorders.look_again(&what.to_string(), now);
        }
        assert!(recorders.met.lock().unwrap().len() <= MET_MAX);
    }

    #[tokio::test]
    async fn what_no_look_explains_is_a_reason_ever_less_often() {
        let (recorders, began) = (Recorders::default(), clock::now());
        let second = Duration::from_secs(1);
        let mut looks = Vec::new();
        // A wall of microphones, each of which is asked for every second, for an hour.
        for tick in 0..3600 {
            let now = began + second * tick;
            for what in 0..50 {
                recorders.look_again(&format!("mic {what}"), now);
            }
            if is_told(&recorders).await {
                recorders.looked(now);
                looks.push(tick);
            }
        }
        assert_eq!(looks[..6], [0, 15, 45, 105, 225, 465]);
        assert!(looks.len() <= 13, "{looks:?}");
        // One that is new is looked for at once, and none is kept for ever.
        let now = began + second * 3600;
        recorders.look_again("camera", now);
        assert!(is_told(&recorders).await);
        recorders.looked(now + FORGOTTEN);
        assert!(recorders.met.lock().unwrap().is_empty());
    }
}
