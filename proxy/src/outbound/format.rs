//! What tracks of a description or of a file mean to the splice.

use bytes::{BufMut, Bytes, BytesMut};
use seamline_archive::TrackFormat;
use seamline_media::{Codec, Framing, LegFormat, ParameterSets};
use seamline_rtsp::sdp::Track;

/// The splice's view of a leg's tracks, in the client's order.
pub(super) fn of_tracks<'a>(tracks: impl Iterator<Item = Option<&'a Track>>) -> LegFormat {
    let parameter_sets = tracks
        .map(|track| track.map(parameter_sets).unwrap_or_default())
        .collect();
    LegFormat {
        parameter_sets,
        discontinuity: None,
    }
}

/// The parameter sets that a track announces.
pub fn parameter_sets(track: &Track) -> ParameterSets {
    ParameterSets::from_fmtp(Codec::from_encoding(&track.encoding), &track.fmtp)
}

pub(super) fn codec(format: &TrackFormat) -> Codec {
    match format {
        TrackFormat::H264 { .. } => Codec::H264,
        TrackFormat::H265 { .. } => Codec::H265,
        TrackFormat::Jpeg { .. } => Codec::Jpeg,
        TrackFormat::Aac { .. } => Codec::Aac,
        TrackFormat::Opus { .. } => Codec::Opus,
        TrackFormat::G711 { .. } => Codec::G711,
    }
}

pub(super) fn framing(format: &TrackFormat) -> Framing {
    match *format {
        TrackFormat::H264 {
            nal_length_bytes, ..
        }
        | TrackFormat::H265 {
            nal_length_bytes, ..
        } => Framing::LengthPrefixed(nal_length_bytes),
        TrackFormat::Jpeg { .. }
        | TrackFormat::Aac { .. }
        | TrackFormat::G711 { .. }
        | TrackFormat::Opus { .. } => Framing::Raw,
    }
}

/// A sample with its parameter sets ahead of it.
pub(super) fn with_sets(format: &TrackFormat, sample: &Bytes) -> Bytes {
    let (length_bytes, sets) = match format {
        TrackFormat::H264 {
            nal_length_bytes,
            sps,
            pps,
            ..
        } => (*nal_length_bytes, [&[][..], sps, pps]),
        TrackFormat::H265 {
            nal_length_bytes,
            vps,
            sps,
            pps,
            ..
        } => (*nal_length_bytes, [&vps[..], sps, pps]),
        TrackFormat::Jpeg { .. }
        | TrackFormat::Aac { .. }
        | TrackFormat::G711 { .. }
        | TrackFormat::Opus { .. } => return sample.clone(),
    };
    let mut whole = BytesMut::with_capacity(sample.len() + 256);
    for set in sets.into_iter().flatten() {
        whole.put_uint(set.len() as u64, usize::from(length_bytes.clamp(1, 8)));
        whole.put_slice(set);
    }
    whole.put_slice(sample);
    whole.freeze()
}
