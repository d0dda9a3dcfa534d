//! Stretches of footage fetched forward, each joining the one before at its start, and cut into groups.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seamline_media::identity::Identity;
use seamline_media::{Codec, Source, Unit};
use seamline_routing::director::Failure;
use seamline_routing::time::Timestamp;
use seamline_rtsp::headers::Frames;
use tokio::time::timeout;

use super::Forward;
use crate::outbound::rtsp::silence::{Silence, Vain};
use crate::outbound::rtsp::{RtspLeg, by_url, lost, open};
use crate::outbound::{Arrival, LegFailure, Order};

/// A frame interval until the footage shows its own.
const INTERVAL: Duration = Duration::from_millis(40);
/// How far before what it joins a stretch starts, for one second of footage a second.
const REACH: Duration = Duration::from_secs(2);
/// The same where only key frames are fetched.
const REACH_KEYS: Duration = Duration::from_secs(60);
/// How much longer each further stretch is at a recorder that is told the time in the URL, up to a limit: it may send no faster
/// than it recorded, and every stretch costs it a session and begins a group of pictures earlier.
const REACH_URL_GROWTH: u32 = 2;
const REACH_URL_MAX: Duration = Duration::from_secs(8);
/// What nothing dates is off by less than this: a group of pictures, as long as they mostly are.
const UNDATED: Duration = Duration::from_secs(4);
/// How far behind its date the picture is looked for that a stretch should join.
const JOIN_MAX: Duration = Duration::from_secs(12);
/// So often a stretch is fetched that does not hold it, ever longer ones. Then dates must do.
const JOINS_MAX: u32 = 2;
/// Recordings with more than this between them have a gap there.
const RECORDING_STEP: Duration = Duration::from_secs(1);
/// At most so many times that, for faster play.
const REACH_TIMES_MAX: f64 = 8.0;
/// By what stretches grow that are too short, and steps over a gap.
pub(super) const STEP_GROWTH: u32 = 4;
/// No group of pictures is longer.
const GROUP_MAX: Duration = Duration::from_secs(64);
/// A stretch with more bytes is fetched in smaller ones.
const STRETCH_BYTES_MAX: usize = 48 * 1024 * 1024;
/// What of the footage behind a stretch is asked for too: where it comes, the stretch is known to be whole.
pub(super) const BEYOND: Duration = Duration::from_millis(500);
/// Silence after which the recorder is asked whether it lives: then it has no more.
pub(super) const QUIET: Duration = Duration::from_millis(150);
/// Pictures that encoders put between a picture and one that refers to it, at most.
const REORDERED_MAX: usize = 4;

/// Fetches stretches, each joining the one before at its start.
pub(super) struct Fetcher {
    pub(super) source: Forward,
    pub(super) order: Order,
    pub(super) session: Option<RtspLeg>,
    /// All from here on was given out, or is not wanted.
    pub(super) before: Timestamp,
    /// All from here on was given out, or is not there.
    pub(super) edge: Timestamp,
    pub(super) interval: Duration,
    /// A picture is known to lie at `before`.
    pub(super) joins: bool,
    /// That picture, where nothing else tells it.
    pub(super) head: Option<Identity>,
    /// Stretches that did not hold it.
    pub(super) late: u32,
    /// Those that were given out.
    pub(super) stretches: u32,
    pub(super) heard: Arc<AtomicU64>,
}

/// From where to where to fetch.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// It was looked for over a gap.
    pub(super) searched: bool,
}

/// What came of a stretch that was asked for.
enum Stretch {
    Whole(Vec<Unit>),
    /// Nothing of it lies before what it should join.
    Nothing,
    /// It does not hold the picture that it should join, or begins with it.
    Late,
    TooLarge,
}

/// The fetcher, and the groups that it has fetched; `None` when there are no more.
pub(super) type Fetched = (Box<Fetcher>, Result<Option<Vec<Vec<Unit>>>, LegFailure>);

pub(super) fn nothing() -> LegFailure {
    LegFailure::new(Failure::NoFootage, "nothing to play backwards")
}

impl Fetcher {
    /// Counts in `heard` what shows that the recorder lives.
    pub(super) fn new(source: Forward, order: Order, heard: Arc<AtomicU64>) -> Self {
        Fetcher {
            source,
            before: order.from,
            edge: order.from,
            interval: INTERVAL,
            joins: false,
            head: None,
            late: 0,
            stretches: 0,
            order,
            session: None,
            heard,
        }
    }

