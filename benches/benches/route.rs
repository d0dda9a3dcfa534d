//! What a warm route decision costs: the facts of a random camera, read from the index, and the next step planned on them.
//!
//! `cargo bench -p seamline-bench --bench route`: 10,000 cameras with 2 copies of 1,000 periods each. Fails when a
//! decision allocates or memory grows.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use seamline_probes::{
    Answer, ClientOptions, CoverageQuery, Index, MediaSource, Recorder, RecorderClient,
};
use seamline_routing::{
    Camera, CopyIx, CopyRef, Coverage, Direction, Policy, RecorderId, Request, Step, TimeRange,
    Timestamp, next_step,
};
use seamline_rtsp::sdp::Description;

const CAMERAS: usize = 10_000;
const SITES: [&str; 2] = ["primary", "secondary"];
const PERIODS: i64 = 1_000;
/// From one period's start to the next; the last tenth of it is a gap.
const PERIOD_US: i64 = 600_000_000;
const START_US: i64 = 1_704_067_200_000_000;
const DECISIONS: usize = 1_000_000;
/// Decisions timed together where the clock's own cost would show.
const BATCH: usize = 100;
const WARM_UP: usize = 50_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    // Clients of recorders want a runtime around them; nothing is ever asked.
    let _inside = runtime.enter();
    let bench = Bench::new();
    let mut random = Random(0x5eed);

    for _ in 0..WARM_UP {
        bench.decide(&mut random);
    }
    let mut batches: Vec<f64> = (0..DECISIONS / BATCH)
        .map(|_| {
            let began = now();
            for _ in 0..BATCH {
                black_box(bench.decide(&mut random));
            }
            nanoseconds(began) / BATCH as f64
        })
        .collect();
    let mut singles: Vec<f64> = (0..DECISIONS)
        .map(|_| {
            let began = now();
            black_box(bench.decide(&mut random));
            nanoseconds(began)
        })
        .collect();
    let mut warm: Vec<f64> = (0..DECISIONS / BATCH)
        .map(|number| {
            let began = now();
            for _ in 0..BATCH {
                black_box(bench.decide_for(number % CAMERAS, &mut random));
            }
            nanoseconds(began) / BATCH as f64
        })
        .collect();
    let mut clock: Vec<f64> = (0..DECISIONS).map(|_| nanoseconds(now())).collect();
    let mut legs = 0_usize;
    let counted = allocation_counter::measure(|| {
        for _ in 0..DECISIONS {
            legs += usize::from(matches!(bench.decide(&mut random), Step::Leg { .. }));
        }
    });

    let empty = at(&mut clock, 0.5);
    println!(
        "{CAMERAS} cameras x {} copies x {PERIODS} periods, random instants",
        SITES.len()
    );
    let report = |name: &str, values: &mut [f64], less: f64| {
        let (median, p99) = (at(values, 0.5) - less, at(values, 0.99) - less);
        println!("{name:<40} median {median:>5.0} ns   p99 {p99:>5.0} ns");
    };
    report("random camera, means of 100", &mut batches, 0.0);
    report("random camera, one by one", &mut singles, empty);
    report("the same camera again, means of 100", &mut warm, 0.0);
    println!(
        "legs decided {:.1} %, allocations per decision {}, growth after {DECISIONS} decisions {} bytes",
        legs as f64 / DECISIONS as f64 * 100.0,
        counted.count_total as f64 / DECISIONS as f64,
        counted.bytes_current
    );
    assert_eq!(counted.count_total, 0, "a decision allocates");
    assert_eq!(counted.bytes_current, 0, "memory grows with decisions");
}

struct Bench {
    index: Index,
    ids: Vec<String>,
    policy: Policy,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = now();
        let recorders: HashMap<RecorderId, RecorderClient> = SITES
            .iter()
            .map(|site| {
                let client =
                    RecorderClient::new((*site).into(), Arc::new(Silent), ClientOptions::default());
                client.health().delivers(now);
                ((*site).into(), client)
            })
            .collect();
        let ids: Vec<String> = (0..CAMERAS)
            .map(|number| format!("camera-{number}"))
            .collect();
        let cameras = ids.iter().map(|id| camera(id));
        let index = Index::new(cameras, &recorders, now).expect("all recorders are there");
        for (number, id) in ids.iter().enumerate() {
            let slot = index.camera(id).expect("it was just made");
            for (copy, _) in SITES.iter().enumerate() {
                let listing = listing(number, copy);
                slot.listed(CopyIx(copy as u8), &listing, now);
            }
        }
        Self {
            index,
            ids,
            policy: Policy::default(),
            now,
        }
    }

    /// As a playback does it: look the camera up, read the facts, plan the next step.
    fn decide(&self, random: &mut Random) -> Step {
        let camera = random.below(CAMERAS as u64) as usize;
        self.decide_for(camera, random)
    }

    fn decide_for(&self, camera: usize, random: &mut Random) -> Step {
        let id = &self.ids[camera];
        let at = START_US + random.below((PERIODS * PERIOD_US) as u64) as i64;
        let request = Request {
            at: Timestamp::from_micros(at),
            until: None,
            direction: Direction::Forward,
        };
        let slot = self.index.camera(id).expect("the camera is configured");
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

/// Periods whose gaps meet the other copy's for some cameras, so that holes are decided too.
fn listing(camera: usize, copy: usize) -> Coverage {
    let shift = (camera as i64 * (7 + 11 * copy as i64)) * 1_000_000 % PERIOD_US;
    let periods = (0..PERIODS).filter_map(|number| {
        let start = START_US + shift + number * PERIOD_US;
        range(start, start + PERIOD_US / 10 * 9)
    });
    Coverage::new(
        TimeRange::ALL,
        periods.collect::<Vec<_>>(),
        Timestamp::EPOCH,
        false,
    )
}

fn range(start: i64, end: i64) -> Option<TimeRange> {
    TimeRange::new(Timestamp::from_micros(start), Timestamp::from_micros(end))
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

/// xorshift64*: the same decisions in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn nanoseconds(since: Instant) -> f64 {
    let span: Duration = now().saturating_duration_since(since);
    span.as_nanos() as f64
}

/// The value below which `part` of all lie.
fn at(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}
