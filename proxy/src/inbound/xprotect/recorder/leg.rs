//! One site's part of a session: a connection to its recorder's ImageServer, opened when it is needed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamline_probes::ProbeError;
use seamline_probes::xprotect::{ImageServer, Site, Token};
use seamline_routing::policy::Reaction;
use seamline_xprotect::merge::{Seek, Unit};
use seamline_xprotect::relay::ConnectDocument;
use seamline_xprotect::{Answer, Call, Connected, Extras, Incoming, Method, Pass};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::passes::{Issuer, Key, Pass as Known, origin_of};
use super::super::recorders::CopyAt;
use super::reply::{Reply, Span};
use crate::clock;

/// Of one answer, a group of pictures: what is kept in memory before its head goes out.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parts of one answer.
const PIECES_MAX: usize = 3 * 4096;
/// The first wait before a recorder that failed is tried again; doubles with each failure.
const REST_MIN: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(30);

/// Why a site does not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Fail {
    /// It is gone, silent, or out of step.
    #[error("{0}")]
    Lost(String),
    /// It says no to the device or the token: `connected no`, as it came.
    #[error("refuses the camera: {reason}")]
    Refused {
        /// Its words.
        reason: String,
        /// Its document.
        document: Bytes,
    },
    /// It answers with a document where pictures were asked for.
    #[error("answers: {reason}")]
    Said {
        /// Its words.
        reason: String,
        /// Its document.
        document: Bytes,
    },
    /// Footage of another time, or that contradicts itself.
    #[error("{0}")]
    Wrong(String),
    /// It cannot send as the client was promised, or must not be asked.
    #[error("{0}")]
    Barred(String),
}

/// See the module's text.
pub(super) struct Leg {
    pub(super) copy: CopyAt,
    /// Its clock minus the client's timeline.
    shift_ms: i64,
    wire: Option<Wire>,
    opening: Option<JoinHandle<Result<Wire, Fail>>>,
    rests_until: Option<Instant>,
    failures: u32,
    /// For as long as the session lasts.
    barred: Option<String>,
    /// Since when it is open, after it had failed.
    back_since: Option<Instant>,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) server: ImageServer,
    /// The house's account, where it is what opens the recorder.
    account: Option<Account>,
    /// Its answer to `connect`.
    pub(super) connected: Connected,
    pub(super) document: Bytes,
    /// The unit it sent last, on the client's timeline.
    position_ms: Option<i64>,
}

#[derive(Debug)]
struct Account {
    token: Token,
    device: Arc<str>,
    site: Arc<Site>,
}

/// All that is needed to open one.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) document: Arc<ConnectDocument>,
    /// What is known of the client's token.
    pub(super) pass: Option<Arc<Known>>,
    /// The management server of the recorder that the client believes to speak to.
    pub(super) home: Arc<Site>,
    pub(super) reaction: Reaction,
}

impl Leg {
    pub(super) fn new(copy: CopyAt, shift_ms: i64) -> Self {
        Leg {
            copy,
            shift_ms,
            wire: None,
            opening: None,
            rests_until: None,
            failures: 0,
            barred: None,
            back_since: None,
        }
    }

