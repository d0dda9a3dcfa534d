//! The same work by turns through a plain copy, other programs and Seamline: shares of the copy's efficiency, round by round.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;

use super::Common;
use crate::{
    checker::Verdict,
    comparison::{COPY, Does, Done, Figures, Program, SEAMLINE},
    demands,
    footage::Footage,
    peers::{Peer, Players},
    player::{Rate, Via},
    plot::{Bar, Bars, Plot},
    process::{self, Watched},
    progress::Progress,
    recorder,
    relay::{CLOCKED, House, Relay},
    report::{Outcome, Spread, row, version},
    work::{Run, Way, Work},
};

/// Players while calls are counted.
const TRACED_SESSIONS: usize = 20;
const DIRECT: &str = "direct";

#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Rounds: in each, every program does the work once, another one first each time.
    #[arg(long, alias = "pairs", default_value_t = 7)]
    pub(crate) rounds: usize,
    /// What is done.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Does::ALL)]
    pub(crate) ways: Vec<Does>,
    /// Players of a paced run.
    #[arg(long, default_value_t = 200)]
    pub(crate) sessions: usize,
    /// Players of the other runs.
    #[arg(long, default_value_t = 1)]
    pub(crate) bulk_sessions: usize,
    /// Rate of each stream.
    #[arg(long, default_value_t = 4_000)]
    pub(crate) kbit_s: u32,
    /// Length of the measured part of a paced run, in seconds. Half of it in bulk.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Only these: copy, direct, haproxy, nginx, mediamtx, go2rtc, live555, seamline. By default all that are there.
    #[arg(long, value_delimiter = ',')]
    pub(crate) programs: Vec<String>,
    /// `MediaMTX`, as an RTSP proxy.
    #[arg(long, value_name = "FILE")]
    pub(crate) mediamtx: Option<PathBuf>,
    /// go2rtc, as an RTSP proxy.
    #[arg(long, value_name = "FILE")]
    pub(crate) go2rtc: Option<PathBuf>,
    /// `live555ProxyServer`. It listens on all addresses.
    #[arg(long, value_name = "FILE")]
    pub(crate) live555: Option<PathBuf>,
    /// Paced and bulk, with the copy and `HAProxy`: under a minute, and an error where Seamline falls below a peer, or below its
    /// stored ratio, by more than the noise of the pairs.
    #[arg(long)]
    pub(crate) short: bool,
    /// The same demands for a run of any length.
    #[arg(long)]
    pub(crate) demand: bool,
    /// Stores the ratios of this run as those that are demanded.
    #[arg(long)]
    pub(crate) accept: bool,
    /// Fail when the median ratio of Seamline to the copy is below this, paced or in bulk.
    #[arg(long, value_name = "RATIO")]
    pub(crate) at_least: Option<f64>,
    /// Calls into the kernel are not counted.
    #[arg(long)]
    pub(crate) no_calls: bool,
}

/// What takes part.
struct Contestant {
    name: &'static str,
    peer: Option<Peer>,
    players: Players,
    relay: Option<Relay>,
    recorder: std::net::SocketAddr,
    version: Option<String>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let mut options = options.clone();
    if options.short {
        (options.rounds, options.seconds, options.sessions) = (3, 1.5, 100);
        options.ways = vec![Does::Paced, Does::Bulk];
        options.no_calls = true;
        if options.programs.is_empty() {
            options.programs = [COPY, "haproxy", SEAMLINE].map(str::to_owned).to_vec();
        }
    }
    let footage = Arc::new(Footage::new(options.kbit_s));
    let core = process::part()?;
    let recorder = recorder::start(&footage)?;
    let contestants = gather(&options, recorder, core).await?;
    let progress = Progress::new(
        "compare",
        options.ways.len() * options.rounds * contestants.len(),
    );
    let mut ways = Vec::new();
    for &does in &options.ways {
        let sessions = match does.rate() {
            Rate::Paced => options.sessions,
            Rate::Bulk => options.bulk_sessions,
        };
        let work = Work {
            footage: Arc::clone(&footage),
            rate: does.rate(),
            sessions,
            seconds: options.seconds,
        };
        let mut runs: Vec<Vec<Run>> = contestants.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds {
            for turn in 0..contestants.len() {
                let index = (round + turn) % contestants.len();
                let one = &contestants[index];
                if let Some(way) = one.way(does) {
                    let run = work.measure(&way, one.watched()).await;
                    runs[index].push(run.with_context(|| format!("{} {}", does.name(), one.name))?);
                }
                progress.step(format!("{} {}", does.name(), one.name));
            }
        }
        let mut done = Done::new(does, sessions, &contestants, &runs);
        if !options.no_calls && matches!(does, Does::Paced | Does::Clocked | Does::Bulk) {
            done.count_calls(&work, &contestants).await?;
        }
        ways.push(done);
    }
    let versions = contestants.iter().filter_map(|one| {
        let version = one.version.clone()?;
        Some((one.name, version))
    });
    let figures = Figures {
        kbit_s: options.kbit_s,
        rounds: options.rounds,
        versions: versions.collect(),
        ways,
    };
    report(&options, &figures)
}

