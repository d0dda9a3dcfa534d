//! Outages in mid-play: recorders that die, freeze, refuse, lie or come back under a running player.

use std::{thread, time::Duration};

use seamline_tests::{
    authority::Authority,
    clock::{FRAME_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline},
};

/// The longer group of the two recorders.
const GROUP: Duration = Duration::from_secs(2);

const SOON: Duration = Duration::from_secs(30);
/// Of both sites at once: what was at hand is played by then, and both were tried again.
const BOTH_DOWN: Duration = Duration::from_secs(3);

/// Two busy recorders that hold everything.
struct Scenario {
    footage: [Footage; 2],
    primary: Recorder,
    secondary: Recorder,
    seamline: Seamline,
}

impl Scenario {
    fn new(failback: &str) -> Self {
        Self::of(failback, &busy(), |config| config)
    }

    /// Recorders that were set up alike, and what the configuration says of each.
    fn of(failback: &str, setup: &Setup, trusted: impl Fn(Config) -> Config) -> Self {
        let footage = [Recipe::default().make(), Recipe::secondary().make()];
        let primary = setup.start(&footage[0]);
        let secondary = setup.start(&footage[1]);
        let config = trusted(Config::default().site("primary", &primary));
        let config = trusted(config.site("secondary", &secondary));
        let seamline = config.policy("failback", failback).serve();
        Self {
            footage,
            primary,
            secondary,
            seamline,
        }
    }

    fn judge(&self, player: &Player) -> Report {
        let sites = [
            ("primary", &self.footage[0]),
            ("secondary", &self.footage[1]),
        ];
        let report = judge(&player.pictures, &sites);
        println!("{report}");
        report
    }

    fn restart_primary(&mut self) {
        self.primary = busy().on_port(self.primary.port()).start(&self.footage[0]);
    }
}

/// Little faster than real time: what it sends is needed soon, so that its end is felt soon.
fn busy() -> Setup {
    Setup::default().no_faster_than(1.2)
}

/// A way to go down, and the longest wait that it may cost a paced player: what it takes to notice, and a secondary's
/// own time to its first picture.
struct Outage {
    name: &'static str,
    strike: fn(&mut Scenario),
    longest: Duration,
}

const OUTAGES: [Outage; 2] = [
    Outage {
        name: "kill -9",
        strike: |scenario| scenario.primary.kill(),
        longest: Duration::from_millis(1500),
    },
    Outage {
        name: "SIGSTOP",
        strike: |scenario| scenario.primary.stop(),
        longest: Duration::from_millis(2500),
    },
];

#[test]
fn an_outage_loses_nothing() {
    for Outage {
        name,
        strike,
        longest,
    } in OUTAGES
    {
        let mut scenario = Scenario::new("never");
        let mut player = Player::onvif(&scenario.seamline.url(), noon(2.0));
        player.watch_until(noon(5.0), SOON);
        strike(&mut scenario);
        player.watch_until(noon(9.0), SOON);
        let report = scenario.judge(&player);
        report.assert_nothing_lost(GROUP);
        assert_eq!(report.sites(), ["primary", "secondary"], "{name}");
        assert!(report.stall.0 < longest, "{name}: {report}");
    }
}

#[test]
fn inside_tls_an_outage_loses_nothing() {
    let authority = Authority::new("a site's own");
    let setup = busy().tls(&authority.issue("127.0.0.1"));
    let ca_file = authority.file();
    for Outage {
        name,
        strike,
        longest,
    } in OUTAGES
    {
        let trusted = |config: Config| config.recorder("ca_file", ca_file.to_str());
        let mut scenario = Scenario::of("never", &setup, trusted);
        let mut player = Player::onvif(&scenario.seamline.url(), noon(2.0));
        player.watch_until(noon(5.0), SOON);
        strike(&mut scenario);
        player.watch_until(noon(9.0), SOON);
        let report = scenario.judge(&player);
        report.assert_nothing_lost(GROUP);
        assert_eq!(report.sites(), ["primary", "secondary"], "{name}");
        assert!(report.stall.0 < longest, "{name}: {report}");
        // Backwards each group is another play of the same session.
        let mut back = Player::onvif_at(-1.0, &scenario.seamline.url(), noon(8.0), noon(6.0));
        back.watch_to_end(SOON);
        assert!(back.pictures.len() > 40, "{name}: {}", back.pictures.len());
    }
}

#[test]
fn ffmpeg_plays_on_through_an_outage() {
    for Outage { name, strike, .. } in OUTAGES {
        let mut scenario = Scenario::new("never");
        let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(noon(10.0))));
        player.watch_until(noon(5.0), SOON);
        strike(&mut scenario);
        player.watch_to_end(SOON);
        let report = scenario.judge(&player);
        report.assert_nothing_lost(GROUP);
        assert_eq!(report.sites(), ["primary", "secondary"], "{name}");
        assert_eq!(report.runs[1].last, noon(10.0) - FRAME_MS);
        assert_eq!(player.errors, [""; 0], "{name}");
    }
}

