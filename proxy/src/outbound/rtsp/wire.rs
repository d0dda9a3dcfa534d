//! A connection to a recorder and the session on it, which ends there however the leg goes away.

use std::io::ErrorKind;
use std::task::Context;
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::{RecvFlags, recv};
use seamline_probes::Stream;
use seamline_rtsp::client::ReplayClient;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::READ_BYTES;

/// Answers and requests that wait for a recorder to take them.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// How long a recorder is given to take a TEARDOWN and to answer it.
const TEARDOWN_PATIENCE: Duration = Duration::from_secs(1);
/// What is on its way is taken up to here, so that a recorder that is stuck in writing comes to read. One that sends as fast as it
/// is read has several times as much on the way, for nothing.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;
/// How long it is given to read a TEARDOWN where more is on its way: players close at once.
const TEARDOWN_GRACE: Duration = Duration::from_millis(100);

/// Dropped while it opens, at its end, at a seam or with its client, it tears the session down: recorders keep one that
/// was not for a minute, and have few.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: ReplayClient,
    /// Taken by the drop alone.
    stream: Option<Stream>,
    unsent: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: Stream, client: ReplayClient) -> Self {
        Wire {
            client,
            stream: Some(stream),
            unsent: BytesMut::new(),
        }
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        self.stream.as_mut().expect("only the drop takes it")
    }

    /// Whether the recorder has closed the connection, even if what it sent before is not read yet.
    pub(super) fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        let stream = self.stream.as_ref();
        stream.is_none_or(|stream| stream.peer_closed(cx))
    }

    /// Bytes that came and were not read. Inside TLS they are those on the way, a few in a hundred more than what they carry; less than
    /// a record may wait here besides.
    pub(super) fn backlog(&self) -> usize {
        let stream = self.stream.as_ref().map(Stream::socket);
        let bytes = stream.and_then(|stream| rustix::io::ioctl_fionread(stream).ok());
        bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Writes what the session machine wants to say; what the socket does not take now waits for the next time.
    pub(super) fn flush(&mut self) {
        self.collect();
        if let Some(stream) = &mut self.stream {
            // Whoever reads is told of a broken connection.
            let _ = stream.send_now(&mut self.unsent);
        }
    }

    fn collect(&mut self) {
        while let Some(bytes) = self.client.poll_transmit() {
            // A recorder that asks and does not read gets no further answers.
            if self.unsent.len() < UNSENT_BYTES_MAX {
                self.unsent.extend_from_slice(&bytes);
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.client.teardown();
        self.collect();
        let goodbye = std::mem::take(&mut self.unsent);
        let (Some(mut stream), Ok(runtime)) = (self.stream.take(), Handle::try_current()) else {
            return;
        };
        if goodbye.is_empty() {
            return;
        }
        runtime.spawn(async move {
            // Reading on until the recorder closes or answers keeps a reset from overtaking the TEARDOWN.
            let _ = timeout(TEARDOWN_PATIENCE, async {
                stream.write_all(&goodbye).await?;
                stream.shutdown().await?;
                if discard(stream.socket()).await? == Discarded::Some {
                    sleep(TEARDOWN_GRACE).await;
                }
                std::io::Result::Ok(())
            })
            .await;
        });
    }
}

/// How much was discarded of what is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discarded {
    /// All: the other end has closed.
    All,
    /// [`DISCARDED_BYTES_MAX`].
    Some,
}

/// Reads to the end, or [`DISCARDED_BYTES_MAX`]; what is below TLS need not be opened for that. Linux lets go of the bytes of a TCP connection without copying them where it is
/// asked to (tcp(7), `MSG_TRUNC`).
async fn discard(stream: &TcpStream) -> std::io::Result<Discarded> {
    let mut waste = vec![0; READ_BYTES];
    let mut left = DISCARDED_BYTES_MAX;
    while left > 0 {
        stream.readable().await?;
        let read = stream.try_io(Interest::READABLE, || {
            let (_, bytes) = recv(stream, &mut waste[..], RecvFlags::TRUNC)?;
            Ok(bytes)
        });
        match read {
            Ok(0) => return Ok(Discarded::All),
            Ok(bytes) => left = left.saturating_sub(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Discarded::Some)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// A recorder that reads only when all was taken that it writes; gives back what it read.
    async fn stuck(bytes: usize) -> (TcpStream, JoinHandle<std::io::Result<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(&vec![1; bytes]).await?;
            let mut goodbye = String::new();
            stream.read_to_string(&mut goodbye).await?;
            Ok(goodbye)
        });
        (TcpStream::connect(address).await.unwrap(), recorder)
    }

    #[tokio::test]
    async fn what_is_on_its_way_is_taken_to_its_end() {
        let (mut stream, recorder) = stuck(DISCARDED_BYTES_MAX - 1).await;
        stream.write_all(b"goodbye").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(discard(&stream).await.unwrap(), Discarded::All);
        assert_eq!(recorder.await.unwrap().unwrap(), "goodbye");
    }

    #[tokio::test]
    async fn a_recorder_that_sends_on_and_on_is_left() {
        let (stream, recorder) = stuck(64 * DISCARDED_BYTES_MAX).await;
        assert_eq!(discard(&stream).await.unwrap(), Discarded::Some);
        drop(stream);
        assert!(recorder.await.unwrap().is_err());
    }
}
