//! A recorder: what it answers, when its units arrive, and the troubles it goes through.

use std::ops::Range;

use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_routing::policy::Reaction;
use seamline_routing::time::Timestamp;

use super::footage::Footage;
use super::{Micros, SECOND};

/// What is wrong with a recorder for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Its sessions are reset, what was not read of them is lost, and new ones are refused.
    Killed,
    /// Its sessions end in good order but too early, and new ones are refused.
    Stopped,
    /// The host is gone: sessions go silent and new ones are not answered. When it is back, it resets the old sessions.
    Vanished,
    /// Nothing moves; afterwards everything goes on.
    Frozen,
    /// New sessions are agreed to, then nothing comes.
    Hangs,
    /// New sessions play footage of another time, this much off.
    WrongBy(i64),
    /// New sessions play live video.
    Live,
    /// The credentials are refused.
    Credentials,
    /// Out of sessions.
    Busy,
}

impl Trouble {
    /// Whether running sessions are hit too.
    fn hits_sessions(self) -> bool {
        matches!(
            self,
            Trouble::Killed | Trouble::Stopped | Trouble::Vanished | Trouble::Frozen
        )
    }
}

/// What a recorder makes of the end of the range it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UntilRule {
    Before,
    Including,
    Ignored,
}

/// A recorder with one copy of the camera.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) footage: Footage,
    /// From the request to the agreement.
    pub(crate) latency: Micros,
    /// From one unit to the next: what delivers unpaced is far faster than the footage.
    pub(crate) pace: Micros,
    pub(crate) stops_at_gaps: bool,
    pub(crate) until_rule: UntilRule,
    /// Its codec is another than that of the session.
    pub(crate) misfit: bool,
    /// Sorted, disjoint.
    pub(crate) troubles: Vec<(Range<Micros>, Trouble)>,
    /// Picture `0` was recorded this long before the simulation began; what is younger does not exist yet.
    pub(crate) age: Micros,
}

/// What came of asking for a session.
pub(crate) type Answer = Result<Session, Failure>;

/// One running replay.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    next: Option<i64>,
    until: Option<Timestamp>,
    direction: Direction,
    asked: Micros,
    /// When the next unit arrives, if nothing goes wrong.
    due: Micros,
    silent: bool,
    off_by: i64,
    /// Backwards: what was sent ends with the beginning of a group.
    whole: bool,
}

/// A unit from a recorder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unit {
    pub(crate) picture: i64,
    pub(crate) capture: Timestamp,
    pub(crate) random_access: bool,
    /// Decoding forward starts here: backwards, all that needs it came before.
    pub(crate) begins_group: bool,
    /// Not the footage that was asked for.
    pub(crate) wrong: bool,
}

/// What a look at a session brings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrival {
    Unit(Unit),
    Ended,
    Failed,
    /// Nothing before this moment.
    NotBefore(Micros),
}

impl Recorder {
    pub(crate) fn trouble(&self, now: Micros) -> Option<(&Range<Micros>, Trouble)> {
        self.troubles
            .iter()
            .find(|(when, _)| when.contains(&now))
            .map(|(when, trouble)| (when, *trouble))
    }

    /// Whether it answers a question about its health.
    pub(crate) fn answers(&self, now: Micros) -> bool {
        !self
            .trouble(now)
            .is_some_and(|(_, trouble)| trouble.hits_sessions())
    }

    /// The first picture that is not recorded yet.
    pub(crate) fn newest(&self, now: Micros) -> i64 {
        let scene = self.footage.scene;
        ((now + self.age) / scene.interval_us).min(scene.pictures)
    }

