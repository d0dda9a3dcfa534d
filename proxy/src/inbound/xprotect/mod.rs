//! Clients of XProtect: a management server and its recorders, each as it is seen here.
//!
//! One [`Face`] stands in front of one management server. Its management ports are [`management`]'s, the port of each recorder is
//! [`recorder`]'s. Both know tokens by [`Passes`] and where cameras are recorded by [`Recorders`].

mod cache;
mod dial;
mod management;
mod neighbours;
mod passes;
mod recorder;
mod recorders;
mod settings;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use settings::{Doors, FaceSettings, PortSettings, Server};

use self::cache::Cache;
use self::management::Office;
use self::neighbours::Neighbour;
use self::passes::Passes;
use self::recorders::Recorders;
use super::link::Link;
use super::listener::{ACCEPT_PAUSE, BindError, Limits, Offer, Seats, Settings, link};
use super::tls::Certificates;
use crate::cameras::Cameras;

/// First bytes and TLS handshake must have come within this time.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// The type of the record that opens TLS (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// All faces, their ports bound.
#[derive(Debug, Default)]
pub struct Faces {
    bound: Vec<(FaceSettings, Vec<(TcpListener, Door)>)>,
    limits: Limits,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Management,
    /// The place of the recorder among the settings' ports.
    Recorder(usize),
}

/// What connections of one face share that were made under one configuration.
pub(super) struct Face {
    /// What the operator chose.
    pub(super) settings: FaceSettings,
    /// The cameras of the configuration: what is known of their copies, and the policies.
    pub(super) cameras: Arc<Cameras>,
    /// The tokens that passed, under this configuration and those before.
    pub(super) passes: Arc<Passes>,
    /// Where cameras are recorded.
    pub(super) recorders: Recorders,
    /// The tokens that recorders let in, likewise.
    pub(super) grants: Arc<recorder::Grants>,
    /// What was answered last.
    cache: Option<Cache>,
    /// What the management ports know besides.
    office: Arc<Office>,
    /// All faces of the house, and this one among them.
    neighbours: Arc<[Arc<Neighbour>]>,
    own: Arc<Neighbour>,
    /// What TLS is answered with; `None` refuses it.
    certificates: Option<Arc<Certificates>>,
}

impl Face {
    /// The faces whose ports are bound, as a configuration has them. Where it moves one's ports, or has it no more, that one stays as
    /// it was, with the cameras of now.
    fn all(bound: &[FaceSettings], offer: &Offer, before: &[Arc<Face>]) -> Vec<Arc<Face>> {
        let certificates = &offer.settings.certificates;
        let settings = bound.iter().enumerate().map(|(ix, bound)| {
            let mut offered = offer.faces.iter();
            let offered = offered.find(|offered| offered.doors() == bound.doors());
            let known = before.get(ix).map_or(bound, |before| &before.settings);
            offered.unwrap_or(known).clone()
        });
        let settings: Vec<FaceSettings> = settings.collect();
        let neighbours: Arc<[Arc<Neighbour>]> = settings
            .iter()
            .enumerate()
            .map(|(ix, settings)| {
                let known = before.get(ix).map(|before| &*before.own);
                Arc::new(Neighbour::new(settings, certificates.is_some()).after(known))
            })
            .collect();
        let faces = settings.into_iter().zip(neighbours.iter()).enumerate();
        let faces = faces.map(|(ix, (settings, own))| {
            let before = before.get(ix);
            Arc::new(Face {
                cache: settings.kept(),
                recorders: before.map_or_else(Recorders::default, |before| {
                    Recorders::after(&before.recorders, &before.settings, &settings)
                }),
                settings,
                cameras: Arc::clone(&offer.cameras),
                passes: before.map_or_else(Arc::default, |before| Arc::clone(&before.passes)),
                grants: before.map_or_else(Arc::default, |before| Arc::clone(&before.grants)),
                office: before.map_or_else(Arc::default, |before| Arc::clone(&before.office)),
                neighbours: Arc::clone(&neighbours),
                own: Arc::clone(own),
                certificates: certificates.clone(),
            })
        });
        faces.collect()
    }

    /// Keeps true where cameras are recorded; never returns.
    async fn follow(&self) {
        let (settings, cameras) = (&self.settings, &self.cameras);
        self.recorders
            .follow(settings, cameras, self.cache.as_ref())
            .await;
    }
}

