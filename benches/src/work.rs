//! A piece of work that relays are measured by.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    calls::{self, Calls},
    checker::Verdict,
    clock::{now, sleep, sleep_until},
    crowd::Crowd,
    footage::{Footage, GROUP_US},
    player::{Rate, Via, Wish},
    process::Watched,
    relay::CAMERA,
    scenario::START_US,
};

/// Players of a paced run start within this time, so that their pictures do not come all at once.
const RAMP: Duration = Duration::from_millis(750);
/// Until the first rush is over.
const SETTLE_PACED: Duration = Duration::from_millis(1_500);
const SETTLE_BULK: Duration = Duration::from_millis(300);
/// Until what is left in the buffers of sessions that were left is gone.
const CLEAR: Duration = Duration::from_millis(500);
/// How long calls are counted.
const TRACED: Duration = Duration::from_secs(3);
/// Length of the clips that are fetched over HTTP.
const CLIP_S: u64 = 20;

/// Players of one kind, for a while.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) footage: Arc<Footage>,
    pub(crate) rate: Rate,
    pub(crate) sessions: usize,
    /// Length of the measured part; half of it in bulk.
    pub(crate) seconds: f64,
}

/// How the players of a piece of work get at it.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) server: SocketAddr,
    pub(crate) via: Via,
    pub(crate) camera: &'static str,
    /// Where each player finds what its source happens to send, whose packets may be made anew; `None` for the camera from a
    /// time on.
    pub(crate) paths: Option<Vec<String>>,
}

impl Way {
    /// Plain RTSP over TCP.
    pub(crate) fn plain(server: SocketAddr) -> Self {
        Self {
            server,
            via: Via::Tcp,
            camera: CAMERA,
            paths: None,
        }
    }

    /// Clips by HTTP.
    pub(crate) fn clips() -> Via {
        Via::Http { seconds: CLIP_S }
    }
}

/// What one run of it came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// None where no process stands between.
    pub(crate) cpu_s: Option<f64>,
    pub(crate) bytes: u64,
    pub(crate) wall_s: f64,
    pub(crate) received: Verdict,
}

impl Run {
    pub(crate) fn cpu_s_per_gb(&self) -> Option<f64> {
        Some(self.cpu_s? / (self.bytes.max(1) as f64 / 1e9))
    }

    pub(crate) fn mbit_s(&self) -> f64 {
        self.bytes as f64 * 8e-6 / self.wall_s
    }
}

impl Work {
    /// Plays, and looks at the CPU time of what stands between over a while in the middle.
    pub(crate) async fn measure(&self, way: &Way, watched: Option<Watched>) -> anyhow::Result<Run> {
        let crowd = self.gather(way).await?;
        let cpu_s = || watched.map(Watched::cpu_s).transpose();
        let (cpu_before, bytes_before, since) = (cpu_s()?, crowd.received(), now());
        let window = Duration::from_secs_f64(self.seconds);
        sleep(if self.paced() { window } else { window / 2 }).await;
        let (cpu_after, bytes_after) = (cpu_s()?, crowd.received());
        let wall_s = now().saturating_duration_since(since).as_secs_f64();
        let received = Verdict::merged(crowd.leave().await);
        sleep(CLEAR).await;
        Ok(Run {
            cpu_s: cpu_after
                .zip(cpu_before)
                .map(|(after, before)| after - before),
            bytes: bytes_after - bytes_before,
            wall_s,
            received,
        })
    }

    /// The calls of a process for a burst of 20 kB; `None` where they cannot be counted.
    pub(crate) async fn count_calls(
        &self,
        way: &Way,
        watched: Watched,
    ) -> anyhow::Result<Option<Calls>> {
        let crowd = self.gather(way).await?;
        let counted = calls::count(watched.0, TRACED, || crowd.received()).await;
        drop(crowd.leave().await);
        sleep(CLEAR).await;
        counted
    }

    fn paced(&self) -> bool {
        self.rate == Rate::Paced
    }

    /// Players that have settled.
    async fn gather(&self, way: &Way) -> anyhow::Result<Crowd> {
        let mut crowd = Crowd::new();
        let started = now();
        for index in 0..self.sessions {
            if self.paced() {
                sleep_until(started + RAMP * index as u32 / self.sessions as u32).await;
            }
            crowd.add(&self.wish(way, index)).await?;
        }
        sleep(if self.paced() {
            SETTLE_PACED
        } else {
            SETTLE_BULK
        })
        .await;
        Ok(crowd)
    }

    fn wish(&self, way: &Way, index: usize) -> Wish {
        let start_us = START_US + index as i64 * GROUP_US;
        let path = way.paths.as_ref().and_then(|paths| paths.get(index));
        let by_time = way.paths.is_none();
        Wish {
            server: way.server,
            host: way.server.to_string(),
            path: path.map_or(way.camera, String::as_str).to_owned(),
            start_us: by_time.then_some(start_us),
            rate: self.rate,
            via: way.via.clone(),
            footage: by_time.then(|| Arc::clone(&self.footage)),
            login: None,
            reads_per_s: None,
        }
    }
}
