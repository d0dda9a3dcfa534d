//! Recorders as processes of their own, which can be killed and frozen.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tokio::{sync::mpsc, time::timeout};

use crate::{process::Process, recorder::Holds};

/// How long a child may take until it listens.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A recorder that runs.
#[derive(Debug)]
pub(crate) struct FarEnd {
    process: Process,
    pub(crate) address: SocketAddr,
    /// When it was asked to play, on the monotonic clock of the machine in ns.
    plays: mpsc::UnboundedReceiver<u64>,
}

impl FarEnd {
    /// Starts one whose pictures bear `mark`.
    pub(crate) async fn start(
        kbit_s: u32,
        mark: u8,
        holds: Holds,
        core: Option<usize>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["recorder", "--kbit-s", &kbit_s.to_string()]);
        command.args(["--mark", &mark.to_string()]);
        command.args(["--held-us", &holds.held_us.to_string()]);
        command.args(["--every-us", &holds.every_us.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::start(command, core)?;
        let output = process.output().context("a pipe was asked for")?;
        let (said, mut lines) = mpsc::unbounded_channel();
        let (played, plays) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.split_once(' ') {
                    Some(("listens", address)) => drop(said.send(address.to_owned())),
                    Some(("play", at)) => drop(at.parse().map(|at| played.send(at))),
                    _ => {}
                }
            }
        });
        let Some(address) = timeout(START_WITHIN, lines.recv()).await? else {
            bail!("a recorder ended before it listened");
        };
        Ok(Self {
            process,
            address: address.parse()?,
            plays,
        })
    }

    /// When it is asked to play next.
    pub(crate) async fn asked(&mut self) -> Option<u64> {
        self.plays.recv().await
    }

    /// Forgets what was asked so far.
    pub(crate) fn forget(&mut self) {
        while self.plays.try_recv().is_ok() {}
    }

    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        Ok(self.process.signal(Signal::STOP)?)
    }

    /// As `kill -9`; back when the kernel has closed its connections.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.process.kill()?)
    }
}
