//! Every scenario, one after the other, and the page that tells of them.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::{Args, Parser};

use super::Common;
use crate::{
    Cli, clock,
    report::{Files, Outcome, table},
    results::{self, Done},
};

/// Between two scenarios: what the one before leaves behind is gone.
const PAUSE: Duration = Duration::from_millis(500);

/// As they are run for the page: ten to fifteen minutes on two cores.
const LINES: [&str; 14] = [
    "compare --rounds 3 --seconds 3",
    "memory --sessions 300 --seconds 10 --ramp 100",
    "slow-readers --slow 100 --seconds 15",
    "first-frame",
    "outage --repeats 3",
    "seam",
    "play --via tcp,udp,tls,http --sessions 40 --seconds 8",
    "seek-storm",
    "churn",
    "growth",
    "cold-start",
    "fan-out",
    "imageserver",
    "decision",
];

/// The same, small: to see that all of them work.
const SMALL: [&str; 14] = [
    "compare --rounds 1 --seconds 1 --sessions 10",
    "memory --sessions 10 --seconds 2",
    "slow-readers --slow 5 --quick 2 --seconds 4",
    "first-frame --runs 5",
    "outage --repeats 1 --sessions 1",
    "seam --sessions 2 --seconds 10",
    "play --via tcp,udp,tls,http --sessions 4 --seconds 2",
    "seek-storm --sessions 4 --seconds 2",
    "churn --at-once 2 --seconds 2",
    "growth --sessions 5,10 --seconds 2",
    "cold-start --cameras 500 --runs 2",
    "fan-out --sessions 10 --seconds 2",
    "imageserver --sessions 10 --seconds 2 --runs 10",
    "decision --cameras 100 --periods 100 --decisions 10000",
];

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The program to measure; by default the one beside this one.
    #[arg(long, value_name = "FILE")]
    seamline: Option<PathBuf>,
    /// Writes benches/RESULTS.md and its plots.
    #[arg(long)]
    write: bool,
    /// Writes such a page and its plots into this folder.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// Small sizes, in about a minute and a half: to see that all of it works. The figures mean little.
    #[arg(long)]
    small: bool,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// `MediaMTX`, go2rtc and live555ProxyServer for the comparison.
    #[arg(long, value_name = "FILE")]
    mediamtx: Option<PathBuf>,
    /// See `--mediamtx`.
    #[arg(long, value_name = "FILE")]
    go2rtc: Option<PathBuf>,
    /// See `--mediamtx`.
    #[arg(long, value_name = "FILE")]
    live555: Option<PathBuf>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = match &options.into {
        Some(folder) => Some(folder.clone()),
        None => options.write.then(results::home),
    };
    let program = Common::of(options.seamline.clone()).program()?;
    let lines = if options.small { SMALL } else { LINES };
    let mut done = Vec::new();
    for line in lines {
        let name = line.split(' ').next().unwrap_or_default();
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("{}", results::command(line));
        let outcome = Box::pin(one(options, line, &program)).await;
        if let Ok(outcome) = &outcome {
            println!("\n{}: {}", outcome.name, outcome.what);
            table(&outcome.rows);
            outcome.write(&Files {
                program: Some(program.clone()),
                ..Files::default()
            })?;
        }
        done.push(Done {
            line,
            outcome: outcome.map_err(|error| format!("{error:#}")),
        });
        clock::sleep(PAUSE).await;
    }
    println!();
    table(&results::targets(&done));
    if let Some(folder) = folder {
        results::write(&folder, &program, &done)?;
    }
    let failed: Vec<String> = done.iter().filter_map(Done::failure).collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.join("\n"))
}

/// Runs one line as if it had been typed.
async fn one(options: &Options, line: &str, program: &std::path::Path) -> anyhow::Result<Outcome> {
    let mut words: Vec<String> = vec!["seamline-bench".into()];
    words.extend(line.split(' ').map(str::to_owned));
    words.extend(["--seamline".into(), program.display().to_string()]);
    if line.starts_with("compare") {
        for (name, peer) in [
            ("--mediamtx", &options.mediamtx),
            ("--go2rtc", &options.go2rtc),
            ("--live555", &options.live555),
        ] {
            if let Some(peer) = peer {
                words.extend([name.into(), peer.display().to_string()]);
            }
        }
    }
    let (_, outcome) = crate::measure(Cli::try_parse_from(words)?.scenario).await?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_command() {
        for line in LINES.iter().chain(&SMALL) {
            let words = std::iter::once("seamline-bench").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
