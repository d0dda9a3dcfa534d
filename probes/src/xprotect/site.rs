//! Who we are at a site: tokens and their renewal, the configuration, and where a camera is.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::Full;
use hyper::{
    Method as HttpMethod, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use rustls::ClientConfig;
use seamline_routing::Timestamp;
use seamline_xprotect::{
    Answer, Capabilities, Connect, Incoming, Method, Pass,
    configuration::{self, Configuration},
    login::{self, Access, Discovery, Refusal, Session},
    soap::{self, SoapError},
};
use tokio::{sync::Mutex as AsyncMutex, time::timeout};
use url::{Url, form_urlencoded};

use super::{
    ImageServer,
    windows::{Question, Windows},
};
use crate::{
    clock::monotonic,
    http::{AGENT, Connections, HttpConfig, address, date, tls, whole},
    kinds::{BuildError, Login},
    recorder::ProbeError,
    xml::{Element, Limits},
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

/// A token for recorders.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Opaque, and not to be shown.
    pub text: Arc<str>,
    /// When to ask for another.
    pub renew_at: Instant,
    dies_at: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Entry {
    /// By which the management server let us in, until then.
    door: Option<(Door, Instant)>,
    refusals: Refusals,
}

/// Name and password that were refused are not shown again soon, and later each time: accounts get locked.
#[derive(Default)]
struct Refusals {
    /// In a row.
    count: usize,
    until: Option<Instant>,
}

impl Refusals {
    fn allow(&self, now: Instant) -> Result<(), ProbeError> {
        match self.until {
            Some(until) if now < until => Err(ProbeError::Credentials),
            _ => Ok(()),
        }
    }

    /// What became of it. Whether they are right, only who looked at them can tell.
    fn note<T>(&mut self, outcome: &Result<T, ProbeError>, now: Instant) {
        match outcome {
            Ok(_) => *self = Self::default(),
            Err(ProbeError::Credentials) => {
                let last = REFUSED.len() - 1;
                self.until = REFUSED
                    .get(self.count.min(last))
                    .and_then(|pause| now.checked_add(*pause));
                self.count += 1;
            }
            Err(_) => {}
        }
    }
}

/// How the management server is asked.
#[derive(Clone)]
enum Door {
    /// With an access token.
    Bearer(Arc<str>),
    /// With name and password, on servers of before 2021.
    Basic(Arc<str>),
    /// As a Windows account, likewise.
    Older,
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

    /// The token that was given last, good or not.
    pub fn newest(&self) -> Option<Token> {
        self.lock_newest().clone()
    }

    fn lock_newest(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good for a while: the newest, or another.
    pub async fn token(&self) -> Result<Token, ProbeError> {
        self.token_but(None).await
    }

    /// As [`Self::token`], and not this one, which a recorder refused.
    pub async fn another_token(&self, refused: &Token) -> Result<Token, ProbeError> {
        self.token_but(Some(refused)).await
    }

    async fn token_but(&self, refused: Option<&Token>) -> Result<Token, ProbeError> {
        let good = |site: &Self| {
            let newest = site.newest()?;
            (monotonic() < newest.renew_at && refused != Some(&newest)).then_some(newest)
        };
        if let Some(token) = good(self) {
            return Ok(token);
        }
        let alive = |token: &Token| monotonic() < token.dies_at && refused != Some(token);
        let mut entry = match (self.entry.try_lock(), self.newest().filter(alive)) {
            (Ok(entry), _) => entry,
            // Another is at it; nobody waits while the one before is good.
            (Err(_), Some(token)) => return Ok(token),
            (Err(_), None) => self.entry.lock().await,
        };
        // Another may have got it meanwhile.
        if let Some(token) = good(self) {
            return Ok(token);
        }
        let before = self.newest().filter(|token| refused != Some(token));
        let log_in = timeout(PATIENCE, self.log_in(&mut entry, before.as_ref()));
        match log_in.await.unwrap_or(Err(ProbeError::Timeout)) {
            Ok(token) => {
                *self.lock_newest() = Some(token.clone());
                Ok(token)
            }
            Err(error) => match before {
                // It is good until its own end, whatever the management server's state is.
                Some(token) if monotonic() < token.dies_at => {
                    tracing::warn!(server = %self.server, %error, "token not renewed");
                    let renew_at = token.dies_at.min(monotonic() + RENEW_AGAIN);
                    let token = Token { renew_at, ..token };
                    *self.lock_newest() = Some(token.clone());
                    Ok(token)
                }
                _ => Err(error),
            },
        }
    }

    async fn log_in(&self, entry: &mut Entry, before: Option<&Token>) -> Result<Token, ProbeError> {
        let now = monotonic();
        entry.refusals.allow(now)?;
        let outcome = self.log_in_now(entry, before, now).await;
        entry.refusals.note(&outcome, now);
        if outcome.is_err() {
            entry.door = None;
        }
        outcome
    }

    async fn log_in_now(
        &self,
        entry: &mut Entry,
        before: Option<&Token>,
        now: Instant,
    ) -> Result<Token, ProbeError> {
        let (door, lives) = self.door().await?;
        let current = before.map_or("", |token| &token.text);
        let asked = login::login(&self.instance, current);
        let answer = self.server_call(&door, "Login", asked, Limits::ANSWER);
        let result = answer
            .await?
            .ok_or_else(|| ProbeError::protocol("Login without a result"))?;
        let session =
            Session::read(&result).ok_or_else(|| ProbeError::protocol("Login without a token"))?;
        let until = now.checked_add(lives).unwrap_or(now + session.lives);
        entry.door = Some((door, until));
        tracing::info!(server = %self.server, lives_s = session.lives.as_secs(), "logged in");
        Ok(Token {
            text: session.token.into(),
            renew_at: now + login::renew_after(session.lives.min(lives)),
            dies_at: now + session.lives,
        })
    }

    /// The way in, and how long it is open.
    async fn door(&self) -> Result<(Door, Duration), ProbeError> {
        Ok(match (self.access().await?, &self.windows) {
            (Some(access), _) => (
                Door::Bearer(format!("Bearer {}", access.access_token).into()),
                Duration::from_secs(access.expires_in.into()),
            ),
            (None, Some(_)) => (Door::Older, Duration::MAX),
            (None, None) => (Door::Basic(self.basic()?.into()), Duration::MAX),
        })
    }

    /// An access token; `None` where the server is of before they were.
    async fn access(&self) -> Result<Option<Access>, ProbeError> {
        let found = self.ask(
            HttpMethod::GET,
            login::DISCOVERY_PATH,
            &[],
            Bytes::new(),
            SMALL_BYTES_MAX,
        );
        let (status, body) = found.await?;
        let discovery = match status {
            StatusCode::OK => serde_json::from_slice::<Discovery>(&body)
                .map_err(|error| ProbeError::protocol(format!("discovery: {error}")))?,
            // GAP of the wire's description: whatever is no discovery counts as a server of before 2021.
            _ => return Ok(None),
        };
        let Some(Login { username, password }) = &self.login else {
            return Err(ProbeError::Credentials);
        };
        // Whatever host it names, it is this server's.
        let path = Url::parse(&discovery.token_endpoint).map_or_else(
            |_| login::TOKEN_PATH.to_owned(),
            |url| url.path().to_owned(),
        );
        let headers = [(CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
        let (status, body) = if let Some(windows) = &self.windows {
            // The gateway passes no such proof on: only the direct door takes it.
            let is_direct = !path.to_ascii_lowercase().starts_with("/api/");
            let question = Question {
                path: if is_direct { &path } else { login::TOKEN_PATH },
                headers: &headers,
                body: form(&login::windows_grant()),
                bytes_max: SMALL_BYTES_MAX,
            };
            windows.ask(&question).await?
        } else {
            let form = form(&login::password_grant(username, password.reveal()));
            let asked = self.ask(HttpMethod::POST, &path, &headers, form, SMALL_BYTES_MAX);
            asked.await?
        };
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| ProbeError::protocol(format!("token endpoint: {error}")));
        }
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        Err(match (status, refusal.error.as_str()) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)
            | (_, "invalid_grant" | "invalid_client") => ProbeError::Credentials,
            (status, error) => ProbeError::protocol(format!(
                "token endpoint: {status} {error} {}",
                refusal.error_description
            )),
        })
    }

    /// Name and password, inside TLS alone.
    fn basic(&self) -> Result<String, ProbeError> {
        let Some(Login { username, password }) = &self.login else {
            return Err(ProbeError::Credentials);
        };
        if self.server.scheme() != "https" {
            return Err(ProbeError::protocol(
                "no OpenID discovery, and a password is not shown outside of TLS",
            ));
        }
        let pair = format!("{username}:{}", password.reveal());
        Ok(format!("Basic {}", BASE64_STANDARD.encode(pair)))
    }

    async fn server_call(
        &self,
        door: &Door,
        operation: &str,
        body: Vec<u8>,
        limits: Limits,
    ) -> Result<Option<Element>, ProbeError> {
        let kind = (CONTENT_TYPE, "text/xml; charset=utf-8".to_owned());
        let action = |action: String| (SOAP_ACTION, format!("\"{action}\""));
        let (status, body) = match (door, &self.windows) {
            (Door::Bearer(shown) | Door::Basic(shown), _) => {
                let path = match door {
                    Door::Bearer(_) => soap::SERVER_OAUTH_PATH,
                    _ => soap::SERVER_BASIC_PATH,
                };
                let shown = (AUTHORIZATION, shown.to_string());
                let headers = [kind, action(soap::server_action(operation)), shown];
                let asked = self.ask(HttpMethod::POST, path, &headers, body.into(), limits.bytes);
                asked.await?
            }
            (Door::Older, Some(windows)) => {
                let question = Question {
                    path: soap::SERVER_OLDER_PATH,
                    headers: &[kind, action(soap::older_action(operation))],
                    body: body.into(),
                    bytes_max: limits.bytes,
                };
                windows.ask(&question).await?
            }
            (Door::Older, None) => return Err(ProbeError::Credentials),
        };
        read(status, &body, operation, limits)
    }

    /// Asks the management server.
    async fn ask(
        &self,
        method: HttpMethod,
        path: &str,
        headers: &[(hyper::header::HeaderName, String)],
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), ProbeError> {
        let base = self.server.path().trim_end_matches('/');
        let origin = self.server.origin().ascii_serialization();
        let url = format!("{origin}{base}{path}");
        let (status, _, body) = self.send(method, &url, headers, body, bytes_max).await?;
        Ok((status, body))
    }

    async fn send(
        &self,
        method: HttpMethod,
        url: &str,
        headers: &[(hyper::header::HeaderName, String)],
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(StatusCode, Option<Timestamp>, Bytes), ProbeError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(USER_AGENT, AGENT);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| ProbeError::protocol(error.to_string()))?;
        let answer = self.connections.send(request).await;
        let (head, body) = answer
            .map_err(|error| self.by_name(url, error))?
            .into_parts();
        let body = whole(body, bytes_max, "XProtect").await?;
        Ok((head.status, date(&head.headers), body))
    }

    /// An error that says which of the site's servers cannot be reached: recorders are not in the configuration.
    fn by_name(&self, url: &str, error: ProbeError) -> ProbeError {
        let asked = Url::parse(url)
            .ok()
            .filter(|asked| asked.origin() != self.server.origin());
        match (asked, error) {
            (Some(asked), ProbeError::Unreachable(why)) => {
                let host = asked.host_str().unwrap_or_default();
                let port = asked.port_or_known_default().unwrap_or(PORT);
                ProbeError::Unreachable(format!("the recorder at {host}:{port}: {why}").into())
            }
            (_, error) => error,
        }
    }

    /// Passes a request on to one of its recorders, whose absolute address is in it; the answer's body is whole, of so many bytes
    /// at most.
    pub async fn pass_on(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<(hyper::http::response::Parts, Bytes), ProbeError> {
        let (head, body) = self.connections.send(request).await?.into_parts();
        Ok((head, whole(body, bytes_max, "XProtect").await?))
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

    /// The way in by which the login went, or another.
    async fn kept_door(&self) -> Result<Door, ProbeError> {
        let mut entry = self.entry.lock().await;
        let now = monotonic();
        let kept = entry.door.as_ref().filter(|(_, until)| now < *until);
        let kept = kept.map(|(door, _)| door.clone());
        if let Some(door @ Door::Bearer(_)) = kept {
            return Ok(door);
        }
        // Every other one shows name and password.
        entry.refusals.allow(now)?;
        if let Some(door) = kept {
            return Ok(door);
        }
        let found = self.door().await;
        if found.is_err() {
            entry.refusals.note(&found, now);
        }
        Ok(found?.0)
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

    /// Asks a recorder's SOAP service; with another token where this one is refused. Returns its time of day, too.
    pub(super) async fn recorder_call(
        &self,
        place: &Place,
        operation: &str,
        body: impl Fn(&str) -> Vec<u8>,
    ) -> Result<(Option<Element>, Option<Timestamp>), ProbeError> {
        let token = self.token().await?;
        let first = self
            .recorder_call_with(place, operation, body(&token.text))
            .await;
        match first {
            Err(ProbeError::Credentials) => {
                let token = self.token_but(Some(&token)).await?;
                self.recorder_call_with(place, operation, body(&token.text))
                    .await
            }
            outcome => outcome,
        }
    }

    async fn recorder_call_with(
        &self,
        place: &Place,
        operation: &str,
        body: Vec<u8>,
    ) -> Result<(Option<Element>, Option<Timestamp>), ProbeError> {
        let origin = place.recorder.origin().ascii_serialization();
        let url = format!("{origin}{}", soap::RECORDER_PATH);
        let headers = [
            (CONTENT_TYPE, "text/xml; charset=utf-8".to_owned()),
            (
                SOAP_ACTION,
                format!("\"{}\"", soap::recorder_action(operation)),
            ),
        ];
        let limits = Limits::ANSWER;
        let sent = self.send(HttpMethod::POST, &url, &headers, body.into(), limits.bytes);
        let (status, there, body) = sent.await?;
        Ok((read(status, &body, operation, limits)?, there))
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

/// A form as it is posted.
fn form(fields: &[(&str, &str)]) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish().into()
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

/// An answer, or what it means that there is none.
fn read(
    status: StatusCode,
    body: &[u8],
    operation: &str,
    limits: Limits,
) -> Result<Option<Element>, ProbeError> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(ProbeError::Credentials),
        StatusCode::SERVICE_UNAVAILABLE => return Err(ProbeError::Busy),
        _ => {}
    }
    match soap::result(body, operation, limits) {
        Ok(result) => Ok(result),
        Err(SoapError::Fault(fault)) if fault.is_token() => Err(ProbeError::Credentials),
        Err(SoapError::Fault(fault)) => Err(ProbeError::protocol(format!("{operation}: {fault}"))),
        Err(error) if status.is_success() => {
            Err(ProbeError::protocol(format!("{operation}: {error}")))
        }
        Err(_) => Err(ProbeError::protocol(format!("{operation}: {status}"))),
    }
}

const SOAP_ACTION: hyper::header::HeaderName = hyper::header::HeaderName::from_static("soapaction");
/// Of a recorder whose address names none.
const PORT: u16 = 7563;
const SMALL_BYTES_MAX: usize = 1 << 20;
/// How long name and password rest that were refused once, twice, and so on: an account that is locked after five wrong ones within
/// half an hour, as domains often have it, stays open.
const REFUSED: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
];
/// Of a management server.
const PATIENCE: Duration = Duration::from_secs(4);
/// A renewal that failed.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
const CONFIGURATION_GOOD: Duration = Duration::from_secs(600);
const CONFIGURATION_FRESH: Duration = Duration::from_secs(10);
/// Recorders of one site that are asked for a sign of life.
const PINGED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_rests_longer_each_time() {
        let mut refusals = Refusals::default();
        let mut now = monotonic();
        let refused = Err::<(), _>(ProbeError::Credentials);
        for minutes in [1, 5, 15, 30, 30] {
            assert_eq!(refusals.allow(now), Ok(()));
            refusals.note(&refused, now);
            // That nobody answered says nothing about the password.
            refusals.note(&Err::<(), _>(ProbeError::Timeout), now);
            let pause = Duration::from_secs(minutes * 60);
            let almost = now + pause.saturating_sub(Duration::from_secs(1));
            assert_eq!(refusals.allow(almost), Err(ProbeError::Credentials));
            now += pause;
        }
        refusals.note(&Ok(()), now);
        refusals.note(&refused, now);
        assert_eq!(refusals.allow(now + Duration::from_secs(60)), Ok(()));
    }
}
