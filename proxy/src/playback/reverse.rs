//! Reverse play (ONVIF Streaming, reverse replay): group behind group, the latest first, each sent forward.
//!
//! The director is asked about the pictures of a group in the order in which they are shown. What of them is new goes out with
//! all that it needs to be decoded; so every seam is clean, wherever the groups of two copies begin.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use seamline_media::{Flags, How, OutQueue, Unit};
use seamline_routing::director::{LegId, Outlook, Seam, Verdict};
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;

use super::Playback;
use super::emit::{Turn, comes_too_soon, ends};
use super::group::Group;

/// A step back of more footage than this is a hole in what is shown.
const HOLE: Duration = Duration::from_secs(1);

/// How long the last picture of a group waits until it is known what follows: whether it ends a section.
const HELD_MAX: Duration = Duration::from_secs(3);
/// The same where the client waits for each picture.
const HELD_PACED_MAX: Duration = Duration::from_millis(500);

/// How far reverse play has come.
#[derive(Default)]
pub(super) struct Backwards {
    sending: Option<Sending>,
    /// Capture time of the earliest picture that was let pass.
    shown: Option<Timestamp>,
    /// The leg that the splice was told of last.
    leg: Option<LegId>,
}

impl Backwards {
    /// Whether a group is on its way out.
    pub(super) fn sending(&self) -> bool {
        self.sending.is_some()
    }
}

/// A group on its way out.
struct Sending {
    units: VecDeque<Unit>,
    /// Capture time of its earliest picture.
    first: Timestamp,
    /// Media time at which its latest picture is shown: by then it must begin to arrive.
    media_us: i64,
    /// Nothing of it was sent.
    fresh: bool,
    /// Since when its last unit waits for what follows to be known.
    held: Option<Instant>,
}

impl Playback {
    /// The capture time that the answer to PLAY names: where the client asked to start, or where the footage before it ends.
    pub(super) fn play_start(&self, seam: Seam) -> Timestamp {
        let asked = self.request.map_or(seam.at, |request| request.at);
        if !self.reverse() {
            return seam.at;
        }
        let leg = self.legs.iter().find(|leg| leg.id == seam.leg);
        let interval = leg.map_or(Duration::ZERO, super::running::Running::interval);
        asked.min(seam.at + interval)
    }

    /// Looks at the group at the head of the leg that plays.
    pub(super) fn turn_back(&mut self, source: LegId, now: Instant) -> Turn {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        let Some(group) = leg.queue.front_group() else {
            return self.drained(source, now);
        };
        if leg.turn != super::running::LegTurn::Open {
            leg.queue.drop_master();
            return Turn::Again;
        }
        let news = group
            .heads()
            .into_iter()
            .map(|head| (head, self.director.judge(source, &head)))
            .find(|(_, verdict)| !matches!(verdict, Verdict::Drop | Verdict::Preroll));
        match news {
            // All of it was shown, out of another copy.
            None => {
                leg.queue.pop_group();
                Turn::Again
            }
            Some((head, Verdict::Send)) => {
                if self.hold_at.is_some_and(|hold_at| head.capture <= hold_at) {
                    self.pause();
                    return Turn::Rest;
                }
                self.let_pass(source, head.capture, now);
                Turn::Again
            }
            Some((head, verdict)) => self.obey(source, &head, verdict, now),
        }
    }

