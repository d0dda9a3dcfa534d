//! From a group of coded pictures to its last one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rust_h264::decoder::{ChromaFormat, OrderedDecoder};
use rust_h264::nal as h264;
use rust_h265::nal as h265;
use thiserror::Error;

use crate::Picture;

/// What pictures are coded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StillError {
    /// Larger than any camera's.
    #[error("a picture of {0} pixels; {PICTURE_PIXELS_MAX} are decoded at the most")]
    TooLarge(u64),
    /// The stream uses what the decoder does not know, or is damaged.
    #[error("the picture cannot be decoded: {0}")]
    Undecodable(String),
    /// The decoder took everything and gave nothing.
    #[error("the decoder shows no such picture")]
    Nothing,
}

/// Largest picture that is decoded, in pixels: a camera of 24 megapixels. A decoder may keep seventeen of them.
pub const PICTURE_PIXELS_MAX: u64 = 24 * 1024 * 1024;

/// Decodes the last of `samples`, which begin where decoding can start and come in decoding order.
///
/// A sample is a picture's NAL units behind lengths of four bytes; the first one brings its parameter sets.
pub fn decode<'a>(
    codec: Codec,
    samples: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Picture, StillError> {
    // A decoder that panics over a damaged stream costs this picture and nothing else.
    let decoded = catch_unwind(AssertUnwindSafe(|| match codec {
        Codec::H264 => decode_h264(samples),
        Codec::H265 => decode_h265(samples),
    }));
    decoded.unwrap_or_else(|_| Err(StillError::Undecodable("the decoder gave up".to_owned())))
}

/// What the sequence parameter set says of colours.
#[derive(Clone, Copy, Default)]
struct Colours {
    full_range: bool,
    bt709: bool,
}

fn decode_h264<'a>(samples: impl IntoIterator<Item = &'a [u8]>) -> Result<Picture, StillError> {
    // Each picture comes out with the number of its sample, whatever the order in which they are shown.
    let mut decoder = OrderedDecoder::<usize>::new();
    let mut colours = Colours::default();
    let mut failure = None;
    let mut last = 0;
    let mut found = None;
    for (number, sample) in samples.into_iter().enumerate() {
        last = number;
        for nal in h264::parse_avcc(sample, LENGTH_BYTES) {
            if nal.nal_unit_type == h264::NalUnitType::Sps {
                let info = h264::parse_sps_info(&nal).map_err(undecodable)?;
                let pixels = u64::from(info.coded_width) * u64::from(info.coded_height);
                within(pixels)?;
                colours = Colours {
                    full_range: info.full_range,
                    bt709: info.matrix == MATRIX_BT709,
                };
            }
            match decoder.decode_nal_with_meta(&nal, number) {
                Ok(frames) => found = frames.into_iter().next_back().or(found),
                Err(error) => failure = Some(undecodable(error)),
            }
        }
    }
    let flushed = decoder.flush_with_meta();
    let wanted = flushed.into_iter().find(|(_, number)| *number == last);
    let wanted = wanted.or(found.filter(|(_, number)| *number == last));
    let Some((frame, _)) = wanted else {
        return Err(failure.unwrap_or(StillError::Nothing));
    };
    let chroma_step = match frame.chroma_format {
        ChromaFormat::Yuv420 => (2, 2),
        ChromaFormat::Yuv422 => (2, 1),
    };
    let depth = frame.bit_depth;
    let planes = [frame.y, frame.u, frame.v].map(|plane| {
        if depth <= 8 {
            return plane;
        }
        let (pairs, _) = plane.as_chunks::<2>();
        let samples = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
        samples.map(|sample| eight_bits(sample, depth)).collect()
    });
    picture(frame.width, frame.height, planes, chroma_step, colours)
}

fn decode_h265<'a>(samples: impl IntoIterator<Item = &'a [u8]>) -> Result<Picture, StillError> {
    let mut decoder = rust_h265::Decoder::with_limits(rust_h265::DecodeLimits {
        max_picture_pixels: PICTURE_PIXELS_MAX,
        ..rust_h265::DecodeLimits::default()
    });
    let mut failure = None;
    let mut wanted = None;
    for sample in samples {
        // A delimiter closes what was begun: what comes out behind it is of this sample.
        if let Some(delimiter) = h265::parse_nal(&DELIMITER_H265) {
            let _ = decoder.decode_nal(&delimiter);
        }
        wanted = None;
        for nal in h265::parse_hvcc(sample, LENGTH_BYTES as u8) {
            match decoder.decode_nal(&nal) {
                Ok(frame) => wanted = frame.or(wanted),
                Err(error) => failure = Some(undecodable(error)),
            }
        }
    }
    while let Some(frame) = decoder.flush() {
        wanted = Some(frame);
    }
    let Some(frame) = wanted else {
        return Err(failure.unwrap_or(StillError::Nothing));
    };
    let chroma_step = match frame.chroma_format_idc {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let depth = frame.bit_depth;
    let planes = [frame.y, frame.u, frame.v].map(|plane| {
        if let Some(samples) = plane.as_u8() {
            return samples.to_vec();
        }
        let samples = plane.as_u16().unwrap_or_default().iter();
        samples.map(|sample| eight_bits(*sample, depth)).collect()
    });
    let (width, height) = (frame.width, frame.height);
    // The decoder does not tell what the stream says of its colours; most say what is the rule without.
    picture(width, height, planes, chroma_step, Colours::default())
}

fn picture(
    width: u32,
    height: u32,
    planes: [Vec<u8>; 3],
    chroma_step: (u8, u8),
    colours: Colours,
) -> Result<Picture, StillError> {
    within(u64::from(width) * u64::from(height))?;
    let too_long = |_| StillError::TooLarge(u64::from(width) * u64::from(height));
    Ok(Picture {
        width: u16::try_from(width).map_err(too_long)?,
        height: u16::try_from(height).map_err(too_long)?,
        planes,
        chroma_step,
        full_range: colours.full_range,
        bt709: colours.bt709,
    })
}

fn within(pixels: u64) -> Result<(), StillError> {
    if pixels > PICTURE_PIXELS_MAX {
        return Err(StillError::TooLarge(pixels));
    }
    Ok(())
}

fn eight_bits(sample: u16, depth: u8) -> u8 {
    (sample >> (depth.saturating_sub(8)).min(8)).min(255) as u8
}

fn undecodable(error: impl std::fmt::Debug) -> StillError {
    let text = format!("{error:?}");
    StillError::Undecodable(text.chars().take(REASON_CHARS_MAX).collect())
}

/// NAL units stand behind lengths of this many bytes.
const LENGTH_BYTES: usize = 4;
/// An access unit delimiter (ITU-T H.265, 7.3.2.5) that allows every kind of slice.
const DELIMITER_H265: [u8; 3] = [0x46, 0x01, 0x50];
/// `matrix_coefficients` of BT.709 (ITU-T H.273, table 4).
const MATRIX_BT709: u8 = 1;
const REASON_CHARS_MAX: usize = 200;
