//! What all connections of a port share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::http::{Service, Tunnels};
use super::listener::Offer;
use super::rtsp::{Sessions, UdpSettings};
use super::tls::Certificates;
use crate::cameras::Cameras;

/// What all connections of a port share.
pub(super) struct Hall {
    pub(super) cameras: Arc<Cameras>,
    /// Those of the newest hall: who may come in is known there.
    pub(super) newest: Arc<ArcSwap<Cameras>>,
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

impl Hall {
    pub(super) fn new(offer: &Offer) -> Self {
        Hall::with(
            offer,
            Service::new(offer),
            Tunnels::default(),
            Sessions::default(),
            Arc::new(ArcSwap::from(Arc::clone(&offer.cameras))),
        )
    }

    /// The hall of connections to come. Those that are open keep the one that they came into, and find each other in both.
    pub(super) fn renewed(&self, offer: &Offer) -> Self {
        self.service.renew(offer);
        self.newest.store(Arc::clone(&offer.cameras));
        let (service, tunnels) = (self.service.clone(), self.tunnels.clone());
        let (sessions, newest) = (self.sessions.clone(), Arc::clone(&self.newest));
        Hall::with(offer, service, tunnels, sessions, newest)
    }

    fn with(
        offer: &Offer,
        service: Service,
        tunnels: Tunnels,
        sessions: Sessions,
        newest: Arc<ArcSwap<Cameras>>,
    ) -> Self {
        let Offer {
            cameras, settings, ..
        } = offer;
        Hall {
            cameras: Arc::clone(cameras),
            newest,
            certificates: settings.certificates.clone(),
            tunnels,
            service,
            http_refused: settings.http.refused,
            udp: settings.udp.clone(),
            sessions,
        }
    }
}
