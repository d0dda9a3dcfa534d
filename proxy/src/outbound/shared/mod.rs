//! One leg for all players of a copy who ask for the same footage at about the same time: it is opened and read once.
//!
//! There is no task between leg and players: whoever wants more first reads it, and what comes is kept for the others in a ring. Who
//! falls out of the ring, because it was paused or takes its footage too slowly, goes on in a leg of its own, behind the last unit
//! that it took. Who may watch was decided before any leg is wanted.

mod rejoin;
mod ring;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use seamline_media::{LegFormat, Unit};
use seamline_routing::camera::CopyIx;
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Arrival, Leg, LegFailure, Order, Rates};
use crate::clock;
use crate::soundings::Door;
use rejoin::{Place, Rejoin, Taken};
use ring::{Kept, Ring, Taker};

/// Takers may join for so long after a leg was opened, and for longer where some have.
const JOIN_ALONE: Duration = Duration::from_millis(300);
const JOIN_SHARED: Duration = Duration::from_secs(1);
/// Most that is kept for all takers of one leg, and while others may join.
const RING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Footage wanted from so much later is likely to begin at the same random access point: worth to wait for a leg that is being
/// opened.
const NEAR: Duration = Duration::from_secs(1);

/// Whether a leg from one instant on is likely to begin with the random access point that another instant needs.
fn is_near(from_us: i64, wanted_us: i64) -> bool {
    (0..=NEAR.as_micros() as i64).contains(&(wanted_us - from_us))
}

/// Legs of one camera: those that others may join, and what all of them came to.
#[derive(Debug, Default)]
pub struct Hub {
    legs: Mutex<Vec<Listed>>,
    /// Of each copy.
    pub rates: Rates,
}

/// What legs must have in common to be one.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    copy: CopyIx,
    until: Option<Timestamp>,
    frames: Frames,
    rate: f64,
    clock_offset_us: i64,
    wanted: Arc<[bool]>,
    tracks: Arc<[seamline_rtsp::sdp::Track]>,
}

#[derive(Debug)]
struct Listed {
    kind: Kind,
    from: Timestamp,
    state: watch::Receiver<State>,
}

#[derive(Clone, Debug)]
enum State {
    Opening,
    Open(Weak<Shared>),
    Failed(LegFailure),
}

enum Found {
    Leg(Box<SharedLeg>),
    Opening(watch::Receiver<State>),
    Nothing(watch::Sender<State>),
}

impl Hub {
    /// Opens a leg, or joins one.
    pub async fn open(&self, copy: CopyIx, door: Door, order: Order) -> Result<Leg, LegFailure> {
        if order.live || order.direction == Direction::Reverse {
            return door.open(order).await;
        }
        let kind = Kind {
            copy,
            until: order.until,
            frames: order.frames,
            rate: order.rate,
            clock_offset_us: order.clock_offset_us,
            wanted: Arc::clone(&order.wanted),
            tracks: Arc::clone(&order.tracks),
        };
        let mut waits = true;
        loop {
            match self.find(&kind, &door, &order, waits) {
                Found::Leg(leg) => return Ok(Leg::Shared(leg)),
                Found::Opening(mut state) => {
                    waits = false;
                    let opened = state.wait_for(|state| !matches!(state, State::Opening));
                    let failure = opened.await.ok().and_then(|state| match &*state {
                        State::Failed(failure) => Some(failure.clone()),
                        State::Opening | State::Open(_) => None,
                    });
                    // Who was opening it may have left.
                    if let Some(failure) = failure {
                        return Err(failure);
                    }
                }
                Found::Nothing(told) => {
                    let opened = door.clone().open(order.clone()).await;
                    return match opened {
                        Err(failure) => {
                            told.send_replace(State::Failed(failure.again()));
                            Err(failure)
                        }
                        Ok(leg) => {
                            let (shared, leg) = Shared::begin(leg, door, order);
                            told.send_replace(State::Open(Arc::downgrade(&shared)));
                            Ok(Leg::Shared(Box::new(leg)))
                        }
                    };
                }
            }
        }
    }

