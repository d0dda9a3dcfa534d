//! What all connections of a port share.

use std::sync::Arc;

use super::http::Tunnels;
use super::tls::Certificates;
use crate::cameras::Cameras;

/// What all connections of a port share.
pub(super) struct Hall {
    pub(super) cameras: Arc<Cameras>,
    /// What TLS is answered with; without it TLS is refused.
    pub(super) certificates: Option<Arc<Certificates>>,
    /// RTSP over HTTP, also half of it.
    pub(super) tunnels: Tunnels,
}
