//! Resident memory of the proxy for each paced session.

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;

use super::{Common, START_US, demand_clean};
use crate::{
    checker::Verdict,
    clock::{now, sleep, sleep_until},
    footage::{Footage, GROUP_US},
    player::{Crowd, Rate, Via, Wish},
    recorder,
    relay::{CAMERA, Relay},
    report::{self, Spread, row, table},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Players at once.
    #[arg(long, default_value_t = 500)]
    sessions: usize,
    /// Rate of each stream.
    #[arg(long, default_value_t = 1_500)]
    kbit_s: u32,
    /// How long all of them play, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Players that start in a second.
    #[arg(long, default_value_t = 50)]
    ramp: u32,
}

#[derive(Debug, Serialize)]
struct Figures {
    sessions: usize,
    kbit_s: u32,
    /// Bytes of four seconds of the stream, in KiB: what is read ahead for each session.
    four_seconds_kib: f64,
    idle_kib: u64,
    steps: Vec<Step>,
    /// While all play.
    per_session_kib: Spread,
    cpu_percent: f64,
    mbit_s: f64,
    /// After all have left.
    left_kib: u64,
    received: Verdict,
    stall_ms: Spread,
}

/// Memory on the way up.
#[derive(Debug, Serialize)]
struct Step {
    sessions: usize,
    resident_kib: u64,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let program = options.common.program()?;
    let footage = Arc::new(Footage::new(options.kbit_s));
    let recorder = recorder::start(&footage)?;
    let relay = Relay::seamline(&program, recorder, options.sessions, None).await?;
    let wish = |index: usize| Wish {
        server: relay.address,
        camera: CAMERA,
        start_us: START_US + index as i64 * GROUP_US,
        rate: Rate::Paced,
        via: Via::Tcp,
    };

    // One session first: what the first of all costs is not each one's share.
    let mut first = Crowd::new();
    first.add(&wish(0), &footage).await?;
    sleep(Duration::from_secs(2)).await;
    first.leave().await;
    sleep(Duration::from_secs(2)).await;
    let idle_kib = relay.process.resident_kib()?;

    let mut crowd = Crowd::new();
    let mut steps = Vec::new();
    let started = now();
    for index in 0..options.sessions {
        sleep_until(started + Duration::from_secs(1) * index as u32 / options.ramp.max(1)).await;
        crowd.add(&wish(index), &footage).await?;
        if (index + 1) % (options.sessions / 5).max(1) == 0 {
            let resident_kib = relay.process.resident_kib()?;
            eprintln!("{:>5} sessions: {:>6} MiB", index + 1, resident_kib / 1024);
            steps.push(Step {
                sessions: index + 1,
                resident_kib,
            });
        }
    }

    let (cpu_before, bytes_before, since) = (relay.process.cpu_s()?, crowd.received(), now());
    let mut per_session = Vec::new();
    for _ in 0..options.seconds {
        sleep(Duration::from_secs(1)).await;
        let grown = relay.process.resident_kib()?.saturating_sub(idle_kib);
        per_session.push(grown as f64 / options.sessions as f64);
    }
    let elapsed = now().saturating_duration_since(since).as_secs_f64();
    let cpu_s = relay.process.cpu_s()? - cpu_before;
    let bytes = crowd.received() - bytes_before;

    let verdicts = crowd.leave().await;
    sleep(Duration::from_secs(3)).await;
    let figures = Figures {
        sessions: options.sessions,
        kbit_s: options.kbit_s,
        four_seconds_kib: footage.group_bytes() as f64 * 2.0 / 1024.0,
        idle_kib,
        steps,
        per_session_kib: Spread::of(per_session),
        cpu_percent: cpu_s / elapsed * 100.0,
        mbit_s: bytes as f64 * 8.0 / elapsed / 1e6,
        left_kib: relay.process.resident_kib()?,
        stall_ms: Spread::of(verdicts.iter().map(|verdict| verdict.stall_ms_max)),
        received: Verdict::merged(verdicts),
    };
    print(&figures);
    report::write("memory", &figures, &program, options.common.json)?;
    demand_clean(&figures.received)
}

fn print(figures: &Figures) {
    let per_session = figures.per_session_kib;
    let expected = figures.four_seconds_kib;
    let received = &figures.received;
    println!(
        "{} paced sessions of {} kbit/s",
        figures.sessions, figures.kbit_s
    );
    table(&[
        vec![
            "resident, one session before".into(),
            format!("{} MiB", figures.idle_kib / 1024),
        ],
        vec![
            "growth per session".into(),
            format!("{:.0} KiB", per_session.median),
        ],
        vec![
            "  min, max over time".into(),
            format!("{:.0}, {:.0} KiB", per_session.min, per_session.max),
        ],
        vec![
            "  four seconds of footage".into(),
            format!("{expected:.0} KiB"),
        ],
        vec![
            "  beyond that".into(),
            format!("{:.0} KiB", per_session.median - expected),
        ],
        vec![
            "resident, all gone".into(),
            format!("{} MiB", figures.left_kib / 1024),
        ],
        vec![
            "CPU".into(),
            format!("{:.0} % of a core", figures.cpu_percent),
        ],
        vec!["delivered".into(), format!("{:.0} Mbit/s", figures.mbit_s)],
        vec![
            "longest stall of a player".into(),
            format!(
                "{:.0} ms (median {:.0})",
                figures.stall_ms.max, figures.stall_ms.median
            ),
        ],
        vec!["pictures".into(), received.pictures.to_string()],
        row(["faults", &received.faults.to_string()]),
    ]);
}
