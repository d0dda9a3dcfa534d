//! What a recorder is asked to play a time: by a `Range`, by times in the URL, or by the name of a recording.

mod book;
mod template;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use seamline_routing::{TimeRange, Timestamp};
use seamline_rtsp::{
    RtspUrl,
    sdp::Description,
    url::{Credentials, UrlError},
};

use crate::{
    build_error::BuildError,
    clock::Clock,
    http::{HttpConfig, tls},
    login::Login,
    recorder::{Answer, CoverageQuery, MediaSource, ProbeError, Recorder},
    rtsp,
    zone::Zone,
};

pub use book::{Book, Recording};
pub(crate) use template::Template;

/// What to send for a play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The URL.
    pub url: RtspUrl,
    /// How the recorder learns the start.
    pub start: Start,
    /// Whether to demand ONVIF replay.
    pub onvif: bool,
}

/// How a recorder learns where to start, on its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// By `Range: clock=` from this instant on.
    Range(Timestamp),
    /// By the URL, which says this instant: `npt=0` is there.
    Url(Timestamp),
}

/// Why a recorder cannot be asked to play a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The recorder's own name of the camera makes no URL.
    #[error("unusable URL: {0}")]
    Url(#[from] UrlError),
    /// Its times are local ones, of a zone that is not known yet.
    #[error(
        "the zone of its times is not known: it was not asked yet, or `zone` must be configured"
    )]
    Zone,
    /// Its clocks show the asked time twice: it may play the other hour.
    #[error("its clocks show the asked time twice")]
    Repeated,
    /// It lists no recording there.
    #[error("no recording is listed there")]
    NoRecording,
}

/// The zone of a recorder's times: configured, or learned from the recorder.
#[derive(Debug, Clone)]
pub(crate) enum ZoneOf {
    Configured(Zone),
    Learned(Arc<ArcSwapOption<Zone>>),
}

impl ZoneOf {
    /// As configured, else to be learned.
    pub(crate) fn new(configured: Option<Zone>) -> Self {
        configured.map_or_else(|| Self::Learned(Arc::default()), Self::Configured)
    }

    pub(crate) fn get(&self) -> Option<Arc<Zone>> {
        match self {
            Self::Configured(zone) => Some(Arc::new(zone.clone())),
            Self::Learned(zone) => zone.load_full(),
        }
    }

    /// Keeps what a recorder shows of its zone; nothing when it is configured. Whether that is news.
    pub(crate) fn learn(&self, zone: Zone) -> bool {
        let Self::Learned(known) = self else {
            return false;
        };
        let news = known.load().as_deref() != Some(&zone);
        if news {
            known.store(Some(Arc::new(zone)));
        }
        news
    }
}

/// How a vendor's streams are named.
pub(crate) struct UrlForm {
    /// The path that plays a time, as a [`Template`].
    pub(crate) playback: &'static str,
    /// The path of what is live, with `{camera}`.
    pub(crate) live: &'static str,
    /// What `{camera}` becomes for a copy's own name.
    pub(crate) named: fn(&str) -> String,
    /// Whether the recorder stamps its pictures when ONVIF replay is demanded of it.
    pub(crate) onvif: bool,
}

/// How footage is asked for at one recorder.
#[derive(Debug)]
pub struct ByUrl {
    asking: Asking,
    /// Of what is live, with `{camera}`.
    live: Option<String>,
    named: fn(&str) -> String,
    onvif: bool,
    zone: ZoneOf,
    credentials: Option<Credentials>,
    tls: Option<Arc<ClientConfig>>,
    /// Instants that recorders listed lately, by the camera's own name there.
    recorded: Mutex<HashMap<String, Timestamp>>,
}

#[derive(Debug)]
enum Asking {
    Times(Template),
    Recordings {
        /// With `{recording}`.
        url: String,
        book: Book,
    },
}

