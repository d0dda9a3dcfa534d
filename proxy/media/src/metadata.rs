//! ONVIF metadata: where an XML document ends that spans packets (ONVIF Streaming, metadata over RTP).

use smallvec::SmallVec;

use crate::nal::{Contents, PayloadError};

/// The element that every document of a metadata stream is.
const ROOT: &[u8] = b"MetadataStream";
/// Bytes of a root element's name, prefix included.
const NAME_BYTES_MAX: usize = 64;
/// Bytes at the end of what was received in which the closing tag is looked for.
const TAIL_BYTES: usize = NAME_BYTES_MAX + 32;

/// Follows the documents of one track.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    state: State,
    tail: SmallVec<[u8; TAIL_BYTES]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    /// In an XML document whose root element has this name, as written.
    Xml(SmallVec<[u8; NAME_BYTES_MAX]>),
    /// In what is no plain text (gzip, EXI): only the marker tells its end.
    Opaque,
}

impl Reader {
    /// Takes one packet. [`Contents::FIRST_SLICE`] opens a document, [`Contents::CLOSED`] ends it: the marker where it can
    /// be believed, the closing tag of the root where there is one to be seen. `headless` says that packets were missed, so
    /// that text that opens no document is the rest of one.
    pub(crate) fn contents(
        &mut self,
        payload: &[u8],
        marker: bool,
        headless: bool,
    ) -> Result<Contents, PayloadError> {
        let mut contents = Contents::SLICE;
        if self.state == State::Outside || headless {
            self.tail.clear();
            self.state = opened(payload);
            let opens = match &self.state {
                State::Xml(_) => true,
                State::Opaque => !headless || !is_text(payload),
                State::Outside => false,
            };
            if !opens {
                self.state = State::Outside;
                return Err(PayloadError::Headless);
            }
            contents |= Contents::FIRST_SLICE;
        }
        let kept = payload.len().saturating_sub(TAIL_BYTES);
        self.tail
            .extend_from_slice(payload.get(kept..).unwrap_or_default());
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        let ends = match &self.state {
            State::Xml(root) => closes(&self.tail, root),
            State::Opaque | State::Outside => marker,
        };
        if ends {
            self.state = State::Outside;
            contents |= Contents::CLOSED;
        }
        Ok(contents)
    }

    /// What is in hand is given up.
    pub(crate) fn reset(&mut self) {
        self.state = State::Outside;
    }
}

/// The root that `payload` opens.
fn opened(payload: &[u8]) -> State {
    let mut rest = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    loop {
        rest = rest.trim_ascii_start();
        let closing: &[u8] = match rest {
            [b'<', b'?', ..] => b"?>",
            [b'<', b'!', b'-', b'-', ..] => b"-->",
            _ => break,
        };
        let end = rest
            .windows(closing.len())
            .position(|window| window == closing);
        match end.and_then(|end| rest.get(end + closing.len()..)) {
            Some(behind) => rest = behind,
            None => return State::Opaque,
        }
    }
    let Some(tag) = rest.strip_prefix(b"<") else {
        return State::Opaque;
    };
    let name_bytes = tag
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'));
    let name = tag.get(..name_bytes.unwrap_or(tag.len())).unwrap_or(tag);
    let local = name.rsplit(|byte| *byte == b':').next().unwrap_or(name);
    if local == ROOT && name.len() <= NAME_BYTES_MAX {
        State::Xml(SmallVec::from_slice(name))
    } else {
        State::Opaque
    }
}

/// Whether text ends with the closing tag of `root`, or with that of an element without content that is the root itself.
fn closes(tail: &[u8], root: &[u8]) -> bool {
    let tail = tail.trim_ascii_end();
    let tail = tail.strip_suffix(b"\0").unwrap_or(tail).trim_ascii_end();
    let Some(inner) = tail.strip_suffix(b">") else {
        return false;
    };
    let closing = inner
        .trim_ascii_end()
        .strip_suffix(root)
        .is_some_and(|before| before.ends_with(b"</"));
    // `<tt:MetadataStream ... />`: nothing else is open.
    let alone = inner.strip_suffix(b"/").is_some_and(|before| {
        let open = before.iter().rposition(|byte| *byte == b'<');
        let tag = open.and_then(|open| before.get(open + 1..));
        tag.is_some_and(|tag| tag.starts_with(root))
    });
    closing || alone
}

