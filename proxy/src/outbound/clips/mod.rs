//! Legs of recorders that hand out footage over HTTP as MP4: one stretch after the other, as if they were one.
//!
//! Nothing is read that is not asked for: a client that does not take footage holds the recorder back. An answer that breaks
//! off is a lost leg; one that ends is followed by the next stretch, which may begin before the end of the last one.

mod dating;
mod joining;
mod rewind;

pub use rewind::ClipRewind;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use seamline_archive::{Piece, Stream, StreamFrame};
use seamline_media::{LegFormat, Unit};
use seamline_probes::{Body, Clip, Clips, Dating, Found, ProbeError};
use seamline_routing::director::Failure;
use seamline_routing::time::Timestamp;
use tokio::time::{Sleep, sleep, timeout};

use super::packing::Packing;
use super::{Arrival, LegFailure, Order};
use dating::{Dated, Dater};
use joining::{Frame, Joiner};

/// How often the growing end of a recording is looked at.
const TAIL_EVERY: Duration = Duration::from_secs(1);
/// How far before a start that is not recorded yet the tracks are looked for.
const BEFORE_TAIL: Duration = Duration::from_secs(10);
/// Clips in a row without a picture that is new: a recorder that lists what it does not hand out.
const EMPTY_MAX: u32 = 8;

type Asking = Pin<Box<dyn Future<Output = Result<Found, LegFailure>> + Send>>;

enum Stage {
    Asking(Asking),
    Reading(Box<Reading>),
    AtTail(Pin<Box<Sleep>>),
    Over,
}

/// A clip that is being read.
struct Reading {
    body: Body,
    stream: Stream,
    dating: Dating,
    dater: Option<Dater>,
    /// Where it is listed to end, in the camera's timeline.
    ends: Timestamp,
    growing: bool,
    /// Where the delivered pictures ended when it began.
    began_us: Option<i64>,
}

/// See the module's text.
pub struct ClipLeg {
    source: Arc<dyn Clips>,
    order: Order,
    stage: Stage,
    packing: Packing,
    joiner: Joiner,
    units: VecDeque<Unit>,
    /// From where on the next clip is asked for.
    from: Timestamp,
    empty: u32,
    /// See [`Dater::zero_us`], of the clip before.
    zero_us: Option<i64>,
}