    pub(super) async fn fetch(mut self: Box<Self>, playing: Option<Plan>) -> Fetched {
        let groups = self.groups(playing).await;
        (self, groups)
    }

    /// What joins the footage that was given out last; `None` where a listing says that nothing does.
    pub(super) fn next_to(&self) -> Option<Plan> {
        let keys = matches!(self.order.frames, Frames::Intra { .. });
        let by_url = matches!(self.source, Forward::Url(_));
        let times = self.order.rate.clamp(1.0, REACH_TIMES_MAX);
        let reach = match (self.joins, keys) {
            // The first group alone, so that it is there soon.
            (false, _) => self.interval,
            // It sends all pictures, whatever is asked of it.
            (true, _) if by_url => {
                let grown =
                    REACH * REACH_URL_GROWTH.saturating_pow(self.stretches.saturating_sub(1));
                grown.min(REACH_URL_MAX).mul_f64(times)
            }
            (true, true) => REACH_KEYS,
            (true, false) => REACH.mul_f64(times),
        };
        // It begins behind what it should join where that is dated later than it is.
        let reach = if self.head.is_some() {
            reach + UNDATED
        } else {
            reach
        };
        let section = self.section()?;
        Some(Plan {
            from: (section.end - reach).max(section.start),
            until: section.end + BEYOND.max(self.interval * 2),
            searched: false,
        })
    }

    /// The recording that is played next, up to what was given out.
    fn section(&self) -> Option<Section> {
        let all = Section {
            start: Timestamp::MIN,
            end: self.edge,
        };
        let Forward::Url(source) = &self.source else {
            return Some(all);
        };
        let offset_us = self.order.clock_offset_us;
        let Some(book) = source.book() else {
            let start = self.order.recorded_from.unwrap_or(Timestamp::MIN);
            return (start < self.edge).then_some(Section { start, ..all });
        };
        let recording = book.before(&self.order.remote, self.edge.shift(offset_us))?;
        let end = match recording.range.end() {
            Timestamp::MAX => self.edge,
            end => end.shift(-offset_us).min(self.edge),
        };
        let start = recording.range.start().shift(-offset_us);
        // Behind a gap it is another leg's affair, this copy's or not.
        let near = self.edge.since(end) <= RECORDING_STEP || !self.joins;
        near.then_some(Section { start, end })
    }

    /// Where to go on behind a stretch that holds nothing.
    pub(super) async fn behind(&mut self, empty: Plan) -> Result<Option<Plan>, LegFailure> {
        let Forward::Url(source) = &self.source else {
            return self.search(empty.from).await;
        };
        if source.book().is_some() {
            // The recording before this one.
            let Some(section) = self.section() else {
                return Ok(None);
            };
            self.edge = section.start;
            return Ok(self.next_to());
        }
        // What is not dated cannot be searched, and what is listed need not be.
        if self.order.recorded_from.is_some() || self.head.is_some() {
            return Ok(None);
        }
        self.search(empty.from).await
    }

