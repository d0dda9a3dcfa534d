//! Frames of an archive as RTP packets with the replay extension.

use bytes::BytesMut;
use thiserror::Error;

use crate::abac::Replay;
use crate::bitstream::{annex_b, length_prefixed};
use crate::fragment::{self, fragment_header, nal_header_bytes};
use crate::gop::{Gop, is_disposable, is_random_access};
use crate::nal::{Contents, Nal};
use crate::rewrite::{self, Extension, Header, Turn};
use crate::rtp::Packet;
use crate::{Codec, Flags, Packets, Unit, h264, h265, jpeg, ntp};

/// RTP payload of one packet.
const PAYLOAD_BYTES_MAX: usize = 1400;
/// Bytes of one frame.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// An AAC frame's length has 13 bits in `mode=AAC-hbr`.
const AAC_BYTES_MAX: usize = (1 << 13) - 1;
/// Frame header, RTP header, extension and the two or three bytes of a fragment.
const OVERHEAD_BYTES: usize = 36;

/// How NAL units lie in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each behind its big-endian length of so many bytes, 1 to 4: MP4 samples.
    LengthPrefixed(u8),
    /// Each behind a start code: elementary streams.
    AnnexB,
    /// One audio frame or chunk, or one JPEG file.
    Raw,
}

/// One coded frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// Their form.
    pub framing: Framing,
    /// Capture time, UTC in µs.
    pub capture_us: i64,
    /// Presentation time in the track's clock rate.
    pub rtp_time: u32,
    /// The container lists it as a sync sample.
    pub sync: bool,
    /// E, D, T.
    pub flags: Flags,
}

/// Why a frame is not packetized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketizeError {
    /// A NAL length past the end of the frame, or a length field of an impossible size.
    #[error("NAL unit ends past its frame")]
    Length,
    /// Nothing in it.
    #[error("empty frame")]
    Empty,
    /// Larger than any picture, or than the format allows.
    #[error("frame too large")]
    TooLarge,
    /// A JPEG file that RFC 2435 cannot carry.
    #[error(
        "JPEG that RTP cannot carry: not baseline, grey, another sampling or Huffman tables of its own"
    )]
    Jpeg,
    /// No payload format for the codec.
    #[error("no payload format for the codec")]
    Codec,
}

/// Packetizes one track.
#[derive(Debug)]
pub struct Packetizer {
    track: usize,
    codec: Codec,
    payload_type: u8,
    next_seq: u16,
    gop: Gop,
}

impl Packetizer {
    /// For the track with this index. Channel, source and numbering are provisional: the splice gives
    /// each unit those of the session.
    pub fn new(track: usize, codec: Codec, payload_type: u8) -> Self {
        Self {
            track,
            codec,
            payload_type: payload_type & 0x7f,
            next_seq: 1,
            gop: Gop::default(),
        }
    }

    /// One frame as a unit.
    pub fn unit(&mut self, frame: &Frame<'_>) -> Result<Unit, PacketizeError> {
        let (packets, contents) = self.packets(frame)?;
        let random_access = is_random_access(self.codec, contents, frame.sync)
            || (frame.sync && self.codec == Codec::H264 && contents.has(Contents::SLICE));
        let leading = self
            .gop
            .leads(self.codec, contents, random_access, frame.rtp_time);
        let refresh_pictures = if self.codec == Codec::H264
            && random_access
            && contents.has(Contents::RECOVERY)
            && !contents.has(Contents::IRAP)
        {
            let payloads = packets
                .iter()
                .filter_map(|frame| Packet::parse_frame(frame).ok());
            h264::refresh_pictures(payloads.map(|packet| packet.payload))
        } else {
            0
        };
        Ok(Unit {
            track: self.track,
            capture_us: frame.capture_us,
            rtp_time: frame.rtp_time,
            random_access,
            leading,
            disposable: is_disposable(self.codec, contents),
            shown_early: contents.has(Contents::RADL),
            refresh_pictures,
            signed: contents.has(Contents::SIGNATURE),
            flags: frame.flags.without(Flags::CLEAN),
            packets,
        })
    }

