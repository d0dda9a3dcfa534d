//! A leg at an RTSP recorder: one replay session over interleaved TCP.

mod open;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use seamline_media::{Assembler, Ending, Flags, LegFormat, Unit, rtcp};
use seamline_probes::rtsp::RtspSource;
use seamline_routing::director::Failure;
use seamline_rtsp::client::{ClientError, ClientEvent, ReplayClient};
use seamline_rtsp::{Framer, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Arrival, LegFailure, Order};
use crate::clock;

/// One read takes this much: large reads make few system calls.
const READ_BYTES: usize = 64 * 1024;
/// How long a recorder is given to take a TEARDOWN.
const TEARDOWN_PATIENCE: Duration = Duration::from_secs(1);

/// An open session that plays.
#[derive(Debug)]
pub struct RtspLeg {
    stream: TcpStream,
    buf: BytesMut,
    framer: Framer,
    client: ReplayClient,
    unsent: BytesMut,
    assembler: Assembler,
    /// Per client track.
    format: LegFormat,
    master: usize,
    channels: Vec<Channel>,
    units: VecDeque<Unit>,
    byes: usize,
    over: Option<Over>,
    kept_alive: Instant,
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

fn lost(detail: impl Into<String>) -> LegFailure {
    LegFailure::new(Failure::Lost, detail)
}

impl From<ClientError> for LegFailure {
    fn from(error: ClientError) -> Self {
        let failure = match &error {
            ClientError::Unauthorized(_) => Failure::Credentials,
            ClientError::NotFound | ClientError::Range => Failure::NoFootage,
            ClientError::Busy { .. } => Failure::Busy,
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

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        self.format.clone()
    }

    /// See [`super::Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if let Some(unit) = self.units.pop_front() {
                return Poll::Ready(Arrival::Unit(unit));
            }
            if let Some(over) = self.over.take() {
                return Poll::Ready(match over {
                    Over::Ended => Arrival::Ended,
                    Over::Failed(failure) => Arrival::Failed(failure),
                });
            }
            match self.framer.next(&mut self.buf) {
                Ok(Some(Incoming::Frame { channel, bytes })) => self.frame(channel, bytes),
                Ok(Some(Incoming::Response(response))) => {
                    let outcome = self.client.handle_response(&response);
                    self.after_message(outcome);
                }
                Ok(Some(Incoming::Request(request))) => {
                    let outcome = self.client.handle_request(&request);
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
        let ready = std::pin::pin!(self.stream.ready(Interest::READABLE));
        matches!(ready.poll(cx), Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.buf.capacity() - self.buf.len() < READ_BYTES / 4 {
            self.buf.reserve(READ_BYTES);
        }
        let outcome = std::task::ready!(self.stream.poll_read_ready(cx))
            .and_then(|()| self.stream.try_read_buf(&mut self.buf));
        match outcome {
            Ok(0) => self.fail(lost("connection closed by the recorder")),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(lost(format!("connection lost: {error}"))),
        }
        Poll::Ready(())
    }

    /// Ends the leg; units that are whole go out first.
    fn fail(&mut self, failure: LegFailure) {
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
        if let Some(channel) = self.channels.iter().find(|channel| channel.rtp == number) {
            let track = channel.track;
            let before = self.units.len();
            // Dropped packets are counted by the assembler; the leg goes on.
            let _ = self.assembler.push(track, bytes, &mut self.units);
            // T says that the recorder holds nothing further of this track; the picture is the one that counts.
            let terminal = self
                .units
                .iter()
                .skip(before)
                .any(|unit| unit.track == self.master && unit.flags.contains(Flags::TERMINAL));
            if terminal {
                self.end();
            }
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
        if let Some((_, ntp, rtp_time)) = report.sender {
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

    fn after_message(&mut self, outcome: Result<(), ClientError>) {
        self.flush();
        while let Some(event) = self.client.poll_event() {
            if event == ClientEvent::EndOfStream {
                self.end();
            }
        }
        if let Err(error) = outcome {
            self.fail(error.into());
        }
    }

    /// Writes what the session machine wants to say; what the socket does not take now waits for the next message.
    fn flush(&mut self) {
        while let Some(bytes) = self.client.poll_transmit() {
            self.unsent.extend_from_slice(&bytes);
        }
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(written) => self.unsent.advance(written),
                Err(_) => return,
            }
        }
    }

    /// See [`super::Leg::keep_alive`].
    pub fn keep_alive(&mut self, now: Instant) {
        if now.saturating_duration_since(self.kept_alive) >= self.client.keep_alive_every() {
            self.kept_alive = now;
            self.client.keep_alive();
            self.flush();
        }
    }

    /// Ends the session at the recorder in the background.
    pub fn close(mut self) {
        self.client.teardown();
        let mut goodbye = std::mem::take(&mut self.unsent);
        while let Some(bytes) = self.client.poll_transmit() {
            goodbye.extend_from_slice(&bytes);
        }
        let mut stream = self.stream;
        tokio::spawn(async move {
            // Reading on until the recorder closes or answers keeps a reset from overtaking the TEARDOWN.
            let _ = timeout(TEARDOWN_PATIENCE, async {
                stream.write_all(&goodbye).await?;
                stream.shutdown().await?;
                let mut waste = vec![0; READ_BYTES];
                while stream.read(&mut waste).await? > 0 {}
                std::io::Result::Ok(())
            })
            .await;
        });
    }
}
