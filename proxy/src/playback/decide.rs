//! What the director is told, and what is done for it: legs opened, watched and closed, seams taken.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use seamline_media::LegFormat;
use seamline_routing::camera::CopyIx;
use seamline_routing::director::{Event, Failure, LegId, Seam};
use seamline_routing::plan::{Direction, Reason};
use seamline_routing::time::{TimeRange, Timestamp};
use seamline_rtsp::headers::Frames;
use smallvec::SmallVec;

use super::ahead::{Ahead, EARLY_IN_A_CROWD};
use super::running::{Lanes, Running, Sign, Stage};
use super::{Item, Playback, State, TICK};
use crate::clock;
use crate::outbound::{LegFailure, Order};
use crate::soundings::Door;

/// So many playbacks at once are a crowd: each picture at its own time costs nothing that matters before.
const CROWD: usize = 16;

impl Playback {
    pub(super) fn open_leg(
        &mut self,
        id: LegId,
        copy: CopyIx,
        from: Timestamp,
        reason: Reason,
        now: Instant,
    ) {
        let site = self.camera.site(copy);
        tracing::debug!(camera = %self.camera.id(), site, capture = %from, %reason, %id, "open");
        let measured_us = self.camera.measured_offset_us(copy, from);
        let order = Order {
            remote: self.camera.remote(copy),
            from,
            until: self.request.and_then(|request| request.until),
            direction: self
                .request
                .map_or_else(Direction::default, |request| request.direction),
            live: self.camera.live,
            recorded_until: self.camera.recorded_until(copy, from),
            recorded_from: self.camera.recorded_from(copy, from),
            frames: self.delivery.frames,
            rate: self.rate(),
            clock_offset_us: self.camera.clock_offset_us(copy) + measured_us,
            tracks: self.tracks.clone(),
            wanted: self.wanted.clone(),
            master: self.master,
            reaction: self.camera.policy.reaction,
            unread: self.unread(copy),
        };
        let door = Door::to(&self.camera, copy);
        let opening = if self.shares() {
            let legs = Arc::clone(&self.camera.legs);
            tokio::spawn(async move { legs.open(copy, door, order).await })
        } else {
            tokio::spawn(door.open(order))
        };
        let pictures_only = self.reverse() || matches!(self.delivery.frames, Frames::Intra { .. });
        let wanted = match self.wanted.iter().filter(|wanted| **wanted).count() {
            _ if pictures_only => 1,
            wanted => wanted,
        };
        let lanes = Lanes {
            tracks: self.tracks.len(),
            master: self.master,
            wanted,
            frames: self.delivery.frames,
            ahead: Ahead::new(self.demand(), self.depths(), now),
        };
        let mut leg = Running::new(id, copy, opening, lanes, now);
        leg.measured_us = measured_us;
        // Mostly there is one, and it is large.
        self.legs.reserve_exact(1);
        self.legs.push(leg);
    }

    pub(super) fn close_leg(&mut self, id: LegId) {
        let Some(ix) = self.legs.iter().position(|leg| leg.id == id) else {
            return;
        };
        let leg = self.legs.swap_remove(ix);
        // It was overtaken while it kept us waiting.
        if leg.stalled && !leg.announced() {
            self.camera.report_stalled(leg.copy, clock::now());
        }
    }

    pub(super) fn take_over(&mut self, seam: Seam, now: Instant) {
        let took = self
            .idle_since
            .take()
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let from = seam.from.map(|copy| self.camera.site(copy));
        self.listed.from_site(self.camera.site(seam.copy));
        self.listed.at(seam.at);
        self.journal.switch(
            &self.camera,
            seam.at,
            from,
            self.camera.site(seam.copy),
            &seam.reason.named(self.camera.slot.camera()).to_string(),
            took,
        );
        if let Some(from) = from.filter(|_| self.history.signed) {
            self.journal.signatures_broken(&self.camera, from, seam.at);
        }
        let starting = matches!(self.state, State::Starting { .. });
        if starting {
            let start = self.play_start(seam);
            self.begin_play(start);
            self.started = Some(start);
        }
        // In reverse the leg begins with its first group, behind the one that is being sent.
        if let Some(leg) = self.legs.iter().find(|leg| leg.id == seam.leg)
            && !self.reverse()
        {
            let discontinuity = (seam.jump && !starting).then_some(seam.at.as_micros());
            let format = LegFormat {
                discontinuity,
                ..leg.format.clone()
            };
            self.begin_leg(format);
        }
        self.tell_leg(seam);
        self.look_ahead(seam.leg, now);
    }

