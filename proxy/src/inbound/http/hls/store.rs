//! Fills segments, once however many ask, and keeps the latest.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use moka::future::Cache;
use seamline_media::Entry;
use seamline_media::mp4::{Fragmented, Holes, Origin, Piece as Part, Settings};
use seamline_routing::segments::{Closing, LENGTH_MAX, Opening};
use seamline_routing::{CameraId, CopyIx, Timestamp};
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};

use super::cutter::{Border, Cutter, Footage, Outcome, joint};
use super::entry_of;
use super::feed::{Feed, NoFeed, Shot};
use super::formats::{Formats, Sights};
use super::growth::Growth;
use super::name::{Name, Piece};
use super::parking::{Parking, Place};
use crate::cameras::CameraEntry;
use crate::journal::Journal;

/// Bytes of segments that are kept.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A segment that nobody asks for is kept this long.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// Borders that are remembered, and for how long: a player that goes on later gets what the name alone says.
const BORDERS_MAX: u64 = 100_000;
const BORDERS_FOR: Duration = Duration::from_secs(600);
/// Segments that are filled at a time.
const FILLS_MAX: usize = 64;
/// A segment must be whole in this time: recorders that pace footage need as long as it lasts.
const FILL_MAX: Duration = Duration::from_secs(30);
/// Samples of one segment, with those looked at to find its borders.
const SEGMENT_BYTES_MAX: usize = 96 * 1024 * 1024;
/// A picture that is followed by another this much later was the last before a hole, µs.
const FOLLOWS_US: i64 = 1_000_000;

/// Why there is no such segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NoSegment {
    /// No copy holds footage of it.
    #[error("no site holds footage of that time")]
    Nothing,
    /// Sites that may hold it cannot be reached.
    #[error("no site that may hold it can be reached")]
    Outage,
    /// It was not whole in time.
    #[error("its footage did not come in time")]
    Late,
    /// It is larger than any segment.
    #[error("its footage is larger than a segment may be")]
    Large,
    /// HLS has no place for how it is coded.
    #[error("HLS carries H.264 and H.265, and not what this camera records")]
    Codec,
}

impl From<NoFeed> for NoSegment {
    fn from(why: NoFeed) -> Self {
        match why {
            NoFeed::Nothing => NoSegment::Nothing,
            NoFeed::Outage => NoSegment::Outage,
        }
    }
}

/// Segments, and what is remembered between them.
pub(in crate::inbound::http) struct Store {
    kept: Cache<(CameraId, Name), Bytes>,
    borders: Cache<(CameraId, Timestamp), Border>,
    /// Cameras that were seen to have groups of pictures longer than a segment.
    long_groups: Cache<CameraId, ()>,
    parking: Parking,
    /// What growing playlists have listed.
    pub(super) growth: Growth,
    /// How copies were seen to be encoded.
    pub(super) formats: Formats,
    /// Where a leg begins, players ask for the head and for the first segment at once: one of them opens the leg.
    openings: Cache<Place, Arc<Mutex<()>>>,
    fills: Semaphore,
}

impl Default for Store {
    fn default() -> Self {
        let weight =
            |_: &(CameraId, Name), bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Store {
            kept: Cache::builder()
                .max_capacity(KEPT_BYTES_MAX)
                .weigher(weight)
                .time_to_idle(KEPT_FOR)
                .build(),
            borders: Cache::builder()
                .max_capacity(BORDERS_MAX)
                .time_to_live(BORDERS_FOR)
                .build(),
            long_groups: Cache::builder().max_capacity(BORDERS_MAX).build(),
            parking: Parking::default(),
            growth: Growth::default(),
            formats: Formats::default(),
            openings: Cache::builder()
                .max_capacity(BORDERS_MAX)
                .time_to_idle(FILL_MAX)
                .build(),
            fills: Semaphore::new(FILLS_MAX),
        }
    }
}

impl Store {
    /// The bytes of a segment.
    pub(super) async fn segment(
        &self,
        camera: &CameraEntry,
        journal: &Journal,
        piece: Piece,
    ) -> Result<Bytes, NoSegment> {
        let key = (camera.id().clone(), Name::Footage(piece));
        let filling = self.in_time(self.fill(camera, journal, piece));
        self.kept
            .try_get_with(key, Box::pin(filling))
            .await
            .map_err(|why| *why)
    }

