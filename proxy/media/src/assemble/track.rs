//! One track of a leg: its source and numbering, and the unit in hand.

use std::ops::Range;

use bytes::{Buf, BytesMut};

use super::run::Run;
use crate::abac::{self, Replay};
use crate::gop::Gop;
use crate::nal::{Contents, Fragments, PayloadError};
use crate::packets::{Form, Owed};
use crate::rtp::Packet;
use crate::{Codec, Dropped, Flags, Markers, Packets, TrackFormat, h264, h265, jpeg, metadata};

/// Bytes of one access unit, frame headers included.
pub(super) const UNIT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one XML document: a stream that never ends one costs no more.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Packets of one access unit.
pub(super) const UNIT_PACKETS_MAX: usize = 16 * 1024;
/// A packet this far behind is taken for a restarted numbering, a nearer one for a repeated packet.
const LATE_PACKETS_MAX: i16 = 100;
/// A packet this far ahead tells of loss, a farther one of a restarted numbering.
const MISSING_PACKETS_MAX: i16 = 3000;
/// So many packets in a row from another source, or all of them late, and the recorder has renumbered.
const STRANGERS_MAX: u8 = 16;

#[derive(Debug)]
pub(super) struct Track {
    pub(super) format: TrackFormat,
    pub(super) ssrc: Option<u32>,
    pub(super) next_sequence: Option<u16>,
    pub(super) strangers: u8,
    /// Packets were missed: the next picture may lack its head.
    pub(super) headless: bool,
    pub(super) building: Building,
    /// The unit handed on last, as long as more packets of it could come.
    pub(super) ended: Option<(u32, Option<u64>)>,
    pub(super) gop: Gop,
    pub(super) jpeg: jpeg::Reader,
    pub(super) documents: metadata::Reader,
}

/// An access unit not yet ended.
#[derive(Debug, Default)]
pub(super) struct Building {
    pub(super) packets: Packets,
    pub(super) rtp_time: u32,
    pub(super) ntp: Option<u64>,
    pub(super) flags: Flags,
    pub(super) contents: Contents,
    pub(super) fragments: Fragments,
    /// The last packet had the marker.
    pub(super) marked: bool,
    /// A packet before the last picture data had it.
    pub(super) marked_early: bool,
    pub(super) damaged: bool,
}

/// What a packet says, freed from its bytes.
pub(super) struct Facts {
    /// Where the payload lies in the frame.
    pub(super) payload: Range<usize>,
    pub(super) marker: bool,
    pub(super) timestamp: u32,
    pub(super) replay: Option<Replay>,
    pub(super) form: Form,
}

impl Facts {
    pub(super) fn of(packet: &Packet<'_>) -> Self {
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

impl TrackFormat {
    /// Only video recorders are known to set markers wrongly; elsewhere the marker is the format.
    pub(super) fn initial_markers(self) -> Markers {
        if self.codec.is_picture() {
            self.markers
        } else {
            Markers::Trusted
        }
    }
}

impl Track {
    pub(super) fn new(format: TrackFormat) -> Self {
        Self {
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
        }
    }

    /// Checks source and sequence number; says how many packets are missing before this one.
    pub(super) fn admit(&mut self, packet: &Packet<'_>) -> Result<u16, Dropped> {
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
    pub(super) fn note_missing(&mut self) {
        let building = &mut self.building;
        self.headless = true;
        building.fragments.close();
        self.documents.reset();
        if !building.packets.is_empty() && !building.marked {
            building.damaged = true;
        }
    }

    pub(super) fn begins_unit(&self, facts: &Facts) -> bool {
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

    pub(super) fn ends_unit(&self) -> bool {
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

    pub(super) fn learn_markers(&mut self) {
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
    pub(super) fn check(&mut self, facts: &Facts, contents: Contents) -> Result<Contents, Dropped> {
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

    pub(super) fn read(&mut self, payload: &[u8], marker: bool) -> Result<Contents, PayloadError> {
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
    pub(super) fn give_up(&mut self, facts: &Facts) {
        self.building.damage(facts.timestamp);
        if self.format.codec == Codec::Metadata {
            self.documents.reset();
            // The marker ends a document: what follows opens the next.
            self.headless = !facts.marker;
        }
    }

    /// `instead` goes into the unit in the place of the frame.
    pub(super) fn add(
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

impl Building {
    /// The unit at `rtp_time` will not be whole; its bytes are let go at once.
    pub(super) fn damage(&mut self, rtp_time: u32) {
        *self = Self {
            rtp_time,
            damaged: true,
            fragments: self.fragments,
            ..Self::default()
        };
    }

    /// `keeps_first`: the time of the first packet is that of the unit.
    pub(super) fn note(&mut self, facts: &Facts, contents: Contents, keeps_first: bool) {
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
