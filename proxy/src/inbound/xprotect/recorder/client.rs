//! The client's side of a session: its calls, cut within limits, and answers written as fast as it reads them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use seamline_xprotect::{CallFramer, WireError};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::clock;
use crate::inbound::link::Link;

/// A call that has begun is whole within this time.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// A client that takes nothing for so long is gone.
const DEAF_AFTER: Duration = Duration::from_secs(30);
/// Room made for one read.
const READ_BYTES: usize = 4096;
/// Calls that came at once are looked at together: so many, of so many bytes.
const AT_ONCE_MAX: usize = 16;
const AT_ONCE_BYTES_MAX: usize = 64 * 1024;
/// Pieces written at once.
const SLICES_MAX: usize = 64;

/// Why a client's connection ends.
#[derive(Debug, Error)]
pub(super) enum Gone {
    #[error("closed by the client")]
    Closed,
    #[error("a call that was not whole within {CALL_WITHIN:?}")]
    Slow,
    #[error("takes no answer for {DEAF_AFTER:?}")]
    Deaf,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// See the module's text.
pub(super) struct Client {
    link: Link,
    framer: CallFramer,
    buf: BytesMut,
    /// Calls that were looked at already.
    waiting: VecDeque<Bytes>,
    /// When the first byte of the call that is not whole yet came.
    begun: Option<Instant>,
}

impl Client {
    pub(super) fn new(link: Link) -> Self {
        Client {
            link,
            framer: CallFramer::default(),
            buf: BytesMut::new(),
            waiting: VecDeque::new(),
            begun: None,
        }
    }

    /// The next document. Nothing is lost when this is dropped before it is there.
    pub(super) async fn call(&mut self, patience: Option<Duration>) -> Result<Bytes, Gone> {
        if let Some(document) = self.waiting.pop_front() {
            return Ok(document);
        }
        loop {
            if let Some(document) = self.framer.next(&mut self.buf)? {
                self.begun = None;
                return Ok(document);
            }
            let limit = if self.buf.is_empty() {
                patience
            } else {
                let begun = *self.begun.get_or_insert_with(clock::now);
                Some(CALL_WITHIN.saturating_sub(clock::now().saturating_duration_since(begun)))
            };
            self.buf.reserve(READ_BYTES);
            let read = self.link.read_buf(&mut self.buf);
            let read = match limit {
                Some(limit) => timeout(limit, read).await.map_err(|_| Gone::Slow)?,
                None => read.await,
            };
            if read? == 0 {
                return Err(Gone::Closed);
            }
        }
    }

    /// How many calls of a kind came right behind the one that was taken last. Nothing is waited for.
    pub(super) fn alike(&mut self, is_alike: impl Fn(&[u8]) -> bool) -> usize {
        let mut bytes: usize = self.waiting.iter().map(Bytes::len).sum();
        while self.waiting.len() < AT_ONCE_MAX && bytes < AT_ONCE_BYTES_MAX {
            match self.framer.next(&mut self.buf) {
                Ok(Some(document)) => {
                    bytes += document.len();
                    self.waiting.push_back(document);
                }
                Ok(None) if self.buf.len() < AT_ONCE_BYTES_MAX => {
                    // That it has ended is met again where the next call is waited for.
                    if !matches!(self.link.try_read(&mut self.buf), Ok(read) if read > 0) {
                        break;
                    }
                }
                // So is what is no call.
                _ => break,
            }
        }
        let alike = self.waiting.iter().take_while(|call| is_alike(call));
        alike.count()
    }

    /// Writes an answer; waits while the client does not read.
    pub(super) async fn send(&mut self, pieces: &[Bytes]) -> Result<(), Gone> {
        let mut rest: Vec<Bytes> = pieces
            .iter()
            .filter(|piece| !piece.is_empty())
            .cloned()
            .collect();
        rest.reverse();
        while !rest.is_empty() {
            let slices: Vec<IoSlice<'_>> = rest
                .iter()
                .rev()
                .take(SLICES_MAX)
                .map(|piece| IoSlice::new(piece))
                .collect();
            let mut written = match timeout(DEAF_AFTER, self.write(&slices)).await {
                Ok(written) => written?,
                Err(_) => return Err(Gone::Deaf),
            };
            while let Some(piece) = rest.last_mut() {
                if piece.len() > written {
                    piece.advance(written);
                    break;
                }
                written -= piece.len();
                rest.pop();
            }
        }
        timeout(DEAF_AFTER, self.link.flush())
            .await
            .map_err(|_| Gone::Deaf)??;
        Ok(())
    }

    async fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match self.link.try_write(slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::future::poll_fn(|cx| self.link.poll_write_ready(cx)).await?;
                }
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                done => return done,
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.link.shutdown()).await;
    }
}
