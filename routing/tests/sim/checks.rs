//! What may be expected of a director: what it may pass over, when it may switch, and when it may end.

use std::ops::Range;

use seamline_routing::camera::CopyIx;
use seamline_routing::coverage::Held;
use seamline_routing::director::End;
use seamline_routing::plan::Direction;
use seamline_routing::policy::{Failback, Holes};
use seamline_routing::time::{TimeRange, Timestamp};

use super::facts::Known;
use super::ledger::Ledger;
use super::{Micros, SECOND};

/// The books at one moment.
pub(super) struct Account<'b, 'a> {
    pub(super) ledger: &'b Ledger<'a>,
    pub(super) known: &'b [Known],
    pub(super) now: Micros,
    /// The last picture, in play order, that was shown or accounted for.
    pub(super) passed: Option<i64>,
}

/// A copy that has been well for this long could have been played.
const WELL_FOR: Micros = 2 * SECOND;

impl Account<'_, '_> {
    fn forward(&self) -> bool {
        self.ledger.direction() == Direction::Forward
    }

    pub(super) fn is_passed(&self, picture: i64) -> bool {
        self.passed
            .is_some_and(|passed| match self.ledger.direction() {
                Direction::Forward => picture <= passed,
                Direction::Reverse => picture >= passed,
            })
    }

    /// The first picture, in play order, that is still owed. A start ahead of the asked instant owes nothing before it.
    pub(super) fn next_picture(&self) -> i64 {
        let scene = self.ledger.world.scene;
        let asked = self.ledger.request.map_or(0, |request| {
            let slack = scene.interval_us / 2;
            if self.forward() {
                scene.picture_from(request.at.shift(slack)).max(0)
            } else {
                let last = scene.pictures - 1;
                scene.picture(request.at.shift(-slack)).min(last)
            }
        });
        match self.passed {
            Some(passed) if self.forward() => asked.max(passed + 1),
            Some(passed) => asked.min(passed - 1),
            None => asked,
        }
    }

    /// The picture behind the last one, in play order, that is owed at all.
    fn end_picture(&self) -> i64 {
        let scene = self.ledger.world.scene;
        let until = self.ledger.request.and_then(|request| request.until);
        match until {
            Some(until) if self.forward() => (scene.picture(until) - 1).min(scene.pictures),
            Some(until) => (scene.picture_from(until) + 1).max(-1),
            None if self.forward() => scene.pictures,
            None => -1,
        }
    }

    /// Whether a copy has been in reach for a while, without cause to leave it alone.
    fn well(&self, copy: usize) -> bool {
        let recorder = &self.ledger.world.copies[copy].recorder;
        let known = &self.known[copy];
        let troubled = recorder
            .troubles
            .iter()
            .any(|(when, _)| when.start <= self.now && self.now - when.end < WELL_FOR);
        !troubled
            && !known.down()
            && self.now - known.changed_at >= WELL_FOR
            && self.now >= self.ledger.barred_until[copy]
    }

    /// A copy from which a picture could have been had.
    fn source_of(&self, picture: i64) -> Option<usize> {
        (0..self.known.len()).find(|&copy| {
            let recorder = &self.ledger.world.copies[copy].recorder;
            let old = self.now - WELL_FOR - 2 * SECOND;
            recorder.footage.holds(picture)
                && picture < recorder.newest(old)
                && !self.known[copy].denies(recorder.footage.capture(picture))
                && self.well(copy)
        })
    }
}

/// The pictures of a stretch: the first in play order, and the one behind the last.
pub(super) fn pictures_in(account: &Account<'_, '_>, range: TimeRange) -> (i64, i64) {
    let scene = account.ledger.world.scene;
    let slack = scene.interval_us / 2;
    let from = account.next_picture();
    if account.forward() {
        let first = scene.picture_from(range.start().shift(-slack)).max(0);
        let end = scene
            .picture_from(range.end().shift(-slack))
            .min(scene.pictures);
        (from.max(first), end)
    } else {
        let first = scene
            .picture(range.end().shift(slack))
            .min(scene.pictures - 1);
        let end = scene.picture(range.start().shift(slack)).max(-1);
        (from.min(first), end)
    }
}

