//! Samples of one movie fragment.

use mp4_atom::{Tfdt, Tfhd, Trex, Trun, TrunSamples};

use crate::{
    boxes::{children, find, leaf},
    error::Flaw,
    segment::{Sample, Track},
    table::Sink,
};

/// Appends the samples of the fragment whose `moof` begins at `moof_at`. When any of them reaches
/// beyond the end of the file, or the fragment is malformed, none is taken. False in the first case.
pub(crate) fn append(
    moof: &[u8],
    moof_at: u64,
    defaults: &[Trex],
    sink: &mut Sink,
    tracks: &mut [Track],
) -> Result<bool, Flaw> {
    let sink_before = *sink;
    let before: Vec<(usize, Option<Sample>)> = tracks
        .iter()
        .map(|track| (track.samples.len(), track.samples.last().copied()))
        .collect();
    let mut data_end = moof_at;
    let mut outcome = Ok(true);
    for (_, traf) in children(moof)
        .filter(|(kind, _)| kind == b"traf")
        .take(TRAFS_MAX)
    {
        let run = Run {
            moof_at,
            data_end: &mut data_end,
            sink,
            defaults,
        };
        outcome = run.append(traf, tracks);
        if !matches!(outcome, Ok(true)) {
            break;
        }
    }
    if !matches!(outcome, Ok(true)) {
        *sink = sink_before;
        for (track, (len, last)) in tracks.iter_mut().zip(before) {
            track.samples.truncate(len);
            // A run of companded audio may have been lengthened in place.
            if let (Some(slot), Some(last)) = (track.samples.last_mut(), last) {
                *slot = last;
            }
        }
    }
    outcome
}

struct Run<'a> {
    moof_at: u64,
    data_end: &'a mut u64,
    sink: &'a mut Sink,
    defaults: &'a [Trex],
}

impl Run<'_> {
    fn append(self, traf: &[u8], tracks: &mut [Track]) -> Result<bool, Flaw> {
        let tfhd: Tfhd = find(traf).ok_or(Flaw::Malformed("track fragment header"))?;
        let base = match tfhd.base_data_offset {
            Some(base) => base,
            None if tfhd.default_base_is_moof => self.moof_at,
            None => *self.data_end,
        };
        let Some(track) = tracks.iter_mut().find(|track| track.id == tfhd.track_id) else {
            return Ok(true);
        };
        let trex = self
            .defaults
            .iter()
            .find(|trex| trex.track_id == tfhd.track_id);
        let duration = tfhd
            .default_sample_duration
            .or(trex.map(|trex| trex.default_sample_duration))
            .unwrap_or(0);
        let size = tfhd
            .default_sample_size
            .or(trex.map(|trex| trex.default_sample_size))
            .unwrap_or(0);
        let flags = tfhd
            .default_sample_flags
            .or(trex.map(|trex| trex.default_sample_flags))
            .unwrap_or(0);

        let mut decode_time = match find::<Tfdt>(traf) {
            Some(tfdt) => i64::try_from(tfdt.base_media_decode_time)
                .map_err(|_| Flaw::Malformed("fragment decode time"))?,
            None => track.samples.last().map_or(0, |last| {
                last.decode_time.saturating_add(i64::from(last.duration))
            }),
        };
        let mut at = base;
        for (_, body) in children(traf)
            .filter(|(kind, _)| kind == b"trun")
            .take(TRUNS_MAX)
        {
            let trun: Trun = leaf(body).ok_or(Flaw::Malformed("track run"))?;
            if let Some(offset) = trun.data_offset {
                at = base
                    .checked_add_signed(i64::from(offset))
                    .ok_or(Flaw::Malformed("run offset"))?;
            }
            // Nothing but a count, of samples without bytes: nothing to play, and maybe a lie.
            if size == 0 && matches!(trun.samples, TrunSamples::Inherited { .. }) {
                continue;
            }
            for entry in &trun.samples {
                let sample = Sample {
                    decode_time,
                    offset: at,
                    composition: entry.cts.unwrap_or(0) as i32,
                    duration: entry.duration.unwrap_or(duration),
                    size: entry.size.unwrap_or(size),
                    sync: entry.flags.unwrap_or(flags) & NON_SYNC == 0,
                };
                if !self.sink.push(track, sample)? {
                    return Ok(false);
                }
                decode_time = decode_time.saturating_add(i64::from(sample.duration));
                at = at.saturating_add(u64::from(sample.size));
            }
        }
        *self.data_end = at;
        Ok(true)
    }
}

/// `sample_is_non_sync_sample` of the sample flags (ISO/IEC 14496-12 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;
const TRAFS_MAX: usize = 64;
const TRUNS_MAX: usize = 4096;
