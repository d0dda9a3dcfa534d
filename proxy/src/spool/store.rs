//! The part of a clip that lies in memory: what came last, as it came. What came before is in the clip's file, or gone.

use std::collections::VecDeque;

use bytes::Bytes;

/// Offsets count from the first byte behind the clip's head.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Where each piece begins, and the piece; one behind the other.
    pieces: VecDeque<(u64, Bytes)>,
    until: u64,
}

/// What has to be done about a clip's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// Nothing.
    Enough,
    /// What lies before this is let go: its one reader has it.
    Forget(u64),
    /// The same of what lies before `had`; what lies before `upto` goes into the file.
    Spill { had: u64, upto: u64 },
}

/// Who reads a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Audience {
    /// Readers.
    pub(super) count: usize,
    /// How far the slowest has read.
    pub(super) slowest: u64,
    /// It was asked for once: what its one reader has read is nobody else's.
    pub(super) once: bool,
}

/// Memory of one clip.
pub(super) const CLIP_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Whatever others take, one clip may have this much.
const CLIP_BYTES_MIN: u64 = 128 * 1024;
/// What its one reader has read stays for so long: much of it may be on its way still when a connection breaks.
const TRAIL_BYTES: u64 = 4 * 1024 * 1024;

impl Store {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let at = self.until;
        self.until += bytes.len() as u64;
        self.pieces.push_back((at, bytes));
    }

    /// The first byte that is here.
    pub(super) fn from(&self) -> u64 {
        self.pieces.front().map_or(self.until, |(at, _)| *at)
    }

    /// The first byte that has not come yet.
    pub(super) fn until(&self) -> u64 {
        self.until
    }

    pub(super) fn held(&self) -> u64 {
        self.until - self.from()
    }

    /// The bytes from `at` on that came as one, if they are here.
    pub(super) fn get(&self, at: u64) -> Option<Bytes> {
        let behind = self.pieces.partition_point(|(begins, _)| *begins <= at);
        let (begins, bytes) = self.pieces.get(behind.checked_sub(1)?)?;
        let skip = (at - begins) as usize;
        (skip < bytes.len()).then(|| bytes.slice(skip..))
    }

    /// All that begins before `upto`, and where.
    pub(super) fn before(&self, upto: u64) -> (u64, Vec<Bytes>) {
        let pieces = self.pieces.iter().take_while(|(at, _)| *at < upto);
        (
            self.from(),
            pieces.map(|(_, bytes)| bytes.clone()).collect(),
        )
    }

    /// Lets go what ends at or before `upto`; how much that was.
    pub(super) fn forget(&mut self, upto: u64) -> u64 {
        let before = self.from();
        while let Some((at, bytes)) = self.pieces.front()
            && at + bytes.len() as u64 <= upto
        {
            self.pieces.pop_front();
        }
        self.from() - before
    }

    /// What has to be done, where memory of all clips is short or is not.
    pub(super) fn relief(&self, audience: Audience, short: bool) -> Relief {
        let limit = if short {
            CLIP_BYTES_MIN
        } else {
            CLIP_BYTES_MAX
        };
        let held = self.held();
        if held <= limit {
            return Relief::Enough;
        }
        // A quarter at once, so that it is not done for each piece.
        let upto = self.from() + held - limit + limit / 4;
        let alone = audience.once && audience.count == 1;
        let read = audience.slowest.saturating_sub(TRAIL_BYTES);
        if alone && read >= upto {
            return Relief::Forget(read);
        }
        // Where memory is short, the trail has no room in it, and what lies before the trail shall not fill the disk.
        let had = if alone && short { read } else { 0 };
        Relief::Spill { had, upto }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn store(pieces: u64, bytes: usize) -> Store {
        let mut store = Store::default();
        for piece in 0..pieces {
            store.push(Bytes::from(vec![piece as u8; bytes]));
        }
        store
    }

    #[test]
    fn what_is_here_is_found_from_any_byte_on() {
        let mut store = store(10, 100);
        store.push(Bytes::new());
        assert_eq!((store.from(), store.until(), store.held()), (0, 1000, 1000));
        assert_eq!(store.get(0).unwrap()[..], [0; 100]);
        assert_eq!(store.get(250).unwrap()[..], [2; 50]);
        assert_eq!(store.get(999).unwrap()[..], [9; 1]);
        assert_eq!(store.get(1000), None);
        // Nothing goes by halves.
        assert_eq!((store.forget(250), store.from()), (200, 200));
        assert_eq!(store.get(199), None);
        let (at, pieces) = store.before(301);
        assert_eq!((at, pieces.len()), (200, 2));
        assert_eq!((store.forget(u64::MAX), store.held()), (800, 0));
        assert_eq!(store.get(999), None);
        assert_eq!((store.from(), store.until()), (1000, 1000));
    }

    #[test]
    fn one_reader_that_keeps_up_needs_no_file() {
        let audience = |slowest, count, once| Audience {
            count,
            slowest,
            once,
        };
        let small = store(8, MIB as usize);
        assert_eq!(small.relief(audience(0, 1, true), false), Relief::Enough);
        let large = store(17, MIB as usize);
        let reads = large.relief(audience(16 * MIB, 1, true), false);
        assert_eq!(reads, Relief::Forget(12 * MIB));
        let spill = Relief::Spill {
            had: 0,
            upto: 11 * MIB,
        };
        // It is slow; there is another; there may be another; nobody is there.
        assert_eq!(large.relief(audience(8 * MIB, 1, true), false), spill);
        assert_eq!(large.relief(audience(16 * MIB, 2, true), false), spill);
        assert_eq!(large.relief(audience(16 * MIB, 1, false), false), spill);
        assert_eq!(large.relief(audience(17 * MIB, 0, true), false), spill);
        let small = store(15, MIB as usize);
        // Where memory is short, what may be on its way is in the file.
        let upto = 15 * MIB - 96 * 1024;
        let short = |slowest, count, once| small.relief(audience(slowest, count, once), true);
        let had = 11 * MIB;
        assert_eq!(short(15 * MIB, 1, true), Relief::Spill { had, upto });
        for whose in [(0, 1, true), (15 * MIB, 2, true), (15 * MIB, 1, false)] {
            let relief = short(whose.0, whose.1, whose.2);
            assert_eq!(relief, Relief::Spill { had: 0, upto });
        }
    }
}
