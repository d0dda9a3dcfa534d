//! How far a leg is read ahead of what is due: what waits in the kernel need not wait here.
//!
//! An outage costs nothing as long as enough footage is at hand when it is noticed. It may be in the kernel, which keeps what
//! came before a connection was lost; there it costs this process no memory, and it is in the cache when it is sent.

use std::time::{Duration, Instant};

use seamline_routing::time::Timestamp;

use crate::outbound::UNREAD_BYTES_MAX;

/// How often it is looked at how much waits in the kernel, and whether the recorder is gone.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A leg that has just been opened is looked at later: its recorder is still filling the kernel's buffer.
const LOOK_FIRST: Duration = Duration::from_millis(250);
/// Footage (or so much less than it, µs) that two units may be apart to be counted into a leg's rate.
const STEP_US_MAX: i64 = 1_000_000;
/// Footage whose bytes are the rate; older footage counts less and less.
const RATE_OVER_US: i64 = 4_000_000;
/// No rate is told of less footage.
const RATE_FROM_US: i64 = 150_000;
/// One read takes about this much footage, within limits.
const READ_MS: u64 = 100;
const READ_BYTES_MIN: u64 = 8 * 1024;
const READ_BYTES_MAX: u64 = 64 * 1024;
const READ_BYTES_FIRST: usize = 16 * 1024;
/// The kernel has room for this much more of a leg than is to be at hand: its window opens in steps, and a scene may come to more at
/// daybreak than it did.
const ROOM_BEYOND: Duration = Duration::from_secs(1);
/// No less, however little the footage comes to: over a slow line it is also what is on its way.
const UNREAD_BYTES_MIN: u32 = 128 * 1024;
/// Once full, this part of it is used before more is read.
const REST_OF: u32 = 8;
/// Units that are kept here in any case: what follows a unit decides about its flags.
const UNITS_MIN: usize = 2;
/// In bulk, where nobody could take over: bytes that are at hand before any are sent on. At first it is less, so that the first
/// picture does not wait for what comes behind it.
const BULK_BYTES: usize = 128 * 1024;
const BULK_BYTES_FIRST: usize = 8 * 1024;
/// So little footage in the kernel is no supply: its recorder sends what it has when it has it.
const SUPPLY_MIN: Duration = Duration::from_millis(250);
/// A recorder that lets the kernel's footage run down for so long may have fallen silent. Windows open in steps, so that what
/// comes does not come evenly.
const QUIET_AFTER: Duration = Duration::from_millis(800);
/// Footage that must have come to be a sign of life: what a picture that is half read looks like is none.
const FRESH_MS: u64 = 100;

/// How early a picture may go with the one before it: one interval of the usual rates, and what wake-ups are late by.
pub(super) const EARLY_IN_A_CROWD: Duration = Duration::from_millis(45);

/// What else passes until a copy takes over from one that fell silent: what the kernel holds is taken over several looks, and the
/// other one is to show its first picture.
pub(super) const TAKE_OVER: Duration = Duration::from_secs(1);
/// Random access points farther apart are those of no group of pictures that could be kept.
const GROUP_MAX: Duration = Duration::from_secs(15);

/// Footage to be at hand, by what may have to be decided about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depths {
    /// Here, where it is looked at unit by unit: near seams and ends, at a leg's beginning, and of recorders that give
    /// nothing ahead.
    pub(super) full: Duration,
    /// Here and in the kernel.
    pub(super) safe: Duration,
    /// Until a recorder's silence is noticed and another copy plays, where there is one. So much and a group of pictures are
    /// safe: the other copy's random access point must not lie before what was sent.
    pub(super) take_over: Option<Duration>,
    /// Here, while nothing but an outage is to be expected.
    pub(super) near: Duration,
    /// The same where nothing lists what comes: a gap must be seen early enough to open a leg that fills it.
    pub(super) unlisted: Duration,
    pub(super) bytes_max: usize,
}

impl Depths {
    /// What the kernel is to hold unread of a leg at a pace, forwards, whose footage comes to so many bytes a second. What all
    /// legs of a machine hold is taken from what its TCP has; where that is used up it drops what comes.
    ///
    /// It is told before a leg is connected: where the kernel is to hold less than what waits there already it drops what is on its
    /// way, and where it is to hold more Linux 6.18 does not always open the window for it.
    pub(super) fn unread(&self, rate: u32) -> u32 {
        let ahead = self.take_over.map_or(self.safe, |_| self.full);
        let bytes = u128::from(rate) * (ahead + ROOM_BEYOND).as_millis() / 1_000;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        bytes.clamp(UNREAD_BYTES_MIN, UNREAD_BYTES_MAX)
    }
}

/// How a leg's footage is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// At the pace of a clock.
    Paced,
    /// As fast as it comes. What lies ahead is where a clean seam can be cut.
    Bulk,
    /// The same, where nothing else could be cut to.
    BulkAlone,
}

