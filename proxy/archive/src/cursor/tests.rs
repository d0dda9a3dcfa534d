//! Reading positions over gaps, joins, overlaps and growth.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    folder::Options,
    naming::Pattern,
    testing::{FRAME_US, fragment, fragmented, fragmented_head, frame, plain, plain_with},
};

const AT: i64 = 1_767_323_045_000_000;
const LATER: i64 = AT + 86_400_000_000;
const ROOM: usize = 1 << 20;

fn put(dir: &Path, at_us: i64, bytes: &[u8]) -> PathBuf {
    let path = dir.join(format!("{}.mp4", at_us / 1_000));
    fs::write(&path, bytes).unwrap();
    path
}

fn folder(dir: &Path) -> Arc<Folder> {
    let pattern = Pattern::parse("{epoch_ms}.mp4", None).unwrap();
    Folder::open(dir, pattern, Options::default()).unwrap()
}

type Frames = Vec<(i64, Bytes)>;
type Gaps = Vec<(i64, i64)>;

/// Everything up to the end: video frames as (capture relative to `AT`, content), and gaps.
fn play(cursor: &mut Cursor, now_us: i64) -> (Frames, Gaps) {
    let (mut frames, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match cursor.next_batch(ROOM, now_us).unwrap() {
            Batch::Tracks(_) => {}
            Batch::Frames(batch) => frames.extend(
                batch
                    .into_iter()
                    .filter(|frame| frame.track == 0)
                    .map(|frame| (frame.capture_us - AT, frame.data)),
            ),
            Batch::Gap { from_us, until_us } => gaps.push((from_us - AT, until_us - AT)),
            Batch::AtTail | Batch::End => return (frames, gaps),
        }
    }
}

fn expected(numbers: std::ops::Range<usize>, base: i64) -> Vec<(i64, Bytes)> {
    numbers
        .map(|number| (base + number as i64 * FRAME_US, frame(number).into()))
        .collect()
}

#[test]
fn begins_with_the_key_frame_before_the_wanted_time() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), AT, &plain(20, 0));
    let folder = folder(dir.path());
    for (from, first) in [
        (0, 0),
        (4 * FRAME_US, 0),
        (5 * FRAME_US, 5),
        (13 * FRAME_US + 1, 10),
    ] {
        let mut cursor = Cursor::open(Arc::clone(&folder), AT + from, LATER).unwrap();
        let (frames, gaps) = play(&mut cursor, LATER);
        assert_eq!(frames, expected(first..20, 0));
        assert_eq!(gaps, []);
        assert!(matches!(cursor.next_batch(ROOM, LATER), Ok(Batch::End)));
    }
}

#[test]
fn one_group_a_batch_and_never_too_many_bytes() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), AT, &plain(20, 0));
    let mut cursor = Cursor::open(folder(dir.path()), AT, LATER).unwrap();
    assert!(
        matches!(cursor.next_batch(ROOM, LATER), Ok(Batch::Tracks(tracks)) if tracks.len() == 1)
    );
    let Ok(Batch::Frames(group)) = cursor.next_batch(ROOM, LATER) else {
        panic!("frames");
    };
    assert_eq!(group.len(), 5);
    let Ok(Batch::Frames(few)) = cursor.next_batch(8, LATER) else {
        panic!("frames");
    };
    assert_eq!(few.len(), 1);
    assert!(few[0].sync);
}

#[test]
fn gaps_are_told_and_joins_are_not() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), AT, &plain(10, 0));
    put(dir.path(), AT + 400_000, &plain(10, 0));
    put(dir.path(), AT + 3_000_000, &plain(5, 0));
    let folder = folder(dir.path());
    let mut cursor = Cursor::open(Arc::clone(&folder), AT - 1_000_000, LATER).unwrap();
    let (frames, gaps) = play(&mut cursor, LATER);
    let all = [
        expected(0..10, 0),
        expected(0..10, 400_000),
        expected(0..5, 3_000_000),
    ]
    .concat();
    assert_eq!(frames, all);
    assert_eq!(gaps, [(-1_000_000, 0), (800_000, 3_000_000)]);

    let mut cursor = Cursor::open(folder, AT + 1_000_000, LATER).unwrap();
    let (frames, gaps) = play(&mut cursor, LATER);
    assert_eq!(frames, all[20..]);
    assert_eq!(gaps, [(1_000_000, 3_000_000)]);
}

