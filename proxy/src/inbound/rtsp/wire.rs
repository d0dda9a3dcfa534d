//! What carries RTSP: bytes both ways, whatever is around them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::inbound::http::{Tunnel, WebSocket};
use crate::inbound::link::Link;
use crate::inbound::listener::Seat;

/// What carries RTSP.
pub(in crate::inbound) enum Wire {
    /// A connection of its own.
    Direct(Link),
    /// The two connections of a tunnel through HTTP.
    Tunnel(Box<Tunnel>),
    WebSocket(Box<WebSocket>),
}

impl Wire {
    pub(in crate::inbound) fn tunnel(tunnel: Tunnel) -> Self {
        Wire::Tunnel(Box::new(tunnel))
    }

    pub(in crate::inbound) fn web_socket(socket: WebSocket) -> Self {
        Wire::WebSocket(Box::new(socket))
    }

    /// How people call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Wire::Direct(link) if link.is_sealed() => "rtsp/tls",
            Wire::Direct(_) => "rtsp/tcp",
            Wire::Tunnel(_) => "rtsp/http-tunnel",
            Wire::WebSocket(_) => "rtsp/websocket",
        }
    }

    /// Whether it is a connection of its own, and in the clear.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Wire::Direct(link) if !link.is_sealed())
    }

    /// Closes it; its place among the connections, where one session may outlive it.
    pub(super) fn into_seat(self) -> Option<Seat> {
        match self {
            Wire::Direct(link) => Some(link.into_seat()),
            Wire::Tunnel(_) | Wire::WebSocket(_) => None,
        }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            Wire::Direct(link) => link.peer(),
            Wire::Tunnel(tunnel) => tunnel.peer(),
            Wire::WebSocket(socket) => socket.peer(),
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        match self {
            Wire::Direct(link) => link.local(),
            Wire::Tunnel(tunnel) => tunnel.local(),
            Wire::WebSocket(socket) => socket.local(),
        }
    }

    /// Whether nobody on the way can read what is sent (TLS).
    pub(super) fn is_sealed(&self) -> bool {
        match self {
            Wire::Direct(link) => link.is_sealed(),
            Wire::Tunnel(tunnel) => tunnel.is_sealed(),
            Wire::WebSocket(socket) => socket.is_sealed(),
        }
    }

    /// Ready when [`Self::try_read`] may have something.
    pub(super) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Direct(link) => link.poll_read_ready(cx),
            Wire::Tunnel(tunnel) => tunnel.poll_read_ready(cx),
            Wire::WebSocket(socket) => socket.poll_read_ready(cx),
        }
    }

    /// Ready when [`Self::try_write`] or [`Self::try_flush`] may get on.
    pub(super) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Direct(link) => link.poll_write_ready(cx),
            Wire::Tunnel(tunnel) => tunnel.down_mut().poll_write_ready(cx),
            Wire::WebSocket(socket) => socket.poll_write_ready(cx),
        }
    }

    /// Appends what has arrived; 0 at the end, `WouldBlock` when there is nothing.
    pub(super) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Wire::Direct(link) => link.try_read(into),
            Wire::Tunnel(tunnel) => tunnel.try_read(into),
            Wire::WebSocket(socket) => socket.try_read(into),
        }
    }

    /// One write; `WouldBlock` when nothing was taken. Each slice is whole frames or a whole message, but for the first.
    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Wire::Direct(link) => link.try_write(slices),
            Wire::Tunnel(tunnel) => tunnel.down_mut().try_write(slices),
            Wire::WebSocket(socket) => socket.try_write(slices),
        }
    }

    /// Whether bytes were taken that are still to be flushed.
    pub(super) fn holds_back(&self) -> bool {
        match self {
            Wire::Direct(link) => link.holds_back(),
            Wire::Tunnel(tunnel) => tunnel.down().holds_back(),
            Wire::WebSocket(socket) => socket.holds_back(),
        }
    }

    /// Writes what is held back; `WouldBlock` when some of it stays.
    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Direct(link) => link.try_flush(),
            Wire::Tunnel(tunnel) => tunnel.down_mut().try_flush(),
            Wire::WebSocket(socket) => socket.try_flush(),
        }
    }
}
