//! Cuts the bytes of a connection into documents, heads and bodies, within limits.

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    Content, ImageHead, TERMINATOR, WireError,
    image::{FIRST, part_length},
};

/// What a recorder sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An XML document without its terminator.
    Document(Bytes),
    /// Pictures follow.
    Head(ImageHead),
    /// The whole body, or a part of it: GenericByteData or a JPEG file.
    Body(Bytes),
    /// All of the answer that the latest head began has come.
    End,
}

/// A piece of what follows a head, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether it is GenericByteData or a JPEG file, and not what stands between bodies.
    pub is_body: bool,
}

/// Reads the recorder's side of a connection.
#[derive(Debug, Default)]
pub struct Framer {
    state: State,
    /// Bytes of the buffer in which no end was found yet.
    searched: usize,
    kept: Option<Vec<Kept>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    Body(usize),
    Trailer,
    /// Before a boundary.
    Parts(Parts),
    Part(Parts, usize),
}

#[derive(Debug, Default, Clone)]
struct Parts {
    boundary: String,
    seen: usize,
}

impl Framer {
    /// Whether nothing of an answer has begun.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// From now on what follows a head is kept as it came, to be passed on: see [`Self::take_kept`].
    pub fn keep(&mut self) {
        self.kept.get_or_insert_default();
    }

    /// All that came since the latest head, up to where the answer was read.
    pub fn take_kept(&mut self) -> Vec<Kept> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn pass(&mut self, bytes: BytesMut) {
        if let Some(kept) = &mut self.kept {
            kept.push(Kept {
                bytes: bytes.freeze(),
                is_body: false,
            });
        }
    }

    fn body(&mut self, bytes: BytesMut) -> Bytes {
        let bytes = bytes.freeze();
        if let Some(kept) = &mut self.kept {
            kept.push(Kept {
                bytes: bytes.clone(),
                is_body: true,
            });
        }
        bytes
    }

    /// Takes the next piece from the front of what was received; `None` until more comes. After an error nothing is known
    /// of where the stream is: the connection has to go.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Incoming>, WireError> {
        loop {
            match std::mem::take(&mut self.state) {
                State::Between => return self.begin(buf),
                State::Body(bytes) => {
                    if buf.len() < bytes {
                        self.state = State::Body(bytes);
                        return Ok(None);
                    }
                    self.state = State::Trailer;
                    return Ok(Some(Incoming::Body(self.body(buf.split_to(bytes)))));
                }
                State::Trailer => {
                    let there = buf.len().min(TERMINATOR.len());
                    if buf.get(..there) != TERMINATOR.get(..there) {
                        return Err(WireError::OutOfStep);
                    }
                    if there < TERMINATOR.len() {
                        self.state = State::Trailer;
                        return Ok(None);
                    }
                    self.pass(buf.split_to(there));
                    return Ok(Some(Incoming::End));
                }
                State::Parts(parts) => match self.boundary(buf, parts)? {
                    Progress::Part => {}
                    Progress::End => return Ok(Some(Incoming::End)),
                    Progress::Wanting => return Ok(None),
                },
                State::Part(parts, bytes) => {
                    if buf.len() < bytes + 2 {
                        self.state = State::Part(parts, bytes);
                        return Ok(None);
                    }
                    if buf.get(bytes..bytes + 2) != Some(b"\r\n") {
                        return Err(WireError::OutOfStep);
                    }
                    let body = self.body(buf.split_to(bytes));
                    self.pass(buf.split_to(2));
                    self.state = State::Parts(parts);
                    return Ok(Some(Incoming::Body(body)));
                }
            }
        }
    }

    fn begin(&mut self, buf: &mut BytesMut) -> Result<Option<Incoming>, WireError> {
        if self.searched == 0 {
            skip_blank(buf);
        }
        match buf.first() {
            None => Ok(None),
            Some(b'<') => {
                let document = self.up_to_end(buf, DOCUMENT_BYTES_MAX, "document")?;
                Ok(document.map(|document| Incoming::Document(document.freeze())))
            }
            Some(_) if may_become_mark(buf) => Ok(None),
            Some(_) => {
                let there = buf.len().min(FIRST.len());
                let (begun, mark) = (buf.get(..there), FIRST.as_bytes().get(..there));
                let is_mark = begun.zip(mark);
                if !is_mark.is_some_and(|(begun, mark)| begun.eq_ignore_ascii_case(mark)) {
                    return Err(WireError::Start);
                }
                let Some(head) = self.up_to_end(buf, HEAD_BYTES_MAX, "head")? else {
                    return Ok(None);
                };
                let head = ImageHead::parse(&String::from_utf8_lossy(&head))?;
                if let Some(kept) = &mut self.kept {
                    kept.clear();
                }
                self.state = match &head.content {
                    Content::Body { bytes, .. } => State::Body(*bytes),
                    Content::Parts { boundary, .. } => State::Parts(Parts {
                        boundary: boundary.clone(),
                        seen: 0,
                    }),
                };
                Ok(Some(Incoming::Head(head)))
            }
        }
    }

    /// At `--boundary`: reads the head of a part, or the end of all.
    fn boundary(&mut self, buf: &mut BytesMut, mut parts: Parts) -> Result<Progress, WireError> {
        let mark = parts.boundary.len() + 2;
        let Some(line) = buf.get(..mark + 2) else {
            // Enough to see whether it can become one.
            let wanted = format!("--{}", parts.boundary);
            let there = buf.len().min(mark);
            if buf.get(..there) != wanted.as_bytes().get(..there) {
                return Err(WireError::OutOfStep);
            }
            self.state = State::Parts(parts);
            return Ok(Progress::Wanting);
        };
        let is_mark =
            line.starts_with(b"--") && line.get(2..mark) == Some(parts.boundary.as_bytes());
        match line.get(mark..) {
            Some(b"--") if is_mark => {
                let Some(trailer) = buf.get(mark + 2..mark + 2 + TERMINATOR.len()) else {
                    self.state = State::Parts(parts);
                    return Ok(Progress::Wanting);
                };
                if trailer != TERMINATOR {
                    return Err(WireError::OutOfStep);
                }
                self.pass(buf.split_to(mark + 2 + TERMINATOR.len()));
                Ok(Progress::End)
            }
            Some(b"\r\n") if is_mark => {
                let Some(head) = self.up_to_end(buf, HEAD_BYTES_MAX, "head")? else {
                    self.state = State::Parts(parts);
                    return Ok(Progress::Wanting);
                };
                parts.seen += 1;
                if parts.seen > PARTS_MAX {
                    return Err(WireError::Parts);
                }
                let lines = String::from_utf8_lossy(&head);
                let bytes = part_length(lines.get(mark + 2..).unwrap_or_default())?;
                self.pass(head);
                self.pass(BytesMut::from(TERMINATOR));
                self.state = State::Part(parts, bytes);
                Ok(Progress::Part)
            }
            _ => Err(WireError::OutOfStep),
        }
    }

    fn up_to_end(
        &mut self,
        buf: &mut BytesMut,
        bytes_max: usize,
        what: &'static str,
    ) -> Result<Option<BytesMut>, WireError> {
        up_to_end(&mut self.searched, buf, bytes_max, what)
    }
}

