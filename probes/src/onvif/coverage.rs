//! What a recording holds, made of what its device told. Pure: times and answers in, coverage out.
//!
//! What was not proven to be absent is unknown, never a gap: devices lose events, keep histories of deleted footage, and
//! some make two events up for the first and the last picture.

use std::time::Duration;

use seamline_routing::{Coverage, TimeRange, Timestamp};

use super::recordings::{Information, Status, Track};

/// A change of `tns1:RecordingHistory/Track/State`: data begins or ends in a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) track: String,
    pub(super) at: Timestamp,
    pub(super) present: bool,
    /// The state where the search starts, and no change.
    pub(super) start_state: bool,
}

/// A stretch that a device can export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) range: TimeRange,
}

/// A question as it was put: times by the device's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// From its start to its end point.
    pub(super) window: TimeRange,
    /// Whether everything up to the present was asked for, and so what the future holds.
    pub(super) to_the_present: bool,
    /// The device's time.
    pub(super) now: Timestamp,
    /// Ours.
    pub(super) learned: Timestamp,
}

/// What the events of a search come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) coverage: Coverage,
    /// Whether the device has shown that it tells of gaps, and not only of the first and the last picture.
    pub(super) shows_gaps: bool,
}

/// What edges say of a recording. `complete` when the search was read to its end; `trusted` when this device has shown gaps
/// before.
pub(super) fn of_edges(
    edges: Vec<Edge>,
    complete: bool,
    information: &Information,
    asked: Asked,
    trusted: bool,
) -> Told {
    let asked = if complete {
        asked
    } else {
        match read_part(&edges, asked.window) {
            Some(window) => Asked {
                window,
                to_the_present: false,
                ..asked
            },
            None => return bounds_told(information, asked, None),
        }
    };
    let tracks = tracks(edges, information, asked.window);
    let shows_gaps = tracks.iter().any(|(_, states)| shows_gap(states));
    let changes = tracks.iter().map(|(_, states)| changes(states)).max();
    if !trusted && !shows_gaps && changes.unwrap_or(0) <= SYNTHETIC_EDGES_MAX {
        let hull = tracks.iter().filter_map(|(_, states)| hull(states, asked));
        let hull = hull.reduce(join);
        return bounds_told(information, asked, hull);
    }
    let coverage = tracks
        .iter()
        .map(|(track, states)| of_track(*track, states, information, asked))
        .reduce(|one, other| one.union(&other));
    Told {
        coverage: coverage.unwrap_or_else(|| of_bounds(information, asked, None)),
        shows_gaps,
    }
}

/// What segments say of a recording; `until` is up to when they are all.
pub(super) fn of_segments(
    segments: &[Segment],
    until: Timestamp,
    information: &Information,
    asked: Asked,
) -> Coverage {
    let complete = until >= asked.window.end();
    let periods: Vec<_> = joined(segments.iter().map(|segment| segment.range));
    let last = periods.last().map(|period| period.end());
    let recent = last.is_some_and(|last| asked.now.since(last) <= RECENT);
    let growing = complete
        && asked.to_the_present
        && information.status != Status::Stopped
        && (information.status == Status::Recording || recent);
    let open = complete && asked.to_the_present && !growing;
    let end = if open {
        Timestamp::MAX
    } else {
        until.min(asked.window.end())
    };
    let known = TimeRange::new(asked.window.start(), end);
    Coverage::of_windows(known, periods, asked.learned, growing)
}

/// What the outer bounds of a recording say: nothing before the first picture, and nothing behind the last one of a
/// recording that has stopped. `hull` is what is told to lie between first and last by other means.
pub(super) fn of_bounds(
    information: &Information,
    asked: Asked,
    hull: Option<TimeRange>,
) -> Coverage {
    let first = least(information.earliest, hull.map(TimeRange::start));
    let last = greatest(information.latest, hull.map(TimeRange::end));
    if first.zip(last).is_some_and(|(first, last)| first > last) {
        return Coverage::unknown();
    }
    let before = first.and_then(|first| TimeRange::new(Timestamp::MIN, first));
    let stopped = information.status == Status::Stopped && asked.to_the_present;
    let after = last
        .filter(|_| stopped)
        .and_then(|last| TimeRange::new(last, Timestamp::MAX));
    let windows = before.into_iter().chain(after);
    Coverage::of_windows(windows, [], asked.learned, false)
}

/// What of a window was searched: results come in the order of time, so behind the last one nothing is known yet.
fn read_part(edges: &[Edge], window: TimeRange) -> Option<TimeRange> {
    let last = edges.last()?.at;
    let read = TimeRange::new(window.start(), last)?.intersect(window)?;
    edges.is_sorted_by_key(|edge| edge.at).then_some(read)
}

