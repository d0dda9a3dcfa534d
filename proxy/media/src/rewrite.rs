//! Gives packets the numbering of the client's session, in place where they allow it.

use bytes::{BufMut, BytesMut};

use crate::abac::{self, Replay};
use crate::jpeg;
use crate::rtp::{FRAME_HEADER_BYTES, FRAME_MAGIC, HEADER_BYTES, Packet};

/// Frame header, RTP header and the replay extension.
const FULL_HEADER_BYTES: usize = FRAME_HEADER_BYTES + HEADER_BYTES + abac::BYTES;
const PLAIN_HEADER_BYTES: usize = FRAME_HEADER_BYTES + HEADER_BYTES;
const EXTENSION_BIT: u8 = 0x10;
const MARKER_BIT: u8 = 0x80;

/// What all packets of a unit have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) channel: u8,
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    pub(crate) timestamp: u32,
    /// Flags are those of the unit's packets after its first.
    pub(crate) replay: Replay,
}

/// What differs from packet to packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) sequence: u16,
    /// `None` keeps the recorder's.
    pub(crate) marker: Option<bool>,
    /// Flags of this packet's extension.
    pub(crate) flags: abac::Flags,
}

/// Whether a frame can be rewritten where it lies: no contributing sources, and the replay extension in
/// the one form that players read, or no extension where none is asked for. `combined` keeps the longer
/// form shared with JPEG's extension: the picture cannot be decoded without.
pub(crate) fn fits(frame: &[u8], extension: bool, combined: bool) -> bool {
    match frame.get(FRAME_HEADER_BYTES) {
        Some(first) if first & 0x0f != 0 => false,
        Some(first) if first & EXTENSION_BIT == 0 => !extension,
        Some(_) => match frame.get(PLAIN_HEADER_BYTES..PLAIN_HEADER_BYTES + 4) {
            Some(&[0xAB, 0xAC, 0, 3]) => true,
            Some(&[0xAB, 0xAC, _, _]) => combined || !extension,
            _ => !extension,
        },
        None => false,
    }
}

/// Rewrites a frame that [`fits`]; gives back its payload length (padding included).
pub(crate) fn in_place(frame: &mut [u8], header: &Header, turn: Turn) -> usize {
    let length = frame.len();
    let Some(head) = frame.first_chunk_mut::<PLAIN_HEADER_BYTES>() else {
        return 0;
    };
    head[1] = header.channel;
    let marker = turn.marker.map_or(
        head[5] & MARKER_BIT,
        |marker| if marker { MARKER_BIT } else { 0 },
    );
    head[5] = marker | header.payload_type;
    head[6..8].copy_from_slice(&turn.sequence.to_be_bytes());
    head[8..12].copy_from_slice(&header.timestamp.to_be_bytes());
    head[12..16].copy_from_slice(&header.ssrc.to_be_bytes());
    if head[4] & EXTENSION_BIT == 0 {
        return length - PLAIN_HEADER_BYTES;
    }
    let words = frame
        .get(PLAIN_HEADER_BYTES + 2..PLAIN_HEADER_BYTES + 4)
        .and_then(|words| words.first_chunk())
        .map_or(0, |words| usize::from(u16::from_be_bytes(*words)));
    if let Some(head) = frame.first_chunk_mut::<FULL_HEADER_BYTES>()
        && words >= usize::from(abac::WORDS)
        && head[16..18] == abac::ID.to_be_bytes()
    {
        head[20..28].copy_from_slice(&header.replay.ntp.to_be_bytes());
        head[28] = turn.flags.bits();
        head[29] = header.replay.cseq;
        head[30..32].fill(0);
    }
    length.saturating_sub(PLAIN_HEADER_BYTES + 4 + 4 * words)
}

/// What is written into each packet of a unit whose packets all have the replay extension in its one form and no contributing
/// sources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StampedHead {
    channel: u8,
    payload_type: u8,
    /// RTP time and source.
    time_and_source: [u8; 8],
    ntp: [u8; 8],
    cseq: u8,
}

