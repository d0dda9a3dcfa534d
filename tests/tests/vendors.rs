//! Vendors' recorders: listed over HTTP, played by the times in the URL, in local time of different zones.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    recorder,
    report::judge,
    seamline::Config,
    vendor::{Setup, Vendor},
};

const SOON: Duration = Duration::from_secs(60);

/// FFmpeg from two seconds after noon to fifteen; panics unless it shows the sites in this order and nothing is missing, repeated
/// or damaged.
fn assert_seamless(config: &Config, sites: &[(&str, &Footage)], order: &[&str]) {
    let seamline = config.serve();
    let end = noon(15.0);
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(end)));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, sites);
    println!("{report}");
    report.assert_seamless();
    assert_eq!(report.sites(), order, "{report}");
    assert_eq!(
        report.runs.first().map(|run| run.first),
        Some(noon(1.52)),
        "{report}"
    );
    assert_eq!(
        report.runs.last().map(|run| run.last),
        Some(end - FRAME_MS),
        "{report}"
    );
    assert_eq!(player.errors, [""; 0]);
}

#[test]
fn hikvision_with_a_gap_and_dahua_that_fills_it_on_two_continents() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    // It runs over its gap as if there were none, and beyond the end that it is asked for.
    let first = Setup::of("hikvision")
        .zone("Europe/Zurich")
        .tells("rtp-info")
        .without(noon(4.0), noon(9.6))
        .user("viewer", "s3cret")
        .start(&primary);
    // In January clocks are set forward there.
    let second = Setup::of("dahua")
        .zone("Australia/Sydney")
        .tells("report")
        .user("operator", "0ther")
        .start(&secondary);
    let config = Config::default()
        .policy("failback", "at-seam")
        .vendor("primary", &first)
        .recorder("zone", "Europe/Zurich")
        .credentials("viewer", "s3cret")
        .vendor("secondary", &second)
        .recorder("zone", "Australia/Sydney")
        .credentials("operator", "0ther");
    assert_seamless(
        &config,
        &[("primary", &primary), ("secondary", &secondary)],
        &["primary", "secondary", "primary"],
    );
    let played = first.played();
    assert!(
        played
            .iter()
            .all(|url| url.contains("starttime=20260101T1300")),
        "{played:?}"
    );
    let played = second.played();
    assert!(
        played
            .iter()
            .all(|url| url.contains("starttime=2026_01_01_23_00")),
        "{played:?}"
    );
}

#[test]
fn axis_and_nx_with_gaps_that_the_other_fills() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    for (kind, other) in [("axis", "nx"), ("nx", "axis")] {
        let first = Setup::of(kind)
            .tells("stamps")
            .without(noon(4.0), noon(9.6))
            .start(&primary);
        let second = Setup::of(other).tells("stamps").start(&secondary);
        let config = Config::default()
            .policy("failback", "at-seam")
            .vendor("primary", &first)
            .vendor("secondary", &second);
        assert_seamless(
            &config,
            &[("primary", &primary), ("secondary", &secondary)],
            &["primary", "secondary", "primary"],
        );
    }
}

#[test]
fn a_recorder_by_url_that_lists_nothing_is_looked_over_ahead() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let of = |setup: Setup, footage| setup.tells("stamps").speed(20.0).start(footage);
    let first = of(Setup::of("nx").without(noon(5.0), noon(9.6)), &primary);
    let second = of(Setup::of("nx"), &secondary);
    let url = |vendor: &Vendor| {
        format!(
            "rtsp://127.0.0.1:{}/{{camera}}?pos={{start:ms}}",
            vendor.port()
        )
    };
    let config = Config::default()
        .policy("failback", "at-seam")
        .policy("sweep", "30s")
        .site_at("primary", &url(&first), 0)
        .site_at("secondary", &url(&second), 0);
    let sites = [("primary", &primary), ("secondary", &secondary)];
    assert_seamless(&config, &sites, &["primary", "secondary", "primary"]);
}

#[test]
fn recordings_that_follow_each_other_are_strung_and_asked_for_by_name() {
    let footage = Recipe::default().make();
    let recorder = Setup::of("axis")
        .tells("stamps")
        .split(noon(3.52))
        .split(noon(7.52))
        .start(&footage);
    let seamline = Config::default().vendor("primary", &recorder).serve();
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(10.0))));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    println!("{report}");
    report.assert_seamless();
    assert_eq!(report.runs[0].last, noon(10.0) - FRAME_MS, "{report}");
    let asked = recorder.played();
    assert_eq!(asked.len(), 3, "{asked:?}");
    // A client that knows the recordings' names asks for one of them, and gets that one.
    let url = seamline.url_of("axis-media/media.amp?recordingid=20260101_120003_AB12_ACCC8E000001");
    let mut player = Player::ffmpeg(&url);
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    println!("{report}");
    report.assert_seamless();
    let run = &report.runs[0];
    assert_eq!(
        (run.first, run.last),
        (noon(3.52), noon(7.52) - FRAME_MS),
        "{report}"
    );
}

#[test]
fn what_nothing_dates_is_off_by_a_group_of_pictures_and_never_runs_over_a_gap() {
    let footage = Recipe::default().make();
    // Its key frames are 1.52 s after noon and every two seconds on; it lists its gap from 8 s on, and skips it.
    let recorder = Setup::of("dahua")
        .zone("Europe/Zurich")
        .without(noon(8.0), noon(19.0))
        .start(&footage);
    let other = recorder::Setup::default().start(&footage);
    let seamline = Config::default()
        .vendor("primary", &recorder)
        .recorder("zone", "Europe/Zurich")
        .site("secondary", &other)
        .serve();
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(12.0))));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &[("any", &footage)]);
    println!("{report}");
    let clocks: Vec<_> = player
        .pictures
        .iter()
        .filter_map(|picture| picture.clock_ms)
        .collect();
    assert!(clocks.iter().all(|clock| *clock < noon(12.0)), "{report}");
    // A group of pictures may be missing or come twice where the undated footage ends; nothing more.
    let steps = clocks.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    assert!(steps.max() <= Some(2000 + FRAME_MS), "{report}");
    assert_eq!(player.errors, [""; 0]);
}
