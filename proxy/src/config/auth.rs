//! Who may watch: `[auth]` and `[[user]]`, with secrets read from where they are, and remarks on who cannot come in how.

use std::ops::Range;
use std::path::{Path, PathBuf};

use seamline_probes::Secret as Hidden;
use seamline_rtsp::auth::nonce::{KEY_SECRET_BYTES_MIN, NonceKey};
use seamline_rtsp::auth::server::{Offers, REALM, Users};
use seamline_rtsp::auth::users::{CameraPattern, Secret, User};
use serde::Deserialize;
use toml::Spanned;

use super::problems::Problems;
use crate::access::{Claims, LINK_SECRET_BYTES_MIN, LinkKey, Tokens, check_hash};

/// Who may watch, and how they prove who they are.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Anybody when empty.
    pub users: Vec<User>,
    /// What digest secrets are tied to.
    pub realm: String,
    /// What clients are offered besides Digest by MD5.
    pub offers: Offers,
    /// Shared by replicas; one of this process alone when `None`.
    pub nonce_key: Option<NonceKey>,
    /// How bearer tokens are checked, where they are taken.
    pub tokens: Option<Tokens>,
    /// What makes links and checks them.
    pub link_key: Option<LinkKey>,
}

/// `[auth]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthTable {
    realm: Option<Spanned<String>>,
    #[serde(default)]
    sha256: bool,
    #[serde(default)]
    basic: bool,
    nonce_key_file: Option<Spanned<PathBuf>>,
    link_key_file: Option<Spanned<PathBuf>>,
    token: Option<Spanned<TokenTable>>,
}

/// `[auth.token]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenTable {
    secret_file: Option<Spanned<PathBuf>>,
    public_key_file: Option<Spanned<PathBuf>>,
    issuer: Option<String>,
    audience: Option<String>,
    user_claim: Option<String>,
    cameras_claim: Option<String>,
}

/// `[[user]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserTable {
    name: Spanned<String>,
    password: Option<Spanned<Hidden>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    password_hash: Option<Spanned<Hidden>>,
    ha1: Option<Spanned<Hidden>>,
    ha1_sha256: Option<Spanned<Hidden>>,
    cameras: Option<Vec<Spanned<String>>>,
}

impl Auth {
    /// The users as requests are checked against them.
    pub fn into_users(self) -> Users {
        // A key of this process alone: another replica's nonces are stale here, which costs clients one request.
        let key = self
            .nonce_key
            .unwrap_or_else(|| NonceKey::from(rand::random::<[u8; 32]>()));
        let mut users = Users::new(key)
            .with_realm(&self.realm)
            .with_offers(self.offers);
        self.users.into_iter().for_each(|user| users.insert(user));
        users
    }

    /// What an operator should know about who can come in how.
    /// `tls`: whether clients can come by TLS.
    pub fn remarks(&self, tls: bool) -> Vec<String> {
        let Offers {
            sha256,
            basic_in_clear,
        } = self.offers;
        let mut remarks = Vec::new();
        if self.users.is_empty() {
            remarks.push("no [[user]]: anybody may watch".to_owned());
        }
        for User { name, secret, .. } in &self.users {
            match secret {
                Secret::Hash(_) if basic_in_clear => remarks.push(format!(
                    "user {name:?} comes in by Basic only, as password_hash cannot be checked by Digest: without TLS \
                     the password crosses the network in clear (auth.basic)"
                )),
                Secret::Hash(_) if tls => remarks.push(format!(
                    "user {name:?} comes in over TLS only: password_hash needs the password itself (Basic), which is \
                     not taken in clear; give ha1 for plain RTSP, or set auth.basic"
                )),
                Secret::Hash(_) => remarks.push(format!(
                    "user {name:?} cannot come in: password_hash needs the password itself (Basic), which is not taken in \
                     clear, and there is no [tls]; add it, or give ha1, or set auth.basic"
                )),
                Secret::Ha1 { md5: None, .. } if !sha256 => remarks.push(format!(
                    "user {name:?} has only ha1_sha256, and auth.sha256 is off: no player is asked for that"
                )),
                Secret::Ha1 { md5: None, .. } => remarks.push(format!(
                    "user {name:?} has only ha1_sha256: FFmpeg, GStreamer and VLC know only MD5; add ha1 for them"
                )),
                Secret::Ha1 { sha256: None, .. } if sha256 => remarks.push(format!(
                    "user {name:?} has no ha1_sha256: players that choose SHA-256 where it is offered cannot come in"
                )),
                Secret::Password(_) | Secret::Ha1 { .. } => {}
            }
        }
        let differ = |pair: &[User]| {
            let hashed = |user: &User| matches!(user.secret, Secret::Hash(_));
            hashed(&pair[0]) != hashed(&pair[1])
        };
        if self.tokens.is_some() && !tls {
            remarks.push(
                "[auth.token] without [tls]: tokens cross the network in clear, unless something in front of this port \
                 speaks TLS"
                    .to_owned(),
            );
        }
        if self.users.windows(2).any(differ) {
            remarks.push(
                "users with and without password_hash: players that choose Digest where both are offered (FFmpeg, \
                 GStreamer) cannot come in as the former"
                    .to_owned(),
            );
        }
        remarks
    }
}

