//! Towards clients: one folder a protocol that they speak.

pub mod rtsp;
