//! What all connections of a port share.

use std::sync::Arc;

use super::tls::Certificates;
use crate::cameras::Cameras;

/// What all connections of a port share.
pub(super) struct Hall {
    pub(super) cameras: Arc<Cameras>,
    /// What TLS is answered with; without it TLS is refused.
    pub(super) certificates: Option<Arc<Certificates>>,
}
