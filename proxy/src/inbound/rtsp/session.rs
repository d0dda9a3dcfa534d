//! One client's RTSP session: method by method, what is legal now and what it does (RFC 2326 Appendix A).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use seamline_media::OutQueue;
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;
use seamline_rtsp::auth::server::{Ask, Login};
use seamline_rtsp::headers::{NptTime, ONVIF_REPLAY, Range, Scale, Transport};
use seamline_rtsp::sdp::Description;
use seamline_rtsp::{Method, Request, Response, RtspUrl};

use super::carrier::{self, Terms};
use super::live::{Ends, Live, News, Presentation, SetUp};
use super::play::{Play, Window, clock_time};
use super::players;
use super::sessions::Claim;
use super::target::{Target, TargetError};
use super::wire::Wire;
use crate::access::Refusal;
use crate::cameras::Cameras;
use crate::clock;
use crate::inbound::hall::Hall;
use crate::playback::Playback;
use crate::playing::Client;

/// Clients choose their keep-alive from this list.
const PUBLIC: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// What one connection has asked for so far.
pub(super) struct Session {
    hall: Arc<Hall>,
    peer: SocketAddr,
    local: SocketAddr,
    /// Nobody on the way can read what is sent (TLS).
    secure: bool,
    /// How people call what carries it.
    carrier: &'static str,
    login: Login,
    /// Whose users `login` was proved to.
    proved_to: Arc<Cameras>,
    /// Whether media may go beside this connection: in the clear, as all that goes over it.
    udp: bool,
    described: Option<Presentation>,
    live: Option<Box<Live>>,
}

impl Session {
    pub(super) fn new(hall: Arc<Hall>, wire: &Wire) -> Self {
        Session {
            udp: wire.is_plain() && !hall.udp.refused,
            proved_to: Arc::clone(&hall.cameras),
            hall,
            peer: wire.peer(),
            local: wire.local(),
            secure: wire.is_sealed(),
            carrier: wire.name(),
            login: Login::default(),
            described: None,
            live: None,
        }
    }

