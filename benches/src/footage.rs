//! Footage without end, made of one group of pictures: packets as a recorder sends them, known byte by byte.
//!
//! The picture at an instant is always the same, so a player knows what it must receive.

use std::ops::Range;

/// Time between two pictures, in µs, where nothing else is said: 25 a second.
pub(crate) const PICTURE_US: i64 = 40_000;
/// Time between two random access points, in µs.
pub(crate) const GROUP_US: i64 = 2_000_000;
/// RTP clock of video, in Hz.
const CLOCK_HZ: i64 = 90_000;
/// Payload bytes of a packet, FU header apart: fits an Ethernet frame.
const PAYLOAD_BYTES: usize = 1_380;
/// A picture where decoding can start is this much larger than the others.
const KEY_FACTOR: usize = 4;
/// Seconds from 1900 to 1970.
const NTP_UNIX_S: u64 = 2_208_988_800;

const FRAME_BYTES: usize = 4;
const HEADER_BYTES: usize = FRAME_BYTES + 12 + 16;
/// Where a frame's fields lie.
const SEQUENCE: Range<usize> = 6..8;
const TIMESTAMP: Range<usize> = 8..12;
const NTP: Range<usize> = 20..28;

/// Of recordings that need not be told apart. Zeros would be no slice's last bytes.
const MARK: u8 = 0x55;

const SEQUENCE_SET: &[u8] = &[0x67, 0x42, 0x00, 0x0a, 0x96, 0x53, 0x05, 0x89, 0x88];
const PICTURE_SET: &[u8] = &[0x68, 0xc9, 0x63, 0x88];
/// The two sets in base64, as SDP has them.
const SETS: &str = "Z0IACpZTBYmI,aMljiA==";
const PAYLOAD_TYPE: u8 = 96;
/// NAL type of a fragment (FU-A).
const FRAGMENT: u8 = 0x1c;

/// One camera's recording.
#[derive(Debug)]
pub(crate) struct Footage {
    group: Vec<Picture>,
    /// Time between two pictures, in µs.
    picture_us: i64,
}

/// The packets of one picture as `$` frames on channel 0; numbering and times are filled in when it is sent.
#[derive(Debug)]
struct Picture {
    bytes: Vec<u8>,
    /// Where each frame begins.
    frames: Vec<usize>,
    payload_bytes: usize,
    /// Of its slice, whole.
    slice_bytes: usize,
}

impl Footage {
    /// Footage of a stream of `kbit_s`, headers included.
    pub(crate) fn new(kbit_s: u32) -> Self {
        Self::marked(kbit_s, MARK)
    }

    /// The same of so many pictures a second, which is to divide the time of a group into whole microseconds.
    pub(crate) fn slower(kbit_s: u32, pictures_s: u32) -> Self {
        Self::made(kbit_s, MARK, 1_000_000 / i64::from(pictures_s.max(1)))
    }

    /// The same scene as another recorder encodes it: as large, not the same bytes. `mark` is the last byte of each slice's
    /// packets, and tells whose they are.
    pub(crate) fn marked(kbit_s: u32, mark: u8) -> Self {
        Self::made(kbit_s, mark, PICTURE_US)
    }

    fn made(kbit_s: u32, mark: u8, picture_us: i64) -> Self {
        let pictures = (GROUP_US / picture_us).max(1) as usize;
        let group_bytes = kbit_s as usize * 125 * GROUP_US as usize / 1_000_000;
        let unit = group_bytes / (pictures - 1 + KEY_FACTOR);
        let group = (0..pictures)
            .map(|index| match index {
                0 => Picture::key(unit * KEY_FACTOR, mark),
                _ => Picture::other(unit, index, mark),
            })
            .collect();
        Self { group, picture_us }
    }

    /// The picture where decoding can start, at or before a capture time (UTC in µs).
    pub(crate) fn key_before(at_us: i64) -> i64 {
        at_us.div_euclid(GROUP_US)
    }

    /// Time between two pictures, in µs.
    pub(crate) fn picture_us(&self) -> i64 {
        self.picture_us
    }

