//! The port of a recorder: whatever is said there is passed on to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::super::link::Link;
use super::Face;

/// A recorder that does not answer sooner is not there.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Serves a connection to the recorder with this place among the ports, to its end.
pub(super) async fn serve(
    mut link: Link,
    face: Arc<Face>,
    port: usize,
    mut shutdown: watch::Receiver<bool>,
) {
    let peer = link.peer();
    let Some(recorder) = face.recorders.port(port) else {
        tracing::info!(%peer, port, "connection closed: it is not known where this recorder is");
        return;
    };
    let host = recorder.address.host_str().unwrap_or_default();
    let port = recorder.address.port_or_known_default().unwrap_or_default();
    let connect = tokio::time::timeout(CONNECT_MAX, TcpStream::connect((host, port)));
    let mut there = match connect.await {
        Ok(Ok(there)) => there,
        failed => {
            tracing::warn!(%peer, recorder = %recorder.name, site = %face.settings.primary.site, ?failed, "recorder not reached");
            return;
        }
    };
    let passed = tokio::io::copy_bidirectional(&mut link, &mut there);
    tokio::select! {
        passed = passed => tracing::debug!(%peer, ?passed, "recorder's connection ended"),
        _ = shutdown.wait_for(|down| *down) => {}
    }
}
