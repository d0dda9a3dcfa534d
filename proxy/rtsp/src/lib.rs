//! RTSP 1.0 as a pure machine: bytes in, bytes out, never a socket or a clock.
//!
//! [`Framer`] cuts a TCP byte stream into interleaved frames, requests and responses, leniently and within limits.
//! [`headers`] gives the typed values that replay needs. [`auth`] checks clients' digests and answers recorders'
//! challenges. [`client::ReplayClient`] drives one replay session at a recorder.

pub mod auth;
pub mod client;
pub mod frame;
pub mod headers;
pub mod message;
pub mod sdp;
pub mod url;

pub use frame::{FrameError, Framer, Incoming};
pub use message::{Headers, Method, Request, Response};
pub use url::RtspUrl;