/// Reads `[auth]` and the users that have no errors.
pub(super) fn check(
    table: AuthTable,
    users: Vec<(UserTable, Range<usize>)>,
    cameras: &[&str],
    problems: &mut Problems,
) -> Auth {
    let mut checker = Checker { cameras, problems };
    let realm = table.realm.map_or_else(
        || REALM.to_owned(),
        |realm| {
            let text = realm.get_ref();
            if text.is_empty() || !text.bytes().all(is_plain) {
                checker.wrong(&realm.span(), format!("realm {text:?}: {PLAIN}"));
            }
            realm.into_inner()
        },
    );
    let nonce_key = table
        .nonce_key_file
        .and_then(|path| checker.nonce_key(&path));
    let link_key = table.link_key_file.and_then(|path| checker.link_key(&path));
    if let Some(token) = &table.token
        && users.is_empty()
    {
        checker.wrong(
            &token.span(),
            "[auth.token] without any [[user]]: anybody may come in without a token; add a user",
        );
    }
    let tokens = table.token.and_then(|table| checker.tokens(&table));
    let users = users
        .into_iter()
        .filter_map(|(table, span)| checker.user(&table, &span))
        .collect();
    Auth {
        users,
        realm,
        offers: Offers {
            sha256: table.sha256,
            basic_in_clear: table.basic,
        },
        nonce_key,
        tokens,
        link_key,
    }
}

const PLAIN: &str = "only ASCII without quote and backslash reaches us unharmed";
const ONE_SECRET: &str = "a user has one of password, password_file, password_env, password_hash, and ha1 with or without \
                          ha1_sha256; `seamline user` makes such a section";

