//! Which tokens recorders let in a while ago: they do so again while the recorder that said it is down.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long; a token lives four hours, and a user may have lost a right meanwhile.
const GOOD_FOR: Duration = Duration::from_secs(3600);
/// Most that are remembered.
const GRANTS_MAX: usize = 20_000;

/// See the module's text. A token is not kept, but what is made of it.
#[derive(Debug, Default)]
pub(in crate::inbound) struct Grants {
    until: Mutex<HashMap<u128, Instant>>,
}

impl Grants {
    /// The recorder let this token see this device.
    pub(super) fn note(&self, token: &str, device: &str, now: Instant) {
        let mut until = self.lock();
        if until.len() >= GRANTS_MAX {
            until.retain(|_, until| now < *until);
        }
        if until.len() < GRANTS_MAX {
            until.insert(key(token, device), now + GOOD_FOR);
        }
    }

    /// It does not any more.
    pub(super) fn forget(&self, token: &str, device: &str) {
        self.lock().remove(&key(token, device));
    }

    /// Whether it did, and that is not too long ago.
    pub(super) fn has(&self, token: &str, device: &str, now: Instant) -> bool {
        let until = self.lock();
        until
            .get(&key(token, device))
            .is_some_and(|until| now < *until)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(token: &str, device: &str) -> u128 {
    use sha2::Digest;
    let mut digest = sha2::Sha256::new();
    digest.update((token.len() as u64).to_be_bytes());
    digest.update(token);
    digest.update(device.to_ascii_lowercase());
    let digest: [u8; 32] = digest.finalize().into();
    digest.first_chunk().copied().map_or(0, u128::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_of_one_token_and_one_device_and_ends() {
        let (grants, now) = (Grants::default(), crate::clock::now());
        grants.note("token", "AB", now);
        assert!(grants.has("token", "ab", now));
        assert!(!grants.has("token", "abc", now));
        assert!(!grants.has("tokenA", "b", now));
        assert!(!grants.has("token", "ab", now + GOOD_FOR));
        grants.forget("token", "Ab");
        assert!(!grants.has("token", "ab", now));
    }
}
