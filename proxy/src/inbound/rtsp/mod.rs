//! The RTSP face: clients connect, ask for a camera and a time, and see one recorder.

mod carrier;
mod connection;
mod dialect;
mod live;
mod pipeline;
mod play;
mod players;
mod session;
mod sessions;
mod target;
mod udp;
mod wire;

pub(crate) use dialect::vendors;
pub use dialect::{Alias, Dialects};
use std::sync::Arc;
pub(crate) use target::is_reserved;

use tokio::sync::watch;

use connection::Connection;
pub(super) use sessions::Sessions;
pub use udp::UdpSettings;
pub(super) use wire::Wire;

use super::hall::Hall;

/// Serves one client to its end.
pub(super) async fn serve(wire: Wire, hall: &Arc<Hall>, shutdown: watch::Receiver<bool>) {
    Connection::new(wire, hall).serve(shutdown).await;
}