enum Progress {
    Part,
    End,
    Wanting,
}

/// Reads a client's side of a connection.
#[derive(Debug, Default)]
pub struct CallFramer {
    searched: usize,
}

impl CallFramer {
    /// Takes the next document from the front of what was received; `None` until more comes.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        if self.searched == 0 {
            skip_blank(buf);
        }
        match buf.first() {
            None => Ok(None),
            Some(b'<') => {
                let document = up_to_end(&mut self.searched, buf, DOCUMENT_BYTES_MAX, "document")?;
                Ok(document.map(BytesMut::freeze))
            }
            Some(_) if may_become_mark(buf) => Ok(None),
            Some(_) => Err(WireError::Start),
        }
    }
}

/// What ends with the terminator, without it. Looks at no byte twice.
fn up_to_end(
    searched: &mut usize,
    buf: &mut BytesMut,
    bytes_max: usize,
    what: &'static str,
) -> Result<Option<BytesMut>, WireError> {
    let from = searched.saturating_sub(TERMINATOR.len() - 1);
    let rest = buf.get(from..).unwrap_or_default();
    let found = rest
        .windows(TERMINATOR.len())
        .position(|window| window == TERMINATOR);
    let Some(at) = found.map(|at| from + at) else {
        *searched = buf.len();
        return if buf.len() >= bytes_max + TERMINATOR.len() {
            Err(WireError::TooLong(what))
        } else {
            Ok(None)
        };
    };
    *searched = 0;
    if at > bytes_max {
        return Err(WireError::TooLong(what));
    }
    let whole = buf.split_to(at);
    buf.advance(TERMINATOR.len());
    Ok(Some(whole))
}

/// Line ends and a byte order mark stand before documents of some. What may become a mark is left.
fn skip_blank(buf: &mut BytesMut) {
    loop {
        let blank = buf
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        buf.advance(blank);
        if !buf.starts_with(BYTE_ORDER_MARK) {
            return;
        }
        buf.advance(BYTE_ORDER_MARK.len());
    }
}

fn may_become_mark(buf: &BytesMut) -> bool {
    buf.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(buf)
}

const BYTE_ORDER_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];
/// As other clients bound it; documents are under a kilobyte.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;
const PARTS_MAX: usize = 4096;