    /// Asks for a session; the answer comes at the moment returned with it.
    pub(crate) fn ask(
        &self,
        now: Micros,
        from: Timestamp,
        until: Option<Timestamp>,
        direction: Direction,
        reaction: Reaction,
    ) -> (Micros, Answer) {
        let ready = now + self.latency;
        let mut session = Session {
            next: self.footage.start(from, direction, self.newest(ready) - 1),
            until,
            direction,
            asked: now,
            due: ready,
            silent: false,
            off_by: 0,
            whole: true,
        };
        let response = now + reaction.response.as_micros() as Micros;
        match self.trouble(now) {
            Some((_, Trouble::Killed | Trouble::Stopped)) => {
                return (now + 2_000, Err(Failure::Lost));
            }
            Some((_, Trouble::Vanished)) => {
                return (
                    now + reaction.connect.as_micros() as Micros,
                    Err(Failure::Lost),
                );
            }
            Some((when, Trouble::Frozen)) => {
                let ready = when.end + self.latency;
                if ready > response {
                    return (response, Err(Failure::Lost));
                }
                session.due = ready;
            }
            Some((_, Trouble::Credentials)) => return (ready, Err(Failure::Credentials)),
            Some((_, Trouble::Busy)) => return (ready, Err(Failure::Busy)),
            Some((_, Trouble::Hangs)) => session.silent = true,
            Some((_, Trouble::WrongBy(micros))) => session.off_by = micros,
            Some((_, Trouble::Live)) => {
                let scene = self.footage.scene;
                let first = session.next.unwrap_or(0);
                session.off_by = now + self.age - first * scene.interval_us;
                session.off_by -= SECOND;
            }
            None => {}
        }
        if self.misfit {
            return (session.due, Err(Failure::Mismatch));
        }
        if session.next.is_none() {
            return (session.due, Err(Failure::NoFootage));
        }
        (session.due, Ok(session))
    }

    fn recorded_at(&self, picture: i64) -> Micros {
        picture * self.footage.scene.interval_us - self.age + TAIL_DELAY
    }

    /// When a session's next unit arrives, if nothing goes wrong.
    fn next_at(&self, session: &Session) -> Micros {
        let recorded_at = session.next.map_or(0, |picture| self.recorded_at(picture));
        session.due.max(recorded_at)
    }

    /// Looks for the next unit of a session.
    pub(crate) fn read(&self, session: &mut Session, now: Micros) -> Arrival {
        let mut hit_at = None;
        for (when, trouble) in &self.troubles {
            if when.end <= session.asked || !trouble.hits_sessions() {
                continue;
            }
            match trouble {
                Trouble::Killed if when.start > session.asked => {
                    hit_at = Some(when.start);
                    if now >= when.start {
                        return Arrival::Failed;
                    }
                }
                Trouble::Stopped if when.start > session.asked => {
                    hit_at = Some(when.start);
                    if session.silent || self.next_at(session) >= when.start {
                        return if now >= when.start {
                            Arrival::Failed
                        } else {
                            Arrival::NotBefore(when.start)
                        };
                    }
                }
                Trouble::Vanished if when.start > session.asked => {
                    if now >= when.end {
                        return Arrival::Failed;
                    }
                    if session.due >= when.start {
                        return Arrival::NotBefore(when.end);
                    }
                }
                Trouble::Frozen if when.contains(&session.due) => session.due = when.end,
                _ => {}
            }
            if hit_at.is_some() {
                break;
            }
        }
        let not_before = |at: Micros| Arrival::NotBefore(hit_at.map_or(at, |hit| at.min(hit)));
        if session.silent {
            return not_before(Micros::MAX);
        }
        if session.due > now {
            return not_before(session.due);
        }
        let Some(picture) = session.next else {
            return Arrival::Ended;
        };
        let recorded_at = self.recorded_at(picture);
        if recorded_at > now {
            return not_before(recorded_at);
        }
        let capture = self.footage.capture(picture);
        let beyond = session.until.is_some_and(|until| {
            let past = match session.direction {
                Direction::Forward => capture.micros_since(until),
                Direction::Reverse => until.micros_since(capture),
            };
            match self.until_rule {
                UntilRule::Before => past >= 0,
                UntilRule::Including => past > 0,
                UntilRule::Ignored => false,
            }
        });
        // Backwards whole groups are fetched, beyond the end of the range too.
        if beyond && (session.whole || session.direction == Direction::Forward) {
            session.next = None;
            return Arrival::Ended;
        }
        session.whole = self.footage.random_access(picture);
        session.next = match self.footage.following(picture, session.direction) {
            Some((_, true)) if self.stops_at_gaps => None,
            following => following.map(|(picture, _)| picture),
        };
        // What waited unread was sent long ago; what was recorded just now cannot have been.
        session.due = (session.due.max(recorded_at) + self.pace).max(now - READ_AHEAD);
        Arrival::Unit(Unit {
            picture,
            capture: capture.shift(session.off_by),
            random_access: self.footage.starts_decoding(picture, session.direction),
            begins_group: self.footage.random_access(picture),
            wrong: session.off_by != 0,
        })
    }
}

/// A recorder writes pictures this long after they were taken.
const TAIL_DELAY: Micros = 100_000;
/// Footage waiting in socket buffers, in time of arrival.
const READ_AHEAD: Micros = 500_000;
