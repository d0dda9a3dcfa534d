//! Bodies under way: no longer at rest than they may be, never more of them in memory than is being passed on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use seamline_probes::RelayBody;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::errors::Problem;

/// A request's body up to this length is kept until its answer comes, so that it can be sent again.
const KEPT_BYTES_MAX: u64 = 64 * 1024;
/// What is passed on at once of a connection that was switched.
const PIECE_BYTES: usize = 16 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads a short body whole; leaves a long one, or one of unknown length, to be read as it is sent.
pub(super) async fn at_hand(body: Body, patience: Duration) -> Result<RelayBody, Problem> {
    match HttpBody::size_hint(&body).exact() {
        Some(0) => Ok(RelayBody::Whole(Bytes::new())),
        Some(length) if length <= KEPT_BYTES_MAX => {
            let whole = Limited::new(body, KEPT_BYTES_MAX as usize).collect();
            let read = tokio::time::timeout(patience, whole).await;
            let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come");
            let body = read.map_err(late)?;
            let body = body.map_err(|_| Problem::bad_request("the body ended early"))?;
            Ok(RelayBody::Whole(body.to_bytes()))
        }
        _ => Ok(RelayBody::Stream(
            body.map_err(BoxError::from).boxed_unsync(),
        )),
    }
}

/// A body that fails when it rests for too long.
pub(in crate::inbound) struct Watched<B> {
    body: Pin<Box<B>>,
    patience: Duration,
    /// While it rests.
    resting: Option<Pin<Box<Sleep>>>,
    /// Told by being dropped, at the body's end.
    _end: Option<oneshot::Sender<()>>,
}

impl<B> Watched<B> {
    pub(in crate::inbound) fn new(
        body: B,
        patience: Duration,
        end: Option<oneshot::Sender<()>>,
    ) -> Self {
        Watched {
            body: Box::pin(body),
            patience,
            resting: None,
            _end: end,
        }
    }
}

impl<B> HttpBody for Watched<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) {
            self.resting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = self.patience;
        let resting = self
            .resting
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        match resting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Box::new(io::Error::from(
                io::ErrorKind::TimedOut,
            ))))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Passes bytes in both directions until either side ends, or neither says anything for so long.
pub(in crate::inbound) async fn both_ways<A, B>(one: A, other: B, idle: Duration)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (one_read, one_write) = tokio::io::split(one);
    let (other_read, other_write) = tokio::io::split(other);
    let (up, down) = (
        one_way(one_read, other_write, idle),
        one_way(other_read, one_write, idle),
    );
    // An end in one direction is passed on; the other goes on until it ends too.
    let _ = tokio::join!(up, down);
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    idle: Duration,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let done = loop {
        let read = tokio::time::timeout(idle, from.read(&mut piece)).await;
        let read = match read {
            Ok(Ok(0)) | Err(_) => break Ok(()),
            Ok(Ok(read)) => read,
            Ok(Err(error)) => break Err(error),
        };
        let bytes = piece.get(..read).unwrap_or_default();
        let written = tokio::time::timeout(idle, async {
            to.write_all(bytes).await?;
            to.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => break Err(error),
            Err(_) => break Err(io::ErrorKind::TimedOut.into()),
        }
    };
    let _ = to.shutdown().await;
    done
}
