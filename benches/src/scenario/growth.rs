//! More and more paced sessions: what each costs must not grow with their number.

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
    report::{Outcome, Target, row},
    stand::{Stand, TargetOptions},
};

/// Below this share of what is due at the pace, the load or the proxy is at its end.
const KEPT: f64 = 0.95;
/// What a session may cost more at the end than at the beginning.
const FLAT: f64 = 1.25;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many play, step by step.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 200, 500, 1_000, 2_000])]
    pub(crate) sessions: Vec<usize>,
    /// Rate of each stream.
    #[arg(long, default_value_t = 400)]
    pub(crate) kbit_s: u32,
    /// Pictures of each a second: each wakes the proxy up, so that they, more than bytes, are what it costs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) pictures_s: u32,
    /// How long is looked at each step, in seconds.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Players that start in a second.
    #[arg(long, default_value_t = 200)]
    pub(crate) ramp: u32,
}

#[derive(Debug, Serialize)]
struct Figures {
    kbit_s: u32,
    steps: Vec<Step>,
    received: Verdict,
}

#[derive(Debug, Serialize)]
struct Step {
    sessions: usize,
    /// CPU of a session in a second of play.
    cpu_ms: f64,
    kib_per_session: f64,
    mbit_s: f64,
    /// Of what is due at the pace.
    kept: f64,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let most = options.sessions.iter().copied().max().unwrap_or(1);
    let none = TargetOptions::default();
    let stand = Stand::open(
        &options.common,
        &none,
        Footage::slower(options.kbit_s, options.pictures_s),
        most,
    )
    .await?;
    stand.warm_up().await?;
    let idle_kib = stand.resident_kib();
    let progress = Progress::new("growth", options.sessions.len());
    let mut crowd = Crowd::new();
    let mut steps = Vec::new();
    let mut count = 0_usize;
    for &sessions in &options.sessions {
        let (started, before) = (now(), count);
        while count < sessions {
            let due = Duration::from_secs(1) * (count - before) as u32 / options.ramp.max(1);
            sleep_until(started + due).await;
            crowd
                .add(&stand.wish(count, Rate::Paced, &Via::Tcp))
                .await?;
            count += 1;
        }
        sleep(Duration::from_secs(2)).await;
        let (cpu_before, bytes_before, since) = (stand.cpu_s(), crowd.received(), now());
        sleep(Duration::from_secs(options.seconds)).await;
        let cpu_s = stand.cpu_s() - cpu_before;
        let bytes = crowd.received() - bytes_before;
        let wall_s = now().saturating_duration_since(since).as_secs_f64();
        let due = f64::from(options.kbit_s) * 125.0 * wall_s * sessions as f64;
        steps.push(Step {
            sessions,
            cpu_ms: cpu_s * 1e3 / wall_s / sessions as f64,
            kib_per_session: (stand.resident_kib() - idle_kib).max(0.0) / sessions as f64,
            mbit_s: bytes as f64 * 8e-6 / wall_s,
            kept: bytes as f64 / due,
        });
        progress.step(format!("{sessions} play"));
    }
    let figures = Figures {
        kbit_s: options.kbit_s,
        steps,
        received: Verdict::merged(crowd.leave().await),
    };
    let what = format!(
        "paced sessions of {} pictures a second and {} kbit/s, more and more",
        options.pictures_s, options.kbit_s
    );
    let mut outcome = Outcome::new("growth", what, &figures)?;
    outcome.rows = vec![row([
        "sessions",
        "CPU ms of a second of play",
        "KiB a session",
        "Mbit/s",
        "of the pace",
    ])];
    for step in &figures.steps {
        outcome.rows.push(vec![
            step.sessions.to_string(),
            format!("{:.3}", step.cpu_ms),
            format!("{:.0}", step.kib_per_session),
            format!("{:.0}", step.mbit_s),
            format!("{:.0} %", step.kept * 100.0),
        ]);
    }
    let points = |value: fn(&Step) -> f64| {
        let steps = figures.steps.iter();
        steps
            .map(|step| (step.sessions as f64, value(step)))
            .collect()
    };
    outcome.plot = Some(Plot::Lines(Lines {
        title: "what a session costs, by how many there are".into(),
        across: "paced sessions".into(),
        series: vec![
            (
                "CPU, ms of a second of play".into(),
                points(|step| step.cpu_ms),
            ),
            (
                "memory, MiB".into(),
                points(|step| step.kib_per_session / 1024.0),
            ),
        ],
    }));
    outcome.targets = targets(&figures);
    outcome.demand_clean(&figures.received);
    Ok(outcome)
}

fn targets(figures: &Figures) -> Vec<Target> {
    let kept = || figures.steps.iter().filter(|step| step.kept >= KEPT);
    let (Some(first), Some(last)) = (kept().next(), kept().next_back()) else {
        return Vec::new();
    };
    let asked = figures.steps.last().map_or(0, |step| step.sessions);
    let all = last.sessions == asked;
    let reach = if all {
        String::new()
    } else {
        format!("; beyond {} the pace was not kept", last.sessions)
    };
    let grows = |value: fn(&Step) -> f64| value(last) / value(first).max(f64::MIN_POSITIVE);
    let (cpu, memory) = (
        grows(|step| step.cpu_ms),
        grows(|step| step.kib_per_session),
    );
    vec![
        Target::new(
            "growth: CPU of a session",
            format!("flat from {} to {asked} (<= {FLAT} times)", first.sessions),
            format!("{cpu:.2} times at {}{reach}", last.sessions),
            all && cpu <= FLAT,
        ),
        Target::new(
            "growth: memory of a session",
            format!("linear (<= {FLAT} times a session)"),
            format!("{memory:.2} times at {}{reach}", last.sessions),
            all && memory <= FLAT,
        ),
    ]
}
