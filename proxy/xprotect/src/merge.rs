//! One timeline of several recorders' units: who answers `goto`, `next`, `previous`, `begin` and `end`, and what Prev, Current
//! and Next are then.
//!
//! A unit is what one request gives: a group of pictures, or one picture. The timeline is the one of a single recorder that
//! holds all units of the first site, and those of each further site of which a part lies where the sites before it
//! recorded nothing. Units are never cut, so that two of them may overlap at a seam; their order is that of their starts.
//!
//! Nothing is asked here: [`resolve`] says what it has to know next, and is called again with that.

use seamline_routing::{Coverage, Held, Timestamp};

/// A unit, as its recorder tells of it. Milliseconds since 1970 on the client's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Its first picture.
    pub start_ms: i64,
    /// Behind its last picture; `None` where it has only one, which does not tell how long it lasts.
    pub end_ms: Option<i64>,
    /// The start of the unit before it; its own where there is none.
    pub prev_ms: i64,
    /// The start of the unit behind it; its own where there is none.
    pub next_ms: i64,
}

/// What is asked of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The unit that starts last at or before an instant; the first one where none does.
    At(i64),
    /// The unit behind the one that was sent last.
    After(Place),
    /// The unit before it.
    Before(Place),
    /// The first unit there is.
    First,
    /// The last one.
    Last,
}

/// The unit that was sent last. Its recorder may be gone meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its first picture.
    pub start_ms: i64,
    /// Behind its last picture, where that is known.
    pub end_ms: Option<i64>,
}

/// A unit of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Whose it is.
    pub site: usize,
    /// With the neighbours that it has on the timeline.
    pub unit: Unit,
}

/// What a site has to be asked before the timeline can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Index of the site.
    pub site: usize,
    /// What.
    pub seek: Seek,
}

/// A question to one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Its unit that starts last at or before an instant; its first one where none does.
    At(i64),
    /// Its first unit.
    First,
    /// Its last unit.
    Last,
}

/// What is known of one site.
#[derive(Debug, Clone, Default)]
pub struct SiteFacts {
    /// It cannot be asked: it counts as one that holds nothing.
    pub down: bool,
    /// It said that it holds nothing.
    pub empty: bool,
    /// Units that it told of.
    pub units: Vec<Unit>,
    /// What its listing said, on the client's timeline; asked only where units do not tell how long they last.
    pub listed: Option<Coverage>,
}

/// What is known of all sites, best first.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// One each.
    pub sites: Vec<SiteFacts>,
    /// A site's newest unit that ends later than this is no end of its recording: the next one is not written yet.
    pub growing_ms: i64,
}

impl Unit {
    /// Whether none is before it.
    pub const fn is_first(&self) -> bool {
        self.prev_ms == self.start_ms
    }

    /// Whether none is behind it.
    pub const fn is_last(&self) -> bool {
        self.next_ms == self.start_ms
    }

    /// How much of it has to lie in a gap before it is sent for that: less is what clocks and encoders differ by.
    fn reach_ms(&self) -> i64 {
        self.end_ms.map_or(0, |end_ms| {
            ((end_ms - self.start_ms) / REACH_PART).clamp(0, REACH_MAX_MS)
        })
    }

    /// Whether enough of it lies behind the start of a gap.
    fn enters(&self, gap_ms: i64) -> bool {
        self.start_ms >= gap_ms
            || self
                .end_ms
                .is_some_and(|end_ms| end_ms - gap_ms > self.reach_ms())
    }
}

impl SiteFacts {
    /// Keeps what was told; of a unit that was known before, the newer.
    pub fn learn(&mut self, unit: Unit) {
        self.empty = false;
        self.units.retain(|known| known.start_ms != unit.start_ms);
        self.units.push(unit);
    }

    fn find(&self, seek: Seek) -> Option<&Unit> {
        self.units.iter().find(|unit| match seek {
            Seek::At(at_ms) => {
                let begun = unit.start_ms <= at_ms || unit.is_first();
                begun && (unit.is_last() || at_ms < unit.next_ms)
            }
            Seek::First => unit.is_first(),
            Seek::Last => unit.is_last(),
        })
    }
}

