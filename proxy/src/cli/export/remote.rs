//! An export by a server: one connection after the other, each going on where the one before broke off.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use seamline_evidence::{Digest, MANIFEST_BYTES_MAX, Sealed, read_manifest};
use seamline_routing::TimeRange;
use url::Url;

use super::part::Part;
use super::{ExportArgs, Failed, progress};

/// Tries in a row that bring nothing, and how long is waited between them.
const TRIES_MAX: u32 = 6;
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(15);
/// A server that sends nothing for so long is given up: it reads again what was delivered before, which may take a while.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How often the whole is begun anew because other copies serve it.
const BEGINNINGS_MAX: u32 = 4;
/// As much is read of what a server says of a refusal.
const PROBLEM_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn fetch(
    args: &ExportArgs,
    server: &str,
    asked: TimeRange,
    part: &mut Part,
) -> Result<Sealed, Failed> {
    let caller = Caller::new(args, server, asked)?;
    for _ in 0..BEGINNINGS_MAX {
        caller.clip(part).await?;
        let sealed = caller.manifest(&part.digest()).await?;
        if sealed.manifest.file.sha256 == part.digest() {
            return Ok(sealed);
        }
        eprintln!("other copies serve it now: the clip begins anew");
        part.cut(0)?;
    }
    Err(Failed::Restless)
}

/// Who asks, and what for.
struct Caller {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Url,
    login: Login,
}

enum Login {
    None,
    Token(HeaderValue),
    Password { user: String, password: String },
}

/// What a connection came to.
enum Outcome {
    /// The clip is whole.
    Whole,
    /// It broke off.
    Broken(String),
    /// The clip does not begin like that any more.
    Changed,
}

