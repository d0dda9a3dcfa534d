//! One line for each routing decision: to the log, and to whoever listens (the demo's screen, clients of the API).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use seamline_evidence::Gap;
use seamline_routing::camera::{CameraId, CopyIx};
use seamline_routing::time::{TimeRange, Timestamp};
use tokio::sync::broadcast;

use crate::cameras::CameraEntry;
use crate::clock;
use crate::evidence::explain;
use crate::playing::{Client, Listed, Playing};

/// A routing decision as an operator reads it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// When it was made, by the clock on the wall.
    pub when: Timestamp,
    /// The camera.
    pub camera: CameraId,
    /// The playback's number, see [`Playing`].
    pub playback: Option<u64>,
    /// What was decided.
    pub what: What,
}

/// The kinds of decision.
#[derive(Clone, Debug)]
pub enum What {
    /// Units come from another site from `at` on.
    Switch {
        /// Capture time of the seam.
        at: Timestamp,
        /// The site before; `None` at the start of a play.
        from: Option<String>,
        /// The site after.
        to: String,
        /// Why.
        reason: String,
        /// From the moment it was needed until it was done.
        took: Duration,
    },
    /// This stretch is passed over.
    Hole {
        /// Which.
        range: TimeRange,
        /// Why.
        reason: Gap,
        /// The same, with what is known of each copy.
        why: String,
    },
    /// No site can be reached that may hold this instant.
    Waiting(Timestamp),
    /// A leg failed.
    LegFailed {
        /// Its site.
        site: String,
        /// Why.
        why: String,
    },
    /// The playback is over.
    Ended {
        /// The next instant that would have been wanted.
        at: Timestamp,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.camera)?;
        match &self.what {
            What::Switch {
                at,
                from: Some(from),
                to,
                reason,
                took,
            } => {
                write!(
                    f,
                    "{at} {from} -> {to} ({reason}) in {} ms",
                    took.as_millis()
                )
            }
            What::Switch {
                at,
                from: None,
                to,
                reason,
                took,
            } => write!(f, "{at} from {to} ({reason}) in {} ms", took.as_millis()),
            What::Hole { range, why, .. } => write!(f, "hole {range}: {why}"),
            What::Waiting(at) => write!(f, "{at} waits: no site that may hold it can be reached"),
            What::LegFailed { site, why } => write!(f, "{site} failed: {why}"),
            What::Ended { at, why } => write!(f, "{at} ended: {why}"),
        }
    }
}

/// Writes decisions, and keeps who plays; cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    decisions: broadcast::Sender<Decision>,
    playing: Arc<Playing>,
    /// Whom the playbacks that are begun with it are for.
    client: Option<Arc<Client>>,
    /// The playback that writes into it.
    playback: Option<u64>,
}

/// Decisions kept for a listener that is slow.
const BACKLOG: usize = 256;

impl Default for Journal {
    fn default() -> Self {
        Journal {
            decisions: broadcast::channel(BACKLOG).0,
            playing: Arc::default(),
            client: None,
            playback: None,
        }
    }
}

impl Journal {
    /// Every decision from now on.
    pub fn listen(&self) -> broadcast::Receiver<Decision> {
        self.decisions.subscribe()
    }

    /// Who plays.
    pub fn playing(&self) -> &Playing {
        &self.playing
    }

    /// The same for playbacks of one client.
    #[must_use]
    pub fn of(&self, client: Client) -> Self {
        Journal {
            client: Some(Arc::new(client)),
            ..self.clone()
        }
    }

    /// The same for one playback, which is listed from now on.
    #[must_use]
    pub fn begin(self, camera: &CameraEntry) -> (Self, Listed) {
        let listed = self.playing.enter(camera.id(), self.client.clone());
        let journal = Journal {
            playback: Some(listed.id()),
            ..self
        };
        (journal, listed)
    }

    fn say(&self, camera: &CameraEntry, what: What) {
        // Nobody listening is the normal case.
        let _ = self.decisions.send(Decision {
            when: clock::wall(),
            playback: self.playback,
            camera: camera.id().clone(),
            what,
        });
    }

    /// A switch or a start.
    pub fn switch(
        &self,
        camera: &CameraEntry,
        at: Timestamp,
        from: Option<&str>,
        to: &str,
        reason: &str,
        took: Duration,
    ) {
        tracing::info!(
            camera = %camera.id(), capture = %at, from = from.unwrap_or("-"), to, reason, ms = (took.as_secs_f64() * 1e4).round() / 10.0, "route"
        );
        let (from, to, reason) = (from.map(str::to_owned), to.to_owned(), reason.to_owned());
        self.say(
            camera,
            What::Switch {
                at,
                from,
                to,
                reason,
                took,
            },
        );
    }

    /// A hole is passed over.
    pub fn hole(&self, camera: &CameraEntry, range: TimeRange) {
        let hole = explain(range, camera);
        let (reason, why) = (hole.reason, hole.why());
        tracing::info!(camera = %camera.id(), capture = %range.start(), until = %range.end(), reason = why, "hole");
        self.say(camera, What::Hole { range, reason, why });
    }

    /// Nothing can be played for now.
    pub fn waiting(&self, camera: &CameraEntry, at: Timestamp) {
        tracing::warn!(camera = %camera.id(), capture = %at, reason = "no site can be reached", "waiting");
        self.say(camera, What::Waiting(at));
    }

    /// A leg failed.
    pub fn leg_failed(&self, camera: &CameraEntry, site: &str, at: Timestamp, why: &str) {
        tracing::warn!(camera = %camera.id(), site, capture = %at, reason = why, "leg failed");
        self.say(
            camera,
            What::LegFailed {
                site: site.to_owned(),
                why: why.to_owned(),
            },
        );
    }

    /// A leg goes on in the same elementary stream, behind so many pictures that were sent already.
    pub fn joined(&self, camera: &CameraEntry, site: &str, at: Timestamp, known: usize) {
        tracing::info!(camera = %camera.id(), site, capture = %at, pictures = known, "same stream: joined without preroll");
    }

    /// A seam inside signed video: who verifies it must begin anew behind it.
    pub fn signatures_broken(&self, camera: &CameraEntry, site: &str, at: Timestamp) {
        tracing::warn!(camera = %camera.id(), site, capture = %at, "signed video: its chain of signatures ends at this seam");
    }

    /// Two copies date the same pictures that far apart.
    pub fn skew(
        &self,
        camera: &CameraEntry,
        copy: CopyIx,
        against: CopyIx,
        at: Timestamp,
        offset_us: i64,
    ) {
        let (site, against) = (camera.site(copy), camera.site(against));
        let ms = offset_us as f64 / 1e3;
        tracing::info!(camera = %camera.id(), site, against, capture = %at, ms, "skew measured");
    }

    /// The playback is over.
    pub fn ended(&self, camera: &CameraEntry, at: Timestamp, why: &str) {
        tracing::info!(camera = %camera.id(), capture = %at, reason = why, "ended");
        self.say(
            camera,
            What::Ended {
                at,
                why: why.to_owned(),
            },
        );
    }
}
