//! `[[passthrough]]`: paths that are relayed to recorders' own HTTP services.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use seamline_probes::{HttpConfig, Relay, Secret};
use seamline_routing::SiteId;
use serde::Deserialize;
use toml::Spanned;

use super::RecorderEntry;
use super::problems::Problems;
use crate::inbound::{Rule, Target};

/// Most rules.
const RULES_MAX: usize = 64;
/// Most prefixes, and most recorders, of one rule.
const LIST_MAX: usize = 64;

/// `[[passthrough]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PassthroughTable {
    paths: Spanned<Vec<Spanned<String>>>,
    to: Spanned<Vec<Spanned<TargetTable>>>,
    users: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    read_only: bool,
}

/// One of a rule's recorders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    recorder: Spanned<String>,
    url: String,
    username: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    ca_file: Option<PathBuf>,
    pin_sha256: Option<String>,
    #[serde(default)]
    insecure: bool,
}

/// Reads the rules; their recorders come in the order of the sites.
pub(super) fn check(
    tables: Vec<(PassthroughTable, Range<usize>)>,
    recorders: &[RecorderEntry],
    sites: &[SiteId],
    users: &[String],
    problems: &mut Problems,
) -> Vec<Rule> {
    if let Some((_, span)) = tables.get(RULES_MAX) {
        problems.add(span, format!("there are up to {RULES_MAX} [[passthrough]]"));
    }
    let rules = tables.into_iter().map(|(table, _)| {
        check_lists(&table, users, problems);
        let targets = table.to.into_inner().into_iter();
        let mut targets: Vec<Target> = targets
            .filter_map(|table| target(table, recorders, problems))
            .collect();
        // Of one site they stay in the order in which they are written.
        targets.sort_by_key(|target| sites.iter().position(|site| *site == target.site));
        let paths = table.paths.into_inner().into_iter();
        Rule {
            prefixes: paths.map(Spanned::into_inner).collect(),
            targets,
            users: table
                .users
                .map(|users| users.into_iter().map(Spanned::into_inner).collect()),
            read_only: table.read_only,
        }
    });
    rules.collect()
}

fn check_lists(table: &PassthroughTable, users: &[String], problems: &mut Problems) {
    let lists = [
        (table.paths.span(), table.paths.get_ref().len(), "paths"),
        (table.to.span(), table.to.get_ref().len(), "recorders"),
    ];
    for (span, length, what) in lists {
        if length == 0 || length > LIST_MAX {
            problems.add(&span, format!("1 to {LIST_MAX} {what} are needed"));
        }
    }
    for path in table.paths.get_ref() {
        let text = path.get_ref();
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        if !text.starts_with('/') || !plain {
            problems.add(
                &path.span(),
                format!("{text:?} is no beginning of a path, such as \"/ISAPI/\"; \"/\" stands for all that is not ours"),
            );
        }
    }
    for user in table.users.iter().flatten() {
        if !users.contains(user.get_ref()) {
            problems.add(
                &user.span(),
                format!("there is no user {:?}", user.get_ref()),
            );
        }
    }
}

fn target(
    table: Spanned<TargetTable>,
    recorders: &[RecorderEntry],
    problems: &mut Problems,
) -> Option<Target> {
    let span = table.span();
    let table = table.into_inner();
    let name = table.recorder.get_ref();
    let Some(entry) = recorders.iter().find(|entry| entry.id.as_str() == name) else {
        problems.add(
            &table.recorder.span(),
            format!("there is no recorder {name:?}"),
        );
        return None;
    };
    let config = HttpConfig {
        url: table.url,
        username: table.username,
        password: table.password,
        password_file: table.password_file,
        password_env: table.password_env,
        ca_file: table.ca_file,
        pin_sha256: table.pin_sha256,
        insecure: table.insecure,
        ..HttpConfig::default()
    };
    match Relay::new(&config) {
        Ok(relay) if relay.url().path() == "/" => Some(Target {
            site: entry.site.clone(),
            recorder: entry.id.clone(),
            relay: Arc::new(relay),
        }),
        Ok(_) => {
            problems.add(
                &span,
                "url: paths are relayed as they are; only http://host:port is needed",
            );
            None
        }
        Err(error) => {
            problems.add(&span, error.to_string());
            None
        }
    }
}
