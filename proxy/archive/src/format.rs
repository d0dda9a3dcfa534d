//! Codec of a track, from its sample description.

use bytes::Bytes;
use mp4_atom::{Avcc, Hvcc};

use crate::boxes::{child, children, leaf};

/// How the samples of a track are coded. Equal values mean that a decoder can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackFormat {
    /// Samples are NAL units behind length prefixes (ISO/IEC 14496-15).
    H264 {
        /// Bytes of each length prefix, 1 to 4.
        nal_length_bytes: u8,
        /// Sequence parameter sets; empty when they travel in the samples only.
        sps: Vec<Bytes>,
        /// Picture parameter sets.
        pps: Vec<Bytes>,
        /// Picture width in pixels, as the container states it.
        width: u16,
        /// Picture height in pixels.
        height: u16,
    },
    /// Samples are NAL units behind length prefixes (ISO/IEC 14496-15).
    H265 {
        /// Bytes of each length prefix, 1 to 4.
        nal_length_bytes: u8,
        /// Video parameter sets; empty when they travel in the samples only.
        vps: Vec<Bytes>,
        /// Sequence parameter sets.
        sps: Vec<Bytes>,
        /// Picture parameter sets.
        pps: Vec<Bytes>,
        /// Picture width in pixels, as the container states it.
        width: u16,
        /// Picture height in pixels.
        height: u16,
    },
    /// Samples are JPEG files, all of them sync samples.
    Jpeg {
        /// Picture width in pixels, as the container states it.
        width: u16,
        /// Picture height in pixels.
        height: u16,
    },
    /// Samples are raw AAC frames.
    Aac {
        /// `AudioSpecificConfig` (ISO/IEC 14496-3), whole.
        config: Bytes,
        /// Sampling rate in Hz, as the container states it.
        sample_rate: u32,
        /// Channels, as the container states them.
        channels: u16,
    },
    /// Samples are runs of 8-bit companded audio, up to 20 ms each.
    G711 {
        /// Which companding law.
        law: Law,
        /// Sampling rate in Hz.
        sample_rate: u32,
        /// Channels, interleaved.
        channels: u16,
    },
    /// Samples are Opus packets.
    Opus {
        /// Channels of the sound; RTP always says two.
        channels: u16,
    },
}

/// Companding law of G.711.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// µ-law, PCMU.
    Mu,
    /// A-law, PCMA.
    A,
}

impl TrackFormat {
    /// Whether the track carries pictures.
    pub fn is_video(&self) -> bool {
        matches!(
            self,
            Self::H264 { .. } | Self::H265 { .. } | Self::Jpeg { .. }
        )
    }

    /// Reads the body of an `stsd` box: its first entry of a known codec.
    pub(crate) fn parse(stsd: &[u8]) -> Option<Self> {
        let entries = stsd.get(8..)?;
        children(entries)
            .take(ENTRIES_MAX)
            .find_map(|(kind, entry)| match &kind {
                b"avc1" | b"avc3" => h264(entry),
                b"hvc1" | b"hev1" => h265(entry),
                b"jpeg" | b"mjpg" => jpeg(entry),
                b"mp4v" => jpeg_in_mp4v(entry),
                b"mp4a" => aac(entry),
                b"Opus" => opus(entry),
                b"ulaw" => g711(entry, Law::Mu),
                b"alaw" => g711(entry, Law::A),
                _ => None,
            })
    }
}

fn h264(entry: &[u8]) -> Option<TrackFormat> {
    let (width, height) = picture_size(entry)?;
    let avcc: Avcc = leaf(child(entry.get(VISUAL_BYTES..)?, *b"avcC")?)?;
    Some(TrackFormat::H264 {
        nal_length_bytes: avcc.length_size,
        sps: owned(avcc.sequence_parameter_sets),
        pps: owned(avcc.picture_parameter_sets),
        width,
        height,
    })
}

