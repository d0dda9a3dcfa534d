//! The tables of the file as they are written, before names are resolved.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use seamline_probes::Secret;
use serde::Deserialize;
use toml::Spanned;

use super::LogFormat;
use super::duration::Humane;
use super::policy::PolicyTable;

/// The keys outside of every table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopTable {
    pub(super) listen: Option<SocketAddr>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) connections_max: Option<NonZeroUsize>,
    pub(super) per_address_max: Option<NonZeroUsize>,
    pub(super) drain: Option<Humane>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTable {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<Spanned<String>>,
}

/// `[[user]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserTable {
    pub(super) name: Spanned<String>,
    pub(super) password: Option<Spanned<Secret>>,
    pub(super) password_file: Option<Spanned<PathBuf>>,
    pub(super) password_env: Option<Spanned<String>>,
    pub(super) ha1_md5: Option<Spanned<Secret>>,
    pub(super) cameras: Option<Vec<Spanned<String>>>,
}

/// `[[site]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteTable {
    pub(super) name: Spanned<String>,
}

/// What every `[[recorder]]` has; the rest is its kind's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecorderHead {
    pub(super) name: Spanned<String>,
    pub(super) site: Spanned<String>,
}

/// `[[camera]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CameraTable {
    pub(super) id: Spanned<String>,
    pub(super) name: Option<String>,
    pub(super) copies: Spanned<Vec<Spanned<CopyTable>>>,
    pub(super) priority: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) policy: PolicyTable,
}

/// One of a camera's `copies`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyTable {
    pub(super) recorder: Spanned<String>,
    pub(super) remote: Spanned<String>,
    pub(super) clock_offset_ms: Option<Spanned<i64>>,
}
