//! Answers recorders' challenges, each at most once: some recorders lock the account after a few wrong answers.

use http_auth::{PasswordClient, PasswordParams};

use crate::message::{Method, Response};
use crate::url::Credentials;

/// Why a recorder will not be asked again with these credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// It asks for credentials and none are configured.
    #[error("credentials required, none configured")]
    NoCredentials,
    /// It refused what is configured.
    #[error("credentials refused")]
    Refused,
    /// These credentials may not see this resource (403).
    #[error("forbidden for these credentials")]
    Forbidden,
    /// It offers only Basic, which would show the password, and Basic is not allowed.
    #[error("only Basic offered, which is not allowed")]
    BasicNotAllowed,
    /// It offers nothing that we know.
    #[error("no usable authentication scheme offered")]
    Scheme,
}

/// One recorder connection's credentials and the challenge they answer.
pub struct Answerer {
    credentials: Option<Credentials>,
    allow_basic: bool,
    challenge: Option<PasswordClient>,
    /// An answer was accepted on this connection: a new challenge is a new nonce, not a refusal.
    proven: bool,
}

impl Answerer {
    /// Credentials for a connection that has seen no challenge yet.
    pub fn new(credentials: Option<Credentials>, allow_basic: bool) -> Self {
        Self {
            credentials,
            allow_basic,
            challenge: None,
            proven: false,
        }
    }

    /// The `Authorization` value for a request, once there is a challenge to answer. `uri` is the request line's.
    pub fn authorization(&mut self, method: &Method, uri: &str) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        let parameters = PasswordParams {
            username: &credentials.user,
            password: &credentials.password,
            uri,
            method: method.as_str(),
            body: None,
        };
        self.challenge.as_mut()?.respond(&parameters).ok()
    }

    /// Takes the challenge of a 401. `answers` counts how often the refused request carried an `Authorization`; `Ok`
    /// means that the request is worth sending again.
    pub fn challenged(&mut self, response: &Response, answers: u32) -> Result<(), Denial> {
        if self.credentials.is_none() {
            return Err(Denial::NoCredentials);
        }
        let mut builder = PasswordClient::builder();
        for value in response.headers.get_all("WWW-Authenticate") {
            builder = builder.challenges(value);
        }
        let challenge = builder.build().map_err(|_| {
            if answers > 0 {
                Denial::Refused
            } else {
                Denial::Scheme
            }
        })?;
        let renewed = match &challenge {
            PasswordClient::Basic(_) if !self.allow_basic => return Err(Denial::BasicNotAllowed),
            PasswordClient::Digest(digest) => {
                digest.stale() || (self.proven && self.nonce() != Some(digest.nonce()))
            }
            _ => false,
        };
        if answers >= ANSWERS_MAX || (answers > 0 && !renewed) {
            return Err(Denial::Refused);
        }
        self.challenge = Some(challenge);
        Ok(())
    }

    /// Notes that a request which carried an answer was not refused.
    pub fn accepted(&mut self) {
        self.proven = true;
    }

    fn nonce(&self) -> Option<&str> {
        match &self.challenge {
            Some(PasswordClient::Digest(digest)) => Some(digest.nonce()),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answerer")
            .field("credentials", &self.credentials)
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}

/// The first answer, and one more after a renewed nonce.
const ANSWERS_MAX: u32 = 2;
