//! Figures, measured on real recorders and players; they take minutes, so they run on demand:
//! `cargo nextest run -p seamline-tests --test figures --run-ignored all --no-capture`

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{iso, monotonic, noon, range_time},
    curl::curl,
    footage::{Footage, Recipe},
    imageserver::Client,
    pair::{Pair, TOKEN},
    player::Player,
    probe::Probe,
    recorder::Setup,
    report::judge,
    seamline::{Config, Seamline, seamline},
    xprotect::CAMERA,
};
use serde_json::json;

const RUNS: usize = 20;
const SOON: Duration = Duration::from_secs(30);

/// Median and worst of some durations, in milliseconds.
fn median_and_worst(mut times: Vec<Duration>) -> String {
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    format!(
        "median {} ms, worst {} ms of {}",
        median.as_millis(),
        worst.as_millis(),
        times.len()
    )
}

/// From the connection to the first RTP packet of the picture, forwards (`1`) or backwards (`-1`).
fn first_packet(url: &str, at: i64, scale: &str) -> Duration {
    let started = monotonic();
    let mut probe = Probe::open(url);
    let headers = [("Rate-Control", "no"), ("Scale", scale)];
    assert_eq!(probe.play(at, None, &headers).status, 200);
    assert!(probe.receive(SOON, |probe| !probe.tracks[0].is_empty()));
    probe.tracks[0][0].arrival.saturating_sub(started)
}

#[test]
#[ignore = "measures, for minutes"]
fn time_to_the_first_packet() {
    let footage = Recipe::default().make();
    let recorder = Setup::default().start(&footage);
    let seamline = Config::default().site("primary", &recorder).serve();
    for (way, scale) in [("forwards", "1"), ("backwards", "-1")] {
        first_packet(&seamline.url(), noon(20.0), scale);
        let measure = |url: &str| {
            (0..RUNS)
                .map(|_| first_packet(url, noon(20.0), scale))
                .collect()
        };
        let (direct, through) = (measure(&recorder.url), measure(&seamline.url()));
        println!("first packet {way}, direct:  {}", median_and_worst(direct));
        println!("first packet {way}, through: {}", median_and_worst(through));
    }
}

#[test]
#[ignore = "measures, for minutes"]
fn time_from_the_strike_to_the_secondarys_first_picture() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    for (name, kill) in [("kill -9", true), ("SIGSTOP", false)] {
        let (mut waits, mut stalls) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let mut first = Setup::default().no_faster_than(1.2).start(&primary);
            let second = Setup::default().start(&secondary);
            let config = Config::default()
                .site("primary", &first)
                .site("secondary", &second);
            let seamline = config.policy("failback", "never").serve();
            let mut player = Player::onvif(&seamline.url(), noon(2.0));
            // Struck at another point of the group each time.
            player.watch_until(noon(4.0) + run as i64 * 120, SOON);
            let struck = monotonic();
            if kill {
                first.kill();
            } else {
                first.stop();
            }
            let shown = |player: &Player| {
                let sites = [("primary", &primary), ("secondary", &secondary)];
                judge(&player.pictures, &sites)
                    .runs
                    .get(1)
                    .map(|run| run.first)
            };
            assert!(
                player.watch(SOON, |player| shown(player).is_some()),
                "no secondary after {name}"
            );
            let clock = shown(&player);
            let first_of_secondary = player
                .pictures
                .iter()
                .find(|picture| picture.clock_ms == clock);
            let arrival =
                Duration::from_nanos(first_of_secondary.expect("it was shown").arrival_ns);
            waits.push(arrival.saturating_sub(struck));
            let report = judge(
                &player.pictures,
                &[("primary", &primary), ("secondary", &secondary)],
            );
            report.assert_nothing_lost(Duration::from_secs(1));
            stalls.push(report.stall.0);
        }
        println!(
            "{name} to the secondary's first picture: {}",
            median_and_worst(waits)
        );
        println!(
            "{name}, longest stall at the player:     {}",
            median_and_worst(stalls)
        );
    }
    let second = Setup::default().start(&secondary);
    let direct = (0..RUNS)
        .map(|_| first_packet(&second.url, noon(5.0), "1"))
        .collect();
    println!(
        "the secondary's own first packet:       {}",
        median_and_worst(direct)
    );
}

