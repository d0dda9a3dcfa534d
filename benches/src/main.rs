//! Measures Seamline: one scenario, its figures as a table, as JSON and as a plot.

mod calls;
mod checker;
mod clock;
mod comparison;
mod crowd;
mod demands;
mod farend;
mod footage;
mod http;
mod image_player;
mod image_site;
mod index;
mod login;
mod message;
mod movie;
mod net;
mod peers;
mod player;
mod plot;
mod process;
mod progress;
mod recorder;
mod referee;
mod relay;
mod report;
mod results;
mod scenario;
mod stand;
mod tcp;
mod wire;
mod work;

use std::{env, net::SocketAddr, os::unix::process::CommandExt, process::Command, sync::Arc};

use clap::{Parser, Subcommand};

use crate::{
    footage::Footage,
    recorder::{Books, Holds, Site},
    report::{Files, Outcome},
};

/// Load on the loopback or on a server that runs, and what it costs.
#[derive(Debug, Parser)]
#[command(name = "seamline-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Players by each transport: throughput, CPU, memory, first frame.
    Play(scenario::play::Options),
    /// Players that jump about.
    SeekStorm(scenario::seek_storm::Options),
    /// Players that read more slowly than the pace.
    SlowReaders(scenario::slow_readers::Options),
    /// Players that come, see one picture and go.
    Churn(scenario::churn::Options),
    /// The primary is killed or frozen.
    Outage(scenario::outage::Options),
    /// Seams that coverage tells of.
    Seam(scenario::seam::Options),
    /// More and more sessions.
    Growth(scenario::growth::Options),
    /// Starting with many cameras.
    ColdStart(scenario::cold_start::Options),
    /// Many players of the same camera and second.
    FanOut(scenario::fan_out::Options),
    /// Clients of XProtect that scrub one camera.
    #[command(name = "imageserver")]
    ImageServer(scenario::imageserver::Options),
    /// Memory of the proxy for each paced session.
    Memory(scenario::memory::Options),
    /// Time to the first frame, direct and through the proxy.
    FirstFrame(scenario::first_frame::Options),
    /// Route decisions of a warm index.
    Decision(scenario::decision::Options),
    /// CPU of the proxy for each byte, by turns with a plain copy loop, haproxy, nginx, and RTSP proxies that are named.
    #[command(visible_alias = "relay")]
    Compare(scenario::compare::Options),
    /// Every scenario; `--write` makes benches/RESULTS.md and its plots of it.
    #[command(visible_alias = "results")]
    All(scenario::all::Options),
    /// A light recorder of its own.
    #[command(hide = true)]
    Recorder(Recording),
    /// The plain copy loop of `compare`.
    #[command(hide = true)]
    CopyLoop {
        /// Where to listen.
        listen: SocketAddr,
        /// Where to connect to.
        recorder: SocketAddr,
    },
}

/// What a recorder of its own holds.
#[derive(Debug, clap::Args)]
struct Recording {
    #[arg(long)]
    kbit_s: u32,
    #[arg(long)]
    mark: u8,
    #[arg(long)]
    held_us: i64,
    #[arg(long)]
    every_us: i64,
}

/// What the service that is packaged sets (`deploy/seamline.service`), so that this is what is measured.
const PACKAGED: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    be_as_packaged()?;
    process::raise_limits();
    // Before anything is kept on one core.
    process::cores();
    // One thread: the load takes one core, and leaves the others to what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match cli.scenario {
            Scenario::Recorder(recording) => record(&recording).await,
            Scenario::CopyLoop { listen, recorder } => relay::copy(listen, recorder).await,
            Scenario::All(options) => scenario::all::run(&options).await,
            one => {
                let (files, outcome) = measure(one).await?;
                outcome.publish(&files)
            }
        }
    })
}

/// Starts anew with what [`PACKAGED`] says, for itself and all that it starts; an environment that says something else is left alone.
fn be_as_packaged() -> anyhow::Result<()> {
    let (name, value) = PACKAGED;
    if env::var_os(name).is_some() {
        return Ok(());
    }
    let mut again = Command::new(env::current_exe()?);
    let error = again.args(env::args_os().skip(1)).env(name, value).exec();
    Err(error.into())
}

/// Runs one scenario.
async fn measure(scenario: Scenario) -> anyhow::Result<(Files, Outcome)> {
    Ok(match scenario {
        Scenario::Play(o) => (o.common.files(), scenario::play::run(&o).await?),
        Scenario::SeekStorm(o) => (o.common.files(), scenario::seek_storm::run(&o).await?),
        Scenario::SlowReaders(o) => (o.common.files(), scenario::slow_readers::run(&o).await?),
        Scenario::Churn(o) => (o.common.files(), scenario::churn::run(&o).await?),
        Scenario::Outage(o) => (o.common.files(), scenario::outage::run(&o).await?),
        Scenario::Seam(o) => (o.common.files(), scenario::seam::run(&o).await?),
        Scenario::Growth(o) => (o.common.files(), scenario::growth::run(&o).await?),
        Scenario::ColdStart(o) => (o.common.files(), scenario::cold_start::run(&o).await?),
        Scenario::FanOut(o) => (o.common.files(), scenario::fan_out::run(&o).await?),
        Scenario::ImageServer(o) => (o.common.files(), scenario::imageserver::run(&o).await?),
        Scenario::Memory(o) => (o.common.files(), scenario::memory::run(&o).await?),
        Scenario::FirstFrame(o) => (o.common.files(), scenario::first_frame::run(&o).await?),
        Scenario::Decision(o) => (o.common.files(), scenario::decision::run(&o)?),
        Scenario::Compare(o) => (o.common.files(), scenario::compare::run(&o).await?),
        Scenario::All(_) | Scenario::Recorder(_) | Scenario::CopyLoop { .. } => {
            anyhow::bail!("no scenario that is part of others")
        }
    })
}

/// Serves until it is killed, and says what it is asked.
async fn record(recording: &Recording) -> anyhow::Result<()> {
    let site = Site {
        footage: Arc::new(Footage::marked(recording.kbit_s, recording.mark)),
        holds: Holds {
            held_us: recording.held_us,
            every_us: recording.every_us,
        },
        books: Arc::new(Books::aloud()),
    };
    let address = recorder::serve(net::listen(None)?, site)?;
    println!("listens {address}");
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_packaged_as_it_is_measured() {
        let unit = include_str!("../../deploy/seamline.service");
        let (name, value) = PACKAGED;
        assert!(unit.contains(&format!("\nEnvironment={name}={value}\n")));
    }
}
