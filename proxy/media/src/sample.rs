//! Units as plain samples: what a container holds instead of packets.
//!
//! A sample is a pure function of the footage: how a recorder cut it into packets, and whether it sends parameter sets in
//! band, leaves no trace in it.

mod sound;
mod video;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use thiserror::Error;

use crate::entry::changed;
use crate::{Entry, Kind, LegFormat, ParameterSets, PayloadError, Unit, jpeg};

/// One coded picture or piece of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Index of the track in the session.
    pub track: usize,
    /// Capture time, UTC in µs; of pictures the time at which they are shown.
    pub capture_us: i64,
    /// Decoding can start here.
    pub sync: bool,
    /// Only there so that what follows decodes: not to be shown.
    pub preroll: bool,
    /// H.264 and H.265: NAL units behind lengths of four bytes, without delimiters, and with all parameter sets ahead where
    /// decoding can start. AAC: one raw frame. JPEG: a file.
    pub data: Bytes,
}

/// What units turn into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// How the samples of a track are coded from here on.
    Format {
        /// Index of the track in the session.
        track: usize,
        /// What a container must say of it.
        entry: Arc<Entry>,
    },
    /// A sample.
    Sample(Sample),
}

/// Why a unit is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsampled {
    /// The track is none that a container can hold.
    #[error("no such track in a container")]
    Track,
    /// Its payload contradicts its format.
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// Nothing is left of it.
    #[error("nothing in it")]
    Empty,
    /// Larger than any picture.
    #[error("larger than any picture")]
    TooLarge,
    /// Parameter sets are missing or cannot be read.
    #[error("no parameter sets that can be read")]
    Sets,
}

/// Bytes of one sample.
const SAMPLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Takes samples out of the units of one session.
#[derive(Debug)]
pub struct Sampler {
    tracks: Vec<Option<Track>>,
}

#[derive(Debug)]
struct Track {
    kind: Kind,
    sets: ParameterSets,
    known: Option<Arc<Entry>>,
    /// Where its next picture is put together.
    block: BytesMut,
}

/// What came of one unit: mostly one sample.
pub type Harvest = SmallVec<[Taken; 2]>;

impl Sampler {
    /// For a session with these tracks; `None` for one that is left out.
    pub fn new(kinds: impl IntoIterator<Item = Option<Kind>>) -> Self {
        let track = |kind| Track {
            kind,
            sets: ParameterSets::default(),
            known: None,
            block: BytesMut::new(),
        };
        Self {
            tracks: kinds.into_iter().map(|kind| kind.map(track)).collect(),
        }
    }

    /// The formats that descriptions alone tell: those of sound.
    pub fn formats(&mut self) -> Harvest {
        let tracks = self.tracks.iter_mut().enumerate();
        tracks
            .filter_map(|(track, state)| {
                let state = state.as_mut()?;
                let entry = changed(&mut state.known, state.kind.sound()?)?;
                Some(Taken::Format { track, entry })
            })
            .collect()
    }

    /// The units taken from here on come from another leg.
    pub fn begin_leg(&mut self, leg: &LegFormat) {
        for (index, track) in self.tracks.iter_mut().enumerate() {
            if let Some(track) = track {
                track.sets = leg.parameter_sets.get(index).cloned().unwrap_or_default();
            }
        }
    }

    /// One unit, its bytes copied once. On an error it is left out.
    pub fn take(&mut self, unit: &Unit, preroll: bool) -> Result<Harvest, Unsampled> {
        let track = self
            .tracks
            .get_mut(unit.track)
            .and_then(Option::as_mut)
            .ok_or(Unsampled::Track)?;
        if unit.packets.len_bytes() > SAMPLE_BYTES_MAX {
            return Err(Unsampled::TooLarge);
        }
        let mut harvest = Harvest::new();
        let sample = |data, capture_us| {
            Taken::Sample(Sample {
                track: unit.track,
                capture_us,
                sync: unit.random_access,
                preroll,
                data,
            })
        };
        let Track {
            kind,
            sets,
            known,
            block,
        } = track;
        match kind {
            Kind::H264 | Kind::H265 => {
                let codec = kind.codec();
                if unit.random_access {
                    sets.learn(codec, &unit.packets);
                    let entry = Entry::of_sets(codec, sets).ok_or(Unsampled::Sets)?;
                    harvest.extend(changed(known, entry).map(|entry| Taken::Format {
                        track: unit.track,
                        entry,
                    }));
                }
                if known.is_none() {
                    return Err(Unsampled::Sets);
                }
                let data = video::sample(codec, &unit.packets, sets, unit.random_access, block)?;
                harvest.push(sample(data, unit.capture_us));
            }
            Kind::Jpeg => {
                let (data, size) = jpeg::file(&unit.packets)?;
                harvest.extend(
                    changed(known, Entry::Jpeg { size }).map(|entry| Taken::Format {
                        track: unit.track,
                        entry,
                    }),
                );
                harvest.push(sample(data, unit.capture_us));
            }
            Kind::Aac(aac) => {
                let frames = sound::aac(&unit.packets, aac.header_bits)?;
                let ticks = known
                    .as_deref()
                    .and_then(|entry| entry.ticks(&[]))
                    .unwrap_or(0);
                for (number, data) in frames.into_iter().enumerate() {
                    let later = number as i64 * i64::from(ticks) * 1_000_000;
                    let later_us = later / i64::from(aac.sample_rate);
                    harvest.push(sample(data, unit.capture_us.saturating_add(later_us)));
                }
            }
            Kind::G711 { .. } | Kind::Opus => {
                harvest.push(sample(sound::plain(&unit.packets)?, unit.capture_us));
            }
        }
        Ok(harvest)
    }
}
