//! A connection to a recorder's ImageServer, and what it is asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use seamline_probes::ProbeError;
use seamline_probes::xprotect::{ImageServer, Site, Token};
use seamline_routing::policy::Reaction;
use seamline_xprotect::gbd;
use seamline_xprotect::merge::{Seek, Unit};
use seamline_xprotect::relay::ConnectDocument;
use seamline_xprotect::{
    Answer, Call, Capabilities, Connected, Content, Extras, ImageHead, Incoming, Kept, Method,
    Pass, relay,
};
use tokio::time::timeout;

use super::super::passes::Key;
use super::super::recorders::CopyAt;
use super::leg::{Fail, Opening};
use super::reply::{Reply, Span};
use crate::clock;

/// Of one answer, a group of pictures: what is kept in memory before its head goes out.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Steps that are sent ahead: as many as clients were seen to send at once.
const AHEAD_MAX: usize = 12;
/// Parts of one answer.
const PIECES_MAX: usize = 3 * 4096;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) seek: Seek,
    /// A unit of this site that is known, next to it.
    pub(super) near: Option<Unit>,
    pub(super) extras: Extras,
    /// Steps that will be asked behind this one: where it is a step itself, they are sent with it.
    pub(super) more: usize,
}

impl Question {
    /// Whether it is answered by the same, whatever will be asked behind it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let more = self.more;
        *self == Self { more, ..*other }
    }
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
    /// Steps that were sent and not waited for yet, with their numbers: where they lead is known when they are.
    ahead: VecDeque<(Method, i64)>,
    /// Whether it is the recorder that the client means: whatever it makes of the client's wishes, it is what the client would get.
    is_meant: bool,
}

#[derive(Debug)]
struct Account {
    token: Token,
    device: Arc<str>,
    site: Arc<Site>,
}

/// Connects and shows a token; another one of the house where that is refused.
pub(super) async fn open(copy: CopyAt, shift_ms: i64, opening: Opening) -> Result<Wire, Fail> {
    let limit = opening.reaction.connect + opening.reaction.response;
    timeout(limit, open_now(&copy, shift_ms, &opening))
        .await
        .map_err(|_| Fail::Lost(SILENT.to_owned()))?
}

async fn open_now(copy: &CopyAt, shift_ms: i64, opening: &Opening) -> Result<Wire, Fail> {
    let Key::Account = opening.key(copy) else {
        return open_with(copy, shift_ms, opening, None).await;
    };
    let token = copy.server.token().await.map_err(|error| lost(&error))?;
    match open_with(copy, shift_ms, opening, Some(token.clone())).await {
        Err(Fail::Refused { reason, .. }) if !is_about_device(&reason) => {
            let other = copy.server.another_token(&token).await;
            let other = other.map_err(|error| lost(&error))?;
            open_with(copy, shift_ms, opening, Some(other)).await
        }
        outcome => outcome,
    }
}

/// Only one text is known of those with which recorders refuse. What is no matter of the device is one of the token.
fn is_about_device(reason: &str) -> bool {
    reason.to_ascii_lowercase().contains("device")
}

async fn open_with(
    copy: &CopyAt,
    shift_ms: i64,
    opening: &Opening,
    token: Option<Token>,
) -> Result<Wire, Fail> {
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
        opening.document.other(id, &copy.device, shown, shift_ms)
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
            ahead: VecDeque::new(),
            is_meant: copy.is_primary,
        }),
        Ok(Answer::Connected(connected)) => Err(Fail::Refused {
            reason: connected.reason.unwrap_or_default(),
            document,
        }),
        Ok(other) => Err(Fail::Lost(format!("to connect: {other:?}"))),
        Err(error) => Err(Fail::Lost(error.to_string())),
    }
}

impl Wire {
    /// Whether it cannot send as the client was promised.
    pub(super) fn lacks(&self, granted: Option<Capabilities>) -> bool {
        let (Some(theirs), Some(granted)) = (self.connected.capabilities, granted) else {
            return false;
        };
        granted.multipart && !theirs.multipart
            || granted.privacy_mask && !theirs.privacy_mask
            || granted.data_restriction && !theirs.data_restriction
    }

