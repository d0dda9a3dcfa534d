//! From starting the program with many cameras to its first session.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use tokio::net::TcpStream;

use super::{Common, START_US};
use crate::{
    checker::ms,
    clock::{now, sleep},
    footage::Footage,
    player::{Player, Rate, Via, Wish},
    plot::{Bar, Bars, Plot},
    process::{self, Process},
    recorder,
    relay::{CAMERA, House, Relay},
    report::{Outcome, Spread, Target, row},
};

const WANTED_MS: f64 = 50.0;
const START_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Cameras that are configured.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) cameras: usize,
    /// How often it is started.
    #[arg(long, default_value_t = 10)]
    pub(crate) runs: usize,
}

#[derive(Debug, Serialize)]
struct Figures {
    cameras: usize,
    listens_ms: Spread,
    accepted_ms: Spread,
    picture_ms: Spread,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let program = options.common.program()?;
    let core = process::part()?;
    let footage = Arc::new(Footage::new(1_500));
    let recorder = recorder::start(&footage)?;
    let house = House {
        cameras: options.cameras,
        ..House::of(recorder, 1)
    };
    let (mut listens, mut accepted, mut picture) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        let (command, address, _folder, _) = Relay::prepared(&program, &house)?;
        let started = now();
        let mut process = Process::start(command, core)?;
        while TcpStream::connect(address).await.is_err() {
            if !process.runs() || now().saturating_duration_since(started) > START_WITHIN {
                bail!("does not listen");
            }
            sleep(Duration::from_millis(1)).await;
        }
        let since = || ms(now().saturating_duration_since(started));
        listens.push(since());
        let wish = Wish {
            server: address,
            host: address.to_string(),
            path: CAMERA.to_owned(),
            start_us: Some(START_US),
            rate: Rate::Paced,
            via: Via::Tcp,
            footage: Some(footage.clone()),
            login: None,
            reads_per_s: None,
        };
        let mut player = Player::open(&wish, &Arc::default()).await?;
        accepted.push(since());
        player.first_picture().await?;
        picture.push(since());
    }
    let figures = Figures {
        cameras: options.cameras,
        listens_ms: Spread::of(listens),
        accepted_ms: Spread::of(accepted),
        picture_ms: Spread::of(picture),
    };
    let what = format!(
        "{} cameras, {} starts; ms from starting the program, min / median / max",
        options.cameras, options.runs
    );
    let mut outcome = Outcome::new("cold-start", what, &figures)?;
    let steps = [
        ("listens", figures.listens_ms),
        ("first PLAY answered", figures.accepted_ms),
        ("first picture", figures.picture_ms),
    ];
    outcome.rows = vec![row(["", "ms"])];
    let rows = steps
        .iter()
        .map(|(name, spread)| row([name, &spread.three(1)]));
    outcome.rows.extend(rows);
    let bars = steps.iter().map(|(name, spread)| Bar {
        name: (*name).into(),
        value: spread.median,
        range: Some((spread.min, spread.max)),
        kind: 0,
    });
    outcome.plot = Some(Plot::Bars(Bars {
        title: format!("from the start with {} cameras, ms", options.cameras),
        all: bars.collect(),
        mark: Some((WANTED_MS, format!("{WANTED_MS} ms"))),
    }));
    let reached = figures.accepted_ms.median;
    outcome.targets = vec![Target::new(
        format!(
            "cold start to first accepted session, {} cameras",
            options.cameras
        ),
        format!("<= {WANTED_MS} ms"),
        format!("{reached:.0} ms (median)"),
        reached <= WANTED_MS,
    )];
    Ok(outcome)
}
