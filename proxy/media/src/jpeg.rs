//! MJPEG payloads (RFC 2435): header, quantization tables, and which pictures need ONVIF's own extension.

mod file;

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::Packets;
use crate::abac;
use crate::nal::{Contents, PayloadError};
use crate::rtp::{FRAME_HEADER_BYTES, Packet};

pub(crate) use file::file;

/// Tables of one picture: four of 64 entries with 16 bits are half of it.
const TABLES_BYTES_MAX: usize = 1024;
/// The header that every packet has (RFC 2435 §3.1).
const HEADER_BYTES: usize = 8;
/// Where it has Q.
const QUALITY_AT: usize = 5;
/// Types with restart markers have a header for them (RFC 2435 §3.1.7).
const RESTART_HEADER_BYTES: usize = 4;
const RESTART_TYPES: std::ops::RangeInclusive<u8> = 64..=127;
/// Head of the quantization tables (RFC 2435 §3.1.8).
const TABLES_HEADER_BYTES: usize = 4;
/// From this Q on tables are sent in band.
const DYNAMIC: u8 = 128;
/// Tables with this Q may change with every picture, those of a lower one never within a session.
pub(crate) const PER_PICTURE: u8 = 255;
/// First words of ONVIF's extension for JPEG: of a picture's first packet, and of its others.
const ONVIF_FIRST: u16 = 0xFFD8;
const ONVIF_OTHER: u16 = 0xFFFF;
/// Huffman tables, where they are not the standard ones.
const MARKER_DHT: u8 = 0xC4;

/// Hands on what is coded in one packet: size, sampling and tables with the first, the scan with each.
pub(crate) fn coded(payload: &[u8], mut each: impl FnMut(&[u8])) -> Option<()> {
    let header = header(payload).ok()?;
    if header.offset == 0 {
        each(payload.get(4..5)?);
        each(payload.get(6..HEADER_BYTES)?);
        match header.tables {
            Some(tables) => each(tables),
            None => each(&[header.quality]),
        }
    }
    each(payload.get(payload.len().checked_sub(header.data_bytes)?..)?);
    Some(())
}

/// What a payload says of its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header<'a> {
    offset: u32,
    quality: u8,
    /// Width and height in blocks of eight pixels; 0 where they do not fit.
    blocks: (u8, u8),
    /// Where the quantization header is or would be.
    tables_at: usize,
    /// In the first packet with Q of 128 and more; may be empty.
    tables: Option<&'a [u8]>,
    /// Bytes of the scan.
    data_bytes: usize,
}

fn header(payload: &[u8]) -> Result<Header<'_>, PayloadError> {
    let (&[_, o0, o1, o2, kind, quality, width, height], _) = payload
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(PayloadError::Short)?;
    let offset = u32::from_be_bytes([0, o0, o1, o2]);
    let tables_at = if RESTART_TYPES.contains(&kind) {
        HEADER_BYTES + RESTART_HEADER_BYTES
    } else {
        HEADER_BYTES
    };
    let rest = payload.get(tables_at..).ok_or(PayloadError::Short)?;
    let (tables, data) = if quality >= DYNAMIC && offset == 0 {
        let (&[_, _, len0, len1], rest) = rest
            .split_first_chunk::<TABLES_HEADER_BYTES>()
            .ok_or(PayloadError::Short)?;
        let length = usize::from(u16::from_be_bytes([len0, len1]));
        let (tables, data) = rest.split_at_checked(length).ok_or(PayloadError::Tables)?;
        (Some(tables), data)
    } else {
        (None, rest)
    };
    Ok(Header {
        offset,
        quality,
        blocks: (width, height),
        tables_at,
        tables,
        data_bytes: data.len(),
    })
}

/// Follows the pictures of one track.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Where in the scan the next packet goes on.
    next: Option<u32>,
    /// Tables sent so far, by Q.
    tables: BTreeMap<u8, Bytes>,
}

