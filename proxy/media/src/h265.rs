//! H.265 payloads (RFC 7798): which NAL units a packet holds and what they mean for random access.

use crate::nal::{Contents, Fragments, Nal, PayloadError, aggregate, is_signature};

pub(crate) const VPS: u8 = 32;
pub(crate) const SPS: u8 = 33;
pub(crate) const PPS: u8 = 34;
pub(crate) const DELIMITER: u8 = 35;
/// A message ahead of the picture.
const SEI: u8 = 39;
pub(crate) const AGGREGATE: u8 = 48;
pub(crate) const FU: u8 = 49;
const HEADER_BYTES: usize = 2;

/// Visits each NAL unit of the base layer that begins in `payload`: alone, in an AP, or as the first
/// fragment of an FU. On an error some may have been visited already. Decoding order numbers
/// (`sprop-max-don-diff` > 0) are not understood.
pub fn visit<'a>(
    payload: &'a [u8],
    fragments: &mut Fragments,
    mut each: impl FnMut(Nal<'a>),
) -> Result<(), PayloadError> {
    let (&header, body) = payload
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(PayloadError::Short)?;
    match kind(header) {
        FU => {
            let (&fu, body) = body.split_first().ok_or(PayloadError::Short)?;
            if fragments.take(fu & 0x80 != 0, fu & 0x40 != 0)? && is_base_layer(header) {
                each(Nal {
                    kind: fu & 0x3f,
                    reference: is_reference(fu & 0x3f),
                    body,
                    whole: None,
                });
            }
            Ok(())
        }
        AGGREGATE => {
            fragments.close();
            aggregate(body, |nal| {
                if let Some((&header, body)) = nal.split_first_chunk::<HEADER_BYTES>()
                    && is_base_layer(header)
                {
                    each(Nal {
                        kind: kind(header),
                        reference: is_reference(kind(header)),
                        body,
                        whole: Some(nal),
                    });
                }
            })
        }
        kind => {
            fragments.close();
            if is_base_layer(header) {
                each(Nal {
                    kind,
                    reference: is_reference(kind),
                    body,
                    whole: Some(payload),
                });
            }
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
    let slice = || {
        let mut slice = Contents::SLICE;
        if nal.body.first().is_some_and(|first| first & 0x80 != 0) {
            slice |= Contents::FIRST_SLICE;
        }
        if nal.reference {
            slice |= Contents::REFERENCE;
        }
        slice
    };
    match nal.kind {
        6 | 7 => slice() | Contents::RADL,
        8 | 9 => slice() | Contents::RASL,
        // IDR_W_RADL and IDR_N_LP.
        19 | 20 => slice() | Contents::IRAP | Contents::CLOSED,
        16..=23 => slice() | Contents::IRAP,
        0..=31 => slice(),
        SEI if is_signature(nal.body) => Contents::SIGNATURE,
        VPS => Contents::VPS,
        SPS => Contents::SPS,
        PPS => Contents::PPS,
        DELIMITER => Contents::DELIMITER,
        _ => Contents::NONE,
    }
}

fn kind([first, _]: [u8; HEADER_BYTES]) -> u8 {
    (first >> 1) & 0x3f
}

/// Of the types below 16 the even ones are those that no picture of their own sub-layer refers to (ITU-T H.265, table 7-1).
pub(crate) fn is_reference(kind: u8) -> bool {
    kind >= 16 || kind % 2 == 1
}

fn is_base_layer([first, second]: [u8; HEADER_BYTES]) -> bool {
    first & 1 == 0 && second >> 3 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(payload: &[u8]) -> Result<Contents, PayloadError> {
        contents(payload, &mut Fragments::default())
    }

    #[test]
    fn every_type_of_unit() {
        let disposable = Contents::SLICE | Contents::FIRST_SLICE;
        let first = disposable | Contents::REFERENCE;
        for (kinds, expected) in [
            (vec![0], disposable),
            (vec![1], first),
            (vec![6], disposable | Contents::RADL),
            (vec![7], first | Contents::RADL),
            (vec![8], disposable | Contents::RASL),
            (vec![9], first | Contents::RASL),
            (vec![16, 17, 18, 21], first | Contents::IRAP),
            (vec![19, 20], first | Contents::IRAP | Contents::CLOSED),
            (vec![32], Contents::VPS),
            (vec![33], Contents::SPS),
            (vec![34], Contents::PPS),
            (vec![35], Contents::DELIMITER),
            (vec![39, 40, 50], Contents::NONE),
        ] {
            for kind in kinds {
                assert_eq!(of(&[kind << 1, 1, 0x80]), Ok(expected), "type {kind}");
            }
        }
        assert_eq!(
            of(&[21 << 1, 1, 0x00]),
            Ok(Contents::SLICE | Contents::IRAP | Contents::REFERENCE)
        );
    }

    #[test]
    fn other_layers_mean_nothing() {
        assert_eq!(of(&[19 << 1, 0x09, 0x80]), Ok(Contents::NONE));
        assert_eq!(of(&[(19 << 1) | 1, 1, 0x80]), Ok(Contents::NONE));
    }

    #[test]
    fn aggregates_and_fragments() {
        let ap = [
            0x60, 1, 0, 3, 0x40, 1, 9, 0, 3, 0x42, 1, 9, 0, 3, 0x2a, 1, 0x80,
        ];
        let found = of(&ap).unwrap();
        assert!(found.has(Contents::VPS | Contents::SPS | Contents::IRAP));
        assert!(!found.has(Contents::CLOSED));
        assert_eq!(of(&ap[..16]), Err(PayloadError::Aggregate));

        let mut fragments = Fragments::default();
        let start = contents(&[0x62, 1, 0x94, 0x80], &mut fragments).unwrap();
        assert!(start.has(Contents::CLOSED | Contents::FIRST_SLICE));
        assert_eq!(
            contents(&[0x62, 1, 0x54, 1], &mut fragments),
            Ok(Contents::NONE)
        );
        assert_eq!(of(&[0x62, 1, 20, 1]), Err(PayloadError::Fragment));
        assert_eq!(of(&[0x62]), Err(PayloadError::Short));
        assert_eq!(of(&[0x62, 1]), Err(PayloadError::Short));
    }
}