    /// The head of what is coded as the footage of a copy at an instant.
    pub(super) async fn init(
        &self,
        camera: &CameraEntry,
        journal: &Journal,
        (copy, sound): (CopyIx, bool),
        at: Timestamp,
    ) -> Result<Bytes, NoSegment> {
        let key = (camera.id().clone(), Name::Init { copy, at, sound });
        let filling = self.in_time(self.head(camera, journal, (copy, sound), at));
        self.kept
            .try_get_with(key, Box::pin(filling))
            .await
            .map_err(|why| *why)
    }

    /// Whether each segment of a camera begins with a random access point, as far as was seen.
    pub(super) fn independent(&self, camera: &CameraId) -> bool {
        !self.long_groups.contains_key(camera)
    }

    async fn opening(&self, place: &Place) -> Arc<Mutex<()>> {
        let made = async { Arc::default() };
        self.openings.get_with(place.clone(), made).await
    }

    async fn in_time(
        &self,
        filling: impl Future<Output = Result<Bytes, NoSegment>>,
    ) -> Result<Bytes, NoSegment> {
        let limited = async {
            let _seat = self.fills.acquire().await.map_err(|_| NoSegment::Late)?;
            filling.await
        };
        tokio::time::timeout(FILL_MAX, limited)
            .await
            .unwrap_or(Err(NoSegment::Late))
    }

    async fn fill(
        &self,
        camera: &CameraEntry,
        journal: &Journal,
        piece: Piece,
    ) -> Result<Bytes, NoSegment> {
        let sound = piece.sound;
        let place = (camera.id().clone(), piece.range.start(), sound);
        let opening = self.opening(&place).await;
        let _alone = match piece.opening {
            Opening::Continues => None,
            Opening::Exact | Opening::Joins => Some(opening.lock().await),
        };
        let border = match piece.opening {
            Opening::Continues => {
                let known = self.borders.get(&(place.0.clone(), place.1)).await;
                known.filter(|border| border.copy.is_some())
            }
            Opening::Joins => Some(self.joint(camera, journal, &place, piece.copy).await?),
            Opening::Exact => None,
        };
        let next = (camera.id().clone(), piece.range.end(), sound);
        let until = match piece.closing {
            Closing::Continues | Closing::Ends => None,
            Closing::Hands { to } => {
                let opening = self.opening(&next).await;
                let _alone = opening.lock().await;
                // Without it, nothing can take over earlier.
                let joint = self.joint(camera, journal, &next, to).await;
                Some(joint.map_or(piece.range.end(), |joint| joint.at))
            }
        };
        // One that looks behind the end of the leg would change copies where its own reading of the seam puts it.
        let waiting = self.parking.take(&place).await.filter(|_| until.is_none());
        let mut feed = if let Some(feed) = waiting {
            feed
        } else {
            let from = match (border, piece.opening) {
                (Some(border), _) => border.at,
                // A picture at the very border may refer to earlier ones: the group before comes along.
                (None, Opening::Continues) => piece.range.start().shift(-1),
                (None, Opening::Exact | Opening::Joins) => piece.range.start(),
            };
            // Asked for up to where its copy ends, it would look for the one that follows.
            let short = until.map(|until| until.min(piece.range.end().shift(-1)));
            let stretch = (from, short);
            Feed::open(camera, journal.clone(), stretch, Some(piece.copy), sound).await?
        };
        let (outcome, sights) = collect(&mut feed, piece, border, until).await?;
        self.formats.note(camera.id(), sights).await;
        if outcome.mid_group {
            self.long_groups.insert(camera.id().clone(), ()).await;
        }
        let (head, bytes) = mux(&outcome, feed.master());
        let lasting = lasting(&outcome);
        if piece.opening != Opening::Continues
            && let Some(head) = head
        {
            let (copy, at) = (piece.copy, piece.range.start());
            let key = (camera.id().clone(), Name::Init { copy, at, sound });
            self.kept.insert(key, head).await;
        }
        if piece.closing == Closing::Continues {
            self.borders
                .insert((next.0.clone(), next.1), outcome.border)
                .await;
            if !outcome.rest.is_empty() {
                feed.put_back(outcome.rest);
                self.parking.leave(next, feed);
            }
        }
        if bytes.is_empty() {
            return Err(NoSegment::Nothing);
        }
        // The first picture behind it may lie behind a hole.
        if lasting < LENGTH_MAX {
            let formats = &self.formats;
            formats
                .measure(camera.id(), piece.copy, bytes.len(), lasting)
                .await;
        }
        Ok(bytes)
    }

