//! One picture of a camera: the last one at or before an instant, with all that has to be decoded for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use seamline_media::mp4::{self, Settings, Whole};
use seamline_media::{Entry, REORDERED_MAX, Sample};
use seamline_routing::director::End;
use seamline_routing::plan::{Direction, Request};
use seamline_routing::policy::Holes;
use seamline_routing::time::Timestamp;

use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::playback::{Item, LegItem, NoReel, Reel, Wanted};

/// How far before the asked instant a picture may be, where nothing was recorded at the instant itself.
pub const EARLIER_MAX: Duration = Duration::from_secs(10);
/// How far behind the asked instant is looked for the picture that follows it, which tells that the one before is the last.
const LATER_MAX: Duration = Duration::from_secs(10);
/// Pictures that are decoded for one, and their bytes: encoders that save storage have a key frame every twenty seconds.
const GROUP_SAMPLES_MAX: usize = 3_000;
const GROUP_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Why there is no still.
#[derive(Debug, thiserror::Error)]
pub enum NoStill {
    /// There is nothing to play.
    #[error(transparent)]
    NoReel(#[from] NoReel),
    /// No picture is near enough.
    #[error("no picture at that time, nor in the {} s before", EARLIER_MAX.as_secs())]
    Nothing,
    /// Who holds the picture, or may, did not deliver it.
    #[error("nothing came of it: {0}")]
    Ended(End),
    /// Its group of pictures is longer than any camera's.
    #[error(
        "more than {GROUP_SAMPLES_MAX} pictures, or too many bytes, from one key frame to the next"
    )]
    TooLong,
    /// The camera has no track of pictures.
    #[error("the camera has no pictures")]
    Blind,
}

/// A picture, coded.
#[derive(Clone, Debug)]
pub struct Still {
    /// When it was taken.
    pub capture: Timestamp,
    /// The copy that it is of.
    pub leg: LegItem,
    /// How it is coded.
    pub entry: Arc<Entry>,
    /// It and what it needs, in decoding order: it is the last one.
    pub samples: Vec<Sample>,
}

impl Still {
    /// Finds the picture that was shown at `at`.
    pub async fn find(
        camera: &CameraEntry,
        journal: Journal,
        at: Timestamp,
    ) -> Result<Self, NoStill> {
        if at.micros_since(clock::wall()) > EARLIER_MAX.as_micros() as i64 {
            return Err(NoStill::Nothing);
        }
        let missing = match Self::at(camera, journal.clone(), at).await {
            Err(
                missing @ (NoStill::Nothing | NoStill::NoReel(NoReel::Nothing) | NoStill::Ended(_)),
            ) => missing,
            found => return found,
        };
        // At the end of footage, and in holes, it is the last one of what was recorded before.
        let before = Wanted {
            sound: false,
            ..Wanted::all(at - EARLIER_MAX, at.shift(1))
        };
        match Self::of(camera, journal, before, at).await {
            Err(NoStill::Nothing | NoStill::NoReel(NoReel::Nothing)) => Err(match missing {
                outage @ NoStill::Ended(End::Outage | End::Mismatch) => outage,
                _ => NoStill::Nothing,
            }),
            found => found,
        }
    }

    /// Of what was recorded at the instant itself: forward from there, the key frame before it comes along.
    async fn at(camera: &CameraEntry, journal: Journal, at: Timestamp) -> Result<Self, NoStill> {
        camera.look_up(at).await;
        let instant = Request {
            at,
            until: Some(at.shift(1)),
            direction: Direction::Forward,
        };
        // Where it is known to be a hole, nobody is asked for it.
        if camera.holds_nothing(&instant) {
            return Err(NoStill::Nothing);
        }
        let ahead = Wanted {
            sound: false,
            holes: Some(Holes::End),
            ..Wanted::all(at, at + LATER_MAX)
        };
        Self::of(camera, journal, ahead, at).await
    }

    async fn of(
        camera: &CameraEntry,
        journal: Journal,
        wanted: Wanted,
        at: Timestamp,
    ) -> Result<Self, NoStill> {
        let mut reel = Reel::open(camera, journal, wanted).await?;
        let mut group = Group::new(reel.master(), at.as_micros());
        let end = loop {
            match reel.next().await {
                Some(Item::End(end)) => break end,
                Some(item) => {
                    if group.take(item)? {
                        break End::Range;
                    }
                }
                None => break End::Footage,
            }
        };
        match group.still() {
            Some(still) => match &*still.entry {
                Entry::H264 { .. } | Entry::H265 { .. } | Entry::Jpeg { .. } => Ok(still),
                Entry::Aac { .. } | Entry::G711 { .. } | Entry::Opus { .. } => Err(NoStill::Blind),
            },
            None if matches!(end, End::Outage | End::Mismatch) => Err(NoStill::Ended(end)),
            None => Err(NoStill::Nothing),
        }
    }

