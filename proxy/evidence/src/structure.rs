//! The boxes of a fragmented MP4 file (ISO/IEC 14496-12), as far as a manifest speaks of them: where boxes start, and which
//! frames of which tracks the fragments hold.

use std::collections::BTreeMap;

use mp4_atom::Moof;

/// Boxes are looked into up to this size; a fragment of ten thousand frames describes them in a tenth of it.
const MOOF_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Size and type, and the size again where it needs 64 bits.
const HEADER_BYTES_MAX: usize = 16;

/// A box of the top level, when its last byte was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopBox {
    pub(crate) kind: [u8; 4],
    /// Where it starts in the file.
    pub(crate) offset: u64,
    /// The first byte behind it.
    pub(crate) end: u64,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Footage: so many bytes of it.
    Media(u64),
    /// The description of a fragment: frames by track, and the bytes of all of them.
    Fragment {
        frames: BTreeMap<u32, u64>,
        bytes: u64,
    },
    /// A fragment that could not be read, and why.
    Broken(&'static str),
    Other,
}

/// Reads a file as it comes, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    at: u64,
    header: Vec<u8>,
    body: Option<Body>,
    /// What follows cannot be told any more.
    lost: Option<&'static str>,
}

#[derive(Debug)]
struct Body {
    kind: [u8; 4],
    offset: u64,
    end: u64,
    header_bytes: u64,
    kept: Vec<u8>,
}

impl Scanner {
    /// The next bytes; gives the boxes that end in them.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Vec<TopBox> {
        let mut boxes = Vec::new();
        while !bytes.is_empty() && self.lost.is_none() {
            let Some(body) = &mut self.body else {
                bytes = self.header(bytes);
                boxes.extend(self.closed());
                continue;
            };
            let left = usize::try_from(body.end - self.at).unwrap_or(usize::MAX);
            let (mine, rest) = bytes.split_at(left.min(bytes.len()));
            if &body.kind == b"moof" {
                body.kept.extend_from_slice(mine);
            }
            self.at += mine.len() as u64;
            bytes = rest;
            boxes.extend(self.closed());
        }
        boxes
    }

    /// Whether the file ended with a box; the error says what is wrong.
    pub(crate) fn finish(self) -> Result<(), &'static str> {
        match self.lost {
            Some(why) => Err(why),
            None if self.body.is_some() || !self.header.is_empty() => {
                Err("it ends inside of a box")
            }
            None => Ok(()),
        }
    }

    /// Takes bytes of a box's header; what is left of them.
    fn header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = match self.header.get(..4) {
            Some([0, 0, 0, 1]) => HEADER_BYTES_MAX,
            _ => HEADER_BYTES_MAX / 2,
        };
        let (mine, rest) = bytes.split_at((wanted - self.header.len()).min(bytes.len()));
        self.header.extend_from_slice(mine);
        self.at += mine.len() as u64;
        let header_bytes = self.header.len();
        let (Some(&short), Some(&kind)) = (
            self.header.first_chunk::<4>(),
            self.header.get(4..).and_then(<[u8]>::first_chunk::<4>),
        ) else {
            return rest;
        };
        let size = match u32::from_be_bytes(short) {
            1 => match self.header.get(8..).and_then(<[u8]>::first_chunk::<8>) {
                Some(&long) => u64::from_be_bytes(long),
                None => return rest,
            },
            // Up to the end of the file: a stream that was cut off would look whole.
            0 => {
                self.lost = Some("a box without a length");
                return rest;
            }
            short => u64::from(short),
        };
        let header_bytes = header_bytes as u64;
        let offset = self.at - header_bytes;
        let end = offset.checked_add(size).filter(|_| size >= header_bytes);
        let Some(end) = end else {
            self.lost = Some("a box that is shorter than its own header, or longer than any file");
            return rest;
        };
        if &kind == b"moof" && size > MOOF_BYTES_MAX {
            self.lost = Some("a fragment's description of more than 16 MiB");
            return rest;
        }
        self.header.clear();
        self.body = Some(Body {
            kind,
            offset,
            end,
            header_bytes,
            kept: Vec::new(),
        });
        rest
    }

    /// The box that ends here, if one does.
    fn closed(&mut self) -> Option<TopBox> {
        let body = self.body.take_if(|body| body.end == self.at)?;
        let content = match &body.kind {
            b"mdat" => Content::Media(body.end - body.offset - body.header_bytes),
            b"moof" => fragment(&body.kept),
            _ => Content::Other,
        };
        Some(TopBox {
            kind: body.kind,
            offset: body.offset,
            end: body.end,
            content,
        })
    }
}

fn fragment(moof: &[u8]) -> Content {
    use mp4_atom::DecodeAtom as _;
    let mut rest = moof;
    let header = mp4_atom::Header {
        kind: mp4_atom::FourCC::new(b"moof"),
        size: Some(moof.len()),
    };
    let Ok(moof) = Moof::decode_atom(&header, &mut rest) else {
        return Content::Broken("a fragment's description cannot be read");
    };
    let mut frames = BTreeMap::new();
    let mut bytes = 0_u64;
    for traf in &moof.traf {
        let default = traf.tfhd.default_sample_size;
        for run in &traf.trun {
            let count = run.samples.len() as u64;
            *frames.entry(traf.tfhd.track_id).or_default() += count;
            let sizes = match &run.samples {
                mp4_atom::TrunSamples::Inherited { .. } => {
                    default.map(|size| u64::from(size).saturating_mul(count))
                }
                mp4_atom::TrunSamples::Explicit(entries) => entries
                    .iter()
                    .map(|entry| entry.size.or(default).map(u64::from))
                    .sum(),
            };
            let Some(sizes) = sizes else {
                return Content::Broken("a frame without a length");
            };
            bytes = bytes.saturating_add(sizes);
        }
    }
    Content::Fragment { frames, bytes }
}