    /// Whether media flows or is about to.
    pub(super) fn playing(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.playing())
    }

    /// Whether media goes beside the connection.
    pub(super) fn is_udp(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.is_udp())
    }

    /// When the client last said something beside the connection.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.live.as_ref()?.heard()
    }

    /// The session, when it can go on without this connection.
    pub(super) fn take_udp(&mut self) -> Option<Box<Live>> {
        self.live.take_if(|live| live.is_udp())
    }

    /// Gives the session up, to who may have it; the connection must be gone.
    pub(super) fn yield_to(&mut self, claim: Claim) {
        if let Some(live) = self.live.take_if(|live| live.is_of(&claim)) {
            claim.grant(live);
        }
    }

    /// Whether a PLAY waits for its answer, so that later requests must wait.
    pub(super) fn answer_pending(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| live.pending.is_some())
    }

    /// Whether driving it again at once, in the same turn of its task, would come to nothing.
    pub(super) fn rests(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.rests())
    }

    fn playback(&self) -> Option<&Playback> {
        self.live.as_ref()?.playback.as_ref()
    }

    /// Keeps recorders' sessions alive while nothing is read from them.
    pub(super) fn keep_alive(&mut self) {
        if let Some(live) = &mut self.live {
            live.keep_alive();
        }
    }

    /// Drives the playback until it wrote something, into `out` where media goes with the connection. Never returns while
    /// there is nothing to drive. `Some` when another connection names the session.
    ///
    /// `driven`: it was driven before in this turn of the task, and nothing was awaited since; taken back when that is used up.
    pub(super) async fn progress(
        &mut self,
        out: &mut OutQueue,
        driven: &mut bool,
    ) -> Option<Claim> {
        let Some(live) = &mut self.live else {
            return std::future::pending().await;
        };
        let poll = |cx: &mut Context<'_>| {
            if std::mem::take(driven) && live.rests() {
                return Poll::Pending;
            }
            live.poll(cx, out)
        };
        match poll_fn(poll).await {
            News::Wrote => None,
            News::Answer(answer) => {
                out.push_message(answer.encode());
                None
            }
            News::Claim(claim) => Some(claim),
        }
    }

    /// Answers a request; `None` when the answer to PLAY follows with the first unit.
    pub(super) async fn handle(
        &mut self,
        request: &Request,
        out: &mut OutQueue,
    ) -> Option<Response> {
        if request.cseq().is_none() {
            return Some(Response::new(400));
        }
        let user = match self.authenticate(request).await {
            Ok(user) => user,
            Err(refusal) => return Some(refusal),
        };
        // What a proxy does not know it must refuse too (RFC 2326 §12.27, §12.32).
        let unsupported: Vec<&str> = request
            .headers
            .require()
            .chain(request.headers.proxy_require())
            .filter(|tag| !tag.eq_ignore_ascii_case(ONVIF_REPLAY))
            .collect();
        if !unsupported.is_empty() {
            return Some(Response::to(request, 551).with("Unsupported", unsupported.join(", ")));
        }
        if let Some(refusal) = self.wrong_session(request, user.as_deref()).await {
            return Some(refusal);
        }
        match request.method {
            Method::Options => Some(self.to(request, 200).with("Public", PUBLIC)),
            Method::Describe => Some(
                self.describe(request)
                    .await
                    .unwrap_or_else(|status| Response::to(request, status)),
            ),
            Method::Setup => Some(
                self.set_up(request, user)
                    .await
                    .unwrap_or_else(|status| self.to(request, status)),
            ),
            Method::Play => self.play(request, out).await,
            Method::Pause => Some(self.pause(request)),
            Method::Teardown => {
                let answer = self.to(request, if self.live.is_some() { 200 } else { 454 });
                self.live = None;
                out.discard_frames();
                Some(answer)
            }
            Method::GetParameter => Some(self.get_parameter(request)),
            Method::SetParameter => {
                Some(self.to(request, if request.body.is_empty() { 200 } else { 451 }))
            }
            Method::Announce | Method::Record | Method::Redirect => {
                Some(self.to(request, 405).with("Allow", PUBLIC))
            }
            Method::Other(_) => Some(self.to(request, 501).with("Public", PUBLIC)),
        }
    }

    /// An answer that names the session when there is one.
    fn to(&self, request: &Request, status: u16) -> Response {
        match &self.live {
            Some(live) => live.answer(request, status),
            None => Response::to(request, status),
        }
    }

    /// Nothing but OPTIONS goes further without a known user; nothing is asked of a recorder before. Gives back who it is,
    /// where users are known.
    async fn authenticate(&mut self, request: &Request) -> Result<Option<String>, Response> {
        if request.method == Method::Options {
            return Ok(None);
        }
        let ask = Ask {
            method: request.method.as_str(),
            uri: &request.uri,
            authorization: request.headers.get("Authorization"),
            secure: self.secure,
            now_s: (clock::wall().as_unix_ms() / 1000).max(0) as u64,
        };
        // Who was removed may end what plays, or keep it, and begin nothing.
        let begins = matches!(
            request.method,
            Method::Describe | Method::Setup | Method::Play
        );
        let house = if begins {
            self.hall.newest.load_full()
        } else {
            Arc::clone(&self.proved_to)
        };
        if !Arc::ptr_eq(&house, &self.proved_to) {
            self.login.forget_password();
        }
        let admitted = house.access.admit(ask, self.peer.ip(), &mut self.login);
        let user = match admitted.await {
            Ok(user) => {
                self.proved_to = Arc::clone(&house);
                let Some(user) = user else {
                    return Ok(None);
                };
                user
            }
            Err(Refusal::Challenge(values)) => {
                let answer = Response::to(request, 401);
                let challenged = values.into_iter().fold(answer, |answer, value| {
                    answer.with("WWW-Authenticate", value)
                });
                return Err(challenged);
            }
            Err(Refusal::Damped(wait)) => {
                let wait_s = wait.as_secs() + 1;
                return Err(Response::to(request, 403).with("Retry-After", wait_s));
            }
            Err(Refusal::Link(_)) => return Err(Response::to(request, 403)),
            Err(Refusal::Busy) => return Err(Response::to(request, 503)),
        };
        // A URL that names no camera reaches none.
        let named = self.target(request).ok().map(|target| target.camera);
        let playing = self
            .live
            .as_ref()
            .map(|live| &live.presentation.target.camera);
        let hidden = named
            .iter()
            .chain(playing)
            .find(|camera| !user.may_see(camera.as_str()));
        let Some(camera) = hidden else {
            return Ok(Some(user.name.clone()));
        };
        tracing::warn!(peer = %self.peer, user = user.name, %camera, "not this user's camera");
        Err(Response::to(request, 403))
    }

    /// What a request names: in a vendor's words where it is a name of one of our cameras, else in ours.
    fn target(&self, request: &Request) -> Result<Target, TargetError> {
        let named = self.hall.cameras.dialects.target(&request.uri);
        let mut target = named.unwrap_or_else(|| Target::parse(&request.uri))?;
        if let Some(id) = target.recording.take()
            && let Some(camera) = self.hall.cameras.get(&target.camera)
            && let Some(range) = camera.recording(&id)
        {
            target.start = Some(range.start());
            target.end = (range.end() != Timestamp::MAX).then(|| range.end());
        }
        Ok(target)
    }

    /// 454 for a session that is neither this connection's nor one that lost its own.
    async fn wrong_session(&mut self, request: &Request, user: Option<&str>) -> Option<Response> {
        let named = match request.headers.session() {
            Ok(None) => return None,
            Ok(Some(session)) => session.id,
            Err(error) => return Some(Response::to(request, error.status())),
        };
        if self.live.is_none() && self.udp {
            let sessions = &self.hall.sessions;
            let user = user.map(str::to_owned);
            self.live = sessions.claim(&named, self.peer.ip(), user).await;
        }
        let ours = self.live.as_ref().is_some_and(|live| live.id == named);
        (!ours).then(|| Response::to(request, 454))
    }

    async fn presentation(&mut self, target: &Target) -> Result<Presentation, u16> {
        if let Some(known) = self
            .described
            .as_ref()
            .filter(|known| known.target.same_presentation(target))
        {
            return Ok(known.clone());
        }
        let mut camera = self.hall.cameras.get(&target.camera).ok_or(404_u16)?;
        if target.live {
            camera = Arc::new(camera.as_live());
        }
        let description = camera.describe().await.map_err(|error| {
            tracing::warn!(camera = %camera.id(), %error, "no recorder describes the camera");
            503_u16
        })?;
        if target.start.is_none() {
            camera.look_up(Timestamp::EPOCH).await;
        }
        let start = target
            .start
            .or_else(|| camera.first_recorded())
            .unwrap_or(Timestamp::EPOCH);
        let presentation = Presentation {
            target: Target {
                track: None,
                ..target.clone()
            },
            camera,
            tracks: description.tracks.into(),
            window: Window {
                start,
                end: target.end,
                pinned: target.pinned,
                floor: target.start,
                here: None,
            },
        };
        self.described = Some(presentation.clone());
        Ok(presentation)
    }

    async fn describe(&mut self, request: &Request) -> Result<Response, u16> {
        let target = self.target(request).map_err(TargetError::status)?;
        // A new DESCRIBE looks again: the coverage may have changed.
        self.described = None;
        let presentation = self.presentation(&target).await?;
        let Window { start, end, .. } = presentation.window;
        // Without ONVIF, GStreamer takes the seconds since 1900 of a clock range for npt and asks for those.
        let range = if request.headers.requires_onvif_replay() && start != Timestamp::EPOCH {
            Range::Clock {
                start: Some(clock_time(start)),
                end: end.map(clock_time),
            }
        } else {
            let length = end.map(|end| end.micros_since(start).max(0) as u64);
            Range::Npt {
                start: Some(NptTime::ZERO),
                end: length.map(NptTime::from_micros),
            }
        };
        let mut tracks = presentation.tracks.to_vec();
        let copies = presentation.camera.slot.camera().copies.len();
        players::spare(request, copies, &mut tracks);
        let body = Description {
            tracks,
            range: Some(range),
            control: String::new(),
        }
        .write(
            presentation.target.camera.as_str(),
            clock::wall().as_unix_ms().unsigned_abs(),
            self.local.ip(),
        );
        let base = format!(
            "{}/{}/",
            self.origin(&request.uri),
            presentation.target.path()
        );
        Ok(self
            .to(request, 200)
            .with("Content-Base", base)
            .with_body("application/sdp", body))
    }

    /// Scheme and address by which the client reached us: the address may be translated on the way.
    fn origin(&self, uri: &str) -> String {
        let Ok(url) = RtspUrl::parse(uri) else {
            return format!("rtsp://{}", self.local);
        };
        let scheme = if url.is_secure() { "rtsps" } else { "rtsp" };
        format!("{scheme}://{}", url.authority())
    }

    async fn set_up(&mut self, request: &Request, user: Option<String>) -> Result<Response, u16> {
        let target = self.target(request).map_err(TargetError::status)?;
        if self.playing() || self.playback().is_some_and(Playback::paused) {
            return Err(455);
        }
        let offers = request.headers.transports();
        let terms = Terms {
            peer: self.peer.ip(),
            udp: self.udp,
            settled: None,
        };
        // Before a recorder is asked for anything.
        if carrier::acceptable(&offers, terms).next().is_none() {
            return Err(461);
        }
        let presentation = match &self.live {
            Some(live) if live.presentation.target.same_presentation(&target) => {
                live.presentation.clone()
            }
            // One session plays one camera.
            Some(_) => return Err(459),
            None => self.presentation(&target).await?,
        };
        let track = match target.track {
            Some(track) => track,
            None if presentation.tracks.len() == 1 => 0,
            None => return Err(459),
        };
        if track >= presentation.tracks.len() {
            return Err(404);
        }
        let ends = Ends {
            hall: &self.hall,
            peer: self.peer.ip(),
            local: self.local.ip(),
        };
        let live = self
            .live
            .get_or_insert_with(|| Box::new(Live::new(presentation, user)));
        let terms = Terms {
            settled: live.settled(track),
            ..terms
        };
        let agreed = carrier::acceptable(&offers, terms)
            .find_map(|carrier| live.carry(track, carrier, &ends));
        let Some((channels, transport)) = agreed else {
            if live.tracks.iter().all(Option::is_none) {
                self.live = None;
            }
            return Err(461);
        };
        let ssrc = live
            .tracks
            .get(track)
            .and_then(Option::as_ref)
            .map_or_else(rand::random, |set_up| set_up.ssrc);
        if let Some(slot) = live.tracks.get_mut(track) {
            *slot = Some(SetUp {
                channels,
                ssrc,
                url: request.uri.clone(),
            });
        }
        // Its tracks are another set now: the next PLAY makes its playback anew.
        live.playback = None;
        let transport = Transport {
            ssrc: Some(ssrc),
            ..transport
        };
        Ok(live.answer(request, 200).with("Transport", transport))
    }

    async fn play(&mut self, request: &Request, out: &mut OutQueue) -> Option<Response> {
        let target = self.target(request);
        let Some(live) = &mut self.live else {
            return Some(Response::to(request, 455));
        };
        if !target.is_ok_and(|target| live.is_aggregate(&target)) {
            return Some(live.answer(request, 460));
        }
        let cseq = request.cseq().unwrap_or(0);
        let has_range = request.headers.get("Range").is_some();
        // Without a range a play that runs or is held goes on where it stands.
        let goes_on = !has_range
            && live
                .playback
                .as_ref()
                .is_some_and(|playback| playback.active() || playback.paused());
        let scale = request.headers.scale().ok().flatten();
        if live.presentation.target.live && !goes_on {
            // A live URL with a time in `Range` asks for what is recorded, as at Nx.
            let range = request.headers.range().ok().flatten();
            let recorded = matches!(range, Some(Range::Clock { .. }))
                && range.is_some_and(|range| !range.expresses_no_wish());
            let id = live.presentation.target.camera.clone();
            if let Some(camera) = self
                .hall
                .cameras
                .get(&id)
                .filter(|_| recorded == live.presentation.camera.live)
            {
                live.presentation.camera = if recorded {
                    camera
                } else {
                    Arc::new(camera.as_live())
                };
                live.playback = None;
            }
        }
        let window = if live.presentation.camera.live {
            // Whatever was named: there is one instant to start at.
            Window {
                start: clock::wall(),
                end: None,
                floor: None,
                here: None,
                pinned: true,
            }
        } else if goes_on {
            live.rest(scale.map_or(live.backwards(), Scale::is_reverse))
        } else {
            live.presentation.window
        };
        // Where it names no direction, it keeps the one it has.
        let direction = match scale {
            None if goes_on && live.backwards() => Direction::Reverse,
            Some(scale) if scale.is_reverse() => Direction::Reverse,
            _ => Direction::Forward,
        };
        let mut play = match Play::read(&request.headers, direction, cseq, window, clock::wall()) {
            Ok(play) => play,
            Err(refusal) => return Some(live.answer(request, refusal.0)),
        };
        if goes_on && let Some(answer) = live.go_on(request, &mut play) {
            return Some(answer);
        }
        let camera = &live.presentation.camera;
        // No network when the index is fresh.
        camera.look_up(play.request.at).await;
        let soundings = &camera.soundings;
        soundings.ahead(camera, play.request.at, play.request.direction);
        // A refused PLAY leaves what plays alone (RFC 2326 Appendix A).
        if camera.holds_nothing(&play.request) {
            return Some(live.answer(request, 457));
        }
        live.discard_media(out);
        let journal = self.hall.cameras.journal.of(Client {
            peer: self.peer,
            user: live.user().map(str::to_owned),
            transport: if live.is_udp() {
                "rtsp/udp"
            } else {
                self.carrier
            },
        });
        live.begin(request, play, journal);
        None
    }

    /// Answers a PLAY that still waits for its first unit, because what the client asks next makes it pointless.
    pub(super) fn answer_now(&mut self) -> Option<Response> {
        let live = self.live.as_mut()?;
        let pending = live.pending.take()?;
        let range = pending
            .play
            .answer(pending.play.request.at, live.presentation.window);
        // Without RTP-Info: a wrong one is worse than none.
        Some(live.answer(&pending.request, 200).with("Range", range))
    }

    fn pause(&mut self, request: &Request) -> Response {
        let Some(live) = &mut self.live else {
            return Response::to(request, 455);
        };
        let Some(playback) = &mut live.playback else {
            return live.answer(request, 455);
        };
        let point = match live.presentation.window.instant(&request.headers) {
            Ok(point) => point,
            Err(refusal) => return live.answer(request, refusal.0),
        };
        let at = match point {
            // The pause point lies ahead (RFC 2326 §10.6).
            Some(point) if playback.pause_at(point) => point,
            Some(point) if !playback.paused() || point != playback.position() => {
                return live.answer(request, 457);
            }
            _ => playback.pause(),
        };
        live.answer(request, 200).with(
            "Range",
            Range::Clock {
                start: Some(clock_time(at)),
                end: None,
            },
        )
    }

    fn get_parameter(&self, request: &Request) -> Response {
        let answer = self.to(request, 200);
        if request.body.is_empty() {
            return answer;
        }
        let asks_position =
            std::str::from_utf8(&request.body).is_ok_and(|body| body.trim() == "position");
        match (
            asks_position,
            self.live
                .as_ref()
                .and_then(|live| Some((live, live.playback.as_ref()?))),
        ) {
            (true, Some((live, playback))) => {
                let npt_us = playback
                    .position()
                    .micros_since(live.presentation.window.start)
                    .max(0);
                let body = format!("position: {}\r\n", NptTime::from_micros(npt_us as u64));
                answer.with_body("text/parameters", body)
            }
            _ => self.to(request, 451),
        }
    }
}
