//! As which files clips were served, and which of them a client began: without `If-Range` nothing else tells whether the bytes of a
//! file fit what a client has. Without I/O.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::clip::Clip;

/// Clips that are remembered; the one that was asked for least recently is forgotten.
const CLIPS_MAX: usize = 4096;
/// Files of one clip. As many that differ are enough to know that there are others than the present one.
const FILES_MAX: usize = 4;
/// Clients of one clip, the latest.
const CLIENTS_MAX: usize = 128;

/// What the bytes of one making of a clip are known by; it outlives them.
#[derive(Debug)]
pub(super) struct Name {
    /// A strong tag that only this process knows the meaning of.
    delivery: Arc<str>,
    /// By all of its bytes, once they are known.
    tag: OnceLock<Arc<str>>,
    /// All that there was of it, where it was not made to its end.
    stub: OnceLock<(u64, u128)>,
    /// Those that were not made to their end and were the beginning of this one.
    begins_as: Mutex<Vec<Arc<str>>>,
}

/// The beginning of a file that was not made to its end.
#[derive(Clone, Debug)]
pub(super) struct Stub {
    pub(super) len: u64,
    /// Of its bytes.
    pub(super) digest: u128,
    delivery: Arc<str>,
}

impl Name {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Name {
            delivery: format!("\"d-{:016x}\"", rand::random::<u64>()).into(),
            tag: OnceLock::new(),
            stub: OnceLock::new(),
            begins_as: Mutex::default(),
        })
    }

    pub(super) fn delivery(&self) -> &str {
        &self.delivery
    }

    /// All bytes are known.
    pub(super) fn whole(&self, tag: &Arc<str>) {
        let _ = self.tag.set(Arc::clone(tag));
    }

    /// There will be no more than these.
    pub(super) fn broken_off(&self, len: u64, digest: u128) {
        if self.tag.get().is_none() {
            let _ = self.stub.set((len, digest));
        }
    }

    /// It begins with all bytes of one that was not made to its end.
    pub(super) fn begins_as(&self, stub: &Stub) {
        let mut stubs = self.stubs();
        if !stubs.contains(&stub.delivery) {
            stubs.push(Arc::clone(&stub.delivery));
        }
    }

    /// Whether who has bytes of `other` has bytes of this one; not while that cannot be told yet.
    fn continues(&self, other: &Name) -> bool {
        let same = |tag: &Arc<str>| other.tag.get() == Some(tag);
        self.delivery == other.delivery
            || self.tag.get().is_some_and(same)
            || self.stubs().contains(&other.delivery)
    }

    fn stubs(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.begins_as
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom bytes go to, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey(u64);

/// What is remembered of the clips of a process.
#[derive(Debug, Default)]
pub(super) struct Served {
    hasher: RandomState,
    clips: Mutex<HashMap<Clip, (Past, Instant)>>,
}

/// What is remembered of one clip.
#[derive(Debug, Default)]
struct Past {
    /// No two are the same, as far as that could be told.
    files: VecDeque<Arc<Name>>,
    /// What each client has bytes of, which it began last or went on with.
    begun: VecDeque<(ClientKey, Arc<Name>)>,
}

impl Served {
    pub(super) fn client(&self, told: impl Hash) -> ClientKey {
        ClientKey(self.hasher.hash_one(told))
    }

    /// Bytes of this file are sent to a client, which asked for the first of them or for later ones.
    pub(super) fn serves(
        &self,
        clip: &Clip,
        file: &Arc<Name>,
        (client, begins): (ClientKey, bool),
        now: Instant,
    ) {
        let mut clips = self.clips();
        if clips.len() >= CLIPS_MAX && !clips.contains_key(clip) {
            let oldest = clips.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(clip, _)| clip.clone()) {
                clips.remove(&oldest);
            }
        }
        let (past, used) = clips
            .entry(clip.clone())
            .or_insert_with(|| (Past::default(), now));
        *used = now;
        past.serves(file, client, begins);
    }

    /// Whether a client that goes on behind some bytes, and does not say of which file, may be given those of this one.
    pub(super) fn goes_on(&self, clip: &Clip, file: &Name, client: ClientKey) -> bool {
        let clips = self.clips();
        clips
            .get(clip)
            .is_none_or(|(past, _)| past.goes_on(file, client))
    }

    /// What there was of the files of a clip that were not made to their end, the shortest last.
    pub(super) fn stubs(&self, clip: &Clip) -> Vec<Stub> {
        let clips = self.clips();
        let Some((past, _)) = clips.get(clip) else {
            return Vec::new();
        };
        let begun = past.begun.iter().map(|(_, file)| file);
        let mut stubs: Vec<Stub> = Vec::new();
        for file in past.files.iter().chain(begun) {
            let known = stubs.iter().any(|stub| stub.delivery == file.delivery);
            if let Some((len, digest)) = file.stub.get().copied().filter(|_| !known) {
                let delivery = Arc::clone(&file.delivery);
                stubs.push(Stub {
                    len,
                    digest,
                    delivery,
                });
            }
        }
        stubs.sort_by_key(|stub| std::cmp::Reverse(stub.len));
        stubs
    }

    fn clips(&self) -> MutexGuard<'_, HashMap<Clip, (Past, Instant)>> {
        self.clips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn serves(&mut self, file: &Arc<Name>, client: ClientKey, begins: bool) {
        // Who is sent all of another file behind what it has may throw that away, and still has the bytes of before.
        let has_it = begins || self.goes_on(file, client);
        // Who has bytes of what this one continues is served by both alike.
        self.files.retain(|known| !file.continues(known));
        self.files.push_back(Arc::clone(file));
        if self.files.len() > FILES_MAX {
            self.files.pop_front();
        }
        if has_it {
            self.begun.retain(|(known, _)| *known != client);
            self.begun.push_back((client, Arc::clone(file)));
            if self.begun.len() > CLIENTS_MAX {
                self.begun.pop_front();
            }
        }
    }

    /// A client goes on with what it has. Of who is not known to have begun anything, no file but this one may be had.
    fn goes_on(&self, file: &Name, client: ClientKey) -> bool {
        let begun = self.begun.iter().find(|(known, _)| *known == client);
        match begun {
            Some((_, begun)) => file.continues(begun),
            None => self.files.iter().all(|known| file.continues(known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::clip;
    use super::*;
    use crate::clock;

    fn whole(tag: &str) -> Arc<Name> {
        let name = Name::new();
        name.whole(&tag.into());
        name
    }

    const ONE: ClientKey = ClientKey(1);
    const OTHER: ClientKey = ClientKey(2);

    #[test]
    fn a_client_goes_on_with_the_file_that_it_began() {
        let mut past = Past::default();
        let (before, same, after) = (whole("\"a\""), whole("\"a\""), whole("\"b\""));
        // From another replica, which may have sent anything.
        assert!(past.goes_on(&after, ONE));
        past.serves(&before, ONE, true);
        for client in [ONE, OTHER] {
            assert!(past.goes_on(&before, client) && past.goes_on(&same, client));
            assert!(!past.goes_on(&after, client));
        }
        // To be given a part of another file, or the whole of it instead of a part, is not to begin it.
        past.serves(&after, ONE, false);
        assert!(!past.goes_on(&after, ONE) && !past.goes_on(&after, OTHER));
        assert!(past.goes_on(&same, ONE) && !past.goes_on(&same, OTHER));
        past.serves(&after, OTHER, true);
        assert!(!past.goes_on(&after, ONE) && past.goes_on(&after, OTHER));
        past.serves(&after, ONE, true);
        assert!(past.goes_on(&after, ONE) && !past.goes_on(&same, ONE));
    }

    #[test]
    fn what_was_broken_off_goes_on_where_its_bytes_do() {
        let served = Served::default();
        let (clip, now) = (clip("gate"), clock::now());
        let (client, stranger) = (served.client("one"), served.client("other"));
        let broken = Name::new();
        served.serves(&clip, &broken, (client, true), now);
        // Another is being made while this one is: nothing is known of either.
        let next = Name::new();
        assert!(!served.goes_on(&clip, &next, client));
        assert!(served.stubs(&clip).is_empty());
        broken.broken_off(1000, 77);
        let stubs = served.stubs(&clip);
        assert_eq!((stubs.len(), stubs[0].len, stubs[0].digest), (1, 1000, 77));
        next.whole(&"\"b\"".into());
        assert!(!served.goes_on(&clip, &next, client));
        assert!(!served.goes_on(&clip, &next, stranger));
        next.begins_as(&stubs[0]);
        assert!(served.goes_on(&clip, &next, client));
        assert!(served.goes_on(&clip, &next, stranger));
    }

    #[test]
    fn who_went_on_has_bytes_of_what_it_went_on_with() {
        let mut past = Past::default();
        let (broken, second, third) = (Name::new(), whole("\"b\""), whole("\"c\""));
        past.serves(&broken, ONE, true);
        let stub = Stub {
            len: 1000,
            digest: 77,
            delivery: Arc::clone(&broken.delivery),
        };
        for file in [&second, &third] {
            file.begins_as(&stub);
            assert!(past.goes_on(file, ONE), "it has nothing but the beginning");
        }
        past.serves(&second, ONE, false);
        assert!(past.goes_on(&second, ONE));
        assert!(!past.goes_on(&third, ONE), "it has more than the beginning");
    }

    #[test]
    fn only_so_much_is_remembered() {
        let mut past = Past::default();
        let first = whole("\"first\"");
        past.serves(&first, ONE, true);
        for nth in 2..200 {
            past.serves(&whole(&format!("\"{nth}\"")), ClientKey(nth), true);
        }
        assert_eq!(past.files.len(), FILES_MAX);
        assert_eq!(past.begun.len(), CLIENTS_MAX);
        // That there were others is not forgotten.
        assert!(!past.goes_on(&first, ONE) && !past.goes_on(&whole("\"199\""), ONE));

        let served = Served::default();
        let now = clock::now();
        for nth in 0..CLIPS_MAX + 10 {
            let clip = clip(&format!("camera {nth}"));
            served.serves(&clip, &first, (ONE, false), now);
        }
        assert_eq!(served.clips().len(), CLIPS_MAX);
    }
}
