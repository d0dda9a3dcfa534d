//! Holding a file against its manifest.

use std::collections::BTreeMap;
use std::fmt;

use crate::digest::{Digest, Digester};
use crate::manifest::{FORMAT, Manifest, Span, VERSION};
use crate::seal::{PublicKey, signed_bytes, verify, written};
use crate::structure::{Content, Scanner, TopBox};

/// No manifest is longer: that of a day with a seam a second has 80 MB.
pub const MANIFEST_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why something cannot be examined at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no manifest of ours, or was damaged beyond reading.
    #[error("not a manifest: {0}")]
    Json(serde_json::Error),
    /// Another format.
    #[error("not a manifest of the format {FORMAT:?}: it calls itself {0:?}")]
    Format(String),
    /// A later version.
    #[error("version {0} of the format is not known; this program reads version {VERSION}")]
    Version(u32),
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The manifest's content is not what was sealed.
    ManifestChanged,
    /// The content is what was sealed, its text is not what was written.
    ManifestReformatted,
    /// The signature does not hold, and why.
    Signature(&'static str),
    /// A signature was demanded and there is none.
    Unsigned,
    /// Signed by another key than the demanded one, whose fingerprint this is.
    OtherKey(Digest),
    /// The file has another length.
    Length {
        /// Bytes of the file.
        file: u64,
        /// Bytes that the manifest tells.
        manifest: u64,
    },
    /// The file as a whole is not what the manifest tells.
    Whole,
    /// A part of the file is not what the manifest tells.
    Changed(Place),
    /// The parts do not lie side by side from the first byte to the last; the first one of which that is true.
    Untiled(Place),
    /// The file holds other things than the manifest tells, though no byte was changed since.
    Structure(Place, String),
}

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// What comes before the footage.
    Head,
    /// A span.
    Span {
        /// Its number, from 1.
        number: usize,
        /// Its site.
        site: String,
        /// Capture times of its first and last frame.
        times: String,
        /// Its bytes: the first, and the first behind it.
        bytes: (u64, u64),
    },
    /// What comes behind the footage.
    Tail,
    /// Everything.
    File,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Head => f.write_str("the head"),
            Place::Tail => f.write_str("the tail"),
            Place::File => f.write_str("the file"),
            Place::Span {
                number,
                site,
                times,
                bytes: (from, to),
            } => write!(
                f,
                "span {number} ({site:?}, {times}, bytes {from} to {})",
                to.saturating_sub(1)
            ),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::ManifestChanged => {
                f.write_str("the manifest was changed: its content is not what was sealed")
            }
            Finding::ManifestReformatted => f.write_str(
                "the manifest was written anew: its content is what was sealed, its text is not",
            ),
            Finding::Signature(why) => write!(f, "the signature does not hold: {why}"),
            Finding::Unsigned => f.write_str("the manifest is not signed"),
            Finding::OtherKey(theirs) => {
                write!(f, "the manifest is signed by another key, {theirs}")
            }
            Finding::Length { file, manifest } => {
                let what = if file < manifest {
                    "was cut off"
                } else {
                    "was extended"
                };
                write!(f, "the file {what}: it has {file} bytes and had {manifest}")
            }
            Finding::Whole => f.write_str("the file was changed: its SHA-256 is another"),
            Finding::Changed(place) => write!(f, "{place} was changed: its SHA-256 is another"),
            Finding::Untiled(place) => write!(
                f,
                "{place} does not start where the part before it ends, or does not end where the file does"
            ),
            Finding::Structure(place, what) => {
                write!(f, "{place} is not what the manifest says: {what}")
            }
        }
    }
}

/// Reads a manifest, whatever its seal is worth.
pub fn read_manifest(json: &[u8]) -> Result<Manifest, Unreadable> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let head: Head = serde_json::from_slice(json).map_err(Unreadable::Json)?;
    if head.format != FORMAT {
        return Err(Unreadable::Format(head.format));
    }
    if head.version != VERSION {
        return Err(Unreadable::Version(head.version));
    }
    serde_json::from_slice(json).map_err(Unreadable::Json)
}

