//! Session descriptions: what a recorder offers, what we answer, and which of their tracks continues ours.

mod mapping;
mod write;

pub use mapping::{Difference, Mapping, map_tracks};
pub use write::control_of;

use sdp_types::Session;

use crate::headers::Range;

/// Longest description read.
pub const SDP_BYTES_MAX: usize = 256 * 1024;
/// Most media sections read; the rest is ignored.
pub const TRACKS_MAX: usize = 16;
/// Most format parameters read of a track.
pub const PARAMETERS_MAX: usize = 64;

/// Why a description cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// More than [`SDP_BYTES_MAX`].
    #[error("description longer than {SDP_BYTES_MAX} bytes")]
    TooLong,
    /// Not SDP.
    #[error("malformed description")]
    Malformed,
    /// No media section that we can name.
    #[error("no usable media in the description")]
    NoMedia,
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything else, such as ONVIF metadata.
    Application,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What it carries.
    pub media: Media,
    /// Encoding name as written, such as `H264`.
    pub encoding: String,
    /// RTP clock rate in Hz, never 0.
    pub clock_rate: u32,
    /// Audio channels; 1 where none are written.
    pub channels: u16,
    /// RTP payload type, the first of the section.
    pub payload_type: u8,
    /// Format parameters in order; the value is empty for a parameter without one.
    pub fmtp: Vec<(String, String)>,
    /// Control attribute; empty when there is none.
    pub control: String,
    /// ONVIF's name of the track.
    pub onvif_track: Option<String>,
}

impl Track {
    /// The value of a format parameter; names compare without case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A session's tracks and extent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Media sections in order.
    pub tracks: Vec<Track>,
    /// `a=range`, where it can be read.
    pub range: Option<Range>,
    /// Session-level control attribute; empty when there is none.
    pub control: String,
}

impl Description {
    /// Reads a description. Only versions, media and attributes are looked at: addresses are ignored, and so are the
    /// many wrong ways to write the other lines.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let session = Session::parse(essence(bytes).as_bytes()).map_err(|_| SdpError::Malformed)?;
        let tracks: Vec<Track> = session
            .medias
            .iter()
            .take(TRACKS_MAX)
            .filter_map(track)
            .collect();
        if tracks.is_empty() {
            return Err(SdpError::NoMedia);
        }
        let of_session = |name| session.get_first_attribute_value(name).flatten();
        let of_media = || {
            session
                .medias
                .first()?
                .get_first_attribute_value("range")
                .flatten()
        };
        let range = of_session("range")
            .or_else(of_media)
            .and_then(|value| Range::parse(value).ok());
        Ok(Self {
            tracks,
            range,
            control: of_session("control").unwrap_or_default().trim().to_owned(),
        })
    }
}

/// The lines that matter, in UTF-8, behind an opening that every parser accepts.
fn essence(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut kept = String::with_capacity(text.len() + 8);
    kept.push_str("v=0\r\n");
    for line in text.split(['\n', '\r', '\0']).map(str::trim) {
        if line.starts_with("m=") {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            kept.push_str(&words.join(" "));
        } else if line.starts_with("a=") && line.len() > "a=".len() {
            kept.push_str(line);
        } else {
            continue;
        }
        kept.push_str("\r\n");
    }
    kept
}

fn track(section: &sdp_types::Media) -> Option<Track> {
    let media = match section.media.to_ascii_lowercase().as_str() {
        "video" => Media::Video,
        "audio" => Media::Audio,
        "application" => Media::Application,
        _ => return None,
    };
    let payload_type = section
        .fmt
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
        .filter(|&pt: &u8| pt < 128)?;
    let values = |name| section.get_attribute_values(name).flatten();
    let of_type = |value: &'_ str| strip_payload_type(value, payload_type).map(str::to_owned);
    let rtpmap = values("rtpmap").find_map(of_type);
    let (encoding, clock_rate, channels) = match &rtpmap {
        Some(rtpmap) => parse_rtpmap(rtpmap, media)?,
        None => STATIC_TYPES
            .iter()
            .find(|(pt, ..)| *pt == payload_type)
            .map(|&(_, name, rate, channels)| (name.to_owned(), rate, channels))?,
    };
    Some(Track {
        media,
        encoding,
        clock_rate,
        channels,
        payload_type,
        fmtp: values("fmtp")
            .find_map(of_type)
            .map(|fmtp| parse_fmtp(&fmtp))
            .unwrap_or_default(),
        control: values("control")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
        onvif_track: values("x-onvif-track")
            .next()
            .map(|name| name.trim().to_owned()),
    })
}

/// `96 H264/90000` without the payload type it must start with.
fn strip_payload_type(value: &str, payload_type: u8) -> Option<&str> {
    let (head, rest) = value.trim().split_once([' ', '\t'])?;
    (head.parse() == Ok(payload_type)).then(|| rest.trim())
}

fn parse_rtpmap(rtpmap: &str, media: Media) -> Option<(String, u32, u16)> {
    let mut parts = rtpmap.split('/').map(str::trim);
    let encoding = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let clock_rate = match parts.next().map(str::parse) {
        Some(Ok(rate)) if rate > 0 => rate,
        _ if media == Media::Audio => return None,
        _ => VIDEO_CLOCK_RATE,
    };
    let channels = parts
        .next()
        .and_then(|channels| channels.parse().ok())
        .filter(|&channels| channels > 0);
    Some((encoding, clock_rate, channels.unwrap_or(1)))
}

fn parse_fmtp(parameters: &str) -> Vec<(String, String)> {
    let pairs = parameters
        .split(';')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .take(PARAMETERS_MAX);
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// Clock rate of a video or metadata track that names none.
const VIDEO_CLOCK_RATE: u32 = 90_000;

/// Static payload types that recorders use without an `rtpmap` (RFC 3551): number, name, clock rate, channels.
const STATIC_TYPES: [(u8, &str, u32, u16); 9] = [
    (0, "PCMU", 8000, 1),
    // G721 of old, the same bits.
    (2, "G726-32", 8000, 1),
    (8, "PCMA", 8000, 1),
    (9, "G722", 8000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (14, "MPA", 90_000, 1),
    (26, "JPEG", 90_000, 1),
    (32, "MPV", 90_000, 1),
];
