//! Footage that recorders hand out over HTTP as MP4, a stretch at a time.

use std::{fmt, future::poll_fn, sync::Arc};

use bytes::Bytes;
use seamline_archive::{Piece, Stream};
use seamline_routing::Timestamp;
use seamline_rtsp::sdp::Description;

use crate::{
    archive::describe_tracks,
    http::Body,
    recorder::{Answer, ProbeError},
};

/// A recorder that hands out stretches of footage. All times are on its clock.
pub trait Clips: fmt::Debug + Send + Sync {
    /// Opens a stretch that holds `from`, else the first one behind it. It begins with a random access point at or before
    /// `from` where there is one, mostly some time before; it may end anywhere, and at `until` if that is given.
    fn clip(
        &self,
        remote: Arc<str>,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Answer<'_, Found>;
}

/// What there is of a camera from an instant on.
#[derive(Debug)]
pub enum Found {
    /// Footage.
    Clip(Box<Clip>),
    /// None, or none that is known of so far behind.
    Nothing {
        /// What was recorded last ends shortly before, and recording goes on.
        growing: bool,
    },
}

/// A stretch of footage on its way.
#[derive(Debug)]
pub struct Clip {
    /// The movie header, where the body has none of its own.
    pub header: Option<Bytes>,
    /// The movie, or its segments.
    pub body: Body,
    /// What dates its pictures.
    pub dating: Dating,
    /// Where in the movie's media the body begins, whose index is `header`; `None` where it begins with it.
    pub place: Option<u64>,
    /// Where it is listed to end.
    pub ends: Timestamp,
    /// Recording goes on behind it.
    pub growing: bool,
}

/// What dates the pictures of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dating {
    /// The instant of decode time zero, of random access points: others are as much later as they are shown later than a
    /// decoder could. Pictures without duration ahead of the first one with some are there to decode that one.
    Zero(Timestamp),
    /// The instant of the first picture.
    First(Timestamp),
    /// The instant of the first picture by the name of a file, some seconds off: one that goes on where another ended does so
    /// exactly, or begins with its last pictures.
    Named(Timestamp),
}

impl Clip {
    /// What reads it.
    pub fn stream(&self) -> Stream {
        match (&self.header, self.place) {
            (Some(index), Some(place)) => Stream::entered(index, place),
            (Some(header), None) => {
                let mut stream = Stream::new();
                stream.push(header);
                stream
            }
            (None, _) => Stream::new(),
        }
    }
}

/// The tracks of a clip. The rest of it is not read.
pub(crate) async fn describe(mut clip: Clip) -> Result<Description, ProbeError> {
    let mut stream = clip.stream();
    let mut read = 0;
    loop {
        let piece = stream.next_piece();
        match piece.map_err(|error| ProbeError::protocol(error.to_string()))? {
            Some(Piece::Tracks(formats)) => return Ok(describe_tracks(&formats)),
            Some(Piece::Frame(_)) => continue,
            None => {}
        }
        let Some(bytes) = poll_fn(|cx| clip.body.poll_bytes(cx)).await else {
            return Err(ProbeError::protocol("a movie without a header"));
        };
        let bytes = bytes?;
        read += bytes.len();
        if read > DESCRIBED_BYTES_MAX {
            return Err(ProbeError::protocol("a movie without a header so far"));
        }
        stream.push(&bytes);
    }
}

const DESCRIBED_BYTES_MAX: usize = 64 << 20;
