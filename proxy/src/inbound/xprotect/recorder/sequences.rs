//! Steps from one stretch of recording to another, and the older listing of stretches, over all sites.

use bytes::Bytes;
use seamline_routing::{Coverage, Held, Timestamp};
use seamline_xprotect::merge::Ask;
use seamline_xprotect::relay::AlarmsQuery;
use seamline_xprotect::{Answer, Extras, Method, stretches};

use super::leg::Fail;
use super::session::{End, Found, Outcome, Session, is_about_rights, said};
use crate::clock;

/// Where a stretch is listed to begin, its first picture may be so much later.
const BEGINS_WITHIN_MS: i64 = 500;

impl Session {
    /// `nextsequence` and `previoussequence`: by what all sites list; where they list nothing, by what one of them says.
    pub(super) async fn sequence(&mut self, id: i64, method: &Method, extras: Extras) -> Outcome {
        let asked = clock::now();
        if let Some(entry) = self.entry() {
            entry.look_up(clock::wall()).await;
        }
        let Some(here) = self.place() else {
            return self.pictures(id, Ask::First, extras).await;
        };
        if let Err(end) = self.recall(asked).await {
            return self.outcome(id, Ask::At(here), Err(end), asked);
        }
        let forward = *method == Method::NextSequence;
        loop {
            let lost = self.lost_sites();
            let Some(held) = self.held() else {
                return self.step_alone(id, method, here).await;
            };
            let at = Timestamp::from_unix_ms(here);
            let to = if forward {
                stretches::next(&held, at)
            } else {
                stretches::previous(&held, at, BEGINS_WITHIN_MS)
            };
            let found = match (to, forward) {
                (Some(to), _) => self.first_of(&held, to, extras).await,
                (None, true) => self.find(Ask::Last, extras).await,
                (None, false) => self.find(Ask::First, extras).await,
            };
            // Where a site was lost meanwhile, its stretches are nowhere to be stepped to.
            if found.is_err() || self.lost_sites() <= lost {
                return self.outcome(id, Ask::At(here), found, asked);
            }
        }
    }

    /// The first unit of the stretch that is listed to begin there: what is listed, and what is stored, begin not quite
    /// together.
    async fn first_of(&mut self, held: &Coverage, begin: Timestamp, extras: Extras) -> Found {
        let at_ms = begin.as_unix_ms();
        let found = self.find(Ask::At(at_ms), extras).await?;
        let Some((placed, reply)) = found else {
            return Ok(None);
        };
        let unit = placed.unit;
        let reaches = unit.end_ms.is_some_and(|end_ms| end_ms > at_ms);
        let is_there = unit.start_ms >= at_ms || reaches;
        let elsewhere = match held.held(Timestamp::from_unix_ms(unit.start_ms)) {
            Held::Recorded { until } => until < begin,
            Held::Gap { .. } | Held::Unknown { .. } => at_ms - unit.start_ms > unit.next_ms - at_ms,
        };
        if is_there || !elsewhere || unit.is_last() {
            return Ok(Some((placed, reply)));
        }
        self.find(Ask::At(unit.next_ms), extras).await
    }

    /// What the sites that answer are known to hold together; `None` where that is not known of one of them.
    fn held(&self) -> Option<Coverage> {
        let mut all: Option<Coverage> = None;
        for site in self.sites_up() {
            let listed = self.listing(site)?;
            if listed.windows().is_empty() {
                return None;
            }
            all = Some(match all {
                Some(all) => all.union(&listed),
                None => listed,
            });
        }
        all.map(|all| all.bridge(std::time::Duration::from_secs(1)))
    }

    async fn step_alone(&mut self, id: i64, method: &Method, here: i64) -> Outcome {
        for site in self.sites_up() {
            match self.step(site, method.clone(), here).await {
                Ok(reply) => {
                    let Some(unit) = reply.unit else {
                        continue;
                    };
                    return self
                        .pictures(id, Ask::At(unit.start_ms), Extras::default())
                        .await;
                }
                Err(error) => {
                    if let Err(end) = self.take(site, Err(error)) {
                        return self.outcome(id, Ask::At(here), Err(end), clock::now());
                    }
                }
            }
        }
        Outcome::Close("no site can be reached".to_owned())
    }

    /// `alarms`: those of the best site, and of others what happened where it recorded nothing.
    pub(super) async fn alarms(&mut self, id: i64, document: &Bytes) -> Outcome {
        let query = match AlarmsQuery::read(document) {
            Ok(query) => query,
            Err(error) => return Outcome::Close(error.to_string()),
        };
        let now = clock::now();
        if let Err(end) = self.recall(now).await {
            return self.outcome(id, Ask::First, Err(end), now);
        }
        let mut sites = Vec::new();
        let mut refused = None;
        for site in self.sites_up() {
            let ahead_ms = self.shift_ms(site);
            let texts = query.texts(ahead_ms);
            let texts = if ahead_ms == 0 { &[][..] } else { &texts[..] };
            let answer = self.document_of(site, document, texts).await;
            match answer.map(|answer| (Answer::parse(&answer), answer)) {
                Ok((Ok(Answer::Alarms { spans, .. }), _)) => {
                    let moved = spans.into_iter().map(|mut span| {
                        for ms in [&mut span.start_ms, &mut span.alarm_ms, &mut span.end_ms] {
                            *ms -= ahead_ms;
                        }
                        span
                    });
                    sites.push((moved.collect(), self.listing(site)));
                }
                Ok((Ok(Answer::Other { reason, .. }), answer)) => {
                    if self.is_home(site) && reason.as_deref().is_some_and(is_about_rights) {
                        return self.outcome(id, Ask::First, Err(End::Said(answer)), now);
                    }
                    refused.get_or_insert(answer);
                }
                failed => {
                    let none = || Fail::Lost("no answer to alarms".to_owned());
                    let error = failed.err().unwrap_or_else(none);
                    if let Err(end) = self.take(site, Err(error)) {
                        return self.outcome(id, Ask::First, Err(end), now);
                    }
                }
            }
        }
        match (sites.is_empty(), refused) {
            (false, _) => {
                let spans = stretches::alarms(&sites, query.count, query.center_ms);
                Outcome::Send(vec![said(&Answer::Alarms {
                    request_id: id,
                    spans,
                })])
            }
            (true, Some(answer)) => Outcome::Send(vec![super::session::answered(&answer, id)]),
            (true, None) => Outcome::Close("no site can be reached".to_owned()),
        }
    }
}
