//! GenericByteData: coded pictures and sound with their times. Big-endian throughout.

use bytes::{BufMut, Bytes, BytesMut};

use crate::image::TIMES_MS;

/// Why a body is no GenericByteData.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GbdError {
    /// Shorter than it says, or than it must be.
    #[error("GenericByteData that ends too early")]
    Short,
    /// A type that is not known.
    #[error("GenericByteData of type {0:#06x}")]
    Type(u16),
    /// A time outside of the years 1970 to 9999.
    #[error("a picture of no time")]
    Time,
    /// More packets in one body than there are pictures in a group.
    #[error("more packets in one body than a group of pictures has")]
    TooMany,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// One coded picture.
    Video(Video),
    /// Sound: header and payload, as they came. The fields behind type and length are not documented.
    Audio(Bytes),
    /// Metadata, likewise.
    Metadata(Bytes),
    /// A group of pictures in the form of older recorders.
    Block(Block),
    /// A JPEG file without a header.
    Jpeg(Bytes),
}

/// One coded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// How it is coded.
    pub codec: Codec,
    /// Counts packets.
    pub sequence: u16,
    /// Bit 0 marks key pictures; see [`Video::is_key`].
    pub flags: u16,
    /// When the key picture of its group was received, in milliseconds since 1970 on the recorder's clock.
    pub sync_ms: i64,
    /// When this picture was received there, in decoding order.
    pub picture_ms: i64,
    /// H.264 and H.265: NAL units behind start codes, with parameter sets before key pictures. JPEG: a file.
    pub payload: Bytes,
}

/// A group of pictures of an older recorder. How it is cut into pictures is not documented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// How it is coded.
    pub codec: Codec,
    /// Its first picture, in milliseconds since 1970.
    pub begin_ms: i64,
    /// What follows the header.
    pub payload: Bytes,
}

/// How pictures are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Baseline JPEG files.
    Jpeg,
    /// H.264.
    H264,
    /// H.265.
    H265,
    /// Another, by its number.
    Other(u16),
}

impl Codec {
    /// Its number on the wire.
    pub const fn id(self) -> u16 {
        match self {
            Self::Jpeg => 0x0001,
            Self::H264 => 0x000A,
            Self::H265 => 0x000E,
            Self::Other(id) => id,
        }
    }
}

impl From<u16> for Codec {
    fn from(id: u16) -> Self {
        match id {
            0x0001 => Self::Jpeg,
            0x000A => Self::H264,
            0x000E => Self::H265,
            id => Self::Other(id),
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Jpeg => "JPEG",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Other(0x0004..=0x0006 | 0x000B) => "MPEG-4",
            Self::Other(0x0007 | 0x0009) => "H263",
            Self::Other(0x000C) => "VC-1",
            Self::Other(0x000F) => "AV1",
            Self::Other(0x0080) => "MxPEG",
            Self::Other(id) => return write!(f, "codec {id:#06x}"),
        };
        f.write_str(name)
    }
}

impl Video {
    /// Whether decoding can start here.
    pub const fn is_key(&self) -> bool {
        self.flags & KEY != 0
    }

    /// As it is sent.
    pub fn write(&self) -> Bytes {
        let mut packet = BytesMut::with_capacity(VIDEO_HEADER + self.payload.len());
        packet.put_u16(VIDEO);
        packet.put_u32((VIDEO_HEADER + self.payload.len()) as u32);
        packet.put_u16(self.codec.id());
        packet.put_u16(self.sequence);
        packet.put_u16(self.flags);
        packet.put_i64(self.sync_ms);
        packet.put_i64(self.picture_ms);
        packet.put_u32(0);
        packet.put_slice(&self.payload);
        packet.freeze()
    }

    fn parse(packet: &Bytes) -> Result<Self, GbdError> {
        Ok(Self {
            codec: u16_at(packet, 6)?.into(),
            sequence: u16_at(packet, 8)?,
            flags: u16_at(packet, 10)?,
            sync_ms: time_at(packet, 12)?,
            picture_ms: time_at(packet, 20)?,
            payload: tail(packet, VIDEO_HEADER)?,
        })
    }
}

impl Block {
    /// `u16 codec, u16 bytes of more header, u32, u32 bytes of payload, u64 time, u64 time, u16 x 4`.
    fn parse(body: &Bytes) -> Result<Self, GbdError> {
        let more = usize::from(u16_at(body, 2)?);
        let bytes = u32_at(body, 8)? as usize;
        let from = BLOCK_HEADER + more;
        let payload = body.get(from..from + bytes).ok_or(GbdError::Short)?;
        Ok(Self {
            codec: u16_at(body, 0)?.into(),
            begin_ms: time_at(body, 12)?,
            payload: body.slice_ref(payload),
        })
    }
}

/// The same body with times that are so much later. Sound and metadata keep theirs: where they have them is not documented.
pub fn shifted(body: &Bytes, ms: i64) -> Bytes {
    if ms == 0 || body.starts_with(&JPEG_START) {
        return body.clone();
    }
    let mut bytes = BytesMut::from(&**body);
    let whole = 0..bytes.len();
    if matches!(u16_at(body, 0), Ok(1..=0xF)) {
        shift_times(&mut bytes, 0, ms);
    } else {
        shift_packets(&mut bytes, whole, ms, true);
    }
    bytes.freeze()
}