/// The complaint about pictures from `from` up to but without `to`, in play order, that are passed over.
///
/// `next` is the copy that is played after them. What is too short for a seam is no loss in a `hole`, nor in gaps of the copies
/// around.
pub(super) fn lost(
    account: &Account<'_, '_>,
    from: i64,
    to: i64,
    next: Option<CopyIx>,
    hole: bool,
) -> Option<String> {
    let missing: Range<i64> = if account.forward() {
        from..to
    } else {
        to + 1..from + 1
    };
    if missing.is_empty() {
        return None;
    }
    let world = account.ledger.world;
    let jump_min = (world.policy.min_gap.as_micros() as i64).max(world.scene.interval_us * 5 / 2);
    let lost: Vec<(i64, usize)> = missing
        .clone()
        .filter_map(|picture| Some((picture, account.source_of(picture)?)))
        .collect();
    let short = (lost.len() as i64 - 1) * world.scene.interval_us <= jump_min;
    let around: Vec<Option<CopyIx>> = account
        .ledger
        .taken_over
        .iter()
        .copied()
        .chain(account.ledger.shown.map(|shown| shown.copy))
        .map(Some)
        .chain([next])
        .collect();
    let lost = lost.into_iter().find(|(picture, _)| {
        let lacks = |copy: &Option<CopyIx>| {
            copy.is_some_and(|copy| !world.copies[copy.index()].recorder.footage.holds(*picture))
        };
        !(short && (hole || around.iter().any(lacks)))
    });
    lost.map(|(picture, copy)| {
        format!("picture {picture} of {missing:?} is lost; copy {copy} holds it")
    })
}

/// Whether the end of a playback is right.
pub(super) fn end(account: &Account<'_, '_>, end: End, position: Timestamp) -> Result<(), String> {
    let world = account.ledger.world;
    let owed = account.next_picture();
    let scene = world.scene;
    let until = account.end_picture();
    let near = |from: i64| {
        if account.forward() {
            (from + 2).min(until)
        } else {
            (from - 2).max(until)
        }
    };
    let (from, to) = match end {
        End::Range | End::Footage => (owed, until),
        End::Hole if world.policy.holes != Holes::End => {
            return Err("ended at a hole against the policy".into());
        }
        End::Hole => (owed, near(owed)),
        End::Outage | End::Mismatch => {
            let at = if account.forward() {
                scene.picture_from(position).max(owed)
            } else {
                scene.picture(position).min(owed)
            };
            (at, near(at))
        }
    };
    if end == End::Range
        && account
            .ledger
            .request
            .is_some_and(|request| request.until.is_none())
    {
        return Err("the end of a range that has none".into());
    }
    match lost(account, from, to, None, false) {
        Some(lost) => Err(format!("ended by {end:?}: {lost}")),
        None => Ok(()),
    }
}

/// Whether a better copy may be gone to at a point of time, from one that plays; whether that is one of choice.
pub(super) fn switch(
    account: &Account<'_, '_>,
    from: Option<CopyIx>,
    to: CopyIx,
    at: Timestamp,
) -> Result<bool, String> {
    let ledger = account.ledger;
    let world = ledger.world;
    let Some(from) = from.filter(|from| to < *from) else {
        return Ok(false);
    };
    let troubled = ledger.playing.is_some_and(|leg| ledger.legs[&leg].troubled);
    let group = world.copies[to.index()].recorder.footage.group * world.scene.interval_us;
    // A client that is faster than the footage goes on while the leg is opened.
    let opening = world.pacing.map_or(30, |rate| 3 * rate as i64) * SECOND;
    let lead = group + opening;
    // What goes on for longer than the seam may have been brought forward is left by choice.
    let behind = at.shift(if account.forward() { lead } else { -lead });
    let known = account.known[from.index()].coverage();
    let goes_on = match (account.forward(), known.held(at)) {
        (true, Held::Recorded { until }) => until > behind,
        (false, Held::Recorded { .. }) => known
            .periods()
            .iter()
            .any(|period| period.contains(at) && period.contains(behind)),
        (_, Held::Gap { .. } | Held::Unknown { .. }) => false,
    };
    let picture = world.scene.picture(at);
    let holds = (picture - 2..picture + 3)
        .all(|picture| world.copies[from.index()].recorder.footage.holds(picture));
    if troubled || !goes_on || !holds {
        return Ok(false);
    }
    // At a seam to any better copy, the best one is taken.
    let starts_here = (0..from.index())
        .flat_map(|better| {
            let listed = account.known[better].coverage().periods().to_vec();
            let held = &world.copies[better].recorder.footage;
            listed.into_iter().chain(held.periods(world.scene.pictures))
        })
        .map(|period| {
            if account.forward() {
                period.start()
            } else {
                period.end()
            }
        })
        .any(|start| start.micros_since(at).abs() <= lead);
    let healthy = account.known[to.index()].healthy_for(account.now);
    match world.policy.failback {
        Failback::Never => Err("went back although it should never".into()),
        Failback::AtSeam if !starts_here => Err("went back in mid-period".into()),
        Failback::After(wanted)
            if !starts_here && healthy.is_none_or(|healthy| healthy < wanted) =>
        {
            Err(format!("went back after {healthy:?}"))
        }
        Failback::AtSeam | Failback::After(_) => Ok(true),
    }
}