/// A day of an archive: the same ten seconds over and over, 8,640 files of one.
fn day(footage: &Footage) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let one = footage.archive_without(&[]);
    let name = |at: i64| range_time(at).replace(".000", "") + ".mp4";
    let first = folder.path().join(name(noon(0.0)));
    fs::copy(one.path().join(name(noon(0.0))), &first).expect("recordings can be copied");
    for nth in 1..8_640 {
        let file = folder.path().join(name(noon(10.0 * f64::from(nth))));
        fs::hard_link(&first, file).expect("a file has many names");
    }
    folder
}

/// CPU time of a program so far.
fn cpu(seamline: &Seamline) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", seamline.id())).expect("our own child");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(10 * ticks)
}

fn words(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = output.expect("it can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Of a day in an archive: when the first byte and the first picture come, what a bit costs, and what those cost who do not read.
#[test]
#[ignore = "measures, for minutes"]
fn a_day_over_http() {
    let footage = Recipe::default().mp4().make();
    let folder = day(&footage);
    let seamline = Config::default().archive("primary", folder.path()).serve();
    let base = format!("http://127.0.0.1:{}", seamline.port());
    let day = format!("start={}&duration=86400", iso(noon(0.0)));
    let get = format!("{base}/get?path=gate&{day}");
    let playlist = format!("{base}/hls/gate/media.m3u8?{day}");
    first_byte_and_picture(&get, &playlist);
    bytes_and_their_cost(&seamline, &base, &get);
    export_against_a_copy(folder.path(), &base);
    slow_readers(&seamline);
}

fn first_byte_and_picture(get: &str, playlist: &str) {
    let here = Path::new(".");
    // The index of the archive is read once.
    words(here, "curl", &["-s", "-m", "3", "-o", "/dev/null", get]);
    for (what, url) in [("/get", get), ("HLS playlist", playlist)] {
        let first = (0..RUNS).map(|_| {
            let told = words(
                here,
                "curl",
                &[
                    "-s",
                    "-m",
                    "1",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{time_starttransfer}",
                    url,
                ],
            );
            Duration::from_secs_f64(told.parse().unwrap_or(9.0))
        });
        println!(
            "24 h, {what}: first byte {}",
            median_and_worst(first.collect())
        );
    }
    first_picture("24 h, /get", get);
    first_picture("24 h, HLS", &playlist.replace("media", "index"));
}

/// When FFmpeg has decoded a picture, its start included.
fn first_picture(what: &str, url: &str) {
    let first = (0..5).map(|_| {
        let started = monotonic();
        let show = ["60", "ffmpeg", "-nostdin", "-v", "error", "-i", url];
        let one = ["-frames:v", "1", "-f", "null", "-"];
        words(Path::new("."), "timeout", &[&show[..], &one].concat());
        monotonic().saturating_sub(started)
    });
    let first: Vec<Duration> = first.collect();
    assert!(first.iter().all(|first| *first < SOON), "{what}: {first:?}");
    println!("{what}: FFmpeg's first picture {}", median_and_worst(first));
}

fn bytes_and_their_cost(seamline: &Seamline, base: &str, get: &str) {
    let here = Path::new(".");
    // Ten seconds of as much as it gives, to one reader.
    let (began, at) = (monotonic(), cpu(seamline));
    let told = words(
        here,
        "curl",
        &[
            "-s",
            "-m",
            "10",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            get,
        ],
    );
    let took = monotonic().saturating_sub(began).as_secs_f64();
    let bytes: f64 = told.parse().unwrap_or(0.0);
    let used = cpu(seamline).saturating_sub(at).as_secs_f64();
    println!(
        "/get while it is made: {:.0} MB/s, {:.2} s of CPU a Gbit",
        bytes / 1e6 / took,
        used / (bytes * 8e-9)
    );
    // And of an hour that lies in the folder of clips.
    let hour = format!(
        "{base}/get?path=gate&start={}&duration=3600",
        iso(noon(0.0))
    );
    curl(&hour, &[]);
    first_picture("an hour that is there", &hour);
    let (began, at, mut bytes) = (monotonic(), cpu(seamline), 0.0);
    for _ in 0..10 {
        let told = words(
            here,
            "curl",
            &["-s", "-o", "/dev/null", "-w", "%{size_download}", &hour],
        );
        bytes += told.parse().unwrap_or(0.0);
    }
    let took = monotonic().saturating_sub(began).as_secs_f64();
    let used = cpu(seamline).saturating_sub(at).as_secs_f64();
    println!(
        "/get of a clip that is there: {:.0} MB/s, {:.2} s of CPU a Gbit",
        bytes / 1e6 / took,
        used / (bytes * 8e-9)
    );
}

fn export_against_a_copy(archive: &Path, base: &str) {
    // An hour as evidence, against a copy of its files.
    let out = tempfile::tempdir().expect("a temporary folder can be made");
    let files: Vec<_> = (0..360)
        .map(|nth| range_time(noon(10.0 * f64::from(nth))).replace(".000", "") + ".mp4")
        .collect();
    let copied = out.path().join("copied");
    fs::create_dir(&copied).expect("the folder can be written");
    let started = monotonic();
    for file in &files {
        fs::copy(archive.join(file), copied.join(file)).expect("recordings can be copied");
    }
    let copying = monotonic().saturating_sub(started);
    let (from, to) = (iso(noon(0.0)), iso(noon(3600.0)));
    let started = monotonic();
    let output = seamline(
        &[
            "export", "--server", base, "--camera", "gate", "--from", &from, "--to", &to, "-o",
            "clip.mp4",
        ],
        out.path(),
    );
    assert!(output.status.success(), "{output:?}");
    let exporting = monotonic().saturating_sub(started);
    let bytes = fs::metadata(out.path().join("clip.mp4"))
        .expect("it is there")
        .len();
    println!(
        "an hour, {} MB: exported in {:.2} s, its files copied in {:.2} s",
        bytes / 1_000_000,
        exporting.as_secs_f64(),
        copying.as_secs_f64()
    );
}

/// What a download may keep in memory whose reader is slow.
const SLOW_READER_BYTES_MAX: u64 = 2 * 1024 * 1024;

fn slow_readers(seamline: &Seamline) {
    // Downloads of different hours to readers that take 50 kB a second.
    let before = seamline.resident();
    let readers: Vec<_> = (0..200)
        .map(|nth| {
            let start = iso(noon(60.0 * f64::from(nth)));
            let mut stream =
                TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
            write!(
                stream,
                "GET /get?path=gate&start={start}&duration=3600 HTTP/1.1\r\nHost: h\r\n\r\n"
            )
            .expect("it reads");
            thread::spawn(move || {
                let (mut piece, mut read) = (vec![0; 5_000], 0);
                for _ in 0..300 {
                    read += stream.read(&mut piece).unwrap_or(0);
                    thread::sleep(Duration::from_millis(100));
                }
                read
            })
        })
        .collect();
    let mut most = 0;
    while !readers.iter().all(thread::JoinHandle::is_finished) {
        most = most.max(seamline.resident());
        thread::sleep(Duration::from_millis(100));
    }
    let served = readers.into_iter().filter_map(|reader| reader.join().ok());
    let served = served.filter(|read| *read > 500_000).count();
    let more = most.saturating_sub(before);
    println!(
        "200 slow downloads of an hour each, {served} served: {} MB more than the {} MB before, {} kB each",
        more / 1_000_000,
        before / 1_000_000,
        more / 200_000
    );
    assert!(served == 200, "{served}");
    assert!(more / 200 < SLOW_READER_BYTES_MAX, "{more}");
}

/// What a recorder sees of two hundred operators at one camera: questions about what it holds, and questions for pictures.
#[test]
#[ignore = "measures, for half a minute"]
fn two_hundred_clients_scrub_one_camera() {
    let pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let (clients, seconds) = (200, 20);
    for site in [&pair.primary, &pair.secondary] {
        site.calls();
    }
    let order = json!({
        "do": "crowd", "port": pair.port, "clients": clients, "seconds": seconds, "pause": 1.0,
        "camera": CAMERA, "token": TOKEN, "from": noon(-5.0), "to": noon(55.0),
    });
    let mut crowd = Client::open(pair.port);
    crowd.tell(&order);
    thread::sleep(Duration::from_secs(seconds));
    println!("{clients} clients: {}", crowd.read());
    for (name, site) in [("primary", &pair.primary), ("secondary", &pair.secondary)] {
        let calls = site.calls();
        let rate = |what: &[&str]| {
            let count = calls
                .iter()
                .filter(|call| what.contains(&call.as_str()))
                .count();
            count as f64 / seconds as f64
        };
        println!(
            "{name}: {:.2} probes a second, {:.1} questions for pictures, {:.1} connects",
            rate(&["sequences"]),
            rate(&["goto", "next", "previous"]),
            rate(&["connect"])
        );
    }
}
