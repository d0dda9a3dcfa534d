//! Recorders that replay by RTSP and list nothing: whether they answer, and what they would send.
//!
//! What they hold is learned from the playbacks that are opened.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::ClientConfig;
use seamline_routing::Coverage;
use seamline_rtsp::{
    Framer, Incoming, Method, Request, RtspUrl,
    client::{ClientError, ClientEvent, Config, ReplayClient, TrackChoice},
    sdp::Description,
    url::Credentials,
};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    build_error::BuildError,
    clock::Clock,
    http::trusting,
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    replay::{Face, Template, ZoneOf},
    service_config::service_config,
    stream::Stream,
    zone::Zone,
};

service_config! {
    /// Where a recorder's replay service is.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
    pub struct RtspConfig {
        /// `rtsp://host[:port]/path`, or `rtsps://` inside TLS, with `{camera}` where the copy's own name belongs, else it is
        /// added to the path. With `{start:FORMAT}`, and `{end:FORMAT}` where the recorder wants one, the
        /// time is asked for in the URL and not by `Range`; FORMAT is that of strftime, or `ms` or `s` since
        /// 1970.
        pub url: String,
        /// As `url`, of what a camera sees now. Without it the recorder is not asked for that.
        #[serde(default)]
        pub live: Option<String>,
        /// The zone of the times in the URL; UTC when not given.
        #[serde(default)]
        pub zone: Option<Zone>,
    }
}

/// Addresses and credentials of a recorder's replay service.
#[derive(Debug, Clone)]
pub struct RtspSource {
    template: String,
    /// The template is one camera's URL.
    fixed: bool,
    live: Option<String>,
    credentials: Option<Credentials>,
    tls: Option<Arc<ClientConfig>>,
}

impl RtspSource {
    /// One camera's URL as it is.
    pub(crate) fn of_camera(
        url: &RtspUrl,
        credentials: Option<Credentials>,
        tls: Arc<ClientConfig>,
    ) -> Self {
        Self {
            // No part of what a recorder names is filled in.
            template: url.as_str().to_owned(),
            fixed: true,
            live: None,
            credentials,
            tls: Some(tls),
        }
    }

    /// The URL that plays a camera.
    pub fn url(&self, remote: &str) -> Result<RtspUrl, seamline_rtsp::url::UrlError> {
        if self.fixed {
            return RtspUrl::parse(&self.template);
        }
        RtspUrl::parse(&filled(&self.template, remote))
    }

    /// The URL of what a camera sees now, where one is configured.
    pub fn live_url(&self, remote: &str) -> Option<RtspUrl> {
        let live = self.live.as_deref()?;
        RtspUrl::parse(&filled(live, remote)).ok()
    }

    /// The credentials to play with.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// How TLS is spoken where a URL wants it.
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }
}

/// A template with a camera's own name where it belongs.
fn filled(template: &str, remote: &str) -> String {
    if template.contains(CAMERA) {
        return template.replace(CAMERA, remote);
    }
    let base = template.trim_end_matches('/');
    format!("{base}/{}", remote.trim_start_matches('/'))
}

/// A recorder that can be asked for what it plays.
#[derive(Debug)]
pub struct RtspRecorder {
    source: Arc<RtspSource>,
    /// Where the time is asked for in the URL.
    by_url: Option<Face>,
}

