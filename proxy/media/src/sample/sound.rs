//! Sound out of RFC 3640 and of payloads that stand alone.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::Unsampled;
use crate::rtp::Packet;
use crate::{Packets, PayloadError};

/// Frames of one packet.
const FRAMES_MAX: usize = 64;

/// The payloads of a unit, one behind the other.
pub(super) fn plain(packets: &Packets) -> Result<Bytes, Unsampled> {
    let mut data = BytesMut::new();
    for frame in packets.iter() {
        if let Ok(packet) = Packet::parse_frame(frame) {
            data.extend_from_slice(packet.payload);
        }
    }
    if data.is_empty() {
        return Err(Unsampled::Empty);
    }
    Ok(data.freeze())
}

/// The frames of a unit (RFC 3640 §3.2): several in a packet, or one over several packets that each name its length.
pub(super) fn aac(
    packets: &Packets,
    (size_bits, index_bits, delta_bits): (u8, u8, u8),
) -> Result<SmallVec<[Bytes; 1]>, Unsampled> {
    let mut frames: SmallVec<[Bytes; 1]> = SmallVec::new();
    let mut partial = BytesMut::new();
    let mut missing = 0;
    for frame in packets.iter() {
        let Ok(packet) = Packet::parse_frame(frame) else {
            continue;
        };
        let (sizes, mut data) = headers(packet.payload, size_bits, index_bits, delta_bits)?;
        if let [size] = sizes[..]
            && (missing > 0 || size > data.len())
        {
            if missing == 0 {
                partial.clear();
                missing = size;
            }
            let piece = data.get(..data.len().min(missing)).unwrap_or_default();
            partial.extend_from_slice(piece);
            missing -= piece.len();
            if missing == 0 {
                frames.push(partial.split().freeze());
            }
            continue;
        }
        if missing > 0 {
            return Err(PayloadError::Fragment.into());
        }
        for size in sizes {
            let (frame, rest) = data.split_at_checked(size).ok_or(PayloadError::Aggregate)?;
            if !frame.is_empty() {
                frames.push(Bytes::copy_from_slice(frame));
            }
            data = rest;
        }
    }
    if missing > 0 {
        return Err(PayloadError::Fragment.into());
    }
    if frames.is_empty() {
        return Err(Unsampled::Empty);
    }
    Ok(frames)
}

/// The sizes in the AU headers, and what follows them.
fn headers(
    payload: &[u8],
    size_bits: u8,
    index_bits: u8,
    delta_bits: u8,
) -> Result<(SmallVec<[usize; 4]>, &[u8]), PayloadError> {
    let (&length, rest) = payload
        .split_first_chunk::<2>()
        .ok_or(PayloadError::Short)?;
    let bits_count = usize::from(u16::from_be_bytes(length));
    let (section, data) = rest
        .split_at_checked(bits_count.div_ceil(8))
        .ok_or(PayloadError::Short)?;
    let mut sizes = SmallVec::new();
    let mut at = 0;
    while sizes.len() < FRAMES_MAX {
        let index = usize::from(if sizes.is_empty() {
            index_bits
        } else {
            delta_bits
        });
        let next = at + usize::from(size_bits) + index;
        if next > bits_count || next == at {
            break;
        }
        let size = (at..at + usize::from(size_bits)).fold(0, |size, bit| {
            let byte = section.get(bit / 8).copied().unwrap_or_default();
            (size << 1) | usize::from((byte >> (7 - bit % 8)) & 1)
        });
        sizes.push(size);
        at = next;
    }
    Ok((sizes, data))
}
