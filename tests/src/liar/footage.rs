//! Made footage: two encoders' copies of one scene, 25 pictures a second, each picture known byte by byte.

use crate::clock::{noon, to_ntp};

/// Time between two pictures, milliseconds.
pub const PICTURE_MS: i64 = 40;
/// How long the scene is, in pictures: a minute.
pub const PICTURES: u32 = 1500;

/// H.264 parameter sets of a small picture.
const SEQUENCE_SET: [u8; 9] = [0x67, 0x42, 0x00, 0x0a, 0x96, 0x53, 0x05, 0x89, 0x88];
const PICTURE_SET: [u8; 4] = [0x68, 0xc9, 0x63, 0x88];
/// In base64, as SDP has them.
const SETS: &str = "Z0IACpZTBYmI,aMljiA==";
const PAYLOAD_TYPE: u8 = 96;
/// A NAL of more bytes goes out in fragments (FU-A).
const FRAGMENT_BYTES: usize = 60;

/// What one encoder made of the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    /// Says in each picture whose it is.
    pub name: u8,
    /// Pictures from one where decoding can start to the next.
    pub group: u32,
    /// Where its groups begin.
    pub phase: u32,
}

/// A picture as its bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The encoder.
    pub encoder: u8,
    /// Which instant of the scene.
    pub index: u32,
    /// Whether decoding can start there.
    pub key: bool,
}

impl Encoder {
    /// Whether decoding can start at this picture.
    pub fn is_key(&self, index: u32) -> bool {
        (index + self.phase).is_multiple_of(self.group)
    }

    /// The picture at or before this one where decoding can start; the scene begins with one.
    pub fn key_before(&self, index: u32) -> u32 {
        index.saturating_sub((index + self.phase) % self.group)
    }

    /// The slice of a picture: what it is, and filling that follows from it.
    fn slice(&self, index: u32) -> Vec<u8> {
        let key = self.is_key(index) || index == 0;
        let mut nal = vec![if key { 0x65 } else { 0x41 }];
        // `first_mb_in_slice` is 0: a picture begins. The rest is never decoded; no byte of it looks like a start code.
        nal.push(0x80 | 0x10);
        nal.push(self.name);
        nal.extend((0..4).map(|digit| 0x80 | (index >> (6 * digit)) as u8 & 0x3f));
        let filling = if key { 90 } else { 20 + index % 3 * 30 };
        nal.extend(
            (0..filling)
                .map(|at| 0x40 | (index.wrapping_mul(31).wrapping_add(at * 7)) as u8 & 0x3f),
        );
        nal
    }

    /// Which picture a NAL is of; `None` when it is none, or not whole and unchanged.
    pub fn identify(encoders: &[Self], nal: &[u8]) -> Option<Identity> {
        let name = *nal.get(2)?;
        let digits = nal.get(3..7)?.iter().enumerate();
        let index = digits.fold(0, |index, (digit, byte)| {
            index | u32::from(byte & 0x3f) << (6 * digit)
        });
        let encoder = encoders.iter().find(|encoder| encoder.name == name)?;
        (encoder.slice(index) == nal).then_some(Identity {
            encoder: name,
            index,
            key: nal[0] & 0x1f == 5,
        })
    }

    /// The picture as interleaved frames on channel 0, dated `capture_ms`; `sequence` is that of the next packet.
    pub fn frames(&self, index: u32, capture_ms: i64, sequence: &mut u16, out: &mut Vec<u8>) {
        let mut writer = Writer {
            capture_ms,
            sequence,
            out,
        };
        let slice = self.slice(index);
        if slice[0] == 0x65 {
            writer.packet(&[], &SEQUENCE_SET, false);
            writer.packet(&[], &PICTURE_SET, false);
        }
        if slice.len() <= FRAGMENT_BYTES {
            writer.packet(&[], &slice, true);
            return;
        }
        let (head, body) = (slice[0], &slice[1..]);
        let count = body.len().div_ceil(FRAGMENT_BYTES);
        for (nth, part) in body.chunks(FRAGMENT_BYTES).enumerate() {
            let ends = u8::from(nth == 0) << 7 | u8::from(nth + 1 == count) << 6;
            let prefix = [head & 0x60 | 0x1c, ends | head & 0x1f];
            writer.packet(&prefix, part, nth + 1 == count);
        }
    }

    /// The description of the stream.
    pub fn sdp(&self) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=liar\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
             m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} H264/90000\r\n\
             a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id=42000a;sprop-parameter-sets={SETS}\r\n\
             a=control:trackID=1\r\n"
        )
    }
}

/// When a picture was taken, UTC in milliseconds.
pub fn captured(index: u32) -> i64 {
    noon(0.0) + i64::from(index) * PICTURE_MS
}

struct Writer<'a> {
    capture_ms: i64,
    sequence: &'a mut u16,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn packet(&mut self, prefix: &[u8], data: &[u8], marker: bool) {
        let length = 12 + 16 + prefix.len() + data.len();
        self.out.extend([b'$', 0]);
        self.out.extend((length as u16).to_be_bytes());
        self.out
            .extend([0x90, u8::from(marker) << 7 | PAYLOAD_TYPE]);
        self.out.extend(self.sequence.to_be_bytes());
        self.out
            .extend(((self.capture_ms * 90) as u32).to_be_bytes());
        self.out.extend(b"liar");
        self.out.extend([0xab, 0xac, 0, 3]);
        self.out.extend(to_ntp(self.capture_ms).to_be_bytes());
        self.out.extend([0; 4]);
        self.out.extend(prefix);
        self.out.extend(data);
        *self.sequence = self.sequence.wrapping_add(1);
    }
}
