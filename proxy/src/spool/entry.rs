//! One clip: a file that grows, what is known of it, and those who read it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use seamline_media::mp4::Indexed;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use super::budget::{Budget, Seat};
use super::served::Name;
use super::store::{Audience, Relief, Store};
use crate::clock;

/// Bytes that a reader takes at a time.
const READ_BYTES: usize = 64 * 1024;
/// A reader that is so far behind when all has come is slow.
const LAG_BYTES: u64 = 256 * 1024;
/// Bytes that are given back to the file system at a time.
const PUNCH_BYTES: u64 = 1024 * 1024;

/// How far a clip has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Recorders are asked.
    Opening,
    /// There is footage.
    Growing,
    /// All of it is there.
    Whole {
        /// Its strong entity tag, in quotes: a digest of its bytes.
        tag: Arc<str>,
        /// Its bytes.
        len: u64,
    },
    /// There will be no more.
    Failed(Fault),
}

/// Why a clip cannot be made, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// No site holds anything of it.
    #[error("no site holds footage of that time")]
    Nothing,
    /// None of the sites that may hold it can be reached.
    #[error("no site that may hold the footage can be reached")]
    Unreachable,
    /// No track of the camera fits, or only copies hold what follows whose format does not fit what was written.
    #[error("{0}")]
    Unfit(String),
    /// The table ahead of a plain file would be too long.
    #[error("too long for a plain MP4 file: ask for fragments")]
    TooLong,
    /// Nobody waited for it any more.
    #[error("nobody waited for it")]
    Abandoned,
    /// The folder of clips.
    #[error("the folder of clips: {0}")]
    Disk(String),
}

/// What is known of a clip at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far it has come.
    pub stage: Stage,
    /// Bytes that can be read.
    pub readable: u64,
    /// The time of the footage in them, as far as it is known.
    pub footage: Duration,
}

/// A clip.
#[derive(Debug)]
pub struct Entry {
    file: Arc<File>,
    /// What is not in the file: the latest bytes.
    store: Mutex<Store>,
    /// Memory of all clips.
    memory: Arc<Budget>,
    /// Bytes before this can no longer be had.
    gone: AtomicU64,
    /// Somebody writes what is in memory into the file.
    spilling: AtomicBool,
    /// It was asked for more than once.
    shared: AtomicBool,
    /// Somebody has read it to its end.
    served: AtomicBool,
    /// What goes ahead of the file's bytes.
    head: OnceLock<Bytes>,
    /// Once it is whole.
    index: OnceLock<Index>,
    progress: watch::Sender<Progress>,
    name: Arc<Name>,
    readers: Mutex<Readers>,
    /// A reader came, went or took something.
    pub(super) moved: Notify,
    budget: Arc<Budget>,
    /// Bytes taken from the budget.
    taken: AtomicU64,
    seat: Mutex<Option<Seat>>,
    /// It does not fit: what was read by all is gone.
    passing: OnceLock<()>,
    flawed: OnceLock<Instant>,
}

/// The index of a clip that is whole. With it, the clip is another file, by its tag as by some of its bytes.
#[derive(Debug)]
pub struct Index {
    /// The strong entity tag of the clip with the index, in quotes.
    pub tag: String,
    /// Where it lies, and its bytes; without it as many are there that mean nothing.
    place: Indexed,
}

#[derive(Debug, Default)]
struct Readers {
    next: u64,
    /// How far each has read.
    at: HashMap<u64, u64>,
    last_left: Option<Instant>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let index = self.index.get().map_or(0, Index::len_bytes);
        self.memory.give_back(self.store().held() + index);
        self.budget.give_back(self.taken.load(Ordering::Relaxed));
    }
}

impl Entry {
    pub(super) fn new(file: File, budget: &Arc<Budget>, memory: &Arc<Budget>) -> Arc<Self> {
        let progress = Progress {
            stage: Stage::Opening,
            readable: 0,
            footage: Duration::ZERO,
        };
        Arc::new(Entry {
            file: Arc::new(file),
            store: Mutex::default(),
            memory: Arc::clone(memory),
            gone: AtomicU64::new(0),
            spilling: AtomicBool::new(false),
            shared: AtomicBool::new(false),
            served: AtomicBool::new(false),
            head: OnceLock::new(),
            index: OnceLock::new(),
            progress: watch::channel(progress).0,
            name: Name::new(),
            readers: Mutex::default(),
            moved: Notify::new(),
            seat: Mutex::new(Some(budget.seat())),
            budget: Arc::clone(budget),
            taken: AtomicU64::new(0),
            passing: OnceLock::new(),
            flawed: OnceLock::new(),
        })
    }