/// A file under examination: it is written through, from its first byte to its last.
#[derive(Debug)]
pub struct Examination {
    manifest: Manifest,
    findings: Vec<Finding>,
    signed_by: Option<PublicKey>,
    parts: Vec<Part>,
    whole: Digester,
    length: u64,
    scanner: Scanner,
    boxes: Boxes,
}

#[derive(Debug)]
struct Part {
    place: Place,
    offset: u64,
    end: u64,
    expected: Digest,
    hasher: Digester,
}

/// What was found of the file's structure.
#[derive(Debug, Default)]
struct Boxes {
    findings: Vec<Finding>,
    /// Frames by track, for each span.
    frames: BTreeMap<usize, BTreeMap<u32, u64>>,
    /// What the fragments described so far hold in bytes, less what was there.
    owed: i128,
}

impl Examination {
    /// Examines a manifest's own seal; with `trusted`, it must be signed by that key.
    pub fn new(json: &[u8], trusted: Option<&PublicKey>) -> Result<Self, Unreadable> {
        let manifest = read_manifest(json)?;
        let mut findings = Vec::new();
        let message = signed_bytes(&manifest);
        if Digest::of(&message) != manifest.seal.sha256 {
            findings.push(Finding::ManifestChanged);
        } else if written(&manifest) != json {
            findings.push(Finding::ManifestReformatted);
        }
        let mut signed_by = None;
        match (&manifest.seal.signature, trusted) {
            (None, None) => {}
            (None, Some(_)) => findings.push(Finding::Unsigned),
            (Some(signature), trusted) => match verify(signature, &message) {
                Err(why) => findings.push(Finding::Signature(why)),
                Ok(key) => match trusted {
                    Some(trusted) if *trusted != key => {
                        findings.push(Finding::OtherKey(key.fingerprint()));
                    }
                    _ => signed_by = Some(key),
                },
            },
        }
        let parts = match parts(&manifest) {
            Ok(parts) => parts,
            Err(place) => {
                findings.push(Finding::Untiled(place));
                Vec::new()
            }
        };
        Ok(Examination {
            manifest,
            findings,
            signed_by,
            parts,
            whole: Digester::default(),
            length: 0,
            scanner: Scanner::default(),
            boxes: Boxes::default(),
        })
    }

    /// The next bytes of the file.
    pub fn write(&mut self, bytes: &[u8]) {
        self.whole.write(bytes);
        let (from, to) = (self.length, self.length + bytes.len() as u64);
        let first = self.parts.partition_point(|part| part.end <= from);
        for part in self.parts.iter_mut().skip(first) {
            if part.offset >= to {
                break;
            }
            let (start, end) = (part.offset.max(from) - from, part.end.min(to) - from);
            if let Some(mine) = bytes.get(start as usize..end as usize) {
                part.hasher.write(mine);
            }
        }
        for found in self.scanner.push(bytes) {
            self.boxes.take(&found, &self.parts);
        }
        self.length = to;
    }

    /// The end of the file: all that is wrong, worst first; nothing when all is as it was.
    pub fn finish(self) -> (Manifest, Vec<Finding>, Option<PublicKey>) {
        let Examination {
            manifest,
            mut findings,
            signed_by,
            parts,
            whole,
            length,
            scanner,
            boxes,
        } = self;
        if length != manifest.file.length {
            findings.push(Finding::Length {
                file: length,
                manifest: manifest.file.length,
            });
        }
        let intact = whole.finish() == manifest.file.sha256;
        if !intact {
            findings.push(Finding::Whole);
        }
        let had_parts = !parts.is_empty();
        findings.extend(
            parts
                .into_iter()
                .filter(|part| part.hasher.clone().finish() != part.expected)
                .map(|part| Finding::Changed(part.place)),
        );
        // What was changed since cannot be expected to have a structure.
        if intact && had_parts {
            findings.extend(boxes.finish(&manifest, scanner));
        }
        (manifest, findings, signed_by)
    }
}

