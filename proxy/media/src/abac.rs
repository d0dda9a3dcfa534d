//! The ONVIF replay header extension `0xABAC`: capture time, flags and the PLAY it answers.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// Profile id of the extension.
pub const ID: u16 = 0xABAC;
/// Its length field: 32-bit words after the four-byte extension header. GStreamer ignores any other.
pub const WORDS: u16 = 3;
/// The whole extension, its four-byte header included.
pub const BYTES: usize = 16;

/// C, E, D and T of the extension, as they lie in its byte 12.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// C: decoding can start at this access unit.
    pub const CLEAN: Self = Self(0x80);
    /// E: last access unit of a contiguous section.
    pub const END: Self = Self(0x40);
    /// D: follows a discontinuity in transmission.
    pub const DISCONTINUITY: Self = Self(0x20);
    /// T: last access unit of the track in this direction. GStreamer ends the stream here.
    pub const TERMINAL: Self = Self(0x10);

    /// Keeps the four defined bits; the rest must be zero on the wire.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 0xf0)
    }

    /// As on the wire.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without the flags of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (Self::CLEAN, 'C'),
            (Self::END, 'E'),
            (Self::DISCONTINUITY, 'D'),
            (Self::TERMINAL, 'T'),
        ];
        f.write_str("Flags(")?;
        for (flag, letter) in letters {
            if self.contains(flag) {
                write!(f, "{letter}")?;
            }
        }
        f.write_str(")")
    }
}

/// The content of one extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Capture time as NTP 32.32; zero and all ones mean that there is none.
    pub ntp: u64,
    /// C, E, D, T.
    pub flags: Flags,
    /// Low byte of the `CSeq` of the PLAY that started this transmission.
    pub cseq: u8,
}

impl Replay {
    /// Reads an RTP header extension with profile id `id`. `None` when it is another extension or too
    /// short. Longer ones (the form combined with JPEG's) are read and their rest ignored.
    pub fn parse(id: u16, words: &[u8]) -> Option<Self> {
        if id != ID {
            return None;
        }
        let (ntp, rest) = words.split_first_chunk::<8>()?;
        let &[flags, cseq, _, _] = rest.first_chunk::<4>()?;
        Some(Self {
            ntp: u64::from_be_bytes(*ntp),
            flags: Flags::from_bits(flags),
            cseq,
        })
    }

    /// The extension as it goes on the wire, header included.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&ID.to_be_bytes());
        bytes[2..4].copy_from_slice(&WORDS.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.ntp.to_be_bytes());
        bytes[12] = self.flags.bits();
        bytes[13] = self.cseq;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NTP: u64 = 0xED01_B425_4000_0000;

    fn golden(flags: Flags) -> [u8; BYTES] {
        Replay {
            ntp: NTP,
            flags,
            cseq: 300u32.to_be_bytes()[3],
        }
        .to_bytes()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap())
            .collect()
    }

    #[test]
    fn golden_bytes() {
        for (flags, text) in [
            (Flags::CLEAN, "ABAC0003 ED01B425 40000000 802C0000"),
            (
                Flags::CLEAN | Flags::DISCONTINUITY,
                "ABAC0003 ED01B425 40000000 A02C0000",
            ),
            (Flags::END, "ABAC0003 ED01B425 40000000 402C0000"),
            (
                Flags::END | Flags::TERMINAL,
                "ABAC0003 ED01B425 40000000 502C0000",
            ),
        ] {
            let bytes = hex(text);
            assert_eq!(golden(flags)[..], bytes[..]);
            let parsed = Replay::parse(0xABAC, &bytes[4..]).unwrap();
            assert_eq!(
                parsed,
                Replay {
                    ntp: NTP,
                    flags,
                    cseq: 0x2C
                }
            );
        }
    }

    #[test]
    fn the_form_combined_with_jpeg_is_read() {
        let mut words = golden(Flags::CLEAN)[4..].to_vec();
        words.extend_from_slice(&[0xFF, 0xD8, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(Replay::parse(ID, &words).unwrap().ntp, NTP);
    }

    #[test]
    fn strangers_and_stumps_are_not_read() {
        let words = &golden(Flags::CLEAN)[4..];
        assert_eq!(Replay::parse(0xBEDE, words), None);
        for length in 0..12 {
            assert_eq!(Replay::parse(ID, &words[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn round_trip(ntp: u64, bits: u8, cseq: u8) {
            let replay = Replay { ntp, flags: Flags::from_bits(bits), cseq };
            prop_assert_eq!(Replay::parse(ID, &replay.to_bytes()[4..]), Some(replay));
        }
    }
}
