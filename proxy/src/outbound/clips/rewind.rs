//! Clips backwards: short stretches fetched forward, given out group by group, the last one first.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use seamline_media::{LegFormat, Unit};
use seamline_probes::Clips;
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;

use super::ClipLeg;
use crate::outbound::{Arrival, LegFailure, Order};

/// How far before what it joins the first stretch starts, and the next ones: the first group is to be there soon.
const REACH_FIRST: Duration = Duration::from_millis(100);
const REACH: Duration = Duration::from_secs(2);
/// A stretch that holds nothing is followed by one that reaches so many times farther back, up to a limit.
const GROWTH: u32 = 4;
const GAP_MAX: Duration = Duration::from_secs(2 * 3_600);
/// One picture is dated differently in two clips by what recorders round to: ticks of a track's clock, milliseconds of a playlist.
/// Two pictures are farther apart than this at 240 a second.
const ROUNDED: Duration = Duration::from_millis(2);
/// A stretch with more bytes is no stretch.
const STRETCH_BYTES_MAX: usize = 64 * 1024 * 1024;

type Fetched = Result<(LegFormat, Vec<Vec<Unit>>), LegFailure>;
type Fetching = Pin<Box<dyn Future<Output = Fetched> + Send>>;

/// See the module's text.
pub struct ClipRewind {
    source: Arc<dyn Clips>,
    order: Order,
    format: LegFormat,
    /// All from here on was given out, or is not wanted.
    before: Timestamp,
    groups: VecDeque<Vec<Unit>>,
    fetching: Option<Fetching>,
}

impl std::fmt::Debug for ClipRewind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipRewind")
            .field("before", &self.before)
            .finish_non_exhaustive()
    }
}

impl ClipRewind {
    /// Fetches the last group before the ordered start.
    pub async fn open(source: Arc<dyn Clips>, order: Order) -> Result<Self, LegFailure> {
        // The picture of the ordered start may be dated a little behind it.
        let before = order.from + ROUNDED;
        let (format, groups) = fetch(&source, &order, before, REACH_FIRST).await?;
        let mut leg = ClipRewind {
            before,
            source,
            order,
            format,
            groups: VecDeque::new(),
            fetching: None,
        };
        if groups.is_empty() {
            let nothing = "nothing to play backwards";
            return Err(LegFailure::new(Failure::NoFootage, nothing));
        }
        leg.take(groups);
        Ok(leg)
    }

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        self.format.clone()
    }

    /// See [`crate::outbound::Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if let Some(group) = self.groups.pop_front() {
                return Poll::Ready(Arrival::Group(group));
            }
            let fetching = self.fetching.get_or_insert_with(|| {
                let (source, order, before) =
                    (self.source.clone(), self.order.clone(), self.before);
                Box::pin(async move { fetch(&source, &order, before, REACH).await })
            });
            let fetched = ready!(fetching.as_mut().poll(cx));
            self.fetching = None;
            match fetched {
                Ok((_, groups)) if groups.is_empty() => return Poll::Ready(Arrival::Ended),
                Ok((_, groups)) => self.take(groups),
                Err(failure) if failure.failure == Failure::NoFootage => {
                    return Poll::Ready(Arrival::Ended);
                }
                Err(failure) => return Poll::Ready(Arrival::Failed(failure)),
            }
        }
    }

    fn take(&mut self, groups: Vec<Vec<Unit>>) {
        let first = groups.iter().flatten().map(|unit| unit.capture_us).min();
        // In the next stretch the picture that was given out last may be dated a little before.
        self.before = first.map_or(self.before, |first| Timestamp::from_micros(first) - ROUNDED);
        self.groups = groups.into_iter().rev().collect();
    }
}

/// The groups before an instant, in the order of time; none where nothing is found for long before it.
async fn fetch(
    source: &Arc<dyn Clips>,
    order: &Order,
    before: Timestamp,
    reach: Duration,
) -> Fetched {
    let mut reach = reach;
    loop {
        let order = Order {
            from: before - reach,
            until: Some(before),
            direction: Direction::Forward,
            ..order.clone()
        };
        let outcome = stretch(source, order, before).await;
        match outcome {
            Ok((format, groups)) if !groups.is_empty() => return Ok((format, groups)),
            Err(failure) if failure.failure != Failure::NoFootage => return Err(failure),
            outcome if reach >= GAP_MAX => return outcome,
            _ => reach = (reach * GROWTH).min(GAP_MAX),
        }
    }
}

async fn stretch(source: &Arc<dyn Clips>, order: Order, before: Timestamp) -> Fetched {
    let master = order.master;
    let mut leg = ClipLeg::open(Arc::clone(source), order).await?;
    let mut groups: Vec<Vec<Unit>> = Vec::new();
    let mut bytes = 0;
    loop {
        match poll_fn(|cx| leg.poll_next(cx)).await {
            Arrival::Unit(unit) if unit.track == master => {
                // The key frame of the next group, which was given out.
                if unit.random_access && unit.capture_us >= before.as_micros() {
                    break;
                }
                bytes += unit.packets.len_bytes();
                if bytes > STRETCH_BYTES_MAX {
                    let detail = "a stretch too large to be played backwards";
                    return Err(LegFailure::new(Failure::Lost, detail));
                }
                if unit.random_access {
                    groups.push(Vec::new());
                }
                if unit.capture_us < before.as_micros()
                    && let Some(group) = groups.last_mut()
                {
                    group.push(unit);
                } else if unit.capture_us > before.shift(BEYOND_US).as_micros() {
                    break;
                }
            }
            Arrival::Ended => break,
            Arrival::Failed(failure) => return Err(failure),
            Arrival::Unit(_) | Arrival::Group(_) | Arrival::Alive => {}
        }
    }
    groups.retain(|group| !group.is_empty());
    Ok((leg.format(), groups))
}

/// Pictures that are shown before an instant come up to here behind it.
const BEYOND_US: i64 = 1_000_000;
