//! Recorders over HTTP that this project did not write, beside one that replays by RTSP.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{FRAME_MS, await_that, from_range_time, iso, noon, poll, wall_ms},
    curl::{Clip, curl},
    footage::{Footage, Recipe},
    player::Player,
    program::Program,
    recorder::Setup,
    report::{Report, judge},
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
    let date = poll(SOON, || {
        let text = fs::read_to_string(playlist).unwrap_or_default();
        let dated = text
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
        dated.map(str::to_owned).ok_or("nothing is recorded")
    });
    let date = date.replace(['-', ':'], "").replace("+0000", "Z");
    from_range_time(&date).unwrap_or_else(|| panic!("{date} is no date"))
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
    let early = poll(SOON, || match listed() {
        (200, text) if segments(&text) >= 3 => Ok(text),
        (status, text) => Err(format!("{status}: {text}")),
    });
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

/// `motion` records what a camera streams, as files of some five seconds named by their time, until it is told to end.
fn record_motion(camera: &str, folder: &Path, seconds: u64) {
    let config = folder.join("motion.conf");
    let files = folder.join("cam1");
    fs::create_dir(&files).expect("the folder can be written");
    let text = format!(
        "daemon off\nlog_level 4\nwebcontrol_port 0\nstream_port 0\nnetcam_url {camera}\nwidth 640\nheight 360\nframerate 25\n\
         emulate_motion on\nmovie_output on\nmovie_passthrough on\nmovie_codec mp4\nmovie_max_time 5\nevent_gap 60\n\
         picture_output off\ntarget_dir {}\nmovie_filename %Y%m%d%H%M%S\n",
        files.display()
    );
    fs::write(&config, text).expect("the folder can be written");
    let mut command = Command::new("motion");
    command.arg("-n").arg("-c").arg(&config).env("TZ", "UTC");
    command.current_dir(folder).stderr(Stdio::null());
    let mut motion = Program::start("motion", command);
    // It takes some seconds until it writes.
    await_that(SOON, "motion records nothing", || {
        fs::read_dir(&files).is_ok_and(|mut files| files.next().is_some())
    });
    thread::sleep(Duration::from_secs(seconds));
    motion.terminate();
    motion.wait();
}

/// What motion recorded, served by nginx, plays beside a recorder that replays by RTSP, and the other goes on when nginx dies.
///
/// motion stamps pictures with the time when it took them up. At its start it has to catch up with what came while it looked at
/// the stream, and takes pictures up some 3 % faster than they were taken by the camera: its time runs ahead of the camera's by some
/// 30 ms a second until then, and at the seam to an exact recorder these pictures are shown again. Nothing is lost.
#[test]
fn files_of_motion_behind_a_web_server_are_a_recorder() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let sites = [("primary", &primary), ("secondary", &secondary)];
    let folder = tempfile::tempdir().unwrap();
    {
        // As a camera streams.
        let camera = Setup::default().no_faster_than(1.0).start(&primary);
        record_motion(&camera.url, folder.path(), 14);
    }
    let mut files: Vec<_> = fs::read_dir(folder.path().join("cam1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    // What the names say, less what the pictures say.
    let mut first = Player::ffmpeg(&files[0].display().to_string());
    first.watch_to_end(SOON);
    let began = first.pictures[0].clock_ms.unwrap();
    let name = files[0].file_stem().unwrap().to_string_lossy().into_owned();
    let named = from_range_time(&format!("{}T{}Z", &name[..8], &name[8..])).unwrap();
    let ahead = named - began;
    let mut ended = began;
    for file in &files {
        let mut player = Player::ffmpeg(&file.display().to_string());
        player.watch_to_end(SOON);
        ended = player.last_clock().unwrap();
    }
    assert!(ended > began + 10_000, "{} to {}", iso(began), iso(ended));

    let mut web = Web::of(folder.path());
    let second = Setup::default().clock_ahead_ms(ahead).start(&secondary);
    let seamline = Config::default()
        .files("primary", &web.url, "{camera}/%Y%m%d%H%M%S.mp4")
        .site("secondary", &second)
        .serve();
    // The latest file counts when it was not written for a while.
    let whole = poll(SOON, || {
        let told = seamline.coverage_json(&iso(named - 60_000), &iso(named + 120_000));
        let text = told.to_string();
        if !text.contains("\"growing\":true") && text.contains("recorded") {
            Ok(text)
        } else {
            Err(text)
        }
    });
    println!("{whole}");

    // From the middle of the first file to behind the last one: as a file, by HTTP.
    let (from, until) = (named + 3_000, ended + ahead + 4_000);
    let url = format!(
        "http://127.0.0.1:{}/get?path=gate&start={}&end={}&format=mp4",
        seamline.port(),
        iso(from),
        iso(until)
    );
    let answer = curl(&url, &[]);
    assert_eq!((answer.status, answer.code), (200, 0));
    let clip = Clip::of(&answer.body);
    clip.assert_clean();
    let mut player = Player::ffmpeg(&clip.path.display().to_string());
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    assert_eq!(report.sites(), ["primary", "secondary"]);
    let run = &report.runs[0];
    let whole = ((run.last - run.first) / FRAME_MS) as usize + 1;
    assert_eq!(run.count, whole, "over the borders of files: {report}");
    assert!(
        (run.first - (from - ahead)).abs() <= 4 * FRAME_MS,
        "{report}"
    );
    assert_only_again(&report);

    // And the web server dies while it plays.
    let mut player = Player::ffmpeg(&seamline.url_from(named, Some(until)));
    player.watch_until(began + 4_000, SOON);
    web.kill();
    player.watch_to_end(Duration::from_secs(60));
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    assert_eq!(report.sites(), ["primary", "secondary"]);
    assert_only_again(&report);
}

/// At most 0.8 s again, and nothing lost, at one seam.
fn assert_only_again(report: &Report) {
    const AGAIN_MS: i64 = 20 * FRAME_MS;
    assert_eq!(report.damaged, [""; 0]);
    assert_eq!(report.skips, [], "{report}");
    assert!(report.repeats.len() <= 1, "{report}");
    let again = |(last, next): &(i64, i64)| last + FRAME_MS - next <= AGAIN_MS;
    assert!(report.repeats.iter().all(again), "{report}");
}
