//! Players at work, of any kind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    checker::Verdict,
    clock::{now, sleep_until},
    footage::Footage,
    http,
    player::{Player, Via, Wish},
    referee,
};

/// How long all of them together may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// Players at work.
#[derive(Debug)]
pub(crate) struct Crowd {
    players: JoinSet<Verdict>,
    /// What those have seen that ended by themselves.
    ended: Vec<Verdict>,
    stop: watch::Sender<bool>,
    received: Arc<AtomicU64>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self {
            players: JoinSet::new(),
            ended: Vec::new(),
            stop: watch::Sender::new(false),
            received: Arc::default(),
        }
    }

    /// Adds a player; returns when it plays.
    pub(crate) async fn add(&mut self, wish: &Wish) -> anyhow::Result<()> {
        if let Via::Http { seconds } = wish.via {
            let (wish, received) = (wish.clone(), Arc::clone(&self.received));
            let stop = self.stop.subscribe();
            self.players
                .spawn(http::play(wish, seconds, received, stop));
            return Ok(());
        }
        let player = Player::open(wish, &self.received).await?;
        self.players.spawn(player.play(self.stop.subscribe()));
        Ok(())
    }

    /// Adds retina as a player; `url` has no query.
    pub(crate) fn referee(&mut self, url: String, start_us: i64, via: Via, footage: &Arc<Footage>) {
        let (footage, stop) = (Arc::clone(footage), self.stop.subscribe());
        self.players
            .spawn(referee::watch(url, start_us, via, footage, stop));
    }

    /// Adds any other kind of player: it gets the signal to stop, and where received bytes are counted.
    pub(crate) fn add_task<F>(
        &mut self,
        task: impl FnOnce(watch::Receiver<bool>, Arc<AtomicU64>) -> F,
    ) where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let task = task(self.stop.subscribe(), Arc::clone(&self.received));
        self.players.spawn(task);
    }

    /// How many have not ended by themselves.
    pub(crate) fn still_playing(&mut self) -> usize {
        while let Some(verdict) = self.players.try_join_next() {
            self.ended.extend(verdict.ok());
        }
        self.players.len()
    }

    /// Bytes received so far by all of them.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Sends all of them away; gives back what they have seen. Who does not go in time is a fault.
    pub(crate) async fn leave(mut self) -> Vec<Verdict> {
        self.stop.send_replace(true);
        let mut verdicts = self.ended;
        let until = now() + LEAVE_WITHIN;
        loop {
            let next = tokio::select! {
                next = self.players.join_next() => next,
                () = sleep_until(until) => break,
            };
            let Some(verdict) = next else { break };
            verdicts.extend(verdict.ok());
        }
        for _ in 0..self.players.len() {
            let mut verdict = Verdict::default();
            verdict.fault("did not leave in time");
            verdicts.push(verdict);
        }
        verdicts
    }
}
