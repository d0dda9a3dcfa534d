//! The JPEG file that a picture's packets stand for (RFC 2435 §4 and appendices A and B).

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    HEADER_BYTES, MARKER_DHT, RESTART_HEADER_BYTES, RESTART_TYPES, header, huffman, segment, tail,
};
use crate::rtp::Packet;
use crate::{Packets, PayloadError};

/// Entries of a quantization table.
const TABLE: usize = 64;
/// The tables of ITU-T T.81 Annex K.1 in zigzag order, for luminance and chrominance.
const LUMA: [u8; TABLE] = [
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37,
    29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81,
    87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
];
const CHROMA: [u8; TABLE] = [
    17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// What the headers of a picture's packets say of its file.
struct Head {
    kind: u8,
    size: (u16, u16),
    /// Quantization tables, each with the bits of its precision (0 or 1) in the high half of the first byte.
    tables: BytesMut,
    restart: Option<[u8; 2]>,
    /// Huffman tables of the recorder's own, as whole segments.
    huffman: BytesMut,
}

/// The file of one picture, with its width and height in pixels.
pub(crate) fn file(packets: &Packets) -> Result<(Bytes, (u16, u16)), PayloadError> {
    let mut file = BytesMut::with_capacity(packets.len_bytes() + 1024);
    let mut size = None;
    for frame in packets.iter() {
        let Ok(packet) = Packet::parse_frame(frame) else {
            continue;
        };
        let parsed = header(packet.payload)?;
        if size.is_none() {
            if parsed.offset != 0 {
                return Err(PayloadError::Headless);
            }
            let head = Head::read(&packet)?;
            head.write(&mut file);
            size = Some(head.size);
        }
        let at = packet.payload.len() - parsed.data_bytes;
        file.put_slice(packet.payload.get(at..).unwrap_or_default());
    }
    let size = size.ok_or(PayloadError::Headless)?;
    if !file.ends_with(&[0xFF, 0xD9]) {
        file.put_slice(&[0xFF, 0xD9]);
    }
    Ok((file.freeze(), size))
}

impl Head {
    fn read(packet: &Packet<'_>) -> Result<Self, PayloadError> {
        let parsed = header(packet.payload)?;
        let &kind = packet.payload.get(4).ok_or(PayloadError::Short)?;
        let restart = RESTART_TYPES.contains(&kind).then(|| {
            let bytes = packet
                .payload
                .get(HEADER_BYTES..HEADER_BYTES + RESTART_HEADER_BYTES);
            match bytes {
                Some(&[high, low, ..]) => [high, low],
                _ => [0, 0],
            }
        });
        let (columns, rows) = parsed.blocks;
        let mut head = Self {
            kind,
            size: (u16::from(columns) * 8, u16::from(rows) * 8),
            tables: match parsed.tables {
                Some(sent) => tables_sent(packet.payload, parsed.tables_at, sent)?,
                None => tables_of(parsed.quality),
            },
            restart,
            huffman: BytesMut::new(),
        };
        let extension = packet.extension.and_then(|(id, words)| tail(id, words));
        if let Some(extension) = extension {
            head.correct(extension.get(4..).unwrap_or_default());
        }
        if head.size.0 == 0 || head.size.1 == 0 {
            return Err(PayloadError::Tables);
        }
        Ok(head)
    }

    /// Takes over what the segments of ONVIF's extension say better: the exact size, and Huffman tables.
    fn correct(&mut self, mut segments: &[u8]) {
        while let Some((kind, content, behind)) = segment(segments) {
            match (kind, content) {
                (0xC0, &[_, h0, h1, w0, w1, ..]) => {
                    self.size = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
                }
                (MARKER_DHT, content) => put(&mut self.huffman, MARKER_DHT, content),
                _ => {}
            }
            segments = behind;
        }
    }

    fn write(&self, file: &mut BytesMut) {
        file.put_slice(&[0xFF, 0xD8]);
        put(file, 0xDB, &self.tables);
        let sampling = if self.kind.is_multiple_of(64) {
            0x21
        } else {
            0x22
        };
        let ((w, h), one_table) = (self.size, self.tables.len() <= TABLE + 1);
        let ([w0, w1], [h0, h1]) = (w.to_be_bytes(), h.to_be_bytes());
        let chroma = u8::from(!one_table);
        let frame = [
            8, h0, h1, w0, w1, 3, 1, sampling, 0, 2, 0x11, chroma, 3, 0x11, chroma,
        ];
        put(file, 0xC0, &frame);
        if self.huffman.is_empty() {
            for (class, counts, values) in [
                (0x00, &huffman::DC_LUMA, &huffman::DC_VALUES[..]),
                (0x10, &huffman::AC_LUMA, &huffman::AC_LUMA_VALUES),
                (0x01, &huffman::DC_CHROMA, &huffman::DC_VALUES),
                (0x11, &huffman::AC_CHROMA, &huffman::AC_CHROMA_VALUES),
            ] {
                put(file, MARKER_DHT, &[&[class], &counts[..], values].concat());
            }
        } else {
            file.put_slice(&self.huffman);
        }
        if let Some(interval) = self.restart {
            put(file, 0xDD, &interval);
        }
        put(file, 0xDA, &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    }
}

fn put(file: &mut BytesMut, kind: u8, content: &[u8]) {
    file.put_slice(&[0xFF, kind]);
    file.put_u16(content.len() as u16 + 2);
    file.put_slice(content);
}

/// Tables that were sent: their precision stands ahead of them, a bit each from the lowest on (RFC 2435 §3.1.8).
fn tables_sent(payload: &[u8], at: usize, sent: &[u8]) -> Result<BytesMut, PayloadError> {
    let precision = payload.get(at + 1).copied().unwrap_or_default();
    let mut tables = BytesMut::with_capacity(sent.len() + 4);
    let mut rest = sent;
    for id in 0..4_u8 {
        if rest.is_empty() {
            break;
        }
        let wide = (precision >> id) & 1;
        let (table, behind) = rest
            .split_at_checked(TABLE << wide)
            .ok_or(PayloadError::Tables)?;
        tables.put_u8(wide << 4 | id);
        tables.put_slice(table);
        rest = behind;
    }
    if tables.is_empty() {
        return Err(PayloadError::Tables);
    }
    Ok(tables)
}

/// Tables of a Q below 128 (RFC 2435, appendix A).
fn tables_of(quality: u8) -> BytesMut {
    let factor = u32::from(quality.clamp(1, 99));
    let scale = if factor < 50 {
        5000 / factor
    } else {
        200 - factor * 2
    };
    let mut tables = BytesMut::with_capacity(2 * TABLE + 2);
    for (id, table) in [LUMA, CHROMA].iter().enumerate() {
        tables.put_u8(id as u8);
        for &entry in table {
            tables.put_u8(((u32::from(entry) * scale + 50) / 100).clamp(1, 255) as u8);
        }
    }
    tables
}
