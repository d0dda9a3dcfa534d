//! One MP4 file, plain or fragmented: its tracks and where their samples lie.

use std::{
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use mp4_atom::{Elst, Mdhd, Mvhd, Tkhd, Trex};

use crate::{
    boxes::{Head, child, children, find, leaf},
    error::{ArchiveError, Flaw},
    format::TrackFormat,
    fragment,
    table::{self, Sink},
};

/// One file's index. The file itself is handed in with each call.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    tracks: Vec<Track>,
    /// Defaults of `trex`; empty in a plain file.
    defaults: Vec<Trex>,
    fragmented: bool,
    /// Where the first box that was not taken in begins.
    resume_at: u64,
    sink: Sink,
    /// Presentation time (µs) that the file's name stands for.
    origin_us: i64,
}

/// One playable track.
#[derive(Debug)]
pub struct Track {
    pub(crate) id: u32,
    pub(crate) format: TrackFormat,
    pub(crate) timescale: u32,
    /// µs to add to a media time for the presentation time: the edit list.
    pub(crate) shift_us: i64,
    pub(crate) samples: Vec<Sample>,
}

/// One coded frame, or a run of companded audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Decode time in the track's time scale, from the file's zero.
    pub decode_time: i64,
    /// Place of the first byte in the file.
    pub offset: u64,
    /// Presentation time minus decode time, in the track's time scale.
    pub composition: i32,
    /// In the track's time scale.
    pub duration: u32,
    /// Bytes; never 0.
    pub size: u32,
    /// Whether decoding can begin here.
    pub sync: bool,
}

impl Segment {
    /// Reads the index of `file`. `path` only names it in errors.
    ///
    /// Samples that reach beyond the end of the file are left out: of a fragmented file the whole
    /// last fragment, which [`Segment::refresh`] takes in once it is complete.
    pub fn read<R: Read + Seek>(path: &Path, file: &mut R) -> Result<Self, ArchiveError> {
        let mut segment = Self {
            path: path.to_path_buf(),
            tracks: Vec::new(),
            defaults: Vec::new(),
            fragmented: false,
            resume_at: 0,
            sink: Sink::default(),
            origin_us: 0,
        };
        segment.take_in(file).map_err(|flaw| flaw.of(path))?;
        segment.settle_origin();
        Ok(segment)
    }

