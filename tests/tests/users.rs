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
use serde_json::json;

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

/// For `name:open sesame`.
const GUARD: (&str, &str) = ("Authorization", "Basic Z3VhcmQ6b3BlbiBzZXNhbWU=");
const NIGHT: (&str, &str) = ("Authorization", "Basic bmlnaHQ6b3BlbiBzZXNhbWU=");
/// Of `open sesame`.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$oAH7T1kXGCPLAfU+hHvKBQ$tgDYv/yepmynrDyV9z+airGZ7mr7mZ0bMK71M95DQtA";

#[test]
fn who_guesses_waits_and_nobody_else_does() {
    let footage = Recipe::secondary().make();
    let recorder = Setup::default().start(&footage);
    let seamline = Config::default()
        .site("primary", &recorder)
        .user("guard", "open sesame")
        .user("night", "open sesame")
        .auth("basic", true)
        .serve();
    let url = seamline.url();
    let ask_as = |from: &str, authorization: &str| {
        let headers = [("Authorization", authorization)];
        Client::connect_from(from, &url).request("DESCRIBE", &url, &headers)
    };
    let ask = |from: &str, (_, authorization): (&str, &str)| ask_as(from, authorization);
    // Somebody watches from the address that is going to guess.
    let mut inside = Client::connect_from("127.0.0.2", &url);
    assert_eq!(inside.request("DESCRIBE", &url, &[NIGHT]).status, 200);

    // The first eight letters of base64 are the name and its colon, the others any password.
    let guess = |from: &str, name: &str, nth: usize| {
        let last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[nth] as char;
        ask_as(from, &format!("Basic {name}c2h{last}")).status
    };
    let (guard, night, nobody) = ("Z3VhcmQ6", "bmlnaHQ6", "bm9ib2Q6");
    // The same wrong one again and again is an old password, not a guess.
    for _ in 0..20 {
        assert_eq!(guess("127.0.0.2", guard, 0), 401);
    }
    let guesses: Vec<u16> = (0..12).map(|nth| guess("127.0.0.2", guard, nth)).collect();
    let looked_at = guesses.iter().take_while(|status| **status == 401).count();
    assert!((4..9).contains(&looked_at), "{guesses:?}");
    assert!(
        guesses[looked_at..].iter().all(|status| *status == 403),
        "{guesses:?}"
    );
    // Not even the right one is looked at now, on no connection of that address.
    let right = ask("127.0.0.2", GUARD);
    assert_eq!(right.status, 403);
    let wait: u64 = right
        .header("Retry-After")
        .expect("a time")
        .parse()
        .expect("seconds");
    assert!((1..=300).contains(&wait));
    seamline.await_log(&["wrong credentials", "127.0.0.2", "guard"], SOON);

    // Others, those who are in, and who asks for nothing yet notice nothing.
    assert_eq!(ask("127.0.0.1", GUARD).status, 200);
    assert_eq!(ask("127.0.0.2", NIGHT).status, 200);
    assert_eq!(inside.request("DESCRIBE", &url, &[NIGHT]).status, 200);
    let mut silent = Client::connect_from("127.0.0.2", &url);
    assert_eq!(silent.request("DESCRIBE", &url, &[]).status, 401);
    // When the wait is over the right one is.
    std::thread::sleep(Duration::from_secs(wait));
    assert_eq!(ask("127.0.0.2", GUARD).status, 200);

    // Who tries every name is kept from all of them.
    for nth in 0..20 {
        for name in [guard, night, nobody] {
            guess("127.0.0.3", name, nth);
        }
    }
    assert_eq!(ask("127.0.0.3", NIGHT).status, 403);
    assert_eq!(ask("127.0.0.2", NIGHT).status, 200);
}

