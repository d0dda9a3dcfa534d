//! MP4 files out of samples (ISO/IEC 14496-12): in fragments as they come, or whole.
//!
//! Every byte is a pure function of the samples: the same footage gives the same file, in whatever portions it came.

mod axis;
mod boxes;
mod clock;
mod fragmented;
mod index;
mod parts;
mod whole;

pub use axis::Holes;
pub use fragmented::{Fragment, Fragmented, Indexed, Piece, Shown};
pub use parts::{Origin, Settings};
pub use whole::{TooLong, Whole};

/// A file that cannot be written.
pub(crate) const UNENCODABLE: &str = "boxes of our own making are within the limits of the format";
