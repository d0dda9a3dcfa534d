//! A piece of work that relays are measured by.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    calls::{self, Calls},
    checker::Verdict,
    clock::{now, sleep, sleep_until},
    footage::{Footage, GROUP_US},
    player::{Crowd, Rate, Via, Wish},
    relay::{CAMERA, Relay},
    scenario::START_US,
};

/// Players of a paced run start within this time, so that their pictures do not come all at once.
const RAMP: Duration = Duration::from_secs(1);
/// Until the first rush is over.
const SETTLE_PACED: Duration = Duration::from_secs(2);
const SETTLE_BULK: Duration = Duration::from_millis(300);
/// Until what is left in the buffers of sessions that were left is gone.
const CLEAR: Duration = Duration::from_millis(500);
/// How long calls are counted.
const TRACED: Duration = Duration::from_secs(3);

/// Players of one kind, for a while.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) footage: Arc<Footage>,
    pub(crate) rate: Rate,
    pub(crate) sessions: usize,
    /// Length of the measured part; half of it in bulk.
    pub(crate) seconds: u64,
}

/// What one run of it came to.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) cpu_s: f64,
    pub(crate) bytes: u64,
    pub(crate) wall_s: f64,
    pub(crate) received: Verdict,
}

impl Run {
    pub(crate) fn cpu_s_per_gb(&self) -> f64 {
        self.cpu_s / (self.bytes.max(1) as f64 / 1e9)
    }
}

impl Work {
    /// Plays through a relay, and looks at its CPU time over a while in the middle.
    pub(crate) async fn measure(&self, relay: &Relay, via: &Via) -> anyhow::Result<Run> {
        let crowd = self.gather(relay, via).await?;
        let (cpu_before, bytes_before, since) = (relay.process.cpu_s()?, crowd.received(), now());
        let window = Duration::from_secs(self.seconds);
        sleep(if self.paced() { window } else { window / 2 }).await;
        let (cpu_after, bytes_after) = (relay.process.cpu_s()?, crowd.received());
        let wall_s = now().saturating_duration_since(since).as_secs_f64();
        let received = Verdict::merged(crowd.leave().await);
        sleep(CLEAR).await;
        Ok(Run {
            cpu_s: cpu_after - cpu_before,
            bytes: bytes_after - bytes_before,
            wall_s,
            received,
        })
    }

    /// The calls of a relay for a burst of 20 kB; `None` where they cannot be counted.
    pub(crate) async fn count_calls(
        &self,
        relay: &Relay,
        via: &Via,
    ) -> anyhow::Result<Option<Calls>> {
        let crowd = self.gather(relay, via).await?;
        let counted = calls::count(relay.process.id(), TRACED, || crowd.received()).await;
        drop(crowd.leave().await);
        sleep(CLEAR).await;
        counted
    }

    fn paced(&self) -> bool {
        self.rate == Rate::Paced
    }

    /// Players that have settled.
    async fn gather(&self, relay: &Relay, via: &Via) -> anyhow::Result<Crowd> {
        let mut crowd = Crowd::new();
        let started = now();
        for index in 0..self.sessions {
            if self.paced() {
                sleep_until(started + RAMP * index as u32 / self.sessions as u32).await;
            }
            let wish = Wish {
                server: relay.address,
                camera: CAMERA,
                start_us: START_US + index as i64 * GROUP_US,
                rate: self.rate,
                via: via.clone(),
            };
            crowd.add(&wish, &self.footage).await?;
        }
        sleep(if self.paced() {
            SETTLE_PACED
        } else {
            SETTLE_BULK
        })
        .await;
        Ok(crowd)
    }
}
