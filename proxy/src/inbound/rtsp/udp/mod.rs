//! Media over UDP unicast: a pair of sockets a track, what waits for them, and what the client says there.

mod bucket;
mod ports;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use quinn_udp::{Transmit, UdpSocketState};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use seamline_media::OutQueue;
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;
use tokio::time::Sleep;

use crate::clock;
use bucket::Bucket;
pub use ports::UdpSettings;

/// Longest RTP packet: with UDP and IPv6 below it fits an Ethernet frame, and most tunnels'.
pub(super) const PACKET_BYTES_MAX: usize = 1428;
/// No client listens below; somebody else might.
pub(super) const CLIENT_PORT_MIN: u16 = 1024;

/// The goodbye goes to another port than the media. Players that are slow to read that one lose its end otherwise.
pub(super) const FAREWELL_AFTER: Duration = Duration::from_millis(500);

/// Footage at the pace of its clock: what is due goes at 64 Mbit/s at most, so that a key picture does not overrun the
/// receiver's buffer.
const PACED_BYTES_PER_S: u32 = 8_000_000;
/// Without rate control nothing but this holds footage back: 32 Mbit/s.
const UNPACED_BYTES_PER_S: u32 = 4_000_000;
/// What may go at once after silence.
const BURST_BYTES: u32 = 32 * 1024;
/// Bytes of the interleaved header that frames in the queue have.
const FRAME_HEADER_BYTES: usize = 4;
/// Datagrams of a client are looked at, not kept.
const SCRATCH_BYTES: usize = 2048;
/// Datagrams of a client that are looked at in one go.
const RECEIVED_MAX: usize = 32;

/// The media of one session.
pub(super) struct Datagrams {
    /// Interleaved frames on channels 2n and 2n+1 for track n.
    pub(super) queue: OutQueue,
    /// By track.
    lanes: Vec<Option<Lane>>,
    /// The only address that is sent to, and listened to.
    peer: IpAddr,
    bucket: Bucket,
    timer: Pin<Box<Sleep>>,
    batch: Vec<u8>,
    /// When the client last said something by RTCP.
    heard: Option<Instant>,
    /// Media has been sent: where to is settled.
    begun: bool,
    /// Datagrams that the system refused to send.
    refused: u64,
}

/// The sockets of one track.
struct Lane {
    rtp: Port,
    rtcp: Port,
}

struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    /// The client's port.
    to: u16,
    /// Several datagrams go with one call.
    batches: bool,
}

/// What the front of the queue is for.
struct Batch {
    channel: u8,
    segment_bytes: usize,
    /// Frames, and their bytes with the headers of the queue.
    count: usize,
    queued_bytes: usize,
}

impl Datagrams {
    /// For a client at `peer` that sets up one of so many tracks.
    pub(super) fn new(peer: IpAddr, tracks: usize) -> Self {
        Datagrams {
            queue: OutQueue::new(),
            lanes: (0..tracks).map(|_| None).collect(),
            peer: peer.to_canonical(),
            bucket: Bucket::new(PACED_BYTES_PER_S, BURST_BYTES),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            batch: Vec::new(),
            heard: None,
            begun: false,
            refused: 0,
        }
    }

    /// Binds a pair of ports for a track; gives back their numbers.
    pub(super) fn open(
        &mut self,
        track: usize,
        local: IpAddr,
        to: (u16, u16),
        settings: &UdpSettings,
    ) -> io::Result<(u16, u16)> {
        let slot = self.lanes.get_mut(track).ok_or(ErrorKind::InvalidInput)?;
        // Before the search: the track's own old pair may be the only one that is free.
        *slot = None;
        let (media, control) = ports::bind_pair(local.to_canonical(), settings.ports.as_ref())?;
        let ours = (media.local_addr()?.port(), control.local_addr()?.port());
        *slot = Some(Lane {
            rtp: Port::new(media, to.0)?,
            rtcp: Port::new(control, to.1)?,
        });
        Ok(ours)
    }

    /// Whether the media goes to this address.
    pub(super) fn is_of(&self, peer: IpAddr) -> bool {
        self.peer == peer.to_canonical()
    }

    /// The pace of the play that begins.
    pub(super) fn set_paced(&mut self, paced: bool) {
        let rate = if paced {
            PACED_BYTES_PER_S
        } else {
            UNPACED_BYTES_PER_S
        };
        self.bucket.set_rate(rate);
    }

