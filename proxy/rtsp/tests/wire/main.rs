//! The crate from outside: golden bytes, round trips, hostile bytes and scripted recorders.

mod digest;
mod framing;
mod headers;
mod hostile;
mod ranges;
mod replay;
mod sdp;
mod urls;
