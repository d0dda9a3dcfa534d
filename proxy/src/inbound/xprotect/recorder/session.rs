//! One device as one client plays it: its sites, where the client is, and what it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamline_routing::director::Failure;
use seamline_routing::policy::{Failback, Policy};
use seamline_routing::{Coverage, HealthState, Held, Timestamp};
use seamline_xprotect::merge::{Ask, Facts, GAP_MS, Place, Placed, Seek, SiteFacts, resolve};
use seamline_xprotect::relay::{self, ConnectDocument};
use seamline_xprotect::{Answer, Capabilities, Connected, Extras, Method, gbd};
use tokio::time::timeout;

use super::super::Face;
use super::super::passes::{Key, Wish};
use super::super::recorders::{CopyAt, Device, Proxied};
use super::leg::{Fail, Leg, Opening};
use super::reply::Reply;
use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::playing::{Client as Played, Listed};

/// Clients wait ten seconds for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(9);
/// For as long one is tried again that broke off.
const AGAIN_WITHIN: Duration = Duration::from_secs(3);
/// Questions to recorders for one answer.
const QUESTIONS_MAX: usize = 40;
/// What recorders told of units they are done with is believed for so long.
const FACTS_GOOD: Duration = Duration::from_secs(5);
/// Units of one site that are remembered.
const UNITS_MAX: usize = 16;
/// A newest unit that is younger than this is no end: the next one is not written yet.
const TAIL_MS: i64 = 15_000;
/// The answer that was sent last is kept for when nothing newer can be had, where it is not longer.
const LAST_BYTES_MAX: usize = 8 << 20;

/// See the module's text.
pub(super) struct Session {
    face: Arc<Face>,
    peer: SocketAddr,
    device: Arc<Device>,
    entry: Option<Arc<CameraEntry>>,
    policy: Policy,
    opening: Opening,
    /// The leg of the recorder that the client believes to speak to.
    home: usize,
    /// Best first.
    legs: Vec<Leg>,
    granted: Option<Capabilities>,
    facts: Facts,
    facts_since: Instant,
    /// What came for the request at hand.
    replies: Vec<(usize, Reply)>,
    /// Sites that failed while it was answered.
    failed: Vec<usize>,
    place: Option<Place>,
    last: Option<(usize, Placed, Reply)>,
    codec: Option<gbd::Codec>,
    /// A better site was lost: another one goes on until the policy says otherwise.
    away: bool,
    journal: Journal,
    listed: Option<Listed>,
}

/// What becomes of a call.
pub(super) enum Outcome {
    /// An answer.
    Send(Vec<Bytes>),
    /// None is due.
    Nothing,
    /// The client is refused; it may try another device.
    Refuse(Bytes),
    /// The connection ends: there is nothing true to say.
    Close(String),
}

impl Session {
    /// Takes a client's `connect`: the recorder it means decides, and while that is down, what is known of the user.
    pub(super) async fn connect(
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
            granted: None,
            replies: Vec::new(),
            failed: Vec::new(),
            place: None,
            last: None,
            codec: None,
            away: false,
            journal,
            listed: None,
        };
        let connected = timeout(ANSWER_WITHIN, session.let_in(&token)).await;
        let connected = connected.unwrap_or_else(|_| Err(Refusal::Unreachable));
        match connected {
            Ok(document) => {
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
        if !(is_down && allowed && self.legs.len() > 1) {
            let Some(leg) = self.legs.get_mut(home) else {
                return Err(Refusal::Unreachable);
            };
            match leg.wire(&self.opening).await {
                Ok((wire, _)) => {
                    let document = wire.document.clone();
                    self.granted = wire.connected.capabilities;
                    self.face.grants.note(token, &self.device.id, now);
                    return Ok(document);
                }
                Err(Fail::Refused { document, .. }) => return Err(Refusal::Theirs(document)),
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
                    self.granted = wire.connected.capabilities;
                    self.away = true;
                    return Ok(document);
                }
                Err(error) => self.lost(ix, &error),
            }
        }
        Err(Refusal::Unreachable)
    }

