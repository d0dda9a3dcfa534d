//! A camera whose encoder is set to another size in the middle of a recording: players of HLS show every picture of both sizes, before
//! and after playlists know of it.

use std::{fs, path::Path, time::Duration};

use seamline_tests::{
    clock::{self, FRAME_MS, iso, noon},
    curl::curl,
    footage::{Footage, Recipe},
    player::Player,
    playlists::assert_conforms,
    recorder::Setup,
    report::judge,
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(60);
/// From here on pictures are large: a key frame, and inside a segment.
const CHANGE_S: f64 = 10.0;

fn recipes() -> [Recipe; 2] {
    let small = Recipe {
        phase: 0,
        seconds: 30,
        ..Recipe::default()
    };
    let large = Recipe {
        size: "1280x720",
        ..small.clone()
    };
    [small, large]
}

/// Puts the files of one recording up to the change, and of the other from then on, into a folder.
fn joined(footage: &[Footage; 2], kind: &str, into: &Path) {
    let change = noon(CHANGE_S);
    for (footage, late) in footage.iter().zip([false, true]) {
        for entry in fs::read_dir(&footage.folder).expect("footage.py made the folder") {
            let file = entry.expect("a folder can be listed").path();
            if file.extension().is_none_or(|found| found != kind) {
                continue;
            }
            let name = file.file_name().expect("a file has a name");
            let starts_late = match kind {
                "nut" => {
                    let stem = file.file_stem().and_then(|stem| stem.to_str());
                    stem.and_then(|stem| stem.parse::<i64>().ok()) >= Some(change)
                }
                _ => name.to_str() >= Some(&*clock::range_time(change).replace(".000", "")),
            };
            if starts_late == late {
                fs::copy(&file, into.join(name)).expect("recordings can be copied");
            }
        }
    }
}

/// Starts one with a page and a playlist.
type Browser = fn(&str, &str) -> Player;

struct Window {
    index: String,
    media: String,
}

fn window(seamline: &Seamline) -> Window {
    let (start, end) = (iso(noon(4.0)), iso(noon(18.0)));
    let of = |name| {
        let port = seamline.port();
        format!("http://127.0.0.1:{port}/hls/gate/{name}.m3u8?start={start}&end={end}")
    };
    Window {
        index: of("index"),
        media: of("media"),
    }
}

fn lines<'t>(playlist: &'t str, tag: &str) -> Vec<&'t str> {
    playlist
        .lines()
        .filter(|line| line.starts_with(tag))
        .collect()
}

/// The heads and segments that a playlist names, and what is in each.
fn files(seamline: &Seamline, playlist: &str) -> Vec<(String, Vec<u8>)> {
    let base = format!("http://127.0.0.1:{}/hls/gate", seamline.port());
    let maps = lines(playlist, "#EXT-X-MAP");
    let maps = maps.iter().filter_map(|line| line.split('"').nth(1));
    let segments = playlist.lines().filter(|line| !line.starts_with('#'));
    maps.chain(segments)
        .map(|name| {
            let answer = curl(&format!("{base}/{name}"), &[]);
            assert_eq!(answer.status, 200, "{name}");
            (name.to_owned(), answer.body)
        })
        .collect()
}

