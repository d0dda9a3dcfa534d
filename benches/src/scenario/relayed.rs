//! What the proxy pays for each byte, against a plain copy between the same ends.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Common, START_US, demand_clean};
use crate::{
    checker::Verdict,
    clock::{now, sleep, sleep_until},
    footage::{Footage, GROUP_US},
    player::{Crowd, Rate, Via, Wish},
    process, recorder,
    relay::{CAMERA, Relay},
    report::{self, Spread, row, table},
};

/// Players of a paced run start within this time, so that their pictures do not come all at once.
const RAMP: Duration = Duration::from_secs(1);
/// Until the first rush is over.
const SETTLE_PACED: Duration = Duration::from_secs(2);
const SETTLE_BULK: Duration = Duration::from_millis(300);
/// The proxy and the copy loop share this core; all else is on the others.
const CORE: usize = 0;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Pairs of runs for each way of playing.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Players of a paced run.
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Players of a bulk run.
    #[arg(long, default_value_t = 1)]
    bulk_sessions: usize,
    /// What carries the footage to the players: over tcp Seamline is measured against the copy loop, else against itself
    /// over tcp.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    transport: Transport,
    /// Rate of each stream.
    #[arg(long, default_value_t = 4_000)]
    kbit_s: u32,
    /// Length of the measured part of a paced run, in seconds. Half of it in bulk.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Tcp,
    Udp,
    Tls,
}

#[derive(Debug, Serialize)]
struct Figures {
    transport: Transport,
    kbit_s: u32,
    ways: Vec<Way>,
}

/// One way of playing.
#[derive(Debug, Serialize)]
struct Way {
    name: &'static str,
    sessions: usize,
    pairs: Vec<Pair>,
    /// Bytes per CPU second of Seamline to that of what it is measured against.
    ratio: Spread,
    seamline_cpu_s_per_gb: Spread,
    base_cpu_s_per_gb: Spread,
}

#[derive(Debug, Serialize)]
struct Pair {
    /// The copy loop, or Seamline over tcp.
    base: Run,
    seamline: Run,
}

#[derive(Debug, Serialize)]
struct Run {
    cpu_s: f64,
    bytes: u64,
    wall_s: f64,
    received: Verdict,
}