/// What is at hand of a leg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stock {
    pub(super) span: Duration,
    pub(super) bytes: usize,
    /// Of the track that seams are cut on.
    pub(super) units: usize,
    /// A track that is wanted has none.
    pub(super) lags: bool,
}

/// How far one leg is read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    demand: Demand,
    depths: Depths,
    /// Nothing but an outage is to be expected.
    pub(super) calm: bool,
    /// What comes is listed to be recorded.
    pub(super) listed: bool,
    /// How early a picture may go with the one before it: not at all, or [`EARLY_IN_A_CROWD`].
    pub(super) pairs_within: Duration,
    /// It was full, and enough of it is not used yet.
    rests: bool,
    /// What is to be here in bulk, where nobody could take over.
    bulk_bytes: usize,
    /// What is to be here while it is calm.
    wanted: Duration,
    look_at: Instant,
    /// Bytes and µs of the latest footage.
    rate: (u64, i64),
    /// The latest random access point, and how far it was from the one before: other copies' groups are taken to be as long.
    key: Option<Timestamp>,
    group: Duration,
    supply: Supply,
}

/// What a recorder has sent, wherever it waits.
#[derive(Debug)]
struct Supply {
    /// Bytes that were taken here.
    taken: u64,
    /// Most that was seen, here and in the kernel together.
    most: u64,
    /// When that was.
    grew: Instant,
    /// Most that was seen in the kernel lately: a buffer may come to hold less than it did at first.
    backlog_max: usize,
    /// It was not seen to give nothing ahead.
    gives_ahead: bool,
}

impl Supply {
    fn new(now: Instant) -> Self {
        Supply {
            taken: 0,
            most: 0,
            grew: now,
            backlog_max: 0,
            gives_ahead: true,
        }
    }

    /// Whether nothing comes, `step` bytes being something, although there is room for it.
    fn is_quiet(&mut self, backlog: usize, step: u64, now: Instant) -> bool {
        let all = self.taken + backlog as u64;
        if all > self.most + step {
            self.most = all;
            self.grew = now;
            self.backlog_max -= self.backlog_max / 8;
        }
        self.backlog_max = self.backlog_max.max(backlog);
        backlog < self.backlog_max / 3 * 2
            && now.saturating_duration_since(self.grew) >= QUIET_AFTER
    }
}

impl Ahead {
    pub(super) fn new(demand: Demand, depths: Depths, now: Instant) -> Self {
        Ahead {
            demand,
            depths,
            calm: false,
            listed: false,
            pairs_within: Duration::ZERO,
            rests: false,
            bulk_bytes: BULK_BYTES_FIRST,
            wanted: depths.unlisted,
            look_at: now + LOOK_FIRST,
            rate: (0, 0),
            key: None,
            group: Duration::ZERO,
            supply: Supply::new(now),
        }
    }

    /// The leg was opened: what it can deliver shows after a while. Gives back how much one read should take, where it
    /// matters.
    pub(super) fn opened(&mut self, now: Instant) -> Option<usize> {
        self.look_at = now + LOOK_FIRST;
        self.supply = Supply::new(now);
        (self.demand == Demand::Paced).then_some(READ_BYTES_FIRST)
    }

    /// Counts a unit, `step_us` behind the one before it where it is of the track that seams are cut on.
    pub(super) fn count(&mut self, bytes: usize, step_us: Option<i64>) {
        self.supply.taken += bytes as u64;
        self.rate.0 += bytes as u64;
        if let Some(step_us) = step_us.filter(|step_us| step_us.abs() <= STEP_US_MAX) {
            self.rate.1 += step_us;
        }
        if self.rate.1 > RATE_OVER_US {
            self.rate = (self.rate.0 / 2, self.rate.1 / 2);
        }
    }

    /// Notes a random access point of the track that seams are cut on.
    pub(super) fn note_key(&mut self, at: Timestamp) {
        let group = self.key.replace(at).map(|before| at.since(before));
        self.group = group
            .filter(|group| *group <= GROUP_MAX)
            .unwrap_or(self.group);
    }

    /// What the latest footage comes to, in bytes a second, once that is known.
    pub(super) fn rate(&self) -> Option<u64> {
        let (of, us) = self.rate;
        let us = u64::try_from(us).ok().filter(|_| us >= RATE_FROM_US)?;
        Some((of.saturating_mul(1_000) / us.div_ceil(1_000).max(1)).max(1))
    }

    /// Footage that is to be at hand, here and in the kernel.
    fn safe(&self) -> Duration {
        let Depths {
            full,
            safe,
            take_over,
            ..
        } = self.depths;
        let group = take_over.map_or(Duration::ZERO, |take_over| self.group + take_over);
        // Once full, a part of it is used before more is read, and only then silence shows.
        safe.max(group * REST_OF / (REST_OF - 1)).min(full * 2)
    }