fn h265(entry: &[u8]) -> Option<TrackFormat> {
    let (width, height) = picture_size(entry)?;
    let hvcc: Hvcc = leaf(child(entry.get(VISUAL_BYTES..)?, *b"hvcC")?)?;
    let (mut vps, mut sps, mut pps) = (Vec::new(), Vec::new(), Vec::new());
    for array in hvcc.arrays {
        match array.nal_unit_type {
            32 => vps.extend(owned(array.nalus)),
            33 => sps.extend(owned(array.nalus)),
            34 => pps.extend(owned(array.nalus)),
            _ => {}
        }
    }
    Some(TrackFormat::H265 {
        nal_length_bytes: hvcc.length_size_minus_one + 1,
        vps,
        sps,
        pps,
        width,
        height,
    })
}

fn jpeg(entry: &[u8]) -> Option<TrackFormat> {
    let (width, height) = picture_size(entry)?;
    Some(TrackFormat::Jpeg { width, height })
}

/// MP4 has no name of its own for JPEG: the object type says it (ISO/IEC 14496-1, table 5).
fn jpeg_in_mp4v(entry: &[u8]) -> Option<TrackFormat> {
    let esds = child(entry.get(VISUAL_BYTES..)?, *b"esds")?.get(4..)?;
    let decoder = decoder_config(esds)?;
    (decoder.first() == Some(&JPEG_OBJECT_TYPE)).then(|| jpeg(entry))?
}

fn opus(entry: &[u8]) -> Option<TrackFormat> {
    let (sound, _) = Sound::parse(entry)?;
    Some(TrackFormat::Opus {
        channels: sound.channels.max(1),
    })
}

fn aac(entry: &[u8]) -> Option<TrackFormat> {
    let (sound, inner) = Sound::parse(entry)?;
    // QuickTime files wrap the descriptor into `wave`.
    let esds = child(inner, *b"esds")
        .or_else(|| child(child(inner, *b"wave")?, *b"esds"))?
        .get(4..)?;
    Some(TrackFormat::Aac {
        config: Bytes::copy_from_slice(audio_specific_config(esds)?),
        sample_rate: sound.sample_rate,
        channels: sound.channels,
    })
}

fn g711(entry: &[u8], law: Law) -> Option<TrackFormat> {
    let (sound, _) = Sound::parse(entry)?;
    Some(TrackFormat::G711 {
        law,
        sample_rate: match sound.sample_rate {
            0 => 8_000,
            rate => rate,
        },
        channels: sound.channels.max(1),
    })
}

/// What all audio sample entries state.
struct Sound {
    sample_rate: u32,
    channels: u16,
}

impl Sound {
    /// The fields and the child boxes behind them.
    fn parse(entry: &[u8]) -> Option<(Self, &[u8])> {
        let fixed = entry.first_chunk::<SOUND_BYTES>()?;
        let [.., c0, c1, _, _, _, _, _, _, r0, r1, _, _] = *fixed;
        let version = u16::from_be_bytes(*entry.get(8..)?.first_chunk()?);
        let extra = match version {
            1 => 16,
            2 => 36,
            _ => 0,
        };
        let sound = Self {
            sample_rate: u32::from(u16::from_be_bytes([r0, r1])),
            channels: u16::from_be_bytes([c0, c1]),
        };
        Some((sound, entry.get(SOUND_BYTES + extra..).unwrap_or_default()))
    }
}

/// Finds the `AudioSpecificConfig` in an elementary stream descriptor.
fn audio_specific_config(esds: &[u8]) -> Option<&[u8]> {
    let decoder = decoder_config(esds)?;
    let object_type = decoder.first()?;
    if !AAC_OBJECT_TYPES.contains(object_type) {
        return None;
    }
    descriptor(decoder.get(13..)?, 0x05).filter(|config| config.len() >= 2)
}

/// The decoder's part of an elementary stream descriptor (ISO/IEC 14496-1 7.2.6): object type first.
fn decoder_config(esds: &[u8]) -> Option<&[u8]> {
    let stream = descriptor(esds, 0x03)?;
    let (flags, mut rest) = stream.get(2..)?.split_first()?;
    if flags & 0x80 != 0 {
        rest = rest.get(2..)?;
    }
    if flags & 0x40 != 0 {
        let (len, behind) = rest.split_first()?;
        rest = behind.get(usize::from(*len)..)?;
    }
    if flags & 0x20 != 0 {
        rest = rest.get(2..)?;
    }
    descriptor(rest, 0x04)
}

