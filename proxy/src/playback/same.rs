//! Copies of one elementary stream: found out by what was sent and what waits, used for joins that repeat nothing, and for
//! telling their clocks apart.

use std::time::{Duration, Instant};

use seamline_media::identity::{Sameness, Shown, align, goes_on};
use seamline_media::{Codec, Unit};
use seamline_routing::camera::CopyIx;
use seamline_routing::director::LegId;
use seamline_routing::plan::Direction;
use seamline_routing::policy::ClockSkew;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;

use super::Playback;
use super::emit::Turn;
use super::running::{ClockCheck, Joining, LegTurn, Running};

/// Pictures sent that are remembered: some 20 s, more than any group and any skew worth bridging.
const SENT_MAX: usize = 512;
/// How long a seam waits for the rest of a comparison that was equal so far.
const COMPARE_MAX: Duration = Duration::from_millis(500);
/// How often it is looked at meanwhile.
const COMPARE_EVERY: Duration = Duration::from_millis(10);
/// Copies whose stamps of one picture differ by less show the same time.
const SAME_TIME_US: i64 = 20_000;
/// Footage that a leg must have shown before its clock is compared.
const COMPARED_MIN: Duration = Duration::from_secs(1);

/// The latest pictures that were sent, in the order sent, by what is coded.
#[derive(Debug, Default)]
pub(super) struct History {
    shown: Vec<Shown>,
    /// How many of the last ones are of one copy, which one, and what was taken off its times besides the configured offset.
    of_one: Option<(CopyIx, i64, usize)>,
    /// Signatures over pictures were among what was sent.
    pub(super) signed: bool,
}

impl History {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, shown: Shown, copy: CopyIx, measured_us: i64) {
        if self.shown.len() >= SENT_MAX * 2 {
            self.shown.drain(..SENT_MAX);
        }
        self.shown.push(shown);
        let count = match self.of_one {
            Some((last, us, count)) if (last, us) == (copy, measured_us) => count + 1,
            _ => 1,
        };
        self.of_one = Some((copy, measured_us, count));
    }

    fn sent(&self) -> &[Shown] {
        let from = self.shown.len().saturating_sub(SENT_MAX);
        self.shown.get(from..).unwrap_or_default()
    }
}

/// What a picture is known again by.
#[derive(Clone, Copy, Debug)]
enum Marks {
    /// What is coded, by the codec: another copy may show it.
    Coded(Codec),
    /// Its time and size: only its own copy can show it again.
    Stamped,
}

impl Marks {
    fn of(self, unit: &Unit) -> Option<Shown> {
        match self {
            Marks::Coded(codec) => Shown::of(codec, unit),
            Marks::Stamped => Some(Shown::stamped(unit)),
        }
    }
}

impl Playback {
    /// What pictures are remembered by: none in reverse, nor of what is live.
    fn marks(&self) -> Option<Marks> {
        let forward = self
            .request
            .is_some_and(|request| request.direction == Direction::Forward);
        let all = self.delivery.frames == Frames::All;
        if !forward || !all || self.camera.live {
            return None;
        }
        if self.camera.slot.camera().copies.len() < 2 {
            return Some(Marks::Stamped);
        }
        let codec = self
            .tracks
            .get(self.master)
            .map_or(Codec::Other, |track| Codec::from_encoding(&track.encoding));
        Some(Marks::Coded(codec))
    }

    /// Remembers the picture at the head of a leg, which is about to be sent.
    pub(super) fn remember(&mut self, source: LegId) {
        let Some(marks) = self.marks() else {
            return;
        };
        let Some(leg) = self.legs.iter().find(|leg| leg.id == source) else {
            return;
        };
        self.history.signed |= leg.queue.front().is_some_and(|unit| unit.signed);
        let Some(picture) = leg.queue.front().filter(|unit| unit.track == self.master) else {
            return;
        };
        // Its own copy is asked again for no earlier picture than the latest that decoding can begin at.
        if matches!(marks, Marks::Stamped) && picture.random_access {
            self.history.shown.clear();
        }
        if let Some(shown) = marks.of(picture) {
            self.history.push(shown, leg.copy, leg.measured_us);
        }
    }

    /// [`Self::join`], where the next unit of the leg is a picture.
    pub(super) fn decide_join(&mut self, source: LegId, now: Instant) -> Option<Turn> {
        let master = self.master;
        let leg = self.legs.iter().find(|leg| leg.id == source)?;
        let undecided = leg.joining != Joining::Decided && leg.turn == LegTurn::Open;
        if !undecided || leg.queue.front().is_none_or(|unit| unit.track != master) {
            return None;
        }
        self.join(source, now)
    }