    /// Footage that is to be here where something is to be decided.
    fn full(&self) -> Duration {
        match self.demand {
            Demand::Paced => self.depths.full.max(self.safe()),
            Demand::Bulk | Demand::BulkAlone => self.depths.full,
        }
    }

    /// Whether more should be read.
    pub(super) fn is_short(&self, stock: Stock) -> bool {
        let full = self.full();
        if stock.bytes >= self.depths.bytes_max {
            return false;
        }
        if self.demand == Demand::BulkAlone
            && stock.units >= UNITS_MIN
            && stock.bytes >= self.bulk_bytes
        {
            return stock.span < full && stock.lags;
        }
        let enough = match self.demand {
            Demand::Paced if self.calm => self.wanted,
            _ => full,
        };
        // Many units come of one look.
        let enough = if self.rests {
            enough * (REST_OF - 1) / REST_OF
        } else {
            enough
        };
        let few = self.demand == Demand::Paced && stock.units < UNITS_MIN;
        few && stock.span < full || stock.span < enough || (stock.span < full * 2 && stock.lags)
    }

    /// Whether what is here lasts until the next unit is due, which is when it is looked at again.
    pub(super) fn lasts(&self, stock: Stock) -> bool {
        self.demand == Demand::Paced && self.calm && stock.units >= UNITS_MIN
    }

    /// Notes whether it was short just now: once full, a part of it is used before more is read.
    pub(super) fn settle(&mut self, short: bool) {
        self.rests = !short && self.demand == Demand::Paced;
        if !short {
            self.bulk_bytes = (self.bulk_bytes * 2).min(BULK_BYTES);
        }
    }

    /// How much earlier than it is due the next unit may go, pictures being `interval` apart; where it `follows` one that goes now.
    ///
    /// What a recorder that paces itself has just sent, and nothing behind it, goes on as it came: to keep it until it is due would be a
    /// second wake-up for each picture, and a delay. What is behind it, which decides about its flags, would not be known by then
    /// either: that comes an interval later.
    ///
    /// In a crowd, what was sent ahead goes with the one before it: waking up, and waking the player, cost more than the picture.
    pub(super) fn early(&self, stock: Stock, interval: Duration, follows: bool) -> Duration {
        match (self.supply.gives_ahead, stock.units > 1) {
            _ if !self.calm => Duration::ZERO,
            (false, false) => interval / 2,
            (true, true) if follows => self.pairs_within,
            (true, _) | (false, true) => Duration::ZERO,
        }
    }

    /// Whether it is time to look at the connection.
    pub(super) fn must_look(&self, now: Instant) -> bool {
        now >= self.look_at
    }

    /// [`Self::must_look`]; the next look is due after a while.
    pub(super) fn looks(&mut self, now: Instant) -> bool {
        let due = self.must_look(now);
        if due {
            self.look_at = now + LOOK_EVERY;
        }
        due
    }

    /// Takes in how many bytes wait in the kernel, where that is known. Gives back how much one read should take, once that is known.
    ///
    /// A recorder that has fallen silent shows by what no longer comes, long before the kernel's footage is used up: all of it is
    /// wanted here then, where a seam can be cut at a random access point. Where nobody could take over it may stay where it is.
    pub(super) fn note_backlog(&mut self, backlog: Option<usize>, now: Instant) -> Option<usize> {
        let bytes = backlog.unwrap_or(0);
        let rate = self.rate()?;
        let (full, safe) = (self.full(), self.safe());
        let near = if self.listed {
            self.depths.near
        } else {
            self.depths.unlisted
        };
        let waits = Duration::from_millis((bytes as u64).saturating_mul(1_000) / rate);
        let quiet = self.supply.is_quiet(bytes, rate * FRESH_MS / 1_000, now);
        let short = waits < SUPPLY_MIN.min(safe / 2);
        self.supply.gives_ahead = backlog.is_none() || !short;
        let may_end = (quiet || short) && self.depths.take_over.is_some();
        self.wanted = if may_end {
            full
        } else {
            safe.saturating_sub(waits).max(near)
        };
        (self.demand == Demand::Paced).then(|| {
            let bytes = rate.saturating_mul(READ_MS) / 1_000;
            bytes.clamp(READ_BYTES_MIN, READ_BYTES_MAX) as usize
        })
    }

    /// Enough is held back that an outage now would still find a random access point ahead.
    pub(super) fn is_ample(&self, stock: Stock) -> bool {
        let Depths {
            full, bytes_max, ..
        } = self.depths;
        stock.span >= full * 3 / 4
            || stock.bytes >= bytes_max / 2
            || self.demand == Demand::BulkAlone && stock.units >= UNITS_MIN
    }
}

#[cfg(test)]
mod tests;
