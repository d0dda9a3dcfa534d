//! A connection to a recorder and the session on it, which ends there however the leg goes away.

use std::task::Context;
use std::time::Duration;

use bytes::BytesMut;
use seamline_probes::Stream;
use seamline_rtsp::client::ReplayClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::READ_BYTES;

/// Answers and requests that wait for a recorder to take them.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// How long a recorder is given to take a TEARDOWN.
const TEARDOWN_PATIENCE: Duration = Duration::from_secs(1);

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
                let mut waste = vec![0; READ_BYTES];
                while stream.read(&mut waste).await? > 0 {}
                std::io::Result::Ok(())
            })
            .await;
        });
    }
}
