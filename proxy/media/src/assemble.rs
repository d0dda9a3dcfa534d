//! Groups the packets of a leg into dated access units.

mod alike;
mod run;
mod track;

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use self::run::Run;
use self::track::{Facts, Track};
use crate::gop::{is_disposable, is_random_access};
use crate::nal::{Contents, PayloadError};
use crate::rtp::{Packet, first_frame_bytes};
use crate::{
    CaptureClock, Codec, Counts, Dropped, Flags, Markers, Source, TrackFormat, Unit, h264,
};

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The recorder said so (BYE, E or T flag, end of range): the last unit is whole.
    Clean,
    /// The connection broke or stalled: a unit without its marker may lack its tail.
    Lost,
}

/// Turns interleaved frames of one leg into [`Unit`]s.
#[derive(Debug)]
pub struct Assembler {
    tracks: Vec<Track>,
    clock: CaptureClock,
    counts: Counts,
    source: Option<Source>,
}

impl Assembler {
    /// An assembler for the tracks of a leg, in the order of the client's session.
    pub fn new(formats: Vec<TrackFormat>, clock: CaptureClock) -> Self {
        Self {
            tracks: formats.into_iter().map(Track::new).collect(),
            clock,
            counts: Counts::default(),
            source: None,
        }
    }

    /// Takes one whole frame and appends the units that it ends to `out`. An error says why the packet
    /// was dropped; it is counted and the leg goes on.
    pub fn push(
        &mut self,
        track: usize,
        mut frame: BytesMut,
        out: &mut VecDeque<Unit>,
    ) -> Result<(), Dropped> {
        let length = frame.len();
        let mut run = Run {
            buf: &mut frame,
            taken: 0,
        };
        let result = self.take_counted(track, &mut run, length, out);
        self.end_run(track, &mut run);
        result
    }

    /// Takes the whole frames at the front of `buf` that came on `channel`, until one of them ends a unit, which is appended
    /// to `out`; the same as [`Self::push`] for each, at a fraction of the cost. Packets that are dropped are counted. Says
    /// whether there was any.
    pub fn push_run(
        &mut self,
        track: usize,
        channel: u8,
        buf: &mut BytesMut,
        out: &mut VecDeque<Unit>,
    ) -> bool {
        let mut run = Run { buf, taken: 0 };
        let (mut any, units) = (false, out.len());
        while out.len() == units
            && let rest = run.rest()
            && rest.get(1) == Some(&channel)
            && let Some(length) = first_frame_bytes(rest)
        {
            any = true;
            // Why one was dropped is in the counts.
            if self.take_counted(track, &mut run, length, out).is_ok()
                && let Some(track) = self.tracks.get_mut(track)
            {
                self.counts.packets += track.take_alike(&mut run, length);
            }
        }
        self.end_run(track, &mut run);
        any
    }

    fn take_counted(
        &mut self,
        track: usize,
        run: &mut Run<'_>,
        length: usize,
        out: &mut VecDeque<Unit>,
    ) -> Result<(), Dropped> {
        let result = self.take(track, run, length, out);
        match result {
            Ok(()) => self.counts.packets += 1,
            Err(dropped) => {
                self.end_run(track, run);
                run.buf.advance(length);
                self.counts.note(dropped);
            }
        }
        result
    }

    fn end_run(&mut self, track: usize, run: &mut Run<'_>) {
        // Nothing is taken of a track that does not exist.
        if let Some(track) = self.tracks.get_mut(track) {
            run.settle(&mut track.building);
        }
    }

    /// Hands on or drops what is not ended yet, now that no more packets come.
    pub fn flush(&mut self, ending: Ending, out: &mut VecDeque<Unit>) {
        for track in 0..self.tracks.len() {
            let Some(building) = self.tracks.get(track).map(|track| &track.building) else {
                continue;
            };
            if building.contents.has(Contents::SLICE) || building.damaged {
                // A whole document would have been handed on.
                let document =
                    self.tracks.get(track).map(|track| track.format.codec) == Some(Codec::Metadata);
                let whole = !document
                    && !building.fragments.is_open()
                    && (building.marked || ending == Ending::Clean);
                self.finish(track, whole, out);
            }
        }
    }

