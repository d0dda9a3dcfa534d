//! Sequence parameter sets: what a container must say of a picture, and how far pictures are reordered.

use crate::nal::{Bits, Rbsp};

/// What a sequence parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sps {
    /// Pixels shown.
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Shape of a pixel, horizontal to vertical; 1:1 where nothing is said.
    pub(crate) aspect: (u16, u16),
    /// `chroma_format_idc`.
    pub(crate) chroma_format: u8,
    pub(crate) depth_luma: u8,
    pub(crate) depth_chroma: u8,
    /// Pictures that may precede another in decoding order and follow it in output order; `None` where nothing is said.
    pub(crate) reorder: Option<u8>,
    /// H.265: sub-layers, and whether they nest.
    pub(crate) temporal_layers: u8,
    pub(crate) temporal_nested: bool,
    pub(crate) counting: Counting,
}

/// What a slice header must be read by to find its picture's place in output order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counting {
    /// Bits of `slice_pic_order_cnt_lsb` or `pic_order_cnt_lsb`; `None` where the place is not told by it.
    pub(crate) count_bits: Option<u8>,
    /// H.264: bits of `frame_num`.
    pub(crate) number_bits: u8,
    /// H.264: there are no fields.
    pub(crate) frames_only: bool,
    /// `separate_colour_plane_flag`.
    pub(crate) planes: bool,
}

