//! A configuration brought to life: recorders, the index of what they hold, the cameras, and the listener in front.

use std::collections::HashMap;
use std::sync::Arc;

use seamline_evidence::RecorderFacts;
use seamline_probes::{
    ClientOptions, Clock, Index, MediaSource, RecorderClient, RecorderConfig, Watch, WatchOptions,
};
use seamline_routing::{Policy, RecorderId};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::access::Access;
use crate::cameras::{CameraEntry, Cameras};
use crate::clock;
use crate::clocks::CopyClocks;
use crate::config::{Config, RecorderEntry};
use crate::evidence::Evidence;
use crate::inbound::{FaceSettings, Faces, Listener, Offer, Settings};
use crate::journal::Journal;
use crate::soundings::Soundings;

/// All parts of a running program.
pub struct House {
    cameras: Arc<Cameras>,
    index: Arc<Index>,
    recorders: HashMap<RecorderId, RecorderClient>,
    /// How each of them is asked.
    asked: HashMap<RecorderId, RecorderConfig>,
    /// What clients of XProtect see.
    faces: Vec<FaceSettings>,
    policy: Policy,
}

impl House {
    /// Makes the parts and joins them; asks nobody yet.
    pub fn build(config: Config, journal: Journal) -> Self {
        Self::furnish(config, journal, None)
    }

    /// The same house by another configuration. Recorders, and cameras, that are configured as before stay what they are: who plays
    /// them by the old configuration shares with who does by the new one what is known of them.
    #[must_use]
    pub fn rebuilt(&self, config: Config) -> Self {
        let journal = self.cameras.journal.clone();
        Self::furnish(config, journal, Some(self))
    }

    fn furnish(config: Config, journal: Journal, before: Option<&House>) -> Self {
        let told = config.recorders.iter();
        let told = told.map(|entry| (entry.id.clone(), facts(entry)));
        let evidence = Evidence::new(config.evidence_key, told.collect());
        let asked = config.recorders.iter();
        let asked = asked.map(|entry| (entry.id.clone(), entry.config.clone()));
        let asked: HashMap<RecorderId, RecorderConfig> = asked.collect();
        let recorders: HashMap<RecorderId, RecorderClient> = config
            .recorders
            .into_iter()
            .map(|entry| {
                let stays = before.and_then(|before| before.same_recorder(&entry));
                let client = stays.cloned().unwrap_or_else(|| {
                    RecorderClient::new(entry.id.clone(), entry.recorder, ClientOptions::default())
                });
                (entry.id, client)
            })
            .collect();
        // Who we are at a management server is the same for players, and logged in but once.
        let site = |id: &RecorderId| match recorders.get(id).map(RecorderClient::media) {
            Some(MediaSource::XProtect(site)) => Some(site),
            _ => None,
        };
        let faces = config.faces.into_iter().map(|face| face.as_at(site));
        let faces = faces.collect();
        let mut policies = Vec::with_capacity(config.cameras.len());
        let cameras = config.cameras.into_iter().map(|settings| {
            policies.push((settings.camera.id.clone(), settings.policy));
            settings.camera
        });
        let index = match before {
            Some(before) => {
                let replaced = before.index.replace(cameras, &recorders);
                replaced.map(|()| Arc::clone(&before.index))
            }
            None => Index::new(cameras, &recorders, clock::now()).map(Arc::new),
        };
        let index = index.expect("a configuration names only recorders that it has");
        let (tokens, links) = (config.auth.tokens.clone(), config.auth.link_key.clone());
        let access = Access::new(config.auth.into_users()).with(tokens, links);
        let access = match before {
            Some(before) => access.after(&before.cameras.access),
            None => access,
        };
        let others = before.and_then(|before| before.cameras.iter().next());
        let soundings: Arc<Soundings> =
            others.map_or_else(Arc::default, |other| Arc::clone(&other.soundings));
        let entries = policies.into_iter().filter_map(|(id, policy)| {
            let slot = index.camera(id.as_str())?;
            let known = before.and_then(|before| before.cameras.get(&id));
            let known = known.filter(|known| Arc::ptr_eq(&known.slot, &slot));
            let clocks = known.map_or_else(
                || CopyClocks::new(slot.camera().copies.len()),
                |known| Arc::clone(&known.clocks),
            );
            Some(CameraEntry {
                slot,
                policy,
                live: false,
                clocks,
                soundings: Arc::clone(&soundings),
                legs: Arc::default(),
            })
        });
        let cameras = Cameras::new(entries, access, config.dialects, journal);
        let cameras = Arc::new(cameras.with_evidence(evidence));
        House {
            cameras,
            index,
            recorders,
            asked,
            faces,
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
        let _watch = self.watch();
        let (_offer, offers) = watch::channel(self.offer(listener.settings().clone()));
        tokio::join!(
            listener.serve(offers.clone(), shutdown.clone()),
            faces.serve(offers, shutdown),
        );
    }

    /// As [`Self::serve_with`], and by each configuration that comes, from then on. What plays goes on by the one that it began
    /// with.
    pub async fn serve_renewed(
        self,
        listener: Listener,
        faces: Faces,
        mut renewals: mpsc::Receiver<Config>,
        shutdown: watch::Receiver<bool>,
    ) {
        let (offer, offers) = watch::channel(self.offer(listener.settings().clone()));
        let renewing = async {
            let mut house = self;
            let mut watching = house.watch();
            while let Some(config) = renewals.recv().await {
                let settings = config.inbound.clone();
                house = house.rebuilt(config);
                watching = house.watch();
                offer.send_replace(house.offer(settings));
            }
            // Nobody is left who could renew it.
            let _stays = (house, watching);
            std::future::pending::<()>().await;
        };
        let serving = async {
            tokio::join!(
                listener.serve(offers.clone(), shutdown.clone()),
                faces.serve(offers, shutdown),
            )
        };
        tokio::select! {
            _ = serving => {}
            () = renewing => {}
        }
    }

    fn offer(&self, settings: Settings) -> Offer {
        Offer {
            cameras: Arc::clone(&self.cameras),
            settings,
            faces: self.faces.clone(),
        }
    }

    fn watch(&self) -> Watch {
        let options = WatchOptions {
            ttl: self.policy.ttl,
            tail_ttl: self.policy.tail_ttl,
            ..WatchOptions::default()
        };
        Watch::start(&self.index, &self.recorders, options, Clock::System)
    }

    /// The client of a recorder that is configured as it was.
    fn same_recorder(&self, entry: &RecorderEntry) -> Option<&RecorderClient> {
        let stays = self.asked.get(&entry.id) == Some(&entry.config) && !entry.config.reads_files();
        self.recorders.get(&entry.id).filter(|_| stays)
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
