//! What a comparison found: each kind of work, done by each program.

use clap::ValueEnum;
use serde::Serialize;

use crate::{calls::Calls, player::Rate, report::Spread, work::Run};

/// The plain copy, which the others are measured against.
pub(crate) const COPY: &str = "copy";
/// The program itself.
pub(crate) const SEAMLINE: &str = "seamline";

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Does {
    /// Many sessions at their pace, from a recorder that sends ahead where it is asked to.
    Paced,
    /// The same, from one that keeps its own pace, whoever asks.
    Clocked,
    /// As fast as it comes.
    Bulk,
    /// The same, with TLS to the player; the copy is without.
    Tls,
    /// Clips by HTTP as fast as they come; the copy is of RTSP.
    Http,
    /// Paced, over UDP to the player; the copy is of TCP.
    Udp,
}

impl Does {
    pub(crate) const ALL: [Self; 5] = [
        Self::Paced,
        Self::Clocked,
        Self::Bulk,
        Self::Tls,
        Self::Http,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Paced => "paced",
            Self::Clocked => "clocked",
            Self::Bulk => "bulk",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Udp => "udp",
        }
    }

    pub(crate) fn rate(self) -> Rate {
        match self {
            Self::Paced | Self::Clocked | Self::Udp => Rate::Paced,
            Self::Bulk | Self::Tls | Self::Http => Rate::Bulk,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) kbit_s: u32,
    pub(crate) rounds: usize,
    /// Programs and their versions.
    pub(crate) versions: Vec<(&'static str, String)>,
    pub(crate) ways: Vec<Done>,
}

/// One kind of work, done.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    pub(crate) does: Does,
    pub(crate) sessions: usize,
    pub(crate) programs: Vec<Program>,
}

/// By one program.
#[derive(Debug, Serialize)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// By round.
    pub(crate) runs: Vec<Run>,
    pub(crate) cpu_s_per_gb: Option<Spread>,
    /// Bytes per CPU second against the copy of the same round.
    pub(crate) to_copy: Option<Spread>,
    /// Bytes per CPU second of Seamline against it, in the same round.
    pub(crate) seamline_to_it: Option<Spread>,
    pub(crate) calls: Option<Calls>,
}

impl Done {
    pub(crate) fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }
}
