//! `seamline demo --script outage`: the primary is killed under a player, comes back, and no picture is lost.

use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use seamline_routing::{TimeRange, Timestamp};
use tokio::sync::watch;
use tokio::time::timeout;

use super::clips::{CAMERA, PRIMARY, SECONDARY, START};
use super::judge::{Judge, Report};
use super::recorder::Remote;
use super::screen::Screen;
use super::stage::{self, Stage};
use super::{DemoArgs, DemoError, listen, player, tell};
use crate::house::obey_signals;
use crate::journal::{Decision, Journal, What};

/// The script, in capture time from [`START`]. The primary lacks 20 s to 30 s.
const FROM: Duration = Duration::from_secs(6);
const KILL_AT: Duration = Duration::from_millis(8_200);
const REVIVE_AT: Duration = Duration::from_secs(12);
const UNTIL: Duration = Duration::from_millis(31_500);
/// The player has so long from its first request.
const PLAY_WITHIN: Duration = Duration::from_millis(27_500);
/// The program is over by then, whatever happens.
const OVER_WITHIN: Duration = Duration::from_millis(29_500);

pub(super) async fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let disarm = arm_watchdog();
    let stage = Stage::unpack()?;
    let primary = Remote::start(PRIMARY, &stage.site(PRIMARY), super::loopback(0)).await?;
    let secondary = Remote::start(SECONDARY, &stage.site(SECONDARY), super::loopback(0)).await?;
    let journal = Journal::default();
    let mut decisions = journal.listen();
    let sites = [(PRIMARY, rtsp(primary.address)), (SECONDARY, rtsp(secondary.address))];
    let house = Arc::new(stage::house(&sites, journal)?);
    let listener = listen(args.port.or(Some(0))).await?;
    let url = format!("rtsp://{}/{CAMERA}", listener.address()?);
    let (shutdown, asked) = watch::channel(false);
    let serving = tokio::spawn({
        let house = house.clone();
        async move { house.serve(listener, asked).await }
    });

    let window = TimeRange::new(START + FROM, START + UNTIL).expect("the script takes time");
    let screen = Screen::new(window);
    println!("{}", screen.title("Seamline demo, script outage: the primary is killed under a player"));
    println!("{}", screen.coverage(&stage.archives(Journal::default())?, window).await?);
    println!("\n  {url}, 12:00:{:04.1} to 12:00:{:04.1}, at the pace of the clock\n", FROM.as_secs_f64(), UNTIL.as_secs_f64());

    let mut judge = Judge::new(stage.pictures(window)?);
    let bar = progress(window);
    let say = |text: &str| bar.suspend(|| println!("{}", screen.event(text)));
    let mut made = Vec::new();
    let (position, positions) = watch::channel(Timestamp::MIN);
    let played = {
        let show = |at: Timestamp| {
            bar.set_position(at.since(window.start()).as_millis() as u64);
            position.send_replace(at);
        };
        let play = timeout(PLAY_WITHIN, player::play(&url, window, &mut judge, show));
        let script = script(primary, &stage, positions, say);
        let listen = tell(&mut decisions, |decision| {
            say(&decision.to_string());
            made.push(decision);
        });
        tokio::select! {
            biased;
            () = listen => None,
            Err(error) = script => return Err(error),
            played = play => Some(played),
        }
    };
    bar.finish_and_clear();
    while let Ok(decision) = decisions.try_recv() {
        println!("{}", screen.event(&decision.to_string()));
        made.push(decision);
    }
    let trouble = match played {
        Some(Ok(Ok(()))) => None,
        Some(Ok(Err(error))) => Some(error.to_string()),
        Some(Err(_)) | None => Some("time is up".to_owned()),
    };
    let report = judge.report();
    let took_over = made.iter().any(took_over);
    println!("{}", screen.title("Seam report"));
    if let Some(entry) = house.cameras().get(&CAMERA.into()) {
        println!("{}\n", screen.played(&made, entry.slot.camera(), window.end()));
    }
    report.to_string().lines().for_each(|line| println!("    {line}"));
    println!("    switches      {}", made.iter().filter(|decision| is_switch(decision)).count());
    let clean = trouble.is_none() && took_over && report.is_clean();
    println!("    verdict       {}\n", verdict(clean, trouble.as_deref(), took_over, &report));
    if args.keep_open {
        disarm.send_replace(true);
        println!("  serving on {url} until Ctrl-C");
        obey_signals(shutdown).await?;
    }
    serving.abort();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Kills the primary when the player is there, and revives it.
async fn script(
    primary: Remote,
    stage: &Stage,
    mut positions: watch::Receiver<Timestamp>,
    say: impl Fn(&str),
) -> Result<std::convert::Infallible, DemoError> {
    // The player holds the sender; when it is gone the script is cancelled with it.
    let _ = positions.wait_for(|at| *at >= START + KILL_AT).await;
    let address = primary.kill();
    say(&format!("⚡ kill -9 {PRIMARY} ({address})"));
    let _ = positions.wait_for(|at| *at >= START + REVIVE_AT).await;
    let _revived = Remote::start(PRIMARY, &stage.site(PRIMARY), address).await?;
    say(&format!("✔ {PRIMARY} is back ({address})"));
    std::future::pending().await
}

fn rtsp(address: SocketAddr) -> String {
    format!("kind = \"rtsp\"\nurl = \"rtsp://{address}/\"")
}

fn is_switch(decision: &Decision) -> bool {
    matches!(decision.what, What::Switch { from: Some(_), .. })
}

/// Whether this is what the outage makes necessary: the secondary goes on where the primary broke off, before the
/// primary's own gap would have sent the playback there.
fn took_over(decision: &Decision) -> bool {
    let What::Switch { at, from: Some(_), to, .. } = &decision.what else { return false };
    to == SECONDARY && (START + KILL_AT..START + Duration::from_secs(20)).contains(at)
}

fn verdict(clean: bool, trouble: Option<&str>, took_over: bool, report: &Report) -> String {
    match trouble {
        _ if clean => "clean: the viewer saw every picture once".to_owned(),
        Some(trouble) => format!("NOT CLEAN: {trouble}"),
        None if !took_over => format!("NOT CLEAN: the outage brought no switch to {SECONDARY}"),
        None if report.shown == 0 => "NOT CLEAN: nothing came".to_owned(),
        None => "NOT CLEAN".to_owned(),
    }
}

/// A line that moves with the player; none where nobody looks.
fn progress(window: TimeRange) -> ProgressBar {
    let bar = ProgressBar::new(window.duration().as_millis() as u64);
    let style = ProgressStyle::with_template("  playing    {bar:60.green/dim} {elapsed_precise}");
    bar.set_style(style.map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("━━─")));
    bar
}

/// Ends the process when time is over, even if its tasks are stuck, unless told that this is no longer wanted.
fn arm_watchdog() -> watch::Sender<bool> {
    let (disarm, disarmed) = watch::channel(false);
    std::thread::spawn(move || {
        std::thread::sleep(OVER_WITHIN);
        if !*disarmed.borrow() {
            let _ = writeln!(stderr(), "NOT CLEAN: not over within {} s", OVER_WITHIN.as_secs_f64());
            std::process::exit(1);
        }
    });
    disarm
}
