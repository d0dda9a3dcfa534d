//! SOAP on a recorder's port: listings of stretches are those of all sites, stills come from the site that holds the instant.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use seamline_routing::{Coverage, Held, Timestamp};
use seamline_xprotect::recorder::{About, Question, Wanted};
use seamline_xprotect::relay;
use seamline_xprotect::sequences::{self, Entry};
use seamline_xprotect::soap::{self as envelope, Fault, RECORDER_PATH};
use seamline_xprotect::{stretches, timeline, wsdl};

use super::super::Face;
use super::super::passes::{Issuer, Key, Pass, Wish, origin_of};
use super::super::recorders::{CopyAt, Device, Proxied};
use super::http::{Answer, Asked, Visit};
use crate::cameras::CameraEntry;
use crate::clock;

/// One site's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// A still, or a long list.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// An end of a stretch later than this, behind now, is none yet.
const AHEAD: Duration = Duration::from_secs(1);

/// Answers what more than one site may know; `None` for all else.
pub(super) async fn answer(visit: &Visit, recorder: &Proxied, asked: &Asked) -> Option<Answer> {
    let (face, peer) = (&*visit.face, visit.peer);
    let path = asked.head.uri.path();
    if asked.head.method != hyper::Method::POST || !path.eq_ignore_ascii_case(RECORDER_PATH) {
        return None;
    }
    let question = match Question::read(&asked.body) {
        Ok(question) => question?,
        Err(error) => {
            tracing::info!(%peer, recorder = %recorder.name, %error, "SOAP that cannot be read");
            return Some(fault("soap:Client", &error.to_string(), None));
        }
    };
    let pass = face.passes.pass(&question.token, clock::now());
    let Some(device) = recorder.device(&question.device) else {
        if pass.is_some() {
            face.recorders.look_again(&question.device, clock::now());
        }
        return None;
    };
    if question.token.is_empty() {
        return Some(fault(
            "soap:Client",
            "No token supplied",
            Some((Fault::TOKEN, 1)),
        ));
    }
    let own = |copy: &CopyAt| {
        matches!(
            key(face, pass.as_deref(), &question.token, copy),
            Key::Own(_)
        )
    };
    if matches!(question.about, About::TimeLine { .. })
        && matches!(&*device.copies, [alone] if own(alone))
    {
        // There is nothing to lay over it.
        return None;
    }
    let case = Case {
        visit,
        face,
        recorder,
        peer,
        asked,
        device,
        entry: device.camera.as_ref().and_then(|id| face.cameras.get(id)),
        pass,
        question,
    };
    Some(match case.question.about.clone() {
        About::Sequences { wanted, .. } => case.sequences(wanted).await,
        About::Still(at) => case.still(Some(at)).await,
        About::Types => case.still(None).await,
        About::Now { .. } => case.still_of_now().await,
        About::TimeLine { .. } => case.timeline().await,
    })
}

/// The description of what is answered here, at this authority; `None` of any other service.
pub(super) fn described(is_sealed: bool, host: &str, uri: &hyper::Uri) -> Option<Answer> {
    if !uri.path().eq_ignore_ascii_case(RECORDER_PATH) {
        return None;
    }
    let scheme = if is_sealed { "https" } else { "http" };
    let text = wsdl::recorder(&format!("{scheme}://{host}"));
    Some(xml(StatusCode::OK, text.into_bytes()))
}

/// Whether a client's word for where it is can stand in a document.
pub(super) fn is_authority(host: &str) -> bool {
    host.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_'))
}

struct Case<'a> {
    visit: &'a Visit,
    face: &'a Face,
    recorder: &'a Proxied,
    peer: SocketAddr,
    asked: &'a Asked,
    device: &'a Arc<Device>,
    entry: Option<Arc<CameraEntry>>,
    pass: Option<Arc<Pass>>,
    question: Question,
}

/// How near a site's picture is to an instant, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likely {
    Holds,
    Unknown,
    /// So far away, µs, on the side that is asked for.
    Near(i64),
}

impl Likely {
    fn of(operation: &str, known: &Coverage, at: Timestamp) -> Self {
        match known.held(at) {
            Held::Recorded { .. } => Likely::Holds,
            Held::Unknown { .. } => Likely::Unknown,
            Held::Gap { .. } => {
                let before = known.previous_end(at).map(|end| at.micros_since(end));
                let behind = known.next_start(at).map(|start| start.micros_since(at));
                let far = match operation {
                    "JPEGGetAtOrBefore" => before,
                    "JPEGGetAtOrAfter" => behind,
                    _ => before.into_iter().chain(behind).min(),
                };
                Likely::Near(far.unwrap_or(i64::MAX))
            }
        }
    }
}

/// What a site says.
enum Told {
    Answer(Answer, Bytes),
    /// A fault, in its own words.
    Refused(Answer),
    Gone(String),
}

