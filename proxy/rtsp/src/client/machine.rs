//! The state machine itself: its state, its owner's calls, and the requests that it sends.

mod requests;
mod responses;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::{ClientError, ClientEvent, Config, Phase, PlayRequest, SetUpTrack, TrackChoice};
use crate::auth::client::Answerer;
use crate::headers::{ONVIF_REPLAY, SESSION_TIMEOUT_S, Transport};
use crate::message::{Method, Request, Response};
use crate::sdp::{Description, TRACKS_MAX};
use crate::url::RtspUrl;

/// Most redirects followed within the recorder's own address.
pub const REDIRECTS_MAX: u32 = 3;
/// Most refreshes that wait for their answers.
const KEEP_ALIVES_MAX: usize = 32;
/// Longest time between two keep-alives, whatever timeout the recorder names.
pub const KEEP_ALIVE_S_MAX: u32 = 30;

/// A replay session at a recorder.
///
/// The owner connects, writes what [`poll_transmit`](Self::poll_transmit) gives, feeds what arrives into
/// [`handle_response`](Self::handle_response) and [`handle_request`](Self::handle_request), and keeps the deadlines.
/// Frames go past this machine: those that overtake the answer to PLAY are the owner's to keep.
#[derive(Debug)]
pub struct ReplayClient {
    phase: Phase,
    /// The URL of DESCRIBE, after redirects.
    url: RtspUrl,
    /// What control attributes are relative to.
    base: RtspUrl,
    /// The URL of requests for the whole session.
    aggregate: RtspUrl,
    answerer: Answerer,
    onvif: bool,
    track_choice: TrackChoice,
    play: Option<PlayRequest>,
    user_agent: String,
    description: Description,
    session_id: Option<String>,
    timeout_s: u32,
    queued_tracks: VecDeque<QueuedTrack>,
    tracks: Vec<SetUpTrack>,
    first_refusal: Option<u16>,
    keep_alive: Method,
    redirects: u32,
    stray_responses: u32,
    last_cseq: u32,
    pending: VecDeque<Pending>,
    outbox: VecDeque<Bytes>,
    events: VecDeque<ClientEvent>,
}

/// A track that waits for its SETUP, with the URLs that are still to be tried.
#[derive(Debug)]
struct QueuedTrack {
    track: usize,
    rtp_channel: u8,
    urls: VecDeque<RtspUrl>,
}

/// A request that waits for its response, without the headers that change when it is sent again.
#[derive(Debug)]
struct Pending {
    cseq: u32,
    step: Step,
    request: Request,
    /// How often it was sent with an `Authorization`.
    answers: u32,
    /// Whether it demanded ONVIF replay.
    demanding: bool,
}

#[derive(Debug)]
enum Step {
    Describe,
    SetUp(QueuedTrack, RtspUrl),
    Play,
    Pause,
    KeepAlive,
    TearDown,
}

impl ReplayClient {
    /// A session whose DESCRIBE is ready to be sent.
    pub fn new(config: Config) -> Self {
        let mut client = Self {
            phase: Phase::Describing,
            base: config.url.clone(),
            aggregate: config.url.clone(),
            url: config.url,
            answerer: Answerer::new(config.credentials, config.allow_basic),
            onvif: config.onvif,
            track_choice: config.tracks,
            play: config.play,
            user_agent: config.user_agent,
            description: Description::default(),
            session_id: None,
            timeout_s: SESSION_TIMEOUT_S,
            queued_tracks: VecDeque::new(),
            tracks: Vec::new(),
            first_refusal: None,
            keep_alive: Method::GetParameter,
            redirects: 0,
            stray_responses: 0,
            last_cseq: 0,
            pending: VecDeque::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        };
        client.describe();
        client
    }

    /// Where the session stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a response is outstanding, so that the response deadline runs.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many requests were made so far. While it stays the same, so does what is waited for.
    pub fn requests(&self) -> u32 {
        self.last_cseq
    }

