//! Resident memory of the proxy for each paced session.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Common;
use crate::{
    checker::Verdict,
    clock::{now, sleep, sleep_until},
    crowd::Crowd,
    footage::Footage,
    player::{Rate, Via},
    plot::{Lines, Plot},
    progress::Progress,
    report::{Outcome, Spread, Target, row},
    stand::{Stand, TargetOptions},
};

/// Resident growth of a session that is wished for, in KiB.
pub(super) const WANTED_KIB: f64 = 64.0;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Players at once.
    #[arg(long, default_value_t = 500)]
    pub(crate) sessions: usize,
    /// Rate of each stream.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) kbit_s: u32,
    /// How long all of them play, in seconds.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Players that start in a second.
    #[arg(long, default_value_t = 50)]
    pub(crate) ramp: u32,
}

#[derive(Debug, Serialize)]
struct Figures {
    sessions: usize,
    kbit_s: u32,
    /// Bytes of four seconds of the stream, in KiB.
    four_seconds_kib: f64,
    idle_kib: f64,
    /// Sessions, and what was resident then.
    steps: Vec<(usize, f64)>,
    /// While all play.
    per_session_kib: Spread,
    cpu_percent: f64,
    mbit_s: f64,
    /// After all have left.
    left_kib: f64,
    received: Verdict,
    stall_ms: Spread,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let none = TargetOptions::default();
    let stand = Stand::open(
        &options.common,
        &none,
        Footage::new(options.kbit_s),
        options.sessions,
    )
    .await?;
    stand.warm_up().await?;
    let idle_kib = stand.resident_kib();

    let progress = Progress::new("memory", options.sessions + options.seconds as usize);
    let mut crowd = Crowd::new();
    let mut steps = vec![(0, idle_kib)];
    let started = now();
    for index in 0..options.sessions {
        sleep_until(started + Duration::from_secs(1) * index as u32 / options.ramp.max(1)).await;
        crowd
            .add(&stand.wish(index, Rate::Paced, &Via::Tcp))
            .await?;
        if (index + 1) % (options.sessions / 5).max(1) == 0 {
            steps.push((index + 1, stand.resident_kib()));
        }
        progress.step("more players");
    }
    let (cpu_before, bytes_before, since) = (stand.cpu_s(), crowd.received(), now());
    let mut per_session = Vec::new();
    for _ in 0..options.seconds {
        sleep(Duration::from_secs(1)).await;
        let grown = (stand.resident_kib() - idle_kib).max(0.0);
        per_session.push(grown / options.sessions as f64);
        progress.step("all play");
    }
    let elapsed = now().saturating_duration_since(since).as_secs_f64();
    let cpu_s = stand.cpu_s() - cpu_before;
    let bytes = crowd.received() - bytes_before;

    let verdicts = crowd.leave().await;
    sleep(Duration::from_secs(3)).await;
    let footage_bytes = stand
        .footage
        .as_ref()
        .map_or(0, |footage| footage.group_bytes());
    let figures = Figures {
        sessions: options.sessions,
        kbit_s: options.kbit_s,
        four_seconds_kib: footage_bytes as f64 * 2.0 / 1024.0,
        idle_kib,
        steps,
        per_session_kib: Spread::of(per_session),
        cpu_percent: cpu_s / elapsed * 100.0,
        mbit_s: bytes as f64 * 8.0 / elapsed / 1e6,
        left_kib: stand.resident_kib(),
        stall_ms: Spread::of(verdicts.iter().map(|verdict| verdict.stall_ms_max)),
        received: Verdict::merged(verdicts),
    };
    let what = format!(
        "{} paced sessions of {} kbit/s, memory while all play for {} s",
        options.sessions, options.kbit_s, options.seconds
    );
    let mut outcome = Outcome::new("memory", what, &figures)?;
    outcome.rows = rows(&figures);
    let points = figures.steps.iter();
    outcome.plot = Some(Plot::Lines(Lines {
        title: "resident memory of the proxy, MiB".into(),
        across: "paced sessions".into(),
        series: vec![(
            "resident".into(),
            points
                .map(|(count, kib)| (*count as f64, kib / 1024.0))
                .collect(),
        )],
    }));
    let reached = figures.per_session_kib.median;
    outcome.targets = vec![Target::new(
        "memory per active session",
        format!("<= {WANTED_KIB} KiB resident growth"),
        format!("{reached:.0} KiB"),
        reached <= WANTED_KIB,
    )];
    outcome.demand_clean(&figures.received);
    Ok(outcome)
}

fn rows(figures: &Figures) -> Vec<Vec<String>> {
    let grown = figures.per_session_kib;
    let mib = |kib: f64| format!("{:.0} MiB", kib / 1024.0);
    let line = |what: &str, value: String| vec![what.to_owned(), value];
    vec![
        row(["what", "figure"]),
        line("resident, one session before", mib(figures.idle_kib)),
        line(
            "growth per session, min / median / max over time",
            format!("{} KiB", grown.three(0)),
        ),
        line(
            "four seconds of footage",
            format!("{:.0} KiB", figures.four_seconds_kib),
        ),
        line("resident, all gone", mib(figures.left_kib)),
        line("CPU", format!("{:.0} % of a core", figures.cpu_percent)),
        line("delivered", format!("{:.0} Mbit/s", figures.mbit_s)),
        line(
            "longest wait of a player, median / p90 / p99",
            format!("{} ms", figures.stall_ms.high(0)),
        ),
        line("pictures", figures.received.pictures.to_string()),
        line("faults", figures.received.faults.to_string()),
    ]
}
