//! `[http]`: what is served by HTTP.

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::problems::Problems;
use crate::inbound::{Cors, HttpSettings};

/// Most origins of web pages.
const ORIGINS_MAX: usize = 64;

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTable {
    enabled: Option<bool>,
    #[serde(default)]
    cors_origins: Vec<Spanned<String>>,
}

/// Reads `[http]`; what is wrong goes to `problems`.
pub(super) fn check(table: &HttpTable, problems: &mut Problems) -> HttpSettings {
    HttpSettings {
        refused: table.enabled == Some(false),
        cors: cors(&table.cors_origins, problems),
        ..HttpSettings::default()
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