impl Caller {
    fn new(args: &ExportArgs, server: &str, asked: TimeRange) -> Result<Self, Failed> {
        let wrong = |what: &str| Failed::Server(format!("{server}: {what}"));
        let mut url = Url::parse(server)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| wrong("http://host:port or https://host:port is needed"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("--user and --password-file tell who asks"));
        }
        url.set_path("/export");
        url.query_pairs_mut()
            .clear()
            .append_pair("path", &args.camera)
            .append_pair("start", &asked.start().to_string())
            .append_pair("end", &asked.end().to_string());
        let login = match (&args.user, &args.token_file) {
            (Some(user), _) => Login::Password {
                user: user.clone(),
                password: match &args.password_file {
                    Some(path) => line(path)?,
                    None => rpassword::prompt_password(format!("password of {user}: "))
                        .map_err(|error| Failed::Server(error.to_string()))?,
                },
            },
            (None, Some(path)) => Login::Token(
                HeaderValue::from_str(&format!("Bearer {}", line(path)?))
                    .map_err(|_| wrong("the token is none"))?,
            ),
            (None, None) => Login::None,
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(WAIT_MAX));
        connector.set_keepalive(Some(WAIT_MAX));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(args.ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Caller {
            client: Client::builder(TokioExecutor::new()).build(connector),
            url,
            login,
        })
    }

    /// Fetches what is missing of the clip.
    async fn clip(&self, part: &mut Part) -> Result<(), Failed> {
        let bar = progress(None);
        let (mut tries, mut beginnings) = (0, 0);
        loop {
            let before = part.length();
            bar.set_position(before);
            match self.some(part, &bar).await? {
                Outcome::Whole => break,
                Outcome::Changed => {
                    beginnings += 1;
                    if beginnings > BEGINNINGS_MAX {
                        return Err(Failed::Restless);
                    }
                    eprintln!("other copies serve it now: the clip begins anew");
                    part.cut(0)?;
                }
                Outcome::Broken(why) => {
                    tries = if part.length() > before { 1 } else { tries + 1 };
                    if tries > TRIES_MAX {
                        return Err(Failed::Broken(why));
                    }
                    bar.set_message(format!("{why}; again"));
                    tokio::time::sleep((WAIT_MIN * (1 << (tries - 1))).min(WAIT_MAX)).await;
                }
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// One connection's worth of the clip.
    async fn some(&self, part: &mut Part, bar: &indicatif::ProgressBar) -> Result<Outcome, Failed> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("format", "mp4");
        if part.length() > 0 {
            url.query_pairs_mut()
                .append_pair("after", &part.length().to_string())
                .append_pair("prefix", &part.digest().to_string());
        }
        let response = match self.ask(&url).await {
            Ok(response) => response,
            Err(why) => return Ok(Outcome::Broken(why)),
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::CONFLICT => return Ok(Outcome::Changed),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Ok(Outcome::Broken(said(response).await));
            }
            _ => return Err(Failed::Server(said(response).await)),
        }
        let mut body = response.into_body();
        loop {
            let Ok(frame) = tokio::time::timeout(SILENCE_MAX, body.frame()).await else {
                return Ok(Outcome::Broken("the server went silent".to_owned()));
            };
            match frame {
                None => return Ok(Outcome::Whole),
                Some(Err(error)) => return Ok(Outcome::Broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        part.write(bytes)?;
                        bar.set_position(part.length());
                    }
                }
            }
        }
    }

    /// The manifest of a clip with this digest, or of the one that is served now.
    async fn manifest(&self, digest: &Digest) -> Result<Sealed, Failed> {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("format", "manifest")
            .append_pair("sha256", &digest.to_string());
        let response = self.ask(&url).await.map_err(Failed::Broken)?;
        if response.status() != StatusCode::OK {
            return Err(Failed::Broken(said(response).await));
        }
        let body = Limited::new(response.into_body(), MANIFEST_BYTES_MAX as usize);
        let json = body
            .collect()
            .await
            .map_err(|error| Failed::Broken(error.to_string()))?
            .to_bytes();
        let manifest = read_manifest(&json).map_err(|error| Failed::Server(error.to_string()))?;
        Ok(Sealed {
            manifest,
            json: json.into(),
        })
    }

    async fn ask(&self, url: &Url) -> Result<Response<Incoming>, String> {
        let uri: Uri = url.as_str().parse().map_err(|_| "no URL".to_owned())?;
        let first = match &self.login {
            Login::Token(token) => Some(token.clone()),
            Login::None | Login::Password { .. } => None,
        };
        let response = self.send(&uri, first).await?;
        let Login::Password { user, password } = &self.login else {
            return Ok(response);
        };
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let mut known = http_auth::PasswordClient::builder();
        for challenge in challenges.iter().filter_map(|value| value.to_str().ok()) {
            known = known.challenges(challenge);
        }
        let mut answerer = known.build()?;
        let answer = answerer.respond(&http_auth::PasswordParams {
            username: user,
            password,
            uri: uri.path_and_query().map_or("/", |target| target.as_str()),
            method: "GET",
            body: Some(&[]),
        })?;
        let answer = HeaderValue::from_str(&answer).map_err(|error| error.to_string())?;
        self.send(&uri, Some(answer)).await
    }

    async fn send(
        &self,
        uri: &Uri,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let answer = tokio::time::timeout(SILENCE_MAX, self.client.request(request)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                cause.unwrap_or_else(|| error.to_string())
            }),
            Err(_) => Err("the server does not answer".to_owned()),
        }
    }
}

/// What a server says of a refusal.
async fn said(response: Response<Incoming>) -> String {
    let status = response.status();
    let body = Limited::new(response.into_body(), PROBLEM_BYTES_MAX);
    let text = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let problem: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
    let detail = problem
        .as_ref()
        .and_then(|problem| problem["detail"].as_str());
    format!(
        "the server answers {status}: {}",
        detail.unwrap_or("no reason")
    )
}

fn line(path: &Path) -> Result<String, Failed> {
    let text = std::fs::read_to_string(path).map_err(Failed::file(path))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn tls(ca: Option<&Path>) -> Result<rustls::ClientConfig, Failed> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unusable = |error: String| Failed::Server(format!("{}: {error}", path.display()));
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| unusable(error.to_string()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failed::Server(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
