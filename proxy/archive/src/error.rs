//! What can be wrong with a recorded file, always with the file's name.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a file of the archive could not be read. Other files are not affected.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refused: the file vanished, is unreadable, or shrank while it was read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The file does not begin with MP4 boxes.
    #[error("{}: not an MP4 file", path.display())]
    NotMp4 {
        /// The file.
        path: PathBuf,
    },
    /// The movie header is not there: the recorder has not closed the file yet, or never did.
    #[error("{}: no movie header: still being written, or cut off", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// A box contradicts itself.
    #[error("{}: malformed {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The part that is wrong.
        what: &'static str,
    },
    /// A count or a size is beyond what this reader accepts.
    #[error("{}: {what} beyond the limit", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The part that is too large.
        what: &'static str,
    },
    /// No track has a codec that can be played.
    #[error("{}: no track of a known codec", path.display())]
    NoTrack {
        /// The file.
        path: PathBuf,
    },
}

/// A flaw met below the level that knows the file's name.
#[derive(Debug)]
pub(crate) enum Flaw {
    Io(io::Error),
    NotMp4,
    Unfinished,
    Malformed(&'static str),
    TooLarge(&'static str),
    NoTrack,
}

impl Flaw {
    pub(crate) fn of(self, path: &Path) -> ArchiveError {
        let path = path.to_path_buf();
        match self {
            Self::Io(source) => ArchiveError::Io { path, source },
            Self::NotMp4 => ArchiveError::NotMp4 { path },
            Self::Unfinished => ArchiveError::Unfinished { path },
            Self::Malformed(what) => ArchiveError::Malformed { path, what },
            Self::TooLarge(what) => ArchiveError::TooLarge { path, what },
            Self::NoTrack => ArchiveError::NoTrack { path },
        }
    }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
