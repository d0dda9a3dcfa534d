//! Cuts NAL units, and what recorders packed them into, to payloads that fit a datagram (RFC 6184 §5.8, RFC 7798 §4.4.3).

use smallvec::SmallVec;

use crate::nal::aggregate;
use crate::{Codec, h264, h265};

/// Start and end bits of a fragment's header.
const START: u8 = 0x80;
const END: u8 = 0x40;

/// One payload: a prefix, what follows it, and whether it is the last.
pub(crate) type Piece<'a> = (&'a [u8], &'a [u8], bool);

pub(crate) fn nal_header_bytes(codec: Codec) -> usize {
    if codec == Codec::H265 { 2 } else { 1 }
}

/// The payload header of a fragment of a NAL with this header, and the NAL's type.
pub(crate) fn fragment_header(codec: Codec, header: &[u8]) -> (SmallVec<[u8; 4]>, u8) {
    match (codec, header) {
        (Codec::H265, &[first, second]) => (
            SmallVec::from_slice(&[(first & 0x81) | (h265::FU << 1), second]),
            (first >> 1) & 0x3f,
        ),
        (_, &[first, ..]) => (
            SmallVec::from_slice(&[(first & 0xe0) | h264::FU_A]),
            first & 0x1f,
        ),
        (_, []) => (SmallVec::new(), 0),
    }
}