    /// A strong tag that only this process knows the meaning of, while the clip is made and afterwards.
    pub fn delivery_tag(&self) -> &str {
        self.name.delivery()
    }

    pub(super) fn name(&self) -> &Arc<Name> {
        &self.name
    }

    /// What is known now.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until this holds of what is known; what is known then.
    pub async fn until(&self, holds: impl FnMut(&Progress) -> bool) -> Progress {
        let mut told = self.progress.subscribe();
        let seen = told.wait_for(holds).await;
        seen.map_or_else(|_| self.progress(), |seen| seen.clone())
    }

    /// Reads from `at` to `end`, or to the end of the clip, while it grows.
    pub fn read(self: &Arc<Self>, at: u64, end: Option<u64>) -> Reading {
        self.register(&mut self.readers(), at, end)
    }

    /// The same of the clip with its index, where it has one.
    pub fn read_indexed(self: &Arc<Self>, at: u64, end: Option<u64>) -> Reading {
        let mut reading = self.read(at, end);
        reading.indexed = true;
        reading
    }

    /// The index; `None` while the clip is made, and where it has none.
    pub fn index(&self) -> Option<&Index> {
        self.index.get()
    }

    /// Lets somebody else in who wants what lies behind `wished`, if that can be had: as a reader of nothing, while which is there
    /// nothing is let go of.
    pub(super) fn join(self: &Arc<Self>, wished: u64) -> Option<Reading> {
        let mut readers = self.readers();
        let lasts = self.passing.get().is_none();
        if !lasts || wished < self.gone.load(Ordering::Relaxed) {
            return None;
        }
        self.shared.store(true, Ordering::Relaxed);
        Some(self.register(&mut readers, 0, Some(0)))
    }