impl Run {
    fn cpu_s_per_gb(&self) -> f64 {
        self.cpu_s / (self.bytes.max(1) as f64 / 1e9)
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let program = options.common.program()?;
    let footage = Arc::new(Footage::new(options.kbit_s));
    let core = (process::cores() > 1).then_some(CORE);
    if core.is_some() {
        process::pin(CORE + 1)?;
    }
    let recorder = recorder::start(&footage)?;
    let seamline = Relay::seamline(&program, recorder, options.sessions, core).await?;
    let copy_loop = Relay::copy_loop(recorder, core).await?;
    let (base, via) = match options.transport {
        Transport::Tcp => (&copy_loop, Via::Tcp),
        Transport::Udp => (&seamline, Via::Udp),
        Transport::Tls => {
            let trusted = seamline.trusted.clone().context("Seamline speaks TLS")?;
            (&seamline, Via::Tls(trusted))
        }
    };
    let mut ways = Vec::new();
    for (name, rate, sessions) in [
        ("paced", Rate::Paced, options.sessions),
        ("bulk", Rate::Bulk, options.bulk_sessions),
    ] {
        let mut pairs = Vec::new();
        for index in 0..options.pairs {
            let measure =
                |relay, via| measure(relay, via, &footage, rate, sessions, options.seconds);
            // Each goes first as often as the other.
            let pair = if index % 2 == 0 {
                let base = measure(base, &Via::Tcp).await?;
                let seamline = measure(&seamline, &via).await?;
                Pair { base, seamline }
            } else {
                let seamline = measure(&seamline, &via).await?;
                let base = measure(base, &Via::Tcp).await?;
                Pair { base, seamline }
            };
            eprintln!(
                "{name} {}/{}: base {:.3}, seamline {:.3} CPU s/GB",
                index + 1,
                options.pairs,
                pair.base.cpu_s_per_gb(),
                pair.seamline.cpu_s_per_gb()
            );
            pairs.push(pair);
        }
        ways.push(Way::new(name, sessions, pairs));
    }
    let figures = Figures {
        transport: options.transport,
        kbit_s: options.kbit_s,
        ways,
    };
    print(&figures);
    report::write("relay", &figures, &program, options.common.json)?;
    figures
        .ways
        .iter()
        .flat_map(|way| &way.pairs)
        .flat_map(|pair| [&pair.base, &pair.seamline])
        .try_for_each(|run| demand_clean(&run.received))
}

impl Way {
    fn new(name: &'static str, sessions: usize, pairs: Vec<Pair>) -> Self {
        let ratio = |pair: &Pair| pair.base.cpu_s_per_gb() / pair.seamline.cpu_s_per_gb();
        Self {
            name,
            sessions,
            ratio: Spread::of(pairs.iter().map(ratio)),
            seamline_cpu_s_per_gb: Spread::of(
                pairs.iter().map(|pair| pair.seamline.cpu_s_per_gb()),
            ),
            base_cpu_s_per_gb: Spread::of(pairs.iter().map(|pair| pair.base.cpu_s_per_gb())),
            pairs,
        }
    }
}

/// Plays through a relay, and looks at its CPU time over a while in the middle.
async fn measure(
    relay: &Relay,
    via: &Via,
    footage: &Arc<Footage>,
    rate: Rate,
    sessions: usize,
    seconds: u64,
) -> anyhow::Result<Run> {
    let paced = rate == Rate::Paced;
    let mut crowd = Crowd::new();
    let started = now();
    for index in 0..sessions {
        if paced {
            sleep_until(started + RAMP * index as u32 / sessions as u32).await;
        }
        let wish = Wish {
            server: relay.address,
            camera: CAMERA,
            start_us: START_US + index as i64 * GROUP_US,
            rate,
            via: via.clone(),
        };
        crowd.add(&wish, footage).await?;
    }
    sleep(if paced { SETTLE_PACED } else { SETTLE_BULK }).await;
    let (cpu_before, bytes_before, since) = (relay.process.cpu_s()?, crowd.received(), now());
    let window = Duration::from_secs(seconds);
    sleep(if paced { window } else { window / 2 }).await;
    let (cpu_after, bytes_after) = (relay.process.cpu_s()?, crowd.received());
    let wall_s = now().saturating_duration_since(since).as_secs_f64();
    let received = Verdict::merged(crowd.leave().await);
    // What is left in the buffers of the sessions that were left must not disturb the next run.
    sleep(Duration::from_millis(500)).await;
    Ok(Run {
        cpu_s: cpu_after - cpu_before,
        bytes: bytes_after - bytes_before,
        wall_s,
        received,
    })
}

fn print(figures: &Figures) {
    println!("streams of {} kbit/s; min / median / max", figures.kbit_s);
    let three = |spread: Spread| {
        format!(
            "{:.2} / {:.2} / {:.2}",
            spread.min, spread.median, spread.max
        )
    };
    let (base, over) = match figures.transport {
        Transport::Tcp => ("copy CPU s/GB", "seamline CPU s/GB"),
        Transport::Udp => ("tcp CPU s/GB", "udp CPU s/GB"),
        Transport::Tls => ("tcp CPU s/GB", "tls CPU s/GB"),
    };
    let mut rows = vec![row([
        "", "sessions", "pairs", base, over, "ratio", "Mbit/s",
    ])];
    for way in &figures.ways {
        let rate = |pair: &Pair| pair.seamline.bytes as f64 * 8e-6 / pair.seamline.wall_s;
        rows.push(vec![
            way.name.into(),
            way.sessions.to_string(),
            way.pairs.len().to_string(),
            three(way.base_cpu_s_per_gb),
            three(way.seamline_cpu_s_per_gb),
            three(way.ratio),
            format!("{:.0}", Spread::of(way.pairs.iter().map(rate)).median),
        ]);
    }
    table(&rows);
}
