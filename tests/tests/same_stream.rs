//! Two recorders that store one encoder's stream: found out while playing, joined at any picture, clocks told apart.

use std::time::Duration;

use seamline_tests::{
    clock::{self, noon},
    footage::{Footage, Recipe},
    player::Player,
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(30);

/// Both hold the same pictures; the secondary's clock is ahead, and nobody says so.
struct Scenario {
    footage: Footage,
    primary: Recorder,
    _secondary: Recorder,
    seamline: Seamline,
}

impl Scenario {
    fn new(recipe: &Recipe, ahead_ms: i64, config: Config) -> Self {
        let footage = recipe.make();
        // Little faster than real time: nothing lies ahead when it dies.
        let primary = Setup::default().no_faster_than(1.2).start(&footage);
        let secondary = Setup::default()
            .aggregating()
            .clock_ahead_ms(ahead_ms)
            .start(&footage);
        let seamline = config
            .policy("failback", "never")
            .site("primary", &primary)
            .site("secondary", &secondary)
            .serve();
        Self {
            footage,
            primary,
            _secondary: secondary,
            seamline,
        }
    }

    fn judge(&self, player: &Player) -> Report {
        let report = judge(&player.pictures, &[("both", &self.footage)]);
        println!("{report}");
        report
    }

    /// Plays in ONVIF mode over the death of the primary, in the middle of a group of pictures.
    fn play_over_an_outage(&mut self) -> (Player, Report) {
        let mut player = Player::onvif(&self.seamline.url(), noon(2.0));
        // The next key frame, at 5.52 s, has not arrived: the secondary starts at the one before.
        player.watch_until(noon(4.4), SOON);
        self.primary.kill();
        player.watch_until(noon(9.0), SOON);
        let report = self.judge(&player);
        (player, report)
    }
}

fn assert_true_time(player: &Player) {
    for picture in &player.pictures {
        assert_eq!(
            picture.capture_ms.map(|ms| ms.round() as i64),
            picture.clock_ms
        );
    }
}

#[test]
fn an_outage_repeats_nothing() {
    let b_pictures = Recipe {
        b_frames: 3,
        ..Recipe::default()
    };
    for recipe in [Recipe::default(), b_pictures, Recipe::default().h265()] {
        let mut scenario = Scenario::new(&recipe, 0, Config::default());
        let (player, report) = scenario.play_over_an_outage();
        report.assert_seamless();
        assert_eq!(player.errors, [""; 0]);
        assert_true_time(&player);
        scenario
            .seamline
            .await_log(&["same stream", "secondary"], SOON);
    }
}

#[test]
fn the_only_recorder_comes_back_and_repeats_nothing() {
    let footage = Recipe::default().make();
    let setup = || Setup::default().no_faster_than(1.2);
    let mut recorder = setup().start(&footage);
    let seamline = Config::default().site("only", &recorder).serve();
    let mut player = Player::onvif(&seamline.url(), noon(2.0));
    // In the middle of a group of pictures.
    player.watch_until(noon(4.4), SOON);
    recorder.kill();
    let _recorder = setup().on_port(recorder.port()).start(&footage);
    player.watch_until(noon(9.0), SOON);
    let report = judge(&player.pictures, &[("only", &footage)]);
    report.assert_seamless();
    assert_true_time(&player);
}

#[test]
fn a_clock_that_nobody_declared_is_measured_and_set_right() {
    let config = Config::default()
        .policy("clock_skew", "measured")
        .policy("max_skew", "5s");
    let mut scenario = Scenario::new(&Recipe::default(), 3000, config);
    let (player, report) = scenario.play_over_an_outage();
    report.assert_seamless();
    assert_true_time(&player);
    let line = scenario
        .seamline
        .await_log(&["skew measured", "secondary", "primary"], SOON);
    assert!(measured_ms(&line).abs_diff(3000) < 40, "{line}");
    // From now on the other site is asked by its own clock.
    let mut player = Player::onvif_unpaced(&scenario.seamline.url(), noon(4.0), Some(noon(8.0)));
    player.watch_to_end(SOON);
    let report = scenario.judge(&player);
    report.assert_seamless();
    assert!(report.runs[0].first <= noon(4.0), "{report}");
    assert_true_time(&player);
}

#[test]
fn what_is_measured_is_only_reported_unless_the_policy_says_more() {
    let mut scenario = Scenario::new(&Recipe::default(), 3000, Config::default());
    let (player, _) = scenario.play_over_an_outage();
    assert!(player.end.is_none());
    let line = scenario
        .seamline
        .await_log(&["skew measured", "secondary"], SOON);
    assert!(measured_ms(&line).abs_diff(3000) < 40, "{line}");
    assert!(player.pictures.len() > 100);
}

#[test]
fn clocks_are_compared_when_the_operator_asks() {
    let scenario = Scenario::new(&Recipe::default(), 3000, Config::default());
    let said = scenario
        .seamline
        .coverage_json(&clock::iso(noon(4.0)), &clock::iso(noon(30.0)));
    let skew = &said["copies"][1]["skew"];
    let offset = skew["offset_ms"].as_f64().unwrap_or_default();
    assert!((offset - 3000.0).abs() < 40.0, "{said:#}");
    assert_eq!(skew["basis"], "pictures");
    assert!(said["copies"][0]["skew"].is_null());
}

/// The `ms=` of a line of the log.
fn measured_ms(line: &str) -> i64 {
    let value = line
        .split("ms=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let value: Option<f64> = value.and_then(|word| word.parse().ok());
    value.unwrap_or_else(|| panic!("no ms in {line}")).round() as i64
}
