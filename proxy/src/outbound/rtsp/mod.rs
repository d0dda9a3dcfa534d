//! A leg at an RTSP recorder: one replay session over interleaved TCP.

mod by_url;
mod live;
mod open;
mod rewind;
mod silence;
mod strung;
mod wire;

pub use rewind::{Forward, RewindLeg};
pub use strung::StrungLeg;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use seamline_media::rtp::Packet;
use seamline_media::{Assembler, Ending, Flags, LegFormat, Source, Unit, rtcp};
use seamline_probes::MediaSource;
use seamline_probes::replay::ByUrl;
use seamline_probes::rtsp::RtspSource;
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;
use seamline_rtsp::auth::client::Denial;
use seamline_rtsp::client::{ClientError, ClientEvent, Playing};
use seamline_rtsp::{Framer, Incoming};

use super::{Arrival, LegFailure, Order};
use crate::clock;
use by_url::UrlLeg;
use tokio::time::timeout;
use wire::Wire;

/// One read takes this much, where nobody wishes for less: large reads make few system calls.
const READ_BYTES: usize = 64 * 1024;

/// Buffers differ by so much at the least.
const BUFFER_STEP_BYTES: usize = 4 * 1024;

/// Packets that may overtake the answer to PLAY.
const EARLY_FRAMES_MAX: usize = 16 * 1024;
/// What is still on its way of the play before is waited out so many times as long as an answer.
const DRAINED_WITHIN: u32 = 4;

/// An open session that plays. Dropped, it ends at the recorder.
#[derive(Debug)]
pub struct RtspLeg {
    wire: Wire,
    buf: BytesMut,
    /// One read takes about this much.
    read_bytes: usize,
    framer: Framer,
    assembler: Assembler,
    /// Per client track.
    format: LegFormat,
    master: usize,
    channels: Vec<Channel>,
    units: VecDeque<Unit>,
    byes: usize,
    over: Option<Over>,
    kept_alive: Instant,
    /// Where the URL said the time.
    by_url: Option<UrlLeg>,
    order: Order,
    /// For each of the client's tracks the one in the recorder's description.
    mapping: Vec<Option<usize>>,
    /// Low bytes of the `CSeq` of the PLAY before the latest, and of the latest.
    cseqs: (Option<u8>, u8),
    /// The recorder is gone.
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    rtp: u8,
    rtcp: u8,
    /// Index in the client's session.
    track: usize,
    said_bye: bool,
}

#[derive(Debug)]
enum Over {
    Ended,
    Failed(LegFailure),
}

/// How buffers of about so many bytes differ. There are few sizes, so that where one leg's buffer was another's fits in: of many that are
/// nearly the same the allocator's heap grows by half.
fn buffer_step(bytes: usize) -> usize {
    (bytes.next_power_of_two() / 4).max(BUFFER_STEP_BYTES)
}

fn lost(detail: impl Into<String>) -> LegFailure {
    LegFailure::new(Failure::Lost, detail)
}

impl From<ClientError> for LegFailure {
    fn from(error: ClientError) -> Self {
        let failure = match &error {
            // One camera that these credentials may not see says nothing about the others.
            ClientError::Unauthorized(Denial::Forbidden) | ClientError::Busy { .. } => {
                Failure::Busy
            }
            ClientError::Unauthorized(_) => Failure::Credentials,
            ClientError::NotFound | ClientError::Range => Failure::NoFootage,
            _ => Failure::Lost,
        };
        LegFailure::new(failure, error.to_string())
    }
}

impl RtspLeg {
    /// Connects, describes, sets up the tracks that continue the client's, and asks to play.
    pub async fn open(source: &RtspSource, order: Order) -> Result<Self, LegFailure> {
        open::open(source, order).await
    }

    /// Opens a leg of what the camera sees now.
    pub async fn open_live(source: &MediaSource, order: Order) -> Result<Self, LegFailure> {
        live::open(source, order).await
    }

