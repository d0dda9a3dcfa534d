//! A leg backwards: stretches fetched forward from a recorder, given out group by group, the last one first.
//!
//! Every recorder plays forward from the random access point at or before an instant. From such stretches reverse play is put
//! together without trusting a recorder's own (ONVIF Streaming, reverse replay), or where it has none: recorders that are told
//! the time in the URL. Stretches of those that date nothing are joined at a picture that both hold.

mod fetch;
mod search;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use seamline_media::{LegFormat, Unit};
use seamline_probes::replay::ByUrl;
use seamline_probes::rtsp::RtspSource;

use self::fetch::{Fetched, Fetcher, nothing};
use super::RtspLeg;
use crate::outbound::{Arrival, LegFailure, Order};

/// See the module's text. Dropped, its session ends at the recorder.
pub struct RewindLeg {
    format: LegFormat,
    stage: Stage,
    groups: VecDeque<Vec<Unit>>,
    heard: Arc<AtomicU64>,
    /// What of `heard` was told.
    told: u64,
}

enum Stage {
    Fetching(Pin<Box<dyn Future<Output = Fetched> + Send>>),
    /// Until its groups are taken nothing more is fetched.
    Resting(Box<Fetcher>),
    Over,
}

/// How a recorder is asked to play forward.
#[derive(Debug)]
pub enum Forward {
    /// By a range.
    Range(Arc<RtspSource>),
    /// By the URL, in a session for each stretch.
    Url(Arc<ByUrl>),
}

impl std::fmt::Debug for RewindLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RewindLeg").finish_non_exhaustive()
    }
}

impl RewindLeg {
    /// Opens a session; its first group follows.
    pub async fn open(source: Forward, order: Order) -> Result<Self, LegFailure> {
        let heard = Arc::new(AtomicU64::new(0));
        let mut fetcher = Fetcher::new(source, order, heard.clone());
        let mut plan = fetcher.next_to().ok_or_else(nothing)?;
        let mut playing = fetcher.play(plan.from, Some(plan.until)).await?;
        if !playing {
            // It holds nothing there; what it holds before is described alike.
            plan = fetcher.behind(plan).await?.ok_or_else(nothing)?;
            playing = fetcher.play(plan.from, Some(plan.until)).await?;
        }
        let session = fetcher.session.as_ref().filter(|_| playing);
        let format = session.map(RtspLeg::format).ok_or_else(nothing)?;
        Ok(RewindLeg {
            format,
            stage: Stage::Fetching(Box::pin(Box::new(fetcher).fetch(Some(plan)))),
            groups: VecDeque::new(),
            heard,
            told: 0,
        })
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
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Resting(fetcher) => {
                    self.stage = Stage::Fetching(Box::pin(fetcher.fetch(None)));
                }
                Stage::Fetching(mut fetching) => match fetching.as_mut().poll(cx) {
                    Poll::Ready((fetcher, Ok(Some(groups)))) => {
                        self.groups = groups.into();
                        self.stage = Stage::Resting(fetcher);
                    }
                    Poll::Ready((_, Ok(None))) => return Poll::Ready(Arrival::Ended),
                    Poll::Ready((_, Err(failure))) => {
                        return Poll::Ready(Arrival::Failed(failure));
                    }
                    Poll::Pending => {
                        self.stage = Stage::Fetching(fetching);
                        let heard = self.heard.load(Ordering::Relaxed);
                        if std::mem::replace(&mut self.told, heard) != heard {
                            return Poll::Ready(Arrival::Alive);
                        }
                        return Poll::Pending;
                    }
                },
                Stage::Over => return Poll::Ready(Arrival::Ended),
            }
        }
    }

    /// See [`crate::outbound::Leg::keep_alive`].
    pub fn keep_alive(&mut self, now: Instant) {
        if let Stage::Resting(fetcher) = &mut self.stage
            && let Some(session) = &mut fetcher.session
        {
            session.keep_alive(now);
        }
    }
}