/// A NAL unit in payloads of at most `max` bytes: whole where it fits.
pub(crate) fn nal(codec: Codec, nal: &[u8], max: usize, mut each: impl FnMut(Piece<'_>)) {
    let header_bytes = nal_header_bytes(codec);
    if nal.len() <= max || nal.len() <= header_bytes {
        return each((&[], nal, true));
    }
    let (header, body) = nal.split_at(header_bytes);
    let (indicator, kind) = fragment_header(codec, header);
    fragments(&indicator, START | END | kind, body, max, each);
}

/// A recorder's payload in payloads of at most `max` bytes. What is no NAL unit stays as it is, whatever its size.
pub(crate) fn payload(codec: Codec, payload: &[u8], max: usize, mut each: impl FnMut(Piece<'_>)) {
    let header_bytes = nal_header_bytes(codec);
    let has_nals = matches!(codec, Codec::H264 | Codec::H265);
    let (Some(&first), Some(&fu)) = (payload.first(), payload.get(header_bytes)) else {
        return each((&[], payload, true));
    };
    if payload.len() <= max || !has_nals {
        return each((&[], payload, true));
    }
    let (header, rest) = payload.split_at(header_bytes);
    let kind = fragment_header(codec, header).1;
    match (codec, kind) {
        (Codec::H264, h264::FU_A) | (Codec::H265, h265::FU) => {
            fragments(header, fu, rest.get(1..).unwrap_or_default(), max, each);
        }
        (Codec::H264, h264::STAP_A) | (Codec::H265, h265::AGGREGATE) => {
            let mut nals: SmallVec<[&[u8]; 8]> = SmallVec::new();
            // What comes before an error in the list is as good as ever.
            let _ = aggregate(rest, |unit| nals.push(unit));
            let count = nals.len();
            for (index, unit) in nals.into_iter().enumerate() {
                nal(codec, unit, max, |(prefix, body, last)| {
                    each((prefix, body, last && index + 1 == count));
                });
            }
        }
        // Other packet types of RFC 6184 say what they are in the first byte; the assembler lets none of them through.
        (Codec::H264, _) if first & 0x1f > h264::STAP_A => each((&[], payload, true)),
        _ => nal(codec, payload, max, each),
    }
}

/// Fragments of `body` whose headers together say what `fu` says: its start and its end, and the type.
fn fragments(indicator: &[u8], fu: u8, body: &[u8], max: usize, mut each: impl FnMut(Piece<'_>)) {
    let size = max.saturating_sub(indicator.len() + 1).max(1);
    let count = body.len().div_ceil(size).max(1);
    let mut prefix: SmallVec<[u8; 4]> = SmallVec::from_slice(indicator);
    prefix.push(0);
    for index in 0..count {
        let (first, last) = (index == 0, index + 1 == count);
        let mut header = fu & !(START | END);
        if first {
            header |= fu & START;
        }
        if last {
            header |= fu & END;
        }
        if let Some(slot) = prefix.last_mut() {
            *slot = header;
        }
        let rest = body.get(index * size..).unwrap_or_default();
        each((&prefix, rest.get(..size).unwrap_or(rest), last));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nal::Fragments;

    /// What a decoder makes of payloads: NAL units, put together again.
    fn nals(codec: Codec, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut units: Vec<Vec<u8>> = Vec::new();
        let mut open = Fragments::default();
        for payload in payloads {
            let header_bytes = nal_header_bytes(codec);
            let (header, rest) = payload.split_at(header_bytes);
            let kind = fragment_header(codec, header).1;
            let is_fragment = matches!(
                (codec, kind),
                (Codec::H264, h264::FU_A) | (Codec::H265, h265::FU)
            );
            if !is_fragment {
                units.push(payload.clone());
                continue;
            }
            let fu = rest[0];
            if open
                .take(fu & START != 0, fu & END != 0)
                .expect("a fragment in its turn")
            {
                units.push(match codec {
                    Codec::H265 => vec![(header[0] & 0x81) | ((fu & 0x3f) << 1), header[1]],
                    _ => vec![(header[0] & 0xe0) | (fu & 0x1f)],
                });
            }
            units
                .last_mut()
                .expect("a start")
                .extend_from_slice(&rest[1..]);
        }
        assert!(!open.is_open(), "the last fragment has no end");
        units
    }

    fn cut(codec: Codec, from: &[u8], max: usize) -> Vec<Vec<u8>> {
        let (mut out, mut lasts) = (Vec::new(), Vec::new());
        payload(codec, from, max, |(prefix, body, last)| {
            out.push([prefix, body].concat());
            lasts.push(last);
        });
        assert_eq!(lasts.iter().filter(|last| **last).count(), 1);
        assert_eq!(lasts.last(), Some(&true));
        out
    }

    fn unit(codec: Codec, kind: u8, body: &[u8]) -> Vec<u8> {
        let header = match codec {
            Codec::H265 => vec![kind << 1, 1],
            _ => vec![0x60 | kind],
        };
        [header, body.to_vec()].concat()
    }

    fn codec() -> impl Strategy<Value = Codec> {
        prop_oneof![Just(Codec::H264), Just(Codec::H265)]
    }

    proptest! {
        #[test]
        fn single_units_come_through(codec in codec(), body in prop::collection::vec(any::<u8>(), 1..5000), max in 10usize..1500) {
            let whole = unit(codec, 5, &body);
            let pieces = cut(codec, &whole, max);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= max));
            prop_assert_eq!(nals(codec, &pieces), vec![whole]);
        }

        #[test]
        fn aggregates_come_through(
            codec in codec(),
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..900), 1..6),
            max in 10usize..1500,
        ) {
            let units: Vec<_> = bodies.iter().map(|body| unit(codec, 1, body)).collect();
            let kind = if codec == Codec::H265 { h265::AGGREGATE } else { h264::STAP_A };
            let mut list = Vec::new();
            for unit in &units {
                list.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                list.extend_from_slice(unit);
            }
            let aggregate = unit(codec, kind, &list);
            let fits = aggregate.len() <= max;
            let pieces = cut(codec, &aggregate, max);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= max));
            if fits {
                prop_assert_eq!(pieces, vec![aggregate]);
            } else {
                prop_assert_eq!(nals(codec, &pieces), units);
            }
        }

        /// A recorder's own fragments are cut finer; only the outermost have the start and the end.
        #[test]
        fn fragments_come_through(
            codec in codec(),
            body in prop::collection::vec(any::<u8>(), 200..9000),
            recorder_max in 60usize..4000,
            max in 10usize..1500,
        ) {
            let whole = unit(codec, 5, &body);
            let mut sent = Vec::new();
            nal(codec, &whole, recorder_max, |(prefix, body, _)| sent.push([prefix, body].concat()));
            let pieces: Vec<_> = sent.iter().flat_map(|payload| cut(codec, payload, max)).collect();
            prop_assert!(pieces.iter().all(|piece| piece.len() <= max));
            prop_assert_eq!(nals(codec, &pieces), vec![whole]);
        }
    }

    #[test]
    fn what_holds_no_units_stays_whole() {
        let sound = vec![7; 3000];
        for codec in [Codec::Aac, Codec::G711, Codec::Opus, Codec::Other] {
            assert_eq!(cut(codec, &sound, 1400), vec![sound.clone()]);
        }
        for short in [&[][..], &[0x65]] {
            assert_eq!(cut(Codec::H264, short, 10), [short.to_vec()]);
        }
    }
}
