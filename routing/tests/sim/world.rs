//! A script: copies, troubles, policy and what the client does; and its run.

use seamline_routing::plan::Request;
use seamline_routing::policy::{Holes, Policy};
use seamline_routing::time::Timestamp;

use super::facts::Listing;
use super::footage::Scene;
use super::ledger::Figures;
use super::owner::{Owner, origin};
use super::recorder::Recorder;
use super::{Micros, SECOND};

/// A copy and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct CopySpec {
    pub(crate) recorder: Recorder,
    pub(crate) listing: Listing,
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    Play(Request),
    Pause,
    Resume,
}

/// Everything that happens in one simulation.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scene: Scene,
    pub(crate) copies: Vec<CopySpec>,
    pub(crate) policy: Policy,
    /// Footage seconds a second; none for as fast as the client can take it.
    pub(crate) pacing: Option<f64>,
    /// Footage that the owner reads ahead of what is due.
    pub(crate) lookahead: Micros,
    /// How long before the simulation the scene began.
    pub(crate) age: Micros,
    /// Sorted by time.
    pub(crate) client: Vec<(Micros, Client)>,
}

impl World {
    /// The time of day.
    pub(crate) fn wall(&self, now: Micros) -> Timestamp {
        self.scene.start.shift(self.age + now)
    }

    fn scene_length(&self) -> Micros {
        self.scene.pictures * self.scene.interval_us
    }

    /// The longest time without a unit that is not a fault.
    pub(crate) fn patience(&self) -> Micros {
        let hole = match self.policy.holes {
            Holes::Wait => self.scene_length(),
            Holes::Skip | Holes::End => 0,
        };
        let not_recorded_yet = (self.scene_length() - self.age).max(0);
        self.policy.outage_wait.as_micros() as Micros + 60 * SECOND + hole + not_recorded_yet
    }

    /// Seams that the footage itself asks for in one minute: each edge of a gap, listed or not, twice.
    pub(crate) fn seams_max(&self) -> usize {
        let edges: usize = self
            .copies
            .iter()
            .map(|copy| {
                let listed = copy.listing.answers.iter();
                copy.recorder.footage.sections.len()
                    + listed.map(|(_, said)| said.periods().len()).sum::<usize>()
            })
            .sum();
        let plays = self.client.len();
        4 * edges * plays.max(1)
    }

    /// Legs that may be opened in one minute: what the footage asks for, and a growing pause after each failure.
    pub(crate) fn opens_max(&self) -> usize {
        2 * self.seams_max() + 20 * self.copies.len()
    }

    /// Plays it all; `Err` with the broken rule, and a trace if one was asked for.
    pub(crate) fn run(&self, traced: bool) -> Result<Figures, (String, String)> {
        let mut owner = Owner::new(self, origin(), traced);
        let mut client = self.client.iter().peekable();
        let last_act = self.client.last().map_or(0, |(at, _)| *at);
        let mut polls = 0;
        while owner.ledger.violation().is_none() {
            while let Some((_, act)) = client.next_if(|(at, _)| *at <= owner.now) {
                owner.client(*act);
            }
            let wake = owner.poll();
            if owner.ledger.excused || owner.ended() && client.peek().is_none() {
                break;
            }
            let act = client.peek().map_or(Micros::MAX, |(at, _)| *at);
            owner.now = wake.min(act).max(owner.now + 1);
            polls += 1;
            let endless = owner.now > last_act + 4 * self.scene_length() + 20 * self.patience();
            if endless || polls > POLLS_MAX {
                owner.ledger.broken("endless");
            }
        }
        match owner.ledger.violation().map(String::from) {
            Some(broken) => Err((broken, owner.ledger.into_trace())),
            None => Ok(owner.ledger.figures),
        }
    }
}

/// Most moments of one simulation.
const POLLS_MAX: usize = 400_000;
