//! Base64 as it streams through a tunnel's POST: each request for itself, in any pieces.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::BytesMut;
use thiserror::Error;

/// Bits that padding leaves over are nobody's business.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Characters of a group.
const GROUP: usize = 4;

/// Something that is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bytes that are no base64")]
pub(super) struct Garbage;

/// Decodes groups of four characters. Players encode each request by itself, so padding may end any group and the next
/// request begins behind it; blanks and line breaks may stand anywhere.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    group: [u8; GROUP],
    filled: usize,
}

impl Decoder {
    /// Appends what `text` completes.
    pub(super) fn push(&mut self, text: &[u8], into: &mut BytesMut) -> Result<(), Garbage> {
        for byte in text
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
        {
            let slot = self.group.get_mut(self.filled).ok_or(Garbage)?;
            *slot = byte;
            self.filled += 1;
            if self.filled == GROUP {
                self.filled = 0;
                let mut three = [0; GROUP - 1];
                let decoded = LENIENT.decode_slice(self.group, &mut three);
                let bytes = decoded.map_err(|_| Garbage)?;
                into.extend_from_slice(three.get(..bytes).unwrap_or_default());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;

    /// The example of the protocol: a request that ends in padding, and one behind it.
    const OPTIONS: &str = "T1BUSU9OUyAqIFJUU1AvMS4wDQpDU2VxOiAxDQoNCg==";

    fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Garbage> {
        let (mut decoder, mut out) = (Decoder::default(), BytesMut::new());
        for piece in pieces {
            decoder.push(piece, &mut out)?;
        }
        Ok(out.to_vec())
    }

    #[test]
    fn requests_follow_each_other_behind_padding_at_every_split() {
        let text = [OPTIONS, "\r\n", OPTIONS].concat();
        let request = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
        let expected = [&request[..], request].concat();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [
                    &text.as_bytes()[..first],
                    &text.as_bytes()[first..second],
                    &text.as_bytes()[second..],
                ];
                assert_eq!(decoded(pieces), Ok(expected.clone()), "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_told() {
        for text in [
            "T1B*",
            "T=BU",
            "====",
            "Q===",
            "GET /gate HTTP/1.0",
            "\u{e9}\u{e9}",
        ] {
            assert_eq!(decoded([text.as_bytes()]), Err(Garbage), "{text}");
        }
    }

    proptest! {
        #[test]
        fn messages_of_any_bytes_in_any_pieces(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..6),
            cuts in prop::collection::vec(1usize..40, 1..60),
            break_every in 1usize..90,
        ) {
            let mut text = String::new();
            for message in &messages {
                text.push_str(&general_purpose::STANDARD.encode(message));
            }
            let mut broken = Vec::new();
            for (index, byte) in text.bytes().enumerate() {
                if index % break_every == 0 {
                    broken.extend_from_slice(b"\r\n");
                }
                broken.push(byte);
            }
            let mut rest = &broken[..];
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(*cut.min(&rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(decoded(pieces), Ok(messages.concat()));
        }
    }
}
