//! One device as one client plays it: its sites, where the client is, and who answers which of its calls.

mod admission;
mod alone;
mod pictures;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamline_routing::director::Failure;
use seamline_routing::policy::Policy;
use seamline_routing::{Coverage, HealthState, Timestamp};
use seamline_xprotect::merge::{Ask, Facts, Place, Placed};
use seamline_xprotect::relay;
use seamline_xprotect::{Answer, Connected, Extras, Method, gbd};

use super::super::Face;
use super::super::passes::{Key, Wish};
use super::super::recorders::{CopyAt, Device};
use super::leg::{Fail, Leg, Opening};
use super::reply::Reply;
use super::wire::{Relayed, SILENT};
use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::playing::Listed;

pub(super) use self::pictures::{End, Found, is_about_rights};

/// Clients wait ten seconds for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(9);
/// What recorders told of units they are done with is believed for so long.
const FACTS_GOOD: Duration = Duration::from_secs(5);
/// Units of one site that are remembered.
const UNITS_MAX: usize = 16;
/// A newest unit that is younger than this is no end: the next one is not written yet.
const TAIL_MS: i64 = 15_000;

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
    /// The site that owes an answer longer than usual.
    late: Option<usize>,
    /// Steps of the same kind that came right behind the one that is being answered.
    behind: usize,
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
    /// Whether the user may see the camera, by what its recorder and its management server said last.
    fn is_allowed(&self, token: &str, now: Instant) -> bool {
        let pass = self.opening.pass.as_ref();
        match pass.and_then(|pass| pass.may(Wish::Play, &self.device.id)) {
            Some(may) => may,
            None => self.face.grants.has(token, &self.device.id, now),
        }
    }

    /// Answers a call that is not about live pictures; so many of the same kind came right `behind` it.
    pub(super) async fn answer(
        &mut self,
        id: i64,
        method: &Method,
        document: &Bytes,
        behind: usize,
    ) -> Outcome {
        self.behind = behind;
        if self.is_alone() {
            match method {
                Method::ConnectUpdate(_)
                | Method::Stop
                | Method::Connect(_)
                | Method::Live { .. } => {}
                Method::Other(name) => return self.relay(id, name, document).await,
                _ => return self.passed(id, method, document).await,
            }
        }
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
            Method::Other(name) => return self.relay(id, name, document).await,
            // They are no questions, or were seen to before.
            Method::Stop | Method::Connect(_) | Method::Live { .. } => return Outcome::Nothing,
        };
        self.pictures(id, ask, extras_of(method)).await
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
            Fail::Refused { .. } | Fail::Barred(_) | Fail::Late => None,
        };
        match error {
            Fail::Refused { reason, .. } => leg.bar(reason.clone()),
            Fail::Barred(_) | Fail::Late => {}
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

    /// What sites said meanwhile, to questions that were not waited for.
    async fn hear(&mut self) -> Result<(), End> {
        self.late = None;
        for ix in 0..self.legs.len() {
            let Some(leg) = self.legs.get_mut(ix) else {
                continue;
            };
            let arrived = match leg.take_refusal().await {
                Some(refusal) => Some(Err(refusal)),
                None => leg.arrived().await,
            };
            if let Some(arrived) = arrived {
                self.take(ix, arrived)?;
            }
        }
        Ok(())
    }

    /// What may still be believed at the beginning of a request; who is asked.
    pub(super) async fn recall(&mut self, now: Instant) -> Result<(), End> {
        self.hear().await?;
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
                leg.prepare(&self.opening, now);
            }
            // The client is with another one until this one has let it in.
            let opens = ix == self.home && self.away && leg.is_opening();
            facts.down = !leg.is_open() && (rests || opens || !leg.is_up(now) || leg.is_owing());
            if leg.is_owing() {
                self.late.get_or_insert(ix);
            }
            all_down &= facts.down;
        }
        if all_down {
            // Nobody is known to answer: whoever does is welcome.
            for (leg, facts) in self.legs.iter().zip(&mut self.facts.sites) {
                facts.down = leg.is_barred();
            }
        }
        Ok(())
    }

    /// Another token of the client's.
    async fn update(&mut self, id: i64, token: &str, document: &Bytes) -> Outcome {
        if let Err(End::Refused) = self.hear().await {
            return refused();
        }
        let now = clock::now();
        let pass = self.face.passes.pass(token, now);
        let home = self.home;
        // Where it has to be connected to again, the token that is good now is shown.
        let renewed = Opening {
            document: Arc::new(self.opening.document.renewed(token)),
            pass: pass.clone(),
            ..self.opening.clone()
        };
        let own = self.legs.get(home).is_some_and(|leg| {
            let both = [&self.opening, &renewed];
            both.iter()
                .all(|opening| matches!(opening.key(&leg.copy), Key::Own(_)))
        });
        let asked = match self.legs.get_mut(home) {
            Some(leg) if own && (leg.is_open() || leg.is_owing()) => {
                let asked = leg.wire(&renewed).await;
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
                if let Err(End::Refused) = self.take(home, Err(error.clone())) {
                    return refused();
                }
                self.is_known(pass.as_deref(), token, now)
            }
            None => self.is_known(pass.as_deref(), token, now),
        };
        if accepted {
            if matches!(asked, Some(Ok(_))) {
                self.face.grants.note(token, &self.device.id, now);
            }
            self.opening = renewed;
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

    /// What nobody here knows goes to the recorder that the client means, which may answer with a document or with pictures.
    async fn relay(&mut self, id: i64, name: &str, document: &Bytes) -> Outcome {
        let (home, reaction) = (self.home, self.policy.reaction);
        let Some(leg) = self.legs.get_mut(home) else {
            return Outcome::Close("no such recorder".to_owned());
        };
        let (relayed, was_open) = leg.relay(document, &self.opening).await;
        let why = match relayed {
            Ok(Relayed::Document(answer)) => return Outcome::Send(vec![answered(&answer, id)]),
            Ok(Relayed::Pictures(reply)) => return Outcome::Send(reply.passed(id)),
            // It may not know the method either: that says nothing of what else it can do.
            Err(Fail::Lost(why)) if was_open && why == SILENT => {
                tracing::info!(peer = %self.peer, camera = %self.device.id, method = name, within = ?reaction.response, "not answered by its recorder");
                "The recorder does not answer this"
            }
            Err(error) => {
                if let Err(End::Refused) = self.take(home, Err(error)) {
                    return refused();
                }
                "The recorder cannot be reached"
            }
        };
        Outcome::Send(vec![said(&Answer::Other {
            request_id: id,
            method: name.to_owned(),
            reason: Some(why.to_owned()),
        })])
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
                Err(Fail::Lost(why)) if was_there && why != SILENT => leg.drop_wire(),
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

    /// Whether it is the recorder that the client believes to speak to.
    pub(super) fn is_home(&self, site: usize) -> bool {
        site == self.home
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

    /// Sites that answer, be it later than usual, best first.
    pub(super) fn sites_up(&self) -> Vec<usize> {
        let sites = self.facts.sites.iter().zip(&self.legs).enumerate();
        let up = sites.filter(|(_, (facts, leg))| !facts.down || leg.is_owing());
        up.map(|(ix, _)| ix).collect()
    }

    /// How many cannot.
    pub(super) fn lost_sites(&self) -> usize {
        let sites = self.facts.sites.iter().zip(&self.legs);
        let lost = sites.filter(|(facts, leg)| facts.down && !leg.is_owing());
        lost.count()
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

fn is_down(entry: &CameraEntry, copy: &CopyAt) -> bool {
    let recorder = copy.ix.and_then(|ix| entry.slot.recorder(ix));
    recorder.is_some_and(|recorder| recorder.health().state() == HealthState::Down)
}

pub(super) fn extras_of(method: &Method) -> Extras {
    match method {
        Method::Goto { extras, .. } | Method::Next(extras) | Method::Previous(extras) => *extras,
        _ => Extras::default(),
    }
}

/// The recorder that the client means says no: nobody else may say yes.
fn refused() -> Outcome {
    Outcome::Close("its recorder does not let it in any more".to_owned())
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
