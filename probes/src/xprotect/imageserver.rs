//! A connection to a recorder's ImageServer.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use rustls::ClientConfig;
use seamline_xprotect::{Call, Framer, Incoming, Kept, Method};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use url::Url;

use crate::{recorder::ProbeError, stream::Stream};

/// A connection. What it is asked is sent when it is polled.
#[derive(Debug)]
pub struct ImageServer {
    stream: Stream,
    framer: Framer,
    buf: BytesMut,
    unsent: BytesMut,
    next_id: i64,
    received: u64,
}

impl ImageServer {
    /// Connects; inside TLS where `tls` says how.
    pub(super) async fn connect(
        host: &str,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, ProbeError> {
        let stream = Stream::connect(host, port, None)
            .await
            .map_err(|error| ProbeError::connecting(&error))?;
        let stream = match tls {
            None => stream,
            Some(config) => stream.seal(host, Some(&config)).await.map_err(|why| {
                ProbeError::Unreachable(format!("the recorder at {host}:{port}: {why}").into())
            })?,
        };
        Ok(Self {
            stream,
            framer: Framer::default(),
            buf: BytesMut::new(),
            unsent: BytesMut::new(),
            next_id: 0,
            received: 0,
        })
    }

    /// Connects to the recorder at an address; `https` inside TLS.
    pub async fn reach(recorder: &Url, tls: Arc<ClientConfig>) -> Result<Self, ProbeError> {
        let host = recorder.host_str().unwrap_or_default();
        let port = recorder.port_or_known_default().unwrap_or(PORT);
        Self::connect(host, port, (recorder.scheme() == "https").then_some(tls)).await
    }

    /// From now on what follows a head is kept as it comes: see [`Self::kept`].
    pub fn keep(&mut self) {
        self.framer.keep();
    }

    /// All that came since the latest head.
    pub fn kept(&mut self) -> Vec<Kept> {
        self.framer.take_kept()
    }

    /// Whether nothing of an answer has begun.
    pub fn is_between(&self) -> bool {
        self.framer.is_between() && self.buf.is_empty()
    }

    /// The bytes that came.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// The number of a request that is sent by [`Self::send`].
    pub fn number(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends a document that was made elsewhere, with its terminator.
    pub fn send(&mut self, document: &[u8]) {
        self.unsent.extend_from_slice(document);
    }

    /// Asks something; returns the number that its answer will have.
    pub fn ask(&mut self, method: Method) -> i64 {
        let request_id = self.number();
        self.send(&Call { request_id, method }.write());
        request_id
    }

    /// What comes next.
    pub async fn next(&mut self) -> Result<Incoming, ProbeError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`Self::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, ProbeError>> {
        self.flush(cx)?;
        loop {
            let incoming = self.framer.next(&mut self.buf);
            match incoming.map_err(|error| ProbeError::protocol(error.to_string()))? {
                Some(incoming) => return Poll::Ready(Ok(incoming)),
                None => ready!(self.receive(cx))?,
            }
        }
    }

    /// Sends what the socket takes of what was asked; the rest goes with the next poll.
    pub fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), ProbeError> {
        while !self.unsent.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.unsent);
            match written {
                Poll::Ready(Ok(0)) => return Err(closed()),
                Poll::Ready(Ok(written)) => self.unsent.advance(written),
                Poll::Ready(Err(error)) => return Err(lost(&error)),
                Poll::Pending => return Ok(()),
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(lost(&error)),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        let mut chunk = [0; READ_BYTES];
        let mut into = ReadBuf::new(&mut chunk);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into)) {
            Ok(()) if into.filled().is_empty() => Poll::Ready(Err(closed())),
            Ok(()) => {
                self.buf.extend_from_slice(into.filled());
                self.received += into.filled().len() as u64;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(lost(&error))),
        }
    }

    /// Whether the recorder has closed the connection, even if what it sent before is not read yet.
    pub fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        self.stream.peer_closed(cx)
    }
}

fn closed() -> ProbeError {
    ProbeError::Unreachable("connection closed by the recorder".into())
}

fn lost(error: &io::Error) -> ProbeError {
    ProbeError::Unreachable(format!("connection lost: {error}").into())
}

/// Of a recorder whose address names none.
const PORT: u16 = 7563;
/// On the stack, and copied once.
const READ_BYTES: usize = 16 * 1024;
