//! Whole interleaved frames, back to back, in as few buffers as the reads that brought them.

use bytes::BytesMut;
use smallvec::SmallVec;

use crate::rtp::first_frame_bytes;

/// The packets of one unit as `$` frames. Frames that lie next to each other in one read buffer share
/// one chunk: neither their payload nor their headers are copied on the way through.
#[derive(Debug, Default)]
pub struct Packets {
    chunks: SmallVec<[BytesMut; 2]>,
    bytes: usize,
    count: usize,
    /// Frames that are known to be [`Form::Stamped`].
    stamped: usize,
    /// The longest of those.
    longest: usize,
}

/// Heads of frames that are shorter come with those before them.
const FETCH_BYTES_MIN: usize = 256;

/// What is known of a frame's header by who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// No contributing sources, and the replay extension in the one form that players read.
    Stamped,
    /// Anything.
    Any,
}

/// Frames that are counted ahead of their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owed {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    pub(crate) longest: usize,
}

impl Owed {
    pub(crate) fn one(bytes: usize) -> Self {
        Self {
            count: 1,
            bytes,
            longest: bytes,
        }
    }
}

impl Packets {
    /// No packets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one whole frame.
    pub fn push(&mut self, frame: BytesMut) {
        debug_assert_eq!(
            first_frame_bytes(&frame),
            Some(frame.len()),
            "one whole frame"
        );
        self.bytes += frame.len();
        self.count += 1;
        self.append(frame);
    }

    /// Counts whole frames whose bytes follow with the others of their run, by [`Self::settle`].
    pub(crate) fn owe(&mut self, frames: Owed, form: Form) {
        self.bytes += frames.bytes;
        self.count += frames.count;
        if form == Form::Stamped {
            self.stamped += frames.count;
            self.longest = self.longest.max(frames.longest);
        }
    }

    /// Length of the longest frame, where all of them are known to be [`Form::Stamped`].
    pub(crate) fn longest_stamped(&self) -> Option<usize> {
        (self.stamped == self.count).then_some(self.longest)
    }

    /// Appends the frames that were counted ahead.
    pub(crate) fn settle(&mut self, frames: BytesMut) {
        self.append(frames);
    }

    /// Appends a buffer of `count` whole frames.
    pub(crate) fn push_many(&mut self, frames: BytesMut, count: usize) {
        self.bytes += frames.len();
        self.count += count;
        self.append(frames);
    }

    fn append(&mut self, bytes: BytesMut) {
        let unjoined = match self.chunks.last_mut() {
            Some(last) => last.try_unsplit(bytes),
            None => Err(bytes),
        };
        if let Err(bytes) = unjoined {
            self.chunks.push(bytes);
        }
    }

    /// Takes the first frame off.
    pub fn take_first(&mut self) -> Option<BytesMut> {
        let first = self.chunks.first_mut()?;
        let length = first_frame_bytes(first)?;
        let frame = first.split_to(length);
        if first.is_empty() {
            self.chunks.remove(0);
        }
        self.bytes -= length;
        self.count -= 1;
        // Which of them it was is not known.
        self.stamped = 0;
        Some(frame)
    }

    /// The same bytes once more, in one buffer of their own.
    #[must_use]
    pub fn copied(&self) -> Self {
        let mut bytes = BytesMut::with_capacity(self.bytes);
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk);
        }
        Self {
            chunks: smallvec::smallvec![bytes],
            bytes: self.bytes,
            count: self.count,
            stamped: self.stamped,
            longest: self.longest,
        }
    }

    /// Total length, frame headers included.
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Number of packets.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of buffers.
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Each frame, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().flat_map(|chunk| Frames { rest: chunk })
    }

    /// Looks at where frames as long as the longest begin, none waiting for the one before. Heads that are no longer in the cache
    /// come into it together; walking from frame to frame waits for each.
    pub(crate) fn fetch_heads(&self) {
        let mut seen = 0_u8;
        for chunk in &self.chunks {
            let heads = chunk.iter().step_by(self.longest.max(FETCH_BYTES_MIN));
            seen = heads.fold(seen, |seen, byte| seen ^ byte);
        }
        std::hint::black_box(seen);
    }

    /// Each frame, in order, to be changed where it lies.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.chunks
            .iter_mut()
            .flat_map(|chunk| FramesMut { rest: chunk })
    }

    /// The buffers, in order.
    pub fn into_chunks(self) -> impl Iterator<Item = BytesMut> {
        self.chunks.into_iter()
    }
}

/// Whole frames, back to back.
pub(crate) struct Frames<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let (frame, rest) = self.rest.split_at_checked(first_frame_bytes(self.rest)?)?;
        self.rest = rest;
        Some(frame)
    }
}

struct FramesMut<'a> {
    rest: &'a mut [u8],
}

impl<'a> Iterator for FramesMut<'a> {
    type Item = &'a mut [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        let length = first_frame_bytes(rest)?;
        let (frame, rest) = rest.split_at_mut_checked(length)?;
        self.rest = rest;
        Some(frame)
    }
}
