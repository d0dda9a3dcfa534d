//! Bodies under way between a client and a server behind the house: no longer at rest than they may be, never more of them in memory
//! than is read of them or being passed on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream::{self, StreamExt};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is passed on at once of a connection that was switched.
const PIECE_BYTES: usize = 16 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body up to its limit.
pub(in crate::inbound) enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// What was read, with all of the rest behind it.
    Longer(Body),
}

/// A body of a client may pause this long.
pub(in crate::inbound) const UPLOAD_REST_MAX: Duration = Duration::from_secs(30);
/// What is read whole of it has come by then: who sends a byte a second holds up nothing for days.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(120);

/// Why a body did not come.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off: {0}")]
pub(in crate::inbound) struct Broken(String);

/// Behind this length of an answer, only so many are read at once.
const SMALL_BYTES: usize = 1 << 20;
const LARGE_AT_ONCE: usize = 4;
static LARGE: Semaphore = Semaphore::const_new(LARGE_AT_ONCE);

/// Reads so much of a body that may rest this long.
pub(in crate::inbound) async fn gather<B>(
    body: B,
    bytes_max: usize,
    rest_max: Duration,
) -> Result<(Gathered, Option<SemaphorePermit<'static>>), Broken>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut body = Watched::new(body, rest_max, None);
    let mut read = Vec::new();
    let mut permit = None;
    loop {
        let frame = match body.frame().await {
            None => return Ok((Gathered::Whole(read.into()), permit)),
            Some(frame) => frame.map_err(|error| Broken(error.to_string()))?,
        };
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        if read.len() + bytes.len() > SMALL_BYTES && permit.is_none() {
            permit = Some(
                LARGE
                    .acquire()
                    .await
                    .map_err(|_| Broken("the house closes".to_owned()))?,
            );
        }
        read.extend_from_slice(&bytes);
        if read.len() > bytes_max {
            let read = stream::once(std::future::ready(Ok::<_, BoxError>(Bytes::from(read))));
            let whole = read.chain(body.into_data_stream());
            return Ok((Gathered::Longer(Body::from_stream(whole)), permit));
        }
    }
}

/// As [`gather`], of a client, which is not waited for longer than [`UPLOAD_TIME_MAX`].
pub(in crate::inbound) async fn uploaded<B>(body: B, bytes_max: usize) -> Result<Gathered, Broken>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let gathered = gather(body, bytes_max, UPLOAD_REST_MAX);
    let gathered = tokio::time::timeout(UPLOAD_TIME_MAX, gathered).await;
    let late = |_| Broken(format!("it is not whole within {UPLOAD_TIME_MAX:?}"));
    gathered.map_err(late)?.map(|(gathered, _)| gathered)
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

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// How long it takes to have a body of so many pieces of a byte, each so much later, and its length.
    async fn sent(pieces: usize, apart: Duration) -> (Duration, Option<usize>) {
        let begun = Instant::now();
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            sleep(apart).await;
            Ok::<_, BoxError>(Bytes::from_static(b"x"))
        });
        let length = match uploaded(Body::from_stream(pieces), 1 << 20).await {
            Ok(Gathered::Whole(bytes)) => Some(bytes.len()),
            Ok(Gathered::Longer(_)) => panic!("it is short"),
            Err(_) => None,
        };
        (begun.elapsed(), length)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_by_a_byte_a_second_is_not_waited_for() {
        let (second, pause) = (
            Duration::from_secs(1),
            UPLOAD_REST_MAX + Duration::from_secs(1),
        );
        assert_eq!(sent(1 << 20, second).await, (UPLOAD_TIME_MAX, None));
        assert_eq!(sent(2, pause).await, (UPLOAD_REST_MAX, None));
        assert_eq!(sent(100, second).await, (100 * second, Some(100)));
    }
}
