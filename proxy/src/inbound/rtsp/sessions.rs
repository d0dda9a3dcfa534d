//! Sessions whose media goes beside their connection: it may be lost, and another may go on with the same id
//! (RFC 2326 §12.37).

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use seamline_media::OutQueue;
use tokio::sync::{mpsc, oneshot, watch};

use super::connection::{IDLE_MAX, TICK};
use super::live::{Live, News};
use crate::clock;
use crate::inbound::listener::Seat;

/// Who asks for a session waits for its owner this long.
const CLAIM_MAX: Duration = Duration::from_secs(1);
/// Claims of one session that wait.
const CLAIMS_MAX: usize = 4;

type Table = Arc<DashMap<String, mpsc::Sender<Claim>>>;

/// All such sessions, by id. Each is owned by one task, which gives it up to who may have it.
#[derive(Clone, Debug, Default)]
pub(in crate::inbound) struct Sessions(Table);

/// Somebody who names the id of a session.
pub(super) struct Claim {
    pub(super) peer: IpAddr,
    pub(super) user: Option<String>,
    reply: oneshot::Sender<Box<Live>>,
}

impl Claim {
    /// Gives the session up. When nobody waits for it any more it ends.
    pub(super) fn grant(self, live: Box<Live>) {
        let _ = self.reply.send(live);
    }
}

/// A session's entry, removed with it.
pub(super) struct Listed {
    table: Table,
    id: String,
    claims: mpsc::Receiver<Claim>,
}

impl Sessions {
    pub(super) fn list(&self, id: &str) -> Listed {
        let (sender, claims) = mpsc::channel(CLAIMS_MAX);
        self.0.insert(id.to_owned(), sender);
        Listed {
            table: self.0.clone(),
            id: id.to_owned(),
            claims,
        }
    }

    /// The session of this id, when its connection is gone, and address and user are those that it belongs to.
    pub(super) async fn claim(
        &self,
        id: &str,
        peer: IpAddr,
        user: Option<String>,
    ) -> Option<Box<Live>> {
        let owner = self.0.get(id).map(|owner| owner.clone())?;
        let (reply, answer) = oneshot::channel();
        owner.try_send(Claim { peer, user, reply }).ok()?;
        tokio::time::timeout(CLAIM_MAX, answer).await.ok()?.ok()
    }
}

impl Listed {
    pub(super) fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Claim> {
        match self.claims.poll_recv(cx) {
            Poll::Ready(Some(claim)) => Poll::Ready(claim),
            // The table holds a sender for as long as this lives.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.remove(&self.id);
    }
}

/// Goes on with a session whose connection is lost, until its client comes back or has been silent for too long.
pub(super) async fn outlive(
    mut live: Box<Live>,
    _seat: Seat,
    heard: Instant,
    mut shutdown: watch::Receiver<bool>,
) {
    tracing::info!(session = live.id, "connection lost, the session goes on");
    let mut nothing = OutQueue::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let idle = !live.playing();
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down), if idle => return,
            _ = tick.tick() => {
                live.keep_alive();
                let heard = live.heard().map_or(heard, |last| last.max(heard));
                if clock::now().saturating_duration_since(heard) > IDLE_MAX {
                    tracing::info!(session = live.id, "nothing heard within the session's timeout");
                    return;
                }
            }
            news = poll_fn(|cx| live.poll(cx, &mut nothing)) => {
                // An answer to PLAY has nobody left to read it.
                if let News::Claim(claim) = news && live.is_of(&claim) {
                    tracing::info!(session = live.id, "a new connection goes on with the session");
                    claim.grant(live);
                    return;
                }
            }
        }
    }
}
