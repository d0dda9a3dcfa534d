//! Samples of MP4 as it comes: nothing is sought, and no more is kept than the frame that is being received.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use mp4_atom::Trex;

use crate::{
    boxes::Head,
    error::Flaw,
    format::TrackFormat,
    fragment,
    segment::{FIRST, Movie, Sample, Track},
    table::Sink,
};

/// A movie that is received: fragmented, or plain with its index ahead of its media.
#[derive(Debug, Default)]
pub struct Stream {
    buffer: BytesMut,
    /// Place of the buffer's first byte in the movie.
    at: u64,
    state: State,
    tracks: Vec<Track>,
    defaults: Vec<Trex>,
    fragmented: bool,
    /// Where the media begins that follows the index.
    entered: Option<u64>,
    /// Samples whose bytes are still to come, by their places, and the tracks that they are of.
    due: VecDeque<(usize, Sample)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the head of a box.
    #[default]
    Head,
    /// In a box whose bytes mean nothing here; how many are left, or `None` when it reaches to the end.
    Skipped(Option<u64>),
    /// In a box of media.
    Media(Option<u64>),
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// The playable tracks, the video first. Frames name them by index.
    Tracks(Vec<TrackFormat>),
    /// A coded frame, or a run of companded audio.
    Frame(StreamFrame),
}

/// A frame of a movie that is received.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamFrame {
    /// Index of its track.
    pub track: usize,
    /// Decode time from the movie's zero, µs.
    pub decode_us: i64,
    /// Presentation time minus decode time, µs.
    pub composition_us: i64,
    /// µs.
    pub duration_us: i64,
    /// Whether decoding can begin here.
    pub sync: bool,
    /// Its bytes.
    pub data: Bytes,
}

/// Why a movie cannot be received any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It does not begin with MP4 boxes.
    #[error("not MP4")]
    NotMp4,
    /// Its index comes behind its media: only a whole file can be played.
    #[error("its index comes behind its media")]
    IndexBehind,
    /// A box contradicts itself, or another.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A count or a size is beyond what this reader accepts.
    #[error("{0} beyond the limit")]
    TooLarge(&'static str),
    /// No track has a codec that can be played.
    #[error("no track of a known codec")]
    NoTrack,
}

impl From<Flaw> for StreamError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::NotMp4 => Self::NotMp4,
            Flaw::Malformed(what) => Self::Malformed(what),
            Flaw::TooLarge(what) => Self::TooLarge(what),
            Flaw::NoTrack => Self::NoTrack,
            // Neither files nor their ends are met here.
            Flaw::Io(_) | Flaw::Unfinished => Self::Malformed("movie"),
        }
    }
}

impl Stream {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a plain movie whose index (a whole `moov` box) is at hand: what is taken in are its bytes from `place` on, somewhere in its
    /// media. What lies before is left out.
    pub fn entered(index: &[u8], place: u64) -> Self {
        let mut stream = Self {
            entered: Some(place),
            ..Self::default()
        };
        stream.push(index);
        stream
    }

    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What comes from now on is another file than the movie header: places count from here.
    pub fn begin_media(&mut self) {
        self.buffer.clear();
        self.state = State::Head;
        self.at = 0;
    }

