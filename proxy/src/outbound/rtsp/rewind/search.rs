//! The end of the footage before a gap that nobody lists.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seamline_routing::time::Timestamp;
use tokio::time::timeout;

use super::fetch::{BEYOND, Fetcher, Plan, QUIET, STEP_GROWTH, ask};
use crate::outbound::rtsp::lost;
use crate::outbound::rtsp::silence::{Silence, Vain};
use crate::outbound::{Arrival, LegFailure};

/// How far back footage is looked for before a gap.
const GAP_MAX: Duration = Duration::from_secs(400 * 86_400);
/// The first step back over a gap.
const STEP_FIRST: Duration = Duration::from_secs(2);
/// The end of a section is looked for until it is known to lie within this.
const SECTION_END: Duration = Duration::from_secs(4);

impl Fetcher {
    /// Where the footage ends that comes before a gap which reaches from `empty` to [`Self::before`]: steps back until there is
    /// some, and halves from there.
    pub(super) async fn search(&mut self, empty: Timestamp) -> Result<Option<Plan>, LegFailure> {
        let (mut empty, mut step) = (empty, STEP_FIRST);
        let mut found = loop {
            if step > GAP_MAX {
                return Ok(None);
            }
            let from = self.before - step;
            match self.first(from).await? {
                Some(first) if first < self.before => break first,
                _ => empty = empty.min(from),
            }
            step *= STEP_GROWTH;
        };
        while empty.micros_since(found) > SECTION_END.as_micros() as i64 {
            let middle = found.shift(empty.micros_since(found) / 2);
            match self.first(middle).await? {
                // One long group: its end is not to be found by halving.
                Some(first) if first <= found => break,
                Some(first) if first < self.before => found = first,
                _ => empty = middle,
            }
        }
        Ok(Some(Plan {
            from: found,
            until: empty.max(found + BEYOND),
            searched: true,
        }))
    }

    /// Capture time of the first picture that is played from an instant on.
    async fn first(&mut self, from: Timestamp) -> Result<Option<Timestamp>, LegFailure> {
        if !self.play(from, None).await? {
            return Ok(None);
        }
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        let reaction = self.order.reaction;
        let mut silence = Silence::new(reaction.first_unit / 3, reaction.response);
        let mut enough = reaction.first_unit * 2 / 3;
        loop {
            let patience = silence.patience(enough);
            match timeout(patience, poll_fn(|cx| session.poll_next(cx))).await {
                Ok(Arrival::Unit(unit)) if unit.track == self.order.master => {
                    self.heard.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Timestamp::from_micros(unit.capture_us)));
                }
                Ok(Arrival::Failed(failure)) => {
                    self.session = None;
                    return Err(failure);
                }
                Ok(Arrival::Ended) if session.closed => return Ok(None),
                // A goodbye may be that of the stretch before.
                Ok(Arrival::Ended) => {
                    enough = reaction.stall_after;
                    silence.heard(QUIET);
                }
                Ok(Arrival::Alive) => {
                    if silence.answered() {
                        self.heard.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(_) => {}
                Err(_) => match silence.in_vain(enough) {
                    Vain::Ask => ask(session),
                    Vain::Lost => {
                        self.session = None;
                        return Err(lost("silent while footage is looked for"));
                    }
                    Vain::Over => return Ok(None),
                },
            }
        }
    }
}
