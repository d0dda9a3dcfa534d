//! NAL units in frames: behind lengths (MP4) or start codes (elementary streams).

use crate::PacketizeError;

/// NAL units behind big-endian lengths of `bytes` bytes each; the whole frame is checked first.
pub(crate) fn length_prefixed(
    frame: &[u8],
    bytes: u8,
) -> Result<impl Iterator<Item = &[u8]>, PacketizeError> {
    let bytes = usize::from(bytes);
    if !(1..=4).contains(&bytes) {
        return Err(PacketizeError::Length);
    }
    let mut rest = frame;
    while !rest.is_empty() {
        (_, rest) = split_prefixed(rest, bytes).ok_or(PacketizeError::Length)?;
    }
    let mut rest = frame;
    Ok(std::iter::from_fn(move || {
        let (nal, after) = split_prefixed(rest, bytes)?;
        rest = after;
        Some(nal)
    }))
}

fn split_prefixed(frame: &[u8], bytes: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = frame.split_at_checked(bytes)?;
    let length = length
        .iter()
        .fold(0usize, |length, &byte| (length << 8) | usize::from(byte));
    rest.split_at_checked(length)
}

/// NAL units behind start codes of three or four bytes. What precedes the first is passed over.
pub(crate) fn annex_b(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(frame).and_then(|at| frame.get(at + 3..));
    std::iter::from_fn(move || {
        let nal = rest?;
        let end = start_code(nal);
        rest = end.and_then(|end| nal.get(end + 3..));
        Some(without_trailing_zeros(
            nal.get(..end.unwrap_or(nal.len())).unwrap_or_default(),
        ))
    })
}

fn start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|window| window == [0, 0, 1])
}

/// A NAL ends in its stop bit: zeros behind it belong to the next start code.
fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let length = nal
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    nal.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn start_codes_of_both_lengths() {
        let frame = [
            0, 0, 0, 1, 9, 0x10, 0, 0, 1, 0x65, 1, 2, 0, 0, 0, 0, 1, 0x68, 7, 0,
        ];
        let nals: Vec<&[u8]> = annex_b(&frame).collect();
        assert_eq!(nals, [&[9, 0x10][..], &[0x65, 1, 2], &[0x68, 7]]);
        assert_eq!(annex_b(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        assert!(length_prefixed(&[0, 0, 0, 2, 0x65], 4).is_err());
        assert!(length_prefixed(&[0, 0, 0], 4).is_err());
        assert!(length_prefixed(&[0, 1, 2], 5).is_err());
        assert!(length_prefixed(&[0, 1, 2], 0).is_err());
        let nals: Vec<&[u8]> = length_prefixed(&[0, 2, 0x65, 9, 0, 1, 0x68], 2)
            .unwrap()
            .collect();
        assert_eq!(nals, [&[0x65, 9][..], &[0x68]]);
    }

    proptest! {
        #[test]
        fn never_panics(frame: Vec<u8>, bytes: u8) {
            let _ = annex_b(&frame).count();
            let _ = length_prefixed(&frame, bytes).map(Iterator::count);
        }
    }
}
