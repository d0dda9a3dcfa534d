//! The way to a playing leg: connect, DESCRIBE, SETUP, PLAY, each with its deadline.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::ClientConfig;
use seamline_media::{Assembler, CaptureClock, Codec, Markers, TrackFormat};
use seamline_probes::Stream;
use seamline_probes::rtsp::RtspSource;
use seamline_routing::director::Failure;
use seamline_routing::time::Timestamp;
use seamline_rtsp::client::{
    ClientError, ClientEvent, Config, Phase, PlayRequest, Playing, ReplayClient, TrackChoice,
};
use seamline_rtsp::headers::{ClockTime, Frames, Range, RateControl};
use seamline_rtsp::sdp::{Description, Track};
use seamline_rtsp::url::Credentials;
use seamline_rtsp::{Framer, Incoming, RtspUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::by_url::UrlLeg;
use super::wire::Wire;
use super::{Channel, EARLY_FRAMES_MAX, READ_BYTES, RtspLeg, lost};
use crate::clock;
use crate::outbound::{LegFailure, Order, format};

/// Answers are short.
const OPENING_READ_BYTES: usize = 8 * 1024;
/// Frames that overtake the answer to PLAY are kept up to here.
const EARLY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Connects, describes, sets up the tracks that continue the client's, and asks to play from the ordered start on.
///
/// A recorder that refuses to leave pictures out is asked for all of them.
pub(super) async fn open(source: &RtspSource, order: Order) -> Result<RtspLeg, LegFailure> {
    // Open-ended, so that an end always means that the recorder has no more.
    open_range(source, &order, order.from, None)
        .await
        .map_err(|refused| refused.failure)
}

/// As [`open`], from one instant to another.
pub(super) async fn open_range(
    source: &RtspSource,
    order: &Order,
    from: Timestamp,
    until: Option<Timestamp>,
) -> Result<RtspLeg, Refused> {
    match open_once(source, order.clone(), from, until).await {
        Err(Refused { fewer: true, .. }) if order.frames != Frames::All => {
            let all = Order {
                frames: Frames::All,
                ..order.clone()
            };
            open_once(source, all, from, until).await
        }
        outcome => outcome,
    }
}

/// Why there is no session.
pub(super) struct Refused {
    pub(super) failure: LegFailure,
    /// It may be the demand for fewer pictures that was refused.
    fewer: bool,
    /// The recorder holds nothing in the range.
    pub(super) empty: bool,
}

impl Refused {
    /// Whether the recorder says that it holds nothing there, in whichever phase.
    pub(super) fn is_empty(&self) -> bool {
        self.empty || self.failure.failure == Failure::NoFootage
    }
}

impl<E: Into<LegFailure>> From<E> for Refused {
    fn from(error: E) -> Self {
        Refused {
            failure: error.into(),
            fewer: false,
            empty: false,
        }
    }
}

/// What to ask of a recorder; times in the camera's timeline.
pub(super) fn request(order: &Order, from: Timestamp, until: Option<Timestamp>) -> PlayRequest {
    let clock = |at: Timestamp| ClockTime::from_micros(at.shift(order.clock_offset_us).as_micros());
    PlayRequest {
        range: Some(Range::Clock {
            start: Some(clock(from)),
            end: until.map(clock),
        }),
        rate_control: Some(RateControl::No),
        frames: match order.frames {
            Frames::Intra { .. } => Some(order.frames),
            // Not every recorder knows it, and what it saves is little.
            Frames::All | Frames::Predicted => None,
        },
        immediate: true,
        ..PlayRequest::default()
    }
}

async fn open_once(
    source: &RtspSource,
    order: Order,
    from: Timestamp,
    until: Option<Timestamp>,
) -> Result<RtspLeg, Refused> {
    let url = source
        .url(&order.remote)
        .map_err(|error| lost(error.to_string()))?;
    let place = Place {
        url,
        credentials: source.credentials().cloned(),
        tls: source.tls().cloned(),
        onvif: true,
        play: request(&order, from, until),
        by_url: None,
    };
    start(place, order).await
}

/// What to ask of a recorder, and where.
pub(super) struct Place {
    pub(super) url: RtspUrl,
    pub(super) credentials: Option<Credentials>,
    /// How TLS is spoken where the URL wants it.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Whether to demand ONVIF replay.
    pub(super) onvif: bool,
    pub(super) play: PlayRequest,
    /// Where the URL says the time.
    pub(super) by_url: Option<UrlLeg>,
}

/// Connects, describes, sets up the tracks that continue the client's, and asks to play.
pub(super) async fn start(place: Place, order: Order) -> Result<RtspLeg, Refused> {
    let reaction = order.reaction;
    let url = place.url;
    let connect = Stream::connect(url.host(), url.port(), Some(order.unread));
    let mut stream = timeout(reaction.connect, connect)
        .await
        .map_err(|_| {
            let limit = reaction.connect.as_millis();
            lost(format!("no connection within {limit} ms"))
        })?
        .map_err(|error| match error.raw_os_error() {
            // Our own shortage of descriptors, no fault of the recorder.
            Some(EMFILE | ENFILE) => LegFailure::new(Failure::Busy, error.to_string()),
            _ => lost(format!("no connection: {error}")),
        })?;
    if url.is_secure() {
        let sealed = timeout(
            reaction.response,
            stream.seal(url.host(), place.tls.as_ref()),
        )
        .await;
        let late = || format!("no TLS within {} ms", reaction.response.as_millis());
        stream = sealed.map_err(|_| lost(late()))?.map_err(lost)?;
    }
    let config = Config {
        credentials: place.credentials,
        allow_basic: url.is_secure(),
        onvif: place.onvif,
        tracks: TrackChoice::Named,
        play: Some(place.play),
        ..Config::new(url.clone())
    };
    let session = Session {
        wire: Wire::new(stream, ReplayClient::new(config)),
        buf: BytesMut::new(),
        framer: Framer::new(),
        by_url: place.by_url,
    };
    session.start(order).await
}

/// Too many open files, in this process and in the system (errno(3), Linux).
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// A session on the way to its PLAY answer.
struct Session {
    wire: Wire,
    buf: BytesMut,
    framer: Framer,
    by_url: Option<UrlLeg>,
}

impl Session {
    async fn start(mut self, order: Order) -> Result<RtspLeg, Refused> {
        let mut early: Vec<(u8, BytesMut)> = Vec::new();
        let mut early_bytes = 0;
        let mut mapping = Vec::new();
        let deadline = order.reaction.response;
        let (mut requests, mut asked) = (self.wire.client.requests(), clock::now());
        loop {
            while let Some(bytes) = self.wire.client.poll_transmit() {
                let stream = self.wire.stream();
                let said = async {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                };
                timeout(deadline, said)
                    .await
                    .map_err(|_| lost("takes no request"))?
                    .map_err(|error| lost(format!("connection lost: {error}")))?;
            }
            // Of the request, not of the last word: a recorder may talk without end and never answer.
            if requests != self.wire.client.requests() {
                (requests, asked) = (self.wire.client.requests(), clock::now());
            }
            let left = deadline.saturating_sub(clock::now().saturating_duration_since(asked));
            let next = timeout(left, self.next()).await;
            let incoming = next.ok().filter(|_| !left.is_zero()).ok_or_else(|| {
                lost(format!(
                    "no answer within {} ms ({:?})",
                    deadline.as_millis(),
                    self.wire.client.phase()
                ))
            })??;
            match incoming {
                Incoming::Frame { channel, bytes } => {
                    early_bytes += bytes.len();
                    if early_bytes > EARLY_BYTES_MAX || early.len() >= EARLY_FRAMES_MAX {
                        return Err(lost("sends footage instead of an answer to PLAY").into());
                    }
                    early.push((channel, bytes));
                }
                Incoming::Response(response) => {
                    let starting = self.wire.client.phase() == Phase::Starting;
                    self.wire
                        .client
                        .handle_response(&response)
                        .map_err(|error| Refused {
                            fewer: starting && refuses_headers(&error),
                            empty: starting && error == ClientError::Range,
                            failure: error.into(),
                        })?;
                }
                Incoming::Request(request) => self.wire.client.handle_request(&request)?,
            }
            while let Some(event) = self.wire.client.poll_event() {
                match event {
                    ClientEvent::Described(description) => {
                        mapping = order.fit(&description.tracks)?;
                        // All of them: GStreamer's server sends nothing at all while a track is not set up.
                        let all: Vec<usize> = (0..description.tracks.len()).collect();
                        self.wire.client.set_up(&all)?;
                    }
                    ClientEvent::Playing(playing) => {
                        let by_time = self.by_url.is_none() && !order.live;
                        if by_time && takes_no_time(&playing, self.wire.client.description()) {
                            let why = "plays from zero or live, whatever time it is asked for";
                            return Err(LegFailure::new(Failure::WrongFootage, why).into());
                        }
                        return Ok(self.playing(order, mapping, &playing, early));
                    }
                    ClientEvent::EndOfStream => {
                        return Err(LegFailure::new(Failure::NoFootage, "nothing to play").into());
                    }
                    _ => {}
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Incoming, LegFailure> {
        loop {
            match self.framer.next(&mut self.buf) {
                Ok(Some(incoming)) => return Ok(incoming),
                Ok(None) => {}
                Err(error) => return Err(lost(format!("breaks the protocol: {error}"))),
            }
            self.buf.reserve(OPENING_READ_BYTES);
            match self.wire.stream().read_buf(&mut self.buf).await {
                Ok(0) => return Err(lost("connection closed by the recorder")),
                Ok(_) => {}
                Err(error) => return Err(lost(format!("connection lost: {error}"))),
            }
        }
    }

    fn playing(
        self,
        order: Order,
        mapping: Vec<Option<usize>>,
        playing: &Playing,
        early: Vec<(u8, BytesMut)>,
    ) -> RtspLeg {
        let description = self.wire.client.description();
        let ours = |theirs: usize| mapping.iter().position(|mapped| *mapped == Some(theirs));
        let channels = self
            .wire
            .client
            .tracks()
            .iter()
            .filter_map(|set_up| {
                Some(Channel {
                    rtp: set_up.rtp_channel,
                    rtcp: set_up.rtcp_channel,
                    track: ours(set_up.track)?,
                    said_bye: false,
                })
            })
            .collect();
        let tracks = mapping
            .iter()
            .map(|theirs| theirs.and_then(|theirs| description.tracks.get(theirs)));
        let format = format::of_tracks(tracks);
        let markers = vec![Markers::Unknown; order.tracks.len()];
        let mut leg = RtspLeg {
            assembler: assembler(
                &order,
                &mapping,
                &self.wire.client,
                playing,
                &markers,
                // What is live begins when it is agreed to.
                self.by_url
                    .as_ref()
                    .map(|leg| leg.start)
                    .or_else(|| order.live.then(clock::wall)),
            ),
            by_url: self.by_url,
            wire: self.wire,
            buf: self.buf,
            read_bytes: READ_BYTES,
            framer: self.framer,
            format,
            master: order.master,
            channels,
            units: VecDeque::new(),
            byes: 0,
            over: None,
            kept_alive: clock::now(),
            order,
            mapping,
            cseqs: (None, (playing.cseq & 0xff) as u8),
            closed: false,
        };
        let says_start = playing.starts.iter().any(|start| start.rtptime.is_some());
        if let Some(by_url) = leg.by_url.as_mut().filter(|_| !says_start) {
            by_url.hold(clock::now());
        }
        for (channel, bytes) in early {
            leg.frame(channel, bytes);
        }
        leg
    }
}

/// What groups and dates the units of a play that the recorder agreed to.
pub(super) fn assembler(
    order: &Order,
    mapping: &[Option<usize>],
    client: &ReplayClient,
    playing: &Playing,
    markers: &[Markers],
    url_start: Option<Timestamp>,
) -> Assembler {
    let description = client.description();
    let ours = |theirs: usize| mapping.iter().position(|mapped| *mapped == Some(theirs));
    let format_of = |(ours, track): (usize, &Track)| {
        let theirs = mapping
            .get(ours)
            .copied()
            .flatten()
            .and_then(|theirs| description.tracks.get(theirs));
        let theirs = theirs.unwrap_or(track);
        TrackFormat {
            codec: Codec::from_encoding(&theirs.encoding),
            clock_rate: theirs.clock_rate,
            payload_type: theirs.payload_type,
            markers: markers.get(ours).copied().unwrap_or(Markers::Unknown),
        }
    };
    let formats: Vec<_> = order.tracks.iter().enumerate().map(format_of).collect();
    let scale = playing
        .scale
        .map_or(1.0, seamline_rtsp::headers::Scale::value);
    let paced = playing.rate_control != Some(RateControl::No);
    let mut clock = CaptureClock::new(
        order.tracks.iter().map(|track| track.clock_rate),
        url_start.unwrap_or(order.from).as_micros(),
        order.clock_offset_us,
        if paced { scale } else { 1.0 },
    );
    if let Some(Range::Clock {
        start: Some(start), ..
    }) = playing.range
    {
        for begin in &playing.starts {
            if let (Some(track), Some(rtptime)) = (ours(begin.track), begin.rtptime) {
                clock.play_reply(track, start.as_micros(), rtptime);
            }
        }
    } else if let Some(zero) = url_start {
        // Zero is what the URL says; the answer may count on from there.
        let begins_us = match playing.range {
            Some(Range::Npt {
                start: Some(start), ..
            }) => start.as_micros() as i64,
            _ => 0,
        };
        let at = zero.shift(order.clock_offset_us).shift(begins_us);
        for begin in &playing.starts {
            if let (Some(track), Some(rtptime)) = (ours(begin.track), begin.rtptime) {
                clock.url_start(track, at.as_micros(), rtptime);
            }
        }
    }
    Assembler::new(formats, clock)
}

/// Whether a server of files took no notice of the time it was asked for: it does not know ONVIF replay, describes nothing that
/// has a time, and says that it plays from zero on (live555; others may echo the question), or plays what is live now. One that
/// answers so and yet plays what was asked for is refused as well: footage of another time is worse than none.
fn takes_no_time(playing: &Playing, description: &Description) -> bool {
    let dated = match description.range {
        Some(Range::Clock { .. }) => true,
        Some(Range::Npt { start, .. }) => start.is_some_and(|start| start.as_micros() > 0),
        _ => false,
    };
    let untimed = match playing.range {
        // What is live now, whatever its description says.
        Some(Range::NptNow) => true,
        Some(Range::Npt { start, .. }) => {
            !dated && start.is_none_or(|start| start.as_micros() == 0)
        }
        _ => false,
    };
    !playing.onvif && untimed
}

/// Whether a PLAY may have been refused for a header that its recorder does not know.
fn refuses_headers(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Status(400 | 451 | 456) | ClientError::Unsupported { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seamline_routing::plan::Direction;
    use seamline_routing::policy::Reaction;
    use seamline_rtsp::sdp::Media;
    use tokio::net::TcpListener;

    use super::*;
    use crate::outbound::UNREAD_BYTES_MAX;

    const RESPONSE: Duration = Duration::from_millis(400);

    #[test]
    fn a_file_from_its_beginning_is_no_answer_to_a_time() {
        let takes_no_time = |described: Option<&str>, says: Option<&str>, onvif: bool| {
            let range = |text: &str| Range::parse(text).unwrap();
            let playing = Playing {
                cseq: 1,
                range: says.map(range),
                scale: None,
                rate_control: None,
                onvif,
                starts: Vec::new(),
            };
            let description = Description {
                range: described.map(range),
                ..Description::default()
            };
            super::takes_no_time(&playing, &description)
        };
        let clock = Some("clock=20260101T120010Z-");
        let (file, zero) = (Some("npt=0-78.272"), Some("npt=0.000-"));
        assert!(takes_no_time(file, zero, false));
        assert!(takes_no_time(Some("npt=0-"), zero, false));
        assert!(takes_no_time(Some("npt=now-"), zero, false));
        assert!(takes_no_time(None, zero, false));
        assert!(takes_no_time(clock, Some("npt=now-"), false));
        assert!(!takes_no_time(clock, Some("npt=now-"), true));
        // It knows replay, tells a time, or does not say what it plays; and what counts since 1900 is no file.
        assert!(!takes_no_time(file, zero, true));
        assert!(!takes_no_time(file, clock, false));
        assert!(!takes_no_time(file, None, false));
        assert!(!takes_no_time(
            Some("npt=3976257600-3976257678"),
            zero,
            false
        ));
        assert!(!takes_no_time(clock, zero, false));
    }

    fn order() -> Order {
        let picture = Track {
            media: Media::Video,
            encoding: "H264".to_owned(),
            clock_rate: 90_000,
            channels: 1,
            payload_type: 96,
            fmtp: Vec::new(),
            control: "trackID=1".to_owned(),
            onvif_track: None,
        };
        Order {
            remote: "1".into(),
            from: Timestamp::EPOCH,
            clock_offset_us: 0,
            direction: Direction::Forward,
            until: None,
            live: false,
            recorded_until: None,
            recorded_from: None,
            rate: 1.0,
            frames: Frames::All,
            tracks: [picture].into(),
            wanted: [true].into(),
            master: 0,
            reaction: Reaction {
                response: RESPONSE,
                ..Reaction::default()
            },
            unread: UNREAD_BYTES_MAX,
        }
    }

    /// What becomes of a session at a recorder that says `word` again and again, and how long it takes.
    async fn talked_to(word: &'static [u8], pause: Duration) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let recorder = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.write_all(word).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        });
        let order = order();
        let place = Place {
            url: RtspUrl::parse(&format!("rtsp://127.0.0.1:{port}/1")).unwrap(),
            credentials: None,
            onvif: true,
            tls: None,
            play: request(&order, order.from, None),
            by_url: None,
        };
        let begun = clock::now();
        let opened = timeout(RESPONSE * 10, start(place, order)).await;
        let refused = opened.expect("it is left").expect_err("it answers nothing");
        recorder.abort();
        let took = clock::now().saturating_duration_since(begun);
        (refused.failure.detail, took)
    }

    #[tokio::test]
    async fn who_talks_and_answers_nothing_is_left_in_time() {
        let pause = RESPONSE / 8;
        for word in [
            &b"RTSP/1.0 100 Continue\r\nCSeq: 1\r\n\r\n"[..],
            b"$\x09\x00\x00",
            b"OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\n",
            b"\r\n",
        ] {
            let (why, took) = talked_to(word, pause).await;
            assert!(why.starts_with("no answer within"), "{why}");
            assert!((RESPONSE..RESPONSE * 3).contains(&took), "{took:?}: {why}");
        }
    }

    #[tokio::test]
    async fn frames_instead_of_an_answer_are_kept_up_to_a_number() {
        const EMPTY: [u8; 4 * 2048] = {
            let mut frames = [0; 4 * 2048];
            let mut at = 0;
            while at < frames.len() {
                frames[at] = b'$';
                frames[at + 1] = 9;
                at += 4;
            }
            frames
        };
        let (why, _) = talked_to(&EMPTY, Duration::ZERO).await;
        assert_eq!(why, "sends footage instead of an answer to PLAY");
    }
}
