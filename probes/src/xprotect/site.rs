//! A site: who we are there, what it tells of itself, and the way to its recorders.

mod asking;
mod entry;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::join_all;
use rustls::ClientConfig;
use seamline_xprotect::{
    Answer, Capabilities, Connect, Incoming, Method, Pass,
    configuration::{self, Configuration},
    soap,
};
use tokio::{sync::Mutex as AsyncMutex, time::timeout};
use url::Url;

pub use self::entry::Token;
use self::entry::{Door, Entry};
use super::{ImageServer, windows::Windows};
use crate::{
    build_error::BuildError,
    clock::monotonic,
    http::{Connections, HttpConfig, address, tls},
    login::Login,
    recorder::ProbeError,
};

/// A management server and the recorders that it tells of.
pub struct Site {
    server: Url,
    login: Option<Login>,
    /// Where the login is a Windows account.
    windows: Option<Windows>,
    connections: Connections,
    tls: Arc<ClientConfig>,
    /// Chosen once: the server knows a client by it.
    instance: String,
    /// One login at a time.
    entry: AsyncMutex<Entry>,
    newest: Mutex<Option<Token>>,
    configuration: AsyncMutex<Option<(Arc<Configuration>, Instant)>>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("server", &self.server.as_str())
            .finish_non_exhaustive()
    }
}

/// Where a camera is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) recorder: Url,
    pub(super) device: String,
}

/// A connection to a camera's recorder that may ask for its pictures.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub server: ImageServer,
    /// The camera's GUID.
    pub device: String,
    /// What it was opened with.
    pub token: Token,
    /// Whether groups of pictures come whole; `None` where the recorder does not say.
    pub multipart: Option<bool>,
}

impl Site {
    pub(super) fn new(config: &HttpConfig) -> Result<Self, BuildError> {
        let (server, login) = (address(&config.url)?, config.login()?);
        let tls = Arc::new(tls(config)?);
        let windows = login
            .as_ref()
            .and_then(|login| Windows::new(login, &server, &tls));
        Ok(Self {
            windows,
            server,
            login,
            connections: Connections::new(config)?,
            tls,
            instance: guid(rand::random()),
            entry: AsyncMutex::default(),
            newest: Mutex::default(),
            configuration: AsyncMutex::default(),
        })
    }

    /// Where its management server is.
    pub fn server(&self) -> &Url {
        &self.server
    }

