//! Accepts connections within limits and drains them on shutdown.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dashmap::DashMap;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::greet::greet;
use super::hall::Hall;
use super::http::HttpSettings;
use super::link::Link;
use super::rtsp::UdpSettings;
use super::tls::Certificates;
use super::xprotect::FaceSettings;
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

/// What clients may have.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How many of them.
    pub limits: Limits,
    /// What TLS is answered with; `None` refuses it.
    pub certificates: Option<Arc<Certificates>>,
    /// Whether their media goes over UDP.
    pub udp: UdpSettings,
    /// What is served by HTTP.
    pub http: HttpSettings,
}

/// What connections are served by from the next one on, and requests over HTTP from the next one on.
#[derive(Clone)]
pub struct Offer {
    /// The cameras, and who may see them.
    pub cameras: Arc<Cameras>,
    /// What clients may have. Limits are those that the listener was bound with.
    pub settings: Settings,
    /// What clients of XProtect see.
    pub faces: Vec<FaceSettings>,
}

/// Somebody else listens there, or we may not.
#[derive(Debug, Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// A pause after an error of accept, so that running out of descriptors does not spin.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound sockets; each speaks everything.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    settings: Settings,
}

impl Listener {
    /// Binds all addresses.
    pub async fn bind(addresses: &[SocketAddr], settings: Settings) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(addresses.len());
        for address in addresses {
            let socket = TcpListener::bind(address).await;
            sockets.push(socket.map_err(|source| BindError {
                address: *address,
                source,
            })?);
        }
        Ok(Listener { sockets, settings })
    }

    /// The first of the bound addresses, with the port that the system chose.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.sockets
            .first()
            .ok_or(std::io::ErrorKind::AddrNotAvailable)?
            .local_addr()
    }

    /// The bound addresses, with the ports that the system chose.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }

    /// What clients may have.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Serves by the newest of `offers` until `shutdown` turns true; then lets playbacks go on for [`Limits::drain`].
    pub async fn serve(
        self,
        mut offers: watch::Receiver<Offer>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut hall = Arc::new(Hall::new(&offers.borrow_and_update()));
        let mut connections = JoinSet::new();
        let seats = Seats::new(self.settings.limits);
        loop {
            let accepted = tokio::select! {
                _ = shutdown.wait_for(|down| *down) => break,
                Some(_) = connections.join_next() => continue,
                Ok(()) = offers.changed() => {
                    hall = Arc::new(hall.renewed(&offers.borrow_and_update()));
                    continue;
                }
                accepted = poll_fn(|cx| self.poll_accept(cx)) => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(seat) = seats.take(connections.len(), peer) else {
                        continue;
                    };
                    if let Some(link) = link(stream, peer, seat) {
                        connections.spawn(greet(link, hall.clone(), shutdown.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let drained = tokio::time::timeout(self.settings.limits.drain, async {
            while connections.join_next().await.is_some() {}
        })
        .await;
        if drained.is_err() {
            tracing::info!(connections = connections.len(), "closing what is left");
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<(TcpStream, SocketAddr)>> {
        let mut sockets = self.sockets.iter();
        let accepted = sockets.find_map(|socket| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        });
        accepted.map_or(Poll::Pending, Poll::Ready)
    }
}

/// The places of connections, in all and by address.
pub(super) struct Seats {
    limits: Limits,
    by_address: Arc<DashMap<IpAddr, usize>>,
}

impl Seats {
    pub(super) fn new(limits: Limits) -> Self {
        Seats {
            limits,
            by_address: Arc::default(),
        }
    }

    /// A place for one more than `taken`; `None` where there are too many, which is logged.
    pub(super) fn take(&self, taken: usize, peer: SocketAddr) -> Option<Seat> {
        let limits = self.limits;
        let here = self.by_address.get(&peer.ip()).map_or(0, |count| *count);
        if taken >= limits.connections_max || here >= limits.per_address_max {
            tracing::warn!(%peer, connections = taken, from_address = here, "connection refused: too many");
            return None;
        }
        *self.by_address.entry(peer.ip()).or_insert(0) += 1;
        Some(Seat {
            address: peer.ip(),
            by_address: self.by_address.clone(),
        })
    }
}

/// One connection's place in the count of its address.
pub(super) struct Seat {
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

pub(super) fn link(stream: TcpStream, peer: SocketAddr, seat: Seat) -> Option<Link> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "socket options");
    }
    Link::new(stream, peer, seat).ok()
}
