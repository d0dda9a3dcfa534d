//! The manifest: where every byte of a clip comes from. `README.md` beside this crate describes each member.

use std::fmt;

use seamline_routing::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// What a manifest says it is.
pub const FORMAT: &str = "seamline-evidence";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The account of one clip. All times are UTC; all lengths and offsets are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// What wrote the clip.
    pub program: Program,
    /// When the clip was finished, by the clock of the machine that wrote it.
    pub made_at: Utc,
    /// Who asked for it.
    pub requested_by: Requester,
    /// The camera's id.
    pub camera: String,
    /// The range that was asked for.
    pub asked: Asked,
    /// Whether footage of the whole range is in the clip: there are no holes, and nothing failed.
    pub complete: bool,
    /// How the playback that made the clip ended.
    pub ended: String,
    /// The file.
    pub file: FileFacts,
    /// What comes before the footage: the description of the tracks.
    pub head: Section,
    /// The footage: one span for every stretch that one copy delivered, in the order of the file. Together with `head` and
    /// `tail` they are the whole file, without a byte between them.
    pub spans: Vec<Span>,
    /// What comes after the footage, if anything does.
    pub tail: Option<Section>,
    /// Stretches of the range that are not in the clip.
    pub holes: Vec<Hole>,
    /// What protects all of the above.
    pub seal: Seal,
}

/// The program that wrote a clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Who asked for a clip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requester {
    /// The name by which the program knows the user; none where it knows no users.
    pub user: Option<String>,
    /// The address that the request came from; none for an export on the command line.
    pub address: Option<String>,
}

/// The range that was asked for: its start belongs to it, its end does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The first instant.
    pub from: Utc,
    /// The first instant behind it.
    pub to: Utc,
}

/// The clip as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Its media type.
    pub media_type: String,
    /// Its length.
    pub length: u64,
    /// Of the whole file.
    pub sha256: Digest,
}

/// A stretch of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Where it starts in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// Of these bytes of the file.
    pub sha256: Digest,
}

/// Footage that one copy delivered without a break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Where it comes from, and why from there.
    pub source: Origin,
    /// Capture time of the first frame that is shown.
    pub first_capture: Utc,
    /// Capture time of the last one.
    pub last_capture: Utc,
    /// Frames by track.
    pub tracks: Vec<TrackFrames>,
    /// Where it starts in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// Of these bytes of the file.
    pub sha256: Digest,
}

/// Which copy a span comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The site.
    pub site: String,
    /// The recorder.
    pub recorder: RecorderFacts,
    /// The recorder's own name of the camera.
    pub remote: String,
    /// Why this copy plays from here on: the routing decision in words.
    pub reason: String,
    /// By how much the recorder's clock was held to be ahead of true time; capture times have it subtracted.
    pub clock_offset_us: i64,
    /// By how much it was measured to be ahead of the copy before it; none where both were not seen to hold one stream.
    pub measured_skew_us: Option<i64>,
    /// Digests of the parameter sets (VPS, SPS, PPS with start codes left out, one after the other) that decode it.
    pub parameter_sets: Vec<Digest>,
}

/// A recorder, without anything secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecorderFacts {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind, such as `onvif`.
    pub kind: String,
    /// Where it was asked, without credentials; a folder for an archive.
    pub address: String,
}

/// How many frames of a track there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackFrames {
    /// The track's id in the file.
    pub track: u32,
    /// Frames that are stored.
    pub frames: u64,
    /// Those of them that are only decoded and not shown: they come before the range or the seam.
    pub preroll: u64,
}

/// A stretch of the range that is not in the clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    /// Its first instant.
    pub from: Utc,
    /// The first instant behind it.
    pub to: Utc,
    /// Why, in one word.
    pub reason: Gap,
    /// What is known of each copy there, in the order of the sites.
    pub sites: Vec<SiteState>,
}

impl Hole {
    /// Why it is there, with what is known of each copy.
    pub fn why(&self) -> String {
        let sites = self.sites.iter().map(|copy| {
            let (site, recorder) = (&copy.site, &copy.recorder);
            format!("{site:?} ({recorder:?}): {}", copy.state)
        });
        let sites: Vec<String> = sites.collect();
        format!("{}; {}", self.reason, sites.join("; "))
    }
}

/// Why there is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// No copy holds it.
    NotRecorded,
    /// A copy holds it, and could not be had: its site does not answer, or refused.
    Unavailable,
    /// No copy is known to hold it, and one may: its site does not answer.
    Unknown,
    /// Nothing was said of it: no frame came, though one was to be expected.
    Unexplained,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gap::NotRecorded => "nobody recorded it",
            Gap::Unavailable => "who holds it could not be had",
            Gap::Unknown => "who may hold it did not answer",
            Gap::Unexplained => "no frame came, though one was to be expected",
        })
    }
}

/// What is known of one copy in a hole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteState {
    /// The site.
    pub site: String,
    /// The recorder's name.
    pub recorder: String,
    /// Such as `no recording`, `unknown`, `offline`.
    pub state: String,
}

/// What protects a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Of the canonical form (RFC 8785) of the manifest without this member.
    pub sha256: Digest,
    /// Over the same bytes; none when no key was configured.
    pub signature: Option<Signature>,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// `Ed25519` (RFC 8032).
    pub algorithm: String,
    /// The 32 bytes of the public key, in hexadecimal digits.
    pub public_key: String,
    /// SHA-256 of the key's `SubjectPublicKeyInfo` (RFC 8410): `openssl pkey -pubin -outform DER | sha256sum`.
    pub fingerprint: Digest,
    /// The 64 bytes of the signature, in hexadecimal digits.
    pub value: String,
}

/// An instant, written with six fraction digits: `2026-01-02T03:04:05.250000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(pub Timestamp);

impl From<Timestamp> for Utc {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros().rem_euclid(MICROS_PER_SECOND);
        let second = self.0.shift(-micros).to_string();
        write!(f, "{}.{micros:06}Z", second.trim_end_matches(".000Z"))
    }
}

impl fmt::Debug for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_iso(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

const MICROS_PER_SECOND: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_six_fraction_digits() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_767_268_800_250_000, "2026-01-01T12:00:00.250000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            let utc = Utc(Timestamp::from_micros(us));
            assert_eq!(utc.to_string(), text);
            assert_eq!(
                serde_json::from_str::<Utc>(&format!("{text:?}")).unwrap(),
                utc
            );
        }
    }
}
