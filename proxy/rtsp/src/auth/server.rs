//! Challenges clients and checks their answers: Digest by MD5 and SHA-256 (RFC 2617, RFC 7616), and Basic (RFC 7617).

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use digest_auth::{Algorithm, AlgorithmType, AuthorizationHeader, Qop};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::nonce::NonceKey;
use super::users::{Secret, User};
use crate::url::request_path;

/// The realm of our challenge, unless another is configured.
pub const REALM: &str = "seamline";
/// Longest `Authorization` header that is looked at.
pub const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// What clients are offered besides Digest by MD5, which every player knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Digest by SHA-256, in front of MD5: players that know only MD5 take the last or the first they know.
    pub sha256: bool,
    /// Basic also where anybody on the way can read the password. Over TLS it is always offered.
    pub basic_in_clear: bool,
}

/// The configured users, their realm and the key that makes nonces.
pub struct Users {
    by_name: HashMap<String, User>,
    realm: String,
    key: NonceKey,
    offers: Offers,
}

/// A request as far as its sender's right to it goes.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// As the client wrote it.
    pub method: &'a str,
    /// The request line's.
    pub uri: &'a str,
    /// The header's value.
    pub authorization: Option<&'a str>,
    /// Whether nobody on the way can read it (TLS).
    pub secure: bool,
    /// Unix time in seconds.
    pub now_s: u64,
}

/// What an `Authorization` header proves.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// This user sent the request.
    Allowed {
        /// Who.
        user: &'a User,
    },
    /// There is no header: challenge.
    Absent,
    /// Challenge again, without what cannot work.
    Denied(Denied),
    /// Right, but its nonce is too old or used up: challenge with `stale=true`.
    Stale,
    /// A password that is to be held against a slow hash: [`Login::remember`] if it fits, else [`Denied::Wrong`].
    Compare {
        /// Whom the password would prove; `None` for nobody, so that the time it takes tells nothing.
        user: Option<&'a User>,
        /// The hash, in PHC form.
        hash: &'a str,
    },
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Wrong user, password, realm or URI: count it.
    Wrong,
    /// Nothing that we could have asked for.
    Malformed,
    /// A password in clear where Basic is not offered. It was not looked at.
    InClear,
    /// A Digest answer of a user whose secret is a hash.
    NeedsBasic,
}

/// What one connection has proved so far.
#[derive(Default)]
pub struct Login {
    /// The last nonce that was used in time, and how often (RFC 7616 `nc`).
    nonce: String,
    count: u32,
    /// The digest of a Basic header that was right.
    basic: Option<[u8; 32]>,
    name: Option<String>,
}

impl Login {
    /// Who was let in last.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Notes that this Basic header is `user`'s: from now on it needs no comparison on this connection.
    pub fn remember(&mut self, authorization: &str, user: &User) {
        self.basic = Some(Sha256::digest(authorization).into());
        self.name = Some(user.name.clone());
    }

    /// Passwords may have changed: the next one is compared again.
    pub fn forget_password(&mut self) {
        self.basic = None;
    }

    fn remembers(&self, authorization: &str) -> bool {
        let seen: [u8; 32] = Sha256::digest(authorization).into();
        self.basic
            .is_some_and(|known| bool::from(known.ct_eq(&seen)))
    }

