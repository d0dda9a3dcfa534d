//! Logs to standard error, as text or JSON.

use tracing_subscriber::{EnvFilter, fmt};

use super::CliError;
use crate::config::{Log, LogFormat};

/// Starts logging only where `RUST_LOG` asks for it.
pub(super) fn start_when_wanted() -> Result<(), CliError> {
    match std::env::var_os("RUST_LOG") {
        Some(_) => start(&Log::default()),
        None => Ok(()),
    }
}

/// Starts logging. `RUST_LOG` overrules the level.
pub(super) fn start(log: &Log) -> Result<(), CliError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).map_err(|_| CliError::Level(directives))?
        }
        _ => EnvFilter::try_new(&log.level).map_err(|_| CliError::Level(log.level.clone()))?,
    };
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start happens only where a test makes it.
    let _ = match log.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