/// Starts all that take part, the copy first, which is what the others are measured against.
async fn gather(
    options: &Options,
    recorder: std::net::SocketAddr,
    core: Option<usize>,
) -> anyhow::Result<Vec<Contestant>> {
    let wanted = |name: &str| {
        options.programs.is_empty() || options.programs.iter().any(|wanted| wanted == name)
    };
    let players = Players {
        paced: options.sessions,
        bulk: options.bulk_sessions,
    };
    let one = |name, peer, relay, version| Contestant {
        name,
        peer,
        players,
        relay,
        recorder,
        version,
    };
    let copy = Relay::copy_loop(recorder, core).await?;
    let mut all = vec![one(COPY, None, Some(copy), None)];
    if wanted(DIRECT) {
        all.push(one(DIRECT, None, None, None));
    }
    for peer in Peer::ALL {
        let program = match peer {
            Peer::Haproxy | Peer::Nginx => peer.installed(),
            Peer::MediaMtx => options.mediamtx.clone(),
            Peer::Go2rtc => options.go2rtc.clone(),
            Peer::Live555 => options.live555.clone(),
        };
        match program {
            Some(program) if wanted(peer.name()) => {
                // It is started in a folder of its own.
                let named = program.display().to_string();
                let program = program.canonicalize().with_context(|| named)?;
                let relay = peer.start(&program, recorder, players, core).await?;
                let version = peer.version_flag().and_then(|flag| version(&program, flag));
                all.push(one(peer.name(), Some(peer), Some(relay), version));
            }
            _ => {}
        }
    }
    if wanted(SEAMLINE) {
        let program = options.common.program()?;
        let house = House {
            core,
            ..House::of(recorder, players.most())
        };
        let relay = Relay::seamline(&program, &house).await?;
        let version = version(&program, "--version");
        all.push(one(SEAMLINE, None, Some(relay), version));
    }
    Ok(all)
}

impl Contestant {
    fn watched(&self) -> Option<Watched> {
        self.relay.as_ref().map(|relay| relay.process.watched())
    }

    /// How players get at it; `None` where it does not do that.
    fn way(&self, does: Does) -> Option<Way> {
        let Some(relay) = &self.relay else {
            let plays = matches!(does, Does::Paced | Does::Clocked | Does::Bulk);
            return plays.then(|| Way::plain(self.recorder));
        };
        let mut plain = Way::plain(relay.address);
        if does == Does::Clocked {
            plain.camera = CLOCKED;
        }
        let via = match does {
            // The copy is what the others are measured against, and does the same in all.
            _ if self.name == COPY => return Some(plain),
            Does::Paced | Does::Clocked | Does::Bulk => {
                let paths = self
                    .peer
                    .and_then(|peer| peer.paths(self.players, does.rate()));
                return Some(Way { paths, ..plain });
            }
            _ if self.peer.is_some_and(|peer| !peer.passes_bytes()) => return None,
            Does::Tls => {
                let (server, trusted) = relay.sealed.clone()?;
                return Some(Way {
                    server,
                    via: Via::Tls(trusted),
                    ..plain
                });
            }
            Does::Http if self.name == SEAMLINE => Way::clips(),
            Does::Udp if self.name == SEAMLINE => Via::Udp,
            Does::Http | Does::Udp => return None,
        };
        Some(Way { via, ..plain })
    }
}

