//! Accepts RTSP connections within limits and drains them on shutdown.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::Connection;
use crate::cameras::Cameras;

/// How many connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From all addresses.
    pub connections_max: usize,
    /// From one address.
    pub per_address_max: usize,
    /// How long running playbacks may go on after shutdown was asked for.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 4096,
            per_address_max: 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// A pause after an error of accept, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound RTSP listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limits: Limits,
}

impl Listener {
    /// Binds; fails when the address is taken.
    pub async fn bind(address: SocketAddr, limits: Limits) -> std::io::Result<Self> {
        Ok(Listener {
            socket: TcpListener::bind(address).await?,
            limits,
        })
    }

    /// The bound address, with the port that the system chose.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown` turns true; then lets playbacks go on for [`Limits::drain`].
    pub async fn serve(self, cameras: Arc<Cameras>, mut shutdown: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let by_address: Arc<DashMap<IpAddr, usize>> = Arc::default();
        loop {
            let accepted = tokio::select! {
                _ = shutdown.wait_for(|down| *down) => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(seat) = self.seat(connections.len(), &by_address, peer) else {
                        continue;
                    };
                    connections.spawn(serve_one(
                        stream,
                        peer,
                        cameras.clone(),
                        shutdown.clone(),
                        seat,
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let drained = tokio::time::timeout(self.limits.drain, async {
            while connections.join_next().await.is_some() {}
        })
        .await;
        if drained.is_err() {
            tracing::info!(connections = connections.len(), "closing what is left");
        }
    }

    fn seat(
        &self,
        taken: usize,
        by_address: &Arc<DashMap<IpAddr, usize>>,
        peer: SocketAddr,
    ) -> Option<Seat> {
        let here = by_address.get(&peer.ip()).map_or(0, |count| *count);
        if taken >= self.limits.connections_max || here >= self.limits.per_address_max {
            tracing::warn!(%peer, connections = taken, from_address = here, "connection refused: too many");
            return None;
        }
        *by_address.entry(peer.ip()).or_insert(0) += 1;
        Some(Seat {
            address: peer.ip(),
            by_address: by_address.clone(),
        })
    }
}

/// One connection's place in the count of its address.
struct Seat {
    address: IpAddr,
    by_address: Arc<DashMap<IpAddr, usize>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(mut count) = self.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
        }
        self.by_address
            .remove_if(&self.address, |_, count| *count == 0);
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    cameras: Arc<Cameras>,
    shutdown: watch::Receiver<bool>,
    _seat: Seat,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "socket options");
    }
    let Ok(local) = stream.local_addr() else {
        return;
    };
    Connection::new(stream, peer, local, cameras)
        .serve(shutdown)
        .await;
}
