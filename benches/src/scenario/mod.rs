//! What can be measured.

use std::path::PathBuf;

use crate::{checker::Verdict, relay};

pub(crate) mod compare;
pub(crate) mod first_frame;
pub(crate) mod memory;
pub(crate) mod relayed;

/// What all scenarios take.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The program to measure; by default the one beside this one.
    #[arg(long, value_name = "FILE")]
    seamline: Option<PathBuf>,
    /// Where to write the figures; by default beside this program.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    fn program(&self) -> anyhow::Result<PathBuf> {
        relay::program(self.seamline.clone())
    }
}

/// An error when anything received was wrong: its figures mean nothing.
fn demand_clean(verdict: &Verdict) -> anyhow::Result<()> {
    if verdict.faults > 0 {
        let first = verdict.first_fault.as_deref().unwrap_or_default();
        anyhow::bail!(
            "{} faults in what was received; the first: {first}",
            verdict.faults
        );
    }
    Ok(())
}

/// 2024-01-01T00:00:00Z: long past, so that no recorder would still be writing, and a random access point. UTC in µs.
pub(crate) const START_US: i64 = 1_704_067_200_000_000;
