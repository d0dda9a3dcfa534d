//! Who comes, as far as requests show it: names in credentials that a management server accepted, and which credentials those
//! were, without keeping any of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Most credentials that are known again; behind that those that end first are forgotten.
const KNOWN_MAX: usize = 20_000;
/// Longest credentials that are looked into.
const SHOWN_BYTES_MAX: usize = 16 * 1024;
/// Begins each message of NTLM ([MS-NLMP] 2.2.1).
const NTLM: &[u8] = b"NTLMSSP\0";

/// The name in an `Authorization` header, in lower case: of Basic, of a bearer token that is a JWT, of NTLM's last message. It proves
/// nothing by itself.
pub(super) fn user_of(authorization: &str) -> Option<String> {
    if authorization.len() > SHOWN_BYTES_MAX {
        return None;
    }
    let (scheme, shown) = authorization.trim().split_once(' ')?;
    let shown = shown.trim();
    let user = match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let pair = String::from_utf8(BASE64_STANDARD.decode(shown).ok()?).ok()?;
            let (user, _) = pair.split_once(':')?;
            user.to_owned()
        }
        "bearer" => {
            let claims = shown.split('.').nth(1)?.trim_end_matches('=');
            let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
            let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
            let named = ["name", "unique_name", "preferred_username", "sub"];
            let name = named.iter().find_map(|claim| claims.get(claim)?.as_str());
            name?.to_owned()
        }
        "ntlm" | "negotiate" => of_ntlm(&BASE64_STANDARD.decode(shown).ok()?)?,
        _ => return None,
    };
    normal(&user)
}

/// A user as he is known: in lower case, and without what clients put in front of users that are not of Windows.
pub(super) fn normal(user: &str) -> Option<String> {
    let user = user.trim().to_lowercase();
    let user = user.strip_prefix("[basic]\\").unwrap_or(&user);
    (!user.is_empty() && !user.contains(char::is_control)).then(|| user.to_owned())
}

/// `domain\user` of an `AUTHENTICATE_MESSAGE` ([MS-NLMP] 2.2.1.3), also inside of SPNEGO.
fn of_ntlm(message: &[u8]) -> Option<String> {
    let at = message
        .windows(NTLM.len())
        .position(|window| window == NTLM)?;
    let message = message.get(at..)?;
    let word = |at: usize| {
        Some(u32::from_le_bytes(
            message.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    if word(8)? != 3 {
        return None;
    }
    let unicode = word(60)? & 1 != 0;
    let text = |field: usize| {
        let length = u16::from_le_bytes(message.get(field..field + 2)?.try_into().ok()?);
        let start = word(field + 4)? as usize;
        let bytes = message.get(start..start.checked_add(length.into())?)?;
        if !unicode {
            return Some(String::from_utf8_lossy(bytes).into_owned());
        }
        let units = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        Some(
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or('?'))
                .collect(),
        )
    };
    let (domain, user): (String, String) = (text(28)?, text(36)?);
    if user.is_empty() {
        return None;
    }
    Some(if domain.is_empty() {
        user
    } else {
        format!("{domain}\\{user}")
    })
}

/// Credentials that were seen, each as a keyed digest: it can be told that they come again, and nothing else.
pub(super) struct Credentials {
    key: [u8; 32],
    seen: Mutex<HashMap<[u8; 32], Seen>>,
}

/// What is known of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) user: String,
    pub(super) verdict: Verdict,
    until: Instant,
}

/// What a management server made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The primary let their bearer log in.
    Accepted,
    /// The primary gave this access token.
    IssuedByPrimary,
    /// The secondary did.
    IssuedBySecondary,
    /// The primary did not know this name with this password.
    Refused,
}

impl Default for Credentials {
    fn default() -> Self {
        Credentials {
            key: rand::random(),
            seen: Mutex::default(),
        }
    }
}