    /// The picture as it is stored, where every picture is a JPEG file by itself.
    pub fn jpeg(&self) -> Option<Bytes> {
        match (&*self.entry, self.samples.last()) {
            (Entry::Jpeg { .. }, Some(sample)) => Some(sample.data.clone()),
            _ => None,
        }
    }

    /// As an MP4 file that shows this picture and no other; what it needs is hidden by an edit list.
    pub fn mp4(&self) -> Option<Bytes> {
        let mut file = Whole::new(Settings {
            origin: mp4::Origin::First,
            holes: mp4::Holes::Close,
            master: 0,
        });
        file.format(0, Arc::clone(&self.entry));
        let last = self.samples.len().checked_sub(1)?;
        let mut media = Vec::new();
        for (number, sample) in self.samples.iter().enumerate() {
            let mut sample = sample.clone();
            sample.track = 0;
            sample.preroll = number < last;
            file.push(sample);
            media.extend(file.pop().ok()?);
        }
        let (rest, head) = file.finish().ok()??;
        let bytes: usize = media.iter().chain(&rest).map(Bytes::len).sum();
        let mut whole = BytesMut::with_capacity(head.len() + bytes);
        for part in std::iter::once(&head).chain(&media).chain(&rest) {
            whole.extend_from_slice(part);
        }
        Some(whole.freeze())
    }
}

/// The pictures from a random access point on, until the wanted one is known.
struct Group {
    master: usize,
    at_us: i64,
    leg: Option<LegItem>,
    entry: Option<Arc<Entry>>,
    samples: Vec<Sample>,
    bytes: usize,
    /// The latest picture at or before the instant.
    best: Option<Best>,
    /// Pictures since the first one that is later.
    later: usize,
}

struct Best {
    /// Index of it in the samples.
    ix: usize,
    leg: LegItem,
    entry: Arc<Entry>,
}

impl Group {
    fn new(master: usize, at_us: i64) -> Self {
        Group {
            master,
            at_us,
            leg: None,
            entry: None,
            samples: Vec::new(),
            bytes: 0,
            best: None,
            later: 0,
        }
    }

    /// Takes in what plays; whether it is known which picture it is.
    fn take(&mut self, item: Item) -> Result<bool, NoStill> {
        match item {
            Item::Leg(leg) => self.leg = Some(leg),
            Item::Format { track, entry } if track == self.master => self.entry = Some(entry),
            Item::Sample(sample) if sample.track == self.master => return self.sample(sample),
            Item::Format { .. } | Item::Sample(_) | Item::Hole(_) | Item::End(_) => {}
        }
        Ok(false)
    }

    fn sample(&mut self, sample: Sample) -> Result<bool, NoStill> {
        let early = sample.capture_us <= self.at_us;
        if sample.sync && early {
            self.samples.clear();
            self.bytes = 0;
            self.best = None;
        }
        self.bytes += sample.data.len();
        if self.samples.len() >= GROUP_SAMPLES_MAX || self.bytes > GROUP_BYTES_MAX {
            return Err(NoStill::TooLong);
        }
        let best = self.best.as_ref();
        let latest = best.and_then(|best| self.samples.get(best.ix));
        let better = latest.is_none_or(|latest| latest.capture_us <= sample.capture_us);
        let exact = sample.capture_us == self.at_us;
        if early
            && better
            && let (Some(leg), Some(entry)) = (&self.leg, &self.entry)
        {
            self.best = Some(Best {
                ix: self.samples.len(),
                leg: leg.clone(),
                entry: Arc::clone(entry),
            });
        }
        self.samples.push(sample);
        self.later += usize::from(!early || self.later > 0);
        Ok(exact || self.later > REORDERED_MAX)
    }

    fn still(mut self) -> Option<Still> {
        let best = self.best?;
        self.samples.truncate(best.ix + 1);
        // A group that does not begin where decoding can start is none.
        let samples = self.samples;
        samples.first().filter(|first| first.sync)?;
        Some(Still {
            capture: Timestamp::from_micros(samples.last()?.capture_us),
            leg: best.leg,
            entry: best.entry,
            samples,
        })
    }
}
