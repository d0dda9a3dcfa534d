//! What the end-to-end tests share: recorders and players that this project did not write, and judges of what arrived.
//!
//! Nothing here uses the house's own crates: a mistake in one of them must not hide in the test as well.

pub mod authority;
pub mod browser;
pub mod clock;
pub mod curl;
pub mod footage;
pub mod imageserver;
pub mod liar;
pub mod onvif;
pub mod pair;
pub mod player;
pub mod playlists;
pub mod probe;
pub mod program;
pub mod recorder;
pub mod report;
pub mod rtsp;
pub mod seamline;
pub mod stream;
pub mod vendor;
pub mod web;
pub mod xprotect;