    /// How its management server and its recorders are trusted.
    pub fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// Recorders, cameras and hardware; what was told a while ago, unless `fresh`.
    pub async fn configuration(&self, fresh: bool) -> Result<Arc<Configuration>, ProbeError> {
        let mut kept = self.configuration.lock().await;
        let now = monotonic();
        let good_for = if fresh {
            CONFIGURATION_FRESH
        } else {
            CONFIGURATION_GOOD
        };
        let old = match &*kept {
            Some((known, told)) if now.saturating_duration_since(*told) < good_for => {
                return Ok(Arc::clone(known));
            }
            old => old.as_ref().map(|(known, _)| Arc::clone(known)),
        };
        let asked = timeout(PATIENCE, self.ask_configuration());
        let told = asked.await.unwrap_or(Err(ProbeError::Timeout));
        match (told, old) {
            (Ok(told), _) => {
                let told = Arc::new(told);
                *kept = Some((Arc::clone(&told), now));
                Ok(told)
            }
            // The recorders live on without their management server.
            (Err(error), Some(known)) if error != ProbeError::Credentials => {
                tracing::warn!(server = %self.server, %error, "the configuration of before serves on");
                *kept = Some((Arc::clone(&known), now));
                Ok(known)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn ask_configuration(&self) -> Result<Configuration, ProbeError> {
        let token = self.token().await?;
        let door = self.kept_door().await?;
        let asked = configuration::request(&token.text);
        let answer = self.server_call(&door, "GetConfiguration", asked, configuration::LIMITS);
        let answer = answer.await;
        if !matches!(door, Door::Bearer(_)) && answer.is_err() {
            let mut entry = self.entry.lock().await;
            entry.refusals.note(&answer, monotonic());
        }
        let result = answer?;
        let told = result.as_ref().map(Configuration::read).unwrap_or_default();
        if told.recorders.is_empty() {
            return Err(ProbeError::protocol("a configuration without any recorder"));
        }
        Ok(told)
    }

    /// Where the camera of this GUID, or else of this name, is recorded.
    pub(super) async fn locate(&self, remote: &str) -> Result<Place, ProbeError> {
        for fresh in [false, true] {
            let told = self.configuration(fresh).await?;
            if let Some(place) = find(&told, remote)? {
                return Ok(place);
            }
        }
        Err(ProbeError::NotFound)
    }

    /// The management server lets us in, and a recorder answers.
    pub(super) async fn ping(&self) -> Result<(), ProbeError> {
        let told = self.configuration(false).await?;
        let recorders = told.recorders.iter().filter_map(|recorder| {
            let recorder = recorder_url(&recorder.uri).ok()?;
            Some(Place {
                recorder,
                device: String::new(),
            })
        });
        let places: Vec<Place> = recorders.take(PINGED_MAX).collect();
        let asked = places.iter().map(|place| {
            let body = soap::request(soap::RECORDER, "GetVersion", []);
            self.recorder_call_with(place, "GetVersion", body)
        });
        let mut failure = ProbeError::protocol("no recorder with an address that can be used");
        for answer in join_all(asked).await {
            match answer {
                // Whatever it says, it lives.
                Ok(_) | Err(ProbeError::Protocol(_) | ProbeError::Credentials) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Connects to a camera's recorder, with another token where the first one is refused.
    pub async fn open(&self, remote: &str) -> Result<Opened, ProbeError> {
        let place = self.locate(remote).await?;
        let token = self.token().await?;
        match self.open_with(&place, token.clone()).await? {
            Ok(opened) => Ok(opened),
            Err(reason) if is_about_device(&reason) => Err(ProbeError::NotFound),
            Err(reason) => {
                tracing::debug!(server = %self.server, reason, "another token");
                let token = self.token_but(Some(&token)).await?;
                self.open_with(&place, token).await?.map_err(|reason| {
                    // One camera that we may not see says nothing about the others.
                    ProbeError::protocol(format!("the recorder refuses the camera: {reason}"))
                })
            }
        }
    }

    async fn open_with(
        &self,
        place: &Place,
        token: Token,
    ) -> Result<Result<Opened, String>, ProbeError> {
        let host = place.recorder.host_str().unwrap_or_default();
        let port = place.recorder.port_or_known_default().unwrap_or(PORT);
        let tls = (place.recorder.scheme() == "https").then(|| Arc::clone(&self.tls));
        let mut server = ImageServer::connect(host, port, tls).await?;
        server.ask(Method::Connect(Box::new(Connect {
            pass: Pass {
                device: place.device.clone(),
                stream: None,
                token: token.text.to_string(),
            },
            capabilities: Capabilities {
                multipart: true,
                ..Capabilities::default()
            },
            ..Connect::default()
        })));
        let Incoming::Document(document) = server.next().await? else {
            return Err(ProbeError::protocol(
                "pictures instead of an answer to connect",
            ));
        };
        let answer =
            Answer::parse(&document).map_err(|error| ProbeError::protocol(error.to_string()))?;
        Ok(match answer {
            Answer::Connected(connected) if connected.accepted => Ok(Opened {
                server,
                device: place.device.clone(),
                token,
                multipart: connected.capabilities.map(|granted| granted.multipart),
            }),
            Answer::Connected(connected) => Err(connected.reason.unwrap_or_default()),
            other => return Err(ProbeError::protocol(format!("to connect: {other:?}"))),
        })
    }
}

/// GAP of the wire's description: only one text is known. What is no matter of the device is one of the token.
fn is_about_device(reason: &str) -> bool {
    reason.to_ascii_lowercase().contains("device")
}

fn find(told: &Configuration, remote: &str) -> Result<Option<Place>, ProbeError> {
    let found = told.camera(remote);
    let found = found.map_err(|ambiguous| ProbeError::protocol(ambiguous.to_string()))?;
    let Some((recorder, camera)) = found else {
        return Ok(None);
    };
    if camera.may_play == Some(false) {
        let what = format!("its user may not play {:?}", camera.name);
        return Err(ProbeError::protocol(what));
    }
    Ok(Some(Place {
        recorder: recorder_url(&recorder.uri)?,
        device: camera.id.clone(),
    }))
}

/// As text, with dashes.
fn guid(bits: u128) -> String {
    let digits = format!("{bits:032x}");
    let mut text = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// The address of a recorder, as a configuration has it.
pub fn recorder_url(uri: &str) -> Result<Url, ProbeError> {
    let url =
        address(uri).map_err(|error| ProbeError::protocol(format!("WebServerUri: {error}")))?;
    Ok(url)
}

/// Of a recorder whose address names none.
const PORT: u16 = 7563;
/// Of a management server.
const PATIENCE: Duration = Duration::from_secs(4);
const CONFIGURATION_GOOD: Duration = Duration::from_secs(600);
const CONFIGURATION_FRESH: Duration = Duration::from_secs(10);
/// Recorders of one site that are asked for a sign of life.
const PINGED_MAX: usize = 8;
