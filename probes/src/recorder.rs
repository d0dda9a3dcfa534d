//! What every kind of recorder can be asked.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use seamline_routing::{Coverage, FailureKind, TimeRange};
use seamline_rtsp::sdp::Description;

use crate::{archive::Folders, clips::Clips, replay::ByUrl, rtsp::RtspSource};

/// What a question comes to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProbeError>> + Send + 'a>>;

/// A server that holds recordings. Answers one question at a time and remembers nothing: deadlines,
/// limits and the breaker are [`crate::RecorderClient`]'s.
pub trait Recorder: Send + Sync {
    /// Whether [`Recorder::coverage`] can answer. What a recorder that cannot list holds is learned
    /// by playing from it.
    fn lists_coverage(&self) -> bool;

    /// What it holds of a camera, on its own clock. Everything outside what it could tell is
    /// unknown in the answer.
    fn coverage(&self, query: CoverageQuery) -> Answer<'_, Coverage>;

    /// Whether it answers at all.
    fn ping(&self) -> Answer<'_, ()>;

    /// The tracks it plays for a camera.
    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description>;

    /// How footage is fetched from it.
    fn media(&self) -> MediaSource;

    /// Whether its listings show where nothing was recorded. What is unknown at one that shows no gaps is found out by
    /// playing, as at one that lists nothing.
    fn shows_gaps(&self) -> bool {
        self.lists_coverage()
    }

    /// How long a listing may take, waiting for its turn included; `None` for as long as any other question.
    fn listing_patience(&self) -> Option<Duration> {
        None
    }

    /// The Seamlines that its footage of a camera comes from, as far as they are known.
    fn behind(&self, _remote: &str) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// The formats in which it holds a camera's pictures, as far as it told with its listings, on its own clock.
    fn formats(&self, _remote: &str) -> Arc<[FormatSpan]> {
        Arc::default()
    }

    /// How far its clock is ahead of ours; `None` when this kind cannot be asked.
    fn clock_offset(&self) -> Option<Answer<'_, ClockOffset>> {
        None
    }

    /// The cameras that it has recordings of; `None` when this kind cannot be asked.
    fn inventory(&self) -> Option<Answer<'_, Vec<RemoteCamera>>> {
        None
    }
}

/// A stretch of a recording in one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatSpan {
    /// The encoding of its pictures, as the recorder calls it, such as `H264`.
    pub encoding: Arc<str>,
    /// From when to when.
    pub range: TimeRange,
}

/// How far a recorder's clock is ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// Its clock minus ours, µs.
    pub micros: i64,
    /// How far off `micros` may be, either way.
    pub uncertainty: Duration,
}

/// A camera as a recorder knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteCamera {
    /// What a copy's `remote` is to be.
    pub remote: Arc<str>,
    /// The recorder's name for people.
    pub name: Option<Arc<str>>,
    /// An identity that the camera brings along, so that other recorders may know it too, such as the source id of ONVIF.
    pub source: Option<Arc<str>>,
    /// Where the recorder reaches the camera: a URL, a host or a hardware address.
    pub address: Option<Arc<str>>,
    /// Where it hangs.
    pub location: Option<Arc<str>>,
    /// The format of its pictures, such as `H264 1280x720`.
    pub format: Option<Arc<str>>,
    /// From the first to the last picture.
    pub recorded: Option<TimeRange>,
}

/// What does a recorder hold of a camera?
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CoverageQuery {
    /// The recorder's own name of the camera.
    pub remote: Arc<str>,
    /// The time asked about, on the recorder's clock. Open on either side with
    /// [`TimeRange::ALL`]'s bounds.
    pub window: TimeRange,
}

/// How footage is fetched from a recorder.
#[derive(Debug, Clone)]
pub enum MediaSource {
    /// By reading its files.
    Archive(Arc<Folders>),
    /// By an RTSP replay session.
    Rtsp(Arc<RtspSource>),
    /// By an RTSP replay session at an address that the recorder is asked for.
    RtspOnRequest(Arc<dyn ReplayAddresses>),
    /// By an RTSP session whose URL says the time, or names a recording.
    RtspByUrl(Arc<ByUrl>),
    /// By HTTP, as MP4, a stretch at a time.
    Clips(Arc<dyn Clips>),
    /// By the ImageServer of an XProtect recorder.
    XProtect(Arc<crate::xprotect::Site>),
    /// Not by any protocol of this program: only its listing is used.
    None,
}

/// A recorder that tells where a camera is replayed.
pub trait ReplayAddresses: fmt::Debug + Send + Sync {
    /// Where a camera is replayed: what was told a short while ago, unless `fresh`.
    fn address(&self, remote: Arc<str>, fresh: bool) -> Answer<'_, RtspSource>;
}

/// Why a question has no answer. Each variant calls for another reaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// There is no way to the recorder, or the connection broke.
    #[error("unreachable: {0}")]
    Unreachable(Arc<str>),
    /// It did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Its host answers, but nobody listens.
    #[error("connection refused")]
    Refused,
    /// It does not accept our user name and password: not to be tried again for minutes.
    #[error("credentials not accepted")]
    Credentials,
    /// It lives, and does not have what was asked for.
    #[error("not found")]
    NotFound,
    /// It lives, and has no capacity left.
    #[error("recorder busy")]
    Busy,
    /// Its answer makes no sense.
    #[error("unusable answer: {0}")]
    Protocol(Arc<str>),
    /// It was not asked: it is down, and its next trial is not due.
    #[error("not asked: recorder is down")]
    Resting,
    /// It was not asked: too many questions to it are under way.
    #[error("not asked: too many questions under way")]
    Crowded,
}

impl ProbeError {
    /// An unusable answer, in words for the operator.
    pub(crate) fn protocol(what: impl AsRef<str>) -> Self {
        Self::Protocol(what.as_ref().into())
    }

    /// What a failed connection says about the recorder.
    pub(crate) fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Unreachable(error.to_string().into()),
        }
    }

    /// What it means for the recorder's health: `None` when it lives, or when it was not asked.
    pub fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::Unreachable(_) => Some(FailureKind::Unreachable),
            Self::Timeout => Some(FailureKind::Timeout),
            Self::Refused => Some(FailureKind::Refused),
            Self::Credentials => Some(FailureKind::Credentials),
            Self::Busy => Some(FailureKind::Busy),
            Self::Protocol(_) => Some(FailureKind::Protocol),
            Self::NotFound | Self::Resting | Self::Crowded => None,
        }
    }

    /// Whether the recorder was asked at all.
    pub fn was_asked(&self) -> bool {
        !matches!(self, Self::Resting | Self::Crowded)
    }
}
