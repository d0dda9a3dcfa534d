//! Nonces without a table: an HMAC of the second they were made in, so that every replica that holds the key can check them.

use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// How long after it was made a nonce may be used for the first time on a connection, in seconds. On the connection that
/// used it in time it stays good: only whoever listens to that connection could replay it there.
pub const NONCE_WINDOW_S: u64 = 60;
/// A replica's clock may be so far ahead, in seconds.
pub const NONCE_AHEAD_S_MAX: u64 = 60;
/// Least length of a secret that makes a key, in bytes.
pub const KEY_SECRET_BYTES_MIN: usize = 16;

const TIME_DIGITS: usize = 16;
/// Half of the HMAC is as much as anyone will guess.
const TAG_BYTES: usize = 16;

/// The secret behind nonces; the same in every replica that is to accept them.
#[derive(Clone)]
pub struct NonceKey([u8; 32]);

impl NonceKey {
    /// A key from a secret of any length; `None` for one that could be guessed.
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        (secret.len() >= KEY_SECRET_BYTES_MIN).then(|| Self(Sha256::digest(secret).into()))
    }

    /// The nonce of this second (Unix time).
    pub(super) fn nonce(&self, now_s: u64) -> String {
        format!("{now_s:016x}{}", self.tag(&now_s.to_be_bytes()))
    }

    /// Whether a nonce is ours and was made within the window. Another key's (a restart, another replica without the
    /// shared key) is as good as one that is too old.
    pub(super) fn is_fresh(&self, nonce: &str, now_s: u64) -> bool {
        let made_s = nonce
            .split_at_checked(TIME_DIGITS)
            .and_then(|(made_s, tag)| {
                let made_s = u64::from_str_radix(made_s, 16).ok()?;
                let ours = self.tag(&made_s.to_be_bytes());
                bool::from(ours.as_bytes().ct_eq(tag.as_bytes())).then_some(made_s)
            });
        made_s.is_some_and(|made_s| {
            made_s <= now_s.saturating_add(NONCE_AHEAD_S_MAX)
                && now_s <= made_s.saturating_add(NONCE_WINDOW_S)
        })
    }

    /// Hex that only holders of the key can make.
    pub(super) fn tag(&self, message: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(message);
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let (half, _) = tag.split_at(TAG_BYTES);
        half.iter()
            .fold(String::with_capacity(2 * TAG_BYTES), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a String takes every character");
                hex
            })
    }
}

impl From<[u8; 32]> for NonceKey {
    fn from(key: [u8; 32]) -> Self {
        Self(key)
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(..)")
    }
}
