//! Checks clients' Digest answers (RFC 2617, RFC 7616) against the configured users; nonces need no table.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use digest_auth::{Algorithm, AlgorithmType, AuthorizationHeader, Qop};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::message::Method;
use crate::url::request_path;

/// The realm of our challenge.
pub const REALM: &str = "seamline";
/// Age at which a nonce goes stale, in seconds.
pub const NONCE_LIFETIME_S: u64 = 3600;
/// Longest `Authorization` header that is looked at.
pub const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// What a user proves knowledge of.
#[derive(Clone)]
pub enum Secret {
    /// The password in clear.
    Password(String),
    /// `H(user:realm:password)` in hex, MD5 and where known SHA-256: tied to the realm, hides the password.
    Ha1 {
        /// 32 hex digits.
        md5: String,
        /// 64 hex digits.
        sha256: Option<String>,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::Ha1 { .. } => "Ha1(..)",
        })
    }
}

/// Who may come in.
#[derive(Clone, Debug)]
pub struct User {
    /// Name; printable ASCII, since clients do not agree on how to send anything else.
    pub name: String,
    /// What the user proves knowledge of.
    pub secret: Secret,
    /// The cameras this user may see; `None` means all.
    pub cameras: Option<Vec<String>>,
}

impl User {
    /// Whether this user may see `camera`.
    pub fn may_see(&self, camera: &str) -> bool {
        self.cameras
            .as_ref()
            .is_none_or(|cameras| cameras.iter().any(|allowed| allowed == camera))
    }
}

/// The configured users, a realm and the key that makes nonces.
///
/// Nonces are an HMAC of the second they were made in, so every replica that holds the key can check them.
pub struct Users {
    by_name: HashMap<String, User>,
    realm: String,
    key: [u8; 32],
    nonce_lifetime_s: u64,
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
    /// Wrong user, password, URI or form: challenge and count.
    Denied,
    /// Right, but for a nonce that is too old: challenge with `stale=true`.
    Stale,
}

