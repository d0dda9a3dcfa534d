//! Folders that are joined, grow, lose files and hold rubbish.

use std::{
    fs::{self, File},
    time::SystemTime,
};

use super::*;
use crate::testing::{FRAME_US, fragment, fragmented, plain};

/// 2026-01-02T03:04:05Z, and long after.
const AT: i64 = 1_767_323_045_000_000;
const LATER: i64 = AT + 86_400_000_000;

struct Dir {
    dir: tempfile::TempDir,
    pattern: Pattern,
}

impl Dir {
    fn new(pattern: &str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            pattern: Pattern::parse(pattern, Some("gate")).unwrap(),
        }
    }

    /// Writes the file that begins at `at_us`, changed last at `changed_us`.
    fn put(&self, at_us: i64, bytes: &[u8], changed_us: i64) -> PathBuf {
        let path = self.dir.path().join(self.pattern.name_at(at_us).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_micros(changed_us as u64);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(changed).unwrap();
        path
    }

    fn folder(&self) -> Arc<Folder> {
        Folder::open(self.dir.path(), self.pattern.clone(), Options::default()).unwrap()
    }
}

fn spans(listing: &Listing) -> Vec<(i64, i64)> {
    listing
        .segments
        .iter()
        .map(|file| (file.start_us - AT, file.end_us - AT))
        .collect()
}

#[test]
fn files_become_periods() {
    let dir = Dir::new("{camera}/%Y-%m-%d/%H-%M-%S-%f");
    let second = 25 * FRAME_US;
    for start in [
        0,
        second,
        2 * second + 90_000,
        5 * second,
        5 * second + 500_000,
    ] {
        dir.put(AT + start, &plain(25, 0), AT);
    }
    fs::write(dir.dir.path().join("gate/notes.txt"), "x").unwrap();
    let folder = dir.folder();
    let listing = folder.scan(LATER).unwrap();
    assert_eq!(listing.segments.len(), 5);
    assert!(listing.problems.is_empty() && !listing.live);
    let periods: Vec<_> = periods(&listing.segments, folder.join_us())
        .iter()
        .map(|period| (period.start_us - AT, period.end_us - AT))
        .collect();
    assert_eq!(
        periods,
        [(0, 3 * second + 90_000), (5 * second, 6 * second + 500_000)]
    );
    let at = |at: i64| listing.segment_at(AT + at).map(|file| file.start_us - AT);
    assert_eq!(at(-1), None);
    assert_eq!(at(0), Some(0));
    assert_eq!(at(second), Some(second));
    assert_eq!(at(4 * second), None);
    assert_eq!(at(5 * second + 700_000), Some(5 * second + 500_000));
    let next = listing.next_segment(AT + 4 * second).unwrap();
    assert_eq!(next.start_us, AT + 5 * second);
    assert_eq!(listing.next_segment(LATER), None);
}

#[test]
fn coarse_names_follow_the_file_before_them() {
    let dir = Dir::new("%Y%m%dT%H%M%SZ");
    let length = 26 * FRAME_US;
    for second in [0, 1, 2, 3, 9] {
        dir.put(AT + second * 1_000_000, &plain(26, 0), AT);
    }
    let folder = dir.folder();
    let listing = folder.scan(LATER).unwrap();
    let expected = [
        (0, length),
        (length, 2 * length),
        (2 * length, 3 * length),
        (3 * length, 4 * length),
        (9_000_000, 9_000_000 + length),
    ];
    assert_eq!(spans(&listing), expected);
    fs::remove_file(&listing.segments[0].path).unwrap();
    assert_eq!(spans(&folder.scan(LATER).unwrap()), expected[1..]);
}

#[test]
fn a_growing_file_is_followed_until_it_rests() {
    let dir = Dir::new("{epoch_ms}");
    let bytes = fragmented(3);
    let folder = dir.folder();
    let path = dir.put(AT, &bytes[..bytes.len() - 1], AT);
    let listing = folder.scan(AT + 1_000_000).unwrap();
    assert_eq!(spans(&listing), [(0, 10 * FRAME_US)]);
    assert!(listing.live && listing.segments[0].growing);

    dir.put(AT, &bytes, AT + 2_000_000);
    let now = AT + 2_100_000;
    assert_eq!(spans(&folder.scan(now).unwrap()), [(0, 15 * FRAME_US)]);
    let known = folder.listing(now + 100_000).unwrap();
    assert_eq!(known.scanned_us, now);

    let listing = folder.scan(AT + 60_000_000).unwrap();
    assert!(!listing.live && !listing.segments[0].growing);

    fs::remove_file(path).unwrap();
    assert!(folder.scan(LATER).unwrap().segments.is_empty());
}

#[test]
fn a_replaced_file_is_read_anew() {
    let dir = Dir::new("{epoch_ms}");
    let folder = dir.folder();
    dir.put(AT, &fragmented(3), AT);
    assert_eq!(spans(&folder.scan(LATER).unwrap()), [(0, 15 * FRAME_US)]);
    dir.put(AT, &fragmented(1), AT + 1);
    assert_eq!(spans(&folder.scan(LATER).unwrap()), [(0, 5 * FRAME_US)]);
    let grown = [fragmented(1), fragment(5, 5)].concat();
    dir.put(AT, &grown, AT + 2);
    assert_eq!(spans(&folder.scan(LATER).unwrap()), [(0, 10 * FRAME_US)]);
}

#[test]
fn unreadable_files_are_named_and_the_others_play() {
    let dir = Dir::new("{epoch_ms}");
    dir.put(AT, &plain(25, 0), AT);
    let bad = dir.put(AT + 10_000_000, b"rubbish, not a recording", AT);
    let begun = dir.put(AT + 20_000_000, &plain(25, 0)[..200], AT + 20_000_000);
    let folder = dir.folder();
    let listing = folder.scan(AT + 21_000_000).unwrap();
    assert_eq!(spans(&listing), [(0, 25 * FRAME_US)]);
    let problems: Vec<_> = listing.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, [format!("{}: not an MP4 file", bad.display())]);
    assert!(listing.live, "a file has just been begun");
    let listing = folder.scan(LATER).unwrap();
    assert!(
        listing.problems[1]
            .to_string()
            .contains(begun.to_str().unwrap())
    );
    assert!(!listing.live);
}

#[test]
fn old_footage_copied_now_does_not_grow() {
    let dir = Dir::new("{epoch_ms}");
    dir.put(AT, &fragmented(3), LATER);
    let listing = dir.folder().scan(LATER + 1).unwrap();
    assert!(!listing.live && !listing.segments[0].growing);
}

#[test]
fn a_folder_that_is_not_there() {
    let pattern = Pattern::parse("%s", None).unwrap();
    let error = Folder::open(Path::new("/nonexistent"), pattern, Options::default());
    assert!(error.unwrap_err().to_string().contains("/nonexistent"));
}
