//! Fragmented MP4: a head, then fragments that are whole as soon as they are there.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use mp4_atom::{
    Encode, Mfhd, Moof, Moov, Mvex, Mvhd, Prft, ReferenceTime, Stbl, Stco, Stsd, Tfdt, Tfhd, Traf,
    Trex, Trun, TrunEntry, TrunSamples,
};

use super::UNENCODABLE;
use super::boxes::{MOVIE_TICKS, TrackHead, encode, ftyp, sample_entry, trak};
use super::index::{Index, least_part};
use super::parts::{Part, Parts, Placed, Settings};
use crate::{Entry, Sample, ntp};

/// Sample flags (ISO/IEC 14496-12, 8.8.3.1): needs nothing else; needs others and is no sync sample.
const SYNC: u32 = 0x0200_0000;
const DEPENDENT: u32 = 0x0101_0000;
/// Length and name of a box.
const BOX_HEAD_BYTES: usize = 8;

/// What leaves the writer, in order.
#[derive(Clone, Debug)]
pub enum Piece {
    /// `ftyp` and `moov`: ahead of everything, and once more where the way of coding changed so that it has to be told. Who writes
    /// one file leaves out the later ones: parameter sets are in the samples too.
    Head(Bytes),
    /// `moof` and `mdat`.
    Fragment(Fragment),
}

/// A fragment.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Capture times (UTC in µs) of the first and last picture that is shown of it, of sound where there is no picture.
    pub captured_us: (i64, i64),
    /// Decoding can start at its first picture.
    pub sync: bool,
    /// What is shown of the track that fragments are cut on.
    pub shown: Option<Shown>,
    /// Bytes before its `moof`.
    pub moof_at: usize,
    /// The boxes and the samples, to be written one behind the other.
    pub chunks: Vec<Bytes>,
}

/// When a fragment is shown, in ticks from media time zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Ticks a second.
    pub timescale: u32,
    /// Its first picture.
    pub from: i64,
    /// The end of its last one.
    pub until: i64,
    /// From the first picture that is shown to the one that decoding begins with.
    pub delta: i64,
}

/// The index of a file that is whole, which goes in place of what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Offset of the place.
    pub at: u64,
    /// As many bytes as are there.
    pub bytes: Bytes,
}

impl Fragment {
    /// Bytes in all.
    pub fn len_bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// Writes a fragmented file.
#[derive(Debug)]
pub struct Fragmented {
    parts: Parts,
    master: usize,
    /// Entries as the last head has them.
    told: Option<Vec<Option<Arc<Entry>>>>,
    next: u32,
    index: Option<Index>,
    /// The index has its place ahead of the fragments.
    ahead: bool,
    /// The end of the first head.
    head_bytes: u64,
}

impl Fragmented {
    /// A file with nothing in it.
    pub fn new(settings: Settings) -> Self {
        Self {
            parts: Parts::new(settings),
            master: settings.master,
            told: None,
            next: 1,
            index: None,
            ahead: false,
            head_bytes: 0,
        }
    }

    /// A file of about so much footage, with an index of its fragments, which are groups of pictures each. Its place is kept
    /// at the end of the first head; see [`Self::index`].
    pub fn indexed(settings: Settings, footage: Duration) -> Self {
        let least = least_part(footage);
        Self {
            parts: Parts::of_groups(settings, least.as_micros() as i64),
            index: Some(Index::new(settings.master as u32 + 1, footage)),
            ahead: true,
            ..Self::new(settings)
        }
    }

    /// A file that is written once, front to back: where decoding can begin is told at its end; see [`Self::tail`].
    pub fn listed(settings: Settings) -> Self {
        Self {
            index: Some(Index::new(settings.master as u32 + 1, Duration::MAX)),
            ..Self::new(settings)
        }
    }

    /// What goes behind the last fragment of a file of [`Self::listed`], where there is anything to tell.
    pub fn tail(&self) -> Option<Bytes> {
        let entry = self.told.as_ref()?.get(self.master)?.as_ref()?;
        let lead = self.parts.lead(entry.timescale());
        self.index.as_ref()?.tail(self.head_bytes, lead)
    }

