//! Cuts a timeline into segments for players that fetch footage piece by piece: from what is known to be recorded, without
//! reading any of it.
//!
//! Borders lie on a grid of UTC, so that every replica and every playlist names the same pieces; besides, they lie where legs
//! begin and end. Where the random access points are is not known here. The one who fills a segment shifts its borders to
//! them: a border of the grid to the first random access point behind it, or, where none follows within [`GRID`], to the first
//! picture ([`Opening`] and [`Closing`] say which borders are which).

use std::time::Duration;

use crate::camera::CopyIx;
use crate::plan::{CopyFacts, Direction, Request, Step, next_step};
use crate::policy::Policy;
use crate::time::{TimeRange, Timestamp};

/// Borders inside a leg are multiples of this since 1970.
pub const GRID: Duration = Duration::from_secs(4);

/// No segment lasts as long as this.
pub const LENGTH_MAX: Duration = Duration::from_secs(12);

/// A leg that takes over begins less than this before its border, at a random access point, or else exactly there.
pub const JOINT_MAX: Duration = Duration::from_secs(2);

/// A leg shorter than this behind another one is listed with that one: its pictures, if there are any, play under the other's head. Copies
/// end some milliseconds apart, and what lies between often holds no picture at all.
pub const SLIVER_MAX: Duration = Duration::from_millis(200);

/// How a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// In the middle of a leg, behind the segment before it.
    Continues,
    /// At exactly this instant: nothing plays up to it.
    Exact,
    /// Behind another copy's leg, at its joint: the last random access point at or before the border, where one is nearer than
    /// [`JOINT_MAX`]; at the border itself where none is.
    Joins,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closing {
    /// In the middle of a leg, where the next segment begins.
    Continues,
    /// With its leg, at the border.
    Ends,
    /// With its leg, at the joint of the next one, whose footage is that copy's.
    Hands {
        /// The copy that takes over.
        to: CopyIx,
    },
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Footage.
    Footage {
        /// Of this copy, as far as is known.
        copy: CopyIx,
        /// How it begins.
        opening: Opening,
        /// How it ends.
        closing: Closing,
    },
    /// Nothing that can be played: no copy holds it, or none that can be reached.
    Nothing,
}

/// A piece of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// From when to when, shorter than [`LENGTH_MAX`].
    pub range: TimeRange,
    /// What is in it.
    pub content: Content,
}

/// Cuts `window` into segments that follow each other without a break.
///
/// What is known of the copies is in `copies`, in order of priority. Stretches at the ends of the window that nobody holds have no
/// segments. With `growing`, the window ends where recording goes on: what is not yet a whole segment is left out, so that the
/// same question later gives the same segments and more.
///
/// `changes` are the instants, in order, from which on a copy is known to be encoded otherwise: one leg ends there, and another begins.
pub fn segments<'a>(
    window: TimeRange,
    growing: bool,
    copies: &'a [CopyFacts<'a>],
    policy: &'a Policy,
    changes: &'a [(Timestamp, CopyIx)],
) -> impl Iterator<Item = Segment> + 'a {
    let mut handed = false;
    stretches(window, growing, copies, policy)
        .skip_while(|stretch| stretch.copy.is_none())
        .flat_map(move |stretch| parts(stretch, changes))
        .flat_map(move |stretch| {
            let opening = if handed {
                Opening::Joins
            } else {
                Opening::Exact
            };
            // What is shorter could lie behind the joint as a whole.
            let to = stretch
                .next
                .filter(|_| stretch.copy.is_some() && stretch.range.duration() >= JOINT_MAX);
            handed = to.is_some();
            let closing = to.map_or(Closing::Ends, |to| Closing::Hands { to });
            pieces(stretch, opening, closing)
        })
}

/// Footage of one copy, or of none.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    range: TimeRange,
    copy: Option<CopyIx>,
    /// Whose footage follows.
    next: Option<CopyIx>,
    /// Whether what follows is not known yet.
    open: bool,
}

impl Stretch {
    fn is_sliver(&self) -> bool {
        self.copy.is_some() && self.range.duration() < SLIVER_MAX
    }
}

