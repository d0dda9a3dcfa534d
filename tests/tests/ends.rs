//! The ends of footage: a tail that still grows, the last picture there is, and how each client learns of it.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use seamline_tests::{
    clock::{FRAME_MS, iso, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Recorder, Setup},
    report::judge,
    seamline::{Config, Seamline},
    stream::{Onvif, assert_one_stream, assert_stamped, longest_stall, uneven_steps, units},
};

const SOON: Duration = Duration::from_secs(30);

/// Two recorders with the same ends.
struct Scenario {
    footage: [Footage; 2],
    recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new(setup: &Setup) -> Self {
        let footage = [Recipe::default().make(), Recipe::secondary().make()];
        let recorders = [setup.start(&footage[0]), setup.start(&footage[1])];
        let config = Config::default()
            .site("primary", &recorders[0])
            .site("secondary", &recorders[1]);
        let seamline = config.serve();
        Self {
            footage,
            recorders,
            seamline,
        }
    }

    fn sites(&self) -> [(&'static str, &Footage); 2] {
        [
            ("primary", &self.footage[0]),
            ("secondary", &self.footage[1]),
        ]
    }
}

#[test]
fn a_tail_is_followed_while_it_grows() {
    for unpaced in [true, false] {
        let scenario = Scenario::new(&Setup::default().growing_from(noon(4.0)));
        let url = scenario.seamline.url();
        let mut player = if unpaced {
            Player::onvif_unpaced(&url, noon(2.0), None)
        } else {
            Player::onvif(&url, noon(2.0))
        };
        player.watch_until(noon(8.0), SOON);
        let report = judge(&player.pictures, &scenario.sites());
        println!("{report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary"]);
        assert!(report.stall.0 < Duration::from_millis(700), "{report}");
        let failures = scenario.seamline.log();
        assert!(
            !failures.iter().any(|line| line.contains("leg failed")),
            "{failures:?}"
        );
    }
}

#[test]
fn a_tail_is_followed_on_the_other_site_when_its_recorder_dies() {
    let mut scenario = Scenario::new(&Setup::default().growing_from(noon(4.0)));
    let mut player = Player::onvif(&scenario.seamline.url(), noon(2.0));
    player.watch_until(noon(6.0), SOON);
    scenario.recorders[0].kill();
    player.watch_until(noon(10.0), SOON);
    let report = judge(&player.pictures, &scenario.sites());
    println!("{report}");
    report.assert_nothing_lost(Duration::from_secs(2));
    assert_eq!(report.sites(), ["primary", "secondary"]);
}

#[test]
fn at_the_end_of_footage_plain_players_end_by_themselves() {
    let scenario = Scenario::new(&Setup::default());
    let last = noon(70.0) - FRAME_MS;
    let url = scenario.seamline.url_from(noon(65.0), None);
    for mut player in [Player::ffmpeg(&url), Player::gstreamer(&url)] {
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, &scenario.sites());
        println!("{report}");
        report.assert_seamless();
        assert_eq!(
            report.runs.last().map(|run| run.last),
            Some(last),
            "{report}"
        );
        assert_eq!(player.end.as_deref(), Some("eos"));
    }
}

#[test]
fn at_the_end_of_footage_replay_clients_get_the_flags_and_only_closed_ranges_a_bye() {
    let scenario = Scenario::new(&Setup::default());
    for headers in [&[("Rate-Control", "no")][..], &[]] {
        for (stop, byes) in [(None, 0), (Some(noon(80.0)), 1), (Some(noon(69.0)), 1)] {
            let mut probe = Probe::open(&scenario.seamline.url());
            assert_eq!(probe.play(noon(67.0), stop, headers).status, 200);
            probe.receive_to_end(SOON);
            // Whatever comes late belongs to the end, too.
            probe.receive(Duration::from_millis(300), |_| false);
            assert_one_stream(&probe.tracks[0]);
            let units = units(&probe.tracks[0]);
            assert_eq!(uneven_steps(&units, FRAME_MS), []);
            let last = stop.map_or(noon(70.0), |stop| stop.min(noon(70.0))) - FRAME_MS;
            let at_end = units.last().expect("footage");
            assert_eq!(at_end.capture_ms, Some(last));
            let ends = |flag: fn(Onvif) -> bool| {
                units
                    .iter()
                    .filter(|unit| unit.onvif.is_some_and(flag))
                    .count()
            };
            assert_eq!(ends(Onvif::section_end), 1, "E, with stop {stop:?}");
            assert_eq!(ends(Onvif::terminal), 1, "T, with stop {stop:?}");
            assert!(
                at_end
                    .onvif
                    .is_some_and(|onvif| onvif.section_end() && onvif.terminal())
            );
            assert_eq!(probe.byes(), byes, "BYE, with stop {stop:?}");
            // The session lives on: what ended is the play.
            assert_eq!(probe.play(noon(0.0), Some(noon(1.0)), headers).status, 200);
            probe.receive_until(noon(1.0) - FRAME_MS, SOON);
        }
    }
}

#[test]
fn a_start_behind_all_footage_is_refused() {
    let scenario = Scenario::new(&Setup::default());
    let mut probe = Probe::open(&scenario.seamline.url());
    assert_eq!(probe.play(noon(100.0), Some(noon(110.0)), &[]).status, 457);
    assert_eq!(probe.play(noon(100.0), None, &[]).status, 457);
    // The refusal is the request's, not the session's.
    assert_eq!(probe.play(noon(10.0), None, &[]).status, 200);
    probe.receive_until(noon(11.0), SOON);
    assert!(longest_stall(&units(&probe.tracks[0])).0 < Duration::from_millis(500));
}

#[test]
fn delivery_goes_on_when_recording_does() {
    let files = Recipe::default().mp4().make();
    let later = [noon(20.0), noon(30.0), noon(40.0), noon(50.0), noon(60.0)];
    let folder = files.archive_without(&later);
    let back_then = SystemTime::UNIX_EPOCH + Duration::from_millis(noon(70.0).unsigned_abs());
    let finished = |file: &Path| {
        let file = fs::File::options().write(true).open(file);
        file.and_then(|file| file.set_modified(back_then))
            .expect("a file of our own can be dated back");
    };
    for entry in fs::read_dir(folder.path()).expect("the folder was just made") {
        finished(&entry.expect("a folder can be listed").path());
    }
    let seamline = Config::default().archive("archive", folder.path()).serve();
    let mut probe = Probe::open(&seamline.url());
    let answer = probe.play(noon(18.0), None, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    probe.receive_to_end(SOON);
    assert_eq!(probe.last_capture(), Some(noon(20.0) - FRAME_MS));
    // Recording goes on after ten seconds of nothing.
    let name = "20260101T120030Z.mp4";
    let file = folder.path().join(name);
    fs::copy(files.folder.join(name), &file).expect("recordings can be copied");
    finished(&file);
    probe.receive_until(noon(39.0), SOON);
    assert_eq!(probe.byes(), 0);
    assert_one_stream(&probe.tracks[0]);
    assert_stamped(&probe.tracks[0], probe.client.cseq());
    let units = units(&probe.tracks[0]);
    let steps = uneven_steps(&units, FRAME_MS);
    let jump = (iso(noon(20.0) - FRAME_MS), iso(noon(30.0)));
    assert_eq!(steps, [jump], "more than the pause is missing");
    // Its media time goes on as if nothing had been in between.
    for pair in units.windows(2) {
        let step = pair[1].rtp_time.wrapping_sub(pair[0].rtp_time);
        assert!((3_590..=3_610).contains(&step), "RTP time moves by {step}");
    }
}