    /// Whether the user may see the camera, by what its recorder and its management server said last.
    fn is_allowed(&self, token: &str, now: Instant) -> bool {
        let pass = self.opening.pass.as_ref();
        match pass.and_then(|pass| pass.may(Wish::Play, &self.device.id)) {
            Some(may) => may,
            None => self.face.grants.has(token, &self.device.id, now),
        }
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

    /// Answers a call that is not about live pictures.
    pub(super) async fn answer(&mut self, id: i64, method: &Method, document: &Bytes) -> Outcome {
        let ask = match method {
            Method::Goto { time_ms, .. } => Ask::At(*time_ms),
            Method::Begin => Ask::First,
            Method::End => Ask::Last,
            Method::Next(_) => self.place.map_or(Ask::First, Ask::After),
            Method::Previous(_) => self.place.map_or(Ask::First, Ask::Before),
            Method::NextSequence | Method::PreviousSequence => {
                return self.sequence(id, method, extras_of(method)).await;
            }
            Method::ConnectUpdate(pass) => {
                let token = pass.token.clone();
                return self.update(id, &token, document).await;
            }
            Method::Other(name) if name.eq_ignore_ascii_case("alarms") => {
                return self.alarms(id, document).await;
            }
            Method::Other(name) => {
                let name = name.clone();
                return self.relay(id, &name, document).await;
            }
            // They are no questions, or were seen to before.
            Method::Stop | Method::Connect(_) | Method::Live { .. } => return Outcome::Nothing,
        };
        self.pictures(id, ask, extras_of(method)).await
    }

    pub(super) async fn pictures(&mut self, id: i64, ask: Ask, extras: Extras) -> Outcome {
        let asked = clock::now();
        let found = timeout(ANSWER_WITHIN, self.find(ask, extras)).await;
        match found {
            Ok(found) => self.outcome(id, ask, found, asked),
            Err(_) => Outcome::Close(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        }
    }

    /// What the client gets.
    pub(super) fn outcome(
        &mut self,
        id: i64,
        ask: Ask,
        found: Result<Option<(Placed, Reply)>, End>,
        asked: Instant,
    ) -> Outcome {
        match found {
            Ok(found) => self.send(id, ask, found, asked),
            Err(End::Said(document)) => Outcome::Send(vec![answered(&document, id)]),
            Err(End::Nobody) => Outcome::Close("no site can be reached".to_owned()),
            Err(End::Refused) => {
                Outcome::Close("its recorder does not let it in any more".to_owned())
            }
        }
    }

    fn send(
        &mut self,
        id: i64,
        ask: Ask,
        found: Option<(Placed, Reply)>,
        asked: Instant,
    ) -> Outcome {
        let Some((placed, reply)) = found else {
            // All that can be reached hold nothing.
            let empty = self.replies.iter().find(|(_, reply)| reply.unit.is_none());
            self.place = None;
            return match empty {
                Some((_, reply)) => Outcome::Send(reply.empty(id)),
                None => Outcome::Close("no site can be reached".to_owned()),
            };
        };
        // Nobody who is left has anything behind it: like a recorder at its end, it is sent again.
        let steps_back = match (ask, self.place) {
            (Ask::After(_), Some(place)) => placed.unit.start_ms < place.start_ms,
            (Ask::Before(_), Some(place)) => placed.unit.start_ms > place.start_ms,
            _ => false,
        };
        if steps_back && let Some((_, last, reply)) = &self.last {
            let mut unit = last.unit;
            match ask {
                Ask::After(_) => unit.next_ms = unit.start_ms,
                _ => unit.prev_ms = unit.start_ms,
            }
            return Outcome::Send(reply.written(id, &unit));
        }
        self.note(placed, &reply, asked);
        let sent = reply.written(id, &placed.unit);
        self.place = Some(Place {
            start_ms: placed.unit.start_ms,
            end_ms: placed.unit.end_ms,
        });
        self.last = (reply.bytes() <= LAST_BYTES_MAX).then_some((placed.site, placed, reply));
        Outcome::Send(sent)
    }

    /// What an operator reads of it.
    fn note(&mut self, placed: Placed, reply: &Reply, asked: Instant) {
        let at = self.true_time(placed.unit.start_ms);
        if let Some(listed) = &self.listed {
            listed.at(at);
        }
        let before = self.last.as_ref().map(|(site, ..)| *site);
        if reply.codec.is_some() && self.codec.is_some() && reply.codec != self.codec {
            tracing::warn!(camera = %self.device.id, site = self.site(placed.site), capture = %at, before = ?self.codec, now = ?reply.codec, "the codec changes");
        }
        self.codec = reply.codec.or(self.codec);
        if before == Some(placed.site) {
            return;
        }
        if let Some(listed) = &self.listed {
            listed.from_site(self.site(placed.site));
        }
        let better_lost = self
            .facts
            .sites
            .iter()
            .take(placed.site)
            .any(|site| site.down);
        self.away = better_lost;
        let reason = match (placed.site, better_lost) {
            (_, true) => "better site unreachable",
            (0, _) => "best site holds it",
            _ => "gap at better site",
        };
        if let Some(entry) = &self.entry {
            let from = before.map(|site| self.site(site).to_owned());
            let took = clock::now().saturating_duration_since(asked);
            let to = self.site(placed.site).to_owned();
            self.journal
                .switch(entry, at, from.as_deref(), &to, reason, took);
        }
    }

    /// The unit that is asked for, with its pictures.
    pub(super) async fn find(
        &mut self,
        ask: Ask,
        extras: Extras,
    ) -> Result<Option<(Placed, Reply)>, End> {
        let now = clock::now();
        self.recall(now).await;
        let stays = matches!(ask, Ask::After(_) | Ask::Before(_)) && self.stays(now);
        let back: Vec<usize> = if stays {
            self.better_open()
        } else {
            Vec::new()
        };
        for ix in &back {
            self.down(*ix, true);
        }
        let mut found = self.resolve(ask, extras).await;
        // Nobody else holds what is asked for: one that broke off may have done so this once.
        let misses = match &found {
            Ok(found) => found.as_ref().is_none_or(|(placed, _)| misses(ask, placed)),
            Err(End::Nobody) => true,
            Err(_) => false,
        };
        let again = std::mem::take(&mut self.failed);
        if misses && !again.is_empty() {
            for ix in again {
                self.down(ix, self.legs.get(ix).is_none_or(Leg::is_barred));
            }
            let again = timeout(AGAIN_WITHIN, self.resolve(ask, extras)).await;
            found = again.unwrap_or(found);
        }
        let mut found = found?;
        let ends = found.as_ref().is_none_or(|(placed, _)| match ask {
            Ask::After(_) => placed.unit.is_last(),
            _ => placed.unit.is_first(),
        });
        if !back.is_empty() && ends {
            for ix in &back {
                self.down(*ix, false);
            }
            found = self.resolve(ask, extras).await?;
        }
        if let Some((placed, _)) = &found {
            self.look_ahead(*placed).await;
        }
        Ok(found)
    }

    async fn resolve(&mut self, ask: Ask, extras: Extras) -> Result<Option<(Placed, Reply)>, End> {
        for _ in 0..QUESTIONS_MAX {
            let (site, seek) = match resolve(ask, &self.facts) {
                Ok(None) if self.facts.sites.iter().all(|site| site.down) => {
                    return Err(End::Nobody);
                }
                Ok(None) => return Ok(None),
                Ok(Some(placed)) => {
                    let start_ms = placed.unit.start_ms;
                    let here = self.replies.iter().position(|(site, reply)| {
                        *site == placed.site
                            && reply.unit.is_some_and(|unit| unit.start_ms == start_ms)
                    });
                    if let Some(here) = here {
                        let (_, reply) = self.replies.swap_remove(here);
                        return Ok(Some((placed, reply)));
                    }
                    (placed.site, Seek::At(start_ms))
                }
                Err(need) => (need.site, need.seek),
            };
            self.ask(site, seek, extras).await?;
        }
        tracing::warn!(peer = %self.peer, camera = %self.device.id, ?ask, "recorders contradict themselves");
        Err(End::Nobody)
    }

    /// Asks a site; when it fails, that is noted.
    async fn ask(&mut self, site: usize, seek: Seek, extras: Extras) -> Result<(), End> {
        let Some(facts) = self.facts.sites.get(site) else {
            return Err(End::Nobody);
        };
        let near = match seek {
            Seek::At(at_ms) => facts
                .units
                .iter()
                .find(|unit| unit.next_ms == at_ms || unit.prev_ms == at_ms)
                .copied(),
            Seek::First | Seek::Last => None,
        };
        let outcome = self.ask_leg(site, seek, near, extras).await;
        match outcome {
            Ok(reply) => {
                if let Some(facts) = self.facts.sites.get_mut(site) {
                    match reply.unit {
                        Some(unit) => facts.learn(unit),
                        None => facts.empty = true,
                    }
                }
                self.replies.push((site, reply));
                Ok(())
            }
            Err(Fail::Refused { reason, .. }) if site == self.home => {
                tracing::info!(peer = %self.peer, camera = %self.device.id, reason, "the recorder does not let the client in any more");
                self.face
                    .grants
                    .forget(&self.opening.document.pass().token, &self.device.id);
                Err(End::Refused)
            }
            Err(Fail::Said { reason, document })
                if site == self.home && is_about_rights(&reason) =>
            {
                Err(End::Said(document))
            }
            Err(error) => {
                self.lost(site, &error);
                Ok(())
            }
        }
    }

    async fn ask_leg(
        &mut self,
        site: usize,
        seek: Seek,
        near: Option<seamline_xprotect::merge::Unit>,
        extras: Extras,
    ) -> Result<Reply, Fail> {
        let Some(leg) = self.legs.get_mut(site) else {
            return Err(Fail::Barred("no such site".to_owned()));
        };
        let (wire, _) = leg.wire(&self.opening).await?;
        if let (Some(granted), Some(theirs)) = (self.granted, wire.connected.capabilities)
            && lacks(theirs, granted)
        {
            let why = "it lacks what the client was promised".to_owned();
            leg.bar(why.clone());
            return Err(Fail::Barred(why));
        }
        leg.seek(seek, near, extras, &self.opening).await
    }

    /// A site failed: for this answer it counts as one that holds nothing.
    fn lost(&mut self, site: usize, error: &Fail) {
        let now = clock::now();
        self.down(site, true);
        self.failed.push(site);
        self.replies.retain(|(of, _)| *of != site);
        let Some(leg) = self.legs.get_mut(site) else {
            return;
        };
        let failure = match error {
            Fail::Lost(_) => Some(Failure::Lost),
            Fail::Wrong(_) | Fail::Said { .. } => Some(Failure::WrongFootage),
            Fail::Refused { .. } | Fail::Barred(_) => None,
        };
        match error {
            Fail::Refused { reason, .. } => leg.bar(reason.clone()),
            Fail::Barred(_) => {}
            _ => leg.failed(now),
        }
        let (ix, at) = (leg.copy.ix, self.place.map_or(0, |place| place.start_ms));
        let at = self.true_time(at);
        match (&self.entry, ix) {
            (Some(entry), Some(ix)) => {
                self.journal
                    .leg_failed(entry, entry.site(ix), at, &error.to_string());
                if let Some(failure) = failure {
                    entry.report_failure(ix, failure, now);
                }
            }
            _ => {
                tracing::warn!(camera = %self.device.id, site = self.site(site), %error, "recorder failed");
            }
        }
    }

    fn down(&mut self, site: usize, down: bool) {
        if let Some(facts) = self.facts.sites.get_mut(site) {
            facts.down = down;
        }
    }

    /// What may still be believed at the beginning of a request; who is asked.
    pub(super) async fn recall(&mut self, now: Instant) {
        self.replies.clear();
        self.failed.clear();
        let is_old = now.saturating_duration_since(self.facts_since) > FACTS_GOOD;
        if is_old {
            self.facts_since = now;
        }
        let growing = clock::wall().as_unix_ms() - TAIL_MS;
        self.facts.growing_ms = growing + self.home_us() / 1000;
        let mut all_down = true;
        for ix in 0..self.legs.len() {
            let listed = self.listing(ix);
            let (Some(leg), Some(facts)) = (self.legs.get_mut(ix), self.facts.sites.get_mut(ix))
            else {
                continue;
            };
            facts.empty = false;
            if is_old {
                facts.units.clear();
            }
            // The ends of a recording move.
            facts
                .units
                .retain(|unit| !unit.is_first() && !unit.is_last());
            let too_many = facts.units.len().saturating_sub(UNITS_MAX);
            facts.units.drain(..too_many);
            facts.listed = listed;
            let rests = self
                .entry
                .as_ref()
                .is_some_and(|entry| is_down(entry, &leg.copy));
            if !leg.is_up(now) || rests && !leg.is_open() {
                leg.prepare(&self.opening, now).await;
            }
            facts.down = !leg.is_open() && (rests || !leg.is_up(now));
            all_down &= facts.down;
        }
        if all_down {
            // Nobody is known to answer: whoever does is welcome.
            for (leg, facts) in self.legs.iter().zip(&mut self.facts.sites) {
                facts.down = leg.is_barred();
            }
        }
    }

    /// Whether a step goes on at the site that took over, although a better one is back.
    fn stays(&self, now: Instant) -> bool {
        self.away
            && match self.policy.failback {
                Failback::Never | Failback::AtSeam => true,
                Failback::After(healthy) => self.better_open().iter().any(|ix| {
                    let back = self.legs.get(*ix).and_then(|leg| leg.back_for(now));
                    back.is_some_and(|back| back < healthy)
                }),
            }
    }

    /// Better sites than the last one that could be asked.
    fn better_open(&self) -> Vec<usize> {
        let last = self.last.as_ref().map_or(0, |(site, ..)| *site);
        let open = |ix: &usize| self.legs.get(*ix).is_some_and(Leg::is_open);
        (0..last).filter(open).collect()
    }

    /// Opens the site that is needed next before it is.
    async fn look_ahead(&mut self, placed: Placed) {
        let at = Timestamp::from_unix_ms(placed.unit.start_ms);
        let ends = self
            .facts
            .sites
            .get(placed.site)
            .and_then(|site| site.listed.as_ref());
        let soon = match ends.map(|listed| listed.held(at)) {
            Some(Held::Recorded { until }) => {
                until.micros_since(at) < self.policy.prefetch.as_micros() as i64
            }
            Some(Held::Gap { .. }) => true,
            _ => false,
        };
        if !soon {
            return;
        }
        let now = clock::now();
        for (ix, leg) in self.legs.iter_mut().enumerate() {
            if ix != placed.site && !leg.is_open() && leg.is_up(now) {
                leg.prepare(&self.opening, now).await;
            }
        }
    }

    /// Another token of the client's.
    async fn update(&mut self, id: i64, token: &str, document: &Bytes) -> Outcome {
        let now = clock::now();
        let pass = self.face.passes.pass(token, now);
        let home = self.home;
        let own = self
            .legs
            .get(home)
            .is_some_and(|leg| matches!(self.opening.key(&leg.copy), Key::Own(_)));
        let asked = match self.legs.get_mut(home) {
            Some(leg) if own && leg.is_open() => {
                let asked = leg.wire(&self.opening).await;
                match asked {
                    Ok((wire, _)) => {
                        let number = wire.server.number();
                        match relay::numbered(document, number) {
                            Ok(asked) => Some(wire.document(&asked, self.policy.reaction).await),
                            Err(error) => return Outcome::Close(error.to_string()),
                        }
                    }
                    Err(error) => Some(Err(error)),
                }
            }
            _ => None,
        };
        let accepted = match &asked {
            Some(Ok(answer)) => {
                matches!(Answer::parse(answer), Ok(Answer::Connected(connected)) if connected.accepted)
            }
            Some(Err(error)) => {
                let error = error.clone();
                self.lost(home, &error);
                self.is_known(pass.as_deref(), token, now)
            }
            None => self.is_known(pass.as_deref(), token, now),
        };
        if accepted {
            if matches!(asked, Some(Ok(_))) {
                self.face.grants.note(token, &self.device.id, now);
            }
            self.opening.document = Arc::new(self.opening.document.renewed(token));
            self.opening.pass = pass;
        }
        match asked {
            Some(Ok(answer)) => Outcome::Send(vec![answered(&answer, id)]),
            _ if accepted => Outcome::Send(vec![said(&Answer::Connected(Connected {
                request_id: id,
                method: "connectupdate".to_owned(),
                accepted: true,
                reason: Some("Success".to_owned()),
                ..Connected::default()
            }))]),
            _ => Outcome::Send(vec![refusal_of(
                id,
                "connectupdate",
                "The token is not known",
            )]),
        }
    }

    /// Whether a token may go on that no recorder can be asked about.
    fn is_known(
        &self,
        pass: Option<&super::super::passes::Pass>,
        token: &str,
        now: Instant,
    ) -> bool {
        let may = pass.and_then(|pass| pass.may(Wish::Play, &self.device.id));
        may.unwrap_or_else(|| self.face.grants.has(token, &self.device.id, now))
            || token == self.opening.document.pass().token
    }

    /// What nobody here knows goes to the recorder that the client means.
    async fn relay(&mut self, id: i64, name: &str, document: &Bytes) -> Outcome {
        match self.document_of(self.home, document, &[]).await {
            Ok(answer) => Outcome::Send(vec![answered(&answer, id)]),
            Err(Fail::Refused { .. }) => {
                Outcome::Close("its recorder does not let it in any more".to_owned())
            }
            Err(error) => {
                let home = self.home;
                self.lost(home, &error);
                Outcome::Send(vec![said(&Answer::Other {
                    request_id: id,
                    method: name.to_owned(),
                    reason: Some("The recorder cannot be reached".to_owned()),
                })])
            }
        }
    }

    /// A site's document as an answer to a client's.
    pub(super) async fn document_of(
        &mut self,
        site: usize,
        document: &[u8],
        texts: &[(&'static str, String)],
    ) -> Result<Bytes, Fail> {
        let reaction = self.policy.reaction;
        let Some(leg) = self.legs.get_mut(site) else {
            return Err(Fail::Barred("no such site".to_owned()));
        };
        loop {
            let (wire, was_there) = leg.wire(&self.opening).await?;
            let number = wire.server.number();
            let mut texts = texts.to_vec();
            texts.push(("requestid", number.to_string()));
            let asked =
                relay::with(document, &texts).map_err(|error| Fail::Barred(error.to_string()))?;
            match wire.document(&asked, reaction).await {
                Err(Fail::Lost(_)) if was_there => leg.drop_wire(),
                Err(error) => {
                    leg.drop_wire();
                    return Err(error);
                }
                answer => return answer,
            }
        }
    }

    /// The legs, and all that is needed to open one, for who relays what is live.
    pub(super) fn live_parts(&mut self) -> (&mut Vec<Leg>, usize, &Opening) {
        (&mut self.legs, self.home, &self.opening)
    }

    pub(super) fn may_watch_live(&self) -> bool {
        let pass = self.opening.pass.as_ref();
        let token = &self.opening.document.pass().token;
        pass.and_then(|pass| pass.may(Wish::Live, &self.device.id))
            .unwrap_or_else(|| self.face.grants.has(token, &self.device.id, clock::now()))
    }

    pub(super) fn live_fails_over(&self) -> bool {
        self.face.settings.live_failover
    }

    pub(super) fn leg_lost(&mut self, site: usize, error: &Fail) {
        self.lost(site, error);
    }

    pub(super) fn site(&self, ix: usize) -> &str {
        self.legs.get(ix).map_or("?", |leg| leg.copy.site.as_str())
    }

    pub(super) fn entry(&self) -> Option<Arc<CameraEntry>> {
        self.entry.clone()
    }

    /// The start of the unit that was sent last.
    pub(super) fn place(&self) -> Option<i64> {
        self.place.map(|place| place.start_ms)
    }

    /// Sites that can be asked, best first.
    pub(super) fn sites_up(&self) -> Vec<usize> {
        let sites = self.facts.sites.iter().enumerate();
        let up = sites.filter(|(_, site)| !site.down);
        up.map(|(ix, _)| ix).collect()
    }

    pub(super) fn shift_ms(&self, site: usize) -> i64 {
        self.legs.get(site).map_or(0, Leg::shift_ms)
    }

    pub(super) async fn step(
        &mut self,
        site: usize,
        method: Method,
        from_ms: i64,
    ) -> Result<Reply, Fail> {
        match self.legs.get_mut(site) {
            Some(leg) => leg.step(method, Some(from_ms), &self.opening).await,
            None => Err(Fail::Barred("no such site".to_owned())),
        }
    }

    fn home_us(&self) -> i64 {
        self.legs
            .get(self.home)
            .map_or(0, |leg| leg.copy.clock_offset_us)
    }

    /// The client's timeline is the clock of the recorder that it means.
    fn true_time(&self, ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms).shift(-self.home_us())
    }

    /// What a site is known to hold, on the client's timeline.
    pub(super) fn listing(&self, site: usize) -> Option<Coverage> {
        let copy = self.legs.get(site)?.copy.ix?;
        let coverage = self.entry.as_ref()?.slot.coverage(copy)?;
        Some(coverage.shift(self.home_us()))
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

/// Why there is no unit.
pub(super) enum End {
    /// The recorder's own words, about what the user may not.
    Said(Bytes),
    /// It does not let the client in any more.
    Refused,
    /// No site answers.
    Nobody,
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

/// Whether a unit is not what was asked for, but what lies behind or before a gap.
fn misses(ask: Ask, placed: &Placed) -> bool {
    let unit = &placed.unit;
    match ask {
        Ask::At(at_ms) => {
            let end_ms = unit.end_ms.unwrap_or(unit.start_ms);
            unit.start_ms > at_ms || at_ms - end_ms > GAP_MS
        }
        Ask::After(place) => {
            let end_ms = place.end_ms.unwrap_or(place.start_ms);
            unit.start_ms <= place.start_ms || unit.start_ms - end_ms > GAP_MS
        }
        Ask::Before(place) => {
            let end_ms = unit.end_ms.unwrap_or(unit.start_ms);
            unit.start_ms >= place.start_ms || place.start_ms - end_ms > GAP_MS
        }
        Ask::First | Ask::Last => false,
    }
}

fn is_down(entry: &CameraEntry, copy: &CopyAt) -> bool {
    let recorder = copy.ix.and_then(|ix| entry.slot.recorder(ix));
    recorder.is_some_and(|recorder| recorder.health().state() == HealthState::Down)
}

/// Only such words are the client's to hear: others are about pictures, which another site may have.
fn is_about_rights(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    RIGHTS_WORDS.iter().any(|word| reason.contains(word))
}

fn lacks(theirs: Capabilities, granted: Capabilities) -> bool {
    granted.multipart && !theirs.multipart
        || granted.privacy_mask && !theirs.privacy_mask
        || granted.data_restriction && !theirs.data_restriction
}

pub(super) fn extras_of(method: &Method) -> Extras {
    match method {
        Method::Goto { extras, .. } | Method::Next(extras) | Method::Previous(extras) => *extras,
        _ => Extras::default(),
    }
}

/// A recorder's document under the client's number.
pub(super) fn answered(document: &[u8], id: i64) -> Bytes {
    relay::numbered(document, id).unwrap_or_default().into()
}

pub(super) fn said(answer: &Answer) -> Bytes {
    answer.write().into()
}

pub(super) fn refusal_of(id: i64, method: &str, reason: &str) -> Bytes {
    said(&Answer::Connected(Connected {
        request_id: id,
        method: method.to_owned(),
        accepted: false,
        reason: Some(reason.to_owned()),
        ..Connected::default()
    }))
}

/// Which texts recorders refuse with is not documented.
const RIGHTS_WORDS: [&str; 5] = ["permission", "denied", "not allowed", "unauthori", "access"];
