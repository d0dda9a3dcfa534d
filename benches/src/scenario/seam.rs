//! Seams that coverage tells of: the primary holds four of every eight seconds, the secondary everything.

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;

use super::{Common, START_US};
use crate::{
    checker::Verdict,
    clock::sleep,
    crowd::Crowd,
    farend::FarEnd,
    footage::{Footage, GROUP_US, PICTURE_US},
    player::{Rate, Via, Wish},
    plot::{Bar, Bars, Plot},
    process,
    recorder::Holds,
    relay::{CAMERA, House, Relay},
    report::{Outcome, Spread, Target, row},
};

const HELD: Holds = Holds {
    held_us: 2 * GROUP_US,
    every_us: 4 * GROUP_US,
};
/// Between two pictures, and as much again.
const WANTED_MS: f64 = 2.0 * PICTURE_US as f64 / 1e3;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Players of each kind.
    #[arg(long, default_value_t = 10)]
    pub(crate) sessions: usize,
    /// Rate of each stream.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) kbit_s: u32,
    /// How long paced ones play, in seconds; the others a fifth of that.
    #[arg(long, default_value_t = 15)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    ways: Vec<Way>,
}

#[derive(Debug, Serialize)]
struct Way {
    name: &'static str,
    seams: usize,
    /// From the last picture of one site to the first of the other.
    seam_ms: Spread,
    received: Verdict,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let program = options.common.program()?;
    let core = process::part()?;
    let primary = FarEnd::start(options.kbit_s, 1, HELD, process::load()).await?;
    let secondary = FarEnd::start(options.kbit_s, 2, Holds::ALL, process::load()).await?;
    let house = House {
        recorders: vec![primary.address, secondary.address],
        listing: true,
        core,
        ..House::of(primary.address, options.sessions)
    };
    let relay = Relay::seamline(&program, &house).await?;
    let footage = Arc::new(Footage::new(options.kbit_s));
    let mut ways = Vec::new();
    for (name, rate, seconds) in [
        ("paced", Rate::Paced, options.seconds as f64),
        ("bulk", Rate::Bulk, options.seconds as f64 / 5.0),
    ] {
        let mut crowd = Crowd::new();
        for index in 0..options.sessions {
            crowd
                .add(&Wish {
                    server: relay.address,
                    host: relay.address.to_string(),
                    path: CAMERA.to_owned(),
                    start_us: Some(START_US + index as i64 * GROUP_US),
                    rate,
                    via: Via::Tcp,
                    footage: Some(Arc::clone(&footage)),
                    login: None,
                    reads_per_s: None,
                })
                .await?;
            // Their seams do not all come at once.
            sleep(Duration::from_millis(100)).await;
        }
        sleep(Duration::from_secs_f64(seconds)).await;
        let received = Verdict::merged(crowd.leave().await);
        ways.push(Way {
            name,
            seams: received.seams_ms.len(),
            seam_ms: Spread::of(received.seams_ms.iter().copied()),
            received,
        });
    }
    let figures = Figures { ways };
    let what = format!(
        "{} players over seams that are known, two encodings of {} kbit/s; ms between the last picture of one site and the first of the other, median / p90 / p99",
        options.sessions, options.kbit_s
    );
    let mut outcome = Outcome::new("seam", what, &figures)?;
    outcome.rows = vec![row(["", "seams", "ms", "missing", "repeated", "faults"])];
    for way in &figures.ways {
        let received = &way.received;
        outcome.rows.push(vec![
            way.name.into(),
            way.seams.to_string(),
            way.seam_ms.high(1),
            received.missing.to_string(),
            received.repeated.to_string(),
            received.faults.to_string(),
        ]);
        if way.seams == 0 {
            outcome.failure = Some(format!("{}: no seam was played", way.name));
        }
        outcome.demand_clean(received);
    }
    let bar = |way: &Way| Bar {
        name: way.name.into(),
        value: way.seam_ms.median,
        range: Some((way.seam_ms.min, way.seam_ms.max)),
        kind: 0,
    };
    outcome.plot = Some(Plot::Bars(Bars {
        title: "between the pictures of two sites at a planned seam, ms".into(),
        all: figures.ways.iter().map(bar).collect(),
        mark: Some((PICTURE_US as f64 / 1e3, "a picture's time".into())),
    }));
    let both = Verdict::merged(figures.ways.iter().map(|way| way.received.clone()));
    outcome.targets = vec![Target::new(
        "planned seam: pictures missing, repeated",
        "0, 0",
        format!("{}, {}", both.missing, both.repeated),
        both.missing + both.repeated == 0,
    )];
    for way in &figures.ways {
        outcome.targets.push(Target::new(
            format!("planned seam, {}: from picture to picture", way.name),
            format!("<= {WANTED_MS} ms (one interval beyond its own)"),
            format!("{:.1} ms worst of {}", way.seam_ms.max, way.seams),
            way.seam_ms.max <= WANTED_MS,
        ));
    }
    Ok(outcome)
}