    fn find(&self, kind: &Kind, door: &Door, order: &Order, waits: bool) -> Found {
        let now = clock::now();
        let mut legs = self.legs.lock().unwrap_or_else(PoisonError::into_inner);
        legs.retain(|listed| listed.may_be_joined(now));
        let wanted_us = order.from.as_micros();
        for listed in legs.iter().filter(|listed| listed.kind == *kind) {
            let open = match &*listed.state.borrow() {
                State::Open(shared) => shared.upgrade(),
                State::Opening if waits && is_near(listed.from.as_micros(), wanted_us) => {
                    return Found::Opening(listed.state.clone());
                }
                State::Opening | State::Failed(_) => None,
            };
            let joined = open.and_then(|shared| SharedLeg::join(&shared, listed.from, door, order));
            if let Some(leg) = joined {
                return Found::Leg(Box::new(leg));
            }
        }
        let (told, state) = watch::channel(State::Opening);
        legs.push(Listed {
            kind: kind.clone(),
            from: order.from,
            state,
        });
        Found::Nothing(told)
    }
}

impl Listed {
    fn may_be_joined(&self, now: Instant) -> bool {
        match &*self.state.borrow() {
            State::Opening => self.state.has_changed().is_ok(),
            State::Open(shared) => shared
                .upgrade()
                .is_some_and(|shared| shared.lock().joinable(now)),
            State::Failed(_) => false,
        }
    }
}

/// A leg and its takers.
#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Inner {
    leg: Leg,
    /// The track that seams are cut on.
    master: usize,
    ring: Ring<Held>,
    over: Option<Over>,
    opened: Instant,
    joined: bool,
    /// A taker was told that it sends nothing.
    told: bool,
}

impl Inner {
    /// Whether others may still come; closes the ring when its time is over.
    fn joinable(&mut self, now: Instant) -> bool {
        let join = if self.joined { JOIN_SHARED } else { JOIN_ALONE };
        if self.ring.is_open() && now.saturating_duration_since(self.opened) >= join {
            self.ring.close();
        }
        self.ring.is_open() && !matches!(self.over, Some(Over::Failed(_)))
    }
}

#[derive(Clone, Debug)]
enum Over {
    Ended,
    Failed(LegFailure),
}

impl Over {
    /// The same for those who are told after the first.
    fn again(&self) -> Self {
        match self {
            Over::Ended => Over::Ended,
            Over::Failed(failure) => Over::Failed(failure.again()),
        }
    }
}

impl From<Over> for Arrival {
    fn from(over: Over) -> Self {
        match over {
            Over::Ended => Arrival::Ended,
            Over::Failed(failure) => Arrival::Failed(failure),
        }
    }
}

/// A unit, and whether seams are cut on its track.
#[derive(Debug)]
struct Held {
    unit: Unit,
    master: bool,
}

impl Kept for Held {
    fn bytes(&self) -> usize {
        self.unit.packets.len_bytes()
    }

    fn begins(&self) -> Option<i64> {
        self.captured().filter(|_| self.unit.random_access)
    }

    fn captured(&self) -> Option<i64> {
        self.master.then_some(self.unit.capture_us)
    }
}

/// Wakes all takers that wait.
#[derive(Debug, Default)]
struct Bell(Mutex<HashMap<Taker, Waker>>);

impl Bell {
    fn wait(&self, taker: Taker, waker: &Waker) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .entry(taker)
            .and_modify(|known| known.clone_from(waker))
            .or_insert_with(|| waker.clone());
    }

    fn leave(&self, taker: Taker) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&taker);
    }

    fn ring(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_values().for_each(Waker::wake);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Shared {
    fn begin(leg: Leg, door: Door, order: Order) -> (Arc<Self>, SharedLeg) {
        let mut ring = Ring::new();
        let taker = ring.join().expect("a new ring is open");
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                leg,
                master: order.master,
                ring,
                over: None,
                opened: clock::now(),
                joined: false,
                told: false,
            }),
            bell: Arc::default(),
        });
        let leg = SharedLeg::new(&shared, taker, door, order);
        (shared, leg)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One player's part in a shared leg.
#[derive(Debug)]
pub struct SharedLeg {
    via: Via,
    taken: Taken,
    door: Door,
    order: Order,
}

#[derive(Debug)]
enum Via {
    Shared(Arc<Shared>, Taker),
    /// A leg of its own is being opened.
    Opening(Own),
    Own(Box<Leg>, Rejoin),
}

/// That a player leaves a shared leg is our doing: what goes wrong with it says nothing about the recorder's health.
fn ours(detail: &str) -> Arrival {
    let mut failure = LegFailure::new(Failure::Lost, detail);
    failure.told = true;
    Arrival::Failed(failure)
}

