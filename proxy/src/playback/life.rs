//! A leg's signs of life: since when it has been silent, and how much silence is normal.

use std::time::{Duration, Instant};

/// Recorders drop clients that take nothing for about this long; that is no fault of theirs.
const NEGLECT_MAX: Duration = Duration::from_secs(10);
/// Silence at the growing end of a recording that is normal at any recorder, and at none.
const TAIL_PATIENCE_MIN: Duration = Duration::from_secs(5);
const TAIL_PATIENCE_MAX: Duration = Duration::from_secs(30);

pub(super) struct Life {
    asked: Instant,
    /// When the recorder agreed to play.
    opened: Option<Instant>,
    /// When its master track last delivered, or it was last not asked to.
    alive: Instant,
    /// Since when it is not read, because the client does not take what there is.
    unread: Option<Instant>,
    /// The longest silence between two units of its master track.
    longest_silence: Duration,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Life {
            asked: now,
            opened: None,
            alive: now,
            unread: None,
            longest_silence: Duration::ZERO,
        }
    }

    /// The recorder agreed to play.
    pub(super) fn agreed(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    /// It is being opened anew.
    pub(super) fn asked_again(&mut self, now: Instant) {
        self.asked = now;
        self.opened = Some(now);
    }

    /// Something came of it.
    pub(super) fn heard(&mut self) {
        self.unread = None;
    }

    /// Its master track delivered.
    pub(super) fn shown(&mut self, now: Instant) {
        self.unread = None;
        self.alive = now;
    }

    /// Its master track delivered the unit behind another.
    pub(super) fn went_on(&mut self, now: Instant) {
        let silence = now.saturating_duration_since(self.alive);
        self.longest_silence = self.longest_silence.max(silence);
        self.shown(now);
    }

    /// It is full, and not read.
    pub(super) fn left_alone(&mut self, now: Instant) {
        self.alive = now;
        self.unread.get_or_insert(now);
    }

    /// Forgets silence that the client itself caused.
    pub(super) fn revive(&mut self, now: Instant) {
        self.unread.get_or_insert(self.alive);
        self.alive = now;
        self.asked = now;
        self.opened = self.opened.map(|_| now);
    }

    /// When it last delivered, or was last not asked to.
    pub(super) fn last(&self) -> Instant {
        self.alive
    }

    /// When it was asked for.
    pub(super) fn asked(&self) -> Instant {
        self.asked
    }

    /// How long ago the recorder agreed to play.
    pub(super) fn opened_for(&self, now: Instant) -> Option<Duration> {
        let opened = self.opened?;
        Some(now.saturating_duration_since(opened))
    }

    /// Whether the client has kept it unread for so long that the recorder may have given up on us.
    pub(super) fn neglected(&self, now: Instant) -> bool {
        self.unread
            .is_some_and(|since| now.saturating_duration_since(since) > NEGLECT_MAX)
    }

    /// How long silence is normal where footage is still being recorded: recorders write in bursts.
    pub(super) fn tail_patience(&self) -> Duration {
        (self.longest_silence * 2).clamp(TAIL_PATIENCE_MIN, TAIL_PATIENCE_MAX)
    }
}