    /// Whether the demand for ONVIF replay stands.
    pub fn is_onvif(&self) -> bool {
        self.onvif
    }

    /// What the recorder described; empty before it did.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The tracks that are set up.
    pub fn tracks(&self) -> &[SetUpTrack] {
        &self.tracks
    }

    /// How often [`keep_alive`](Self::keep_alive) is to be called: a third of the recorder's timeout.
    pub fn keep_alive_every(&self) -> Duration {
        Duration::from_secs((self.timeout_s / 3).clamp(1, KEEP_ALIVE_S_MAX).into())
    }

    /// The next bytes to write.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outbox.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Names the tracks to set up, by their index in the description, after [`ClientEvent::Described`].
    pub fn set_up(&mut self, tracks: &[usize]) -> Result<(), ClientError> {
        if self.phase != Phase::Described {
            return Ok(());
        }
        let named = tracks
            .iter()
            .filter_map(|&track| Some((track, self.description.tracks.get(track)?)));
        self.queued_tracks = named
            .take(TRACKS_MAX)
            .zip((0_u8..).step_by(2))
            .map(|((track, described), rtp_channel)| QueuedTrack {
                track,
                rtp_channel,
                urls: self.base.control(&described.control).into(),
            })
            .collect();
        self.phase = Phase::SettingUp;
        let outcome = self.set_up_next();
        self.fail_on(outcome)
    }

    /// Asks to play, in place of what [`Config::play`] said. Before the tracks are set up it is kept until then.
    pub fn play(&mut self, play: PlayRequest) {
        match self.phase {
            Phase::Ready | Phase::Starting | Phase::Playing => self.send_play(&play),
            Phase::Describing | Phase::Described | Phase::SettingUp => self.play = Some(play),
            Phase::Closing | Phase::Closed | Phase::Failed => {}
        }
    }

    /// Asks to pause what plays.
    pub fn pause(&mut self) {
        if matches!(self.phase, Phase::Starting | Phase::Playing) {
            let request = Request::new(Method::Pause, self.aggregate.as_str());
            self.send(Step::Pause, request, 0);
        }
    }

    /// Refreshes the session. Answers may be stuck behind media that nobody reads (ONVIF Streaming, keep-alive), so a
    /// refresh does not wait for the answer to the one before; when too many are outstanding the oldest is given up.
    pub fn keep_alive(&mut self) {
        let refresh = |pending: &Pending| matches!(pending.step, Step::KeepAlive);
        if self.session_id.is_some()
            && !matches!(self.phase, Phase::Closing | Phase::Closed | Phase::Failed)
        {
            if self
                .pending
                .iter()
                .filter(|pending| refresh(pending))
                .count()
                >= KEEP_ALIVES_MAX
                && let Some(oldest) = self.pending.iter().position(refresh)
            {
                self.pending.remove(oldest);
            }
            let request = Request::new(self.keep_alive.clone(), self.aggregate.as_str());
            self.send(Step::KeepAlive, request, 0);
        }
    }

