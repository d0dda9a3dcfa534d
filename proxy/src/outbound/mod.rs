//! Legs: the units of one copy, from whatever protocol its recorder speaks.

pub mod archive;
pub mod clips;
mod format;
mod on_request;
mod packing;
mod rates;
pub mod rtsp;
pub mod shared;
pub mod xprotect;

pub use format::parameter_sets;
pub use rates::Rates;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use seamline_media::{LegFormat, Unit};
use seamline_probes::rtsp::RtspSource;
use seamline_probes::{MediaSource, ProbeError};
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::policy::Reaction;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;
use seamline_rtsp::sdp::{Mapping, Track, map_tracks};
use tokio::time::timeout;

/// What a playback wants of a leg. Times are in the camera's timeline.
#[derive(Clone, Debug)]
pub struct Order {
    /// The recorder's own name of the camera.
    pub remote: Arc<str>,
    /// The first unit is the random access point at or before this instant.
    pub from: Timestamp,
    /// The copy's clock minus the timeline's clock, µs.
    pub clock_offset_us: i64,
    /// The way of the leg through time. In reverse it delivers [`Arrival::Group`]s of the master track that lie before `from`.
    pub direction: Direction,
    /// Where the client's range ends: a leg may end there.
    pub until: Option<Timestamp>,
    /// What the camera sees now, and not what is recorded.
    pub live: bool,
    /// Where the recording that holds `from` is listed to end, when it is.
    pub recorded_until: Option<Timestamp>,
    /// In reverse: where the recording that lies before `from` is listed to begin, when it is.
    pub recorded_from: Option<Timestamp>,
    /// Footage seconds a second that the client takes, about.
    pub rate: f64,
    /// Which pictures are wanted. A recorder may send more.
    pub frames: Frames,
    /// The client's tracks, in its order; units name them by index.
    pub tracks: Arc<[Track]>,
    /// Which of them the client set up.
    pub wanted: Arc<[bool]>,
    /// The track that seams are cut on: a recorder whose track cannot continue it cannot take over.
    pub master: usize,
    /// The deadlines of connecting and answering.
    pub reaction: Reaction,
    /// Bytes that the kernel holds (twice, by its own count) of what is not read yet.
    pub unread: u32,
}

/// The most that [`Order::unread`] needs to be. The kernel's default would grow to megabytes for each session, most of which would be
/// thrown away at a seam.
pub const UNREAD_BYTES_MAX: u32 = 512 * 1024;

impl Order {
    /// For each of the client's tracks that it set up, the one of a recorder that continues it. Refuses a recorder whose
    /// picture cannot.
    fn fit(&self, theirs: &[Track]) -> Result<Vec<Option<usize>>, LegFailure> {
        let mapping = map_tracks(&self.tracks, theirs);
        let encoding = |tracks: &[Track], ix: usize| {
            tracks
                .get(ix)
                .map_or("nothing".to_owned(), |track| track.encoding.clone())
        };
        let refusal = match mapping.get(self.master) {
            Some(Mapping::To(_)) => None,
            Some(Mapping::Mismatch {
                theirs: ix,
                difference,
            }) => {
                let (there, here) = (encoding(theirs, *ix), encoding(&self.tracks, self.master));
                Some(format!("{difference}: {there} there, {here} here"))
            }
            Some(Mapping::Absent) | None => Some(format!(
                "no track there for our {}",
                encoding(&self.tracks, self.master)
            )),
        };
        if let Some(refusal) = refusal {
            return Err(LegFailure::new(Failure::Mismatch, refusal));
        }
        let wanted = |ours: usize| self.wanted.get(ours).copied().unwrap_or(false);
        let fits = mapping.iter().enumerate();
        Ok(fits
            .map(|(ours, mapped)| mapped.index().filter(|_| wanted(ours)))
            .collect())
    }

    /// Whether a unit is to be sent at all: sound only where every picture, or all but the disposable ones, go with it.
    pub fn wants(&self, unit: &Unit) -> bool {
        wants(self.frames, self.master, unit)
    }
}

/// See [`Order::wants`].
pub fn wants(frames: Frames, master: usize, unit: &Unit) -> bool {
    match frames {
        Frames::All => true,
        Frames::Predicted => !unit.disposable,
        Frames::Intra { .. } => unit.track == master && unit.random_access,
    }
}

/// What a leg delivers.
#[derive(Debug)]
pub enum Arrival {
    /// An access unit or audio frame, in the recorder's order.
    Unit(Unit),
    /// In reverse: a random access point and all that depends on it, in decoding order. Groups come last first.
    Group(Vec<Unit>),
    /// It is at work: something came that is not whole yet.
    Alive,
    /// The recorder said that the leg is over.
    Ended,
    /// The leg is lost.
    Failed(LegFailure),
}

