//! Samples in parts: from one random access point to the next or about a second, all tracks of the same time together, each
//! sample with its times.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::axis::{Axis, Holes, ticks};
use super::clock::{Pictures, Sound, Times, reordering};
use crate::entry::VIDEO_TICKS;
use crate::sps::REORDER_MAX;
use crate::{Entry, Sample};

/// Media time at which footage is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The first picture that is shown is at zero. What has to be decoded before it lies ahead, hidden by an edit list.
    First,
    /// This capture time (UTC in µs) is at zero, and what has to be decoded ahead is hidden as with [`Origin::First`].
    At(i64),
    /// This capture time (UTC in µs) is at zero, without an edit list: for segments that are put together by their times. What has
    /// to be decoded ahead has the ticks just before its place; footage must begin a second behind the origin.
    Segment(i64),
}

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where media time begins.
    pub origin: Origin,
    /// What holes do.
    pub holes: Holes,
    /// Index of the track that parts are cut on: that of the pictures, where there is one.
    pub master: usize,
}

/// A part grows to at most this much footage.
const PART_US: i64 = 1_000_000;
/// A part that is to be a group of pictures grows to at most this much footage, and is none of the shortest with so many bytes.
const GROUP_US: i64 = 10_000_000;
const GROUP_BYTES: usize = PART_BYTES_MAX / 2;
/// A part grows to at most so many bytes and samples.
const PART_BYTES_MAX: usize = 8 * 1024 * 1024;
const PART_SAMPLES_MAX: usize = 4096;
/// Sound that is so late goes into the next part.
const LATE_US: i64 = 500_000;
/// Pieces of sound that wait for the picture, a track.
const SOUND_MAX: usize = 8192;

/// One sample with its times in ticks of its track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) times: Times,
    /// Until the next one is decoded.
    pub(crate) duration: u32,
    pub(crate) sync: bool,
    pub(crate) capture_us: i64,
    pub(crate) preroll: bool,
    pub(crate) data: Bytes,
}

/// What all tracks bring to a part.
#[derive(Debug)]
pub(crate) struct Part {
    /// How the tracks are coded in it.
    pub(crate) entries: Vec<Option<Arc<Entry>>>,
    /// Index of the track and its samples in decoding order; tracks without samples are left out.
    pub(crate) runs: Vec<(usize, Vec<Placed>)>,
}

/// A track as the file has it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) entry: Option<Arc<Entry>>,
    sound: Sound,
    /// Sound that waits until its part is cut.
    waiting: VecDeque<Sample>,
    /// Newest capture time.
    newest_us: Option<i64>,
}

/// Cuts samples into parts.
#[derive(Debug)]
pub(crate) struct Parts {
    settings: Settings,
    lanes: Vec<Lane>,
    /// Samples of the master track of the part that grows.
    open: Vec<Sample>,
    open_bytes: usize,
    open_entry: Option<Arc<Entry>>,
    /// Parts that are cut, whose sound may not all be there.
    closed: VecDeque<Closed>,
    /// The sample behind the last part, placed already because that part had to know when it comes.
    ahead: Option<Placed>,
    line: Option<Line>,
    /// Samples of the master track that came, and how many of them were dated.
    pushed: u64,
    dated: u64,
    /// From the sample with this number on pictures are reordered by so many places.
    depths: VecDeque<(u64, usize)>,
    cut: bool,
    /// Parts are groups of pictures, of so much footage at least.
    least_us: Option<i64>,
    /// Parts that were cut.
    count: u32,
}

/// A part of the master track.
#[derive(Debug)]
struct Closed {
    samples: Vec<Sample>,
    entry: Option<Arc<Entry>>,
    /// Capture time at which it ends.
    end_us: i64,
}

/// Times, fixed by the first part.
#[derive(Debug)]
struct Line {
    axis: Axis,
    pictures: Pictures,
    /// Ticks of the master track before media time zero.
    lead: i64,
    timescale: u32,
    origin_us: i64,
}

