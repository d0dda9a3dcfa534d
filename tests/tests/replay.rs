//! The headers of ONVIF replay to the letter: Require, Frames, Scale, Speed, Immediate, PAUSE at a point; and GStreamer's use of them.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, iso, monotonic, noon, range_time},
    footage::Recipe,
    player::Player,
    probe::Probe,
    recorder::Setup,
    report::judge,
    rtsp::Client,
    seamline::{Config, Seamline},
    stream::{Unit, assert_one_stream, assert_stamped, units},
};

const SOON: Duration = Duration::from_secs(30);

/// The lab's primary: a key frame every two seconds.
const GROUP_MS: usize = 2_000;

fn captures(units: &[Unit]) -> Vec<i64> {
    units.iter().filter_map(|unit| unit.capture_ms).collect()
}

/// What comes of a play to its end.
fn played(seamline: &Seamline, from: i64, to: i64, headers: &[(&str, &str)]) -> Vec<i64> {
    let mut probe = Probe::open(&seamline.url());
    let answer = probe.play(from, Some(to), headers);
    assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
    let cseq = probe.client.cseq();
    probe.receive_to_end(SOON);
    assert_one_stream(&probe.tracks[0]);
    assert_stamped(&probe.tracks[0], cseq);
    captures(&units(&probe.tracks[0]))
}

fn every(from: i64, to: i64, step: usize) -> Vec<i64> {
    (from..to).step_by(step).collect()
}

#[test]
fn key_frames_alone_both_ways_and_at_a_distance() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().start(&footage);
    let files = Recipe::default().mp4().make();
    let folder = files.archive_without(&[]);
    for (config, first) in [
        (Config::default().site("recorder", &recorder), noon(1.52)),
        (
            Config::default().archive("archive", folder.path()),
            noon(2.0),
        ),
    ] {
        let seamline = config.serve();
        let (from, to) = (noon(2.0), noon(62.0));
        let keys = every(first, to, GROUP_MS);
        let began = monotonic();
        let no = ("Rate-Control", "no");
        assert_eq!(
            played(&seamline, from, to, &[("Frames", "intra"), no]),
            keys
        );
        let took = monotonic().saturating_sub(began);
        println!("{} key frames of a minute in {took:?}", keys.len());
        assert!(took < Duration::from_secs(5), "a minute took {took:?}");
        let apart = every(first, to, 3 * GROUP_MS);
        let frames = ("Frames", "intra/5000");
        assert_eq!(played(&seamline, from, to, &[frames, no]), apart);
        // The same ones, however fast.
        let fast = played(&seamline, from, to, &[frames, ("Scale", "32.0")]);
        assert_eq!(fast, apart);
        let mut back: Vec<i64> = keys.iter().copied().rev().collect();
        back.retain(|at| *at >= from);
        let backwards = ("Scale", "-1.0");
        let came = played(
            &seamline,
            to - 200,
            from,
            &[("Frames", "intra"), backwards, no],
        );
        assert_eq!(came, back);
        let came = played(&seamline, to - 200, from, &[frames, backwards, no]);
        let steps = came
            .windows(2)
            .all(|pair| pair[0] - pair[1] == 3 * GROUP_MS as i64);
        assert!(steps && came.first() == back.first(), "{came:?}");
    }
}

#[test]
fn predicted_leaves_out_what_nothing_refers_to() {
    let recipe = Recipe {
        b_frames: 2,
        ..Recipe::default()
    };
    let recorder = Setup::default().start(&recipe.make());
    let seamline = Config::default().site("recorder", &recorder).serve();
    let mut probe = Probe::open(&seamline.url());
    let headers = [("Frames", "predicted"), ("Rate-Control", "no")];
    let answer = probe.play(noon(2.0), Some(noon(12.0)), &headers);
    assert_eq!(answer.header("Frames"), Some("predicted"));
    probe.receive_to_end(SOON);
    let slices =
        |packet: &&seamline_tests::stream::Packet| matches!(packet.payload[0] & 0x1f, 1 | 5 | 28);
    let disposable = probe.tracks[0].iter().filter(slices);
    let disposable = disposable.filter(|packet| packet.payload[0] & 0x60 == 0);
    assert_eq!(disposable.count(), 0, "disposable pictures were sent");
    let sent = units(&probe.tracks[0]).len();
    let all = ((noon(12.0) - noon(1.52)) / FRAME_MS) as usize;
    assert!(
        (all / 4..all * 3 / 4).contains(&sent),
        "{sent} of {all} pictures"
    );
}

