//! Units to the client: asked about, paced, flagged and written.

use std::time::{Duration, Instant};

use seamline_media::{Flags, How, OutQueue, Refused, Unit, Written};
use seamline_routing::director::{End, Event, Failure, Head, LegId, Outlook, Verdict};
use seamline_routing::plan::Direction;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;

use super::resume::{Known, known};
use super::running::LegTurn;
use super::{Playback, Progress, State};
use crate::clock;
use crate::outbound::LegFailure;

/// Sender reports while playing at the pace of the clock (RFC 3550 asks for five seconds or less).
const REPORT_EVERY: Duration = Duration::from_secs(4);
/// How long the last unit of a paced play lasts.
const LAST_LASTS: Duration = Duration::from_millis(40);
/// Without pacing a leg at the growing end of a recording that shows nothing new for this long gives out what is held back.
const HOLD_BACK_MAX: Duration = Duration::from_millis(150);

/// What came of looking at the head of a leg.
pub(super) enum Turn {
    /// Something changed: look again.
    Again,
    /// Nothing to do before the next arrival, event or due time.
    Rest,
    /// The unit can be sent.
    Send(Verdict),
}

impl Playback {
    /// Writes all that is due. `Some` only for news other than bytes.
    pub(super) fn emit(&mut self, now: Instant, out: &mut OutQueue) -> Option<Progress> {
        self.due = None;
        self.ready_incoming(now);
        if let Some(at) = self.started.take() {
            self.state = State::Playing;
            return Some(Progress::Started { at });
        }
        while self.waiting(out) < self.waiting_max() {
            if self.back.sending() {
                if self.send_back(now, out) {
                    continue;
                }
                break;
            }
            if self.end.is_some() {
                return self.farewell(now, out);
            }
            if self.started.is_some() || self.starting() {
                break;
            }
            let Some(source) = self.director.source() else {
                break;
            };
            let turn = if self.reverse() {
                self.turn_back(source, now)
            } else {
                self.turn(source, now)
            };
            match turn {
                Turn::Again => self.ready_incoming(now),
                Turn::Rest => {
                    if self.due.is_none() {
                        self.idle_since.get_or_insert(now);
                    }
                    break;
                }
                Turn::Send(verdict) => {
                    self.send(source, verdict, now, out);
                    // What was sent may have passed the point where a leg that waits could have taken over.
                    if self.legs.len() > 1 {
                        self.ready_incoming(now);
                    }
                }
            }
        }
        if self.end.is_some() && !self.back.sending() {
            return self.farewell(now, out);
        }
        if let Some(at) = self.started.take() {
            self.state = State::Playing;
            return Some(Progress::Started { at });
        }
        None
    }

