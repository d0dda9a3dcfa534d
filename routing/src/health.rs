//! Whether a recorder lives, with hysteresis, and when one that is down may be tried again.

use std::time::{Duration, Instant};

/// Whether a recorder lives, as far as routing is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// Nothing is known yet. It is used.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It failed lately. It is used, but not returned to.
    Suspect,
    /// It does not answer. It is not used.
    Down,
}

/// How a recorder failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Nobody listens: conclusive.
    Refused,
    /// There is no way to its host.
    Unreachable,
    /// The connection broke.
    Lost,
    /// It did not accept or answer in time.
    Timeout,
    /// It accepted a playback and went silent.
    Stalled,
    /// It sent what makes no sense, or footage that was not asked for.
    Protocol,
    /// It has no session left. It lives, so this changes nothing; the playback goes elsewhere.
    Busy,
    /// It does not accept our credentials: conclusive, and not tried again for minutes, since some recorders lock the
    /// account.
    Credentials,
}

/// The numbers of [`Health`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures, not made up for by successes, that take a recorder down.
    pub failures_down: u32,
    /// Successes in a row that make up for failures.
    pub successes_up: u32,
    /// First wait before a recorder that is down is tried again; doubles with each failed trial.
    pub backoff_min: Duration,
    /// Longest such wait.
    pub backoff_max: Duration,
    /// The wait after [`FailureKind::Credentials`].
    pub credentials_backoff: Duration,
    /// A trial without a result for this long is taken for abandoned.
    pub trial_max: Duration,
    /// The window of [`Health::falls`].
    pub flap_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failures_down: 3,
            successes_up: 2,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            credentials_backoff: Duration::from_secs(300),
            trial_max: Duration::from_secs(10),
            flap_window: Duration::from_secs(300),
        }
    }
}

/// What one recorder's successes and failures amount to, by the caller's monotonic clock.
#[derive(Clone, Debug)]
pub struct Health {
    limits: Limits,
    standing: Standing,
    /// Since the last time the recorder came up.
    failures: u32,
    /// Since the last failure.
    successes: u32,
    /// When the recorder went down, latest last in turn; a ring.
    falls: [Option<Instant>; FALLS_MAX],
    falls_total: usize,
    jitter: u64,
}

#[derive(Clone, Copy, Debug)]
enum Standing {
    Unknown,
    Up { since: Instant },
    Suspect,
    Down(Breaker),
}

/// The breaker of a recorder that is down: closed to all but one trial at a time.
#[derive(Clone, Copy, Debug)]
struct Breaker {
    retry_at: Instant,
    trial: Option<Instant>,
    /// The wait after the next failed trial, before jitter.
    backoff: Duration,
}

