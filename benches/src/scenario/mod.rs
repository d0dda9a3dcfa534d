//! What can be measured.

use std::path::PathBuf;

use crate::{relay, report::Files};

pub(crate) mod all;
pub(crate) mod churn;
pub(crate) mod cold_start;
pub(crate) mod compare;
pub(crate) mod decision;
pub(crate) mod fan_out;
pub(crate) mod first_frame;
pub(crate) mod growth;
pub(crate) mod imageserver;
pub(crate) mod memory;
pub(crate) mod outage;
pub(crate) mod play;
pub(crate) mod seam;
pub(crate) mod seek_storm;
pub(crate) mod slow_readers;

/// What all scenarios take.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Common {
    /// The program to measure; by default the one beside this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) seamline: Option<PathBuf>,
    /// Where to write the figures; by default beside this program.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the plot; by default beside the figures.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Common {
    /// Of another scenario's program, with files where they are by default.
    pub(crate) fn of(seamline: Option<PathBuf>) -> Self {
        Self {
            seamline,
            ..Self::default()
        }
    }

    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        relay::program(self.seamline.clone())
    }

    pub(crate) fn files(&self) -> Files {
        Files {
            json: self.json.clone(),
            plot: self.svg.clone(),
            program: self.program().ok(),
        }
    }
}

/// 2024-01-01T00:00:00Z: long past, so that no recorder would still be writing, and a random access point. UTC in µs.
pub(crate) const START_US: i64 = 1_704_067_200_000_000;
