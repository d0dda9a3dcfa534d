//! How the footage of each copy was seen to be encoded, and how much of it there is a second: what playlists know of footage without
//! reading any.
//!
//! One head serves all segments that are encoded alike. Where a copy's parameter sets change is learned when a segment is filled; from then on
//! playlists of what lies in the past end the leg there and name another head. Players of earlier ones, and of ones that grow, find the sets in the
//! footage itself.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use seamline_media::Entry;
use seamline_routing::{CameraId, CopyIx, Timestamp};

/// Copies of which something is remembered.
const COPIES_MAX: u64 = 20_000;
/// Stretches of one way of coding that are remembered of a copy. An encoder that changes more often is left to the sets in its footage.
const RUNS_MAX: usize = 64;
/// What is shorter says nothing of the peak: RFC 8216bis §4.1 takes stretches from half a target duration on.
const MEASURED_MIN: Duration = Duration::from_secs(2);

/// What one head serves: footage of a copy from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// The first copy that announces the same.
    pub(super) copy: CopyIx,
    /// Since when, where another way of coding is known to lie before it.
    pub(super) since: Timestamp,
}

/// A picture, as far as its coding goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) copy: CopyIx,
    pub(super) at: Timestamp,
    code: u64,
    /// The picture right before it is encoded otherwise.
    turned: bool,
}

/// Keeps the first and last picture of each way of coding.
#[derive(Debug, Default)]
pub(super) struct Sights {
    noted: Vec<Sight>,
    last: Option<(Sight, Arc<Entry>)>,
}

impl Sights {
    /// The next picture in decoding order, which `stands_alone` where decoding can begin with it.
    pub(super) fn push(
        &mut self,
        copy: CopyIx,
        at: Timestamp,
        entry: &Arc<Entry>,
        stands_alone: bool,
    ) {
        if let Some((last, known)) = &mut self.last
            && last.copy == copy
            && (Arc::ptr_eq(known, entry) || known == entry)
        {
            last.at = last.at.max(at);
            return;
        }
        // A head that is named from elsewhere on would be that of pictures which are there only to be decoded.
        let turned = stands_alone
            && self
                .last
                .as_ref()
                .is_some_and(|(last, _)| last.copy == copy);
        self.noted.extend(self.last.take().map(|(last, _)| last));
        let sight = Sight {
            copy,
            at,
            code: code(entry),
            turned,
        };
        self.noted.push(sight);
        let last = Sight {
            turned: false,
            ..sight
        };
        self.last = Some((last, Arc::clone(entry)));
    }

    fn into_noted(mut self) -> Vec<Sight> {
        self.noted.extend(self.last.take().map(|(last, _)| last));
        self.noted
    }
}

fn code(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    hasher.finish()
}

/// What was seen of a copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// In order, apart from each other.
    runs: Vec<Run>,
    restless: bool,
    rate: Rate,
}

/// Footage that is encoded alike as far as was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    from: Timestamp,
    until: Timestamp,
    code: u64,
    /// It begins exactly there.
    exact: bool,
}

impl Seen {
    fn note(&mut self, sight: Sight) {
        let Sight {
            at, code, turned, ..
        } = sight;
        if self.restless {
            return;
        }
        let run = Run {
            from: at,
            until: at,
            code,
            exact: turned,
        };
        let behind = self.runs.partition_point(|run| run.from <= at);
        if let Some(before) = behind.checked_sub(1).and_then(|ix| self.runs.get_mut(ix)) {
            if before.code == code {
                before.until = before.until.max(at);
                before.exact |= turned && before.from == at;
                return;
            }
            if before.from == at {
                // It was recorded anew.
                *before = run;
                return;
            }
            if before.until > at {
                let rest = Run {
                    from: before.until,
                    exact: false,
                    ..*before
                };
                before.until = Timestamp::from_micros(at.as_micros() - 1);
                self.runs.insert(behind, rest);
            }
        }
        match self.runs.get_mut(behind) {
            Some(next) if next.code == code => {
                next.from = at;
                next.exact = turned;
            }
            _ => {
                self.runs.insert(behind, run);
            }
        }
        if self.runs.len() > RUNS_MAX {
            self.runs = Vec::new();
            self.restless = true;
        }
    }

