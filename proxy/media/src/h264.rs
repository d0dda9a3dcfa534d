//! H.264 payloads (RFC 6184): which NAL units a packet holds and what they mean for random access.

use crate::nal::{Bits, Contents, Fragments, Nal, PayloadError, Rbsp, aggregate};

const IDR: u8 = 5;
const SEI: u8 = 6;
pub(crate) const SPS: u8 = 7;
pub(crate) const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
pub(crate) const FU_A: u8 = 28;
const KIND: u8 = 0x1f;
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
    match nal.kind {
        1 | 2 => Contents::SLICE | slice_header(nal.body),
        3 | 4 => Contents::SLICE,
        IDR => Contents::SLICE | Contents::IRAP | Contents::CLOSED | slice_header(nal.body),
        SEI if has_recovery_point(nal.body) => Contents::RECOVERY,
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

fn has_recovery_point(body: &[u8]) -> bool {
    let mut bytes = Rbsp::new(body);
    loop {
        let Some(kind) = sei_number(&mut bytes) else {
            return false;
        };
        let Some(size) = sei_number(&mut bytes) else {
            return false;
        };
        if kind == SEI_RECOVERY_POINT {
            return true;
        }
        // Skipping ends at the end of the NAL: the cost is bounded by its length.
        if size > 0 && bytes.nth(size as usize - 1).is_none() {
            return false;
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