impl Case<'_> {
    async fn sequences(&self, wanted: Wanted) -> Answer {
        let recording = self.question.is_recording();
        // The recorder that is meant says whether this client may know, and what it holds itself.
        let home = self.device.copies.iter().find(|copy| copy.is_primary);
        let told = match home {
            Some(copy) => self.ask(copy, &self.question).await,
            None => Told::Gone("no such recorder".to_owned()),
        };
        if let Told::Refused(answer) = told {
            return answer;
        }
        if let Told::Gone(why) = &told {
            tracing::warn!(peer = %self.peer, camera = %self.device.id, recorder = %self.recorder.name, why, "listed without this recorder");
            if !self.is_allowed(Wish::List) {
                return fault("soap:Client", "Token invalid", Some((Fault::TOKEN, 2)));
            }
        }
        let Some(entry) = &self.entry else {
            return self.whole(told).await;
        };
        entry.look_up(clock::wall()).await;
        let mut sites = Vec::new();
        for copy in &self.device.copies {
            let recorded = copy.ix.and_then(|ix| entry.slot.coverage(ix));
            let recorded = recorded.map(|coverage| coverage.shift(self.home_us()));
            let entries = if recording {
                recorded.as_ref().map(entries_of).unwrap_or_default()
            } else {
                match (&told, copy.is_primary) {
                    (Told::Answer(_, body), true) => self.read(body, copy).unwrap_or_default(),
                    (_, true) => Vec::new(),
                    _ => self.asked_there(copy).await,
                }
            };
            sites.push((entries, recorded));
        }
        // The index may be behind the recorder that is meant, and knows all others.
        if recording && let Told::Answer(_, body) = &told {
            let copy = self.device.copies.iter().position(|copy| copy.is_primary);
            if let Some(ix) = copy
                && let Some(site) = sites.get_mut(ix)
                && site
                    .1
                    .as_ref()
                    .is_none_or(|coverage| coverage.windows().is_empty())
                && let Some(copy) = self.device.copies.get(ix)
            {
                site.0 = self.read(body, copy).unwrap_or_default();
            }
        }
        let merged = stretches::merged(&sites);
        let merged = if recording { joined(&merged) } else { merged };
        let answer = self.question.answer(&wanted.of(&merged));
        xml(StatusCode::OK, answer)
    }

    /// What is recorded at all sites, laid over each other.
    async fn timeline(&self) -> Answer {
        let (mut told, mut theirs) = (Vec::new(), None);
        for copy in &self.device.copies {
            let answer = self.ask(copy, &self.question).await;
            match answer {
                Told::Answer(answer, body) => match self.rows(&body, copy) {
                    // How it writes them is its own business.
                    None if copy.is_primary => return answer,
                    rows => {
                        told.extend(rows);
                        theirs = if copy.is_primary {
                            Some(answer)
                        } else {
                            theirs
                        };
                    }
                },
                // It says whether this client may know.
                Told::Refused(answer) if copy.is_primary => return answer,
                Told::Gone(why) => {
                    tracing::warn!(peer = %self.peer, camera = %self.device.id, site = %copy.site, why, "a time line without this site");
                    if copy.is_primary && !self.is_allowed(Wish::List) {
                        let number = Some((Fault::TOKEN, 2));
                        return fault("soap:Client", "Token invalid", number);
                    }
                }
                Told::Refused(_) => {}
            }
        }
        if told.is_empty() {
            let why = "No recorder of this camera can be reached";
            return fault("soap:Server", why, None);
        }
        if told.len() == 1
            && let Some(answer) = theirs
        {
            return answer;
        }
        let rows = timeline::merged(told);
        xml(
            StatusCode::OK,
            timeline::answer(&self.question.device, &rows),
        )
    }

    fn rows(&self, body: &Bytes, copy: &CopyAt) -> Option<Vec<timeline::Row>> {
        let limits = envelope::ANSWER_LIMITS;
        let result = envelope::result(body, self.question.operation, limits).ok()?;
        let mut rows = timeline::Row::read(result.as_ref())?;
        for row in &mut rows {
            row.begin = row.begin.shift(self.home_us() - copy.clock_offset_us);
        }
        Some(rows)
    }

    /// What another site answers to the same question.
    async fn asked_there(&self, copy: &CopyAt) -> Vec<Entry> {
        match self.ask(copy, &self.question).await {
            Told::Answer(_, body) => self.read(&body, copy).unwrap_or_default(),
            Told::Refused(_) => Vec::new(),
            Told::Gone(why) => {
                tracing::warn!(camera = %self.device.id, site = %copy.site, why, "listed without this site");
                Vec::new()
            }
        }
    }

    /// A still of the best site that holds the instant; of another where that one fails. What is asked about no instant is the
    /// matter of the recorder that is meant, and while that is gone, of the others.
    async fn still(&self, at: Option<Timestamp>) -> Answer {
        let mut copies: Vec<&CopyAt> = self.device.copies.iter().collect();
        if at.is_none() {
            copies.sort_by_key(|copy| !copy.is_primary);
        }
        if let Some(at) = at
            && let Some(entry) = &self.entry
        {
            let at = at.shift(-self.home_us());
            entry.look_up(at).await;
            let operation = self.question.operation;
            copies.sort_by_key(|copy| {
                let known = copy.ix.and_then(|ix| entry.slot.coverage(ix));
                known.map_or(Likely::Unknown, |known| Likely::of(operation, &known, at))
            });
        }
        let (mut last, mut without) = (None, None);
        for copy in copies {
            // Nobody else knows whether this client may: the recorder that is meant is asked first.
            if !copy.is_primary
                && !self.is_allowed(Wish::Play)
                && let Err(answer) = self.may_by_home().await
            {
                return answer;
            }
            match self.ask(copy, &self.question).await {
                // No picture of that very instant: another one may have it.
                Told::Answer(answer, body) if at.is_some() && !self.has_picture(&body) => {
                    without.get_or_insert(answer);
                }
                Told::Answer(answer, body) => return self.moved(answer, &body, copy),
                Told::Refused(answer) if copy.is_primary => return answer,
                Told::Refused(answer) => last = Some(answer),
                Told::Gone(why) => {
                    tracing::warn!(peer = %self.peer, camera = %self.device.id, site = %copy.site, why, "not answered by this site");
                }
            }
        }
        without.or(last).unwrap_or_else(|| {
            fault(
                "soap:Server",
                "No recorder of this camera can be reached",
                None,
            )
        })
    }

    /// A still of now, from the recorder that is meant; from another site while that is gone, where the operator allows it.
    async fn still_of_now(&self) -> Answer {
        let mut copies: Vec<&CopyAt> = self.device.copies.iter().collect();
        copies.sort_by_key(|copy| !copy.is_primary);
        let elsewhere = self.face.settings.live_failover;
        for copy in copies
            .into_iter()
            .filter(|copy| copy.is_primary || elsewhere)
        {
            if !copy.is_primary && !self.is_allowed(Wish::Live) {
                return fault("soap:Client", "Token invalid", Some((Fault::TOKEN, 2)));
            }
            match self.ask(copy, &self.question).await {
                Told::Answer(answer, body) => return self.moved(answer, &body, copy),
                Told::Refused(answer) if copy.is_primary => return answer,
                Told::Refused(_) => {}
                Told::Gone(why) => {
                    tracing::warn!(peer = %self.peer, camera = %self.device.id, site = %copy.site, why, "no still of now from this site");
                }
            }
        }
        let why = "No recorder of this camera can be reached";
        fault("soap:Server", why, None)
    }

    /// Whether there is a picture in an answer.
    fn has_picture(&self, body: &Bytes) -> bool {
        let limits = envelope::STILL_LIMITS;
        match envelope::result(body, self.question.operation, limits) {
            Ok(told) => told.is_some_and(|told| told.text("Data").is_some()),
            // What is not read here is the client's to read.
            Err(_) => true,
        }
    }

    /// The time of a still, or that up to which recordings are kept, on the client's timeline.
    fn moved(&self, answer: Answer, body: &Bytes, copy: &CopyAt) -> Answer {
        let ahead_us = copy.clock_offset_us - self.home_us();
        if ahead_us == 0 {
            return answer;
        }
        let operation = self.question.operation;
        if let Some(body) = self.question.limit_moved(body, -ahead_us) {
            return xml(StatusCode::OK, body);
        }
        let result = envelope::result(body, operation, envelope::STILL_LIMITS);
        let told = result.ok().flatten();
        let at = told.and_then(|told| sequences::time(told.text("Time")?));
        let Some(at) = at else {
            return answer;
        };
        let at = at.shift(-ahead_us).to_string();
        match relay::result(body, &[("Time", &at)]) {
            Ok(body) => xml(StatusCode::OK, body),
            Err(_) => answer,
        }
    }

    /// Whether the recorder that is meant lets this client see the camera: it is asked for the kinds of its stretches.
    async fn may_by_home(&self) -> Result<(), Answer> {
        let refused = || fault("soap:Client", "Token invalid", Some((Fault::TOKEN, 2)));
        let home = self.device.copies.iter().find(|copy| copy.is_primary);
        let Some(home) = home else {
            return Err(refused());
        };
        let asked = Question::types(&self.question.token, &home.device);
        match self.ask(home, &asked).await {
            Told::Answer(..) => {
                let token = &self.question.token;
                self.face.grants.note(token, &self.device.id, clock::now());
                Ok(())
            }
            Told::Refused(answer) => Err(answer),
            Told::Gone(_) => Err(refused()),
        }
    }

    fn is_allowed(&self, wish: Wish) -> bool {
        let may = self
            .pass
            .as_ref()
            .and_then(|pass| pass.may(wish, &self.device.id));
        let token = &self.question.token;
        may.unwrap_or_else(|| self.face.grants.has(token, &self.device.id, clock::now()))
    }

    /// Asks a recorder; the client's own token goes only to where it was given.
    async fn ask(&self, copy: &CopyAt, question: &Question) -> Told {
        let ahead_us = copy.clock_offset_us - self.home_us();
        let body = match self.key(copy) {
            Key::Own(token) => question.write(&token, &copy.device, ahead_us),
            Key::Account => {
                if copy.is_primary && !self.is_allowed(Wish::List) {
                    let number = Some((Fault::TOKEN, 2));
                    return Told::Refused(fault("soap:Client", "Token invalid", number));
                }
                match copy.server.token().await {
                    Ok(token) => question.write(&token.text, &copy.device, ahead_us),
                    Err(error) => return Told::Gone(error.to_string()),
                }
            }
        };
        let origin = copy.address.origin().ascii_serialization();
        let action = envelope::recorder_action(question.operation);
        let request = Request::post(format!("{origin}{RECORDER_PATH}"))
            .header(CONTENT_TYPE, "text/xml; charset=utf-8")
            .header("SOAPAction", format!("\"{action}\""))
            .body(Full::new(Bytes::from(body)));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Told::Gone(error.to_string()),
        };
        let sent = copy.server.pass_on(request, ANSWER_BYTES_MAX);
        match tokio::time::timeout(ANSWER_WITHIN, sent).await {
            Ok(Ok((head, body))) if head.status.is_success() => {
                Told::Answer(xml(head.status, body.to_vec()), body)
            }
            Ok(Ok((head, body))) => Told::Refused(xml(head.status, body.to_vec())),
            Ok(Err(error)) => Told::Gone(error.to_string()),
            Err(_) => Told::Gone("no answer in time".to_owned()),
        }
    }

    fn key(&self, copy: &CopyAt) -> Key {
        key(self.face, self.pass.as_deref(), &self.question.token, copy)
    }

    fn read(&self, body: &Bytes, copy: &CopyAt) -> Option<Vec<Entry>> {
        let limits = envelope::ANSWER_LIMITS;
        let result = envelope::result(body, self.question.operation, limits).ok()?;
        let us = self.home_us() - copy.clock_offset_us;
        let entries = sequences::entries(result.as_ref())?;
        let moved = entries.into_iter().map(|entry| Entry {
            begin: entry.begin.shift(us),
            trigged: entry.trigged.shift(us),
            end: entry.end.shift(us),
        });
        Some(moved.collect())
    }

    async fn whole(&self, told: Told) -> Answer {
        match told {
            Told::Answer(answer, _) | Told::Refused(answer) => answer,
            Told::Gone(_) => self.visit.call_passed_on(self.recorder, self.asked).await,
        }
    }

    /// The client's timeline is the clock of the recorder that it means.
    fn home_us(&self) -> i64 {
        let home = self.device.copies.iter().find(|copy| copy.is_primary);
        home.map_or(0, |copy| copy.clock_offset_us)
    }
}