    /// The latest of [`Self::changes`] at or before `at`. A head is named anew only where a leg begins anew.
    pub(super) fn since(&self, at: Timestamp) -> Timestamp {
        let before = self.changes().take_while(|change| *change <= at);
        before.last().unwrap_or(Timestamp::MIN)
    }

    /// The first pictures that are encoded otherwise than those before them.
    pub(super) fn changes(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let runs = self.runs.iter().skip(1);
        runs.filter(|run| run.exact).map(|run| run.from)
    }

    /// How much there is of it a second.
    pub(super) fn rate(&self) -> Rate {
        self.rate
    }
}

/// Bits a second, as measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// Of the largest segment.
    pub(super) peak: u64,
    bytes: u64,
    lasting: Duration,
}

impl Rate {
    /// A segment of so many bytes.
    fn measure(&mut self, bytes: u64, lasting: Duration) {
        if lasting < MEASURED_MIN {
            return;
        }
        self.peak = self.peak.max(per_second(bytes, lasting));
        self.bytes += bytes;
        self.lasting += lasting;
    }

    /// Of two copies, either of which may play.
    pub(super) fn or(self, other: Self) -> Self {
        Rate {
            peak: self.peak.max(other.peak),
            bytes: self.bytes + other.bytes,
            lasting: self.lasting + other.lasting,
        }
    }

    /// Of all that was measured; `None` where nothing was.
    pub(super) fn average(&self) -> Option<u64> {
        (self.peak > 0).then(|| per_second(self.bytes, self.lasting))
    }
}

fn per_second(bytes: u64, lasting: Duration) -> u64 {
    let bits = u128::from(bytes) * 8 * 1_000_000;
    u64::try_from(bits.div_ceil(lasting.as_micros().max(1))).unwrap_or(u64::MAX)
}

/// What was seen of all copies.
pub(super) struct Formats(Cache<(CameraId, CopyIx), Arc<Mutex<Seen>>>);

impl Default for Formats {
    fn default() -> Self {
        Formats(Cache::builder().max_capacity(COPIES_MAX).build())
    }
}

impl Formats {
    /// Takes in what was seen of a camera.
    pub(super) async fn note(&self, camera: &CameraId, sights: Sights) {
        for sight in sights.into_noted() {
            let seen = self.of(camera, sight.copy).await;
            lock(&seen).note(sight);
        }
    }

    /// Takes in a segment of a copy.
    pub(super) async fn measure(
        &self,
        camera: &CameraId,
        copy: CopyIx,
        bytes: usize,
        lasting: Duration,
    ) {
        let seen = self.of(camera, copy).await;
        lock(&seen).rate.measure(bytes as u64, lasting);
    }

    /// What was seen of a copy.
    pub(super) async fn seen(&self, camera: &CameraId, copy: CopyIx) -> Seen {
        match self.0.get(&(camera.clone(), copy)).await {
            Some(seen) => lock(&seen).clone(),
            None => Seen::default(),
        }
    }

