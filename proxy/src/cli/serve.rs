//! `seamline serve`

use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{CliError, ServeArgs, load, logs};
use crate::config::Log;
use crate::house::{House, Signals};
use crate::inbound::{Certificates, Faces, Listener};
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
    let certificates = config.inbound.certificates.clone();
    let listener = Listener::bind(&config.listen, config.inbound.clone()).await?;
    let faces = Faces::bind(config.faces.clone(), &config.inbound).await?;
    tracing::info!(
        addresses = ?listener.addresses()?, tls = certificates.is_some(), cameras = config.cameras.len(), recorders = config.recorders.len(), users = config.auth.users.len(), "serving"
    );
    for remark in config.remarks() {
        tracing::warn!("{remark}");
    }
    let house = House::build(config, Journal::default());
    let (shutdown, asked) = watch::channel(false);
    tokio::select! {
        () = house.serve_with(listener, faces, asked) => tracing::info!("stopped"),
        () = renew(certificates) => {}
        () = signals.obey(shutdown) => tracing::warn!("stopped at once"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the certificate again on SIGHUP and when its files change; never returns.
async fn renew(certificates: Option<Arc<Certificates>>) {
    let Some(certificates) = certificates else {
        return std::future::pending().await;
    };
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP");
            return certificates.follow().await;
        }
    };
    loop {
        tokio::select! {
            () = certificates.follow() => {}
            _ = hangup.recv() => match certificates.reload() {
                Ok(()) => tracing::info!("certificate read again"),
                Err(error) => tracing::warn!(%error, "the old certificate stays"),
            },
        }
    }
}
