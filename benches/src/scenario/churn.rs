//! Players that come, see one picture and go: what a session costs, and that nothing of it stays.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Common;
use crate::{
    checker::Verdict,
    clock::{now, sleep},
    crowd::Crowd,
    footage::Footage,
    player::{Player, Rate, Via, Wish},
    plot::{Lines, Plot},
    report::{Outcome, Spread, row},
    stand::{Stand, TargetOptions},
};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    /// Players at once, each coming again as soon as it has gone.
    #[arg(long, default_value_t = 8)]
    pub(crate) at_once: usize,
    /// Rate of each stream.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) kbit_s: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    sessions: usize,
    sessions_per_s: f64,
    cpu_ms_per_session: f64,
    first_frame_ms: Spread,
    /// Resident memory, second by second, in KiB.
    resident_kib: Vec<f64>,
    /// Files and sockets of the proxy before, and after all have gone.
    descriptors: Option<(usize, usize)>,
    received: Verdict,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let stand = Stand::open(
        &options.common,
        &options.target,
        Footage::new(options.kbit_s),
        options.at_once,
    )
    .await?;
    stand.warm_up().await?;
    let descriptors = || stand.watched.and_then(|watched| watched.descriptors().ok());
    let before = descriptors();
    let (cpu_before, since) = (stand.cpu_s(), now());
    let mut crowd = Crowd::new();
    for index in 0..options.at_once {
        let wish = stand.wish(index, Rate::Paced, &Via::Tcp);
        crowd.add_task(move |stop, received| async move {
            let mut sum = Verdict::default();
            while !*stop.borrow() {
                let (verdict, error) = visit(&wish, &received).await;
                sum = Verdict::merged([sum, verdict]);
                if let Err(error) = error {
                    sum.fault(format!("{error:#}"));
                    return sum;
                }
            }
            sum
        });
    }
    let mut resident_kib = Vec::new();
    for _ in 0..options.seconds {
        sleep(Duration::from_secs(1)).await;
        resident_kib.push(stand.resident_kib());
    }
    let received = Verdict::merged(crowd.leave().await);
    let wall_s = now().saturating_duration_since(since).as_secs_f64();
    let cpu_s = stand.cpu_s() - cpu_before;
    sleep(Duration::from_secs(2)).await;
    let sessions = received.first_ms.len();
    let figures = Figures {
        sessions,
        sessions_per_s: sessions as f64 / wall_s,
        cpu_ms_per_session: cpu_s * 1e3 / sessions.max(1) as f64,
        first_frame_ms: Spread::of(received.first_ms.iter().copied()),
        resident_kib,
        descriptors: before.zip(descriptors()),
        received,
    };
    let what = format!("{} at a time come, see a picture and go", options.at_once);
    let mut outcome = Outcome::new("churn", what, &figures)?;
    let last = figures.resident_kib.last().copied().unwrap_or_default();
    let first = figures.resident_kib.first().copied().unwrap_or_default();
    let (opened, left) = figures.descriptors.unwrap_or_default();
    outcome.rows = vec![
        row(["what", "figure"]),
        row([
            "sessions a second",
            &format!("{:.0}", figures.sessions_per_s),
        ]),
        row([
            "CPU a session",
            &format!("{:.2} ms", figures.cpu_ms_per_session),
        ]),
        row([
            "first frame, median / p90 / p99",
            &format!("{} ms", figures.first_frame_ms.high(1)),
        ]),
        row([
            "resident after a second, and at the end",
            &format!("{:.0}, {:.0} MiB", first / 1024.0, last / 1024.0),
        ]),
        row([
            "files and sockets before, and after all have gone",
            &format!("{opened}, {left}"),
        ]),
        row(["faults", &figures.received.faults.to_string()]),
    ];
    let points = figures.resident_kib.iter().enumerate();
    outcome.plot = Some(Plot::Lines(Lines {
        title: "resident memory while players come and go, MiB".into(),
        across: "seconds".into(),
        series: vec![(
            "resident".into(),
            points
                .map(|(second, kib)| (second as f64 + 1.0, kib / 1024.0))
                .collect(),
        )],
    }));
    outcome.demand_clean(&figures.received);
    if left > opened + options.at_once && outcome.failure.is_none() {
        outcome.failure = Some(format!(
            "{left} files and sockets are open, {opened} were before"
        ));
    }
    Ok(outcome)
}

async fn visit(
    wish: &Wish,
    received: &std::sync::Arc<std::sync::atomic::AtomicU64>,
) -> (Verdict, anyhow::Result<()>) {
    match Player::open(wish, received).await {
        Ok(mut player) => {
            let seen = player.first_picture().await;
            (player.verdict().clone(), seen.map(drop))
        }
        Err(error) => (Verdict::default(), Err(error)),
    }
}
