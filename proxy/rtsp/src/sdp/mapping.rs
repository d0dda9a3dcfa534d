//! Which of another recorder's tracks continues ours, and why one cannot.

use std::fmt;

use super::{Media, Track};

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
    // Opus says itself how many it has, and RTP always writes two (RFC 7587 §7).
    let counted = ours.media == Media::Audio && !ours.encoding.eq_ignore_ascii_case("opus");
    if counted && ours.channels != theirs.channels {
        return Some(Difference::Channels);
    }
    let named = |(encoding, _): &&(&str, _)| ours.encoding.eq_ignore_ascii_case(encoding);
    let (_, parameters) = FIXED_PARAMETERS.iter().find(named)?;
    let differs = |name: &str| canonical(ours, name) != canonical(theirs, name);
    parameters
        .iter()
        .find(|name| differs(name))
        .map(|name| Difference::Parameter(name))
}

/// A parameter's value, so that what means the same is equal.
fn canonical(track: &Track, name: &str) -> String {
    let value = track
        .parameter(name)
        .unwrap_or_default()
        .to_ascii_lowercase();
    match (name, value.as_str()) {
        // Modes 0 and 1 differ in what a packet may hold, which every player takes from the packet itself.
        ("packetization-mode", "" | "1") | (_, "") => "0".to_owned(),
        _ => value,
    }
}

/// Format parameters that players read once and that must not change across a seam.
const FIXED_PARAMETERS: [(&str, &[&str]); 3] = [
    ("H264", &["packetization-mode"]),
    ("H265", &["sprop-max-don-diff"]),
    (
        "mpeg4-generic",
        &[
            "config",
            "mode",
            "sizelength",
            "indexlength",
            "indexdeltalength",
        ],
    ),
];
