//! Recorders over HTTP that this project did not write, beside one that replays by RTSP.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{from_range_time, iso, monotonic, noon, wall_ms},
    curl::curl,
    footage::{Footage, Recipe},
    player::Player,
    program::Program,
    recorder::Setup,
    report::judge,
    seamline::Config,
    web::Web,
};

const SOON: Duration = Duration::from_secs(40);

/// FFmpeg records a camera as HLS, as it comes: segments of about two seconds, dated by the clock on the wall.
fn record_hls(footage: &Footage, folder: &Path) -> Program {
    let list = folder.join("camera.txt");
    let mut files: Vec<_> = fs::read_dir(&footage.folder)
        .expect("footage.py made the folder")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "mp4"))
        .collect();
    files.sort();
    let lines: Vec<_> = files
        .iter()
        .map(|file| format!("file '{}'\nduration 10\n", file.display()))
        .collect();
    fs::write(&list, lines.concat()).expect("the folder can be written");
    let mut command = Command::new("ffmpeg");
    command
        .args([
            "-nostdin", "-v", "error", "-re", "-f", "concat", "-safe", "0", "-i",
        ])
        .arg(&list)
        .args([
            "-map",
            "0:v",
            "-c",
            "copy",
            "-f",
            "hls",
            "-hls_time",
            "2",
            "-hls_list_size",
            "0",
        ])
        .args(["-hls_playlist_type", "event", "-hls_segment_type", "fmp4"])
        .args(["-hls_flags", "program_date_time"])
        .arg(folder.join("index.m3u8"))
        .env("TZ", "UTC")
        .stderr(Stdio::inherit());
    Program::start("ffmpeg", command)
}

/// The first date of a playlist, once it has one.
fn first_date(playlist: &Path) -> i64 {
    let deadline = monotonic() + SOON;
    loop {
        let text = fs::read_to_string(playlist).unwrap_or_default();
        let dated = text
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
        if let Some(date) = dated {
            let date = date.replace(['-', ':'], "").replace("+0000", "Z");
            return from_range_time(&date).unwrap_or_else(|| panic!("{date} is no date"));
        }
        assert!(monotonic() < deadline, "nothing is recorded");
        thread::sleep(Duration::from_millis(50));
    }
}

/// While both sites record: the playlist grows, FFmpeg follows it to the end of what is recorded, and the recorder over HTTP dies
/// with its web server.
#[test]
fn a_growing_playlist_is_followed_over_the_death_of_an_hls_recorder() {
    let (primary, secondary) = (Recipe::default().mp4().make(), Recipe::secondary().make());
    let folder = tempfile::tempdir().unwrap();
    let camera = folder.path().join("cam1");
    fs::create_dir(&camera).unwrap();
    let mut recording = record_hls(&primary, &camera);
    let began = first_date(&camera.join("index.m3u8"));
    // What the clocks of this house say, less what the pictures say.
    let ahead = began - noon(-10.0);
    let mut web = Web::of(folder.path());
    let second = Setup::default()
        .clock_ahead_ms(ahead)
        .growing_from(wall_ms() - ahead)
        .start(&secondary);
    let seamline = Config::default()
        .hls("primary", &format!("{}/{{camera}}/index.m3u8", web.url))
        .site("secondary", &second)
        .serve();
    let base = format!("http://127.0.0.1:{}/hls/gate", seamline.port());
    let query = format!("start={}", iso(began + 2_000));
    let listed = || {
        let answer = curl(&format!("{base}/media.m3u8?{query}"), &[]);
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let segments = |text: &str| text.matches("\n#EXTINF:").count();
    let deadline = monotonic() + SOON;
    let early = loop {
        let (status, text) = listed();
        if status == 200 && segments(&text) >= 3 {
            break text;
        }
        assert!(monotonic() < deadline, "{status}: {text}");
        thread::sleep(Duration::from_millis(500));
    };
    assert!(
        early.contains("#EXT-X-PLAYLIST-TYPE:EVENT") && !early.contains("ENDLIST"),
        "{early}"
    );
    let mut player = Player::ffmpeg(&format!("{base}/index.m3u8?{query}"));
    player.watch_until(noon(8.0), SOON);
    recording.kill();
    web.kill();
    let struck = player.last_clock().unwrap();
    player.watch_until(noon(28.0), Duration::from_secs(60));
    let (_, late) = listed();
    assert!(late.starts_with(&early), "{early}\n{late}");
    assert!(segments(&late) >= segments(&early) + 5, "{early}\n{late}");

    let report = judge(
        &player.pictures,
        &[("primary", &primary), ("secondary", &secondary)],
    );
    println!("{report}");
    assert_eq!(report.sites(), ["primary", "secondary"]);
    report.assert_nothing_lost(Duration::ZERO);
    assert!(report.runs[0].last >= struck - 1_000, "{report}");
    assert_eq!(player.errors, [""; 0]);
}
