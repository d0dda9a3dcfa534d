//! Figures, measured on real recorders and players; they take minutes, so they run on demand:
//! `cargo nextest run -p seamline-tests --test figures --run-ignored all --no-capture`

use std::time::Duration;

use seamline_tests::{
    clock::{monotonic, noon},
    footage::Recipe,
    player::Player,
    probe::Probe,
    recorder::Setup,
    report::judge,
    seamline::Config,
};

const RUNS: usize = 20;
const SOON: Duration = Duration::from_secs(30);

/// Median and worst of some durations, in milliseconds.
fn median_and_worst(mut times: Vec<Duration>) -> String {
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    format!(
        "median {} ms, worst {} ms of {}",
        median.as_millis(),
        worst.as_millis(),
        times.len()
    )
}

/// From the connection to the first RTP packet of the picture.
fn first_packet(url: &str, at: i64) -> Duration {
    let started = monotonic();
    let mut probe = Probe::open(url);
    assert_eq!(probe.play(at, None, &[("Rate-Control", "no")]).status, 200);
    assert!(probe.receive(SOON, |probe| !probe.tracks[0].is_empty()));
    probe.tracks[0][0].arrival.saturating_sub(started)
}

#[test]
#[ignore = "measures, for minutes"]
fn time_to_the_first_packet() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().start(&footage);
    let seamline = Config::default().site("primary", &recorder).serve();
    first_packet(&seamline.url(), noon(20.0));
    let direct = (0..RUNS)
        .map(|_| first_packet(&recorder.url, noon(20.0)))
        .collect();
    let through = (0..RUNS)
        .map(|_| first_packet(&seamline.url(), noon(20.0)))
        .collect();
    println!("first packet, direct:  {}", median_and_worst(direct));
    println!("first packet, through: {}", median_and_worst(through));
}

#[test]
#[ignore = "measures, for minutes"]
fn time_from_the_strike_to_the_secondarys_first_picture() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    for (name, kill) in [("kill -9", true), ("SIGSTOP", false)] {
        let (mut waits, mut stalls) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let mut first = Setup::default().no_faster_than(1.2).start(&primary);
            let second = Setup::default().start(&secondary);
            let config = Config::default()
                .site("primary", &first)
                .site("secondary", &second);
            let seamline = config.policy("failback", "never").serve();
            let mut player = Player::onvif(&seamline.url(), noon(2.0));
            // Struck at another point of the group each time.
            player.watch_until(noon(4.0) + run as i64 * 120, SOON);
            let struck = monotonic();
            if kill {
                first.kill();
            } else {
                first.stop();
            }
            let shown = |player: &Player| {
                let sites = [("primary", &primary), ("secondary", &secondary)];
                judge(&player.pictures, &sites)
                    .runs
                    .get(1)
                    .map(|run| run.first)
            };
            assert!(
                player.watch(SOON, |player| shown(player).is_some()),
                "no secondary after {name}"
            );
            let clock = shown(&player);
            let first_of_secondary = player
                .pictures
                .iter()
                .find(|picture| picture.clock_ms == clock);
            let arrival =
                Duration::from_nanos(first_of_secondary.expect("it was shown").arrival_ns);
            waits.push(arrival.saturating_sub(struck));
            let report = judge(
                &player.pictures,
                &[("primary", &primary), ("secondary", &secondary)],
            );
            report.assert_nothing_lost(Duration::from_secs(1));
            stalls.push(report.stall.0);
        }
        println!(
            "{name} to the secondary's first picture: {}",
            median_and_worst(waits)
        );
        println!(
            "{name}, longest stall at the player:     {}",
            median_and_worst(stalls)
        );
    }
    let second = Setup::default().start(&secondary);
    let direct = (0..RUNS)
        .map(|_| first_packet(&second.url, noon(5.0)))
        .collect();
    println!(
        "the secondary's own first packet:       {}",
        median_and_worst(direct)
    );
}