    fn packets(&mut self, frame: &Frame<'_>) -> Result<(Packets, Contents), PacketizeError> {
        if frame.data.len() > FRAME_BYTES_MAX {
            return Err(PacketizeError::TooLarge);
        }
        let mut writer = Writer::new(self, frame);
        let contents = match (self.codec, frame.framing) {
            (Codec::H264 | Codec::H265, Framing::LengthPrefixed(bytes)) => {
                writer.nals(length_prefixed(frame.data, bytes)?)
            }
            (Codec::H264 | Codec::H265, Framing::AnnexB) => writer.nals(annex_b(frame.data)),
            (Codec::Aac, Framing::Raw) => writer.aac(frame.data)?,
            (Codec::G711 | Codec::G726 | Codec::Opus, Framing::Raw) => {
                writer.sample_chunk(frame.data)?
            }
            (Codec::Jpeg, Framing::Raw) => writer.jpeg(frame.data)?,
            _ => return Err(PacketizeError::Codec),
        };
        let (bytes, count, next_seq) = (writer.bytes, writer.count, writer.next_seq);
        if count == 0 {
            return Err(PacketizeError::Empty);
        }
        self.next_seq = next_seq;
        let mut packets = Packets::new();
        packets.push_many(bytes, count);
        Ok((packets, contents))
    }
}

struct Writer {
    codec: Codec,
    header: Header,
    next_seq: u16,
    bytes: BytesMut,
    count: usize,
}

impl Writer {
    fn new(packetizer: &Packetizer, frame: &Frame<'_>) -> Self {
        let count = frame.data.len() / PAYLOAD_BYTES_MAX + 8;
        Self {
            codec: packetizer.codec,
            header: Header {
                channel: 0,
                payload_type: packetizer.payload_type,
                ssrc: 0,
                timestamp: frame.rtp_time,
                replay: Replay {
                    ntp: ntp::from_unix_us(frame.capture_us),
                    flags: frame.flags.without(Flags::CLEAN | Flags::DISCONTINUITY),
                    cseq: 0,
                },
            },
            next_seq: packetizer.next_seq,
            bytes: BytesMut::with_capacity(frame.data.len() + count * OVERHEAD_BYTES),
            count: 0,
        }
    }

    fn nals<'a>(&mut self, nals: impl Iterator<Item = &'a [u8]>) -> Contents {
        let header_bytes = nal_header_bytes(self.codec);
        let mut contents = Contents::NONE;
        let mut nals = nals.filter(move |nal| nal.len() >= header_bytes).peekable();
        while let Some(nal) = nals.next() {
            contents |= meaning(self.codec, nal);
            let last = nals.peek().is_none();
            fragment::nal(
                self.codec,
                nal,
                PAYLOAD_BYTES_MAX,
                |(prefix, piece, end)| {
                    self.packet(prefix, piece, last && end);
                },
            );
        }
        contents
    }

    /// RFC 3640 `AAC-hbr`: one frame a packet, or fragments that each name the whole length.
    fn aac(&mut self, data: &[u8]) -> Result<Contents, PacketizeError> {
        if data.len() > AAC_BYTES_MAX {
            return Err(PacketizeError::TooLarge);
        }
        let size = (data.len() as u16) << 3;
        let [size0, size1] = size.to_be_bytes();
        let pieces = data.chunks(PAYLOAD_BYTES_MAX - 4);
        let count = pieces.len();
        for (index, piece) in pieces.enumerate() {
            self.packet(&[0, 16, size0, size1], piece, index + 1 == count);
        }
        Ok(Contents::SLICE)
    }

    /// RFC 2435, with the tables in every picture.
    fn jpeg(&mut self, data: &[u8]) -> Result<Contents, PacketizeError> {
        let picture = jpeg::Picture::parse(data).ok_or(PacketizeError::Jpeg)?;
        let mut offset = 0;
        while offset < picture.scan.len() {
            let prefix = picture.prefix(offset);
            let rest = picture.scan.get(offset..).unwrap_or_default();
            let room = PAYLOAD_BYTES_MAX.saturating_sub(prefix.len());
            let piece = rest.get(..room).unwrap_or(rest);
            let tail = picture.tail.as_deref().filter(|_| offset == 0);
            offset += piece.len();
            self.packet_with(&prefix, piece, offset == picture.scan.len(), tail);
        }
        Ok(Contents::SLICE | Contents::IRAP | Contents::CLOSED)
    }

    /// Samples of one packet: they cannot be split without moving their time.
    fn sample_chunk(&mut self, data: &[u8]) -> Result<Contents, PacketizeError> {
        if data.len() > PAYLOAD_BYTES_MAX {
            return Err(PacketizeError::TooLarge);
        }
        if !data.is_empty() {
            self.packet(&[], data, false);
        }
        Ok(Contents::SLICE)
    }

    fn packet(&mut self, prefix: &[u8], piece: &[u8], marker: bool) {
        self.packet_with(prefix, piece, marker, None);
    }

    fn packet_with(&mut self, prefix: &[u8], piece: &[u8], marker: bool, tail: Option<&[u8]>) {
        let turn = Turn {
            sequence: self.next_seq,
            marker: Some(marker),
            flags: self.header.replay.flags,
        };
        let extension = Extension {
            replay: true,
            tail: tail.unwrap_or_default(),
        };
        rewrite::build_parts(
            &mut self.bytes,
            prefix,
            piece,
            &self.header,
            turn,
            extension,
        );
        self.next_seq = self.next_seq.wrapping_add(1);
        self.count += 1;
    }
}

