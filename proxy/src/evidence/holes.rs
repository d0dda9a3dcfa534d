//! What is not in a clip, and what is known of it.

use seamline_evidence::{Gap, Hole, SiteState};
use seamline_routing::health::HealthState;
use seamline_routing::time::{TimeRange, Timestamp};
use seamline_routing::{Coverage, Held};

use crate::cameras::CameraEntry;
use crate::clock;

/// A step of this much between two pictures is a hole, when it is also [`INTERVALS`] times the usual one: some cameras record a
/// picture every few seconds.
const STEP_US_MIN: i64 = 1_000_000;
const INTERVALS: i64 = 3;
/// Holes of one clip, so that a recorder of single pictures does not fill the memory; the last one then lasts to the end.
const HOLES_MAX: usize = 100_000;
/// Changes of what is known that are looked at in one hole.
const STEPS_MAX: usize = 10_000;

/// Finds the holes of a clip by the times of the pictures that are in it.
#[derive(Debug)]
pub(super) struct Gaps {
    asked: TimeRange,
    /// Capture time of the latest picture.
    latest_us: Option<i64>,
    interval_us: Option<i64>,
    /// What the playback told since the latest picture.
    told: Option<TimeRange>,
    holes: Vec<Hole>,
}

impl Gaps {
    pub(super) fn new(asked: TimeRange) -> Self {
        Gaps {
            asked,
            latest_us: None,
            interval_us: None,
            told: None,
            holes: Vec::new(),
        }
    }

    /// How far the pictures have come.
    pub(super) fn position(&self) -> Timestamp {
        self.latest_us
            .map_or(self.asked.start(), Timestamp::from_micros)
    }

    /// The playback says that no copy holds this.
    pub(super) fn told(&mut self, range: TimeRange, camera: &CameraEntry) {
        // Two without a picture between them are one after the other.
        if let Some(before) = self.told.replace(range) {
            self.add(before, camera);
        }
    }

    /// A picture is shown; whether there is a hole before it.
    pub(super) fn shown(&mut self, capture_us: i64, camera: &CameraEntry) -> bool {
        let told = self.told.take();
        let before = self.holes.len();
        match self.latest_us {
            Some(latest) if capture_us <= latest => {}
            Some(latest) => {
                let step = capture_us - latest;
                let usual = self.interval_us.unwrap_or(0);
                if step >= STEP_US_MIN && step >= INTERVALS * usual {
                    self.add(between(latest + usual, capture_us), camera);
                } else if let Some(range) = told {
                    self.add(range, camera);
                } else {
                    self.interval_us = Some(step);
                }
            }
            None => {
                let start = self.asked.start().as_micros();
                if capture_us - start >= STEP_US_MIN {
                    self.add(between(start, capture_us), camera);
                } else if let Some(range) = told {
                    self.add(range, camera);
                }
            }
        }
        self.latest_us = Some(
            self.latest_us
                .map_or(capture_us, |latest| latest.max(capture_us)),
        );
        self.holes.len() > before
    }

    /// All of them, with the one at the end of the range.
    pub(super) fn finish(mut self, camera: &CameraEntry) -> Vec<Hole> {
        let usual = self.interval_us.unwrap_or(0);
        let end = self.asked.end().as_micros();
        let reached = self
            .latest_us
            .map_or(self.asked.start().as_micros(), |latest| latest + usual);
        // The last picture lasts until the next one, of which nothing is known.
        let least = self.interval_us.map_or(STEP_US_MIN, |usual| {
            (INTERVALS * usual).clamp(1, STEP_US_MIN)
        });
        if end - reached >= least {
            self.add(between(reached, end), camera);
        } else if let Some(range) = self.told.take() {
            self.add(range, camera);
        }
        self.holes
    }

    fn add(&mut self, range: TimeRange, camera: &CameraEntry) {
        let Some(range) = range.intersect(self.asked) else {
            return;
        };
        if self.holes.len() >= HOLES_MAX {
            if let Some(last) = self.holes.last_mut() {
                last.to = range.end().into();
            }
            return;
        }
        let hole = explain(range, camera);
        tracing::info!(camera = %camera.id(), from = %hole.from, to = %hole.to, reason = %hole.reason, "hole in an export");
        self.holes.push(hole);
    }
}

