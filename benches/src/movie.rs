//! A fragmented MP4 as it comes over HTTP: every sample must be the picture of its time.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use anyhow::{Context, bail};

use crate::{
    checker::{Verdict, ms},
    footage::{Footage, PICTURE_US},
};

/// Box head: length and name.
const HEAD_BYTES: usize = 8;
/// A fragment is not larger.
const BOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// NAL types of slices: of a key picture, and of others.
const SLICES: [u8; 2] = [5, 1];
/// Bits of `tfhd` and `trun`.
const TFHD_BASE: u32 = 0x1;
const TFHD_DESCRIPTION: u32 = 0x2;
const TFHD_DURATION: u32 = 0x8;
const TFHD_SIZE: u32 = 0x10;
const TRUN_OFFSET: u32 = 0x1;
const TRUN_FIRST_FLAGS: u32 = 0x4;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_COMPOSITION: u32 = 0x800;

/// Follows one file.
#[derive(Debug)]
pub(crate) struct Movie {
    footage: Option<Arc<Footage>>,
    /// Capture time of the next sample, UTC in µs.
    next_us: i64,
    asked: Instant,
    seen: Option<Instant>,
    read: Vec<u8>,
    /// Sizes of the samples that the next media box holds.
    sizes: VecDeque<usize>,
    timescale: u64,
    decode_time: Option<u64>,
    pub(crate) verdict: Verdict,
}

impl Movie {
    /// Of what begins at a random access point, `begins_us` (UTC), and was asked for at `asked`.
    pub(crate) fn new(footage: Option<Arc<Footage>>, begins_us: i64, asked: Instant) -> Self {
        Self {
            footage,
            next_us: begins_us,
            asked,
            seen: None,
            read: Vec::new(),
            sizes: VecDeque::new(),
            timescale: 0,
            decode_time: None,
            verdict: Verdict::default(),
        }
    }

    /// Looks at what came next.
    pub(crate) fn take(&mut self, bytes: &[u8], now: Instant) -> anyhow::Result<()> {
        self.read.extend_from_slice(bytes);
        let read = std::mem::take(&mut self.read);
        let mut rest = &read[..];
        while let Some((name, body, after)) = split(rest)? {
            self.whole_box(name, body, now)?;
            rest = after;
        }
        // What is left of a fragment may be most of a megabyte: it is not moved for each piece that comes.
        let taken = read.len() - rest.len();
        self.read = read;
        self.read.drain(..taken);
        Ok(())
    }

