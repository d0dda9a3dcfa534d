//! Pictures for a session's client: who is asked for them, who instead of one that fails or is late, and what is sent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use seamline_routing::policy::Failback;
use seamline_routing::{Coverage, Held, HeldBefore, Timestamp};
use seamline_xprotect::Extras;
use seamline_xprotect::merge::{Ask, GAP_MS, Place, Placed, Seek, Unit, resolve};
use tokio::time::timeout;

use super::super::leg::{Fail, Leg};
use super::super::reply::Reply;
use super::super::wire::Question;
use super::{ANSWER_WITHIN, Outcome, Session, answered, refused};
use crate::clock;

/// For as long one is tried again that broke off.
const AGAIN_WITHIN: Duration = Duration::from_secs(3);
/// Questions to recorders for one answer.
const QUESTIONS_MAX: usize = 40;
/// The answer that was sent last is kept for when nothing newer can be had, where it is not longer.
const LAST_BYTES_MAX: usize = 8 << 20;

/// Why there is no unit.
pub(in super::super) enum End {
    /// The recorder's own words, about what the user may not.
    Said(Bytes),
    /// It does not let the client in any more.
    Refused,
    /// No site answers.
    Nobody,
}

/// What is sent: the unit with its neighbours on the timeline, and its pictures.
pub(in super::super) type Found = Result<Option<(Placed, Reply)>, End>;

