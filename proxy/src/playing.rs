//! Who plays what now: an entry a playback, kept up to date by it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use seamline_routing::{CameraId, Timestamp};

use crate::clock;

/// Whom a playback is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it is.
    pub peer: SocketAddr,
    /// Who it is, where users are known.
    pub user: Option<String>,
    /// How it is served, such as `rtsp/tcp` or `http/get`.
    pub transport: &'static str,
}

/// All playbacks, by number.
#[derive(Debug, Default)]
pub struct Playing {
    last: AtomicU64,
    entries: DashMap<u64, Arc<Entry>>,
}

/// One playback.
#[derive(Debug)]
pub struct Entry {
    /// Its number; none is used twice while the process lives.
    pub id: u64,
    /// What is played.
    pub camera: CameraId,
    /// For whom; `None` for what nobody asked for.
    pub client: Option<Arc<Client>>,
    /// When it began, by the clock on the wall.
    pub since: Timestamp,
    position_us: AtomicI64,
    source: ArcSwapOption<Source>,
}

/// Where a playback's footage comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The site.
    pub site: String,
    /// Since when, by the clock on the wall.
    pub since: Timestamp,
}

/// A playback's entry, removed with it.
#[derive(Debug)]
pub struct Listed {
    playing: Arc<Playing>,
    entry: Arc<Entry>,
}

/// Before the first unit.
const NOWHERE: i64 = i64::MIN;

impl Playing {
    /// Adds a playback.
    pub fn enter(self: &Arc<Self>, camera: &CameraId, client: Option<Arc<Client>>) -> Listed {
        let entry = Arc::new(Entry {
            id: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            camera: camera.clone(),
            client,
            since: clock::wall(),
            position_us: AtomicI64::new(NOWHERE),
            source: ArcSwapOption::empty(),
        });
        self.entries.insert(entry.id, entry.clone());
        Listed {
            playing: self.clone(),
            entry,
        }
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        let mut list: Vec<_> = self
            .entries
            .iter()
            .map(|entry| entry.value().clone())
            .collect();
        list.sort_by_key(|entry| entry.id);
        list
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    /// Capture time of what is sent next; `None` before the first unit.
    pub fn position(&self) -> Option<Timestamp> {
        let us = self.position_us.load(Ordering::Relaxed);
        (us != NOWHERE).then(|| Timestamp::from_micros(us))
    }

    /// Where its footage comes from; `None` before the first unit.
    pub fn source(&self) -> Option<Arc<Source>> {
        self.source.load_full()
    }
}

impl Listed {
    /// The playback's number.
    pub fn id(&self) -> u64 {
        self.entry.id
    }

    /// Among how many playbacks it is one.
    pub fn among(&self) -> usize {
        self.playing.count()
    }

    /// Notes where the playback is.
    pub fn at(&self, position: Timestamp) {
        self.entry
            .position_us
            .store(position.as_micros(), Ordering::Relaxed);
    }

    /// Notes where its footage comes from, from now on.
    pub fn from_site(&self, site: &str) {
        self.entry.source.store(Some(Arc::new(Source {
            site: site.to_owned(),
            since: clock::wall(),
        })));
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.playing.entries.remove(&self.entry.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_follows_its_playback_and_goes_with_it() {
        let playing = Arc::new(Playing::default());
        let first = playing.enter(&"gate".into(), None);
        let second = playing.enter(&"yard".into(), None);
        let at = Timestamp::from_unix_ms(1_767_268_800_000);
        second.at(at);
        second.from_site("primary");
        let list = playing.list();
        assert_eq!(
            list.iter().map(|entry| entry.id).collect::<Vec<_>>(),
            [first.id(), second.id()]
        );
        assert_eq!((list[0].position(), list[1].position()), (None, Some(at)));
        assert_eq!(list[1].source().unwrap().site, "primary");
        drop(first);
        assert_eq!((playing.list().len(), playing.count()), (1, 1));
        drop(second);
        assert!(playing.list().is_empty() && playing.count() == 0);
    }
}