fn shift_packets(bytes: &mut BytesMut, within: std::ops::Range<usize>, ms: i64, may_wrap: bool) {
    let mut at = within.start;
    while at + HEADER_MIN <= within.end {
        let Some(header) = bytes.get(at..at + HEADER_MIN) else {
            return;
        };
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let stated = u32::from_be_bytes([header[2], header[3], header[4], header[5]]) as usize;
        let fits = (HEADER_MIN..=within.end - at).contains(&stated);
        let end = match kind {
            MULTI if !fits => within.end,
            _ if fits => at + stated,
            _ => return,
        };
        match kind {
            VIDEO if end - at >= VIDEO_HEADER => shift_times(bytes, at, ms),
            MULTI if may_wrap && end - at > MULTI_HEADER => {
                shift_packets(bytes, at + MULTI_HEADER..end, ms, false);
            }
            _ => {}
        }
        at = end;
    }
}

/// Both times of a picture or of a block: they stand at the same place.
fn shift_times(bytes: &mut BytesMut, at: usize, ms: i64) {
    for field in [at + TIMES_AT, at + TIMES_AT + 8] {
        let time = bytes.get_mut(field..).and_then(<[u8]>::first_chunk_mut);
        if let Some(time) = time {
            *time = i64::from_be_bytes(*time).saturating_add(ms).to_be_bytes();
        }
    }
}

/// Cuts a body, or a part of one, into its packets.
pub fn packets(body: &Bytes) -> Result<Vec<Packet>, GbdError> {
    if body.starts_with(&JPEG_START) {
        return Ok(vec![Packet::Jpeg(body.clone())]);
    }
    if matches!(u16_at(body, 0), Ok(1..=0xF)) {
        return Block::parse(body).map(|block| vec![Packet::Block(block)]);
    }
    let mut found = Vec::new();
    take_packets(body, &mut found, true)?;
    Ok(found)
}

fn take_packets(body: &Bytes, found: &mut Vec<Packet>, may_wrap: bool) -> Result<(), GbdError> {
    let mut rest = body.clone();
    while !rest.is_empty() {
        if found.len() >= PACKETS_MAX {
            return Err(GbdError::TooMany);
        }
        let kind = u16_at(&rest, 0)?;
        let stated = u32_at(&rest, 2)? as usize;
        let fits = (HEADER_MIN..=rest.len()).contains(&stated);
        let bytes = match kind {
            // What its header says is inferred alone; it holds what there is.
            MULTI if !fits => rest.len(),
            _ if fits => stated,
            _ => return Err(GbdError::Short),
        };
        let packet = rest.split_to(bytes);
        match kind {
            VIDEO => found.push(Packet::Video(Video::parse(&packet)?)),
            AUDIO => found.push(Packet::Audio(packet)),
            METADATA => found.push(Packet::Metadata(packet)),
            MULTI if may_wrap => take_packets(&tail(&packet, MULTI_HEADER)?, found, false)?,
            kind => return Err(GbdError::Type(kind)),
        }
    }
    Ok(())
}

/// The NAL units of a picture between its start codes, without zeros behind them (H.264 and H.265, Annex B).
pub fn nal_units(payload: &Bytes) -> Vec<Bytes> {
    let mut units = Vec::new();
    let mut begun: Option<usize> = None;
    let mut end_unit = |from: usize, to: usize| {
        let unit = payload.get(from..to).unwrap_or_default();
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        let unit = unit.get(..unit.len() - zeros).unwrap_or_default();
        if !unit.is_empty() {
            units.push(payload.slice_ref(unit));
        }
    };
    for (at, window) in payload.windows(3).enumerate() {
        if window == [0, 0, 1] {
            if let Some(from) = begun {
                end_unit(from, at);
            }
            begun = Some(at + 3);
        }
    }
    if let Some(from) = begun {
        end_unit(from, payload.len());
    }
    units
}

fn u16_at(bytes: &Bytes, at: usize) -> Result<u16, GbdError> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field
        .copied()
        .map(u16::from_be_bytes)
        .ok_or(GbdError::Short)
}

fn u32_at(bytes: &Bytes, at: usize) -> Result<u32, GbdError> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field
        .copied()
        .map(u32::from_be_bytes)
        .ok_or(GbdError::Short)
}

fn time_at(bytes: &Bytes, at: usize) -> Result<i64, GbdError> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    let ms = field.copied().map(i64::from_be_bytes);
    let ms = ms.ok_or(GbdError::Short)?;
    if TIMES_MS.contains(&ms) {
        Ok(ms)
    } else {
        Err(GbdError::Time)
    }
}

fn tail(bytes: &Bytes, from: usize) -> Result<Bytes, GbdError> {
    if from > bytes.len() {
        return Err(GbdError::Short);
    }
    Ok(bytes.slice(from..))
}

const VIDEO: u16 = 0x0010;
const AUDIO: u16 = 0x0020;
const METADATA: u16 = 0x0030;
const MULTI: u16 = 0xFEF0;
/// Type and length.
const HEADER_MIN: usize = 6;
const VIDEO_HEADER: usize = 32;
const MULTI_HEADER: usize = 16;
const BLOCK_HEADER: usize = 36;
const TIMES_AT: usize = 12;
const KEY: u16 = 1;
const JPEG_START: [u8; 2] = [0xFF, 0xD8];
const PACKETS_MAX: usize = 4096;