impl Boxes {
    fn take(&mut self, found: &TopBox, parts: &[Part]) {
        if self.findings.len() >= STRUCTURE_FINDINGS_MAX {
            return;
        }
        let ix = parts.partition_point(|part| part.end <= found.offset);
        let Some(part) = parts.get(ix) else {
            return;
        };
        let name = String::from_utf8_lossy(&found.kind).into_owned();
        let mut wrong = |what: String| {
            self.findings
                .push(Finding::Structure(part.place.clone(), what));
        };
        if found.end > part.end {
            wrong(format!("its last box {name:?} reaches beyond it"));
        }
        let is_span = matches!(part.place, Place::Span { .. });
        match &found.content {
            Content::Other => {}
            Content::Media(_) | Content::Fragment { .. } | Content::Broken(_) if !is_span => {
                wrong(format!("there is footage in it: {name:?}"));
            }
            Content::Broken(why) => wrong((*why).to_owned()),
            Content::Media(bytes) => self.owed -= i128::from(*bytes),
            Content::Fragment { frames, bytes } => {
                if self.owed != 0 {
                    wrong("a fragment's frames are not all of its bytes".to_owned());
                    self.owed = 0;
                }
                self.owed += i128::from(*bytes);
                let known = self.frames.entry(ix).or_default();
                for (track, count) in frames {
                    let sum = known.entry(*track).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
        }
    }

    fn finish(mut self, manifest: &Manifest, scanner: Scanner) -> Vec<Finding> {
        if let Err(why) = scanner.finish() {
            self.findings
                .push(Finding::Structure(Place::File, why.to_owned()));
        }
        if self.owed != 0 {
            let what = "the last fragment's frames are not all of its bytes".to_owned();
            self.findings.push(Finding::Structure(Place::File, what));
        }
        for (ix, span) in manifest.spans.iter().enumerate() {
            // The head is the first part.
            let found = self.frames.remove(&(ix + 1)).unwrap_or_default();
            let told: BTreeMap<u32, u64> = span
                .tracks
                .iter()
                .map(|track| (track.track, track.frames))
                .collect();
            if found != told {
                let what = format!("it holds frames {found:?} by track, and should {told:?}");
                self.findings
                    .push(Finding::Structure(place_of(ix, span), what));
            }
        }
        self.findings
    }
}

/// The parts of a file in order, each starting where the one before ends; the first that does not.
fn parts(manifest: &Manifest) -> Result<Vec<Part>, Place> {
    let head = (Place::Head, manifest.head);
    let spans = manifest.spans.iter().enumerate().map(|(ix, span)| {
        let section = crate::manifest::Section {
            offset: span.offset,
            length: span.length,
            sha256: span.sha256,
        };
        (place_of(ix, span), section)
    });
    let tail = manifest.tail.map(|tail| (Place::Tail, tail));
    let mut parts = Vec::new();
    let mut at = 0_u64;
    for (place, section) in std::iter::once(head).chain(spans).chain(tail) {
        let end = at.checked_add(section.length);
        let Some(end) = end.filter(|_| section.offset == at) else {
            return Err(place);
        };
        parts.push(Part {
            place,
            offset: at,
            end,
            expected: section.sha256,
            hasher: Digester::default(),
        });
        at = end;
    }
    if at == manifest.file.length {
        Ok(parts)
    } else {
        Err(parts.pop().map_or(Place::File, |part| part.place))
    }
}

fn place_of(ix: usize, span: &Span) -> Place {
    Place::Span {
        number: ix + 1,
        site: span.source.site.clone(),
        times: format!("{} to {}", span.first_capture, span.last_capture),
        bytes: (span.offset, span.offset.saturating_add(span.length)),
    }
}

/// So much is said about a structure at the most: one lie about a length makes nonsense of all that follows.
const STRUCTURE_FINDINGS_MAX: usize = 16;
