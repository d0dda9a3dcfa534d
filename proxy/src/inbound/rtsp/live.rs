//! A session between its first SETUP and TEARDOWN: tracks, channels, the playback and its answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use seamline_media::{Codec, OutQueue, OutTrack, Splice};
use seamline_routing::director::End;
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::{Lower, RtpInfo, SESSION_TIMEOUT_S, Scale, Transport};
use seamline_rtsp::sdp::Track;
use seamline_rtsp::{Request, Response};

use super::carrier::Carrier;
use super::play::{Play, Window};
use super::players;
use super::sessions::{Claim, Listed};
use super::target::Target;
use super::udp::{Datagrams, FAREWELL_AFTER, PACKET_BYTES_MAX};
use crate::cameras::CameraEntry;
use crate::clock;
use crate::inbound::hall::Hall;
use crate::journal::Journal;
use crate::outbound::parameter_sets;
use crate::playback::{Playback, Progress};

/// A camera's tracks as this client knows them.
#[derive(Clone)]
pub(super) struct Presentation {
    pub(super) target: Target,
    pub(super) camera: Arc<CameraEntry>,
    pub(super) tracks: Arc<[Track]>,
    pub(super) window: Window,
}

/// The session between the first SETUP and TEARDOWN.
pub(super) struct Live {
    pub(super) id: String,
    pub(super) presentation: Presentation,
    pub(super) tracks: Vec<Option<SetUp>>,
    pub(super) playback: Option<Playback>,
    /// The play that was asked for last.
    last: Option<Play>,
    pub(super) pending: Option<Pending>,
    /// Who set it up, where users are known.
    user: Option<String>,
    /// Media beside the connection.
    datagrams: Option<Datagrams>,
    /// The entry by which another connection may go on with it.
    listed: Option<Listed>,
}

/// What driving a session came to.
pub(super) enum News {
    /// Media was written.
    Wrote,
    /// PLAY can be answered.
    Answer(Response),
    /// Another connection names the session.
    Claim(Claim),
}

/// Where a connection ends, and what it shares with others.
pub(super) struct Ends<'a> {
    pub(super) hall: &'a Hall,
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
}

/// A track as the client set it up.
#[derive(Clone)]
pub(super) struct SetUp {
    pub(super) channels: (u8, u8),
    pub(super) ssrc: u32,
    /// The URL of the SETUP: FFmpeg compares RTP-Info with it byte by byte.
    pub(super) url: String,
}

/// A PLAY whose answer waits for the first unit.
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) play: Play,
}

impl Live {
    pub(super) fn new(presentation: Presentation, user: Option<String>) -> Self {
        Live {
            id: format!("{:016x}", rand::random::<u64>()),
            tracks: vec![None; presentation.tracks.len()],
            presentation,
            playback: None,
            last: None,
            pending: None,
            user,
            datagrams: None,
            listed: None,
        }
    }

    /// Whether media flows or is about to.
    pub(super) fn playing(&self) -> bool {
        self.playback.as_ref().is_some_and(Playback::flowing)
    }

    /// Whether media goes beside the connection.
    pub(super) fn is_udp(&self) -> bool {
        self.datagrams.is_some()
    }

