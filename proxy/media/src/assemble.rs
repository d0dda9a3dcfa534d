//! Groups the packets of a leg into dated access units.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, BytesMut};

use crate::abac::{self, Replay};
use crate::gop::{Gop, is_disposable, is_random_access};
use crate::nal::{Contents, Fragments, PayloadError};
use crate::packets::{Form, Owed};
use crate::rtp::{FRAME_HEADER_BYTES, HEADER_BYTES, Packet, first_frame_bytes};
use crate::{
    CaptureClock, Codec, Counts, Dropped, Flags, Markers, Packets, Source, TrackFormat, Unit, h264,
    h265, jpeg, metadata,
};

/// Bytes of one access unit, frame headers included.
const UNIT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one XML document: a stream that never ends one costs no more.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Packets that are looked for ahead of being read.
const FETCHED_HEADS: usize = 16;
/// Packets of one access unit.
const UNIT_PACKETS_MAX: usize = 16 * 1024;
/// A packet this far behind is taken for a restarted numbering, a nearer one for a repeated packet.
const LATE_PACKETS_MAX: i16 = 100;
/// A packet this far ahead tells of loss, a farther one of a restarted numbering.
const MISSING_PACKETS_MAX: i16 = 3000;
/// So many packets in a row from another source, or all of them late, and the recorder has renumbered.
const STRANGERS_MAX: u8 = 16;

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

#[derive(Debug)]
struct Track {
    format: TrackFormat,
    ssrc: Option<u32>,
    next_sequence: Option<u16>,
    strangers: u8,
    /// Packets were missed: the next picture may lack its head.
    headless: bool,
    building: Building,
    /// The unit handed on last, as long as more packets of it could come.
    ended: Option<(u32, Option<u64>)>,
    gop: Gop,
    jpeg: jpeg::Reader,
    documents: metadata::Reader,
}

/// An access unit not yet ended.
#[derive(Debug, Default)]
struct Building {
    packets: Packets,
    rtp_time: u32,
    ntp: Option<u64>,
    flags: Flags,
    contents: Contents,
    fragments: Fragments,
    /// The last packet had the marker.
    marked: bool,
    /// A packet before the last picture data had it.
    marked_early: bool,
    damaged: bool,
}

/// Whole frames of one track at the front of a read buffer. Those that were taken stay there until their run ends: one
/// split of the buffer for all of them.
struct Run<'a> {
    buf: &'a mut BytesMut,
    /// Bytes of the frames that were taken, and counted in the unit in hand.
    taken: usize,
}

impl Run<'_> {
    fn rest(&self) -> &[u8] {
        self.buf.get(self.taken..).unwrap_or_default()
    }

    /// Hands what was taken to the unit in hand.
    fn settle(&mut self, building: &mut Building) {
        if self.taken > 0 {
            building.packets.settle(self.buf.split_to(self.taken));
            self.taken = 0;
        }
    }
}

/// What a packet says, freed from its bytes.
struct Facts {
    /// Where the payload lies in the frame.
    payload: Range<usize>,
    marker: bool,
    timestamp: u32,
    replay: Option<Replay>,
    form: Form,
}

impl Facts {
    fn of(packet: &Packet<'_>) -> Self {
        let start = packet.payload_at();
        let stamped = packet.sources == 0
            && packet.extension.is_some_and(|(id, words)| {
                id == abac::ID && words.len() == 4 * usize::from(abac::WORDS)
            });
        Self {
            payload: start..start + packet.payload.len(),
            marker: packet.marker,
            timestamp: packet.timestamp,
            replay: packet.replay(),
            form: if stamped { Form::Stamped } else { Form::Any },
        }
    }
}

