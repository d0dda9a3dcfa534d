//! Plain MP4: `moov` first, which needs the sizes of all samples; they lie in `mdat` in the order in which they came.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use mp4_atom::{
    Co64, Ctts, CttsEntry, Encode, Moov, Mvhd, Stbl, Stsc, StscEntry, Stsd, Stss, Stsz,
    StszSamples, Stts, SttsEntry,
};
use thiserror::Error;

use super::UNENCODABLE;
use super::boxes::{MOVIE_TICKS, TrackHead, encode, ftyp, sample_entry, trak};
use super::parts::{Part, Parts, Placed, Settings};
use crate::{Entry, Sample};

/// Samples of one file: a day of two tracks, and then some.
const SAMPLES_MAX: usize = 8_000_000;
/// Ways of coding in one track.
const ENTRIES_MAX: usize = 256;
/// `mdat` with a length of 64 bits.
const MDAT_HEAD_BYTES: u64 = 16;

/// The file would be too long for a table in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too long for a plain MP4 file: ask for fragments")]
pub struct TooLong;

/// Collects what a plain file needs to know of its samples.
#[derive(Debug)]
pub struct Whole {
    parts: Parts,
    tables: Vec<Table>,
    samples: usize,
    media_bytes: u64,
}

/// The sample table of one track.
#[derive(Debug, Default)]
struct Table {
    /// Ways of coding, in the order in which they came.
    entries: Vec<Arc<Entry>>,
    durations: Vec<SttsEntry>,
    offsets: Vec<CttsEntry>,
    syncs: Vec<u32>,
    sizes: Vec<u32>,
    chunks: Vec<u64>,
    per_chunk: Vec<StscEntry>,
    /// Decode time and duration of the last sample, whose duration is not in the table yet.
    last: Option<(i64, u32)>,
    first: i64,
    /// Latest end of what is shown.
    end: i64,
}

impl Whole {
    /// A file with nothing in it.
    pub fn new(settings: Settings) -> Self {
        Self {
            parts: Parts::new(settings),
            tables: Vec::new(),
            samples: 0,
            media_bytes: 0,
        }
    }

    /// How the samples of a track are coded from here on: ahead of its first one, and whenever it changes. What is written so far is
    /// taken first.
    pub fn format(&mut self, track: usize, entry: Arc<Entry>) {
        self.parts.format(track, entry);
    }

    /// The next sample. Then write all that [`Self::pop`] gives into the media data.
    pub fn push(&mut self, sample: Sample) {
        self.parts.push(sample);
    }

    /// Media data that is ready.
    pub fn pop(&mut self) -> Result<Vec<Bytes>, TooLong> {
        let mut media = Vec::new();
        while let Some(part) = self.parts.pop() {
            self.take(part, &mut media)?;
        }
        Ok(media)
    }

    /// What is left of the media data, and the head that goes ahead of all of it; `None` where there is nothing at all.
    pub fn finish(mut self) -> Result<Option<(Vec<Bytes>, Bytes)>, TooLong> {
        let mut media = self.pop()?;
        for part in self.parts.finish() {
            self.take(part, &mut media)?;
        }
        if self.samples == 0 {
            return Ok(None);
        }
        let head = self.head();
        Ok(Some((media, head)))
    }

    fn take(&mut self, part: Part, media: &mut Vec<Bytes>) -> Result<(), TooLong> {
        for (track, placed) in part.runs {
            let entry = part.entries.get(track).cloned().flatten();
            let Some(entry) = entry else { continue };
            self.samples += placed.len();
            if self.tables.len() <= track {
                self.tables.resize_with(track + 1, Table::default);
            }
            let Some(table) = self.tables.get_mut(track) else {
                continue;
            };
            table.run(&placed, entry, self.media_bytes)?;
            for sample in placed {
                self.media_bytes += sample.data.len() as u64;
                media.push(sample.data);
            }
        }
        if self.samples > SAMPLES_MAX {
            return Err(TooLong);
        }
        Ok(())
    }

    /// `ftyp`, `moov` and the head of `mdat`.
    fn head(mut self) -> Bytes {
        for table in &mut self.tables {
            table.close();
        }
        let mut moov = self.moov(0);
        let mut bytes = Vec::new();
        ftyp(false).encode(&mut bytes).expect(UNENCODABLE);
        let ftyp_bytes = bytes.len();
        encode(&moov, &mut bytes);
        // Offsets have 64 bits: the box is as long whatever they say.
        moov = self.moov(bytes.len() as u64 + MDAT_HEAD_BYTES);
        bytes.truncate(ftyp_bytes);
        encode(&moov, &mut bytes);
        bytes.put_u32(1);
        bytes.put_slice(b"mdat");
        bytes.put_u64(self.media_bytes + MDAT_HEAD_BYTES);
        bytes.into()
    }

