//! What waits to be written to one client: media in as few buffers as it came in, and messages that
//! may overtake it at the next frame boundary.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BytesMut};

use crate::packets::Frames;
use crate::rtp::first_frame_bytes;

/// Bytes for one connection, in order.
#[derive(Debug, Default)]
pub struct OutQueue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Bytes of the first chunk up to the end of what is partly written; 0 at a boundary.
    to_boundary: usize,
}

#[derive(Debug)]
enum Chunk {
    /// Whole interleaved frames, but for what was written of the first.
    Frames(BytesMut),
    /// One RTSP message.
    Message(BytesMut),
}

impl Chunk {
    fn bytes(&self) -> &BytesMut {
        match self {
            Self::Frames(bytes) | Self::Message(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut BytesMut {
        match self {
            Self::Frames(bytes) | Self::Message(bytes) => bytes,
        }
    }
}

impl OutQueue {
    /// Nothing to write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends whole interleaved frames. Frames that lie behind the last ones in memory join them.
    pub fn push_bytes(&mut self, frames: BytesMut) {
        if frames.is_empty() {
            return;
        }
        self.bytes += frames.len();
        let unjoined = match self.chunks.back_mut() {
            Some(Chunk::Frames(last)) => last.try_unsplit(frames),
            Some(Chunk::Message(_)) | None => Err(frames),
        };
        if let Err(frames) = unjoined {
            self.chunks.push_back(Chunk::Frames(frames));
        }
    }

    /// Appends a message behind everything.
    pub fn push_message(&mut self, message: BytesMut) {
        if message.is_empty() {
            return;
        }
        self.bytes += message.len();
        self.chunks.push_back(Chunk::Message(message));
    }

    /// Bytes of the messages that wait.
    pub fn message_bytes(&self) -> usize {
        let messages = self
            .chunks
            .iter()
            .filter(|chunk| matches!(chunk, Chunk::Message(_)));
        messages.map(|chunk| chunk.bytes().len()).sum()
    }

    /// Inserts a message at the next frame boundary, behind every message already there: answers keep their order.
    pub fn push_front_message(&mut self, message: BytesMut) {
        if message.is_empty() {
            return;
        }
        self.bytes += message.len();
        let boundary = self.split_at_boundary();
        let last = self
            .chunks
            .iter()
            .rposition(|chunk| matches!(chunk, Chunk::Message(_)));
        let at = last.map_or(boundary, |last| boundary.max(last + 1));
        self.chunks.insert(at, Chunk::Message(message));
    }

    /// Throws away the media that is not partly written; messages stay. For PAUSE and seek.
    pub fn discard_frames(&mut self) {
        let partial = self.split_at_boundary();
        let mut index = 0;
        self.chunks.retain(|chunk| {
            index += 1;
            index <= partial || matches!(chunk, Chunk::Message(_))
        });
        self.bytes = self.chunks.iter().map(|chunk| chunk.bytes().len()).sum();
    }

    /// Fills `slices` from the front; gives back how many were filled.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk.bytes());
            filled += 1;
        }
        filled
    }

    /// The whole frames that wait, in order; none is partly written. Messages are passed over.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().flat_map(|chunk| match chunk {
            Chunk::Frames(frames) => Frames { rest: frames },
            Chunk::Message(_) => Frames { rest: &[] },
        })
    }

    /// Takes off what was written, at most what there is.
    pub fn advance(&mut self, written: usize) {
        let mut left = written.min(self.bytes);
        self.bytes -= left;
        while left > 0 {
            let Some(chunk) = self.chunks.front_mut() else {
                return;
            };
            let step = left.min(chunk.bytes().len());
            self.to_boundary = match chunk {
                // A chunk ends where its last frame does.
                _ if step == chunk.bytes().len() => 0,
                Chunk::Message(message) => message.len() - step,
                Chunk::Frames(frames) => beyond_boundary(frames, self.to_boundary, step),
            };
            chunk.bytes_mut().advance(step);
            if chunk.bytes().is_empty() {
                self.chunks.pop_front();
            }
            left -= step;
        }
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Number of buffers waiting.
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Makes the boundary behind what is partly written a boundary of chunks; gives back its index.
    fn split_at_boundary(&mut self) -> usize {
        let boundary = self.to_boundary;
        if boundary == 0 {
            return 0;
        }
        if let Some(Chunk::Frames(frames)) = self.chunks.front_mut()
            && boundary < frames.len()
        {
            let rest = frames.split_off(boundary);
            self.chunks.insert(1, Chunk::Frames(rest));
        }
        1
    }
}

