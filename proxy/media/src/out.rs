//! What waits to be written to one client: media in as few buffers as it came in, and messages that
//! may overtake it at the next frame boundary.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BytesMut};

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

    /// Inserts a message at the next frame boundary, behind messages already there.
    pub fn push_front_message(&mut self, message: BytesMut) {
        if message.is_empty() {
            return;
        }
        self.bytes += message.len();
        let mut at = self.split_at_boundary();
        while matches!(self.chunks.get(at), Some(Chunk::Message(_))) {
            at += 1;
        }
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
