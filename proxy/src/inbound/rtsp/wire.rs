//! What carries RTSP: bytes both ways, whatever is around them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::inbound::link::Link;

/// What carries RTSP.
pub(in crate::inbound) enum Wire {
    /// A connection of its own.
    Direct(Link),
}

impl Wire {
    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            Wire::Direct(link) => link.peer(),
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        match self {
            Wire::Direct(link) => link.local(),
        }
    }

    /// Ready when [`Self::try_read`] may have something.
    pub(super) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Direct(link) => link.poll_read_ready(cx),
        }
    }

    /// Ready when [`Self::try_write`] or [`Self::try_flush`] may get on.
    pub(super) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Direct(link) => link.poll_write_ready(cx),
        }
    }

    /// Appends what has arrived; 0 at the end, `WouldBlock` when there is nothing.
    pub(super) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Wire::Direct(link) => link.try_read(into),
        }
    }

    /// One write; `WouldBlock` when nothing was taken. Each slice is whole frames or a whole message, but for the first.
    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Wire::Direct(link) => link.try_write(slices),
        }
    }

    /// Whether bytes were taken that are still to be flushed.
    pub(super) fn holds_back(&self) -> bool {
        match self {
            Wire::Direct(link) => link.holds_back(),
        }
    }

    /// Writes what is held back; `WouldBlock` when some of it stays.
    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Direct(link) => link.try_flush(),
        }
    }
}
