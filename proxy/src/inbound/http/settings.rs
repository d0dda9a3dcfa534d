//! What operators may choose of HTTP.

use std::time::Duration;

use super::passthrough::Rule;
use crate::spool::SpoolSettings;
use axum::http::{HeaderName, HeaderValue, Method};
use hyper::header;
use tower_http::cors::{AllowOrigin, CorsLayer, ExposeHeaders};

/// Browsers may keep the answer to a preflight this long.
const PREFLIGHT_TTL: Duration = Duration::from_secs(600);

/// What operators may choose of HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// Nothing but tunnels and WebSockets of RTSP is served.
    pub refused: bool,
    /// Which web pages of other hosts may read answers.
    pub cors: Cors,
    /// Paths that are relayed to recorders' own services.
    pub passthrough: Vec<Rule>,
    /// Where clips lie while they are downloaded.
    pub spool: SpoolSettings,
    /// `X-Forwarded-Proto` and `X-Forwarded-Host` are believed: a proxy of our own stands in front.
    pub trust_forwarded: bool,
}

/// Which web pages of other hosts may read answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// None.
    #[default]
    Nobody,
    /// All, but with nobody's credentials.
    Anybody,
    /// Those of these origins, such as `https://wall.example.org`, with their users' credentials.
    Origins(Vec<HeaderValue>),
}

impl Cors {
    /// As a layer in front of all routes; it answers preflights by itself.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        let layer = match self {
            Cors::Nobody => return None,
            Cors::Anybody => CorsLayer::new().allow_origin(AllowOrigin::any()),
            Cors::Origins(origins) => CorsLayer::new()
                .allow_origin(AllowOrigin::list(origins.iter().cloned()))
                .allow_credentials(true),
        };
        let layer = layer
            .allow_methods([Method::GET, Method::HEAD, Method::OPTIONS])
            .allow_headers([
                header::ACCEPT,
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                header::IF_RANGE,
                header::RANGE,
            ])
            .expose_headers(ExposeHeaders::list(EXPOSED))
            .max_age(PREFLIGHT_TTL);
        Some(layer)
    }
}

/// What pages may read besides what they always may.
const EXPOSED: [HeaderName; 9] = [
    header::ACCEPT_RANGES,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LINK,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    header::LOCATION,
];