impl Faces {
    /// Binds the ports of all faces.
    pub async fn bind(faces: Vec<FaceSettings>, inbound: &Settings) -> Result<Self, BindError> {
        let mut bound = Vec::with_capacity(faces.len());
        for face in faces {
            let management = face.management.iter();
            let management = management.map(|address| (*address, Door::Management));
            let recorders = face.ports.iter().enumerate().flat_map(|(ix, port)| {
                let addresses = port.listen.iter();
                addresses.map(move |address| (*address, Door::Recorder(ix)))
            });
            let mut listeners = Vec::new();
            for (address, door) in management.chain(recorders) {
                let listener = TcpListener::bind(address).await;
                let listener = listener.map_err(|source| BindError { address, source })?;
                listeners.push((listener, door));
            }
            tracing::info!(server = %face.primary.server.server(), management = ?face.management, recorders = face.ports.len(), "in front of XProtect");
            bound.push((face, listeners));
        }
        Ok(Faces {
            bound,
            limits: inbound.limits,
        })
    }

    /// Serves by the newest of `offers`, each connection by that of its beginning, until `shutdown` turns true; then lets connections
    /// go on for [`Limits::drain`].
    pub async fn serve(self, mut offers: watch::Receiver<Offer>, shutdown: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let seats = Arc::new(Seats::new(self.limits));
        let (bound, listeners): (Vec<_>, Vec<_>) = self.bound.into_iter().unzip();
        let faces = Face::all(&bound, &offers.borrow_and_update(), &[]);
        let newest: Vec<watch::Sender<Arc<Face>>> = faces
            .into_iter()
            .map(|face| watch::channel(face).0)
            .collect();
        for (newest, listeners) in newest.iter().zip(listeners) {
            tasks.spawn(follow(newest.subscribe(), shutdown.clone()));
            for (listener, door) in listeners {
                let hall = Hall {
                    newest: newest.subscribe(),
                    seats: Arc::clone(&seats),
                    drain: self.limits.drain,
                };
                tasks.spawn(hall.accept(listener, door, shutdown.clone()));
            }
        }
        let renewing = async {
            while offers.changed().await.is_ok() {
                let before: Vec<Arc<Face>> =
                    newest.iter().map(|face| face.borrow().clone()).collect();
                let faces = Face::all(&bound, &offers.borrow_and_update(), &before);
                for (newest, face) in newest.iter().zip(faces) {
                    newest.send_replace(face);
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = renewing => {}
        }
    }
}

/// Keeps true where the cameras of the newest face are recorded.
async fn follow(mut newest: watch::Receiver<Arc<Face>>, mut shutdown: watch::Receiver<bool>) {
    loop {
        let face = newest.borrow_and_update().clone();
        tokio::select! {
            () = face.follow() => {}
            changed = newest.changed() => if changed.is_err() {
                return;
            },
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}

/// What one port needs.
struct Hall {
    newest: watch::Receiver<Arc<Face>>,
    seats: Arc<Seats>,
    drain: Duration,
}

impl Hall {
    async fn accept(self, listener: TcpListener, door: Door, mut shutdown: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = shutdown.wait_for(|down| *down) => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = self.seats.take(connections.len(), peer) else {
                continue;
            };
            if let Some(link) = link(stream, peer, seat) {
                let face = self.newest.borrow().clone();
                connections.spawn(welcome(link, peer, door, face, shutdown.clone()));
            }
        }
        let drained = tokio::time::timeout(self.drain, async {
            while connections.join_next().await.is_some() {}
        });
        let _ = drained.await;
    }
}

/// Opens TLS where the client does, and serves the connection to its end.
async fn welcome(
    link: Link,
    peer: SocketAddr,
    door: Door,
    face: Arc<Face>,
    mut shutdown: watch::Receiver<bool>,
) {
    let certificates = face.certificates.as_deref();
    let met = tokio::time::timeout(GREETING_MAX, opened(link, certificates));
    let link = tokio::select! {
        met = met => match met {
            Ok(Ok(link)) => link,
            Ok(Err(why)) => {
                tracing::debug!(%peer, %why, "connection closed");
                return;
            }
            Err(_) => {
                tracing::info!(%peer, "connection closed: said nothing within {GREETING_MAX:?}");
                return;
            }
        },
        _ = shutdown.wait_for(|down| *down) => return,
    };
    match door {
        Door::Management => management::serve(link, face, shutdown).await,
        Door::Recorder(ix) => recorder::serve(link, face, ix, shutdown).await,
    }
}

/// The connection behind its TLS handshake, if there is one; its first bytes are there to be read again.
async fn opened(mut link: Link, certificates: Option<&Certificates>) -> io::Result<Link> {
    let mut first = BytesMut::new();
    if link.read_buf(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let seals = first.first() == Some(&TLS_HANDSHAKE);
    link.unread(first);
    if !seals {
        return Ok(link);
    }
    let certificates = certificates.ok_or_else(|| io::Error::other("TLS without a certificate"))?;
    link.seal(certificates.config()).await
}