    /// Drops what incoming legs hold before the point where they can take over.
    fn ready_incoming(&mut self, now: Instant) {
        self.compare_clocks();
        let source = self.director.source();
        for leg in &mut self.legs {
            if Some(leg.id) == source || !leg.announced() {
                continue;
            }
            let steady = leg.is_steady(now);
            if let Some(newest) = leg.newest {
                let stocked = !leg.hungry();
                self.director.incoming_shows(leg.id, newest, stocked);
            }
            while let Some(unit) = leg.queue.front() {
                if self
                    .director
                    .incoming_drops(leg.id, &leg.head(unit), steady)
                {
                    leg.queue.pop();
                } else {
                    break;
                }
            }
            while let Some(group) = leg.queue.front_group() {
                let (id, mut heads) = (leg.id, group.heads().into_iter());
                if heads.all(|head| self.director.incoming_drops(id, &head, steady)) {
                    leg.queue.pop_group();
                } else {
                    break;
                }
            }
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one unit's way out, read from top to bottom"
    )]
    fn turn(&mut self, source: LegId, now: Instant) -> Turn {
        let unpaced = self.delivery.pacing.is_none();
        if let Some(turn) = self.decide_join(source, now) {
            return turn;
        }
        let (frames, last_key, hold_at) = (self.delivery.frames, self.last_key, self.hold_at);
        let reviving = self.reviving;
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        let Some(unit) = leg.queue.front() else {
            if let Some(until) = leg.awaits_stragglers(now) {
                self.due = Some(until);
                return Turn::Rest;
            }
            return self.drained(source, now);
        };
        let head = leg.head(unit);
        if leg.turn != LegTurn::Open && head.master {
            leg.queue.drop_master();
            return Turn::Again;
        }
        let mut verdict = self.director.judge(source, &head);
        if verdict == Verdict::Send
            && head.master
            && hold_at.is_some_and(|hold_at| head.capture >= hold_at)
        {
            self.pause();
            return Turn::Rest;
        }
        if verdict == Verdict::Send {
            match known(reviving, head.capture, leg.newest, leg.over()) {
                Known::No => {}
                Known::Needed if head.master => verdict = Verdict::Preroll,
                Known::Needed => {
                    leg.queue.pop();
                    return Turn::Again;
                }
                Known::Wait => return Turn::Rest,
                Known::Useless => {
                    leg.queue.clear();
                    return Turn::Again;
                }
            }
        }
        if verdict == Verdict::Handover && unpaced && self.director.holds_seam() {
            return Turn::Rest;
        }
        if verdict == Verdict::Preroll && head.random_access {
            let heads = leg.queue.master().map(|unit| leg.head(unit));
            let needless = self.director.needless_preroll(heads);
            if let Some(needless) = needless {
                leg.queue.skip_master(needless);
                return Turn::Again;
            }
        }
        if verdict == Verdict::Preroll
            && !self.director.preroll_serves(source, leg.newest)
            && (leg.over() || leg.hungry())
        {
            return self.withhold(source);
        }
        let left_out = head.master && comes_too_soon(frames, last_key, head.capture);
        // In decoding order a picture behind an end may come before one ahead of it that refers to it.
        let ends = match verdict {
            Verdict::RangeEnd => leg
                .queue
                .master_ends(|capture| self.director.is_beyond_range(capture)),
            Verdict::Handover => leg
                .queue
                .master_ends(|capture| self.director.is_beyond_seam(capture)),
            _ => true,
        };
        if !ends {
            if verdict == Verdict::Handover {
                self.director.keep_until(head.capture);
            }
            verdict = Verdict::Send;
        }
        match verdict {
            Verdict::Drop => {
                leg.queue.pop();
                Turn::Again
            }
            Verdict::Send if left_out => {
                self.let_go(source);
                Turn::Again
            }
            Verdict::Send | Verdict::Preroll => {
                if unpaced {
                    if self.director.holds_back(&head, now) {
                        return Turn::Rest;
                    }
                    if leg.over() || leg.turn != LegTurn::Open || leg.well_stocked() {
                        return Turn::Send(verdict);
                    }
                    // What is held back of a leg that fell silent is where a clean seam can be cut: it is given out only when
                    // it is known to be silent and nobody prepares to go on. Where a recording still grows, silence is its
                    // recorder's rhythm.
                    let until = leg.life.last() + HOLD_BACK_MAX;
                    if leg.stalled || (leg.grows(clock::wall()) && now >= until) {
                        return Turn::Send(verdict);
                    }
                    self.due = Some(until.max(now + HOLD_BACK_MAX));
                    return Turn::Rest;
                }
                let media_us = self.splice.media_us(unit);
                let due = if verdict == Verdict::Preroll {
                    now
                } else {
                    self.pace.due(media_us, now)
                };
                let early = if self.pace.is_late(media_us, now) {
                    Duration::ZERO
                } else {
                    leg.early(self.sent_at == Some(now))
                };
                if due > now + early {
                    self.due = Some(due);
                    return Turn::Rest;
                }
                Turn::Send(verdict)
            }
            verdict => self.obey(source, &head, verdict, now),
        }
    }

    /// Keeps preroll while no picture that it is for has come; once none can come it is of no use.
    fn withhold(&mut self, source: LegId) -> Turn {
        let leg = self.legs.iter_mut().find(|leg| leg.id == source);
        leg.filter(|leg| leg.over()).map_or(Turn::Rest, |leg| {
            leg.queue.drop_master();
            Turn::Again
        })
    }

