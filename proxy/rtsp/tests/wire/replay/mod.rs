//! The replay client against a scripted recorder.

mod chaos;
mod login;
mod refusals;
mod session;
mod unasked;

use bytes::BytesMut;
use seamline_rtsp::client::{ClientError, ClientEvent, Config, PlayRequest, ReplayClient};
use seamline_rtsp::headers::{Range, RateControl};
use seamline_rtsp::url::Credentials;
use seamline_rtsp::{Framer, Incoming, Method, Request, Response, RtspUrl};

const URL: &str = "rtsp://recorder:554/rec/7";
const SDP: &str = "v=0\r\ns=x\r\na=control:*\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\n\
    m=audio 0 RTP/AVP 8\r\na=control:trackID=2\r\n";

/// A recorder that sees what the client writes and answers as the test says.
struct Recorder {
    client: ReplayClient,
}

impl Recorder {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(RtspUrl::parse(URL).expect("URL"));
        config.play = Some(play());
        change(&mut config);
        Self {
            client: ReplayClient::new(config),
        }
    }

    /// A recorder whose client plays.
    fn playing() -> Self {
        let mut recorder = Self::new(|_| {});
        recorder.describe();
        recorder.set_up(2);
        let play = recorder.asked(&Method::Play);
        recorder.answer(&Response::to(&play, 200)).expect("playing");
        while recorder.client.poll_event().is_some() {}
        recorder
    }

    /// The next request on the wire.
    fn asked(&mut self, method: &Method) -> Request {
        match self.written() {
            Some(Incoming::Request(request)) if request.method == *method => request,
            other => panic!("{method} expected, not {other:?}"),
        }
    }

    fn written(&mut self) -> Option<Incoming> {
        let mut bytes = BytesMut::from(self.client.poll_transmit()?);
        let message = Framer::new()
            .next(&mut bytes)
            .expect("RTSP")
            .expect("a whole message");
        assert!(bytes.is_empty());
        Some(message)
    }

    fn silent(&mut self) {
        assert_eq!(self.written(), None);
    }

    fn answer(&mut self, response: &Response) -> Result<(), ClientError> {
        self.client.handle_response(response)
    }

    fn reply(&mut self, method: &Method, status: u16) -> Result<(), ClientError> {
        let request = self.asked(method);
        self.answer(&Response::to(&request, status))
    }

    fn describe(&mut self) {
        let describe = self.asked(&Method::Describe);
        self.answer(&described(&describe)).expect("described");
    }

    fn set_up(&mut self, tracks: usize) {
        for _ in 0..tracks {
            let setup = self.asked(&Method::Setup);
            self.answer(&set_up(&setup)).expect("set up");
        }
    }

    fn event(&mut self) -> ClientEvent {
        self.client.poll_event().expect("an event")
    }
}

fn play() -> PlayRequest {
    PlayRequest {
        range: Range::parse("clock=20260102T030405.25Z-20260102T031500Z").ok(),
        rate_control: Some(RateControl::No),
        ..PlayRequest::default()
    }
}

fn described(request: &Request) -> Response {
    Response::to(request, 200)
        .with("Content-Base", "rtsp://recorder:554/rec/7/")
        .with_body("application/sdp", SDP)
}

fn set_up(request: &Request) -> Response {
    let transport = request
        .headers
        .get("Transport")
        .expect("Transport")
        .to_owned();
    Response::to(request, 200)
        .with("Session", "abc.-9;timeout=30")
        .with("Transport", transport)
}

fn digest(request: &Request, nonce: &str, more: &str) -> Response {
    let challenge = format!("Digest realm=\"nvr\", nonce=\"{nonce}\"{more}");
    Response::to(request, 401).with("WWW-Authenticate", challenge)
}

fn nonce_of(request: &Request) -> Option<&str> {
    request
        .headers
        .get("Authorization")?
        .split("nonce=\"")
        .nth(1)?
        .split('"')
        .next()
}

fn with_credentials(config: &mut Config) {
    config.credentials = Some(Credentials {
        user: "viewer".to_owned(),
        password: "s3cret".to_owned(),
    });
}
