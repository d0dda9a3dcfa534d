//! Tracks of a file as a session description states them.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use seamline_archive::{Law, TrackFormat};
use seamline_rtsp::sdp::{Description, Media, Track, control_of};

/// Describes tracks in their order. Payload types are the static ones of G.711, else 96 and on.
pub fn describe_tracks<'a>(formats: impl IntoIterator<Item = &'a TrackFormat>) -> Description {
    let tracks = formats.into_iter().enumerate().map(|(index, format)| {
        let mut track = track(format, 96 + (index % 32) as u8);
        track.control = control_of(index);
        track
    });
    Description {
        tracks: tracks.collect(),
        range: None,
        control: String::new(),
    }
}

fn track(format: &TrackFormat, payload_type: u8) -> Track {
    let video = |encoding: &str, fmtp| Track {
        media: Media::Video,
        encoding: encoding.to_owned(),
        clock_rate: 90_000,
        channels: 1,
        payload_type,
        fmtp,
        control: String::new(),
        onvif_track: None,
    };
    let audio = |encoding: &str, clock_rate: u32, channels, payload_type, fmtp| Track {
        media: Media::Audio,
        encoding: encoding.to_owned(),
        clock_rate: clock_rate.max(1),
        channels,
        payload_type,
        fmtp,
        control: String::new(),
        onvif_track: None,
    };
    match format {
        TrackFormat::H264 { sps, pps, .. } => video("H264", h264(sps, pps)),
        TrackFormat::H265 { vps, sps, pps, .. } => video("H265", h265(vps, sps, pps)),
        // RFC 3551: its static number.
        TrackFormat::Jpeg { .. } => Track {
            payload_type: 26,
            ..video("JPEG", Vec::new())
        },
        // RFC 7587: the same for any sound.
        TrackFormat::Opus { channels } => {
            let stereo = if *channels > 1 { "1" } else { "0" };
            let fmtp = vec![parameter("sprop-stereo", stereo)];
            audio("opus", 48_000, 2, payload_type, fmtp)
        }
        TrackFormat::Aac {
            config,
            sample_rate,
            channels,
        } => {
            // Containers say two channels of any sound (ISO/IEC 14496-14): the decoder's configuration knows better.
            let (rate, count) = configured(config).unwrap_or((*sample_rate, *channels));
            audio("MPEG4-GENERIC", rate, count, payload_type, aac(config))
        }
        TrackFormat::G711 {
            law,
            sample_rate,
            channels,
        } => {
            let (encoding, fixed) = match law {
                Law::Mu => ("PCMU", 0),
                Law::A => ("PCMA", 8),
            };
            // RFC 3551: the static numbers mean 8 kHz and one channel.
            let usual = *sample_rate == 8_000 && *channels == 1;
            let payload_type = if usual { fixed } else { payload_type };
            audio(encoding, *sample_rate, *channels, payload_type, Vec::new())
        }
    }
}

/// RFC 6184 8.1.
fn h264(sps: &[Bytes], pps: &[Bytes]) -> Vec<(String, String)> {
    let mut fmtp = vec![parameter("packetization-mode", "1")];
    if let Some([profile, constraints, level]) = sps
        .first()
        .and_then(|sps| sps.get(1..))
        .and_then(|sps| sps.first_chunk())
    {
        let id = format!("{profile:02X}{constraints:02X}{level:02X}");
        fmtp.push(parameter("profile-level-id", &id));
    }
    if !sps.is_empty() {
        let sets = base64(sps.iter().chain(pps));
        fmtp.push(parameter("sprop-parameter-sets", &sets));
    }
    fmtp
}

/// RFC 7798 7.1.
fn h265(vps: &[Bytes], sps: &[Bytes], pps: &[Bytes]) -> Vec<(String, String)> {
    [("sprop-vps", vps), ("sprop-sps", sps), ("sprop-pps", pps)]
        .into_iter()
        .filter(|(_, sets)| !sets.is_empty())
        .map(|(name, sets)| parameter(name, &base64(sets)))
        .collect()
}

