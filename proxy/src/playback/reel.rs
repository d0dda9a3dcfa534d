//! What a camera shows in a stretch of time, as samples to be taken one by one: the same routing, seams and joins as over RTSP.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use seamline_media::{Codec, Kind, OutQueue, OutTrack, Splice};
use seamline_probes::ProbeError;
use seamline_routing::camera::CopyIx;
use seamline_routing::director::End;
use seamline_routing::plan::{Direction, Request};
use seamline_routing::policy::{Holes, Policy};
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;
use seamline_rtsp::sdp::{Media, Track};
use thiserror::Error;

use super::shelf::Shelf;
use super::{Delivery, Item, Playback, Progress};
use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::outbound::parameter_sets;

/// What is wanted of a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Where it begins. Pictures before it that are needed to decode come along as preroll.
    pub from: Timestamp,
    /// Where it ends: the first instant that is not wanted. In reverse it lies before `from`.
    pub until: Option<Timestamp>,
    /// What happens in holes; `None` as the camera's policy says.
    pub holes: Option<Holes>,
    /// Which pictures.
    pub frames: Frames,
    /// Footage seconds a second, or as fast as it is taken.
    pub pacing: Option<f64>,
    /// The way through time. In reverse there are pictures only: groups of them, the last first, each in decoding order.
    pub direction: Direction,
    /// Whether sound comes along.
    pub sound: bool,
}

impl Wanted {
    /// All there is from `from` to `until`, as fast as it is taken, with holes closed up.
    pub fn all(from: Timestamp, until: Timestamp) -> Self {
        Wanted {
            from,
            until: Some(until),
            holes: Some(Holes::Skip),
            frames: Frames::All,
            pacing: None,
            direction: Direction::Forward,
            sound: true,
        }
    }
}

/// Why there is nothing to play.
#[derive(Debug, Error)]
pub enum NoReel {
    /// It is known that no copy holds anything of it.
    #[error("no site holds footage of that time")]
    Nothing,
    /// No recorder tells what the camera's tracks are.
    #[error("no site describes the camera: {0}")]
    Undescribed(#[from] ProbeError),
    /// None of its tracks fits into a file.
    #[error("no track of the camera fits into an MP4 file")]
    NoTrack,
}

/// How often recorders' sessions are looked after while nothing is taken.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Footage being taken. Nothing runs in the background: what is not asked for is not read, but for some seconds ahead.
pub struct Reel {
    playback: Playback,
    /// Nothing leaves as packets.
    out: OutQueue,
    master: usize,
    over: bool,
}

/// A reel with its first sample at hand.
pub struct Begin {
    /// The reel, which gives what was read so far once more.
    pub reel: Reel,
    /// Capture time of the first sample that is to be shown, or decoded for it.
    pub first: Timestamp,
    /// Items that were looked at.
    pub(super) seen: VecDeque<Item>,
}

impl Reel {
    /// Asks recorders only where too little is known.
    pub async fn open(
        camera: &CameraEntry,
        journal: Journal,
        wanted: Wanted,
    ) -> Result<Self, NoReel> {
        Self::open_from(camera, journal, wanted, None).await
    }

    /// As [`Self::open`], going on where this copy was played before.
    pub async fn open_from(
        camera: &CameraEntry,
        journal: Journal,
        wanted: Wanted,
        copy: Option<CopyIx>,
    ) -> Result<Self, NoReel> {
        camera.look_up(wanted.from).await;
        let soundings = &camera.soundings;
        soundings.ahead(camera, wanted.from, wanted.direction);
        let request = Request {
            at: wanted.from,
            until: wanted.until,
            direction: wanted.direction,
        };
        if camera.holds_nothing(&request) {
            return Err(NoReel::Nothing);
        }
        let tracks: Arc<[Track]> = camera.describe().await?.tracks.into();
        let kinds: Vec<Option<Kind>> = tracks
            .iter()
            .map(|track| {
                let kind = || {
                    let Track {
                        encoding,
                        clock_rate,
                        channels,
                        fmtp,
                        ..
                    } = track;
                    Kind::of(encoding, *clock_rate, *channels, fmtp)
                };
                (track.media == Media::Video || wanted.sound)
                    .then(kind)
                    .flatten()
            })
            .collect();
        let kinds = one_of_each(kinds, &tracks);
        let set_up: Arc<[bool]> = kinds.iter().map(Option::is_some).collect();
        if !set_up.contains(&true) {
            return Err(NoReel::NoTrack);
        }
        let camera = Arc::new(CameraEntry {
            policy: Policy {
                holes: wanted.holes.unwrap_or(camera.policy.holes),
                ..camera.policy
            },
            ..camera.owned()
        });
        let splice = Splice::new(tracks.iter().map(out_track).collect());
        let mut playback = Playback::new(camera, journal, tracks, set_up, splice);
        let shown_from = match wanted.direction {
            Direction::Forward => wanted.from,
            Direction::Reverse => wanted.until.unwrap_or(Timestamp::MIN),
        };
        playback.samples = Some(Shelf::new(kinds, shown_from));
        let master = playback.master;
        if let Some(copy) = copy {
            playback.prefer(copy);
        }
        playback.play(
            request,
            Delivery {
                pacing: wanted.pacing,
                frames: wanted.frames,
                discontinuity: false,
                speed: 1.0,
                onvif: false,
                cseq: 0,
            },
        );
        Ok(Reel {
            playback,
            out: OutQueue::new(),
            master,
            over: false,
        })
    }

