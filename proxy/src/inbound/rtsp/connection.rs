//! One client connection: requests in order, responses between frames, media as fast as the playback gives it.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use seamline_media::OutQueue;
use seamline_rtsp::{Method, Request, Response};
use tokio::sync::watch;
use tokio::task::coop::has_budget_remaining;
use tokio::task::yield_now;
use tokio::time::Sleep;

use super::pipeline::Pipeline;
use super::session::Session;
use super::sessions::outlive;
use super::wire::Wire;
use crate::clock;
use crate::inbound::hall::Hall;

/// Answers that wait to be taken; beyond it no further request is answered.
const REPLIES_BYTES_MAX: usize = 64 * 1024;
/// A request must be whole this long after its first byte.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// A connection without a session may be idle this long.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);
/// A client that takes nothing for this long is gone.
const BLOCKED_MAX: Duration = Duration::from_secs(600);
/// Chunks handed to one write.
const SLICES: usize = 64;
/// A turn of a connection that has written so much ends. With turns as long as the runtime allows (128 reads), a dozen players in bulk keep the
/// answer of a recorder, and everybody else's pictures, waiting for a quarter of a second.
const TURN_BYTES_MAX: usize = 64 * 1024;
/// How often deadlines are looked at.
pub(super) const TICK: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    wire: Wire,
    peer: SocketAddr,
    requests: Pipeline,
    out: OutQueue,
    session: Session,
    /// Since when the newest request is incomplete.
    partial_since: Option<Instant>,
    /// When the client last said something, or took something while playing.
    heard: Instant,
    /// When the socket last took bytes, or at a tick nothing waited.
    flowed: Instant,
    turn: Turn,
    closing: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client went away, or the network did.
    Lost,
    /// We ended it.
    Ours,
}

/// What a wire is ready for.
enum Ready {
    Read,
    Write,
}

impl Connection {
    pub(super) fn new(wire: Wire, hall: &Arc<Hall>) -> Self {
        let now = clock::now();
        let peer = wire.peer();
        let session = Session::new(hall.clone(), &wire);
        Connection {
            wire,
            peer,
            requests: Pipeline::default(),
            out: OutQueue::new(),
            session,
            partial_since: None,
            heard: now,
            flowed: now,
            turn: Turn::default(),
            closing: false,
        }
    }

    /// Serves the client to its end, and a session over UDP beyond that.
    pub(super) async fn serve(mut self, mut shutdown: watch::Receiver<bool>) {
        tracing::debug!(peer = %self.peer, "connected");
        let ending = self.run(&mut shutdown).await;
        tracing::debug!(peer = %self.peer, "disconnected");
        let heard = self.heard;
        if ending == Ending::Lost
            && let Some(live) = self.session.take_udp()
            && let Some(seat) = self.wire.into_seat()
        {
            outlive(live, seat, heard, shutdown).await;
        }
    }

    async fn run(&mut self, shutdown: &mut watch::Receiver<bool>) -> Ending {
        let mut tick = Tick::new();
        // Whether the playback was driven in this turn of the task, before anything was awaited.
        let mut driven = false;
        loop {
            driven &= self.requests.is_empty();
            self.answer_requests().await;
            if let Err(error) = self.write() {
                tracing::debug!(peer = %self.peer, %error, "client gone");
                return Ending::Lost;
            }
            driven &= !self.turn.end_if_spent().await;
            let blocked = !self.out.is_empty() || self.wire.holds_back();
            driven &= !blocked;
            if self.closing && !blocked {
                return Ending::Ours;
            }
            if driven && !self.closing && self.session.rests() {
                // All that the first look left a waker with would be looked at once more, for nothing.
                driven = false;
                until_woken().await;
            }
            let listening = !self.closing && self.requests.has_room();
            let idle = !self.session.playing();
            let Self {
                wire, session, out, ..
            } = self;
            tokio::select! {
                biased;
                ready = poll_fn(|cx| poll_ready(wire, cx, listening, blocked)), if listening || blocked => {
                    match ready {
                        Ok(Ready::Write) => {}
                        Ok(Ready::Read) if self.read().is_ok() => {}
                        Ok(Ready::Read) | Err(_) => return Ending::Lost,
                    }
                }
                down = shutdown.wait_for(|down| *down), if idle => {
                    let _ = down;
                    return Ending::Ours;
                }
                () = poll_fn(|cx| tick.poll(cx)), if tick.is_due() => {
                    self.session.keep_alive();
                    if !blocked {
                        self.flowed = clock::now();
                    }
                    if let Some(why) = self.overdue() {
                        tracing::info!(peer = %self.peer, why, "connection closed");
                        return Ending::Ours;
                    }
                }
                claim = session.progress(out, &mut driven), if !blocked => {
                    // A leg that found the turn's budget used up waits for the next turn, not for its recorder.
                    driven = claim.is_none() && has_budget_remaining();
                    // Somebody else's, unless this connection is gone and nobody had noticed.
                    if let Some(claim) = claim && self.read().is_err() {
                        self.session.yield_to(claim);
                        return Ending::Lost;
                    }
                }
            }
        }
    }