    fn whole_box(&mut self, name: [u8; 4], body: &[u8], now: Instant) -> anyhow::Result<()> {
        match &name {
            b"moov" => {
                let media = inside(body, &[*b"trak", *b"mdia", *b"mdhd"]).context("no mdhd")?;
                let at = if media.first() == Some(&1) { 20 } else { 12 };
                self.timescale = u64::from(number(media, at).context("no time scale")?);
            }
            b"moof" => self.fragment(body)?,
            b"mdat" => {
                let mut rest = body;
                for bytes in std::mem::take(&mut self.sizes) {
                    let (sample, after) = rest
                        .split_at_checked(bytes)
                        .context("a sample beyond its box")?;
                    self.sample(sample, now);
                    rest = after;
                }
                if !rest.is_empty() {
                    bail!("bytes that are no sample");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fragment(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let track = inside(body, &[*b"traf"]).context("no traf")?;
        let head = inside(track, &[*b"tfhd"]).context("no tfhd")?;
        let flags = number(head, 0).context("tfhd")? & 0x00ff_ffff;
        let skipped = 8
            + if flags & TFHD_BASE == 0 { 0 } else { 8 }
            + if flags & TFHD_DESCRIPTION == 0 { 0 } else { 4 };
        let default_duration = if flags & TFHD_DURATION == 0 {
            0
        } else {
            number(head, skipped).context("tfhd")?
        };
        let size_at = skipped + if flags & TFHD_DURATION == 0 { 0 } else { 4 };
        let default_size = if flags & TFHD_SIZE == 0 {
            0
        } else {
            number(head, size_at).context("tfhd")?
        };
        let time = inside(track, &[*b"tfdt"]).context("no tfdt")?;
        let begins = match time.first() {
            Some(1) => {
                let (high, low) = (number(time, 4), number(time, 8));
                u64::from(high.context("tfdt")?) << 32 | u64::from(low.context("tfdt")?)
            }
            _ => u64::from(number(time, 4).context("tfdt")?),
        };
        if self.decode_time.is_some_and(|expected| expected != begins) {
            self.verdict
                .fault("a fragment that does not begin where the one before ends");
        }
        let mut decode_time = begins;
        let mut rest = track;
        while let Some((name, run, after)) = split(rest)? {
            rest = after;
            if &name != b"trun" {
                continue;
            }
            let flags = number(run, 0).context("trun")? & 0x00ff_ffff;
            let count = number(run, 4).context("trun")?;
            let mut at = 8;
            for flag in [TRUN_OFFSET, TRUN_FIRST_FLAGS] {
                at += if flags & flag == 0 { 0 } else { 4 };
            }
            for _ in 0..count {
                let mut next = |flag: u32, default: u32| {
                    if flags & flag == 0 {
                        return Some(default);
                    }
                    at += 4;
                    number(run, at - 4)
                };
                let duration = next(TRUN_DURATION, default_duration).context("trun")?;
                let size = next(TRUN_SIZE, default_size).context("trun")?;
                next(TRUN_FLAGS, 0).context("trun")?;
                next(TRUN_COMPOSITION, 0).context("trun")?;
                self.sizes.push_back(size as usize);
                let us = u64::from(duration) * 1_000_000 / self.timescale.max(1);
                if self.footage.is_some() && (us as i64 - PICTURE_US).abs() > 1_000 {
                    self.verdict.fault(format!("a sample lasts {us} µs"));
                }
                decode_time += u64::from(duration);
            }
        }
        self.decode_time = Some(decode_time);
        Ok(())
    }

    fn sample(&mut self, sample: &[u8], now: Instant) {
        let (mut rest, mut slice) = (sample, 0);
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let Some((unit, after)) = after.split_at_checked(u32::from_be_bytes(*length) as usize)
            else {
                return self.verdict.fault("a unit beyond its sample");
            };
            if unit
                .first()
                .is_some_and(|head| SLICES.contains(&(head & 0x1f)))
            {
                slice += unit.len();
            }
            rest = after;
        }
        if let Some(footage) = &self.footage {
            let expected = footage.slice_bytes(self.next_us);
            if slice != expected {
                self.verdict
                    .fault(format!("a slice of {slice} bytes in place of {expected}"));
            }
        }
        self.next_us += PICTURE_US;
        self.verdict.packets += 1;
        if self.seen.is_none() {
            let waited = now.saturating_duration_since(self.asked);
            self.verdict.first_ms.push(ms(waited));
        }
        self.verdict.saw(now, None);
        self.seen = Some(now);
    }
}

type Split<'a> = ([u8; 4], &'a [u8], &'a [u8]);

/// The first whole box: its name, what is in it, and what follows.
fn split(bytes: &[u8]) -> anyhow::Result<Option<Split<'_>>> {
    let Some((head, _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let name = [head[4], head[5], head[6], head[7]];
    if !(HEAD_BYTES..=BOX_BYTES_MAX).contains(&length) {
        bail!("a box of {length} bytes");
    }
    let whole = bytes.split_at_checked(length);
    Ok(whole.map(|(whole, after)| (name, &whole[HEAD_BYTES..], after)))
}

/// What is in the first box on a path of names.
fn inside<'a>(bytes: &'a [u8], path: &[[u8; 4]]) -> Option<&'a [u8]> {
    let (first, deeper) = path.split_first()?;
    let mut rest = bytes;
    while let Ok(Some((name, body, after))) = split(rest) {
        if name == *first {
            return if deeper.is_empty() {
                Some(body)
            } else {
                inside(body, deeper)
            };
        }
        rest = after;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let (four, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*four))
}
