//! One coded picture as a JPEG file.
//!
//! The decoders are libraries in Rust alone (H.264: Baseline to High 4:2:2, 8 and 10 bits, interlaced too; H.265: Main, Main 10
//! and the range extensions but 4:2:2), so that nothing but the Rust toolchain is needed, and what a hostile stream can do at
//! the worst is a panic, which the caller's task contains. Everything here blocks and computes: it belongs on a thread of its own.

mod decode;
mod jpeg;

pub use decode::{Codec, PICTURE_PIXELS_MAX, StillError, decode};
pub use jpeg::{QUALITY, jpeg};

/// A decoded picture: planes of one byte a sample, row by row without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Luma, and the two chroma planes.
    pub planes: [Vec<u8>; 3],
    /// A chroma plane is this many times narrower, and this many times lower: 1 or 2.
    pub chroma_step: (u8, u8),
    /// Samples use all 256 values; otherwise luma has 16 to 235 and chroma 16 to 240 (ITU-T H.273 `video_full_range_flag`).
    pub full_range: bool,
    /// Colours are mixed by ITU-R BT.709; otherwise by BT.601, as in JPEG (ITU-T H.273 `matrix_coefficients`).
    pub bt709: bool,
}