    /// Does what a verdict asks that lets nothing pass for now.
    pub(super) fn obey(
        &mut self,
        source: LegId,
        head: &Head,
        verdict: Verdict,
        now: Instant,
    ) -> Turn {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        match verdict {
            Verdict::Handover | Verdict::RangeEnd => {
                let turn = match verdict {
                    Verdict::RangeEnd => LegTurn::RangeDone,
                    _ => LegTurn::HandingOver,
                };
                leg.turn_over(turn, head.capture, now);
                Turn::Again
            }
            Verdict::Jump => {
                self.direct(
                    Event::Jump {
                        leg: source,
                        to: head.capture,
                    },
                    now,
                );
                // The answer is a hole that is passed, a leg that is awaited, or the end; each shows in the next verdict.
                let again = self.director.source() != Some(source)
                    || self.director.judge(source, head) != Verdict::Jump;
                if again { Turn::Again } else { Turn::Rest }
            }
            Verdict::Wrong => {
                leg.queue.clear();
                let failure = LegFailure::new(
                    Failure::WrongFootage,
                    format!("footage of {} in mid leg", head.capture),
                );
                self.leg_failed(source, &failure, now);
                Turn::Again
            }
            Verdict::Wait | Verdict::Send | Verdict::Preroll | Verdict::Drop => Turn::Rest,
        }
    }

    /// Nothing is left of the leg that plays: it ended, or its turn did.
    pub(super) fn drained(&mut self, source: LegId, now: Instant) -> Turn {
        let Some(leg) = self.legs.iter().find(|leg| leg.id == source) else {
            return Turn::Rest;
        };
        if leg.turn == LegTurn::Open && !leg.over() {
            return Turn::Rest;
        }
        let event = match leg.turn {
            LegTurn::RangeDone => Event::RangeEnd,
            LegTurn::Open | LegTurn::HandingOver => Event::Drained { leg: source },
        };
        self.direct(event, now);
        let moved = self.director.source() != Some(source) || self.end.is_some();
        if moved { Turn::Again } else { Turn::Rest }
    }

