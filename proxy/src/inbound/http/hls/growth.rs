//! What a growing playlist has listed stays as it was (RFC 8216 §6.2.1): players that follow it have counted its segments. What
//! becomes known later, of sites that die or of gaps, changes only what comes behind.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;
use seamline_routing::segments::{Closing, Content, Opening, Segment};
use seamline_routing::{CameraId, TimeRange, Timestamp};

use super::formats::Format;

/// Segments of growing playlists that are remembered, together: a week is 151,200 of them.
const SEGMENTS_MAX: u64 = 500_000;
/// A playlist that nobody asks for is remembered this long.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// A playlist: the camera, where it begins, and where it is to end.
pub(super) type Key = (CameraId, Timestamp, Option<Timestamp>);

/// A segment as it was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) segment: Segment,
    /// What its head is for. What becomes known later names another one only behind what was listed.
    pub(super) format: Format,
}

/// What a playlist has listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) rows: Vec<Row>,
    /// As it was said of the first of them.
    pub(super) independent: bool,
    /// As they are named.
    pub(super) sound: bool,
}

/// The growing playlists of this process.
pub(super) struct Growth(Cache<Key, Arc<Listed>>);

impl Default for Growth {
    fn default() -> Self {
        let weight = |_: &Key, listed: &Arc<Listed>| {
            u32::try_from(listed.rows.len().max(1)).unwrap_or(u32::MAX)
        };
        Growth(
            Cache::builder()
                .max_capacity(SEGMENTS_MAX)
                .weigher(weight)
                .time_to_idle(KEPT_FOR)
                .build(),
        )
    }
}

impl Growth {
    /// What is to be listed now, by what is planned now; and whether the playlist was growing before.
    pub(super) async fn extend(
        &self,
        key: Key,
        growing: bool,
        planned: Listed,
    ) -> (Arc<Listed>, bool) {
        let mut grew = false;
        let planned = Arc::new(planned);
        let mut told = Arc::clone(&planned);
        // One at a time a playlist: what one question was answered holds for the next.
        self.0
            .entry(key)
            .and_compute_with(|before| {
                let before = before.map(moka::Entry::into_value);
                grew = before.is_some();
                let op = match before {
                    Some(before) => {
                        told = continued(&before, &planned);
                        Op::Put(Arc::clone(&told))
                    }
                    None if growing => Op::Put(Arc::clone(&told)),
                    None => Op::Nop,
                };
                std::future::ready(op)
            })
            .await;
        (told, grew)
    }
}

/// What was listed, and of what is planned the part behind it.
fn continued(listed: &Arc<Listed>, planned: &Listed) -> Arc<Listed> {
    let Some(Row { segment: last, .. }) = listed.rows.last() else {
        return Arc::new(planned.clone());
    };
    let end = last.range.end();
    let behind = planned
        .rows
        .partition_point(|row| row.segment.range.end() <= end);
    let Some(mut next) = planned.rows.get(behind).copied() else {
        return Arc::clone(listed);
    };
    if next.segment.range.start() <= end {
        next.segment = begun_at(next.segment, end, last);
    }
    let mut rows = Vec::with_capacity(listed.rows.len() + planned.rows.len() - behind);
    rows.extend_from_slice(&listed.rows);
    rows.push(next);
    rows.extend_from_slice(planned.rows.get(behind + 1..).unwrap_or_default());
    Arc::new(Listed {
        rows,
        ..*listed.as_ref()
    })
}

