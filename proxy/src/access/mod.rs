//! Who may come in: every inbound protocol asks here, before anything is asked of a recorder.

mod damping;
mod grant;
mod hashing;
mod links;
mod tokens;
mod web;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seamline_rtsp::auth::server::{Ask, Denied, Login, Users, Verdict, basic_password};
use seamline_rtsp::auth::users::User;

use self::damping::Damper;
use self::hashing::Hashing;
use crate::clock;

pub use self::grant::Grant;
pub use self::hashing::{HashProblem, check_hash, hash};
pub use self::links::{LINK_SECRET_BYTES_MIN, LinkKey, LinkProblem};
pub use self::tokens::{Claims, KeyProblem, TokenProblem, Tokens};

/// The users, and what keeps strangers from guessing their passwords.
pub struct Access {
    users: Users,
    damper: Arc<Damper>,
    hashing: Hashing,
    /// What bearer tokens are checked with, where they are taken.
    tokens: Option<Tokens>,
    /// What links are checked with, where they are followed.
    links: Option<LinkKey>,
    wrong: AtomicU64,
    damped: AtomicU64,
}

/// Why a request goes no further; protocols give it their own form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401: the `WWW-Authenticate` headers, in this order.
    Challenge(Vec<String>),
    /// 403: too many wrong answers came from there. This long, none is looked at.
    Damped(Duration),
    /// 403: a link that is not good.
    Link(LinkProblem),
    /// 503: more passwords wait to be compared than there may.
    Busy,
}

/// What was refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Answers that were wrong.
    pub wrong: u64,
    /// Answers that were not looked at, for those before them.
    pub damped: u64,
}

impl Access {
    /// Lets `users` in, or everybody when there are none.
    pub fn new(users: Users) -> Self {
        Access {
            users,
            damper: Arc::default(),
            hashing: Hashing::default(),
            tokens: None,
            links: None,
            wrong: AtomicU64::new(0),
            damped: AtomicU64::new(0),
        }
    }

    /// The same, by HTTP also for who brings a token or follows a link.
    #[must_use]
    pub fn with(self, tokens: Option<Tokens>, links: Option<LinkKey>) -> Self {
        Access {
            tokens,
            links,
            ..self
        }
    }

    /// The same, which forgets no wrong answer that `before` was given.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let refused = before.refused();
        Access {
            damper: Arc::clone(&before.damper),
            wrong: AtomicU64::new(refused.wrong),
            damped: AtomicU64::new(refused.damped),
            ..self
        }
    }

    /// The query of a link to another path, for what somebody is shown who came by a link; `None` where there are no links.
    pub fn link_on(&self, path: &str, query: &str, expires_s: u64) -> Option<String> {
        let key = self.links.as_ref()?;
        Some(key.sign(path, query, expires_s))
    }

    /// Whether everybody may come in.
    pub fn is_open(&self) -> bool {
        self.users.is_empty()
    }

    /// What was refused since the start.
    pub fn refused(&self) -> Refused {
        Refused {
            wrong: self.wrong.load(Ordering::Relaxed),
            damped: self.damped.load(Ordering::Relaxed),
        }
    }

    /// Who sent a request; `None` where everybody may come in. `login` is what its connection has proved before.
    pub async fn admit(
        &self,
        ask: Ask<'_>,
        from: IpAddr,
        login: &mut Login,
    ) -> Result<Option<&User>, Refusal> {
        if self.users.is_empty() {
            return Ok(None);
        }
        let claimed = ask
            .authorization
            .and_then(|answer| self.users.claimed(answer));
        // Who was let in stays in, whatever others at that address do; to guess another name's password is no staying.
        let stays = claimed.is_some() && claimed == login.name();
        if ask.authorization.is_some()
            && !stays
            && let Some(wait) = self.damper.wait(from, claimed, clock::now())
        {
            self.damped.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%from, wait_s = wait.as_secs(), "credentials not looked at");
            return Err(Refusal::Damped(wait));
        }
        let mut verdict = self.users.verify(&ask, login);
        if let (Verdict::Compare { user, hash }, Some(answer)) = (verdict, ask.authorization) {
            let password = basic_password(answer).unwrap_or_default();
            let fits = self.hashing.fits(password, hash.to_owned()).await;
            let fits = fits.ok_or(Refusal::Busy)?;
            verdict = match user {
                Some(user) if fits => {
                    login.remember(answer, user);
                    Verdict::Allowed { user }
                }
                _ => Verdict::Denied(Denied::Wrong),
            };
        }
        let challenge = |stale, denied| {
            let values = self.users.challenges(ask.now_s, ask.secure, stale, denied);
            Err(Refusal::Challenge(values))
        };
        match verdict {
            Verdict::Allowed { user } => {
                self.damper.forgive(from, &user.name);
                Ok(Some(user))
            }
            Verdict::Absent => challenge(false, None),
            Verdict::Stale => challenge(true, None),
            Verdict::Denied(denied) => {
                self.note_denied(&ask, from, claimed, denied);
                challenge(false, Some(denied))
            }
            Verdict::Compare { .. } => challenge(false, Some(Denied::Malformed)),
        }
    }

    fn note_denied(&self, ask: &Ask<'_>, from: IpAddr, claimed: Option<&str>, denied: Denied) {
        let user = claimed.unwrap_or("(unknown)");
        let method = ask.method;
        let reason = match denied {
            Denied::Wrong => {
                self.wrong.fetch_add(1, Ordering::Relaxed);
                let answer = ask.authorization.unwrap_or_default();
                let wait = self.damper.note_wrong(from, claimed, answer, clock::now());
                tracing::warn!(%from, user, method, wait_s = wait.as_secs(), "wrong credentials");
                return;
            }
            Denied::Malformed => "not an answer to our challenge",
            Denied::InClear => "password sent in clear, which is not allowed: not looked at",
            Denied::NeedsBasic => "its password_hash cannot be checked by Digest, only by Basic",
        };
        tracing::warn!(%from, user, method, reason, "credentials refused");
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("users", &self.users)
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
