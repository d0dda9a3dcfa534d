//! What is kept, corrected, doubted and read.

use std::{sync::Arc, thread, time::Duration};

use futures::FutureExt;
use seamline_routing::{CopyIx, Coverage, FailureKind, HealthState, Held, TimeRange};

use super::*;
use crate::{
    clock::monotonic,
    testing::{Fake, at, camera, copy, span},
};

const FIRST: CopyIx = CopyIx(0);
const SECOND: CopyIx = CopyIx(1);

fn recorders(ids: &[&str]) -> HashMap<RecorderId, RecorderClient> {
    ids.iter()
        .map(|id| (RecorderId::from(*id), Fake::new().client(id)))
        .collect()
}

fn index(ids: &[&str]) -> Index {
    Index::new([camera("gate", ids)], &recorders(ids), monotonic()).unwrap()
}

#[tokio::test]
async fn facts_are_those_of_each_copy() {
    let index = index(&["a", "b"]);
    assert!(index.camera("yard").is_none());
    let slot = index.camera("gate").unwrap();
    let now = monotonic();
    slot.listed(
        SECOND,
        &Coverage::new(span(0, 100), [span(10, 20)], at(0), false),
        now,
    );
    slot.delivers(SECOND, now);
    slot.failed(FIRST, FailureKind::Refused, now);
    let facts = slot.facts(now + Duration::from_secs(2));
    let copies = facts.copies(|ix| ix == SECOND);
    assert_eq!(copies.len(), 2);
    assert_eq!(copies[0].health, HealthState::Down);
    assert!(matches!(
        copies[0].coverage.held(at(15)),
        Held::Unknown { .. }
    ));
    assert_eq!(copies[1].health, HealthState::Up);
    assert_eq!(copies[1].healthy_for, Some(Duration::from_secs(2)));
    assert_eq!(
        copies[1].coverage.held(at(15)),
        Held::Recorded { until: at(20) }
    );
    assert!(copies[1].lists && copies[1].barred && !copies[0].barred);
}

#[tokio::test]
async fn listings_are_kept_in_true_time_and_asked_in_the_recorder_s() {
    let fake = Fake::new();
    fake.hold(&[span(13, 23)]);
    let clients = [(RecorderId::from("a"), fake.client("a"))].into();
    let mut gate = camera("gate", &[]);
    gate.copies = vec![copy("a", 3_000_000)];
    let index = Index::new([gate], &clients, monotonic()).unwrap();
    let slot = index.camera("gate").unwrap();
    slot.ask(FIRST, span(0, 100)).await.unwrap();
    assert_eq!(fake.queries.lock().unwrap()[0].window, span(3, 103));
    let coverage = slot.coverage(FIRST).unwrap();
    assert_eq!(coverage.periods(), [span(10, 20)]);
    assert_eq!(coverage.windows(), [span(0, 100)]);
    slot.ask(FIRST, TimeRange::ALL).await.unwrap();
    assert_eq!(fake.queries.lock().unwrap()[1].window, TimeRange::ALL);
}

#[tokio::test]
async fn what_a_playback_found_outlives_the_next_listing() {
    let index = index(&["a"]);
    let slot = index.camera("gate").unwrap();
    let now = monotonic();
    let listing = Coverage::new(span(0, 100), [span(0, 100)], at(0), false);
    slot.listed(FIRST, &listing, now);
    slot.teach(FIRST, Lesson::Gap(span(40, 45)), now);
    slot.listed(FIRST, &listing, now + Duration::from_secs(5));
    let held = slot.coverage(FIRST).unwrap();
    assert_eq!(held.periods(), [span(0, 40), span(45, 100)]);
    slot.teach(FIRST, Lesson::Recorded(span(39, 46)), now);
    assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 100)]);
    slot.teach(FIRST, Lesson::End { at: at(90) }, now);
    assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 90)]);
    slot.listed(FIRST, &listing, now + Duration::from_secs(6));
    assert_eq!(slot.coverage(FIRST).unwrap().periods(), [span(0, 100)]);
}

#[tokio::test]
async fn a_recorder_without_listings_is_learned_piece_by_piece() {
    let index = index(&["a"]);
    let slot = index.camera("gate").unwrap();
    let now = monotonic();
    for start in [0, 20, 10] {
        slot.teach(FIRST, Lesson::Recorded(span(start, start + 10)), now);
    }
    slot.teach(FIRST, Lesson::Gap(span(30, 35)), now);
    let coverage = slot.coverage(FIRST).unwrap();
    assert_eq!(coverage.periods(), [span(0, 30)]);
    assert_eq!(coverage.held(at(32)), Held::Gap { until: at(35) });
    assert!(matches!(coverage.held(at(40)), Held::Unknown { .. }));
}

#[tokio::test]
async fn playbacks_learn_of_changes_and_of_nothing_else() {
    let index = index(&["a", "b"]);
    let slot = index.camera("gate").unwrap();
    let now = monotonic();
    let mut changes = slot.changes();
    let listing = Coverage::new(span(0, 100), [span(0, 50)], at(0), false);
    slot.listed(FIRST, &listing, now);
    changes.changed().await;
    slot.listed(
        FIRST,
        &Coverage::new(span(0, 100), [span(0, 50)], at(9), false),
        now,
    );
    assert!(changes.changed().now_or_never().is_none());
    assert!(!changes.take_news());
    slot.failed(SECOND, FailureKind::Refused, now);
    changes.changed().await;
    assert!(changes.changed().now_or_never().is_none());
    slot.delivers(SECOND, now);
    assert!(changes.take_news() && !changes.take_news());
    drop((slot, index));
    assert!(changes.changed().now_or_never().is_none());
}