impl StampedHead {
    pub(crate) fn of(header: &Header) -> Self {
        let (time, source) = (header.timestamp.to_be_bytes(), header.ssrc.to_be_bytes());
        let mut time_and_source = [0; 8];
        time_and_source[..4].copy_from_slice(&time);
        time_and_source[4..].copy_from_slice(&source);
        Self {
            channel: header.channel,
            payload_type: header.payload_type,
            time_and_source,
            ntp: header.replay.ntp.to_be_bytes(),
            cseq: header.replay.cseq,
        }
    }

    /// As [`in_place`].
    #[inline]
    pub(crate) fn write(&self, frame: &mut [u8], turn: Turn) -> usize {
        let length = frame.len();
        let Some(head) = frame.first_chunk_mut::<FULL_HEADER_BYTES>() else {
            return 0;
        };
        head[1] = self.channel;
        let marker = turn.marker.map_or(
            head[5] & MARKER_BIT,
            |marker| if marker { MARKER_BIT } else { 0 },
        );
        head[5] = marker | self.payload_type;
        head[6..8].copy_from_slice(&turn.sequence.to_be_bytes());
        head[8..16].copy_from_slice(&self.time_and_source);
        head[20..28].copy_from_slice(&self.ntp);
        head[28..32].copy_from_slice(&[turn.flags.bits(), self.cseq, 0, 0]);
        length - FULL_HEADER_BYTES
    }
}

/// What of a frame is kept when it is built anew.
#[derive(Debug, Default)]
pub(crate) struct Content<'a> {
    pub(crate) marker: bool,
    pub(crate) payload: &'a [u8],
    /// Words of JPEG's extension, where `combined` asks for them.
    pub(crate) tail: Option<BytesMut>,
}

/// Reads a frame to be built anew. What is no RTP packet becomes an empty one, so that the numbering stays dense: the
/// assembler lets none through.
pub(crate) fn content(frame: &[u8], combined: bool) -> Content<'_> {
    let Ok(packet) = Packet::parse_frame(frame) else {
        return Content::default();
    };
    let tail = packet
        .extension
        .filter(|_| combined)
        .and_then(|(id, words)| jpeg::tail(id, words));
    Content {
        marker: packet.marker,
        payload: packet.payload,
        tail,
    }
}

/// The header extension of a packet to be built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    /// The replay extension.
    pub(crate) replay: bool,
    /// Whole words of JPEG's extension behind it, head included; mostly none.
    pub(crate) tail: &'a [u8],
}

/// Appends one frame around a payload in two parts, together at most 64 KiB. One that leaves no room for
/// the extension goes without.
pub(crate) fn build_parts(
    out: &mut BytesMut,
    prefix: &[u8],
    payload: &[u8],
    header: &Header,
    turn: Turn,
    Extension { replay, tail }: Extension<'_>,
) {
    let room = usize::from(u16::MAX) - HEADER_BYTES - prefix.len();
    let payload = payload.get(..room).unwrap_or(payload);
    let extension_bytes = abac::BYTES + tail.len();
    let extension = replay && payload.len() + extension_bytes <= room;
    let length =
        HEADER_BYTES + if extension { extension_bytes } else { 0 } + prefix.len() + payload.len();
    out.reserve(FRAME_HEADER_BYTES + length);
    out.put_slice(&[FRAME_MAGIC, header.channel]);
    out.put_u16(length as u16);
    out.put_u8(0x80 | if extension { EXTENSION_BIT } else { 0 });
    let marker = if turn.marker == Some(true) {
        MARKER_BIT
    } else {
        0
    };
    out.put_u8(marker | header.payload_type);
    out.put_u16(turn.sequence);
    out.put_u32(header.timestamp);
    out.put_u32(header.ssrc);
    if extension {
        let replay = Replay {
            flags: turn.flags,
            ..header.replay
        };
        let mut head = replay.to_bytes();
        head[2..4].copy_from_slice(&(abac::WORDS + (tail.len() / 4) as u16).to_be_bytes());
        out.put_slice(&head);
        out.put_slice(tail);
    }
    out.put_slice(prefix);
    out.put_slice(payload);
}
