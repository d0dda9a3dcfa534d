//! Sites of XProtect behind players of RTSP: seams, outages in the middle of a body, tokens that run out, live.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    recorder,
    report::{Report, judge},
    seamline::{Config, Seamline},
    xprotect::{Setup, Site},
};

const SOON: Duration = Duration::from_secs(40);

fn shown(player: &Player, primary: &Footage, secondary: &Footage) -> Report {
    let report = judge(
        &player.pictures,
        &[("primary", primary), ("secondary", secondary)],
    );
    println!("{report}");
    report
}

/// A primary of XProtect and a secondary of another kind that hold the same time.
struct Pair {
    footage: [Footage; 2],
    site: Site,
    other: recorder::Recorder,
}

impl Pair {
    fn new(recipes: [Recipe; 2], site: Setup) -> Self {
        let footage = recipes.map(|recipe| recipe.make());
        let site = site.user("viewer", "s3cret").start(&footage[0]);
        let other = recorder::Setup::default().start(&footage[1]);
        Self {
            footage,
            site,
            other,
        }
    }

    fn h264(site: Setup) -> Self {
        Self::new([Recipe::default(), Recipe::secondary()], site)
    }

    fn serve(&self) -> Seamline {
        self.config().serve()
    }

    fn config(&self) -> Config {
        Config::default()
            .policy("failback", "at-seam")
            .xprotect("primary", &self.site)
            .site("secondary", &self.other)
    }

    fn report(&self, player: &Player) -> Report {
        shown(player, &self.footage[0], &self.footage[1])
    }
}

#[test]
fn a_gap_of_a_site_is_filled_by_a_recorder_of_another_kind() {
    let h265 = [Recipe::default().h265(), Recipe::secondary().h265()];
    for recipes in [[Recipe::default(), Recipe::secondary()], h265] {
        // One sequence in an answer: its listing has two pages.
        let pair = Pair::new(
            recipes,
            Setup::default().without(noon(4.0), noon(8.0)).page(1),
        );
        let seamline = pair.serve();
        for player in [Player::ffmpeg, Player::gstreamer] {
            let end = noon(15.0);
            let mut player = player(&seamline.url_from(noon(2.0), Some(end)));
            player.watch_to_end(SOON);
            let report = pair.report(&player);
            report.assert_seamless();
            assert_eq!(
                report.sites(),
                ["primary", "secondary", "primary"],
                "{report}"
            );
            assert_eq!(report.runs[0].first, noon(1.52), "{report}");
            assert_eq!(report.runs[2].last, end - FRAME_MS, "{report}");
            assert_eq!(player.errors, [""; 0]);
        }
    }
}

#[test]
fn what_breaks_in_the_middle_of_a_body_costs_no_picture() {
    for fault in ["reset", "stall", "no-trailer", "codec", "expire", "kill"] {
        let mut pair = Pair::h264(Setup::default());
        let seamline = pair.serve();
        let mut player = Player::onvif(&seamline.url(), noon(2.0));
        player.watch_until(noon(4.0), SOON);
        if fault == "kill" {
            pair.site.kill();
        } else {
            pair.site.tell(fault);
        }
        player.watch_until(noon(16.0), SOON);
        println!("{fault}:");
        let report = pair.report(&player);
        report.assert_nothing_lost(Duration::from_secs(2));
        assert_eq!(report.runs[0].site, "primary", "{fault}: {report}");
        if matches!(fault, "kill" | "codec") {
            assert_eq!(
                report.sites(),
                ["primary", "secondary"],
                "{fault}: {report}"
            );
        }
    }
}

#[test]
fn a_session_outlives_its_token() {
    let footage = Recipe::default().make();
    let site = Setup::default()
        .user("viewer", "s3cret")
        .token_life(Duration::from_secs(4))
        .start(&footage);
    let seamline = Config::default().xprotect("primary", &site).serve();
    let mut player = Player::onvif(&seamline.url(), noon(2.0));
    player.watch_until(noon(14.0), SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    println!("{report}");
    report.assert_seamless();
    let calls = site.calls();
    let count = |name: &str| calls.iter().filter(|call| *call == name).count();
    assert!(count("login bearer") >= 3, "{calls:?}");
    assert!(count("connectupdate") >= 2, "{calls:?}");
    // One to find out about the tracks, one to play.
    assert_eq!(count("connect"), 2, "{calls:?}");
    let log = seamline.log().join("\n");
    assert!(!log.contains("s3cret") && !log.contains("TOKEN#"), "{log}");
}
