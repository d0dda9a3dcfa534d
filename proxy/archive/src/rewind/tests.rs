//! Backwards over gaps, joins and overlaps, and only the key frames.

use std::{fs, path::Path};

use super::*;
use crate::{
    cursor::Cursor,
    folder::Options,
    naming::Pattern,
    testing::{FRAME_US, plain},
};

const AT: i64 = 1_767_323_045_000_000;
const LATER: i64 = AT + 86_400_000_000;

fn folder(files: &[(i64, Vec<u8>)]) -> (tempfile::TempDir, Arc<Folder>) {
    let dir = tempfile::tempdir().unwrap();
    for (at_us, bytes) in files {
        let path = Path::new(dir.path()).join(format!("{}.mp4", at_us / 1_000));
        fs::write(path, bytes).unwrap();
    }
    let pattern = Pattern::parse("{epoch_ms}.mp4", None).unwrap();
    let folder = Folder::open(dir.path(), pattern, Options::default()).unwrap();
    (dir, folder)
}

/// Capture times relative to `AT` in frames, by group; an empty group stands for a gap.
fn rewind(folder: &Arc<Folder>, before_us: i64, keys: Option<Keys>) -> Vec<Vec<i64>> {
    let mut rewind = Rewind::open(Arc::clone(folder), before_us, keys);
    let mut groups = Vec::new();
    loop {
        match rewind.next_batch(LATER).unwrap() {
            Batch::Tracks(_) => {}
            Batch::Frames(frames) => groups.push(
                frames
                    .iter()
                    .map(|frame| (frame.capture_us - AT) / FRAME_US)
                    .collect(),
            ),
            Batch::Gap { .. } => groups.push(Vec::new()),
            Batch::AtTail => panic!("the past does not grow"),
            Batch::End => return groups,
        }
    }
}

#[test]
fn groups_come_last_first_and_each_in_decode_order() {
    let (_dir, folder) = folder(&[(AT, plain(20, 0))]);
    let all: Vec<Vec<i64>> = vec![
        (15..20).collect(),
        (10..15).collect(),
        (5..10).collect(),
        (0..5).collect(),
    ];
    assert_eq!(rewind(&folder, LATER, None), all);
    assert_eq!(rewind(&folder, AT + 15 * FRAME_US, None), all[1..]);
    let partly = rewind(&folder, AT + 12 * FRAME_US, None);
    assert_eq!(partly[0], [10, 11]);
    assert_eq!(partly[1..], all[2..]);
    assert_eq!(rewind(&folder, AT, None), Vec::<Vec<i64>>::new());
}

#[test]
fn files_join_overlap_and_leave_gaps() {
    let file = |number: i64| (AT + number * FRAME_US, plain(10, 0));
    // The second overlaps the first by five pictures, the third follows a hole of twenty.
    let (_dir, folder) = folder(&[file(0), file(5), file(35)]);
    assert_eq!(
        rewind(&folder, LATER, None),
        [
            (40..45).collect(),
            (35..40).collect(),
            vec![],
            (10..15).collect(),
            (5..10).collect(),
            (0..5).collect::<Vec<i64>>(),
        ]
    );
}

#[test]
fn key_frames_at_their_distance_both_ways() {
    let (_dir, folder) = folder(&[(AT, plain(40, 0)), (AT + 40 * FRAME_US, plain(20, 0))]);
    let keys = |interval: i64| Keys {
        interval_us: interval * FRAME_US,
    };
    let flat = |groups: Vec<Vec<i64>>| groups.into_iter().flatten().collect::<Vec<_>>();
    let back = |interval| flat(rewind(&folder, LATER, Some(keys(interval))));
    assert_eq!(
        back(0),
        (0..12).rev().map(|key| 5 * key).collect::<Vec<_>>()
    );
    assert_eq!(back(12), [55, 40, 25, 10]);
    let mut cursor = Cursor::open(Arc::clone(&folder), AT, LATER)
        .unwrap()
        .only_keys(keys(12));
    let mut forth = Vec::new();
    loop {
        match cursor.next_batch(1, LATER).unwrap() {
            Batch::Frames(frames) => forth.extend(
                frames
                    .iter()
                    .map(|frame| (frame.capture_us - AT) / FRAME_US),
            ),
            Batch::Tracks(_) => {}
            _ => break,
        }
    }
    assert_eq!(forth, [0, 15, 30, 45]);
}
