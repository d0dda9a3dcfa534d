//! Who is let in: the recorder that a client means decides, and while that is down, what is known of the user.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seamline_routing::policy::Policy;
use seamline_xprotect::merge::{Facts, SiteFacts};
use seamline_xprotect::relay::ConnectDocument;
use tokio::time::timeout;

use super::super::super::Face;
use super::super::super::passes::Key;
use super::super::super::recorders::{CopyAt, Device, Proxied};
use super::super::leg::{Fail, Leg, Opening};
use super::{ANSWER_WITHIN, Session, answered, is_down, refusal_of};
use crate::clock;
use crate::playing::Client as Played;

/// A recorder that has not let in by then is waited for in the background, where it is known what the user may see.
const OPEN_LATE: Duration = Duration::from_millis(500);

impl Session {
    /// Takes a client's `connect`: the recorder it means decides, and while that is down, what is known of the user.
    pub(in super::super) async fn connect(
        face: Arc<Face>,
        port: &Proxied,
        peer: SocketAddr,
        id: i64,
        document: ConnectDocument,
    ) -> Result<(Self, Bytes), Bytes> {
        let now = clock::now();
        let (wanted, token) = (
            document.pass().device.clone(),
            document.pass().token.clone(),
        );
        let known = port.device(&wanted).cloned();
        let is_known = known.is_some();
        let device = known.unwrap_or_else(|| Arc::new(of_recorder_alone(&face, port, &wanted)));
        let entry = device.camera.as_ref().and_then(|id| face.cameras.get(id));
        let policy = entry
            .as_ref()
            .map_or_else(Policy::default, |entry| entry.policy);
        let home = device
            .copies
            .iter()
            .position(|copy| copy.is_primary)
            .unwrap_or(0);
        let home_us = device
            .copies
            .get(home)
            .map_or(0, |copy| copy.clock_offset_us);
        let legs: Vec<Leg> = device
            .copies
            .iter()
            .map(|copy| Leg::new(copy.clone(), (copy.clock_offset_us - home_us) / 1000))
            .collect();
        let pass = face.passes.pass(&token, now);
        let played = Played {
            peer,
            user: pass
                .as_ref()
                .and_then(|pass| pass.user.as_deref().map(str::to_owned)),
            transport: "xprotect",
        };
        let journal = face.cameras.journal.of(played);
        let mut session = Session {
            opening: Opening {
                document: Arc::new(document),
                pass,
                home: Arc::clone(&face.settings.primary.server),
                reaction: policy.reaction,
                granted: None,
            },
            facts: Facts {
                sites: vec![SiteFacts::default(); legs.len()],
                growing_ms: 0,
            },
            facts_since: now,
            face,
            peer,
            entry,
            policy,
            device,
            home,
            legs,
            replies: Vec::new(),
            failed: Vec::new(),
            place: None,
            last: None,
            codec: None,
            away: false,
            late: None,
            behind: 0,
            journal,
            listed: None,
        };
        let connected = timeout(ANSWER_WITHIN, session.let_in(&token)).await;
        let connected = connected.unwrap_or_else(|_| Err(Refusal::Unreachable));
        match connected {
            Ok(document) => {
                if !is_known {
                    // Its recorder knows it.
                    session.face.recorders.look_again(&wanted, now);
                }
                session.begin();
                Ok((session, answered(&document, id)))
            }
            Err(Refusal::Theirs(document)) => {
                session.face.grants.forget(&token, &wanted);
                tracing::info!(%peer, camera = wanted, recorder = %port.name, "the recorder refuses the camera");
                Err(answered(&document, id))
            }
            Err(refusal) => {
                let reason = match refusal {
                    Refusal::Unknown => {
                        "The recorder cannot be reached, and nothing is known of this user's rights"
                    }
                    _ => "No recorder of this camera can be reached",
                };
                tracing::warn!(%peer, camera = wanted, recorder = %port.name, reason, "connection refused");
                Err(refusal_of(id, "connect", reason))
            }
        }
    }

    async fn let_in(&mut self, token: &str) -> Result<Bytes, Refusal> {
        let now = clock::now();
        let home = self.home;
        let allowed = self.is_allowed(token, now);
        let Some(leg) = self.legs.get_mut(home) else {
            return Err(Refusal::Unreachable);
        };
        // What the house's account opens is opened for those only whose rights are known.
        let key = self.opening.key(&leg.copy);
        if key == Key::Account && !allowed {
            return Err(Refusal::Unknown);
        }
        let is_down = self
            .entry
            .as_ref()
            .is_some_and(|entry| is_down(entry, &leg.copy));
        let is_replaceable = allowed && self.legs.len() > 1;
        if !(is_down && is_replaceable) {
            let Some(leg) = self.legs.get_mut(home) else {
                return Err(Refusal::Unreachable);
            };
            let limit = is_replaceable.then_some(OPEN_LATE);
            match leg.wire_within(limit, &self.opening).await {
                Ok(wire) => {
                    let document = wire.document.clone();
                    self.opening.granted = wire.connected.capabilities;
                    self.face.grants.note(token, &self.device.id, now);
                    return Ok(document);
                }
                Err(Fail::Refused { document, .. }) => return Err(Refusal::Theirs(document)),
                // It is opened in the background: what it says then is heard before the next answer.
                Err(Fail::Late) => {}
                Err(error) => self.lost(home, &error),
            }
        } else if let Some(leg) = self.legs.get_mut(home) {
            leg.failed(now);
        }
        if !allowed {
            return Err(Refusal::Unknown);
        }
        for ix in (0..self.legs.len()).filter(|ix| *ix != home) {
            let Some(leg) = self.legs.get_mut(ix) else {
                continue;
            };
            match leg.wire(&self.opening).await {
                Ok((wire, _)) => {
                    let document = wire.document.clone();
                    self.opening.granted = wire.connected.capabilities;
                    self.away = true;
                    return Ok(document);
                }
                Err(error) => self.lost(ix, &error),
            }
        }
        Err(Refusal::Unreachable)
    }

    /// What is known of its recordings is asked for, if that is old; the playback is listed.
    fn begin(&mut self) {
        let Some(entry) = &self.entry else {
            return;
        };
        let (journal, listed) = self.journal.clone().begin(entry);
        (self.journal, self.listed) = (journal, Some(listed));
        let entry = Arc::clone(entry);
        tokio::spawn(async move { entry.look_up(clock::wall()).await });
    }
}

/// Why a client is not let in.
enum Refusal {
    /// The recorder's own words.
    Theirs(Bytes),
    /// It is down, and nobody knows whether the user may.
    Unknown,
    Unreachable,
}

/// A device that only the recorder itself knows: sound, metadata, a camera without other copies.
fn of_recorder_alone(face: &Face, port: &Proxied, id: &str) -> Device {
    let primary = &face.settings.primary;
    let copy = CopyAt {
        ix: None,
        recorder: primary.recorder.clone(),
        site: primary.site.clone(),
        server: Arc::clone(&primary.server),
        device: id.into(),
        address: port.address.clone(),
        is_primary: true,
        clock_offset_us: 0,
    };
    Device {
        id: id.into(),
        camera: None,
        copies: vec![copy],
    }
}