/// Given up when dropped.
#[derive(Debug)]
struct Own(JoinHandle<Result<Leg, LegFailure>>);

impl Drop for Own {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for SharedLeg {
    fn drop(&mut self) {
        self.leave();
    }
}

impl SharedLeg {
    fn new(shared: &Arc<Shared>, taker: Taker, door: Door, order: Order) -> Self {
        SharedLeg {
            via: Via::Shared(Arc::clone(shared), taker),
            taken: Taken::default(),
            door,
            order,
        }
    }

    /// `from`: where the leg was asked to begin.
    fn join(shared: &Arc<Shared>, from: Timestamp, door: &Door, order: &Order) -> Option<Self> {
        let mut inner = shared.lock();
        if !inner.joinable(clock::now()) {
            return None;
        }
        let (from_us, wanted_us) = (from.as_micros(), order.from.as_micros());
        // While nothing has come, all that will come is taken from its beginning.
        let empty = inner.ring.is_empty() && is_near(from_us, wanted_us);
        let first = if from_us == wanted_us || empty {
            inner.ring.join()
        } else {
            None
        };
        let taker = first.or_else(|| inner.ring.join_at(wanted_us))?;
        inner.joined = true;
        drop(inner);
        Some(Self::new(shared, taker, door.clone(), order.clone()))
    }

    fn leave(&self) {
        if let Via::Shared(shared, taker) = &self.via {
            shared.bell.leave(*taker);
            shared.lock().ring.leave(*taker);
            // It may have been the one that was to read on.
            shared.bell.ring();
        }
    }

    /// See [`Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            match &mut self.via {
                Via::Shared(shared, taker) => {
                    let taker = *taker;
                    let Some(came) = shared.poll_next(cx, taker) else {
                        self.part();
                        continue;
                    };
                    if let Poll::Ready(Arrival::Unit(unit)) = &came {
                        self.taken.note(unit);
                    }
                    return came;
                }
                Via::Opening(own) => {
                    let opened = std::task::ready!(Pin::new(&mut own.0).poll(cx));
                    match opened {
                        Ok(Ok(leg)) => {
                            let rejoin = Rejoin::new(self.taken.clone(), self.order.master);
                            self.via = Via::Own(Box::new(leg), rejoin);
                            return Poll::Ready(Arrival::Alive);
                        }
                        Ok(Err(failure)) => return Poll::Ready(Arrival::Failed(failure)),
                        Err(_) => return Poll::Ready(ours("the opening of the leg was given up")),
                    }
                }
                Via::Own(leg, rejoin) => {
                    let came = std::task::ready!(leg.poll_next(cx));
                    let Arrival::Unit(unit) = came else {
                        return Poll::Ready(came);
                    };
                    match rejoin.place(unit.track, unit.capture_us) {
                        // A recorder that paces itself takes as long as a group of pictures to come back to where it was left.
                        Place::Before => return Poll::Ready(Arrival::Alive),
                        Place::Behind => return Poll::Ready(Arrival::Unit(unit)),
                        Place::Missing => {
                            return Poll::Ready(ours("does not go on where it was left"));
                        }
                    }
                }
            }
        }
    }

    /// See [`Leg::is_opening`].
    pub fn is_opening(&self) -> bool {
        matches!(self.via, Via::Opening(_))
    }

    /// Goes on in a leg of its own.
    fn part(&mut self) {
        let mut order = self.order.clone();
        if let Some(last_us) = self.taken.last_us(order.master) {
            order.from = Timestamp::from_micros(last_us);
        }
        tracing::info!(remote = %order.remote, capture = %order.from, "a player that fell behind goes on in a leg of its own");
        let opening = tokio::spawn(self.door.clone().open(order));
        self.via = Via::Opening(Own(opening));
    }

    /// See [`Leg::peer_closed`].
    pub fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        match &self.via {
            Via::Shared(shared, taker) => {
                shared.bell.wait(*taker, cx.waker());
                let waker = Waker::from(Arc::clone(&shared.bell));
                let inner = shared.lock();
                inner.leg.peer_closed(&mut Context::from_waker(&waker))
            }
            Via::Opening(_) => false,
            Via::Own(leg, _) => leg.peer_closed(cx),
        }
    }

    /// See [`Leg::is_stamped`].
    pub fn is_stamped(&self) -> bool {
        match &self.via {
            Via::Shared(shared, _) => shared.lock().leg.is_stamped(),
            Via::Opening(_) => false,
            Via::Own(leg, _) => leg.is_stamped(),
        }
    }

    /// See [`Leg::tells_first`].
    pub fn tells_first(&self) -> bool {
        match &self.via {
            Via::Shared(shared, _) => !std::mem::replace(&mut shared.lock().told, true),
            Via::Opening(_) | Via::Own(..) => true,
        }
    }

    /// See [`Leg::backlog`].
    pub fn backlog(&self) -> Option<usize> {
        match &self.via {
            Via::Shared(shared, taker) => {
                let inner = shared.lock();
                let ahead = inner.ring.ahead_of(*taker);
                inner.leg.backlog().map(|bytes| bytes + ahead)
            }
            Via::Opening(_) => None,
            Via::Own(leg, _) => leg.backlog(),
        }
    }

    /// See [`Leg::read_in`].
    pub fn read_in(&mut self, bytes: usize) {
        match &mut self.via {
            Via::Shared(shared, _) => shared.lock().leg.read_in(bytes),
            Via::Opening(_) => {}
            Via::Own(leg, _) => leg.read_in(bytes),
        }
    }

    /// See [`Leg::format`].
    pub fn format(&self) -> LegFormat {
        match &self.via {
            Via::Shared(shared, _) => shared.lock().leg.format(),
            Via::Opening(_) => LegFormat::default(),
            Via::Own(leg, _) => leg.format(),
        }
    }

    /// See [`Leg::keep_alive`].
    pub fn keep_alive(&mut self, now: Instant) {
        match &mut self.via {
            Via::Shared(shared, _) => shared.lock().leg.keep_alive(now),
            Via::Opening(_) => {}
            Via::Own(leg, _) => leg.keep_alive(now),
        }
    }
}

