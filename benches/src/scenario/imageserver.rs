//! Clients of XProtect that scrub one camera: how soon each answer is there, directly and through the proxy, and what its recorder is
//! asked.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;

use super::Common;
use crate::{
    checker::Verdict,
    clock::{now, sleep},
    crowd::Crowd,
    image_player::ImagePlayer,
    image_site::{self, Asked, CAMERA, FIRST_MS, Groups, LAST_MS},
    net,
    plot::{Bar, Bars, Plot},
    process,
    relay::Relay,
    report::{Outcome, Spread, row},
};

/// Steps that a client sends at once.
const AT_ONCE: u32 = 8;
/// Until the proxy knows where the recorder is.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Clients that scrub the camera at once.
    #[arg(long, default_value_t = 200)]
    pub(crate) sessions: usize,
    /// Between an answer and the next question, in ms.
    #[arg(long, default_value_t = 200)]
    pub(crate) rest_ms: u64,
    /// Rate of the stream.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) kbit_s: u32,
    /// How long they scrub, in seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Questions of one client alone, by turns directly and through the proxy, for what is added.
    #[arg(long, default_value_t = 200)]
    pub(crate) runs: usize,
}

#[derive(Debug, Serialize)]
struct Figures {
    sessions: usize,
    answers: usize,
    answers_per_s: f64,
    mbit_s: f64,
    cpu_ms_per_answer: f64,
    kib_per_session: f64,
    /// Of all answers but each client's first.
    answer_ms: Spread,
    /// Each client's first, all of them asked at once.
    first_ms: Spread,
    /// The same two of the same clients at the recorder itself.
    direct_answer_ms: Spread,
    direct_first_ms: Spread,
    /// Of one client alone, pair by pair.
    added_goto_ms: Spread,
    added_next_ms: Spread,
    direct_ms: Spread,
    /// Steps that are sent at once, until all of them are there.
    at_once_ms: Spread,
    at_once_direct_ms: Spread,
    /// At the recorder, in a second of scrubbing.
    listings_per_s: f64,
    groups_asked_per_s: f64,
    recorder_connections: usize,
    recorder_connections_peak: usize,
    received: Verdict,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let program = options.common.program()?;
    let core = process::part()?;
    let (groups, asked) = (
        Arc::new(Groups::new(options.kbit_s)),
        Arc::new(Asked::default()),
    );
    let far_end = image_site::serve(Arc::clone(&groups), Arc::clone(&asked))?;
    let folder = tempfile::tempdir()?;
    let [listen, management, face] = [
        net::free_address()?,
        net::free_address()?,
        net::free_address()?,
    ];
    let file = folder.path().join("seamline.toml");
    fs::write(
        &file,
        configuration([listen, management, face], far_end, options.sessions),
    )?;
    let mut command = Command::new(&program);
    command
        .args(["serve", "--log-level", "warn", "-c"])
        .arg(&file);
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    let relay = Relay::start(command, listen, core, Some(folder)).await?;
    let watched = relay.process.watched();
    let mut alone = known(face, &groups).await?;
    let mut direct = ImagePlayer::open(far_end, &groups, &Arc::default())
        .await?
        .context("the far end lets nobody in")?;
    let added = compared(&mut direct, &mut alone, options.runs).await?;
    // Now all of them, as operators do who look for something; first at the recorder itself, which says what they cost without.
    let (crowd, direct_first) = gathered(options, far_end, &groups);
    sleep(Duration::from_secs(options.seconds.div_ceil(2))).await;
    let directly = Verdict::merged(crowd.leave().await);
    let resident_before = watched.resident_kib()?;
    let (cpu_before, since) = (watched.cpu_s()?, now());
    let before = [asked.listings(), asked.pictures(), asked.connections()];
    let (crowd, first) = gathered(options, face, &groups);
    sleep(Duration::from_secs(options.seconds)).await;
    let (bytes, cpu_s) = (crowd.received(), watched.cpu_s()? - cpu_before);
    let grown = watched.resident_kib()?.saturating_sub(resident_before);
    let wall_s = now().saturating_duration_since(since).as_secs_f64();
    let received = Verdict::merged(crowd.leave().await);
    let answers = received.first_ms.len();
    let figures = Figures {
        sessions: options.sessions,
        answers,
        answers_per_s: answers as f64 / wall_s,
        mbit_s: bytes as f64 * 8e-6 / wall_s,
        cpu_ms_per_answer: cpu_s * 1e3 / answers.max(1) as f64,
        kib_per_session: grown as f64 / options.sessions.max(1) as f64,
        answer_ms: Spread::of(received.first_ms.iter().copied()),
        first_ms: spread(&first),
        direct_answer_ms: Spread::of(directly.first_ms.iter().copied()),
        direct_first_ms: spread(&direct_first),
        added_goto_ms: Spread::of(added.goto),
        added_next_ms: Spread::of(added.next),
        direct_ms: Spread::of(added.direct),
        at_once_ms: Spread::of(added.at_once),
        at_once_direct_ms: Spread::of(added.at_once_direct),
        listings_per_s: (asked.listings() - before[0]) as f64 / wall_s,
        groups_asked_per_s: (asked.pictures() - before[1]) as f64 / wall_s,
        recorder_connections: asked.connections() - before[2],
        recorder_connections_peak: asked.peak(),
        received,
    };
    let what = format!(
        "{} clients of an ImageServer that scrub one camera, {} ms after each answer; times are to the last byte of a group of {} kB",
        options.sessions,
        options.rest_ms,
        options.kbit_s / 4
    );
    let mut outcome = Outcome::new("imageserver", what, &figures)?;
    outcome.rows = rows(&figures);
    let bar = |name: &str, value: f64| Bar {
        name: name.into(),
        value,
        range: None,
        kind: 0,
    };
    outcome.plot = Some(Plot::Bars(Bars {
        title: "from a question to the whole answer, ms".into(),
        all: vec![
            bar("median", figures.answer_ms.median),
            bar("p90", figures.answer_ms.p90),
            bar("p99", figures.answer_ms.p99),
        ],
        mark: None,
    }));
    outcome.demand_clean(&figures.received);
    Ok(outcome)
}

