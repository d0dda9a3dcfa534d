//! Time to the first frame, asked of the recorder and asked through the proxy, by turns.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::{Common, START_US};
use crate::{
    clock::sleep,
    footage::{Footage, GROUP_US},
    net,
    player::{Player, Rate, Via, Wish},
    plot::{Bar, Bars, Plot},
    process,
    progress::Progress,
    recorder::{self, Books, Holds, Site},
    relay::{CAMERA, House, Relay},
    report::{Outcome, Spread, Target, row},
};

/// Between two questions, so that one does not meet the goodbye of the other.
const PAUSE: Duration = Duration::from_millis(30);
const WANTED_MS: f64 = 2.0;
/// How often a proxy is started for nothing but its first session.
const COLD: usize = 5;
const COLD_NAME: &str = "paced, first of all";
/// One more than what a warm site is asked.
const WANTED_REQUESTS: usize = 1;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How often each is asked.
    #[arg(long, default_value_t = 50)]
    pub(crate) runs: usize,
    /// Rate of the stream.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) kbit_s: u32,
}

#[derive(Debug, Serialize)]
struct Figures {
    kbit_s: u32,
    ways: Vec<Way>,
    /// Requests that the recorder gets until the first picture: of a session of a proxy that was just started, and of a later one.
    cold_requests: usize,
    warm_requests: usize,
}

/// One way of playing; times in ms from connecting to the whole first picture.
#[derive(Debug, Serialize)]
struct Way {
    name: &'static str,
    direct_ms: Spread,
    through_ms: Spread,
    /// Pair by pair.
    added_ms: Spread,
}

struct Bench {
    footage: Arc<Footage>,
    books: Arc<Books>,
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
    let bench = Bench { footage, books };
    let house = House {
        core,
        ..House::of(recorder, options.runs)
    };
    let relay = Relay::seamline(&program, &house).await?;
    let progress = Progress::new("first-frame", 2 * options.runs + COLD);
    let mut ways = Vec::new();
    let mut warm_requests = 0;
    for (name, rate) in [("paced", Rate::Paced), ("bulk", Rate::Bulk)] {
        // Once for nothing: the site is known and both programs are warm.
        bench.ask(relay.address, rate, 0).await?;
        let mut pairs = Vec::new();
        for index in 1..=options.runs {
            let (direct, _) = bench.ask(recorder, rate, index).await?;
            let (through, requests) = bench.ask(relay.address, rate, index).await?;
            warm_requests = warm_requests.max(requests);
            pairs.push((direct, through));
            progress.step(name);
        }
        ways.push(Way::new(name, &pairs));
    }
    let mut cold = Vec::new();
    let mut cold_requests = 0;
    for index in 0..COLD {
        let fresh = Relay::seamline(&program, &house).await?;
        let (direct, _) = bench.ask(recorder, Rate::Paced, index).await?;
        let (through, requests) = bench.ask(fresh.address, Rate::Paced, index).await?;
        cold_requests = cold_requests.max(requests);
        cold.push((direct, through));
        progress.step("cold");
    }
    ways.push(Way::new(COLD_NAME, &cold));
    let figures = Figures {
        kbit_s: options.kbit_s,
        ways,
        cold_requests,
        warm_requests,
    };
    report(options, &figures)
}

impl Bench {
    /// Time to the first picture in ms, and the requests that the recorder got until then.
    async fn ask(
        &self,
        server: SocketAddr,
        rate: Rate,
        index: usize,
    ) -> anyhow::Result<(f64, usize)> {
        sleep(PAUSE).await;
        let before = self.books.requests();
        let wish = Wish {
            server,
            host: server.to_string(),
            path: CAMERA.to_owned(),
            start_us: Some(START_US + index as i64 * GROUP_US),
            rate,
            via: Via::Tcp,
            footage: Some(Arc::clone(&self.footage)),
            login: None,
            reads_per_s: None,
        };
        let mut player = Player::open(&wish, &Arc::default()).await?;
        player.first_picture().await?;
        let requests = self.books.requests() - before;
        let verdict = player.verdict();
        if let (Some(first), None) = (verdict.first_ms.first(), &verdict.first_fault) {
            return Ok((*first, requests));
        }
        bail!("{}", verdict.first_fault.as_deref().unwrap_or("no picture"));
    }
}

impl Way {
    fn new(name: &'static str, pairs: &[(f64, f64)]) -> Self {
        Self {
            name,
            direct_ms: Spread::of(pairs.iter().map(|(direct, _)| *direct)),
            through_ms: Spread::of(pairs.iter().map(|(_, through)| *through)),
            added_ms: Spread::of(pairs.iter().map(|(direct, through)| through - direct)),
        }
    }
}

fn report(options: &Options, figures: &Figures) -> anyhow::Result<Outcome> {
    let what = format!(
        "from connecting to the first whole picture, {} times by turns, ms; median / p90 / p99",
        options.runs
    );
    let mut outcome = Outcome::new("first-frame", what, figures)?;
    outcome.rows = vec![row([
        "",
        "direct",
        "through",
        "added, pair by pair",
        "runs",
    ])];
    let mut bars = Vec::new();
    for way in &figures.ways {
        outcome.rows.push(vec![
            way.name.into(),
            way.direct_ms.high(2),
            way.through_ms.high(2),
            way.added_ms.high(2),
            way.added_ms.count.to_string(),
        ]);
        for (kind, (name, spread)) in [("direct", way.direct_ms), ("through", way.through_ms)]
            .into_iter()
            .enumerate()
        {
            bars.push(Bar {
                name: format!("{} {name}", way.name),
                value: spread.median,
                range: Some((spread.min, spread.p99)),
                kind,
            });
        }
        if way.name != COLD_NAME {
            let reached = way.added_ms.median;
            outcome.targets.push(Target::new(
                format!("first frame over direct play, warm site, {}", way.name),
                format!("<= {WANTED_MS} ms added"),
                format!("{reached:.2} ms (median)"),
                reached <= WANTED_MS,
            ));
        }
    }
    let (cold, warm) = (figures.cold_requests, figures.warm_requests);
    outcome.targets.push(Target::new(
        "first frame, cold site",
        "at most one round trip more than warm",
        format!("{cold} requests where a warm site gets {warm}"),
        cold <= warm + WANTED_REQUESTS,
    ));
    outcome.plot = Some(Plot::Bars(Bars {
        title: "time to the first picture, ms (median; least to p99)".into(),
        all: bars,
        mark: None,
    }));
    Ok(outcome)
}
