//! A link as hyper wants it, with an end to the patience for clients that take nothing.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::link::Link;

/// A client for whom bytes wait must take [`TAKEN_BYTES_MIN`] within this time. A paused player takes nothing for a while;
/// RTSP clients get as long.
const BLOCKED_MAX: Duration = Duration::from_secs(600);
/// What it must take: whoever reads a byte a second holds up a recorder for nobody.
const TAKEN_BYTES_MIN: usize = 16 * 1024;

/// A link whose writes fail when too little of them is taken.
pub(super) struct Patient {
    link: Link,
    /// While bytes wait for the client.
    blocked: Option<Blocked>,
}

struct Blocked {
    until: Pin<Box<Sleep>>,
    taken: usize,
}

impl Patient {
    pub(super) fn new(link: Link) -> Self {
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

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
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