/// Clients that scrub, each on a connection of its own.
fn gathered(
    options: &Options,
    face: SocketAddr,
    groups: &Arc<Groups>,
) -> (Crowd, Arc<Mutex<Vec<f64>>>) {
    let (mut crowd, firsts) = (Crowd::new(), Arc::<Mutex<Vec<f64>>>::default());
    for index in 0..options.sessions {
        let firsts = Arc::clone(&firsts);
        let (groups, rest) = (Arc::clone(groups), Duration::from_millis(options.rest_ms));
        crowd.add_task(move |mut stop, received| async move {
            let mut player = match ImagePlayer::open(face, &groups, &received).await {
                Ok(Some(player)) => player,
                Ok(None) => return failed("nobody is let in"),
                Err(error) => return failed(&format!("{error:#}")),
            };
            let outcome = tokio::select! {
                () = async { drop(stop.wait_for(|stop| *stop).await) } => Ok(()),
                ended = scrub(&mut player, index as u64, rest, &firsts) => ended,
            };
            if let Err(error) = outcome {
                player.verdict.fault(format!("{error:#}"));
            }
            player.verdict
        });
    }
    (crowd, firsts)
}

fn spread(all: &Mutex<Vec<f64>>) -> Spread {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    Spread::of(all.iter().copied())
}

