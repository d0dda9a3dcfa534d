//! Bodies: read whole up to a length and passed on as they come behind it, never more of them in memory than that.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::http::Watched;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body up to its limit.
pub(in crate::inbound::xprotect) enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// What was read, with all of the rest behind it.
    Longer(Body),
}

/// Why a body did not come.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off: {0}")]
pub(in crate::inbound::xprotect) struct Broken(String);

/// Behind this length of an answer, only so many are read at once.
const SMALL_BYTES: usize = 1 << 20;
const LARGE_AT_ONCE: usize = 4;
static LARGE: Semaphore = Semaphore::const_new(LARGE_AT_ONCE);

/// Reads so much of a body that may rest this long.
pub(in crate::inbound::xprotect) async fn gather<B>(
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
            let read = Some(Bytes::from(read));
            return Ok((Gathered::Longer(Body::new(Behind { read, body })), permit));
        }
    }
}

/// What was read of a body, and the rest.
struct Behind<B> {
    read: Option<Bytes>,
    body: Watched<B>,
}

impl<B> HttpBody for Behind<B>
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
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
