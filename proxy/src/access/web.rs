//! Who may come in by HTTP: the users of every protocol, and whoever brings a token or follows a link.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use seamline_rtsp::auth::server::{Ask, Login};

use super::grant::Grant;
use super::links::LinkProblem;
use super::tokens::TokenProblem;
use super::{Access, Refusal};
use crate::clock;

/// The scheme of tokens (RFC 6750 §2.1).
const BEARER: &str = "bearer";

impl Access {
    /// Who sent a request by HTTP, and what they may see. `login` is what its connection has proved before.
    pub async fn admit_web(
        &self,
        ask: Ask<'_>,
        from: IpAddr,
        login: &mut Login,
    ) -> Result<Grant, Refusal> {
        if self.is_open() {
            return Ok(Grant::open());
        }
        let bearer = ask.authorization.and_then(|value| {
            let (scheme, token) = value.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case(BEARER).then_some(token.trim())
        });
        let followed = match (&self.links, ask.authorization) {
            (Some(key), None) => {
                let (path, query) = ask.uri.split_once('?').unwrap_or((ask.uri, ""));
                key.check(ask.method, path, query, ask.now_s)
            }
            _ => None,
        };
        if bearer.is_some() || followed.is_some() {
            self.damped_from(from)?;
        }
        if let Some(followed) = followed {
            return match followed {
                Ok(()) => Ok(Grant::named("link")),
                Err(problem) => Err(self.refuse_link(&ask, from, problem)),
            };
        }
        if let (Some(token), Some(tokens)) = (bearer, &self.tokens) {
            let granted = tokens.verify(token, &self.users);
            return granted.map_err(|problem| self.refuse_token(&ask, from, token, &problem));
        }
        match self.admit(ask, from, login).await {
            Ok(user) => Ok(user.map_or_else(Grant::open, Grant::of)),
            Err(Refusal::Challenge(mut values)) => {
                if self.tokens.is_some() {
                    values.push(format!("Bearer realm=\"{}\"", self.users.realm()));
                }
                Err(Refusal::Challenge(values))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Refuses to look at what comes from an address that has guessed too often.
    fn damped_from(&self, from: IpAddr) -> Result<(), Refusal> {
        match self.damper.wait(from, None, clock::now()) {
            None => Ok(()),
            Some(wait) => {
                self.damped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%from, wait_s = wait.as_secs(), "credentials not looked at");
                Err(Refusal::Damped(wait))
            }
        }
    }

    fn refuse_link(&self, ask: &Ask<'_>, from: IpAddr, problem: LinkProblem) -> Refusal {
        if problem == LinkProblem::Wrong {
            self.wrong.fetch_add(1, Ordering::Relaxed);
            self.damper.note_wrong(from, None, ask.uri, clock::now());
        }
        tracing::warn!(%from, method = ask.method, reason = %problem, "link refused");
        Refusal::Link(problem)
    }

    fn refuse_token(
        &self,
        ask: &Ask<'_>,
        from: IpAddr,
        token: &str,
        problem: &TokenProblem,
    ) -> Refusal {
        if *problem == TokenProblem::Wrong {
            self.wrong.fetch_add(1, Ordering::Relaxed);
            self.damper.note_wrong(from, None, token, clock::now());
        }
        tracing::warn!(%from, method = ask.method, reason = %problem, "token refused");
        let challenge = format!(
            "Bearer realm=\"{}\", error=\"invalid_token\", error_description=\"{problem}\"",
            self.users.realm()
        );
        Refusal::Challenge(vec![challenge])
    }
}
