//! What the director is told, and what it asks for.

use std::fmt;
use std::time::Duration;

use super::LegId;
use crate::camera::CopyIx;
use crate::plan::{Reason, Request};
use crate::time::{TimeRange, Timestamp};

/// What happened to the playback, its legs or the facts.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The client asked to play; replaces whatever was playing.
    Play(Request),
    /// The client paused: nothing is opened or switched until [`Event::Resume`].
    Pause,
    /// The client goes on where it paused.
    Resume,
    /// The leg's first access unit arrived. `wall` is the time of day.
    LegOpened {
        /// The leg that was asked for by [`Action::Open`].
        leg: LegId,
        /// Capture time of its first access unit.
        first: Timestamp,
        /// How far its first pictures are apart, where [`super::Director::doubts_start`] asked for that and they tell.
        step: Option<Duration>,
        /// The time of day, to tell live footage from recorded.
        wall: Timestamp,
    },
    /// The recorder said that the leg is over (range end, T flag, BYE); what did arrive, up to `newest`, may still wait to be sent.
    LegEnded {
        /// The leg.
        leg: LegId,
        /// Capture time of the newest access unit received, if any.
        newest: Option<Timestamp>,
    },
    /// The leg failed; what did arrive, up to `newest`, may still wait to be sent.
    LegFailed {
        /// The leg.
        leg: LegId,
        /// Why.
        failure: Failure,
        /// Capture time of the newest access unit received, if any.
        newest: Option<Timestamp>,
    },
    /// The leg should have delivered by now and has not.
    Stalled {
        /// The leg.
        leg: LegId,
        /// Capture time of the newest access unit received, if any.
        newest: Option<Timestamp>,
    },
    /// A stalled leg delivers again.
    Recovered {
        /// The leg.
        leg: LegId,
    },
    /// Everything that the current leg received has been sent or dropped, and it ended, failed or was told to hand over.
    Drained {
        /// The leg.
        leg: LegId,
    },
    /// Capture time jumps between two units of the current leg that both still wait: what fills the jump can be opened ahead.
    JumpAhead {
        /// The leg.
        leg: LegId,
        /// Capture time of the unit before the jump.
        from: Timestamp,
        /// Capture time of the unit behind it.
        to: Timestamp,
    },
    /// [`super::Director::judge`] answered [`super::Verdict::Jump`] for a unit captured at `to`.
    Jump {
        /// The leg.
        leg: LegId,
        /// Capture time of the unit beyond the jump.
        to: Timestamp,
    },
    /// Everything before the end of the requested range was sent: [`super::Verdict::RangeEnd`].
    RangeEnd,
    /// Coverage or health of a copy changed.
    FactsChanged,
    /// Time passed; see [`super::Director::deadline`].
    Tick,
}

/// Why a leg failed. Each variant decides how long its copy is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Refused, unreachable, reset, or silent beyond a deadline.
    Lost,
    /// The recorder has nothing to play there (404, 457, or an end without a single unit).
    NoFootage,
    /// The recorder is out of sessions (453, 503).
    Busy,
    /// The site's credentials are wrong.
    Credentials,
    /// It played footage of another time, or live video.
    WrongFootage,
    /// Its codec or format does not fit the session.
    Mismatch,
}

/// What the owner of the director must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a leg: the first unit should be the random access point at or before `from` (after it, in reverse).
    Open {
        /// Names the leg in later events.
        leg: LegId,
        /// The copy to play.
        copy: CopyIx,
        /// Where it must start.
        from: Timestamp,
        /// The end of the requested range: its recorder may stop there. One that does not is as good, and what it sends beyond is
        /// not used. Where the plan leaves the leg before, that is not said: a late start of the next one is covered by this.
        until: Option<Timestamp>,
        /// Why this copy.
        reason: Reason,
    },
    /// Close a leg; its units are not wanted any more.
    Close {
        /// The leg.
        leg: LegId,
    },
    /// From here on units come from another leg.
    Switch(Seam),
    /// Nothing holds this stretch; playback goes on behind it.
    Hole(TimeRange),
    /// No leg can be had now; the playback waits for facts to change or for [`super::Director::deadline`].
    Wait {
        /// The capture time that is wanted.
        at: Timestamp,
    },
    /// A lesson for the coverage index.
    Teach {
        /// The copy that taught it.
        copy: CopyIx,
        /// What was learned.
        lesson: Lesson,
    },
    /// The playback is over.
    End(End),
}

/// The join of two legs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seam {
    /// The copy played before; `None` at the start.
    pub from: Option<CopyIx>,
    /// The leg played from here on.
    pub leg: LegId,
    /// Its copy.
    pub copy: CopyIx,
    /// Capture time at which the new leg takes over.
    pub at: Timestamp,
    /// Why the new leg's copy was chosen.
    pub reason: Reason,
    /// Units already sent are sent again as decoding preroll.
    pub preroll: bool,
    /// Capture time jumps here: no copy holds the footage between.
    pub jump: bool,
}

/// What a playback learned about a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It holds nothing in this stretch.
    Gap(TimeRange),
    /// It answered with footage of another time.
    WrongFootage,
}

/// Why a playback is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end of the requested range.
    Range,
    /// No copy holds anything further in the direction of play.
    Footage,
    /// A hole, and the policy ends playback there.
    Hole,
    /// No copy that may hold the footage, or any that follows, could be reached in time.
    Outage,
    /// Only copies whose format does not fit the session hold what comes next.
    Mismatch,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Range => "end of range",
            End::Footage => "end of footage",
            End::Hole => "hole",
            End::Outage => "no site reachable",
            End::Mismatch => "format differs",
        })
    }
}
