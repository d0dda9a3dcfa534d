//! H.264 payloads (RFC 6184): which NAL units a packet holds and what they mean for random access.

use crate::nal::{Bits, Contents, Fragments, Nal, PayloadError, Rbsp, aggregate, is_signature};

pub(crate) const IDR: u8 = 5;
const SEI: u8 = 6;
pub(crate) const SPS: u8 = 7;
pub(crate) const PPS: u8 = 8;
pub(crate) const DELIMITER: u8 = 9;
pub(crate) const STAP_A: u8 = 24;
pub(crate) const FU_A: u8 = 28;
const KIND: u8 = 0x1f;
pub(crate) const REF_IDC: u8 = 0x60;
const SEI_RECOVERY_POINT: u32 = 6;

/// Visits each NAL unit that begins in `payload`: alone, in a STAP-A, or as the first fragment of an
/// FU-A. On an error some may have been visited already.
pub fn visit<'a>(
    payload: &'a [u8],
    fragments: &mut Fragments,
    mut each: impl FnMut(Nal<'a>),
) -> Result<(), PayloadError> {
    let (&header, body) = payload.split_first().ok_or(PayloadError::Short)?;
    match header & KIND {
        FU_A => {
            let (&fu, body) = body.split_first().ok_or(PayloadError::Short)?;
            if fragments.take(fu & 0x80 != 0, fu & 0x40 != 0)? {
                each(Nal {
                    kind: fu & KIND,
                    reference: header & REF_IDC != 0,
                    body,
                    whole: None,
                });
            }
            Ok(())
        }
        STAP_A => {
            fragments.close();
            aggregate(body, |nal| {
                if let Some((header, body)) = nal.split_first() {
                    each(Nal {
                        kind: header & KIND,
                        reference: header & REF_IDC != 0,
                        body,
                        whole: Some(nal),
                    });
                }
            })
        }
        25..=27 | 29 => Err(PayloadError::Interleaved),
        kind => {
            fragments.close();
            each(Nal {
                kind,
                reference: header & REF_IDC != 0,
                body,
                whole: Some(payload),
            });
            Ok(())
        }
    }
}

/// What `payload` holds.
pub fn contents(payload: &[u8], fragments: &mut Fragments) -> Result<Contents, PayloadError> {
    let mut found = Contents::NONE;
    visit(payload, fragments, |nal| found |= meaning(&nal))?;
    Ok(found)
}

/// What one NAL unit means for random access.
pub fn meaning(nal: &Nal<'_>) -> Contents {
    let slice = if nal.reference {
        Contents::SLICE | Contents::REFERENCE
    } else {
        Contents::SLICE
    };
    match nal.kind {
        1 | 2 => slice | slice_header(nal.body),
        3 | 4 => slice,
        IDR => slice | Contents::IRAP | Contents::CLOSED | slice_header(nal.body),
        SEI if recovery_pictures(nal.body).is_some() => Contents::RECOVERY,
        SEI if is_signature(nal.body) => Contents::SIGNATURE,
        SPS => Contents::SPS,
        PPS => Contents::PPS,
        DELIMITER => Contents::DELIMITER,
        _ => Contents::NONE,
    }
}

/// Whether a slice opens its picture (macroblock 0), and whether it then is an I slice (`slice_type` 2
/// or 7).
fn slice_header(body: &[u8]) -> Contents {
    let mut bits = Bits::new(body);
    match (bits.ue(), bits.ue()) {
        (Some(0), Some(2 | 7)) => Contents::FIRST_SLICE | Contents::INTRA,
        (Some(0), _) => Contents::FIRST_SLICE,
        _ => Contents::NONE,
    }
}

/// Pictures until decoding is exact that starts at the recovery point in one of these packets; 0 without one.
pub(crate) fn refresh_pictures<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let mut found = 0;
    let mut fragments = Fragments::default();
    for payload in payloads {
        let _ = visit(payload, &mut fragments, |nal| {
            if nal.kind == SEI {
                let pictures = recovery_pictures(nal.body).unwrap_or(0);
                found = found.max(pictures.min(REFRESH_PICTURES_MAX));
            }
        });
    }
    found
}

/// A recovery point that is further off is none: frame numbers have 16 bits at most (ITU-T H.264, 7.4.2.1.1).
const REFRESH_PICTURES_MAX: u16 = 1024;