    /// The unit at, or next to, an instant.
    pub(super) async fn seek(
        &mut self,
        question: Question,
        shift_ms: i64,
        opening: &Opening,
        begun: &AtomicBool,
    ) -> Result<Reply, Fail> {
        let reply = self.found(question, shift_ms, opening, begun).await?;
        if !self.is_meant
            && let Some(why) = unfit(&reply, &opening.document)
        {
            return Err(Fail::Barred(why.to_owned()));
        }
        Ok(reply)
    }

    async fn found(
        &mut self,
        question: Question,
        shift_ms: i64,
        opening: &Opening,
        begun: &AtomicBool,
    ) -> Result<Reply, Fail> {
        let Question {
            seek,
            near,
            extras,
            more,
        } = question;
        self.update(opening.reaction).await?;
        let at = |at_ms: i64| Method::Goto {
            time_ms: at_ms.saturating_add(shift_ms).clamp(0, LATEST_MS),
            extras,
        };
        let method_from = |position_ms: Option<i64>| {
            let beside = near.filter(|near| position_ms == Some(near.start_ms));
            match (seek, beside) {
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
            }
        };
        let mut method = method_from(self.position_ms);
        if self.ahead.front().is_some_and(|(sent, _)| *sent != method) {
            self.drain(opening.reaction, shift_ms).await?;
            method = method_from(self.position_ms);
        }
        let steps = matches!(method, Method::Next(_) | Method::Previous(_));
        if steps {
            // The first of them is what is asked now.
            for _ in self.ahead.len()..=more.min(AHEAD_MAX) {
                let id = self.server.ask(method.clone());
                self.ahead.push_back((method.clone(), id));
            }
        }
        let mut reply = self.ask(method, shift_ms, opening.reaction, begun).await?;
        if let Seek::At(at_ms) = seek {
            if steps && !fits(&reply, at_ms) {
                reply = self
                    .ask(at(at_ms), shift_ms, opening.reaction, begun)
                    .await?;
            }
            // It keeps finer times than it tells: the unit that starts there comes behind this one.
            let rounded = reply
                .unit
                .is_some_and(|unit| unit.next_ms == at_ms && !unit.is_last());
            if rounded {
                reply = self
                    .ask(Method::Next(extras), shift_ms, opening.reaction, begun)
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
    pub(super) async fn ask(
        &mut self,
        method: Method,
        shift_ms: i64,
        reaction: Reaction,
        begun: &AtomicBool,
    ) -> Result<Reply, Fail> {
        let sent = match self.ahead.pop_front() {
            Some((sent, id)) if sent == method => Some(id),
            Some(other) => {
                self.ahead.push_front(other);
                self.drain(reaction, shift_ms).await?;
                None
            }
            None => None,
        };
        let id = sent.unwrap_or_else(|| self.server.ask(method));
        let (head, kept, span) = self.whole(id, reaction, begun).await?;
        let reply = Reply::new(head, kept, &span, shift_ms)?;
        self.position_ms = reply.unit.map(|unit| unit.start_ms);
        Ok(reply)
    }

    /// Whether it owes answers to steps that nobody waits for any more.
    pub(super) fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Throws away what it was asked ahead.
    pub(super) async fn drain(&mut self, reaction: Reaction, shift_ms: i64) -> Result<(), Fail> {
        let begun = AtomicBool::new(false);
        while let Some((_, id)) = self.ahead.pop_front() {
            match self.whole(id, reaction, &begun).await {
                Ok((head, ..)) => self.position_ms = head.current_ms.map(|ms| ms - shift_ms),
                // It has an answer of its own to that.
                Err(Fail::Said { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks with what the client said; the answer is whole, and nothing in it is judged. A step goes on from the unit that the
    /// client had last, also where this connection has not sent that one.
    pub(super) async fn pass(
        &mut self,
        document: &[u8],
        from_ms: Option<i64>,
        reaction: Reaction,
    ) -> Result<Reply, Fail> {
        self.update(reaction).await?;
        let begun = AtomicBool::new(false);
        if let Some(time_ms) = from_ms.filter(|from_ms| self.position_ms != Some(*from_ms)) {
            let id = self.server.ask(Method::Goto {
                time_ms,
                extras: Extras::default(),
            });
            self.whole(id, reaction, &begun).await?;
        }
        let id = self.server.number();
        let asked =
            relay::numbered(document, id).map_err(|error| Fail::Barred(error.to_string()))?;
        self.server.send(&asked);
        let (head, kept, _) = self.whole(id, reaction, &begun).await?;
        self.position_ms = head.current_ms;
        Ok(Reply::as_told(head, kept))
    }

    /// Asks with what a client said, to which nobody here knows the answer: a document, or pictures.
    pub(super) async fn relay(
        &mut self,
        document: &[u8],
        reaction: Reaction,
    ) -> Result<Relayed, Fail> {
        let id = self.server.number();
        let asked =
            relay::numbered(document, id).map_err(|error| Fail::Barred(error.to_string()))?;
        self.server.send(&asked);
        loop {
            match self.incoming(reaction).await? {
                Incoming::Document(document) => match Answer::parse(&document) {
                    Ok(Answer::Status { .. }) => {}
                    _ => return Ok(Relayed::Document(document)),
                },
                head @ Incoming::Head(_) => {
                    let begun = AtomicBool::new(false);
                    let whole = self.whole_behind(Some(head), id, reaction, &begun);
                    let (head, kept, _) = whole.await?;
                    self.position_ms = None;
                    return Ok(Relayed::Pictures(Reply::as_told(head, kept)));
                }
                _ => return Err(Fail::Lost("pictures without a head".to_owned())),
            }
        }
    }

    /// The whole of an answer with pictures.
    async fn whole(
        &mut self,
        id: i64,
        reaction: Reaction,
        begun: &AtomicBool,
    ) -> Result<(ImageHead, Vec<Kept>, Span), Fail> {
        self.whole_behind(None, id, reaction, begun).await
    }

    /// The same where its first piece is there.
    async fn whole_behind(
        &mut self,
        mut first: Option<Incoming>,
        id: i64,
        reaction: Reaction,
        begun: &AtomicBool,
    ) -> Result<(ImageHead, Vec<Kept>, Span), Fail> {
        let (mut head, mut bytes, mut span) = (None, 0, Span::default());
        loop {
            let incoming = match first.take() {
                Some(first) => first,
                None => self.incoming(reaction).await?,
            };
            match incoming {
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
                    begun.store(true, Ordering::Relaxed);
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
        Ok((head, kept, span))
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
        // Its answer would come behind those that are on their way: it is shown between two runs of steps.
        if newest.text == account.token.text || !self.ahead.is_empty() {
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

/// What a recorder says to something that nobody here knows.
pub(super) enum Relayed {
    Document(Bytes),
    Pictures(Reply),
}

/// Why an answer is not of the kind that the client asked for when it connected.
fn unfit(reply: &Reply, asked: &ConnectDocument) -> Option<&'static str> {
    reply.unit?;
    // Sound and metadata have none.
    let is_native = reply.codec.is_some_and(|codec| codec != gbd::Codec::Jpeg);
    if asked.wants_jpeg() && is_native {
        return Some("it sends native pictures to who asked for JPEG");
    }
    let in_parts = matches!(reply.head.content, Content::Parts { .. });
    (in_parts && !asked.takes_parts()).then_some("it sends parts to who takes none")
}

/// Whether an answer is the one to `goto`.
fn fits(reply: &Reply, at_ms: i64) -> bool {
    let Some(unit) = reply.unit else {
        return true;
    };
    let begun = unit.start_ms <= at_ms || unit.is_first();
    begun && (unit.is_last() || at_ms < unit.next_ms)
}

pub(super) const SILENT: &str = "no answer in time";
/// The end of the year 9999.
const LATEST_MS: i64 = 253_402_300_799_000;
