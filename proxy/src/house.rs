//! A configuration brought to life: recorders, the index of what they hold, the cameras, and the listener in front.

use std::collections::HashMap;
use std::sync::Arc;

use seamline_evidence::RecorderFacts;
use seamline_probes::{ClientOptions, Clock, Index, RecorderClient, Watch, WatchOptions};
use seamline_routing::{Policy, RecorderId};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::access::Access;
use crate::cameras::{CameraEntry, Cameras};
use crate::clock;
use crate::clocks::CopyClocks;
use crate::config::{Config, RecorderEntry};
use crate::evidence::Evidence;
use crate::inbound::{Faces, Listener};
use crate::journal::Journal;
use crate::soundings::Soundings;

/// All parts of a running program.
pub struct House {
    cameras: Arc<Cameras>,
    index: Arc<Index>,
    recorders: HashMap<RecorderId, RecorderClient>,
    policy: Policy,
}

impl House {
    /// Makes the parts and joins them; asks nobody yet.
    pub fn build(config: Config, journal: Journal) -> Self {
        let told = config.recorders.iter();
        let told = told.map(|entry| (entry.id.clone(), facts(entry)));
        let evidence = Evidence::new(config.evidence_key, told.collect());
        let recorders: HashMap<RecorderId, RecorderClient> = config
            .recorders
            .into_iter()
            .map(|entry| {
                let client =
                    RecorderClient::new(entry.id.clone(), entry.recorder, ClientOptions::default());
                (entry.id, client)
            })
            .collect();
        let policies: Vec<_> = config
            .cameras
            .iter()
            .map(|settings| (settings.camera.id.clone(), settings.policy))
            .collect();
        let cameras = config.cameras.into_iter().map(|settings| settings.camera);
        let index = Index::new(cameras, &recorders, clock::now())
            .expect("a configuration names only recorders that it has");
        let (tokens, links) = (config.auth.tokens.clone(), config.auth.link_key.clone());
        let access = Access::new(config.auth.into_users()).with(tokens, links);
        let soundings = Arc::<Soundings>::default();
        let entries = policies.into_iter().filter_map(|(id, policy)| {
            let slot = index.camera(id.as_str())?;
            let clocks = CopyClocks::new(slot.camera().copies.len());
            Some(CameraEntry {
                slot,
                policy,
                live: false,
                clocks,
                soundings: Arc::clone(&soundings),
            })
        });
        let cameras = Cameras::new(entries, access, config.dialects, journal);
        let cameras = Arc::new(cameras.with_evidence(evidence));
        House {
            cameras,
            index: Arc::new(index),
            recorders,
            policy: config.policy,
        }
    }

    /// The cameras.
    pub fn cameras(&self) -> &Arc<Cameras> {
        &self.cameras
    }

    /// The client of a recorder.
    pub fn recorder(&self, id: &RecorderId) -> Option<&RecorderClient> {
        self.recorders.get(id)
    }

    /// Serves clients, and watches the recorders, until `shutdown` turns true and running playbacks have had their time.
    pub async fn serve(&self, listener: Listener, shutdown: watch::Receiver<bool>) {
        self.serve_with(listener, Faces::default(), shutdown).await;
    }

    /// As [`Self::serve`], and clients of XProtect besides.
    pub async fn serve_with(
        &self,
        listener: Listener,
        faces: Faces,
        shutdown: watch::Receiver<bool>,
    ) {
        let options = WatchOptions {
            ttl: self.policy.ttl,
            tail_ttl: self.policy.tail_ttl,
            ..WatchOptions::default()
        };
        let _watch = Watch::start(&self.index, &self.recorders, options, Clock::System);
        tokio::join!(
            listener.serve(self.cameras.clone(), shutdown.clone()),
            faces.serve(self.cameras.clone(), shutdown),
        );
    }
}

/// What the manifests of exports say of a recorder.
fn facts(entry: &RecorderEntry) -> RecorderFacts {
    RecorderFacts {
        name: entry.id.to_string(),
        kind: entry.kind.to_owned(),
        address: entry.address.clone(),
    }
}

/// The signals that end the program.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on SIGTERM and SIGINT no longer end the process by themselves.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Turns `shutdown` true at the first signal, and returns at the second, for who cannot wait.
    pub async fn obey(mut self, shutdown: watch::Sender<bool>) {
        for _ in 0..2 {
            let name = self.next().await;
            tracing::info!(signal = name, "stopping");
            shutdown.send_replace(true);
        }
    }
}
