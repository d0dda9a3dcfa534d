//! Reads a folder's pictures backwards: group by group, in decode order within each.

use std::{ops::Range, sync::Arc};

use crate::{
    cursor::{Batch, Frame, Keys, Playing},
    error::ArchiveError,
    folder::Folder,
    format::TrackFormat,
};

/// Bytes of one group of pictures that are read; the end of a larger one is left out.
pub const GROUP_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// Files without a picture to show that are passed over in one call.
const FILES_EMPTY_MAX: usize = 1024;
/// Pictures that an encoder puts between a picture and one that refers to it, at most.
const REORDERED_MAX: usize = 16;

/// A reading position in a folder that moves back in time. Only the main track is read.
#[derive(Debug)]
pub struct Rewind {
    folder: Arc<Folder>,
    playing: Option<Reading>,
    /// Everything from here on was yielded, or is not wanted; µs UTC.
    before_us: i64,
    announced: Option<Arc<[TrackFormat]>>,
    /// Pictures at the start of a file that belong to the last group of the file before.
    carried: Vec<Frame>,
    keys: Option<Keys>,
    last_key_us: Option<i64>,
}

#[derive(Debug)]
struct Reading {
    file: Playing,
    /// Index and capture time of each random access point that is left.
    points: Vec<(usize, i64)>,
    /// Index of the first sample behind the next group.
    end: usize,
}

impl Rewind {
    /// Positions behind the last picture captured before `before_us` (µs UTC). With `keys`, only random access points are
    /// read.
    pub fn open(folder: Arc<Folder>, before_us: i64, keys: Option<Keys>) -> Self {
        Self {
            folder,
            playing: None,
            before_us,
            announced: None,
            carried: Vec::new(),
            keys,
            last_key_us: None,
        }
    }

    /// [`Batch::Frames`] is the next group: the random access point and what follows it before the end, in decode order.
    /// [`Batch::Gap`] lies before what was yielded last. [`Batch::AtTail`] does not come. After an error the position is
    /// undefined.
    pub fn next_batch(&mut self, now_us: i64) -> Result<Batch, ArchiveError> {
        for _ in 0..FILES_EMPTY_MAX {
            let Some(reading) = &mut self.playing else {
                let listing = self.folder.listing(now_us)?;
                let Some(file) = listing.segment_before(self.before_us) else {
                    return Ok(Batch::End);
                };
                let gap_us = self.before_us.saturating_sub(file.end_us);
                let reading = Reading::open(file, self.before_us)?;
                let same = reading.as_ref().is_some_and(|reading| {
                    self.announced.as_deref() == Some(&*reading.file.formats)
                });
                if gap_us >= self.folder.join_us() || !same {
                    // Without their random access point they cannot be shown.
                    self.carried.clear();
                }
                let Some(reading) = reading else {
                    self.before_us = self.before_us.min(file.start_us);
                    continue;
                };
                let formats = Arc::clone(&reading.file.formats);
                self.playing = Some(reading);
                if self.announced.as_deref() != Some(&*formats) {
                    self.announced = Some(Arc::clone(&formats));
                    return Ok(Batch::Tracks(formats));
                }
                if gap_us >= self.folder.join_us() {
                    return Ok(Batch::Gap {
                        from_us: file.end_us,
                        until_us: self.before_us,
                    });
                }
                continue;
            };
            let Some((point, capture_us)) = reading.points.pop() else {
                let head = reading.head(self.before_us);
                self.before_us = self.before_us.min(reading.file.file.start_us);
                let keys_only = self.keys.is_some();
                if let (Some(head), false) = (head, keys_only) {
                    let mut frames = reading.file.read_main(head)?;
                    frames.append(&mut self.carried);
                    self.carried = frames;
                }
                self.playing = None;
                continue;
            };
            let whole = point..std::mem::replace(&mut reading.end, point);
            if let Some(keys) = self.keys {
                let near = |last: i64| last.saturating_sub(capture_us) < keys.interval_us;
                if capture_us >= self.before_us || self.last_key_us.is_some_and(near) {
                    continue;
                }
                self.last_key_us = Some(capture_us);
                self.before_us = capture_us;
                return Ok(Batch::Frames(reading.file.read_main(point..point + 1)?));
            }
            let shown = reading.shown_before(whole, self.before_us);
            let mut frames = reading.file.read_main(shown)?;
            frames.append(&mut self.carried);
            self.before_us = self.before_us.min(capture_us);
            if !frames.is_empty() {
                return Ok(Batch::Frames(frames));
            }
        }
        Ok(Batch::End)
    }
}

impl Reading {
    /// `None` when nothing in the file is shown before `before_us`.
    fn open(
        file: &crate::folder::SegmentFile,
        before_us: i64,
    ) -> Result<Option<Self>, ArchiveError> {
        let file = Playing::open(file)?;
        let Some(main) = file.segment.tracks().first() else {
            return Ok(None);
        };
        let capture = |sample| {
            file.file
                .base_us
                .saturating_add(file.segment.presentation_us(main, sample))
        };
        let samples = main.samples();
        let points: Vec<(usize, i64)> = samples
            .iter()
            .enumerate()
            .filter(|(_, sample)| sample.sync)
            .map(|(index, sample)| (index, capture(sample)))
            .take_while(|(_, capture_us)| *capture_us < before_us)
            .collect();
        let before_first = points.is_empty()
            && samples
                .iter()
                .take(REORDERED_MAX)
                .all(|sample| capture(sample) >= before_us);
        if before_first {
            return Ok(None);
        }
        let after = points.last().map_or(0, |(index, _)| index + 1);
        let end = samples
            .iter()
            .skip(after)
            .position(|sample| sample.sync)
            .map_or(samples.len(), |more| after + more);
        Ok(Some(Self { file, points, end }))
    }

    /// Samples before the first random access point that are shown before `before_us`: the group that they belong to
    /// began in an earlier file.
    fn head(&self, before_us: i64) -> Option<Range<usize>> {
        let whole = 0..self.end;
        let shown = self.shown_before(whole, before_us);
        (!shown.is_empty()).then_some(shown)
    }

    /// Of a group what has to be decoded to show all of it that was captured before `before_us`, within
    /// [`GROUP_BYTES_MAX`].
    fn shown_before(&self, group: Range<usize>, before_us: i64) -> Range<usize> {
        let Some(main) = self.file.segment.tracks().first() else {
            return group.start..group.start;
        };
        let samples = main.samples().get(group.clone()).unwrap_or_default();
        let shown = samples.iter().rposition(|sample| {
            let capture_us = self
                .file
                .file
                .base_us
                .saturating_add(self.file.segment.presentation_us(main, sample));
            capture_us < before_us
        });
        let mut bytes = 0;
        let fits = samples
            .iter()
            .take_while(|sample| {
                bytes += u64::from(sample.size);
                bytes <= GROUP_BYTES_MAX
            })
            .count();
        let count = shown.map_or(0, |last| last + 1).min(fits);
        group.start..group.start + count
    }
}

#[cfg(test)]
mod tests;
