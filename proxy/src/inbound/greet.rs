//! Finds out what a new connection speaks, within a deadline, and hands it to who speaks it.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::hall::Hall;
use super::http::{self, Head, HeadError};
use super::link::Link;
use super::rtsp::{self, Wire};
use super::sniff::{Spoken, sniff};

/// First bytes, TLS handshake and the head of an HTTP request must all have come within this time.
const GREETING_MAX: Duration = Duration::from_secs(10);

/// What a connection turned out to be.
enum Guest {
    Rtsp(Link),
    Http(Link, Head),
}

/// Why a connection was turned away.
#[derive(Debug, Error)]
enum Rebuff {
    #[error("said nothing within {GREETING_MAX:?}")]
    Late,
    #[error("closed before it said what it speaks")]
    Gone,
    #[error("TLS, which is not configured here")]
    NoTls,
    #[error("TLS inside TLS")]
    TlsTwice,
    #[error(transparent)]
    Http(#[from] HeadError),
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a connection to its end.
pub(super) async fn greet(link: Link, hall: Arc<Hall>, shutdown: watch::Receiver<bool>) {
    let peer = link.peer();
    let mut down = shutdown.clone();
    let guest = tokio::select! {
        guest = tokio::time::timeout(GREETING_MAX, meet(link, &hall)) => guest.unwrap_or(Err(Rebuff::Late)),
        _ = down.wait_for(|down| *down) => return,
    };
    match guest {
        Ok(Guest::Rtsp(link)) => rtsp::serve(Wire::Direct(link), &hall, shutdown).await,
        Ok(Guest::Http(link, head)) => {
            let wire = http::receive(link, head, &hall, shutdown.clone()).await;
            if let Some(wire) = wire {
                rtsp::serve(wire, &hall, shutdown).await;
            }
        }
        Err(why @ (Rebuff::Gone | Rebuff::Io(_))) => {
            tracing::debug!(%peer, %why, "connection closed");
        }
        Err(why) => tracing::info!(%peer, %why, "connection closed"),
    }
}

async fn meet(mut link: Link, hall: &Hall) -> Result<Guest, Rebuff> {
    loop {
        match spoken(&mut link).await? {
            Spoken::Rtsp => return Ok(Guest::Rtsp(link)),
            Spoken::Tls if link.is_sealed() => return Err(Rebuff::TlsTwice),
            Spoken::Tls => {
                let certificates = hall.certificates.as_ref().ok_or(Rebuff::NoTls)?;
                let sealed = link.seal(certificates.config()).await;
                link = sealed.map_err(Rebuff::Handshake)?;
            }
            Spoken::Http => {
                return match Head::read(&mut link).await {
                    Ok(head) => Ok(Guest::Http(link, head)),
                    Err(error) => {
                        http::refuse_head(link, error).await;
                        Err(error.into())
                    }
                };
            }
        }
    }
}

/// Reads until it is clear what is spoken, and gives all of it back.
async fn spoken(link: &mut Link) -> Result<Spoken, Rebuff> {
    let mut first = BytesMut::new();
    loop {
        if link.read_buf(&mut first).await.map_err(gone)? == 0 {
            return Err(Rebuff::Gone);
        }
        if let Some(spoken) = sniff(&first) {
            link.unread(first);
            return Ok(spoken);
        }
    }
}

fn gone(error: io::Error) -> Rebuff {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Rebuff::Gone,
        _ => Rebuff::Io(error),
    }
}
