//! One recorder's health: written by whoever meets it, read without a lock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use seamline_routing::{FailureKind, Health, HealthState, RecorderId, health::Limits};
use tokio::sync::watch;
use tracing::info;

/// Whether a recorder lives, shared by probes and playbacks.
#[derive(Debug)]
pub struct RecorderHealth {
    id: RecorderId,
    machine: Mutex<Health>,
    /// The state in the lowest bits, above them the time since which it has been healthy.
    published: AtomicU64,
    /// Where published times count from.
    origin: Instant,
    changes: watch::Sender<u64>,
}

impl RecorderHealth {
    /// Of a recorder that was never asked. `seed` spreads the retries of many recorders.
    pub fn new(id: RecorderId, limits: Limits, seed: u64, now: Instant) -> Self {
        Self {
            id,
            machine: Mutex::new(Health::new(limits, seed)),
            published: AtomicU64::new(pack(HealthState::Unknown, None)),
            origin: now,
            changes: watch::Sender::new(0),
        }
    }

    /// Whether it lives. Never blocks.
    pub fn state(&self) -> HealthState {
        unpack(self.published.load(Ordering::Acquire)).0
    }

    /// Whether it lives, and for how long it has without a failure. Never blocks.
    pub fn standing(&self, now: Instant) -> (HealthState, Option<Duration>) {
        let (state, since) = unpack(self.published.load(Ordering::Acquire));
        let healthy_for = since.map(|since| {
            let since = self.origin.checked_add(since).unwrap_or(now);
            now.saturating_duration_since(since)
        });
        (state, healthy_for)
    }

    /// Whether it may be asked now; a recorder that is down grants one trial at a time.
    pub fn try_ask(&self, now: Instant) -> bool {
        self.lock().try_ask(now)
    }

    /// When a recorder that is down may be tried next.
    pub fn retry_at(&self) -> Option<Instant> {
        self.lock().retry_at()
    }

    /// It answered a question.
    pub fn success(&self, now: Instant) {
        self.change("answers", |health| health.success(now));
    }

    /// It delivers footage to a playback.
    pub fn delivers(&self, now: Instant) {
        if self.state() != HealthState::Up {
            self.change("delivers footage", |health| health.delivers(now));
        }
    }

    /// It failed.
    pub fn failure(&self, now: Instant, kind: FailureKind) {
        self.change(because(kind), |health| health.failure(now, kind));
    }

    /// How often it went down lately.
    pub fn falls(&self, now: Instant) -> usize {
        self.lock().falls(now)
    }

    /// Counts the changes of its state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn change(&self, reason: &str, act: impl FnOnce(&mut Health)) {
        let (before, after) = {
            let mut health = self.lock();
            let before = health.state();
            act(&mut health);
            let since = health
                .healthy_since()
                .map(|since| since.saturating_duration_since(self.origin));
            self.published
                .store(pack(health.state(), since), Ordering::Release);
            (before, health.state())
        };
        if before != after {
            info!(recorder = %self.id, from = ?before, to = ?after, reason, "recorder health");
            self.changes.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn because(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Refused => "connection refused",
        FailureKind::Unreachable => "unreachable",
        FailureKind::Lost => "connection lost",
        FailureKind::Timeout => "no answer in time",
        FailureKind::Stalled => "stalled",
        FailureKind::Protocol => "unusable answer",
        FailureKind::Busy => "busy",
        FailureKind::Credentials => "credentials not accepted",
    }
}

/// Bits of the state.
const STATE_BITS: u32 = 2;

fn pack(state: HealthState, since: Option<Duration>) -> u64 {
    let state = match state {
        HealthState::Unknown => 0,
        HealthState::Up => 1,
        HealthState::Suspect => 2,
        HealthState::Down => 3,
    };
    let since = since.map_or(0, |since| (since.as_nanos() as u64).saturating_add(1));
    since << STATE_BITS | state
}

fn unpack(packed: u64) -> (HealthState, Option<Duration>) {
    let state = match packed & ((1 << STATE_BITS) - 1) {
        0 => HealthState::Unknown,
        1 => HealthState::Up,
        2 => HealthState::Suspect,
        _ => HealthState::Down,
    };
    let since = (packed >> STATE_BITS).checked_sub(1);
    (state, since.map(Duration::from_nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    #[test]
    fn what_is_published_is_what_the_machine_says() {
        for state in [
            HealthState::Unknown,
            HealthState::Up,
            HealthState::Suspect,
            HealthState::Down,
        ] {
            for since in [
                None,
                Some(Duration::ZERO),
                Some(Duration::from_secs(1 << 31)),
            ] {
                assert_eq!(unpack(pack(state, since)), (state, since));
            }
        }
    }

    #[test]
    fn readers_see_each_change_and_are_told() {
        let now = monotonic();
        let health = RecorderHealth::new("nvr".into(), Limits::default(), 1, now);
        let changes = health.changes();
        assert_eq!(health.standing(now), (HealthState::Unknown, None));
        health.success(now);
        let later = now + Duration::from_secs(31);
        assert_eq!(
            health.standing(later),
            (HealthState::Up, Some(Duration::from_secs(31)))
        );
        health.success(later);
        assert_eq!(*changes.borrow(), 1);
        health.failure(later, FailureKind::Refused);
        assert_eq!(health.standing(later), (HealthState::Down, None));
        assert!(!health.try_ask(later));
        health.delivers(later);
        assert_eq!(health.state(), HealthState::Up);
        assert_eq!(*changes.borrow(), 3);
    }
}
