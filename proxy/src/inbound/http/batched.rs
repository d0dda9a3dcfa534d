//! Bodies whose pieces go out together as far as they are there: a chunk and a write for many.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use bytes::Buf;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// No more pieces are put together behind so many bytes: a client that takes nothing holds on to them.
const TOGETHER_BYTES: usize = 256 * 1024;
/// No more pieces than these: hyper hands 64 places to one write, heads and ends of chunks among them.
const TOGETHER_PIECES: usize = 32;

/// A body that hands out what is ready of another at once. What waits for nothing is never kept.
pub(super) struct Batched {
    body: Body,
    /// What came behind pieces and is no piece: trailers, or why no more come.
    behind: Option<Result<Frame<Pieces>, axum::Error>>,
    /// It has ended, and is not to be asked again.
    over: bool,
}

/// Bytes that lie in several places.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Batched {
    pub(super) fn new(body: Body) -> Self {
        Batched {
            body,
            behind: None,
            over: false,
        }
    }
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }
}

impl HttpBody for Batched {
    type Data = Pieces;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, axum::Error>>> {
        if let Some(behind) = self.behind.take() {
            return Poll::Ready(Some(behind));
        }
        let mut ready = Pieces::default();
        while ready.bytes < TOGETHER_BYTES
            && ready.pieces.len() < TOGETHER_PIECES
            && !self.over
            && self.behind.is_none()
        {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => ready.push(piece),
                    Err(frame) => self.behind = Some(Ok(frame.map_data(|_| Pieces::default()))),
                },
                Poll::Ready(Some(Err(error))) => self.behind = Some(Err(error)),
                Poll::Ready(None) => self.over = true,
                Poll::Pending if ready.bytes == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if ready.bytes == 0 {
            return Poll::Ready(self.behind.take());
        }
        Poll::Ready(Some(Ok(Frame::data(ready))))
    }

    fn is_end_stream(&self) -> bool {
        self.behind.is_none() && (self.over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let places = slices.iter_mut().zip(&self.pieces);
        places
            .map(|(place, piece)| *place = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "beyond the end");
        self.bytes -= count;
        while let Some(first) = self.pieces.front_mut() {
            let taken = count.min(first.len());
            first.advance(taken);
            count -= taken;
            if !first.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};
    use hyper::HeaderMap;

    use super::*;

    /// What a body says when it is asked once.
    #[derive(Clone, Debug)]
    enum Said {
        Piece(usize),
        Wait,
        Trailers,
        Broken,
    }

    /// A body that says this. It may be asked no more than once behind its end.
    fn body(said: &[Said]) -> Body {
        let said: Vec<Said> = said.to_vec();
        let (mut said, mut next) = (said.into_iter(), 0_u8);
        let mut ended = false;
        let frames = stream::poll_fn(move |cx| {
            assert!(!ended, "asked behind its end");
            Poll::Ready(match said.next() {
                None => {
                    ended = true;
                    None
                }
                Some(Said::Wait) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Said::Piece(bytes)) => {
                    next = next.wrapping_add(1);
                    Some(Ok(Frame::data(Bytes::from(vec![next; bytes]))))
                }
                Some(Said::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
                Some(Said::Broken) => Some(Err("broken")),
            })
        });
        Body::new(StreamBody::new(frames))
    }

    /// Bytes of each batch, and how it ended.
    async fn batches(said: &[Said]) -> (Vec<usize>, Vec<&'static str>) {
        let mut body = Batched::new(body(said));
        let (mut sizes, mut other) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(pieces)) => sizes.push(pieces.remaining()),
                Ok(Err(_)) => other.push("trailers"),
                Err(_) => {
                    other.push("broken");
                    break;
                }
            }
        }
        (sizes, other)
    }

    #[tokio::test]
    async fn what_is_ready_goes_together_and_waits_for_nothing() {
        use Said::{Broken, Piece, Trailers, Wait};
        let all = batches(&[Piece(10), Piece(0), Piece(20), Wait, Piece(30)]).await;
        assert_eq!(all, (vec![30, 30], vec![]));
        let all = batches(&[Piece(10), Trailers]).await;
        assert_eq!(all, (vec![10], vec!["trailers"]));
        // What came before it broke off is not lost.
        let all = batches(&[Piece(10), Piece(20), Broken]).await;
        assert_eq!(all, (vec![30], vec!["broken"]));
        assert_eq!(batches(&[Broken]).await, (vec![], vec!["broken"]));
        assert_eq!(batches(&[]).await, (vec![], vec![]));
        let pieces = vec![Piece(1); TOGETHER_PIECES + 1];
        assert_eq!(batches(&pieces).await.0, [TOGETHER_PIECES, 1]);
        let pieces = vec![Piece(TOGETHER_BYTES / 2); 3];
        let expected = [TOGETHER_BYTES, TOGETHER_BYTES / 2];
        assert_eq!(batches(&pieces).await.0, expected);
    }

    #[tokio::test]
    async fn a_batch_is_its_pieces_one_behind_the_other_however_it_is_taken() {
        let sizes = [3, 1, 0, 7, 20, 1];
        let said: Vec<Said> = sizes.iter().copied().map(Said::Piece).collect();
        let expected: Vec<u8> = (1_u8..)
            .zip(sizes)
            .flat_map(|(byte, bytes)| vec![byte; bytes])
            .collect();
        for step in 1..=expected.len() {
            let mut body = Batched::new(body(&said));
            let mut batch = body.frame().await.unwrap().unwrap().into_data().unwrap();
            let mut taken = Vec::new();
            while batch.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = batch.chunks_vectored(&mut slices);
                let there: Vec<u8> = slices[..filled]
                    .iter()
                    .flat_map(|slice| slice.to_vec())
                    .collect();
                assert_eq!(batch.chunk()[0], there[0]);
                let some = &there[..there.len().min(step)];
                taken.extend_from_slice(some);
                batch.advance(some.len());
            }
            assert_eq!(taken, expected);
        }
        let counted = stream::iter([Ok::<_, &str>(Bytes::from_static(b"abc"))]).boxed();
        let counted = Batched::new(Body::from_stream(counted));
        assert_eq!(counted.size_hint().exact(), None);
        let whole = Batched::new(Body::from("abc"));
        assert_eq!(whole.size_hint().exact(), Some(3));
        assert!(Batched::new(Body::empty()).is_end_stream());
    }
}
