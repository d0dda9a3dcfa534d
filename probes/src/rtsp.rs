//! Recorders that replay by RTSP and list nothing: whether they answer, and what they would send.
//!
//! What they hold is learned from the playbacks that are opened.

use std::{path::PathBuf, sync::Arc};

use bytes::BytesMut;
use retina::client::{Session, SessionOptions};
use seamline_routing::Coverage;
use seamline_rtsp::{
    Framer, Incoming, Method, Request, RtspUrl, sdp::Description, url::Credentials,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    clock::Clock,
    kinds::{BuildError, LoginFields, Secret},
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    replay::{Face, Template, ZoneOf},
    zone::Zone,
};

/// Where a recorder's replay service is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtspConfig {
    /// `rtsp://host[:port]/path`, with `{camera}` where the copy's own name belongs, else it is
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
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password in clear.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    #[serde(default)]
    pub password_env: Option<String>,
}

/// Addresses and credentials of a recorder's replay service.
#[derive(Debug, Clone)]
pub struct RtspSource {
    template: String,
    /// The template is one camera's URL.
    fixed: bool,
    live: Option<String>,
    credentials: Option<Credentials>,
}

impl RtspSource {
    /// One camera's URL as it is.
    pub(crate) fn of_camera(url: &RtspUrl, credentials: Option<Credentials>) -> Self {
        Self {
            // No part of what a recorder names is filled in.
            template: url.as_str().to_owned(),
            fixed: true,
            live: None,
            credentials,
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
        let login = LoginFields {
            username: config.username.as_deref(),
            password: config.password.as_ref(),
            password_file: config.password_file.as_ref(),
            password_env: config.password_env.as_deref(),
        };
        let source = RtspSource {
            template: config.url.clone(),
            fixed: false,
            live: config.live.clone(),
            credentials: login.read()?.map(|login| Credentials {
                user: login.username,
                password: login.password.reveal().to_owned(),
            }),
        };
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
            if url.is_secure() {
                return Err(wrong("rtsps is not supported yet".to_owned()));
            }
            if inline.is_some() {
                let url = "rtsp://…".to_owned();
                let reason = "state user name and password in their own fields".to_owned();
                return Err(BuildError::Url { url, reason });
            }
        }
        let by_url = template.map(|template| {
            let zone = ZoneOf::Configured(config.zone.clone().unwrap_or(Zone::UTC));
            Face::new(
                template,
                config.live.clone(),
                zone,
                source.credentials.clone(),
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
pub(crate) async fn options(url: &RtspUrl) -> Result<(), ProbeError> {
    // No camera is named: some recorders ask for credentials as soon as one is.
    let url = format!("rtsp://{}/", url.authority());
    let target = RtspUrl::parse(&url).map_err(unusable)?;
    let mut stream = connect(&target).await?;
    let request = Request::new(Method::Options, url)
        .with("CSeq", 1)
        .with("User-Agent", USER_AGENT);
    stream.write_all(&request.encode()).await.map_err(broken)?;
    let mut framer = Framer::new();
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        match framer.next(&mut buffer) {
            // Whatever it says, it says something.
            Ok(Some(Incoming::Response(_))) => return Ok(()),
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => return Err(ProbeError::protocol(error.to_string())),
        }
        if stream.read_buf(&mut buffer).await.map_err(broken)? == 0 {
            return Err(ProbeError::Unreachable("closed without an answer".into()));
        }
    }
}

impl RtspSource {
    /// The tracks that are played for a camera.
    pub(crate) async fn description(&self, remote: &str) -> Result<Description, ProbeError> {
        let url = self.url(remote).map_err(unusable)?;
        describe(&url, self.credentials()).await
    }
}

/// The tracks that a URL plays.
pub(crate) async fn describe(
    url: &RtspUrl,
    credentials: Option<&Credentials>,
) -> Result<Description, ProbeError> {
    // The library's error does not tell a refusal from a broken answer: the connection is
    // tried first.
    drop(connect(url).await?);
    let target =
        url::Url::parse(url.as_str()).map_err(|error| ProbeError::protocol(error.to_string()))?;
    let credentials = credentials.cloned();
    let options = SessionOptions::default()
        .user_agent(USER_AGENT.to_owned())
        .creds(credentials.map(|credentials| retina::client::Credentials {
            username: credentials.user,
            password: credentials.password,
        }));
    let session = Session::describe(target, options)
        .await
        .map_err(|error| answered(&error))?;
    Description::parse(session.sdp()).map_err(|error| ProbeError::protocol(error.to_string()))
}

/// A connection, or why there is none.
async fn connect(url: &RtspUrl) -> Result<TcpStream, ProbeError> {
    TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(|error| ProbeError::connecting(&error))
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
            options(&url).await
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

fn answered(error: &retina::Error) -> ProbeError {
    match error.status_code() {
        Some(401 | 403 | 407) => ProbeError::Credentials,
        Some(404 | 410) => ProbeError::NotFound,
        Some(453 | 503) => ProbeError::Busy,
        _ => {
            let text = error.to_string();
            // What follows the first line is the connection's history.
            ProbeError::protocol(text.lines().next().unwrap_or_default())
        }
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
            live: None,
            zone: None,
            username: Some("viewer".to_owned()),
            password: Some(Secret::from("secret".to_owned())),
            password_file: None,
            password_env: None,
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
