//! Why a recorder cannot be used as it is configured.

use std::path::PathBuf;

/// Why a configured recorder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The URL cannot be used.
    #[error("url {url:?}: {reason}")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The naming pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] seamline_archive::PatternError),
    /// The zone cannot be used.
    #[error("{0}")]
    Zone(&'static str),
    /// The kind has no use for the field of this name.
    #[error("`{0}` means nothing to this kind of recorder")]
    Foreign(&'static str),
    /// Whose certificates are accepted: the field, and what is wrong with it.
    #[error("{0}: {1}")]
    Trust(&'static str, String),
    /// More than one of the ways to state a password, or one without a user name.
    #[error("{0}")]
    Login(&'static str),
    /// The password's file cannot be read.
    #[error("password_file {}: {source}", path.display())]
    PasswordFile {
        /// As configured.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The password's environment variable is not set.
    #[error("password_env {variable:?} is not set")]
    PasswordEnv {
        /// As configured.
        variable: String,
    },
}