fn bounds_told(information: &Information, asked: Asked, hull: Option<TimeRange>) -> Told {
    Told {
        coverage: of_bounds(information, asked, hull),
        shows_gaps: false,
    }
}

/// What is said of one instant of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    at: Timestamp,
    /// What was before, as far as this says: a change to "present" comes from "absent".
    before: Option<bool>,
    after: bool,
}

/// The tracks that count, each with what is said of it in the order of time.
fn tracks(
    mut edges: Vec<Edge>,
    information: &Information,
    window: TimeRange,
) -> Vec<(Option<&Track>, Vec<State>)> {
    let first_last = edges
        .first()
        .map(|edge| edge.at)
        .zip(edges.last().map(|edge| edge.at));
    if first_last.is_some_and(|(first, last)| first > last) {
        // Latest first: then what happened at one instant is told backwards as well.
        edges.reverse();
    }
    for edge in &mut edges {
        // Some give a start state the time of the change that led to it, or mark every event as one.
        edge.start_state &= edge.at <= window.start() + START_STATE_SLACK;
        if edge.start_state {
            edge.at = window.start();
        }
    }
    edges.sort_by_key(|edge| (edge.at, !edge.start_state));
    let counted = information.picture_tracks();
    let known = |edge: &Edge| {
        counted
            .iter()
            .find(|track| track.token == edge.track)
            .copied()
    };
    // A device that names its tracks otherwise in events than in their list is believed in what it says.
    let any = edges.iter().any(|edge| known(edge).is_some());
    let counts = |edge: &&Edge| !any || known(edge).is_some();
    let mut names: Vec<&str> = edges
        .iter()
        .filter(counts)
        .map(|edge| edge.track.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut tracks = Vec::new();
    for name in names.into_iter().take(TRACKS_MAX) {
        let of_track: Vec<&Edge> = edges.iter().filter(|edge| edge.track == name).collect();
        let track = of_track.first().and_then(|edge| known(edge));
        tracks.push((track, states(&of_track)));
    }
    tracks
}

/// One state for each instant.
fn states(edges: &[&Edge]) -> Vec<State> {
    let mut groups = edges.chunk_by(|one, other| one.at == other.at).peekable();
    let mut states: Vec<State> = Vec::new();
    while let Some(group) = groups.next() {
        let Some(first) = group.first() else { continue };
        let both = group.iter().any(|edge| edge.present != first.present);
        let next = groups.peek().and_then(|next| {
            let first = next.first()?.present;
            next.iter()
                .all(|edge| edge.present == first)
                .then_some(first)
        });
        let known = states.last().map(|state| state.after);
        let state = if first.start_state && !both {
            State {
                at: first.at,
                before: None,
                after: first.present,
            }
        } else if both {
            // A beginning and an end at one instant leave things as they were, unless the next change says otherwise.
            let last = group.last().map(|edge| edge.present);
            let after = next.map(|next| !next).or(known).or(last);
            State {
                at: first.at,
                before: known,
                after: after.unwrap_or(false),
            }
        } else {
            State {
                at: first.at,
                before: Some(!first.present),
                after: first.present,
            }
        };
        states.push(state);
    }
    states
}

/// How often a track changed; a start state is no change.
fn changes(states: &[State]) -> usize {
    states.iter().filter(|state| state.before.is_some()).count()
}

/// Whether data ended and began again.
fn shows_gap(states: &[State]) -> bool {
    let ended = states
        .iter()
        .position(|state| !state.after && state.before.is_some());
    ended.is_some_and(|ended| states.iter().skip(ended).any(|state| state.after))
}

/// From the first to the last instant at which there were data.
fn hull(states: &[State], asked: Asked) -> Option<TimeRange> {
    let (first, last) = (states.first()?, states.last()?);
    let present_before = first.before == Some(true);
    let start = if present_before {
        Some(asked.window.start())
    } else {
        states
            .iter()
            .find(|state| state.after)
            .map(|state| state.at)
    };
    let end = if last.after {
        asked.window.end()
    } else {
        last.at
    };
    TimeRange::new(start?, end)
}

fn of_track(
    track: Option<&Track>,
    states: &[State],
    information: &Information,
    asked: Asked,
) -> Coverage {
    let (mut recorded, mut known) = (Vec::new(), Vec::new());
    let mut told = |from: Timestamp, to: Timestamp, present: bool| {
        if let Some(range) =
            TimeRange::new(from, to).and_then(|range| range.intersect(asked.window))
        {
            known.push(range);
            if present {
                recorded.push(range);
            }
        }
    };
    if let Some((first, before)) = states
        .first()
        .and_then(|first| Some((first, first.before?)))
    {
        told(asked.window.start(), first.at, before);
    }
    for pair in states.windows(2) {
        let [state, next] = pair else { continue };
        // Absent until it ends once more: its beginning was lost, and where it was nobody knows.
        let lost = !state.after && next.before == Some(true);
        if !lost {
            told(state.at, next.at, state.after);
        }
    }
    let end = asked.window.end();
    let from = track.and_then(|track| track.from).or(information.earliest);
    let to = track.and_then(|track| track.to).or(information.latest);
    let mut growing = false;
    let mut closed = true;
    match states.last() {
        Some(last) if last.after => {
            growing = asked.to_the_present && goes_on(information, to, asked.now);
            closed = false;
            let seen = match to {
                Some(to) if growing || asked.to_the_present => to.min(end),
                None if growing => end - WRITE_DELAY,
                _ => end,
            };
            told(last.at, seen.max(last.at + INSTANT), true);
        }
        Some(last) => told(last.at, end, false),
        None => {}
    }
    // Nothing is written: what is not there yet will not come unasked.
    if let Some(after) = TimeRange::new(end, Timestamp::MAX)
        .filter(|_| closed && asked.to_the_present && !states.is_empty())
    {
        known.push(after);
    }
    let coverage = Coverage::of_windows(known, joined(recorded), asked.learned, false);
    let coverage = within_bounds(coverage, from, to, information.status, growing, asked);
    if growing { grown(&coverage) } else { coverage }
}

/// Without what was deleted since the events happened, and without what a device that crashed never closed.
fn within_bounds(
    mut coverage: Coverage,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    status: Status,
    growing: bool,
    asked: Asked,
) -> Coverage {
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return coverage;
    }
    if let Some(before) = from.and_then(|from| TimeRange::new(Timestamp::MIN, from)) {
        coverage.learn_gap(before);
    }
    // The end of what is being written may be told late.
    if status == Status::Stopped
        && !growing
        && asked.to_the_present
        && let Some(after) = to.and_then(|to| TimeRange::new(to, Timestamp::MAX))
    {
        coverage.learn_gap(after);
    }
    Coverage::of_windows(
        coverage.windows().iter().copied(),
        coverage.periods().iter().copied(),
        asked.learned,
        false,
    )
}

