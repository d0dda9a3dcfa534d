//! Measures Seamline: one scenario, its figures as a table and as JSON.

mod calls;
mod checker;
mod clock;
mod footage;
mod message;
mod net;
mod peers;
mod player;
mod process;
mod recorder;
mod relay;
mod report;
mod scenario;
mod work;

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

/// Load on the loopback, and what it costs the proxy.
#[derive(Debug, Parser)]
#[command(name = "seamline-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Memory of the proxy for each paced session.
    Memory(scenario::memory::Options),
    /// CPU of the proxy for each byte, against a plain copy loop.
    Relay(scenario::relayed::Options),
    /// The same by turns against a plain copy, and against `haproxy` and `nginx` passing bytes on, where they are installed.
    Compare(scenario::compare::Options),
    /// Time to the first frame, direct and through the proxy.
    FirstFrame(scenario::first_frame::Options),
    /// The plain copy loop of `relay`.
    #[command(hide = true)]
    CopyLoop {
        /// Where to listen.
        listen: SocketAddr,
        /// Where to connect to.
        recorder: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // One thread: the load takes one core, and leaves the others to what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match cli.scenario {
            Scenario::Memory(options) => scenario::memory::run(options).await,
            Scenario::Relay(options) => scenario::relayed::run(options).await,
            Scenario::Compare(options) => scenario::compare::run(options).await,
            Scenario::FirstFrame(options) => scenario::first_frame::run(options).await,
            Scenario::CopyLoop { listen, recorder } => relay::copy(listen, recorder).await,
        }
    })
}
