//! A leg at the ImageServer of an XProtect recorder: groups of pictures, asked for one after the other.

mod pack;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use seamline_media::{LegFormat, Showing, Unit};
use seamline_probes::ProbeError;
use seamline_probes::xprotect::{ImageServer, Site, Token, goto};
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;
use seamline_xprotect::gbd::Video;
use seamline_xprotect::{Answer, Extras, ImageHead, Incoming, Method, Pass};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, timeout};

use super::{Arrival, LegFailure, Order};
use crate::clock;
use pack::{Counts, Packer};

/// Groups of pictures that are asked for before they are read.
const AHEAD: usize = 2;
/// The same of pictures that each are a group, as MJPEG is.
const AHEAD_SHORT: usize = 8;
const SHORT_MS: i64 = 200;
/// How often the growing end of a recording is asked for more.
const TAIL_EVERY: Duration = Duration::from_millis(500);
/// For how long, before the recording counts as over.
const TAIL_PATIENCE: Duration = Duration::from_secs(10);
/// A newest picture older than this is the last one.
const TAIL_OLD: Duration = Duration::from_secs(15);
/// A group whose last picture is so much before the wanted instant ends ahead of a gap.
const GAP_MS: i64 = 1000;
/// Of one group of pictures.
const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;

fn lost(detail: impl Into<String>) -> LegFailure {
    LegFailure::new(Failure::Lost, detail)
}

fn failed(error: &ProbeError) -> LegFailure {
    let failure = match error {
        ProbeError::Credentials => Failure::Credentials,
        ProbeError::NotFound => Failure::NoFootage,
        ProbeError::Busy | ProbeError::Crowded | ProbeError::Resting => Failure::Busy,
        _ => Failure::Lost,
    };
    LegFailure::new(failure, error.to_string())
}

/// See the module's text.
pub struct XProtectLeg {
    order: Order,
    site: Arc<Site>,
    server: ImageServer,
    device: String,
    token: Token,
    renewing: Option<Renewing>,
    extras: Extras,
    packer: Option<Packer>,
    counts: Counts,
    /// Those whose times are not known yet.
    showing: Showing<Video>,
    format: LegFormat,
    /// Requests without an answer, oldest first.
    asked: VecDeque<(i64, Ask)>,
    group: Option<Group>,
    /// Key time and pictures of the group that came last.
    last: Option<(i64, usize)>,
    /// The latest head said that nothing newer is there.
    at_end: bool,
    pause: Option<Pin<Box<Sleep>>>,
    /// Since when nothing new came.
    quiet_since: Option<Instant>,
    short: bool,
    ready: VecDeque<Arrival>,
    over: bool,
}

/// Goes on by itself: a leg whose client has enough is not polled for longer than some tokens live.
type Renewing = JoinHandle<Result<Token, ProbeError>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Pictures,
    Update,
    Live,
}

/// An answer on its way.
struct Group {
    head: ImageHead,
    pictures: usize,
    bytes: usize,
    /// Pictures that came with an earlier answer.
    skip: usize,
    /// In reverse all of it; forwards what comes before it is known whether the wanted instant is in a gap.
    held: Option<Vec<Unit>>,
    newest_ms: i64,
    interval_ms: i64,
}

impl std::fmt::Debug for XProtectLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XProtectLeg")
            .field("from", &self.order.from)
            .finish_non_exhaustive()
    }
}

impl XProtectLeg {
    /// Connects, shows the token, and waits for the first picture, whose format must fit.
    pub async fn open(site: Arc<Site>, order: Order) -> Result<Self, LegFailure> {
        let limit = order.reaction.connect + order.reaction.response;
        let opened = timeout(limit, site.open(&order.remote))
            .await
            .map_err(|_| lost(format!("no session within {} ms", limit.as_millis())))?
            .map_err(|error| failed(&error))?;
        let mut leg = XProtectLeg {
            extras: Extras {
                compression: None,
                key_frames_only: matches!(order.frames, Frames::Intra { .. }),
            },
            order,
            site,
            server: opened.server,
            device: opened.device,
            token: opened.token,
            renewing: None,
            packer: None,
            counts: Counts::default(),
            showing: Showing::default(),
            format: LegFormat::default(),
            asked: VecDeque::new(),
            group: None,
            last: None,
            at_end: false,
            pause: None,
            quiet_since: None,
            short: false,
            ready: VecDeque::new(),
            over: false,
        };
        let from = leg.order.from.shift(leg.order.clock_offset_us);
        let (method, ask) = match (leg.order.live, leg.order.direction) {
            (true, _) => (
                Method::Live {
                    initial_image: false,
                    compression: 90,
                },
                Ask::Live,
            ),
            (false, Direction::Forward) => (goto(from, leg.extras), Ask::Pictures),
            // The last picture before it, to the millisecond.
            (false, Direction::Reverse) => (goto(from.shift(-1), leg.extras), Ask::Pictures),
        };
        leg.ask(method, ask);
        let limit = leg.order.reaction.first_unit;
        let first = std::future::poll_fn(|cx| leg.poll_begun(cx));
        timeout(limit, first)
            .await
            .map_err(|_| lost(format!("no picture within {} ms", limit.as_millis())))??;
        Ok(leg)
    }

