//! Many players of the same camera and second: how many sessions its recorder sees.

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;

use super::{Common, START_US};
use crate::{
    checker::Verdict,
    clock::sleep,
    crowd::Crowd,
    footage::Footage,
    net,
    player::{Player, Rate, Via, Wish},
    plot::{Bar, Bars, Plot},
    process,
    recorder::{self, Books, Holds, Site},
    relay::{CAMERA, House, Relay},
    report::{Outcome, Spread, Target, row},
};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Players, all at once.
    #[arg(long, default_value_t = 500)]
    pub(crate) sessions: usize,
    /// Rate of the stream.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) kbit_s: u32,
    /// How long they play, in seconds.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    sessions: usize,
    /// At the recorder: most at once, and in all.
    recorder_sessions: usize,
    recorder_plays: usize,
    first_frame_ms: Spread,
    received: Verdict,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let program = options.common.program()?;
    let core = process::part()?;
    let footage = Arc::new(Footage::new(options.kbit_s));
    let books = Arc::new(Books::default());
    let site = Site {
        footage: Arc::clone(&footage),
        holds: Holds::ALL,
        books: Arc::clone(&books),
    };
    let recorder = recorder::serve(net::listen(None)?, site)?;
    let house = House {
        core,
        shares: true,
        ..House::of(recorder, options.sessions)
    };
    let relay = Relay::seamline(&program, &house).await?;
    let wish = Wish {
        server: relay.address,
        host: relay.address.to_string(),
        path: CAMERA.to_owned(),
        start_us: Some(START_US),
        rate: Rate::Paced,
        via: Via::Tcp,
        footage: Some(footage),
        login: None,
        reads_per_s: None,
    };
    let mut crowd = Crowd::new();
    for _ in 0..options.sessions {
        let wish = wish.clone();
        crowd.add_task(move |stop, received| async move {
            match Player::open(&wish, &received).await {
                Ok(player) => player.play(stop).await,
                Err(error) => {
                    let mut verdict = Verdict::default();
                    verdict.fault(format!("{error:#}"));
                    verdict
                }
            }
        });
    }
    sleep(Duration::from_secs(options.seconds)).await;
    let (peak, plays) = (books.peak(), books.plays());
    let received = Verdict::merged(crowd.leave().await);
    let figures = Figures {
        sessions: options.sessions,
        recorder_sessions: peak,
        recorder_plays: plays,
        first_frame_ms: Spread::of(received.first_ms.iter().copied()),
        received,
    };
    let what = format!(
        "{} players of one camera and one second, all at once",
        options.sessions
    );
    let mut outcome = Outcome::new("fan-out", what, &figures)?;
    outcome.rows = vec![
        row(["what", "figure"]),
        row(["sessions at the recorder, most at once", &peak.to_string()]),
        row([
            "first frame, median / p90 / p99",
            &format!("{} ms", figures.first_frame_ms.high(0)),
        ]),
        row([
            "longest wait of a player",
            &format!("{:.0} ms", figures.received.stall_ms_max),
        ]),
        row(["faults", &figures.received.faults.to_string()]),
    ];
    let bar = |name: &str, value: usize| Bar {
        name: name.into(),
        value: value as f64,
        range: None,
        kind: 0,
    };
    outcome.plot = Some(Plot::Bars(Bars {
        title: "one camera, one second".into(),
        all: vec![
            bar("players", options.sessions),
            bar("sessions at the recorder", peak),
        ],
        mark: None,
    }));
    outcome.targets = vec![Target::new(
        format!(
            "fan-out: {} players, same camera, same second",
            options.sessions
        ),
        "recorder sessions bounded: legs shared",
        format!("{peak} sessions at the recorder"),
        peak * 2 <= options.sessions,
    )];
    outcome.demand_clean(&figures.received);
    Ok(outcome)
}
