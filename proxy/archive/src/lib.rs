//! Folders of MP4 recordings: naming pattern, index of samples, samples.
//!
//! Blocking file access throughout, but for a [`Stream`], which is handed its bytes: asynchronous callers move a [`Cursor`] or a [`Folder::scan`]
//! to a thread that may block. All times are µs since 1970-01-01 UTC unless a name says otherwise.

mod boxes;
mod cursor;
mod error;
mod folder;
mod format;
mod fragment;
mod index;
mod naming;
mod rewind;
mod segment;
mod stream;
mod table;
#[cfg(test)]
mod testing;

pub use cursor::{Batch, Cursor, Frame, Keys};
pub use error::ArchiveError;
pub use folder::{Folder, Listing, Options, Period, SegmentFile, periods};
pub use format::{Law, TrackFormat};
pub use index::{Entrance, Located, MovieIndex, locate_index};
pub use naming::{Pattern, PatternError};
pub use rewind::{GROUP_BYTES_MAX, Rewind};
pub use segment::{Sample, Segment, Track};
pub use stream::{Piece, Stream, StreamError, StreamFrame};
