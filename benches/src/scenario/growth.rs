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
    process::Watched,
    progress::Progress,
    report::{Outcome, Target, row},
    stand::{Stand, TargetOptions},
    tcp,
};

/// Below this share of what is due at the pace, the load or the proxy is at its end.
const KEPT: f64 = 0.95;
/// What a session may cost more at the end than at the beginning.
const FLAT: f64 = 1.25;
/// So many are the beginning: a few take memory that was there already, and share what is paid once.
const LIKE_FROM: usize = 200;
/// Of a core; beyond it a process has no more to give.
const FULL: f64 = 0.9;

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
    /// How long is looked at each step, in seconds: by default one group of pictures of each stream.
    #[arg(long, default_value_t = 10)]
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
    /// How much of its core the proxy had, and of theirs the players and their recorder.
    proxy_cores: f64,
    load_cores: f64,
    /// How often TCP of the whole machine, the far ends' too, had no memory for what came.
    short_of_memory: u64,
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
    let load = Watched(std::process::id());
    let progress = Progress::new("growth", options.sessions.len());
    let mut crowd = Crowd::new();
    let mut steps = Vec::new();
    let mut count = 0_usize;
    for &sessions in &options.sessions {
        let (started, before) = (now(), count);
        let short_before = tcp::short_of_memory();
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
        let load_before = load.cpu_s()?;
        sleep(Duration::from_secs(options.seconds)).await;
        let (cpu_s, load_s) = (stand.cpu_s() - cpu_before, load.cpu_s()? - load_before);
        let bytes = crowd.received() - bytes_before;
        let wall_s = now().saturating_duration_since(since).as_secs_f64();
        let due = f64::from(options.kbit_s) * 125.0 * wall_s * sessions as f64;
        steps.push(Step {
            sessions,
            cpu_ms: cpu_s * 1e3 / wall_s / sessions as f64,
            kib_per_session: (stand.resident_kib() - idle_kib).max(0.0) / sessions as f64,
            mbit_s: bytes as f64 * 8e-6 / wall_s,
            kept: bytes as f64 / due,
            proxy_cores: cpu_s / wall_s,
            load_cores: load_s / wall_s,
            short_of_memory: tcp::short_of_memory().saturating_sub(short_before),
        });
        progress.step(format!("{sessions} play"));
    }
    let figures = Figures {
        kbit_s: options.kbit_s,
        steps,
        received: Verdict::merged(crowd.leave().await),
    };
    report(options, &figures)
}

fn report(options: &Options, figures: &Figures) -> anyhow::Result<Outcome> {
    let what = format!(
        "paced sessions of {} pictures a second and {} kbit/s, more and more",
        options.pictures_s, options.kbit_s
    );
    let mut outcome = Outcome::new("growth", what, figures)?;
    outcome.rows = vec![row([
        "sessions",
        "CPU ms of a second of play",
        "KiB a session",
        "Mbit/s",
        "of the pace",
        "of a core",
        "load, of a core",
        "TCP short of memory",
    ])];
    for step in &figures.steps {
        outcome.rows.push(vec![
            step.sessions.to_string(),
            format!("{:.3}", step.cpu_ms),
            format!("{:.0}", step.kib_per_session),
            format!("{:.0}", step.mbit_s),
            format!("{:.0} %", step.kept * 100.0),
            format!("{:.2}", step.proxy_cores),
            format!("{:.2}", step.load_cores),
            step.short_of_memory.to_string(),
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
    outcome.targets = targets(figures);
    outcome.demand_clean(&figures.received);
    Ok(outcome)
}

fn targets(figures: &Figures) -> Vec<Target> {
    let Some(asked) = figures.steps.last() else {
        return Vec::new();
    };
    let like = LIKE_FROM.min(asked.sessions);
    let kept = || {
        let steps = figures.steps.iter();
        steps.filter(|step| step.sessions >= like && step.kept >= KEPT)
    };
    let (Some(first), Some(last)) = (kept().next(), kept().next_back()) else {
        let wanted = format!("the pace is kept at {like} sessions and more");
        let missed = |what| Target::new(what, wanted.clone(), "it was not".to_owned(), false);
        return vec![missed("growth: CPU of a session".to_owned())];
    };
    // One step tells nothing of growth.
    if first.sessions >= asked.sessions {
        return Vec::new();
    }
    let all = last.sessions == asked.sessions;
    let reach = if all {
        String::new()
    } else {
        let limit = match (asked.proxy_cores >= FULL, asked.load_cores >= FULL) {
            (true, false) => "the proxy has no core left",
            (false, true) => "the load has no core left",
            (true, true) => "neither has a core left",
            (false, false) => "others have the cores",
        };
        format!("; beyond {} the pace was not kept: {limit}", last.sessions)
    };
    let grows = |value: fn(&Step) -> f64| value(last) / value(first).max(f64::MIN_POSITIVE);
    let target = |what: &str, wanted: &str, times: f64| {
        Target::new(
            format!("growth: {what} of a session"),
            format!(
                "{wanted} from {} to {} (<= {FLAT} times)",
                first.sessions, asked.sessions
            ),
            format!("{times:.2} times at {}{reach}", last.sessions),
            all && times <= FLAT,
        )
    };
    vec![
        target("CPU", "flat", grows(|step| step.cpu_ms)),
        target("memory", "the same", grows(|step| step.kib_per_session)),
    ]
}
