//! Time to the first frame, asked of the recorder and asked through the proxy, by turns.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use super::{Common, START_US, demand_clean};
use crate::{
    checker::ms,
    clock::{now, sleep},
    footage::{Footage, GROUP_US},
    player::{Player, Rate, Via, Wish},
    recorder,
    relay::{CAMERA, Relay},
    report::{self, Spread, row, table},
};

/// Between two questions, so that one does not meet the goodbye of the other.
const PAUSE: Duration = Duration::from_millis(30);

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How often each is asked.
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Rate of the stream.
    #[arg(long, default_value_t = 1_500)]
    kbit_s: u32,
}

#[derive(Debug, Serialize)]
struct Figures {
    kbit_s: u32,
    ways: Vec<Way>,
}

/// One way of playing; times in ms from connecting to the whole first picture.
#[derive(Debug, Serialize)]
struct Way {
    name: &'static str,
    direct_ms: Spread,
    through_ms: Spread,
    /// Pair by pair.
    added_ms: Spread,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let program = options.common.program()?;
    let footage = Arc::new(Footage::new(options.kbit_s));
    let recorder = recorder::start(&footage)?;
    let relay = Relay::seamline(&program, recorder, options.runs, None).await?;
    let mut ways = Vec::new();
    for (name, rate) in [("paced", Rate::Paced), ("bulk", Rate::Bulk)] {
        // Once for nothing: the site is known and both programs are warm.
        ask(relay.address, &footage, rate, 0).await?;
        let mut pairs = Vec::new();
        for index in 1..=options.runs {
            let direct = ask(recorder, &footage, rate, index).await?;
            let through = ask(relay.address, &footage, rate, index).await?;
            pairs.push((ms(direct), ms(through)));
        }
        ways.push(Way {
            name,
            direct_ms: Spread::of(pairs.iter().map(|(direct, _)| *direct)),
            through_ms: Spread::of(pairs.iter().map(|(_, through)| *through)),
            added_ms: Spread::of(pairs.iter().map(|(direct, through)| through - direct)),
        });
    }
    let figures = Figures {
        kbit_s: options.kbit_s,
        ways,
    };
    print(&figures);
    report::write("first-frame", &figures, &program, options.common.json)
}

async fn ask(
    server: SocketAddr,
    footage: &Arc<Footage>,
    rate: Rate,
    index: usize,
) -> anyhow::Result<Duration> {
    sleep(PAUSE).await;
    let wish = Wish {
        server,
        camera: CAMERA,
        start_us: START_US + index as i64 * GROUP_US,
        rate,
        via: Via::Tcp,
    };
    let asked: Instant = now();
    let mut player = Player::open(&wish, footage, &Arc::default()).await?;
    let first = player.first_picture().await?;
    demand_clean(player.verdict())?;
    Ok(first.saturating_duration_since(asked))
}

fn print(figures: &Figures) {
    println!("from connecting to the first whole picture, ms; median / p99 / max");
    let three = |spread: Spread| {
        format!(
            "{:.2} / {:.2} / {:.2}",
            spread.median, spread.p99, spread.max
        )
    };
    let mut rows = vec![row([
        "",
        "direct",
        "through",
        "added, pair by pair",
        "runs",
    ])];
    for way in &figures.ways {
        rows.push(vec![
            way.name.into(),
            three(way.direct_ms),
            three(way.through_ms),
            three(way.added_ms),
            way.added_ms.count.to_string(),
        ]);
    }
    table(&rows);
}