fn rows(figures: &Figures) -> Vec<Vec<String>> {
    vec![
        row(["what", "figure"]),
        row(["answers a second", &format!("{:.0}", figures.answers_per_s)]),
        row(["delivered", &format!("{:.0} Mbit/s", figures.mbit_s)]),
        row([
            "answer after, median / p90 / p99",
            &format!("{} ms", figures.answer_ms.high(1)),
        ]),
        row([
            "the same of the same clients at the recorder itself",
            &format!("{} ms", figures.direct_answer_ms.high(1)),
        ]),
        row([
            "each client's first answer, all of them asked at once",
            &format!("{} ms", figures.first_ms.high(1)),
        ]),
        row([
            "the same at the recorder itself",
            &format!("{} ms", figures.direct_first_ms.high(1)),
        ]),
        row([
            &format!("{AT_ONCE} steps of one client alone, sent at once"),
            &format!("{} ms", figures.at_once_ms.high(2)),
        ]),
        row([
            "the same at the recorder itself",
            &format!("{} ms", figures.at_once_direct_ms.high(2)),
        ]),
        row([
            "one client alone, directly, median / p90 / p99",
            &format!("{} ms", figures.direct_ms.high(2)),
        ]),
        row([
            "added to goto, pair by pair, median / p90 / p99",
            &format!("{} ms", figures.added_goto_ms.high(2)),
        ]),
        row([
            "added to next, pair by pair, median / p90 / p99",
            &format!("{} ms", figures.added_next_ms.high(2)),
        ]),
        row([
            "CPU an answer",
            &format!("{:.2} ms", figures.cpu_ms_per_answer),
        ]),
        row([
            "memory a client",
            &format!("{:.0} KiB", figures.kib_per_session),
        ]),
        row([
            "what it holds is asked of the recorder",
            &format!("{:.2} times a second", figures.listings_per_s),
        ]),
        row([
            "groups are asked of the recorder",
            &format!("{:.0} a second", figures.groups_asked_per_s),
        ]),
        row([
            "connections to the recorder, most at once",
            &figures.recorder_connections_peak.to_string(),
        ]),
        row(["faults", &figures.received.faults.to_string()]),
    ]
}

fn failed(why: &str) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.fault(why);
    verdict
}

/// A client of the proxy's, from when it knows where the recorder is.
async fn known(face: SocketAddr, groups: &Arc<Groups>) -> anyhow::Result<ImagePlayer> {
    let deadline = now() + KNOWN_WITHIN;
    loop {
        let player = ImagePlayer::open(face, groups, &Arc::default()).await;
        match player {
            Ok(Some(player)) => return Ok(player),
            refused if now() > deadline => {
                refused?;
                anyhow::bail!("nobody is let in by the proxy");
            }
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What is added to each kind of question, and what it takes directly; ms.
#[derive(Default)]
struct Added {
    goto: Vec<f64>,
    next: Vec<f64>,
    direct: Vec<f64>,
    at_once: Vec<f64>,
    at_once_direct: Vec<f64>,
}

async fn compared(
    direct: &mut ImagePlayer,
    through: &mut ImagePlayer,
    runs: usize,
) -> anyhow::Result<Added> {
    let mut random = StdRng::seed_from_u64(1);
    let mut added = Added::default();
    for run in 0..runs as u64 {
        let ms = random.random_range(FIRST_MS..LAST_MS);
        let (there, here) = (direct.goto(ms).await?, through.goto(ms).await?);
        added.goto.push(here - there);
        added.direct.push(there);
        let (there, here) = (direct.next().await?, through.next().await?);
        added.next.push(here - there);
        added.direct.push(there);
        if run % u64::from(AT_ONCE) == 0 {
            added.at_once_direct.push(direct.steps(AT_ONCE).await?);
            added.at_once.push(through.steps(AT_ONCE).await?);
        }
    }
    Ok(added)
}

/// Jumps somewhere, looks at some groups from there on, and jumps again: the same ones in each run.
async fn scrub(
    player: &mut ImagePlayer,
    seed: u64,
    rest: Duration,
    firsts: &Mutex<Vec<f64>>,
) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let first = player.goto(random.random_range(FIRST_MS..LAST_MS)).await?;
    player.verdict.first_ms.clear();
    firsts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(first);
    loop {
        sleep(rest).await;
        player.goto(random.random_range(FIRST_MS..LAST_MS)).await?;
        sleep(rest).await;
        for _ in 0..random.random_range(0..4) {
            player.next().await?;
            sleep(rest).await;
        }
    }
}

fn configuration(
    [listen, management, face]: [SocketAddr; 3],
    far_end: SocketAddr,
    players: usize,
) -> String {
    let connections = players + 64;
    format!(
        r#"listen = "{listen}"
[limits]
connections_max = {connections}
per_address_max = {connections}
[[site]]
name = "site"
[[recorder]]
name = "vms"
site = "site"
kind = "xprotect"
url = "http://{far_end}"
username = "bench"
password = "bench"
[[camera]]
id = "cam1"
copies = [{{ recorder = "vms", remote = "{CAMERA}" }}]
[[xprotect]]
primary = "vms"
management = "{management}"
[[xprotect.recorder]]
recorder = "Recorder"
listen = "{face}"
"#
    )
}
