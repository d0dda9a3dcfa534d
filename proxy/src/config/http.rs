//! `[http]`: what is served by HTTP.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::problems::Problems;
use crate::inbound::{Cors, HttpSettings};
use crate::spool::SpoolSettings;

/// Most origins of web pages.
const ORIGINS_MAX: usize = 64;

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTable {
    enabled: Option<bool>,
    #[serde(default)]
    cors_origins: Vec<Spanned<String>>,
    #[serde(default)]
    spool: SpoolTable,
    #[serde(default)]
    trust_forwarded: bool,
}

/// `http.spool`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpoolTable {
    folder: Option<PathBuf>,
    max_bytes: Option<Spanned<u64>>,
}

/// With less a single clip may not fit.
const SPOOL_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Reads `[http]`; what is wrong goes to `problems`.
pub(super) fn check(table: &HttpTable, problems: &mut Problems) -> HttpSettings {
    HttpSettings {
        refused: table.enabled == Some(false),
        cors: cors(&table.cors_origins, problems),
        spool: spool(&table.spool, problems),
        trust_forwarded: table.trust_forwarded,
        ..HttpSettings::default()
    }
}

fn spool(table: &SpoolTable, problems: &mut Problems) -> SpoolSettings {
    let default = SpoolSettings::default();
    if let Some(max_bytes) = &table.max_bytes
        && *max_bytes.get_ref() < SPOOL_BYTES_MIN
    {
        problems.add(
            &max_bytes.span(),
            format!("a clip may need more: at least {SPOOL_BYTES_MIN}"),
        );
    }
    SpoolSettings {
        folder: table.folder.clone().unwrap_or(default.folder),
        max_bytes: table
            .max_bytes
            .as_ref()
            .map_or(default.max_bytes, |max_bytes| *max_bytes.get_ref()),
    }
}

fn cors(origins: &[Spanned<String>], problems: &mut Problems) -> Cors {
    match origins {
        [] => return Cors::Nobody,
        [only] if only.get_ref() == "*" => return Cors::Anybody,
        _ => {}
    }
    if let Some(first) = origins.get(ORIGINS_MAX) {
        problems.add(
            &first.span(),
            format!("there are up to {ORIGINS_MAX} origins"),
        );
    }
    let mut fit = Vec::with_capacity(origins.len());
    for origin in origins {
        let text = origin.get_ref();
        let is_origin = Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == *text
        });
        match text.parse() {
            Ok(value) if is_origin => fit.push(value),
            _ => problems.add(
                &origin.span(),
                format!(
                    "{text:?} is no origin as browsers write it, such as \"https://wall.example.org\"; \"*\" alone \
                     stands for all"
                ),
            ),
        }
    }
    Cors::Origins(fit)
}
