//! What the proxy pays for each byte, against a plain copy between the same ends.

use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Common, demand_clean};
use crate::{
    calls::Calls,
    footage::Footage,
    player::{Rate, Via},
    process, recorder,
    relay::Relay,
    report::{self, Spread, row, table},
    work::{Run, Work},
};

/// The proxy and the copy loop share this core; all else is on the others.
const CORE: usize = 0;
/// Players while calls are counted.
const TRACED_SESSIONS: usize = 20;

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
    /// Calls into the kernel for a burst of 20 kB, with few players: of the copy loop and of Seamline. None without `strace`.
    calls: [Option<Calls>; 2],
}

#[derive(Debug, Serialize)]
struct Pair {
    /// The copy loop, or Seamline over tcp.
    base: Run,
    seamline: Run,
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
        let work = Work {
            footage: Arc::clone(&footage),
            rate,
            sessions,
            seconds: options.seconds,
        };
        let mut pairs = Vec::new();
        for index in 0..options.pairs {
            // Each goes first as often as the other.
            let pair = if index % 2 == 0 {
                let base = work.measure(base, &Via::Tcp).await?;
                let seamline = work.measure(&seamline, &via).await?;
                Pair { base, seamline }
            } else {
                let seamline = work.measure(&seamline, &via).await?;
                let base = work.measure(base, &Via::Tcp).await?;
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
        // Of their own: what is traced is slow.
        let few = Work {
            sessions: sessions.min(TRACED_SESSIONS),
            ..work
        };
        let calls = match options.transport {
            Transport::Tcp => Some([
                few.count_calls(base, &Via::Tcp).await?,
                few.count_calls(&seamline, &via).await?,
            ]),
            Transport::Udp | Transport::Tls => None,
        };
        ways.push(Way::new(name, sessions, pairs, calls.unwrap_or_default()));
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
    fn new(
        name: &'static str,
        sessions: usize,
        pairs: Vec<Pair>,
        calls: [Option<Calls>; 2],
    ) -> Self {
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
            calls,
        }
    }
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
    let named = ["copy", "seamline"];
    for way in &figures.ways {
        for (name, calls) in named.iter().zip(&way.calls) {
            if let Some(calls) = calls {
                println!("{} {name}: {calls}", way.name);
            }
        }
    }
}
