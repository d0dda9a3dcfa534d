//! The primary is killed or frozen under players: when the secondary has taken over, and what they noticed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::time::timeout;

use super::{Common, START_US};
use crate::{
    checker::{Verdict, ms},
    clock::{monotonic_ns, now, sleep},
    crowd::Crowd,
    farend::FarEnd,
    footage::{Footage, GROUP_US, PICTURE_US},
    player::{Player, Rate, Via, Wish},
    plot::{Bar, Bars, Plot},
    process,
    progress::Progress,
    recorder::Holds,
    relay::{CAMERA, House, Relay},
    report::{Outcome, Spread, Target, row},
};

/// Whose pictures are whose.
const PRIMARY: u8 = 1;
const SECONDARY: u8 = 2;
/// Until what is read ahead is there.
const SETTLED: Duration = Duration::from_secs(2);
/// Later than this nobody takes over.
const OVER_WITHIN: Duration = Duration::from_secs(15);
/// How long is looked on after that.
const AFTER: Duration = Duration::from_millis(500);
/// How often the secondary is asked directly, for its own time to the first picture.
const ASKED: usize = 5;
/// Beyond the secondary's own time, in ms.
const WANTED_KILL_MS: f64 = 20.0;
const WANTED_STALL_MS: f64 = 750.0;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Outages of each kind.
    #[arg(long, default_value_t = 5)]
    pub(crate) repeats: usize,
    /// Paced players at each; as fast as it comes there is one.
    #[arg(long, default_value_t = 4)]
    pub(crate) sessions: usize,
    /// Rate of each stream.
    #[arg(long, default_value_t = 4_000)]
    pub(crate) kbit_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Fault {
    /// `kill -9`.
    Killed,
    /// `SIGSTOP`.
    Frozen,
}

#[derive(Debug, Serialize)]
struct Figures {
    kbit_s: u32,
    ways: Vec<Way>,
}

#[derive(Debug, Serialize)]
struct Way {
    fault: Fault,
    paced: bool,
    /// The secondary's own time to the first picture, asked directly in the same run.
    own_ms: Spread,
    /// From the fault until the secondary is asked to play.
    asked_ms: Spread,
    /// From the fault until its first picture is at the player.
    there_ms: Spread,
    /// The longest time between two pictures at the player.
    wait_ms: Spread,
    received: Verdict,
}

/// What one outage came to.
#[derive(Default)]
struct Samples {
    own: Vec<f64>,
    asked: Vec<f64>,
    there: Vec<f64>,
    waits: Vec<f64>,
    verdicts: Vec<Verdict>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let mut ways = Vec::new();
    let progress = Progress::new("outage", 4 * options.repeats);
    for (fault, rate) in [
        (Fault::Killed, Rate::Paced),
        (Fault::Killed, Rate::Bulk),
        (Fault::Frozen, Rate::Paced),
        (Fault::Frozen, Rate::Bulk),
    ] {
        let mut samples = Samples::default();
        for _ in 0..options.repeats {
            once(options, fault, rate, &mut samples).await?;
            progress.step("another outage");
        }
        ways.push(Way {
            fault,
            paced: rate == Rate::Paced,
            own_ms: Spread::of(samples.own),
            asked_ms: Spread::of(samples.asked),
            there_ms: Spread::of(samples.there),
            wait_ms: Spread::of(samples.waits),
            received: Verdict::merged(samples.verdicts),
        });
    }
    let figures = Figures {
        kbit_s: options.kbit_s,
        ways,
    };
    let what = format!(
        "the primary is killed (kill -9) or frozen (SIGSTOP), {} times each; two encodings of {} kbit/s; ms, min / median / max",
        options.repeats, options.kbit_s
    );
    let mut outcome = Outcome::new("outage", what, &figures)?;
    outcome.rows = rows(&figures);
    outcome.targets = targets(&figures);
    let bar = |way: &Way| Bar {
        name: way.name(),
        value: way.wait_ms.median,
        range: Some((way.wait_ms.min, way.wait_ms.max)),
        kind: usize::from(way.fault == Fault::Frozen),
    };
    outcome.plot = Some(Plot::Bars(Bars {
        title: "longest time between two pictures at a player, ms".into(),
        all: figures.ways.iter().map(bar).collect(),
        mark: Some((PICTURE_US as f64 / 1e3, "a picture's time".into())),
    }));
    for way in &figures.ways {
        outcome.demand_clean(&way.received);
    }
    Ok(outcome)
}