#[test]
fn what_is_not_understood_is_refused_and_what_is_out_of_reach_gets_the_nearest() {
    let recorder = Setup::default().start(&Recipe::default().make());
    let seamline = Config::default().site("recorder", &recorder).serve();
    let url = seamline.url();
    let mut stranger = Client::connect(&url);
    for method in ["DESCRIBE", "SETUP", "PLAY"] {
        for header in ["Require", "Proxy-Require"] {
            let answer = stranger.request(method, &url, &[(header, "onvif-replay, bogus-tag")]);
            assert_eq!(answer.status, 551, "{method} {header}");
            assert_eq!(answer.header("Unsupported"), Some("bogus-tag"));
        }
    }
    let mut probe = Probe::open(&url);
    let range = format!("clock={}-", range_time(noon(5.0)));
    for (header, value, status) in [
        ("Frames", "some", 400),
        ("Frames", "intra/soon", 400),
        ("Frames", "predicted/400", 400),
        ("Rate-Control", "maybe", 400),
        ("Scale", "0", 400),
        ("Speed", "NaN", 400),
        ("Range", "clock=20260101T120005Z-20260101T120001Z", 457),
    ] {
        let headers = [("Range", range.as_str()), (header, value)];
        let headers = if header == "Range" {
            &headers[1..]
        } else {
            &headers[..]
        };
        let answer = probe.request("PLAY", headers);
        assert_eq!(answer.status, status, "{header}: {value}");
    }
    for (scale, control, used) in [
        ("0.01", "yes", "0.25"),
        ("500", "yes", "32.0"),
        ("4.0", "no", "1.0"),
        ("-4.0", "no", "-1.0"),
    ] {
        let headers = [
            ("Range", range.as_str()),
            ("Scale", scale),
            ("Rate-Control", control),
        ];
        let answer = probe.request("PLAY", &headers);
        assert_eq!(
            (answer.status, answer.header("Scale")),
            (200, Some(used)),
            "{scale}"
        );
        assert_eq!(answer.header("Rate-Control"), Some(control));
    }
}

#[test]
fn a_play_is_replaced_goes_on_changes_its_pace_and_is_held_at_a_point() {
    let recorder = Setup::default().start(&Recipe::default().make());
    let seamline = Config::default().site("recorder", &recorder).serve();
    let mut probe = Probe::open(&seamline.url());
    let answer = probe.play(noon(5.0), Some(noon(60.0)), &[]);
    assert_eq!(answer.status, 200);
    probe.receive_until(noon(6.0), SOON);
    // Without a range it is no more than a sign of life.
    let idle = probe.request("PLAY", &[("Require", "onvif-replay")]);
    assert_eq!(
        (idle.status, idle.header("RTP-Info")),
        (200, None),
        "{idle:?}"
    );
    let before = probe.tracks[0].len();
    let answer = probe.play(noon(30.0), None, &[("Immediate", "yes")]);
    assert_eq!(answer.status, 200);
    let cseq = probe.client.cseq() as u8;
    probe.receive_until(noon(31.0), SOON);
    let fresh: Vec<_> = probe.tracks[0][before..]
        .iter()
        .filter_map(|packet| packet.onvif)
        .filter(|onvif| onvif.cseq == cseq)
        .collect();
    let marked: Vec<usize> = (0..fresh.len())
        .filter(|ix| fresh[*ix].discontinuity())
        .collect();
    assert_eq!(marked, [0], "D belongs on the first packet");
    assert_one_stream(&probe.tracks[0]);
    // Another pace without a range: from where it is.
    let faster = probe.request("PLAY", &[("Require", "onvif-replay"), ("Scale", "4.0")]);
    assert_eq!((faster.status, faster.header("Scale")), (200, Some("4.0")));
    let began = monotonic();
    let here = probe.last_capture().expect("something was played");
    probe.receive_until(here + 6_000, SOON);
    let took = monotonic().saturating_sub(began);
    assert!(
        took < Duration::from_secs(4),
        "six seconds at fourfold pace took {took:?}"
    );
    // Held at a point ahead, and nowhere else.
    let point = probe.last_capture().expect("it plays") + 8_000;
    let past = format!("clock={}", range_time(noon(20.0)));
    assert_eq!(probe.request("PAUSE", &[("Range", &past)]).status, 457);
    let ahead = format!("clock={}", range_time(point));
    let held = probe.request("PAUSE", &[("Range", &ahead)]);
    assert_eq!(held.status, 200, "{held:?}");
    probe.receive_until(point - FRAME_MS, SOON);
    let more = probe.receive(Duration::from_secs(1), |probe| {
        probe.last_capture() >= Some(point)
    });
    assert!(!more, "goes on behind the pause point");
    let resumed = probe.request("PLAY", &[("Require", "onvif-replay")]);
    assert_eq!(resumed.status, 200, "{resumed:?}");
    probe.receive_until(point + 2_000, SOON);
    let captures = captures(&units(&probe.tracks[0]));
    let behind = captures.iter().skip_while(|at| **at < point - 1_000);
    let steps: Vec<i64> = behind.copied().collect();
    let even = steps.windows(2).all(|pair| pair[1] - pair[0] == FRAME_MS);
    assert!(even, "uneven where it was held");
}