    fn read(&mut self) -> Result<(), ()> {
        match self.wire.try_read(self.requests.buffer()) {
            Ok(0) => return Err(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.requests.let_go();
                return Ok(());
            }
            Err(_) => return Err(()),
        }
        self.cut();
        Ok(())
    }

    fn cut(&mut self) {
        let came = self.requests.cut();
        if came.anything {
            self.heard = clock::now();
        }
        if let Some(error) = came.refusal {
            tracing::info!(peer = %self.peer, %error, "request refused");
        }
        let owed = self.requests.is_owed();
        self.partial_since = self
            .partial_since
            .filter(|_| !came.request)
            .or_else(|| owed.then(clock::now))
            .filter(|_| owed);
    }

    /// Answers what can be answered now: while a PLAY waits for its first unit, later requests wait too.
    async fn answer_requests(&mut self) {
        while self.out.message_bytes() < REPLIES_BYTES_MAX {
            if self.requests.is_to_be_cut() {
                self.cut();
            }
            if self.session.answer_pending() {
                // What follows would change or end the play: it is not kept waiting for a recorder that may never answer.
                let overrules = |request: &Request| {
                    matches!(
                        request.method,
                        Method::Play | Method::Pause | Method::Teardown
                    )
                };
                if !self.requests.front().is_some_and(overrules) {
                    return;
                }
                if let Some(response) = self.session.answer_now() {
                    self.out.push_message(response.encode());
                }
            }
            let Some(request) = self.requests.pop() else {
                break;
            };
            if let Some(response) = self.session.handle(&request, &mut self.out).await {
                tracing::debug!(peer = %self.peer, method = %request.method, uri = %request.uri, status = response.status, "request");
                // Frames of the play that PAUSE ends go first: they are played, and nothing follows its answer.
                if request.method == Method::Pause {
                    self.out.push_message(response.encode());
                } else {
                    self.out.push_front_message(response.encode());
                }
            }
        }
        // A refusal of garbage is the answer to what came last.
        if let Some(refusal) = self.requests.take_refusal() {
            if let Some(status) = refusal.status() {
                self.out.push_message(Response::new(status).encode());
            }
            self.closing = true;
        }
    }

    /// One write for all that waits, as often as the socket takes it whole.
    fn write(&mut self) -> std::io::Result<()> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.out.io_slices(&mut slices);
            match self
                .wire
                .try_write(slices.get(..filled).unwrap_or_default())
            {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.out.advance(written);
                    self.turn.bytes += written;
                    self.flowed = clock::now();
                    // By taking media a client proves that it is there.
                    self.heard = self.flowed;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match self.wire.try_flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Why the connection must end, if it must.
    fn overdue(&self) -> Option<&'static str> {
        let now = clock::now();
        let since = |then: Instant| now.saturating_duration_since(then);
        if self
            .partial_since
            .is_some_and(|then| since(then) > REQUEST_DEADLINE)
        {
            return Some("request not completed in time");
        }
        if since(self.flowed) > BLOCKED_MAX {
            return Some("client takes nothing");
        }
        // While media flows the client proves by taking it that it is there; over UDP it proves nothing.
        let proves = self.session.playing() && !self.session.is_udp();
        let heard = self
            .session
            .heard()
            .map_or(self.heard, |last| last.max(self.heard));
        if !proves && since(heard) > IDLE_MAX + TICK * 10 {
            return Some("no request within the session's timeout");
        }
        None
    }
}

