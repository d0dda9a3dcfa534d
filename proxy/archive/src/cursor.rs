//! Reads a folder's samples in decode order, from file to file and along a growing end.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use crate::{
    error::ArchiveError,
    folder::{Folder, SegmentFile, open_file},
    format::TrackFormat,
    segment::{Sample, Segment},
};

/// A reading position in a folder.
///
/// Begins with a frame that decoding can start at, so the first frames may be older than what was
/// asked for; the same holds behind the join of two files that overlap. Who wants none twice looks
/// at [`Frame::capture_us`].
#[derive(Debug)]
pub struct Cursor {
    folder: Arc<Folder>,
    playing: Option<Playing>,
    /// Everything before this was yielded, or is a gap that was told; µs UTC.
    until_us: i64,
    announced: Option<Arc<[TrackFormat]>>,
}

/// What comes next.
#[derive(Debug)]
pub enum Batch {
    /// The tracks that the frames behind this refer to; told first, and whenever they change.
    Tracks(Arc<[TrackFormat]>),
    /// Frames in decode order, tracks interleaved by decode time. Never empty.
    Frames(Vec<Frame>),
    /// Nothing was recorded in this time; the next frames are at or behind its end.
    Gap {
        /// First instant of the gap, µs UTC.
        from_us: i64,
        /// First instant behind it, µs UTC.
        until_us: i64,
    },
    /// All that is recorded was yielded, and more is to be expected: ask again later.
    AtTail,
    /// All that is recorded was yielded, and the recording has ended.
    End,
}

/// One coded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Index into the last [`Batch::Tracks`].
    pub track: usize,
    /// When it was captured, µs UTC.
    pub capture_us: i64,
    /// When it is to be decoded, on the clock of the capture times, µs UTC.
    pub decode_us: i64,
    /// How long it lasts, µs.
    pub duration_us: i64,
    /// Whether decoding can begin here.
    pub sync: bool,
    /// As the file holds it: NAL units behind length prefixes, a raw AAC frame, companded audio.
    pub data: Bytes,
}

impl Cursor {
    /// Positions at the last frame at or before `from_us` that decoding can start at, or at the
    /// beginning of the next file when nothing was recorded at `from_us`. `now_us` is the wall
    /// clock. Times are µs UTC.
    pub fn open(folder: Arc<Folder>, from_us: i64, now_us: i64) -> Result<Self, ArchiveError> {
        let mut cursor = Self {
            folder,
            playing: None,
            until_us: from_us,
            announced: None,
        };
        let listing = cursor.folder.listing(now_us)?;
        if let Some(file) = listing.segment_at(from_us) {
            let mut playing = Playing::open(file)?;
            let mut sought = playing.seek(from_us);
            // A recorder may cut its files between two key frames.
            for _ in 0..FILES_BACK_MAX {
                let Some(before) = listing.predecessor(&playing.file.path).filter(|before| {
                    !sought && playing.file.start_us - before.end_us < cursor.folder.join_us()
                }) else {
                    break;
                };
                playing = Playing::open(before)?;
                sought = playing.seek(from_us);
            }
            cursor.playing = Some(playing);
        }
        Ok(cursor)
    }