    /// Jumps that the leg showed before it was its turn.
    fn look_ahead(&mut self, id: LegId, now: Instant) {
        let Some(leg) = self.legs.iter().find(|leg| leg.id == id) else {
            return;
        };
        let jump = leg
            .queue
            .steps()
            .find(|(from, to)| self.director.is_jump(to.micros_since(*from)));
        if let Some((from, to)) = jump {
            self.direct(Event::JumpAhead { leg: id, from, to }, now);
        }
    }

    pub(super) fn begin_leg(&mut self, format: LegFormat) {
        if let Some(samples) = &mut self.samples {
            samples.begin_leg(&format);
        }
        self.splice.begin_leg(format);
    }

    pub(super) fn enter_hole(&mut self, range: TimeRange) {
        self.journal.hole(&self.camera, range);
        if let Some(samples) = &mut self.samples {
            samples.put(Item::Hole(range));
        }
    }

    /// Reads all legs that are hungry and tells the director what they showed.
    pub(super) fn poll_legs(&mut self, cx: &mut Context<'_>, now: Instant) {
        // A sign may open or close legs, so each one is acted on before the next leg is read.
        let ids: SmallVec<[LegId; 4]> = self.legs.iter().map(|leg| leg.id).collect();
        let full = self.lookahead();
        let plain = self.is_plain();
        // Datagrams that come all at once may find no room at their receiver.
        let together = self.samples.is_none() && self.farewell_after.is_none();
        for id in ids {
            let calm = self.calm();
            while let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) {
                // Preroll is of use only with the picture that it is for.
                leg.ahead.calm = calm && (self.sent_at.is_none() || leg.sent.is_some());
                if leg.ahead.must_look(now)
                    && let Some(newest) = leg.newest
                {
                    if let Some(rate) = leg.ahead.rate().filter(|_| plain) {
                        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
                        self.camera.legs.rates.note(leg.copy, rate);
                    }
                    leg.ahead.pairs_within = match self.listed.among() {
                        CROWD.. if together => EARLY_IN_A_CROWD,
                        _ => Duration::ZERO,
                    };
                    let beyond = newest + full;
                    leg.ahead.listed = self.camera.holds_after(leg.copy, beyond, clock::wall());
                }
                let sign = leg.poll(cx, now);
                let (copy, newest) = (leg.copy, leg.newest);
                if let Some((first, step)) = leg.told_start(now) {
                    self.leg_opened(id, first, step, now);
                }
                let Poll::Ready(sign) = sign else {
                    break;
                };
                match sign {
                    Sign::First(first) => {
                        self.camera.report_up(copy, now);
                        self.began(copy, first);
                        if self.director.doubts_start(id, first, clock::wall()) {
                            self.keep_start(id, first, now);
                        } else {
                            self.leg_opened(id, first, None, now);
                        }
                    }
                    Sign::Recovered => {
                        self.camera.report_up(copy, now);
                        self.direct(Event::Recovered { leg: id }, now);
                    }
                    Sign::Step { from, to } if self.director.is_jump(to.micros_since(from)) => {
                        self.direct(Event::JumpAhead { leg: id, from, to }, now);
                    }
                    Sign::Opened | Sign::Step { .. } => {}
                    Sign::Ended => self.direct(Event::LegEnded { leg: id, newest }, now),
                    Sign::Failed(failure) => self.leg_failed(id, &failure, now),
                }
            }
        }
    }

    fn keep_start(&mut self, id: LegId, first: Timestamp, now: Instant) {
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) {
            leg.withhold(first, now);
        }
    }

    /// Tells the director of a leg's first picture. `step` is how far its first ones are apart, where that was waited for.
    fn leg_opened(&mut self, id: LegId, first: Timestamp, step: Option<Duration>, now: Instant) {
        let leg = self.legs.iter().find(|leg| leg.id == id);
        let settles = leg.map_or(0, |leg| leg.queue.settles_after());
        let opened = Event::LegOpened {
            leg: id,
            first,
            step,
            wall: clock::wall(),
        };
        self.direct(opened, now);
        if settles > 0 {
            self.director.settles_after(id, settles);
        }
    }

    /// A leg's first picture lies at or before what was asked for: its recorder holds that.
    fn began(&self, copy: CopyIx, first: Timestamp) {
        let until = first.max(self.position()) + Duration::from_millis(1);
        if let Some(range) = TimeRange::new(first, until) {
            self.camera.soundings.delivered(&self.camera, copy, range);
        }
    }

    pub(super) fn leg_failed(&mut self, id: LegId, failure: &LegFailure, now: Instant) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) else {
            return;
        };
        let (copy, newest) = (leg.copy, leg.newest);
        leg.stage = Stage::Over;
        if !leg.life.neglected(now) && !failure.told {
            self.camera.report_failure(copy, failure.failure, now);
        }
        if failure.failure == Failure::Mismatch {
            self.camera.look_again(copy);
        }
        self.journal.leg_failed(
            &self.camera,
            self.camera.site(copy),
            newest.unwrap_or(self.position()),
            &failure.detail,
        );
        self.direct(
            Event::LegFailed {
                leg: id,
                failure: failure.failure,
                newest,
            },
            now,
        );
    }

    /// Silence: legs that should deliver and do not.
    pub(super) fn watch_legs(&mut self, now: Instant) {
        let reaction = self.camera.policy.reaction;
        let mut silent: SmallVec<[(LegId, bool); 4]> = SmallVec::new();
        let told = |leg: &&Running| !leg.over() && leg.withheld_until().is_none();
        for leg in self.legs.iter().filter(told) {
            let since = now.saturating_duration_since(leg.silent_since());
            let stalls = || !leg.stalled && since >= self.silence_limit(leg);
            let dead = leg.mute_for(now) >= reaction.first_unit;
            if dead || (!since.is_zero() && stalls()) {
                silent.push((leg.id, dead));
            }
        }
        for (id, dead) in silent {
            if dead {
                let mut failure =
                    LegFailure::new(Failure::Lost, "agreed to play, then sent no footage");
                failure.told = !self.tells_first(id);
                self.leg_failed(id, &failure, now);
                continue;
            }
            let first = self.tells_first(id);
            let Some(leg) = self.legs.iter_mut().find(|leg| leg.id == id) else {
                continue;
            };
            leg.stalled = true;
            let (copy, newest) = (leg.copy, leg.newest);
            if let Some(newest) = newest {
                // At the end of what it recorded a recorder is silent by right.
                let patience = leg.patience();
                let holds = if self.reverse() {
                    self.camera.holds_before(copy, newest - patience)
                } else {
                    let beyond = newest + patience;
                    self.camera.holds_after(copy, beyond, clock::wall())
                };
                if first && holds {
                    self.camera.report_stalled(copy, now);
                }
                self.journal
                    .leg_failed(&self.camera, self.camera.site(copy), newest, "stalled");
            }
            self.direct(Event::Stalled { leg: id, newest }, now);
        }
    }

    fn tells_first(&self, id: LegId) -> bool {
        let leg = self.legs.iter().find(|leg| leg.id == id);
        leg.is_none_or(|leg| match &leg.stage {
            Stage::Open(leg) => leg.tells_first(),
            Stage::Opening(_) | Stage::Over => true,
        })
    }

    fn silence_limit(&self, leg: &Running) -> Duration {
        let reaction = self.camera.policy.reaction;
        let limit = reaction.stall_after;
        match leg.newest {
            // Each phase of it has its own deadline.
            _ if leg.reopens() => reaction.connect + reaction.response,
            None => limit,
            Some(_) if self.camera.live => limit + leg.patience(),
            Some(_) if leg.grows(clock::wall()) => leg.life.tail_patience(),
            Some(_) => limit + leg.patience(),
        }
    }

    /// The latest moment at which something must be looked at again.
    pub(super) fn next_wake(&self, now: Instant) -> Instant {
        let silence = self
            .legs
            .iter()
            .filter(|leg| !leg.over() && !leg.stalled && leg.hungry())
            .map(|leg| leg.silent_since() + self.silence_limit(leg));
        let withheld = self.legs.iter().filter_map(Running::withheld_until);
        silence
            .chain(withheld)
            .chain(self.due.map(clock::together))
            .chain(self.director.deadline(now))
            .fold(now + TICK, Instant::min)
    }
}