    /// The groups before [`Self::before`], last first; `None` when there are none. `playing` is what plays already.
    async fn groups(
        &mut self,
        playing: Option<Plan>,
    ) -> Result<Option<Vec<Vec<Unit>>>, LegFailure> {
        if self
            .order
            .until
            .is_some_and(|until| self.before.shift(-1) <= until)
        {
            return Ok(None);
        }
        let mut asked = playing.is_some();
        let Some(mut plan) = playing.or_else(|| self.next_to()) else {
            return Ok(None);
        };
        loop {
            let plays =
                std::mem::take(&mut asked) || self.play(plan.from, Some(plan.until)).await?;
            let stretch = if plays {
                self.receive().await?
            } else {
                Stretch::Nothing
            };
            let end = plan.until.min(self.before);
            let floor = self
                .section()
                .map_or(Timestamp::MIN, |section| section.start);
            let length = Duration::from_micros(end.micros_since(plan.from).unsigned_abs());
            match stretch {
                Stretch::Whole(units) => {
                    let groups = self.split(units);
                    if !groups.is_empty() {
                        return Ok(Some(groups));
                    }
                    if length > GROUP_MAX {
                        return Err(lost("sends no random access point"));
                    }
                    plan.from = (end - length.max(REACH) * STEP_GROWTH).max(floor);
                }
                // There it began.
                Stretch::Late if plan.from <= floor => return Ok(None),
                Stretch::Late => {
                    self.late += 1;
                    plan.from = (end - length.max(REACH) * STEP_GROWTH).max(floor);
                }
                Stretch::TooLarge if length <= self.interval => {
                    return Err(lost("sends too much for one group of pictures"));
                }
                Stretch::TooLarge => plan.from = end - (length / STEP_GROWTH).max(self.interval),
                Stretch::Nothing if plan.searched => return Ok(None),
                Stretch::Nothing => match self.behind(plan).await? {
                    Some(found) => plan = found,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Receives a stretch: up to a picture at or behind [`Self::before`], or until the recorder has no more.
    async fn receive(&mut self) -> Result<Stretch, LegFailure> {
        let before = self.before.as_micros();
        let (mut units, mut bytes, mut beyond): (Vec<Unit>, usize, usize) = (Vec::new(), 0, 0);
        let (mut reordered, mut goodbye) = (false, false);
        let reaction = self.order.reaction;
        // Until its first picture comes, it may have to seek.
        let mut silence = Silence::new(reaction.first_unit / 3, reaction.response);
        let quiet = QUIET.max(self.interval * 2);
        let by_url = matches!(self.source, Forward::Url(_));
        let codec = self.codec();
        // A recording that ended before does not hold it.
        let head = self
            .head
            .filter(|_| self.late < JOINS_MAX && self.edge == self.before);
        let Some(session) = &mut self.session else {
            return Ok(Stretch::Nothing);
        };
        loop {
            let last = units.last().map(|last| last.capture_us);
            let near = |last: i64| before - last <= self.interval.as_micros() as i64 * 3 / 2;
            let enough = match last {
                None => reaction.first_unit * 2 / 3,
                Some(last) if goodbye || near(last) => quiet,
                // More is there, or a gap: one that lives and is slow is given time.
                Some(_) => reaction.first_unit,
            };
            let patience = silence.patience(enough);
            match timeout(patience, poll_fn(|cx| session.poll_next(cx))).await {
                Ok(Arrival::Unit(unit)) => {
                    bytes += unit.packets.len_bytes();
                    if bytes > STRETCH_BYTES_MAX {
                        return Ok(Stretch::TooLarge);
                    }
                    if unit.track != self.order.master {
                        continue;
                    }
                    self.heard.fetch_add(1, Ordering::Relaxed);
                    silence.heard(quiet);
                    goodbye = false;
                    if let Some(head) = head {
                        // Dates are off: the picture itself tells where it joins.
                        if unit.random_access && Identity::of(codec, &unit.packets) == Some(head) {
                            return Ok(joined(units, before - unit.capture_us));
                        }
                        if unit.capture_us < before.saturating_add(JOIN_MAX.as_micros() as i64) {
                            units.push(unit);
                            continue;
                        }
                        return Ok(Stretch::Late);
                    }
                    if unit.capture_us >= before {
                        if units.is_empty() {
                            return Ok(Stretch::Nothing);
                        }
                        beyond += 1;
                        // In decoding order a picture behind the end may come before one ahead of it that refers to it.
                        if self.joins || unit.random_access || !reordered || beyond > REORDERED_MAX
                        {
                            return Ok(Stretch::Whole(units));
                        }
                    }
                    let last = units.last().map(|last| last.capture_us);
                    reordered |= last.is_some_and(|last| unit.capture_us < last);
                    units.push(unit);
                }
                Ok(Arrival::Alive) => {
                    if silence.answered() {
                        self.heard.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(Arrival::Ended) if session.closed || by_url => break,
                // A goodbye may be that of the stretch before, on its way when this one was asked for.
                Ok(Arrival::Ended) => goodbye = true,
                Ok(Arrival::Group(_)) => {}
                Ok(Arrival::Failed(failure)) => {
                    self.session = None;
                    return Err(failure);
                }
                Err(_) => match silence.in_vain(enough) {
                    Vain::Ask => ask(session),
                    Vain::Lost => {
                        self.session = None;
                        return Err(lost("silent in the middle of a stretch"));
                    }
                    Vain::Over => {
                        session.give_out();
                        while let Some(unit) = session.units.pop_front() {
                            if unit.track == self.order.master && unit.capture_us < before {
                                units.push(unit);
                            }
                        }
                        break;
                    }
                },
            }
        }
        Ok(if units.is_empty() {
            Stretch::Nothing
        } else if head.is_some() {
            Stretch::Late
        } else {
            Stretch::Whole(units)
        })
    }

    fn codec(&self) -> Codec {
        let track = self.order.tracks.get(self.order.master);
        track.map_or(Codec::Other, |track| Codec::from_encoding(&track.encoding))
    }

    /// Cuts a stretch into groups, last first.
    fn split(&mut self, mut units: Vec<Unit>) -> Vec<Vec<Unit>> {
        let before = self.before.as_micros();
        let shown = units.iter().rposition(|unit| unit.capture_us < before);
        units.truncate(shown.map_or(0, |last| last + 1));
        let mut groups: Vec<Vec<Unit>> = Vec::new();
        let mut captures: Vec<i64> = units.iter().map(|unit| unit.capture_us).collect();
        captures.sort_unstable();
        let steps = captures.windows(2).filter_map(|pair| match pair {
            [one, next] if next > one => Some((next - one) as u64),
            _ => None,
        });
        self.interval = steps.min().map_or(self.interval, Duration::from_micros);
        for unit in units {
            if unit.random_access {
                groups.push(vec![unit]);
            } else if let Some(group) = groups.last_mut() {
                group.push(unit);
            }
        }
        let head = groups.first().and_then(|group| group.first());
        if let Some(head) = head {
            self.before = Timestamp::from_micros(head.capture_us);
            self.edge = self.before;
            self.joins = true;
            self.stretches += 1;
            self.late = 0;
            self.head = Some(head)
                .filter(|_| self.is_undated())
                .and_then(|head| Identity::of(self.codec(), &head.packets));
        }
        for group in &mut groups {
            group.retain(|unit| self.order.wants(unit));
        }
        groups.retain(|group| !group.is_empty());
        groups.reverse();
        groups
    }

    /// Whether all that dates the pictures is the start that was asked for.
    fn is_undated(&self) -> bool {
        let source = self
            .session
            .as_ref()
            .and_then(|session| session.assembler.source());
        let by_url = matches!(self.source, Forward::Url(_));
        by_url && matches!(source, Some(Source::Elapsed | Source::UrlStart))
    }

    /// Asks to play; false when the recorder holds nothing there.
    pub(super) async fn play(
        &mut self,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<bool, LegFailure> {
        let source = match &self.source {
            Forward::Range(source) => source,
            Forward::Url(source) => {
                // One session at a time: such recorders have few.
                self.session = None;
                let until = until.map(|until| until + JOIN_MAX);
                let opened =
                    by_url::open_range(source, self.order.clone(), from, until, None).await;
                return match opened {
                    Ok(session) => {
                        self.session = Some(session);
                        Ok(true)
                    }
                    Err(refused) if refused.is_empty() => Ok(false),
                    Err(refused) => Err(refused.failure),
                };
            }
        };
        if let Some(mut session) = self.session.take() {
            match session.replay(from, until).await {
                Ok(()) => {
                    self.session = Some(session);
                    return Ok(true);
                }
                // Some end their session with its range.
                Err(failure) => tracing::debug!(%failure, "another session"),
            }
        }
        match open::open_range(source, &self.order, from, until).await {
            Ok(session) => {
                self.session = Some(session);
                Ok(true)
            }
            Err(refused) if refused.empty => Ok(false),
            Err(refused) => Err(refused.failure),
        }
    }
}

/// From when to when footage is fetched.
#[derive(Clone, Copy)]
struct Section {
    start: Timestamp,
    end: Timestamp,
}

/// Asks the recorder whether it lives.
pub(super) fn ask(session: &mut RtspLeg) {
    session.wire.client.keep_alive();
    session.wire.flush();
}

/// What comes before a picture, its times set right by what that picture is off.
fn joined(mut units: Vec<Unit>, by_us: i64) -> Stretch {
    for unit in &mut units {
        unit.capture_us += by_us;
    }
    if units.is_empty() {
        Stretch::Late
    } else {
        Stretch::Whole(units)
    }
}
