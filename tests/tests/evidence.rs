//! Exports, the account that is given of them, and stills: what clocks in the pictures and other programs say of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{FRAME_MS, iso, monotonic, noon},
    footage::{Footage, Recipe},
    player::Player,
    program::Event,
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline, seamline, started},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

/// A primary without 4 s to 8 s, a secondary that fills it, and nobody from 20 s to 24 s.
struct Scenario {
    primary: Footage,
    secondary: Footage,
    recorders: [Recorder; 2],
    config: Config,
    keys: TempDir,
}

impl Scenario {
    fn new(primary: &Recipe, secondary: &Recipe) -> Self {
        Self::paced(primary, secondary, None)
    }

    fn paced(primary: &Recipe, secondary: &Recipe, speed: Option<f64>) -> Self {
        let (primary, secondary) = (primary.make(), secondary.make());
        let setup = || {
            let setup = Setup::default().without(noon(20.0), noon(24.0));
            match speed {
                Some(speed) => setup.no_faster_than(speed),
                None => setup,
            }
        };
        let first = setup().without(noon(4.0), noon(8.0)).start(&primary);
        let second = setup().start(&secondary);
        let keys = tempfile::tempdir().expect("a temporary folder can be made");
        for arguments in [
            "genpkey -algorithm ed25519 -out key.pem",
            "pkey -in key.pem -pubout -out public.pem",
        ] {
            run(
                keys.path(),
                "openssl",
                &arguments.split(' ').collect::<Vec<_>>(),
            );
        }
        let config = Config::default()
            .policy("failback", "at-seam")
            .top(
                "evidence",
                json!({ "key_file": keys.path().join("key.pem") }),
            )
            .site("primary", &first)
            .site("secondary", &second);
        Scenario {
            primary,
            secondary,
            recorders: [first, second],
            config,
            keys,
        }
    }

    fn key(&self) -> String {
        self.keys.path().join("public.pem").display().to_string()
    }

    /// What FFmpeg shows of a clip that begins at `from`, without a complaint; and how many pictures it decodes before. It shows
    /// those too, as it heeds no edit list of a fragmented file.
    fn judge(&self, file: &Path, from: i64) -> (Report, u64) {
        let mut player = Player::ffmpeg(&file.display().to_string());
        player.watch_to_end(SOON);
        assert_eq!(player.errors, [""; 0]);
        let decoded = player.pictures.len();
        player
            .pictures
            .retain(|picture| picture.clock_ms.is_none_or(|clock| clock >= from));
        let preroll = decoded - player.pictures.len();
        let report = judge(
            &player.pictures,
            &[("primary", &self.primary), ("secondary", &self.secondary)],
        );
        println!("{report}");
        (report, preroll as u64)
    }

