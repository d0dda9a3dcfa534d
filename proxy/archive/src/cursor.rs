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
    keys: Option<Keys>,
    last_key_us: Option<i64>,
}

/// Which pictures of the main track are read when not all are; no other track is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// The least distance of two of them, µs.
    pub interval_us: i64,
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
            keys: None,
            last_key_us: None,
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

    /// Reads only random access points of the main track from here on.
    #[must_use]
    pub fn only_keys(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
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
            let frames = match self.keys {
                None => playing.read_batch(bytes_max)?,
                Some(keys) => playing.read_keys(bytes_max, keys, &mut self.last_key_us)?,
            };
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
pub(crate) struct Playing {
    pub(crate) file: SegmentFile,
    reader: BufReader<File>,
    pub(crate) segment: Segment,
    pub(crate) formats: Arc<[TrackFormat]>,
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
    pub(crate) fn open(file: &SegmentFile) -> Result<Self, ArchiveError> {
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
        self.read_chosen(&chosen)
    }

    /// Random access points of the main track, each at its distance from the one before.
    fn read_keys(
        &mut self,
        bytes_max: usize,
        keys: Keys,
        last_us: &mut Option<i64>,
    ) -> Result<Vec<Frame>, ArchiveError> {
        let mut chosen: Vec<Chosen> = Vec::new();
        let mut bytes = 0;
        let (Some(main), Some(next)) = (self.segment.tracks().first(), self.next.first_mut())
        else {
            return Ok(Vec::new());
        };
        while let Some(sample) = main.samples().get(*next).copied() {
            let capture_us = self
                .file
                .base_us
                .saturating_add(self.segment.presentation_us(main, &sample));
            let near = last_us.is_some_and(|last| capture_us - last < keys.interval_us);
            if sample.sync && !near {
                if !chosen.is_empty() && bytes + u64::from(sample.size) > bytes_max as u64 {
                    break;
                }
                bytes += u64::from(sample.size);
                *last_us = Some(capture_us);
                chosen.push(Chosen {
                    track: 0,
                    decode_us: self.segment.decode_us(main, &sample),
                    sample,
                });
            }
            *next += 1;
        }
        self.read_chosen(&chosen)
    }

    /// Samples of the main track by their index.
    pub(crate) fn read_main(
        &mut self,
        indices: std::ops::Range<usize>,
    ) -> Result<Vec<Frame>, ArchiveError> {
        let Some(main) = self.segment.tracks().first() else {
            return Ok(Vec::new());
        };
        let samples = main.samples().get(indices).unwrap_or_default();
        let chosen: Vec<Chosen> = samples
            .iter()
            .map(|sample| Chosen {
                track: 0,
                decode_us: self.segment.decode_us(main, sample),
                sample: *sample,
            })
            .collect();
        self.read_chosen(&chosen)
    }

    fn read_chosen(&mut self, chosen: &[Chosen]) -> Result<Vec<Frame>, ArchiveError> {
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let path = Arc::clone(&self.file.path);
        let data = read_samples(&mut self.reader, &path, chosen)?;
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
            let video = self.formats.first().is_some_and(|format| {
                format.is_video() && !matches!(format, TrackFormat::Jpeg { .. })
            });
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
mod tests;
