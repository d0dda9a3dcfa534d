//! SIGHUP: the configuration and the certificates are read again, and nobody who plays notices.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{Config, Fixed, LoadError};
use crate::inbound::Certificates;

/// What is needed to read the configuration again.
pub(super) struct Reloads {
    path: PathBuf,
    hangup: Signal,
    /// What cannot change.
    fixed: Fixed,
    certificates: Option<Arc<Certificates>>,
    renewals: mpsc::Sender<Config>,
}

impl Reloads {
    /// From now on SIGHUP no longer ends the process. What was read goes to `renewals`.
    pub(super) fn catch(
        path: &Path,
        config: &Config,
        renewals: mpsc::Sender<Config>,
    ) -> std::io::Result<Self> {
        Ok(Reloads {
            path: path.to_owned(),
            hangup: signal(SignalKind::hangup())?,
            fixed: Fixed::of(config),
            certificates: config.inbound.certificates.clone(),
            renewals,
        })
    }

    /// Obeys SIGHUP, and follows the files of the certificate; never returns.
    pub(super) async fn follow(mut self) {
        loop {
            let current = self.certificates.clone();
            let following = async {
                match current {
                    Some(certificates) => certificates.follow().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = following => {}
                _ = self.hangup.recv() => self.reload().await,
            }
        }
    }

    async fn reload(&mut self) {
        let path = self.path.clone();
        // Files are read, and recorders made.
        let read = tokio::task::spawn_blocking(move || Config::load(&path)).await;
        let mut config = match read {
            Ok(Ok(config)) => config,
            Ok(Err(error)) => return stays(&error),
            Err(error) => {
                tracing::error!(%error, "the configuration stays what it was");
                return;
            }
        };
        for setting in config.needs_restart(&self.fixed) {
            tracing::warn!(setting, "changes with a restart only: it stays what it was");
        }
        config.inbound.certificates = self.renewed(config.inbound.certificates);
        self.certificates.clone_from(&config.inbound.certificates);
        tracing::info!(
            cameras = config.cameras.len(),
            recorders = config.recorders.len(),
            users = config.auth.users.len(),
            "configuration read again"
        );
        for remark in config.remarks() {
            tracing::warn!("{remark}");
        }
        // Nobody takes it only while the program ends.
        let _ = self.renewals.send(config).await;
    }

    /// Certificates of the same files are those that other doors answer with too.
    fn renewed(&self, read: Option<Arc<Certificates>>) -> Option<Arc<Certificates>> {
        let same = |known: &&Arc<Certificates>| {
            let read = read.as_deref();
            read.is_some_and(|read| read.are_from_files_of(known))
        };
        let Some(known) = self.certificates.as_ref().filter(same) else {
            return read;
        };
        match known.reload() {
            Ok(()) => Some(Arc::clone(known)),
            Err(error) => {
                tracing::warn!(%error, "the old certificate stays");
                Some(Arc::clone(known))
            }
        }
    }
}

/// Says line by line why a configuration was not taken.
fn stays(error: &LoadError) {
    let reasons = match error {
        LoadError::Unreadable { source, .. } => format!("{error}: {source}"),
        LoadError::TooLong { .. } | LoadError::Problems(_) => error.to_string(),
    };
    for reason in reasons.lines() {
        tracing::error!(reason, "the configuration stays what it was");
    }
}