impl Reader {
    /// What `payload` holds. A fragment that does not go on where the one before ended is refused, and so is a picture
    /// whose tables were never sent.
    pub(crate) fn contents(&mut self, payload: &[u8]) -> Result<Contents, PayloadError> {
        let expected = self.next.take();
        let header = header(payload)?;
        if header.data_bytes == 0 {
            return Err(PayloadError::Short);
        }
        let mut contents = Contents::SLICE;
        if header.offset == 0 {
            self.learn(&header)?;
            contents |= Contents::FIRST_SLICE | Contents::IRAP | Contents::CLOSED;
        } else if expected != Some(header.offset) {
            return Err(PayloadError::Fragment);
        }
        self.next = u32::try_from(header.data_bytes)
            .ok()
            .and_then(|bytes| header.offset.checked_add(bytes));
        Ok(contents)
    }

    fn learn(&mut self, header: &Header<'_>) -> Result<(), PayloadError> {
        let Some(tables) = header.tables else {
            return Ok(());
        };
        if tables.len() > TABLES_BYTES_MAX {
            return Err(PayloadError::Tables);
        }
        match (tables.is_empty(), header.quality) {
            (false, PER_PICTURE) => Ok(()),
            (false, quality) => {
                if self
                    .tables
                    .get(&quality)
                    .is_none_or(|known| known != tables)
                {
                    self.tables.insert(quality, Bytes::copy_from_slice(tables));
                }
                Ok(())
            }
            (true, quality) if self.tables.contains_key(&quality) => Ok(()),
            (true, _) => Err(PayloadError::Tables),
        }
    }

    /// The frame with the tables in it that its recorder left out because it had sent them before: another client, or the
    /// same one after a seam, may not have seen them. `None` when none are lacking.
    pub(crate) fn completed(&self, frame: &[u8]) -> Option<BytesMut> {
        let packet = Packet::parse_frame(frame).ok()?;
        let header = header(packet.payload).ok()?;
        if !header.tables?.is_empty() {
            return None;
        }
        let tables = self.tables.get(&header.quality)?;
        let head_bytes = packet.payload_at() + header.tables_at;
        let length = u16::try_from(frame.len() - FRAME_HEADER_BYTES + tables.len()).ok()?;
        let (head, rest) = frame.split_at_checked(head_bytes)?;
        let rest = rest.get(TABLES_HEADER_BYTES..)?;
        let mut whole = BytesMut::with_capacity(frame.len() + tables.len());
        whole.put_slice(head);
        whole.put_u16(0);
        whole.put_u16(tables.len() as u16);
        whole.put_slice(tables);
        whole.put_slice(rest);
        whole
            .get_mut(2..FRAME_HEADER_BYTES)?
            .copy_from_slice(&length.to_be_bytes());
        Some(whole)
    }
}

/// Which tables the client of a session has for each Q.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<u8, Bytes>);

impl Tables {
    /// Players keep the tables of a Q below 255 for the life of a session (RFC 2435 §4.2), and two recorders use one Q for
    /// different ones: such a picture gets the Q of tables that count for one picture. Says whether it was one.
    pub(crate) fn set_apart(&mut self, packets: &mut Packets) -> bool {
        let first = packets
            .iter()
            .next()
            .and_then(|frame| Packet::parse_frame(frame).ok());
        let Some(Header {
            quality,
            tables: Some(tables),
            ..
        }) = first.and_then(|packet| header(packet.payload).ok())
        else {
            return false;
        };
        if quality == PER_PICTURE || tables.is_empty() {
            return false;
        }
        match self.0.get(&quality) {
            Some(known) if known == tables => return false,
            Some(_) => {}
            None => {
                self.0.insert(quality, Bytes::copy_from_slice(tables));
                return false;
            }
        }
        for frame in packets.iter_mut() {
            let at = Packet::parse_frame(frame).map(|packet| packet.payload_at() + QUALITY_AT);
            if let Some(quality) = at.ok().and_then(|at| frame.get_mut(at)) {
                *quality = PER_PICTURE;
            }
        }
        true
    }
}

/// Whether a picture cannot be decoded by its packets' headers alone: it is larger than they can say (2040 pixels), or
/// ONVIF's extension brings Huffman tables of its own.
pub(crate) fn needs_extension(packets: &Packets) -> bool {
    let Some(packet) = packets
        .iter()
        .next()
        .and_then(|frame| Packet::parse_frame(frame).ok())
    else {
        return false;
    };
    let Some((id, words)) = packet.extension else {
        return false;
    };
    let alone = || (id == ONVIF_FIRST || id == ONVIF_OTHER).then_some(words);
    let Some(words) = segments(id, words).or_else(alone) else {
        return false;
    };
    let large = header(packet.payload).is_ok_and(|header| {
        let (width, height) = header.blocks;
        width == 0 || height == 0
    });
    let huffman = words
        .windows(2)
        .any(|pair| matches!(pair, &[0xFF, MARKER_DHT]));
    large || huffman
}

