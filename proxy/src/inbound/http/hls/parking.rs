//! Feeds that wait at the end of a segment for the player to ask for the next one, so that it costs no new session at the
//! recorder, and so that what was read ahead outlives the recorder.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seamline_routing::{CameraId, Timestamp};
use tokio::sync::oneshot;

use super::feed::Feed;

/// A camera, where the segment begins that is wanted next, and whether it has sound.
pub(super) type Place = (CameraId, Timestamp, bool);

/// A player that has filled its buffer asks for a segment each time that one was shown; the longest lasts twelve seconds.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// So many wait at the most, each with what it has read ahead: some seconds of footage, at most four megabytes.
const WAITING_MAX: usize = 32;

type Request = oneshot::Sender<Feed>;

/// Who waits, by number, and how it is asked for.
type Waiting = HashMap<Place, (u64, oneshot::Sender<Request>)>;

/// Where they wait.
#[derive(Clone, Default)]
pub(super) struct Parking {
    places: Arc<Mutex<Waiting>>,
}

impl Parking {
    /// Leaves a feed; the one that waited at the same place is closed. When the places are all taken, it is closed itself.
    pub(super) fn leave(&self, place: Place, mut feed: Feed) {
        let (asked, ask) = oneshot::channel::<Request>();
        let number = {
            let mut places = self.lock();
            if places.len() >= WAITING_MAX && !places.contains_key(&place) {
                return;
            }
            let number = places
                .values()
                .map(|(number, _)| number + 1)
                .max()
                .unwrap_or(0);
            places.insert(place.clone(), (number, asked));
            number
        };
        let parking = self.clone();
        tokio::spawn(async move {
            let request = tokio::select! {
                request = ask => request.ok(),
                () = feed.keep() => None,
                () = tokio::time::sleep(WAIT_MAX) => None,
            };
            match request {
                Some(request) => drop(request.send(feed)),
                None => parking.forget(&place, number),
            }
        });
    }

    /// Takes the feed that waits at a place.
    pub(super) async fn take(&self, place: &Place) -> Option<Feed> {
        let (_, asked) = self.lock().remove(place)?;
        let (request, answer) = oneshot::channel();
        asked.send(request).ok()?;
        answer.await.ok()
    }

    fn forget(&self, place: &Place, number: u64) {
        let mut places = self.lock();
        if places.get(place).is_some_and(|(mine, _)| *mine == number) {
            places.remove(place);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.places
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
