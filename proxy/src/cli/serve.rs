//! `seamline serve`

use std::process::ExitCode;

use tokio::sync::{mpsc, watch};

use super::reload::Reloads;
use super::{CliError, ServeArgs, load, logs};
use crate::config::Log;
use crate::house::{House, Signals};
use crate::inbound::{Faces, Listener};
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
    let listener = Listener::bind(&config.listen, config.inbound.clone()).await?;
    let faces = Faces::bind(config.faces.clone(), &config.inbound).await?;
    tracing::info!(
        addresses = ?listener.addresses()?, tls = config.inbound.certificates.is_some(), cameras = config.cameras.len(), recorders = config.recorders.len(), users = config.auth.users.len(), "serving"
    );
    for remark in config.remarks() {
        tracing::warn!("{remark}");
    }
    let (renewals, renewed) = mpsc::channel(1);
    let reloads = Reloads::catch(&args.config.config, &config, renewals)?;
    let house = House::build(config, Journal::default());
    let (shutdown, asked) = watch::channel(false);
    // In a task of its own connections are taken by the threads that serve them, and no other one is woken for each.
    let serving = tokio::spawn(house.serve_renewed(listener, faces, renewed, asked));
    tokio::select! {
        served = serving => {
            served.expect("it is not cancelled, and a panic is ours");
            tracing::info!("stopped");
        }
        () = reloads.follow() => {}
        () = signals.obey(shutdown) => tracing::warn!("stopped at once"),
    }
    Ok(ExitCode::SUCCESS)
}