/// ONVIF's JPEG extension inside an RTP header extension, alone or combined with the replay extension (ONVIF Streaming,
/// JPEG over RTP): its two words of head and the marker segments.
pub(crate) fn segments(id: u16, words: &[u8]) -> Option<&[u8]> {
    match id {
        abac::ID => {
            let tail = words.get(abac::BYTES - 4..)?;
            let &[id0, id1, len0, len1] = tail.first_chunk::<4>()?;
            let id = u16::from_be_bytes([id0, id1]);
            let length = 4 + 4 * usize::from(u16::from_be_bytes([len0, len1]));
            (id == ONVIF_FIRST || id == ONVIF_OTHER).then_some(tail.get(..length)?)
        }
        _ => None,
    }
}

/// The same, where it stands alone, as the tail that the combined form has.
pub(crate) fn tail(id: u16, words: &[u8]) -> Option<BytesMut> {
    if let Some(tail) = segments(id, words) {
        return Some(BytesMut::from(tail));
    }
    if id != ONVIF_FIRST && id != ONVIF_OTHER {
        return None;
    }
    Some(tail_of(id, words))
}

fn tail_of(id: u16, words: &[u8]) -> BytesMut {
    let mut tail = BytesMut::with_capacity(words.len() + 4);
    tail.put_u16(id);
    tail.put_u16((words.len() / 4) as u16);
    tail.put_slice(words);
    tail
}

/// A JPEG file cut up for RFC 2435.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    /// Header of each packet, its offset still zero, with the restart header where there is one.
    head: Vec<u8>,
    /// Head and tables of the first packet.
    tables: Vec<u8>,
    /// The scan without its end marker.
    pub(crate) scan: &'a [u8],
    /// The tail of the extension that a picture of this size needs.
    pub(crate) tail: Option<BytesMut>,
}

impl<'a> Picture<'a> {
    /// Takes a baseline file apart; `None` when RFC 2435 cannot carry it: progressive, grey, other sampling than 4:2:2 or
    /// 4:2:0, Huffman tables of its own, or cut short.
    pub(crate) fn parse(file: &'a [u8]) -> Option<Self> {
        let mut rest = file.strip_prefix(&[0xFF, 0xD8])?;
        let mut quantization: [Option<&[u8]>; 4] = [None; 4];
        let mut frame: Option<&[u8]> = None;
        let mut interval = 0;
        let scan = loop {
            let (kind, segment, behind) = segment(rest)?;
            rest = behind;
            match kind {
                0xDB => read_tables(segment, &mut quantization)?,
                0xC0 => frame = Some(segment),
                // Other processes: progressive, lossless, arithmetic.
                0xC1..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCF => return None,
                MARKER_DHT => huffman::all_standard(segment).then_some(())?,
                0xDD => interval = u16::from_be_bytes(*segment.first_chunk()?),
                0xDA => break rest,
                _ => {}
            }
        };
        let frame = frame?;
        let &[
            8,
            h0,
            h1,
            w0,
            w1,
            3,
            _,
            sampling,
            luma,
            _,
            0x11,
            chroma,
            _,
            0x11,
            chroma2,
        ] = frame.first_chunk::<15>()?
        else {
            return None;
        };
        let kind = match sampling {
            0x21 => 0,
            0x22 => 1,
            _ => return None,
        };
        if chroma != chroma2 {
            return None;
        }
        let table = |id: u8| quantization.get(usize::from(id)).copied().flatten();
        let (luma, chroma) = (table(luma)?, table(chroma)?);
        let end = scan.windows(2).rposition(|pair| pair == [0xFF, 0xD9]);
        let scan = scan.get(..end.unwrap_or(scan.len()))?;
        if scan.is_empty() {
            return None;
        }
        let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
        let blocks = |pixels: u16| u8::try_from(pixels.div_ceil(8)).unwrap_or(0);
        let large = blocks(width) == 0 || blocks(height) == 0;
        let restart = if interval > 0 {
            *RESTART_TYPES.start()
        } else {
            0
        };
        let mut head = vec![0, 0, 0, 0, kind + restart, PER_PICTURE];
        head.extend([blocks(width), blocks(height)]);
        if interval > 0 {
            head.extend(interval.to_be_bytes());
            // Packets end anywhere: the whole picture must be there (RFC 2435 §3.1.7).
            head.extend([0xFF, 0xFF]);
        }
        let mut tables = vec![0, 0];
        tables.extend(((luma.len() + chroma.len()) as u16).to_be_bytes());
        tables.extend(luma);
        tables.extend(chroma);
        Some(Self {
            head,
            tables,
            scan,
            tail: large.then(|| size_segment(frame)),
        })
    }