fn grown(coverage: &Coverage) -> Coverage {
    Coverage::of_windows(
        coverage.windows().iter().copied(),
        coverage.periods().iter().copied(),
        coverage.learned(),
        true,
    )
}

/// Whether a track that has not ended is being written now.
fn goes_on(information: &Information, to: Option<Timestamp>, now: Timestamp) -> bool {
    match information.status {
        Status::Recording => true,
        Status::Stopped => false,
        Status::Unknown => to.is_none_or(|to| now.since(to) <= RECENT),
    }
}

/// Without the holes that lie between the files of one recording.
fn joined(ranges: impl IntoIterator<Item = TimeRange>) -> Vec<TimeRange> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_unstable_by_key(|range| range.start());
    let whole = |at: Timestamp| at.as_micros() % 1_000_000 == 0;
    let coarse = ranges
        .iter()
        .all(|range| whole(range.start()) && whole(range.end()));
    let hole = if coarse { HOLE_COARSE } else { HOLE };
    let mut merged: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start() <= last.end() + hole => *last = join(*last, range),
            _ => merged.push(range),
        }
    }
    merged
}

fn join(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange::new(a.start().min(b.start()), a.end().max(b.end())).unwrap_or(a)
}

fn least(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

fn greatest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).max()
}

/// Some devices tell of the first and the last picture only, as if there were no gaps.
const SYNTHETIC_EDGES_MAX: usize = 2;
/// A start state's own time may be this much off.
const START_STATE_SLACK: Duration = Duration::from_secs(1);
/// A recording whose end is no older than this may still be written.
const RECENT: Duration = Duration::from_secs(60);
/// What was recorded within this time may not be there to be played yet.
const WRITE_DELAY: Duration = Duration::from_secs(30);
/// Holes shorter than two frames are none; of devices that tell whole seconds, those of a second.
const HOLE: Duration = Duration::from_millis(80);
const HOLE_COARSE: Duration = Duration::from_secs(1);
const INSTANT: Duration = Duration::from_micros(1);
/// Tracks that are told apart: each costs a look at all that happened.
const TRACKS_MAX: usize = 64;

#[cfg(test)]
mod tests;
