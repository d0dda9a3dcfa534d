//! Seams that the coverage foretells: the better copy has a gap, the other fills it, and no player sees where.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, NOON_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline},
    stream::{Onvif, assert_one_stream, assert_stamped, uneven_steps, units},
};

/// Late enough that the stay at the primary, from 9.52 s on, is worth the seam.
const END: i64 = NOON_MS + 11_800;

const SOON: Duration = Duration::from_secs(30);

/// A primary without 4 s to 8 s, which comes back with its next key frame at 9.52 s; a secondary without 12 s to 16 s.
struct Scenario {
    primary: Footage,
    secondary: Footage,
    // Dropped, they end.
    _recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new(primary: &Recipe, secondary: &Recipe) -> Self {
        Self::with(primary, secondary, &Setup::default(), Config::site)
    }

    fn with(
        primary: &Recipe,
        secondary: &Recipe,
        second: &Setup,
        add_second: impl FnOnce(Config, &str, &Recorder) -> Config,
    ) -> Self {
        let (primary, secondary) = (primary.make(), secondary.make());
        let first = Setup::default()
            .without(noon(4.0), noon(8.0))
            .start(&primary);
        let second = second
            .clone()
            .without(noon(12.0), noon(16.0))
            .aggregating()
            .start(&secondary);
        let config = Config::default()
            .policy("failback", "at-seam")
            .site("primary", &first);
        let seamline = add_second(config, "secondary", &second).serve();
        Self {
            primary,
            secondary,
            _recorders: [first, second],
            seamline,
        }
    }

    /// Plays it once, as fast as it goes: afterwards the index knows every gap.
    fn teach(&self) {
        let mut probe = Probe::open(&self.seamline.url());
        let reply = probe.play(noon(1.0), Some(noon(14.0)), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
        probe.receive_to_end(SOON);
    }

    fn judge(&self, player: &Player) -> Report {
        let report = judge(
            &player.pictures,
            &[("primary", &self.primary), ("secondary", &self.secondary)],
        );
        println!("{report}");
        report
    }

    /// Panics unless the player showed primary, secondary and primary, each from a key frame on.
    fn assert_spliced(&self, player: &Player) {
        let report = self.judge(player);
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
        // The secondary's last key frame before the gap, the primary's first after it.
        assert_eq!(report.runs[1].first, noon(3.72));
        assert_eq!(report.runs[2].first, noon(9.52));
        assert_eq!(player.errors, [""; 0]);
    }
}

#[test]
fn ffmpeg_sees_no_seam_h264() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    scenario.teach();
    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    scenario.assert_spliced(&player);
    let report = scenario.judge(&player);
    assert_eq!(report.runs[2].last, END - FRAME_MS);
    assert!(report.stall.0 < Duration::from_millis(300), "{report}");
}

#[test]
fn gstreamer_sees_no_seam_h264() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    scenario.teach();
    let mut player = Player::gstreamer(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    scenario.assert_spliced(&player);
}

#[test]
fn gstreamer_onvif_sees_no_seam_and_the_true_time_h264() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    scenario.teach();
    for unpaced in [true, false] {
        let url = scenario.seamline.url();
        let mut player = if unpaced {
            Player::onvif_unpaced(&url, noon(2.0), None)
        } else {
            Player::onvif(&url, noon(2.0))
        };
        player.watch_until(END, SOON);
        scenario.assert_spliced(&player);
        for picture in &player.pictures {
            assert_eq!(
                picture.capture_ms.map(|ms| ms.round() as i64),
                picture.clock_ms
            );
        }
    }
}

#[test]
fn no_player_sees_a_seam_h265() {
    let scenario = Scenario::new(&Recipe::default().h265(), &Recipe::secondary().h265());
    scenario.teach();
    let mut player = Player::onvif_unpaced(&scenario.seamline.url(), noon(2.0), None);
    player.watch_until(END, SOON);
    scenario.assert_spliced(&player);
    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    scenario.assert_spliced(&player);
}

#[test]
fn a_clock_three_seconds_ahead_is_set_right() {
    let second = Setup::default().clock_ahead_ms(3000);
    let add =
        |config: Config, name: &str, recorder: &Recorder| config.site_ahead(name, recorder, 3000);
    let scenario = Scenario::with(&Recipe::default(), &Recipe::secondary(), &second, add);
    scenario.teach();
    let mut player = Player::onvif_unpaced(&scenario.seamline.url(), noon(2.0), None);
    player.watch_until(END, SOON);
    scenario.assert_spliced(&player);
    for picture in &player.pictures {
        assert_eq!(
            picture.capture_ms.map(|ms| ms.round() as i64),
            picture.clock_ms
        );
    }
}

