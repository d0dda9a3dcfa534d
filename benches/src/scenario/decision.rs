//! What a route decision costs: the facts of a random camera, read from a warm index, and the next step planned on them.

use std::{hint::black_box, time::Instant};

use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use seamline_routing::Step;
use serde::Serialize;

use super::Common;
use crate::{
    clock::now,
    index::Indexed,
    plot::{Lines, Plot},
    progress::Progress,
    report::{Outcome, Spread, Target, row},
};

/// Decisions timed together where the clock's own cost would show.
const BATCH: usize = 100;
/// Room for any name of the index.
const NAME_BYTES: usize = 32;
const WARM_UP: usize = 20_000;
/// Cameras while periods grow: few enough that all of them stay in the caches, so that it is the search that grows.
const FEW: usize = 4;
const WANTED_MEDIAN_NS: f64 = 1_000.0;
const WANTED_P99_NS: f64 = 5_000.0;
/// What a decision may take more with a thousand times as many periods: a binary search looks ten times more often.
const LOGARITHMIC: f64 = 4.0;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Cameras, with two copies each.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) cameras: usize,
    /// Periods of each copy.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) periods: i64,
    /// Decisions.
    #[arg(long, default_value_t = 300_000)]
    pub(crate) decisions: usize,
}

#[derive(Debug, Serialize)]
struct Figures {
    cameras: usize,
    periods: i64,
    decisions: usize,
    /// In ns, one by one, less what the clock takes.
    random_camera_ns: Spread,
    /// In ns, means of a hundred.
    same_camera_ns: Spread,
    allocations: u64,
    growth_bytes: i64,
    /// Periods, and the median in ns of a camera that is in use.
    by_periods: Vec<(i64, f64)>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Outcome> {
    let progress = Progress::new("decision", 6);
    let mut random = StdRng::seed_from_u64(0x5eed);
    let indexed = Indexed::new(options.cameras, options.periods, now());
    let mut name = String::with_capacity(NAME_BYTES);
    let mut wish = |indexed: &Indexed, name: &mut String| {
        let camera = random.random_range(0..indexed.ids.len());
        name.clear();
        // A request has just been read that names it: the name is at hand, what the index keeps of it is not.
        name.push_str(&indexed.ids[camera]);
        random.random_range(0..indexed.span_us())
    };
    for _ in 0..WARM_UP {
        let offset_us = wish(&indexed, &mut name);
        black_box(indexed.decide(&name, offset_us));
    }
    let clock = Spread::of((0..options.decisions).map(|_| nanoseconds(now())));
    let random_camera_ns = Spread::of((0..options.decisions).map(|_| {
        let offset_us = wish(&indexed, &mut name);
        let began = now();
        black_box(indexed.decide(black_box(&name), offset_us));
        (nanoseconds(began) - clock.median).max(0.0)
    }));
    progress.step("the same camera again");
    let mut legs = 0_usize;
    let counted = allocation_counter::measure(|| {
        for _ in 0..options.decisions {
            let offset_us = wish(&indexed, &mut name);
            let step = indexed.decide(&name, offset_us);
            legs += usize::from(matches!(step, Step::Leg { .. }));
        }
    });
    let same_camera_ns = in_use(&indexed, options.decisions);
    drop(indexed);
    let mut by_periods = Vec::new();
    for periods in [10, 100, 1_000, 10_000] {
        progress.step(format!("{periods} periods"));
        let indexed = Indexed::new(FEW, periods, now());
        by_periods.push((periods, in_use(&indexed, options.decisions).median));
    }
    let figures = Figures {
        cameras: options.cameras,
        periods: options.periods,
        decisions: options.decisions,
        random_camera_ns,
        same_camera_ns,
        allocations: counted.count_total,
        growth_bytes: counted.bytes_current,
        by_periods,
    };
    let what = format!(
        "{} cameras x 2 copies x {} periods, {} decisions at random instants, {:.0} % of them a leg; ns, median / p90 / p99",
        options.cameras,
        options.periods,
        options.decisions,
        legs as f64 / options.decisions as f64 * 100.0
    );
    report(what, &figures)
}

/// Decisions for one camera after the other, each a hundred times in a row.
fn in_use(indexed: &Indexed, decisions: usize) -> Spread {
    let mut random = StdRng::seed_from_u64(7);
    Spread::of((0..decisions / BATCH).map(|number| {
        let name = &indexed.ids[number % indexed.ids.len()];
        let began = now();
        for _ in 0..BATCH {
            let offset_us = random.random_range(0..indexed.span_us());
            black_box(indexed.decide(name, offset_us));
        }
        nanoseconds(began) / BATCH as f64
    }))
}

fn report(what: String, figures: &Figures) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new("decision", what, figures)?;
    let (any, same) = (figures.random_camera_ns, figures.same_camera_ns);
    outcome.rows = vec![
        row(["what", "ns"]),
        row(["random camera, one by one", &any.high(0)]),
        row(["a camera in use, means of 100", &same.high(0)]),
        row(["allocations", &figures.allocations.to_string()]),
    ];
    for (periods, median) in &figures.by_periods {
        let name = format!("a camera in use, {periods} periods (median)");
        outcome.rows.push(row([&name, &format!("{median:.0}")]));
    }
    let points = figures.by_periods.iter();
    outcome.plot = Some(Plot::Lines(Lines {
        title: "a decision, ns, by the periods that each copy holds".into(),
        across: "log10 of the periods".into(),
        series: vec![(
            "median".into(),
            points
                .map(|(periods, ns)| ((*periods as f64).log10(), *ns))
                .collect(),
        )],
    }));
    let allocates = figures.allocations;
    outcome.targets = vec![
        Target::new(
            "next step, random camera of a warm index",
            "median <= 1 µs, p99 <= 5 µs",
            format!("{:.2} µs, {:.2} µs", any.median / 1e3, any.p99 / 1e3),
            any.median <= WANTED_MEDIAN_NS && any.p99 <= WANTED_P99_NS,
        ),
        Target::new(
            "next step, a camera in use",
            "median <= 1 µs, p99 <= 5 µs",
            format!("{:.2} µs, {:.2} µs", same.median / 1e3, same.p99 / 1e3),
            same.median <= WANTED_MEDIAN_NS && same.p99 <= WANTED_P99_NS,
        ),
        Target::new(
            "next step allocates",
            "nothing",
            format!("{allocates} allocations"),
            allocates == 0,
        ),
    ];
    if let (Some((_, few)), Some((_, many))) =
        (figures.by_periods.first(), figures.by_periods.last())
    {
        let times = many / few;
        outcome.targets.push(Target::new(
            "growth: decision time by periods",
            format!("logarithmic (<= {LOGARITHMIC} times for 1,000 times the periods)"),
            format!("{times:.1} times"),
            times <= LOGARITHMIC,
        ));
    }
    if allocates > 0 || figures.growth_bytes > 0 {
        outcome.failure = Some(format!("{allocates} allocations in decisions"));
    }
    Ok(outcome)
}

fn nanoseconds(since: Instant) -> f64 {
    now().saturating_duration_since(since).as_nanos() as f64
}
