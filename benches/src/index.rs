//! An index of cameras with two copies each, filled as listings fill it: what decisions are measured on.

use std::{collections::HashMap, sync::Arc, time::Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use seamline_probes::{
    Answer, ClientOptions, CoverageQuery, Index, MediaSource, Recorder, RecorderClient,
};
use seamline_routing::{
    Camera, CopyIx, CopyRef, Coverage, Direction, Policy, RecorderId, Request, Step, TimeRange,
    Timestamp, next_step,
};
use seamline_rtsp::sdp::Description;

const SITES: [&str; 2] = ["primary", "secondary"];
/// From one period's start to the next, on average; the last tenth of that is a gap.
const PERIOD_US: i64 = 600_000_000;
/// Periods are as uneven as those of recorders that store when something moves: from a tenth of the average to twice as long.
const PERIOD_MIN_US: i64 = PERIOD_US / 10;
const PERIOD_MAX_US: i64 = PERIOD_US * 2 - PERIOD_MIN_US;
const START_US: i64 = 1_704_067_200_000_000;

/// Cameras whose copies hold so many periods each.
pub(crate) struct Indexed {
    pub(crate) index: Index,
    pub(crate) ids: Vec<String>,
    periods: i64,
    policy: Policy,
    now: Instant,
}

impl Indexed {
    /// All recorders live at `now`. A runtime must be around it: clients of recorders want one, though nothing is ever asked.
    pub(crate) fn new(cameras: usize, periods: i64, now: Instant) -> Self {
        let recorders: HashMap<RecorderId, RecorderClient> = SITES
            .iter()
            .map(|site| {
                let client =
                    RecorderClient::new((*site).into(), Arc::new(Silent), ClientOptions::default());
                client.health().delivers(now);
                ((*site).into(), client)
            })
            .collect();
        let ids: Vec<String> = (0..cameras)
            .map(|number| format!("camera-{number}"))
            .collect();
        let index = Index::new(ids.iter().map(|id| camera(id)), &recorders, now)
            .expect("all recorders are there");
        for (number, id) in ids.iter().enumerate() {
            let slot = index.camera(id).expect("it was just made");
            for copy in 0..SITES.len() {
                slot.listed(CopyIx(copy as u8), &listing(number, copy, periods), now);
            }
        }
        Self {
            index,
            ids,
            periods,
            policy: Policy::default(),
            now,
        }
    }

    /// Instants that are recorded, from the first period to the last.
    pub(crate) fn span_us(&self) -> i64 {
        self.periods * PERIOD_US
    }

    /// As a playback does it: look the camera up by the name that a request brought, read the facts, plan the next step,
    /// `offset_us` behind the first instant.
    pub(crate) fn decide(&self, camera: &str, offset_us: i64) -> Step {
        let request = request(offset_us);
        let slot = self.index.camera(camera).expect("the camera is configured");
        let facts = slot.facts(self.now);
        next_step(
            request.at,
            &request,
            &facts.copies(|_| false),
            None,
            &self.policy,
        )
    }
}

/// A player that wants the instant so far behind the first, and what follows.
pub(crate) fn request(offset_us: i64) -> Request {
    Request {
        at: Timestamp::from_micros(START_US + offset_us),
        until: None,
        direction: Direction::Forward,
    }
}

/// Periods whose gaps meet the other copy's for some cameras, so that holes are decided too.
fn listing(camera: usize, copy: usize, periods: i64) -> Coverage {
    let shift = (camera as i64 * (7 + 11 * copy as i64)) * 1_000_000 % PERIOD_US;
    let mut random = StdRng::seed_from_u64((camera * SITES.len() + copy) as u64);
    let mut start = START_US + shift;
    let ranges = (0..periods).filter_map(|_| {
        let period_us = random.random_range(PERIOD_MIN_US..PERIOD_MAX_US);
        let range = TimeRange::new(
            Timestamp::from_micros(start),
            Timestamp::from_micros(start + period_us / 10 * 9),
        );
        start += period_us;
        range
    });
    Coverage::new(
        TimeRange::ALL,
        ranges.collect::<Vec<_>>(),
        Timestamp::EPOCH,
        false,
    )
}

fn camera(id: &str) -> Camera {
    let copy = |site: &&str| CopyRef {
        site: (*site).into(),
        recorder: (*site).into(),
        remote: "ch1".into(),
        clock_offset_us: 0,
    };
    Camera {
        id: id.into(),
        name: id.into(),
        copies: SITES.iter().map(copy).collect(),
    }
}

/// A recorder that nobody asks.
#[derive(Debug)]
struct Silent;

impl Recorder for Silent {
    fn lists_coverage(&self) -> bool {
        true
    }

    fn coverage(&self, _: CoverageQuery) -> Answer<'_, Coverage> {
        Box::pin(std::future::pending())
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn describe(&self, _: Arc<str>) -> Answer<'_, Description> {
        Box::pin(std::future::pending())
    }

    fn media(&self) -> MediaSource {
        MediaSource::None
    }
}