    /// The index, once all of the file is written; `None` where it has none.
    pub fn index(&self) -> Option<Indexed> {
        Some(Indexed {
            at: self.head_bytes,
            bytes: self.index.as_ref().filter(|_| self.ahead)?.bytes()?,
        })
    }

    /// How the samples of a track are coded from here on: ahead of its first one, and whenever it changes.
    pub fn format(&mut self, track: usize, entry: Arc<Entry>) {
        self.parts.format(track, entry);
    }

    /// The head for what is known of the tracks now, for a file that has not begun.
    pub fn head_alone(&self) -> Bytes {
        self.head(&self.parts.entries()).into()
    }

    /// The next picture begins a fragment, whatever it is: for those who count bytes by where they came from.
    pub fn cut(&mut self) {
        self.parts.cut();
    }

    /// The next sample. Then take all that [`Self::pop`] gives.
    pub fn push(&mut self, sample: Sample) {
        self.parts.push(sample);
    }

    /// What is ready. A fragment waits for the first picture behind it, and for the sound that belongs to it.
    pub fn pop(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(part) = self.parts.pop() {
            self.write(&part, &mut pieces);
        }
        pieces
    }

    /// What is left, at the end.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = self.pop();
        for part in self.parts.finish() {
            self.write(&part, &mut pieces);
        }
        pieces
    }

    fn write(&mut self, part: &Part, pieces: &mut Vec<Piece>) {
        let runs: Vec<(usize, &Vec<Placed>)> = part
            .runs
            .iter()
            .filter(|(track, _)| matches!(part.entries.get(*track), Some(Some(_))))
            .map(|(track, placed)| (*track, placed))
            .collect();
        if runs.is_empty() {
            return;
        }
        if self.told.as_ref() != Some(&part.entries) {
            let mut head = self.head(&part.entries);
            if self.told.is_none() {
                self.head_bytes = head.len() as u64;
                if let Some(index) = self.index.as_ref().filter(|_| self.ahead) {
                    head.extend_from_slice(&index.blank());
                }
            }
            pieces.push(Piece::Head(head.into()));
            self.told = Some(part.entries.clone());
        }
        let entry = part.entries.get(self.master).and_then(Option::as_deref);
        let fragment = self.fragment(&runs, entry.map_or(0, Entry::timescale));
        if let Some(index) = &mut self.index {
            index.note(&fragment);
        }
        pieces.push(Piece::Fragment(fragment));
        self.next += 1;
    }

    fn head(&self, entries: &[Option<Arc<Entry>>]) -> Vec<u8> {
        let tracks = entries
            .iter()
            .enumerate()
            .filter_map(|(track, entry)| Some((track as u32 + 1, entry.as_deref()?)));
        let trex = |(id, _): (u32, &Entry)| Trex {
            track_id: id,
            default_sample_description_index: 1,
            ..Trex::default()
        };
        let moov = Moov {
            mvhd: Mvhd {
                timescale: MOVIE_TICKS,
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: entries.len() as u32 + 1,
                ..Mvhd::default()
            },
            mvex: Some(Mvex {
                mehd: None,
                trex: tracks.clone().map(trex).collect(),
            }),
            trak: tracks
                .map(|(id, entry)| {
                    let head = TrackHead {
                        id,
                        entry,
                        lead: self.parts.lead(entry.timescale()),
                        first: 0,
                        shown: 0,
                    };
                    let stbl = Stbl {
                        stsd: Stsd {
                            codecs: vec![sample_entry(entry)],
                        },
                        stco: Some(Stco::default()),
                        ..Stbl::default()
                    };
                    trak(&head, stbl)
                })
                .collect(),
            ..Moov::default()
        };
        let mut bytes = Vec::new();
        ftyp(true).encode(&mut bytes).expect(UNENCODABLE);
        encode(&moov, &mut bytes);
        bytes
    }

