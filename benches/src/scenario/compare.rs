//! The same work by turns through a plain copy, programs that only pass on, and Seamline: shares of the copy's efficiency.

use std::{fmt, sync::Arc};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::{Common, demand_clean};
use crate::{
    footage::Footage,
    peers::Passer,
    player::{Rate, Via},
    process, recorder,
    relay::Relay,
    report::{self, Spread, row, table},
    work::{Run, Work},
};

/// What is measured shares this core; all else is on the others.
const CORE: usize = 0;
const COPY: &str = "copy";
const SEAMLINE: &str = "seamline";

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds: in each, every program does the work once.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Players of a paced run.
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Players of a bulk run.
    #[arg(long, default_value_t = 1)]
    bulk_sessions: usize,
    /// Rate of each stream.
    #[arg(long, default_value_t = 4_000)]
    kbit_s: u32,
    /// Length of the measured part of a paced run, in seconds. Half of it in bulk.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// One short paced round and one in bulk, three times: under a minute.
    #[arg(long)]
    short: bool,
    /// Fail when the median ratio of Seamline to the copy is below this, paced or in bulk.
    #[arg(long, value_name = "RATIO")]
    at_least: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Figures {
    kbit_s: u32,
    rounds: usize,
    programs: Vec<&'static str>,
    ways: Vec<Way>,
}

/// One way of playing.
#[derive(Debug, Serialize)]
struct Way {
    name: &'static str,
    sessions: usize,
    /// By round, then by program.
    runs: Vec<Vec<Run>>,
    /// By program: bytes per CPU second against the copy of the same round.
    to_copy: Vec<Spread>,
    cpu_s_per_gb: Vec<Spread>,
}

pub(crate) async fn run(mut options: Options) -> anyhow::Result<()> {
    if options.short {
        (options.rounds, options.seconds) = (3, 2);
    }
    let program = options.common.program()?;
    let footage = Arc::new(Footage::new(options.kbit_s));
    let core = (process::cores() > 1).then_some(CORE);
    if core.is_some() {
        process::pin(CORE + 1)?;
    }
    let recorder = recorder::start(&footage)?;
    let most = options.sessions.max(options.bulk_sessions);
    let mut relays = vec![(COPY, Relay::copy_loop(recorder, core).await?)];
    for passer in Passer::ALL {
        match passer.program() {
            Some(program) => {
                let relay = passer.start(&program, recorder, most, core).await?;
                relays.push((passer.name(), relay));
            }
            None => eprintln!("{} is not installed: left out", passer.name()),
        }
    }
    relays.push((
        SEAMLINE,
        Relay::seamline(&program, recorder, most, core).await?,
    ));

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
        let mut runs = Vec::new();
        for round in 0..options.rounds {
            eprintln!("{name} {}/{}", round + 1, options.rounds);
            runs.push(round_of(&work, &relays, round).await?);
        }
        ways.push(Way::new(name, sessions, runs));
    }
    let figures = Figures {
        kbit_s: options.kbit_s,
        rounds: options.rounds,
        programs: relays.iter().map(|(name, _)| *name).collect(),
        ways,
    };
    print(&figures);
    report::write("compare", &figures, &program, options.common.json)?;
    for run in figures
        .ways
        .iter()
        .flat_map(|way| way.runs.iter().flatten())
    {
        demand_clean(&run.received)?;
    }
    demand(&figures, options.at_least)
}

/// Every program does the work once, another one first each time; by program.
async fn round_of(work: &Work, relays: &[(&str, Relay)], round: usize) -> anyhow::Result<Vec<Run>> {
    let mut runs: Vec<Option<Run>> = relays.iter().map(|_| None).collect();
    for turn in 0..relays.len() {
        let index = (round + turn) % relays.len();
        runs[index] = Some(work.measure(&relays[index].1, &Via::Tcp).await?);
    }
    Ok(runs.into_iter().flatten().collect())
}

impl Way {
    fn new(name: &'static str, sessions: usize, runs: Vec<Vec<Run>>) -> Self {
        let programs = runs.first().map_or(0, Vec::len);
        let cost = |round: &[Run], program: usize| round[program].cpu_s_per_gb();
        let to_copy = |program: usize| {
            Spread::of(
                runs.iter()
                    .map(|round| cost(round, 0) / cost(round, program)),
            )
        };
        let costs = |program: usize| Spread::of(runs.iter().map(|round| cost(round, program)));
        Self {
            name,
            sessions,
            to_copy: (0..programs).map(to_copy).collect(),
            cpu_s_per_gb: (0..programs).map(costs).collect(),
            runs,
        }
    }
}

struct Three(Spread);

impl fmt::Display for Three {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread {
            min, median, max, ..
        } = self.0;
        write!(f, "{min:.2} / {median:.2} / {max:.2}")
    }
}

fn print(figures: &Figures) {
    println!(
        "streams of {} kbit/s, {} rounds; min / median / max",
        figures.kbit_s, figures.rounds
    );
    let mut rows = vec![row([
        "",
        "sessions",
        "CPU s/GB",
        "ratio to the copy",
        "Mbit/s",
    ])];
    for way in &figures.ways {
        for (program, name) in figures.programs.iter().enumerate() {
            let rate =
                |round: &Vec<Run>| round[program].bytes as f64 * 8e-6 / round[program].wall_s;
            rows.push(vec![
                format!("{} {name}", way.name),
                way.sessions.to_string(),
                Three(way.cpu_s_per_gb[program]).to_string(),
                Three(way.to_copy[program]).to_string(),
                format!("{:.0}", Spread::of(way.runs.iter().map(rate)).median),
            ]);
        }
    }
    table(&rows);
}

fn demand(figures: &Figures, at_least: Option<f64>) -> anyhow::Result<()> {
    let (Some(at_least), Some(last)) = (at_least, figures.programs.len().checked_sub(1)) else {
        return Ok(());
    };
    for way in &figures.ways {
        let median = way.to_copy[last].median;
        if median < at_least {
            bail!(
                "{}: {median:.2} of the copy, less than {at_least:.2}",
                way.name
            );
        }
    }
    Ok(())
}
