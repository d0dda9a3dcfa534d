//! Session descriptions: what a recorder offers, what we answer, and which of their tracks continues ours.

use std::fmt;
use std::net::IpAddr;

use sdp_types::{
    Attribute, Connection, Media as SdpMedia, MediaType, Origin, Session, Time, TransportProto,
};

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

    /// Writes our own description: aggregate control `*`, tracks `trackID=1` and on, whatever `control` says.
    pub fn write(&self, title: &str, session_id: u64, address: IpAddr) -> Vec<u8> {
        let unspecified = match address {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        let title = if title.is_empty() { "-" } else { title };
        let mut session = Session::new(Origin::with_ip_addr(session_id, 1, address), title);
        session.set_connection(Connection::from_ip_addr(unspecified));
        session.add_time(Time::new(0, 0));
        session.add_attribute(Attribute::with_value("control", "*"));
        if let Some(range) = self.range {
            session.add_attribute(Attribute::with_value("range", range));
        }
        for (track, number) in self.tracks.iter().zip(1..) {
            session.add_media(section(track, number));
        }
        let mut out = Vec::with_capacity(1024);
        session.write(&mut out).expect("a Vec takes every byte");
        out
    }
}

/// The control attribute of our track `index`, counted from 0.
pub fn control_of(index: usize) -> String {
    format!("trackID={}", index + 1)
}

/// What one of our tracks becomes on another recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Their track with this index continues it.
    To(usize),
    /// They have no such medium: the track goes silent.
    Absent,
    /// They have the medium in a form that cannot continue ours.
    Mismatch {
        /// Their nearest track.
        theirs: usize,
        /// What differs.
        difference: Difference,
    },
}

impl Mapping {
    /// Their track, where it continues ours.
    pub fn index(self) -> Option<usize> {
        match self {
            Self::To(theirs) => Some(theirs),
            Self::Absent | Self::Mismatch { .. } => None,
        }
    }
}

/// Why a track cannot continue another, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Another codec.
    Encoding,
    /// Another RTP clock rate.
    ClockRate,
    /// Another number of audio channels.
    Channels,
    /// This format parameter, which players read only once.
    Parameter(&'static str),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding => f.write_str("encoding differs"),
            Self::ClockRate => f.write_str("clock rate differs"),
            Self::Channels => f.write_str("channel count differs"),
            Self::Parameter(name) => write!(f, "{name} differs"),
        }
    }
}

/// Finds for each of our tracks the one of theirs that continues it; each of theirs is used once, in order.
pub fn map_tracks(ours: &[Track], theirs: &[Track]) -> Vec<Mapping> {
    let mut used = vec![false; theirs.len()];
    ours.iter()
        .map(|our| {
            let free = || {
                theirs
                    .iter()
                    .enumerate()
                    .zip(&used)
                    .filter(|(_, used)| !**used)
                    .map(|(their, _)| their)
            };
            let same_medium = || free().filter(|(_, their)| their.media == our.media);
            let fits = same_medium()
                .find(|(_, their)| difference(our, their).is_none())
                .map(|(index, _)| index);
            if let Some(index) = fits {
                used.iter_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|used| *used = true);
                return Mapping::To(index);
            }
            let nearest = same_medium()
                .filter_map(|(theirs, their)| Some((difference(our, their)?, theirs)))
                .max();
            nearest.map_or(Mapping::Absent, |(difference, theirs)| Mapping::Mismatch {
                theirs,
                difference,
            })
        })
        .collect()
}

/// What keeps `theirs` from continuing `ours`; parameter sets and profiles travel in band and do not.
fn difference(ours: &Track, theirs: &Track) -> Option<Difference> {
    if !ours.encoding.eq_ignore_ascii_case(&theirs.encoding) {
        return Some(Difference::Encoding);
    }
    if ours.clock_rate != theirs.clock_rate {
        return Some(Difference::ClockRate);
    }
    if ours.media == Media::Audio && ours.channels != theirs.channels {
        return Some(Difference::Channels);
    }
    let (_, parameters) = STATIC_PARAMETERS
        .iter()
        .find(|(encoding, _)| ours.encoding.eq_ignore_ascii_case(encoding))?;
    let differs = |&&(name, default): &&(&str, &str)| {
        let value = |track: &Track| {
            track
                .parameter(name)
                .map_or(default, str::trim)
                .to_ascii_lowercase()
        };
        value(ours) != value(theirs)
    };
    parameters
        .iter()
        .find(differs)
        .map(|&(name, _)| Difference::Parameter(name))
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

fn track(section: &SdpMedia) -> Option<Track> {
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

fn section(track: &Track, number: usize) -> SdpMedia {
    let medium = match track.media {
        Media::Video => MediaType::Video,
        Media::Audio => MediaType::Audio,
        Media::Application => MediaType::Application,
    };
    let payload_type = track.payload_type;
    let mut section = SdpMedia::new(medium, 0, TransportProto::RtpAvp, payload_type);
    let channels = if track.channels > 1 {
        format!("/{}", track.channels)
    } else {
        String::new()
    };
    section.add_attribute_with_value(
        "rtpmap",
        format!(
            "{payload_type} {}/{}{channels}",
            track.encoding, track.clock_rate
        ),
    );
    if !track.fmtp.is_empty() {
        let pairs = track.fmtp.iter().map(|(name, value)| {
            if value.is_empty() {
                name.clone()
            } else {
                format!("{name}={value}")
            }
        });
        section.add_attribute_with_value(
            "fmtp",
            format!("{payload_type} {}", pairs.collect::<Vec<_>>().join(";")),
        );
    }
    section.add_attribute_with_value("control", format!("trackID={number}"));
    if let Some(name) = &track.onvif_track {
        section.add_attribute_with_value("x-onvif-track", name);
    }
    section
}

/// Clock rate of a video or metadata track that names none.
const VIDEO_CLOCK_RATE: u32 = 90_000;

/// Static payload types that recorders use without an `rtpmap` (RFC 3551): number, name, clock rate, channels.
const STATIC_TYPES: [(u8, &str, u32, u16); 8] = [
    (0, "PCMU", 8000, 1),
    (8, "PCMA", 8000, 1),
    (9, "G722", 8000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (14, "MPA", 90_000, 1),
    (26, "JPEG", 90_000, 1),
    (32, "MPV", 90_000, 1),
];

/// Format parameters that players read once and that must not change across a seam, with their defaults.
type Parameters = &'static [(&'static str, &'static str)];
const STATIC_PARAMETERS: [(&str, Parameters); 3] = [
    ("H264", &[("packetization-mode", "0")]),
    ("H265", &[("sprop-max-don-diff", "0")]),
    (
        "mpeg4-generic",
        &[
            ("config", ""),
            ("mode", ""),
            ("sizelength", "0"),
            ("indexlength", "0"),
            ("indexdeltalength", "0"),
        ],
    ),
];