    /// When the client last said something beside the connection.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.datagrams.as_ref()?.heard()
    }

    /// Whether a claim is by the same user at the same address.
    pub(super) fn is_of(&self, claim: &Claim) -> bool {
        let same_place = |datagrams: &Datagrams| datagrams.is_of(claim.peer);
        self.user == claim.user && self.datagrams.as_ref().is_some_and(same_place)
    }

    /// Keeps recorders' sessions alive while nothing is read from them.
    pub(super) fn keep_alive(&mut self) {
        if let Some(playback) = &mut self.playback {
            playback.keep_alive(clock::now());
        }
    }

    /// Throws away media that waits to be sent.
    pub(super) fn discard_media(&mut self, out: &mut OutQueue) {
        out.discard_frames();
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.queue.discard_frames();
        }
    }

    /// Whether driving the playback again at once, in the same turn of its task, would come to nothing.
    pub(super) fn rests(&self) -> bool {
        self.datagrams.is_none() && self.playback.as_ref().is_some_and(Playback::rests)
    }

    /// Drives the playback until it wrote something, into `out` where media goes with the connection. Pending while there
    /// is nothing to drive; wakers are left for all that can bring some.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, out: &mut OutQueue) -> Poll<News> {
        if let Some(listed) = &mut self.listed
            && let Poll::Ready(claim) = listed.poll_claim(cx)
        {
            return Poll::Ready(News::Claim(claim));
        }
        let out = match &mut self.datagrams {
            None => out,
            Some(datagrams) => {
                datagrams.poll_receive(cx);
                ready!(datagrams.poll_send(cx));
                &mut datagrams.queue
            }
        };
        let Some(playback) = &mut self.playback else {
            return Poll::Pending;
        };
        let answer = match ready!(playback.poll(cx, out)) {
            Progress::Wrote => None,
            Progress::Started { at } => self
                .pending
                .take()
                .map(|pending| self.play_answer(&pending, at)),
            Progress::Over(end) => self.pending.take().map(|pending| {
                let status = if end == End::Outage { 503 } else { 457 };
                self.answer(&pending.request, status)
            }),
        };
        Poll::Ready(answer.map_or(News::Wrote, News::Answer))
    }

    /// How the other tracks' media travels.
    pub(super) fn settled(&self, track: usize) -> Option<Lower> {
        let others = self
            .tracks
            .iter()
            .enumerate()
            .filter(|(ix, _)| *ix != track);
        let set_up = others.filter_map(|(_, set_up)| set_up.as_ref()).count() > 0;
        let lower = if self.is_udp() {
            Lower::Udp
        } else {
            Lower::Tcp
        };
        set_up.then_some(lower)
    }

    /// Agrees on how a track's media travels; `None` when it cannot.
    pub(super) fn carry(
        &mut self,
        track: usize,
        carrier: Carrier,
        ends: &Ends<'_>,
    ) -> Option<((u8, u8), Transport)> {
        match carrier {
            Carrier::Interleaved { channels } => {
                let channels = self.channels(track, channels)?;
                // All tracks go one way: there is no other by UDP.
                self.datagrams = None;
                self.listed = None;
                Some((channels, Transport::interleaved(channels.0, channels.1)))
            }
            Carrier::Udp { ports } => {
                let channel = u8::try_from(2 * track).ok()?;
                let mut datagrams = self
                    .datagrams
                    .take()
                    .unwrap_or_else(|| Datagrams::new(ends.peer, self.tracks.len()));
                let opened = datagrams.open(track, ends.local, ports, &ends.hall.udp);
                let ours = opened
                    .inspect_err(
                        |error| tracing::warn!(peer = %ends.peer, %error, "no ports for UDP"),
                    )
                    .ok()?;
                self.datagrams = Some(datagrams);
                if self.listed.is_none() {
                    self.listed = Some(ends.hall.sessions.list(&self.id));
                }
                let transport = Transport {
                    server_port: Some(ours),
                    source: Some(ends.local.to_canonical().to_string()),
                    ..Transport::udp(ports.0, ports.1)
                };
                Some(((channel, channel + 1), transport))
            }
        }
    }

    pub(super) fn answer(&self, request: &Request, status: u16) -> Response {
        let session = format!("{};timeout={SESSION_TIMEOUT_S}", self.id);
        Response::to(request, status).with("Session", session)
    }

    /// The channels that the client offered for `track`, or the next free pair; `None` when another track has them.
    fn channels(&self, track: usize, offered: Option<(u8, u8)>) -> Option<(u8, u8)> {
        let taken = |channel: u8| {
            let others = self
                .tracks
                .iter()
                .enumerate()
                .filter(|(ix, _)| *ix != track)
                .filter_map(|(_, set_up)| set_up.as_ref());
            others
                .clone()
                .any(|set_up| set_up.channels.0 == channel || set_up.channels.1 == channel)
        };
        match offered {
            Some((media, control)) => {
                (media != control && !taken(media) && !taken(control)).then_some((media, control))
            }
            None => (0..u8::MAX)
                .step_by(2)
                .map(|media| (media, media + 1))
                .find(|(media, control)| !taken(*media) && !taken(*control)),
        }
    }

    /// Who set it up, where users are known.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// PLAY is for the whole session; for one track only where that is all there is.
    pub(super) fn is_aggregate(&self, target: &Target) -> bool {
        let only = self.tracks.iter().flatten().count() == 1;
        target.same_presentation(&self.presentation.target) && (target.track.is_none() || only)
    }

    pub(super) fn playback(&mut self, journal: Journal) -> &mut Playback {
        let Live {
            presentation,
            tracks,
            playback,
            datagrams,
            ..
        } = self;
        let packet_bytes_max = if datagrams.is_some() {
            PACKET_BYTES_MAX
        } else {
            usize::MAX
        };
        playback.get_or_insert_with(|| {
            let wanted: Arc<[bool]> = tracks.iter().map(Option::is_some).collect();
            let outputs = presentation
                .tracks
                .iter()
                .zip(tracks.iter())
                .map(|(track, set_up)| {
                    let (channels, ssrc) = set_up
                        .as_ref()
                        .map_or(((0, 1), 0), |set_up| (set_up.channels, set_up.ssrc));
                    OutTrack {
                        channel_rtp: channels.0,
                        channel_rtcp: channels.1,
                        payload_type: track.payload_type,
                        ssrc,
                        // Players distrust 0 and 1 (retina) and take rtptime 0 for none (FFmpeg).
                        first_seq: rand::random_range(2..=0x7fff),
                        first_rtptime: rand::random_range(1..=0x3fff_ffff),
                        clock_rate: track.clock_rate,
                        codec: Codec::from_encoding(&track.encoding),
                        announced: parameter_sets(track),
                        packet_bytes_max,
                    }
                });
            let splice = Splice::new(outputs.collect());
            let mut playback = Playback::new(
                presentation.camera.clone(),
                journal,
                presentation.tracks.clone(),
                wanted,
                splice,
            );
            if datagrams.is_some() {
                playback.part_after(FAREWELL_AFTER);
            }
            playback
        })
    }

    /// What is left of the play that goes on: `backwards` or not, as it did or the other way.
    pub(super) fn rest(&self, backwards: bool) -> Window {
        let window = self.presentation.window;
        let here = self.playback.as_ref().map(Playback::position);
        let Some(last) = &self.last else {
            return Window { here, ..window };
        };
        match (last.request.direction, backwards) {
            (Direction::Forward, false) => Window {
                here,
                end: last.request.until,
                ..window
            },
            (Direction::Reverse, true) => Window {
                here,
                floor: last.floor(),
                ..window
            },
            _ => Window { here, ..window },
        }
    }

    /// Whether the play that was asked for last went back in time.
    pub(super) fn backwards(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| last.request.direction == Direction::Reverse)
    }

    /// Goes on with the play that is held or runs, unless the client asks for another pace or other pictures than before.
    pub(super) fn go_on(&mut self, request: &Request, play: &mut Play) -> Option<Response> {
        let last = self.last.clone()?;
        play.keep_unnamed(&request.headers, &last);
        if !play.is_delivered_like(&last) {
            return None;
        }
        let window = self.presentation.window;
        let playback = self.playback.as_mut()?;
        if playback.active() {
            let range = players::range_told(request, last.answer(playback.position(), window));
            let answer = self.with_modes(self.answer(request, 200), request);
            return Some(answer.with("Range", range));
        }
        let at = playback.resume(play.delivery.cseq);
        let answer = self.with_play_headers(self.answer(request, 200), request);
        let range = players::range_told(request, last.answer(at, window));
        Some(answer.with("Range", range))
    }

    /// Starts a play; its answer follows with the first unit.
    pub(super) fn begin(&mut self, request: &Request, mut play: Play, journal: Journal) {
        // What was sent before is no part of it.
        play.delivery.discontinuity |= self.last.is_some();
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.set_paced(play.delivery.pacing.is_some());
        }
        self.playback(journal).play(play.request, play.delivery);
        self.last = Some(play.clone());
        self.pending = Some(Pending {
            request: request.clone(),
            play,
        });
    }

    pub(super) fn play_answer(&self, pending: &Pending, first: Timestamp) -> Response {
        let range = pending.play.answer(first, self.presentation.window);
        let range = players::range_told(&pending.request, range);
        self.with_play_headers(self.answer(&pending.request, 200), &pending.request)
            .with("Range", range)
    }

    /// RTP-Info of the set-up tracks in SDP order, and the modes in use.
    pub(super) fn with_play_headers(&self, mut answer: Response, request: &Request) -> Response {
        let Some(playback) = &self.playback else {
            return answer;
        };
        // In paced reverse play the RTP time of the first packet is when its picture is shown, last of its group: GStreamer
        // takes the distance for footage that has passed, and ends the play early.
        let shown_late = self.backwards() && playback.delivery().pacing.is_some();
        let infos: Vec<String> = self
            .tracks
            .iter()
            .enumerate()
            .filter_map(|(track, set_up)| {
                let info = playback.splice().rtp_info(track)?;
                let url = set_up.as_ref()?.url.clone();
                Some(
                    RtpInfo {
                        url,
                        seq: Some(info.seq),
                        rtptime: Some(info.rtptime).filter(|_| !shown_late),
                    }
                    .to_string(),
                )
            })
            .collect();
        answer = answer.with("RTP-Info", infos.join(","));
        self.with_modes(answer, request)
    }

    /// The modes in use, of those that the client names.
    fn with_modes(&self, mut answer: Response, request: &Request) -> Response {
        let Some(Play { delivery, .. }) = &self.last else {
            return answer;
        };
        let scale = self.last.as_ref().map_or(Scale::ONE, Play::scale);
        if request.headers.get("Scale").is_some() {
            answer = answer.with("Scale", scale);
        }
        if request.headers.get("Speed").is_some() {
            answer = answer.with("Speed", format!("{:?}", delivery.speed));
        }
        if request.headers.get("Rate-Control").is_some() {
            let rate_control = if delivery.pacing.is_some() {
                "yes"
            } else {
                "no"
            };
            answer = answer.with("Rate-Control", rate_control);
        }
        if request.headers.get("Frames").is_some() {
            answer = answer.with("Frames", delivery.frames);
        }
        answer
    }
}