/// Bytes from `step` to the end of the frame it falls into, when the current one ends at `to_boundary`.
fn beyond_boundary(frames: &[u8], to_boundary: usize, step: usize) -> usize {
    let mut boundary = to_boundary;
    while boundary < step {
        let rest = frames.get(boundary..).unwrap_or_default();
        boundary += first_frame_bytes(rest).unwrap_or(rest.len()).max(1);
    }
    boundary - step
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(fill: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![b'$', fill, (payload >> 8) as u8, payload as u8];
        frame.resize(4 + payload, fill);
        frame
    }

    #[test]
    fn frames_of_one_read_are_one_buffer() {
        let mut read = BytesMut::from(&[frame(1, 9), frame(2, 9), frame(3, 9)].concat()[..]);
        let mut queue = OutQueue::new();
        for _ in 0..3 {
            queue.push_bytes(read.split_to(13));
        }
        assert_eq!((queue.chunk_count(), queue.len()), (1, 39));
    }

    #[test]
    fn a_message_overtakes_at_the_next_frame() {
        let mut queue = OutQueue::new();
        queue.push_bytes(BytesMut::from(&[frame(1, 9), frame(2, 9)].concat()[..]));
        queue.advance(5);
        queue.push_front_message(BytesMut::from("one"));
        queue.push_front_message(BytesMut::from("two"));
        let mut rest = frame(1, 9).split_off(5);
        rest.extend_from_slice(b"onetwo");
        rest.extend(frame(2, 9));
        assert_eq!(drained(&mut queue), rest);
    }

    #[test]
    fn pause_keeps_what_is_begun_and_the_messages() {
        let mut queue = OutQueue::new();
        queue.push_bytes(BytesMut::from(&[frame(1, 9), frame(2, 9)].concat()[..]));
        queue.push_message(BytesMut::from("reply"));
        queue.advance(1);
        queue.discard_frames();
        assert_eq!(queue.len(), 12 + 5);
        let mut rest = frame(1, 9).split_off(1);
        rest.extend_from_slice(b"reply");
        assert_eq!(drained(&mut queue), rest);
        assert!(queue.is_empty());
    }

    /// What a vectored write of at most `limit` bytes takes.
    fn written(queue: &mut OutQueue, limit: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = queue.io_slices(&mut slices);
        let bytes = slices[..filled].iter().flat_map(|slice| slice.iter());
        let bytes: Vec<u8> = bytes.take(limit).copied().collect();
        queue.advance(bytes.len());
        bytes
    }

    fn drained(queue: &mut OutQueue) -> Vec<u8> {
        written(queue, usize::MAX)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Frames(Vec<usize>),
        Message,
        Urgent,
        Advance(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(0usize..300, 1..4).prop_map(Step::Frames),
            Just(Step::Message),
            Just(Step::Urgent),
            (0usize..400).prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// What leaves the queue is whole frames and whole messages, each once, in whatever pieces.
        #[test]
        fn never_inside_a_frame(steps in prop::collection::vec(step(), 1..60)) {
            let mut queue = OutQueue::new();
            let mut sent = Vec::new();
            let (mut frames, mut messages, mut bytes) = (0, 0, 0);
            for step in steps {
                match step {
                    Step::Frames(sizes) => {
                        frames += sizes.len();
                        let all: Vec<u8> = sizes.iter().flat_map(|&size| frame(7, size)).collect();
                        bytes += all.len();
                        queue.push_bytes(BytesMut::from(&all[..]));
                    }
                    Step::Message | Step::Urgent => {
                        messages += 1;
                        bytes += 4;
                        let message = BytesMut::from("RTSP");
                        if matches!(step, Step::Urgent) {
                            queue.push_front_message(message);
                        } else {
                            queue.push_message(message);
                        }
                    }
                    Step::Advance(limit) => sent.extend(written(&mut queue, limit)),
                }
                prop_assert_eq!(queue.len() + sent.len(), bytes);
            }
            while !queue.is_empty() {
                sent.extend(drained(&mut queue));
            }
            let mut rest = &sent[..];
            while !rest.is_empty() {
                if let Some(after) = rest.strip_prefix(b"RTSP") {
                    messages -= 1;
                    rest = after;
                } else {
                    frames -= 1;
                    rest = &rest[first_frame_bytes(rest).expect("a whole frame")..];
                }
            }
            prop_assert_eq!((frames, messages), (0, 0));
        }
    }
}
