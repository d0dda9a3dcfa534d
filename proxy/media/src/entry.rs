//! How a track's samples are coded, as a container says it: one value for each sample entry of an MP4 file.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;

use crate::sps::{self, Sps};
use crate::{Codec, ParameterSets};

/// What a track carries, by its description (RFC 8866 `rtpmap` and `fmtp`). What MP4 has no name for is none of these: ONVIF
/// metadata, G.726.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 2435.
    Jpeg,
    /// RFC 3640.
    Aac(Aac),
    /// RFC 3551, of one octet a sample.
    G711 {
        /// A-law, otherwise µ-law.
        a_law: bool,
        /// Samples a second.
        sample_rate: u32,
        /// Interleaved channels.
        channels: u16,
    },
    /// RFC 7587.
    Opus,
}

/// The parameters of RFC 3640.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aac {
    /// `AudioSpecificConfig` (ISO/IEC 14496-3).
    pub config: Bytes,
    /// Samples a second: the RTP clock.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// Bits of the size, of the first index and of the index of each later unit in an AU header.
    pub header_bits: (u8, u8, u8),
}

/// Longest `AudioSpecificConfig` that is believed.
const CONFIG_BYTES_MAX: usize = 64;

impl Kind {
    /// From a description; `None` where MP4 has no name for it.
    pub fn of(
        encoding: &str,
        clock_rate: u32,
        channels: u16,
        fmtp: &[(String, String)],
    ) -> Option<Self> {
        let value = |name: &str| {
            fmtp.iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        };
        match Codec::from_encoding(encoding) {
            Codec::H264 => Some(Self::H264),
            Codec::H265 => Some(Self::H265),
            Codec::Jpeg => Some(Self::Jpeg),
            Codec::Aac => {
                let bits = |name, default: u8| match value(name) {
                    Some(text) => text.parse().ok().filter(|bits| *bits <= 16),
                    None => Some(default),
                };
                Some(Self::Aac(Aac {
                    config: unhex(value("config")?)?,
                    sample_rate: clock_rate.max(1),
                    channels: channels.max(1),
                    // Those of `AAC-hbr`, which is all that cameras use.
                    header_bits: (
                        bits("sizelength", 13)?,
                        bits("indexlength", 3)?,
                        bits("indexdeltalength", 3)?,
                    ),
                }))
            }
            Codec::G711 => Some(Self::G711 {
                a_law: encoding.eq_ignore_ascii_case("PCMA"),
                sample_rate: clock_rate.max(1),
                channels: channels.max(1),
            }),
            Codec::Opus => Some(Self::Opus),
            Codec::G726 | Codec::Metadata | Codec::Other => None,
        }
    }

    /// The payload format.
    pub fn codec(&self) -> Codec {
        match self {
            Self::H264 => Codec::H264,
            Self::H265 => Codec::H265,
            Self::Jpeg => Codec::Jpeg,
            Self::Aac(_) => Codec::Aac,
            Self::G711 { .. } => Codec::G711,
            Self::Opus => Codec::Opus,
        }
    }

    /// The entry, where the description alone tells it: that of sound.
    pub(crate) fn sound(&self) -> Option<Entry> {
        match self {
            Self::Aac(aac) => Some(Entry::Aac {
                config: aac.config.clone(),
                sample_rate: aac.sample_rate,
                channels: aac.channels,
            }),
            &Self::G711 {
                a_law,
                sample_rate,
                channels,
            } => Some(Entry::G711 {
                a_law,
                sample_rate,
                channels,
            }),
            Self::Opus => Some(Entry::Opus { channels: 2 }),
            Self::H264 | Self::H265 | Self::Jpeg => None,
        }
    }
}

/// How samples are coded. Equal values: a decoder can go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// H.264: NAL units behind lengths of four bytes.
    H264 {
        /// Of the stream; never empty, and the first SPS can be read.
        sets: ParameterSets,
        /// Width and height in pixels.
        size: (u16, u16),
    },
    /// H.265, as H.264.
    H265 {
        /// Of the stream; never empty, and the first SPS can be read.
        sets: ParameterSets,
        /// Width and height in pixels.
        size: (u16, u16),
    },
    /// Whole JPEG files.
    Jpeg {
        /// Width and height in pixels.
        size: (u16, u16),
    },
    /// Raw AAC frames.
    Aac {
        /// `AudioSpecificConfig` (ISO/IEC 14496-3).
        config: Bytes,
        /// Samples a second.
        sample_rate: u32,
        /// Channels.
        channels: u16,
    },
    /// Companded samples of one octet.
    G711 {
        /// A-law, otherwise µ-law.
        a_law: bool,
        /// Samples a second.
        sample_rate: u32,
        /// Interleaved channels.
        channels: u16,
    },
    /// Opus packets.
    Opus {
        /// Channels.
        channels: u16,
    },
}

