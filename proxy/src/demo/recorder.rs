//! The demo's recorders: this program with one archive, in this process, or in a child that can be killed.

use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::{DemoError, stage, uplink};
use crate::inbound::{BindError, Limits, Listener, Settings};
use crate::journal::Journal;

/// How long a child may take until it listens.
const START_WITHIN: Duration = Duration::from_secs(5);
/// What a child says before its address.
const LISTENING: &str = "listening ";

/// What a child is told.
#[derive(Debug, Args)]
pub(crate) struct RecorderArgs {
    /// The site.
    #[arg(long)]
    site: String,
    /// Its files.
    #[arg(long)]
    folder: PathBuf,
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// How fast its line is.
    #[arg(long)]
    bytes_per_s: u32,
}

/// The line of a recorder that is a process: two and a half times what the camera needs.
pub(super) const UPLINK_BYTES_PER_S: u32 = 32_000;

/// A recorder in this process; ends when dropped.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Local {
    /// Serves the files of `folder` on a free port.
    pub(super) async fn start(
        site: &str,
        folder: &Path,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Self, DemoError> {
        let (listener, house) = open(site, folder, super::loopback(0)).await?;
        let address = listener.address()?;
        let task = tokio::spawn(async move { house.serve(listener, shutdown).await });
        Ok(Local { address, task })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A recorder in a process of its own; killed when dropped.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    child: Child,
}

impl Remote {
    /// Starts the process, and waits until it listens. Port 0 is any free port.
    pub(super) async fn start(
        site: &str,
        folder: &Path,
        listen: SocketAddr,
    ) -> Result<Self, DemoError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "demo-recorder",
                "--site",
                site,
                "--listen",
                &listen.to_string(),
            ])
            .args(["--bytes-per-s", &UPLINK_BYTES_PER_S.to_string(), "--folder"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("its standard output is piped");
        let mut remote = Remote {
            address: listen,
            child,
        };
        let first_line = spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let line = timeout(START_WITHIN, first_line)
            .await
            .ok()
            .and_then(Result::ok)
            .and_then(Result::ok);
        let address = line
            .as_deref()
            .and_then(|line| line.strip_prefix(LISTENING)?.trim_end().parse().ok());
        remote.address = address.ok_or(DemoError::Recorder)?;
        Ok(remote)
    }

    /// `kill -9`. Its connections are reset by the kernel.
    pub(super) fn kill(mut self) -> SocketAddr {
        self.end();
        self.address
    }

    fn end(&mut self) {
        // It may have ended by itself: all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.end();
    }
}

/// The child's side: serves until its standard input ends, which it does when the demo is gone, whatever ended that.
pub(crate) async fn recorder(args: &RecorderArgs) -> Result<ExitCode, DemoError> {
    let (listener, house) = open(&args.site, &args.folder, super::loopback(0)).await?;
    let bind = |source| BindError {
        address: args.listen,
        source,
    };
    let line = TcpListener::bind(args.listen).await.map_err(bind)?;
    println!("{LISTENING}{}", line.local_addr()?);
    stdout().flush()?;
    let (shutdown, asked) = watch::channel(false);
    std::thread::spawn(move || {
        let _ = stdin().read_to_end(&mut Vec::new());
        shutdown.send_replace(true);
    });
    let recorder = listener.address()?;
    tokio::select! {
        () = house.serve(listener, asked) => {}
        broken = uplink::narrow(line, recorder, args.bytes_per_s) => broken?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(
    site: &str,
    folder: &Path,
    listen: SocketAddr,
) -> Result<(Listener, crate::house::House), DemoError> {
    let house = stage::house(&[(site, stage::archive(folder))], Journal::default())?;
    let settings = Settings {
        limits: Limits {
            drain: Duration::ZERO,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let listener = Listener::bind(&[listen], settings).await?;
    Ok((listener, house))
}