/// RFC 3640 3.3.6, high bit rate.
fn aac(config: &[u8]) -> Vec<(String, String)> {
    let mut hex = String::with_capacity(config.len() * 2);
    for byte in config {
        write!(hex, "{byte:02X}").expect("a String takes every character");
    }
    vec![
        parameter("streamtype", "5"),
        parameter("profile-level-id", "1"),
        parameter("mode", "AAC-hbr"),
        parameter("sizelength", "13"),
        parameter("indexlength", "3"),
        parameter("indexdeltalength", "3"),
        parameter("config", &hex),
    ]
}

fn parameter(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn base64<'a>(sets: impl IntoIterator<Item = &'a Bytes>) -> String {
    let sets: Vec<String> = sets
        .into_iter()
        .map(|set| BASE64_STANDARD.encode(set))
        .collect();
    sets.join(",")
}

/// Sampling rate and channels of an `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1), where it states them plainly.
fn configured(config: &[u8]) -> Option<(u32, u16)> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    const ESCAPE: u16 = 31;
    const CHANNELS: [u16; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
    let bits = u16::from_be_bytes([*config.first()?, *config.get(1)?]);
    if bits >> 11 == ESCAPE {
        return None;
    }
    let rate = RATES.get(usize::from(bits >> 7 & 0xf))?;
    let channels = CHANNELS
        .get(usize::from(bits >> 3 & 0xf))
        .filter(|count| **count > 0)?;
    Some((*rate, *channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_described_as_the_payload_formats_say() {
        let formats = [
            TrackFormat::H264 {
                nal_length_bytes: 4,
                sps: vec![Bytes::from_static(&[0x67, 0x64, 0x00, 0x28, 0xac])],
                pps: vec![Bytes::from_static(&[0x68, 0xee])],
                width: 1920,
                height: 1080,
            },
            TrackFormat::Aac {
                config: Bytes::from_static(&[0x11, 0x88]),
                sample_rate: 48_000,
                channels: 2,
            },
            TrackFormat::G711 {
                law: Law::A,
                sample_rate: 8_000,
                channels: 1,
            },
            TrackFormat::Jpeg {
                width: 640,
                height: 360,
            },
            TrackFormat::Opus { channels: 1 },
            TrackFormat::G711 {
                law: Law::Mu,
                sample_rate: 16_000,
                channels: 1,
            },
        ];
        let description = describe_tracks(&formats);
        let [video, aac, narrow, jpeg, opus, wide] = &description.tracks[..] else {
            panic!("six tracks");
        };
        assert_eq!(video.parameter("profile-level-id"), Some("640028"));
        assert_eq!(
            video.parameter("sprop-parameter-sets"),
            Some("Z2QAKKw=,aO4=")
        );
        assert_eq!((aac.clock_rate, aac.channels), (48_000, 1));
        assert_eq!(aac.parameter("config"), Some("1188"));
        assert_eq!((narrow.payload_type, wide.payload_type), (8, 101));
        assert_eq!((jpeg.payload_type, jpeg.clock_rate), (26, 90_000));
        assert_eq!((opus.channels, opus.clock_rate), (2, 48_000));

        let written = description.write("gate", 1, [192, 0, 2, 1].into());
        let read = Description::parse(&written).unwrap();
        assert_eq!(read.tracks, description.tracks);
    }

    #[test]
    fn the_channels_of_aac_are_those_of_its_decoder() {
        let mono = TrackFormat::Aac {
            config: Bytes::from_static(&[0x12, 0x08]),
            sample_rate: 48_000,
            channels: 2,
        };
        let description = describe_tracks(&[mono]);
        let track = description.tracks.first().expect("one track");
        assert_eq!((track.clock_rate, track.channels), (44_100, 1));
    }
}
