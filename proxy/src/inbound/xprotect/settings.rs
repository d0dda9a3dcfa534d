//! What the operator chose for clients of XProtect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use seamline_probes::xprotect::Site;
use seamline_routing::{RecorderId, SiteId};

use super::cache::Cache;
use super::passes::origin_of;

/// One management server as clients see it here, and the recorders that it tells of.
///
/// A single site is one of these without a secondary, or with the secondary's `[[recorder]]` at the same URL; two sites that know
/// nothing of each other are one with a secondary; parent and child are two of these, each with the other as its secondary.
#[derive(Clone, Debug, PartialEq)]
pub struct FaceSettings {
    /// The management server that is relayed.
    pub primary: Server,
    /// The one at which users log in while the primary is down.
    pub secondary: Option<Server>,
    /// Where clients log in; each speaks HTTP, and HTTPS where there is a certificate.
    pub management: Vec<SocketAddr>,
    /// The host that clients are told; the one that they asked for when not given.
    pub public_host: Option<String>,
    /// The folder of what the primary answered last.
    pub cache: Option<PathBuf>,
    /// Whether users get in while the primary is down; never without a cache.
    pub sessions_while_down: bool,
    /// Whether live pictures come from another site while the primary's recorder is down.
    pub live_failover: bool,
    /// The recorders that have a port here.
    pub ports: Vec<PortSettings>,
}

/// A management server, by the `[[recorder]]` that names it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub recorder: RecorderId,
    /// Where it is.
    pub site: SiteId,
    /// Who we are there.
    pub server: Arc<Site>,
}

/// By name: how a recorder is asked is written at the recorder.
impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.recorder == other.recorder && self.site == other.site
    }
}

/// A recorder of the primary, and its port here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// Where clients connect for it.
    pub listen: Vec<SocketAddr>,
    /// Its GUID or name at the primary.
    pub recorder: String,
    /// The port that clients are told; that of the first of `listen` when not given.
    pub public_port: Option<u16>,
}

/// What a face is bound to while the program runs: its management server's name, and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    primary: RecorderId,
    management: Vec<SocketAddr>,
    recorders: Vec<Vec<SocketAddr>>,
}

impl FaceSettings {
    /// What does not change without a restart.
    pub fn doors(&self) -> Doors {
        Doors {
            primary: self.primary.recorder.clone(),
            management: self.management.clone(),
            recorders: self.ports.iter().map(|port| port.listen.clone()).collect(),
        }
    }

    /// The same, with these as who we are at management servers, by the names of their `[[recorder]]`.
    #[must_use]
    pub fn as_at(mut self, known: impl Fn(&RecorderId) -> Option<Arc<Site>>) -> Self {
        for server in std::iter::once(&mut self.primary).chain(&mut self.secondary) {
            if let Some(known) = known(&server.recorder) {
                server.server = known;
            }
        }
        self
    }

    /// What was answered last, where that is kept.
    pub(super) fn kept(&self) -> Option<Cache> {
        let (folder, origin) = (self.cache.as_ref()?, origin_of(&self.primary.server));
        let cache = Cache::open(folder, &origin);
        if let Err(error) = &cache {
            tracing::warn!(folder = %folder.display(), %error, "nobody gets in while the primary is down");
        }
        cache.ok()
    }
}

impl PortSettings {
    /// The port that clients are told.
    pub fn told_port(&self) -> u16 {
        let first = self.listen.first().map_or(0, SocketAddr::port);
        self.public_port.unwrap_or(first)
    }
}