impl Session {
    pub(in super::super) async fn pictures(
        &mut self,
        id: i64,
        ask: Ask,
        extras: Extras,
    ) -> Outcome {
        let asked = clock::now();
        let found = timeout(ANSWER_WITHIN, self.find(ask, extras)).await;
        match found {
            Ok(found) => self.outcome(id, ask, found, asked),
            Err(_) => Outcome::Close(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        }
    }

    /// What the client gets.
    pub(in super::super) fn outcome(
        &mut self,
        id: i64,
        ask: Ask,
        found: Found,
        asked: Instant,
    ) -> Outcome {
        match found {
            Ok(found) => self.send(id, ask, found, asked),
            Err(End::Said(document)) => Outcome::Send(vec![answered(&document, id)]),
            Err(End::Nobody) => Outcome::Close("no site can be reached".to_owned()),
            Err(End::Refused) => refused(),
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
        let is_owed = self.legs.iter().take(placed.site).any(Leg::is_owing);
        let reason = match (placed.site, better_lost) {
            (_, true) if is_owed => "better site answers late",
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
    pub(in super::super) async fn find(&mut self, ask: Ask, extras: Extras) -> Found {
        let now = clock::now();
        self.recall(now).await?;
        let steps = matches!(ask, Ask::After(_) | Ask::Before(_));
        let back = if steps && self.stays(now) {
            self.better_open()
        } else {
            Vec::new()
        };
        for ix in &back {
            self.down(*ix, true);
        }
        let found = self.resolve(ask, extras).await;
        let found = self.if_late(ask, extras, found).await?;
        let mut found = self.if_failed(ask, extras, found).await?;
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
            self.look_ahead(*placed);
        }
        Ok(found)
    }

    /// What was found without those that are late stands where they could not make it another: else they are waited for.
    async fn if_late(&mut self, ask: Ask, extras: Extras, mut found: Found) -> Result<Found, End> {
        for _ in 0..self.legs.len() {
            let stands = match &found {
                Ok(Some((placed, _))) => {
                    let facts = self.facts.sites.get(placed.site);
                    let listed = facts.and_then(|facts| facts.listed.as_ref());
                    !misses(ask, placed) && is_amid(placed, listed)
                }
                Ok(None) | Err(End::Nobody) => false,
                Err(_) => true,
            };
            if stands {
                break;
            }
            let mut legs = self.facts.sites.iter().zip(&mut self.legs).enumerate();
            let Some((late, (_, leg))) =
                legs.find(|(_, (facts, leg))| facts.down && leg.is_owing())
            else {
                break;
            };
            let outcome = leg.arrive(None).await;
            self.take(late, outcome)?;
            found = self.resolve(ask, extras).await;
        }
        Ok(found)
    }

    /// Nobody else holds what is asked for: one that broke off may have done so this once.
    async fn if_failed(&mut self, ask: Ask, extras: Extras, found: Found) -> Found {
        let misses = match &found {
            Ok(found) => found.as_ref().is_none_or(|(placed, _)| misses(ask, placed)),
            Err(End::Nobody) => true,
            Err(_) => false,
        };
        let again = std::mem::take(&mut self.failed);
        if !misses || again.is_empty() {
            return found;
        }
        for ix in again {
            self.down(ix, self.legs.get(ix).is_none_or(Leg::is_barred));
        }
        let again = timeout(AGAIN_WITHIN, self.resolve(ask, extras)).await;
        again.unwrap_or(found)
    }

    async fn resolve(&mut self, ask: Ask, extras: Extras) -> Found {
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

    /// Asks a site; when it fails, or is late while others may be asked, that is noted. One that is late may answer meanwhile.
    async fn ask(&mut self, site: usize, seek: Seek, extras: Extras) -> Result<(), End> {
        let Some(facts) = self.facts.sites.get(site) else {
            return Err(End::Nobody);
        };
        // That of the unit that was sent last, where several are known that lie beside the one that is wanted.
        let last_ms = self.place.map(|place| place.start_ms);
        let near = match seek {
            Seek::At(at_ms) => facts
                .units
                .iter()
                .filter(|unit| unit.next_ms == at_ms || unit.prev_ms == at_ms)
                .max_by_key(|unit| Some(unit.start_ms) == last_ms)
                .copied(),
            Seek::First | Seek::Last => None,
        };
        let more = match (seek, near) {
            (Seek::At(at_ms), Some(near)) => self.sure_behind(site, near, at_ms),
            _ => 0,
        };
        let question = Question {
            seek,
            near,
            extras,
            more,
        };
        // The ends of all recordings are the ends of the best one, mostly.
        let is_replaceable = matches!(seek, Seek::At(_)) && self.late.is_none() && {
            let others = self.facts.sites.iter().zip(&self.legs).enumerate();
            let mut others = others.filter(|(ix, _)| *ix != site);
            others.any(|(_, (facts, leg))| !facts.down && !leg.is_barred())
        };
        let opening = &self.opening;
        let late = self.late.filter(|late| *late != site);
        let (site, outcome) = match late.map(|late| self.legs.get_disjoint_mut([site, late])) {
            Some(Ok([leg, late_leg])) if late_leg.is_owing() => {
                let first = tokio::select! {
                    biased;
                    outcome = leg.seek(question, false, opening) => (site, outcome),
                    outcome = late_leg.arrive(None) => (late.unwrap_or(site), outcome),
                };
                leg.leave();
                first
            }
            _ => match self.legs.get_mut(site) {
                Some(leg) => (site, leg.seek(question, is_replaceable, opening).await),
                None => return Err(End::Nobody),
            },
        };
        self.take(site, outcome)
    }

    /// How many of the steps that came behind this one are its next ones at this site as well, by all that is listed: they are sent
    /// with it. Should they be another site's after all, what comes of them is thrown away.
    fn sure_behind(&self, site: usize, near: Unit, at_ms: i64) -> usize {
        if self.behind == 0 || self.place.map(|place| place.start_ms) != Some(near.start_ms) {
            return 0;
        }
        let step_ms = at_ms - near.start_ms;
        if step_ms == 0 {
            return 0;
        }
        let at = Timestamp::from_unix_ms(at_ms);
        let room = |known: &Coverage, is_own: bool| {
            let end = if step_ms > 0 {
                match known.held(at) {
                    Held::Recorded { until } if is_own => Some(until),
                    _ if is_own => return 0,
                    _ => known.next_start(at),
                }
            } else {
                match known.held_before(at) {
                    HeldBefore::Recorded { since } if is_own => Some(since),
                    _ if is_own => return 0,
                    _ => known.previous_end(at),
                }
            };
            // The last unit before an end is nobody's for sure.
            end.map_or(usize::MAX, |end| {
                let units = end.micros_since(at) / (step_ms * 1000) - 1;
                usize::try_from(units).unwrap_or(0)
            })
        };
        let sites = self.facts.sites.iter().take(site + 1).enumerate();
        let rooms = sites.map(|(ix, facts)| match &facts.listed {
            Some(known) => room(known, ix == site),
            None if ix == site => usize::MAX,
            None => 0,
        });
        rooms.fold(self.behind, usize::min)
    }

    /// Notes what a site answered.
    pub(in super::super) fn take(
        &mut self,
        site: usize,
        outcome: Result<Reply, Fail>,
    ) -> Result<(), End> {
        match outcome {
            Ok(reply) => {
                if self.late == Some(site) {
                    self.late = None;
                }
                self.down(site, false);
                if let Some(facts) = self.facts.sites.get_mut(site) {
                    match reply.unit {
                        Some(unit) => facts.learn(unit),
                        None => facts.empty = true,
                    }
                }
                self.replies.push((site, reply));
                Ok(())
            }
            Err(Fail::Late) => {
                tracing::debug!(camera = %self.device.id, site = self.site(site), "later than usual: others are asked");
                self.late = Some(site);
                self.down(site, true);
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
                if self.late == Some(site) {
                    self.late = None;
                }
                self.lost(site, &error);
                Ok(())
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
    fn look_ahead(&mut self, placed: Placed) {
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
                leg.prepare(&self.opening, now);
            }
        }
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

/// Whether footage goes on without a gap on both sides: then it would be found the same where another site had more.
fn is_amid(placed: &Placed, listed: Option<&Coverage>) -> bool {
    let unit = &placed.unit;
    let held = listed.map(|listed| listed.held(Timestamp::from_unix_ms(unit.prev_ms)));
    let through =
        matches!(held, Some(Held::Recorded { until }) if until.as_unix_ms() >= unit.next_ms);
    let length_ms = unit.end_ms.map_or(0, |end_ms| end_ms - unit.start_ms);
    let end_ms = unit.start_ms + length_ms;
    !unit.is_first()
        && !unit.is_last()
        && (through
            || unit.next_ms - end_ms <= GAP_MS
                && unit.start_ms - unit.prev_ms <= length_ms + GAP_MS)
}

/// Only such words are the client's to hear: others are about pictures, which another site may have.
pub(in super::super) fn is_about_rights(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    RIGHTS_WORDS.iter().any(|word| reason.contains(word))
}

/// Which texts recorders refuse with is not documented.
const RIGHTS_WORDS: [&str; 5] = ["permission", "denied", "not allowed", "unauthori", "access"];
