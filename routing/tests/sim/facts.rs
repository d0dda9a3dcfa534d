//! What is known of the copies while the simulation runs: listings that come late or lie, health that follows.

use std::time::{Duration, Instant};

use seamline_routing::coverage::{Coverage, Held};
use seamline_routing::director::{Failure, Lesson};
use seamline_routing::health::{FailureKind, Health, HealthState, Limits};
use seamline_routing::plan::CopyFacts;
use seamline_routing::time::Timestamp;

use super::Micros;
use super::recorder::Recorder;

/// What a recorder says that it holds, and when it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// Whether it can list at all.
    pub(crate) lists: bool,
    /// From when on each answer is known; before the first, nothing is.
    pub(crate) answers: Vec<(Micros, Coverage)>,
    /// Asked again this often, as long as footage is being recorded.
    pub(crate) refresh: Option<Micros>,
    /// Health is looked at this often.
    pub(crate) watch_every: Micros,
    /// Whether the index takes the director's lessons.
    pub(crate) learns: bool,
}

impl Listing {
    pub(crate) fn honest(coverage: Coverage) -> Self {
        Listing {
            lists: true,
            answers: Vec::from([(0, coverage)]),
            refresh: None,
            watch_every: super::SECOND,
            learns: true,
        }
    }
}

/// The index's view of one copy.
#[derive(Debug)]
pub(crate) struct Known {
    base: Instant,
    listing: Listing,
    /// Without lessons of the director: what it may be held to.
    listed: Coverage,
    coverage: Coverage,
    answered: usize,
    refreshed_at: Micros,
    watched_at: Micros,
    health: Health,
    /// The last change of the listing, or of health to usable.
    pub(crate) changed_at: Micros,
}

impl Known {
    pub(crate) fn new(listing: Listing, base: Instant, seed: u64) -> Self {
        Known {
            base,
            listing,
            listed: Coverage::unknown(),
            coverage: Coverage::unknown(),
            answered: 0,
            refreshed_at: 0,
            watched_at: 0,
            health: Health::new(Limits::default(), seed),
            changed_at: 0,
        }
    }

    /// Lets time pass; whether something changed.
    pub(crate) fn pass(&mut self, recorder: &Recorder, now: Micros) -> bool {
        let mut changed = false;
        while let Some((_, answer)) = self
            .listing
            .answers
            .get(self.answered)
            .filter(|(at, _)| *at <= now)
        {
            self.listed = self.listed.merge(answer);
            self.coverage = self.coverage.merge(answer);
            self.answered += 1;
            self.changed_at = now;
            changed = true;
        }
        if let Some(every) = self.listing.refresh
            && now - self.refreshed_at >= every
            && recorder.answers(now)
        {
            self.refreshed_at = now;
            let answer = tail_listing(recorder, now);
            self.listed = self.listed.merge(&answer);
            self.coverage = self.coverage.merge(&answer);
            if recorder.newest(now) == recorder.footage.scene.pictures {
                self.listing.refresh = None;
                self.changed_at = now;
            }
            changed = true;
        }
        if now - self.watched_at >= self.listing.watch_every {
            self.watched_at = now;
            let before = self.health.state();
            let at = instant(self.base, now);
            if self.health.try_ask(at) {
                if recorder.answers(now) {
                    self.health.success(at);
                } else {
                    self.health.failure(at, FailureKind::Timeout);
                }
            }
            changed |= self.note_health(before, now);
        }
        changed
    }

    fn note_health(&mut self, before: HealthState, now: Micros) -> bool {
        let after = self.health.state();
        if before == HealthState::Down && after != before {
            self.changed_at = now;
        }
        before != after
    }

    /// The playback saw it deliver; whether something changed.
    pub(crate) fn delivers(&mut self, now: Micros) -> bool {
        let before = self.health.state();
        self.health.delivers(instant(self.base, now));
        self.note_health(before, now)
    }

    /// The playback saw it fail; whether something changed.
    pub(crate) fn fails(&mut self, failure: Failure, now: Micros) -> bool {
        let before = self.health.state();
        let kind = match failure {
            Failure::Lost => FailureKind::Lost,
            Failure::Busy => FailureKind::Busy,
            Failure::Credentials => FailureKind::Credentials,
            Failure::WrongFootage => FailureKind::Protocol,
            Failure::NoFootage | Failure::Mismatch => return false,
        };
        self.health.failure(instant(self.base, now), kind);
        self.note_health(before, now)
    }

    pub(crate) fn learn(&mut self, lesson: Lesson) -> bool {
        match lesson {
            Lesson::Gap(range) if self.listing.learns => {
                self.coverage.learn_gap(range);
                true
            }
            Lesson::Gap(_) | Lesson::WrongFootage => false,
        }
    }

    pub(crate) fn facts(&self, now: Micros) -> CopyFacts<'_> {
        CopyFacts {
            coverage: &self.coverage,
            health: self.health.state(),
            healthy_for: self.health.healthy_for(instant(self.base, now)),
            lists: self.listing.lists,
            barred: false,
        }
    }

    /// Whether the recorder's own listing rules out that it holds an instant.
    pub(crate) fn denies(&self, at: Timestamp) -> bool {
        matches!(self.listed.held(at), Held::Gap { .. })
    }

    pub(crate) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    pub(crate) fn healthy_for(&self, now: Micros) -> Option<Duration> {
        self.health.healthy_for(instant(self.base, now))
    }

    pub(crate) fn down(&self) -> bool {
        self.health.state() == HealthState::Down
    }
}

/// The moment of a simulated time.
pub(crate) fn instant(base: Instant, now: Micros) -> Instant {
    base + Duration::from_micros(now as u64)
}

/// What a recorder that is still recording lists.
pub(crate) fn tail_listing(recorder: &Recorder, now: Micros) -> Coverage {
    let scene = recorder.footage.scene;
    let newest = recorder.newest(now);
    let growing = newest < scene.pictures
        && recorder
            .footage
            .sections
            .iter()
            .any(|section| section.contains(&newest) && section.contains(&(newest - 1)));
    let window = seamline_routing::time::TimeRange::new(Timestamp::MIN, Timestamp::MAX)
        .expect("MIN is before MAX");
    Coverage::new(
        window,
        recorder.footage.periods(newest),
        scene.start,
        growing,
    )
}
