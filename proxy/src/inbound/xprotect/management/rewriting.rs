//! What one client is told of the management server and the recorders, by the host that it asked for.

use axum::body::Bytes;
use hyper::http::uri::Authority;
use seamline_xprotect::configuration;
use seamline_xprotect::rewrite::{self, RecorderAsked, RecorderTold, Told, host_of};

use super::super::{Face, Neighbour};
use super::Visit;
use super::errand::Errand;
use crate::clock;

impl Visit {
    /// What this client is told of the management server.
    pub(super) fn told(&self, authority: &Authority) -> Told {
        self.face.own.told(&self.face, authority, self.secure)
    }

    /// An answer with our addresses in it; as it was where nothing is to be changed, or where it cannot be read.
    pub(super) fn rewritten(
        &self,
        errand: Errand,
        authority: &Authority,
        path: &str,
        body: Bytes,
    ) -> Bytes {
        let face = &*self.face;
        let told = self.told(authority);
        let server = |scheme: &str, asked: &str| {
            let neighbour = face.neighbour(scheme, asked)?;
            Some(neighbour.told(face, authority, self.secure))
        };
        let recorder = |asked: &RecorderAsked<'_>| face.recorder_told(asked, &told.host);
        let rules = rewrite::Face {
            told: &told,
            server: &server,
            recorder: &recorder,
        };
        // Names in another encoding under a header that says UTF-8 lose their own characters, and nothing else.
        let text = String::from_utf8_lossy(&body);
        let changed = match errand {
            Errand::Soap { .. } => {
                rewrite::soap(&text, &rules, configuration::LIMITS).map_err(|why| why.to_string())
            }
            Errand::Gateway => rewrite::json(&text, &rules).map_err(|why| why.to_string()),
            Errand::Discovery => rewrite::discovery(&text, &rules)
                .map(|(changed, hosts)| {
                    face.own.learn(hosts);
                    changed
                })
                .map_err(|why| why.to_string()),
            Errand::Description => Ok(rewrite::description(&text, &told)),
            Errand::Token | Errand::Other => Ok(None),
        };
        if text.contains("xmlenc#") {
            tracing::warn!(peer = %self.peer, path, "an encrypted answer passes: whatever addresses are in it are not ours");
        }
        match changed {
            Ok(Some(changed)) => changed.into(),
            Ok(None) => body,
            Err(why) => {
                tracing::debug!(peer = %self.peer, path, why, "an answer that is not read passes as it is");
                body
            }
        }
    }
}

impl Face {
    /// The face in front of the server with this scheme and authority.
    pub(super) fn neighbour(&self, scheme: &str, authority: &str) -> Option<&Neighbour> {
        let exact = self
            .neighbours
            .iter()
            .find(|neighbour| neighbour.is_at(scheme, authority));
        if exact.is_some() {
            return exact.map(|neighbour| &**neighbour);
        }
        // By another port, or a name that the server has for itself: only where no other is meant.
        let host = host_of(authority);
        let mut named = self
            .neighbours
            .iter()
            .filter(|neighbour| neighbour.is_called(&host));
        named
            .next()
            .filter(|_| named.next().is_none())
            .map(|neighbour| &**neighbour)
    }

    /// What a client is told of a recorder; `None` of one that has no port here.
    fn recorder_told(&self, asked: &RecorderAsked<'_>, host: &str) -> Option<RecorderTold> {
        let settings = &self.settings;
        let by = |name: Option<&str>| {
            let name = name?;
            let mut ports = settings.ports.iter();
            ports.find(|port| port.recorder.eq_ignore_ascii_case(name))
        };
        let port = by(asked.id)
            .or_else(|| by(asked.name))
            .map(super::super::PortSettings::told_port);
        let port = port.or_else(|| {
            let known = asked.id.and_then(|id| self.recorders.by_id(id));
            known.map(|known| known.told_port)
        });
        if let (None, Some(id)) = (port, asked.id)
            && self.recorders.primary().is_some_and(|primary| {
                let mut known = primary.recorders.iter();
                known.all(|known| !known.id.eq_ignore_ascii_case(id))
            })
        {
            self.recorders.look_again(id, clock::now());
        }
        let port = port?;
        let secure = asked
            .uri
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("https:")
            && self.certificates.is_some();
        Some(RecorderTold {
            scheme: if secure { "https" } else { "http" },
            host: host.to_owned(),
            port,
        })
    }
}
