//! One TCP connection, plain or inside TLS: read and written without waiting, or as a stream.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::listener::Seat;
use super::tls::Sealed;

/// See [`Link::ask_whether_it_is_there`].
const ASKED_EVERY: Duration = Duration::from_secs(60);
/// Room made for one read.
const READ_BYTES: usize = 4096;

/// One TCP connection, and what was read of it ahead.
pub(super) struct Link {
    io: Io,
    /// Bytes that were looked at and not taken; they come first.
    ahead: BytesMut,
    peer: SocketAddr,
    local: SocketAddr,
    /// Its place among the connections, given back with it.
    seat: Seat,
}

enum Io {
    Plain(TcpStream),
    Sealed(Box<Sealed>),
}

impl Link {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, seat: Seat) -> io::Result<Self> {
        Ok(Link {
            local: stream.local_addr()?,
            io: Io::Plain(stream),
            ahead: BytesMut::new(),
            peer,
            seat,
        })
    }

    /// Answers the TLS handshake whose first bytes were read ahead.
    pub(super) async fn seal(mut self, config: Arc<ServerConfig>) -> io::Result<Self> {
        self.io = match self.io {
            Io::Plain(stream) => {
                let ahead = std::mem::take(&mut self.ahead);
                Io::Sealed(Box::new(Sealed::accept(stream, ahead, config).await?))
            }
            Io::Sealed(_) => return Err(ErrorKind::InvalidData.into()),
        };
        Ok(self)
    }

    /// Closes it and keeps its place.
    pub(super) fn into_seat(self) -> Seat {
        self.seat
    }

    pub(in crate::inbound) fn is_sealed(&self) -> bool {
        matches!(self.io, Io::Sealed(_))
    }

    fn stream(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(stream) => stream,
            Io::Sealed(sealed) => sealed.stream(),
        }
    }

    /// For a protocol in which clients may say nothing for hours: one whose host vanished does not keep its place for ever.
    pub(in crate::inbound) fn ask_whether_it_is_there(&self) -> io::Result<()> {
        let keepalive = TcpKeepalive::new()
            .with_time(ASKED_EVERY)
            .with_interval(ASKED_EVERY);
        SockRef::from(self.stream()).set_tcp_keepalive(&keepalive)
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Gives back bytes that were read, to be read again.
    pub(super) fn unread(&mut self, bytes: BytesMut) {
        let after = std::mem::replace(&mut self.ahead, bytes);
        self.ahead.unsplit(after);
    }

    /// Ready when [`Self::try_read`] may have something.
    pub(super) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Plain(stream) => stream.poll_read_ready(cx),
            Io::Sealed(sealed) => sealed.poll_read_ready(cx),
        }
    }

    /// Ready when [`Self::try_write`] or [`Self::try_flush`] may get on.
    pub(super) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            Io::Plain(stream) => stream.poll_write_ready(cx),
            Io::Sealed(sealed) => sealed.poll_write_ready(cx),
        }
    }

    /// Appends what has arrived; 0 at the end, `WouldBlock` when there is nothing.
    pub(super) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            into.extend_from_slice(&ahead);
            return Ok(ahead.len());
        }
        match &mut self.io {
            Io::Plain(stream) => {
                into.reserve(READ_BYTES);
                stream.try_read_buf(into)
            }
            Io::Sealed(sealed) => sealed.try_read(into),
        }
    }

    /// One write; `WouldBlock` when nothing was taken.
    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.io {
            Io::Plain(stream) => match slices {
                // Linux takes one buffer in fewer steps than a list of one.
                [one] => stream.try_write(one),
                _ => stream.try_write_vectored(slices),
            },
            Io::Sealed(sealed) => sealed.try_write(slices),
        }
    }

    /// Whether bytes were taken that the socket does not have yet.
    pub(super) fn holds_back(&self) -> bool {
        match &self.io {
            Io::Plain(_) => false,
            Io::Sealed(sealed) => sealed.holds_back(),
        }
    }

    /// Writes what is held back; `WouldBlock` when some of it stays.
    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        match &mut self.io {
            Io::Plain(_) => Ok(()),
            Io::Sealed(sealed) => sealed.try_flush(),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            ready!(self.poll_read_ready(cx))?;
            let mut ahead = std::mem::take(&mut self.ahead);
            match self.try_read(&mut ahead) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => self.ahead = ahead,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..taken).unwrap_or_default());
        self.ahead.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.poll_write_ready(cx))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }

    // Whoever believes otherwise copies all that is written into one buffer.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.poll_write_ready(cx))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Io::Sealed(sealed) = &mut self.io {
            sealed.say_goodbye();
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(SockRef::from(self.stream()).shutdown(Shutdown::Write))
    }
}