impl Parts {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            lanes: Vec::new(),
            open: Vec::new(),
            open_bytes: 0,
            open_entry: None,
            closed: VecDeque::new(),
            ahead: None,
            line: None,
            pushed: 0,
            dated: 0,
            depths: VecDeque::new(),
            cut: false,
            least_us: None,
            count: 0,
        }
    }

    /// Parts that begin where decoding can begin, as long as groups of pictures are not endless: of so much footage at least, which
    /// the first ones grow to, so that there is something soon.
    pub(crate) fn of_groups(settings: Settings, least_us: i64) -> Self {
        Self {
            least_us: Some(least_us),
            ..Self::new(settings)
        }
    }

    /// Ticks of a track (of `timescale`) before media time zero; 0 until the first part.
    pub(crate) fn lead(&self, timescale: u32) -> i64 {
        self.line
            .as_ref()
            .map_or(0, |line| match self.settings.origin {
                Origin::Segment(_) => 0,
                Origin::First | Origin::At(_) => lead_of(line, timescale),
            })
    }

    pub(crate) fn format(&mut self, track: usize, entry: Arc<Entry>) {
        if track == self.settings.master
            && let Some(depth) = entry.reorder()
        {
            let depth = usize::from(depth).min(REORDER_MAX);
            self.depths.push_back((self.pushed, depth));
        }
        self.lane(track).entry = Some(entry);
    }

    /// How the tracks are coded from here on.
    pub(crate) fn entries(&self) -> Vec<Option<Arc<Entry>>> {
        self.lanes.iter().map(|lane| lane.entry.clone()).collect()
    }

    /// The next picture begins a part.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        if sample.track != self.settings.master {
            if !sample.preroll {
                let lane = self.lane(sample.track);
                lane.newest_us = lane.newest_us.max(Some(sample.capture_us));
                if lane.waiting.len() < SOUND_MAX {
                    lane.waiting.push_back(sample);
                }
            }
            return;
        }
        let master = self.settings.master;
        let newest_us = self.lane(master).newest_us;
        if self.is_cut_before(&sample) {
            // What is decoded again begins before what was shown ends.
            let shown_us = newest_us.unwrap_or(sample.capture_us).saturating_add(1);
            self.close(if sample.preroll {
                shown_us
            } else {
                sample.capture_us
            });
        }
        self.lane(master).newest_us = newest_us.max(Some(sample.capture_us));
        self.pushed += 1;
        if self.open.is_empty() {
            self.open_entry = self.lane(master).entry.clone();
        }
        self.open_bytes += sample.data.len();
        self.open.push(sample);
    }

    /// The next part that is whole.
    pub(crate) fn pop(&mut self) -> Option<Part> {
        let end_us = self.closed.front()?.end_us;
        let newest_us = self.lanes.get(self.settings.master)?.newest_us?;
        let late = newest_us.saturating_sub(end_us) >= LATE_US;
        let awaited = |(track, lane): (usize, &Lane)| {
            track != self.settings.master
                && lane.entry.is_some()
                && lane.newest_us.is_none_or(|newest_us| newest_us < end_us)
        };
        let complete = !self.lanes.iter().enumerate().any(awaited);
        if !(complete || late) {
            return None;
        }
        let closed = self.closed.pop_front()?;
        Some(self.place(closed, false))
    }

    /// What is left.
    pub(crate) fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        while let Some(closed) = self.closed.pop_front() {
            parts.push(self.place(closed, false));
        }
        if !self.open.is_empty() || self.lanes.iter().any(|lane| !lane.waiting.is_empty()) {
            self.close(i64::MAX);
            if let Some(closed) = self.closed.pop_front() {
                parts.push(self.place(closed, true));
            }
        }
        parts.retain(|part| !part.runs.is_empty());
        parts
    }

    fn lane(&mut self, track: usize) -> &mut Lane {
        if self.lanes.len() <= track {
            self.lanes.resize_with(track + 1, || Lane {
                entry: None,
                sound: Sound::default(),
                waiting: VecDeque::new(),
                newest_us: None,
            });
        }
        &mut self.lanes[track]
    }

    fn is_cut_before(&mut self, sample: &Sample) -> bool {
        let changed =
            |entry: &Arc<Entry>| self.open_entry.as_ref().is_some_and(|open| open != entry);
        if !self.open.is_empty()
            && self
                .lanes
                .get(self.settings.master)
                .and_then(|lane| lane.entry.as_ref())
                .is_some_and(changed)
        {
            return true;
        }
        // What has to be decoded before the first picture that is shown belongs to that picture.
        let Some(shown) = self.open.iter().find(|sample| !sample.preroll) else {
            return self.open_bytes > PART_BYTES_MAX || self.open.len() >= PART_SAMPLES_MAX;
        };
        let lasts_us = sample.capture_us.saturating_sub(shown.capture_us);
        let full = self.open_bytes + sample.data.len() > PART_BYTES_MAX
            || self.open.len() >= PART_SAMPLES_MAX;
        let is_picture = self
            .lanes
            .get(self.settings.master)
            .and_then(|lane| lane.entry.as_ref())
            .is_some_and(|entry| entry.is_video());
        let point = sample.sync
            && is_picture
            && !matches!(self.entry_of_master(), Some(Entry::Jpeg { .. }));
        let due = match self.least_us {
            None => point || lasts_us >= PART_US,
            Some(least_us) => {
                let least_us = least_us.min(PART_US * i64::from(self.count + 1));
                let long = lasts_us >= least_us;
                // What is decoded again at a seam begins a part in any case.
                let enough = long || sample.preroll || self.open_bytes >= GROUP_BYTES;
                point && enough || (long && sample.sync) || lasts_us >= GROUP_US
            }
        };
        std::mem::take(&mut self.cut) || due || full
    }

    fn entry_of_master(&self) -> Option<&Entry> {
        self.lanes.get(self.settings.master)?.entry.as_deref()
    }

    fn close(&mut self, end_us: i64) {
        self.open_bytes = 0;
        self.count = self.count.saturating_add(1);
        self.closed.push_back(Closed {
            samples: std::mem::take(&mut self.open),
            entry: self.open_entry.take(),
            end_us,
        });
    }

    /// Dates the samples of a part, and the sound that belongs to it: all that was captured before its end.
    fn place(&mut self, closed: Closed, last: bool) -> Part {
        let Closed {
            samples,
            entry,
            end_us,
        } = closed;
        let next = self
            .closed
            .front()
            .and_then(|closed| closed.samples.first())
            .or(self.open.first())
            .cloned();
        self.begin(&samples);
        let mut entries = self.entries();
        if let Some(place) = entries.get_mut(self.settings.master)
            && entry.is_some()
        {
            *place = entry;
        }
        let mut runs = Vec::new();
        let placed = self.pictures(samples, next.as_ref().filter(|_| !last));
        if !placed.is_empty() {
            runs.push((self.settings.master, placed));
        }
        for track in 0..self.lanes.len() {
            let placed = self.sounds(track, end_us);
            if !placed.is_empty() {
                runs.push((track, placed));
            }
        }
        Part { entries, runs }
    }

    /// Fixes the line by the first part.
    fn begin(&mut self, samples: &[Sample]) {
        if self.line.is_some() {
            return;
        }
        let waiting = self.lanes.iter().filter_map(|lane| lane.waiting.front());
        let pictures = samples.iter().filter(|sample| !sample.preroll);
        let first_us = pictures
            .map(|sample| sample.capture_us)
            .min()
            .or(samples.first().map(|sample| sample.capture_us))
            .or(waiting.map(|sample| sample.capture_us).min())
            .unwrap_or(0);
        let preroll = samples.iter().filter(|sample| sample.preroll).count();
        let shows = samples.iter().filter(|sample| !sample.preroll);
        let told = self.depths.front().map(|(_, depth)| *depth);
        let depth = told.unwrap_or_else(|| reordering(shows.map(|sample| sample.capture_us)));
        let timescale = self.entry_of_master().map_or(VIDEO_TICKS, Entry::timescale);
        let ahead = (preroll + depth) as i64;
        let (origin_us, lead, first) = match self.settings.origin {
            Origin::First => (first_us, ahead, 0),
            Origin::At(origin_us) => (origin_us.min(first_us), ahead, 0),
            Origin::Segment(origin_us) => {
                let first = ticks(first_us.saturating_sub(origin_us), timescale) - ahead;
                (origin_us, 0, first.max(0))
            }
        };
        self.line = Some(Line {
            axis: Axis::new(self.settings.holes, origin_us),
            pictures: Pictures::new(depth, first),
            lead,
            timescale,
            origin_us,
        });
    }

    fn pictures(&mut self, samples: Vec<Sample>, next: Option<&Sample>) -> Vec<Placed> {
        let mut placed: Vec<Placed> = Vec::with_capacity(samples.len());
        let ahead = self.ahead.take();
        let begins = usize::from(ahead.is_some());
        placed.extend(ahead);
        let all = samples.into_iter().skip(begins).chain(next.cloned());
        let Some(line) = &mut self.line else {
            return placed;
        };
        let is_sound = matches!(
            self.lanes
                .get(self.settings.master)
                .and_then(|lane| lane.entry.as_deref()),
            Some(entry) if !entry.is_video()
        );
        for sample in all {
            while let Some(&(at, depth)) = self.depths.front()
                && at <= self.dated
            {
                line.pictures.set_depth(depth);
                self.depths.pop_front();
            }
            self.dated += 1;
            placed.push(line.picture(sample));
        }
        if next.is_some() {
            self.ahead = placed.pop();
        }
        let ends: Vec<i64> = placed
            .iter()
            .skip(1)
            .chain(self.ahead.as_ref())
            .map(|placed| placed.times.decode)
            .collect();
        let usual = ticks(line.axis.interval_us(), line.timescale).max(1);
        let entry = self
            .lanes
            .get(self.settings.master)
            .and_then(|lane| lane.entry.clone());
        for (index, sample) in placed.iter_mut().enumerate() {
            let own = entry.as_ref().and_then(|entry| entry.ticks(&sample.data));
            let lasts = match ends.get(index) {
                Some(end) => end - sample.times.decode,
                None if is_sound => own.map_or(usual, i64::from),
                None => usual,
            };
            sample.duration = u32::try_from(lasts.max(1)).unwrap_or(u32::MAX);
        }
        placed
    }

    fn sounds(&mut self, track: usize, end_us: i64) -> Vec<Placed> {
        let (Some(line), Some(state)) = (&self.line, self.lanes.get_mut(track)) else {
            return Vec::new();
        };
        if track == self.settings.master {
            return Vec::new();
        }
        let Some(entry) = state.entry.clone() else {
            state.waiting.clear();
            return Vec::new();
        };
        let timescale = entry.timescale();
        let lead = match self.settings.origin {
            Origin::Segment(_) => 0,
            Origin::First | Origin::At(_) => lead_of(line, timescale),
        };
        let mut placed: Vec<Placed> = Vec::new();
        while let Some(sample) = state.waiting.front()
            && sample.capture_us < end_us
        {
            let Some(sample) = state.waiting.pop_front() else {
                break;
            };
            if sample.capture_us < line.origin_us {
                continue;
            }
            let length = entry.ticks(&sample.data).unwrap_or(1).max(1);
            let exact = line.axis.sound_us(sample.capture_us);
            let exact = exact.map(|media_us| ticks(media_us, timescale) + lead);
            let Some(at) = exact.and_then(|exact| state.sound.place(exact, length, timescale))
            else {
                continue;
            };
            if let Some(before) = placed.last_mut() {
                before.duration = u32::try_from(at - before.times.decode).unwrap_or(u32::MAX);
            }
            placed.push(Placed {
                times: Times {
                    decode: at,
                    show: at,
                },
                duration: length,
                sync: true,
                capture_us: sample.capture_us,
                preroll: false,
                data: sample.data,
            });
        }
        placed
    }
}

impl Line {
    fn picture(&mut self, sample: Sample) -> Placed {
        let times = if sample.preroll {
            self.pictures.squeeze(sample.sync)
        } else {
            let media_us = self.axis.place(sample.capture_us);
            self.pictures
                .place(ticks(media_us, self.timescale) + self.lead)
        };
        Placed {
            times,
            duration: 1,
            sync: sample.sync,
            capture_us: sample.capture_us,
            preroll: sample.preroll,
            data: sample.data,
        }
    }
}

/// The lead in ticks of another track: rounded up, so that nothing of it falls before zero.
fn lead_of(line: &Line, timescale: u32) -> i64 {
    let scaled = i128::from(line.lead) * i128::from(timescale);
    let rate = i128::from(line.timescale.max(1));
    ((scaled + rate - 1) / rate) as i64
}
