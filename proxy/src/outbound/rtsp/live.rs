//! Legs of what a camera sees now: a site's live stream, dated by our clock.
//!
//! Cameras' and recorders' own clocks differ between sites, and a step between them would be missing or repeated footage at a
//! failover. One clock for all of them is off by the way that the pictures took, which is short.

use seamline_probes::MediaSource;
use seamline_routing::director::Failure;
use seamline_rtsp::client::PlayRequest;

use super::RtspLeg;
use super::open::{Place, start};
use crate::outbound::{LegFailure, Order};

/// Opens the live stream of a copy, where its recorder has one by a URL that is known.
pub(super) async fn open(source: &MediaSource, order: Order) -> Result<RtspLeg, LegFailure> {
    let (url, credentials, tls) = match source {
        MediaSource::RtspByUrl(source) => (
            source.live_url(&order.remote),
            source.credentials(),
            source.tls(),
        ),
        MediaSource::Rtsp(source) => (
            source.live_url(&order.remote),
            source.credentials(),
            source.tls(),
        ),
        MediaSource::RtspOnRequest(_)
        | MediaSource::Archive(_)
        | MediaSource::Clips(_)
        | MediaSource::XProtect(_)
        | MediaSource::None => (None, None, None),
    };
    let Some(url) = url else {
        let detail = "no live URL is known of its recorder";
        return Err(LegFailure::new(Failure::Mismatch, detail));
    };
    let place = Place {
        url,
        credentials: credentials.cloned(),
        tls: tls.cloned(),
        onvif: false,
        // No range: now is where live streams begin.
        play: PlayRequest::default(),
        by_url: None,
    };
    start(place, order).await.map_err(|refused| refused.failure)
}
