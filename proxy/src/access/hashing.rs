//! Slow hashes (argon2): made for the configuration, compared off the threads that carry media, few at once.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;

/// Comparisons at once; each takes a core for tens of milliseconds and the memory that its hash asks for.
const COMPARISONS_MAX: usize = 2;
/// Comparisons that wait for their turn; beyond it clients are told to come again.
const WAITING_MAX: usize = 32;
/// Most memory that a hash in the configuration may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Why a hash cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashProblem {
    /// Not in PHC form, or not argon2.
    #[error(
        "not an argon2 hash such as \"$argon2id$v=19$m=19456,t=2,p=1$...\"; `seamline user` makes one"
    )]
    Form,
    /// More than [`MEMORY_KIB_MAX`].
    #[error("the hash asks for {0} KiB of memory, more than {MEMORY_KIB_MAX}")]
    Memory(u32),
}

/// Checks that a hash can be compared with.
pub fn check_hash(hash: &str) -> Result<(), HashProblem> {
    let parsed = PasswordHash::new(hash).map_err(|_| HashProblem::Form)?;
    let whole = parsed.algorithm.as_str().starts_with("argon2")
        && parsed.salt.is_some()
        && parsed.hash.is_some();
    let params = Params::try_from(&parsed).map_err(|_| HashProblem::Form)?;
    match () {
        () if !whole => Err(HashProblem::Form),
        () if params.m_cost() > MEMORY_KIB_MAX => Err(HashProblem::Memory(params.m_cost())),
        () => Ok(()),
    }
}

/// The argon2id hash of a password in PHC form, with a salt of its own. Takes tens of milliseconds.
pub fn hash(password: &str) -> String {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.expect("the default parameters fit, and the system has random bytes")
        .to_string()
}

/// Compares passwords with hashes.
#[derive(Debug)]
pub(super) struct Hashing {
    /// Seats for those that compare and those that wait.
    seats: Semaphore,
    turns: Semaphore,
}

impl Default for Hashing {
    fn default() -> Self {
        Hashing {
            seats: Semaphore::new(COMPARISONS_MAX + WAITING_MAX),
            turns: Semaphore::new(COMPARISONS_MAX),
        }
    }
}

impl Hashing {
    /// Whether `password` is the one behind `hash`; `None` when too many wait already.
    pub(super) async fn fits(&self, password: String, hash: String) -> Option<bool> {
        let _seat = self.seats.try_acquire().ok()?;
        let _turn = self.turns.acquire().await.ok()?;
        let compared = tokio::task::spawn_blocking(move || {
            Argon2::default()
                .verify_password(password.as_bytes(), hash.as_str())
                .is_ok()
        });
        compared.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_hash_and_no_other() {
        let hash = hash("open sesame");
        assert_eq!(check_hash(&hash), Ok(()));
        let hashing = Hashing::default();
        let fits = |password: &str| hashing.fits(password.to_owned(), hash.clone());
        assert_eq!(fits("open sesame").await, Some(true));
        assert_eq!(fits("shut").await, Some(false));
    }

    #[tokio::test]
    async fn few_compare_at_once_and_few_wait() {
        let hash = hash("open sesame");
        let hashing = Hashing::default();
        let crowd = (0..COMPARISONS_MAX + WAITING_MAX + 5)
            .map(|_| hashing.fits("shut".to_owned(), hash.clone()));
        let answers = futures::future::join_all(crowd).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 5);
    }

    #[test]
    fn hashes_that_cannot_be_compared_are_refused() {
        for text in [
            "",
            "open sesame",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$v=19$m=1,t=2,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo",
        ] {
            assert_eq!(check_hash(text), Err(HashProblem::Form), "{text}");
        }
        let huge = hash("x").replacen("m=19456", "m=2000000", 1);
        assert_eq!(check_hash(&huge), Err(HashProblem::Memory(2_000_000)));
    }
}