/// Whether bytes are readable text: what is packed never is for long.
fn is_text(payload: &[u8]) -> bool {
    payload
        .iter()
        .take(64)
        .all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENT: &str = "<?xml version=\"1.0\"?><!-- a --><tt:MetadataStream xmlns:tt=\"x\"><tt:VideoAnalytics><tt:Frame UtcTime=\"2026-01-01T12:00:00Z\"/></tt:VideoAnalytics></tt:MetadataStream>";

    fn first() -> Contents {
        Contents::SLICE | Contents::FIRST_SLICE
    }

    #[test]
    fn a_document_in_one_packet_needs_no_marker() {
        for marker in [true, false] {
            let mut reader = Reader::default();
            let found = reader.contents(DOCUMENT.as_bytes(), marker, true);
            assert_eq!(found, Ok(first() | Contents::CLOSED));
        }
        let mut reader = Reader::default();
        let empty = reader.contents(b"<tt:MetadataStream xmlns:tt='x' />\r\n\0", true, false);
        assert_eq!(empty, Ok(first() | Contents::CLOSED));
    }

    #[test]
    fn a_marker_in_mid_document_ends_nothing() {
        let (head, rest) = DOCUMENT.as_bytes().split_at(120);
        let mut reader = Reader::default();
        assert_eq!(reader.contents(head, true, true), Ok(first()));
        let found = reader.contents(rest, true, false);
        assert_eq!(found, Ok(Contents::SLICE | Contents::CLOSED));
    }

    #[test]
    fn the_rest_of_a_document_is_none() {
        let rest = &DOCUMENT.as_bytes()[60..];
        let mut reader = Reader::default();
        assert_eq!(
            reader.contents(rest, true, true),
            Err(PayloadError::Headless)
        );
        // A tag that happens to stand at the start of a packet is no root either.
        let frame = b"<tt:Frame UtcTime='x'></tt:Frame></tt:MetadataStream>";
        assert_eq!(
            reader.contents(frame, true, true),
            Err(PayloadError::Headless)
        );
        assert!(reader.contents(DOCUMENT.as_bytes(), true, true).is_ok());
    }

    #[test]
    fn what_is_packed_ends_with_the_marker() {
        let mut reader = Reader::default();
        let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x8d];
        assert_eq!(reader.contents(&gzip, false, true), Ok(first()));
        let end = reader.contents(b"</tt:MetadataStream>", true, false);
        assert_eq!(end, Ok(Contents::SLICE | Contents::CLOSED));
    }

    proptest! {
        /// However a document is cut up, it ends with its last byte and not before.
        #[test]
        fn cut_anywhere(cuts in prop::collection::btree_set(1usize..DOCUMENT.len() - 1, 0..8), marker: bool) {
            // The root's name must lie in the first packet.
            let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut > 60).collect();
            let mut reader = Reader::default();
            let mut from = 0;
            for cut in cuts {
                let found = reader.contents(&DOCUMENT.as_bytes()[from..cut], marker, from == 0).unwrap();
                prop_assert!(!found.has(Contents::CLOSED));
                from = cut;
            }
            let found = reader.contents(&DOCUMENT.as_bytes()[from..], false, from == 0).unwrap();
            prop_assert!(found.has(Contents::CLOSED));
        }

        #[test]
        fn never_panics(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6), marker: bool, headless: bool) {
            let mut reader = Reader::default();
            for payload in payloads {
                let _ = reader.contents(&payload, marker, headless);
            }
        }
    }
}
