//! A walk over MP4 boxes that cannot recurse, overrun or allocate.
//!
//! `mp4-atom` decodes containers recursively and refuses a whole movie for one odd vendor box.
//! The containers are therefore walked here, to a fixed depth, and only leaves are handed to it.

use mp4_atom::Atom;

/// A box type.
pub(crate) type Kind = [u8; 4];

/// The boxes inside `body`, ending silently at the first one that does not fit.
pub(crate) fn children(body: &[u8]) -> Children<'_> {
    Children { rest: body }
}

/// The body of the first box of `kind` inside `body`.
pub(crate) fn child(body: &[u8], kind: Kind) -> Option<&[u8]> {
    children(body)
        .find(|(found, _)| *found == kind)
        .map(|(_, inner)| inner)
}

/// Decodes a leaf box from its body. Bytes behind the last known field are ignored.
pub(crate) fn leaf<A: Atom>(mut body: &[u8]) -> Option<A> {
    A::decode_body(&mut body).ok()
}

/// The first leaf of type `A` inside `body`.
pub(crate) fn find<A: Atom>(body: &[u8]) -> Option<A> {
    leaf(child(body, A::KIND.into())?)
}

/// Head of a box as found in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Where the body begins: at 8, or 16 with a 64-bit size.
    pub(crate) body_at: u64,
    /// Bytes of the whole box; `None` when it reaches to the end of the file.
    pub(crate) len: Option<u64>,
}

impl Head {
    /// Bytes to hand to [`Head::parse`].
    pub(crate) const BYTES_MAX: usize = 16;

    /// `None` when `bytes` are too few or name a size smaller than the head.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let (body_at, len) = match u32::from_be_bytes(*size) {
            0 => (8, None),
            1 => {
                let (large, _) = rest.split_first_chunk::<8>()?;
                (16, Some(u64::from_be_bytes(*large)))
            }
            size => (8, Some(u64::from(size))),
        };
        if len.is_some_and(|len| len < body_at) {
            return None;
        }
        Some(Self {
            kind: *kind,
            body_at,
            len,
        })
    }
}

pub(crate) struct Children<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Children<'a> {
    type Item = (Kind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = Head::parse(self.rest)?;
        let len = match head.len {
            Some(len) => usize::try_from(len).ok()?,
            None => self.rest.len(),
        };
        let whole = self.rest.get(..len)?;
        self.rest = self.rest.get(len..)?;
        Some((head.kind, whole.get(head.body_at as usize..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn walks_siblings_and_stops_at_the_first_overrun() {
        let bytes = b"\0\0\0\x0cfreeabcd\0\0\0\x08skip\0\0\0\xffmoov";
        let found: Vec<_> = children(bytes).collect();
        assert_eq!(found, [(*b"free", &b"abcd"[..]), (*b"skip", &b""[..])]);
    }

    #[test]
    fn a_64_bit_size_and_a_size_to_the_end() {
        let bytes = b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x11Z\0\0\0\0freexyz";
        let found: Vec<_> = children(bytes).collect();
        assert_eq!(found, [(*b"mdat", &b"Z"[..]), (*b"free", &b"xyz"[..])]);
    }

    #[test]
    fn a_size_below_its_own_head_is_no_box() {
        assert_eq!(Head::parse(b"\0\0\0\x07free"), None);
        assert_eq!(Head::parse(b"\0\0\0\x01free\0\0\0\0\0\0\0\x0f"), None);
        assert_eq!(Head::parse(b"\0\0\0\x08fre"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end_the_walk(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let total: usize = children(&bytes).map(|(_, body)| body.len() + 8).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
