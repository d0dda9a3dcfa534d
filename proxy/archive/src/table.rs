//! Samples of a plain MP4 file, from its sample tables.

use mp4_atom::{Co64, Ctts, Stco, Stsc, Stss, Stsz, StszSamples, Stts};

use crate::{
    boxes::{child, find, leaf},
    error::Flaw,
    format::TrackFormat,
    segment::{SAMPLES_MAX, Sample, Track},
};

/// Appends what the tables in `stbl` tell. Samples beyond the end of the file are left out.
pub(crate) fn append(stbl: &[u8], sink: &mut Sink, track: &mut Track) -> Result<(), Flaw> {
    let (Some(times), Some(chunks), Some(sizes)) = (
        find::<Stts>(stbl),
        find::<Stsc>(stbl),
        find::<Stsz>(stbl).map(Sizes::from),
    ) else {
        return Ok(());
    };
    let offsets: Vec<u64> = match (find::<Stco>(stbl), find::<Co64>(stbl)) {
        (_, Some(large)) => large.entries,
        (Some(small), None) => small.entries.into_iter().map(u64::from).collect(),
        (None, None) => return Ok(()),
    };
    // Without the box every sample is a sync sample; an empty one says that none is.
    let syncs: Option<Stss> = child(stbl, *b"stss").and_then(leaf);
    let mut syncs = syncs.map(|stss| stss.entries.into_iter().peekable());

    let mut durations = times
        .entries
        .iter()
        .map(|entry| (entry.sample_count, entry.sample_delta));
    let mut durations = Runs::new(&mut durations);
    let ctts: Option<Ctts> = find(stbl);
    let mut compositions = ctts
        .iter()
        .flat_map(|ctts| &ctts.entries)
        .map(|entry| (entry.sample_count, entry.sample_offset as i32));
    let mut compositions = Runs::new(&mut compositions);

    let mut decode_time = 0_i64;
    let mut index = 0_usize;
    for (chunk, offset) in offsets.into_iter().enumerate() {
        let mut at = offset;
        for _ in 0..samples_in(&chunks, chunk) {
            let (Some(size), Some(duration)) = (sizes.at(index), durations.next()) else {
                return Ok(());
            };
            let number = (index as u64).saturating_add(1);
            let sync = syncs.as_mut().is_none_or(|syncs| {
                while syncs.next_if(|next| u64::from(*next) < number).is_some() {}
                syncs.next_if(|next| u64::from(*next) == number).is_some()
            });
            let sample = Sample {
                decode_time,
                offset: at,
                composition: compositions.next().unwrap_or(0),
                duration,
                size,
                sync,
            };
            if !sink.push(track, sample)? {
                return Ok(());
            }
            decode_time = decode_time.saturating_add(i64::from(duration));
            at = at.saturating_add(u64::from(size));
            index += 1;
        }
    }
    Ok(())
}

/// Takes samples into tracks, bounded by the bytes that the file really has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sink {
    pub(crate) file_len: u64,
    /// Samples that one track may have at once.
    samples_max: usize,
    /// Bytes of all samples so far. No file can hold more than its length: what ends tables that
    /// describe one place a million times.
    taken: u64,
}

impl Default for Sink {
    fn default() -> Self {
        Self::streamed(0, SAMPLES_MAX)
    }
}

impl Sink {
    /// Of what is received, and has no length that is known.
    pub(crate) fn streamed(bytes_max: u64, samples_max: usize) -> Self {
        Self {
            file_len: bytes_max,
            samples_max,
            taken: 0,
        }
    }

    /// False when the sample is not wholly in the file; it is not taken then.
    pub(crate) fn push(&mut self, track: &mut Track, sample: Sample) -> Result<bool, Flaw> {
        let end = sample.offset.checked_add(u64::from(sample.size));
        if end.is_none_or(|end| end > self.file_len) {
            return Ok(false);
        }
        if sample.size == 0 {
            return Ok(true);
        }
        let taken = self.taken.saturating_add(u64::from(sample.size));
        if taken > self.file_len {
            return Err(Flaw::Malformed("sample table"));
        }
        self.taken = taken;
        if join_companded(track, &sample) {
            return Ok(true);
        }
        if track.samples.len() >= self.samples_max {
            return Err(Flaw::TooLarge("number of samples"));
        }
        track.samples.push(sample);
        Ok(true)
    }
}

/// `QuickTime` makes every single value of companded audio a sample: runs of 20 ms take their place.
fn join_companded(track: &mut Track, sample: &Sample) -> bool {
    if !matches!(track.format, TrackFormat::G711 { .. }) {
        return false;
    }
    let run_ticks_max = track.timescale / 50;
    let Some(last) = track.samples.last_mut() else {
        return false;
    };
    let adjoins = last.offset.saturating_add(u64::from(last.size)) == sample.offset
        && last.decode_time.saturating_add(i64::from(last.duration)) == sample.decode_time;
    let ticks = last.duration.saturating_add(sample.duration);
    if !adjoins || ticks > run_ticks_max {
        return false;
    }
    last.duration = ticks;
    last.size = last.size.saturating_add(sample.size);
    true
}

enum Sizes {
    Identical { count: usize, size: u32 },
    Different(Vec<u32>),
}

impl From<Stsz> for Sizes {
    fn from(stsz: Stsz) -> Self {
        match stsz.samples {
            StszSamples::Identical { count, size } => Self::Identical {
                count: count as usize,
                size,
            },
            StszSamples::Different { sizes } => Self::Different(sizes),
        }
    }
}

impl Sizes {
    fn at(&self, index: usize) -> Option<u32> {
        match self {
            Self::Identical { count, size } => (index < *count).then_some(*size),
            Self::Different(sizes) => sizes.get(index).copied(),
        }
    }
}

/// Run-length table read value by value.
struct Runs<'a, T> {
    entries: &'a mut dyn Iterator<Item = (u32, T)>,
    left: u32,
    value: Option<T>,
}

impl<'a, T: Copy> Runs<'a, T> {
    fn new(entries: &'a mut dyn Iterator<Item = (u32, T)>) -> Self {
        Self {
            entries,
            left: 0,
            value: None,
        }
    }

    fn next(&mut self) -> Option<T> {
        while self.left == 0 {
            let (count, value) = self.entries.next()?;
            self.left = count;
            self.value = Some(value);
        }
        self.left -= 1;
        self.value
    }
}

/// Samples in the chunk with this index, counted from 0.
fn samples_in(stsc: &Stsc, chunk: usize) -> u32 {
    let number = u32::try_from(chunk).map_or(u32::MAX, |chunk| chunk.saturating_add(1));
    let after = stsc
        .entries
        .partition_point(|entry| entry.first_chunk <= number);
    after
        .checked_sub(1)
        .and_then(|index| stsc.entries.get(index))
        .map_or(0, |entry| entry.samples_per_chunk)
}