    /// Where `copy` takes over at a place, with a feed left there that begins so. To be asked by one at a time.
    async fn joint(
        &self,
        camera: &CameraEntry,
        journal: &Journal,
        place: &Place,
        copy: CopyIx,
    ) -> Result<Border, NoSegment> {
        let (id, border, sound) = place;
        let key = (id.clone(), *border);
        let known = self.borders.get(&key).await;
        if let Some(known) = known.filter(|known| known.copy.is_none()) {
            return Ok(known);
        }
        let open = |from| Feed::open(camera, journal.clone(), (from, None), Some(copy), *sound);
        let mut feed = match self.parking.take(place).await {
            Some(feed) => feed,
            None => open(*border).await?,
        };
        let (mut seen, mut bytes) = (Vec::new(), 0);
        while let Some(shot) = feed.next().await {
            bytes += shot.sample.data.len();
            let reached = shot.leads() && shot.capture() >= *border;
            seen.push(shot);
            if reached || bytes > SEGMENT_BYTES_MAX {
                break;
            }
        }
        let at = joint(&seen, *border);
        if at < *border {
            // From there on nothing is preroll, and sound comes along.
            drop(feed);
            feed = open(at).await?;
        } else {
            feed.put_back(seen);
        }
        self.parking.leave(place.clone(), feed);
        let known = Border { at, copy: None };
        self.borders.insert(key, known).await;
        Ok(known)
    }

    async fn head(
        &self,
        camera: &CameraEntry,
        journal: &Journal,
        (copy, sound): (CopyIx, bool),
        at: Timestamp,
    ) -> Result<Bytes, NoSegment> {
        let place = (camera.id().clone(), at, sound);
        let opening = self.opening(&place).await;
        let _alone = opening.lock().await;
        let key = (camera.id().clone(), Name::Init { copy, at, sound });
        if let Some(bytes) = self.kept.get(&key).await {
            return Ok(bytes);
        }
        let known = self.borders.get(&(place.0.clone(), at)).await;
        let joint = known.filter(|border| border.copy.is_none());
        let from = joint.map_or(at, |joint| joint.at);
        let mut feed = if let Some(feed) = self.parking.take(&place).await {
            feed
        } else {
            let opened = Feed::open(camera, journal.clone(), (from, None), Some(copy), sound);
            match opened.await {
                Ok(feed) => feed,
                // Listed, and not there: players want a head even for a segment that will be empty.
                Err(NoFeed::Nothing) => {
                    return described(camera, copy).await.ok_or(NoSegment::Nothing);
                }
                Err(NoFeed::Outage) => return Err(NoSegment::Outage),
            }
        };
        let mut seen: Vec<Shot> = Vec::new();
        let mut bytes = None;
        let mut held = 0;
        while let Some(shot) = feed.next().await {
            // What only has to be decoded for it may be encoded otherwise.
            let counts = shot.leads() && shot.capture() >= from && !shot.preroll();
            held += shot.sample.data.len();
            seen.push(shot);
            if counts || held > SEGMENT_BYTES_MAX {
                bytes = head_of(feed.master(), feed.entries(), &seen);
                break;
            }
        }
        if bytes.is_none() && !seen.is_empty() {
            // Nothing of it is shown: a head all the same, as players want one even for a segment that will be empty.
            bytes = head_of(feed.master(), feed.entries(), &seen);
        }
        feed.put_back(seen);
        self.parking.leave(place, feed);
        bytes.ok_or(NoSegment::Codec)
    }
}

async fn collect(
    feed: &mut Feed,
    piece: Piece,
    border: Option<Border>,
    joint: Option<Timestamp>,
) -> Result<(Outcome<Shot>, Sights), NoSegment> {
    let mut cutter = Cutter::new(piece, border, joint);
    let mut sights = Sights::default();
    let mut bytes = 0;
    while let Some(shot) = feed.next().await {
        if shot.leads() && !fits(&shot.entry) {
            return Err(NoSegment::Codec);
        }
        bytes += shot.sample.data.len();
        if bytes > SEGMENT_BYTES_MAX {
            return Err(NoSegment::Large);
        }
        if shot.leads() {
            let stands_alone = shot.sample.sync;
            sights.push(shot.copy, shot.capture(), &shot.entry, stands_alone);
        }
        cutter.push(shot);
        if cutter.whole() {
            break;
        }
    }
    Ok((cutter.finish(), sights))
}

