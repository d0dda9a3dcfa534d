//! A connection to a recorder's ImageServer.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use rustls::{ClientConfig, pki_types::ServerName};
use seamline_xprotect::{Call, Framer, Incoming, Kept, Method};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use crate::{http::handshake_failure, recorder::ProbeError};

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

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Stream {
    fn duplex(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut **stream,
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl ImageServer {
    /// Connects; inside TLS where `tls` says how.
    pub(super) async fn connect(
        host: &str,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, ProbeError> {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((address, port))
            .await
            .map_err(|error| ProbeError::connecting(&error))?;
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "socket options");
        }
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let name = ServerName::try_from(address.to_owned())
                    .map_err(|error| ProbeError::protocol(format!("{address}: {error}")))?;
                let secured = TlsConnector::from(config).connect(name, stream).await;
                let secured = secured.map_err(|error| {
                    let why = handshake_failure(&error);
                    ProbeError::Unreachable(format!("the recorder at {host}:{port}: {why}").into())
                })?;
                Stream::Tls(Box::new(secured))
            }
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
            let written = Pin::new(self.stream.duplex()).poll_write(cx, &self.unsent);
            match written {
                Poll::Ready(Ok(0)) => return Err(closed()),
                Poll::Ready(Ok(written)) => self.unsent.advance(written),
                Poll::Ready(Err(error)) => return Err(lost(&error)),
                Poll::Pending => return Ok(()),
            }
        }
        match Pin::new(self.stream.duplex()).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(lost(&error)),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
        let mut chunk = [0; READ_BYTES];
        let mut into = ReadBuf::new(&mut chunk);
        match ready!(Pin::new(self.stream.duplex()).poll_read(cx, &mut into)) {
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
        let ready = std::pin::pin!(self.stream.socket().ready(Interest::READABLE));
        matches!(ready.poll(cx), Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(2))
        .with_interval(Duration::from_secs(1));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
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
/// A dead recorder must be noticed.
const USER_TIMEOUT: Duration = Duration::from_secs(5);
