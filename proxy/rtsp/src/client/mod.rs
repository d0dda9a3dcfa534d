//! One replay session at a recorder, without I/O: what to ask, what it may answer, what that means.

mod machine;

pub use machine::{KEEP_ALIVE_S_MAX, REDIRECTS_MAX, ReplayClient};

use crate::auth::client::Denial;
use crate::headers::{Frames, Range, RateControl, Scale, Speed};
use crate::message::Method;
use crate::sdp::{Description, SdpError};
use crate::url::{Credentials, RtspUrl};

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The copy's URL at the recorder.
    pub url: RtspUrl,
    /// The recorder's credentials.
    pub credentials: Option<Credentials>,
    /// Whether they may be sent in clear when the recorder offers nothing better.
    pub allow_basic: bool,
    /// Whether to demand ONVIF replay. Without the demand some recorders answer 200 and play live; with it, those
    /// that do not know it answer 551 and are asked again without.
    pub onvif: bool,
    /// Which tracks to set up.
    pub tracks: TrackChoice,
    /// What to play as soon as the tracks are set up; `None` waits for [`ReplayClient::play`].
    pub play: Option<PlayRequest>,
    /// The `User-Agent`.
    pub user_agent: String,
}

impl Config {
    /// A session on `url` that demands ONVIF replay, sets up every track and waits to be told what to play.
    pub fn new(url: RtspUrl) -> Self {
        Self {
            url,
            credentials: None,
            allow_basic: false,
            onvif: true,
            tracks: TrackChoice::All,
            play: None,
            user_agent: concat!("seamline/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Which tracks to set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackChoice {
    /// Every track of the description.
    #[default]
    All,
    /// Those that the owner names in [`ReplayClient::set_up`] after [`ClientEvent::Described`].
    Named,
}

/// What a PLAY asks; every `None` leaves its header out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlayRequest {
    /// The stretch to play.
    pub range: Option<Range>,
    /// Direction and rate.
    pub scale: Option<Scale>,
    /// Delivery rate.
    pub speed: Option<Speed>,
    /// Who paces.
    pub rate_control: Option<RateControl>,
    /// Which frames.
    pub frames: Option<Frames>,
    /// Whether to replace what is playing.
    pub immediate: bool,
}

/// Where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// DESCRIBE is out.
    Describing,
    /// The owner is to name tracks.
    Described,
    /// SETUPs are out.
    SettingUp,
    /// Nothing plays; the owner may ask to.
    Ready,
    /// PLAY is out: frames that arrive now already belong to it.
    Starting,
    /// The recorder has agreed to play.
    Playing,
    /// TEARDOWN is out.
    Closing,
    /// The session is over.
    Closed,
    /// A [`ClientError`] ended it.
    Failed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// The recorder described the copy.
    Described(Description),
    /// It refused one track with this status; the others go on.
    TrackRefused {
        /// Index in the description.
        track: usize,
        /// The refusal.
        status: u16,
    },
    /// Every track that will be there is set up.
    Ready,
    /// The recorder agreed to play.
    Playing(Playing),
    /// It agreed to pause.
    Paused,
    /// It announced that there is no more footage.
    EndOfStream,
    /// It sent a request of its own, which was answered.
    ServerRequest(Method),
    /// It confirmed the end of the session.
    Closed,
}

/// The recorder's answer to PLAY. What it plays is to be checked on its frames: answers may echo the question.
#[derive(Clone, Debug, PartialEq)]
pub struct Playing {
    /// The `CSeq` of the PLAY; its low byte marks the packets that belong to it.
    pub cseq: u32,
    /// The stretch it says it plays.
    pub range: Option<Range>,
    /// The scale it says it plays at.
    pub scale: Option<Scale>,
    /// Who it says paces.
    pub rate_control: Option<RateControl>,
    /// Whether it accepted the demand for ONVIF replay.
    pub onvif: bool,
    /// Where it says each track starts, for those tracks it names.
    pub starts: Vec<TrackStart>,
}

/// One track's entry of `RTP-Info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackStart {
    /// Index in the description.
    pub track: usize,
    /// First sequence number.
    pub seq: Option<u16>,
    /// RTP timestamp of the start of [`Playing::range`].
    pub rtptime: Option<u32>,
}

/// A track that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUpTrack {
    /// Index in the description.
    pub track: usize,
    /// Channel of its RTP.
    pub rtp_channel: u8,
    /// Channel of its RTCP.
    pub rtcp_channel: u8,
    /// The URL it was set up with.
    pub url: RtspUrl,
}

/// Why the session is over; each variant is another decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Do not ask again with these credentials for minutes.
    #[error("unauthorized: {0}")]
    Unauthorized(#[from] Denial),
    /// The recorder does not know this copy (404, 410).
    #[error("the recorder does not know this URL")]
    NotFound,
    /// It has no session or bandwidth left (453, 503): back off, use another copy.
    #[error("the recorder is busy ({status})")]
    Busy {
        /// 453 or 503.
        status: u16,
    },
    /// It holds nothing there (457).
    #[error("the recorder holds nothing in this range")]
    Range,
    /// It cannot do what was asked (461, 501, 505, 551).
    #[error("the recorder does not support this ({status})")]
    Unsupported {
        /// The refusal.
        status: u16,
    },
    /// It forgot the session (454): open another and go on where this one stopped.
    #[error("the recorder forgot the session")]
    SessionLost,
    /// It sends us elsewhere: the owner decides whether that place belongs to the site.
    #[error("the recorder redirects{}", .location.as_ref().map(|url| format!(" to {url}")).unwrap_or_default())]
    Redirect {
        /// Where to.
        location: Option<RtspUrl>,
    },
    /// Any other refusal.
    #[error("the recorder answers {0}")]
    Status(u16),
    /// It breaks the protocol.
    #[error("the recorder breaks the protocol: {0}")]
    Protocol(&'static str),
    /// Its description cannot be used.
    #[error("unusable description: {0}")]
    Description(#[from] SdpError),
}

impl ClientError {
    /// The decision a final status asks for.
    pub fn from_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized(Denial::Refused),
            403 => Self::Unauthorized(Denial::Forbidden),
            404 | 410 => Self::NotFound,
            453 | 503 => Self::Busy { status },
            454 => Self::SessionLost,
            457 => Self::Range,
            461 | 501 | 505 | 551 => Self::Unsupported { status },
            _ => Self::Status(status),
        }
    }
}
