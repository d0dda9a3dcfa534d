//! Clients of XProtect: a management server and its recorders, each as it is seen here.
//!
//! One [`Face`] stands in front of one management server. Its management ports are [`management`]'s, the port of each recorder is
//! [`recorder`]'s. Both know tokens by [`Passes`] and where cameras are recorded by [`Recorders`].

mod bodies;
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

pub use settings::{FaceSettings, PortSettings, Server};

use self::cache::Cache;
use self::management::Office;
use self::neighbours::Neighbour;
use self::passes::Passes;
use self::recorders::Recorders;
use super::link::Link;
use super::listener::{ACCEPT_PAUSE, BindError, Limits, Seats, Settings, link};
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
    certificates: Option<Arc<Certificates>>,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Management,
    /// The place of the recorder among the settings' ports.
    Recorder(usize),
}

/// What all connections of one face share.
pub(super) struct Face {
    /// What the operator chose.
    pub(super) settings: FaceSettings,
    /// The cameras of the configuration: what is known of their copies, and the policies.
    pub(super) cameras: Arc<Cameras>,
    /// The tokens that passed.
    pub(super) passes: Passes,
    /// Where cameras are recorded.
    pub(super) recorders: Recorders,
    /// The tokens that recorders let in.
    pub(super) grants: recorder::Grants,
    /// What was answered last.
    cache: Option<Cache>,
    /// What the management ports know besides.
    office: Office,
    /// All faces of the house, and this one among them.
    neighbours: Arc<[Arc<Neighbour>]>,
    own: Arc<Neighbour>,
    /// Whether there is a certificate.
    has_tls: bool,
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
            certificates: inbound.certificates.clone(),
        })
    }

    /// Serves until `shutdown` turns true; then lets connections go on for [`Limits::drain`].
    pub async fn serve(self, cameras: Arc<Cameras>, shutdown: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let seats = Arc::new(Seats::new(self.limits));
        let has_tls = self.certificates.is_some();
        let neighbours: Arc<[Arc<Neighbour>]> = self
            .bound
            .iter()
            .map(|(settings, _)| Arc::new(Neighbour::new(settings, has_tls)))
            .collect();
        for ((settings, listeners), own) in self.bound.into_iter().zip(neighbours.iter()) {
            let origin = passes::origin_of(&settings.primary.server);
            let cache = settings.cache.as_ref().and_then(|folder| {
                let cache = Cache::open(folder, &origin);
                if let Err(error) = &cache {
                    tracing::warn!(folder = %folder.display(), %error, "nobody gets in while the primary is down");
                }
                cache.ok()
            });
            let face = Arc::new(Face {
                settings,
                cameras: Arc::clone(&cameras),
                passes: Passes::default(),
                recorders: Recorders::default(),
                grants: recorder::Grants::default(),
                cache,
                office: Office::default(),
                neighbours: Arc::clone(&neighbours),
                own: Arc::clone(own),
                has_tls,
            });
            let (follower, mut asked) = (Arc::clone(&face), shutdown.clone());
            tasks.spawn(async move {
                let Face {
                    settings, cameras, ..
                } = &*follower;
                let follow = follower
                    .recorders
                    .follow(settings, cameras, follower.cache.as_ref());
                tokio::select! {
                    () = follow => {}
                    _ = asked.wait_for(|down| *down) => {}
                }
            });
            for (listener, door) in listeners {
                let hall = Hall {
                    face: Arc::clone(&face),
                    seats: Arc::clone(&seats),
                    certificates: self.certificates.clone(),
                    drain: self.limits.drain,
                };
                tasks.spawn(hall.accept(listener, door, shutdown.clone()));
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// What one port needs.
struct Hall {
    face: Arc<Face>,
    seats: Arc<Seats>,
    certificates: Option<Arc<Certificates>>,
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
                let (face, certificates) = (Arc::clone(&self.face), self.certificates.clone());
                connections.spawn(welcome(
                    link,
                    peer,
                    door,
                    face,
                    certificates,
                    shutdown.clone(),
                ));
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
    certificates: Option<Arc<Certificates>>,
    mut shutdown: watch::Receiver<bool>,
) {
    let met = tokio::time::timeout(GREETING_MAX, opened(link, certificates.as_deref()));
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
