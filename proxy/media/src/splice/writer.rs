//! Writes the packets of one unit, in place where they allow it.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::rewrite::{self, Header, Turn};
use crate::{Flags, OutQueue, Packets, abac};

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
    ) -> Self {
        Self {
            header,
            flags,
            marker,
            extension,
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
        for (index, set) in sets.iter().enumerate() {
            let last = last && index + 1 == sets.len();
            let turn = self.turn(Some(last), last);
            rewrite::build(&mut built, set, &self.header, turn, self.extension);
            self.octets += set.len();
        }
        out.push_bytes(built);
    }

    fn packets(&mut self, mut packets: Packets, last: bool, out: &mut OutQueue) {
        let (extension, combined) = (self.extension, self.combined);
        let count = packets.count();
        let rule = self.marker;
        let marker = move |index: usize| match rule {
            MarkerRule::LastOnly => Some(last && index + 1 == count),
            MarkerRule::First => Some(index == 0),
            MarkerRule::Keep => None,
        };
        if packets
            .iter()
            .all(|frame| rewrite::fits(frame, extension, combined))
        {
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
        let mut built = BytesMut::with_capacity(packets.len_bytes() + count * abac::BYTES);
        for (index, frame) in packets.iter().enumerate() {
            let turn = self.turn(marker(index), last && index + 1 == count);
            self.octets +=
                rewrite::rebuild(&mut built, frame, &self.header, turn, extension, combined);
        }
        out.push_bytes(built);
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
