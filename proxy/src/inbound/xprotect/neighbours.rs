//! The faces of one house as clients are told of them: sites name each other, and each is to be reached by its face.

use std::sync::{Mutex, PoisonError};

use hyper::http::uri::Authority;
use seamline_xprotect::rewrite::{Told, host_of};
use url::Url;

use super::Face;
use super::settings::FaceSettings;

/// Most names of one server.
const HOSTS_MAX: usize = 16;

/// A management server, and where its face is.
#[derive(Debug)]
pub(super) struct Neighbour {
    server: Url,
    /// What it calls itself, besides.
    hosts: Mutex<Vec<String>>,
    public_host: Option<String>,
    http_port: u16,
    https_port: Option<u16>,
}

impl Neighbour {
    pub(super) fn new(settings: &FaceSettings, has_tls: bool) -> Self {
        let ports: Vec<u16> = settings
            .management
            .iter()
            .map(std::net::SocketAddr::port)
            .collect();
        // Every port speaks both; the usual one is the one that clients try.
        let port = |usual: u16| {
            let first = ports.first().copied().unwrap_or(usual);
            if ports.contains(&usual) { usual } else { first }
        };
        Neighbour {
            server: settings.primary.server.server().clone(),
            hosts: Mutex::default(),
            public_host: settings.public_host.clone(),
            http_port: port(80),
            https_port: has_tls.then(|| port(443)),
        }
    }

    /// With what was known of its server before.
    pub(super) fn after(self, before: Option<&Self>) -> Self {
        if let Some(before) = before.filter(|before| before.server == self.server) {
            self.learn(before.lock().clone());
        }
        self
    }

    /// Whether the server is reached there.
    pub(super) fn is_at(&self, scheme: &str, authority: &str) -> bool {
        let asked = Url::parse(&format!("{scheme}://{authority}/"));
        asked.is_ok_and(|asked| {
            asked.host() == self.server.host()
                && asked.port_or_known_default() == self.server.port_or_known_default()
        })
    }

    /// Whether the server has this name, on whatever port.
    pub(super) fn is_called(&self, host: &str) -> bool {
        let configured = self
            .server
            .host_str()
            .is_some_and(|own| own.eq_ignore_ascii_case(host));
        configured || self.lock().iter().any(|own| own == host)
    }

    /// Takes over what the server calls itself.
    pub(super) fn learn(&self, hosts: Vec<String>) {
        let mut known = self.lock();
        for host in hosts {
            if known.len() < HOSTS_MAX && !known.contains(&host) {
                known.push(host);
            }
        }
    }

    /// What a client is told of this server who asked `face` by `authority`.
    pub(super) fn told(&self, face: &Face, authority: &Authority, secure: bool) -> Told {
        let asked = host_of(authority.as_str());
        let host = self.public_host.clone().unwrap_or(asked);
        let own = std::ptr::eq(self, &raw const *face.own);
        let port = match (own, secure, self.https_port) {
            (true, ..) => authority.port_u16(),
            (false, true, Some(443)) | (false, false, _) if secure || self.http_port == 80 => None,
            (false, true, port) => port,
            (false, false, _) => Some(self.http_port),
        };
        Told {
            authority: port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")),
            host,
            secure,
            http_port: self.http_port,
            https_port: self.https_port,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