/// A segment that is to begin where the one listed before it ends, as that one says it does.
fn begun_at(mut segment: Segment, start: Timestamp, before: &Segment) -> Segment {
    if let Some(range) = TimeRange::new(start, segment.range.end()) {
        segment.range = range;
    }
    if let Content::Footage { opening, .. } = &mut segment.content {
        *opening = match before.content {
            Content::Footage { closing, .. } => match closing {
                Closing::Continues => Opening::Continues,
                Closing::Hands { .. } => Opening::Joins,
                Closing::Ends => Opening::Exact,
            },
            Content::Nothing => Opening::Exact,
        };
    }
    segment
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seamline_routing::CopyIx;

    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_767_268_800_000 + 1000 * s)
    }

    fn listed(pieces: &[(i64, i64, Option<u8>)]) -> Listed {
        let segments = pieces.iter().map(|(from, until, copy)| Segment {
            range: TimeRange::new(at(*from), at(*until)).expect("it lasts"),
            content: copy.map_or(Content::Nothing, |copy| Content::Footage {
                copy: CopyIx(copy),
                opening: Opening::Continues,
                closing: Closing::Continues,
            }),
        });
        let rows = segments.map(|segment| Row {
            segment,
            format: Format {
                copy: CopyIx(0),
                since: Timestamp::MIN,
            },
        });
        Listed {
            rows: rows.collect(),
            independent: true,
            sound: false,
        }
    }

    #[tokio::test]
    async fn what_was_listed_stays_when_its_site_dies() {
        let growth = Growth::default();
        let key = || (CameraId::from("gate"), Timestamp::EPOCH, None);
        let first = listed(&[(0, 4, Some(0)), (4, 8, Some(0))]);
        let (told, grew) = growth.extend(key(), true, first.clone()).await;
        assert_eq!((&*told, grew), (&first, false));
        // As if there had never been another: also told otherwise of its sound.
        let mut other = listed(&[(0, 4, Some(1)), (4, 12, Some(1)), (12, 16, Some(1))]);
        other.sound = true;
        let (told, grew) = growth.extend(key(), true, other).await;
        let mut wanted = listed(&[
            (0, 4, Some(0)),
            (4, 8, Some(0)),
            (8, 12, Some(1)),
            (12, 16, Some(1)),
        ]);
        assert_eq!((&*told, grew), (&wanted, true));
        // Less is known for a while.
        let (told, _) = growth.extend(key(), true, listed(&[])).await;
        assert_eq!(*told, wanted);
        // And it ends.
        let end = listed(&[(0, 16, Some(1)), (16, 19, None)]);
        let (told, grew) = growth.extend(key(), false, end).await;
        wanted.rows.extend(listed(&[(16, 19, None)]).rows);
        assert_eq!((&*told, grew), (&wanted, true));
        // What never grew is not remembered.
        let key = || (CameraId::from("yard"), Timestamp::EPOCH, None);
        let (_, grew) = growth.extend(key(), false, first.clone()).await;
        assert!(!grew);
        assert!(!growth.extend(key(), false, first).await.1);
    }

    /// What is learned of a segment that players have: it stays under the head that it was listed with, and what follows has another.
    #[test]
    fn a_listed_segment_keeps_its_head() {
        let before = Arc::new(listed(&[(0, 4, Some(0)), (4, 8, Some(0))]));
        let mut planned = listed(&[
            (0, 4, Some(0)),
            (4, 6, Some(0)),
            (6, 12, Some(0)),
            (12, 16, Some(0)),
        ]);
        for row in planned.rows.iter_mut().skip(2) {
            row.format.since = at(6);
        }
        let told = continued(&before, &planned);
        assert!(told.rows.starts_with(&before.rows));
        let behind: Vec<_> = told.rows.iter().skip(2).collect();
        let ranges = [(8, 12), (12, 16)].map(|(from, until)| (at(from), at(until)));
        let told = behind
            .iter()
            .map(|row| (row.segment.range.start(), row.segment.range.end()));
        assert_eq!(told.collect::<Vec<_>>(), ranges);
        assert!(behind.iter().all(|row| row.format.since == at(6)));
    }

    proptest! {
        /// Whatever is planned: what was listed is at the front, and nothing is listed twice or left out behind it.
        #[test]
        fn segments_follow_each_other(
            lengths in prop::collection::vec((1_i64..12, prop::option::of(0_u8..3)), 1..20),
            others in prop::collection::vec((1_i64..12, prop::option::of(0_u8..3)), 1..40),
        ) {
            let tiled = |lengths: &[(i64, Option<u8>)]| {
                let mut at = 0;
                let pieces: Vec<_> = lengths.iter().map(|(long, copy)| {
                    at += long;
                    (at - long, at, *copy)
                }).collect();
                listed(&pieces)
            };
            let (before, planned) = (Arc::new(tiled(&lengths)), tiled(&others));
            let told = continued(&before, &planned);
            prop_assert!(told.rows.starts_with(&before.rows));
            let follow = told.rows.windows(2).all(|pair| pair[0].segment.range.end() == pair[1].segment.range.start());
            prop_assert!(follow, "{:?}", told.rows);
            let end = |listed: &Listed| listed.rows.last().map(|last| last.segment.range.end());
            prop_assert_eq!(end(&told), end(&before).max(end(&planned)));
        }
    }
}