impl Done {
    fn new(does: Does, sessions: usize, contestants: &[Contestant], runs: &[Vec<Run>]) -> Self {
        let costs =
            |runs: &[Run]| -> Vec<f64> { runs.iter().filter_map(Run::cpu_s_per_gb).collect() };
        let of = |name: &str| {
            let at = contestants.iter().position(|one| one.name == name);
            at.map(|at| costs(&runs[at])).unwrap_or_default()
        };
        let (copy, seamline) = (of(COPY), of(SEAMLINE));
        let pairs = |above: &[f64], below: &[f64]| {
            let ratios = above.iter().zip(below).map(|(above, below)| above / below);
            let spread = Spread::of(ratios);
            (spread.count > 0).then_some(spread)
        };
        let programs = contestants
            .iter()
            .zip(runs)
            .filter(|(_, runs)| !runs.is_empty());
        let programs = programs.map(|(one, runs)| {
            let own = costs(runs);
            Program {
                name: one.name,
                runs: runs.clone(),
                cpu_s_per_gb: (!own.is_empty()).then(|| Spread::of(own.iter().copied())),
                to_copy: pairs(&copy, &own),
                seamline_to_it: pairs(&own, &seamline).filter(|_| one.name != SEAMLINE),
                calls: None,
            }
        });
        Self {
            does,
            sessions,
            programs: programs.collect(),
        }
    }

    /// In runs of their own: what is traced is slow.
    async fn count_calls(&mut self, work: &Work, contestants: &[Contestant]) -> anyhow::Result<()> {
        let few = Work {
            sessions: work.sessions.min(TRACED_SESSIONS),
            ..work.clone()
        };
        for program in &mut self.programs {
            let one = contestants.iter().find(|one| one.name == program.name);
            let counted = [COPY, "haproxy", SEAMLINE].contains(&program.name);
            let Some(one) = one.filter(|_| counted) else {
                continue;
            };
            if let (Some(way), Some(watched)) = (one.way(self.does), one.watched()) {
                program.calls = few.count_calls(&way, watched).await?;
            }
        }
        Ok(())
    }
}

fn report(options: &Options, figures: &Figures) -> anyhow::Result<Outcome> {
    let what = format!(
        "streams of {} kbit/s, {} rounds; bytes per CPU second, paired by round; min / median / max",
        figures.kbit_s, figures.rounds
    );
    let mut outcome = Outcome::new("compare", what, figures)?;
    outcome.rows = rows(figures);
    let mut bars = Vec::new();
    for done in &figures.ways {
        for program in &done.programs {
            let Some(ratio) = program.to_copy else {
                continue;
            };
            bars.push(Bar {
                name: format!("{} {}", done.does.name(), program.name),
                value: ratio.median,
                range: Some((ratio.min, ratio.max)),
                kind: usize::from(program.name == SEAMLINE),
            });
        }
    }
    outcome.plot = Some(Plot::Bars(Bars {
        title: "bytes per CPU second, the plain copy loop = 1".into(),
        all: bars,
        mark: Some((1.0, "as the copy".into())),
    }));
    outcome.targets = demands::targets(figures);
    // What others make of a stream is theirs to answer for: it stands in the table.
    let verdicts = figures.ways.iter().flat_map(|done| &done.programs);
    let verdicts = verdicts.filter(|program| !plays_sources(program.name));
    let verdicts = verdicts.flat_map(|program| program.runs.iter().map(|run| run.received.clone()));
    outcome.demand_clean(&Verdict::merged(verdicts));
    if options.accept {
        demands::store(figures)?;
    } else if outcome.failure.is_none() {
        let stored = options.short || options.demand;
        outcome.failure = demands::broken(figures, options.at_least, stored)?;
    }
    Ok(outcome)
}

/// It is a peer that plays a source of its own.
fn plays_sources(name: &str) -> bool {
    let peer = Peer::ALL.into_iter().find(|peer| peer.name() == name);
    peer.is_some_and(|peer| !peer.passes_bytes())
}

fn rows(figures: &Figures) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "",
        "sessions",
        "CPU s/GB",
        "to the copy",
        "seamline to it",
        "Mbit/s",
        "I/O calls per 20 kB",
        "left out",
        "faults",
    ])];
    let three = |spread: &Option<Spread>| spread.map_or("-".to_owned(), |spread| spread.three(2));
    for done in &figures.ways {
        for program in &done.programs {
            let rates = Spread::of(program.runs.iter().map(Run::mbit_s));
            let calls = program.calls.as_ref();
            let received = Verdict::merged(program.runs.iter().map(|run| run.received.clone()));
            let packets = received.packets + received.dropped;
            let left_out = received.dropped as f64 / packets.max(1) as f64;
            rows.push(vec![
                format!("{} {}", done.does.name(), program.name),
                done.sessions.to_string(),
                three(&program.cpu_s_per_gb),
                three(&program.to_copy),
                three(&program.seamline_to_it),
                format!("{:.0}", rates.median),
                calls.map_or("-".to_owned(), |calls| format!("{:.2}", calls.io())),
                format!("{:.1} %", 100.0 * left_out),
                received.faults.to_string(),
            ]);
        }
    }
    rows
}