    /// What stands ahead of the piece of the scan at `offset`.
    pub(crate) fn prefix(&self, offset: usize) -> Vec<u8> {
        let mut prefix = self.head.clone();
        if let Some(place) = prefix.get_mut(1..4) {
            let [_, high, middle, low] = (offset as u32).to_be_bytes();
            place.copy_from_slice(&[high, middle, low]);
        }
        if offset == 0 {
            prefix.extend_from_slice(&self.tables);
        }
        prefix
    }
}

/// Marker, content and what follows of the segment at the front.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let mut bytes = bytes.strip_prefix(&[0xFF])?;
    while let [0xFF, behind @ ..] = bytes {
        bytes = behind;
    }
    let (&kind, rest) = bytes.split_first()?;
    if matches!(kind, 0x01 | 0xD0..=0xD7) {
        return Some((kind, &[], rest));
    }
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let (segment, behind) = rest.split_at_checked(length)?;
    Some((kind, segment.get(2..)?, behind))
}

fn read_tables<'a>(mut segment: &'a [u8], tables: &mut [Option<&'a [u8]>; 4]) -> Option<()> {
    while let Some((&head, rest)) = segment.split_first() {
        // Entries of 16 bits are no baseline.
        let (0, id) = (head >> 4, usize::from(head & 0xF)) else {
            return None;
        };
        let (table, behind) = rest.split_at_checked(64)?;
        *tables.get_mut(id)? = Some(table);
        segment = behind;
    }
    Some(())
}

/// The frame header as ONVIF's extension has it, filled up to whole words.
fn size_segment(frame: &[u8]) -> BytesMut {
    let mut words = vec![0xFF, 0xC0];
    words.extend((frame.len() as u16 + 2).to_be_bytes());
    words.extend(frame);
    words.resize(words.len().next_multiple_of(4), 0xFF);
    tail_of(ONVIF_FIRST, &words)
}

/// The Huffman tables that every decoder of RFC 2435 puts in (ITU-T T.81 Annex K.3).
mod huffman {
    pub(super) const DC_LUMA: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
    pub(super) const DC_CHROMA: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
    pub(super) const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    pub(super) const AC_LUMA: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D];
    pub(super) const AC_CHROMA: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];
    pub(super) const AC_LUMA_VALUES: [u8; 162] = [
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61,
        0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52,
        0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25,
        0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45,
        0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64,
        0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83,
        0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
        0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6,
        0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3,
        0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8,
        0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ];
    pub(super) const AC_CHROMA_VALUES: [u8; 162] = [
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61,
        0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33,
        0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18,
        0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44,
        0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63,
        0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a,
        0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97,
        0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4,
        0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca,
        0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7,
        0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ];

    /// Whether every table of a DHT segment is the standard one of its place.
    pub(super) fn all_standard(mut segment: &[u8]) -> bool {
        while !segment.is_empty() {
            let standard: (&[u8; 16], &[u8]) = match segment.first() {
                Some(0x00) => (&DC_LUMA, &DC_VALUES),
                Some(0x01) => (&DC_CHROMA, &DC_VALUES),
                Some(0x10) => (&AC_LUMA, &AC_LUMA_VALUES),
                Some(0x11) => (&AC_CHROMA, &AC_CHROMA_VALUES),
                _ => return false,
            };
            let rest = segment
                .get(1..)
                .and_then(|table| table.strip_prefix(&standard.0[..]))
                .and_then(|values| values.strip_prefix(standard.1));
            let Some(rest) = rest else { return false };
            segment = rest;
        }
        true
    }
}

#[cfg(test)]
mod tests;