    /// The group at the head goes out, from its random access point up to its picture of `last`.
    fn let_pass(&mut self, source: LegId, last: Timestamp, now: Instant) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return;
        };
        let Some(group) = leg.queue.pop_group().map(|group| group.up_to(last)) else {
            return;
        };
        let told = group
            .range(leg.interval())
            .and_then(|range| leg.count_back(range, now))
            .map(|range| (leg.copy, range));
        let format = (self.back.leg.replace(source) != Some(source)).then(|| leg.format.clone());
        for head in group.heads().iter().filter(|head| head.capture <= last) {
            self.director.sent(source, head);
        }
        if let Some((copy, range)) = told {
            self.camera.teach_recorded(copy, range);
            let soundings = &self.camera.soundings;
            soundings.ahead(&self.camera, range.start(), Direction::Reverse);
        }
        if comes_too_soon(self.delivery.frames, self.last_key, last) {
            return;
        }
        if let Some(format) = format {
            self.begin_leg(format);
        }
        let hole = HOLE.max(self.spacing());
        if self
            .back
            .shown
            .is_some_and(|shown| shown.since(last) > hole)
        {
            self.splice.skip_hole(last.as_micros());
        }
        self.back.shown = Some(group.first());
        self.last_key = Some(group.first());
        self.back.sending = Some(Sending {
            first: group.first(),
            media_us: self.splice.media_us_at(last.as_micros()),
            units: Group::into_units(group).into(),
            fresh: true,
            held: None,
        });
    }

    /// Sends the next unit of the group that is on its way out; false when it is not due yet.
    pub(super) fn send_back(&mut self, now: Instant, out: &mut OutQueue) -> bool {
        let Some(mut sending) = self.back.sending.take() else {
            return false;
        };
        let Some(unit) = sending.units.front() else {
            return true;
        };
        let media_us = self.delivery_media_us(&sending, unit.capture_us);
        let mut due = match self.delivery.pacing {
            Some(_) => self.pace.due(media_us, now),
            None => now,
        };
        let last = sending.units.len() == 1;
        let outlook = match last.then(|| self.outlook_back(sending.first, now)) {
            None => Outlook::Continues,
            Some(Some(outlook)) => outlook,
            // What follows is not known yet: worth a moment.
            Some(None) => {
                let held = *sending.held.get_or_insert(now);
                let patience = match self.delivery.pacing {
                    Some(_) => HELD_PACED_MAX,
                    None => HELD_MAX,
                };
                due = due.max(held + patience);
                Outlook::Continues
            }
        };
        if due > now {
            self.due = Some(due);
            self.back.sending = Some(sending);
            return false;
        }
        self.idle_since = None;
        self.sent_at = Some(now);
        self.report(now, out);
        let mut flags = ends(outlook);
        if std::mem::take(&mut sending.fresh) {
            flags |= Flags::DISCONTINUITY;
        }
        let how = How {
            preroll: false,
            flags,
        };
        if let Some(unit) = sending.units.pop_front() {
            let capture_us = unit.capture_us;
            match self.write(unit, how, out) {
                Ok(_) => self.pace.sent(media_us, now),
                Err(error) => {
                    tracing::debug!(camera = %self.camera.id(), capture_us, %error, "unit not written");
                }
            }
        }
        if !sending.units.is_empty() {
            self.back.sending = Some(sending);
        }
        true
    }

    /// When a picture is to be sent, in media time: the group takes as long to arrive as it takes to show.
    fn delivery_media_us(&self, sending: &Sending, capture_us: i64) -> i64 {
        let footage_us = capture_us.saturating_sub(sending.first.as_micros());
        let rate = self.delivery.pacing.unwrap_or(1.0);
        sending.media_us + (footage_us as f64 / rate) as i64
    }

    /// What follows the group whose earliest picture is of `first`; `None` while that is not known.
    fn outlook_back(&self, first: Timestamp, now: Instant) -> Option<Outlook> {
        if self.end.is_some() {
            return Some(Outlook::Terminal);
        }
        if self.director.prepares() {
            return None;
        }
        let source = self.director.source()?;
        let leg = self.legs.iter().find(|leg| leg.id == source)?;
        let next = leg
            .queue
            .front_group()
            .and_then(|next| next.heads().first().copied());
        let facts = self.camera.slot.facts(now);
        let copies = facts.copies(|_| false);
        match next {
            Some(next) => Some(match self.director.outlook_before(&next) {
                Outlook::Gap => self.director.outlook_at_gap(&copies),
                outlook => outlook,
            }),
            None if leg.over() => Some(self.director.outlook_after(first, &copies, now)),
            None => None,
        }
    }
}
