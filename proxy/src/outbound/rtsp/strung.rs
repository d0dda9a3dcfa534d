//! A leg over recordings that are played by name: where one ends and another goes on, that one is opened.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use seamline_media::LegFormat;
use seamline_probes::replay::ByUrl;
use seamline_routing::time::Timestamp;

use super::RtspLeg;
use crate::outbound::{Arrival, LegFailure, Order};

type Opening = Pin<Box<dyn Future<Output = Result<RtspLeg, LegFailure>> + Send>>;

/// See the module's text.
pub struct StrungLeg {
    source: Arc<ByUrl>,
    order: Order,
    leg: RtspLeg,
    /// The session of the recording that follows.
    next: Option<Opening>,
    /// Capture time of the newest picture.
    newest: Option<Timestamp>,
}

impl std::fmt::Debug for StrungLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StrungLeg")
            .field("leg", &self.leg)
            .finish_non_exhaustive()
    }
}

impl StrungLeg {
    /// Opens the recording that holds the ordered start, or the next one.
    pub async fn open(source: Arc<ByUrl>, order: Order) -> Result<Self, LegFailure> {
        let leg = RtspLeg::open_by_url(&source, order.clone()).await?;
        Ok(StrungLeg {
            source,
            order,
            leg,
            next: None,
            newest: None,
        })
    }

    /// See [`crate::outbound::Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if let Some(next) = &mut self.next {
                let opened = ready!(next.as_mut().poll(cx));
                self.next = None;
                match opened {
                    Ok(leg) => self.leg = leg,
                    Err(failure) => return Poll::Ready(Arrival::Failed(failure)),
                }
            }
            match ready!(self.leg.poll_next(cx)) {
                Arrival::Ended => match self.following() {
                    Some(next) => self.next = Some(next),
                    None => return Poll::Ready(Arrival::Ended),
                },
                arrival => {
                    if let Arrival::Unit(unit) = &arrival
                        && unit.track == self.order.master
                    {
                        let capture = Timestamp::from_micros(unit.capture_us);
                        self.newest = self.newest.max(Some(capture));
                    }
                    return Poll::Ready(arrival);
                }
            }
        }
    }

    fn following(&self) -> Option<Opening> {
        let offset_us = self.order.clock_offset_us;
        let newest = self.newest?.shift(offset_us);
        let book = self.source.book()?;
        let recording = book.following(&self.order.remote, newest)?;
        let order = Order {
            from: recording.range.start().shift(-offset_us),
            ..self.order.clone()
        };
        let source = Arc::clone(&self.source);
        Some(Box::pin(async move {
            RtspLeg::open_by_url(&source, order).await
        }))
    }

    /// See [`crate::outbound::Leg::is_stamped`].
    pub fn is_stamped(&self) -> bool {
        self.leg.is_stamped()
    }

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        self.leg.format()
    }

    /// See [`crate::outbound::Leg::keep_alive`].
    pub fn keep_alive(&mut self, now: Instant) {
        self.leg.keep_alive(now);
    }
}
