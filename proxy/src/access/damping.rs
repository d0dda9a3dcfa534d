//! Guessing made slow: wrong answers from an address cost it a growing while in which none of its answers is looked at.
//!
//! Two counts are kept: of an address and one user, so that a player with an old password does not lock out other users
//! behind the same address; and, with more patience, of an address alone, for whoever tries many names. Other addresses
//! are never concerned.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wrong answers of one user from one address that cost nothing: people mistype.
const FREE_OF_USER: u32 = 5;
/// Wrong answers from one address, whoever they name, that cost nothing.
const FREE_OF_ADDRESS: u32 = 20;
/// What the first answer beyond those costs; each further one twice as much.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The most that one costs.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// A count is forgotten this long after its last wrong answer and its wait.
const FORGET_AFTER: Duration = Duration::from_secs(900);
/// Counts that are kept; beyond it the one that ends first makes room.
const COUNTS_MAX: usize = 4096;

/// Counts wrong answers.
#[derive(Debug, Default)]
pub(super) struct Damper {
    hasher: RandomState,
    counts: Mutex<HashMap<Key, Count>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    network: IpAddr,
    /// `None`: all names together.
    user: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    /// The last one, hashed.
    last: u64,
    /// Until when no answer is looked at.
    until: Instant,
}

impl Damper {
    /// How much longer answers from there are not looked at; `None` when they are.
    pub(super) fn wait(&self, from: IpAddr, user: Option<&str>, now: Instant) -> Option<Duration> {
        let counts = self.counts();
        let left = Key::both(from, user)
            .filter_map(|key| counts.get(&key))
            .map(|count| count.until.saturating_duration_since(now));
        left.max().filter(|left| !left.is_zero())
    }

    /// Counts a wrong answer; how long none is looked at from now on. `user` is a configured user's name.
    ///
    /// The same answer again is no other guess, so it costs nothing: GStreamer gives each of its answers several times.
    pub(super) fn note_wrong(
        &self,
        from: IpAddr,
        user: Option<&str>,
        answer: &str,
        now: Instant,
    ) -> Duration {
        let answer = self.hasher.hash_one(answer);
        let mut counts = self.counts();
        let mut longest = Duration::ZERO;
        for key in Key::both(from, user) {
            if !counts.contains_key(&key) {
                make_room(&mut counts, now);
            }
            let free = if key.user.is_some() {
                FREE_OF_USER
            } else {
                FREE_OF_ADDRESS
            };
            let fresh = Count {
                wrong: 0,
                last: 0,
                until: now,
            };
            let count = counts.entry(key).or_insert(fresh);
            if count.is_forgotten(now) {
                *count = fresh;
            }
            if count.wrong > 0 && count.last == answer {
                continue;
            }
            count.last = answer;
            count.wrong = count.wrong.saturating_add(1);
            let wait = wait_after(count.wrong.saturating_sub(free));
            count.until = now + wait;
            longest = longest.max(wait);
        }
        longest
    }

    /// Forgets the wrong answers of a user who has given the right one. What the address owes for other names stays.
    pub(super) fn forgive(&self, from: IpAddr, user: &str) {
        let mut counts = self.counts();
        if !counts.is_empty() {
            counts.remove(&Key {
                network: network(from),
                user: Some(user.to_owned()),
            });
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Key, Count>> {
        // A count is whole at every moment: a panic elsewhere leaves none half written.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn both(from: IpAddr, user: Option<&str>) -> impl Iterator<Item = Key> {
        let network = network(from);
        let of_user = user.map(|user| Key {
            network,
            user: Some(user.to_owned()),
        });
        let of_address = Key {
            network,
            user: None,
        };
        of_user.into_iter().chain([of_address])
    }
}

impl Count {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.until) > FORGET_AFTER
    }
}

/// What belongs to one party: an IPv4 address, or the /64 that an IPv6 host chooses its addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What the `beyond`th answer beyond the free ones costs.
fn wait_after(beyond: u32) -> Duration {
    match beyond.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => WAIT_MIN
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(WAIT_MAX),
    }
}

