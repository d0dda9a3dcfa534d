//! An answer with pictures, whole: what its head says is held against what is in it, and its times are the client's.

use bytes::Bytes;
use seamline_xprotect::merge::Unit;
use seamline_xprotect::{ImageHead, Kept, gbd};

use super::leg::Fail;

/// A body whose first picture is farther from what its head says is of another time.
const DATED_WITHIN_MS: i64 = 1000;

/// An answer with pictures, whole.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// As the recorder has it.
    pub(super) head: ImageHead,
    /// What follows the head, as it came.
    pub(super) pieces: Vec<Bytes>,
    /// On the client's timeline; `None` where nothing is recorded.
    pub(super) unit: Option<Unit>,
    /// Of its first picture, where that is told.
    pub(super) codec: Option<gbd::Codec>,
}

/// What bodies tell of their pictures, on the recorder's clock.
#[derive(Debug, Default)]
pub(super) struct Span {
    pictures: i64,
    key_ms: Option<i64>,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    codec: Option<gbd::Codec>,
}

impl Span {
    /// Looks at the headers of a body. What cannot be read says nothing; it is the client's to judge.
    pub(super) fn take(&mut self, body: &Bytes) {
        for packet in gbd::packets(body).unwrap_or_default() {
            match packet {
                gbd::Packet::Video(video) => {
                    self.pictures += 1;
                    self.codec.get_or_insert(video.codec);
                    self.key_ms.get_or_insert(video.sync_ms);
                    let first = self.first_ms.get_or_insert(video.picture_ms);
                    *first = video.picture_ms.min(*first);
                    let last = self.last_ms.get_or_insert(video.picture_ms);
                    *last = video.picture_ms.max(*last);
                }
                gbd::Packet::Block(block) => {
                    self.codec.get_or_insert(block.codec);
                    self.key_ms.get_or_insert(block.begin_ms);
                }
                gbd::Packet::Jpeg(_) => {
                    self.pictures += 1;
                    self.codec.get_or_insert(gbd::Codec::Jpeg);
                }
                gbd::Packet::Audio(_) | gbd::Packet::Metadata(_) => {}
            }
        }
    }

    /// Behind the last picture: as long as the others lasted.
    fn end_ms(&self) -> Option<i64> {
        let (first, last) = self.first_ms.zip(self.last_ms)?;
        (self.pictures > 1 && last > first)
            .then(|| last + ((last - first) / (self.pictures - 1)).max(1))
    }
}

impl Reply {
    /// `shift_ms` is the recorder's clock minus the client's timeline.
    pub(super) fn new(
        head: ImageHead,
        kept: Vec<Kept>,
        span: &Span,
        shift_ms: i64,
    ) -> Result<Self, Fail> {
        let is_empty = kept
            .iter()
            .all(|piece| !piece.is_body || piece.bytes.is_empty());
        let pieces = kept.into_iter().map(|piece| {
            if piece.is_body && shift_ms != 0 {
                gbd::shifted(&piece.bytes, -shift_ms)
            } else {
                piece.bytes
            }
        });
        let mut reply = Reply {
            pieces: pieces.collect(),
            unit: None,
            codec: span.codec,
            head,
        };
        let current = reply.head.current_ms.unwrap_or(0);
        if current == 0 && is_empty {
            return Ok(reply);
        }
        if is_empty {
            return Err(Fail::Wrong("pictures without any in them".to_owned()));
        }
        let dated = |ms: i64| (ms - current).abs() <= DATED_WITHIN_MS;
        if let Some(ms) = [span.key_ms, span.first_ms]
            .into_iter()
            .flatten()
            .find(|ms| !dated(*ms))
        {
            return Err(Fail::Wrong(format!(
                "says {current}, and sends pictures of {ms}"
            )));
        }
        // Beyond its ends a recorder names the same unit, or none.
        let prev = reply.head.prev_ms.filter(|ms| (1..current).contains(ms));
        let next = reply.head.next_ms.filter(|ms| *ms > current);
        let end = span.end_ms().filter(|ms| *ms > current);
        let end = end.map(|ms| next.map_or(ms, |next| next.min(ms)));
        reply.unit = Some(Unit {
            start_ms: current - shift_ms,
            end_ms: end.map(|ms| ms - shift_ms),
            prev_ms: prev.unwrap_or(current) - shift_ms,
            next_ms: next.unwrap_or(current) - shift_ms,
        });
        Ok(reply)
    }

    /// As the recorder has it: what is in it, nobody here knows.
    pub(super) fn as_told(head: ImageHead, kept: Vec<Kept>) -> Self {
        Reply {
            head,
            pieces: kept.into_iter().map(|piece| piece.bytes).collect(),
            unit: None,
            codec: None,
        }
    }

    /// Memory that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// As the recorder told it, but for the client's own number.
    pub(super) fn passed(&self, id: i64) -> Vec<Bytes> {
        let head = ImageHead {
            request_id: Some(id),
            ..self.head.clone()
        };
        let head = std::iter::once(Bytes::from(head.write()));
        head.chain(self.pieces.iter().cloned()).collect()
    }

    /// As the client gets it: its own number, and the neighbours that the unit has on the timeline.
    pub(super) fn written(&self, id: i64, unit: &Unit) -> Vec<Bytes> {
        let head = ImageHead {
            request_id: Some(id),
            prev_ms: Some(unit.prev_ms),
            current_ms: Some(unit.start_ms),
            next_ms: Some(unit.next_ms),
            ..self.head.clone()
        };
        let head = std::iter::once(Bytes::from(head.write()));
        head.chain(self.pieces.iter().cloned()).collect()
    }

    /// That nothing is recorded, as the recorder said it.
    pub(super) fn empty(&self, id: i64) -> Vec<Bytes> {
        let nowhere = Unit {
            start_ms: 0,
            end_ms: None,
            prev_ms: 0,
            next_ms: 0,
        };
        self.written(id, &nowhere)
    }
}
