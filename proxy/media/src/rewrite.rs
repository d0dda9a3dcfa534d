//! Gives packets the numbering of the client's session, in place where they allow it.

use bytes::{BufMut, BytesMut};

use crate::abac::{self, Replay};
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
/// the one form that players read, or no extension where none is asked for. `combined` lets the longer
/// form shared with JPEG's extension pass.
pub(crate) fn fits(frame: &[u8], extension: bool, combined: bool) -> bool {
    match frame.get(FRAME_HEADER_BYTES) {
        Some(first) if first & 0x0f != 0 => false,
        Some(first) if first & EXTENSION_BIT == 0 => !extension,
        Some(_) => match frame.get(PLAIN_HEADER_BYTES..PLAIN_HEADER_BYTES + 4) {
            Some(&[0xAB, 0xAC, 0, 3]) => true,
            Some(&[0xAB, 0xAC, _, _]) => combined,
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
    let Some(head) = frame.first_chunk_mut::<FULL_HEADER_BYTES>() else {
        return 0;
    };
    if head[16..18] == abac::ID.to_be_bytes() {
        head[20..28].copy_from_slice(&header.replay.ntp.to_be_bytes());
        head[28] = turn.flags.bits();
        head[29] = header.replay.cseq;
        head[30..32].fill(0);
    }
    length - FULL_HEADER_BYTES
}

/// Appends `frame` to `out` with a fresh header; gives back its payload length. What is no RTP packet
/// becomes an empty one, so that the numbering stays dense: the assembler lets none through.
pub(crate) fn rebuild(
    out: &mut BytesMut,
    frame: &[u8],
    header: &Header,
    turn: Turn,
    extension: bool,
) -> usize {
    let (marker, payload) = match Packet::parse_frame(frame) {
        Ok(packet) => (packet.marker, packet.payload),
        Err(_) => (false, &[][..]),
    };
    let turn = Turn {
        marker: Some(turn.marker.unwrap_or(marker)),
        ..turn
    };
    build(out, payload, header, turn, extension);
    payload.len()
}

/// Appends one frame around `payload`.
pub(crate) fn build(
    out: &mut BytesMut,
    payload: &[u8],
    header: &Header,
    turn: Turn,
    extension: bool,
) {
    build_parts(out, &[], payload, header, turn, extension);
}

/// Appends one frame around a payload in two parts, together at most 64 KiB. One that leaves no room for
/// the extension goes without.
pub(crate) fn build_parts(
    out: &mut BytesMut,
    prefix: &[u8],
    payload: &[u8],
    header: &Header,
    turn: Turn,
    extension: bool,
) {
    let room = usize::from(u16::MAX) - HEADER_BYTES - prefix.len();
    let payload = payload.get(..room).unwrap_or(payload);
    let extension = extension && payload.len() + abac::BYTES <= room;
    let length =
        HEADER_BYTES + if extension { abac::BYTES } else { 0 } + prefix.len() + payload.len();
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
        out.put_slice(
            &Replay {
                flags: turn.flags,
                ..header.replay
            }
            .to_bytes(),
        );
    }
    out.put_slice(prefix);
    out.put_slice(payload);
}