    /// The next frames: up to the next random access point of the video, and about `bytes_max`
    /// bytes at most, but at least one frame. After an error the cursor's position is undefined.
    pub fn next_batch(&mut self, bytes_max: usize, now_us: i64) -> Result<Batch, ArchiveError> {
        for _ in 0..FILES_EMPTY_MAX {
            let Some(playing) = &mut self.playing else {
                let listing = self.folder.listing(now_us)?;
                let Some(file) = listing
                    .segment_at(self.until_us)
                    .or_else(|| listing.next_segment(self.until_us))
                else {
                    return Ok(if listing.live {
                        Batch::AtTail
                    } else {
                        Batch::End
                    });
                };
                let mut playing = Playing::open(file)?;
                playing.seek(self.until_us);
                self.playing = Some(playing);
                if let Some(gap) = self.gap_to(file.start_us, 0) {
                    return Ok(gap);
                }
                continue;
            };
            if self.announced.as_deref() != Some(&*playing.formats) {
                self.announced = Some(Arc::clone(&playing.formats));
                return Ok(Batch::Tracks(Arc::clone(&playing.formats)));
            }
            let frames = playing.read_batch(bytes_max)?;
            if !frames.is_empty() {
                return Ok(Batch::Frames(frames));
            }
            // The listing first: what the recorder appended before it began its next file is
            // then sure to be seen.
            let listing = self.folder.listing(now_us)?;
            if playing.refresh()? {
                continue;
            }
            self.until_us = self.until_us.max(playing.end_us());
            let Some(next) = listing.successor(&playing.file, self.until_us) else {
                return Ok(if listing.live {
                    Batch::AtTail
                } else {
                    Batch::End
                });
            };
            let mut playing = Playing::open(next)?;
            if next.start_us.saturating_add(self.folder.join_us()) < self.until_us {
                playing.seek(self.until_us);
            }
            self.playing = Some(playing);
            if let Some(gap) = self.gap_to(next.start_us, self.folder.join_us()) {
                return Ok(gap);
            }
        }
        Ok(Batch::AtTail)
    }

    fn gap_to(&mut self, start_us: i64, join_us: i64) -> Option<Batch> {
        let from_us = self.until_us;
        if start_us <= from_us || start_us - from_us < join_us {
            return None;
        }
        self.until_us = start_us;
        Some(Batch::Gap {
            from_us,
            until_us: start_us,
        })
    }
}

/// A file being read.
#[derive(Debug)]
struct Playing {
    file: SegmentFile,
    reader: BufReader<File>,
    segment: Segment,
    formats: Arc<[TrackFormat]>,
    /// For each track the index of its next sample.
    next: Vec<usize>,
}

/// A sample chosen for a batch.
struct Chosen {
    track: usize,
    decode_us: i64,
    sample: Sample,
}

impl Playing {
    fn open(file: &SegmentFile) -> Result<Self, ArchiveError> {
        let mut reader = open_file(&file.path)?;
        let segment = Segment::read(&file.path, &mut reader)?;
        let tracks = segment.tracks();
        Ok(Self {
            file: file.clone(),
            formats: tracks.iter().map(|track| track.format().clone()).collect(),
            next: vec![0; tracks.len()],
            reader,
            segment,
        })
    }

    /// Positions at the last random access sample of the main track at or before `at_us`, else at
    /// its first one, and the other tracks at the same time. False when there was none before.
    fn seek(&mut self, at_us: i64) -> bool {
        let at_us = at_us.saturating_sub(self.file.base_us);
        let Some(main) = self.segment.tracks().first() else {
            return false;
        };
        let syncs = main
            .samples()
            .iter()
            .enumerate()
            .filter(|(_, sample)| sample.sync);
        let mut chosen = None;
        let mut found = false;
        for (index, sample) in syncs {
            let capture_us = self.segment.presentation_us(main, sample);
            let before = capture_us <= at_us;
            if before || chosen.is_none() {
                chosen = Some((index, capture_us));
            }
            if !before {
                break;
            }
            found = true;
        }
        let Some((index, capture_us)) = chosen else {
            return false;
        };
        let start_us = if found { capture_us } else { i64::MIN };
        self.next = self
            .segment
            .tracks()
            .iter()
            .map(|track| {
                track.samples().partition_point(|sample| {
                    let decode_us = self.segment.decode_us(track, sample);
                    decode_us.saturating_add(track.duration_us(sample)) <= start_us
                })
            })
            .collect();
        if let Some(next) = self.next.first_mut() {
            *next = index;
        }
        found
    }

    fn refresh(&mut self) -> Result<bool, ArchiveError> {
        self.segment.refresh(&mut self.reader)
    }

    fn end_us(&self) -> i64 {
        let end_us = self.segment.extent_us().map_or(0, |(_, end_us)| end_us);
        self.file.base_us.saturating_add(end_us)
    }

