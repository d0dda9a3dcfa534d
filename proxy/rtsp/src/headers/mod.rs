//! The typed values of the headers that replay needs: read leniently, written canonically.

mod clock;
mod range;
mod replay;
mod rtp_info;
mod session;
mod transport;

pub use clock::ClockTime;
pub use range::{NptTime, Range};
pub use replay::{FACTOR_MAX, Frames, RateControl, Scale, Speed};
pub use rtp_info::{RTP_INFOS_MAX, RtpInfo};
pub use session::{SESSION_ID_BYTES_MAX, SESSION_TIMEOUT_S, Session};
pub use transport::{Lower, TRANSPORTS_MAX, Transport};

use crate::message::Headers;

/// The option tag of ONVIF replay.
pub const ONVIF_REPLAY: &str = "onvif-replay";

/// Why a header's value cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The value of this header cannot be read.
    #[error("malformed {0} header")]
    Malformed(&'static str),
    /// A `Range` in a unit other than clock and npt.
    #[error("range unit not supported")]
    RangeUnit,
}

impl HeaderError {
    /// The status to answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::RangeUnit => 501,
        }
    }
}

/// Typed access; `Ok(None)` means that the header is absent.
impl Headers {
    /// `Range`.
    pub fn range(&self) -> Result<Option<Range>, HeaderError> {
        self.get("Range").map(Range::parse).transpose()
    }

    /// `Scale`.
    pub fn scale(&self) -> Result<Option<Scale>, HeaderError> {
        self.get("Scale").map(Scale::parse).transpose()
    }

    /// `Speed`.
    pub fn speed(&self) -> Result<Option<Speed>, HeaderError> {
        self.get("Speed").map(Speed::parse).transpose()
    }

    /// `Rate-Control` of ONVIF replay.
    pub fn rate_control(&self) -> Result<Option<RateControl>, HeaderError> {
        self.get("Rate-Control").map(RateControl::parse).transpose()
    }

    /// `Frames` of ONVIF replay.
    pub fn frames(&self) -> Result<Option<Frames>, HeaderError> {
        self.get("Frames").map(Frames::parse).transpose()
    }

    /// `Immediate` of ONVIF replay: whether a new PLAY replaces the running one; anything but `yes` is no.
    pub fn immediate(&self) -> Option<bool> {
        self.get("Immediate")
            .map(|value| value.trim().eq_ignore_ascii_case("yes"))
    }

    /// `Session`, without what a client repeats behind the id.
    pub fn session(&self) -> Result<Option<Session>, HeaderError> {
        self.get("Session").map(Session::parse).transpose()
    }

    /// The readable alternatives of every `Transport`, best first; empty when none is.
    pub fn transports(&self) -> Vec<Transport> {
        self.get_all("Transport")
            .flat_map(Transport::parse_list)
            .take(TRANSPORTS_MAX)
            .collect()
    }

    /// The entries of every `RTP-Info`, in order.
    pub fn rtp_info(&self) -> Vec<RtpInfo> {
        self.get_all("RTP-Info")
            .flat_map(RtpInfo::parse_list)
            .take(RTP_INFOS_MAX)
            .collect()
    }

    /// The option tags of every `Require`.
    pub fn require(&self) -> impl Iterator<Item = &str> {
        self.tags("Require")
    }

    /// The option tags of every `Proxy-Require`.
    pub fn proxy_require(&self) -> impl Iterator<Item = &str> {
        self.tags("Proxy-Require")
    }

    fn tags(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.get_all(name)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
    }

    /// Whether `Require` names ONVIF replay.
    pub fn requires_onvif_replay(&self) -> bool {
        self.require()
            .any(|tag| tag.eq_ignore_ascii_case(ONVIF_REPLAY))
    }
}