    /// Index of the track that seams are cut on: that of the pictures, where there is one.
    pub fn master(&self) -> usize {
        self.master
    }

    /// The next capture time that is wanted of recorders.
    pub fn position(&self) -> Timestamp {
        self.playback.position()
    }

    /// What comes next; `None` behind [`Item::End`]. Nothing is lost when it is dropped before it is done.
    pub async fn next(&mut self) -> Option<Item> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Self::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            let samples = self.playback.samples.as_mut();
            if let Some(item) = samples.and_then(Shelf::pop) {
                return Poll::Ready(Some(item));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let progress = ready!(self.playback.poll(cx, &mut self.out));
            // Reports and goodbyes are for clients of RTSP.
            self.out.discard_frames();
            match progress {
                Progress::Started { .. } | Progress::Wrote => {}
                Progress::Over(end) => self.finish(end),
            }
        }
    }

    /// Keeps recorders' sessions alive, and never comes back: to be waited for beside whatever keeps the taker busy for more than
    /// a second.
    pub async fn keep(&mut self) -> Infallible {
        loop {
            tokio::time::sleep(KEEP_EVERY).await;
            self.playback.keep_alive(clock::now());
        }
    }

    /// Waits until footage comes; the end where none does.
    pub async fn begin(mut self) -> Result<Begin, End> {
        let mut seen = VecDeque::new();
        loop {
            match self.next().await {
                Some(Item::End(end)) => return Err(end),
                None => return Err(End::Footage),
                Some(item) => {
                    let first = match &item {
                        Item::Sample(sample) => Some(Timestamp::from_micros(sample.capture_us)),
                        _ => None,
                    };
                    seen.push_back(item);
                    if let Some(first) = first {
                        return Ok(Begin {
                            reel: self,
                            first,
                            seen,
                        });
                    }
                }
            }
        }
    }

    fn finish(&mut self, end: End) {
        self.over = true;
        let end = match end {
            // A file must not end as if it were whole because a recorder is down.
            End::Footage if !self.playback.is_end_sure() => End::Outage,
            end => end,
        };
        if let Some(samples) = &mut self.playback.samples {
            samples.put(Item::End(end));
        }
    }
}

impl Begin {
    /// What comes next; see [`Reel::next`].
    pub async fn next(&mut self) -> Option<Item> {
        match self.seen.pop_front() {
            Some(item) => Some(item),
            None => self.reel.next().await,
        }
    }
}

/// Players of files expect one picture and one sound: the first of each.
fn one_of_each(kinds: Vec<Option<Kind>>, tracks: &[Track]) -> Vec<Option<Kind>> {
    let mut taken = Vec::new();
    kinds
        .into_iter()
        .zip(tracks)
        .map(|(kind, track)| {
            let kind = kind.filter(|_| !taken.contains(&track.media))?;
            taken.push(track.media);
            Some(kind)
        })
        .collect()
}

/// A track that nobody receives as packets.
fn out_track(track: &Track) -> OutTrack {
    OutTrack {
        channel_rtp: 0,
        channel_rtcp: 1,
        payload_type: track.payload_type,
        ssrc: 0,
        first_seq: 2,
        first_rtptime: 1,
        clock_rate: track.clock_rate,
        codec: Codec::from_encoding(&track.encoding),
        announced: parameter_sets(track),
        packet_bytes_max: usize::MAX,
    }
}
