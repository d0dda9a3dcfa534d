//! The facts as one playback sees them: what it disproved itself is laid over what the copies list.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::veto::Vetoes;
use crate::coverage::Coverage;
use crate::health::HealthState;
use crate::plan::CopyFacts;

/// The facts of one decision. Copies against which nothing is held are seen as they are; corrections are made when they
/// are first looked at, and again only for a copy that the decision itself learned something about.
pub(super) struct Seen<'a> {
    /// As they were handed in.
    pub(super) facts: &'a [CopyFacts<'a>],
    /// The moment of the decision.
    pub(super) now: Instant,
    /// Copies that failed to answer no longer ago than this are taken to answer.
    patience: Duration,
    corrected: SmallVec<[Corrected; 4]>,
}

/// A copy's coverage with the stretches taken out that proved empty.
#[derive(Default)]
struct Corrected {
    /// State of the veto that it was made from.
    revision: u32,
    coverage: Option<Coverage>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(facts: &'a [CopyFacts<'a>], now: Instant) -> Self {
        Seen {
            facts,
            now,
            patience: Duration::ZERO,
            corrected: SmallVec::new(),
        }
    }

    /// The same facts, as they are once the copies answer again that failed to within this time.
    pub(super) fn patiently(&self, patience: Duration) -> Self {
        Seen {
            patience,
            ..Seen::new(self.facts, self.now)
        }
    }

    /// What the plan is asked with.
    pub(super) fn copies(&mut self, vetoes: &Vetoes) -> SmallVec<[CopyFacts<'_>; 4]> {
        self.correct(vetoes);
        let (now, patience) = (self.now, self.patience);
        self.facts
            .iter()
            .zip(&self.corrected)
            .enumerate()
            .map(|(ix, (copy, corrected))| {
                let returns = vetoes.lost_within(ix, patience, now);
                CopyFacts {
                    coverage: corrected.coverage.as_ref().unwrap_or(copy.coverage),
                    barred: copy.barred || vetoes.barred(ix, now) && !returns,
                    health: match copy.health {
                        HealthState::Down if returns => HealthState::Suspect,
                        health => health,
                    },
                    ..*copy
                }
            })
            .collect()
    }

    fn correct(&mut self, vetoes: &Vetoes) {
        self.corrected
            .resize_with(self.facts.len(), Corrected::default);
        for (ix, (copy, corrected)) in self.facts.iter().zip(&mut self.corrected).enumerate() {
            let revision = vetoes.revision(ix);
            if corrected.revision != revision {
                corrected.revision = revision;
                corrected.coverage = vetoes.corrected(ix, copy.coverage);
            }
        }
    }
}