/// Why a leg could not be opened or went away.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct LegFailure {
    /// What the director makes of it.
    pub failure: Failure,
    /// For the log.
    pub detail: String,
    /// Somebody else who had a part in it was told already: it counts once at its recorder.
    pub told: bool,
}

impl LegFailure {
    /// A failure with its text.
    pub fn new(failure: Failure, detail: impl Into<String>) -> Self {
        LegFailure {
            failure,
            detail: detail.into(),
            told: false,
        }
    }

    /// The same for those who are told after the first.
    #[must_use]
    pub fn again(&self) -> Self {
        LegFailure {
            told: true,
            ..self.clone()
        }
    }

    /// A question to a recorder that was not answered: `what` could not be done.
    fn asked(what: &str, error: &ProbeError) -> Self {
        let failure = match error {
            ProbeError::Credentials => Failure::Credentials,
            ProbeError::NotFound => Failure::NoFootage,
            ProbeError::Busy | ProbeError::Crowded | ProbeError::Resting => Failure::Busy,
            _ => Failure::Lost,
        };
        Self::new(failure, format!("{what}: {error}"))
    }
}

/// An open leg. Dropped, it ends at its recorder.
#[derive(Debug)]
pub enum Leg {
    /// A replay session at an RTSP recorder.
    Rtsp(Box<rtsp::RtspLeg>),
    /// The same, fetched piece by piece and given out backwards.
    Rewind(Box<rtsp::RewindLeg>),
    /// Recordings that are played by name, one after the other.
    Strung(Box<rtsp::StrungLeg>),
    /// A reader of a folder of recordings.
    Archive(Box<archive::ArchiveLeg>),
    /// Stretches of MP4 over HTTP.
    Clips(Box<clips::ClipLeg>),
    /// The same backwards.
    ClipsBack(Box<clips::ClipRewind>),
    /// Groups of pictures of an XProtect recorder.
    XProtect(Box<xprotect::XProtectLeg>),
    /// A part in any of these.
    Shared(Box<shared::SharedLeg>),
}