    /// Appends the packets of picture `index` (counted from 1970); `sequence` is that of the next packet.
    pub(crate) fn append(&self, index: i64, sequence: &mut u16, out: &mut Vec<u8>) {
        let picture = self.picture(index);
        let base = out.len();
        out.extend_from_slice(&picture.bytes);
        let capture_us = index * self.picture_us;
        let timestamp = (capture_us / 1_000 * (CLOCK_HZ / 1_000)) as u32;
        let ntp = to_ntp(capture_us);
        for frame in &picture.frames {
            let Some(head) = out
                .get_mut(base + frame..)
                .and_then(<[u8]>::first_chunk_mut::<HEADER_BYTES>)
            else {
                return;
            };
            head[SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
            head[TIMESTAMP].copy_from_slice(&timestamp.to_be_bytes());
            head[NTP].copy_from_slice(&ntp.to_be_bytes());
            *sequence = sequence.wrapping_add(1);
        }
    }

    /// Payload bytes of the picture captured at `capture_us`.
    pub(crate) fn payload_bytes(&self, capture_us: i64) -> usize {
        self.picture(capture_us.div_euclid(self.picture_us))
            .payload_bytes
    }

    /// Bytes of the slice of the picture captured at `capture_us`, as a file has it.
    pub(crate) fn slice_bytes(&self, capture_us: i64) -> usize {
        self.picture(capture_us.div_euclid(self.picture_us))
            .slice_bytes
    }

    /// Bytes on the wire of a group of pictures.
    pub(crate) fn group_bytes(&self) -> usize {
        self.group.iter().map(|picture| picture.bytes.len()).sum()
    }

    /// The description of the stream.
    pub(crate) fn sdp() -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=bench\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
             m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}\r\n\
             a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id=42000a;sprop-parameter-sets={SETS}\r\n\
             a=control:trackID=1\r\n"
        )
    }

    fn picture(&self, index: i64) -> &Picture {
        &self.group[index.rem_euclid(self.group.len() as i64) as usize]
    }
}

impl Picture {
    fn key(bytes: usize, mark: u8) -> Self {
        let mut picture = Self::empty();
        picture.packet(&[], SEQUENCE_SET, false);
        picture.packet(&[], PICTURE_SET, false);
        picture.slice(0x65, bytes, 0, mark);
        picture
    }

    fn other(bytes: usize, index: usize, mark: u8) -> Self {
        let mut picture = Self::empty();
        picture.slice(0x41, bytes, index, mark);
        picture
    }

    fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            frames: Vec::new(),
            payload_bytes: 0,
            slice_bytes: 0,
        }
    }

    /// One slice in fragments (FU-A), as many as make about `bytes` on the wire.
    fn slice(&mut self, nal: u8, bytes: usize, seed: usize, mark: u8) {
        let count = bytes.div_ceil(HEADER_BYTES + 2 + PAYLOAD_BYTES).max(2);
        let each = (bytes / count).saturating_sub(HEADER_BYTES + 2).max(16);
        self.slice_bytes = 1 + count * each;
        for part in 0..count {
            let ends = u8::from(part == 0) << 7 | u8::from(part + 1 == count) << 6;
            // Never zero: three of them would begin another unit.
            let mut data = vec![((seed + part) % 255 + 1) as u8; each];
            // A slice that begins a picture: first_mb_in_slice is 0.
            data[0] |= 0x80;
            data[each - 1] = mark;
            self.packet(
                &[nal & 0x60 | FRAGMENT, ends | nal & 0x1f],
                &data,
                part + 1 == count,
            );
        }
    }

    fn packet(&mut self, prefix: &[u8], data: &[u8], marker: bool) {
        self.frames.push(self.bytes.len());
        let payload = prefix.len() + data.len();
        let length = (HEADER_BYTES - FRAME_BYTES + payload) as u16;
        self.bytes.extend_from_slice(&[b'$', 0]);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes
            .extend_from_slice(&[0x90, u8::from(marker) << 7 | PAYLOAD_TYPE]);
        self.bytes.extend_from_slice(&[0; 6]);
        self.bytes.extend_from_slice(b"seam");
        self.bytes.extend_from_slice(&[0xab, 0xac, 0, 3]);
        self.bytes.extend_from_slice(&[0; 12]);
        self.bytes.extend_from_slice(prefix);
        self.bytes.extend_from_slice(data);
        self.payload_bytes += payload;
    }
}

fn to_ntp(unix_us: i64) -> u64 {
    let us = unix_us.unsigned_abs();
    let fraction = ((us % 1_000_000) << 32).div_ceil(1_000_000);
    (us / 1_000_000 + NTP_UNIX_S) << 32 | fraction
}

/// UTC in µs of an NTP time.
pub(crate) fn from_ntp(ntp: u64) -> i64 {
    let seconds = (ntp >> 32) as i64 - NTP_UNIX_S as i64;
    seconds * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_as_asked() {
        for (kbit_s, pictures_s) in [(500, 25), (1_500, 25), (4_000, 25), (400, 5)] {
            let footage = Footage::slower(kbit_s, pictures_s);
            let rate = footage.group_bytes() * 8 / 2 / 1000;
            assert!(
                rate.abs_diff(kbit_s as usize) * 50 < kbit_s as usize,
                "{rate} for {kbit_s}"
            );
        }
    }

    #[test]
    fn times_survive_the_wire() {
        for us in [0, 40_000, 1_767_268_800_040_000] {
            assert_eq!(from_ntp(to_ntp(us)), us);
        }
    }
}
