//! Finds out what each recorder holds and whether it lives.
//!
//! [`kinds::build`] makes a [`Recorder`] of its configuration; a [`RecorderClient`] asks it with a
//! deadline, a limit and a breaker; the [`Index`] keeps the answers so that playbacks read them
//! without asking; a [`Watch`] keeps the index fresh.

pub mod archive;
pub mod axis;
mod build_error;
pub mod clips;
pub mod clock;
pub mod dahua;
pub mod files;
pub mod health;
pub mod hikvision;
pub mod hls;
mod http;
pub mod index;
pub mod kinds;
mod listing;
mod login;
pub mod mediamtx;
pub mod nx;
pub mod onvif;
pub mod pairing;
pub mod recorder;
pub mod replay;
pub mod rtsp;
pub mod seamline;
pub mod service;
mod service_config;
pub mod sounding;
mod stream;
#[cfg(test)]
mod testing;
pub mod watch;
pub mod xprotect;
pub mod zone;

use seamline_xml as xml;

pub use build_error::BuildError;
pub use clips::{Clip, Clips, Dating, Found};
pub use clock::Clock;
pub use health::RecorderHealth;
pub use http::{Body, HttpConfig, Relay, RelayBody, RelayError, RelayHead, StreamBody};
pub use index::{Changes, Facts, Index, Lesson, Slot, UnknownRecorder};
pub use kinds::RecorderConfig;
pub use login::Secret;
pub use recorder::{
    Answer, ClockOffset, CoverageQuery, FormatSpan, MediaSource, ProbeError, Recorder,
    RemoteCamera, ReplayAddresses,
};
pub use service::{ClientOptions, RecorderClient, hedged};
pub use stream::Stream;
pub use watch::{Watch, WatchOptions};
pub use zone::Zone;