/// Deepest reordering: no decoder keeps more pictures than this (ITU-T H.264 A.3.1, H.265 A.4.2).
pub(crate) const REORDER_MAX: usize = 16;
/// Lists of a set are at most this long: the most that either standard allows.
const LIST_MAX: u32 = 256;
/// `aspect_ratio_idc` of a ratio that is written out.
const EXTENDED_SAR: u32 = 255;
/// ITU-T H.264 table E-1 and H.265 table E.1, from 1 on.
const ASPECTS: [(u16, u16); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
/// Profiles with the fields of the fidelity range extensions (ITU-T H.264, 7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

impl Sps {
    /// Reads an H.264 set, its header included (ITU-T H.264, 7.3.2.1.1).
    pub(crate) fn h264(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(nal.get(1..)?);
        let profile = bits.bits(8)?;
        bits.skip(16)?;
        bits.ue()?;
        let (mut chroma_format, mut planes, mut depth_luma, mut depth_chroma) = (1, false, 0, 0);
        if HIGH_PROFILES.contains(&profile) {
            chroma_format = bits.ue()?;
            planes = chroma_format == 3 && bits.flag()?;
            (depth_luma, depth_chroma) = (bits.ue()?, bits.ue()?);
            bits.skip(1)?;
            if bits.flag()? {
                let lists = if chroma_format == 3 { 12 } else { 8 };
                for list in 0..lists {
                    if bits.flag()? {
                        scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        let number_bits = counted(bits.ue()?)?;
        let order_type = bits.ue()?;
        let mut count_bits = None;
        match order_type {
            0 => count_bits = Some(counted(bits.ue()?)?),
            1 => {
                bits.skip(1)?;
                bits.se()?;
                bits.se()?;
                for _ in 0..limited(bits.ue()?, LIST_MAX)? {
                    bits.se()?;
                }
            }
            _ => {}
        }
        bits.ue()?;
        bits.skip(1)?;
        let (columns, rows) = (bits.ue()?.checked_add(1)?, bits.ue()?.checked_add(1)?);
        let frames_only = bits.flag()?;
        if !frames_only {
            bits.skip(1)?;
        }
        bits.skip(1)?;
        let crop = cropping(&mut bits)?;
        let fields = if frames_only { 1 } else { 2 };
        // Units of the cropping (ITU-T H.264, 7-19 to 7-22).
        let (unit_x, unit_y) = match chroma_format {
            _ if planes => (1, 1),
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut sps = Self {
            width: cropped(columns.checked_mul(16)?, crop.0, unit_x)?,
            height: cropped(rows.checked_mul(16 * fields)?, crop.1, unit_y * fields)?,
            aspect: (1, 1),
            chroma_format: u8::try_from(limited(chroma_format, 3)?).ok()?,
            depth_luma: u8::try_from(limited(depth_luma, 6)?).ok()? + 8,
            depth_chroma: u8::try_from(limited(depth_chroma, 6)?).ok()? + 8,
            // Output order is decoding order (ITU-T H.264, 8.2.1.3), and Baseline has no B slices.
            reorder: (order_type == 2 || profile == 66).then_some(0),
            temporal_layers: 1,
            temporal_nested: false,
            counting: Counting {
                count_bits,
                number_bits,
                frames_only,
                planes,
            },
        };
        // What an encoder garbles of the rest does no harm.
        if bits.flag() == Some(true) {
            usability(&mut bits, &mut sps);
        }
        Some(sps)
    }

    /// Reads an H.265 set, its header included (ITU-T H.265, 7.3.2.2.1).
    pub(crate) fn h265(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(nal.get(2..)?);
        bits.skip(4)?;
        let sub_layers = bits.bits(3)?;
        let nested = bits.flag()?;
        bits.skip(96)?;
        profiles_of_sub_layers(&mut bits, sub_layers)?;
        bits.ue()?;
        let chroma_format = limited(bits.ue()?, 3)?;
        let planes = chroma_format == 3 && bits.flag()?;
        let (width, height) = (bits.ue()?, bits.ue()?);
        let crop = cropping(&mut bits)?;
        let (depth_luma, depth_chroma) = (bits.ue()?, bits.ue()?);
        let count_bits = counted(bits.ue()?)?;
        let each = bits.flag()?;
        let mut reorder = 0;
        for _ in if each { 0..=sub_layers } else { 0..=0 } {
            bits.ue()?;
            reorder = bits.ue()?;
            bits.ue()?;
        }
        let (unit_x, unit_y) = match chroma_format {
            _ if planes => (1, 1),
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        Some(Self {
            width: cropped(width, crop.0, unit_x)?,
            height: cropped(height, crop.1, unit_y)?,
            aspect: (1, 1),
            chroma_format: u8::try_from(chroma_format).ok()?,
            depth_luma: u8::try_from(limited(depth_luma, 8)?).ok()? + 8,
            depth_chroma: u8::try_from(limited(depth_chroma, 8)?).ok()? + 8,
            reorder: (reorder as usize <= REORDER_MAX).then_some(reorder as u8),
            temporal_layers: sub_layers as u8 + 1,
            temporal_nested: nested,
            counting: Counting {
                count_bits: Some(count_bits),
                number_bits: 0,
                frames_only: true,
                planes,
            },
        })
    }
}

/// Bits of a counter whose `log2_max_..._minus4` this is: 16 at the most.
fn counted(minus4: u32) -> Option<u8> {
    Some(limited(minus4, 12)? as u8 + 4)
}

/// The twelve bytes of an H.265 set that name its profile, tier and level, without emulation prevention.
pub(crate) fn profile_tier_level(nal: &[u8]) -> Option<[u8; 12]> {
    let mut bytes = Rbsp::new(nal.get(2..)?);
    bytes.next()?;
    let mut found = [0; 12];
    for byte in &mut found {
        *byte = bytes.next()?;
    }
    Some(found)
}

/// ITU-T H.265, 7.3.3: what precedes is of the highest sub-layer.
fn profiles_of_sub_layers(bits: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    let mut present = [(false, false); 8];
    for place in present.iter_mut().take(sub_layers as usize) {
        *place = (bits.flag()?, bits.flag()?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

fn scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(bits.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// What is cut off at left and right, and at top and bottom, in units.
fn cropping(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    if !bits.flag()? {
        return Some((0, 0));
    }
    let (left, right) = (bits.ue()?, bits.ue()?);
    let (top, bottom) = (bits.ue()?, bits.ue()?);
    Some((left.checked_add(right)?, top.checked_add(bottom)?))
}

fn cropped(size: u32, crop: u32, unit: u32) -> Option<u16> {
    let shown = size.checked_sub(crop.checked_mul(unit)?)?;
    u16::try_from(shown).ok().filter(|shown| *shown > 0)
}

fn limited(value: u32, max: u32) -> Option<u32> {
    (value <= max).then_some(value)
}

/// The part of the usability information (ITU-T H.264, E.1.1) up to the limits of reordering.
fn usability(bits: &mut Bits<'_>, sps: &mut Sps) -> Option<()> {
    if bits.flag()? {
        let idc = bits.bits(8)?;
        let written = if idc == EXTENDED_SAR {
            Some((bits.bits(16)? as u16, bits.bits(16)? as u16))
        } else {
            ASPECTS.get((idc as usize).wrapping_sub(1)).copied()
        };
        sps.aspect = written.filter(|(x, y)| *x > 0 && *y > 0).unwrap_or((1, 1));
    }
    if bits.flag()? {
        bits.skip(1)?;
    }
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        bits.ue()?;
        bits.ue()?;
    }
    if bits.flag()? {
        bits.skip(65)?;
    }
    let nal_hrd = bits.flag()?;
    if nal_hrd {
        reference_decoder(bits)?;
    }
    let vcl_hrd = bits.flag()?;
    if vcl_hrd {
        reference_decoder(bits)?;
    }
    if nal_hrd || vcl_hrd {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    if bits.flag()? {
        bits.skip(1)?;
        for _ in 0..4 {
            bits.ue()?;
        }
        sps.reorder = Some(limited(bits.ue()?, REORDER_MAX as u32)? as u8);
    }
    Some(())
}

fn reference_decoder(bits: &mut Bits<'_>) -> Option<()> {
    let count = limited(bits.ue()?, 31)? + 1;
    bits.skip(8)?;
    for _ in 0..count {
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    bits.skip(20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// x264, Baseline, 1920x1080: 68 rows of macroblocks, eight lines cut off.
    const BASELINE: &[u8] = &[
        0x67, 0x42, 0xc0, 0x28, 0xd9, 0x00, 0x78, 0x02, 0x27, 0xe5, 0xff, 0xc0, 0x00, 0xc0, 0x01,
        0x04, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x3c, 0x60, 0xc9, 0x20,
    ];
    /// x264, High, 1280x720, three B pictures in a pyramid.
    const HIGH: &[u8] = &[
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0xff, 0x00, 0x03, 0x00, 0x04,
        0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60,
    ];
    /// x265, Main, 640x360, with B pictures.
    const MAIN: &[u8] = &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x3f, 0xa0, 0x05, 0x02, 0x01, 0x69, 0x65, 0x95, 0x9a, 0x49, 0x32, 0xbf, 0xfc,
        0x00, 0x0c, 0x00, 0x11, 0xa0, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00, 0x03, 0x03,
        0x21,
    ];
    /// x265, Main, 1920x1080, without.
    const MAIN_IN_ORDER: &[u8] = &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x78, 0xa0, 0x03, 0xc0, 0x80, 0x10, 0xe5, 0x96, 0x4a, 0x92, 0x4c, 0xaf, 0xff,
        0x00, 0x00, 0x03, 0x00, 0x04, 0x68, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03,
        0x00, 0xc8, 0x40,
    ];

    #[test]
    fn of_encoders() {
        type Read = fn(&[u8]) -> Option<Sps>;
        for (read, nal, size, reorder) in [
            (Sps::h264 as Read, BASELINE, (1920, 1080), 0),
            (Sps::h264, HIGH, (1280, 720), 2),
            (Sps::h265, MAIN, (640, 360), 2),
            (Sps::h265, MAIN_IN_ORDER, (1920, 1080), 0),
        ] {
            let sps = read(nal).unwrap();
            assert_eq!(
                ((sps.width, sps.height), sps.reorder),
                (size, Some(reorder))
            );
            assert_eq!(
                (sps.chroma_format, sps.depth_luma, sps.depth_chroma),
                (1, 8, 8)
            );
        }
    }

    #[test]
    fn the_level_stands_behind_emulation_prevention() {
        let tier = profile_tier_level(MAIN).unwrap();
        assert_eq!(tier, [1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3f]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(nal in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Sps::h264(&nal);
            let _ = Sps::h265(&nal);
            let _ = profile_tier_level(&nal);
        }
    }
}