    /// The next piece; `None` when more must come first. After an error nothing comes any more.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, StreamError> {
        loop {
            let before = (self.at, self.state);
            let piece = match self.state {
                State::Head => self.head()?,
                State::Skipped(left) => {
                    self.skip(left, u64::MAX, State::Skipped);
                    None
                }
                State::Media(left) => self.media(left)?,
            };
            if piece.is_some() {
                return Ok(piece);
            }
            if before == (self.at, self.state) {
                return Ok(None);
            }
        }
    }

    fn head(&mut self) -> Result<Option<Piece>, StreamError> {
        let Some(head) = Head::parse(&self.buffer) else {
            let large = self.buffer.get(..4) == Some(&[0, 0, 0, 1]);
            let needed = if large { Head::BYTES_MAX } else { 8 };
            return if self.buffer.len() < needed {
                Ok(None)
            } else {
                Err(StreamError::Malformed("box size"))
            };
        };
        if self.at == 0 && !FIRST.contains(&head.kind) {
            return Err(StreamError::NotMp4);
        }
        let left = head.len.map(|len| len - head.body_at);
        match &head.kind {
            b"moov" => self.index(head, MOOV_BYTES_MAX, Self::movie),
            b"moof" if self.fragmented => self.index(head, MOOF_BYTES_MAX, |stream, body, at| {
                stream.fragment(body, at).map(|()| None)
            }),
            b"moof" | b"mdat" if self.tracks.is_empty() => Err(StreamError::IndexBehind),
            b"mdat" => {
                self.advance(head.body_at as usize);
                self.state = State::Media(left);
                Ok(None)
            }
            _ => {
                self.advance(head.body_at as usize);
                self.state = State::Skipped(left);
                Ok(None)
            }
        }
    }

    /// Reads a box that is needed whole.
    fn index(
        &mut self,
        head: Head,
        bytes_max: u64,
        read: impl FnOnce(&mut Self, &[u8], u64) -> Result<Option<Piece>, StreamError>,
    ) -> Result<Option<Piece>, StreamError> {
        let len = head.len.ok_or(StreamError::Malformed("index size"))?;
        if len > bytes_max {
            return Err(StreamError::TooLarge("index"));
        }
        let len = len as usize;
        if self.buffer.len() < len {
            return Ok(None);
        }
        let at = self.at;
        let whole = self.buffer.split_to(len).freeze();
        self.at += len as u64;
        read(
            self,
            whole.get(head.body_at as usize..).unwrap_or_default(),
            at,
        )
    }

    fn movie(&mut self, moov: &[u8], _: u64) -> Result<Option<Piece>, StreamError> {
        let mut sink = Sink::streamed(self.at.saturating_add(MEDIA_BYTES_MAX), SAMPLES_MAX);
        let movie = Movie::parse(moov, &mut sink)?;
        self.tracks = movie.tracks;
        self.defaults = movie.defaults;
        self.fragmented = movie.fragmented;
        self.due.clear();
        self.take_due();
        if let Some(place) = self.entered.take() {
            self.due.retain(|(_, sample)| sample.offset >= place);
            self.at = place;
            self.state = State::Media(None);
        }
        let formats = self.tracks.iter().map(|track| track.format.clone());
        Ok(Some(Piece::Tracks(formats.collect())))
    }

    fn fragment(&mut self, moof: &[u8], at: u64) -> Result<(), StreamError> {
        if !self.due.is_empty() {
            return Err(StreamError::Malformed("fragment: its media is missing"));
        }
        let mut sink = Sink::streamed(self.at.saturating_add(MEDIA_BYTES_MAX), SAMPLES_MAX);
        if !fragment::append(moof, at, &self.defaults, &mut sink, &mut self.tracks)? {
            return Err(StreamError::TooLarge("fragment"));
        }
        self.take_due();
        Ok(())
    }

    /// Moves what the tracks have to where it waits for its bytes. The last sample stays known: a fragment may leave out
    /// its time.
    fn take_due(&mut self) {
        for (index, track) in self.tracks.iter_mut().enumerate() {
            let Some(last) = track.samples.last().copied() else {
                continue;
            };
            let taken = track.samples.drain(..);
            let fresh = taken.filter(|sample| sample.size > 0);
            self.due.extend(fresh.map(|sample| (index, sample)));
            track.samples.push(Sample { size: 0, ..last });
        }
        self.due
            .make_contiguous()
            .sort_by_key(|(_, sample)| sample.offset);
    }

    fn media(&mut self, left: Option<u64>) -> Result<Option<Piece>, StreamError> {
        let Some((track, sample)) = self.due.front().copied() else {
            self.skip(left, u64::MAX, State::Media);
            return Ok(None);
        };
        if let Some(ahead) = sample
            .offset
            .checked_sub(self.at)
            .filter(|ahead| *ahead > 0)
        {
            self.skip(left, ahead, State::Media);
            return Ok(None);
        }
        if left == Some(0) {
            self.state = State::Head;
            return Ok(None);
        }
        if sample.offset < self.at {
            return Err(StreamError::Malformed("sample: its place is behind"));
        }
        if left.is_some_and(|left| u64::from(sample.size) > left) {
            return Err(StreamError::Malformed(
                "sample: it reaches beyond its media",
            ));
        }
        let size = sample.size as usize;
        if size > FRAME_BYTES_MAX {
            return Err(StreamError::TooLarge("frame"));
        }
        if self.buffer.len() < size {
            return Ok(None);
        }
        let data = self.buffer.split_to(size).freeze();
        self.at += size as u64;
        self.state = State::Media(left.map(|left| left - size as u64));
        self.due.pop_front();
        let Some(of) = self.tracks.get(track) else {
            return Ok(None);
        };
        let ticks = i64::from(sample.composition);
        let presented = of.to_us(sample.decode_time.saturating_add(ticks));
        let decode_us = of.to_us(sample.decode_time);
        Ok(Some(Piece::Frame(StreamFrame {
            track,
            decode_us,
            composition_us: presented.saturating_sub(decode_us),
            duration_us: of.duration_us(&sample),
            sync: sample.sync,
            data,
        })))
    }

    /// Leaves out up to `ahead` bytes of a box that has `left`.
    fn skip(&mut self, left: Option<u64>, ahead: u64, rest: fn(Option<u64>) -> State) {
        let most = left.unwrap_or(u64::MAX).min(ahead);
        let skipped = most.min(self.buffer.len() as u64);
        self.advance(skipped as usize);
        let left = left.map(|left| left - skipped);
        self.state = if left == Some(0) {
            State::Head
        } else {
            rest(left)
        };
    }

    fn advance(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.at += bytes as u64;
    }
}

/// A key frame of a picture of 8K takes less.
const FRAME_BYTES_MAX: usize = 32 << 20;
pub(crate) const MEDIA_BYTES_MAX: u64 = 1 << 40;
const MOOF_BYTES_MAX: u64 = 4 << 20;
const MOOV_BYTES_MAX: u64 = 64 << 20;
/// Samples that wait for their bytes at most: of a plain movie all of them.
pub(crate) const SAMPLES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
