//! Pictures out of RFC 6184 and RFC 7798 payloads: NAL units behind lengths.

use bytes::{BufMut, Bytes, BytesMut};

use super::Unsampled;
use crate::fragment::nal_header_bytes;
use crate::nal::aggregate;
use crate::rtp::Packet;
use crate::{Codec, Packets, ParameterSets, PayloadError, h264, h265};

/// Bytes of the length before each NAL unit.
const LENGTH_BYTES: usize = 4;

/// Pictures are put together in blocks of this size, several in one: what is not allocated need not be let go of either.
const BLOCK_BYTES: usize = 64 * 1024;
/// Room for parameter sets, and for lengths where there were none.
const MORE_BYTES: usize = 256;

/// One picture, put together in `block` while there is room in it. The sets of `known` go ahead where decoding can start; elsewhere
/// only those pass that are not known.
pub(super) fn sample(
    codec: Codec,
    packets: &Packets,
    known: &ParameterSets,
    random_access: bool,
    block: &mut BytesMut,
) -> Result<Bytes, Unsampled> {
    let room = packets.len_bytes() + MORE_BYTES;
    if !block.try_reclaim(room) {
        *block = BytesMut::with_capacity(room.max(BLOCK_BYTES));
    }
    let made = put_together(codec, packets, known, random_access, block);
    // Nothing stays of a picture that failed.
    let picture = block.split();
    made.map(|()| picture.freeze())
}

fn put_together(
    codec: Codec,
    packets: &Packets,
    known: &ParameterSets,
    random_access: bool,
    bytes: &mut BytesMut,
) -> Result<(), Unsampled> {
    let mut picture = Picture {
        codec,
        bytes,
        open: None,
        known,
        random_access,
    };
    if random_access {
        for set in known.in_order() {
            picture.put(set);
        }
    }
    let sets_bytes = picture.bytes.len();
    for frame in packets.iter() {
        if let Ok(packet) = Packet::parse_frame(frame) {
            picture.payload(packet.payload)?;
        }
    }
    picture.close();
    if picture.bytes.len() == sets_bytes {
        return Err(Unsampled::Empty);
    }
    Ok(())
}

struct Picture<'a> {
    codec: Codec,
    bytes: &'a mut BytesMut,
    /// Where the length of a NAL stands that is still being put together.
    open: Option<usize>,
    known: &'a ParameterSets,
    random_access: bool,
}

impl Picture<'_> {
    fn payload(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        let header_bytes = nal_header_bytes(self.codec);
        let (header, body) = payload
            .split_at_checked(header_bytes)
            .ok_or(PayloadError::Short)?;
        let &first = header.first().ok_or(PayloadError::Short)?;
        match (self.codec, first & 0x1f, (first >> 1) & 0x3f) {
            (Codec::H264, h264::FU_A, _) => {
                self.fragment(body, |fu| vec_of(&[(first & 0xe0) | (fu & 0x1f)]))
            }
            (Codec::H265, _, h265::FU) => {
                let second = header.get(1).copied().unwrap_or_default();
                self.fragment(body, |fu| {
                    vec_of(&[(first & 0x81) | ((fu & 0x3f) << 1), second])
                })
            }
            (Codec::H264, h264::STAP_A, _) | (Codec::H265, _, h265::AGGREGATE) => {
                self.close();
                aggregate(body, |nal| self.nal(nal))
            }
            _ => {
                self.close();
                self.nal(payload);
                Ok(())
            }
        }
    }

    /// A piece of a NAL; `header` builds the NAL's own header from the byte that leads the piece.
    fn fragment(
        &mut self,
        body: &[u8],
        header: impl FnOnce(u8) -> smallvec::SmallVec<[u8; 2]>,
    ) -> Result<(), PayloadError> {
        let (&fu, piece) = body.split_first().ok_or(PayloadError::Short)?;
        let (starts, ends) = (fu & 0x80 != 0, fu & 0x40 != 0);
        if starts {
            self.close();
            self.open = Some(self.bytes.len());
            self.bytes.put_bytes(0, LENGTH_BYTES);
            self.bytes.put_slice(&header(fu));
        } else if self.open.is_none() {
            return Err(PayloadError::Fragment);
        }
        self.bytes.put_slice(piece);
        if ends {
            self.close();
        }
        Ok(())
    }

    /// Writes the length of the NAL that was put together; one that is not to pass is taken back.
    fn close(&mut self) {
        let Some(at) = self.open.take() else { return };
        let nal = self.bytes.get(at + LENGTH_BYTES..).unwrap_or_default();
        let length = (nal.len() as u32).to_be_bytes();
        if !self.passes(nal) {
            self.bytes.truncate(at);
        } else if let Some(place) = self.bytes.get_mut(at..at + LENGTH_BYTES) {
            place.copy_from_slice(&length);
        }
    }

    fn nal(&mut self, nal: &[u8]) {
        if self.passes(nal) {
            self.put(nal);
        }
    }

    fn put(&mut self, nal: &[u8]) {
        self.bytes.put_u32(nal.len() as u32);
        self.bytes.put_slice(nal);
    }

    /// Delimiters mean nothing in a container, and sets are put ahead once.
    fn passes(&self, nal: &[u8]) -> bool {
        if nal.len() < nal_header_bytes(self.codec) || is_delimiter(self.codec, nal) {
            return false;
        }
        !(ParameterSets::is_set(self.codec, nal)
            && (self.random_access || self.known.in_order().any(|set| set == nal)))
    }
}

fn vec_of(bytes: &[u8]) -> smallvec::SmallVec<[u8; 2]> {
    smallvec::SmallVec::from_slice(bytes)
}

fn is_delimiter(codec: Codec, nal: &[u8]) -> bool {
    match (codec, nal.first()) {
        (Codec::H264, Some(header)) => header & 0x1f == h264::DELIMITER,
        (Codec::H265, Some(header)) => (header >> 1) & 0x3f == h265::DELIMITER,
        _ => false,
    }
}