fn assert_all_is_shown(window: &Window, footage: &[Footage; 2], seamline: &Seamline) {
    let sites = [("small", &footage[0]), ("large", &footage[1])];
    for (name, mut player) in [
        ("FFmpeg", Player::ffmpeg(&window.index)),
        ("GStreamer", Player::gstreamer_http(&window.index)),
        ("hlsdemux2", Player::gstreamer_http_new(&window.index)),
    ] {
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, &sites);
        println!("{name}: {report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["small", "large"], "{name}");
        assert_eq!(report.runs[0].first, noon(4.0), "{name}");
        assert_eq!(report.runs[1].first, noon(CHANGE_S), "{name}");
        assert_eq!(report.runs[1].last, noon(18.0) - FRAME_MS, "{name}");
        assert_eq!(player.errors, [""; 0], "{name}");
    }
    let page = format!("http://127.0.0.1:{}/health", seamline.port());
    let path = window.index.split_once("/hls").expect("it has a path").1;
    let path = format!("/hls{path}");
    let browsers: [(&str, Browser); 2] = [
        ("Chromium", Player::chromium),
        ("hls.js", Player::chromium_hls_js),
    ];
    for (name, browser) in browsers {
        let mut player = browser(&page, &path);
        let width = |player: &mut Player| {
            let width = "document.querySelector('video').videoWidth";
            player.run(width, SOON).as_i64()
        };
        player.watch_until(noon(6.0), SOON);
        assert_eq!(width(&mut player), Some(640), "{name}");
        player.watch_until(noon(14.0), SOON);
        assert_eq!(width(&mut player), Some(1280), "{name}");
        player.watch_to_end(SOON);
        // What is presented is up to the machine: that of each second there is something, and nothing runs backwards, is not.
        let shown: Vec<i64> = player
            .pictures
            .iter()
            .filter_map(|picture| picture.clock_ms)
            .collect();
        println!("{name}: {} pictures, {:?}", shown.len(), player.warnings);
        for second in (0..14).map(|second| noon(4.0) + second * 1_000) {
            let there = shown.iter().any(|at| (second..second + 1_000).contains(at));
            assert!(there, "{name}: nothing at {}: {shown:?}", iso(second));
        }
        assert!(shown.is_sorted(), "{name}: {shown:?}");
        assert_eq!(player.errors, [""; 0], "{name}");
    }
}

fn assert_both_sizes_play(seamline: &Seamline, footage: &[Footage; 2]) {
    let window = window(seamline);
    let text = || String::from_utf8(curl(&window.media, &[]).body).expect("playlists are text");
    let first = text();
    // Nobody has looked: the sets are in the footage, under one head.
    assert_eq!(lines(&first, "#EXT-X-MAP").len(), 1, "{first}");
    assert!(lines(&first, "#EXT-X-DISCONTINUITY").is_empty(), "{first}");
    let index = String::from_utf8(curl(&window.index, &[]).body).expect("playlists are text");
    assert!(index.contains("BANDWIDTH=4000000,"), "{index}");
    let files_before = files(seamline, &first);

    let later = text();
    assert_eq!(lines(&later, "#EXT-X-MAP").len(), 2, "{later}");
    assert_eq!(lines(&later, "#EXT-X-DISCONTINUITY").len(), 1, "{later}");
    let dated = format!("#EXT-X-PROGRAM-DATE-TIME:{}", iso(noon(CHANGE_S)));
    assert_eq!(lines(&later, &dated).len(), 1, "{dated} {later}");
    let files_after = files(seamline, &later);
    let of_size = |width: u16, height: u16| {
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        let heads = files_after.iter().filter(|(name, _)| name.contains("init"));
        let found = heads.filter(|(_, head)| head.windows(4).any(|bytes| bytes == size));
        found.count()
    };
    assert_eq!((of_size(640, 360), of_size(1280, 720)), (1, 1));
    // Who has the first playlist goes on with it: the same names, the same bytes.
    assert!(files(seamline, &first) == files_before, "other bytes");
    assert_conforms(&window.index);
    // What was measured is told, and is no less than any segment.
    let index = String::from_utf8(curl(&window.index, &[]).body).expect("playlists are text");
    assert!(
        index.contains("AVERAGE-BANDWIDTH=") && !index.contains("BANDWIDTH=4000000,"),
        "{index}"
    );
    assert_all_is_shown(&window, footage, seamline);
}

#[test]
fn a_size_that_changes_in_an_archive_is_shown_from_its_first_picture() {
    let footage = recipes().map(|recipe| recipe.mp4().make());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    joined(&footage, "mp4", folder.path());
    let config = Config::default().archive("primary", folder.path());
    let unknowing = config.serve();
    assert_all_is_shown(&window(&unknowing), &footage, &unknowing);
    assert_both_sizes_play(&config.serve(), &footage);
}

#[test]
fn a_size_that_changes_at_a_recorder_is_shown_from_its_first_picture() {
    let footage = recipes().map(|recipe| recipe.make());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    joined(&footage, "nut", folder.path());
    let both = Footage {
        folder: folder.path().to_owned(),
        ..footage[0].clone()
    };
    let recorder = Setup::default().start(&both);
    let seamline = Config::default().site("primary", &recorder).serve();
    assert_both_sizes_play(&seamline, &footage);
}
