//! Players by each transport: what they get, and what that costs.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Common, START_US};
use crate::{
    checker::Verdict,
    clock::{now, sleep, sleep_until},
    crowd::Crowd,
    footage::Footage,
    player::Rate,
    plot::{Bar, Bars, Plot},
    progress::Progress,
    report::{Outcome, Spread, row},
    stand::{Stand, TargetOptions, Transport},
};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    /// Players at once.
    #[arg(long, default_value_t = 50)]
    pub(crate) sessions: usize,
    /// How the footage comes; each in its turn.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Tcp])]
    pub(crate) via: Vec<Transport>,
    /// As fast as it comes; otherwise at the pace of its clock. Over HTTP it always comes as fast as it can.
    #[arg(long)]
    pub(crate) bulk: bool,
    /// Rate of each stream, where the recorder is ours.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) kbit_s: u32,
    /// How long all of them play, in seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Players that start in a second.
    #[arg(long, default_value_t = 50)]
    pub(crate) ramp: u32,
    /// Players that are retina, a whole RTSP client, besides: over TCP and UDP, paced, and where the recorder is ours.
    #[arg(long, default_value_t = 2)]
    pub(crate) referees: usize,
}

#[derive(Debug, Serialize)]
struct Figures {
    sessions: usize,
    kbit_s: u32,
    ways: Vec<Way>,
}

#[derive(Debug, Serialize)]
struct Way {
    via: Transport,
    mbit_s: f64,
    cpu_s_per_gb: f64,
    /// How many such sessions a core would carry at this cost.
    sessions_per_core: f64,
    kib_per_session: f64,
    first_frame_ms: Spread,
    received: Verdict,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let stand = Stand::open(
        &options.common,
        &options.target,
        Footage::new(options.kbit_s),
        options.sessions + options.referees,
    )
    .await?;
    stand.warm_up().await?;
    let progress = Progress::new("play", options.via.len());
    let mut ways = Vec::new();
    for &via in &options.via {
        ways.push(one(options, &stand, via).await?);
        progress.step(via.name());
    }
    let figures = Figures {
        sessions: options.sessions,
        kbit_s: options.kbit_s,
        ways,
    };
    let pace = if options.bulk {
        "as fast as it comes"
    } else {
        "paced"
    };
    let what = format!(
        "{} players, {pace}, and {} of retina; first frame as median / p90 / p99",
        options.sessions, options.referees
    );
    let mut outcome = Outcome::new("play", what, &figures)?;
    outcome.rows = rows(&figures);
    outcome.plot = Some(Plot::Bars(Bars {
        title: "CPU seconds of the proxy per GB, by transport".into(),
        all: figures.ways.iter().map(bar).collect(),
        mark: None,
    }));
    let merged = Verdict::merged(figures.ways.iter().map(|way| way.received.clone()));
    outcome.demand_clean(&merged);
    Ok(outcome)
}

async fn one(options: &Options, stand: &Stand, transport: Transport) -> anyhow::Result<Way> {
    let via = stand.via(transport)?;
    let rate = if options.bulk {
        Rate::Bulk
    } else {
        Rate::Paced
    };
    let resident_before = stand.resident_kib();
    let mut crowd = Crowd::new();
    if let (Some(footage), Transport::Tcp | Transport::Udp) = (&stand.footage, transport) {
        for index in 0..options.referees {
            let wish = stand.wish(index, rate, &via);
            let url = format!("rtsp://{}/{}", wish.host, wish.path);
            crowd.referee(url, START_US, via.clone(), footage);
        }
    }
    let started = now();
    for index in 0..options.sessions {
        sleep_until(started + Duration::from_secs(1) * index as u32 / options.ramp.max(1)).await;
        crowd.add(&stand.wish(index, rate, &via)).await?;
    }
    let (cpu_before, bytes_before, since) = (stand.cpu_s(), crowd.received(), now());
    sleep(Duration::from_secs(options.seconds)).await;
    let (cpu_s, bytes) = (stand.cpu_s() - cpu_before, crowd.received() - bytes_before);
    let wall_s = now().saturating_duration_since(since).as_secs_f64();
    let grown = stand.resident_kib() - resident_before;
    let received = Verdict::merged(crowd.leave().await);
    sleep(Duration::from_secs(1)).await;
    Ok(Way {
        via: transport,
        mbit_s: bytes as f64 * 8e-6 / wall_s,
        cpu_s_per_gb: cpu_s / (bytes.max(1) as f64 / 1e9),
        sessions_per_core: options.sessions as f64 / (cpu_s / wall_s).max(f64::MIN_POSITIVE),
        kib_per_session: grown / options.sessions as f64,
        first_frame_ms: Spread::of(received.first_ms.iter().copied()),
        received,
    })
}

fn bar(way: &Way) -> Bar {
    Bar {
        name: way.via.name().to_owned(),
        value: way.cpu_s_per_gb,
        range: None,
        kind: 0,
    }
}

fn rows(figures: &Figures) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "",
        "Mbit/s",
        "CPU s/GB",
        "sessions a core",
        "KiB a session",
        "first frame, ms",
        "longest wait, ms",
        "pictures",
        "faults",
    ])];
    for way in &figures.ways {
        rows.push(vec![
            way.via.name().into(),
            format!("{:.0}", way.mbit_s),
            format!("{:.2}", way.cpu_s_per_gb),
            format!("{:.0}", way.sessions_per_core),
            format!("{:.0}", way.kib_per_session),
            way.first_frame_ms.high(1),
            format!("{:.0}", way.received.stall_ms_max),
            way.received.pictures.to_string(),
            way.received.faults.to_string(),
        ]);
    }
    rows
}