    fn moov(&self, media_at: u64) -> Moov {
        let tracks = || {
            let tables = self.tables.iter().enumerate();
            tables.filter_map(|(track, table)| {
                Some((track as u32 + 1, table, table.entries.first()?))
            })
        };
        let trak = |(id, table, entry): (u32, &Table, &Arc<Entry>)| {
            let lead = self.parts.lead(entry.timescale());
            let head = TrackHead {
                id,
                entry,
                lead,
                first: table.first,
                shown: (table.end - lead).max(0) as u64,
            };
            trak(&head, table.stbl(media_at, entry.is_video()))
        };
        let seconds = tracks().map(|(_, table, entry)| {
            let lead = self.parts.lead(entry.timescale());
            let shown = u128::from((table.end - lead).max(0) as u64);
            (shown * u128::from(MOVIE_TICKS) / u128::from(entry.timescale().max(1))) as u64
        });
        Moov {
            mvhd: Mvhd {
                timescale: MOVIE_TICKS,
                duration: seconds.max().unwrap_or(0),
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: self.tables.len() as u32 + 1,
                ..Mvhd::default()
            },
            trak: tracks().map(trak).collect(),
            ..Moov::default()
        }
    }
}

impl Table {
    /// Samples that lie one behind the other from `at` on.
    fn run(&mut self, placed: &[Placed], entry: Arc<Entry>, at: u64) -> Result<(), TooLong> {
        let known = self.entries.iter().position(|known| **known == *entry);
        let description = known.unwrap_or(self.entries.len());
        if known.is_none() {
            self.entries.push(entry);
        }
        if self.entries.len() > ENTRIES_MAX {
            return Err(TooLong);
        }
        self.chunks.push(at);
        let chunk = StscEntry {
            first_chunk: self.chunks.len() as u32,
            samples_per_chunk: placed.len() as u32,
            sample_description_index: description as u32 + 1,
        };
        let like = |last: &StscEntry| {
            (last.samples_per_chunk, last.sample_description_index)
                == (chunk.samples_per_chunk, chunk.sample_description_index)
        };
        if !self.per_chunk.last().is_some_and(like) {
            self.per_chunk.push(chunk);
        }
        for sample in placed {
            self.sample(sample);
        }
        Ok(())
    }

    fn sample(&mut self, sample: &Placed) {
        let decode = sample.times.decode;
        match self.last {
            None => self.first = decode,
            Some((before, _)) => {
                self.lasts(u32::try_from((decode - before).max(1)).unwrap_or(u32::MAX));
            }
        }
        self.last = Some((decode, sample.duration));
        self.sizes.push(sample.data.len() as u32);
        if sample.sync {
            self.syncs.push(self.sizes.len() as u32);
        }
        let offset = sample.times.show - decode;
        match self.offsets.last_mut() {
            Some(last) if last.sample_offset == offset => last.sample_count += 1,
            _ => self.offsets.push(CttsEntry {
                sample_count: 1,
                sample_offset: offset,
            }),
        }
        self.end = self.end.max(sample.times.show + i64::from(sample.duration));
    }

    fn lasts(&mut self, ticks: u32) {
        match self.durations.last_mut() {
            Some(last) if last.sample_delta == ticks => last.sample_count += 1,
            _ => self.durations.push(SttsEntry {
                sample_count: 1,
                sample_delta: ticks,
            }),
        }
    }

    fn close(&mut self) {
        if let Some((_, ticks)) = self.last.take() {
            self.lasts(ticks.max(1));
        }
    }

    fn stbl(&self, media_at: u64, video: bool) -> Stbl {
        let plain = self.offsets.iter().all(|entry| entry.sample_offset == 0);
        let all_sync = self.syncs.len() == self.sizes.len();
        Stbl {
            stsd: Stsd {
                codecs: self
                    .entries
                    .iter()
                    .map(|entry| sample_entry(entry))
                    .collect(),
            },
            stts: Stts {
                entries: self.durations.clone(),
            },
            ctts: (!plain).then(|| Ctts {
                entries: self.offsets.clone(),
            }),
            stss: (video && !all_sync).then(|| Stss {
                entries: self.syncs.clone(),
            }),
            stsc: Stsc {
                entries: self.per_chunk.clone(),
            },
            stsz: Stsz {
                samples: StszSamples::Different {
                    sizes: self.sizes.clone(),
                },
            },
            co64: Some(Co64 {
                entries: self.chunks.iter().map(|at| at + media_at).collect(),
            }),
            ..Stbl::default()
        }
    }
}