fn make_room(counts: &mut HashMap<Key, Count>, now: Instant) {
    if counts.len() < COUNTS_MAX {
        return;
    }
    counts.retain(|_, count| !count.is_forgotten(now));
    if counts.len() >= COUNTS_MAX {
        let first = counts
            .iter()
            .min_by_key(|(_, count)| (count.until, count.wrong))
            .map(|(key, _)| key.clone());
        first.map(|key| counts.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Wrong answers one after the other, each as soon as it is looked at; the time they took.
    fn guess(
        damper: &Damper,
        from: IpAddr,
        user: Option<&str>,
        times: u32,
        start: Instant,
    ) -> Duration {
        let mut now = start;
        for n in 0..times {
            now += damper.wait(from, user, now).unwrap_or_default();
            damper.note_wrong(from, user, &n.to_string(), now);
        }
        now + damper.wait(from, user, now).unwrap_or_default() - start
    }

    #[test]
    fn mistyping_costs_nothing_and_guessing_ever_more() {
        let (damper, now) = (Damper::default(), clock::now());
        let home = at("192.0.2.1");
        assert_eq!(
            guess(&damper, home, Some("guard"), FREE_OF_USER, now),
            Duration::ZERO
        );
        assert_eq!(damper.note_wrong(home, Some("guard"), "x", now), WAIT_MIN);
        assert_eq!(
            damper.note_wrong(home, Some("guard"), "y", now),
            WAIT_MIN * 2
        );
        let day = guess(&damper, home, Some("guard"), 300, now);
        assert!(day > Duration::from_secs(86_000), "{day:?}");
    }

    #[test]
    fn the_same_answer_again_is_no_guess() {
        let (damper, now) = (Damper::default(), clock::now());
        for _ in 0..100 {
            damper.note_wrong(at("192.0.2.1"), Some("guard"), "an old password", now);
        }
        assert_eq!(damper.wait(at("192.0.2.1"), Some("guard"), now), None);
    }

    #[test]
    fn only_the_address_that_guesses_pays() {
        let (damper, now) = (Damper::default(), clock::now());
        guess(&damper, at("192.0.2.1"), Some("guard"), 30, now);
        assert!(damper.wait(at("192.0.2.1"), Some("guard"), now).is_some());
        assert!(
            damper
                .wait(at("::ffff:192.0.2.1"), Some("guard"), now)
                .is_some()
        );
        assert_eq!(damper.wait(at("192.0.2.2"), Some("guard"), now), None);
        guess(&damper, at("2001:db8::1"), None, 30, now);
        assert!(damper.wait(at("2001:db8::ffff:2"), None, now).is_some());
        assert_eq!(damper.wait(at("2001:db8:0:1::1"), None, now), None);
    }

    #[test]
    fn a_player_with_an_old_password_does_not_lock_out_its_neighbours() {
        let (damper, now) = (Damper::default(), clock::now());
        let home = at("192.0.2.1");
        let took = guess(&damper, home, Some("old"), FREE_OF_USER + 3, now);
        let now = (now + took).checked_sub(WAIT_MIN).unwrap();
        assert!(damper.wait(home, Some("old"), now).is_some());
        assert_eq!(damper.wait(home, Some("guard"), now), None);
        // Whoever tries every name does.
        for user in 0..=FREE_OF_ADDRESS {
            damper.note_wrong(home, Some(&user.to_string()), &user.to_string(), now);
        }
        assert!(damper.wait(at("192.0.2.1"), Some("guard"), now).is_some());
        // One right answer does not buy guesses at other names.
        damper.forgive(at("192.0.2.1"), "guard");
        assert!(damper.wait(at("192.0.2.1"), Some("other"), now).is_some());
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (damper, now) = (Damper::default(), clock::now());
        let home = at("192.0.2.1");
        let took = guess(&damper, home, Some("guard"), 10, now);
        let later = now + took + FORGET_AFTER + Duration::from_secs(1);
        assert_eq!(
            damper.note_wrong(home, Some("guard"), "x", later),
            Duration::ZERO
        );
        damper.forgive(home, "guard");
        assert_eq!(
            guess(&damper, home, Some("guard"), FREE_OF_USER, later),
            Duration::ZERO
        );
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_frees_no_guesser() {
        let (damper, now) = (Damper::default(), clock::now());
        guess(&damper, at("192.0.2.1"), Some("guard"), 40, now);
        for n in 0..3 * COUNTS_MAX as u32 {
            let from = IpAddr::from((0x0A00_0000 + n).to_be_bytes());
            damper.note_wrong(from, None, "x", now);
        }
        assert_eq!(damper.counts().len(), COUNTS_MAX);
        assert!(damper.wait(at("192.0.2.1"), Some("guard"), now).is_some());
    }
}