/// How long the pictures of a segment are shown, up to the first one behind it.
fn lasting(outcome: &Outcome<Shot>) -> Duration {
    let shown = outcome.content.iter().filter(|cut| !cut.preroll);
    let pictures = shown.map(|cut| &cut.footage).filter(|shot| shot.leads());
    let first = pictures.map(Footage::capture).min();
    first.map_or(Duration::ZERO, |first| outcome.border.at.since(first))
}

/// What browsers and HLS players take.
pub(in crate::inbound::http) fn fits(entry: &Entry) -> bool {
    match entry {
        Entry::H264 { .. } | Entry::H265 { .. } | Entry::Aac { .. } | Entry::Opus { .. } => true,
        Entry::Jpeg { .. } | Entry::G711 { .. } => false,
    }
}

/// All segments lie on one axis: UTC since 1970, and holes take their time.
pub(in crate::inbound::http) fn writer(master: usize) -> Fragmented {
    Fragmented::new(Settings {
        origin: Origin::Segment(0),
        holes: Holes::Keep,
        master,
    })
}

/// The head that the first pictures want, and the fragments of a segment.
fn mux(outcome: &Outcome<Shot>, master: usize) -> (Option<Bytes>, Bytes) {
    let mut writer = writer(master);
    let mut told: Vec<(usize, Arc<Entry>)> = Vec::new();
    let mut parts = Vec::new();
    // All tracks are in the head, whichever begins first.
    for cut in &outcome.content {
        let Shot { sample, entry, .. } = &cut.footage;
        if fits(entry) && told.iter().all(|(track, _)| *track != sample.track) {
            writer.format(sample.track, Arc::clone(entry));
            told.push((sample.track, Arc::clone(entry)));
        }
    }
    for cut in &outcome.content {
        let Shot { sample, entry, .. } = &cut.footage;
        if !fits(entry) {
            continue;
        }
        let known = told.iter().position(|(track, _)| *track == sample.track);
        if known.is_none_or(|at| told[at].1 != *entry) {
            writer.format(sample.track, Arc::clone(entry));
            told.retain(|(track, _)| *track != sample.track);
            told.push((sample.track, Arc::clone(entry)));
        }
        let mut sample = sample.clone();
        sample.preroll = cut.preroll;
        writer.push(sample);
        parts.append(&mut writer.pop());
    }
    // The picture behind it tells how long the last one lasts; it is not written.
    let last = outcome.content.iter().rfind(|cut| cut.footage.leads());
    let next = outcome.rest.iter().find(|shot| shot.leads());
    let follows = last.zip(next).filter(|(last, next)| {
        let apart = next.sample.capture_us - last.footage.sample.capture_us;
        (0..FOLLOWS_US).contains(&apart)
    });
    if let Some((_, next)) = follows {
        writer.cut();
        writer.push(next.sample.clone());
        parts.append(&mut writer.pop());
        let mut tail = writer.finish();
        tail.pop();
        parts.append(&mut tail);
    } else {
        parts.append(&mut writer.finish());
    }
    let mut head = None;
    let mut bytes = BytesMut::new();
    for part in parts {
        match part {
            Part::Head(told) => head = head.or(Some(told)),
            Part::Fragment(fragment) => {
                for chunk in fragment.chunks {
                    bytes.extend_from_slice(&chunk);
                }
            }
        }
    }
    (head, bytes.freeze())
}

/// The head of a file with these tracks, if HLS has a place for its pictures.
fn head_of(master: usize, entries: &[Option<Arc<Entry>>], seen: &[Shot]) -> Option<Bytes> {
    let mut writer = writer(master);
    for (track, entry) in entries.iter().enumerate() {
        if let Some(entry) = entry.as_ref().filter(|entry| fits(entry)) {
            writer.format(track, Arc::clone(entry));
        }
    }
    let pictures = seen.iter().any(|shot| shot.leads() && fits(&shot.entry));
    pictures.then(|| writer.head_alone())
}

/// The head of pictures as a copy announces them.
async fn described(camera: &CameraEntry, copy: CopyIx) -> Option<Bytes> {
    let description = match camera.slot.description(copy) {
        Some(known) => known,
        None => camera.slot.ask_description(copy).await.ok()?,
    };
    let mut tracks = description.tracks.iter().enumerate();
    let (track, entry) = tracks.find_map(|(track, told)| Some((track, entry_of(told)?)))?;
    let mut writer = writer(track);
    writer.format(track, Arc::new(entry));
    Some(writer.head_alone())
}