/// A stretch without units of the better sites, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Gap {
    /// The start of the unit before it; the earliest time where there is none.
    before: i64,
    /// The end of that unit.
    from: i64,
    /// The start of the unit behind it; the latest time where there is none.
    to: i64,
}

/// What the timeline answers; `Ok(None)` where nothing is recorded.
pub fn resolve(ask: Ask, facts: &Facts) -> Result<Option<Placed>, Need> {
    let timeline = Timeline { facts };
    let Some(top) = facts.sites.len().checked_sub(1) else {
        return Ok(None);
    };
    let seek = match ask {
        Ask::At(at_ms) => Seek::At(at_ms),
        Ask::First => Seek::First,
        Ask::Last => Seek::Last,
        Ask::After(place) => return timeline.after(top, place),
        Ask::Before(place) => return timeline.before(top, place),
    };
    timeline.find(top, seek)
}

#[derive(Clone, Copy)]
struct Timeline<'a> {
    facts: &'a Facts,
}

type Found = Result<Option<Placed>, Need>;

impl Timeline<'_> {
    /// Of one site alone.
    fn own(self, site: usize, seek: Seek) -> Result<Option<Unit>, Need> {
        let Some(facts) = self.facts.sites.get(site) else {
            return Ok(None);
        };
        if facts.down || facts.empty {
            return Ok(None);
        }
        facts
            .find(seek)
            .map(|unit| Some(*unit))
            .ok_or(Need { site, seek })
    }

    /// On the timeline of the sites up to this one.
    fn find(self, top: usize, seek: Seek) -> Found {
        let Some(below) = top.checked_sub(1) else {
            let own = self.own(top, seek)?;
            return Ok(own.map(|unit| Placed { site: top, unit }));
        };
        let Some(better) = self.find(below, seek)? else {
            let own = self.own(top, seek)?;
            return Ok(own.map(|unit| Placed { site: top, unit }));
        };
        let at_ms = match seek {
            Seek::At(at_ms) => at_ms,
            Seek::First => i64::MIN,
            Seek::Last => i64::MAX,
        };
        let begun = better.unit.start_ms <= at_ms;
        let gap = if begun {
            self.gap_behind(&better)
        } else {
            // The first unit of the better sites: before it, they have nothing.
            Some(Gap {
                before: i64::MIN,
                from: i64::MIN,
                to: better.unit.start_ms,
            })
        };
        if let Some(gap) = gap
            && let Some(unit) = self.latest_in(top, seek, gap)?
            && (!begun || unit.start_ms <= at_ms)
        {
            return self.filler(top, unit, gap).map(Some);
        }
        self.kept(top, better).map(Some)
    }

    /// A unit of the better sites, with what the worst one puts around it.
    fn kept(self, top: usize, better: Placed) -> Result<Placed, Need> {
        let mut unit = better.unit;
        if let Some(gap) = self.gap_behind(&better)
            && let Some(next_ms) = self.first_in(top, gap)?
        {
            unit.next_ms = next_ms;
        }
        if let Some(gap) = self.gap_ahead(top, &better)?
            && let Some(prev_ms) = self.last_in(top, gap)?
        {
            unit.prev_ms = prev_ms;
        }
        Ok(Placed { unit, ..better })
    }

    /// A unit of the worst site in a gap of the better ones, with its neighbours on the timeline.
    fn filler(self, top: usize, own: Unit, gap: Gap) -> Result<Placed, Need> {
        let mut unit = own;
        if own.is_last() || !self.fits(top, own.next_ms, gap)? {
            unit.next_ms = if gap.to == i64::MAX {
                own.start_ms
            } else {
                gap.to
            };
        }
        let keeps = if own.is_first() || own.prev_ms <= gap.before {
            false
        } else if own.prev_ms >= gap.from {
            true
        } else {
            let prev = self.own(top, Seek::At(own.prev_ms))?;
            prev.is_some_and(|prev| prev.enters(gap.from))
        };
        if !keeps {
            unit.prev_ms = if gap.before == i64::MIN {
                own.start_ms
            } else {
                gap.before
            };
        }
        Ok(Placed { site: top, unit })
    }

    /// The start of the first unit of a site that a gap takes.
    fn first_in(self, top: usize, gap: Gap) -> Result<Option<i64>, Need> {
        let Some(at) = self.own(top, Seek::At(gap.from))? else {
            return Ok(None);
        };
        if gap.takes(&at) {
            return Ok(Some(at.start_ms));
        }
        // Behind the gap, or, where it is its first one, behind its start without being taken.
        if at.is_last() || at.start_ms > gap.from {
            return Ok(None);
        }
        Ok(self.fits(top, at.next_ms, gap)?.then_some(at.next_ms))
    }

    /// The start of the last one.
    fn last_in(self, top: usize, gap: Gap) -> Result<Option<i64>, Need> {
        let last = self.latest_in(top, Seek::At(gap.to - 1), gap)?;
        Ok(last.map(|unit| unit.start_ms))
    }

    /// What a site has there, or right before it, where the gap takes it.
    fn latest_in(self, top: usize, seek: Seek, gap: Gap) -> Result<Option<Unit>, Need> {
        let Some(mut at) = self.own(top, seek)? else {
            return Ok(None);
        };
        // The one before it has: it ends before this one begins.
        if !gap.has_room(&at) && !at.is_first() {
            match self.own(top, Seek::At(at.prev_ms))? {
                Some(prev) => at = prev,
                None => return Ok(None),
            }
        }
        Ok(gap.takes(&at).then_some(at))
    }

    /// Whether a unit that starts then, inside a gap, has enough of itself in it.
    fn fits(self, top: usize, start_ms: i64, gap: Gap) -> Result<bool, Need> {
        if start_ms >= gap.to {
            return Ok(false);
        }
        if start_ms < gap.to.saturating_sub(REACH_MAX_MS) {
            return Ok(true);
        }
        let unit = self.own(top, Seek::At(start_ms))?;
        Ok(unit.is_some_and(|unit| gap.has_room(&unit)))
    }

    /// Where nothing is recorded behind a unit.
    fn gap_behind(self, placed: &Placed) -> Option<Gap> {
        let unit = &placed.unit;
        let end_ms = unit.end_ms.unwrap_or(unit.start_ms);
        if unit.is_last() {
            return (end_ms <= self.facts.growing_ms).then_some(Gap {
                before: unit.start_ms,
                from: unit.end_ms.unwrap_or(unit.start_ms + 1),
                to: i64::MAX,
            });
        }
        let from_ms = match unit.end_ms {
            Some(end_ms) => end_ms,
            None => self.listed_until(placed)?,
        };
        (unit.next_ms - from_ms > GAP_MS).then_some(Gap {
            before: unit.start_ms,
            from: from_ms.max(unit.start_ms + 1),
            to: unit.next_ms,
        })
    }

    /// Until when the recording goes on in which a unit of unknown length is; `None` where it goes on to the next one.
    fn listed_until(self, placed: &Placed) -> Option<i64> {
        let unit = &placed.unit;
        let spacing_ms = unit.next_ms - unit.start_ms;
        if spacing_ms <= GAP_MS {
            return None;
        }
        let listed = self.facts.sites.get(placed.site)?.listed.as_ref();
        match listed.map(|listed| listed.held(Timestamp::from_unix_ms(unit.start_ms))) {
            Some(Held::Recorded { until }) => {
                let until_ms = until.as_unix_ms();
                (until_ms < unit.next_ms).then_some(until_ms)
            }
            Some(Held::Gap { .. }) => Some(unit.start_ms + 1),
            // Nothing tells; recordings of one picture in a while are as regular as others.
            Some(Held::Unknown { .. }) | None => {
                let before_ms = unit.start_ms - unit.prev_ms;
                (unit.is_first() || spacing_ms > before_ms * IRREGULAR)
                    .then_some(unit.start_ms + before_ms.clamp(1, GAP_MS))
            }
        }
    }

    /// Where nothing is recorded before a unit of the sites better than `top`.
    fn gap_ahead(self, top: usize, placed: &Placed) -> Result<Option<Gap>, Need> {
        let unit = &placed.unit;
        if unit.is_first() {
            return Ok(Some(Gap {
                before: i64::MIN,
                from: i64::MIN,
                to: unit.start_ms,
            }));
        }
        let spacing_ms = unit.start_ms - unit.prev_ms;
        if spacing_ms <= GAP_MS {
            return Ok(None);
        }
        // Whether the unit before it reaches up to it only that one itself can tell; it is asked for where it may not.
        let length_ms = unit.end_ms.map_or(0, |end_ms| end_ms - unit.start_ms);
        let reaches = self.is_listed_through(placed);
        if reaches.unwrap_or(spacing_ms <= length_ms + GAP_MS) {
            return Ok(None);
        }
        let Some(below) = top.checked_sub(1) else {
            return Ok(None);
        };
        let prev = self.find(below, Seek::At(unit.prev_ms))?;
        Ok(prev.and_then(|prev| self.gap_behind(&prev)))
    }

    /// Whether the recording goes on from the unit before to this one; `None` where that is not known.
    fn is_listed_through(self, placed: &Placed) -> Option<bool> {
        let site = self.facts.sites.get(placed.site)?;
        let own = site.find(Seek::At(placed.unit.start_ms))?;
        if own.prev_ms != placed.unit.prev_ms {
            // The one before is another site's.
            return Some(false);
        }
        match site
            .listed
            .as_ref()?
            .held(Timestamp::from_unix_ms(placed.unit.prev_ms))
        {
            Held::Recorded { until } => Some(until.as_unix_ms() >= placed.unit.start_ms),
            Held::Gap { .. } => Some(false),
            Held::Unknown { .. } => None,
        }
    }

    fn after(self, top: usize, place: Place) -> Found {
        let Some(here) = self.find(top, Seek::At(place.start_ms))? else {
            return Ok(None);
        };
        if here.unit.start_ms == place.start_ms {
            return self.find(top, Seek::At(here.unit.next_ms));
        }
        // Its recorder is gone, and what others hold of the same time was seen already.
        let seen_ms = place.end_ms.unwrap_or(place.start_ms);
        let Some(there) = self.find(top, Seek::At(seen_ms))? else {
            return Ok(None);
        };
        let is_new = there.unit.start_ms > place.start_ms && there.unit.enters(seen_ms);
        if is_new || there.unit.is_last() {
            return Ok(Some(there));
        }
        self.find(top, Seek::At(there.unit.next_ms))
    }

    fn before(self, top: usize, place: Place) -> Found {
        let Some(here) = self.find(top, Seek::At(place.start_ms))? else {
            return Ok(None);
        };
        if here.unit.start_ms == place.start_ms {
            return self.find(top, Seek::At(here.unit.prev_ms));
        }
        let seen = here.unit.start_ms >= place.start_ms - here.unit.reach_ms();
        if seen && !here.unit.is_first() {
            return self.find(top, Seek::At(here.unit.prev_ms));
        }
        Ok(Some(here))
    }
}

impl Gap {
    /// Whether a unit of another site belongs to the timeline because of this gap.
    fn takes(self, unit: &Unit) -> bool {
        unit.start_ms > self.before && self.has_room(unit) && unit.enters(self.from)
    }

    /// Whether enough of a unit lies before the gap's end.
    fn has_room(self, unit: &Unit) -> bool {
        self.to == i64::MAX || unit.start_ms < self.to - unit.reach_ms()
    }
}

/// Units that are farther apart have a gap between them; clients take it for one, too.
pub const GAP_MS: i64 = 1000;
/// This part of a unit, and no more than that, has to lie in a gap.
const REACH_PART: i64 = 4;
const REACH_MAX_MS: i64 = 250;
/// A picture that comes so many times later than the one before came after its own, comes behind a gap.
const IRREGULAR: i64 = 3;
