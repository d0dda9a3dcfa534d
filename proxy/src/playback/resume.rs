//! At the end of the footage delivery stops, and goes on by itself when recording does (ONVIF Streaming, playback).

use std::time::{Duration, Instant};

use seamline_routing::director::Event;
use seamline_routing::plan::{Direction, Request, Step, next_step};
use seamline_routing::time::Timestamp;

use super::{Playback, State};

/// How often it is looked whether there is more: soon at first, and more rarely while nothing comes of it.
const LOOK_FIRST: Duration = Duration::from_millis(500);
const LOOK_MAX: Duration = Duration::from_secs(30);

/// A play at the end of its footage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Awaiting {
    /// Where it stands.
    at: Timestamp,
    look_at: Instant,
    wait: Duration,
}

impl Playback {
    /// The play stands at the end of the footage; one that came back here with nothing looks again later than before.
    pub(super) fn awaits(&mut self, now: Instant) -> Awaiting {
        let at = self.position();
        let wait = match self.awaited {
            Some(last) if last.at == at => (last.wait * 2).min(LOOK_MAX),
            _ => LOOK_FIRST,
        };
        let awaiting = Awaiting {
            at,
            look_at: now + wait,
            wait,
        };
        self.awaited = Some(awaiting);
        awaiting
    }

    /// Goes on where a copy has, or may have, more; else when to look again.
    pub(super) fn await_footage(&mut self, awaiting: Awaiting, now: Instant) -> Option<Instant> {
        if awaiting.look_at > now {
            return Some(awaiting.look_at);
        }
        let request = Request {
            at: awaiting.at,
            until: None,
            direction: self
                .request
                .map_or(Direction::Forward, |request| request.direction),
        };
        let step = {
            let facts = self.camera.slot.facts(now);
            let copies = facts.copies(|_| false);
            let policy = &self.camera.policy;
            next_step(request.at, &request, &copies, None, policy)
        };
        let more = match step {
            Step::Leg { .. } => true,
            Step::Hole { until, .. } => until.is_some(),
            Step::Outage { .. } | Step::End => false,
        };
        if !more {
            let next = Awaiting {
                look_at: now + awaiting.wait,
                ..awaiting
            };
            self.state = State::Awaiting(next);
            return Some(next.look_at);
        }
        // The client was answered long ago: its numbering and its clock go on.
        self.state = State::Playing;
        self.pace.release(self.delivery.speed);
        self.idle_since = Some(now);
        self.reviving = Some(awaiting.at);
        self.tell_formats();
        self.direct(Event::Play(request), now);
        None
    }
}

/// What to do with a picture that a leg starts with before the point where the play stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is new.
    No,
    /// It is needed to decode what is new.
    Needed,
    /// Nothing new has come yet.
    Wait,
    /// Nothing new comes.
    Useless,
}

/// See [`Known`]. `newest` is the newest picture of its leg, `over` whether no more comes of it.
pub(super) fn known(
    reviving: Option<Timestamp>,
    capture: Timestamp,
    newest: Option<Timestamp>,
    over: bool,
) -> Known {
    match reviving {
        Some(at) if capture < at => match newest {
            Some(newest) if newest >= at => Known::Needed,
            _ if over => Known::Useless,
            _ => Known::Wait,
        },
        _ => Known::No,
    }
}