impl ByUrl {
    /// What to send to play `remote` from `from`, to `until` where that is known. All on the recorder's clock.
    pub fn ask(
        &self,
        remote: &str,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Ask, AskError> {
        match &self.asking {
            Asking::Times(template) => {
                let zone = if template.is_civil() {
                    self.zone.get().ok_or(AskError::Zone)?
                } else {
                    Arc::new(Zone::UTC)
                };
                let start = template.start(from);
                if template.is_civil() && zone.is_repeated(start) {
                    return Err(AskError::Repeated);
                }
                // Some recorders refuse a request without an end; none of them is asked to stop before it must.
                let end = until.unwrap_or(start + OPEN_END);
                Ok(Ask {
                    url: template.fill(&(self.named)(remote), start, end, &zone)?,
                    start: Start::Url(start),
                    onvif: self.onvif,
                })
            }
            Asking::Recordings { url, book } => {
                let recording = book.at(remote, from).ok_or(AskError::NoRecording)?;
                let url = RtspUrl::parse(&url.replace(RECORDING, &recording.id))?;
                let start = Start::Range(from.max(recording.range.start()));
                Ok(Ask {
                    url,
                    start,
                    onvif: self.onvif,
                })
            }
        }
    }

    /// The URL of what a camera sees now, where there is one.
    pub fn live_url(&self, remote: &str) -> Option<RtspUrl> {
        let url = self.live.as_ref()?.replace(CAMERA, &(self.named)(remote));
        RtspUrl::parse(&url).ok()
    }

    /// How far the recorder's local time is ahead of UTC at `at`, µs; zero while that is not known.
    pub fn zone_offset_us(&self, at: Timestamp) -> i64 {
        let zone = self.zone.get();
        zone.map_or(0, |zone| i64::from(zone.offset_s(at)) * 1_000_000)
    }

    /// The recorder's recordings by name, where that is how they are asked for.
    pub fn book(&self) -> Option<&Book> {
        match &self.asking {
            Asking::Recordings { book, .. } => Some(book),
            Asking::Times(_) => None,
        }
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

/// A recorder's RTSP side: what its kind needs of it.
#[derive(Debug)]
pub(crate) struct Face {
    source: Arc<ByUrl>,
    clock: Clock,
}

impl Face {
    /// Asked by a URL with times.
    pub(crate) fn new(
        template: Template,
        live: Option<String>,
        zone: ZoneOf,
        (credentials, tls): (Option<Credentials>, Option<Arc<ClientConfig>>),
        clock: Clock,
    ) -> Self {
        let source = ByUrl {
            asking: Asking::Times(template),
            live,
            named: str::to_owned,
            onvif: true,
            zone,
            credentials,
            tls,
            recorded: Mutex::default(),
        };
        Self {
            source: Arc::new(source),
            clock,
        }
    }

    /// Asked as a vendor has it, where its configuration says that its streams are, or at the given host and port.
    pub(crate) fn by_url(
        config: &HttpConfig,
        (host, port): (&str, u16),
        login: Option<Login>,
        form: &UrlForm,
        zone: ZoneOf,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let (base, secure) = base(config.rtsp.as_deref(), host, port)?;
        let tls = secure.then(|| tls(config)).transpose()?;
        let url = format!("{base}{}", form.playback);
        let asking = if url.contains(RECORDING) {
            Asking::Recordings {
                url,
                book: Book::default(),
            }
        } else {
            let template = Template::new(&url);
            Asking::Times(template.map_err(|error| BuildError::Url {
                url,
                reason: error.to_string(),
            })?)
        };
        let source = ByUrl {
            asking,
            live: Some(format!("{base}{}", form.live)),
            named: form.named,
            onvif: form.onvif,
            zone,
            credentials: login.map(|login| Credentials {
                user: login.username,
                password: login.password.reveal().to_owned(),
            }),
            tls: tls.map(Arc::new),
            recorded: Mutex::default(),
        };
        Ok(Self {
            source: Arc::new(source),
            clock,
        })
    }

    /// How it is played.
    pub(crate) fn media(&self) -> MediaSource {
        MediaSource::RtspByUrl(Arc::clone(&self.source))
    }

    /// Its recordings by name.
    pub(crate) fn book(&self) -> Option<&Book> {
        self.source.book()
    }

    /// Notes that `remote` has footage that ends at `last`.
    pub(crate) fn recorded(&self, remote: &str, last: Timestamp) {
        let mut recorded = self
            .source
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = last - BEFORE_THE_END;
        match recorded.get_mut(remote) {
            Some(known) => *known = (*known).max(at),
            None => {
                recorded.insert(remote.to_owned(), at);
            }
        }
    }

    /// Whether it was noted that `remote` has footage.
    fn knows(&self, remote: &str) -> bool {
        let recorded = self.source.recorded.lock();
        recorded
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(remote)
    }

    /// As [`Self::describe`], of a recorder that lists: it is asked first where it is not known when the camera has footage.
    pub(crate) fn describe_listed<'a>(
        &'a self,
        remote: Arc<str>,
        recorder: &'a dyn Recorder,
    ) -> Answer<'a, Description> {
        Box::pin(async move {
            if !self.knows(&remote) {
                // Without an answer what is live will do.
                let query = CoverageQuery {
                    remote: Arc::clone(&remote),
                    window: TimeRange::ALL,
                };
                let _ = recorder.coverage(query).await;
            }
            self.describe(&remote).await
        })
    }

    /// The tracks of a camera: of its latest footage, else of what is live.
    pub(crate) async fn describe(&self, remote: &str) -> Result<Description, ProbeError> {
        let known = self
            .source
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(remote)
            .copied();
        let at = known.unwrap_or(self.clock.now() - BEFORE_NOW);
        let recorded = self
            .source
            .ask(remote, at, Some(at + BEFORE_NOW))
            .ok()
            .map(|ask| ask.url);
        let mut failure = ProbeError::NotFound;
        for url in recorded.into_iter().chain(self.source.live_url(remote)) {
            match rtsp::describe(&url, self.source.credentials(), self.source.tls()).await {
                // The other URL may be known.
                Err(error @ (ProbeError::NotFound | ProbeError::Protocol(_))) => failure = error,
                answer => return answer,
            }
        }
        Err(failure)
    }
}

/// `rtsp://host:port` without a path, and whether it is `rtsps`.
fn base(rtsp: Option<&str>, host: &str, port: u16) -> Result<(String, bool), BuildError> {
    let url = rtsp.map_or_else(
        || format!("rtsp://{host}:{port}"),
        |url| url.trim_end_matches('/').to_owned(),
    );
    let wrong = |reason: &str| BuildError::Url {
        url: "rtsp://…".to_owned(),
        reason: reason.to_owned(),
    };
    let (parsed, inline) =
        RtspUrl::parse_with_credentials(&url).map_err(|error| wrong(&error.to_string()))?;
    if inline.is_some() {
        return Err(wrong("state user name and password in their own fields"));
    }
    if !parsed.path().is_empty() || parsed.query().is_some() {
        return Err(wrong("rtsp://host:port or rtsps://host:port is needed"));
    }
    Ok((url, parsed.is_secure()))
}

const CAMERA: &str = "{camera}";
const RECORDING: &str = "{recording}";
/// The end that is asked for where none is known.
const OPEN_END: Duration = Duration::from_secs(86_400);
/// Where in its latest footage a camera is described.
const BEFORE_THE_END: Duration = Duration::from_secs(5);
const BEFORE_NOW: Duration = Duration::from_secs(60);
