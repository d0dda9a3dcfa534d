//! The middle of a fragmented NAL: packets that differ from the one before in their number alone.

use super::run::Run;
use super::track::{Track, UNIT_BYTES_MAX, UNIT_PACKETS_MAX};
use crate::Codec;
use crate::abac;
use crate::packets::{Form, Owed};
use crate::rtp::{FRAME_HEADER_BYTES, HEADER_BYTES, first_frame_bytes};

/// Packets that are looked for ahead of being read.
const FETCHED_HEADS: usize = 16;

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

impl Track {
    /// Takes the packets that are the middle of the same fragmented NAL as the one before them, which was taken last and is
    /// `length` long: all that is new about each is its number. What [`super::Assembler::take`] makes of such a packet, for a few
    /// comparisons. Says how many there were.
    pub(super) fn take_alike(&mut self, run: &mut Run<'_>, length: usize) -> u64 {
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
}

/// The head of a fragment's packet, to find out which ones behind it differ in nothing but their number and length.
struct Alike<'a> {
    head: &'a [u8],
    /// The last byte of the head, without the bit that says that a NAL starts.
    fragment: u8,
    form: Form,
}

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
