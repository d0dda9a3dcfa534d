//! The RTSP face: clients connect, ask for a camera and a time, and see one recorder.

mod connection;
mod listener;
mod live;
mod play;
mod session;
mod target;

pub use listener::{Limits, Listener};
