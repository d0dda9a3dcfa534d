//! Towards clients: one port, told apart by first bytes, and one folder a protocol that they speak.

mod bodies;
mod greet;
mod hall;
mod http;
mod link;
mod listener;
mod rtsp;
mod sniff;
mod tls;
mod xprotect;

pub use http::{Cors, HttpSettings, Rule, Target};
pub use listener::{BindError, Limits, Listener, Offer, Settings};
pub use rtsp::UdpSettings;
pub use rtsp::{Alias, Dialects};
pub(crate) use rtsp::{is_reserved, vendors};
pub use tls::{Certificates, TlsError};
pub use xprotect::{Doors, FaceSettings, Faces, PortSettings, Server};
