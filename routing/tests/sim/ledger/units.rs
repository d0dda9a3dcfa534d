//! The books of what was delivered, and of what was learned from it.

use seamline_routing::camera::CopyIx;
use seamline_routing::director::{LegId, Lesson};
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;

use super::super::checks;
use super::super::facts::Known;
use super::super::recorder::{Trouble, Unit};
use super::super::{Micros, SECOND};
use super::{Ledger, Shown};

impl Ledger<'_> {
    pub(super) fn taught(&mut self, copy: CopyIx, lesson: Lesson, known: &[Known], now: Micros) {
        let recorder = &self.world.copies[copy.index()].recorder;
        match lesson {
            Lesson::WrongFootage => {
                let until = &mut self.barred_until[copy.index()];
                *until = (*until).max(now + 60 * SECOND);
                let asked = self.first.map_or(now, |(leg, _)| self.legs[&leg].asked);
                let guilty = recorder.troubles.iter().any(|(when, trouble)| {
                    matches!(trouble, Trouble::WrongBy(_) | Trouble::Live) && when.contains(&asked)
                });
                // A recorder that lists nothing where it plays has itself to blame.
                let denied = self
                    .first
                    .is_some_and(|(_, first)| known[copy.index()].denies(first));
                if !guilty && !denied {
                    self.broken(format!("copy {} is accused of wrong footage", copy.0));
                }
            }
            Lesson::Gap(range) => {
                let scene = self.world.scene;
                let first = scene.picture_from(range.start()) + 1;
                let end = (scene.picture(range.end()) - 1).min(recorder.newest(now));
                let misled = recorder
                    .troubles
                    .iter()
                    .any(|(when, _)| when.start <= now && now - when.end < 10 * SECOND);
                if !misled
                    && let Some(held) =
                        (first.max(0)..end).find(|picture| recorder.footage.holds(*picture))
                {
                    self.broken(format!(
                        "the lesson is false: copy {} holds picture {held} in {range}",
                        copy.0
                    ));
                }
            }
        }
    }

    /// A unit was dropped from a leg's queue before its turn came.
    pub(crate) fn dropped(&mut self, leg: LegId, unit: &Unit) {
        if self
            .legs
            .get(&leg)
            .is_some_and(|log| log.delivered.is_some())
        {
            self.broken(format!(
                "{leg}: picture {} is dropped within the leg",
                unit.picture
            ));
        }
    }

    pub(crate) fn delivered(
        &mut self,
        leg: LegId,
        unit: &Unit,
        preroll: bool,
        known: &[Known],
        now: Micros,
    ) {
        let how = if preroll { "preroll" } else { "shown" };
        self.note(now, || {
            format!("            {leg}: picture {} {how}", unit.picture)
        });
        if unit.wrong {
            self.broken(format!("{leg}: wrong footage of {}", unit.capture));
        }
        self.decodable(leg, unit);
        if preroll {
            self.figures.preroll += 1;
            if !self.account(known, now).is_passed(unit.picture) {
                self.broken(format!("picture {} is hidden as preroll", unit.picture));
            }
            return;
        }
        let copy = self.legs.get(&leg).map_or(CopyIx(0), |log| log.copy);
        if let Some(shown) = self.shown {
            let forward = match self.direction() {
                Direction::Forward => unit.capture > shown.capture && unit.picture > shown.picture,
                Direction::Reverse => unit.capture < shown.capture && unit.picture < shown.picture,
            };
            if !forward {
                self.broken(format!(
                    "picture {} ({}) after picture {} ({})",
                    unit.picture, unit.capture, shown.picture, shown.capture
                ));
                return;
            }
        }
        let account = self.account(known, now);
        let from = account.next_picture();
        if let Some(lost) = checks::lost(&account, from, unit.picture, Some(copy), false) {
            self.broken(lost);
        }
        self.figures.shown += 1;
        self.figures.pictures.push(unit.picture);
        if let Some(shown) = self.shown {
            let silence = now - self.held_until.max(shown.at);
            self.figures.silence_max = self.figures.silence_max.max(silence);
        }
        let before = self.shown.map_or(self.played_at, |shown| shown.at);
        self.waited = self.waited.max(now - self.held_until.max(before));
        self.idle_since = now;
        self.taken_over.clear();
        self.shown = Some(Shown {
            picture: unit.picture,
            capture: unit.capture,
            copy,
            at: now,
        });
    }

    /// Footage from after the scene looks like a late start, unless the recorder lists that it has none: nobody can know.
    pub(super) fn excuse(&mut self, leg: LegId, first: Timestamp, known: &[Known]) {
        let scene = self.world.scene;
        let ahead = match self.direction() {
            Direction::Forward => first > scene.capture(scene.pictures + 1),
            Direction::Reverse => first < scene.capture(-1),
        };
        let copy = self.legs.get(&leg).map_or(0, |log| log.copy.index());
        self.excused |= ahead && !known[copy].denies(first);
    }

    /// A leg starts with a random access point and goes on without a break.
    pub(super) fn decodable(&mut self, leg: LegId, unit: &Unit) {
        let direction = self.direction();
        let Some(log) = self.legs.get_mut(&leg) else {
            return self.broken(format!("{leg} delivers, but was never opened"));
        };
        let before = log.delivered.replace(unit.picture);
        let footage = &self.world.copies[log.copy.index()].recorder.footage;
        let follows = match before {
            None => unit.random_access,
            Some(before) => footage
                .following(before, direction)
                .is_some_and(|(picture, _)| picture == unit.picture),
        };
        if log.closed || !follows {
            self.broken(format!(
                "{leg}: picture {} cannot be decoded after {before:?}",
                unit.picture
            ));
        }
    }
}