    fn read_batch(&mut self, bytes_max: usize) -> Result<Vec<Frame>, ArchiveError> {
        let chosen = self.choose(bytes_max as u64);
        let path = Arc::clone(&self.file.path);
        let data = read_samples(&mut self.reader, &path, &chosen)?;
        let frames = chosen
            .iter()
            .zip(data)
            .filter_map(|(chosen, data)| {
                let track = self.segment.tracks().get(chosen.track)?;
                let presentation_us = self.segment.presentation_us(track, &chosen.sample);
                Some(Frame {
                    track: chosen.track,
                    capture_us: self.file.base_us.saturating_add(presentation_us),
                    decode_us: self.file.base_us.saturating_add(chosen.decode_us),
                    duration_us: track.duration_us(&chosen.sample),
                    sync: chosen.sample.sync,
                    data,
                })
            })
            .collect();
        Ok(frames)
    }

    fn choose(&mut self, bytes_max: u64) -> Vec<Chosen> {
        let mut chosen: Vec<Chosen> = Vec::new();
        let mut bytes = 0_u64;
        let mut main_chosen = false;
        while bytes < bytes_max.max(1) && chosen.len() < FRAMES_MAX {
            let earliest = self
                .segment
                .tracks()
                .iter()
                .zip(&self.next)
                .enumerate()
                .filter_map(|(index, (track, next))| {
                    let sample = *track.samples().get(*next)?;
                    Some(Chosen {
                        track: index,
                        decode_us: self.segment.decode_us(track, &sample),
                        sample,
                    })
                })
                .min_by_key(|chosen| chosen.decode_us);
            let Some(earliest) = earliest else { break };
            let size = u64::from(earliest.sample.size);
            let main = earliest.track == 0;
            let video = self.formats.first().is_some_and(TrackFormat::is_video);
            let ends_group = main && video && main_chosen && earliest.sample.sync;
            if ends_group || (!chosen.is_empty() && bytes + size > bytes_max) {
                break;
            }
            main_chosen |= main;
            bytes += size;
            if let Some(next) = self.next.get_mut(earliest.track) {
                *next += 1;
            }
            chosen.push(earliest);
        }
        chosen
    }
}

/// Reads the samples' bytes: in one go when they lie close together, as they mostly do.
fn read_samples(
    file: &mut (impl Read + Seek),
    path: &Path,
    chosen: &[Chosen],
) -> Result<Vec<Bytes>, ArchiveError> {
    let places = || chosen.iter().map(|chosen| &chosen.sample);
    let total: u64 = places().map(|sample| u64::from(sample.size)).sum();
    let start = places().map(|sample| sample.offset).min().unwrap_or(0);
    let end = places()
        .map(|sample| sample.offset.saturating_add(u64::from(sample.size)))
        .max()
        .unwrap_or(0);
    if end.saturating_sub(start) <= total.saturating_mul(2).saturating_add(SLACK_BYTES) {
        let whole = read_at(file, path, start, end)?;
        return Ok(places()
            .map(|sample| {
                let from = (sample.offset - start) as usize;
                whole.slice(from..from + sample.size as usize)
            })
            .collect());
    }
    places()
        .map(|sample| {
            let end = sample.offset.saturating_add(u64::from(sample.size));
            read_at(file, path, sample.offset, end)
        })
        .collect()
}

fn read_at(
    file: &mut (impl Read + Seek),
    path: &Path,
    start: u64,
    end: u64,
) -> Result<Bytes, ArchiveError> {
    let mut bytes = BytesMut::zeroed(end.saturating_sub(start) as usize);
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|source| io_error(path, source))?;
    Ok(bytes.freeze())
}

fn io_error(path: &Path, source: std::io::Error) -> ArchiveError {
    ArchiveError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Files that are opened for one key frame before the wanted time.
const FILES_BACK_MAX: usize = 4;
/// Files without a single sample that are passed over in one call.
const FILES_EMPTY_MAX: usize = 1024;
const FRAMES_MAX: usize = 4096;
/// Unwanted bytes that are cheaper to read than to skip.
const SLACK_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
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
}