#[test]
fn overlapping_files_go_on_from_the_key_frame_before_the_join() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), AT, &plain(20, 0));
    put(dir.path(), AT + 500_000, &plain(20, 0));
    let mut cursor = Cursor::open(folder(dir.path()), AT, LATER).unwrap();
    let (frames, gaps) = play(&mut cursor, LATER);
    // The first ends at 800 ms: 300 ms into the second, whose key frame before is at 200 ms.
    let both = [expected(0..20, 0), expected(5..20, 500_000)].concat();
    assert_eq!(frames, both);
    assert_eq!(gaps, []);
}

#[test]
fn a_file_cut_between_key_frames_is_entered_through_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), AT, &fragmented(2));
    let middle = [fragmented_head(), fragment(1, 4), fragment(5, 5)].concat();
    // Its frame 1 is at +40 ms of its own clock.
    put(dir.path(), AT + 360_000, &middle);
    let mut cursor = Cursor::open(folder(dir.path()), AT + 450_000, LATER).unwrap();
    let (frames, _) = play(&mut cursor, LATER);
    let both = [expected(5..10, 0), expected(1..10, 360_000)].concat();
    assert_eq!(frames, both);
}

#[test]
fn a_growing_file_is_followed_into_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let now = std::time::UNIX_EPOCH;
    let path = put(dir.path(), AT, &fragmented(2));
    let mut elapsed_us = 0;
    let mut touch = |path: &Path| {
        elapsed_us += 1_000_000;
        let at_us = AT + elapsed_us;
        let file = File::options().write(true).open(path).unwrap();
        let changed = now + std::time::Duration::from_micros(at_us as u64);
        file.set_modified(changed).unwrap();
        at_us
    };
    let at = touch(&path);
    let mut cursor = Cursor::open(folder(dir.path()), AT, at).unwrap();
    assert_eq!(play(&mut cursor, at).0, expected(0..10, 0));
    assert!(matches!(cursor.next_batch(ROOM, at), Ok(Batch::AtTail)));

    put(dir.path(), AT, &fragmented(3));
    let at = touch(&path);
    assert_eq!(play(&mut cursor, at).0, expected(10..15, 0));

    put(dir.path(), AT, &fragmented(4));
    touch(&path);
    let next = put(dir.path(), AT + 800_000, &fragmented(1));
    let at = touch(&next);
    let rest = [expected(15..20, 0), expected(0..5, 800_000)].concat();
    assert_eq!(play(&mut cursor, at), (rest, vec![]));
    assert!(matches!(cursor.next_batch(ROOM, at), Ok(Batch::AtTail)));
    assert!(matches!(cursor.next_batch(ROOM, LATER), Ok(Batch::End)));
}

#[test]
fn tracks_are_interleaved_by_time() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), AT, &plain_with(20, 0, &[9; 6_400]));
    let mut cursor = Cursor::open(folder(dir.path()), AT + 410_000, LATER).unwrap();
    let mut frames = Vec::new();
    while let Batch::Tracks(_) | Batch::Frames(_) = {
        let batch = cursor.next_batch(ROOM, LATER).unwrap();
        if let Batch::Frames(more) = &batch {
            frames.extend(more.clone());
        }
        batch
    } {}
    assert!(frames.is_sorted_by_key(|frame| frame.decode_us));
    let first = |track| frames.iter().find(|frame| frame.track == track).unwrap();
    assert_eq!(first(0).capture_us, AT + 400_000);
    assert_eq!(first(1).capture_us, AT + 400_000);
    assert_eq!(frames.iter().filter(|frame| frame.track == 1).count(), 20);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), AT, &plain(20, 0));
    let mut cursor = Cursor::open(folder(dir.path()), AT, LATER).unwrap();
    cursor.next_batch(ROOM, LATER).unwrap();
    fs::write(&path, b"").unwrap();
    let error = cursor.next_batch(ROOM, LATER).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()));
}

#[test]
fn an_empty_folder_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut cursor = Cursor::open(folder(dir.path()), AT, LATER).unwrap();
    assert!(matches!(cursor.next_batch(ROOM, LATER), Ok(Batch::End)));
}
