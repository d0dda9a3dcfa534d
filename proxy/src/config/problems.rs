//! What is wrong with a configuration, line by line.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is longer than [`super::FILE_BYTES_MAX`].
    #[error("{}: {bytes} bytes are too many for a configuration", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// It was read, and has errors.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// One error in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is; the first line is 1.
    pub line: usize,
    /// What it is.
    pub message: String,
}

/// All errors of a configuration, by line. Displays as `file:line: message`, one a line.
#[derive(Clone, Debug)]
pub struct Problems {
    name: String,
    /// The offset of each line's first byte.
    line_starts: Vec<usize>,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Problems {
            name: name.to_owned(),
            line_starts: std::iter::once(0).chain(starts).collect(),
            list: Vec::new(),
        }
    }

    /// The errors by line.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds what is wrong at `span`, bytes of the text.
    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let problem = Problem {
            line: self.line(span),
            message: message.into(),
        };
        let at = self
            .list
            .partition_point(|other| other.line <= problem.line);
        self.list.insert(at, problem);
    }

    /// The line on which `span` begins.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts
            .partition_point(|start| *start <= span.start)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ix, problem) in self.list.iter().enumerate() {
            let separator = if ix == 0 { "" } else { "\n" };
            write!(
                f,
                "{separator}{}:{}: {}",
                self.name, problem.line, problem.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