fn meaning(codec: Codec, nal: &[u8]) -> Contents {
    let Some((header, body)) = nal.split_at_checked(nal_header_bytes(codec)) else {
        return Contents::NONE;
    };
    let kind = fragment_header(codec, header).1;
    let reference = match header.first() {
        Some(first) if codec == Codec::H264 => first & h264::REF_IDC != 0,
        _ => h265::is_reference(kind),
    };
    let nal = Nal {
        kind,
        reference,
        body,
        whole: Some(nal),
    };
    if codec == Codec::H265 {
        h265::meaning(&nal)
    } else {
        h264::meaning(&nal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &[u8], framing: Framing) -> Frame<'_> {
        Frame {
            data,
            framing,
            capture_us: 1_767_323_045_250_000,
            rtp_time: 9000,
            sync: false,
            flags: Flags::NONE,
        }
    }

    fn payloads(unit: &Unit) -> Vec<(bool, Vec<u8>)> {
        let read = |frame| Packet::parse_frame(frame).unwrap();
        unit.packets
            .iter()
            .map(read)
            .map(|packet| (packet.marker, packet.payload.to_vec()))
            .collect()
    }

    #[test]
    fn aac_has_its_header_section() {
        let mut packetizer = Packetizer::new(1, Codec::Aac, 97);
        let unit = packetizer
            .unit(&frame(&[0xde, 0x02, 0x00], Framing::Raw))
            .unwrap();
        assert_eq!(
            payloads(&unit),
            [(true, vec![0, 16, 0, 3 << 3, 0xde, 0x02, 0x00])]
        );
        assert!(unit.random_access && unit.track == 1);
        let large = packetizer.unit(&frame(&[7; 3000], Framing::Raw)).unwrap();
        let sent = payloads(&large);
        assert_eq!(sent.len(), 3);
        assert!(
            sent.iter()
                .all(|(_, payload)| payload[..4] == [0, 16, 0x5d, 0xc0])
        );
        assert!(
            sent.iter()
                .map(|(marker, _)| *marker)
                .eq([false, false, true])
        );
        let refused = packetizer.unit(&frame(&[7; 8192], Framing::Raw));
        assert_eq!(refused.err(), Some(PacketizeError::TooLarge));
    }

    #[test]
    fn golden_packet_of_g711() {
        let mut packetizer = Packetizer::new(0, Codec::G711, 8);
        let unit = packetizer
            .unit(&frame(&[0xd5, 0xd5], Framing::Raw))
            .unwrap();
        let expected: &[&[u8]] = &[
            &[b'$', 0, 0, 30, 0x90, 8, 0, 1, 0, 0, 0x23, 0x28, 0, 0, 0, 0],
            &[
                0xAB, 0xAC, 0, 3, 0xED, 0x01, 0xB4, 0x25, 0x40, 0, 0, 0, 0, 0, 0, 0,
            ],
            &[0xd5, 0xd5],
        ];
        assert!(unit.packets.iter().eq([&expected.concat()[..]]));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut video = Packetizer::new(0, Codec::H264, 96);
        let errors = [
            (frame(&[], Framing::AnnexB), PacketizeError::Empty),
            (
                frame(&[0, 0, 0, 9, 1], Framing::LengthPrefixed(4)),
                PacketizeError::Length,
            ),
            (frame(&[1], Framing::Raw), PacketizeError::Codec),
        ];
        for (frame, error) in errors {
            assert_eq!(video.unit(&frame).err(), Some(error));
        }
        let mut other = Packetizer::new(0, Codec::Other, 96);
        assert_eq!(
            other.unit(&frame(&[1], Framing::Raw)).err(),
            Some(PacketizeError::Codec)
        );
        let mut audio = Packetizer::new(0, Codec::G711, 0);
        assert_eq!(
            audio.unit(&frame(&[], Framing::Raw)).err(),
            Some(PacketizeError::Empty)
        );
    }

    #[test]
    fn a_sync_sample_without_idr_is_a_point_and_opens_its_gop() {
        let mut packetizer = Packetizer::new(0, Codec::H264, 96);
        let point = Frame {
            sync: true,
            ..frame(&[0, 0, 1, 0x41, 0x88, 1], Framing::AnnexB)
        };
        assert!(packetizer.unit(&point).unwrap().random_access);
        let lead = Frame {
            rtp_time: 5400,
            ..frame(&[0, 0, 1, 0x01, 0x9e, 1], Framing::AnnexB)
        };
        assert!(packetizer.unit(&lead).unwrap().leading);
    }
}
