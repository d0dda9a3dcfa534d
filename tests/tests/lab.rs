//! The lab proves itself first: recorder straight to player, without anything of ours between them.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::Recipe,
    player::Player,
    probe::Probe,
    program::Event,
    recorder::Setup,
    report::judge,
    stream::{Onvif, assert_one_stream, assert_stamped, longest_stall, uneven_steps, units},
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_paced_replay_shows_every_picture_at_its_time() {
    let footage = Recipe::default().with_audio("g711").make();
    let recorder = Setup::default().start(&footage);
    let mut player = Player::onvif(&recorder.url, noon(3.3));
    player.watch_until(noon(6.0), SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    report.assert_seamless();
    // Groups of two seconds that begin 480 ms before the half of each: the one at or before 3.3 s.
    assert_eq!(report.runs[0].first, noon(1.52));
    assert!(report.stall.0 < Duration::from_millis(500), "{report}");
    for picture in &player.pictures {
        assert_eq!(
            picture.capture_ms.map(|ms| ms.round() as i64),
            picture.clock_ms
        );
    }
    assert!(
        player
            .sounds_ms
            .windows(2)
            .all(|pair| pair[1] - pair[0] == 20),
        "{:?}",
        player.sounds_ms
    );
    assert_eq!(player.sounds_ms[0], noon(1.52));
}

#[test]
fn both_codecs_decode_bit_exactly_in_every_player() {
    for recipe in [
        Recipe::secondary(),
        Recipe::default().h265(),
        Recipe::secondary().h265(),
    ] {
        let footage = recipe.make();
        let recorder = Setup::default().aggregating().start(&footage);
        let players = [
            Player::ffmpeg(&recorder.url),
            Player::gstreamer(&recorder.url),
        ];
        for mut player in players {
            // Players that name no time get the recording from its start.
            player.watch_until(noon(-7.0), SOON);
            judge(&player.pictures, &[(recipe.codec, &footage)]).assert_seamless();
            assert_eq!(player.errors, [""; 0]);
        }
        let mut player = Player::onvif_unpaced(&recorder.url, noon(60.0), None);
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, &[(recipe.codec, &footage)]);
        report.assert_seamless();
        assert_eq!(report.runs[0].last, noon(70.0) - FRAME_MS);
    }
}

#[test]
fn a_gap_is_marked_and_skipped() {
    let footage = Recipe::default().make();
    let recorder = Setup::default()
        .without(noon(5.0), noon(8.0))
        .start(&footage);
    let mut probe = Probe::open(&recorder.url);
    let reply = probe.play(noon(2.0), Some(noon(15.0)), &[("Rate-Control", "no")]);
    assert_eq!(reply.status, 200);
    probe.receive_to_end(SOON);
    assert_one_stream(&probe.tracks[0]);
    // GStreamer leaves the byte for the request number at zero.
    assert_stamped(&probe.tracks[0], 0);
    let units = units(&probe.tracks[0]);
    let ends: Vec<_> = units
        .iter()
        .filter(|unit| unit.onvif.is_some_and(Onvif::section_end))
        .collect();
    let first_after = noon(9.52);
    assert_eq!(ends[0].capture_ms, Some(noon(5.0) - FRAME_MS));
    assert_eq!(
        ends[1].capture_ms,
        units.last().and_then(|unit| unit.capture_ms)
    );
    assert_eq!(uneven_steps(&units, FRAME_MS).len(), 1);
    assert!(
        units
            .iter()
            .any(|unit| unit.capture_ms == Some(first_after))
    );
}

#[test]
fn a_clock_that_is_ahead_stamps_ahead() {
    let footage = Recipe::secondary().make();
    let recorder = Setup::default().clock_ahead_ms(3000).start(&footage);
    let mut player = Player::onvif_unpaced(&recorder.url, noon(10.0), Some(noon(15.0)));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &[("secondary", &footage)]);
    report.assert_seamless();
    // Its ten seconds past noon are the world's seven.
    assert_eq!(report.runs[0].first, noon(6.72));
    for picture in &player.pictures {
        assert_eq!(
            picture.capture_ms.map(|ms| ms.round() as i64 - 3000),
            picture.clock_ms
        );
    }
}

#[test]
fn killed_it_ends_a_replay_and_stopped_it_stalls_one() {
    let footage = Recipe::default().make();
    let mut recorder = Setup::default().start(&footage);
    let mut player = Player::onvif(&recorder.url, noon(0.0));
    player.watch_until(noon(2.0), SOON);
    recorder.stop();
    assert!(
        !player.watch(Duration::from_secs(1), |player| player.last_clock()
            > Some(noon(3.0)))
    );
    recorder.resume();
    player.watch_until(noon(4.0), SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    report.assert_seamless();
    assert!(report.stall.0 > Duration::from_millis(800), "{report}");
    recorder.kill();
    player.watch_to_end(Duration::from_secs(5));
    let again = Setup::default().on_port(recorder.port()).start(&footage);
    assert_eq!(again.url, recorder.url);
}

#[test]
fn its_faults_can_be_had_to_order() {
    let footage = Recipe::default().make();
    let mut recorder = Setup::default().start(&footage);
    let first_capture = |url: &str| {
        let mut probe = Probe::open(url);
        assert_eq!(
            probe
                .play(noon(20.0), None, &[("Rate-Control", "no")])
                .status,
            200
        );
        assert!(probe.receive(SOON, |probe| probe.last_capture().is_some()));
        probe.last_capture()
    };
    assert_eq!(first_capture(&recorder.url), Some(noon(19.52)));
    recorder.tell("wrong other-hour");
    assert_eq!(first_capture(&recorder.url), Some(noon(3619.52)));
    recorder.tell("wrong start");
    assert_eq!(first_capture(&recorder.url), Some(noon(-8.48)));
    recorder.tell("heal");
    recorder.tell("refuse play 453");
    let mut probe = Probe::open(&recorder.url);
    assert_eq!(probe.play(noon(20.0), None, &[]).status, 453);
    recorder.tell("heal");
    assert_eq!(probe.play(noon(100.0), None, &[]).status, 457);
    recorder.tell("stall");
    assert_eq!(probe.play(noon(20.0), None, &[]).status, 200);
    let plays = recorder
        .asked()
        .into_iter()
        .filter(|event| matches!(event, Event::Play { require, .. } if require == "onvif-replay"));
    assert!(plays.count() >= 1);
}

#[test]
fn a_growing_recording_is_replayed_as_it_grows() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().growing_from(noon(4.0)).start(&footage);
    let mut probe = Probe::open(&recorder.url);
    assert_eq!(
        probe
            .play(noon(2.0), None, &[("Rate-Control", "no")])
            .status,
        200
    );
    probe.receive_until(noon(7.0), SOON);
    let units = units(&probe.tracks[0]);
    assert!(uneven_steps(&units, FRAME_MS).is_empty());
    assert!(longest_stall(&units).0 < Duration::from_millis(600));
}