#[test]
fn gstreamer_plays_backwards_and_over_a_seam_fast_slow_and_key_frames() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    let primary = Setup::default()
        .without(noon(12.0), noon(16.0))
        .start(&footage[0]);
    let secondary = Setup::default().start(&footage[1]);
    let seamline = Config::default()
        .site("primary", &primary)
        .site("secondary", &secondary)
        .policy("failback", "at-seam")
        .serve();
    let url = seamline.url();
    let sites = [("primary", &footage[0]), ("secondary", &footage[1])];

    // Where one site serves all: GStreamer's decoder takes the parameter sets of the group behind a seam for those before it.
    let (later, earlier) = (noon(30.0), noon(22.0));
    let mut player = Player::onvif_at(-1.0, &url, later, earlier);
    let back = |player: &Player| player.last_clock().is_some_and(|at| at <= earlier);
    assert!(player.watch(SOON, back), "never back: {:?}", player.errors);
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    let clocks: Vec<i64> = player.pictures.iter().filter_map(|p| p.clock_ms).collect();
    let odd = clocks
        .windows(2)
        .filter(|pair| pair[0] - pair[1] != FRAME_MS);
    let odd: Vec<_> = odd.map(|pair| (iso(pair[0]), iso(pair[1]))).collect();
    assert!(odd.is_empty(), "not picture by picture backwards: {odd:?}");
    assert!(report.damaged.is_empty(), "{report}");
    assert!(
        clocks[0] >= later - FRAME_MS,
        "begins late: {}",
        iso(clocks[0])
    );
    drop(player);

    for (rate, seconds) in [(2.0, 10.0), (0.5, 3.0)] {
        let (from, to) = (noon(10.0), noon(10.0 + seconds));
        let began = monotonic();
        // At half its pace GStreamer ends a range after half of it, by its own clock: it is given more.
        let mut player = Player::onvif_at(rate, &url, from, noon(60.0));
        player.watch_until(to - FRAME_MS, SOON);
        let took = monotonic().saturating_sub(began).as_secs_f64();
        let report = judge(&player.pictures, &sites);
        println!("rate {rate}: {took:.1} s\n{report}");
        report.assert_seamless();
        let due = seconds / rate;
        assert!(
            (due - 1.0..due + 4.0).contains(&took),
            "rate {rate} took {took} s"
        );
    }

    let mut player = Player::onvif_keys(&url, noon(10.0), noon(24.0));
    let near_end = |player: &Player| player.last_clock().is_some_and(|at| at >= noon(21.0));
    assert!(player.watch(SOON, near_end), "{:?}", player.errors);
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    assert!(report.damaged.is_empty(), "{report}");
    let clocks: Vec<i64> = player.pictures.iter().filter_map(|p| p.clock_ms).collect();
    // The primary's every other second, the secondary's every second.
    let key = |at: &i64| (at - noon(1.52)) % 2_000 == 0 || (at - noon(0.72)) % 1_000 == 0;
    let others: Vec<String> = clocks
        .iter()
        .filter(|at| !key(at))
        .map(|at| iso(*at))
        .collect();
    assert!(others.is_empty(), "not key frames alone: {others:?}");
    let in_order = clocks.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(
        in_order && clocks.len() >= 10,
        "{} key frames",
        clocks.len()
    );
}