    /// Whether a nonce may be used now, for the `nc`th time where the answer counts.
    fn takes(&mut self, answer: &AuthorizationHeader, key: &NonceKey, now_s: u64) -> bool {
        let counted = answer.qop.is_some();
        if self.nonce == answer.nonce {
            // A counter that does not advance is a replay.
            if counted && answer.nc <= self.count {
                return false;
            }
        } else if !key.is_fresh(&answer.nonce, now_s) {
            return false;
        } else {
            self.nonce.clone_from(&answer.nonce);
            self.count = 0;
        }
        if counted {
            self.count = answer.nc;
        }
        true
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Users {
    /// No users yet, in the realm [`REALM`].
    pub fn new(key: impl Into<NonceKey>) -> Self {
        Self {
            by_name: HashMap::new(),
            realm: REALM.to_owned(),
            key: key.into(),
            offers: Offers::default(),
        }
    }

    /// The same in another realm; what cannot stand between quotes is left out of it.
    #[must_use]
    pub fn with_realm(self, realm: &str) -> Self {
        let realm = realm
            .chars()
            .filter(|&c| c.is_ascii_graphic() || c == ' ')
            .filter(|c| !matches!(c, '"' | '\\'));
        Self {
            realm: realm.collect(),
            ..self
        }
    }

    /// The same with other offers.
    #[must_use]
    pub fn with_offers(self, offers: Offers) -> Self {
        Self { offers, ..self }
    }

    /// Adds or replaces a user.
    pub fn insert(&mut self, user: User) {
        self.by_name.insert(user.name.clone(), user);
    }

    /// The configured user of this name; nothing is proved by it.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.by_name.get(name)
    }

    /// What the challenges name.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether nobody is configured, so that nobody needs to be asked.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The name of the configured user whom this header claims to come from; nothing is proved by it.
    pub fn claimed(&self, authorization: &str) -> Option<&str> {
        let name = match parse(authorization)? {
            Answer::Digest(answer) => answer.username,
            Answer::Basic { name, .. } => name,
        };
        self.by_name.get(&name).map(|user| user.name.as_str())
    }

    /// The `WWW-Authenticate` values, one header each, in this order. `denied` is what became of the answer before.
    ///
    /// Realm first, then the nonce, and nothing else for MD5: live555 reads no other form. FFmpeg takes the last Digest and
    /// knows only MD5, so SHA-256 goes in front of it.
    pub fn challenges(
        &self,
        now_s: u64,
        secure: bool,
        stale: bool,
        denied: Option<Denied>,
    ) -> Vec<String> {
        let any = |can: fn(&User) -> bool| self.by_name.values().any(can);
        let basic = self.takes_basic(secure);
        let mut values = Vec::with_capacity(3);
        if !(basic && denied == Some(Denied::NeedsBasic)) {
            let stale = if stale { ", stale=true" } else { "" };
            let digest = format!(
                "Digest realm=\"{}\", nonce=\"{}\"",
                self.realm,
                self.key.nonce(now_s)
            );
            if self.offers.sha256 && any(User::answers_sha256) {
                values.push(format!("{digest}, algorithm=SHA-256{stale}"));
            }
            // A 401 without a challenge is none: where nobody can answer it, it stands for all.
            if any(User::answers_md5) || (values.is_empty() && !basic) {
                values.push(format!("{digest}{stale}"));
            }
        }
        if basic {
            values.push(format!("Basic realm=\"{}\"", self.realm));
        }
        values
    }

    /// Checks the `Authorization` value of a request.
    pub fn verify(&self, ask: &Ask<'_>, login: &mut Login) -> Verdict<'_> {
        let Some(authorization) = ask.authorization else {
            return Verdict::Absent;
        };
        match parse(authorization) {
            None => Verdict::Denied(Denied::Malformed),
            Some(Answer::Digest(answer)) => self.verify_digest(ask, &answer, login),
            Some(Answer::Basic { name, password }) if self.takes_basic(ask.secure) => {
                self.verify_basic(authorization, &name, &password, login)
            }
            Some(Answer::Basic { .. }) => Verdict::Denied(Denied::InClear),
        }
    }

    fn takes_basic(&self, secure: bool) -> bool {
        secure || self.offers.basic_in_clear
    }

    fn verify_digest(
        &self,
        ask: &Ask<'_>,
        answer: &AuthorizationHeader,
        login: &mut Login,
    ) -> Verdict<'_> {
        let user = self.by_name.get(&answer.username);
        if user.is_some_and(|user| matches!(user.secret, Secret::Hash(_))) {
            return Verdict::Denied(Denied::NeedsBasic);
        }
        let expected = self.expected(user, answer, ask.method);
        // The comparison runs for unknown users too: its time tells nobody which names exist.
        let equal = bool::from(
            expected
                .as_bytes()
                .ct_eq(answer.response.to_ascii_lowercase().as_bytes()),
        );
        match user {
            Some(user)
                if equal && answer.realm == self.realm && same_resource(ask.uri, &answer.uri) =>
            {
                if !login.takes(answer, &self.key, ask.now_s) {
                    return Verdict::Stale;
                }
                if login.name.as_deref() != Some(&user.name) {
                    login.name = Some(user.name.clone());
                }
                Verdict::Allowed { user }
            }
            _ => Verdict::Denied(Denied::Wrong),
        }
    }

    fn verify_basic(
        &self,
        authorization: &str,
        name: &str,
        password: &str,
        login: &mut Login,
    ) -> Verdict<'_> {
        let user = self.by_name.get(name);
        let same = |one: &str, other: &str| {
            // Of their digests, so that the time does not depend on the lengths.
            let digest = |text: &str| <[u8; 32]>::from(Sha256::digest(text));
            bool::from(digest(one).ct_eq(&digest(other)))
        };
        let hashed = |kind, ha1: &str| {
            let whole = format!("{name}:{}:{password}", self.realm);
            same(&Algorithm::new(kind, false).hash_str(&whole), ha1)
        };
        let right = match user.map(|user| &user.secret) {
            Some(Secret::Password(known)) => same(password, known),
            Some(Secret::Ha1 {
                sha256: Some(ha1), ..
            }) => hashed(AlgorithmType::SHA2_256, ha1),
            Some(Secret::Ha1 { md5: Some(ha1), .. }) => hashed(AlgorithmType::MD5, ha1),
            Some(Secret::Ha1 { .. }) => false,
            Some(Secret::Hash(_)) if login.remembers(authorization) => true,
            Some(Secret::Hash(hash)) => return Verdict::Compare { user, hash },
            None => match self.any_hash() {
                Some(hash) => return Verdict::Compare { user: None, hash },
                None => false,
            },
        };
        match user {
            Some(user) if right => {
                login.remember(authorization, user);
                Verdict::Allowed { user }
            }
            _ => Verdict::Denied(Denied::Wrong),
        }
    }

