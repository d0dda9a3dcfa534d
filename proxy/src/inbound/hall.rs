//! What all connections of a port share.

use std::sync::Arc;

use super::http::{Service, Tunnels};
use super::rtsp::{Sessions, UdpSettings};
use super::tls::Certificates;
use crate::cameras::Cameras;

/// What all connections of a port share.
pub(super) struct Hall {
    pub(super) cameras: Arc<Cameras>,
    /// What TLS is answered with; without it TLS is refused.
    pub(super) certificates: Option<Arc<Certificates>>,
    /// RTSP over HTTP, also half of it.
    pub(super) tunnels: Tunnels,
    /// HTTP that carries no RTSP.
    pub(super) service: Service,
    /// Whether that is switched off.
    pub(super) http_refused: bool,
    /// Whether media goes over UDP, and from where.
    pub(super) udp: UdpSettings,
    /// Sessions over UDP, with or without a connection.
    pub(super) sessions: Sessions,
}
