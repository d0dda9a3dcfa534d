//! Sites of every kind: folders of MP4 files, three of them, one that is only listed, a Seamline behind a Seamline.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    recorder::Setup,
    report::judge,
    rtsp::Client,
    seamline::Config,
};

const SOON: Duration = Duration::from_secs(30);

/// Plays from 3 s before noon to 14 s after it, as fast as it goes and as FFmpeg does; panics unless both show the sites
/// in this order, from their key frames on, and nothing is missing, repeated or damaged.
fn assert_spliced(config: &Config, sites: &[(&str, &Footage)], order: &[(&str, f64)]) {
    let seamline = config.serve();
    let stop = noon(14.0);
    for ffmpeg in [false, true] {
        let mut player = if ffmpeg {
            Player::ffmpeg(&seamline.url_from(noon(-3.0), Some(stop)))
        } else {
            Player::onvif_unpaced(&seamline.url(), noon(-3.0), Some(stop))
        };
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, sites);
        println!("{report}");
        report.assert_seamless();
        let shown: Vec<_> = report
            .runs
            .iter()
            .map(|run| (run.site.as_str(), run.first))
            .collect();
        let wanted: Vec<_> = order
            .iter()
            .map(|(site, first)| (*site, noon(*first)))
            .collect();
        assert_eq!(shown, wanted, "{report}");
        assert_eq!(
            report.runs.last().map(|run| run.last),
            Some(stop - FRAME_MS)
        );
        assert_eq!(player.errors, [""; 0]);
    }
}

#[test]
fn an_archive_with_a_gap_and_a_recorder_that_fills_it() {
    for b_frames in [0, 2] {
        let primary = Recipe {
            b_frames,
            ..Recipe::default()
        }
        .mp4()
        .make();
        let secondary = Recipe::secondary().make();
        let folder = primary.archive_without(&[noon(0.0)]);
        let recorder = Setup::default().start(&secondary);
        let config = Config::default()
            .policy("failback", "at-seam")
            .archive("primary", folder.path())
            .site("secondary", &recorder);
        // Key frames of the primary are two seconds apart from -10 s on, of the secondary one second from -9.28 s on.
        assert_spliced(
            &config,
            &[("primary", &primary), ("secondary", &secondary)],
            &[("primary", -4.0), ("secondary", -0.28), ("primary", 10.0)],
        );
    }
}

#[test]
fn a_recorder_with_a_gap_and_an_archive_that_fills_it() {
    for b_frames in [0, 2] {
        let primary = Recipe::default().make();
        let secondary = Recipe {
            b_frames,
            ..Recipe::secondary()
        }
        .mp4()
        .make();
        let folder = secondary.archive_without(&[]);
        let recorder = Setup::default()
            .without(noon(4.0), noon(8.0))
            .start(&primary);
        let config = Config::default()
            .policy("failback", "at-seam")
            .site("primary", &recorder)
            .archive("secondary", folder.path());
        // Nobody knew of the gap, but the secondary is at hand at once.
        let seamline = config.serve();
        let mut player = Player::onvif_unpaced(&seamline.url(), noon(-3.0), Some(noon(14.0)));
        player.watch_to_end(SOON);
        let report = judge(
            &player.pictures,
            &[("primary", &primary), ("secondary", &secondary)],
        );
        println!("{report}");
        report.assert_nothing_lost(Duration::from_secs(2));
        assert_eq!(report.sites()[..2], ["primary", "secondary"]);
        let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(11.8))));
        player.watch_to_end(SOON);
        let report = judge(
            &player.pictures,
            &[("primary", &primary), ("secondary", &secondary)],
        );
        println!("{report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
        assert_eq!(player.errors, [""; 0]);
    }
}

#[test]
fn a_third_site_fills_what_the_first_two_lack() {
    let recipes = [
        Recipe::default().mp4(),
        Recipe::secondary().mp4(),
        Recipe {
            gop: 30,
            bitrate: 600,
            ..Recipe::secondary()
        }
        .mp4(),
    ];
    let footage = recipes.each_ref().map(Recipe::make);
    let folders = [
        footage[0].archive_without(&[noon(0.0)]),
        footage[1].archive_without(&[noon(0.0), noon(10.0)]),
        footage[2].archive_without(&[noon(10.0), noon(20.0)]),
    ];
    let config = Config::default()
        .policy("failback", "at-seam")
        .archive("primary", folders[0].path())
        .archive("secondary", folders[1].path())
        .archive("tertiary", folders[2].path());
    // The third site's key frames are 1.2 s apart from -10 s on.
    assert_spliced(
        &config,
        &[
            ("primary", &footage[0]),
            ("secondary", &footage[1]),
            ("tertiary", &footage[2]),
        ],
        &[("primary", -4.0), ("tertiary", -0.4), ("primary", 10.0)],
    );
    let seamline = config.serve();
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(-1.0), Some(noon(2.0)));
    player.watch_to_end(SOON);
    let line = seamline.await_log(&["route", "to=\"tertiary\""], SOON);
    assert!(line.contains("gap at primary"), "{line}");
}

#[test]
fn a_seamline_is_a_recorder_for_another() {
    let (primary, secondary) = (Recipe::default().mp4().make(), Recipe::secondary().make());
    let folder = primary.archive_without(&[noon(0.0)]);
    let inner = Config::default().archive("store", folder.path()).serve();
    let recorder = Setup::default().start(&secondary);
    let config = Config::default()
        .policy("failback", "at-seam")
        .behind("primary", &inner)
        .site("secondary", &recorder);
    let sites = [("primary", &primary), ("secondary", &secondary)];
    let seamline = config.serve();
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(-3.0), Some(noon(14.0)));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    report.assert_nothing_lost(Duration::from_secs(2));
    assert_eq!(report.sites()[..2], ["primary", "secondary"]);
    // Now it knows: the same seams as with the folder itself.
    let mut player = Player::ffmpeg(&seamline.url_from(noon(-3.0), Some(noon(14.0))));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    report.assert_seamless();
    assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
    assert_eq!(player.errors, [""; 0]);
}

#[test]
fn a_site_that_lists_and_hands_out_no_footage_is_left_with_its_reason() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            if head.all(|line| !line.is_empty()) {
                continue;
            }
            let body = r#"[{"start":"2026-01-01T11:59:50Z","duration":80.0}]"#;
            let length = body.len();
            drop(write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ));
        }
    });
    let url = format!("http://{address}");
    let alone = Config::default().mediamtx("primary", &url).serve();
    let described = Client::connect(&alone.url()).request("DESCRIBE", &alone.url(), &[]);
    assert_eq!(described.status, 503, "{described:?}");
    alone.await_log(&["describes", "gate"], SOON);

    // Beside one that plays it costs nothing but its line in the log.
    let footage = Recipe::secondary().make();
    let recorder = Setup::default().start(&footage);
    let config = Config::default()
        .mediamtx("primary", &url)
        .site("secondary", &recorder);
    let seamline = config.serve();
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), Some(noon(4.0)));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &[("secondary", &footage)]);
    report.assert_seamless();
    let line = seamline.await_log(&["leg failed", "primary"], SOON);
    assert!(line.contains("not MP4"), "{line}");
}