    fn any_hash(&self) -> Option<&str> {
        self.by_name.values().find_map(|user| match &user.secret {
            Secret::Hash(hash) => Some(hash.as_str()),
            _ => None,
        })
    }

    /// The response this user would give; of a made-up secret for nobody.
    fn expected(&self, user: Option<&User>, answer: &AuthorizationHeader, method: &str) -> String {
        let hash = answer.algorithm;
        let ha1_of = |password: &str| {
            hash.hash_str(&format!("{}:{}:{password}", answer.username, self.realm))
        };
        let ha1 = match (user.map(|user| &user.secret), hash.algo) {
            (Some(Secret::Password(password)), _) => ha1_of(password),
            (Some(Secret::Ha1 { md5: Some(md5), .. }), AlgorithmType::MD5) => md5.clone(),
            (
                Some(Secret::Ha1 {
                    sha256: Some(sha256),
                    ..
                }),
                AlgorithmType::SHA2_256,
            ) => sha256.clone(),
            _ => ha1_of(&self.key.tag(b"nobody")),
        };
        let ha2 = hash.hash_str(&format!("{method}:{}", answer.uri));
        let middle = match (answer.qop, &answer.cnonce) {
            (Some(qop), Some(cnonce)) => {
                format!("{}:{:08x}:{cnonce}:{qop}", answer.nonce, answer.nc)
            }
            _ => answer.nonce.clone(),
        };
        hash.hash_str(&format!("{ha1}:{middle}:{ha2}"))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("realm", &self.realm)
            .field("users", &self.by_name.len())
            .finish_non_exhaustive()
    }
}

/// `H(name:realm:password)` as [`Secret::Ha1`] keeps it: by MD5 and by SHA-256.
pub fn ha1(name: &str, realm: &str, password: &str) -> (String, String) {
    let whole = format!("{name}:{realm}:{password}");
    let hash = |kind| Algorithm::new(kind, false).hash_str(&whole);
    (hash(AlgorithmType::MD5), hash(AlgorithmType::SHA2_256))
}

/// The password in a Basic header.
pub fn basic_password(authorization: &str) -> Option<String> {
    match parse(authorization)? {
        Answer::Basic { password, .. } => Some(password),
        Answer::Digest(_) => None,
    }
}

enum Answer {
    Digest(Box<AuthorizationHeader>),
    Basic { name: String, password: String },
}

/// Reads an `Authorization` value; `None` for anything that we could not have asked for.
fn parse(authorization: &str) -> Option<Answer> {
    if authorization.len() > AUTHORIZATION_BYTES_MAX {
        return None;
    }
    let (scheme, parameters) = authorization.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("Digest") {
        return parse_digest(parameters).map(|answer| Answer::Digest(Box::new(answer)));
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(parameters.trim()).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (name, password) = pair.split_once(':')?;
    Some(Answer::Basic {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

fn parse_digest(parameters: &str) -> Option<AuthorizationHeader> {
    // digest_auth counts characters where it cuts bytes: beyond ASCII it would panic.
    if !parameters.is_ascii() {
        return None;
    }
    let mut answer = AuthorizationHeader::parse(parameters).ok()?;
    // Some clients choose SHA-256 without saying so; the length does.
    if answer.response.len() == SHA256_HEX_DIGITS {
        answer.algorithm.algo = AlgorithmType::SHA2_256;
    }
    let md5 = Algorithm::new(AlgorithmType::MD5, false);
    let sha256 = Algorithm::new(AlgorithmType::SHA2_256, false);
    let known = (answer.algorithm == md5 || answer.algorithm == sha256)
        && answer.qop != Some(Qop::AUTH_INT);
    (known && !answer.userhash).then_some(answer)
}

/// Whether the `uri` a client signed denotes the resource it asks for: absolute or path-only, with or without a
/// trailing slash or query, or the aggregate of the track.
fn same_resource(asked: &str, signed: &str) -> bool {
    if asked == signed {
        return true;
    }
    let asked = request_path(asked).trim_end_matches('/');
    let signed = request_path(signed).trim_end_matches('/');
    let track = asked
        .strip_prefix(signed)
        .and_then(|track| track.strip_prefix('/'));
    asked == signed || (!signed.is_empty() && track.is_some_and(|track| !track.contains('/')))
}

const SHA256_HEX_DIGITS: usize = 64;
