//! Tokens of a site: by which way in they are got, when others are asked for, and what becomes of a password that was refused.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::{Method as HttpMethod, StatusCode, header::CONTENT_TYPE};
use seamline_xprotect::login::{self, Access, Discovery, Refusal, Session};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::{PATIENCE, Site};
use crate::{
    clock::monotonic, login::Login, recorder::ProbeError, xml::Limits, xprotect::windows::Question,
};

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
pub(super) struct Entry {
    /// By which the management server let us in, until then.
    door: Option<(Door, Instant)>,
    pub(super) refusals: Refusals,
}

/// Name and password that were refused are not shown again soon, and later each time: accounts get locked.
#[derive(Default)]
pub(super) struct Refusals {
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
    pub(super) fn note<T>(&mut self, outcome: &Result<T, ProbeError>, now: Instant) {
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
pub(super) enum Door {
    /// With an access token.
    Bearer(Arc<str>),
    /// With name and password, on servers of before 2021.
    Basic(Arc<str>),
    /// As a Windows account, likewise.
    Older,
}

impl Site {
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

    pub(super) async fn token_but(&self, refused: Option<&Token>) -> Result<Token, ProbeError> {
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

    /// The way in by which the login went, or another.
    pub(super) async fn kept_door(&self) -> Result<Door, ProbeError> {
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
}

/// A form as it is posted.
fn form(fields: &[(&str, &str)]) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish().into()
}

const SMALL_BYTES_MAX: usize = 1 << 20;
/// How long name and password rest that were refused once, twice, and so on: an account that is locked after five wrong ones within
/// half an hour, as domains often have it, stays open.
const REFUSED: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
];
/// A renewal that failed.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

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