    /// Before a leg's first picture is sent: whether it goes on from what was sent before, in the same elementary stream.
    /// Then what was sent already is left out, and what follows needs no preroll. `None` when it is decided.
    fn join(&mut self, source: LegId, now: Instant) -> Option<Turn> {
        let marks = self.marks();
        let leg = self.legs.iter_mut().find(|leg| leg.id == source)?;
        let since = match leg.joining {
            Joining::Decided => return None,
            Joining::Comparing { since } => since,
            Joining::Undecided => now,
        };
        leg.joining = Joining::Decided;
        let marks = marks?;
        let waiting = leg.queue.master().map_while(|unit| marks.of(unit));
        match goes_on(self.history.sent(), waiting) {
            Sameness::Different => None,
            Sameness::Unknown if leg.over() => None,
            // The same copy shows the rest as well; another one may not, and its own pictures wait meanwhile.
            Sameness::Unknown if matches!(marks, Marks::Coded(_)) && now >= since + COMPARE_MAX => {
                None
            }
            Sameness::Unknown => {
                leg.joining = Joining::Comparing { since };
                // What fills its queue does not wake us.
                self.due = Some(now + COMPARE_EVERY);
                Some(Turn::Rest)
            }
            Sameness::Same { known, offset_us } => {
                let (copy, measured_us) = (leg.copy, leg.measured_us);
                let at = leg.queue.first_of_master()?;
                if let Some((against, theirs_us, count)) = self.history.of_one
                    && count >= known
                    && against != copy
                {
                    let apart_us = offset_us + measured_us - theirs_us;
                    self.note_skew(copy, against, at, apart_us, 0);
                }
                self.take_up(source, known, offset_us)
                    .then_some(Turn::Again)
            }
        }
    }

    /// Goes on with a leg behind `known` pictures that were sent; false when its clock differs by more than may be.
    fn take_up(&mut self, source: LegId, known: usize, ahead_us: i64) -> bool {
        let policy = &self.camera.policy;
        let max_us = i64::try_from(policy.max_skew.as_micros()).unwrap_or(i64::MAX);
        let same_time = ahead_us.abs() <= SAME_TIME_US;
        let measured = policy.clock_skew == ClockSkew::Measured && ahead_us.abs() <= max_us;
        if !same_time && !measured {
            return false;
        }
        let ahead_us = if same_time { 0 } else { ahead_us };
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return false;
        };
        leg.redate(ahead_us);
        leg.queue.skip_master(known);
        let (copy, next) = (leg.copy, leg.newest.unwrap_or(self.director.position()));
        self.director.goes_on_exactly(source, ahead_us);
        self.splice.goes_on();
        self.journal
            .joined(&self.camera, self.camera.site(copy), next, known);
        true
    }

    /// Compares the clock of a leg that waits for its turn with that of the leg that plays, once.
    pub(super) fn compare_clocks(&mut self) {
        let Some(marks @ Marks::Coded(_)) = self.marks() else {
            return;
        };
        let Some(source) = self.director.source() else {
            return;
        };
        let due = |leg: &Running| {
            leg.id != source
                && leg.announced()
                && leg.clock == ClockCheck::Due
                && (leg.queue.span(leg.newest) >= COMPARED_MIN || leg.over())
        };
        let Some(incoming) = self.legs.iter_mut().find(|leg| due(leg)) else {
            return;
        };
        incoming.clock = ClockCheck::Done;
        let theirs: Vec<Shown> = incoming
            .queue
            .master()
            .filter_map(|unit| marks.of(unit))
            .collect();
        let (copy, measured_us) = (incoming.copy, incoming.measured_us);
        let Some(current) = self.legs.iter().find(|leg| leg.id == source) else {
            return;
        };
        let waiting = current.queue.master().filter_map(|unit| marks.of(unit));
        let sent = match self.history.of_one {
            Some((of, us, count)) if (of, us) == (current.copy, current.measured_us) => {
                let sent = self.history.sent();
                sent.get(sent.len().saturating_sub(count)..)
                    .unwrap_or_default()
            }
            _ => &[],
        };
        let ours: Vec<Shown> = sent.iter().copied().chain(waiting).collect();
        let (against, theirs_us) = (current.copy, current.measured_us);
        if let Some(found) = align(&ours, &theirs)
            && let Some(at) = theirs.first()
        {
            let apart_us = found.offset_us + measured_us - theirs_us;
            let at = Timestamp::from_micros(at.capture_us);
            self.note_skew(copy, against, at, apart_us, found.spread_us);
        }
    }

    fn note_skew(
        &self,
        copy: CopyIx,
        against: CopyIx,
        at: Timestamp,
        offset_us: i64,
        within_us: i64,
    ) {
        if copy == against {
            return;
        }
        self.camera
            .clocks
            .measured(copy, against, at, offset_us, within_us);
        self.journal
            .skew(&self.camera, copy, against, at, offset_us);
    }
}
