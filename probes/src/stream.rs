//! A connection to a recorder that is spoken to in bytes (RTSP, ImageServer): TCP, inside TLS where its address says so.
//!
//! The one home of what TCP is told about recorders.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf},
    net::{TcpSocket, TcpStream, lookup_host},
    task::coop::unconstrained,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::http::handshake_failure;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Stream {
    /// Connects, to each address of a host in turn. The kernel holds `unread_bytes` (twice, by its own count) of what we do not read
    /// yet; as much as it likes where that is not given.
    pub async fn connect(host: &str, port: u16, unread_bytes: Option<u32>) -> io::Result<Self> {
        let mut refusal = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in lookup_host((bare(host), port)).await? {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            if let Some(bytes) = unread_bytes {
                // Before connecting, so that the window is announced with it.
                socket.set_recv_buffer_size(bytes)?;
            }
            match socket.connect(address).await {
                Ok(stream) => {
                    tune(&stream);
                    return Ok(Self::Plain(stream));
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// Puts TLS around what is said from now on, to the host that was dialled. What is wrong, in words for the operator.
    ///
    /// Nothing is said in clear for want of a `config`.
    pub async fn seal(
        self,
        host: &str,
        config: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, String> {
        let Self::Plain(stream) = self else {
            return Ok(self);
        };
        let config = config.ok_or("TLS: it is not said whose certificates are accepted")?;
        let host = bare(host).to_owned();
        let name = ServerName::try_from(host).map_err(|error| format!("TLS: {error}"))?;
        let sealed = TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await;
        let sealed = sealed.map_err(|error| handshake_failure(&error))?;
        Ok(Self::Tls(Box::new(sealed)))
    }

    /// The connection below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the recorder has closed the connection, even if what it sent before is not read yet.
    pub fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        let ready = pin!(self.socket().ready(Interest::READABLE));
        matches!(ready.poll(cx), Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Reads what there is, as far as `buf` has room or more; 0 bytes are the end.
    pub fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        // That a read which leaves room has taken all, tokio knows: it saves the one that would find nothing.
        pin!(self.read_buf(buf)).poll(cx)
    }

    /// Sends what the socket takes now; what it does not take is left for another time. Wakes nobody.
    pub fn send_now(&mut self, unsent: &mut BytesMut) -> io::Result<()> {
        // That a turn of the task has used up its budget is no reason to say nothing: nobody would come back to it.
        let sent = unconstrained(poll_fn(|cx| Poll::Ready(self.send(cx, unsent))));
        match pin!(sent).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(()),
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, unsent: &mut BytesMut) -> io::Result<()> {
        while !unsent.is_empty() {
            match Pin::new(self.duplex()).poll_write(cx, unsent) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => unsent.advance(written),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        // TLS keeps what it could not write.
        match Pin::new(self.duplex()).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn duplex(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut **stream,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.duplex()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.duplex()).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.duplex()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.duplex()).poll_shutdown(cx)
    }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A recorder whose host vanished must not keep its connection for ever.
fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(ASKED_EVERY)
        .with_interval(ASKED_EVERY);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options");
    }
}

/// A host that says nothing for this long is gone. Silence is noticed far sooner where we read, since each question and each leg has its
/// deadline; this is for connections that are not read, and it is longer than pauses in reading: while our buffer is full a recorder
/// that lives may seem mute. Where it ran full in the middle of a segment, Linux closes the window below what the recorder has sent,
/// and takes none of its acknowledgements, which are behind the window then, until we read on.
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a host is asked that says nothing.
pub(crate) const ASKED_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::TcpListener,
        task::{coop::poll_proceed, yield_now},
        time::timeout,
    };

    use super::*;
    use crate::{
        clock::monotonic,
        http::{Trust, trusting},
        testing::acceptor,
    };

    #[tokio::test]
    async fn a_turn_whose_budget_is_used_up_sends_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut stream = Stream::connect("127.0.0.1", port, None).await.unwrap();
        let (mut recorder, _) = listener.accept().await.unwrap();
        stream.socket().writable().await.unwrap();
        let unsent = poll_fn(|cx| {
            while let Poll::Ready(turn) = poll_proceed(cx) {
                turn.made_progress();
            }
            let mut unsent = BytesMut::from("PLAY");
            stream.send_now(&mut unsent).unwrap();
            Poll::Ready(unsent)
        });
        assert!(unsent.await.is_empty());
        let mut heard = [0; 4];
        recorder.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"PLAY");
    }

    #[tokio::test]
    async fn the_kernel_holds_as_much_as_it_was_told() {
        const WHILE: Duration = Duration::from_millis(300);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut held = Vec::new();
        for unread in [64 * 1024, 512 * 1024] {
            let stream = Stream::connect("127.0.0.1", port, Some(unread))
                .await
                .unwrap();
            let (recorder, _) = listener.accept().await.unwrap();
            let stays_open = stream;
            // Its own buffer is filled too, behind what the other end has room for.
            socket2::SockRef::from(&recorder)
                .set_send_buffer_size(16 * 1024)
                .unwrap();
            let mut taken = 0;
            // Until it may send nothing more for a while.
            while timeout(WHILE, recorder.writable()).await.is_ok() {
                taken += recorder.try_write(&[0; 4096]).unwrap_or(0);
            }
            drop(stays_open);
            held.push(taken);
        }
        assert!(held[0] < 512 * 1024 && held[0] < held[1], "{held:?}");
    }

    /// The end below TLS is seen while what was said before it waits to be read: none of that is lost, whether the recorder takes its
    /// leave or not.
    #[tokio::test]
    async fn inside_tls_what_was_sent_before_the_end_is_read() {
        // As much as the kernel holds for who does not read.
        const SENT: usize = 48 * 1024;
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let anybody = Trust {
            url: "",
            ca_file: None,
            pin_sha256: None,
            insecure: true,
        };
        let anybody = Arc::new(trusting(anybody).unwrap());
        for takes_leave in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let acceptor = acceptor(&own);
            let recorder = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.unwrap();
                stream.write_all(&vec![7; SENT]).await.unwrap();
                stream.flush().await.unwrap();
                if takes_leave {
                    stream.shutdown().await.unwrap();
                }
            });
            let stream = Stream::connect("127.0.0.1", port, None).await.unwrap();
            let mut stream = stream.seal("localhost", Some(&anybody)).await.unwrap();
            recorder.await.unwrap();
            while !poll_fn(|cx| Poll::Ready(stream.peer_closed(cx))).await {
                yield_now().await;
            }
            let mut read = BytesMut::new();
            let end = loop {
                read.reserve(4096);
                match poll_fn(|cx| stream.poll_read_buf(cx, &mut read)).await {
                    Ok(bytes) if bytes > 0 => {}
                    end => break end,
                }
            };
            assert!(read.len() == SENT && read.iter().all(|byte| *byte == 7));
            let end = end.map_err(|error| error.kind());
            let expected = if takes_leave {
                Ok(0)
            } else {
                Err(io::ErrorKind::UnexpectedEof)
            };
            assert_eq!(end, expected);
        }
    }

    /// Large segments let the window grow beyond what small ones leave room for; the last of those is dropped, and the window closes
    /// before it.
    #[tokio::test]
    async fn a_recorder_that_lives_is_not_lost_because_nobody_reads() {
        const LARGE: usize = 60_000;
        const AT_FIRST: usize = 300;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let recorder = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            for _ in 0..AT_FIRST + 8 {
                stream.write_all(&vec![0; LARGE]).await.unwrap();
            }
            loop {
                stream.write_all(&[0; 300]).await.unwrap();
                let next = monotonic() + Duration::from_micros(200);
                while monotonic() < next {
                    yield_now().await;
                }
            }
        });
        let mut stream = Stream::connect("127.0.0.1", port, Some(512 * 1024))
            .await
            .unwrap();
        let mut at_first = vec![0; AT_FIRST * LARGE];
        stream.read_exact(&mut at_first).await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let lost = stream.socket().take_error().unwrap();
            assert!(lost.is_none() && !recorder.is_finished(), "{lost:?}");
        }
        recorder.abort();
    }
}