    /// Panics unless the manifest's spans say what the pictures show: sites, clocks, how many.
    fn assert_told(&self, clip: &Path, from: i64) -> (Value, Report) {
        let manifest = fs::read(clip.with_extension("json")).expect("there is a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("it is JSON");
        let (report, preroll) = self.judge(clip, from);
        assert_eq!(manifest["spans"][0]["tracks"][0]["preroll"], json!(preroll));
        assert_eq!(
            (&report.damaged, &report.repeats),
            (&vec![], &vec![]),
            "{report}"
        );
        let told: Vec<_> = manifest["spans"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|span| {
                let track = &span["tracks"][0];
                let shown = |name: &str| track[name].as_u64().expect("a count");
                (
                    text(&span["source"]["site"]),
                    text(&span["first_capture"]),
                    text(&span["last_capture"]),
                    (shown("frames") - shown("preroll")) as i64,
                )
            })
            .collect();
        // The pictures of one site on both sides of a hole are two spans.
        let shown: Vec<_> = report
            .runs
            .iter()
            .map(|run| (run.site.clone(), run.first, run.last, run.count as i64))
            .flat_map(|(site, first, last, count)| {
                let hole = report
                    .skips
                    .iter()
                    .find(|(before, after)| first <= *before && *after <= last);
                match hole {
                    None => vec![(site, first, last, count)],
                    Some((before, after)) => {
                        let ahead = (before - first) / FRAME_MS + 1;
                        vec![
                            (site.clone(), first, *before, ahead),
                            (site, *after, last, count - ahead),
                        ]
                    }
                }
            })
            .map(|(site, first, last, count)| (site, micros(first), micros(last), count))
            .collect();
        assert_eq!(told, shown, "{manifest:#}");
        (manifest, report)
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// As a manifest writes it.
fn micros(at_ms: i64) -> String {
    iso(at_ms).replace('Z', "000Z")
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn url(seamline: &Seamline, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", seamline.port())
}

/// Status, head and body, as curl sees them.
fn curl(folder: &Path, url: &str) -> (u16, String, PathBuf) {
    let body = folder.join("body");
    let _ = fs::remove_file(&body);
    let arguments = [
        "-sS",
        "-m",
        "60",
        "-D",
        "head",
        "-o",
        "body",
        "-w",
        "%{http_code}",
        url,
    ];
    let output = Command::new("curl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("curl can be started");
    let status = String::from_utf8_lossy(&output.stdout);
    let head = fs::read_to_string(folder.join("head")).unwrap_or_default();
    (status.trim().parse().unwrap_or(0), head, body)
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find(|line| {
        line.split_once(':')
            .is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
    });
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or(String::new(), |(_, value)| value.trim().to_owned())
}

fn verify(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let command = [&["verify", "clip.mp4"], more].concat();
    let output = seamline(&command, folder);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn an_export_over_seams_and_a_hole_is_accounted_for() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    let server = scenario.config.serve();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let here = folder.path();

    // Both files at once, as a browser gets them.
    let range = format!("start={}&end={}", iso(noon(2.0)), iso(noon(30.0)));
    let (status, head, archive) = curl(here, &url(&server, &format!("/export?path=gate&{range}")));
    assert_eq!(status, 200, "{head}");
    assert_eq!(header(&head, "content-type"), "application/zip");
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None\n\
                  for name in z.namelist(): open('clip' + name[-5:].lstrip('0123456789Z_'), 'wb').write(z.read(name))";
    run(
        here,
        "python3",
        &["-c", script, &archive.display().to_string()],
    );
    let clip = here.join("clip.mp4");
    let (manifest, report) = scenario.assert_told(&clip, noon(2.0));
    assert_eq!(report.sites()[..3], ["primary", "secondary", "primary"]);
    assert_eq!(report.runs[0].first, noon(2.0));
    let holes = manifest["holes"].as_array().expect("a list");
    assert_eq!(manifest["complete"], json!(false));
    assert_eq!(holes.len(), 1, "{manifest:#}");
    assert_eq!(holes[0]["reason"], "not-recorded", "{manifest:#}");
    // Every picture but those of the hole.
    let shown: usize = report.runs.iter().map(|run| run.count).sum();
    let skipped: i64 = report
        .skips
        .iter()
        .map(|(from, to)| (to - from) / FRAME_MS - 1)
        .sum();
    assert_eq!(
        shown as i64 + skipped,
        (noon(30.0) - noon(2.0)) / FRAME_MS,
        "{report}"
    );
    assert_eq!(report.skips.len(), 1, "{report}");
    assert_eq!(text(&holes[0]["to"]), micros(report.skips[0].1));

    // It ends with a list of where decoding can begin, which tells its own length last, and by which GStreamer seeks.
    let bytes = fs::read(&clip).expect("the clip is there");
    let last = bytes[bytes.len() - 4..].try_into().expect("four bytes");
    let tail = u32::from_be_bytes(last);
    assert_eq!(manifest["tail"]["length"], json!(tail));
    assert_eq!(&bytes[bytes.len() - tail as usize..][4..8], b"mfra");
    let seek = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None)\n\
        line = Gst.parse_launch('filesrc location=clip.mp4 ! qtdemux ! h264parse ! fakesink name=sink enable-last-sample=true')\n\
        line.set_state(Gst.State.PAUSED); line.get_state(20 * Gst.SECOND)\n\
        assert line.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT, 15 * Gst.SECOND)\n\
        line.get_state(20 * Gst.SECOND)\n\
        at = line.get_by_name('sink').get_property('last-sample').get_buffer().pts / Gst.SECOND\n\
        assert 12.9 <= at <= 15.1, at";
    run(here, "/usr/bin/python3", &["-c", seek]);

    // Nobody touched it, by our word and by that of sha256sum, jq and openssl.
    let (code, said) = verify(here, &["--key", &scenario.key()]);
    assert_eq!(code, Some(0), "{said}");
    let by_hand = "set -eu; test \"$(sha256sum <clip.mp4 | cut -d' ' -f1)\" = \"$(jq -r .file.sha256 clip.json)\"\n\
        span() { tail -c +$(( $(jq \".spans[$1].offset\" clip.json) + 1 )) clip.mp4 | head -c \"$(jq \".spans[$1].length\" clip.json)\"; }\n\
        test \"$(span 1 | sha256sum | cut -d' ' -f1)\" = \"$(jq -r '.spans[1].sha256' clip.json)\"\n\
        jq -jcS 'del(.seal)' clip.json >sealed; jq -r .seal.signature.value clip.json | xxd -r -p >signature\n\
        openssl pkeyutl -verify -pubin -inkey \"$1\" -rawin -in sealed -sigfile signature";
    run(here, "bash", &["-c", by_hand, "-", &scenario.key()]);

    // One bit of the second span.
    let mut bytes = fs::read(&clip).expect("the clip is there");
    let at = manifest["spans"][1]["offset"].as_u64().expect("an offset") as usize + 5_000;
    bytes[at] ^= 1;
    fs::write(&clip, &bytes).expect("the folder can be written");
    let (code, said) = verify(here, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("span 2 (\"secondary\"") && !said.contains("span 1 (\""),
        "{said}"
    );
    assert_eq!(verify(here, &["nowhere.json"]).0, Some(2));
}

#[test]
fn a_killed_primary_leaves_a_whole_clip_that_names_who_took_over() {
    let mut scenario = Scenario::paced(&Recipe::default(), &Recipe::secondary(), Some(4.0));
    let server = scenario.config.serve();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let here = folder.path().to_owned();
    // The gap of the primary is behind it.
    let (from, to) = (iso(noon(10.0)), iso(noon(19.0)));
    let address = url(&server, "");
    let export = thread::spawn(move || {
        let command = [
            "export", "--server", &address, "--camera", "gate", "--from", &from, "--to", &to, "-o",
            "clip.mp4",
        ];
        seamline(&command, &here)
    });
    // It has begun, and is not over: the recorder gives four seconds a second.
    let part = folder.path().join("clip.mp4.part");
    let deadline = monotonic() + SOON;
    while fs::metadata(&part).map_or(0, |file| file.len()) < 1_000 {
        assert!(monotonic() < deadline, "nothing is written");
        thread::sleep(Duration::from_millis(10));
    }
    scenario.recorders[0].kill();
    let output = export.join().expect("it does not panic");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let clip = folder.path().join("clip.mp4");
    let (manifest, report) = scenario.assert_told(&clip, noon(10.0));
    report.assert_seamless();
    assert_eq!(report.sites(), ["primary", "secondary"]);
    let shown: usize = report.runs.iter().map(|run| run.count).sum();
    assert_eq!(shown, 225);
    let reason = text(&manifest["spans"][1]["source"]["reason"]);
    assert!(reason.contains("primary"), "{reason}");
    assert_eq!(
        verify(folder.path(), &["--key", &scenario.key()]).0,
        Some(0)
    );
}

/// Nobody is said not to have recorded what a dead site may have.
#[test]
fn a_hole_that_a_dead_site_may_hold_names_that_site() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    let server = scenario.config.clone().policy("outage_wait", "1s").serve();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let here = folder.path();
    let export = || {
        let (from, to) = (iso(noon(2.0)), iso(noon(11.0)));
        let address = url(&server, "");
        let command = [
            "export", "--server", &address, "--camera", "gate", "--from", &from, "--to", &to, "-o",
            "clip.mp4",
        ];
        let output = seamline(&command, here);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let manifest = fs::read(here.join("clip.json")).unwrap_or_else(|_| panic!("{said}"));
        fs::remove_file(here.join("clip.json")).expect("it is there");
        let manifest: Value = serde_json::from_slice(&manifest).expect("it is JSON");
        (manifest, said)
    };
    let (before, said) = export();
    assert_eq!(before["holes"], json!([]), "{said}");
    fs::remove_file(here.join("clip.mp4")).expect("it is there");
    let mut scenario = scenario;
    scenario.recorders[1].kill();
    let (manifest, said) = export();
    let holes = manifest["holes"].as_array().expect("a list");
    assert_eq!(holes.len(), 1, "{manifest:#} {said}");
    assert_eq!(holes[0]["reason"], "unknown", "{manifest:#}");
    let states: Vec<String> = holes[0]["sites"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|copy| format!("{}: {}", text(&copy["site"]), text(&copy["state"])))
        .collect();
    assert_eq!(
        states,
        ["primary: no recording", "secondary: unknown, and offline"]
    );
    fs::write(here.join("clip.json"), manifest.to_string()).expect("the folder can be written");
    let (_, told) = verify(here, &[]);
    assert!(
        told.contains("who may hold it did not answer") && told.contains("unknown, and offline"),
        "{told}"
    );
    // Nor does the log say that nobody holds it.
    server.await_log(
        &[" hole", "who may hold it did not answer", "secondary"],
        SOON,
    );
}

#[test]
fn what_was_broken_off_is_taken_up_and_the_same_bytes_come_of_it() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    let server = scenario.config.serve();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (from, to) = (iso(noon(2.0)), iso(noon(12.0)));
    let address = url(&server, "");
    let export = |server: Option<&str>, name: &str| {
        let mut command = vec![
            "export", "--camera", "gate", "--from", &from, "--to", &to, "-o", name,
        ];
        let output = match server {
            Some(server) => {
                command.extend(["--server", server]);
                seamline(&command, folder.path())
            }
            None => scenario.config.command(&command, folder.path()),
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        (
            fs::read(folder.path().join(name)).expect("the clip is there"),
            said,
        )
    };
    let (whole, _) = export(Some(&address), "whole.mp4");
    // A copy by the recorders themselves, without a server, is the same.
    assert!(export(None, "local.mp4").0 == whole);
    let purpose = json!({ "camera": "gate", "from": from, "to": to }).to_string();
    for (name, server) in [("a.mp4", Some(&*address)), ("b.mp4", None)] {
        // What a program that was killed left.
        let leave = |bytes: &[u8]| {
            for (ending, bytes) in [("part", bytes), ("part.json", purpose.as_bytes())] {
                let path = folder.path().join(format!("{name}.{ending}"));
                fs::write(path, bytes).expect("the folder can be written");
            }
        };
        leave(&whole[..whole.len() / 2]);
        let (clip, said) = export(server, name);
        assert!(clip == whole, "{said}");
        assert!(said.contains("goes on behind"), "{said}");
        for ending in ["part", "part.json"] {
            assert!(!folder.path().join(format!("{name}.{ending}")).exists());
        }
        for ending in ["mp4", "json"] {
            let path = folder.path().join(name).with_extension(ending);
            fs::remove_file(path).expect("it is there");
        }
        // What other copies served.
        let mut other = whole[..whole.len() / 2].to_vec();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        leave(&other);
        let (clip, said) = export(server, name);
        assert!(clip == whole, "{said}");
        assert!(said.contains("anew"), "{said}");
    }
    let command = [
        "export",
        "--camera",
        "gate",
        "--from",
        &from,
        "--to",
        &to,
        "-o",
        "whole.mp4",
        "--server",
        &address,
    ];
    let output = seamline(&command, folder.path());
    assert_eq!(output.status.code(), Some(2), "it does not overwrite");
}

/// `kill -9` of the program that exports, and the same command again.
#[test]
fn an_export_that_was_killed_is_taken_up_by_the_same_command() {
    let scenario = Scenario::paced(&Recipe::default(), &Recipe::secondary(), Some(6.0));
    let server = scenario.config.serve();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let here = folder.path();
    // Over the seam to the primary at 8 s.
    let (from, to) = (iso(noon(5.0)), iso(noon(19.0)));
    let address = url(&server, "");
    let command = |name: &str| {
        let words = [
            "export", "--server", &address, "--camera", "gate", "--from", &from, "--to", &to, "-o",
            name,
        ];
        words.map(str::to_owned)
    };
    let run = |name: &str| {
        let command = command(name);
        let output = seamline(&command.each_ref().map(String::as_str), here);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    let words = command("clip.mp4");
    let mut killed = started(&words.each_ref().map(String::as_str), here);
    let part = here.join("clip.mp4.part");
    let written = || fs::metadata(&part).map_or(0, |file| file.len());
    let deadline = monotonic() + SOON;
    while written() < 200_000 {
        assert!(monotonic() < deadline, "{} bytes are written", written());
        thread::sleep(Duration::from_millis(5));
    }
    killed.kill();
    let left = written();
    assert!(!here.join("clip.mp4").exists(), "it was over already");
    let said = run("clip.mp4");
    assert!(said.contains("goes on behind"), "{said}");
    run("whole.mp4");
    let read = |name: &str| fs::read(here.join(name)).expect("the clip is there");
    let whole = read("whole.mp4");
    assert!((left as usize) < whole.len(), "{left} of {}", whole.len());
    assert!(read("clip.mp4") == whole, "other bytes");
    let (code, said) = verify(here, &["--key", &scenario.key()]);
    assert_eq!(code, Some(0), "{said}");
    let (_, report) = scenario.assert_told(&here.join("clip.mp4"), noon(5.0));
    report.assert_seamless();
    assert_eq!(report.sites(), ["secondary", "primary"]);
}

/// The ranges that a recorder was asked to play since it was last looked at.
fn plays(recorder: &Recorder) -> Vec<String> {
    let range = |event| match event {
        Event::Play { range, .. } => Some(range),
        _ => None,
    };
    recorder.asked().into_iter().filter_map(range).collect()
}

#[test]
fn a_still_is_the_picture_of_its_time() {
    let b_frames = Recipe {
        b_frames: 2,
        ..Recipe::default()
    };
    for (primary, secondary) in [
        (b_frames, Recipe::secondary()),
        (Recipe::default().h265(), Recipe::secondary().h265()),
    ] {
        let scenario = Scenario::new(&primary, &secondary);
        let server = scenario.config.serve();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // In the middle of a group, just before the next picture, and in the secondary's part.
        for (at, site) in [
            (noon(2.6), "primary"),
            (noon(3.0) - 1, "primary"),
            (noon(6.5), "secondary"),
        ] {
            let expected = at - (at - noon(0.0)).rem_euclid(FRAME_MS);
            for format in ["jpeg", "mp4"] {
                let path = format!("/snapshot?path=gate&at={}&format={format}", iso(at));
                let (status, head, body) = curl(folder.path(), &url(&server, &path));
                let problem = fs::read(&body).unwrap_or_default();
                assert_eq!(
                    status,
                    200,
                    "{path}: {head} {}",
                    String::from_utf8_lossy(&problem)
                );
                assert_eq!(
                    header(&head, "seamline-capture-time"),
                    micros(expected),
                    "{path}"
                );
                assert_eq!(header(&head, "seamline-site"), site, "{path}");
                let file = folder.path().join(format!("still.{format}"));
                fs::rename(body, &file).expect("the folder can be written");
                let mut player = Player::ffmpeg(&file.display().to_string());
                player.watch_to_end(SOON);
                let clocks: Vec<_> = player
                    .pictures
                    .iter()
                    .map(|picture| picture.clock_ms)
                    .collect();
                assert_eq!(clocks, [Some(expected)], "{path}: {:?}", player.errors);
                assert_eq!(player.errors, [""; 0], "{path}");
            }
        }
        for (at, expected) in [
            // Two seconds into the hole the last picture before it will do; the end of footage is too far off.
            (iso(noon(22.0)), 200),
            (iso(noon(3_600.0)), 404),
            ("noon".to_owned(), 400),
            ("9999-12-31T23:59:59Z".to_owned(), 404),
            ("0000-01-01T00:00:00Z".to_owned(), 404),
        ] {
            let path = format!("/snapshot?path=gate&at={at}");
            let (status, head, _) = curl(folder.path(), &url(&server, &path));
            assert_eq!(status, expected, "{path}: {head}");
        }
        // What is known to be a hole is not asked for again, and each is asked once for what comes before. What is to come nobody is asked for.
        let asked = || scenario.recorders.each_ref().map(plays);
        asked();
        let path = format!("/snapshot?path=gate&at={}", iso(noon(22.5)));
        let (status, head, _) = curl(folder.path(), &url(&server, &path));
        let asked = asked();
        // The other may hold what follows to the hole.
        let once = asked[0].len() == 1 && asked[1].len() <= 1;
        assert!(status == 200 && once, "{head} {asked:?}");
        let path = "/snapshot?path=gate&at=9999-12-31T23:59:59Z";
        let (status, head, _) = curl(folder.path(), &url(&server, path));
        let asked = scenario.recorders.each_ref().map(plays);
        assert_eq!((status, asked), (404, [vec![], vec![]]), "{head}");
    }
}