    /// Takes in what was appended to a fragmented file since. True when there are new samples.
    pub fn refresh<R: Read + Seek>(&mut self, file: &mut R) -> Result<bool, ArchiveError> {
        if !self.fragmented {
            return Ok(false);
        }
        let before = self.sample_count();
        match self.take_in(file) {
            Ok(()) => {}
            Err(flaw) => return Err(flaw.of(&self.path)),
        }
        if before == 0 {
            self.settle_origin();
        }
        Ok(self.sample_count() > before)
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Playable tracks, the video first.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Whether the file can grow: it is written in fragments.
    pub fn is_fragmented(&self) -> bool {
        self.fragmented
    }

    /// Time (µs) from the moment that the file's name tells to the presentation of `sample`.
    /// Negative for frames that an edit list hides and that are only there to decode others.
    pub fn presentation_us(&self, track: &Track, sample: &Sample) -> i64 {
        track.presentation_us(sample).saturating_sub(self.origin_us)
    }

    /// Decode time (µs) of `sample` on the same clock as [`Segment::presentation_us`].
    pub fn decode_us(&self, track: &Track, sample: &Sample) -> i64 {
        track
            .to_us(sample.decode_time)
            .saturating_sub(self.origin_us)
    }

    /// Presentation times (µs, half-open, from the file's name) that the main track covers,
    /// `None` while there is no sample. Frames that an edit list hides do not count.
    pub fn extent_us(&self) -> Option<(i64, i64)> {
        let track = self.tracks.first()?;
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for sample in &track.samples {
            let start = self.presentation_us(track, sample);
            let end = start.saturating_add(track.duration_us(sample));
            first = first.min(start);
            last = last.max(end);
        }
        let first = first.max(0);
        (first < last).then_some((first, last))
    }

    fn sample_count(&self) -> usize {
        self.tracks.iter().map(|track| track.samples.len()).sum()
    }

    /// A file whose first picture lies far from its own zero counts time from the start of the
    /// recording, as segmenting muxers do that do not reset time stamps: its name then stands for
    /// its first picture.
    fn settle_origin(&mut self) {
        let first = self
            .tracks
            .iter()
            .filter_map(|track| {
                track
                    .samples
                    .iter()
                    .take(REORDER_MAX)
                    .map(|sample| track.presentation_us(sample))
                    .min()
            })
            .min();
        self.origin_us = first.filter(|first| *first > RELATIVE_MAX_US).unwrap_or(0);
    }

    fn take_in<R: Read + Seek>(&mut self, file: &mut R) -> Result<(), Flaw> {
        let file_len = file.seek(SeekFrom::End(0))?;
        self.sink.file_len = file_len;
        for _ in 0..BOXES_MAX {
            let at = self.resume_at;
            let Some(head) = read_head(file, at, file_len)? else {
                return self.ended(file_len);
            };
            if at == 0 && !FIRST.contains(&head.kind) {
                return Err(Flaw::NotMp4);
            }
            let end = match head.len {
                Some(len) => at.checked_add(len).ok_or(Flaw::Malformed("box size"))?,
                None => file_len,
            };
            if end > file_len {
                return self.ended(file_len);
            }
            match &head.kind {
                b"moov" if !self.has_movie() => {
                    let body = read_body(file, at + head.body_at, end, MOOV_BYTES_MAX)?;
                    self.movie(&body)?;
                }
                b"moof" if self.fragmented => {
                    let body = read_body(file, at + head.body_at, end, MOOF_BYTES_MAX)?;
                    let (defaults, sink) = (&self.defaults, &mut self.sink);
                    match fragment::append(&body, at, defaults, sink, &mut self.tracks) {
                        Ok(true) => {}
                        Ok(false) => return Ok(()),
                        // What was recorded before the damage remains good.
                        Err(_) if self.sample_count() > 0 => return Ok(()),
                        Err(flaw) => return Err(flaw),
                    }
                }
                _ => {}
            }
            // A box to the end of the file may still grow.
            if head.len.is_none() {
                return self.ended(file_len);
            }
            self.resume_at = end;
        }
        Err(Flaw::TooLarge("number of boxes"))
    }

    fn ended(&self, file_len: u64) -> Result<(), Flaw> {
        if self.has_movie() {
            return Ok(());
        }
        let began = self.resume_at > 0 || file_len == 0;
        Err(if began {
            Flaw::Unfinished
        } else {
            Flaw::NotMp4
        })
    }

    fn has_movie(&self) -> bool {
        !self.tracks.is_empty()
    }

    fn movie(&mut self, moov: &[u8]) -> Result<(), Flaw> {
        let movie = Movie::parse(moov, &mut self.sink)?;
        self.tracks = movie.tracks;
        self.defaults = movie.defaults;
        self.fragmented = movie.fragmented;
        Ok(())
    }
}

/// What a movie header tells.
pub(crate) struct Movie {
    /// Playable tracks, the video first.
    pub(crate) tracks: Vec<Track>,
    /// Defaults of `trex`.
    pub(crate) defaults: Vec<Trex>,
    pub(crate) fragmented: bool,
}

impl Movie {
    /// Reads the body of a `moov`.
    pub(crate) fn parse(moov: &[u8], sink: &mut Sink) -> Result<Self, Flaw> {
        let movie_timescale = find::<Mvhd>(moov).map_or(0, |mvhd| mvhd.timescale);
        let mvex = child(moov, *b"mvex");
        let defaults = children(mvex.unwrap_or_default())
            .filter(|(kind, _)| kind == b"trex")
            .take(TRACKS_MAX)
            .filter_map(|(_, body)| leaf(body))
            .collect();
        let mut tracks = Vec::new();
        let boxes = children(moov).filter(|(kind, _)| kind == b"trak");
        for (_, trak) in boxes.take(TRACKS_MAX) {
            tracks.extend(Track::parse(trak, movie_timescale, sink)?);
        }
        if tracks.is_empty() {
            return Err(Flaw::NoTrack);
        }
        tracks.sort_by_key(|track: &Track| !track.format.is_video());
        Ok(Self {
            tracks,
            defaults,
            fragmented: mvex.is_some(),
        })
    }
}

impl Track {
    /// How the samples are coded.
    pub fn format(&self) -> &TrackFormat {
        &self.format
    }

    /// Ticks of a second in the sample times.
    pub fn timescale(&self) -> u32 {
        self.timescale
    }

    /// Samples in decode order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Duration of `sample` in µs.
    pub fn duration_us(&self, sample: &Sample) -> i64 {
        scale(i64::from(sample.duration), self.timescale)
    }