    fn fragment(&self, runs: &[(usize, &Vec<Placed>)], timescale: u32) -> Fragment {
        let mut moof = Moof {
            mfhd: Mfhd {
                sequence_number: self.next,
            },
            traf: runs
                .iter()
                .map(|(track, placed)| traf(*track, placed))
                .collect(),
        };
        // Offsets count from the start of this box, and are as long whatever they say.
        let mut moof_bytes = Vec::new();
        moof.encode(&mut moof_bytes).expect(UNENCODABLE);
        let mut offset = moof_bytes.len() + BOX_HEAD_BYTES;
        for (traf, (_, placed)) in moof.traf.iter_mut().zip(runs) {
            for run in &mut traf.trun {
                run.data_offset = i32::try_from(offset).ok();
            }
            offset += placed.iter().map(|sample| sample.data.len()).sum::<usize>();
        }
        let media_bytes = offset - moof_bytes.len();
        let mut head = Vec::with_capacity(moof_bytes.len() + 64);
        if let Some((track, placed)) = runs.first()
            && let Some(shown) = placed.iter().find(|sample| !sample.preroll)
        {
            Prft {
                reference_track_id: *track as u32 + 1,
                ntp_timestamp: ntp::from_unix_us(shown.capture_us),
                media_time: shown.times.show.max(0) as u64,
                utc_time_semantics: ReferenceTime::Input,
            }
            .encode(&mut head)
            .expect(UNENCODABLE);
        }
        let moof_at = head.len();
        moof.encode(&mut head).expect(UNENCODABLE);
        head.put_u32(media_bytes as u32);
        head.put_slice(b"mdat");
        let samples = runs.iter().flat_map(|(_, placed)| placed.iter());
        let chunks = std::iter::once(Bytes::from(head))
            .chain(samples.map(|sample| sample.data.clone()))
            .collect();
        let first = runs.first().map(|(_, placed)| *placed);
        let captures = || {
            first
                .into_iter()
                .flatten()
                .filter(|sample| !sample.preroll)
                .map(|sample| sample.capture_us)
        };
        let master = runs.first().is_some_and(|(track, _)| *track == self.master);
        Fragment {
            captured_us: (captures().min().unwrap_or(0), captures().max().unwrap_or(0)),
            sync: master
                && first
                    .and_then(|placed| placed.first())
                    .is_some_and(|sample| sample.sync),
            shown: first
                .filter(|_| master)
                .and_then(|placed| shown(placed, timescale, self.parts.lead(timescale))),
            moof_at,
            chunks,
        }
    }
}

/// When samples are shown whose media time begins behind `lead` ticks; `None` where none is.
fn shown(placed: &[Placed], timescale: u32, lead: i64) -> Option<Shown> {
    let shown = || placed.iter().filter(|sample| !sample.preroll);
    let from = shown().map(|sample| sample.times.show).min()?;
    let until = shown().map(|sample| sample.times.show + i64::from(sample.duration));
    let first = placed.first().filter(|sample| !sample.preroll);
    Some(Shown {
        timescale,
        from: from - lead,
        until: until.max()? - lead,
        delta: first.map_or(0, |first| first.times.show - from),
    })
}

fn traf(track: usize, placed: &[Placed]) -> Traf {
    let entries = placed.iter().map(|sample| TrunEntry {
        duration: Some(sample.duration),
        size: Some(sample.data.len() as u32),
        flags: Some(if sample.sync { SYNC } else { DEPENDENT }),
        cts: Some(sample.times.show - sample.times.decode),
    });
    let first = placed.first().map_or(0, |sample| sample.times.decode);
    Traf {
        tfhd: Tfhd {
            track_id: track as u32 + 1,
            default_base_is_moof: true,
            ..Tfhd::default()
        },
        tfdt: Some(Tfdt {
            base_media_decode_time: first.max(0) as u64,
        }),
        trun: vec![Trun {
            data_offset: Some(0),
            samples: TrunSamples::Explicit(entries.collect()),
        }],
        ..Traf::default()
    }
}