    async fn of(&self, camera: &CameraId, copy: CopyIx) -> Arc<Mutex<Seen>> {
        let made = async { Arc::default() };
        self.0.get_with((camera.clone(), copy), made).await
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_767_268_800_000 + 1000 * s)
    }

    fn entry(width: u16) -> Arc<Entry> {
        Arc::new(Entry::Jpeg { size: (width, 360) })
    }

    fn seen(segments: &[&[(i64, u16)]]) -> Seen {
        let mut seen = Seen::default();
        for pictures in segments {
            let mut sights = Sights::default();
            for (s, width) in *pictures {
                sights.push(CopyIx(0), at(*s), &entry(*width), true);
            }
            for sight in sights.into_noted() {
                seen.note(sight);
            }
        }
        seen
    }

    #[test]
    fn a_change_inside_a_segment_is_known_exactly() {
        let seen = seen(&[&[(0, 640), (4, 640)], &[(4, 640), (6, 1280), (8, 1280)]]);
        assert_eq!(seen.changes().collect::<Vec<_>>(), [at(6)]);
        assert_eq!(seen.since(at(5)), Timestamp::MIN);
        assert_eq!(seen.since(at(6)), at(6));
        // What was not seen is taken for what lies before it.
        assert_eq!(seen.since(at(100)), at(6));
        assert_eq!(seen.since(at(-100)), Timestamp::MIN);
    }

    #[test]
    fn a_change_between_two_places_is_somewhere_and_then_found() {
        let mut seen = seen(&[&[(0, 640), (4, 640)], &[(100, 1280), (104, 1280)]]);
        assert_eq!(seen.changes().count(), 0);
        assert_eq!(seen.since(at(60)), Timestamp::MIN);
        assert_eq!(seen.since(at(101)), Timestamp::MIN);
        let mut sights = Sights::default();
        for (s, width) in [(48, 640), (50, 1280)] {
            sights.push(CopyIx(0), at(s), &entry(width), true);
        }
        for sight in sights.into_noted() {
            seen.note(sight);
        }
        assert_eq!(seen.changes().collect::<Vec<_>>(), [at(50)]);
        assert_eq!(seen.since(at(101)), at(50));
    }

    #[test]
    fn there_and_back_is_two_changes() {
        let there = [(0, 640), (10, 640)];
        let seen = seen(&[&there, &[(4, 640), (5, 1280)], &[(7, 1280), (8, 640)]]);
        assert_eq!(seen.changes().collect::<Vec<_>>(), [at(5), at(8)]);
    }

    #[test]
    fn what_was_taken_for_one_stretch_is_cut_where_another_is_seen_in_it() {
        let seen = seen(&[&[(2, 640)], &[(0, 640), (1, 1280)]]);
        assert!(seen.runs[0].until < seen.runs[1].from);
        assert_eq!(seen.changes().collect::<Vec<_>>(), [at(1)]);
        assert_eq!(
            (seen.since(at(0)), seen.since(at(2))),
            (Timestamp::MIN, at(1))
        );
    }

    #[test]
    fn other_copies_pictures_are_no_change() {
        let mut sights = Sights::default();
        sights.push(CopyIx(0), at(0), &entry(640), true);
        sights.push(CopyIx(1), at(1), &entry(1280), true);
        sights.push(CopyIx(0), at(2), &entry(640), true);
        sights.push(CopyIx(0), at(3), &entry(1280), false);
        assert!(
            sights.into_noted().iter().all(|sight| !sight.turned),
            "nor is one where decoding cannot begin"
        );
    }

    #[test]
    fn a_restless_encoder_costs_no_more_than_others() {
        let mut seen = Seen::default();
        for s in 0..1_000 {
            let code = u64::from(s % 2 == 0);
            let copy = CopyIx(0);
            seen.note(Sight {
                copy,
                at: at(s),
                code,
                turned: true,
            });
            assert!(seen.runs.len() <= RUNS_MAX);
        }
        assert!(seen.restless && seen.changes().next().is_none());
        assert_eq!(seen.since(at(500)), Timestamp::MIN);
    }

    #[test]
    fn rates_are_measured() {
        let mut rate = Rate::default();
        assert_eq!(rate.average(), None);
        rate.measure(500_000, Duration::from_secs(4));
        rate.measure(2_000_000, Duration::from_secs(4));
        rate.measure(9_000_000, Duration::from_millis(40));
        assert_eq!((rate.peak, rate.average()), (4_000_000, Some(2_500_000)));
    }

    proptest! {
        /// Whoever looks where, in whatever order: what is said to be a change is one, and each change that was seen is known once both its sides
        /// were looked at again. (What lies in the middle of a stretch is forgotten when the stretch is cut.)
        #[test]
        fn what_was_seen_is_known(
            widths in prop::collection::vec(0_u16..3, 2..40),
            looks in prop::collection::vec((0_usize..40, 1_usize..6), 1..20),
        ) {
            let mut seen = Seen::default();
            let mut turned = std::collections::BTreeSet::new();
            for &(from, many) in [&looks; 4].into_iter().flatten() {
                let mut sights = Sights::default();
                for (s, width) in widths.iter().enumerate().skip(from).take(many) {
                    sights.push(CopyIx(0), at(s as i64), &entry(*width), true);
                    if s > from && widths[s - 1] != *width {
                        turned.insert(at(s as i64));
                    }
                }
                for sight in sights.into_noted() {
                    seen.note(sight);
                }
                prop_assert!(seen.runs.windows(2).all(|pair| pair[0].until < pair[1].from && pair[0].from <= pair[0].until));
                let turns = |change| (1..widths.len()).any(|s| at(s as i64) == change && widths[s] != widths[s - 1]);
                prop_assert!(seen.changes().all(turns), "{seen:?}");
            }
            let told: std::collections::BTreeSet<_> = seen.changes().collect();
            prop_assert_eq!(told, turned);
        }
    }
}