impl Health {
    /// Of a recorder that was never asked. `seed` spreads the retries of many recorders, and fixes those of a test.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            standing: Standing::Unknown,
            failures: 0,
            successes: 0,
            falls: [None; FALLS_MAX],
            falls_total: 0,
            jitter: seed,
        }
    }

    /// Whether the recorder lives.
    pub fn state(&self) -> HealthState {
        match self.standing {
            Standing::Unknown => HealthState::Unknown,
            Standing::Up { .. } => HealthState::Up,
            Standing::Suspect => HealthState::Suspect,
            Standing::Down(_) => HealthState::Down,
        }
    }

    /// Since when the recorder has been up without a failure.
    pub fn healthy_since(&self) -> Option<Instant> {
        match self.standing {
            Standing::Up { since } => Some(since),
            _ => None,
        }
    }

    /// For how long the recorder has been up without a failure.
    pub fn healthy_for(&self, now: Instant) -> Option<Duration> {
        self.healthy_since()
            .map(|since| now.saturating_duration_since(since))
    }

    /// When a recorder that is down may be tried next, unless a trial is under way by then.
    pub fn retry_at(&self) -> Option<Instant> {
        match self.standing {
            Standing::Down(breaker) => Some(breaker.retry_at),
            _ => None,
        }
    }

    /// How often the recorder went down within [`Limits::flap_window`]; counts no further than [`FALLS_MAX`].
    pub fn falls(&self, now: Instant) -> usize {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < self.limits.flap_window;
        self.falls.iter().flatten().filter(|at| recent(at)).count()
    }

    /// Whether the recorder may be asked now. One that is down grants one trial at a time, whose result must be told by
    /// [`Health::success`] or [`Health::failure`].
    pub fn try_ask(&mut self, now: Instant) -> bool {
        let Standing::Down(breaker) = &mut self.standing else {
            return true;
        };
        let trial_max = self.limits.trial_max;
        let under_way = breaker
            .trial
            .is_some_and(|at| now.saturating_duration_since(at) < trial_max);
        if under_way || now < breaker.retry_at {
            return false;
        }
        breaker.trial = Some(now);
        true
    }

    /// The recorder answered a question.
    pub fn success(&mut self, now: Instant) {
        self.successes = self.successes.saturating_add(1);
        let enough = self.successes >= self.limits.successes_up;
        match &mut self.standing {
            Standing::Unknown => self.come_up(now),
            Standing::Suspect | Standing::Down(_) if enough => self.come_up(now),
            Standing::Up { .. } | Standing::Suspect => {}
            Standing::Down(breaker) => {
                breaker.trial = None;
                breaker.retry_at = now;
            }
        }
    }

    /// The recorder delivers footage to a playback: conclusive, whatever it failed at before.
    pub fn delivers(&mut self, now: Instant) {
        self.successes = self.successes.saturating_add(1);
        if !matches!(self.standing, Standing::Up { .. }) {
            self.come_up(now);
        }
    }

    /// The recorder failed. Failures while it is down count once a trial, however many playbacks report them.
    pub fn failure(&mut self, now: Instant, kind: FailureKind) {
        if kind == FailureKind::Busy {
            return self.success(now);
        }
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        match self.standing {
            Standing::Down(breaker) => {
                if breaker.trial.is_some() || kind == FailureKind::Credentials {
                    self.go_down(now, kind, breaker.backoff);
                }
            }
            _ if kind.is_conclusive() || self.failures >= self.limits.failures_down => {
                if let Some(slot) = self.falls.get_mut(self.falls_total % FALLS_MAX) {
                    *slot = Some(now);
                }
                self.falls_total = self.falls_total.wrapping_add(1);
                self.go_down(now, kind, self.limits.backoff_min);
            }
            _ => self.standing = Standing::Suspect,
        }
    }

    fn come_up(&mut self, now: Instant) {
        self.failures = 0;
        self.standing = Standing::Up { since: now };
    }

    fn go_down(&mut self, now: Instant, kind: FailureKind, backoff: Duration) {
        let wait = match kind {
            FailureKind::Credentials => self.limits.credentials_backoff,
            _ => backoff.min(self.limits.backoff_max),
        };
        let retry_at = now.checked_add(self.jittered(wait)).unwrap_or(now);
        let backoff = backoff.saturating_mul(2).min(self.limits.backoff_max);
        self.standing = Standing::Down(Breaker {
            retry_at,
            trial: None,
            backoff,
        });
    }

    /// Between half of a wait and the whole, by a step of `SplitMix64`.
    fn jittered(&mut self, wait: Duration) -> Duration {
        self.jitter = self.jitter.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.jitter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = ((mixed ^ (mixed >> 31)) >> 32) as u32;
        let half = wait / 2;
        half + half.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

impl FailureKind {
    /// Whether one failure of this kind takes a recorder down.
    pub const fn is_conclusive(self) -> bool {
        matches!(self, Self::Refused | Self::Credentials)
    }
}

/// Most falls that are remembered.
pub const FALLS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an origin for the test's own clock; nothing waits for it"
        )]
        Instant::now()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn health() -> Health {
        Health::new(Limits::default(), 7)
    }

    #[test]
    fn one_success_brings_a_new_recorder_up() {
        let (mut health, now) = (health(), start());
        assert_eq!(health.state(), HealthState::Unknown);
        health.success(now);
        assert_eq!(health.state(), HealthState::Up);
        assert_eq!(health.healthy_for(now + seconds(31)), Some(seconds(31)));
    }

    #[test]
    fn timeouts_take_it_down_at_the_third_even_with_a_success_between() {
        let (mut health, now) = (health(), start());
        health.success(now);
        health.failure(now, FailureKind::Timeout);
        assert_eq!(health.state(), HealthState::Suspect);
        assert_eq!(health.healthy_since(), None);
        health.success(now);
        health.failure(now, FailureKind::Timeout);
        assert_eq!(health.state(), HealthState::Suspect);
        health.failure(now, FailureKind::Timeout);
        assert_eq!(health.state(), HealthState::Down);
    }

    #[test]
    fn two_successes_in_a_row_forgive() {
        let (mut health, now) = (health(), start());
        health.failure(now, FailureKind::Timeout);
        health.failure(now, FailureKind::Stalled);
        health.success(now);
        assert_eq!(health.state(), HealthState::Suspect);
        health.success(now + seconds(1));
        assert_eq!(health.healthy_since(), Some(now + seconds(1)));
        health.failure(now, FailureKind::Timeout);
        assert_eq!(health.state(), HealthState::Suspect);
    }

    #[test]
    fn a_refusal_is_conclusive_and_busy_is_no_failure() {
        let (mut health, now) = (health(), start());
        health.success(now);
        health.failure(now, FailureKind::Busy);
        assert_eq!(health.state(), HealthState::Up);
        health.failure(now, FailureKind::Refused);
        assert_eq!(health.state(), HealthState::Down);
    }

    #[test]
    fn the_breaker_grants_one_trial_and_backs_off_to_a_minute() {
        let (mut health, mut now) = (health(), start());
        health.failure(now, FailureKind::Refused);
        let mut wait_max = seconds(1);
        for _ in 0..10 {
            let retry_at = health.retry_at().unwrap();
            let wait = retry_at - now;
            assert!(
                wait_max / 2 <= wait && wait <= wait_max,
                "{wait:?} of {wait_max:?}"
            );
            assert!(!health.try_ask(now + wait * 9 / 10));
            assert!(health.try_ask(retry_at));
            assert!(!health.try_ask(retry_at), "a second trial beside the first");
            now = retry_at;
            health.failure(now, FailureKind::Timeout);
            wait_max = (wait_max * 2).min(seconds(60));
        }
        assert_eq!(wait_max, seconds(60));
    }

    #[test]
    fn many_reports_of_one_outage_do_not_lengthen_it() {
        let (mut health, now) = (health(), start());
        for _ in 0..500 {
            health.failure(now, FailureKind::Lost);
        }
        assert!(health.retry_at().unwrap() <= now + seconds(1));
        assert_eq!(health.falls(now), 1);
    }

    #[test]
    fn an_abandoned_trial_does_not_close_the_breaker_for_good() {
        let (mut health, now) = (health(), start());
        health.failure(now, FailureKind::Refused);
        assert!(health.try_ask(now + seconds(1)));
        assert!(!health.try_ask(now + seconds(10)));
        assert!(health.try_ask(now + seconds(11)));
    }

    #[test]
    fn it_comes_up_after_two_trials_without_another_wait() {
        let (mut health, now) = (health(), start());
        health.failure(now, FailureKind::Refused);
        let now = now + seconds(1);
        assert!(health.try_ask(now));
        health.success(now);
        assert_eq!(health.state(), HealthState::Down);
        assert!(health.try_ask(now));
        health.success(now);
        assert_eq!(health.state(), HealthState::Up);
    }

    #[test]
    fn footage_proves_life_at_once() {
        let (mut health, now) = (health(), start());
        health.failure(now, FailureKind::Refused);
        health.delivers(now + seconds(2));
        assert_eq!(health.healthy_since(), Some(now + seconds(2)));
        health.delivers(now + seconds(3));
        assert_eq!(health.healthy_since(), Some(now + seconds(2)));
    }

    #[test]
    fn wrong_credentials_wait_for_minutes() {
        let (mut health, now) = (health(), start());
        health.failure(now, FailureKind::Credentials);
        assert!(!health.try_ask(now + seconds(149)));
        assert!(health.try_ask(now + seconds(300)));
    }

    #[test]
    fn falls_are_counted_in_a_window() {
        let (mut health, now) = (health(), start());
        for minute in 0..20 {
            let at = now + seconds(60) * minute;
            health.failure(at, FailureKind::Refused);
            health.delivers(at + seconds(1));
        }
        assert_eq!(health.falls(now + seconds(60) * 19), 5);
        assert_eq!(health.falls(now + seconds(60) * 30), 0);
    }
}
