//! Writes the packets of one unit, in place where they allow it.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::rewrite::{self, Extension, Header, StampedHead, Turn};
use crate::rtp::{FRAME_HEADER_BYTES, HEADER_BYTES};
use crate::{Codec, Flags, OutQueue, OutTrack, Packets, abac, fragment};

/// What goes ahead of a unit.
#[derive(Debug, Default)]
pub(super) struct Lead {
    pub(super) sets: SmallVec<[Bytes; 4]>,
    /// The unit's own first packet, an access unit delimiter, goes ahead of the sets.
    pub(super) delimiter: bool,
    /// It decodes only with sets that nobody knows.
    pub(super) sets_missing: bool,
}

/// Flags of the packets of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flagging {
    /// Of the first only.
    pub(super) first: Flags,
    /// Of all.
    pub(super) all: Flags,
    /// Of the last only.
    pub(super) last: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkerRule {
    /// Ends the access unit.
    LastOnly,
    /// Starts a talk spurt.
    First,
    /// As the recorder set it.
    Keep,
}

/// Writes one unit.
pub(super) struct Writer {
    header: Header,
    flags: Flagging,
    marker: MarkerRule,
    extension: bool,
    codec: Codec,
    /// Longest packet of RTP.
    packet_bytes_max: usize,
    /// The picture needs JPEG's extension beside the replay extension.
    pub(super) combined: bool,
    pub(super) next_seq: u16,
    pub(super) packets: usize,
    pub(super) octets: usize,
    pub(super) rebuilt: bool,
}

impl Writer {
    pub(super) fn new(
        header: Header,
        next_seq: u16,
        flags: Flagging,
        marker: MarkerRule,
        extension: bool,
        format: &OutTrack,
    ) -> Self {
        Self {
            header,
            flags,
            marker,
            extension,
            codec: format.codec,
            packet_bytes_max: format.packet_bytes_max,
            combined: false,
            next_seq,
            packets: 0,
            octets: 0,
            rebuilt: false,
        }
    }

    pub(super) fn unit(&mut self, mut packets: Packets, lead: &Lead, out: &mut OutQueue) {
        if !lead.sets.is_empty() {
            if lead.delimiter
                && let Some(delimiter) = packets.take_first()
            {
                let mut alone = Packets::new();
                alone.push(delimiter);
                self.packets(alone, false, out);
            }
            self.sets(&lead.sets, packets.is_empty(), out);
        }
        self.packets(packets, true, out);
    }

    fn sets(&mut self, sets: &[Bytes], last: bool, out: &mut OutQueue) {
        let mut built = BytesMut::new();
        let (codec, max) = (self.codec, self.payload_bytes_max());
        for (index, set) in sets.iter().enumerate() {
            let last = last && index + 1 == sets.len();
            fragment::nal(codec, set, max, |(prefix, piece, end)| {
                let turn = self.turn(Some(last && end), last && end);
                self.build(&mut built, prefix, piece, turn, &[]);
            });
        }
        out.push_bytes(built);
    }

    fn packets(&mut self, mut packets: Packets, last: bool, out: &mut OutQueue) {
        let (extension, combined) = (self.extension, self.combined);
        let frame_bytes_max = self.packet_bytes_max.saturating_add(FRAME_HEADER_BYTES);
        let count = packets.count();
        let rule = self.marker;
        let marker = move |index: usize| match rule {
            MarkerRule::LastOnly => Some(last && index + 1 == count),
            MarkerRule::First => Some(index == 0),
            MarkerRule::Keep => None,
        };
        let fits = match packets.longest_stamped() {
            Some(longest) if longest <= frame_bytes_max => {
                self.stamped(packets, marker, last, out);
                return;
            }
            Some(_) => false,
            None => packets.iter().all(|frame| {
                frame.len() <= frame_bytes_max && rewrite::fits(frame, extension, combined)
            }),
        };
        if fits {
            for (index, frame) in packets.iter_mut().enumerate() {
                let turn = self.turn(marker(index), last && index + 1 == count);
                self.octets += rewrite::in_place(frame, &self.header, turn);
            }
            packets
                .into_chunks()
                .for_each(|chunk| out.push_bytes(chunk));
            return;
        }
        self.rebuilt = true;
        let (codec, max) = (self.codec, self.payload_bytes_max());
        let mut built = BytesMut::with_capacity(packets.len_bytes() + count * abac::BYTES);
        for (index, frame) in packets.iter().enumerate() {
            let content = rewrite::content(frame, combined);
            let mut tail = content.tail.as_deref().unwrap_or_default();
            let mark = marker(index).unwrap_or(content.marker);
            fragment::payload(codec, content.payload, max, |(prefix, piece, end)| {
                // The marker of a talk spurt is on its first packet, that of a picture on its last.
                let mark = mark && (end || rule == MarkerRule::First);
                let turn = self.turn(Some(mark), last && end && index + 1 == count);
                self.build(&mut built, prefix, piece, turn, std::mem::take(&mut tail));
            });
        }
        out.push_bytes(built);
    }

    /// Packets that all have the replay extension in its one form: nearly all that is relayed.
    fn stamped(
        &mut self,
        mut packets: Packets,
        marker: impl Fn(usize) -> Option<bool>,
        last: bool,
        out: &mut OutQueue,
    ) {
        let count = packets.count();
        packets.fetch_heads();
        let head = StampedHead::of(&self.header);
        for (index, frame) in packets.iter_mut().enumerate() {
            let turn = self.turn(marker(index), last && index + 1 == count);
            self.octets += head.write(frame, turn);
        }
        packets
            .into_chunks()
            .for_each(|chunk| out.push_bytes(chunk));
    }

    /// Room for the payload, when all else of a packet is as large as it gets.
    fn payload_bytes_max(&self) -> usize {
        let extension = if self.extension { abac::BYTES } else { 0 };
        self.packet_bytes_max
            .saturating_sub(HEADER_BYTES + extension)
    }

    fn build(
        &mut self,
        built: &mut BytesMut,
        prefix: &[u8],
        piece: &[u8],
        turn: Turn,
        tail: &[u8],
    ) {
        let extension = Extension {
            replay: self.extension,
            tail,
        };
        rewrite::build_parts(built, prefix, piece, &self.header, turn, extension);
        self.octets += prefix.len() + piece.len();
    }

    fn turn(&mut self, marker: Option<bool>, last: bool) -> Turn {
        let sequence = self.next_seq;
        let mut flags = self.flags.all;
        if self.packets == 0 {
            flags |= self.flags.first;
        }
        if last {
            flags |= self.flags.last;
        }
        self.next_seq = sequence.wrapping_add(1);
        self.packets += 1;
        Turn {
            sequence,
            marker,
            flags,
        }
    }
}