    /// The leg's clock, to feed it PLAY replies and sender reports.
    pub fn clock_mut(&mut self) -> &mut CaptureClock {
        &mut self.clock
    }

    /// What the capture time of the latest unit rests on.
    pub fn source(&self) -> Option<Source> {
        self.source
    }

    /// What is known of the recorder's markers by now.
    pub fn markers(&self, track: usize) -> Markers {
        self.tracks
            .get(track)
            .map_or(Markers::Unknown, |track| track.format.markers)
    }

    /// The source that the recorder sends `track` from.
    pub fn ssrc(&self, track: usize) -> Option<u32> {
        self.tracks.get(track)?.ssrc
    }

    /// Counters since the start of the leg.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn take(
        &mut self,
        index: usize,
        run: &mut Run<'_>,
        length: usize,
        out: &mut VecDeque<Unit>,
    ) -> Result<(), Dropped> {
        let track = self.tracks.get_mut(index).ok_or(Dropped::Track)?;
        let frame = run.rest().get(..length).unwrap_or_default();
        let packet = Packet::parse_frame(frame)?;
        if packet.payload_type != track.format.payload_type {
            return Err(Dropped::PayloadType);
        }
        self.counts.missing_packets += u64::from(track.admit(&packet)?);
        if packet.payload.is_empty() {
            return Err(PayloadError::Short.into());
        }
        let facts = Facts::of(&packet);
        if track.begins_unit(&facts) {
            track.learn_markers();
            run.settle(&mut track.building);
            self.finish(index, true, out);
        }
        let track = self.tracks.get_mut(index).ok_or(Dropped::Track)?;
        let frame = run.rest().get(..length).unwrap_or_default();
        let payload = frame.get(facts.payload.clone()).unwrap_or_default();
        let read = track.read(payload, facts.marker);
        let checked = read
            .map_err(Dropped::from)
            .and_then(|contents| track.check(&facts, contents));
        let contents = match checked {
            Ok(contents) => contents,
            Err(dropped) => {
                run.settle(&mut track.building);
                track.give_up(&facts);
                return Err(dropped);
            }
        };
        let completed = match track.format.codec {
            Codec::Jpeg => track.jpeg.completed(frame),
            _ => None,
        };
        track.add(&facts, contents, run, length, completed)?;
        if track.ends_unit() {
            run.settle(&mut track.building);
            self.finish(index, true, out);
        }
        Ok(())
    }

    fn finish(&mut self, index: usize, whole: bool, out: &mut VecDeque<Unit>) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let building = std::mem::take(&mut track.building);
        if !whole || building.damaged || building.packets.is_empty() {
            self.counts.damaged_units += 1;
            return;
        }
        track.ended = Some((building.rtp_time, building.ntp));
        track.headless = false;
        let codec = track.format.codec;
        let clean = building.flags.contains(Flags::CLEAN);
        let random_access = is_random_access(codec, building.contents, clean);
        let leading = track
            .gop
            .leads(codec, building.contents, random_access, building.rtp_time);
        let refresh_pictures = if codec == Codec::H264
            && random_access
            && building.contents.has(Contents::RECOVERY)
            && !building.contents.has(Contents::IRAP)
        {
            let payloads = building
                .packets
                .iter()
                .filter_map(|frame| Packet::parse_frame(frame).ok());
            h264::refresh_pictures(payloads.map(|packet| packet.payload))
        } else {
            0
        };
        let stamp = self.clock.stamp(index, building.rtp_time, building.ntp);
        self.source = Some(stamp.source);
        self.counts.units += 1;
        out.push_back(Unit {
            track: index,
            capture_us: stamp.capture_us,
            rtp_time: building.rtp_time,
            random_access,
            leading,
            disposable: is_disposable(codec, building.contents),
            shown_early: building.contents.has(Contents::RADL),
            refresh_pictures,
            signed: building.contents.has(Contents::SIGNATURE),
            flags: building.flags.without(Flags::CLEAN),
            packets: building.packets,
        });
    }
}