/// Ticks a second of pictures.
pub const VIDEO_TICKS: u32 = 90_000;
/// Opus counts in this rate whatever was recorded (RFC 7587 §4.1).
const OPUS_RATE: u32 = 48_000;
/// Samples of an AAC frame; of the short variant (`frameLengthFlag`) 960.
const AAC_SAMPLES: u32 = 1024;
const AAC_SAMPLES_SHORT: u32 = 960;

impl Entry {
    /// Of a video track with these sets; `None` while they are not complete or cannot be read.
    pub fn of_sets(codec: Codec, sets: &ParameterSets) -> Option<Self> {
        if !sets.is_complete(codec) {
            return None;
        }
        let nal = sets.sps.first()?;
        match codec {
            Codec::H264 => Sps::h264(nal).map(|sps| Self::H264 {
                sets: sets.clone(),
                size: (sps.width, sps.height),
            }),
            Codec::H265 => Sps::h265(nal).map(|sps| Self::H265 {
                sets: sets.clone(),
                size: (sps.width, sps.height),
            }),
            _ => None,
        }
    }

    /// Whether samples are pictures.
    pub fn is_video(&self) -> bool {
        self.size().is_some()
    }

    /// Pixels of the picture.
    pub fn size(&self) -> Option<(u16, u16)> {
        match *self {
            Self::H264 { size, .. } | Self::H265 { size, .. } | Self::Jpeg { size } => Some(size),
            Self::Aac { .. } | Self::G711 { .. } | Self::Opus { .. } => None,
        }
    }

    /// Ticks a second in which the samples are dated.
    pub fn timescale(&self) -> u32 {
        match *self {
            Self::H264 { .. } | Self::H265 { .. } | Self::Jpeg { .. } => VIDEO_TICKS,
            Self::Aac { sample_rate, .. } | Self::G711 { sample_rate, .. } => sample_rate,
            Self::Opus { .. } => OPUS_RATE,
        }
    }

    /// How many ticks a sample of sound lasts; `None` for pictures, which last until the next one.
    pub fn ticks(&self, data: &[u8]) -> Option<u32> {
        match self {
            Self::H264 { .. } | Self::H265 { .. } | Self::Jpeg { .. } => None,
            Self::Aac { config, .. } => Some(aac_samples(config)),
            Self::G711 { channels, .. } => Some(data.len() as u32 / u32::from(*channels).max(1)),
            Self::Opus { .. } => Some(opus_samples(data)),
        }
    }

    /// The `codecs` parameter of a media type (RFC 6381).
    pub fn codecs(&self) -> String {
        match self {
            Self::H264 { sets, .. } => {
                let sps = sets
                    .sps
                    .first()
                    .and_then(|sps| sps.get(1..4)?.first_chunk::<3>());
                sps.map_or_else(
                    || "avc1".to_owned(),
                    |[profile, compatibility, level]| {
                        format!("avc1.{profile:02x}{compatibility:02x}{level:02x}")
                    },
                )
            }
            Self::H265 { sets, .. } => {
                let tier = sets
                    .sps
                    .first()
                    .and_then(|sps| sps::profile_tier_level(sps));
                tier.map_or_else(|| "hvc1".to_owned(), |tier| hevc_codecs(&tier))
            }
            Self::Jpeg { .. } => "jpeg".to_owned(),
            Self::Aac { config, .. } => {
                format!("mp4a.40.{}", config.first().map_or(2, |byte| byte >> 3))
            }
            Self::G711 { a_law: true, .. } => "alaw".to_owned(),
            Self::G711 { a_law: false, .. } => "ulaw".to_owned(),
            Self::Opus { .. } => "opus".to_owned(),
        }
    }

    /// How far pictures are reordered, where the stream says it.
    pub(crate) fn reorder(&self) -> Option<u8> {
        match self {
            Self::H264 { sets, .. } => Sps::h264(sets.sps.first()?)?.reorder,
            Self::H265 { sets, .. } => Sps::h265(sets.sps.first()?)?.reorder,
            _ => Some(0),
        }
    }
}