    /// Whether it can be asked without waiting for it to come back.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.barred.is_none()
            && (self.wire.is_some() || self.rests_until.is_none_or(|until| now >= until))
            // One that failed is tried in the background, and not while a client waits.
            && (self.failures == 0 || self.wire.is_some())
    }

    pub(super) fn is_open(&self) -> bool {
        self.wire.is_some()
    }

    /// How long it has been back after a failure; `None` where it never failed.
    pub(super) fn back_for(&self, now: Instant) -> Option<Duration> {
        self.back_since
            .map(|since| now.saturating_duration_since(since))
    }

    pub(super) fn is_barred(&self) -> bool {
        self.barred.is_some()
    }

    /// What it will not do in this session any more.
    pub(super) fn bar(&mut self, why: String) {
        self.wire = None;
        self.barred = Some(why);
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.wire = None;
        self.back_since = None;
        let rest = REST_MIN * 2_u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.rests_until = Some(now + rest.min(REST_MAX));
    }

    /// Opens it in the background, where that is not under way; takes over what was opened.
    pub(super) async fn prepare(&mut self, opening: &Opening, now: Instant) {
        if self.opening.as_ref().is_some_and(JoinHandle::is_finished) {
            self.adopt().await;
        }
        let rests = self.rests_until.is_some_and(|until| now < until);
        if self.wire.is_none() && self.opening.is_none() && !rests && self.barred.is_none() {
            self.opening = Some(tokio::spawn(open(self.copy.clone(), opening.clone())));
        }
    }

    async fn adopt(&mut self) {
        let Some(opening) = self.opening.take() else {
            return;
        };
        let opened = opening.await;
        let now = clock::now();
        match opened {
            Ok(Ok(wire)) => self.opened(wire, now),
            Ok(Err(Fail::Refused { reason, .. })) => self.barred = Some(reason),
            Ok(Err(error)) => {
                tracing::debug!(site = %self.copy.site, recorder = %self.copy.recorder, %error, "recorder not back");
                self.failed(now);
            }
            Err(_) => self.failed(now),
        }
    }

    fn opened(&mut self, wire: Wire, now: Instant) {
        if self.failures > 0 {
            self.back_since = Some(now);
        }
        (self.failures, self.rests_until) = (0, None);
        self.wire = Some(wire);
    }

    /// The connection, opened where it is not; whether it was there before.
    pub(super) async fn wire(&mut self, opening: &Opening) -> Result<(&mut Wire, bool), Fail> {
        if let Some(why) = &self.barred {
            return Err(Fail::Barred(why.clone()));
        }
        let was_there = self.wire.is_some();
        if !was_there && self.opening.is_some() {
            self.adopt().await;
        }
        if self.wire.is_none() {
            if let Some(why) = &self.barred {
                return Err(Fail::Barred(why.clone()));
            }
            let wire = open(self.copy.clone(), opening.clone()).await?;
            self.opened(wire, clock::now());
        }
        match &mut self.wire {
            Some(wire) => Ok((wire, was_there)),
            None => Err(Fail::Lost("not connected".to_owned())),
        }
    }

    pub(super) fn drop_wire(&mut self) {
        self.wire = None;
    }

    /// The unit at, or next to, an instant. `near` is a unit of this site that is known.
    pub(super) async fn seek(
        &mut self,
        seek: Seek,
        near: Option<Unit>,
        extras: Extras,
        opening: &Opening,
    ) -> Result<Reply, Fail> {
        let shift_ms = self.shift_ms;
        loop {
            let (wire, was_there) = self.wire(opening).await?;
            let outcome = wire.seek(seek, near, extras, shift_ms, opening).await;
            match outcome {
                Ok(reply) => return Ok(reply),
                // It closed a connection that was idle, or only this one is lost: another one tells.
                Err(Fail::Lost(why)) if was_there && why != SILENT => {
                    tracing::debug!(site = %self.copy.site, why, "another connection");
                    self.wire = None;
                }
                Err(error) => {
                    if !matches!(error, Fail::Said { .. }) {
                        self.wire = None;
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// Steps by a site's own stretches.
impl Leg {
    /// What it answers to `nextsequence` or `previoussequence` behind a unit.
    pub(super) async fn step(
        &mut self,
        method: Method,
        from_ms: Option<i64>,
        opening: &Opening,
    ) -> Result<Reply, Fail> {
        if let Some(from_ms) = from_ms {
            let extras = Extras::default();
            self.seek(Seek::At(from_ms), None, extras, opening).await?;
        }
        let shift_ms = self.shift_ms;
        let (wire, _) = self.wire(opening).await?;
        let outcome = wire.ask(method, shift_ms, opening.reaction).await;
        if outcome.is_err() {
            self.wire = None;
        }
        outcome
    }

    /// How far its clock is ahead of the client's timeline.
    pub(super) fn shift_ms(&self) -> i64 {
        self.shift_ms
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if let Some(opening) = &self.opening {
            opening.abort();
        }
    }
}

/// Connects and shows a token; another one of the house where that is refused.
async fn open(copy: CopyAt, opening: Opening) -> Result<Wire, Fail> {
    let limit = opening.reaction.connect + opening.reaction.response;
    timeout(limit, open_now(&copy, &opening))
        .await
        .map_err(|_| Fail::Lost(SILENT.to_owned()))?
}

async fn open_now(copy: &CopyAt, opening: &Opening) -> Result<Wire, Fail> {
    let Key::Account = opening.key(copy) else {
        return open_with(copy, opening, None).await;
    };
    let token = copy.server.token().await.map_err(|error| lost(&error))?;
    match open_with(copy, opening, Some(token.clone())).await {
        Err(Fail::Refused { reason, .. }) if !is_about_device(&reason) => {
            let other = copy.server.another_token(&token).await;
            let other = other.map_err(|error| lost(&error))?;
            open_with(copy, opening, Some(other)).await
        }
        outcome => outcome,
    }
}

/// Only one text is known of those with which recorders refuse. What is no matter of the device is one of the token.
fn is_about_device(reason: &str) -> bool {
    reason.to_ascii_lowercase().contains("device")
}

async fn open_with(copy: &CopyAt, opening: &Opening, token: Option<Token>) -> Result<Wire, Fail> {
    let connect = ImageServer::reach(&copy.address, copy.server.tls());
    let connect = timeout(opening.reaction.connect, connect).await;
    let mut server = connect
        .map_err(|_| Fail::Lost(SILENT.to_owned()))?
        .map_err(|error| lost(&error))?;
    server.keep();
    let shown = match &token {
        Some(token) => &*token.text,
        None => opening.document.pass().token.as_str(),
    };
    let id = server.number();
    let document = if copy.is_primary {
        opening.document.own(id, shown)
    } else {
        opening.document.other(id, &copy.device, shown)
    };
    let document = document.map_err(|error| Fail::Barred(error.to_string()))?;
    server.send(&document);
    let Incoming::Document(document) = server.next().await.map_err(|error| lost(&error))? else {
        return Err(Fail::Lost(
            "pictures instead of an answer to connect".to_owned(),
        ));
    };
    match Answer::parse(&document) {
        Ok(Answer::Connected(connected)) if connected.accepted => Ok(Wire {
            server,
            account: token.map(|token| Account {
                token,
                device: Arc::clone(&copy.device),
                site: Arc::clone(&copy.server),
            }),
            connected,
            document,
            position_ms: None,
        }),
        Ok(Answer::Connected(connected)) => Err(Fail::Refused {
            reason: connected.reason.unwrap_or_default(),
            document,
        }),
        Ok(other) => Err(Fail::Lost(format!("to connect: {other:?}"))),
        Err(error) => Err(Fail::Lost(error.to_string())),
    }
}

impl Opening {
    /// What opens a copy's recorder: the client's own token only where the server that gave it is asked.
    pub(super) fn key(&self, copy: &CopyAt) -> Key {
        let gave = match &self.pass {
            Some(pass) => return pass.key_at(&copy.server),
            // It never passed here: the client logged in past the house, at the server of the recorder that it means.
            None => Issuer::Server(origin_of(&self.home)),
        };
        if gave == Issuer::Server(origin_of(&copy.server)) {
            Key::Own(self.document.pass().token.as_str().into())
        } else {
            Key::Account
        }
    }
}

impl Wire {
    async fn seek(
        &mut self,
        seek: Seek,
        near: Option<Unit>,
        extras: Extras,
        shift_ms: i64,
        opening: &Opening,
    ) -> Result<Reply, Fail> {
        self.update(opening.reaction).await?;
        let at = |at_ms: i64| Method::Goto {
            time_ms: at_ms.saturating_add(shift_ms).clamp(0, LATEST_MS),
            extras,
        };
        let beside = near.filter(|near| self.position_ms == Some(near.start_ms));
        let method = match (seek, beside) {
            (Seek::First, _) => Method::Begin,
            (Seek::Last, _) => Method::End,
            // A step is a step, also where its time is rounded.
            (Seek::At(at_ms), Some(near)) if !near.is_last() && near.next_ms == at_ms => {
                Method::Next(extras)
            }
            (Seek::At(at_ms), Some(near)) if !near.is_first() && near.prev_ms == at_ms => {
                Method::Previous(extras)
            }
            (Seek::At(at_ms), _) => at(at_ms),
        };
        let steps = matches!(method, Method::Next(_) | Method::Previous(_));
        let mut reply = self.ask(method, shift_ms, opening.reaction).await?;
        if let Seek::At(at_ms) = seek {
            if steps && !fits(&reply, at_ms) {
                reply = self.ask(at(at_ms), shift_ms, opening.reaction).await?;
            }
            // It keeps finer times than it tells: the unit that starts there comes behind this one.
            let rounded = reply
                .unit
                .is_some_and(|unit| unit.next_ms == at_ms && !unit.is_last());
            if rounded {
                reply = self
                    .ask(Method::Next(extras), shift_ms, opening.reaction)
                    .await?;
            }
            if !fits(&reply, at_ms) {
                let told = reply.unit.map(|unit| (unit.start_ms, unit.next_ms));
                return Err(Fail::Wrong(format!(
                    "asked for {at_ms}, it answers with {told:?}"
                )));
            }
        }
        if let Some(unit) = &mut reply.unit {
            match seek {
                Seek::First => unit.prev_ms = unit.start_ms,
                Seek::Last => unit.next_ms = unit.start_ms,
                Seek::At(_) => {}
            }
        }
        Ok(reply)
    }

    /// Asks for pictures; the answer is whole, and of the time that its head says.
    async fn ask(
        &mut self,
        method: Method,
        shift_ms: i64,
        reaction: Reaction,
    ) -> Result<Reply, Fail> {
        let id = self.server.ask(method);
        let (mut head, mut bytes, mut span) = (None, 0, Span::default());
        loop {
            match self.incoming(reaction).await? {
                Incoming::Document(document) => match Answer::parse(&document) {
                    Ok(Answer::Status { .. }) => {}
                    Ok(Answer::Other { reason, .. }) => {
                        let reason = reason.unwrap_or_else(|| "no pictures".to_owned());
                        return Err(Fail::Said { reason, document });
                    }
                    Ok(other) => return Err(Fail::Lost(format!("instead of pictures: {other:?}"))),
                    Err(error) => return Err(Fail::Lost(error.to_string())),
                },
                Incoming::Head(told) => {
                    if told.request_id.is_some_and(|told| told != id) {
                        return Err(Fail::Lost("answers another request".to_owned()));
                    }
                    head = Some(told);
                }
                Incoming::Body(body) => {
                    bytes += body.len();
                    if bytes > ANSWER_BYTES_MAX {
                        return Err(Fail::Wrong("sends too much in one answer".to_owned()));
                    }
                    span.take(&body);
                }
                Incoming::End => break,
            }
        }
        let Some(head) = head else {
            return Err(Fail::Lost("an answer without a head".to_owned()));
        };
        let kept = self.server.kept();
        if kept.len() > PIECES_MAX {
            return Err(Fail::Wrong("sends too many parts in one answer".to_owned()));
        }
        let reply = Reply::new(head, kept, &span, shift_ms)?;
        self.position_ms = reply.unit.map(|unit| unit.start_ms);
        Ok(reply)
    }

    /// The next thing it sends: soon, and without a pause once it has begun.
    pub(super) async fn incoming(&mut self, reaction: Reaction) -> Result<Incoming, Fail> {
        let mut patience = if self.server.is_between() {
            reaction.response
        } else {
            reaction.stall_after
        };
        let mut received = self.server.received();
        loop {
            match timeout(patience, self.server.next()).await {
                Ok(Ok(incoming)) => return Ok(incoming),
                Ok(Err(error)) => return Err(lost(&error)),
                Err(_) if self.server.received() == received => {
                    return Err(Fail::Lost(SILENT.to_owned()));
                }
                Err(_) => {
                    received = self.server.received();
                    patience = reaction.stall_after;
                }
            }
        }
    }

    /// A document's answer: asks with what the client said, and waits for a document.
    pub(super) async fn document(
        &mut self,
        document: &[u8],
        reaction: Reaction,
    ) -> Result<Bytes, Fail> {
        self.server.send(document);
        loop {
            match self.incoming(reaction).await? {
                Incoming::Document(document) => match Answer::parse(&document) {
                    Ok(Answer::Status { .. }) => {}
                    _ => return Ok(document),
                },
                _ => return Err(Fail::Lost("pictures instead of a document".to_owned())),
            }
        }
    }

    /// Shows the recorder the account's token that is good now: a session dies with the one it was opened with.
    async fn update(&mut self, reaction: Reaction) -> Result<(), Fail> {
        let Some(account) = &mut self.account else {
            // Clients' own tokens are theirs to renew.
            return Ok(());
        };
        let Some(newest) = account.site.newest() else {
            return Ok(());
        };
        if clock::now() >= newest.renew_at {
            let site = Arc::clone(&account.site);
            tokio::spawn(async move {
                if let Err(error) = site.token().await {
                    tracing::warn!(server = %site.server(), %error, "token not renewed");
                }
            });
        }
        if newest.text == account.token.text {
            return Ok(());
        }
        let pass = Pass {
            device: account.device.to_string(),
            stream: None,
            token: newest.text.to_string(),
        };
        account.token = newest;
        let request_id = self.server.number();
        let method = Method::ConnectUpdate(pass);
        let asked = Call { request_id, method }.write();
        let answer = self.document(&asked, reaction).await?;
        match Answer::parse(&answer) {
            Ok(Answer::Connected(connected)) if connected.accepted => Ok(()),
            _ => Err(Fail::Lost("another token is refused".to_owned())),
        }
    }
}

fn lost(error: &ProbeError) -> Fail {
    Fail::Lost(error.to_string())
}

/// Whether an answer is the one to `goto`.
fn fits(reply: &Reply, at_ms: i64) -> bool {
    let Some(unit) = reply.unit else {
        return true;
    };
    let begun = unit.start_ms <= at_ms || unit.is_first();
    begun && (unit.is_last() || at_ms < unit.next_ms)
}

const SILENT: &str = "no answer in time";
/// The end of the year 9999.
const LATEST_MS: i64 = 253_402_300_799_000;
