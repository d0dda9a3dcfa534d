//! What a device is shown as proof of who asks: nothing, an HTTP Digest answer, or a WS-UsernameToken; and when it is
//! shown nothing any more.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http_auth::{DigestClient, PasswordClient, PasswordParams};
use seamline_routing::Timestamp;
use sha1::{Digest, Sha1};

use crate::xml::Markup;
use crate::{login::Login, recorder::ProbeError};

/// One device's credentials and what it was found to want.
pub(super) struct Keeper {
    login: Option<Login>,
    state: Mutex<State>,
    /// Held while it is not known whether the device accepts us: wrong answers are not given twice at once.
    proving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    way: Way,
    proven: bool,
    rests_until: Option<Instant>,
}

/// What the device wants to see.
#[derive(Default)]
enum Way {
    /// Not known yet, or nothing.
    #[default]
    Open,
    /// HTTP Digest.
    Digest(DigestClient),
    /// WS-UsernameToken.
    Token,
}

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    Nothing,
    /// The `Authorization` header.
    Digest(String),
    /// The `Security` header of the envelope.
    Token(Markup),
}

/// What one question has shown so far.
#[derive(Debug, Default)]
pub(super) struct Shown {
    digests: u32,
    tokens: u32,
}

impl Keeper {
    pub(super) fn new(login: Option<Login>) -> Self {
        Self {
            login,
            state: Mutex::default(),
            proving: tokio::sync::Mutex::default(),
        }
    }

    /// To be held by a question as long as it is not known whether the device accepts us.
    pub(super) async fn alone(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.login.is_none() || self.lock().proven {
            return None;
        }
        Some(self.proving.lock().await)
    }

    /// What to show with a POST to `path`. `there` is the time by the device's clock.
    pub(super) fn proof(
        &self,
        path: &str,
        there: Timestamp,
        now: Instant,
    ) -> Result<Proof, ProbeError> {
        let Some(login) = &self.login else {
            return Ok(Proof::Nothing);
        };
        let mut state = self.lock();
        if state.rests_until.is_some_and(|until| now < until) {
            return Err(ProbeError::Credentials);
        }
        match &mut state.way {
            Way::Open => Ok(Proof::Nothing),
            Way::Digest(client) => {
                let parameters = PasswordParams {
                    username: &login.username,
                    password: login.password.reveal(),
                    uri: path,
                    method: "POST",
                    body: None,
                };
                client
                    .respond(&parameters)
                    .map(Proof::Digest)
                    .map_err(ProbeError::protocol)
            }
            Way::Token => Ok(Proof::Token(token(login, rand::random(), there))),
        }
    }

    /// The device wants another proof than it was shown; `Ok` when it is worth showing one. `challenges` are those of
    /// HTTP, none where an envelope said so.
    pub(super) fn refused(
        &self,
        proof: &Proof,
        challenges: &[String],
        shown: &mut Shown,
        now: Instant,
    ) -> Result<(), ProbeError> {
        if self.login.is_none() {
            return Err(ProbeError::Credentials);
        }
        let mut state = self.lock();
        let challenge = digest(challenges);
        match proof {
            Proof::Nothing => {}
            Proof::Digest(_) => shown.digests += 1,
            Proof::Token(_) => shown.tokens += 1,
        }
        let worth = match (proof, &challenge) {
            (Proof::Digest(_), Some(challenge)) => {
                // An answer that was good before, to a nonce that is worn out.
                let renewed = challenge.stale() || state.proven && !state.way.answers(challenge);
                renewed && shown.digests < DIGESTS_MAX
            }
            (Proof::Nothing | Proof::Token(_), Some(_)) => shown.digests == 0,
            // HTTP lets us in and the service does not: some want the other proof there.
            (Proof::Nothing | Proof::Digest(_), None) => shown.tokens == 0,
            (Proof::Token(_), None) => false,
        };
        if !worth {
            *state = State {
                rests_until: now.checked_add(REST),
                ..State::default()
            };
            return Err(ProbeError::Credentials);
        }
        state.way = challenge.map_or(Way::Token, Way::Digest);
        Ok(())
    }

    /// What was shown is enough.
    pub(super) fn accepted(&self, proof: &Proof) {
        if *proof != Proof::Nothing {
            let mut state = self.lock();
            state.proven = true;
            state.rests_until = None;
        }
    }

    /// Shows a token again once more after the device's clock was found to be another.
    pub(super) fn clock_was_wrong(&self) {
        *self.lock() = State {
            way: Way::Token,
            ..State::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    fn answers(&self, challenge: &DigestClient) -> bool {
        matches!(self, Self::Digest(known) if known.nonce() == challenge.nonce())
    }
}

/// The Digest challenge among several. Basic would show the password, so it is none.
fn digest(challenges: &[String]) -> Option<DigestClient> {
    challenges.iter().find_map(|challenge| {
        match PasswordClient::builder().challenges(challenge).build() {
            Ok(PasswordClient::Digest(client)) => Some(client),
            _ => None,
        }
    })
}

/// A WS-UsernameToken: Base64(SHA1(nonce + created + password)) (ONVIF Core, WS-UsernameToken).
fn token(login: &Login, nonce: [u8; 16], created: Timestamp) -> Markup {
    let created = created.to_string();
    let mut hash = Sha1::new();
    hash.update(nonce);
    hash.update(created.as_bytes());
    hash.update(login.password.reveal().as_bytes());
    let password = BASE64_STANDARD.encode(hash.finalize());
    let token = Markup::node(
        "wsse:UsernameToken",
        [
            Markup::text("wsse:Username", &login.username),
            Markup::text_with("wsse:Password", &[("Type", PASSWORD_DIGEST)], &password),
            Markup::text_with(
                "wsse:Nonce",
                &[("EncodingType", BASE64_BINARY)],
                &BASE64_STANDARD.encode(nonce),
            ),
            Markup::text("wsu:Created", &created),
        ],
    );
    let attributes = [
        ("s:mustUnderstand", "1"),
        ("xmlns:wsse", SECURITY_EXTENSION),
        ("xmlns:wsu", SECURITY_UTILITY),
    ];
    Markup::node_with("wsse:Security", &attributes, [token])
}

const PASSWORD_DIGEST: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64_BINARY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";
const SECURITY_EXTENSION: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const SECURITY_UTILITY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";

/// The first answer of a question, and one more after a renewed nonce.
const DIGESTS_MAX: u32 = 2;
/// How long nothing is shown to a device that refused: some lock the account after a few wrong answers.
const REST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::monotonic, login::Secret, testing::at};

