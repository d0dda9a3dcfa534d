//! Players that read more slowly than the pace: what they cost, and that the others do not notice.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Common, memory::WANTED_KIB};
use crate::{
    checker::Verdict,
    clock::sleep,
    crowd::Crowd,
    footage::Footage,
    player::{Player, Rate, Via, Wish},
    plot::{Lines, Plot},
    progress::Progress,
    report::{Outcome, Spread, Target, row},
    stand::{Stand, TargetOptions, Transport},
};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    /// Players that read slowly.
    #[arg(long, default_value_t = 100)]
    pub(crate) slow: usize,
    /// What they read of the stream, in percent.
    #[arg(long, default_value_t = 25)]
    pub(crate) percent: u64,
    /// How the slow ones take it.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub(crate) via: Transport,
    /// Length of a slow one's clip over HTTP, in hours.
    #[arg(long, default_value_t = 200)]
    pub(crate) hours: u64,
    /// Players beside them that read as it comes.
    #[arg(long, default_value_t = 20)]
    pub(crate) quick: usize,
    /// Slow ones that start in a second: those that start at once read what they need at once, for good.
    #[arg(long, default_value_t = 100)]
    pub(crate) ramp: u32,
    /// Rate of each stream.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) kbit_s: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    slow: usize,
    quick: usize,
    /// Resident growth for each slow one, second by second.
    kib_per_session: Vec<f64>,
    /// How many of the slow ones the server had sent away by the end.
    sent_away: usize,
    slow_received: Verdict,
    quick_received: Verdict,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let players = options.slow + options.quick;
    let stand = Stand::open(
        &options.common,
        &options.target,
        Footage::new(options.kbit_s),
        players,
    )
    .await?;
    stand.warm_up().await?;
    let mut quick = Crowd::new();
    for index in 0..options.quick {
        quick
            .add(&stand.wish(index, Rate::Paced, &Via::Tcp))
            .await?;
    }
    sleep(Duration::from_secs(2)).await;
    let before = stand.resident_kib();
    let reads_per_s = u64::from(options.kbit_s) * 125 * options.percent / 100;
    let mut slow = Crowd::new();
    let via = match stand.via(options.via)? {
        Via::Http { .. } => Via::Http {
            seconds: options.hours * 3600,
        },
        via => via,
    };
    for index in 0..options.slow {
        let mut wish = stand.wish(index, Rate::Paced, &via);
        wish.reads_per_s = Some(reads_per_s.max(1));
        if let Via::Http { .. } = via {
            slow.add(&wish).await?;
            continue;
        }
        add_session(&mut slow, wish);
        sleep(Duration::from_secs(1) / options.ramp.max(1)).await;
    }
    let progress = Progress::new("slow-readers", options.seconds as usize);
    let mut per_session = Vec::new();
    for _ in 0..options.seconds {
        sleep(Duration::from_secs(1)).await;
        per_session.push((stand.resident_kib() - before).max(0.0) / options.slow as f64);
        progress.step("reading slowly");
    }
    let sent_away = options.slow - slow.still_playing();
    let figures = Figures {
        slow: options.slow,
        quick: options.quick,
        kib_per_session: per_session,
        sent_away,
        slow_received: Verdict::merged(slow.leave().await),
        quick_received: Verdict::merged(quick.leave().await),
    };
    let what = format!(
        "{} players that read {} % of {} kbit/s via {} for {} s, beside {} that read all",
        options.slow,
        options.percent,
        options.kbit_s,
        options.via.name(),
        options.seconds,
        options.quick
    );
    let mut outcome = Outcome::new("slow-readers", what, &figures)?;
    let grown = Spread::of(figures.kib_per_session.iter().copied());
    outcome.rows = vec![
        row(["what", "figure"]),
        row([
            "growth for each slow one, min / median / max",
            &format!("{} KiB", grown.three(0)),
        ]),
        row(["sent away by the server", &figures.sent_away.to_string()]),
        row([
            "longest wait of the others",
            &format!("{:.0} ms", figures.quick_received.stall_ms_max),
        ]),
        row([
            "faults",
            &(figures.slow_received.faults + figures.quick_received.faults).to_string(),
        ]),
    ];
    let points = figures.kib_per_session.iter().enumerate();
    outcome.plot = Some(Plot::Lines(Lines {
        title: "growth of resident memory for each slow reader, KiB".into(),
        across: "seconds".into(),
        series: vec![(
            "growth".into(),
            points
                .map(|(second, kib)| (second as f64 + 1.0, *kib))
                .collect(),
        )],
    }));
    outcome.targets = vec![Target::new(
        "memory per slow reader",
        format!("<= {WANTED_KIB} KiB, bounded"),
        format!("{:.0} KiB at most", grown.max),
        grown.max <= WANTED_KIB,
    )];
    outcome.demand_clean(&figures.slow_received);
    outcome.demand_clean(&figures.quick_received);
    Ok(outcome)
}

/// Adds a player over RTSP, which may be sent away.
fn add_session(crowd: &mut Crowd, wish: Wish) {
    crowd.add_task(move |mut stop, received| async move {
        let mut player = match Player::open(&wish, &received).await {
            Ok(player) => player,
            Err(error) => {
                let mut verdict = Verdict::default();
                verdict.fault(format!("{error:#}"));
                return verdict;
            }
        };
        tokio::select! {
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {}
            // Who reads too slowly may be sent away: that is no fault.
            ended = player.until(|_| false) => drop(ended),
        }
        player.verdict().clone()
    });
}
