//! Frames taken in runs, where they lie in the read buffer.

use bytes::BytesMut;

use super::track::Building;

/// Whole frames of one track at the front of a read buffer. Those that were taken stay there until their run ends: one
/// split of the buffer for all of them.
pub(super) struct Run<'a> {
    pub(super) buf: &'a mut BytesMut,
    /// Bytes of the frames that were taken, and counted in the unit in hand.
    pub(super) taken: usize,
}

impl Run<'_> {
    pub(super) fn rest(&self) -> &[u8] {
        self.buf.get(self.taken..).unwrap_or_default()
    }

    /// Hands what was taken to the unit in hand.
    pub(super) fn settle(&mut self, building: &mut Building) {
        if self.taken > 0 {
            building.packets.settle(self.buf.split_to(self.taken));
            self.taken = 0;
        }
    }
}