impl RtspRecorder {
    /// Checks the URL and reads the password.
    pub fn new(config: &RtspConfig, clock: Clock) -> Result<Self, BuildError> {
        let mut source = RtspSource {
            template: config.url.clone(),
            fixed: false,
            live: config.live.clone(),
            credentials: config.login()?.map(|login| Credentials {
                user: login.username,
                password: login.password.reveal().to_owned(),
            }),
            tls: None,
        };
        let mut secure = false;
        let wrong = |reason: String| BuildError::Url {
            url: config.url.clone(),
            reason,
        };
        let template = Template::has_times(&config.url)
            .then(|| Template::new(&config.url))
            .transpose()
            .map_err(|error| wrong(error.to_string()))?;
        if template.is_none() && config.zone.is_some() {
            return Err(BuildError::Zone(
                "a zone is that of times in the URL, and it has none",
            ));
        }
        for url in [Some(&config.url), config.live.as_ref()]
            .into_iter()
            .flatten()
        {
            // Places of times stand behind the host.
            let sample = url.replace(CAMERA, "camera");
            let (url, inline) = RtspUrl::parse_with_credentials(&sample)
                .map_err(|error| wrong(error.to_string()))?;
            secure |= url.is_secure();
            if inline.is_some() {
                let url = "rtsp://…".to_owned();
                let reason = "state user name and password in their own fields".to_owned();
                return Err(BuildError::Url { url, reason });
            }
        }
        let trust = config.trust();
        if secure {
            source.tls = Some(Arc::new(trusting(trust)?));
        } else if let Some(field) = trust.stated() {
            let reason = "only rtsps:// shows a certificate";
            return Err(BuildError::Trust(field, reason.to_owned()));
        }
        let by_url = template.map(|template| {
            let zone = ZoneOf::Configured(config.zone.clone().unwrap_or(Zone::UTC));
            Face::new(
                template,
                config.live.clone(),
                zone,
                (source.credentials.clone(), source.tls.clone()),
                clock,
            )
        });
        Ok(Self {
            source: Arc::new(source),
            by_url,
        })
    }
}

/// Whether anything that speaks RTSP answers at a URL's host.
async fn options(url: &RtspUrl, tls: Option<&Arc<ClientConfig>>) -> Result<(), ProbeError> {
    let mut talk = Talk::begin(url, tls).await?;
    // No camera is named: some recorders ask for credentials as soon as one is.
    let scheme = if url.is_secure() { "rtsps" } else { "rtsp" };
    let request = Request::new(Method::Options, format!("{scheme}://{}/", url.authority()))
        .with("CSeq", 1)
        .with("User-Agent", USER_AGENT);
    talk.say(&request.encode()).await?;
    // Whatever it says, it says something.
    while !matches!(talk.next().await?, Incoming::Response(_)) {}
    Ok(())
}

impl RtspSource {
    /// The tracks that are played for a camera.
    pub(crate) async fn description(&self, remote: &str) -> Result<Description, ProbeError> {
        let url = self.url(remote).map_err(unusable)?;
        describe(&url, self.credentials(), self.tls()).await
    }
}

/// The tracks that a URL plays.
pub(crate) async fn describe(
    url: &RtspUrl,
    credentials: Option<&Credentials>,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Description, ProbeError> {
    let mut talk = Talk::begin(url, tls).await?;
    let mut client = ReplayClient::new(Config {
        credentials: credentials.cloned(),
        allow_basic: url.is_secure(),
        // What is live is described as well.
        onvif: false,
        tracks: TrackChoice::Named,
        ..Config::new(url.clone())
    });
    loop {
        while let Some(bytes) = client.poll_transmit() {
            talk.say(&bytes).await?;
        }
        match talk.next().await? {
            Incoming::Response(response) => client.handle_response(&response),
            Incoming::Request(request) => client.handle_request(&request),
            Incoming::Frame { .. } => Ok(()),
        }
        .map_err(|error| answered(&error))?;
        while let Some(event) = client.poll_event() {
            if let ClientEvent::Described(description) = event {
                return Ok(description);
            }
        }
    }
}

/// A connection on which something is asked.
struct Talk {
    stream: Stream,
    framer: Framer,
    buffer: BytesMut,
}

impl Talk {
    async fn begin(url: &RtspUrl, tls: Option<&Arc<ClientConfig>>) -> Result<Self, ProbeError> {
        let stream = Stream::connect(url.host(), url.port(), None)
            .await
            .map_err(|error| ProbeError::connecting(&error))?;
        let stream = if url.is_secure() {
            let sealed = stream.seal(url.host(), tls).await;
            sealed.map_err(|why| ProbeError::Unreachable(why.into()))?
        } else {
            stream
        };
        Ok(Self {
            stream,
            framer: Framer::new(),
            buffer: BytesMut::with_capacity(4096),
        })
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), ProbeError> {
        self.stream.write_all(bytes).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    async fn next(&mut self) -> Result<Incoming, ProbeError> {
        loop {
            match self.framer.next(&mut self.buffer) {
                Ok(Some(incoming)) => return Ok(incoming),
                Ok(None) => {}
                Err(error) => return Err(ProbeError::protocol(error.to_string())),
            }
            if self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(broken)?
                == 0
            {
                return Err(ProbeError::Unreachable("closed without an answer".into()));
            }
        }
    }
}

impl Recorder for RtspRecorder {
    fn lists_coverage(&self) -> bool {
        false
    }

    fn coverage(&self, _: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(std::future::ready(Ok(Coverage::unknown())))
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let url = self.source.url("").map_err(unusable)?;
            options(&url, self.source.tls()).await
        })
    }

    fn describe(&self, remote: Arc<str>) -> Answer<'_, Description> {
        Box::pin(async move {
            match &self.by_url {
                Some(face) => face.describe(&remote).await,
                None => self.source.description(&remote).await,
            }
        })
    }

    fn media(&self) -> MediaSource {
        match &self.by_url {
            Some(face) => face.media(),
            None => MediaSource::Rtsp(Arc::clone(&self.source)),
        }
    }
}

