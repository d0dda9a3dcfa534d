//! Where a captured instant lies on the client's media timeline, for both rate-control modes.

/// How a PLAY is paced, which decides what RTP time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// `Rate-Control: yes` or absent: playback time, continuous over holes and seeks.
    RateControlled,
    /// `Rate-Control: no`: sampling instants. `reference_us` is the capture time (UTC in µs) of each
    /// track's `first_rtptime`; keep it for the life of the session.
    Unpaced {
        /// UTC in µs.
        reference_us: i64,
    },
}

/// A step longer than this, and than three frames, is a hole in the footage, where a PLAY leaves no pictures out.
pub(crate) const HOLE_US: i64 = 1_000_000;
const INTERVAL_US_MIN: i64 = 1_000_000 / 60;
const INTERVAL_US_MAX: i64 = 1_000_000;
const INTERVAL_US_DEFAULT: i64 = 40_000;
const INTERVALS: usize = 4;

/// The client's media time in µs since its first PLAY, one line for all tracks and legs.
#[derive(Debug)]
pub(crate) struct Timeline {
    rate_controlled: bool,
    scale: f64,
    /// This capture time...
    origin_us: i64,
    /// ...is this media time.
    base_us: i64,
    start_us: i64,
    /// Greatest media time placed.
    frontier_us: i64,
    hole_us: i64,
    pending: Pending,
    /// The latest distances of pictures; the smallest is the frame interval, reordered or not.
    intervals_us: [i64; INTERVALS],
    next_interval: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    /// The first unit of a PLAY is where the client was told that media starts.
    Start,
    /// The leg goes on here after a hole.
    Hole {
        from_us: i64,
    },
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self {
            rate_controlled: true,
            scale: 1.0,
            origin_us: 0,
            base_us: 0,
            start_us: 0,
            frontier_us: -INTERVAL_US_DEFAULT,
            hole_us: HOLE_US,
            pending: Pending::Start,
            intervals_us: [INTERVAL_US_DEFAULT; INTERVALS],
            next_interval: 0,
        }
    }

    pub(crate) fn start(&mut self, pacing: Pacing, scale: f64, start_us: i64, hole_us: i64) {
        self.start_us = start_us;
        self.hole_us = hole_us.max(HOLE_US);
        self.scale = if scale.is_finite() && scale != 0.0 {
            scale
        } else {
            1.0
        };
        match pacing {
            Pacing::RateControlled => {
                self.rate_controlled = true;
                self.base_us = self.frontier_us.saturating_add(self.interval_us());
                self.origin_us = start_us;
                self.pending = Pending::Start;
            }
            Pacing::Unpaced { reference_us } => {
                self.rate_controlled = false;
                self.base_us = 0;
                self.origin_us = reference_us;
                self.pending = Pending::Nothing;
            }
        }
    }

    /// The next unit opens a leg; `hole_us` is where the footage goes on after a skipped hole.
    pub(crate) fn seam(&mut self, hole_us: Option<i64>) {
        if let Some(from_us) = hole_us
            && self.rate_controlled
            && self.pending == Pending::Nothing
        {
            self.pending = Pending::Hole { from_us };
        }
    }

    pub(crate) fn is_reverse(&self) -> bool {
        self.scale < 0.0
    }

    pub(crate) fn is_rate_controlled(&self) -> bool {
        self.rate_controlled
    }

    /// Whether the distances of the recorder's RTP times are those of the media time.
    pub(crate) fn keeps_distances(&self) -> bool {
        self.rate_controlled && self.is_plain()
    }

    /// Media time at which the PLAY starts.
    pub(crate) fn start_media_us(&self) -> i64 {
        self.on_line(self.origin_us, self.base_us, self.start_us)
    }

    /// Media time of a unit, if it were the next one.
    pub(crate) fn media_us(&self, capture_us: i64) -> i64 {
        let (origin_us, base_us) = self.line(capture_us);
        self.on_line(origin_us, base_us, capture_us)
    }

    /// Media time of the next unit.
    pub(crate) fn place(&mut self, capture_us: i64) -> i64 {
        (self.origin_us, self.base_us) = self.line(capture_us);
        self.pending = Pending::Nothing;
        let media_us = self.on_line(self.origin_us, self.base_us, capture_us);
        self.frontier_us = if self.rate_controlled {
            self.frontier_us.max(media_us)
        } else {
            self.frontier_us
        };
        media_us
    }

    /// Learns the distance of two pictures of one leg, in footage time.
    pub(crate) fn note_distance(&mut self, distance_us: u64) {
        if distance_us == 0 {
            return;
        }
        let media_us = (distance_us as f64 / self.pace().abs()) as i64;
        if let Some(slot) = self.intervals_us.get_mut(self.next_interval) {
            *slot = media_us.clamp(INTERVAL_US_MIN, INTERVAL_US_MAX);
        }
        self.next_interval = (self.next_interval + 1) % INTERVALS;
    }

    /// Nominal distance of two pictures, in media time.
    pub(crate) fn interval_us(&self) -> i64 {
        self.intervals_us
            .into_iter()
            .min()
            .unwrap_or(INTERVAL_US_DEFAULT)
    }

    /// Origin and base of the line that a unit is placed on.
    fn line(&self, capture_us: i64) -> (i64, i64) {
        let resume_us = self.frontier_us.saturating_add(self.interval_us());
        let line = (self.origin_us, self.base_us);
        match self.pending {
            Pending::Start if !self.is_reverse() => (capture_us, self.base_us),
            Pending::Hole { .. } if !self.is_reverse() => (capture_us, resume_us),
            Pending::Hole { from_us } => (from_us, resume_us),
            Pending::Start | Pending::Nothing => {
                let step_us = self
                    .on_line(line.0, line.1, capture_us)
                    .saturating_sub(self.frontier_us);
                let hole = self.rate_controlled
                    && !self.is_reverse()
                    && step_us > self.hole_media_us().max(3 * self.interval_us());
                if hole { (capture_us, resume_us) } else { line }
            }
        }
    }

    /// The least length of a hole in media time.
    fn hole_media_us(&self) -> i64 {
        (self.hole_us as f64 / self.pace().abs().max(f64::MIN_POSITIVE)) as i64
    }

    fn on_line(&self, origin_us: i64, base_us: i64, capture_us: i64) -> i64 {
        let footage_us = capture_us.saturating_sub(origin_us);
        let media_us = if self.is_plain() {
            footage_us
        } else {
            (footage_us as f64 / self.pace()).round() as i64
        };
        base_us.saturating_add(media_us)
    }

    /// Whether one second of footage is one second of media time.
    fn is_plain(&self) -> bool {
        (self.pace() - 1.0).abs() < f64::EPSILON
    }

    fn pace(&self) -> f64 {
        if self.rate_controlled {
            self.scale
        } else {
            1.0
        }
    }
}

/// Ticks of a clock in a media time, to the nearest, modulo 2^32.
pub(crate) fn ticks(media_us: i64, clock_rate: u32) -> u32 {
    let scaled = i128::from(media_us) * i128::from(clock_rate);
    (scaled + 500_000).div_euclid(1_000_000) as u32
}