/// Tells one entry from the next without comparing their bytes twice.
pub(crate) fn changed(known: &mut Option<Arc<Entry>>, entry: Entry) -> Option<Arc<Entry>> {
    if known.as_deref() == Some(&entry) {
        return None;
    }
    let entry = Arc::new(entry);
    *known = Some(Arc::clone(&entry));
    Some(entry)
}

/// ISO/IEC 14496-15 annex E: profile, compatibility bits the wrong way round, tier and level, constraints without zeros.
fn hevc_codecs(tier: &[u8; 12]) -> String {
    let [head, c0, c1, c2, c3, constraints @ .., level] = tier;
    let space = ["", "A", "B", "C"][usize::from(head >> 6)];
    let compatibility = u32::from_be_bytes([*c0, *c1, *c2, *c3]).reverse_bits();
    let tier = if head & 0x20 == 0 { 'L' } else { 'H' };
    let mut text = format!(
        "hvc1.{space}{}.{compatibility:x}.{tier}{level}",
        head & 0x1f
    );
    let used = constraints.iter().rposition(|byte| *byte != 0);
    for byte in constraints.iter().take(used.map_or(0, |last| last + 1)) {
        let _ = write!(text, ".{byte:X}");
    }
    text
}

/// `frameLengthFlag` stands behind object type, frequency and channels (ISO/IEC 14496-3, 4.4.1).
fn aac_samples(config: &[u8]) -> u32 {
    let explicit_rate = config
        .first_chunk::<2>()
        .is_some_and(|[first, second]| ((first & 7) << 1 | second >> 7) == 15);
    let flag = match config {
        [_, second, ..] if !explicit_rate => second & 4 != 0,
        _ => false,
    };
    if flag { AAC_SAMPLES_SHORT } else { AAC_SAMPLES }
}

/// Length of a packet by its table of contents (RFC 6716 §3.1), in samples of 48 kHz.
fn opus_samples(packet: &[u8]) -> u32 {
    let Some(&toc) = packet.first() else { return 0 };
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).map_or(0, |count| count & 0x3f)),
    };
    (frame * frames).min(5760)
}

fn unhex(text: &str) -> Option<Bytes> {
    let text = text.trim_matches('"').as_bytes();
    if text.is_empty() || !text.len().is_multiple_of(2) || text.len() > 2 * CONFIG_BYTES_MAX {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    text.chunks_exact(2)
        .map(|pair| match pair {
            &[high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .filter(|config| config.len() >= 2)
        .map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_codecs() {
        let mut sets = ParameterSets::default();
        sets.add(Codec::H264, &[0x67, 0x64, 0x00, 0x28, 0xac]);
        let entry = Entry::H264 { sets, size: (1, 1) };
        assert_eq!(entry.codecs(), "avc1.640028");
        let tier = [1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3f];
        assert_eq!(hevc_codecs(&tier), "hvc1.1.6.L63.90");
        let aac = Entry::Aac {
            config: Bytes::from_static(&[0x12, 0x10]),
            sample_rate: 44_100,
            channels: 2,
        };
        assert_eq!(
            (aac.codecs().as_str(), aac.ticks(&[])),
            ("mp4a.40.2", Some(1024))
        );
    }

    #[test]
    fn descriptions_of_sound() {
        let fmtp = vec![("config".to_owned(), "1190".to_owned())];
        let kind = Kind::of("mpeg4-generic", 48_000, 2, &fmtp).unwrap();
        assert_eq!(kind.sound().unwrap().timescale(), 48_000);
        assert_eq!(Kind::of("mpeg4-generic", 48_000, 2, &[]), None);
        for config in ["", "1", "zz", "119", "12"] {
            let fmtp = vec![("config".to_owned(), config.to_owned())];
            assert_eq!(
                Kind::of("MPEG4-GENERIC", 48_000, 2, &fmtp),
                None,
                "{config}"
            );
        }
        assert_eq!(Kind::of("vnd.onvif.metadata", 90_000, 1, &[]), None);
        assert_eq!(Kind::of("G726-32", 8_000, 1, &[]), None);
    }

    #[test]
    fn lengths_of_opus() {
        // 20 ms SILK, two frames of 20 ms CELT, three of 2.5 ms, one that claims too much.
        for (packet, samples) in [
            (&[1 << 3][..], 960),
            (&[31 << 3 | 1], 1920),
            (&[16 << 3 | 3, 3], 360),
            (&[3 << 3 | 3, 63], 5760),
            (&[], 0),
        ] {
            assert_eq!(opus_samples(packet), samples, "{packet:?}");
        }
    }
}