#[test]
fn a_recorder_that_refuses_is_left_for_the_other() {
    for command in [
        "refuse describe 503",
        "refuse play 453",
        "refuse setup 404",
        "refuse connect 0",
    ] {
        let mut scenario = Scenario::new("never");
        scenario.primary.tell(command);
        let mut player =
            Player::onvif_unpaced(&scenario.seamline.url(), noon(2.0), Some(noon(6.0)));
        player.watch_to_end(SOON);
        let report = scenario.judge(&player);
        report.assert_seamless();
        assert_eq!(report.sites(), ["secondary"], "{command}");
    }
}

#[test]
fn a_recorder_with_the_wrong_footage_is_never_shown() {
    for command in ["wrong start", "wrong other-hour", "wrong live"] {
        let mut scenario = Scenario::new("never");
        scenario.primary.tell(command);
        let mut player =
            Player::onvif_unpaced(&scenario.seamline.url(), noon(20.0), Some(noon(24.0)));
        player.watch_to_end(SOON);
        let report = scenario.judge(&player);
        report.assert_seamless();
        assert_eq!(report.sites(), ["secondary"], "{command}");
        assert!(report.runs[0].first > noon(17.0), "{command}: {report}");
    }
}

#[test]
fn a_primary_that_comes_back_is_used_again_when_it_has_proved_itself() {
    let mut scenario = Scenario::new("after 2s");
    let mut player = Player::onvif(&scenario.seamline.url(), noon(2.0));
    player.watch_until(noon(5.0), SOON);
    scenario.primary.kill();
    player.watch_until(noon(8.0), SOON);
    scenario.restart_primary();
    let back = player.watch(SOON, |player| {
        let last = player.pictures.last();
        last.is_some_and(|picture| {
            scenario.footage[0]
                .pictures
                .values()
                .any(|md5| *md5 == picture.md5)
        }) && player.last_clock() > Some(noon(8.0))
    });
    let report = scenario.judge(&player);
    assert!(back, "the primary was not used again:\n{report}");
    report.assert_nothing_lost(GROUP);
    assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
}

#[test]
fn never_means_never() {
    let mut scenario = Scenario::new("never");
    let mut player = Player::onvif(&scenario.seamline.url(), noon(2.0));
    player.watch_until(noon(4.0), SOON);
    scenario.primary.kill();
    player.watch_until(noon(6.0), SOON);
    scenario.restart_primary();
    player.watch_until(noon(14.0), SOON);
    let report = scenario.judge(&player);
    report.assert_nothing_lost(GROUP);
    assert_eq!(report.sites(), ["primary", "secondary"]);
}

#[test]
fn a_frozen_primary_that_thaws_loses_nothing() {
    let scenario = Scenario::new("after 2s");
    let mut player = Player::onvif(&scenario.seamline.url(), noon(2.0));
    player.watch_until(noon(5.0), SOON);
    scenario.primary.stop();
    player.watch_until(noon(8.0), SOON);
    scenario.primary.resume();
    player.watch_until(noon(18.0), SOON);
    scenario.judge(&player).assert_nothing_lost(GROUP);
}

#[test]
fn with_both_down_the_session_waits_and_goes_on() {
    let mut scenario = Scenario::new("at-seam");
    let mut player = Player::onvif(&scenario.seamline.url(), noon(2.0));
    player.watch_until(noon(4.0), SOON);
    scenario.primary.kill();
    scenario.secondary.kill();
    thread::sleep(BOTH_DOWN);
    scenario.restart_primary();
    player.watch_until(noon(10.0), Duration::from_secs(60));
    let report = scenario.judge(&player);
    report.assert_nothing_lost(GROUP);
}

#[test]
fn wrong_credentials_are_asked_for_once_and_the_other_site_plays() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    let primary = Setup::default().user("viewer", "right").start(&footage[0]);
    let secondary = Setup::default().user("viewer", "right").start(&footage[1]);
    let config = Config::default()
        .site("primary", &primary)
        .credentials("viewer", "wrong")
        .site("secondary", &secondary)
        .credentials("viewer", "right");
    let seamline = config.serve();
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), Some(noon(6.0)));
    player.watch_to_end(SOON);
    let report = judge(
        &player.pictures,
        &[("primary", &footage[0]), ("secondary", &footage[1])],
    );
    report.assert_seamless();
    assert_eq!(report.sites(), ["secondary"]);
}

#[test]
fn it_leaves_when_asked_to() {
    let mut scenario = Scenario::new("never");
    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(noon(10.0))));
    player.watch_until(noon(4.0), SOON);
    assert_eq!(scenario.seamline.shut_down(), Some(0));
    player.watch_to_end(SOON);
}
