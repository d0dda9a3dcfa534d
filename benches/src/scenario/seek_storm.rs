//! Players that jump about: how soon the picture is there after each jump.

use std::time::Duration;

use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;

use super::Common;
use crate::{
    checker::Verdict,
    clock::now,
    crowd::Crowd,
    footage::Footage,
    footage::GROUP_US,
    player::{Player, Rate, Via, Wish},
    plot::{Bar, Bars, Plot},
    report::{Outcome, Spread, row},
    stand::{Stand, TargetOptions},
};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    /// Players that jump.
    #[arg(long, default_value_t = 50)]
    pub(crate) sessions: usize,
    /// Between a picture and the next jump, in ms.
    #[arg(long, default_value_t = 200)]
    pub(crate) rest_ms: u64,
    /// How far they jump at most, in seconds.
    #[arg(long, default_value_t = 3_000)]
    pub(crate) within: i64,
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
    jumps: usize,
    jumps_per_s: f64,
    cpu_ms_per_jump: f64,
    picture_ms: Spread,
    received: Verdict,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let stand = Stand::open(
        &options.common,
        &options.target,
        Footage::new(options.kbit_s),
        options.sessions,
    )
    .await?;
    stand.warm_up().await?;
    let (cpu_before, since) = (stand.cpu_s(), now());
    let mut crowd = Crowd::new();
    for index in 0..options.sessions {
        let wish = stand.wish(index, Rate::Paced, &Via::Tcp);
        let (rest, groups) = (
            Duration::from_millis(options.rest_ms),
            options.within * 1_000_000 / GROUP_US,
        );
        crowd.add_task(move |mut stop, received| async move {
            let mut verdict = Verdict::default();
            let mut player = match Player::open(&wish, &received).await {
                Ok(player) => player,
                Err(error) => {
                    verdict.fault(format!("{error:#}"));
                    return verdict;
                }
            };
            let outcome = tokio::select! {
                () = async { drop(stop.wait_for(|stop| *stop).await) } => Ok(()),
                ended = jump(&mut player, &wish, index as u64, rest, groups) => ended,
            };
            verdict = player.verdict().clone();
            if let Err(error) = outcome {
                verdict.fault(format!("{error:#}"));
            }
            verdict
        });
    }
    crate::clock::sleep(Duration::from_secs(options.seconds)).await;
    let received = Verdict::merged(crowd.leave().await);
    let wall_s = now().saturating_duration_since(since).as_secs_f64();
    let jumps = received.first_ms.len();
    let figures = Figures {
        sessions: options.sessions,
        jumps,
        jumps_per_s: jumps as f64 / wall_s,
        cpu_ms_per_jump: (stand.cpu_s() - cpu_before) * 1e3 / jumps.max(1) as f64,
        picture_ms: Spread::of(received.first_ms.iter().copied()),
        received,
    };
    let what = format!(
        "{} players that jump {} ms after each picture; from asking to the whole picture",
        options.sessions, options.rest_ms
    );
    let mut outcome = Outcome::new("seek-storm", what, &figures)?;
    outcome.rows = vec![
        row(["what", "figure"]),
        row(["jumps a second", &format!("{:.0}", figures.jumps_per_s)]),
        row([
            "picture after, median / p90 / p99",
            &format!("{} ms", figures.picture_ms.high(1)),
        ]),
        row([
            "CPU a jump, with what is played between",
            &format!("{:.2} ms", figures.cpu_ms_per_jump),
        ]),
        row(["faults", &figures.received.faults.to_string()]),
    ];
    let bar = |name: &str, value: f64| Bar {
        name: name.into(),
        value,
        range: None,
        kind: 0,
    };
    outcome.plot = Some(Plot::Bars(Bars {
        title: "from a jump to its picture, ms".into(),
        all: vec![
            bar("median", figures.picture_ms.median),
            bar("p90", figures.picture_ms.p90),
            bar("p99", figures.picture_ms.p99),
        ],
        mark: None,
    }));
    outcome.demand_clean(&figures.received);
    Ok(outcome)
}

/// Jumps to some group of pictures after the other, the same ones in each run.
async fn jump(
    player: &mut Player,
    wish: &Wish,
    seed: u64,
    rest: Duration,
    groups: i64,
) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    player.first_picture().await?;
    loop {
        player.play_for(rest).await?;
        let begins = wish.start_us.unwrap_or_default();
        let to_us = begins + random.random_range(0..groups.max(1)) * GROUP_US;
        player.seek(to_us).await?;
        player.first_picture().await?;
    }
}