/// `recovery_frame_cnt` of the recovery point among the messages, if there is one.
fn recovery_pictures(body: &[u8]) -> Option<u16> {
    let mut bytes = Rbsp::new(body);
    loop {
        let kind = sei_number(&mut bytes)?;
        let size = sei_number(&mut bytes)?;
        if kind == SEI_RECOVERY_POINT {
            let pictures = Bits::of(bytes).ue().unwrap_or(0);
            return Some(u16::try_from(pictures).unwrap_or(u16::MAX));
        }
        // Skipping ends at the end of the NAL: the cost is bounded by its length.
        if size > 0 {
            bytes.nth(size as usize - 1)?;
        }
    }
}

/// A payload type or size: 0xFF bytes each add 255, the first other byte ends it.
fn sei_number(bytes: &mut Rbsp<'_>) -> Option<u32> {
    let mut number = 0u32;
    loop {
        let byte = bytes.next()?;
        number = number.saturating_add(u32::from(byte));
        if byte != 0xff {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(payload: &[u8]) -> Result<Contents, PayloadError> {
        contents(payload, &mut Fragments::default())
    }

    #[test]
    fn single_units() {
        let first = Contents::SLICE | Contents::FIRST_SLICE | Contents::REFERENCE;
        for (payload, expected) in [
            (
                &[0x65, 0x88, 0x84][..],
                first | Contents::IRAP | Contents::CLOSED | Contents::INTRA,
            ),
            (&[0x41, 0x9a], first),
            (&[0x41, 0x88], first | Contents::INTRA),
            (&[0x41, 0x4d], Contents::SLICE | Contents::REFERENCE),
            (&[0x01, 0x9a], Contents::SLICE | Contents::FIRST_SLICE),
            (&[0x41, 0xb0], first | Contents::INTRA),
            (&[0x67, 0x42], Contents::SPS),
            (&[0x68, 0xce], Contents::PPS),
            (&[0x09, 0xf0], Contents::DELIMITER),
            (&[0x0c, 0xff], Contents::NONE),
        ] {
            assert_eq!(of(payload), Ok(expected), "{payload:02x?}");
        }
    }

    #[test]
    fn aggregates_name_all_that_they_hold() {
        let stap = [0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 3, 0x65, 0x88, 0x84];
        let found = of(&stap).unwrap();
        assert!(found.has(Contents::SPS | Contents::PPS | Contents::IRAP));
        for length in [2, 4, 6, 12] {
            assert_eq!(of(&stap[..length]), Err(PayloadError::Aggregate));
        }
    }

    #[test]
    fn fragments_count_once_and_need_their_start() {
        let mut fragments = Fragments::default();
        let start = contents(&[0x7c, 0x85, 0x88], &mut fragments).unwrap();
        assert!(start.has(Contents::IRAP) && fragments.is_open());
        assert_eq!(
            contents(&[0x7c, 0x05, 1], &mut fragments),
            Ok(Contents::NONE)
        );
        assert_eq!(
            contents(&[0x7c, 0x45, 1], &mut fragments),
            Ok(Contents::NONE)
        );
        assert!(!fragments.is_open());
        let orphan = contents(&[0x7c, 0x45, 1], &mut fragments);
        assert_eq!(orphan, Err(PayloadError::Fragment));
        assert_eq!(of(&[0x7c]), Err(PayloadError::Short));
        assert_eq!(of(&[0x7d, 0x85, 0, 0]), Err(PayloadError::Interleaved));
    }

    #[test]
    fn recovery_points_are_found_behind_other_messages() {
        let recovery = |body: &[u8]| of(&[&[0x06], body].concat()) == Ok(Contents::RECOVERY);
        assert!(recovery(&[6, 1, 0xc4, 0x80]));
        assert!(recovery(&[0, 2, 7, 7, 6, 1, 0xc4, 0x80]));
        // A size with an emulation prevention byte inside the message: 0 0 (3) 1 is three bytes.
        assert!(recovery(&[5, 3, 0, 0, 3, 1, 6, 1, 0xc4, 0x80]));
        // 12 pictures: ue(12) is 0001101.
        let gradual = [&[0x06][..], &[6, 1, 0x1a, 0x80]].concat();
        assert_eq!(refresh_pictures([&gradual[..], &[0x41, 0x9a]]), 12);
        assert_eq!(refresh_pictures([&[0x06, 6, 1, 0xc4, 0x80][..]]), 0);
        assert!(!recovery(&[5, 4, 6, 1, 0xc4, 0x80]));
        // Payload type 255 + 6 is another message.
        assert!(!recovery(&[0xff, 6, 1, 0xc4, 0x80]));
        assert!(!recovery(&[0xff; 40]));
    }
}