impl Users {
    /// No users yet, in the realm [`REALM`]. `key` is secret, random and the same in every replica.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            by_name: HashMap::new(),
            realm: REALM.to_owned(),
            key,
            nonce_lifetime_s: NONCE_LIFETIME_S,
        }
    }

    /// The same in another realm, which must hold no quote, backslash or control character.
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

    /// The same with another age at which nonces go stale.
    #[must_use]
    pub fn with_nonce_lifetime_s(self, nonce_lifetime_s: u64) -> Self {
        Self {
            nonce_lifetime_s,
            ..self
        }
    }

    /// Adds or replaces a user.
    pub fn insert(&mut self, user: User) {
        self.by_name.insert(user.name.clone(), user);
    }

    /// Whether nobody is configured, so that nobody needs to be asked.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The `WWW-Authenticate` value: realm first, no algorithm, no qop, no opaque. live555 reads no other form.
    pub fn challenge(&self, now_s: u64, stale: bool) -> String {
        let stale = if stale { ", stale=true" } else { "" };
        format!(
            "Digest realm=\"{}\", nonce=\"{}\"{stale}",
            self.realm,
            self.nonce(now_s)
        )
    }

    /// Checks the `Authorization` value of a request. `now_s` is Unix time in seconds.
    pub fn verify(
        &self,
        method: &Method,
        uri: &str,
        authorization: Option<&str>,
        now_s: u64,
    ) -> Verdict<'_> {
        let Some(authorization) = authorization else {
            return Verdict::Absent;
        };
        let Some(answer) = parse_answer(authorization) else {
            return Verdict::Denied;
        };
        let user = self.by_name.get(&answer.username);
        let expected = self.expected(user, &answer, method);
        // The comparison runs for unknown users too: its time tells nobody which names exist.
        let equal = bool::from(
            expected
                .as_bytes()
                .ct_eq(answer.response.to_ascii_lowercase().as_bytes()),
        );
        match user {
            Some(user)
                if equal && answer.realm == self.realm && same_resource(uri, &answer.uri) =>
            {
                match self.nonce_age_s(&answer.nonce, now_s) {
                    Some(age_s) if age_s <= self.nonce_lifetime_s => Verdict::Allowed { user },
                    // Another key's nonce (a restart, another replica) is as old as one of ours can be.
                    _ => Verdict::Stale,
                }
            }
            _ => Verdict::Denied,
        }
    }

    /// The response this user would give; of a made-up secret for nobody.
    fn expected(
        &self,
        user: Option<&User>,
        answer: &AuthorizationHeader,
        method: &Method,
    ) -> String {
        let hash = answer.algorithm;
        let ha1_of = |password: &str| {
            hash.hash_str(&format!("{}:{}:{password}", answer.username, self.realm))
        };
        let ha1 = match (user.map(|user| &user.secret), hash.algo) {
            (Some(Secret::Password(password)), _) => ha1_of(password),
            (Some(Secret::Ha1 { md5, .. }), AlgorithmType::MD5) => md5.to_ascii_lowercase(),
            (
                Some(Secret::Ha1 {
                    sha256: Some(sha256),
                    ..
                }),
                AlgorithmType::SHA2_256,
            ) => sha256.to_ascii_lowercase(),
            _ => ha1_of(&self.tag(b"nobody")),
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

    fn nonce(&self, now_s: u64) -> String {
        format!("{now_s:016x}{}", self.tag(&now_s.to_be_bytes()))
    }

    /// The age of a nonce of ours; `None` for any other, and for one from the future.
    fn nonce_age_s(&self, nonce: &str, now_s: u64) -> Option<u64> {
        let (made_s, tag) = nonce.split_at_checked(NONCE_TIME_DIGITS)?;
        let made_s = u64::from_str_radix(made_s, 16).ok()?;
        let ours = bool::from(
            self.tag(&made_s.to_be_bytes())
                .as_bytes()
                .ct_eq(tag.as_bytes()),
        );
        // A replica's clock may be a little ahead.
        ours.then(|| now_s.saturating_add(NONCE_AHEAD_S_MAX).checked_sub(made_s))
            .flatten()
    }

    fn tag(&self, message: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(message);
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        // Half of the HMAC is as much as anyone will guess.
        let (half, _) = tag.split_at(NONCE_TAG_BYTES);
        half.iter().fold(
            String::with_capacity(2 * NONCE_TAG_BYTES),
            |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a String takes every character");
                hex
            },
        )
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

/// The last use of a nonce on one connection: a counter that runs backwards is a replay.
#[derive(Debug, Default)]
pub struct NonceCount {
    nonce: String,
    count: u32,
}

impl NonceCount {
    /// Turns an allowed answer with a used-up count into a stale one. Answers without `qop` carry no count.
    pub fn check<'a>(&mut self, verdict: Verdict<'a>, authorization: Option<&str>) -> Verdict<'a> {
        let (Verdict::Allowed { .. }, Some(answer)) =
            (verdict, authorization.and_then(parse_answer))
        else {
            return verdict;
        };
        if answer.qop.is_none() {
            return verdict;
        }
        if self.nonce == answer.nonce && answer.nc <= self.count {
            return Verdict::Stale;
        }
        (self.nonce, self.count) = (answer.nonce, answer.nc);
        verdict
    }
}

/// Reads a Digest answer; `None` for anything that we could not have asked for.
fn parse_answer(authorization: &str) -> Option<AuthorizationHeader> {
    let (scheme, parameters) = authorization.trim().split_once(' ')?;
    // digest_auth counts characters where it cuts bytes: beyond ASCII it would panic.
    if !scheme.eq_ignore_ascii_case("Digest")
        || !parameters.is_ascii()
        || parameters.len() > AUTHORIZATION_BYTES_MAX
    {
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

const NONCE_TIME_DIGITS: usize = 16;
const NONCE_TAG_BYTES: usize = 16;
const NONCE_AHEAD_S_MAX: u64 = 60;
const SHA256_HEX_DIGITS: usize = 64;
