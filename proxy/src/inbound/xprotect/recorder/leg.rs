//! One site's part of a session: a connection to its recorder, opened when it is needed, and the question that it has not answered
//! yet.
//!
//! Who waits for an answer need not wait to its end: a question stays with the leg when the wait for it ends sooner, is answered in
//! the background, and nothing else is asked on its connection before that.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamline_probes::xprotect::Site;
use seamline_routing::policy::Reaction;
use seamline_xprotect::merge::Seek;
use seamline_xprotect::relay::ConnectDocument;
use seamline_xprotect::{Capabilities, Extras, Method};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::passes::{Issuer, Key, Pass as Known, origin_of};
use super::super::recorders::CopyAt;
use super::pace::Pace;
use super::reply::Reply;
use super::wire::{Question, Relayed, SILENT, Wire, open};
use crate::clock;

/// The first wait before a recorder that failed is tried again; doubles with each failure.
const REST_MIN: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(30);
/// What is late is later than this where the connection is to be made first.
const OPEN_LATE: Duration = Duration::from_millis(500);

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
    /// Nothing of its answer came as soon as usual; it is still waited for, in the background.
    #[error("later than usual")]
    Late,
}

/// See the module's text.
pub(super) struct Leg {
    pub(super) copy: CopyAt,
    /// Its clock minus the client's timeline.
    shift_ms: i64,
    wire: Option<Wire>,
    opening: Option<JoinHandle<Result<Wire, Fail>>>,
    flight: Option<Flight>,
    pace: Pace,
    rests_until: Option<Instant>,
    failures: u32,
    /// For as long as the session lasts.
    barred: Option<String>,
    /// It was opened in the background, and said no.
    refused: Option<Fail>,
    /// Since when it is open, after it had failed.
    back_since: Option<Instant>,
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
    /// What the client was promised when it was let in.
    pub(super) granted: Option<Capabilities>,
}

/// A question on its way, with the connection that it goes by.
struct Flight {
    question: Question,
    /// Something of the answer is there.
    begun: Arc<AtomicBool>,
    task: Task,
}

enum Task {
    /// Goes on while it is waited for.
    Here(Pin<Box<dyn Future<Output = Landed> + Send>>),
    /// Goes on by itself.
    Away(JoinHandle<Landed>),
}

/// What became of it.
struct Landed {
    /// The connection, if it is good for more.
    wire: Option<Wire>,
    is_new: bool,
    took: Duration,
    outcome: Result<Reply, Fail>,
}

