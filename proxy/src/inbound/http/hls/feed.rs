//! A reel, each sample with all that must be known of it; between two segments it can wait for the next one.

use std::collections::VecDeque;
use std::sync::Arc;

use seamline_media::{Entry, Sample};
use seamline_routing::director::End;
use seamline_routing::policy::Holes;
use seamline_routing::{CopyIx, Direction, Timestamp};
use seamline_rtsp::headers::Frames;

use super::cutter::Footage;
use crate::cameras::CameraEntry;
use crate::journal::Journal;
use crate::playback::{Begin, Item, NoReel, Reel, Wanted};

/// A sample with what is said once for many.
#[derive(Clone, Debug)]
pub(in crate::inbound::http) struct Shot {
    pub(in crate::inbound::http) sample: Sample,
    /// How it is coded.
    pub(in crate::inbound::http) entry: Arc<Entry>,
    /// Of the track of the pictures.
    leads: bool,
    pub(in crate::inbound::http) copy: CopyIx,
}

impl Footage for Shot {
    fn capture(&self) -> Timestamp {
        Timestamp::from_micros(self.sample.capture_us)
    }

    fn leads(&self) -> bool {
        self.leads
    }

    fn sync(&self) -> bool {
        self.sample.sync
    }

    fn preroll(&self) -> bool {
        self.sample.preroll
    }

    fn copy(&self) -> CopyIx {
        self.copy
    }
}

/// Why no footage comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound::http) enum NoFeed {
    /// No copy holds it.
    Nothing,
    /// Those that may hold it cannot be asked now.
    Outage,
}

/// Footage from an instant on, as fast as it is taken.
pub(in crate::inbound::http) struct Feed {
    begin: Begin,
    /// By track.
    entries: Vec<Option<Arc<Entry>>>,
    copy: CopyIx,
    /// Was taken and comes once more.
    again: VecDeque<Shot>,
}

impl Feed {
    /// Opens it at `from`, up to `until`, with `copy` if one is named that may be used; what has to be decoded ahead comes along.
    pub(in crate::inbound::http) async fn open(
        camera: &CameraEntry,
        journal: Journal,
        (from, until): (Timestamp, Option<Timestamp>),
        copy: Option<CopyIx>,
        sound: bool,
    ) -> Result<Self, NoFeed> {
        let wanted = Wanted {
            from,
            until,
            holes: Some(Holes::Skip),
            frames: Frames::All,
            pacing: None,
            direction: Direction::Forward,
            sound,
        };
        let reel = Reel::open_from(camera, journal, wanted, copy)
            .await
            .map_err(|why| match why {
                NoReel::Nothing | NoReel::NoTrack => NoFeed::Nothing,
                NoReel::Undescribed(_) => NoFeed::Outage,
            })?;
        let begin = reel.begin().await.map_err(|end| match end {
            End::Range | End::Footage | End::Hole | End::Mismatch => NoFeed::Nothing,
            End::Outage => NoFeed::Outage,
        })?;
        Ok(Feed {
            begin,
            entries: Vec::new(),
            copy: copy.unwrap_or(CopyIx(0)),
            again: VecDeque::new(),
        })
    }

    /// The next sample. Nothing is lost when it is dropped before it is done.
    pub(in crate::inbound::http) async fn next(&mut self) -> Option<Shot> {
        if let Some(shot) = self.again.pop_front() {
            return Some(shot);
        }
        loop {
            match self.begin.next().await? {
                Item::Leg(leg) => self.copy = leg.copy,
                Item::Format { track, entry } => {
                    if self.entries.len() <= track {
                        self.entries.resize(track + 1, None);
                    }
                    if let Some(known) = self.entries.get_mut(track) {
                        *known = Some(entry);
                    }
                }
                Item::Sample(sample) => {
                    let entry = self.entries.get(sample.track).cloned().flatten();
                    if let Some(entry) = entry {
                        return Some(Shot {
                            leads: sample.track == self.begin.reel.master(),
                            copy: self.copy,
                            sample,
                            entry,
                        });
                    }
                }
                Item::Hole(_) => {}
                Item::End(_) => return None,
            }
        }
    }

    /// These come next.
    pub(super) fn put_back(&mut self, shots: Vec<Shot>) {
        for shot in shots.into_iter().rev() {
            self.again.push_front(shot);
        }
    }

    /// Index of the track of the pictures.
    pub(in crate::inbound::http) fn master(&self) -> usize {
        self.begin.reel.master()
    }

    /// How all tracks are coded at the place that was reached, by track.
    pub(super) fn entries(&self) -> &[Option<Arc<Entry>>] {
        &self.entries
    }

    /// Keeps the recorders' sessions; never comes back.
    pub(in crate::inbound::http) async fn keep(&mut self) {
        self.begin.reel.keep().await;
    }
}
