//! What a clip is: everything that its bytes depend on, besides the footage.

use std::sync::Arc;

use bytes::Bytes;
use seamline_media::mp4::{Fragmented, Holes, Indexed, Origin, Piece, Settings, TooLong, Whole};
use seamline_media::{Entry, Sample};
use seamline_routing::CameraId;
use seamline_routing::plan::Direction;
use seamline_routing::policy::Holes as Policy;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;

use crate::playback::Wanted;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clip {
    /// Whose footage.
    pub camera: CameraId,
    /// Where it begins.
    pub from: Timestamp,
    /// The first instant that is not in it.
    pub until: Timestamp,
    /// What kind of file.
    pub format: Format,
    /// What holes do.
    pub gaps: Gaps,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Fragments, each whole as soon as it is there.
    #[default]
    Fragmented,
    /// One table ahead of all; there is nothing of it until all of it is there.
    Plain,
}

/// What stretches do that no site holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gaps {
    /// Footage behind it follows at once.
    Close,
    /// Their time is left.
    Keep,
    /// The clip ends there.
    End,
}

impl From<Policy> for Gaps {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Skip => Gaps::Close,
            Policy::Wait => Gaps::Keep,
            Policy::End => Gaps::End,
        }
    }
}

impl Clip {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            from: self.from,
            until: Some(self.until),
            holes: Some(match self.gaps {
                Gaps::Close | Gaps::Keep => Policy::Skip,
                Gaps::End => Policy::End,
            }),
            frames: Frames::All,
            pacing: None,
            direction: Direction::Forward,
            sound: true,
        }
    }

    /// Writes it; with room for an index where it is the same a second time (`lasting`).
    pub(super) fn writer(&self, master: usize, lasting: bool) -> Writer {
        let settings = Settings {
            origin: match self.gaps {
                Gaps::Keep => Origin::At(self.from.as_micros()),
                Gaps::Close | Gaps::End => Origin::First,
            },
            holes: match self.gaps {
                Gaps::Keep => Holes::Keep,
                Gaps::Close | Gaps::End => Holes::Close,
            },
            master,
        };
        match self.format {
            Format::Fragmented => Writer::Fragmented {
                file: Box::new(if lasting {
                    Fragmented::indexed(settings, self.until.since(self.from))
                } else {
                    Fragmented::new(settings)
                }),
                headed: false,
            },
            Format::Plain => Writer::Plain(Box::new(Whole::new(settings))),
        }
    }
}

/// Writes a file of either kind.
pub(super) enum Writer {
    Fragmented {
        file: Box<Fragmented>,
        /// The one head of the file was written; what changes later is in the samples.
        headed: bool,
    },
    Plain(Box<Whole>),
}

/// Bytes for the file, and what only the end tells.
#[derive(Default)]
pub(super) struct Last {
    pub(super) bytes: Vec<Bytes>,
    /// Goes ahead of all of them.
    pub(super) head: Option<Bytes>,
    pub(super) index: Option<Indexed>,
}

impl Writer {
    pub(super) fn format(&mut self, track: usize, entry: Arc<Entry>) {
        match self {
            Writer::Fragmented { file, .. } => file.format(track, entry),
            Writer::Plain(file) => file.format(track, entry),
        }
    }

    pub(super) fn push(&mut self, sample: Sample) -> Result<Vec<Bytes>, TooLong> {
        match self {
            Writer::Fragmented { file, headed } => {
                file.push(sample);
                Ok(flat(file.pop(), headed))
            }
            Writer::Plain(file) => {
                file.push(sample);
                file.pop()
            }
        }
    }

    pub(super) fn finish(self) -> Result<Last, TooLong> {
        match self {
            Writer::Fragmented {
                mut file,
                mut headed,
            } => Ok(Last {
                bytes: flat(file.finish(), &mut headed),
                index: file.index(),
                ..Last::default()
            }),
            Writer::Plain(file) => Ok(match file.finish()? {
                Some((bytes, head)) => Last {
                    bytes,
                    head: Some(head),
                    ..Last::default()
                },
                None => Last::default(),
            }),
        }
    }
}

fn flat(pieces: Vec<Piece>, headed: &mut bool) -> Vec<Bytes> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Head(head) if !std::mem::replace(headed, true) => bytes.push(head),
            Piece::Head(_) => {}
            Piece::Fragment(fragment) => bytes.extend(fragment.chunks),
        }
    }
    bytes
}
