//! `seamline sign`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use seamline_routing::Timestamp;
use url::Url;

use super::{CliError, ConfigArg, load, parse_time};
use crate::clock;

/// Longest time for which a link is good.
const VALID_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Stands in for the host of a path.
const NOWHERE: &str = "http://localhost";

#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// What the link asks for: a URL of this program, or a path and query such as
    /// "/get?path=gate&start=2026-11-22T10:00:00Z&duration=60".
    #[arg(value_name = "URL")]
    target: String,
    #[command(flatten)]
    config: ConfigArg,
    /// For how long it is good, such as 1h or 7d.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = valid_for, conflicts_with = "until")]
    valid: Duration,
    /// Until when it is good, such as 2026-11-22T10:00:00Z.
    #[arg(long, value_parser = parse_time)]
    until: Option<Timestamp>,
}

/// Prints a link that anybody may follow until it expires.
pub(super) fn sign(args: &SignArgs) -> Result<ExitCode, CliError> {
    let config = load(&args.config)?;
    let key = config.auth.link_key.ok_or(CliError::NoLinkKey)?;
    let (mut url, is_path) = match Url::parse(&args.target) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => (url, false),
        _ if args.target.starts_with('/') => {
            let url = Url::parse(&format!("{NOWHERE}{}", args.target));
            (
                url.map_err(|_| CliError::NoLink(args.target.clone()))?,
                true,
            )
        }
        _ => return Err(CliError::NoLink(args.target.clone())),
    };
    let now = clock::wall();
    let until = args.until.unwrap_or(now + args.valid);
    if until <= now || until > now + VALID_MAX {
        return Err(CliError::LinkTime);
    }
    let expires_s = (until.as_unix_ms() / 1000).max(0) as u64;
    let query = key.sign(url.path(), url.query().unwrap_or_default(), expires_s);
    url.set_query(Some(&query));
    url.set_fragment(None);
    let text = url.as_str();
    let text = text
        .strip_prefix(NOWHERE)
        .filter(|_| is_path)
        .unwrap_or(text);
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn valid_for(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 15m, 1h or 7d");
    let parsed: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
    // A day of a link has 24 hours.
    let parsed = parsed
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_which_links_are_good() {
        assert_eq!(valid_for("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(valid_for("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert!(valid_for("-1h").is_err() && valid_for("soon").is_err());
    }
}
