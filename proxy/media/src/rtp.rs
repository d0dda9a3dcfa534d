//! One RTP packet, read in place with every bound checked, alone or inside its interleaved `$` frame.

use thiserror::Error;

use crate::abac::Replay;

/// `$`, channel and the 16-bit length before each interleaved packet.
pub const FRAME_HEADER_BYTES: usize = 4;
/// The fixed RTP header.
pub const HEADER_BYTES: usize = 12;
/// First byte of an interleaved frame.
pub const FRAME_MAGIC: u8 = b'$';

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtpError {
    /// No `$`, or its length differs from what follows.
    #[error("not one whole interleaved frame")]
    Frame,
    /// Shorter than the fixed header.
    #[error("shorter than an RTP header")]
    Short,
    /// Not version 2.
    #[error("RTP version is not 2")]
    Version,
    /// The contributing sources end past the packet.
    #[error("contributing sources end past the packet")]
    Sources,
    /// The header extension ends past the packet.
    #[error("header extension ends past the packet")]
    Extension,
    /// The padding is longer than the payload, or says zero.
    #[error("padding ends before the payload starts")]
    Padding,
}

/// A parsed packet; slices lie in the buffer that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp in the track's clock rate.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Number of contributing sources.
    pub sources: u8,
    /// Header extension: profile id and its words without the four-byte extension header.
    pub extension: Option<(u16, &'a [u8])>,
    /// Payload without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses a bare packet.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(RtpError::Short)?;
        let &[
            first,
            second,
            seq0,
            seq1,
            ts0,
            ts1,
            ts2,
            ts3,
            s0,
            s1,
            s2,
            s3,
        ] = header;
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let sources = first & 0x0f;
        let rest = rest
            .get(usize::from(sources) * 4..)
            .ok_or(RtpError::Sources)?;
        let (extension, rest) = if first & 0x10 == 0 {
            (None, rest)
        } else {
            let (&[id0, id1, len0, len1], rest) =
                rest.split_first_chunk::<4>().ok_or(RtpError::Extension)?;
            let length = usize::from(u16::from_be_bytes([len0, len1])) * 4;
            let (words, rest) = rest.split_at_checked(length).ok_or(RtpError::Extension)?;
            (Some((u16::from_be_bytes([id0, id1]), words)), rest)
        };
        let payload = if first & 0x20 == 0 {
            rest
        } else {
            without_padding(rest)?
        };
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([seq0, seq1]),
            timestamp: u32::from_be_bytes([ts0, ts1, ts2, ts3]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            sources,
            extension,
            payload,
        })
    }

    /// Parses the packet inside one whole interleaved frame.
    pub fn parse_frame(frame: &'a [u8]) -> Result<Self, RtpError> {
        Self::parse(unframe(frame)?)
    }

    /// Where the payload begins in the interleaved frame that this packet was parsed from.
    pub fn payload_at(&self) -> usize {
        let extension = self.extension.map_or(0, |(_, words)| 4 + words.len());
        FRAME_HEADER_BYTES + HEADER_BYTES + 4 * usize::from(self.sources) + extension
    }

    /// The ONVIF replay extension, when it is there.
    pub fn replay(&self) -> Option<Replay> {
        let (id, words) = self.extension?;
        Replay::parse(id, words)
    }
}

/// The packet inside one whole interleaved frame.
pub fn unframe(frame: &[u8]) -> Result<&[u8], RtpError> {
    let (&[magic, _, len0, len1], packet) = frame
        .split_first_chunk::<FRAME_HEADER_BYTES>()
        .ok_or(RtpError::Frame)?;
    if magic != FRAME_MAGIC || usize::from(u16::from_be_bytes([len0, len1])) != packet.len() {
        return Err(RtpError::Frame);
    }
    Ok(packet)
}

/// Length of the first interleaved frame in `bytes`, its header included; `None` when `bytes` does not
/// start with a whole frame.
pub fn first_frame_bytes(bytes: &[u8]) -> Option<usize> {
    let &[magic, _, len0, len1] = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
    let length = FRAME_HEADER_BYTES + usize::from(u16::from_be_bytes([len0, len1]));
    (magic == FRAME_MAGIC && length <= bytes.len()).then_some(length)
}

fn without_padding(payload: &[u8]) -> Result<&[u8], RtpError> {
    let &padding = payload.last().ok_or(RtpError::Padding)?;
    match payload.len().checked_sub(usize::from(padding)) {
        Some(length) if padding > 0 => Ok(&payload[..length]),
        _ => Err(RtpError::Padding),
    }
}