/// What opens a copy's recorder.
fn key(face: &Face, pass: Option<&Pass>, token: &str, copy: &CopyAt) -> Key {
    match pass {
        Some(pass) => pass.key_at(&copy.server),
        None if Issuer::Server(origin_of(&face.settings.primary.server))
            == Issuer::Server(origin_of(&copy.server)) =>
        {
            Key::Own(token.into())
        }
        None => Key::Account,
    }
}

/// A listing's periods, that of what is being recorded up to now.
fn entries_of(coverage: &Coverage) -> Vec<Entry> {
    let latest = clock::wall() + AHEAD;
    let last = coverage.last();
    let periods = coverage.periods().iter().map(|period| {
        let grows = coverage.growing() && Some(period.end()) == last;
        let end = if grows {
            latest.max(period.end())
        } else {
            period.end()
        };
        Entry::plain(period.start(), end)
    });
    periods.collect()
}

/// Stretches that abut are one.
fn joined(entries: &[Entry]) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    for entry in entries {
        match all.last_mut() {
            Some(last) if entry.begin <= last.end => last.end = last.end.max(entry.end),
            _ => all.push(*entry),
        }
    }
    all
}

fn fault(code: &str, text: &str, number: Option<(i64, i64)>) -> Answer {
    let fault = Fault {
        code: code.to_owned(),
        text: text.to_owned(),
        number,
    };
    xml(StatusCode::INTERNAL_SERVER_ERROR, fault.write())
}

fn xml(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/xml; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