/// Body of the first descriptor with `tag` among siblings.
fn descriptor(mut bytes: &[u8], tag: u8) -> Option<&[u8]> {
    loop {
        let (found, mut rest) = bytes.split_first()?;
        let mut len = 0_usize;
        for group in 0.. {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            len = len << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
            if group == 3 {
                return None;
            }
        }
        let body = rest.get(..len)?;
        if *found == tag {
            return Some(body);
        }
        bytes = rest.get(len..)?;
    }
}

fn picture_size(entry: &[u8]) -> Option<(u16, u16)> {
    let [w0, w1, h0, h1] = *entry.get(24..)?.first_chunk()?;
    Some((u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1])))
}

fn owned(sets: Vec<Vec<u8>>) -> Vec<Bytes> {
    sets.into_iter()
        .filter(|set| !set.is_empty())
        .map(Bytes::from)
        .collect()
}

const ENTRIES_MAX: usize = 16;
/// Fixed part of a visual sample entry, in front of its boxes.
const VISUAL_BYTES: usize = 78;
/// Fixed part of an audio sample entry of version 0.
const SOUND_BYTES: usize = 28;
const JPEG_OBJECT_TYPE: u8 = 0x6C;
/// MPEG-4 audio and the three MPEG-2 AAC profiles.
const AAC_OBJECT_TYPES: [u8; 4] = [0x40, 0x66, 0x67, 0x68];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_config_is_found_behind_optional_fields() {
        let mut decoder = vec![0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        decoder.extend([0x05, 0x80, 0x80, 0x80, 2, 0x12, 0x10]);
        let mut stream = vec![0, 1, 0xe0, 0, 9, 1, b'u', 0, 7, 0x04, decoder.len() as u8];
        stream.extend(&decoder);
        let mut esds = vec![0x03, stream.len() as u8];
        esds.extend(&stream);
        assert_eq!(audio_specific_config(&esds), Some(&[0x12, 0x10][..]));
    }

    #[test]
    fn mp3_in_mp4a_is_not_aac() {
        let decoder = [0x6b; 13];
        let mut esds = vec![0x03, 18, 0, 1, 0, 0x04, 13];
        esds.extend(decoder);
        assert_eq!(audio_specific_config(&esds), None);
    }

    #[test]
    fn jpeg_has_many_names() {
        let entry = |kind: &[u8; 4], object_type: u8| {
            let mut fixed = vec![0; VISUAL_BYTES];
            fixed[24..28].copy_from_slice(&[0x02, 0x80, 0x01, 0x68]);
            let mut decoder = vec![0; 13];
            decoder[0] = object_type;
            let mut esds = vec![0, 0, 0, 0, 0x03, 18, 0, 1, 0, 0x04, 13];
            esds.extend(decoder);
            let esds = crate::testing::boxed(*b"esds", &[&esds]);
            let entry = crate::testing::boxed(*kind, &[&fixed, &esds]);
            TrackFormat::parse(&[&[0; 8], &entry[..]].concat())
        };
        let jpeg = Some(TrackFormat::Jpeg {
            width: 640,
            height: 360,
        });
        assert_eq!(entry(b"mp4v", 0x6C), jpeg);
        assert_eq!(entry(b"jpeg", 0), jpeg);
        assert_eq!(entry(b"mjpg", 0), jpeg);
        // MPEG-4 part 2.
        assert_eq!(entry(b"mp4v", 0x20), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = audio_specific_config(&bytes);
            for kind in [b"avc1", b"hev1", b"mp4v", b"jpeg", b"mp4a", b"ulaw", b"Opus"] {
                let mut stsd = vec![0; 8];
                stsd.extend((bytes.len() as u32 + 8).to_be_bytes());
                stsd.extend(kind);
                stsd.extend(&bytes);
                let _ = TrackFormat::parse(&stsd);
            }
        }
    }
}