impl Leg {
    /// Opens a leg; returns once the recorder agreed to play. Each phase has its deadline in `order.reaction`, and all of
    /// them together have one: a recorder may be busy with other answers, a disk may hang.
    pub async fn open(source: MediaSource, order: Order) -> Result<Leg, LegFailure> {
        let limit = order.reaction.connect + order.reaction.response * 2;
        let late = || {
            LegFailure::new(
                Failure::Lost,
                format!("not open within {} ms", limit.as_millis()),
            )
        };
        timeout(limit, Self::open_unhurried(source, order))
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn open_unhurried(source: MediaSource, order: Order) -> Result<Leg, LegFailure> {
        if let MediaSource::XProtect(site) = source {
            return xprotect::XProtectLeg::open(site, order)
                .await
                .map(|leg| Leg::XProtect(Box::new(leg)));
        }
        if order.live {
            return rtsp::RtspLeg::open_live(&source, order)
                .await
                .map(|leg| Leg::Rtsp(Box::new(leg)));
        }
        match source {
            MediaSource::Rtsp(source) => Self::open_rtsp(source, order).await,
            MediaSource::RtspByUrl(source) if order.direction == Direction::Reverse => {
                rtsp::RewindLeg::open(rtsp::Forward::Url(source), order)
                    .await
                    .map(|leg| Leg::Rewind(Box::new(leg)))
            }
            MediaSource::RtspByUrl(source) if source.book().is_some() => {
                rtsp::StrungLeg::open(source, order)
                    .await
                    .map(|leg| Leg::Strung(Box::new(leg)))
            }
            MediaSource::RtspByUrl(source) => rtsp::RtspLeg::open_by_url(&source, order)
                .await
                .map(|leg| Leg::Rtsp(Box::new(leg))),
            MediaSource::RtspOnRequest(addresses) => {
                on_request::open(&*addresses, order, Self::open_rtsp).await
            }
            MediaSource::Archive(folders) => archive::ArchiveLeg::open(&folders, order)
                .await
                .map(|leg| Leg::Archive(Box::new(leg))),
            MediaSource::Clips(source) => match order.direction {
                Direction::Forward => clips::ClipLeg::open(source, order)
                    .await
                    .map(|leg| Leg::Clips(Box::new(leg))),
                Direction::Reverse => clips::ClipRewind::open(source, order)
                    .await
                    .map(|leg| Leg::ClipsBack(Box::new(leg))),
            },
            // Opened above, live or not.
            MediaSource::XProtect(_) | MediaSource::None => Err(LegFailure::new(
                Failure::Mismatch,
                "this kind of recorder is listed but not played",
            )),
        }
    }

    async fn open_rtsp(source: Arc<RtspSource>, order: Order) -> Result<Leg, LegFailure> {
        match order.direction {
            Direction::Forward => rtsp::RtspLeg::open(&source, order)
                .await
                .map(|leg| Leg::Rtsp(Box::new(leg))),
            Direction::Reverse => rtsp::RewindLeg::open(rtsp::Forward::Range(source), order)
                .await
                .map(|leg| Leg::Rewind(Box::new(leg))),
        }
    }

    /// The next arrival. After `Ended` or `Failed` the leg must not be polled again.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        match self {
            Leg::Rtsp(leg) => leg.poll_next(cx),
            Leg::Rewind(leg) => leg.poll_next(cx),
            Leg::Strung(leg) => leg.poll_next(cx),
            Leg::Archive(leg) => leg.poll_next(cx),
            Leg::Clips(leg) => leg.poll_next(cx),
            Leg::ClipsBack(leg) => leg.poll_next(cx),
            Leg::XProtect(leg) => leg.poll_next(cx),
            Leg::Shared(leg) => leg.poll_next(cx),
        }
    }

    /// Whether the other end is gone although units it sent may still wait to be read.
    pub fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Leg::Rtsp(leg) => leg.peer_closed(cx),
            Leg::XProtect(leg) => leg.peer_closed(cx),
            Leg::Shared(leg) => leg.peer_closed(cx),
            Leg::Rewind(_)
            | Leg::Strung(_)
            | Leg::Archive(_)
            | Leg::Clips(_)
            | Leg::ClipsBack(_) => false,
        }
    }

    /// Whether the recorder itself says when each picture was taken.
    pub fn is_stamped(&self) -> bool {
        match self {
            Leg::Rtsp(leg) => leg.is_stamped(),
            Leg::Strung(leg) => leg.is_stamped(),
            Leg::Shared(leg) => leg.is_stamped(),
            Leg::Rewind(_)
            | Leg::Archive(_)
            | Leg::Clips(_)
            | Leg::ClipsBack(_)
            | Leg::XProtect(_) => false,
        }
    }

    /// Whether it is being opened again, which takes as long as opening does and is no silence.
    pub fn is_opening(&self) -> bool {
        matches!(self, Leg::Shared(leg) if leg.is_opening())
    }

    /// Whether nobody else who has a part in it was told before that it sends nothing.
    pub fn tells_first(&self) -> bool {
        match self {
            Leg::Shared(leg) => leg.tells_first(),
            Leg::Rtsp(_)
            | Leg::Rewind(_)
            | Leg::Strung(_)
            | Leg::Archive(_)
            | Leg::Clips(_)
            | Leg::ClipsBack(_)
            | Leg::XProtect(_) => true,
        }
    }

    /// Bytes that came and wait in the kernel, where that is known.
    pub fn backlog(&self) -> Option<usize> {
        match self {
            Leg::Rtsp(leg) => Some(leg.backlog()),
            Leg::Shared(leg) => leg.backlog(),
            Leg::Rewind(_)
            | Leg::Strung(_)
            | Leg::Archive(_)
            | Leg::Clips(_)
            | Leg::ClipsBack(_)
            | Leg::XProtect(_) => None,
        }
    }

    /// Wishes that one read takes about so many bytes.
    pub fn read_in(&mut self, bytes: usize) {
        match self {
            Leg::Rtsp(leg) => leg.read_in(bytes),
            Leg::Shared(leg) => leg.read_in(bytes),
            _ => {}
        }
    }

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        match self {
            Leg::Rtsp(leg) => leg.format(),
            Leg::Rewind(leg) => leg.format(),
            Leg::Strung(leg) => leg.format(),
            Leg::Archive(leg) => leg.format(),
            Leg::Clips(leg) => leg.format(),
            Leg::ClipsBack(leg) => leg.format(),
            Leg::XProtect(leg) => leg.format(),
            Leg::Shared(leg) => leg.format(),
        }
    }

    /// Keeps the recorder's session alive while the client does not read.
    pub fn keep_alive(&mut self, now: Instant) {
        match self {
            Leg::Rtsp(leg) => leg.keep_alive(now),
            Leg::Rewind(leg) => leg.keep_alive(now),
            Leg::Strung(leg) => leg.keep_alive(now),
            Leg::XProtect(leg) => leg.keep_alive(now),
            Leg::Shared(leg) => leg.keep_alive(now),
            Leg::Archive(_) | Leg::Clips(_) | Leg::ClipsBack(_) => {}
        }
    }
}
