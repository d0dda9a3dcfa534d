//! `seamline demo`: two recorders, one proxy, and footage of its own.

mod clips;
mod judge;
mod outage;
mod player;
mod recorder;
mod screen;
mod stage;
mod uplink;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use seamline_routing::TimeRange;
use tokio::sync::{broadcast, watch};

use crate::config::Problems;
use crate::house::Signals;
use crate::inbound::{BindError, Limits, Listener, Settings};
use crate::journal::{Decision, Journal};
use clips::{CAMERA, PRIMARY, SECONDARY, START};
use recorder::Local;
pub(crate) use recorder::{RecorderArgs, recorder};
use screen::Screen;
use stage::Stage;

/// Where the demo listens when nobody else does.
const PORT: u16 = 8554;
/// The footage's length.
const MINUTE: Duration = Duration::from_secs(60);

/// What the demo is to do.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where to listen on this machine; 8554 when not given, or any free port when that is taken.
    #[arg(long)]
    port: Option<u16>,
    /// Plays a script instead of waiting for a player, and ends.
    #[arg(long, value_enum)]
    script: Option<Script>,
    /// Goes on serving after the script.
    #[arg(long, requires = "script")]
    keep_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Script {
    /// Kills the primary under a player and revives it; fails when a picture is missing or comes twice.
    Outage,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The temporary folder, or a process.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The demo's own configuration has errors.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The demo's own footage cannot be read.
    #[error("footage: {0}")]
    Footage(String),
    /// A recorder did not come up.
    #[error("a recorder did not start")]
    Recorder,
}

impl DemoError {
    #[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
    fn footage(error: impl ToString) -> Self {
        DemoError::Footage(error.to_string())
    }
}

/// Runs the demo or its script.
pub(crate) async fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    match args.script {
        Some(Script::Outage) => outage::run(args).await,
        None => exhibit(args).await,
    }
}

/// Shows the footage, says where to see it, and tells each decision, until Ctrl-C.
async fn exhibit(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let signals = Signals::catch()?;
    let stage = Stage::unpack()?;
    let journal = Journal::default();
    let mut decisions = journal.listen();
    let house = stage.archives(journal)?;
    let listener = listen(args.port).await?;
    let address = listener.address()?;
    let (shutdown, asked) = watch::channel(false);
    let primary = Local::start(PRIMARY, &stage.site(PRIMARY), asked.clone()).await?;
    let secondary = Local::start(SECONDARY, &stage.site(SECONDARY), asked.clone()).await?;

    let minute = TimeRange::new(START, START + MINUTE).expect("a minute is longer than nothing");
    let screen = Screen::new(minute);
    println!(
        "{}",
        screen.title("Seamline demo: one camera, two recorders, one timeline")
    );
    println!("{}", screen.coverage(&house, minute).await?);
    let url = |address: SocketAddr| format!("rtsp://{address}/{CAMERA}?start=2026-01-01T12:00:00Z");
    println!("{}", screen.title("Watch the merged timeline with any of"));
    println!("    ffplay -rtsp_transport tcp '{}'", url(address));
    println!("    vlc --rtsp-tcp '{}'", url(address));
    println!("    gst-play-1.0 'rtspt://{address}/{CAMERA}?start=2026-01-01T12:00:00Z'");
    println!(
        "{}",
        screen.title("or a recorder alone, which skips what it lacks")
    );
    println!("    {PRIMARY:9}  {}", url(primary.address));
    println!("    {SECONDARY:9}  {}", url(secondary.address));
    println!(
        "{}",
        screen.title("Routing decisions, as they are made (Ctrl-C ends)")
    );

    tokio::select! {
        () = house.serve(listener, asked) => {}
        () = tell(&mut decisions, |decision| println!("{}", screen.event(&screen.decision(&decision)))) => {}
        () = signals.obey(shutdown) => {}
    }
    println!();
    Ok(ExitCode::SUCCESS)
}

/// Passes on every decision; those that a slow listener missed are gone.
async fn tell(decisions: &mut broadcast::Receiver<Decision>, mut show: impl FnMut(Decision)) {
    loop {
        match decisions.recv().await {
            Ok(decision) => show(decision),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Listens on `port`, else on the usual one, else on any.
async fn listen(port: Option<u16>) -> Result<Listener, DemoError> {
    // Nobody's playback is worth waiting for when the demo ends.
    let settings = Settings {
        limits: Limits {
            drain: Duration::ZERO,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let address = loopback(port.unwrap_or(PORT));
    match Listener::bind(&[address], settings.clone()).await {
        Err(error) if port.is_none() && error.source.kind() == io::ErrorKind::AddrInUse => {
            Ok(Listener::bind(&[loopback(0)], settings).await?)
        }
        outcome => Ok(outcome?),
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