    pub(crate) fn presentation_us(&self, sample: &Sample) -> i64 {
        self.to_us(
            sample
                .decode_time
                .saturating_add(i64::from(sample.composition)),
        )
    }

    pub(crate) fn to_us(&self, media_time: i64) -> i64 {
        scale(media_time, self.timescale).saturating_add(self.shift_us)
    }

    /// `None` for a track that cannot be played.
    fn parse(body: &[u8], movie_timescale: u32, sink: &mut Sink) -> Result<Option<Self>, Flaw> {
        let Some((mdia, stbl)) = child(body, *b"mdia")
            .and_then(|mdia| Some((mdia, child(child(mdia, *b"minf")?, *b"stbl")?)))
        else {
            return Ok(None);
        };
        let Some(format) = child(stbl, *b"stsd").and_then(TrackFormat::parse) else {
            return Ok(None);
        };
        let id = find::<Tkhd>(body)
            .ok_or(Flaw::Malformed("track header"))?
            .track_id;
        let timescale = find::<Mdhd>(mdia)
            .filter(|mdhd| mdhd.timescale > 0)
            .ok_or(Flaw::Malformed("media header"))?
            .timescale;
        let edits: Option<Elst> = child(body, *b"edts").and_then(find);
        let shift_us = edits.map_or(0, |edits| shift_us(&edits, timescale, movie_timescale));
        let mut track = Self {
            id,
            format,
            timescale,
            shift_us,
            samples: Vec::new(),
        };
        table::append(stbl, sink, &mut track)?;
        Ok(Some(track))
    }
}

/// `ticks` of a clock with `timescale` ticks a second in µs.
fn scale(ticks: i64, timescale: u32) -> i64 {
    let us = i128::from(ticks) * 1_000_000 / i128::from(timescale.max(1));
    i64::try_from(us).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX })
}

/// Presentation time minus media time of the first edit that shows something, in µs. Later edits
/// would cut the track; recorders do not write them.
fn shift_us(edits: &Elst, timescale: u32, movie_timescale: u32) -> i64 {
    let mut shift = 0_i64;
    for edit in edits.entries.iter().take(EDITS_MAX) {
        match edit.media_time {
            None if movie_timescale > 0 => {
                let ticks = i64::try_from(edit.segment_duration).unwrap_or(i64::MAX);
                shift = shift.saturating_add(scale(ticks, movie_timescale));
            }
            None => {}
            Some(media_time) => {
                let ticks = i64::try_from(media_time).unwrap_or(i64::MAX);
                return shift.saturating_sub(scale(ticks, timescale));
            }
        }
    }
    shift
}

fn read_head<R: Read + Seek>(file: &mut R, at: u64, file_len: u64) -> Result<Option<Head>, Flaw> {
    let mut bytes = [0; Head::BYTES_MAX];
    let have = file_len.saturating_sub(at).min(bytes.len() as u64) as usize;
    file.seek(SeekFrom::Start(at))?;
    let Some(bytes) = bytes.get_mut(..have) else {
        return Ok(None);
    };
    file.read_exact(bytes)?;
    Ok(Head::parse(bytes))
}

fn read_body<R: Read + Seek>(
    file: &mut R,
    start: u64,
    end: u64,
    bytes_max: u64,
) -> Result<Vec<u8>, Flaw> {
    let len = end.saturating_sub(start);
    if len > bytes_max {
        return Err(Flaw::TooLarge("movie header"));
    }
    file.seek(SeekFrom::Start(start))?;
    let mut body = vec![0; len as usize];
    file.read_exact(&mut body)?;
    Ok(body)
}

/// Boxes that a recording may begin with.
pub(crate) const FIRST: [[u8; 4]; 14] = [
    *b"ftyp", *b"styp", *b"moov", *b"moof", *b"mdat", *b"free", *b"skip", *b"wide", *b"pnot",
    *b"uuid", *b"sidx", *b"prft", *b"meta", *b"emsg",
];
const BOXES_MAX: usize = 4 << 20;
const EDITS_MAX: usize = 64;
const MOOF_BYTES_MAX: u64 = 16 << 20;
const MOOV_BYTES_MAX: u64 = 256 << 20;
/// Frames among which the first one in presentation order is looked for.
const REORDER_MAX: usize = 32;
/// Up to here a first presentation time is a delay within the file.
const RELATIVE_MAX_US: i64 = 1_000_000;
/// Samples that one track of one file may have: two days at 25 a second.
pub(crate) const SAMPLES_MAX: usize = 4 << 20;
const TRACKS_MAX: usize = 32;

#[cfg(test)]
mod tests;