    /// As [`RtspLeg::open`], at a recorder that is told the time in the URL.
    pub async fn open_by_url(source: &ByUrl, order: Order) -> Result<Self, LegFailure> {
        by_url::open(source, order).await
    }

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        self.format.clone()
    }

    /// See [`super::Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if let Some(unit) = self.units.pop_front() {
                let source = self.assembler.source();
                let beyond = |leg: &UrlLeg| leg.is_over(unit.capture_us, source);
                if !self.by_url.as_ref().is_some_and(beyond) {
                    return Poll::Ready(Arrival::Unit(unit));
                }
                if unit.track == self.master {
                    self.units.clear();
                    self.over = Some(Over::Ended);
                }
                continue;
            }
            if let Some(over) = self.over.take() {
                return Poll::Ready(match over {
                    Over::Ended => Arrival::Ended,
                    Over::Failed(failure) => Arrival::Failed(failure),
                });
            }
            if self.take_run() {
                continue;
            }
            match self.framer.next(&mut self.buf) {
                Ok(Some(Incoming::Frame { channel, bytes })) => self.frame(channel, bytes),
                Ok(Some(Incoming::Response(response))) => {
                    let outcome = self.wire.client.handle_response(&response);
                    self.after_message(outcome);
                    if self.order.direction == Direction::Reverse {
                        return Poll::Ready(Arrival::Alive);
                    }
                }
                Ok(Some(Incoming::Request(request))) => {
                    let outcome = self.wire.client.handle_request(&request);
                    self.after_message(outcome);
                }
                Ok(None) => {
                    std::task::ready!(self.poll_read(cx));
                }
                Err(error) => self.fail(lost(format!("breaks the protocol: {error}"))),
            }
        }
    }

    /// Whether the recorder has closed the connection, even if what it sent before is not read yet.
    pub fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        self.wire.peer_closed(cx)
    }

    /// See [`super::Leg::is_stamped`].
    pub fn is_stamped(&self) -> bool {
        self.assembler.source() == Some(Source::Extension)
    }

    /// Bytes that came and wait in the kernel.
    pub fn backlog(&self) -> usize {
        self.wire.backlog()
    }

    /// See [`super::Leg::read_in`].
    pub fn read_in(&mut self, bytes: usize) {
        let step = buffer_step(bytes);
        self.read_bytes = (bytes / step).max(1) * step;
    }

    /// Asks to play another stretch in the same session. What still comes of the one before is dropped.
    async fn replay(
        &mut self,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<(), LegFailure> {
        let deadline = self.order.reaction.response;
        let tracks = self.order.tracks.len();
        let markers: Vec<_> = (0..tracks)
            .map(|track| self.assembler.markers(track))
            .collect();
        self.wire.client.pause();
        self.wire
            .client
            .play(open::request(&self.order, from, until));
        self.wire.flush();
        self.units.clear();
        self.over = None;
        let (mut answered, mut goes_on) = (false, false);
        let mut early = Vec::new();
        let until = clock::now() + deadline * DRAINED_WITHIN;
        let playing = loop {
            let left = until.saturating_duration_since(clock::now()).min(deadline);
            let next = timeout(left, poll_fn(|cx| self.poll_incoming(cx))).await;
            let incoming = next.ok().filter(|_| !left.is_zero()).ok_or_else(|| {
                lost(format!(
                    "no answer to another PLAY within {} ms",
                    deadline.as_millis()
                ))
            })??;
            let outcome = match incoming {
                // After the answer to PAUSE nothing of the play before comes.
                Incoming::Frame { .. } if !answered => continue,
                Incoming::Frame { channel, bytes } => {
                    early.push((channel, bytes));
                    if early.len() > EARLY_FRAMES_MAX {
                        return Err(lost("sends footage instead of an answer to PLAY"));
                    }
                    continue;
                }
                Incoming::Response(response) => {
                    goes_on |= !answered && !response.is_success();
                    answered = true;
                    self.wire.client.handle_response(&response)
                }
                Incoming::Request(request) => self.wire.client.handle_request(&request),
            };
            self.wire.flush();
            outcome?;
            let mut begun = None;
            while let Some(event) = self.wire.client.poll_event() {
                if let ClientEvent::Playing(playing) = event {
                    begun = Some(playing);
                }
            }
            if let Some(playing) = begun {
                break playing;
            }
        };
        self.byes = 0;
        for channel in &mut self.channels {
            channel.said_bye = false;
        }
        self.cseqs = (Some(self.cseqs.1), (playing.cseq & 0xff) as u8);
        let order = Order {
            from,
            ..self.order.clone()
        };
        self.assembler = open::assembler(
            &order,
            &self.mapping,
            &self.wire.client,
            &playing,
            &markers,
            None,
        );
        for (channel, bytes) in early {
            // Where PAUSE was refused, the play before goes on until the answer to PLAY.
            if !(goes_on && self.is_before(&playing, channel, &bytes)) {
                self.frame(channel, bytes);
            }
        }
        Ok(())
    }

    /// Whether a frame comes before the first packet that the answer to PLAY names (RFC 2326 §12.33); reports of another play do.
    fn is_before(&self, playing: &Playing, number: u8, frame: &[u8]) -> bool {
        let Some(channel) = self.channels.iter().find(|channel| channel.rtp == number) else {
            return true;
        };
        let track = self.mapping.get(channel.track).copied().flatten();
        let mut starts = playing.starts.iter();
        let start = starts.find(|start| Some(start.track) == track);
        let first = start.and_then(|start| start.seq);
        let [_, _, _, _, _, _, high, low, ..] = *frame else {
            return true;
        };
        let seq = u16::from_be_bytes([high, low]);
        first.is_some_and(|first| first.wrapping_sub(seq).cast_signed() > 0)
    }

    /// The next message, whatever it is.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, LegFailure>> {
        loop {
            match self.framer.next(&mut self.buf) {
                Ok(Some(incoming)) => return Poll::Ready(Ok(incoming)),
                Ok(None) => std::task::ready!(self.poll_read(cx)),
                Err(error) => {
                    return Poll::Ready(Err(lost(format!("breaks the protocol: {error}"))));
                }
            }
            match self.over.take() {
                Some(Over::Failed(failure)) => return Poll::Ready(Err(failure)),
                Some(Over::Ended) => return Poll::Ready(Err(lost("closed after its goodbye"))),
                None => {}
            }
        }
    }

    /// What came of a unit that nothing has ended yet, when no more comes.
    fn give_out(&mut self) {
        self.assembler.flush(Ending::Lost, &mut self.units);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.buf.capacity() - self.buf.len() < self.read_bytes / 4 {
            self.make_room();
        }
        match std::task::ready!(self.wire.stream().poll_read_buf(cx, &mut self.buf)) {
            Ok(0) => self.fail(lost("connection closed by the recorder")),
            Ok(_) => {}
            Err(error) => self.fail(lost(format!("connection lost: {error}"))),
        }
        Poll::Ready(())
    }

    /// Room for the next read. What is left of a packet fits in, so that a buffer that nobody else uses any more can be used again.
    fn make_room(&mut self) {
        let left = self.buf.len();
        let room = self
            .read_bytes
            .saturating_sub(left)
            .max(self.read_bytes / 2);
        if self.buf.try_reclaim(room) {
            return;
        }
        let bytes = left + room;
        let mut buf = BytesMut::with_capacity(bytes.next_multiple_of(buffer_step(bytes)));
        buf.extend_from_slice(&self.buf);
        self.buf = buf;
    }

    /// Ends the leg; units that are whole go out first.
    fn fail(&mut self, failure: LegFailure) {
        self.closed = true;
        self.assembler.flush(Ending::Lost, &mut self.units);
        self.over = Some(if self.byes > 0 {
            Over::Ended
        } else {
            Over::Failed(failure)
        });
    }

    fn end(&mut self) {
        self.assembler.flush(Ending::Clean, &mut self.units);
        self.over = Some(Over::Ended);
    }

    fn frame(&mut self, number: u8, bytes: BytesMut) {
        if self.by_url.is_some() {
            self.frame_by_url(number, bytes);
        } else {
            self.take_frame(number, bytes);
        }
    }

    /// Takes the packets of one track at the front of what was read, where no other look at them is needed.
    fn take_run(&mut self) -> bool {
        let [b'$', number, ..] = *self.buf else {
            return false;
        };
        if self.by_url.is_some() || self.cseqs.0.is_some() || !self.framer.is_at_boundary() {
            return false;
        }
        let channel = self.channels.iter().find(|channel| channel.rtp == number);
        let Some(track) = channel.map(|channel| channel.track) else {
            return false;
        };
        let before = self.units.len();
        let taken = self
            .assembler
            .push_run(track, number, &mut self.buf, &mut self.units);
        self.look_for_end(before);
        taken
    }

    /// T says that the recorder holds nothing further of this track; the picture is the one that counts.
    fn look_for_end(&mut self, before: usize) {
        let mut new = self.units.iter().skip(before);
        if new.any(|unit| unit.track == self.master && unit.flags.contains(Flags::TERMINAL)) {
            self.end();
        }
    }

    fn take_frame(&mut self, number: u8, bytes: BytesMut) {
        if let Some(channel) = self.channels.iter().find(|channel| channel.rtp == number) {
            let track = channel.track;
            if self.is_of_earlier_play(&bytes) {
                return;
            }
            let before = self.units.len();
            // Dropped packets are counted by the assembler; the leg goes on.
            let _ = self.assembler.push(track, bytes, &mut self.units);
            self.look_for_end(before);
            return;
        }
        let Some(channel) = self
            .channels
            .iter_mut()
            .find(|channel| channel.rtcp == number)
        else {
            return;
        };
        let track = channel.track;
        let report = rtcp::parse(bytes.get(4..).unwrap_or_default());
        let offset_us = self.order.clock_offset_us;
        let sender = report.sender.and_then(|(ssrc, ntp, rtp_time)| {
            if self.order.live {
                // Sites' cameras tell the time apart; one clock dates them all, see `live`.
                return None;
            }
            let footage = match &self.by_url {
                Some(leg) => leg.footage_time(ntp, offset_us, clock::wall())?,
                None => ntp,
            };
            Some((ssrc, footage, rtp_time))
        });
        if let Some((_, ntp, rtp_time)) = sender {
            self.assembler.clock_mut().sender_report(
                track,
                ntp,
                rtp_time,
                clock::wall().as_micros(),
            );
        }
        if report.goodbye && !channel.said_bye {
            channel.said_bye = true;
            self.byes += 1;
            if self.byes == self.channels.len() {
                self.end();
            }
        }
    }

    /// Whether a packet says that it belongs to the PLAY before the latest (ONVIF Streaming, Cseq of the extension).
    fn is_of_earlier_play(&self, frame: &[u8]) -> bool {
        let (Some(earlier), latest) = self.cseqs else {
            return false;
        };
        let replay = Packet::parse_frame(frame)
            .ok()
            .and_then(|packet| packet.replay());
        replay.is_some_and(|replay| replay.cseq == earlier && earlier != latest)
    }

    fn after_message(&mut self, outcome: Result<(), ClientError>) {
        self.wire.flush();
        while let Some(event) = self.wire.client.poll_event() {
            if event == ClientEvent::EndOfStream {
                self.end();
            }
        }
        if let Err(error) = outcome {
            self.fail(error.into());
        }
    }

    /// See [`super::Leg::keep_alive`].
    pub fn keep_alive(&mut self, now: Instant) {
        if now.saturating_duration_since(self.kept_alive) >= self.wire.client.keep_alive_every() {
            self.kept_alive = now;
            self.wire.client.keep_alive();
            self.wire.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn buffers_have_few_sizes_and_hold_what_they_are_for() {
        let sizes: BTreeSet<usize> = (8 * 1024..=READ_BYTES)
            .map(|bytes| bytes.next_multiple_of(buffer_step(bytes)))
            .collect();
        let kib: Vec<usize> = sizes.into_iter().map(|bytes| bytes / 1024).collect();
        assert_eq!(kib, [8, 12, 16, 24, 32, 48, 64]);
    }
}
