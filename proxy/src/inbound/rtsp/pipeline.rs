//! What a client asks ahead of the answers: its bytes cut into requests, no more of them than may wait.

use std::collections::VecDeque;

use bytes::BytesMut;
use seamline_rtsp::{FrameError, Framer, Incoming, Request};

/// Requests read ahead of the one being answered.
const REQUESTS_MAX: usize = 8;
/// Their bytes, about; one that is longer waits alone.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// See the module's text.
#[derive(Default)]
pub(super) struct Pipeline {
    framer: Framer,
    buf: BytesMut,
    requests: VecDeque<Request>,
    /// Bytes that are no request: answered once all before them is.
    refusal: Option<FrameError>,
    /// There were such bytes: nothing behind them is looked at.
    refused: bool,
    owed: bool,
}

/// What a look at the bytes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    /// A request at least.
    pub(super) request: bool,
    /// Whatever shows that the client is there.
    pub(super) anything: bool,
    /// Why what follows cannot be understood.
    pub(super) refusal: Option<FrameError>,
}

impl Pipeline {
    /// Where bytes that arrive are put, behind those that wait.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Cuts what was put there, as far as there is room.
    pub(super) fn cut(&mut self) -> Came {
        let mut came = Came::default();
        self.owed = false;
        // While it is full it is not the client that keeps the next request waiting.
        while !self.refused && !self.is_full() {
            match self.framer.next(&mut self.buf) {
                Ok(Some(Incoming::Request(request))) => {
                    (came.request, came.anything) = (true, true);
                    self.requests.push_back(request);
                }
                // Receiver reports keep the session alive; answers to nothing we asked are ignored.
                Ok(Some(Incoming::Frame { .. } | Incoming::Response(_))) => came.anything = true,
                Ok(None) => {
                    self.owed = self.framer.is_partial(&self.buf);
                    break;
                }
                Err(error) => {
                    self.refused = true;
                    self.refusal = Some(error);
                    came.refusal = Some(error);
                }
            }
        }
        self.let_go();
        came
    }

    /// Room in which nothing was put is given back: a client that plays has little to say, and there are many.
    pub(super) fn let_go(&mut self) {
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
        }
    }

    /// Whether bytes wait that may hold a request, now that none that was cut does.
    pub(super) fn is_to_be_cut(&self) -> bool {
        self.requests.is_empty() && !self.buf.is_empty() && !self.refused
    }

    /// Whether more is to be read.
    pub(super) fn has_room(&self) -> bool {
        !self.refused && !self.is_full()
    }

    /// Whether the client has begun something and is to send its end.
    pub(super) fn is_owed(&self) -> bool {
        self.owed
    }

    /// Whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The request that waits longest.
    pub(super) fn front(&self) -> Option<&Request> {
        self.requests.front()
    }

    /// Takes it out.
    pub(super) fn pop(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Why nothing follows, once, behind all requests.
    pub(super) fn take_refusal(&mut self) -> Option<FrameError> {
        self.refusal.take_if(|_| self.requests.is_empty())
    }

    fn is_full(&self) -> bool {
        let bytes = || -> usize { self.requests.iter().map(bytes_of).sum() };
        self.requests.len() >= REQUESTS_MAX
            || !self.requests.is_empty() && bytes() >= REQUEST_BYTES_MAX
    }
}

fn bytes_of(request: &Request) -> usize {
    let fields = request.headers.iter();
    let fields: usize = fields.map(|(name, value)| name.len() + value.len()).sum();
    request.uri.len() + fields + request.body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn request(cseq: usize, body: usize) -> Vec<u8> {
        let head = format!("OPTIONS * RTSP/1.0\r\nCSeq: {cseq}\r\nContent-Length: {body}\r\n\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + body, b'x');
        request
    }

    fn drained(pipeline: &mut Pipeline) -> Vec<u32> {
        let taken = std::iter::from_fn(|| pipeline.pop());
        taken.filter_map(|request| request.cseq()).collect()
    }

    #[test]
    fn so_many_requests_wait_and_the_rest_stays_as_it_came() {
        let mut pipeline = Pipeline::default();
        for cseq in 0..20 {
            pipeline.buffer().extend_from_slice(&request(cseq, 0));
        }
        let came = pipeline.cut();
        assert!(came.request && came.anything && !pipeline.has_room());
        let mut all = drained(&mut pipeline);
        assert_eq!(all.len(), REQUESTS_MAX);
        while pipeline.is_to_be_cut() {
            pipeline.cut();
            all.extend(drained(&mut pipeline));
        }
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert!(pipeline.has_room() && !pipeline.is_owed());
    }

    #[test]
    fn long_requests_wait_one_at_a_time() {
        let mut pipeline = Pipeline::default();
        for cseq in 0..3 {
            pipeline.buffer().extend_from_slice(&request(cseq, MIB));
        }
        for cseq in 0..3 {
            assert!(pipeline.cut().request && !pipeline.has_room());
            assert_eq!(drained(&mut pipeline), [cseq]);
        }
        assert_eq!(pipeline.cut(), Came::default());
        // What held them is not held on to, nor what was made ready for more.
        assert_eq!(pipeline.buffer().capacity(), 0);
        pipeline.buffer().reserve(4096);
        pipeline.let_go();
        assert_eq!(pipeline.buffer().capacity(), 0);
        pipeline.buffer().extend_from_slice(b"PLAY");
        pipeline.let_go();
        assert_eq!(pipeline.buffer()[..], *b"PLAY");
    }

    #[test]
    fn who_is_kept_waiting_owes_nothing() {
        let mut pipeline = Pipeline::default();
        for cseq in 0..=REQUESTS_MAX {
            pipeline.buffer().extend_from_slice(&request(cseq, 0));
        }
        let cut_off = pipeline.buffer().len() - 5;
        pipeline.buffer().truncate(cut_off);
        pipeline.cut();
        assert!(!pipeline.is_owed());
        drained(&mut pipeline);
        pipeline.cut();
        assert!(pipeline.is_owed());
    }

    #[test]
    fn bytes_that_are_none_are_refused_once_and_behind_all_before_them() {
        let mut pipeline = Pipeline::default();
        pipeline.buffer().extend_from_slice(&request(1, 0));
        pipeline
            .buffer()
            .extend_from_slice(b"$\x01\x00\x00\x01garbage");
        let came = pipeline.cut();
        assert_eq!(came.refusal, Some(FrameError::Garbage));
        assert_eq!(pipeline.take_refusal(), None);
        assert_eq!(drained(&mut pipeline), [1]);
        assert_eq!(pipeline.take_refusal(), Some(FrameError::Garbage));
        assert_eq!(pipeline.cut(), Came::default());
        assert!(!pipeline.has_room() && !pipeline.is_to_be_cut() && !pipeline.is_owed());
        assert_eq!(pipeline.take_refusal(), None);
    }
}