    /// Until the format is known, or that there is nothing.
    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LegFailure>> {
        while self.packer.is_none() {
            if let Some(Arrival::Ended) = self.ready.front() {
                let empty = "nothing is recorded of the camera";
                return Poll::Ready(Err(LegFailure::new(Failure::NoFootage, empty)));
            }
            let incoming = ready!(self.server.poll_next(cx)).map_err(|error| failed(&error))?;
            self.take(incoming)?;
        }
        Poll::Ready(Ok(()))
    }

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        self.format.clone()
    }

    /// See [`super::Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if let Some(arrival) = self.ready.pop_front() {
                return Poll::Ready(arrival);
            }
            if self.over {
                return Poll::Ready(Arrival::Ended);
            }
            self.renew(cx);
            if let Some(pause) = &mut self.pause
                && pause.as_mut().poll(cx).is_ready()
            {
                self.pause = None;
            }
            self.ask_on();
            let outcome = match ready!(self.server.poll_next(cx)) {
                Ok(incoming) => self.take(incoming),
                Err(error) => Err(failed(&error)),
            };
            if let Err(failure) = outcome {
                self.over = true;
                self.give_out();
                self.ready.push_back(Arrival::Failed(failure));
            }
        }
    }

    /// Pictures of a group that the failure cut off: they are whole, and may be all that there is. Those that are shown behind
    /// some that did not come are not among them: nothing tells when they are shown.
    fn give_out(&mut self) {
        let known = self.showing.break_off();
        // What is refused now has failed already.
        let _ = self.set_out(known);
        if self.order.direction == Direction::Forward
            && let Some(held) = self.group.take().and_then(|group| group.held)
        {
            let from_us = self.order.from.as_micros();
            if held.iter().any(|unit| unit.capture_us >= from_us) {
                self.ready.extend(held.into_iter().map(Arrival::Unit));
            }
        }
    }

    /// Whether the recorder is gone although units it sent may still wait to be read.
    pub fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        self.server.peer_closed(cx)
    }

    /// Renews the token, or takes one along that others got meanwhile: a session dies with the one it was opened with.
    pub fn keep_alive(&mut self, _now: Instant) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.renew(&mut cx);
        if let Some(newest) = self
            .site
            .newest()
            .filter(|newest| newest.renew_at > self.token.renew_at)
        {
            self.update(newest);
        }
        let _ = self.server.flush(&mut cx);
    }

    fn renew(&mut self, cx: &mut Context<'_>) {
        if self.renewing.is_none() && clock::now() >= self.token.renew_at {
            let site = Arc::clone(&self.site);
            self.renewing = Some(tokio::spawn(async move { site.token().await }));
        }
        let Some(renewing) = &mut self.renewing else {
            return;
        };
        if let Poll::Ready(renewed) = Pin::new(renewing).poll(cx) {
            self.renewing = None;
            let renewed =
                renewed.unwrap_or_else(|why| Err(ProbeError::Unreachable(why.to_string().into())));
            match renewed {
                Ok(token) => self.update(token),
                Err(error) => {
                    tracing::warn!(site = ?self.site, remote = %self.order.remote, %error, "token not renewed");
                    self.token.renew_at = clock::now() + TAIL_PATIENCE;
                }
            }
        }
    }

    fn update(&mut self, token: Token) {
        if token.text != self.token.text {
            let pass = Pass {
                device: self.device.clone(),
                stream: None,
                token: token.text.to_string(),
            };
            self.ask(Method::ConnectUpdate(pass), Ask::Update);
        }
        self.token = token;
    }

    fn ask(&mut self, method: Method, ask: Ask) {
        let number = self.server.ask(method);
        self.asked.push_back((number, ask));
    }

    /// Asks for the groups that follow, as many as may be on their way.
    fn ask_on(&mut self) {
        if self.order.live || self.pause.is_some() || self.over {
            return;
        }
        let waiting = self.asked.iter().filter(|(_, ask)| *ask == Ask::Pictures);
        let ahead = match (self.at_end || self.last.is_none(), self.short) {
            (true, _) => 1,
            (false, true) => AHEAD_SHORT,
            (false, false) => AHEAD,
        };
        for _ in waiting.count()..ahead {
            let method = match self.order.direction {
                Direction::Forward => Method::Next(self.extras),
                Direction::Reverse => Method::Previous(self.extras),
            };
            self.ask(method, Ask::Pictures);
        }
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), LegFailure> {
        match incoming {
            Incoming::Document(document) => self.document(&document),
            Incoming::Head(head) => self.head(head),
            Incoming::Body(body) => {
                let Some(group) = &mut self.group else {
                    return Ok(());
                };
                group.bytes += body.len();
                if group.bytes > GROUP_BYTES_MAX && !self.order.live {
                    return Err(lost("sends too much for one group of pictures"));
                }
                let fallback_ms = group.head.current_ms;
                for mut picture in seamline_probes::xprotect::pictures(&body)
                    .map_err(|error| LegFailure::new(Failure::Mismatch, error.to_string()))?
                {
                    if picture.picture_ms == 0 {
                        picture.picture_ms = fallback_ms.unwrap_or(0);
                    }
                    self.arrived(picture)?;
                }
                Ok(())
            }
            Incoming::End => self.end_of_answer(),
        }
    }

    fn document(&mut self, document: &[u8]) -> Result<(), LegFailure> {
        let answer = Answer::parse(document).map_err(|error| lost(error.to_string()))?;
        match answer {
            Answer::Status { items, .. } => {
                if items.contains(&(Answer::STATUS_CAMERA_LOST, 1)) {
                    return Err(lost("the recorder has lost the camera"));
                }
                if self.packer.is_some() {
                    self.ready.push_back(Arrival::Alive);
                }
                Ok(())
            }
            Answer::Connected(connected) => {
                let place = self.asked.iter().position(|(_, ask)| *ask == Ask::Update);
                place.and_then(|place| self.asked.remove(place));
                if connected.accepted {
                    return Ok(());
                }
                let reason = connected.reason.unwrap_or_default();
                Err(lost(format!("another token is refused: {reason}")))
            }
            Answer::Other { method, reason, .. } => {
                let reason = reason.unwrap_or_else(|| "no pictures".to_owned());
                Err(lost(format!("answers {method} with: {reason}")))
            }
            Answer::Alarms { .. } => Ok(()),
        }
    }

    fn head(&mut self, head: ImageHead) -> Result<(), LegFailure> {
        if self.order.live {
            self.group = Some(Group::new(head, None));
            return Ok(());
        }
        let waiting = self.asked.front().copied();
        let Some((number, Ask::Pictures)) = waiting else {
            return Err(lost("sends pictures that were not asked for"));
        };
        if head.request_id.is_some_and(|id| id != number) {
            return Err(lost("answers another request than the oldest"));
        }
        self.at_end = head.next_ms.is_some() && head.next_ms == head.current_ms;
        let reverse = self.order.direction == Direction::Reverse;
        let kept = (reverse || self.last.is_none()).then(Vec::new);
        let mut group = Group::new(head, kept);
        if let (Some((key, pictures)), Some(current)) = (self.last, group.head.current_ms) {
            group.skip = match (current == key, reverse, current > key) {
                (true, false, _) => pictures,
                (false, false, true) | (false, true, false) => 0,
                // Behind its end a recorder gives the same again; whatever else is not on the way is not wanted.
                _ => usize::MAX,
            };
        }
        self.group = Some(group);
        Ok(())
    }

    /// Pictures are dated as they came, in decoding order: where they may be shown in another, some wait for those that follow.
    fn arrived(&mut self, picture: Video) -> Result<(), LegFailure> {
        if self.group.is_none() || self.order.live {
            return self.picture(&picture);
        }
        let count = self.counts.count(&picture);
        if !self.counts.may_differ() {
            let known = self.showing.finish();
            self.set_out(known)?;
            return self.picture(&picture);
        }
        let came_ms = picture.picture_ms;
        let known = self.showing.push(picture, came_ms, count);
        self.set_out(known)
    }

    fn set_out(&mut self, known: Vec<(Video, i64)>) -> Result<(), LegFailure> {
        for (mut picture, shown_ms) in known {
            picture.picture_ms = shown_ms;
            self.picture(&picture)?;
        }
        Ok(())
    }

    fn picture(&mut self, picture: &Video) -> Result<(), LegFailure> {
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        let place = group.pictures;
        group.pictures += 1;
        if place < group.skip {
            return Ok(());
        }
        if group.newest_ms > 0 {
            group.interval_ms = group.interval_ms.max(picture.picture_ms - group.newest_ms);
        }
        group.newest_ms = group.newest_ms.max(picture.picture_ms);
        if self.packer.is_none() {
            if !picture.is_key() {
                return Ok(());
            }
            let (packer, format) = Packer::new(picture, &self.order)?;
            (self.packer, self.format) = (Some(packer), format);
        }
        let Some(packer) = &mut self.packer else {
            return Ok(());
        };
        let Some(unit) = packer.unit(picture, &self.order)? else {
            return Ok(());
        };
        let reverse = self.order.direction == Direction::Reverse;
        if reverse && unit.capture_us >= self.order.from.as_micros() {
            return Ok(());
        }
        let Some(held) = &mut group.held else {
            self.quiet_since = None;
            self.ready.push_back(Arrival::Unit(unit));
            return Ok(());
        };
        held.push(unit);
        let slack_us = GAP_MS * 1000;
        let reaches = held
            .last()
            .is_some_and(|unit| unit.capture_us >= self.order.from.as_micros() - slack_us);
        if !reverse && reaches {
            self.release();
        }
        Ok(())
    }

    /// The wanted instant is not in a gap behind this group.
    fn release(&mut self) {
        let held = self.group.as_mut().and_then(|group| group.held.take());
        self.quiet_since = None;
        self.ready
            .extend(held.into_iter().flatten().map(Arrival::Unit));
    }

    fn end_of_answer(&mut self) -> Result<(), LegFailure> {
        let known = self.showing.finish();
        self.set_out(known)?;
        let Some(group) = self.group.take() else {
            return Err(lost("ends an answer that did not begin"));
        };
        if self.order.live {
            return Ok(());
        }
        self.asked.pop_front();
        if group.pictures == 0 && group.head.current_ms.unwrap_or(0) == 0 {
            self.end();
            return Ok(());
        }
        let current = group.head.current_ms.unwrap_or(group.newest_ms);
        let new = group.pictures > group.skip;
        if new {
            let next = group.head.next_ms.unwrap_or(current);
            self.short = (1..SHORT_MS).contains(&(next - current));
            self.last = Some((current, group.pictures));
        }
        if self.order.direction == Direction::Reverse {
            let begins = group.head.prev_ms == group.head.current_ms;
            if let Some(units) = group.held.filter(|units| new && !units.is_empty()) {
                self.ready.push_back(Arrival::Group(units));
            }
            if begins || !new {
                self.end();
            }
            return Ok(());
        }
        let newest_ms = group.newest_ms;
        if let Some(held) = group.held {
            // It ends ahead of a gap in which the wanted instant lies, or its pictures come seldom.
            let from = self.order.from.shift(self.order.clock_offset_us);
            let seldom = from.as_unix_ms() - newest_ms < group.interval_ms * 2;
            if seldom || self.order.recorded_until.is_some() {
                self.ready.extend(held.into_iter().map(Arrival::Unit));
            }
        }
        if self.at_end {
            self.wait_for_more(newest_ms, new);
        }
        Ok(())
    }

    /// At the newest group: it goes on, or it is over.
    fn wait_for_more(&mut self, newest_ms: i64, new: bool) {
        let now = clock::now();
        if new {
            self.quiet_since = None;
            let newest = Timestamp::from_unix_ms(newest_ms).shift(-self.order.clock_offset_us);
            if clock::wall().since(newest) > TAIL_OLD {
                self.end();
                return;
            }
        }
        let since = *self.quiet_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= TAIL_PATIENCE {
            self.end();
            return;
        }
        self.pause = Some(Box::pin(sleep(TAIL_EVERY)));
        self.ready.push_back(Arrival::Alive);
    }

    fn end(&mut self) {
        self.over = true;
        self.ready.push_back(Arrival::Ended);
    }
}

impl Group {
    fn new(head: ImageHead, kept: Option<Vec<Unit>>) -> Self {
        Self {
            head,
            pictures: 0,
            bytes: 0,
            skip: 0,
            held: kept,
            newest_ms: 0,
            interval_ms: 0,
        }
    }
}
