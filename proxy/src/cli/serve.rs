//! `seamline serve`

use std::process::ExitCode;

use tokio::sync::watch;

use super::{CliError, ServeArgs, load, logs};
use crate::config::Log;
use crate::house::{House, Signals};
use crate::inbound::rtsp::Listener;
use crate::journal::Journal;

pub(super) async fn serve(args: &ServeArgs) -> Result<ExitCode, CliError> {
    let config = load(&args.config)?;
    let log = Log {
        format: args.log.unwrap_or(config.log.format),
        level: args
            .log_level
            .clone()
            .unwrap_or_else(|| config.log.level.clone()),
    };
    logs::start(&log)?;
    let signals = Signals::catch()?;
    let address = config.listen;
    let bind = |source| CliError::Bind { address, source };
    let listener = Listener::bind(address, config.limits).await.map_err(bind)?;
    let address = listener.address().map_err(bind)?;
    tracing::info!(
        %address, cameras = config.cameras.len(), recorders = config.recorders.len(), users = config.users.len(), "serving"
    );
    if config.users.is_empty() {
        tracing::warn!("no [[user]]: anybody may watch");
    }
    let house = House::build(config, Journal::default());
    let (shutdown, asked) = watch::channel(false);
    tokio::select! {
        () = house.serve(listener, asked) => tracing::info!("stopped"),
        () = signals.obey(shutdown) => tracing::warn!("stopped at once"),
    }
    Ok(ExitCode::SUCCESS)
}
