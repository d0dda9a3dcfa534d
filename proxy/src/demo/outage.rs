//! `seamline demo --script outage`: the primary is killed under a player, comes back, and no picture is lost.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use seamline_routing::{TimeRange, Timestamp};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use super::clips::{CAMERA, PRIMARY, SECONDARY, START};
use super::judge::{Judge, Report};
use super::recorder::{self, Remote};
use super::screen::Screen;
use super::stage::{self, Stage};
use super::{DemoArgs, DemoError, listen, player, tell};
use crate::house::Signals;
use crate::journal::{Decision, Journal, What};

/// The script, in capture time from [`START`]. The primary lacks 20 s to 30 s.
const FROM: Duration = Duration::from_secs(8);
const KILL_AT: Duration = Duration::from_millis(10_400);
const REVIVE_AT: Duration = Duration::from_millis(12_600);
const UNTIL: Duration = Duration::from_secs(33);
/// The player has so long from its first request.
const PLAY_WITHIN: Duration = Duration::from_millis(27_500);
/// The program is over by then, whatever happens.
const OVER_WITHIN: Duration = Duration::from_millis(29_500);

pub(super) async fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let disarm = arm_watchdog();
    let mut signals = Signals::catch()?;
    let stage = Stage::unpack()?;
    let mut primary = Some(Remote::start(PRIMARY, &stage.site(PRIMARY), super::loopback(0)).await?);
    let secondary = Remote::start(SECONDARY, &stage.site(SECONDARY), super::loopback(0)).await?;
    let sites = primary
        .iter()
        .map(|primary| (PRIMARY, rtsp(primary.address)));
    let sites: Vec<_> = sites
        .chain([(SECONDARY, rtsp(secondary.address))])
        .collect();
    let journal = Journal::default();
    let decisions = journal.listen();
    let house = Arc::new(stage::house(&sites, journal)?);
    let listener = listen(args.port.or(Some(0))).await?;
    let url = format!("rtsp://{}/{CAMERA}", listener.address()?);
    let (shutdown, asked) = watch::channel(false);
    let mut serving = tokio::spawn({
        let house = house.clone();
        async move { house.serve(listener, asked).await }
    });

    let window = TimeRange::new(START + FROM, START + UNTIL).expect("the script takes time");
    let screen = Screen::new(window);
    println!(
        "{}",
        screen.title("Seamline demo, script outage: the primary is killed under a player")
    );
    println!(
        "{}",
        screen
            .coverage(&stage.archives(Journal::default())?, window)
            .await?
    );
    println!(
        "\n  {url}, {} .. {}, at the pace of the clock",
        window.start(),
        window.end()
    );
    println!(
        "  Each site's line carries {} kbit/s.\n",
        recorder::UPLINK_BYTES_PER_S * 8 / 1000
    );
    let performance = Performance {
        stage: &stage,
        screen: &screen,
        url: &url,
        window,
    };
    let played = tokio::select! {
        played = performance.play(&mut primary, decisions) => played?,
        _ = signals.next() => return Ok(ExitCode::FAILURE),
    };

    println!("{}", screen.title("Seam report"));
    if let Some(entry) = house.cameras().get(&CAMERA.into()) {
        println!(
            "{}\n",
            screen.played(&played.decisions, entry.slot.camera(), window.end())
        );
    }
    println!("{played}\n");
    if args.keep_open {
        disarm.send_replace(true);
        println!("  serving on {url} until Ctrl-C");
        tokio::select! {
            _ = &mut serving => {}
            () = signals.obey(shutdown) => {}
        }
    }
    serving.abort();
    Ok(if played.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The player, and what happens under it.
struct Performance<'a> {
    stage: &'a Stage,
    screen: &'a Screen,
    url: &'a str,
    window: TimeRange,
}

/// What came of it.
struct Played {
    report: Report,
    decisions: Vec<Decision>,
    /// Why the player stopped before the end.
    trouble: Option<String>,
}