    /// Counts the unit at the head as sent, and does not send it.
    fn let_go(&mut self, source: LegId) {
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source)
            && let Some(unit) = leg.queue.pop()
        {
            let head = leg.head(&unit);
            self.director.sent(source, &head);
        }
    }

    fn send(&mut self, source: LegId, verdict: Verdict, now: Instant, out: &mut OutQueue) {
        self.idle_since = None;
        self.sent_at = Some(now);
        self.report(now, out);
        let how = self.how(source, verdict, now);
        self.remember(source);
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source) else {
            return;
        };
        let Some(unit) = leg.queue.pop() else { return };
        let head = leg.head(&unit);
        if head.master {
            if verdict == Verdict::Send {
                self.reviving = None;
            }
            self.fresh = false;
            self.last_key = Some(head.capture);
        }
        match self.write(unit, how, out) {
            Ok(written) if head.master => self.pace.sent(written.media_us, now),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(camera = %self.camera.id(), capture = %head.capture, %error, "unit not written");
            }
        }
        if verdict != Verdict::Send {
            return;
        }
        self.director.sent(source, &head);
        if head.master
            && let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == source)
            && let Some(range) = leg.count(head.capture, now)
        {
            self.camera.teach_recorded(leg.copy, range);
            let soundings = &self.camera.soundings;
            soundings.ahead(&self.camera, range.end(), Direction::Forward);
        }
    }

    /// A unit leaves: as packets of the client's session, or as samples.
    pub(super) fn write(
        &mut self,
        unit: Unit,
        how: How,
        out: &mut OutQueue,
    ) -> Result<Written, Refused> {
        let Some(samples) = &mut self.samples else {
            return self.splice.write(unit, how, out);
        };
        samples.unit(&unit, how.preroll);
        self.splice.pass(&unit, how)
    }

    /// The flags of the unit at the head: whether it is the last before a gap, or the last of all.
    fn how(&self, source: LegId, verdict: Verdict, now: Instant) -> How {
        if verdict == Verdict::Preroll {
            return How::PREROLL;
        }
        let Some(leg) = self.legs.iter().find(|leg| leg.id == source) else {
            return How::NORMAL;
        };
        let Some(unit) = leg.queue.front().filter(|unit| unit.track == self.master) else {
            return How::NORMAL;
        };
        let fresh = if self.fresh {
            Flags::DISCONTINUITY
        } else {
            Flags::NONE
        };
        let outlook = match leg.queue.second_of_master() {
            Some(next) => match self.director.outlook_before(&leg.head(next)) {
                Outlook::Gap => {
                    let facts = self.camera.slot.facts(now);
                    self.director.outlook_at_gap(&facts.copies(|_| false))
                }
                outlook => outlook,
            },
            None if leg.over() => {
                let facts = self.camera.slot.facts(now);
                self.director.outlook_after(
                    Timestamp::from_micros(unit.capture_us),
                    &facts.copies(|_| false),
                    now,
                )
            }
            None => Outlook::Continues,
        };
        How {
            preroll: false,
            flags: fresh | ends(outlook),
        }
    }

    /// Sender reports, the first before the first media (a later one makes players re-base their clocks).
    pub(super) fn report(&mut self, now: Instant, out: &mut OutQueue) {
        let due = self
            .last_report
            .is_none_or(|last| now.saturating_duration_since(last) >= REPORT_EVERY);
        if self.delivery.pacing.is_none() || !due {
            return;
        }
        self.last_report = Some(now);
        let media_us = self.pace.media_us(now).unwrap_or(0);
        for track in self.set_up_tracks() {
            if let Some(report) =
                self.splice
                    .sender_report(track, clock::wall().as_micros(), media_us)
            {
                out.push_bytes(report);
            }
        }
    }

    fn set_up_tracks(&self) -> Vec<usize> {
        (0..self.tracks.len())
            .filter(|track| self.wanted.get(*track).copied().unwrap_or(false))
            .collect()
    }

    /// The end, once the last unit has lasted its time. A BYE on its heels may find it still in GStreamer's jitter buffer,
    /// which then waits for ever.
    fn farewell(&mut self, now: Instant, out: &mut OutQueue) -> Option<Progress> {
        let end = self.end?;
        let paced = self.delivery.pacing.map(|_| LAST_LASTS);
        let wait = self.farewell_after.or(paced);
        let due = self.sent_at.zip(wait).map(|(last, wait)| last + wait);
        if let Some(due) = due.filter(|due| *due > now) {
            self.due = Some(due);
            return None;
        }
        self.end = None;
        Some(self.finish(end, out))
    }

    fn finish(&mut self, end: End, out: &mut OutQueue) -> Progress {
        self.journal
            .ended(&self.camera, self.position(), &end.to_string());
        let open_end = self.request.is_none_or(|request| request.until.is_none());
        let started = !self.starting();
        // Plain players wait for ever without a BYE. An ONVIF client with an open range has E and T, and more comes by itself
        // where recording goes on (ONVIF Streaming, playback).
        let may_grow = self.delivery.onvif && open_end && end == End::Footage;
        if started && may_grow && !self.reverse() {
            self.state = State::Awaiting(self.awaits(clock::now()));
            return Progress::Over(end);
        }
        if started && !may_grow {
            let media_us = self.pace.media_us(clock::now()).unwrap_or(0);
            for track in self.set_up_tracks() {
                if let Some(goodbye) =
                    self.splice
                        .goodbye(track, clock::wall().as_micros(), media_us)
                {
                    out.push_bytes(goodbye);
                }
            }
        }
        self.state = State::Over(end);
        Progress::Over(end)
    }
}

/// E and T of the last unit before what follows.
pub(super) fn ends(outlook: Outlook) -> Flags {
    match outlook {
        Outlook::Continues => Flags::NONE,
        Outlook::Gap => Flags::END,
        Outlook::Terminal => Flags::END | Flags::TERMINAL,
    }
}

/// Whether a key frame comes too soon behind the one before for a client that wants them at a distance of footage time.
pub(super) fn comes_too_soon(frames: Frames, last: Option<Timestamp>, capture: Timestamp) -> bool {
    let Frames::Intra {
        interval_ms: Some(interval_ms),
    } = frames
    else {
        return false;
    };
    last.is_some_and(|last| {
        capture.micros_since(last).unsigned_abs() < u64::from(interval_ms) * 1_000
    })
}
