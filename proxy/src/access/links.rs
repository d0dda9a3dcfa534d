//! Links that anybody may follow until they expire: an HMAC over what they ask for, checked by every replica that has the key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use url::form_urlencoded;

/// Until when a link is good, Unix time in seconds.
const EXPIRES: &str = "expires";
/// What only holders of the key can make of the rest.
const SIGNATURE: &str = "sig";
/// Least length of a secret that makes a key, bytes.
pub const LINK_SECRET_BYTES_MIN: usize = 16;

/// The secret behind links.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

/// Why a link is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LinkProblem {
    /// It was.
    #[error("this link has expired")]
    Expired,
    /// It was not made with this key, or something of it was changed.
    #[error("this link was not made here, or was changed")]
    Wrong,
    /// Links are for reading.
    #[error("a link is followed by GET and HEAD only")]
    Method,
}

impl LinkKey {
    /// A key from a secret; `None` for one that could be guessed.
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        (secret.len() >= LINK_SECRET_BYTES_MIN).then(|| LinkKey(Sha256::digest(secret).into()))
    }

    /// The query of a link to `path` with this query, good until `expires_s` (Unix time). What signed it before is replaced.
    pub fn sign(&self, path: &str, query: &str, expires_s: u64) -> String {
        let ours = |(name, _): &(_, _)| {
            let name: &str = std::convert::AsRef::<str>::as_ref(name);
            name != EXPIRES && name != SIGNATURE
        };
        let mut signed = form_urlencoded::Serializer::new(String::new());
        signed.extend_pairs(pairs(query).filter(ours));
        signed.append_pair(EXPIRES, &expires_s.to_string());
        let query = signed.finish();
        let tag = self.mac(path, &query).finalize().into_bytes();
        let tag = URL_SAFE_NO_PAD.encode(tag);
        format!("{query}&{SIGNATURE}={tag}")
    }

    /// When the link of a request expires, Unix time in seconds; `None` for a query without one. Says nothing about its being good.
    pub fn expires_s(query: &str) -> Option<u64> {
        let value = |wanted: &str| {
            pairs(query)
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value)
        };
        value(SIGNATURE)?;
        value(EXPIRES)?.parse().ok()
    }

    /// Whether a request follows a good link; `None` when it follows none.
    pub(super) fn check(
        &self,
        method: &str,
        path: &str,
        query: &str,
        now_s: u64,
    ) -> Option<Result<(), LinkProblem>> {
        let mut signatures = pairs(query).filter(|(name, _)| name == SIGNATURE);
        let (_, signature) = signatures.next()?;
        let only = signatures.next().is_none();
        Some(self.judge(method, path, query, only.then_some(&*signature), now_s))
    }

    fn judge(
        &self,
        method: &str,
        path: &str,
        query: &str,
        signature: Option<&str>,
        now_s: u64,
    ) -> Result<(), LinkProblem> {
        let tag = signature.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let rest: Vec<_> = pairs(query).filter(|(name, _)| name != SIGNATURE).collect();
        let mut signed = form_urlencoded::Serializer::new(String::new());
        signed.extend_pairs(&rest);
        let right = self
            .mac(path, &signed.finish())
            .verify_slice(&tag.unwrap_or_default());
        right.map_err(|_| LinkProblem::Wrong)?;
        let mut expires = rest.iter().filter(|(name, _)| name == EXPIRES);
        let until: Option<u64> = expires.next().and_then(|(_, value)| value.parse().ok());
        match until {
            Some(until) if expires.next().is_none() && now_s < until => {}
            Some(_) => return Err(LinkProblem::Expired),
            None => return Err(LinkProblem::Wrong),
        }
        match method {
            "GET" | "HEAD" => Ok(()),
            _ => Err(LinkProblem::Method),
        }
    }

    /// Over the path as it is written, and the query as it is read: clients do not agree on how a query is escaped.
    fn mac(&self, path: &str, query: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in ["seamline link 1", "GET", path, query] {
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        mac
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(..)")
    }
}

fn pairs(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> LinkKey {
        LinkKey::from_secret(b"0123456789abcdef").unwrap()
    }

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_link_is_good_until_it_expires_and_for_reading() {
        let query = key().sign(
            "/get",
            "path=yard%2Fnorth&start=2026-01-01T12:00:00Z",
            NOW + 60,
        );
        let check = |method, query: &str, now_s| key().check(method, "/get", query, now_s);
        assert_eq!(check("GET", &query, NOW), Some(Ok(())));
        assert_eq!(check("HEAD", &query, NOW + 59), Some(Ok(())));
        assert_eq!(
            check("GET", &query, NOW + 60),
            Some(Err(LinkProblem::Expired))
        );
        assert_eq!(check("POST", &query, NOW), Some(Err(LinkProblem::Method)));
        // Another way to write the same query.
        let escaped = query.replace(':', "%3A").replace("%2F", "/");
        assert_eq!(check("GET", &escaped, NOW), Some(Ok(())));
        assert_eq!(check("GET", "path=gate", NOW), None);
        let other = LinkKey::from_secret(b"0123456789abcdeF").unwrap();
        assert_eq!(
            other.check("GET", "/get", &query, NOW),
            Some(Err(LinkProblem::Wrong))
        );
        assert_eq!(
            key().check("GET", "/export", &query, NOW),
            Some(Err(LinkProblem::Wrong))
        );
        for changed in [
            query.replace("north", "south"),
            query.replace("expires=18", "expires=19"),
            format!("{query}&path=gate"),
            format!("{query}&expires=1900000000"),
            format!("{query}&sig=AAAA"),
            "path=gate&sig=".to_owned(),
        ] {
            assert_eq!(
                check("GET", &changed, NOW),
                Some(Err(LinkProblem::Wrong)),
                "{changed}"
            );
        }
        // Signed anew, there is one signature and one end.
        let again = key().sign("/get", &query, NOW + 600);
        assert_eq!(again.matches("expires=").count(), 1);
        assert_eq!(check("GET", &again, NOW + 500), Some(Ok(())));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_seen(path in "/[a-z/]{0,20}", query in "[ -~]{0,60}", at in 0usize..200, to in b' '..b'~') {
            let signed = key().sign(&path, &query, NOW + 60);
            prop_assert_eq!(key().check("GET", &path, &signed, NOW), Some(Ok(())));
            let mut bytes = signed.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = to;
            let changed = String::from_utf8(bytes).unwrap();
            let same: Vec<_> = pairs(&changed).collect();
            if same != pairs(&signed).collect::<Vec<_>>() {
                prop_assert_ne!(key().check("GET", &path, &changed, NOW), Some(Ok(())));
            }
        }
    }
}