#[test]
fn on_the_wire_it_is_one_stream() {
    let scenario = Scenario::new(
        &Recipe::default().with_audio("g711"),
        &Recipe::secondary().with_audio("g711"),
    );
    scenario.teach();
    for headers in [&[("Rate-Control", "no")][..], &[]] {
        let mut probe = Probe::open(&scenario.seamline.url());
        assert_eq!(probe.play(noon(2.0), Some(END), headers).status, 200);
        let cseq = probe.client.cseq();
        probe.receive_to_end(SOON);
        for track in &probe.tracks {
            assert_one_stream(track);
            assert_stamped(track, cseq);
        }
        assert_eq!(uneven_steps(&units(&probe.tracks[0]), FRAME_MS), []);
        let terminal = units(&probe.tracks[0])
            .iter()
            .filter(|unit| unit.onvif.is_some_and(Onvif::terminal))
            .count();
        assert!(terminal <= 1, "T on {terminal} access units");
        // G.711 of two recorders, cut at the seams of the picture: no step may be longer than two of its packets.
        let sounds = units(&probe.tracks[1]);
        let captures: Vec<_> = sounds.iter().filter_map(|unit| unit.capture_ms).collect();
        assert!(
            captures
                .windows(2)
                .all(|pair| (1..=40).contains(&(pair[1] - pair[0]))),
            "{:?}",
            uneven_steps(&sounds, 20)
        );
    }
}

#[test]
fn leading_pictures_of_an_open_group_are_not_shown() {
    let open = Recipe {
        b_frames: 3,
        open_gop: true,
        gop: 48,
        phase: 9,
        ..Recipe::default()
    };
    let scenario = Scenario::new(&Recipe::default(), &open);
    scenario.teach();
    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    let report = scenario.judge(&player);
    report.assert_whole_and_forward();
    assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
}

#[test]
fn a_seam_between_pictures_that_refer_to_each_other_loses_and_damages_none() {
    // The primary is back in the middle of four of the secondary's pictures, the last of which the others refer to.
    let reordered = Recipe {
        b_frames: 3,
        gop: 48,
        phase: 10,
        ..Recipe::default()
    };
    let scenario = Scenario::new(&Recipe::default(), &reordered);
    scenario.teach();
    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    let report = scenario.judge(&player);
    // Those four are sent, and the primary's up to there again, squeezed into the instant of the seam.
    report.assert_nothing_lost(Duration::from_millis(200));
    assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
    assert!(report.repeats.len() <= 1, "{report}");
}

#[test]
fn a_gap_that_nobody_knew_of_costs_no_picture() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    let mut player = Player::onvif_unpaced(&scenario.seamline.url(), noon(2.0), None);
    player.watch_until(END, SOON);
    let report = scenario.judge(&player);
    // What had been sent when the gap was met is sent again as far back as the secondary's key frame, and no further.
    report.assert_nothing_lost(Duration::from_secs(1));
    assert_eq!(report.sites()[..2], ["primary", "secondary"]);
}

#[test]
fn what_nobody_holds_is_skipped_or_ends_as_the_policy_says() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let first = Setup::default()
        .without(noon(4.0), noon(8.0))
        .start(&primary);
    let second = Setup::default()
        .without(noon(3.0), noon(9.0))
        .start(&secondary);
    for holes in ["skip", "end"] {
        let config = Config::default()
            .site("primary", &first)
            .site("secondary", &second)
            .policy("holes", holes);
        let seamline = config.serve();
        let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), Some(noon(12.0)));
        player.watch_to_end(SOON);
        let report = judge(
            &player.pictures,
            &[("primary", &primary), ("secondary", &secondary)],
        );
        report.assert_whole_and_forward();
        if holes == "end" {
            assert_eq!(
                report.runs.last().map(|run| run.last),
                Some(noon(4.0) - FRAME_MS),
                "{report}"
            );
        } else {
            assert_eq!(report.sites(), ["primary"], "a seam for nothing: {report}");
            // The secondary's next key frame after 9 s.
            assert_eq!(
                report.skips,
                [(noon(4.0) - FRAME_MS, noon(9.52))],
                "{report}"
            );
        }
    }
}
