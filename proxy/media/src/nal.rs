//! What H.264 and H.265 share: NAL units found in a payload, and bits behind emulation prevention.

use std::ops::{BitOr, BitOrAssign};

use thiserror::Error;

/// What a payload contradicts in its own format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// Shorter than its own headers.
    #[error("payload shorter than its headers")]
    Short,
    /// A middle or last fragment without a first.
    #[error("fragment without a start")]
    Fragment,
    /// A picture or document whose beginning is missing.
    #[error("unit without its first packet")]
    Headless,
    /// Quantization tables that end past the packet, are too long, or were never sent.
    #[error("quantization tables missing or malformed")]
    Tables,
    /// An aggregate with a length past its end.
    #[error("aggregate ends past the packet")]
    Aggregate,
    /// Interleaved packetization, which needs decoding order numbers.
    #[error("interleaved packetization")]
    Interleaved,
}

/// Kinds of NAL units seen, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents(u16);

impl Contents {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Coded picture data.
    pub const SLICE: Self = Self(1);
    /// A picture at which decoding starts clean: IDR, or an H.265 IRAP of any kind.
    pub const IRAP: Self = Self(1 << 1);
    /// An IRAP with nothing before it in output order that refers past it: IDR.
    pub const CLOSED: Self = Self(1 << 2);
    /// H.264 recovery point SEI.
    pub const RECOVERY: Self = Self(1 << 3);
    /// The picture's first slice is an I slice (H.264).
    pub const INTRA: Self = Self(1 << 4);
    /// H.265 random access skipped leading picture.
    pub const RASL: Self = Self(1 << 5);
    /// Access unit delimiter.
    pub const DELIMITER: Self = Self(1 << 6);
    /// Video parameter set.
    pub const VPS: Self = Self(1 << 7);
    /// Sequence parameter set.
    pub const SPS: Self = Self(1 << 8);
    /// Picture parameter set.
    pub const PPS: Self = Self(1 << 9);

    /// H.265 random access decodable leading picture.
    pub const RADL: Self = Self(1 << 12);
    /// A message (SEI) with signatures over the pictures before it.
    pub const SIGNATURE: Self = Self(1 << 13);
    /// The first slice of a picture.
    pub const FIRST_SLICE: Self = Self(1 << 10);
    /// Picture data that other pictures may refer to (`nal_ref_idc` of H.264; in H.265 no type that ends in `_N`).
    pub const REFERENCE: Self = Self(1 << 11);

    /// Whether all of `other` was seen.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Contents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Contents {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// One NAL unit, or the first fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nal<'a> {
    /// Type from the NAL header.
    pub kind: u8,
    /// Others may refer to what it holds.
    pub reference: bool,
    /// What follows the NAL header, as far as this packet goes.
    pub body: &'a [u8],
    /// The NAL with its header, when all of it lies in this packet.
    pub whole: Option<&'a [u8]>,
}

/// Fragmentation state between the packets of one track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragments {
    open: bool,
}

impl Fragments {
    /// Whether a fragmented NAL has begun and not ended.
    pub fn is_open(self) -> bool {
        self.open
    }

    /// A NAL that is no fragment ends what a sender left open.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// Takes one fragment; says whether it is the first of its NAL.
    pub(crate) fn take(&mut self, start: bool, end: bool) -> Result<bool, PayloadError> {
        if !start && !self.open {
            return Err(PayloadError::Fragment);
        }
        self.open = !end;
        Ok(start)
    }
}

/// The message type that vendors use for their own content.
const SEI_UNREGISTERED: u8 = 5;
/// Names signed video (Signed Video Framework, open source): "Signed Video...0".
const SIGNED_VIDEO: &[u8; 16] = b"Signed Video...0";

/// Whether a message carries signatures.
pub(crate) fn is_signature(sei: &[u8]) -> bool {
    sei.first() == Some(&SEI_UNREGISTERED)
        && sei
            .get(..64.min(sei.len()))
            .is_some_and(|head| head.windows(16).any(|name| name == SIGNED_VIDEO))
}

/// Splits the `u16 size, NAL` list of an aggregation packet. Empty entries are passed over.
pub(crate) fn aggregate<'a>(
    mut list: &'a [u8],
    mut each: impl FnMut(&'a [u8]),
) -> Result<(), PayloadError> {
    while !list.is_empty() {
        let (&size, rest) = list
            .split_first_chunk::<2>()
            .ok_or(PayloadError::Aggregate)?;
        let (nal, rest) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(size)))
            .ok_or(PayloadError::Aggregate)?;
        if !nal.is_empty() {
            each(nal);
        }
        list = rest;
    }
    Ok(())
}

/// The bytes of a NAL body without emulation prevention (`00 00 03` is `00 00`).
#[derive(Clone)]
pub(crate) struct Rbsp<'a> {
    body: &'a [u8],
    zeros: u8,
}

impl<'a> Rbsp<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { body, zeros: 0 }
    }
}

impl Iterator for Rbsp<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.body.split_first()?;
        self.body = rest;
        if self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            return self.next();
        }
        self.zeros = if byte == 0 {
            self.zeros.saturating_add(1)
        } else {
            0
        };
        Some(byte)
    }
}

/// Bits and Exp-Golomb codes from a NAL body.
pub(crate) struct Bits<'a> {
    bytes: Rbsp<'a>,
    byte: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self::of(Rbsp::new(body))
    }

    /// What is left of `bytes`.
    pub(crate) fn of(bytes: Rbsp<'a>) -> Self {
        Self {
            bytes,
            byte: 0,
            left: 0,
        }
    }

    pub(crate) fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            self.byte = self.bytes.next()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(u32::from(self.byte >> self.left) & 1)
    }

    /// An unsigned Exp-Golomb code; `None` past the end and past 32 bits.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let mut value = 1u32;
        for _ in 0..zeros {
            value = (value << 1) | self.bit()?;
        }
        Some(value - 1)
    }

    /// A signed Exp-Golomb code (ITU-T H.264, 9.1.1).
    pub(crate) fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let size = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 0 { -size } else { size })
    }

    /// So many bits, at most 32, the highest first.
    pub(crate) fn bits(&mut self, count: u8) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some((value << 1) | self.bit()?))
    }

    /// One bit as a flag.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        Some(self.bit()? == 1)
    }

    /// Passes over so many bits.
    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.bit().map(|_| ()))
    }
}
