//! The playback proxy as a library; `main.rs` is the program.
//!
//! The way of a PLAY: [`inbound`] reads it, [`playback`] asks the coverage index and the director, [`outbound`] opens
//! legs, and what they deliver is spliced into the client's stream.

pub mod access;
pub mod cameras;
mod chart;
pub mod cli;
pub mod clock;
pub mod clocks;
pub mod config;
mod demo;
pub mod evidence;
pub mod house;
pub mod inbound;
pub mod journal;
pub mod outbound;
pub mod playback;
pub mod playing;
pub mod soundings;
pub mod spool;
pub mod still;
