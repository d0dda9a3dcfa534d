//! A link as hyper wants it, with an end to the patience for clients that take nothing.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A client for whom bytes wait must take [`TAKEN_BYTES_MIN`] within this time. A paused player takes nothing for a while;
/// RTSP clients get as long.
const BLOCKED_MAX: Duration = Duration::from_secs(600);
/// What it must take: whoever reads a byte a second holds up a recorder for nobody.
const TAKEN_BYTES_MIN: usize = 16 * 1024;

/// A link whose writes fail when too little of them is taken.
pub(in crate::inbound) struct Patient<S> {
    link: S,
    /// While bytes wait for the client.
    blocked: Option<Blocked>,
}

struct Blocked {
    until: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> Patient<S> {
    pub(in crate::inbound) fn new(link: S) -> Self {
        Patient {
            link,
            blocked: None,
        }
    }

    /// Notes what a write came to.
    fn note(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                if let Some(blocked) = &mut self.blocked {
                    blocked.taken = blocked.taken.saturating_add(bytes);
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Pending if self.out_of_patience(cx) => {
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
            other => other,
        }
    }

    fn out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        let blocked = self.blocked.get_or_insert_with(|| Blocked {
            until: Box::pin(sleep_until(Instant::now() + BLOCKED_MAX)),
            taken: 0,
        });
        while blocked.until.as_mut().poll(cx).is_ready() {
            if blocked.taken < TAKEN_BYTES_MIN {
                return true;
            }
            blocked.taken = 0;
            blocked.until.as_mut().reset(Instant::now() + BLOCKED_MAX);
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.link).poll_write(cx, buf);
        self.note(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.link).poll_write_vectored(cx, slices);
        self.note(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.link).poll_flush(cx) {
            Poll::Ready(done) => {
                self.blocked = None;
                Poll::Ready(done)
            }
            Poll::Pending if self.out_of_patience(cx) => {
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    /// Bytes between the two ends.
    const PIPE_BYTES: usize = 4096;

    /// How long a client is written to that reads by `reading`, and why that ends.
    async fn written_to<F: Future<Output = ()> + Send + 'static>(
        reading: impl FnOnce(DuplexStream) -> F,
    ) -> (Duration, Option<ErrorKind>) {
        let (ours, theirs) = duplex(PIPE_BYTES);
        let reader = tokio::spawn(reading(theirs));
        let begun = Instant::now();
        let mut patient = Patient::new(ours);
        let film = vec![0; 4 << 20];
        let written = patient.write_all(&film).await;
        reader.abort();
        (begun.elapsed(), written.err().map(|error| error.kind()))
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_or_next_to_nothing_is_not_waited_for() {
        let deaf = written_to(|stream| async move {
            sleep(Duration::from_secs(86_400)).await;
            drop(stream);
        });
        assert_eq!(deaf.await, (BLOCKED_MAX, Some(ErrorKind::TimedOut)));
        let trickle = written_to(|mut stream| async move {
            while stream.read_u8().await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let (after, why) = trickle.await;
        assert_eq!(why, Some(ErrorKind::TimedOut));
        assert!(after < 2 * BLOCKED_MAX, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_pauses_or_is_slow_gets_all_of_it() {
        let paused = written_to(|mut stream| async move {
            sleep(BLOCKED_MAX / 2).await;
            while stream.read_u8().await.is_ok() {}
        });
        assert_eq!(paused.await.1, None);
        // 4 KiB a second: a quarter of an hour for four megabytes.
        let slow = written_to(|mut stream| async move {
            let mut piece = [0; PIPE_BYTES];
            while stream.read_exact(&mut piece).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let (after, why) = slow.await;
        assert_eq!(why, None);
        assert!(after > BLOCKED_MAX, "{after:?}");
    }
}