async fn once(
    options: &Options,
    fault: Fault,
    rate: Rate,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let program = options.common.program()?;
    let core = process::part()?;
    let footage = Arc::new(Footage::new(options.kbit_s));
    let far_end = |mark| FarEnd::start(options.kbit_s, mark, Holds::ALL, process::load());
    let (mut primary, mut secondary) = (far_end(PRIMARY).await?, far_end(SECONDARY).await?);
    let sessions = if rate == Rate::Paced {
        options.sessions
    } else {
        1
    };
    let house = House {
        recorders: vec![primary.address, secondary.address],
        listing: true,
        core,
        ..House::of(primary.address, sessions)
    };
    let relay = Relay::seamline(&program, &house).await?;
    let wish = |server: std::net::SocketAddr, index: usize| Wish {
        server,
        host: server.to_string(),
        path: CAMERA.to_owned(),
        start_us: Some(START_US + index as i64 * GROUP_US),
        rate,
        via: Via::Tcp,
        footage: Some(Arc::clone(&footage)),
        login: None,
        reads_per_s: None,
    };
    for index in 0..ASKED {
        let mut direct = Player::open(&wish(secondary.address, index), &Arc::default()).await?;
        direct.first_picture().await?;
        samples.own.extend(direct.verdict().first_ms.first());
    }

    let (told, fault_at) = tokio::sync::watch::channel(None::<Instant>);
    let mut crowd = Crowd::new();
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    for index in 0..sessions {
        let (wish, report) = (wish(relay.address, index), report.clone());
        let fault_at = fault_at.clone();
        crowd.add_task(move |_, received| async move {
            let seen = witness(&wish, &received, fault_at).await;
            let verdict = match &seen {
                Ok((verdict, _)) => verdict.clone(),
                Err(error) => {
                    let mut verdict = Verdict::default();
                    verdict.fault(format!("{error:#}"));
                    verdict
                }
            };
            drop(report.send(seen.map(|(_, there)| there)));
            verdict
        });
    }
    sleep(SETTLED).await;
    secondary.forget();
    match fault {
        Fault::Killed => primary.kill()?,
        Fault::Frozen => primary.freeze()?,
    }
    // What the kernel takes to end a process is nobody's time.
    let (fault_ns, at) = (monotonic_ns(), now());
    told.send_replace(Some(at));
    for _ in 0..sessions {
        let asked = timeout(OVER_WITHIN, secondary.asked()).await;
        let asked = asked
            .context("the secondary is not asked")?
            .context("it ended")?;
        samples
            .asked
            .push(asked.saturating_sub(fault_ns) as f64 / 1e6);
    }
    for _ in 0..sessions {
        let seen = timeout(OVER_WITHIN, reports.recv()).await;
        if let Some(Ok(there)) = seen.context("a player sees no secondary")? {
            samples.there.push(ms(there.saturating_duration_since(at)));
        }
    }
    for verdict in crowd.leave().await {
        samples.waits.push(verdict.stall_ms_max);
        samples.verdicts.push(verdict);
    }
    Ok(())
}

/// Plays until some time after the secondary's first picture; gives back what was seen since the fault, and when that was.
async fn witness(
    wish: &Wish,
    received: &Arc<std::sync::atomic::AtomicU64>,
    mut fault_at: tokio::sync::watch::Receiver<Option<Instant>>,
) -> anyhow::Result<(Verdict, Instant)> {
    let mut player = Player::open(wish, received).await?;
    player.counts_only();
    tokio::select! {
        ended = player.until(|_| false) => ended?,
        told = fault_at.wait_for(Option::is_some) => drop(told?),
    }
    player.forget_waits();
    let over = player.until(|checker| checker.mark.is_some_and(|(mark, _)| mark == SECONDARY));
    timeout(OVER_WITHIN, over)
        .await
        .context("no picture of the secondary")??;
    let there = player.mark_since().context("it was just seen")?;
    player.play_for(AFTER).await?;
    Ok((player.verdict().clone(), there))
}

impl Way {
    fn name(&self) -> String {
        let fault = match self.fault {
            Fault::Killed => "killed",
            Fault::Frozen => "frozen",
        };
        let pace = if self.paced { "paced" } else { "bulk" };
        format!("{fault}, {pace}")
    }
}

fn rows(figures: &Figures) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "",
        "secondary's own",
        "secondary asked after",
        "its picture there after",
        "longest wait",
        "missing",
        "repeated",
        "faults",
    ])];
    for way in &figures.ways {
        rows.push(vec![
            way.name(),
            way.own_ms.three(1),
            way.asked_ms.three(1),
            way.there_ms.three(1),
            way.wait_ms.three(0),
            way.received.missing.to_string(),
            way.received.repeated.to_string(),
            way.received.faults.to_string(),
        ]);
    }
    rows
}

/// Where players take footage as fast as it comes, nothing that was read ahead hides how soon the other site is there.
fn targets(figures: &Figures) -> Vec<Target> {
    let mut targets = Vec::new();
    for way in &figures.ways {
        let own = way.own_ms.median;
        match (way.fault, way.paced) {
            (Fault::Killed, false) => {
                let beyond = way.there_ms.median - own;
                targets.push(Target::new(
                    "kill -9 of the primary to the first picture of the secondary, as fast as it comes",
                    format!("<= {WANTED_KILL_MS} ms beyond its own"),
                    format!("{beyond:.1} ms beyond {own:.1} ms (median)"),
                    beyond <= WANTED_KILL_MS,
                ));
            }
            (Fault::Killed, true) => {
                let (missing, repeated) = (way.received.missing, way.received.repeated);
                targets.push(Target::new(
                    "pictures missing and repeated over a kill -9, paced",
                    "0, 0",
                    format!("{missing}, {repeated}"),
                    missing + repeated == 0,
                ));
            }
            (Fault::Frozen, paced) => {
                let pace = if paced {
                    "paced"
                } else {
                    "as fast as it comes"
                };
                targets.push(Target::new(
                    format!("silent stall, default policy: longest wait, {pace}"),
                    format!("<= {WANTED_STALL_MS} ms"),
                    format!("{:.0} ms (worst)", way.wait_ms.max),
                    way.wait_ms.max <= WANTED_STALL_MS,
                ));
            }
        }
    }
    targets
}
