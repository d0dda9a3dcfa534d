//! The account that is kept of a clip while it is written.

use std::collections::BTreeMap;

use seamline_routing::Timestamp;

use crate::digest::{Digest, Digester};
use crate::manifest::{
    Asked, FORMAT, FileFacts, Hole, Manifest, Origin, Program, Requester, Seal, Section, Span,
    TrackFrames, VERSION,
};
use crate::structure::{Content, Scanner};

/// What is known before the first byte.
#[derive(Clone, Debug)]
pub struct About {
    /// What writes the clip.
    pub program: Program,
    /// Who asked for it.
    pub requested_by: Requester,
    /// The camera's id.
    pub camera: String,
    /// The range that was asked for.
    pub asked: Asked,
    /// The clip's media type.
    pub media_type: String,
}

/// Keeps account: every byte of the file goes through [`Ledger::write`], in order.
///
/// First comes the head; from [`Ledger::span`] on, bytes belong to that span, until the next one or [`Ledger::tail`]. How many
/// frames a span holds is read in the bytes themselves, as whoever checks them does.
#[derive(Debug)]
pub struct Ledger {
    about: About,
    whole: Digester,
    length: u64,
    scanner: Scanner,
    head: Option<Section>,
    spans: Vec<Span>,
    holes: Vec<Hole>,
    part: Part,
}

#[derive(Debug)]
enum Kind {
    Head,
    Span(Box<Origin>),
    Tail,
}

/// What is being written.
#[derive(Debug)]
struct Part {
    kind: Kind,
    offset: u64,
    hasher: Digester,
    shown: Option<(Timestamp, Timestamp)>,
    /// Frames by track: all of them, and those that are not shown.
    frames: BTreeMap<u32, u64>,
    preroll: BTreeMap<u32, u64>,
}

impl Part {
    fn new(kind: Kind, offset: u64) -> Self {
        Part {
            kind,
            offset,
            hasher: Digester::default(),
            shown: None,
            frames: BTreeMap::new(),
            preroll: BTreeMap::new(),
        }
    }
}

impl Ledger {
    /// An account of a file that has no bytes yet.
    pub fn new(about: About) -> Self {
        Ledger {
            about,
            whole: Digester::default(),
            length: 0,
            scanner: Scanner::default(),
            head: None,
            spans: Vec::new(),
            holes: Vec::new(),
            part: Part::new(Kind::Head, 0),
        }
    }

    /// Bytes of the file.
    pub fn write(&mut self, bytes: &[u8]) {
        self.whole.write(bytes);
        self.part.hasher.write(bytes);
        self.length += bytes.len() as u64;
        for found in self.scanner.push(bytes) {
            if let Content::Fragment { frames, .. } = found.content {
                for (track, count) in frames {
                    *self.part.frames.entry(track).or_default() += count;
                }
            }
        }
    }

    /// How many bytes were written.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all that was written so far.
    pub fn digest(&self) -> Digest {
        self.whole.clone().finish()
    }

    /// From here on another copy delivers.
    pub fn span(&mut self, origin: Origin) {
        self.close();
        self.part = Part::new(Kind::Span(Box::new(origin)), self.length);
    }

    /// A parameter set that frames of the current span need, once each.
    pub fn parameter_sets(&mut self, digest: Digest) {
        if let Kind::Span(origin) = &mut self.part.kind
            && !origin.parameter_sets.contains(&digest)
        {
            origin.parameter_sets.push(digest);
        }
    }

    /// Frames of the current span are shown whose capture times lie between these, both included.
    pub fn shown(&mut self, first: Timestamp, last: Timestamp) {
        let (earliest, latest) = self.part.shown.unwrap_or((first, last));
        self.part.shown = Some((earliest.min(first), latest.max(last)));
    }

    /// So many frames of a track of the current span are decoded only, and not shown.
    pub fn preroll(&mut self, track: u32, frames: u64) {
        *self.part.preroll.entry(track).or_default() += frames;
    }

    /// A stretch that is not in the clip.
    pub fn hole(&mut self, hole: Hole) {
        self.holes.push(hole);
    }

    /// What follows is no footage.
    pub fn tail(&mut self) {
        self.close();
        self.part = Part::new(Kind::Tail, self.length);
    }

    /// The end of the file. `ended` says how the playback ended, `whole` that it reached the end of the range.
    pub fn finish(mut self, ended: &str, whole: bool, now: Timestamp) -> Manifest {
        let tail = self.close();
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: self.about.program,
            made_at: now.into(),
            requested_by: self.about.requested_by,
            camera: self.about.camera,
            asked: self.about.asked,
            complete: whole && self.holes.is_empty() && !self.spans.is_empty(),
            ended: ended.to_owned(),
            file: FileFacts {
                media_type: self.about.media_type,
                length: self.length,
                sha256: self.whole.finish(),
            },
            head: self.head.unwrap_or(NOTHING),
            spans: self.spans,
            tail,
            holes: self.holes,
            seal: Seal {
                sha256: Digest::of(&[]),
                signature: None,
            },
        }
    }

    /// Files what was being written; what it is when it is the tail.
    fn close(&mut self) -> Option<Section> {
        let part = std::mem::replace(&mut self.part, Part::new(Kind::Tail, self.length));
        let length = self.length - part.offset;
        let section = Section {
            offset: part.offset,
            length,
            sha256: part.hasher.finish(),
        };
        match part.kind {
            Kind::Head => self.head = Some(section),
            Kind::Tail => return (length > 0).then_some(section),
            // A copy that took over and delivered nothing left no trace in the file.
            Kind::Span(_) if length == 0 => {}
            Kind::Span(origin) => {
                let start = self.about.asked.from.0;
                let (first, last) = part.shown.unwrap_or((start, start));
                self.spans.push(Span {
                    source: *origin,
                    first_capture: first.into(),
                    last_capture: last.into(),
                    tracks: part
                        .frames
                        .into_iter()
                        .map(|(track, frames)| TrackFrames {
                            track,
                            frames,
                            preroll: part.preroll.get(&track).copied().unwrap_or(0),
                        })
                        .collect(),
                    offset: section.offset,
                    length,
                    sha256: section.sha256,
                });
            }
        }
        None
    }
}

/// An empty head: SHA-256 of nothing.
const NOTHING: Section = Section {
    offset: 0,
    length: 0,
    sha256: Digest::NOTHING,
};