    fn keeper() -> Keeper {
        Keeper::new(Some(login()))
    }

    fn login() -> Login {
        Login {
            username: "viewer".to_owned(),
            password: Secret::from("s3cret".to_owned()),
        }
    }

    fn challenge(nonce: &str, more: &str) -> Vec<String> {
        vec![
            "Basic realm=\"nvr\"".to_owned(),
            format!("Digest realm=\"nvr\", qop=\"auth\", nonce=\"{nonce}\"{more}"),
        ]
    }

    fn shows(keeper: &Keeper) -> Result<Proof, ProbeError> {
        keeper.proof("/onvif/search", at(0), monotonic())
    }

    #[test]
    fn the_token_is_the_one_of_the_vector() {
        let nonce = std::array::from_fn(|byte| byte as u8);
        let created = Timestamp::parse_iso("2026-01-02T03:04:05.000Z").unwrap();
        let text = String::from_utf8(token(&login(), nonce, created).document()).unwrap();
        for part in [
            "<wsse:Username>viewer</wsse:Username>",
            "#PasswordDigest\">ihTghcJMN0f+NNk67HD7TiIqB40=</wsse:Password>",
            "#Base64Binary\">AAECAwQFBgcICQoLDA0ODw==</wsse:Nonce>",
            "<wsu:Created>2026-01-02T03:04:05.000Z</wsu:Created>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_wrong_password_is_shown_once_and_then_rested() {
        let (keeper, now) = (keeper(), monotonic());
        let mut shown = Shown::default();
        assert_eq!(shows(&keeper), Ok(Proof::Nothing));
        let first = challenge("n1", "");
        keeper
            .refused(&Proof::Nothing, &first, &mut shown, now)
            .unwrap();
        let proof = shows(&keeper).unwrap();
        assert!(matches!(&proof, Proof::Digest(header) if header.contains("username=\"viewer\"")));
        // A fresh nonce without `stale` is what devices send with every refusal.
        let again = challenge("n2", "");
        let refused = keeper.refused(&proof, &again, &mut shown, now);
        assert_eq!(refused, Err(ProbeError::Credentials));
        assert_eq!(shows(&keeper), Err(ProbeError::Credentials));
        let later = now + REST;
        assert_eq!(keeper.proof("/", at(0), later), Ok(Proof::Nothing));
    }

    #[test]
    fn a_nonce_wears_out_without_harm() {
        // Marked as stale, or just another one after an answer that was good.
        for (proven, more) in [(false, ", stale=true"), (true, "")] {
            let (keeper, now) = (keeper(), monotonic());
            let mut shown = Shown::default();
            keeper
                .refused(&Proof::Nothing, &challenge("n1", ""), &mut shown, now)
                .unwrap();
            let proof = shows(&keeper).unwrap();
            if proven {
                keeper.accepted(&proof);
            }
            let renewed = challenge("n2", more);
            keeper
                .refused(&proof, &renewed, &mut Shown::default(), now)
                .unwrap();
            let Proof::Digest(header) = shows(&keeper).unwrap() else {
                panic!("the new nonce is answered");
            };
            assert!(header.contains("nonce=\"n2\""), "{header}");
        }
    }

    #[test]
    fn a_device_that_always_says_stale_is_not_asked_for_ever() {
        let (keeper, now) = (keeper(), monotonic());
        let mut shown = Shown::default();
        let stale = challenge("n", ", stale=true");
        let mut answers = 0;
        let mut proof = Proof::Nothing;
        while keeper.refused(&proof, &stale, &mut shown, now).is_ok() {
            proof = shows(&keeper).unwrap();
            answers += 1;
        }
        assert_eq!(answers, 2);
    }

    #[test]
    fn devices_that_know_only_tokens_get_one() {
        let (keeper, now) = (keeper(), monotonic());
        let mut shown = Shown::default();
        keeper
            .refused(&Proof::Nothing, &[], &mut shown, now)
            .unwrap();
        let proof = shows(&keeper).unwrap();
        assert!(matches!(proof, Proof::Token(_)));
        let refused = keeper.refused(&proof, &[], &mut shown, now);
        assert_eq!(refused, Err(ProbeError::Credentials));
        // Only Basic is offered: the password is not shown in clear.
        let keeper = self::keeper();
        let basic = vec!["Basic realm=\"x\"".to_owned()];
        keeper
            .refused(&Proof::Nothing, &basic, &mut Shown::default(), now)
            .unwrap();
        assert!(matches!(shows(&keeper), Ok(Proof::Token(_))));
    }

    #[test]
    fn without_a_login_nothing_is_shown() {
        let keeper = Keeper::new(None);
        assert_eq!(shows(&keeper), Ok(Proof::Nothing));
        let refused = keeper.refused(
            &Proof::Nothing,
            &challenge("n", ""),
            &mut Shown::default(),
            monotonic(),
        );
        assert_eq!(refused, Err(ProbeError::Credentials));
    }
}