impl Assembler {
    /// An assembler for the tracks of a leg, in the order of the client's session.
    pub fn new(formats: Vec<TrackFormat>, clock: CaptureClock) -> Self {
        let track = |format: TrackFormat| Track {
            format: TrackFormat {
                markers: format.initial_markers(),
                ..format
            },
            ssrc: None,
            next_sequence: None,
            strangers: 0,
            headless: true,
            building: Building::default(),
            ended: None,
            gop: Gop::default(),
            jpeg: jpeg::Reader::default(),
            documents: metadata::Reader::default(),
        };
        Self {
            tracks: formats.into_iter().map(track).collect(),
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

impl TrackFormat {
    /// Only video recorders are known to set markers wrongly; elsewhere the marker is the format.
    fn initial_markers(self) -> Markers {
        if self.codec.is_picture() {
            self.markers
        } else {
            Markers::Trusted
        }
    }
}

impl Track {
    /// Checks source and sequence number; says how many packets are missing before this one.
    fn admit(&mut self, packet: &Packet<'_>) -> Result<u16, Dropped> {
        let same_source = self.ssrc.is_none_or(|ssrc| ssrc == packet.ssrc);
        let ahead = self
            .next_sequence
            .map_or(0, |next| packet.sequence.wrapping_sub(next) as i16);
        let late = same_source && (-LATE_PACKETS_MAX..0).contains(&ahead);
        if (!same_source || late) && self.strangers < STRANGERS_MAX {
            self.strangers += 1;
            return Err(if same_source {
                Dropped::Repeated
            } else {
                Dropped::Source
            });
        }
        let renumbered = !same_source || !(0..=MISSING_PACKETS_MAX).contains(&ahead);
        self.strangers = 0;
        self.ssrc = Some(packet.ssrc);
        self.next_sequence = Some(packet.sequence.wrapping_add(1));
        if renumbered || ahead > 0 {
            self.note_missing();
        }
        Ok(if renumbered { 0 } else { ahead as u16 })
    }

    /// A hole in the numbering cuts the unit in hand, unless its marker had ended it.
    fn note_missing(&mut self) {
        let building = &mut self.building;
        self.headless = true;
        building.fragments.close();
        self.documents.reset();
        if !building.packets.is_empty() && !building.marked {
            building.damaged = true;
        }
    }

    fn begins_unit(&self, facts: &Facts) -> bool {
        let building = &self.building;
        if !building.contents.has(Contents::SLICE) && !building.damaged {
            return false;
        }
        // Its packets are stamped as they leave; only what they say ends a document.
        if self.format.codec == Codec::Metadata {
            return building.damaged;
        }
        let ntp = facts.replay.map(|replay| replay.ntp);
        building.rtp_time != facts.timestamp
            || (building.marked && ntp.is_some() && building.ntp.is_some() && ntp != building.ntp)
    }

    fn ends_unit(&self) -> bool {
        let building = &self.building;
        match self.format.codec {
            Codec::G711 | Codec::G726 | Codec::Opus => true,
            Codec::Metadata => building.contents.has(Contents::CLOSED),
            Codec::H264 | Codec::H265 | Codec::Jpeg | Codec::Aac | Codec::Other => {
                // Nothing comes behind the last unit of a section to show where it ends.
                let closing =
                    building.flags.contains(Flags::END) || building.flags.contains(Flags::TERMINAL);
                let trusted = match self.format.markers {
                    Markers::Unknown => closing,
                    Markers::Trusted => true,
                    Markers::Ignored => false,
                };
                building.marked
                    && trusted
                    && building.contents.has(Contents::SLICE)
                    && !building.fragments.is_open()
            }
        }
    }

    fn learn_markers(&mut self) {
        if !self.format.codec.is_picture() || self.building.damaged {
            return;
        }
        if self.building.marked_early {
            self.format.markers = Markers::Ignored;
        } else if self.building.marked && self.format.markers == Markers::Unknown {
            self.format.markers = Markers::Trusted;
        }
    }

    /// Refuses picture data of a unit that was handed on already, because its marker lied, and of a
    /// unit whose head is missing.
    fn check(&mut self, facts: &Facts, contents: Contents) -> Result<Contents, Dropped> {
        let opens = contents.has(Contents::SLICE) && !self.building.contents.has(Contents::SLICE);
        if !opens || !self.format.codec.is_picture() || self.building.damaged {
            return Ok(contents);
        }
        let stamp = facts.replay.map(|replay| replay.ntp);
        let ended = self.ended.is_some_and(|(rtp_time, ntp)| {
            rtp_time == facts.timestamp && (ntp.is_none() || stamp.is_none() || ntp == stamp)
        });
        if ended {
            self.format.markers = Markers::Ignored;
            return Err(Dropped::AfterEnd);
        }
        if self.headless && !contents.has(Contents::FIRST_SLICE) {
            return Err(PayloadError::Headless.into());
        }
        Ok(contents)
    }

    fn read(&mut self, payload: &[u8], marker: bool) -> Result<Contents, PayloadError> {
        let fragments = &mut self.building.fragments;
        match self.format.codec {
            Codec::H264 => h264::contents(payload, fragments),
            Codec::H265 => h265::contents(payload, fragments),
            Codec::Jpeg => self.jpeg.contents(payload),
            Codec::Metadata => self.documents.contents(payload, marker, self.headless),
            _ if payload.is_empty() => Err(PayloadError::Short),
            _ => Ok(Contents::SLICE),
        }
    }

    /// The unit in hand will not be whole.
    fn give_up(&mut self, facts: &Facts) {
        self.building.damage(facts.timestamp);
        if self.format.codec == Codec::Metadata {
            self.documents.reset();
            // The marker ends a document: what follows opens the next.
            self.headless = !facts.marker;
        }
    }

    /// Takes the packets that are the middle of the same fragmented NAL as the one before them, which was taken last and is
    /// `length` long: all that is new about each is its number. What [`Assembler::take`] makes of such a packet, for a few
    /// comparisons. Says how many there were.
    fn take_alike(&mut self, run: &mut Run<'_>, length: usize) -> u64 {
        let building = &self.building;
        let fragment_head = match self.format.codec {
            Codec::H264 => H264_FRAGMENT_HEAD_BYTES,
            Codec::H265 => H265_FRAGMENT_HEAD_BYTES,
            _ => return 0,
        };
        if building.marked || building.damaged || !building.fragments.is_open() {
            return 0;
        }
        let Some(last) = run.taken.checked_sub(length) else {
            return 0;
        };
        let (Some((before, rest)), Some(next)) = (
            run.buf
                .get(last..)
                .and_then(|bytes| bytes.split_at_checked(length)),
            self.next_sequence.as_mut(),
        ) else {
            return 0;
        };
        let Some(alike) = Alike::to(before, fragment_head) else {
            return 0;
        };
        let room = UNIT_BYTES_MAX.saturating_sub(building.packets.len_bytes());
        let count_max = UNIT_PACKETS_MAX.saturating_sub(building.packets.count());
        // Most are as long as this one: their heads come into the cache together, where walking from one to the next waits for each.
        let heads = rest.iter().step_by(length).take(FETCHED_HEADS);
        std::hint::black_box(heads.fold(0_u8, |seen, byte| seen ^ byte));
        let mut more = Owed::default();
        let mut rest = rest;
        while more.count < count_max
            && let Some(length) = first_frame_bytes(rest)
            && more.bytes + length <= room
            && let Some((frame, behind)) = rest.split_at_checked(length)
            && alike.holds(frame, *next)
        {
            *next = next.wrapping_add(1);
            more.count += 1;
            more.bytes += length;
            more.longest = more.longest.max(length);
            rest = behind;
        }
        self.building.packets.owe(more, alike.form);
        run.taken += more.bytes;
        more.count as u64
    }

    /// `instead` goes into the unit in the place of the frame.
    fn add(
        &mut self,
        facts: &Facts,
        contents: Contents,
        run: &mut Run<'_>,
        length: usize,
        instead: Option<BytesMut>,
    ) -> Result<(), Dropped> {
        let document = self.format.codec == Codec::Metadata;
        let limit = if document {
            DOCUMENT_BYTES_MAX
        } else {
            UNIT_BYTES_MAX
        };
        let building = &self.building;
        let frame_bytes = instead.as_ref().map_or(length, BytesMut::len);
        if building.packets.len_bytes() + frame_bytes > limit
            || building.packets.count() >= UNIT_PACKETS_MAX
        {
            run.settle(&mut self.building);
            self.give_up(facts);
            return Err(Dropped::TooLarge);
        }
        self.building.note(facts, contents, document);
        match instead {
            None if !self.building.damaged => {
                self.building.packets.owe(Owed::one(length), facts.form);
                run.taken += length;
            }
            instead => {
                run.settle(&mut self.building);
                run.buf.advance(length);
                if let Some(frame) = instead.filter(|_| !self.building.damaged) {
                    self.building.packets.push(frame);
                }
            }
        }
        // Of documents each packet is checked against the head of its own.
        self.headless &= !document;
        Ok(())
    }
}

/// The head of a fragment's packet, to find out which ones behind it differ in nothing but their number and length.
struct Alike<'a> {
    head: &'a [u8],
    /// The last byte of the head, without the bit that says that a NAL starts.
    fragment: u8,
    form: Form,
}

/// Frame header and RTP header: no head is shorter.
const ALIKE_BYTES_MIN: usize = FRAME_HEADER_BYTES + HEADER_BYTES;
/// NAL header and fragment header (RFC 6184 §5.8, RFC 7798 §4.4.3).
const H264_FRAGMENT_HEAD_BYTES: usize = 2;
const H265_FRAGMENT_HEAD_BYTES: usize = 3;
/// Of a fragment header: the NAL starts.
const STARTS: u8 = 0x80;
/// Of the first byte of an RTP header: padding, extension, and the number of contributing sources.
const PADDED: u8 = 0x20;
const EXTENDED: u8 = 0x10;
const SOURCES: u8 = 0x0f;

impl<'a> Alike<'a> {
    fn to(frame: &'a [u8], fragment_head: usize) -> Option<Self> {
        let first = *frame.get(FRAME_HEADER_BYTES)?;
        if first & (PADDED | SOURCES) != 0 {
            return None;
        }
        let fixed = FRAME_HEADER_BYTES + HEADER_BYTES;
        let (extension, form) = if first & EXTENDED == 0 {
            (0, Form::Any)
        } else {
            let [id0, id1, len0, len1] = *frame.get(fixed..)?.first_chunk::<4>()?;
            let words = u16::from_be_bytes([len0, len1]);
            let stamped = u16::from_be_bytes([id0, id1]) == abac::ID && words == abac::WORDS;
            let form = if stamped { Form::Stamped } else { Form::Any };
            (4 + 4 * usize::from(words), form)
        };
        let head = frame.get(..fixed + extension + fragment_head)?;
        Some(Self {
            head,
            fragment: head.last()? & !STARTS,
            form,
        })
    }

    /// Whether a frame has this head but for its length, and the number `sequence`.
    #[inline]
    fn holds(&self, frame: &[u8], sequence: u16) -> bool {
        let (fixed, tail) = (self.head, self.head.len() - 1);
        let (Some(head), Some(expected)) = (
            frame.first_chunk::<ALIKE_BYTES_MIN>(),
            fixed.first_chunk::<ALIKE_BYTES_MIN>(),
        ) else {
            return false;
        };
        head[..2] == expected[..2]
            && head[4..6] == expected[4..6]
            && head[6..8] == sequence.to_be_bytes()
            && head[8..] == expected[8..]
            && frame.get(ALIKE_BYTES_MIN..tail) == fixed.get(ALIKE_BYTES_MIN..tail)
            && frame.get(tail) == Some(&self.fragment)
    }
}

impl Building {
    /// The unit at `rtp_time` will not be whole; its bytes are let go at once.
    fn damage(&mut self, rtp_time: u32) {
        *self = Self {
            rtp_time,
            damaged: true,
            fragments: self.fragments,
            ..Self::default()
        };
    }

    /// `keeps_first`: the time of the first packet is that of the unit.
    fn note(&mut self, facts: &Facts, contents: Contents, keeps_first: bool) {
        // Parameter sets sent ahead with a timestamp of their own belong to the picture behind them.
        let first = self.packets.is_empty();
        let moved = self.rtp_time != facts.timestamp && (first || !keeps_first);
        if first || !keeps_first {
            self.rtp_time = facts.timestamp;
        }
        if let Some(replay) = facts.replay {
            if moved || self.ntp.is_none() {
                self.ntp = Some(replay.ntp);
            }
            self.flags |= replay.flags;
        }
        self.marked_early |=
            self.marked && self.contents.has(Contents::SLICE) && contents.has(Contents::SLICE);
        self.marked_early |= facts.marker && self.fragments.is_open();
        self.marked = facts.marker;
        self.contents |= contents;
    }
}
