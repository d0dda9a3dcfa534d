//! Frames of files and movies, packetized like a recorder's.

use bytes::Bytes;
use seamline_archive::TrackFormat;
use seamline_media::{Flags, Frame, LegFormat, Packetizer, Unit};
use seamline_probes::archive::describe_tracks;

use super::{LegFailure, Order, format};

/// How the tracks of a movie become those of the client.
#[derive(Debug, Default)]
pub(super) struct Packing {
    format: LegFormat,
    /// As the movie has them.
    formats: Vec<TrackFormat>,
    /// For each track of the movie the packetizer of the client's track.
    tracks: Vec<Option<Packer>>,
}

#[derive(Debug)]
struct Packer {
    ours: usize,
    format: TrackFormat,
    /// The format changed in mid leg: its parameter sets must go with the pictures.
    sets_in_band: bool,
    clock_rate: u32,
    packetizer: Packetizer,
}

impl Packing {
    /// What the splice must know of the units' format.
    pub(super) fn format(&self) -> LegFormat {
        self.format.clone()
    }

    /// Whether the tracks of a movie are known.
    pub(super) fn is_known(&self) -> bool {
        !self.formats.is_empty()
    }

    /// The tracks that frames will name by index. Refuses those that cannot continue what the client gets.
    pub(super) fn set_tracks(
        &mut self,
        order: &Order,
        formats: &[TrackFormat],
    ) -> Result<(), LegFailure> {
        if self.formats == formats {
            return Ok(());
        }
        let theirs = describe_tracks(formats).tracks;
        let mapping = order.fit(&theirs)?;
        let fits = mapping
            .iter()
            .map(|theirs_ix| theirs_ix.and_then(|ix| theirs.get(ix)));
        self.format = format::of_tracks(fits);
        let changed = self.is_known();
        let packer = |(ix, format): (usize, &TrackFormat)| {
            let ours = mapping.iter().position(|mapped| *mapped == Some(ix))?;
            let track = theirs.get(ix)?;
            Some(Packer {
                ours,
                format: format.clone(),
                sets_in_band: changed,
                clock_rate: track.clock_rate,
                packetizer: Packetizer::new(ours, format::codec(format), track.payload_type),
            })
        };
        self.tracks = formats.iter().enumerate().map(packer).collect();
        self.formats = formats.to_vec();
        Ok(())
    }

    /// The client's track that a movie's goes to.
    pub(super) fn ours(&self, track: usize) -> Option<usize> {
        Some(self.tracks.get(track)?.as_ref()?.ours)
    }

    /// Whether a movie's track is the one that its time is told of: the pictures, or the sound where there are none.
    pub(super) fn leads(&self, track: usize) -> bool {
        let video = self.formats.iter().position(TrackFormat::is_video);
        track == video.unwrap_or(0)
    }

    /// Ticks a second of a track's RTP time.
    pub(super) fn clock_rate(&self, track: usize) -> u32 {
        let packer = self.tracks.get(track).and_then(Option::as_ref);
        packer.map_or(0, |packer| packer.clock_rate)
    }

    /// The unit of a frame, captured then in the camera's timeline; `None` when it is not wanted.
    pub(super) fn unit(
        &mut self,
        order: &Order,
        track: usize,
        data: &Bytes,
        capture_us: i64,
        sync: bool,
    ) -> Option<Unit> {
        let packer = self.tracks.get_mut(track)?.as_mut()?;
        let data = if packer.sets_in_band && sync {
            &format::with_sets(&packer.format, data)
        } else {
            data
        };
        let unit = packer.packetizer.unit(&Frame {
            data,
            framing: format::framing(&packer.format),
            capture_us,
            rtp_time: (i128::from(capture_us) * i128::from(packer.clock_rate) / 1_000_000) as u32,
            sync,
            flags: Flags::NONE,
        });
        match unit {
            Ok(unit) => order.wants(&unit).then_some(unit),
            Err(error) => {
                tracing::warn!(capture_us, %error, "frame skipped");
                None
            }
        }
    }
}