impl std::fmt::Debug for ClipLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipLeg")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl ClipLeg {
    /// Opens the stretch that holds the ordered start, or the next one behind it.
    pub async fn open(source: Arc<dyn Clips>, order: Order) -> Result<Self, LegFailure> {
        let joiner = Joiner::start(order.from.as_micros(), order.master, order.tracks.len());
        let mut leg = ClipLeg {
            source,
            stage: Stage::Over,
            packing: Packing::default(),
            joiner,
            units: VecDeque::new(),
            from: order.from,
            empty: 0,
            zero_us: None,
            order,
        };
        let mut found = leg.ask(leg.from).await?;
        if matches!(found, Found::Nothing { growing: true }) {
            found = leg.ask(leg.from - BEFORE_TAIL).await?;
        }
        let Found::Clip(clip) = found else {
            return Err(LegFailure::new(
                Failure::NoFootage,
                "nothing recorded there",
            ));
        };
        leg.begin(*clip);
        while !leg.packing.is_known() {
            if !poll_fn(|cx| leg.poll_read(cx)).await? {
                return Err(LegFailure::new(
                    Failure::NoFootage,
                    "a movie without a header",
                ));
            }
        }
        Ok(leg)
    }

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        self.packing.format()
    }

    /// See [`super::Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if let Some(unit) = self.units.pop_front() {
                return Poll::Ready(Arrival::Unit(unit));
            }
            let outcome = match &mut self.stage {
                Stage::Over => return Poll::Ready(Arrival::Ended),
                Stage::AtTail(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.ask_on();
                    Ok(())
                }
                Stage::Asking(asking) => {
                    let found = ready!(asking.as_mut().poll(cx));
                    self.stage = Stage::Over;
                    found.map(|found| self.found(found))
                }
                Stage::Reading(_) => ready!(self.poll_read(cx)).map(|more| {
                    if !more {
                        self.clip_over();
                    }
                }),
            };
            if let Err(failure) = outcome {
                self.stage = Stage::Over;
                return Poll::Ready(Arrival::Failed(failure));
            }
        }
    }

    fn ask(&self, from: Timestamp) -> Asking {
        let (source, order) = (Arc::clone(&self.source), &self.order);
        let offset_us = order.clock_offset_us;
        let remote = Arc::clone(&order.remote);
        let until = order.until.map(|until| until.shift(offset_us));
        let limit = order.reaction.connect + order.reaction.response * 2;
        Box::pin(async move {
            let asked = source.clip(remote, from.shift(offset_us), until);
            let found = timeout(limit, asked).await;
            found
                .unwrap_or(Err(ProbeError::Timeout))
                .map_err(|error| LegFailure::asked("no footage", &error))
        })
    }

    fn ask_on(&mut self) {
        self.stage = match self.order.until {
            Some(until) if self.from >= until => Stage::Over,
            _ => Stage::Asking(self.ask(self.from)),
        };
    }

    fn found(&mut self, found: Found) {
        match found {
            Found::Clip(clip) => self.begin(*clip),
            Found::Nothing { growing: true } => self.rest(),
            Found::Nothing { growing: false } => self.stage = Stage::Over,
        }
    }

    fn rest(&mut self) {
        self.stage = Stage::AtTail(Box::pin(sleep(TAIL_EVERY)));
    }

    fn begin(&mut self, clip: Clip) {
        let stream = clip.stream();
        self.joiner.begin(matches!(clip.dating, Dating::Named(_)));
        self.stage = Stage::Reading(Box::new(Reading {
            body: clip.body,
            stream,
            dating: clip.dating,
            dater: None,
            ends: clip.ends.shift(-self.order.clock_offset_us),
            growing: clip.growing,
            began_us: self.joiner.end_us(),
        }));
    }

    /// The clip ended as it should. What follows is asked for, unless this one brought nothing and more is yet to be written.
    fn clip_over(&mut self) {
        let Stage::Reading(reading) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        let overlap = !matches!(reading.dating, Dating::First(_));
        self.joiner.clip_over(overlap, &mut self.units);
        self.zero_us = reading.dater.as_ref().and_then(Dater::zero_us);
        let end_us = self.joiner.end_us();
        if end_us > reading.began_us {
            self.empty = 0;
            self.from = end_us
                .map_or(self.from, Timestamp::from_micros)
                .max(self.from);
            self.ask_on();
            return;
        }
        if reading.growing {
            self.rest();
            return;
        }
        self.empty += 1;
        if self.empty > EMPTY_MAX {
            return;
        }
        self.from = reading.ends.max(self.from);
        self.ask_on();
    }

    /// Takes in what came of the clip; false at its end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, LegFailure>> {
        let Stage::Reading(reading) = &mut self.stage else {
            return Poll::Ready(Ok(false));
        };
        let bytes = match ready!(reading.body.poll_bytes(cx)) {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => {
                return Poll::Ready(Err(LegFailure::asked("broken off", &error)));
            }
            None => {
                let mut dated = Vec::new();
                if let Some(dater) = &mut reading.dater {
                    dater.finish(&mut dated);
                }
                return Poll::Ready(self.join(dated).map(|()| false));
            }
        };
        Poll::Ready(self.take(&bytes).map(|()| true))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), LegFailure> {
        let mut bytes = Some(bytes);
        loop {
            let Stage::Reading(reading) = &mut self.stage else {
                return Ok(());
            };
            let unusable = |error: seamline_archive::StreamError| {
                let failure = match error {
                    seamline_archive::StreamError::NoTrack => Failure::Mismatch,
                    _ => Failure::Lost,
                };
                LegFailure::new(failure, format!("what it hands out: {error}"))
            };
            match reading.stream.next_piece().map_err(unusable)? {
                Some(Piece::Tracks(formats)) => {
                    self.packing.set_tracks(&self.order, &formats)?;
                    reading.dater = Some(Dater::new(reading.dating, formats.len(), self.zero_us));
                }
                Some(Piece::Frame(frame)) => self.date(frame)?,
                None => match bytes.take() {
                    Some(bytes) => reading.stream.push(bytes),
                    None => return Ok(()),
                },
            }
        }
    }

    fn date(&mut self, frame: StreamFrame) -> Result<(), LegFailure> {
        let Stage::Reading(reading) = &mut self.stage else {
            return Ok(());
        };
        let mut dated = Vec::new();
        let leads = self.packing.leads(frame.track);
        if let Some(dater) = &mut reading.dater {
            let too_long = |_| LegFailure::new(Failure::Lost, "frames that nothing dates");
            dater.take(frame, leads, &mut dated).map_err(too_long)?;
        }
        self.join(dated)
    }

    fn join(&mut self, dated: Vec<Dated>) -> Result<(), LegFailure> {
        for Dated { frame, capture_us } in dated {
            let Some(track) = self.packing.ours(frame.track) else {
                continue;
            };
            let capture_us = capture_us.saturating_sub(self.order.clock_offset_us);
            let unit = self.packing.unit(
                &self.order,
                frame.track,
                &frame.data,
                capture_us,
                frame.sync,
            );
            let frame = Frame {
                track,
                capture_us,
                duration_us: frame.duration_us,
                clock_rate: self.packing.clock_rate(frame.track),
                data: frame.data,
                unit,
            };
            let too_long = |_| LegFailure::new(Failure::Lost, "a group of pictures without end");
            self.joiner.take(frame, &mut self.units).map_err(too_long)?;
        }
        Ok(())
    }
}