#[test]
fn a_user_sees_the_cameras_that_fit_and_no_hint_of_others() {
    let recorder = Setup::default().start(&Recipe::secondary().make());
    let seamline = Config::default()
        .site("primary", &recorder)
        .another_camera("yard/north")
        .user("guard", "open sesame")
        .user_as(json!({ "name": "night", "password": "open sesame", "cameras": ["yard/*"] }))
        .auth("basic", true)
        .serve();
    let gate = seamline.url();
    let at = |camera: &str| gate.replace("gate", camera);
    let ask = |header, url: &str| {
        Client::connect(url)
            .request("DESCRIBE", url, &[header])
            .status
    };
    assert_eq!(ask(GUARD, &gate), 200);
    assert_eq!(ask(GUARD, &at("yard/north")), 200);
    assert_eq!(ask(GUARD, &at("attic")), 404);
    assert_eq!(ask(NIGHT, &at("yard/north")), 200);
    assert_eq!(ask(NIGHT, &gate), 403);
    assert_eq!(ask(NIGHT, &at("attic")), 403);
    // Nor by way of a session that somebody else has set up on the same connection.
    let mut shared = Client::connect(&gate);
    assert_eq!(shared.request("DESCRIBE", &gate, &[GUARD]).status, 200);
    let tcp = ("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1");
    let track = format!("{gate}/trackID=1");
    assert_eq!(shared.request("SETUP", &track, &[GUARD, tcp]).status, 200);
    assert_eq!(shared.request("PLAY", &gate, &[NIGHT]).status, 403);
    assert_eq!(
        shared
            .request("GET_PARAMETER", &at("yard/north"), &[NIGHT])
            .status,
        403
    );
    assert_eq!(shared.request("PLAY", &gate, &[GUARD]).status, 200);
}

#[test]
fn players_come_in_by_each_scheme() {
    let footage = Recipe::secondary().make();
    let recorder = Setup::default().start(&footage);
    let plays = |config: Config, challenges: &[&str]| {
        let seamline = config.site("primary", &recorder).serve();
        let url = seamline.url_from(noon(2.0), Some(noon(4.0)));
        let refused = Client::connect(&url).request("DESCRIBE", &url, &[]);
        let offered = refused
            .headers
            .iter()
            .filter(|(name, _)| name == "WWW-Authenticate");
        let offered: Vec<&str> = offered.map(|(_, value)| value.as_str()).collect();
        assert_eq!(offered.len(), challenges.len(), "{offered:?}");
        for (offered, wanted) in offered.iter().zip(challenges) {
            assert!(
                offered.starts_with("Digest realm=\"house\", nonce=\"")
                    || offered == &"Basic realm=\"house\""
            );
            assert_eq!(offered.rsplit('"').next(), Some(*wanted), "{offered}");
        }
        let with_user = url.replace("rtsp://", "rtsp://guard:open%20sesame@");
        for mut player in [
            Player::ffmpeg(&with_user),
            Player::gstreamer_as(&url, "guard:open sesame"),
        ] {
            player.watch_to_end(SOON);
            judge(&player.pictures, &[("primary", &footage)]).assert_seamless();
        }
    };
    let house = || Config::default().auth("realm", "house");
    // MD5 and SHA-256 of guard:house:open sesame.
    let digests = json!({
        "name": "guard",
        "ha1": "1a74ef1ce052ecb7e628041f295592a5",
        "ha1_sha256": "e2b5ea231a53632a3de9a8271811eb51a84bc339d01ccadb99b17fcd2e8c3ab3",
    });
    plays(
        house().auth("sha256", true).user_as(digests),
        &[", algorithm=SHA-256", ""],
    );
    let hashed = json!({ "name": "guard", "password_hash": HASH });
    plays(house().auth("basic", true).user_as(hashed), &[""]);
}

#[test]
fn a_hashed_secret_lets_players_in_inside_tls_alone() {
    let footage = Recipe::secondary().make();
    let recorder = Setup::default().start(&footage);
    let hashed = json!({ "name": "guard", "password_hash": HASH });
    let seamline = Config::default()
        .tls()
        .user_as(hashed)
        .site("primary", &recorder)
        .serve();
    let url = seamline.url_from(noon(2.0), Some(noon(4.0)));
    let refused = Client::connect(&url).request("DESCRIBE", &url, &[GUARD]);
    assert_eq!(refused.status, 401, "Basic in clear");
    let offered = refused.headers.iter();
    let mut offered = offered.filter(|(name, _)| name == "WWW-Authenticate");
    assert!(!offered.any(|(_, value)| value.starts_with("Basic")));
    let sealed = url.replacen("rtsp:", "rtsps:", 1);
    let with = |user: &str| sealed.replace("rtsps://", &format!("rtsps://{user}@"));
    let mut wrong = Player::ffmpeg(&with("guard:shut"));
    wrong.watch_to_end(SOON);
    assert_eq!(wrong.end.as_deref(), Some("error"));
    for mut player in [
        Player::ffmpeg(&with("guard:open%20sesame")),
        Player::gstreamer_as(&sealed, "guard:open sesame"),
    ] {
        player.watch_to_end(SOON);
        judge(&player.pictures, &[("primary", &footage)]).assert_seamless();
    }
}