fn answered(error: &ClientError) -> ProbeError {
    match error {
        ClientError::Unauthorized(_) | ClientError::Status(407) => ProbeError::Credentials,
        ClientError::NotFound => ProbeError::NotFound,
        ClientError::Busy { .. } => ProbeError::Busy,
        other => ProbeError::protocol(other.to_string()),
    }
}

fn unusable(error: seamline_rtsp::url::UrlError) -> ProbeError {
    ProbeError::protocol(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn broken(error: std::io::Error) -> ProbeError {
    ProbeError::Unreachable(error.to_string().into())
}

const CAMERA: &str = "{camera}";
const USER_AGENT: &str = concat!("seamline/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{login::Secret, testing::sealed};

    const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=control:*\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=64000D;\
        sprop-parameter-sets=Z2QADazZQUH7ARAAAAMAEAAAAwMg8UKZYA==,aOvjyyLA\r\na=control:trackID=1\r\n";

    /// Answers each request head with the next text; `None` never answers.
    async fn server(answers: Vec<Option<String>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    match answers.next().flatten() {
                        Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                        None => std::future::pending().await,
                    }
                }
            }
        });
        format!("rtsp://{address}/replay")
    }

    fn recorder(url: &str) -> RtspRecorder {
        let config = RtspConfig {
            url: url.to_owned(),
            username: Some("viewer".to_owned()),
            password: Some(Secret::from("secret".to_owned())),
            ..RtspConfig::default()
        };
        RtspRecorder::new(&config, Clock::System).unwrap()
    }

    fn described() -> String {
        let length = SDP.len();
        format!(
            "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}"
        )
    }

    #[test]
    fn the_camera_goes_where_the_url_says() {
        for (url, remote, expected) in [
            ("rtsp://nvr:554", "cam 1", "rtsp://nvr:554/cam%201"),
            ("rtsp://nvr/replay/", "/ch1", "rtsp://nvr/replay/ch1"),
            ("rtsp://nvr/{camera}/track1", "ch1", "rtsp://nvr/ch1/track1"),
            (
                "rtsp://nvr/play?channel={camera}",
                "3",
                "rtsp://nvr/play?channel=3",
            ),
        ] {
            let recorder = recorder(url);
            assert_eq!(recorder.source.url(remote).unwrap().as_str(), expected);
        }
    }

    #[tokio::test]
    async fn any_answer_shows_life() {
        for answer in [
            "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n",
        ] {
            let url = server(vec![Some(answer.to_owned())]).await;
            recorder(&url).ping().await.unwrap();
        }
        let url = server(vec![Some("HTTP/1.1 400 Bad Request\r\n\r\n".to_owned())]).await;
        assert!(matches!(
            recorder(&url).ping().await,
            Err(ProbeError::Protocol(_))
        ));
    }

    #[tokio::test]
    async fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("rtsp://{}/", listener.local_addr().unwrap());
        drop(listener);
        let recorder = recorder(&url);
        assert_eq!(recorder.ping().await, Err(ProbeError::Refused));
        assert_eq!(
            recorder.describe("gate".into()).await,
            Err(ProbeError::Refused)
        );
    }

    #[tokio::test]
    async fn tracks_are_described() {
        let url = server(vec![Some(described())]).await;
        let description = recorder(&url).describe("gate".into()).await.unwrap();
        let [video] = &description.tracks[..] else {
            panic!("one track");
        };
        assert_eq!(video.encoding, "H264");
        assert_eq!(video.parameter("profile-level-id"), Some("64000D"));
    }

    #[tokio::test]
    async fn refusals_keep_their_meaning() {
        for (status, error) in [
            (404, ProbeError::NotFound),
            (403, ProbeError::Credentials),
            (453, ProbeError::Busy),
        ] {
            let answer = format!("RTSP/1.0 {status} No\r\nCSeq: 1\r\n\r\n");
            let url = server(vec![Some(answer)]).await;
            let refused = recorder(&url).describe("gate".into()).await;
            assert_eq!(refused, Err(error), "{status}");
        }
    }

    #[tokio::test]
    async fn a_password_that_is_not_accepted_is_sent_once() {
        let challenge = |cseq| {
            Some(format!(
                "RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: Digest realm=\"nvr\", nonce=\"ab\"\r\n\r\n"
            ))
        };
        let url = server(vec![challenge(1), challenge(2), Some(described())]).await;
        let refused = recorder(&url).describe("gate".into()).await;
        assert_eq!(refused, Err(ProbeError::Credentials));
    }

    /// What a recorder answers that wants Basic, and describes itself.
    fn guarded(asked: &str) -> String {
        let cseq = asked.lines().find(|line| line.starts_with("CSeq")).unwrap();
        match () {
            () if asked.starts_with("OPTIONS") => format!("RTSP/1.0 200 OK\r\n{cseq}\r\n\r\n"),
            // viewer:secret
            () if asked.contains("Basic dmlld2VyOnNlY3JldA==") => {
                described().replace("CSeq: 1", cseq)
            }
            () => format!(
                "RTSP/1.0 401 No\r\n{cseq}\r\nWWW-Authenticate: Basic realm=\"nvr\"\r\n\r\n"
            ),
        }
    }

    #[tokio::test]
    async fn inside_tls_only_a_recorder_that_is_trusted_is_spoken_to() {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("own.pem");
        std::fs::write(&ca_file, own.cert.pem()).unwrap();
        let url = format!("rtsps://localhost:{}/replay", sealed(&own, guarded).await);
        let config = RtspConfig {
            url: url.clone(),
            username: Some("viewer".to_owned()),
            password: Some(Secret::from("secret".to_owned())),
            ..RtspConfig::default()
        };
        for (ca_file, insecure, trusted) in [
            (None, false, false),
            (Some(ca_file), false, true),
            (None, true, true),
        ] {
            let config = RtspConfig {
                ca_file,
                insecure,
                ..config.clone()
            };
            let recorder = RtspRecorder::new(&config, Clock::System).unwrap();
            if trusted {
                recorder.ping().await.unwrap();
                let description = recorder.describe("gate".into()).await.unwrap();
                assert_eq!(description.tracks.len(), 1);
                continue;
            }
            for refused in [
                recorder.ping().await,
                recorder.describe("gate".into()).await.map(drop),
            ] {
                let Err(ProbeError::Unreachable(why)) = refused else {
                    panic!("{refused:?}");
                };
                assert!(why.contains("certificate"), "{why}");
            }
        }
        // Who speaks no TLS learns nothing by being asked to.
        let plain = server(vec![Some("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n".to_owned())]).await;
        let config = RtspConfig {
            url: plain.replacen("rtsp:", "rtsps:", 1),
            insecure: true,
            ..config
        };
        let recorder = RtspRecorder::new(&config, Clock::System).unwrap();
        let refused = recorder.ping().await;
        assert!(
            matches!(refused, Err(ProbeError::Unreachable(_))),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn nothing_is_listed() {
        let recorder = recorder("rtsp://nvr");
        assert!(!recorder.lists_coverage());
        let query = CoverageQuery {
            remote: "gate".into(),
            window: seamline_routing::TimeRange::ALL,
        };
        assert_eq!(recorder.coverage(query).await, Ok(Coverage::unknown()));
    }
}