/// What was written in this turn of the task.
#[derive(Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    /// Lets all others have theirs once it has written enough; whether it did.
    async fn end_if_spent(&mut self) -> bool {
        let spent = self.bytes >= TURN_BYTES_MAX;
        if spent {
            self.bytes = 0;
            yield_now().await;
        }
        spent
    }
}

/// Comes every [`TICK`], and need not be polled in between.
struct Tick {
    timer: Pin<Box<Sleep>>,
    /// The timer wakes the task.
    armed: bool,
}

impl Tick {
    fn new() -> Self {
        Tick {
            timer: Box::pin(tokio::time::sleep(TICK)),
            armed: false,
        }
    }

    /// Whether polling it is of use.
    fn is_due(&self) -> bool {
        !self.armed || tokio::time::Instant::now() >= self.timer.deadline()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Without budget a timer is not looked at.
        self.armed = has_budget_remaining();
        ready!(self.timer.as_mut().poll(cx));
        self.armed = false;
        self.timer
            .as_mut()
            .reset(tokio::time::Instant::now() + TICK);
        Poll::Ready(())
    }
}

/// Gives the turn up; goes on when any of the wakers that were left before wakes the task.
fn until_woken() -> impl Future<Output = ()> {
    let mut woken = false;
    poll_fn(move |_| {
        if std::mem::replace(&mut woken, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

fn poll_ready(
    wire: &mut Wire,
    cx: &mut Context<'_>,
    reading: bool,
    writing: bool,
) -> Poll<std::io::Result<Ready>> {
    if reading && let Poll::Ready(ready) = wire.poll_read_ready(cx) {
        return Poll::Ready(ready.map(|()| Ready::Read));
    }
    if writing {
        return wire.poll_write_ready(cx).map_ok(|()| Ready::Write);
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use tokio::task::coop::poll_proceed;
    use tokio::time::{advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tick_comes_every_second_and_is_not_looked_at_in_between() {
        let mut tick = Tick::new();
        let noop = &mut Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(tick.is_due(), "nothing wakes the task yet");
            assert!(tick.poll(noop).is_pending());
            advance(TICK * 9 / 10).await;
            assert!(!tick.is_due());
            advance(TICK / 10).await;
            assert!(tick.is_due() && tick.poll(noop).is_ready());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_was_looked_at_without_budget_is_looked_at_again() {
        let mut tick = Tick::new();
        poll_fn(|cx| {
            while let Poll::Ready(turn) = poll_proceed(cx) {
                turn.made_progress();
            }
            assert!(tick.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(tick.is_due());
        let ticks = timeout(TICK * 2, poll_fn(|cx| tick.poll(cx))).await;
        ticks.expect("it wakes the task");
    }

    #[tokio::test]
    async fn who_writes_in_bulk_lets_others_have_their_turns() {
        const WRITES: usize = 64;
        let others = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&others);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        let mut turn = Turn::default();
        let mut ended = 0;
        for write in 1..=WRITES {
            turn.bytes += TURN_BYTES_MAX / 2;
            ended += usize::from(turn.end_if_spent().await);
            assert_eq!(ended, write / 2, "two writes of half as much are a turn");
            assert_eq!(others.load(Ordering::Relaxed), ended, "one for each");
        }
        other.abort();
    }

    #[test]
    fn a_turn_that_is_given_up_goes_on_when_it_is_polled_again() {
        let mut rest = std::pin::pin!(until_woken());
        let noop = &mut Context::from_waker(Waker::noop());
        assert!(rest.as_mut().poll(noop).is_pending());
        assert!(rest.as_mut().poll(noop).is_ready());
    }
}