fn between(from_us: i64, to_us: i64) -> TimeRange {
    let (from, to) = (
        Timestamp::from_micros(from_us),
        Timestamp::from_micros(to_us),
    );
    TimeRange::new(from, to)
        .or_else(|| TimeRange::new(from, from.shift(1)))
        .expect("a microsecond is a range")
}

/// What is known of a stretch that no copy delivered.
pub(crate) fn explain(range: TimeRange, camera: &CameraEntry) -> Hole {
    let facts = camera.slot.facts(clock::now());
    let copies = facts.copies(|_| false);
    let known: Vec<(Holding, bool)> = copies
        .iter()
        .map(|copy| {
            (
                Holding::of(copy.coverage, range),
                copy.health == HealthState::Down,
            )
        })
        .collect();
    let reason = reason(&known);
    let sites = camera.slot.camera().copies.iter().zip(&known);
    Hole {
        from: range.start().into(),
        to: range.end().into(),
        reason,
        sites: sites
            .map(|(copy, (holding, down))| SiteState {
                site: copy.site.to_string(),
                recorder: copy.recorder.to_string(),
                state: match (holding, down) {
                    (Holding::Nothing, false) => "no recording",
                    (Holding::Nothing, true) => "no recording, and offline",
                    (Holding::Unknown, false) => "unknown",
                    (Holding::Unknown, true) => "unknown, and offline",
                    (Holding::Something, false) => "recorded, and not delivered",
                    (Holding::Something, true) => "recorded, and offline",
                }
                .to_owned(),
            })
            .collect(),
    }
}

/// Why nobody delivered a stretch of which the copies have this, some of them at sites that are down.
fn reason(known: &[(Holding, bool)]) -> Gap {
    let any = |wanted: &dyn Fn(Holding, bool) -> bool| {
        known.iter().any(|(holding, down)| wanted(*holding, *down))
    };
    if any(&|holding, _| holding == Holding::Something) {
        Gap::Unavailable
    } else if any(&|holding, down| holding == Holding::Unknown && down) {
        Gap::Unknown
    } else if any(&|holding, _| holding == Holding::Unknown) {
        Gap::Unexplained
    } else {
        Gap::NotRecorded
    }
}

/// What a copy has of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holding {
    /// It is known to hold none of it.
    Nothing,
    /// It may hold some.
    Unknown,
    /// It is known to hold some.
    Something,
}

impl Holding {
    fn of(coverage: &Coverage, range: TimeRange) -> Self {
        let mut found = Holding::Nothing;
        let mut at = range.start();
        for _ in 0..STEPS_MAX {
            if at >= range.end() {
                return found;
            }
            let (until, holding) = match coverage.held(at) {
                Held::Recorded { until } => (until, Holding::Something),
                Held::Unknown { until } => (until, Holding::Unknown),
                Held::Gap { until } => (until, Holding::Nothing),
            };
            // A copy's period ends a little behind its last picture: that alone is no footage.
            let part = until.min(range.end()).micros_since(at);
            if holding != Holding::Something || part >= SLACK_US {
                found = found.max(holding);
            }
            at = until;
        }
        found.max(Holding::Unknown)
    }
}

/// Listings tell times to some tenths of a second.
const SLACK_US: i64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_said_to_hold_nothing_who_may_hold_it() {
        use Holding::{Nothing, Something, Unknown};
        const DOWN: bool = true;
        for (known, told) in [
            (&[][..], Gap::NotRecorded),
            (&[(Nothing, false), (Nothing, DOWN)], Gap::NotRecorded),
            (&[(Nothing, false), (Something, DOWN)], Gap::Unavailable),
            (&[(Something, false), (Unknown, DOWN)], Gap::Unavailable),
            (&[(Nothing, false), (Unknown, DOWN)], Gap::Unknown),
            (&[(Unknown, false), (Unknown, DOWN)], Gap::Unknown),
            (&[(Nothing, DOWN), (Unknown, false)], Gap::Unexplained),
        ] {
            assert_eq!(reason(known), told, "{known:?}");
        }
    }
}