    /// Ends the session. The owner may close the connection once the request is written.
    pub fn teardown(&mut self) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return;
        }
        if self.session_id.is_none() {
            self.phase = Phase::Closed;
            return;
        }
        self.phase = Phase::Closing;
        let request = Request::new(Method::Teardown, self.aggregate.as_str());
        self.send(Step::TearDown, request, 0);
    }

    /// Takes a response. After an error the session is over; what [`poll_transmit`](Self::poll_transmit) still gives
    /// may be written.
    pub fn handle_response(&mut self, response: &Response) -> Result<(), ClientError> {
        if matches!(self.phase, Phase::Closed | Phase::Failed) || response.status < 200 {
            return Ok(());
        }
        let outcome = match self.take_pending(response) {
            Some(pending) => self.answered(pending, response),
            None => self.stray_response(),
        };
        self.fail_on(outcome)
    }

    /// Answers a request of the recorder.
    pub fn handle_request(&mut self, request: &Request) -> Result<(), ClientError> {
        if matches!(self.phase, Phase::Closed | Phase::Failed) {
            return Ok(());
        }
        let outcome = self.answer(request);
        self.fail_on(outcome)
    }

    fn fail_on(&mut self, outcome: Result<(), ClientError>) -> Result<(), ClientError> {
        outcome.inspect_err(|_| self.phase = Phase::Failed)
    }

    fn describe(&mut self) {
        let request =
            Request::new(Method::Describe, self.url.as_str()).with("Accept", "application/sdp");
        self.send(Step::Describe, request, 0);
    }

    fn set_up_next(&mut self) -> Result<(), ClientError> {
        let Some(mut queued) = self.queued_tracks.pop_front() else {
            return self.all_set_up();
        };
        let Some(url) = queued.urls.pop_front() else {
            return Err(ClientError::Protocol("no usable control URL"));
        };
        let transport = Transport::interleaved(queued.rtp_channel, queued.rtp_channel + 1);
        let request = Request::new(Method::Setup, url.as_str()).with("Transport", transport);
        self.send(Step::SetUp(queued, url), request, 0);
        Ok(())
    }

    fn all_set_up(&mut self) -> Result<(), ClientError> {
        if self.tracks.is_empty() {
            let nothing_named = ClientError::Protocol("no track to set up");
            return Err(self
                .first_refusal
                .map_or(nothing_named, ClientError::from_status));
        }
        self.phase = Phase::Ready;
        self.emit(ClientEvent::Ready)?;
        if let Some(play) = self.play.take() {
            self.send_play(&play);
        }
        Ok(())
    }

    fn send_play(&mut self, play: &PlayRequest) {
        let mut request = Request::new(Method::Play, self.aggregate.as_str());
        let headers = &mut request.headers;
        let mut push = |name, value: Option<String>| {
            if let Some(value) = value {
                headers.push(name, value);
            }
        };
        push("Range", play.range.map(|range| range.to_string()));
        push("Scale", play.scale.map(|scale| scale.to_string()));
        push("Speed", play.speed.map(|speed| speed.to_string()));
        push(
            "Rate-Control",
            play.rate_control
                .map(|rate_control| rate_control.to_string()),
        );
        push("Frames", play.frames.map(|frames| frames.to_string()));
        push("Immediate", play.immediate.then(|| "yes".to_owned()));
        self.phase = Phase::Starting;
        self.send(Step::Play, request, 0);
    }

    fn emit(&mut self, event: ClientEvent) -> Result<(), ClientError> {
        if self.events.len() >= QUEUED_MAX {
            return Err(ClientError::Protocol("a flood of requests"));
        }
        self.events.push_back(event);
        Ok(())
    }

    /// Queues `request` with the headers of the moment. `answers` is how often it was sent with an `Authorization`.
    fn send(&mut self, step: Step, request: Request, answers: u32) {
        let cseq = self.last_cseq + 1;
        self.last_cseq = cseq;
        let mut sent = Request::new(request.method.clone(), request.uri.clone()).with("CSeq", cseq);
        sent.headers.push("User-Agent", &self.user_agent);
        if let Some(id) = &self.session_id {
            sent.headers.push("Session", id);
        }
        let authorization = self.answerer.authorization(&request.method, &request.uri);
        let answers = answers + u32::from(authorization.is_some());
        if let Some(authorization) = authorization {
            sent.headers.push("Authorization", authorization);
        }
        let demanding = self.onvif && matches!(step, Step::Describe | Step::SetUp(..) | Step::Play);
        if demanding {
            sent.headers.push("Require", ONVIF_REPLAY);
        }
        for (name, value) in request.headers.iter() {
            sent.headers.push(name.to_owned(), value);
        }
        self.outbox.push_back(sent.encode().freeze());
        self.pending.push_back(Pending {
            cseq,
            step,
            request,
            answers,
            demanding,
        });
    }
}

/// Most answers and events that wait for the owner.
const QUEUED_MAX: usize = 64;