#[tokio::test]
async fn other_cameras_take_their_place_and_known_copies_stay_known() {
    let clients = recorders(&["a", "b"]);
    let index = Index::new([camera("gate", &["a"])], &clients, monotonic()).unwrap();
    let now = monotonic();
    let listing = Coverage::new(span(0, 100), [span(0, 50)], at(0), false);
    index.camera("gate").unwrap().listed(FIRST, &listing, now);
    let cameras = [camera("gate", &["b", "a"]), camera("yard", &["a"])];
    index.replace(cameras, &clients).unwrap();
    let slot = index.camera("gate").unwrap();
    assert_eq!(slot.coverage(SECOND).unwrap().periods(), [span(0, 50)]);
    assert!(slot.age(SECOND, now).is_some() && slot.age(FIRST, now).is_none());
    let error = index
        .replace([camera("yard", &["c"])], &clients)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "camera yard names the unknown recorder c"
    );
    assert!(index.camera("gate").is_some());
}

#[tokio::test(start_paused = true)]
async fn staleness_is_about_the_instant_asked() {
    let index = index(&["a"]);
    let slot = index.camera("gate").unwrap();
    let (ttl, tail_ttl) = (Duration::from_secs(300), Duration::from_secs(5));
    let now = monotonic();
    assert!(slot.is_stale(at(10), ttl, tail_ttl, now));
    slot.listed(
        FIRST,
        &Coverage::new(span(0, 100), [span(0, 50)], at(0), true),
        now,
    );
    let later = |seconds| now + Duration::from_secs(seconds);
    assert!(!slot.is_stale(at(200), ttl, tail_ttl, later(4)));
    assert!(slot.is_stale(at(200), ttl, tail_ttl, later(6)));
    assert!(!slot.is_stale(at(10), ttl, tail_ttl, later(6)));
    assert!(slot.is_stale(at(10), ttl, tail_ttl, later(301)));
    slot.failed(FIRST, FailureKind::Refused, later(301));
    assert!(!slot.is_stale(at(10), ttl, tail_ttl, later(302)));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_returns_what_arrived_and_keeps_what_comes_late() {
    let (prompt, late) = (Fake::new(), Fake::new());
    late.hold(&[span(1, 2)]);
    late.delay(Duration::from_secs(3));
    let clients = [
        ("a".into(), prompt.client("a")),
        ("b".into(), late.client("b")),
    ]
    .into();
    let index = Index::new([camera("gate", &["a", "b"])], &clients, monotonic()).unwrap();
    let slot = index.camera("gate").unwrap();
    let answers = slot.refresh(Duration::from_secs(2)).await;
    assert_eq!(answers, [Some(Ok(())), None]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(slot.coverage(SECOND).unwrap().periods(), [span(1, 2)]);
}

#[tokio::test]
async fn readers_always_see_one_whole_coverage() {
    let index = Arc::new(index(&["a", "b"]));
    let whole = |shift: i64| {
        let periods = (0..200).map(move |n| span(shift + n * 10, shift + n * 10 + 5));
        Coverage::new(TimeRange::ALL, periods, at(0), false)
    };
    let now = monotonic();
    thread::scope(|scope| {
        for writer in 0..2_i64 {
            let index = Arc::clone(&index);
            scope.spawn(move || {
                let slot = index.camera("gate").unwrap();
                for round in 0..300 {
                    slot.listed(CopyIx(writer as u8), &whole(round % 7), now);
                    slot.delivers(FIRST, now);
                    slot.failed(SECOND, FailureKind::Lost, now);
                }
            });
        }
        for _ in 0..2 {
            let index = Arc::clone(&index);
            scope.spawn(move || {
                for _ in 0..20_000 {
                    let slot = index.camera("gate").unwrap();
                    let facts = slot.facts(now);
                    for copy in facts.copies(|_| false) {
                        let periods = copy.coverage.periods();
                        assert!(periods.is_empty() || periods.len() == 200);
                    }
                }
            });
        }
    });
}

#[tokio::test]
async fn what_was_seen_of_a_recorder_that_lists_nothing_is_believed_for_a_while() {
    let mut fake = Fake::new();
    Arc::get_mut(&mut fake).unwrap().lists = false;
    let recorders = [("a".into(), fake.client("a"))].into();
    let index = Index::new([camera("gate", &["a"])], &recorders, monotonic()).unwrap();
    let slot = index.camera("gate").unwrap();
    let (start, hour) = (monotonic(), Duration::from_secs(3_600));
    let periods = || slot.coverage(FIRST).unwrap().periods().to_vec();
    slot.teach(FIRST, Lesson::Recorded(span(0, 10)), start);
    slot.sweep(start + hour + Duration::from_secs(1));
    slot.teach(FIRST, Lesson::Recorded(span(20, 30)), start + hour * 3 / 2);
    assert_eq!(periods(), [span(0, 10), span(20, 30)]);
    slot.sweep(start + hour * 2 + Duration::from_secs(2));
    assert_eq!(periods(), [span(20, 30)]);
    slot.sweep(start + hour * 4);
    assert_eq!(periods(), []);
}