impl Credentials {
    /// Remembers the verdict on credentials, in place of any before.
    pub(super) fn note(
        &self,
        shown: &str,
        user: &str,
        verdict: Verdict,
        life: Duration,
        now: Instant,
    ) {
        let seal = self.seal(shown);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= KNOWN_MAX {
            seen.retain(|_, known| now < known.until);
        }
        if seen.len() >= KNOWN_MAX {
            let mut ends: Vec<Instant> = seen.values().map(|known| known.until).collect();
            let (_, last, _) = ends.select_nth_unstable(KNOWN_MAX / 10);
            let last = *last;
            seen.retain(|_, known| known.until > last);
        }
        let until = now.checked_add(life).unwrap_or(now);
        let known = Seen {
            user: user.to_owned(),
            verdict,
            until,
        };
        seen.insert(seal, known);
    }

    /// What is known of credentials.
    pub(super) fn known(&self, shown: &str, now: Instant) -> Option<Seen> {
        let seal = self.seal(shown);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&seal).filter(|known| now < known.until).cloned()
    }

    fn seal(&self, shown: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key fits");
        mac.update(shown.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Name and password as one, for [`Credentials`].
pub(super) fn pair(user: &str, password: &str) -> String {
    format!("{user}\0{password}")
}

/// Name and password of Basic as one, likewise.
pub(super) fn basic_pair(authorization: &str) -> Option<String> {
    let (scheme, shown) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(shown.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(pair(&normal(user)?, password))
}

/// An access token as it is shown, for [`Credentials`].
pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// An `Authorization` header as it counts for [`Credentials`]: of one spelling.
pub(super) fn shown(authorization: &str) -> String {
    match authorization.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => bearer(token.trim()),
        _ => authorization.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ntlm(domain: &str, user: &str) -> Vec<u8> {
        let wide = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>()
        };
        let (domain, user) = (wide(domain), wide(user));
        let mut message = NTLM.to_vec();
        message.extend(3u32.to_le_bytes());
        let field = |length: usize, start: usize| {
            let length = (length as u16).to_le_bytes();
            [&length[..], &length, &(start as u32).to_le_bytes()].concat()
        };
        message.extend(field(0, 64));
        message.extend(field(0, 64));
        message.extend(field(domain.len(), 64));
        message.extend(field(user.len(), 64 + domain.len()));
        message.extend(field(0, 64));
        message.extend(field(0, 64));
        message.extend(1u32.to_le_bytes());
        message.extend(domain);
        message.extend(user);
        message
    }

    #[test]
    fn names_are_read_from_what_is_shown() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        assert_eq!(
            user_of(&basic("[BASIC]\\Guard:p:w")).as_deref(),
            Some("guard")
        );
        assert_eq!(user_of(&basic("no colon")), None);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"7","name":"Guard"}"#);
        assert_eq!(
            user_of(&format!("bearer x.{claims}.y")).as_deref(),
            Some("guard")
        );
        assert_eq!(user_of("Bearer access-0"), None);
        let message = ntlm("YARD", "Müller");
        let shown = format!("NTLM {}", BASE64_STANDARD.encode(&message));
        assert_eq!(user_of(&shown).as_deref(), Some("yard\\müller"));
        let wrapped = [&b"\x60\x82spnego"[..], &message].concat();
        let shown = format!("Negotiate {}", BASE64_STANDARD.encode(wrapped));
        assert_eq!(user_of(&shown).as_deref(), Some("yard\\müller"));
        for end in 0..message.len() {
            let shown = format!("NTLM {}", BASE64_STANDARD.encode(&message[..end]));
            assert_eq!(user_of(&shown), None, "{end}");
        }
    }

    #[test]
    fn credentials_are_known_again_until_their_end() {
        let (known, now) = (Credentials::default(), crate::clock::now());
        let life = Duration::from_secs(9);
        known.note(&shown("bearer  abc"), "guard", Verdict::Accepted, life, now);
        assert_eq!(known.known(&bearer("abc"), now).unwrap().user, "guard");
        assert_eq!(known.known(&bearer("abd"), now), None);
        assert_eq!(known.known(&bearer("abc"), now + life), None);
        for ix in 0..=KNOWN_MAX {
            known.note(&ix.to_string(), "x", Verdict::Refused, life * 2, now);
        }
        assert!(known.seen.lock().unwrap().len() <= KNOWN_MAX);
    }
}
