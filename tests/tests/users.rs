//! Who may watch, and how we show recorders who we are.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::Recipe,
    player::Player,
    probe::Probe,
    program::Event,
    recorder::{Gate, Setup},
    report::judge,
    rtsp::Client,
    seamline::Config,
};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn players_show_their_password_and_others_learn_nothing() {
    let footage = Recipe::secondary().make();
    let recorder = Setup::default().start(&footage);
    let config = Config::default().site("primary", &recorder);
    let seamline = config.user("guard", "open sesame").serve();
    seamline.await_log(&["recorder health", "Up"], SOON);
    recorder.asked();

    let plain = seamline.url_from(noon(2.0), Some(noon(4.0)));
    let with = |user: &str| plain.replace("rtsp://", &format!("rtsp://{user}@"));
    // FFmpeg asks for everything once before it shows its password.
    for url in [&plain, &with("guard:shut"), &with("nobody:open%20sesame")] {
        let mut player = Player::ffmpeg(url);
        player.watch_to_end(SOON);
        assert_eq!(player.end.as_deref(), Some("error"));
        assert!(
            player.errors.iter().any(|text| text.contains("401")),
            "{:?}",
            player.errors
        );
    }
    let mut player = Player::gstreamer_as(&plain, "guard:shut");
    player.watch_to_end(SOON);
    assert_eq!(player.end.as_deref(), Some("error"));
    for method in [
        "DESCRIBE",
        "SETUP",
        "PLAY",
        "PAUSE",
        "TEARDOWN",
        "GET_PARAMETER",
    ] {
        let refused = Client::connect(&plain).request(method, &plain, &[]);
        assert_eq!(refused.status, 401, "{method}");
        let challenge = refused.header("WWW-Authenticate").unwrap_or_default();
        assert!(
            challenge.starts_with("Digest realm=\"seamline\", nonce=\""),
            "{challenge}"
        );
    }
    assert_eq!(
        Client::connect(&plain)
            .request("OPTIONS", &plain, &[])
            .status,
        200
    );
    let asked = recorder.asked();
    assert!(asked.is_empty(), "asked on behalf of strangers: {asked:?}");

    let ffmpeg = Player::ffmpeg(&with("guard:open%20sesame"));
    let gstreamer = Player::gstreamer_as(&plain, "guard:open sesame");
    for mut player in [ffmpeg, gstreamer] {
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, &[("primary", &footage)]);
        report.assert_seamless();
        assert_eq!(report.runs[0].last, noon(4.0) - FRAME_MS);
        assert_eq!(player.end.as_deref(), Some("eos"));
    }
}

#[test]
fn nonces_that_wear_out_are_renewed() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    let recorders = [
        Setup::default()
            .without(noon(4.0), noon(8.0))
            .start(&footage[0]),
        Setup::default().start(&footage[1]),
    ];
    let gates = recorders
        .each_ref()
        .map(|recorder| Gate::start(recorder, &["--user=viewer:right"]));
    let config = Config::default()
        .site_at("primary", &gates[0].template(), 0)
        .credentials("viewer", "right")
        .site_at("secondary", &gates[1].template(), 0)
        .credentials("viewer", "right");
    let seamline = config.serve();
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), Some(noon(7.0)));
    player.watch_to_end(SOON);
    let sites = [("primary", &footage[0]), ("secondary", &footage[1])];
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    report.assert_nothing_lost(Duration::from_secs(1));
    assert_eq!(report.sites(), ["primary", "secondary"]);
    for gate in &gates {
        let stale = gate
            .seen()
            .iter()
            .filter(|event| matches!(event, Event::Stale))
            .count();
        assert!(stale > 0, "no nonce wore out");
    }
}

#[test]
fn media_that_overtakes_the_answer_to_play_is_kept() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().start(&footage);
    let gate = Gate::start(&recorder, &["--early=60000"]);
    let seamline = Config::default()
        .site_at("primary", &gate.template(), 0)
        .serve();
    let mut probe = Probe::open(&seamline.url());
    assert_eq!(
        probe
            .play(noon(2.0), None, &[("Rate-Control", "no")])
            .status,
        200
    );
    // Ours never do that: the answer is the first thing that came.
    assert!(probe.tracks[0].is_empty(), "media before the answer");
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), Some(noon(6.0)));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &[("primary", &footage)]);
    report.assert_seamless();
    assert_eq!(
        (report.runs[0].first, report.runs[0].last),
        (noon(1.52), noon(6.0) - FRAME_MS)
    );
    let bytes: usize = gate
        .seen()
        .iter()
        .filter_map(|event| match event {
            Event::Overtaken { bytes } => Some(*bytes),
            _ => None,
        })
        .sum();
    assert!(bytes > 60_000, "only {bytes} bytes were early");
}