struct Checker<'a> {
    cameras: &'a [&'a str],
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn wrong(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.problems.add(span, message);
    }

    fn nonce_key(&mut self, path: &Spanned<PathBuf>) -> Option<NonceKey> {
        let text = self.file("nonce_key_file", path)?;
        let key = NonceKey::from_secret(text.as_bytes());
        if key.is_none() {
            self.wrong(
                &path.span(),
                format!(
                    "nonce_key_file {}: fewer than {KEY_SECRET_BYTES_MIN} bytes can be guessed",
                    path.get_ref().display()
                ),
            );
        }
        key
    }

    fn link_key(&mut self, path: &Spanned<PathBuf>) -> Option<LinkKey> {
        let text = self.file("link_key_file", path)?;
        let key = LinkKey::from_secret(text.as_bytes());
        if key.is_none() {
            self.wrong(
                &path.span(),
                format!(
                    "link_key_file {}: fewer than {LINK_SECRET_BYTES_MIN} bytes can be guessed",
                    path.get_ref().display()
                ),
            );
        }
        key
    }

    fn tokens(&mut self, table: &Spanned<TokenTable>) -> Option<Tokens> {
        let span = table.span();
        let table = table.get_ref();
        let claims = Claims {
            issuer: table.issuer.clone(),
            audience: table.audience.clone(),
            user: table.user_claim.clone().unwrap_or_else(|| "sub".to_owned()),
            cameras: table
                .cameras_claim
                .clone()
                .unwrap_or_else(|| "cameras".to_owned()),
        };
        let (key, path, made) = match (&table.secret_file, &table.public_key_file) {
            (Some(path), None) => {
                let text = self.file("secret_file", path)?;
                let made = Tokens::with_secret(text.as_bytes(), &claims);
                ("secret_file", path, made)
            }
            (None, Some(path)) => {
                let text = self.file("public_key_file", path)?;
                (
                    "public_key_file",
                    path,
                    Tokens::with_public_key(&text, &claims),
                )
            }
            _ => {
                self.wrong(
                    &span,
                    "[auth.token] takes one of secret_file and public_key_file",
                );
                return None;
            }
        };
        match made {
            Ok(tokens) => Some(tokens),
            Err(problem) => {
                let name = path.get_ref().display();
                self.wrong(&path.span(), format!("{key} {name}: {problem}"));
                None
            }
        }
    }

    fn user(&mut self, table: &UserTable, span: &Range<usize>) -> Option<User> {
        let mut fits = true;
        let name = table.name.get_ref();
        if !is_user_name(name) {
            self.wrong(
                &table.name.span(),
                format!("user name {name:?}: {PLAIN}, and no colon"),
            );
            fits = false;
        }
        let mut patterns = Vec::new();
        for camera in table.cameras.iter().flatten() {
            let pattern = CameraPattern::from(camera.get_ref().clone());
            if !self.cameras.iter().any(|id| pattern.matches(id)) {
                let text = camera.get_ref();
                let none = if text.contains('*') {
                    format!("no camera fits {text:?}")
                } else {
                    format!("there is no camera {text:?}")
                };
                self.wrong(&camera.span(), none);
                fits = false;
            }
            patterns.push(pattern);
        }
        let secret = self.secret(table, span)?;
        fits.then(|| User {
            name: name.clone(),
            secret,
            cameras: table.cameras.is_some().then_some(patterns),
        })
    }

    fn secret(&mut self, table: &UserTable, span: &Range<usize>) -> Option<Secret> {
        let ha1 = table.ha1.is_some() || table.ha1_sha256.is_some();
        let given = [
            table.password.is_some(),
            table.password_file.is_some(),
            table.password_env.is_some(),
            table.password_hash.is_some(),
            ha1,
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            self.wrong(span, ONE_SECRET);
            return None;
        }
        if let Some(hash) = &table.password_hash {
            let text = hash.get_ref().reveal();
            return match check_hash(text) {
                Ok(()) => Some(Secret::Hash(text.to_owned())),
                Err(problem) => {
                    self.wrong(&hash.span(), format!("password_hash: {problem}"));
                    None
                }
            };
        }
        if ha1 {
            let md5 = self.digest("ha1", "MD5", 32, table.ha1.as_ref());
            let sha256 = self.digest("ha1_sha256", "SHA-256", 64, table.ha1_sha256.as_ref());
            return Some(Secret::Ha1 {
                md5: md5?,
                sha256: sha256?,
            });
        }
        let (text, span) = if let Some(password) = &table.password {
            (password.get_ref().reveal().to_owned(), password.span())
        } else if let Some(path) = &table.password_file {
            (self.file("password_file", path)?, path.span())
        } else {
            let variable = table.password_env.as_ref()?;
            let Ok(text) = std::env::var(variable.get_ref()) else {
                let name = variable.get_ref();
                self.wrong(
                    &variable.span(),
                    format!("password_env {name:?} is not set"),
                );
                return None;
            };
            (text, variable.span())
        };
        if text.is_empty() {
            self.wrong(&span, "the password is empty");
            return None;
        }
        Some(Secret::Password(text))
    }

    /// A digest secret in lower case, `Some(None)` when it is not given, `None` when it is wrong.
    #[expect(clippy::option_option, reason = "absent and wrong are two things here")]
    fn digest(
        &mut self,
        key: &str,
        hash: &str,
        digits: usize,
        value: Option<&Spanned<Hidden>>,
    ) -> Option<Option<String>> {
        let Some(value) = value else {
            return Some(None);
        };
        let text = value.get_ref().reveal();
        if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.wrong(
                &value.span(),
                format!("{key} is the {hash} of \"user:realm:password\" in {digits} hex digits"),
            );
            return None;
        }
        Some(Some(text.to_ascii_lowercase()))
    }

    /// The text of a file without the end of its last line.
    fn file(&mut self, key: &str, path: &Spanned<PathBuf>) -> Option<String> {
        match read_line(path.get_ref()) {
            Ok(text) => Some(text),
            Err(error) => {
                let name = path.get_ref().display();
                self.wrong(&path.span(), format!("{key} {name}: {error}"));
                None
            }
        }
    }
}

/// Whether every client can send a name so that it arrives as it is.
pub(crate) fn is_user_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| is_plain(byte) && byte != b':')
}

fn is_plain(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && !matches!(byte, b'"' | b'\\')
}

fn read_line(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