impl Leg {
    pub(super) fn new(copy: CopyAt, shift_ms: i64) -> Self {
        Leg {
            copy,
            shift_ms,
            wire: None,
            opening: None,
            flight: None,
            pace: Pace::default(),
            rests_until: None,
            failures: 0,
            barred: None,
            refused: None,
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

    /// Whether it owes an answer.
    pub(super) fn is_owing(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether it is being opened in the background.
    pub(super) fn is_opening(&self) -> bool {
        self.opening
            .as_ref()
            .is_some_and(|opening| !opening.is_finished())
    }

    /// How long it has been back after a failure; `None` where it never failed.
    pub(super) fn back_for(&self, now: Instant) -> Option<Duration> {
        self.back_since
            .map(|since| now.saturating_duration_since(since))
    }

    pub(super) fn is_barred(&self) -> bool {
        self.barred.is_some()
    }

    /// What came of opening it in the background, where that is known by now: why it said no, once.
    pub(super) async fn take_refusal(&mut self) -> Option<Fail> {
        if self.opening.as_ref().is_some_and(JoinHandle::is_finished) {
            self.adopt().await;
        }
        self.refused.take()
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

    /// Opens it in the background, where that is not under way.
    pub(super) fn prepare(&mut self, opening: &Opening, now: Instant) {
        let rests = self.rests_until.is_some_and(|until| now < until);
        let is_busy = self.wire.is_some() || self.opening.is_some() || self.flight.is_some();
        if !is_busy && !rests && self.barred.is_none() {
            self.opening = Some(tokio::spawn(open(
                self.copy.clone(),
                self.shift_ms,
                opening.clone(),
            )));
        }
    }

    async fn adopt(&mut self) {
        let Some(opening) = &mut self.opening else {
            return;
        };
        let opened = opening.await;
        self.opening = None;
        let now = clock::now();
        match opened {
            Ok(Ok(wire)) => self.opened(wire, now),
            Ok(Err(error)) => {
                tracing::debug!(site = %self.copy.site, recorder = %self.copy.recorder, %error, "recorder not back");
                if let Fail::Refused { reason, .. } = &error {
                    self.barred = Some(reason.clone());
                    self.refused = Some(error);
                } else {
                    self.failed(now);
                }
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
        if self.flight.is_some() {
            // Its answer comes first, whoever wanted it; what else became of it is no answer to what is asked now.
            if let Err(error @ (Fail::Refused { .. } | Fail::Barred(_))) = self.arrive(None).await {
                return Err(error);
            }
        }
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        if let Some(why) = &self.barred {
            return Err(Fail::Barred(why.clone()));
        }
        // What it was asked ahead is nobody's by now.
        if let Some(wire) = self.wire.as_mut().filter(|wire| wire.is_ahead())
            && wire.drain(opening.reaction, self.shift_ms).await.is_err()
        {
            self.wire = None;
        }
        let was_there = self.wire.is_some();
        if !was_there && self.opening.is_some() {
            self.adopt().await;
        }
        if self.wire.is_none() {
            if let Some(refused) = self.refused.take() {
                return Err(refused);
            }
            if let Some(why) = &self.barred {
                return Err(Fail::Barred(why.clone()));
            }
            let wire = open(self.copy.clone(), self.shift_ms, opening.clone()).await?;
            self.opened(wire, clock::now());
        }
        match &mut self.wire {
            Some(wire) => Ok((wire, was_there)),
            None => Err(Fail::Lost("not connected".to_owned())),
        }
    }

    /// The same within a time; what takes longer goes on in the background.
    pub(super) async fn wire_within(
        &mut self,
        limit: Option<Duration>,
        opening: &Opening,
    ) -> Result<&mut Wire, Fail> {
        if let Some(limit) = limit
            && self.wire.is_none()
        {
            let task = self.opening.get_or_insert_with(|| {
                tokio::spawn(open(self.copy.clone(), self.shift_ms, opening.clone()))
            });
            let opened = timeout(limit, task).await.map_err(|_| Fail::Late)?;
            self.opening = None;
            let wire = opened.map_err(|error| Fail::Lost(error.to_string()))??;
            self.opened(wire, clock::now());
        }
        self.wire(opening).await.map(|(wire, _)| wire)
    }

    pub(super) fn drop_wire(&mut self) {
        self.wire = None;
    }

    /// How far its clock is ahead of the client's timeline.
    pub(super) fn shift_ms(&self) -> i64 {
        self.shift_ms
    }
}

/// Questions.
impl Leg {
    /// The unit at, or next to, an instant. Where someone else may be asked, no longer than usual is waited for its beginning:
    /// behind that it is [`Fail::Late`], and [`Self::arrive`] gives it when it is there.
    pub(super) async fn seek(
        &mut self,
        question: Question,
        is_replaceable: bool,
        opening: &Opening,
    ) -> Result<Reply, Fail> {
        let waits = |flight: &Flight| flight.question.is_same(&question);
        if self.flight.is_some() && !self.flight.as_ref().is_some_and(waits) {
            self.arrive(None).await?;
        }
        let mut limit = self.pace.late_after();
        if self.flight.is_none() {
            if let Some(why) = &self.barred {
                return Err(Fail::Barred(why.clone()));
            }
            if self.wire.is_none() {
                limit = limit.max(OPEN_LATE);
            }
            self.depart(question, opening);
        }
        self.arrive(is_replaceable.then_some(limit)).await
    }

    fn depart(&mut self, question: Question, opening: &Opening) {
        let begun = Arc::new(AtomicBool::new(false));
        let flight = fly(
            self.wire.take(),
            self.opening.take(),
            self.copy.clone(),
            opening.clone(),
            (question, self.shift_ms),
            Arc::clone(&begun),
        );
        self.flight = Some(Flight {
            question,
            begun,
            task: Task::Here(Box::pin(flight)),
        });
    }

    /// The answer that it owes. Nothing is lost when this is dropped before it is there.
    pub(super) async fn arrive(&mut self, limit: Option<Duration>) -> Result<Reply, Fail> {
        let Some(flight) = &mut self.flight else {
            return Err(Fail::Lost("nothing was asked".to_owned()));
        };
        let landed = match limit {
            None => flight.landed().await,
            Some(limit) => match timeout(limit, flight.landed()).await {
                Ok(landed) => landed,
                Err(_) if flight.begun.load(Ordering::Relaxed) => flight.landed().await,
                Err(_) => {
                    flight.leave();
                    return Err(Fail::Late);
                }
            },
        };
        self.flight = None;
        match landed.wire {
            Some(wire) if landed.is_new => self.opened(wire, clock::now()),
            wire => self.wire = wire,
        }
        match &landed.outcome {
            Ok(_) if !landed.is_new => self.pace.note(landed.took),
            Err(Fail::Barred(why)) => self.barred = Some(why.clone()),
            _ => {}
        }
        landed.outcome
    }

    /// The answer that it owes, where that is there by now.
    pub(super) async fn arrived(&mut self) -> Option<Result<Reply, Fail>> {
        match &mut self.flight.as_mut()?.task {
            Task::Away(task) if task.is_finished() => Some(self.arrive(None).await),
            _ => {
                self.leave();
                None
            }
        }
    }

    /// What it owes goes on by itself.
    pub(super) fn leave(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.leave();
        }
    }

    /// What it answers to `nextsequence` or `previoussequence` behind a unit.
    pub(super) async fn step(
        &mut self,
        method: Method,
        from_ms: Option<i64>,
        opening: &Opening,
    ) -> Result<Reply, Fail> {
        if let Some(from_ms) = from_ms {
            let question = Question {
                seek: Seek::At(from_ms),
                near: None,
                extras: Extras::default(),
                more: 0,
            };
            self.seek(question, false, opening).await?;
        }
        let shift_ms = self.shift_ms;
        let (wire, _) = self.wire(opening).await?;
        let begun = AtomicBool::new(false);
        let outcome = wire.ask(method, shift_ms, opening.reaction, &begun).await;
        if outcome.is_err() {
            self.wire = None;
        }
        outcome
    }
}

/// What is passed on.
impl Leg {
    /// What it answers to a client's own words; see [`Wire::pass`].
    pub(super) async fn pass(
        &mut self,
        document: &[u8],
        from_ms: Option<i64>,
        opening: &Opening,
    ) -> Result<Reply, Fail> {
        loop {
            let (wire, was_there) = self.wire(opening).await?;
            match wire.pass(document, from_ms, opening.reaction).await {
                // It closed a connection that was idle: another one tells.
                Err(Fail::Lost(why)) if was_there && why != SILENT => self.wire = None,
                Err(error) => {
                    if !matches!(error, Fail::Said { .. }) {
                        self.wire = None;
                    }
                    return Err(error);
                }
                Ok(reply) => return Ok(reply),
            }
        }
    }
}

impl Leg {
    /// What it answers to what nobody here knows, and whether it had let in before it said nothing. Asked once more only where the
    /// connection had ended while it was idle; what is not answered may have been done.
    pub(super) async fn relay(
        &mut self,
        document: &[u8],
        opening: &Opening,
    ) -> (Result<Relayed, Fail>, bool) {
        loop {
            let (wire, was_there) = match self.wire(opening).await {
                Ok(wire) => wire,
                Err(error) => return (Err(error), false),
            };
            match wire.relay(document, opening.reaction).await {
                Err(Fail::Lost(why)) if was_there && why != SILENT => self.wire = None,
                Err(error) => {
                    self.wire = None;
                    return (Err(error), true);
                }
                relayed => return (relayed, true),
            }
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if let Some(opening) = &self.opening {
            opening.abort();
        }
        if let Some(Flight {
            task: Task::Away(task),
            ..
        }) = &self.flight
        {
            task.abort();
        }
    }
}

impl Flight {
    async fn landed(&mut self) -> Landed {
        match &mut self.task {
            Task::Here(flight) => flight.await,
            Task::Away(task) => task.await.unwrap_or_else(|error| Landed {
                wire: None,
                is_new: false,
                took: Duration::ZERO,
                outcome: Err(Fail::Lost(error.to_string())),
            }),
        }
    }

    fn leave(&mut self) {
        if let Task::Here(flight) = &mut self.task {
            let nothing = Box::pin(std::future::pending());
            let flight = std::mem::replace(flight, nothing);
            self.task = Task::Away(tokio::spawn(flight));
        }
    }
}

/// Asks, on a connection that is opened where there is none.
async fn fly(
    wire: Option<Wire>,
    opening_task: Option<JoinHandle<Result<Wire, Fail>>>,
    copy: CopyAt,
    opening: Opening,
    (question, shift_ms): (Question, i64),
    begun: Arc<AtomicBool>,
) -> Landed {
    let asked = clock::now();
    let mut is_new = wire.is_none();
    let landed = |wire, is_new, outcome| Landed {
        wire,
        is_new,
        took: clock::now().saturating_duration_since(asked),
        outcome,
    };
    let mut prepared = match (wire, opening_task) {
        (Some(wire), _) => Some(wire),
        (None, Some(task)) => match task.await {
            Ok(Ok(wire)) => Some(wire),
            Ok(Err(error @ Fail::Refused { .. })) => return landed(None, true, Err(error)),
            Ok(Err(_)) | Err(_) => None,
        },
        (None, None) => None,
    };
    loop {
        let mut wire = match prepared.take() {
            Some(wire) => wire,
            None => match open(copy.clone(), shift_ms, opening.clone()).await {
                Ok(wire) => wire,
                Err(error) => return landed(None, true, Err(error)),
            },
        };
        if wire.lacks(opening.granted) {
            let why = "it lacks what the client was promised".to_owned();
            return landed(None, is_new, Err(Fail::Barred(why)));
        }
        match wire.seek(question, shift_ms, &opening, &begun).await {
            Ok(reply) => return landed(Some(wire), is_new, Ok(reply)),
            // It closed a connection that was idle, or only this one is lost: another one tells.
            Err(Fail::Lost(why)) if !is_new && why != SILENT => {
                tracing::debug!(site = %copy.site, why, "another connection");
                is_new = true;
            }
            Err(error @ Fail::Said { .. }) => return landed(Some(wire), is_new, Err(error)),
            Err(error) => return landed(None, is_new, Err(error)),
        }
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