impl Shared {
    /// The next arrival for a taker; `None` where it was left behind.
    fn poll_next(&self, cx: &mut Context<'_>, taker: Taker) -> Option<Poll<Arrival>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.joinable(clock::now());
        loop {
            match inner.ring.take(taker) {
                ring::Taken::Lost => return None,
                ring::Taken::Unit(held) => {
                    let unit = held.unit.copied();
                    inner.ring.took(taker);
                    return Some(Poll::Ready(Arrival::Unit(unit)));
                }
                ring::Taken::Nothing => {}
            }
            if let Some(over) = &mut inner.over {
                let told = over.again();
                return Some(Poll::Ready(std::mem::replace(over, told).into()));
            }
            let waker = Waker::from(Arc::clone(&self.bell));
            self.bell.wait(taker, cx.waker());
            let Poll::Ready(came) = inner.leg.poll_next(&mut Context::from_waker(&waker)) else {
                return Some(Poll::Pending);
            };
            match came {
                Arrival::Unit(unit) if inner.ring.is_alone(taker) => {
                    self.bell.leave(taker);
                    return Some(Poll::Ready(Arrival::Unit(unit)));
                }
                Arrival::Unit(unit) => {
                    let master = unit.track == inner.master;
                    inner.ring.push(Held { unit, master });
                    inner.ring.shrink(RING_BYTES_MAX, taker);
                }
                Arrival::Ended => inner.over = Some(Over::Ended),
                Arrival::Failed(failure) => inner.over = Some(Over::Failed(failure)),
                came @ (Arrival::Alive | Arrival::Group(_)) => {
                    return Some(Poll::Ready(came));
                }
            }
            // It is at hand for those who wait.
            self.bell.leave(taker);
            self.bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_that_begins_shortly_before_is_near_and_none_that_begins_behind() {
        let near = |from_us| is_near(from_us, 10_000_000);
        assert_eq!(
            [8_999_999, 9_000_000, 10_000_000, 10_000_001].map(near),
            [false, true, true, false]
        );
    }

    #[test]
    fn a_failure_is_told_as_new_once() {
        let mut over = Over::Failed(LegFailure::new(Failure::Lost, "gone"));
        let mut tell = || {
            let again = over.again();
            match std::mem::replace(&mut over, again) {
                Over::Failed(failure) => failure.told,
                Over::Ended => true,
            }
        };
        assert_eq!([tell(), tell(), tell()], [false, true, true]);
    }
}