/// The steps of the plan that play or leave out, each as long as it can be. A growing window is planned as if it had no end, so
/// that what is decided near it does not change when it moves.
fn stretches<'a>(
    window: TimeRange,
    growing: bool,
    copies: &'a [CopyFacts<'a>],
    policy: &'a Policy,
) -> impl Iterator<Item = Stretch> + 'a {
    let request = Request {
        at: window.start(),
        until: (!growing).then_some(window.end()),
        direction: Direction::Forward,
    };
    let (mut at, mut current) = (window.start(), None);
    let steps = std::iter::from_fn(move || {
        let (copy, until) = match next_step(at, &request, copies, current, policy) {
            Step::Leg { copy, until, .. } => (Some(copy), until),
            Step::Hole { until, .. } | Step::Outage { until, .. } => (None, until),
            Step::End => return None,
        };
        let end = until.map_or(window.end(), |until| until.min(window.end()));
        let range = TimeRange::new(at, end)?;
        (at, current) = (range.end(), copy);
        Some(Stretch {
            range,
            copy,
            next: None,
            open: growing && end == window.end(),
        })
    });
    let mut same = merged(steps, |stretch, next| next.copy == stretch.copy).peekable();
    // A leg that has only begun may become one of any length: before that is known, nobody is told how the one before it ends.
    let begun = |stretch: &Stretch| stretch.open && stretch.is_sliver();
    let whole = std::iter::from_fn(move || {
        let mut stretch = same.next()?;
        stretch.open |= stretch.copy.is_some() && same.next_if(begun).is_some();
        Some(stretch)
    });
    let mut legs = merged(whole, |stretch, next| {
        stretch.copy.is_some() && (next.copy == stretch.copy || next.is_sliver())
    })
    .peekable();
    std::iter::from_fn(move || {
        let mut stretch = legs.next()?;
        stretch.next = legs.peek().and_then(|next| next.copy);
        Some(stretch)
    })
}

/// A stretch, cut where its copy is known to be encoded otherwise from then on.
fn parts(stretch: Stretch, changes: &[(Timestamp, CopyIx)]) -> impl Iterator<Item = Stretch> {
    let (start, end) = (stretch.range.start(), stretch.range.end());
    let first = changes.partition_point(|(at, _)| *at <= start);
    let behind = changes.get(first..).unwrap_or_default().iter();
    let mut cuts = behind
        .take_while(move |(at, _)| *at < end)
        .filter(move |(_, copy)| stretch.copy == Some(*copy))
        .map(|(at, _)| *at);
    let mut from = Some(start);
    std::iter::from_fn(move || {
        let start = from?;
        from = cuts.by_ref().find(|cut| *cut > start);
        let part = match from {
            Some(cut) => Stretch {
                range: TimeRange::new(start, cut)?,
                next: None,
                open: false,
                ..stretch
            },
            None => Stretch {
                range: TimeRange::new(start, end)?,
                ..stretch
            },
        };
        Some(part)
    })
}

/// Each stretch with those behind it that go with it.
fn merged(
    stretches: impl Iterator<Item = Stretch>,
    goes_with: impl Fn(&Stretch, &Stretch) -> bool,
) -> impl Iterator<Item = Stretch> {
    let mut stretches = stretches.peekable();
    std::iter::from_fn(move || {
        let mut stretch = stretches.next()?;
        while let Some(more) = stretches.next_if(|next| goes_with(&stretch, next)) {
            stretch.range = TimeRange::new(stretch.range.start(), more.range.end())?;
            stretch.open = more.open;
        }
        Some(stretch)
    })
}

fn pieces(stretch: Stretch, opening: Opening, closing: Closing) -> impl Iterator<Item = Segment> {
    let (end, open) = (stretch.range.end(), stretch.open);
    // A border of the grid, shifted as far as it may be, lies before the joint; whether there is one shows when the leg ends.
    let room = match closing {
        Closing::Continues | Closing::Ends if !open => GRID,
        _ => GRID + JOINT_MAX,
    };
    let mut from = Some(stretch.range.start());
    std::iter::from_fn(move || {
        let start = from?;
        let border = match stretch.copy {
            Some(_) => border_behind(start, end, room),
            None => Some(start + HOLE_PIECE).filter(|border| *border < end),
        };
        from = border;
        if border.is_none() && open {
            return None;
        }
        let content = match stretch.copy {
            Some(copy) => Content::Footage {
                copy,
                opening: if start == stretch.range.start() {
                    opening
                } else {
                    Opening::Continues
                },
                closing: match border {
                    Some(_) => Closing::Continues,
                    None => closing,
                },
            },
            None => Content::Nothing,
        };
        let range = TimeRange::new(start, border.unwrap_or(end))?;
        Some(Segment { range, content })
    })
}

/// The next border of the grid inside a leg: not too close behind `start`, and far enough before the leg's `end` for a random
/// access point to be looked for.
fn border_behind(start: Timestamp, end: Timestamp, room: Duration) -> Option<Timestamp> {
    let grid = GRID.as_micros() as i64;
    let earliest = start.shift(FIRST_MIN.as_micros() as i64).as_micros();
    let border = earliest.checked_add(grid - 1)?.div_euclid(grid) * grid;
    let border = Timestamp::from_micros(border);
    (end.micros_since(border) >= room.as_micros() as i64).then_some(border)
}

/// The first segment of a leg is not shorter than this, unless the leg is.
const FIRST_MIN: Duration = Duration::from_secs(2);
/// Holes are listed in pieces of this length, since every entry of a playlist is bounded by its target duration.
const HOLE_PIECE: Duration = Duration::from_secs(8);