impl Performance<'_> {
    /// Plays to the end, and shows each decision.
    async fn play(
        &self,
        primary: &mut Option<Remote>,
        mut heard: broadcast::Receiver<Decision>,
    ) -> Result<Played, DemoError> {
        let mut judge = Judge::new(self.stage.pictures(self.window)?);
        let bar = progress(self.window);
        let say = |text: &str| bar.suspend(|| println!("{}", self.screen.event(text)));
        let mut decisions = Vec::new();
        let mut note = |decision: Decision| {
            say(&self.screen.decision(&decision));
            decisions.push(decision);
        };
        let (position, positions) = watch::channel(Timestamp::MIN);
        let shown = |at: Timestamp| {
            bar.set_position(at.since(self.window.start()).as_millis() as u64);
            position.send_replace(at);
        };
        let trouble = tokio::select! {
            biased;
            () = tell(&mut heard, &mut note) => Some("the proxy is gone".to_owned()),
            Err(error) = self.strike(primary, positions, say) => return Err(error),
            played = timeout(PLAY_WITHIN, player::play(self.url, self.window, &mut judge, shown)) => match played {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("time is up".to_owned()),
            },
        };
        while let Ok(decision) = heard.try_recv() {
            note(decision);
        }
        bar.finish_and_clear();
        Ok(Played {
            report: judge.report(),
            decisions,
            trouble,
        })
    }

    /// Kills the primary under the player, and revives it.
    async fn strike(
        &self,
        primary: &mut Option<Remote>,
        mut positions: watch::Receiver<Timestamp>,
        say: impl Fn(&str),
    ) -> Result<Infallible, DemoError> {
        // Waits end early only when the player is gone, and then all of this is over too.
        let _ = positions.wait_for(|at| *at >= START + KILL_AT).await;
        let Some(address) = primary.take().map(Remote::kill) else {
            return pending().await;
        };
        say(&format!("✗ kill -9 {PRIMARY} ({address})"));
        let _ = positions.wait_for(|at| *at >= START + REVIVE_AT).await;
        *primary = Some(Remote::start(PRIMARY, &self.stage.site(PRIMARY), address).await?);
        say(&format!("✓ {PRIMARY} is back ({address})"));
        pending().await
    }
}

impl Played {
    fn is_clean(&self) -> bool {
        self.trouble.is_none() && self.report.is_clean() && self.decisions.iter().any(took_over)
    }

    fn verdict(&self) -> String {
        match &self.trouble {
            _ if self.is_clean() => "clean: the viewer saw every picture once".to_owned(),
            Some(trouble) => format!("NOT CLEAN: {trouble}"),
            None if self.report.is_clean() => {
                format!("NOT CLEAN: the outage brought no switch to {SECONDARY}")
            }
            None => "NOT CLEAN".to_owned(),
        }
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.report.to_string().lines() {
            writeln!(f, "    {line}")?;
        }
        let switches = self
            .decisions
            .iter()
            .filter(|decision| matches!(decision.what, What::Switch { from: Some(_), .. }));
        writeln!(f, "    switches      {}", switches.count())?;
        write!(f, "    verdict       {}", self.verdict())
    }
}

fn rtsp(address: SocketAddr) -> String {
    format!("kind = \"rtsp\"\nurl = \"rtsp://{address}/\"")
}

/// Whether this is what the outage makes necessary: the secondary goes on where the primary broke off, before the
/// primary's own gap would have sent the playback there.
fn took_over(decision: &Decision) -> bool {
    let What::Switch {
        at,
        from: Some(_),
        to,
        ..
    } = &decision.what
    else {
        return false;
    };
    to == SECONDARY && (START + KILL_AT..START + Duration::from_secs(20)).contains(at)
}

/// A line that moves with the player; none where nobody looks.
fn progress(window: TimeRange) -> ProgressBar {
    let bar = ProgressBar::new(window.duration().as_millis() as u64);
    let style = ProgressStyle::with_template("  playing    {bar:60.green/dim} {elapsed_precise}");
    bar.set_style(style.map_or_else(
        |_| ProgressStyle::default_bar(),
        |style| style.progress_chars("━━─"),
    ));
    bar
}

/// Ends the process when time is over, even if its tasks are stuck, unless told that this is no longer wanted.
fn arm_watchdog() -> watch::Sender<bool> {
    let (disarm, disarmed) = watch::channel(false);
    std::thread::spawn(move || {
        std::thread::sleep(OVER_WITHIN);
        if !*disarmed.borrow() {
            let _ = writeln!(
                stderr(),
                "NOT CLEAN: not over within {} s",
                OVER_WITHIN.as_secs_f64()
            );
            std::process::exit(1);
        }
    });
    disarm
}