    fn register(self: &Arc<Self>, readers: &mut Readers, at: u64, end: Option<u64>) -> Reading {
        readers.next += 1;
        let id = readers.next;
        readers.at.insert(id, at);
        Reading {
            entry: Arc::clone(self),
            id,
            at,
            end,
            indexed: false,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self.progress.borrow().stage, Stage::Whole { .. })
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.progress.borrow().stage, Stage::Failed(_))
    }

    /// Whether a tag names it.
    pub fn is_named(&self, named: impl Fn(&str) -> bool) -> bool {
        named(self.delivery_tag())
            || self.index().is_some_and(|index| named(&index.tag))
            || matches!(&self.progress.borrow().stage, Stage::Whole { tag, .. } if named(tag))
    }

    /// Bytes in memory that begin before `upto`.
    pub(super) fn held_before(&self, upto: u64) -> u64 {
        let (_, pieces) = self.store().before(upto);
        pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// It lies in memory, whole, and who asked for it has it.
    pub(super) fn is_had(&self) -> bool {
        self.rests_in_memory()
            && self.readers().at.is_empty()
            && self.served.load(Ordering::Relaxed)
            && !self.shared.load(Ordering::Relaxed)
    }

    /// It is whole, and nothing moves what is in memory of it.
    pub(super) fn rests_in_memory(&self) -> bool {
        self.is_whole() && self.store().held() > 0 && !self.spilling.load(Ordering::Relaxed)
    }

    /// What has to be done about the memory that it takes.
    pub(super) fn relief(&self) -> Relief {
        let audience = {
            let readers = self.readers();
            let slowest = readers.at.values().copied().min();
            Audience {
                count: readers.at.len(),
                slowest: slowest.unwrap_or(0),
                once: !self.shared.load(Ordering::Relaxed),
            }
        };
        self.store().relief(audience, self.memory.is_short())
    }

    /// Lets go of what lies before `upto` and all readers have, in memory and in the file, unless it is kept for those who may
    /// come. Says how many bytes that was, if there are readers.
    pub(super) fn forget(&self, upto: u64) -> std::io::Result<Option<u64>> {
        let readers = self.readers();
        let Some(slowest) = readers.at.values().copied().min() else {
            return Ok(None);
        };
        if self.shared.load(Ordering::Relaxed) && self.passing.get().is_none() {
            return Ok(Some(0));
        }
        let upto = upto.min(slowest);
        let mut store = self.store();
        // What can be had and is not in memory is in the file.
        let (gone, filed) = (self.gone.load(Ordering::Relaxed), store.from());
        let freed = store.forget(upto);
        let begins = if freed > 0 {
            store.from()
        } else {
            upto.min(filed) / PUNCH_BYTES * PUNCH_BYTES
        };
        // Who comes from now on is measured by this.
        self.gone.fetch_max(begins, Ordering::Relaxed);
        drop((store, readers));
        self.memory.give_back(freed);
        let emptied = begins.min(filed).saturating_sub(gone);
        if emptied > 0 {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // What is less than a block at either end goes with what is beside it.
            let from = gone / PUNCH_BYTES * PUNCH_BYTES;
            fallocate(&*self.file, flags, from, begins - from)?;
            let given = emptied.min(self.taken.load(Ordering::Relaxed));
            self.taken.fetch_sub(given, Ordering::Relaxed);
            self.budget.give_back(given);
        }
        Ok(Some(freed + emptied))
    }

    /// What a reader that does not keep up has not read yet, in memory.
    pub(super) fn lags(&self) -> bool {
        let slowest = self.readers().at.values().copied().min();
        let until = self.progress.borrow().readable;
        self.rests_in_memory()
            && slowest.is_some_and(|slowest| until.saturating_sub(slowest) > LAG_BYTES)
    }

    /// What lies before `upto` in memory, and where it begins, for who writes it into the file and then says so to
    /// [`Self::spilled`]. `None` while another does.
    pub(super) fn to_spill(&self, upto: u64) -> Option<(u64, Vec<Bytes>)> {
        let busy = self.spilling.swap(true, Ordering::Acquire);
        (!busy).then(|| self.store().before(upto))
    }

    /// What lies before `upto` in memory is in the file, or nothing more is where that is `None`.
    pub(super) fn spilled(&self, upto: Option<u64>) {
        if let Some(upto) = upto {
            let freed = self.store().forget(upto);
            self.memory.give_back(freed);
        }
        self.spilling.store(false, Ordering::Release);
    }

    /// Takes in what comes next.
    pub(super) fn append(&self, pieces: Vec<Bytes>, footage: Duration) {
        let mut store = self.store();
        let before = store.until();
        for piece in pieces {
            store.push(piece);
        }
        let until = store.until();
        drop(store);
        self.memory.take_anyway(until - before);
        self.progress.send_modify(|progress| {
            progress.stage = Stage::Growing;
            progress.readable = until;
            progress.footage = footage;
        });
    }

    /// Whether a reader that has begun is further behind than what is worth to be at hand for it.
    pub(super) fn outruns(&self) -> bool {
        let readers = self.readers();
        let quickest = readers.at.values().copied().max().filter(|at| *at > 0);
        let until = self.progress.borrow().readable;
        quickest.is_some_and(|at| until.saturating_sub(at) > LAG_BYTES)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was made while a site was down, longer ago than this.
    pub(super) fn is_flawed_since(&self, now: Instant, age: Duration) -> bool {
        let flawed = self.flawed.get();
        flawed.is_some_and(|since| self.is_whole() && now.saturating_duration_since(*since) > age)
    }

    pub(super) fn set_flawed(&self) {
        let _ = self.flawed.set(clock::now());
    }

    /// Takes bytes from the budget for what is to be written.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        let there = self.budget.take(bytes);
        if there {
            self.taken.fetch_add(bytes, Ordering::Relaxed);
        }
        there
    }

    /// From here on what all readers have read is given back.
    pub(super) fn pass(&self) {
        let _readers = self.readers();
        let _ = self.passing.set(());
    }

    /// Whether nobody reads it, and nobody has for this long.
    pub(super) fn is_abandoned(&self, now: Instant, since: Instant, patience: Duration) -> bool {
        let readers = self.readers();
        let left = readers.last_left.unwrap_or(since);
        readers.at.is_empty() && now.saturating_duration_since(left) >= patience
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// For a clip that is about to be whole.
    pub(super) fn set_index(&self, tag: String, place: Indexed) {
        let index = Index { tag, place };
        let bytes = index.len_bytes();
        if self.index.set(index).is_ok() {
            self.memory.take_anyway(bytes);
        }
    }

    pub(super) fn whole(&self, head: Option<Bytes>, tag: &str, len: u64) {
        if let Some(head) = head {
            let _ = self.head.set(head);
        }
        let tag: Arc<str> = tag.into();
        self.name.whole(&tag);
        self.progress.send_modify(|progress| {
            progress.stage = Stage::Whole { tag, len };
            progress.readable = len;
        });
        self.stand_up();
    }

    pub(super) fn failed(&self, fault: Fault) {
        self.progress
            .send_modify(|progress| progress.stage = Stage::Failed(fault));
        self.stand_up();
    }

    fn stand_up(&self) {
        let seat = self
            .seat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(seat);
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who reads a clip. While there is one, it is made on.
#[derive(Debug)]
pub struct Reading {
    entry: Arc<Entry>,
    id: u64,
    at: u64,
    end: Option<u64>,
    /// With the index in its place.
    indexed: bool,
}

impl Index {
    fn len_bytes(&self) -> u64 {
        self.place.bytes.len() as u64
    }

    /// Bytes of the clip from `at` on, with those of the index that lie among them.
    fn lay_over(&self, at: u64, bytes: Bytes) -> Bytes {
        let until = at + bytes.len() as u64;
        let (begins, ends) = (self.place.at, self.place.at + self.len_bytes());
        let (from, to) = (begins.max(at), ends.min(until));
        if from >= to {
            return bytes;
        }
        let told = (from - begins) as usize..(to - begins) as usize;
        let mut whole = BytesMut::from(bytes);
        let there = whole.get_mut((from - at) as usize..(to - at) as usize);
        if let (Some(there), Some(told)) = (there, self.place.bytes.get(told)) {
            there.copy_from_slice(told);
        }
        whole.freeze()
    }
}

/// A clip that cannot be read on: its reader must learn that there is more than it got.
#[derive(Debug, Error)]
#[error("cut off: {0}")]
pub struct Cut(String);

impl Reading {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.end.is_some_and(|end| self.at >= end) {
            return None;
        }
        if let Some(bytes) = self.in_memory() {
            return Some(Ok(self.took(bytes)));
        }
        let at = self.at;
        let known = self
            .entry
            .until(|known| {
                known.readable > at || matches!(known.stage, Stage::Whole { .. } | Stage::Failed(_))
            })
            .await;
        if known.readable <= at {
            if let Stage::Failed(fault) = known.stage {
                return Some(Err(Cut(fault.to_string())));
            }
            self.entry.served.store(true, Ordering::Relaxed);
            return None;
        }
        if let Some(bytes) = self.in_memory() {
            return Some(Ok(self.took(bytes)));
        }
        let until = self
            .end
            .map_or(known.readable, |end| end.min(known.readable));
        let bytes = READ_BYTES.min((until - at) as usize);
        match self.read_at(at, bytes).await {
            Ok(read) => Some(Ok(self.took(read))),
            Err(error) => Some(Err(Cut(error.to_string()))),
        }
    }

    /// What comes next, by reference, where it is at hand.
    fn in_memory(&self) -> Option<Bytes> {
        let head = self.entry.head.get();
        let head_bytes = head.map_or(0, |head| head.len() as u64);
        let mut bytes = match head {
            Some(head) if self.at < head_bytes => head.slice(self.at as usize..),
            _ => self.entry.store().get(self.at - head_bytes)?,
        };
        if let Some(end) = self.end {
            bytes.truncate(usize::try_from(end - self.at).unwrap_or(usize::MAX));
        }
        Some(bytes)
    }

    fn took(&mut self, bytes: Bytes) -> Bytes {
        let index = self.entry.index().filter(|_| self.indexed);
        let bytes = match index {
            Some(index) => index.lay_over(self.at, bytes),
            None => bytes,
        };
        self.at += bytes.len() as u64;
        self.entry.readers().at.insert(self.id, self.at);
        self.entry.moved.notify_one();
        if self.end.is_some_and(|end| self.at >= end) && self.entry.is_whole() {
            self.entry.served.store(true, Ordering::Relaxed);
        }
        bytes
    }

    async fn read_at(&self, at: u64, bytes: usize) -> std::io::Result<Bytes> {
        let head_bytes = self.entry.head.get().map_or(0, |head| head.len() as u64);
        if at < self.entry.gone.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("what was read is gone"));
        }
        // What is no longer in memory is in the file.
        let from = self.entry.store().from() + head_bytes;
        let bytes = bytes.min(usize::try_from(from.saturating_sub(at)).unwrap_or(bytes));
        let file = self.entry.file();
        let read = spawn_blocking(move || {
            let mut buffer = BytesMut::zeroed(bytes);
            file.read_exact_at(&mut buffer, at - head_bytes)?;
            Ok(buffer.freeze())
        });
        read.await.map_err(std::io::Error::other)?
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut readers = self.entry.readers();
        readers.at.remove(&self.id);
        readers.last_left = Some(clock::now());
        drop(readers);
        self.entry.moved.notify_one();
    }
}