    /// When the client last said something by RTCP.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Takes in what the client says; leaves wakers for more of it.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) {
        let (peer, begun) = (self.peer, self.begun);
        for lane in self.lanes.iter_mut().flatten() {
            lane.rtcp.poll_receive(cx, |_, from| {
                if from.ip().to_canonical() == peer {
                    self.heard = Some(clock::now());
                }
            });
            lane.rtp.poll_receive(cx, |to, from| {
                // Behind a translation of addresses its first packet shows the port that leads to it.
                let theirs = from.ip().to_canonical() == peer && from.port() >= CLIENT_PORT_MIN;
                if theirs && !begun {
                    *to = from.port();
                }
            });
        }
    }

    /// Sends what waits, no faster than allowed. Pending while some of it waits.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.queue.is_empty() {
            let now = clock::now();
            if let Some(at) = self.bucket.wait(now) {
                let at = tokio::time::Instant::from_std(at);
                if self.timer.deadline() != at {
                    self.timer.as_mut().reset(at);
                }
                ready!(self.timer.as_mut().poll(cx));
                continue;
            }
            ready!(self.poll_send_batch(cx, now));
        }
        Poll::Ready(())
    }

    fn poll_send_batch(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let batch = self.gather();
        let lane = self.lanes.get_mut(usize::from(batch.channel / 2));
        let Some(lane) = lane.and_then(Option::as_mut) else {
            self.queue.advance(batch.queued_bytes.max(1));
            return Poll::Ready(());
        };
        let is_media = batch.channel.is_multiple_of(2);
        self.begun |= is_media;
        let port = if is_media {
            &mut lane.rtp
        } else {
            &mut lane.rtcp
        };
        let destination = SocketAddr::new(self.peer, port.to);
        let sent = ready!(port.poll_send(cx, destination, &self.batch, batch.segment_bytes));
        if let Err(error) = sent {
            // One by one they may go: the path is narrower than the link, or the system has no batches after all.
            if batch.count > 1 && port.batches {
                port.batches = false;
                tracing::debug!(%destination, %error, "no batches");
                return Poll::Ready(());
            }
            if self.refused == 0 {
                tracing::info!(%destination, %error, bytes = self.batch.len(), "datagram not sent");
            }
            self.refused += batch.count as u64;
        }
        self.bucket.take(self.batch.len(), now);
        self.queue.advance(batch.queued_bytes);
        Poll::Ready(())
    }

    /// Copies the datagrams that can go with one call from the front of the queue into `batch`: of one channel, all of one
    /// size but for a shorter last one.
    fn gather(&mut self) -> Batch {
        self.batch.clear();
        let mut batch = Batch {
            channel: 0,
            segment_bytes: 0,
            count: 0,
            queued_bytes: 0,
        };
        let mut count_max = 1;
        for frame in self.queue.frames() {
            let (Some(&channel), Some(packet)) = (frame.get(1), frame.get(FRAME_HEADER_BYTES..))
            else {
                break;
            };
            if batch.count == 0 {
                (batch.channel, batch.segment_bytes) = (channel, packet.len());
                let lane = self.lanes.get(usize::from(channel / 2));
                count_max = lane
                    .and_then(Option::as_ref)
                    .map_or(1, |lane| lane.batch_max(channel));
            }
            let fits = channel == batch.channel
                && packet.len() <= batch.segment_bytes
                && self.batch.len() + packet.len() <= BURST_BYTES as usize;
            if batch.count > 0 && !fits {
                break;
            }
            self.batch.extend_from_slice(packet);
            batch.count += 1;
            batch.queued_bytes += frame.len();
            if batch.count >= count_max || packet.len() < batch.segment_bytes {
                break;
            }
        }
        batch
    }
}

impl Lane {
    fn batch_max(&self, channel: u8) -> usize {
        let port = if channel.is_multiple_of(2) {
            &self.rtp
        } else {
            &self.rtcp
        };
        if port.batches {
            port.state.max_gso_segments().max(1)
        } else {
            1
        }
    }
}

impl Port {
    fn new(socket: std::net::UdpSocket, to: u16) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        if socket.local_addr()?.is_ipv4() {
            // What is too large for the path is cut up on the way, not lost: quinn would rather find out.
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::WANT)?;
        }
        Ok(Port {
            socket: UdpSocket::from_std(socket)?,
            state,
            to,
            batches: true,
        })
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        destination: SocketAddr,
        contents: &[u8],
        segment_bytes: usize,
    ) -> Poll<io::Result<()>> {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: (contents.len() > segment_bytes).then_some(segment_bytes),
            src_ip: None,
        };
        loop {
            ready!(self.socket.poll_send_ready(cx))?;
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                self.state.try_send((&self.socket).into(), &transmit)
            });
            match sent {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, mut each: impl FnMut(&mut u16, SocketAddr)) {
        let mut scratch = [0; SCRATCH_BYTES];
        for _ in 0..RECEIVED_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match self.socket.poll_recv_from(cx, &mut buf) {
                Poll::Ready(Ok(from)) => each(&mut self.to, from),
                // An echo of an earlier send; the next one tells again.
                Poll::Ready(Err(_)) => {}
                Poll::Pending => return,
            }
        }
        // More of it waits: it is looked at after everybody else had their turn.
        cx.waker().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const NEXT_DOOR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    /// Sends a word to a port of ours; gives back the port that it was sent from.
    fn say(from: IpAddr, to: u16) -> u16 {
        let socket = std::net::UdpSocket::bind((from, 0)).unwrap();
        socket.send_to(b"word", (HOME, to)).unwrap();
        socket.local_addr().unwrap().port()
    }

    async fn take_in(datagrams: &mut Datagrams) {
        let receive = poll_fn(|cx| {
            datagrams.poll_receive(cx);
            Poll::<()>::Pending
        });
        let _ = tokio::time::timeout(Duration::from_millis(100), receive).await;
    }

    #[tokio::test]
    async fn the_client_alone_says_where_to_and_only_before_media_flows() {
        let mut datagrams = Datagrams::new(HOME, 1);
        let (media, control) = datagrams
            .open(0, HOME, (5000, 5001), &UdpSettings::default())
            .unwrap();
        let to = |datagrams: &Datagrams| datagrams.lanes[0].as_ref().unwrap().rtp.to;
        say(NEXT_DOOR, media);
        say(NEXT_DOOR, control);
        take_in(&mut datagrams).await;
        assert_eq!((to(&datagrams), datagrams.heard()), (5000, None));
        let shown = say(HOME, media);
        say(HOME, control);
        take_in(&mut datagrams).await;
        assert_eq!(to(&datagrams), shown);
        assert!(datagrams.heard().is_some());
        datagrams.begun = true;
        say(HOME, media);
        take_in(&mut datagrams).await;
        assert_eq!(to(&datagrams), shown);
    }
}
