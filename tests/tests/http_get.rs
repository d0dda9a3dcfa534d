//! Clips over HTTP: one file across gaps and sites, the same bytes whoever asks, whenever, and at whichever replica.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{FRAME_MS, NOON_MS, iso, monotonic, noon},
    curl::{Answer, Clip, curl},
    footage::{Footage, Recipe},
    player::Player,
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(30);

/// The URL of a clip of the camera.
fn clip_url(seamline: &Seamline, from: i64, until: i64, more: &str) -> String {
    let seconds = (until - from) as f64 / 1000.0;
    let (port, start) = (seamline.port(), iso(from));
    format!("http://127.0.0.1:{port}/get?path=gate&start={start}&duration={seconds}{more}")
}

/// What FFmpeg shows of a file.
fn shown(clip: &Clip, sites: &[(&str, &Footage)]) -> Report {
    let mut player = Player::ffmpeg(&clip.path.display().to_string());
    player.watch_to_end(SOON);
    assert_eq!(player.errors, [""; 0]);
    let report = judge(&player.pictures, sites);
    println!("{report}");
    report
}

fn fetched(url: &str) -> Answer {
    let answer = curl(url, &[]);
    assert_eq!((answer.status, answer.code), (200, 0), "{url}");
    answer
}

/// The primary has nothing from 4 s to 8 s, the secondary nothing from 12 s to 16 s, and nobody from 20 s to 24 s.
struct Scenario {
    primary: Footage,
    secondary: Footage,
    recorders: [Recorder; 2],
}

impl Scenario {
    fn new(primary: &Recipe, secondary: &Recipe) -> Self {
        let (primary, secondary) = (primary.make(), secondary.make());
        let first = Setup::default()
            .without(noon(4.0), noon(8.0))
            .without(noon(20.0), noon(24.0))
            .start(&primary);
        let second = Setup::default()
            .without(noon(12.0), noon(16.0))
            .without(noon(20.0), noon(24.0))
            .aggregating()
            .start(&secondary);
        Scenario {
            primary,
            secondary,
            recorders: [first, second],
        }
    }

    fn serve(&self) -> Seamline {
        Config::default()
            .policy("failback", "at-seam")
            .site("primary", &self.recorders[0])
            .site("secondary", &self.recorders[1])
            .serve()
    }

    fn sites(&self) -> [(&str, &Footage); 2] {
        [("primary", &self.primary), ("secondary", &self.secondary)]
    }
}

#[test]
fn a_clip_across_a_seam_is_one_clean_file_of_either_kind() {
    let scenario = Scenario::new(
        &Recipe::default().with_audio("aac"),
        &Recipe::secondary().with_audio("aac"),
    );
    let seamline = scenario.serve();
    // A key frame of the primary.
    let (from, until) = (noon(1.52), noon(11.8));
    for format in ["", "&format=mp4"] {
        let answer = fetched(&clip_url(&seamline, from, until, format));
        assert_eq!(answer.header("content-type"), "video/mp4");
        let clip = Clip::of(&answer.body);
        clip.assert_clean();
        clip.assert_well_formed();
        let report = shown(&clip, &scenario.sites());
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
        let (first, last) = (&report.runs[0], &report.runs[2]);
        assert_eq!((first.first, last.last), (from, until - FRAME_MS));
        let pictures = ((until - from) / FRAME_MS) as usize;
        assert_eq!(clip.gstreamer_pictures("avdec_h264"), pictures);
        let sound = clip.packets("a:0");
        let (first, last) = (sound[0], sound[sound.len() - 1]);
        assert!(first.pts < 0.1 && last.pts > 10.0, "{first:?} {last:?}");
    }
}

#[test]
fn a_clip_starts_where_it_was_asked_to_and_leaves_holes_out_or_open() {
    // With the sound of most cameras.
    let scenario = Scenario::new(
        &Recipe::default().with_audio("g711"),
        &Recipe::secondary().with_audio("g711"),
    );
    let seamline = scenario.serve();
    // In the middle of a group: what comes before is there to be decoded, and not shown.
    let (from, until) = (noon(2.0), noon(3.0));
    let clip = Clip::of(&fetched(&clip_url(&seamline, from, until, "&format=mp4")).body);
    clip.assert_clean();
    clip.assert_well_formed();
    assert!(clip.packets("a:0").len() >= 48);
    let report = shown(&clip, &scenario.sites());
    report.assert_seamless();
    assert_eq!(
        (report.runs[0].first, report.runs[0].last),
        (from, until - FRAME_MS)
    );
    // In fragments FFmpeg shows it all the same, before time zero.
    let clip = Clip::of(&fetched(&clip_url(&seamline, from, until, "")).body);
    clip.assert_clean();
    clip.assert_well_formed();
    assert!(clip.packets("a:0").len() >= 48);
    let packets = clip.packets("v:0");
    let early = packets.iter().filter(|packet| packet.pts < 0.0).count();
    assert!(packets[early].pts.abs() < f64::EPSILON);
    assert_eq!(packets.len() - early, 25);

    // The secondary's first key frame behind the hole is at 24.72 s.
    for (holes, seconds) in [("skip", 5.24), ("keep", 9.96), ("end", 2.96)] {
        let more = format!("&holes={holes}&format=mp4");
        let clip = Clip::of(&fetched(&clip_url(&seamline, noon(17.0), noon(27.0), &more)).body);
        clip.assert_clean();
        let packets = clip.packets("v:0");
        let last = packets.iter().map(|packet| packet.pts).fold(0.0, f64::max);
        assert!((last - seconds).abs() < 0.001, "{holes}: {last}");
    }
}

#[test]
fn reordered_pictures_and_h265_keep_their_order() {
    let b_frames = Recipe {
        b_frames: 2,
        ..Recipe::default()
    };
    let others = Recipe {
        b_frames: 3,
        ..Recipe::secondary()
    };
    for (primary, secondary, decoder) in [
        (b_frames, others, "avdec_h264"),
        (
            Recipe::default().h265(),
            Recipe::secondary().h265(),
            "avdec_h265",
        ),
    ] {
        let scenario = Scenario::new(&primary, &secondary);
        let seamline = scenario.serve();
        let (from, until) = (noon(1.52), noon(11.8));
        for format in ["", "&format=mp4"] {
            let clip = Clip::of(&fetched(&clip_url(&seamline, from, until, format)).body);
            clip.assert_clean();
            clip.assert_well_formed();
            let report = shown(&clip, &scenario.sites());
            // What reordered pictures refer to across the seam is decoded again, squeezed into its instant.
            report.assert_nothing_lost(Duration::from_secs(1));
            assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
            let pictures: usize = report.runs.iter().map(|run| run.count).sum();
            assert_eq!(clip.gstreamer_pictures(decoder), pictures);
        }
    }
}

#[test]
fn ranges_are_those_of_one_file_at_every_replica() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    let (one, other) = (scenario.serve(), scenario.serve());
    let of = |seamline: &Seamline| clip_url(seamline, noon(1.0), noon(14.0), "");
    let whole = fetched(&of(&one));
    let again = fetched(&of(&one));
    let there = fetched(&of(&other));
    let len = whole.body.len();
    assert!(
        whole.body == again.body && whole.body == there.body,
        "other bytes"
    );
    let tag = again.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    assert_eq!(again.header("content-length"), len.to_string());
    // The other replica was asked once: its bytes were counted while they came, or before.
    assert_eq!(fetched(&of(&other)).header("etag"), tag);

    let part = |seamline: &Seamline, range: &str, more: &[&str]| {
        let options = [&["-H", range], more].concat();
        curl(&of(seamline), &options)
    };
    for (range, bytes) in [
        ("Range: bytes=0-99", 0..100),
        ("Range: bytes=1000-", 1000..len),
        ("Range: bytes=-777", len - 777..len),
        ("Range: bytes=5000-99999999999", 5000..len),
    ] {
        for seamline in [&one, &other] {
            let if_range = format!("If-Range: {tag}");
            let answer = part(seamline, range, &["-H", &if_range]);
            assert_eq!(answer.status, 206, "{range}");
            assert!(answer.body == whole.body[bytes.clone()], "{range}");
            let told = format!("bytes {}-{}/{len}", bytes.start, bytes.end - 1);
            assert_eq!(answer.header("content-range"), told);
        }
    }
    let several = part(&one, "Range: bytes=0-9,100-109,-10", &[]);
    assert_eq!(several.status, 206);
    let kind = several.header("content-type");
    assert!(kind.starts_with("multipart/byteranges"), "{kind}");
    let boundary = kind.split("boundary=").nth(1).expect("it says where");
    let mut wanted = Vec::new();
    for part in [0..10, 100..110, len - 10..len] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes {}-{}/{len}\r\n\r\n",
            part.start,
            part.end - 1
        );
        wanted.extend_from_slice(head.as_bytes());
        wanted.extend_from_slice(&whole.body[part]);
    }
    wanted.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(several.body == wanted, "not as RFC 9110 §14.6 has it");
    assert_eq!(
        several.header("content-length"),
        several.body.len().to_string()
    );

    let beyond = part(&one, "Range: bytes=99999999999-", &[]);
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{len}"));
    let foreign = part(&one, "Range: bytes=100-", &["-H", "If-Range: \"another\""]);
    assert_eq!((foreign.status, foreign.body.len()), (200, len));
    let known = curl(&of(&one), &["-H", &format!("If-None-Match: W/{tag}")]);
    assert_eq!((known.status, known.body.len()), (304, 0));
    let head = curl(&of(&one), &["--head"]);
    assert_eq!(head.header("content-length"), len.to_string());
    assert_eq!(
        (head.header("etag"), head.header("accept-ranges")),
        (&*tag, "bytes")
    );
    // Ranges are for GET alone.
    let head = curl(&of(&one), &["--head", "-H", "Range: bytes=0-9"]);
    assert_eq!((head.status, head.header("content-range")), (200, ""));
    assert_eq!(head.header("content-length"), len.to_string());

    // A download that broke off is resumed where it was, also elsewhere.
    for seamline in [&one, &other] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resumed.mp4");
        std::fs::write(&file, &whole.body[..len / 3]).unwrap();
        let resumed = std::process::Command::new("curl")
            .args(["--silent", "--fail", "-C", "-", "-o"])
            .arg(&file)
            .arg(of(seamline))
            .status()
            .unwrap();
        assert!(resumed.success());
        assert!(std::fs::read(&file).unwrap() == whole.body, "other bytes");
    }
}

/// A clip that is all there, by a tag that every replica knows.
fn finished(url: &str) -> Answer {
    let late = monotonic() + SOON;
    loop {
        let answer = fetched(url);
        if answer.header("etag").len() == 34 {
            return answer;
        }
        assert!(monotonic() < late, "{:?}", answer.headers);
    }
}

/// The boxes of a file: where each lies, and its name.
fn boxes(file: &[u8]) -> Vec<(std::ops::Range<usize>, String)> {
    let (mut at, mut boxes) = (0, Vec::new());
    while let Some(head) = file.get(at..at + 8) {
        let long = u32::from_be_bytes(head[..4].try_into().expect("four bytes")) as usize;
        let name = String::from_utf8_lossy(&head[4..]).into_owned();
        boxes.push((at..at + long, name));
        at += long.max(8);
    }
    assert_eq!(at, file.len());
    boxes
}

/// Where the references of an index begin and end that is the box at `index`, as ISO/IEC 14496-12 §8.16.3 has it.
fn references(file: &[u8], index: std::ops::Range<usize>) -> Vec<std::ops::Range<usize>> {
    let body = &file[index.start + 8..index.end];
    let number =
        |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes")) as usize;
    // Version and flags, track, timescale, then two times of as many bytes as the version says.
    let (first_at, counted) = match body[0] {
        0 => (16, 20),
        _ => (24, 28),
    };
    let mut at = index.end + number(first_at);
    let count = usize::from(u16::from_be_bytes(
        body[counted + 2..counted + 4]
            .try_into()
            .expect("two bytes"),
    ));
    let references = (0..count).map(|nth| {
        let entry = counted + 4 + 12 * nth;
        // A stretch of media that begins where decoding can.
        assert_eq!((body[entry] & 0x80, body[entry + 8] >> 4), (0, 0b1001));
        let here = at;
        at += number(entry);
        here..at
    });
    references.collect()
}

/// The pictures that FFmpeg shows of a file over HTTP from a time of it on, and how many requests it took.
fn sought(seamline: &Seamline, url: &str, seconds: f64, pictures: u32) -> (Vec<i64>, usize) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let shown = folder.path().join("shown.nut");
    let before = requests(seamline);
    let output = std::process::Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-ss",
            &seconds.to_string(),
            "-i",
            url,
        ])
        .args(["-map", "0:v:0", "-frames:v", &pictures.to_string()])
        .args(["-fps_mode", "passthrough", "-c:v", "rawvideo", "-f", "nut"])
        .arg(&shown)
        .output()
        .expect("ffmpeg runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "FFmpeg: {said}");
    // What it is asked for how many it were.
    let took = requests(seamline) - before - 1;
    let mut player = Player::ffmpeg(&shown.display().to_string());
    player.watch_to_end(SOON);
    let clocks = player.pictures.iter().map(|picture| picture.clock_ms);
    (
        clocks
            .map(|clock| clock.expect("a burned-in clock"))
            .collect(),
        took,
    )
}

/// Requests that were answered so far.
fn requests(seamline: &Seamline) -> usize {
    seamline.figure("seamline_http_requests_total{outcome=\"answered\"} ")
}

/// Once a clip is whole, who asks for it as players do finds an index in it, and reads no more than is played.
#[test]
fn players_find_their_way_in_a_clip_by_its_index() {
    let scenario = Scenario::new(
        &Recipe::default().with_audio("aac"),
        &Recipe::secondary().with_audio("aac"),
    );
    let (one, other) = (scenario.serve(), scenario.serve());
    // From a key frame over four seams; from the middle of a group to behind a hole that is left open.
    let seams = (noon(1.52), noon(19.8), "");
    let hole = (noon(2.0), noon(27.0), "&holes=keep");
    for (from, until, more) in [seams, hole] {
        let of = |seamline: &Seamline| clip_url(seamline, from, until, more);
        let as_player = |seamline: &Seamline, range: &str, tag: Option<&str>| {
            let range = format!("Range: bytes={range}");
            let tag = tag.map(|tag| format!("If-Range: {tag}"));
            let options = ["-H", &range, "-H", tag.as_deref().unwrap_or("X: 0")];
            let answer = curl(&of(seamline), &options);
            assert_eq!((answer.status, answer.code), (206, 0), "{range}");
            answer
        };
        let plain = finished(&of(&one));
        let indexed = as_player(&one, "0-", None);
        let tag = indexed.header("etag");
        assert_eq!(indexed.body.len(), plain.body.len());
        assert_ne!(tag, plain.header("etag"));
        // It is the same file elsewhere, and in parts; who names the other, or none, has the other.
        assert_eq!(finished(&of(&other)).body, plain.body);
        assert_eq!(as_player(&other, "0-", None).header("etag"), tag);
        for range in [0..1000, 300..20_000, 900..901] {
            let text = format!("{}-{}", range.start, range.end - 1);
            for seamline in [&one, &other] {
                let part = as_player(seamline, &text, Some(tag));
                assert!(part.body == indexed.body[range.clone()], "{text}");
                assert_eq!(part.header("etag"), tag);
                for named in [None, Some(plain.header("etag"))] {
                    let part = as_player(seamline, &text, named);
                    assert!(part.body == plain.body[range.clone()], "{text}");
                    assert_eq!(part.header("etag"), plain.header("etag"));
                }
            }
        }

        // They differ in what is the index of the one and means nothing in the other.
        let (plain_boxes, indexed_boxes) = (boxes(&plain.body), boxes(&indexed.body));
        let names = |boxes: &[(std::ops::Range<usize>, String)]| -> Vec<String> {
            boxes.iter().map(|(_, name)| name.clone()).collect()
        };
        assert_eq!(names(&plain_boxes)[..4], ["ftyp", "moov", "free", "prft"]);
        assert_eq!(
            names(&indexed_boxes)[..5],
            ["ftyp", "moov", "free", "sidx", "prft"]
        );
        assert_eq!(plain_boxes[3..], indexed_boxes[4..]);
        let place = plain_boxes[2].0.clone();
        assert!(plain.body[..place.start] == indexed.body[..place.start]);
        assert!(plain.body[place.end..] == indexed.body[place.end..]);
        // Each reference is one fragment, and the last ends with the file.
        let told = references(&indexed.body, indexed_boxes[3].0.clone());
        let fragments = indexed_boxes.iter().filter(|(_, name)| name == "moof");
        let fragments: Vec<usize> = fragments.map(|(range, _)| range.start).collect();
        let begin: Vec<usize> = told.iter().map(|reference| reference.start).collect();
        assert_eq!(begin, fragments);
        assert_eq!(told.last().unwrap().end, indexed.body.len());

        let clip = Clip::of(&indexed.body);
        clip.assert_clean();
        clip.assert_well_formed();
        assert_eq!(clip.packets("v:0"), Clip::of(&plain.body).packets("v:0"));
        // GStreamer hides what the edit list does.
        let packets = clip.packets("v:0");
        let shown = packets.iter().filter(|packet| packet.pts >= 0.0);
        assert_eq!(clip.gstreamer_pictures("avdec_h264"), shown.count());

        // FFmpeg asks once for all, and once more where it seeks to; without an index it asks for each fragment.
        let (shown, took) = sought(&one, &of(&one), 0.0, 5);
        println!("{} fragments, {took} requests", fragments.len());
        assert!(took <= 3, "{took}");
        // What has to be decoded first lies before time zero, where FFmpeg shows it.
        assert!(shown.contains(&from) || shown[4] < from, "{shown:?}");
        for seconds in [3.0, 5.28, 12.04, 16.56] {
            let wanted = from + (seconds * 1000.0) as i64;
            let (shown, took) = sought(&one, &of(&one), seconds, 5);
            let expected: Vec<i64> = (0..5).map(|nth| wanted + nth * FRAME_MS).collect();
            assert_eq!(shown, expected, "{seconds} s");
            assert!(took <= 4, "{took} requests");
        }
    }
}

#[test]
fn the_file_is_the_same_before_and_after_a_site_died() {
    let footage = Recipe::default().make();
    let mut primary = Setup::default().start(&footage);
    let secondary = Setup::default().aggregating().start(&footage);
    let serve = || {
        Config::default()
            .site("primary", &primary)
            .site("secondary", &secondary)
            .serve()
    };
    let (before, after) = (serve(), serve());
    let of = |seamline: &Seamline| clip_url(seamline, noon(1.0), noon(21.0), "");
    let whole = fetched(&of(&before));
    let tag = fetched(&of(&before)).header("etag").to_owned();
    primary.kill();
    // Kept here, made anew there.
    assert!(fetched(&of(&before)).body == whole.body);
    assert!(fetched(&of(&after)).body == whole.body);
    let rest = [
        "-H",
        "Range: bytes=100000-",
        "-H",
        &format!("If-Range: {tag}"),
    ];
    let rest = curl(&of(&after), &rest);
    assert_eq!((rest.status, rest.header("etag")), (206, &*tag));
    assert!(rest.body == whole.body[100_000..]);
}

#[test]
fn another_encoding_is_another_file() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    let (before, after) = (scenario.serve(), scenario.serve());
    let of = |seamline: &Seamline| clip_url(seamline, noon(28.0), noon(38.0), "");
    let whole = fetched(&of(&before));
    let tag = fetched(&of(&before)).header("etag").to_owned();
    let mut scenario = scenario;
    scenario.recorders[0].kill();
    let options = [
        "-H",
        "Range: bytes=100000-",
        "-H",
        &format!("If-Range: {tag}"),
    ];
    let other = curl(&of(&after), &options);
    assert_eq!((other.status, other.code), (200, 0));
    assert_ne!(other.header("etag"), tag);
    let clip = Clip::of(&other.body);
    clip.assert_clean();
    let report = shown(&clip, &scenario.sites());
    assert_eq!(report.sites(), ["secondary"]);
    assert!(other.body != whole.body);
}

/// The first bytes of a clip that is still being made, which can be had once they are there; its length is not told yet.
fn begun(url: &str) -> Vec<u8> {
    let part = curl(url, &["-H", "Range: bytes=0-299999"]);
    assert_eq!((part.status, part.body.len()), (206, 300_000));
    assert_eq!(part.header("content-range"), "bytes 0-299999/*");
    part.body
}

#[test]
fn a_site_that_dies_in_mid_body_costs_no_picture() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let mut first = Setup::default().no_faster_than(4.0).start(&primary);
    let second = Setup::default().no_faster_than(8.0).start(&secondary);
    let config = Config::default()
        .policy("failback", "never")
        .site("primary", &first)
        .site("secondary", &second);
    let (seamline, other) = (config.serve(), config.serve());
    let url = clip_url(&seamline, noon(1.52), noon(41.0), "");
    let fetching = thread::spawn({
        let url = url.clone();
        move || curl(&url, &[])
    });
    let part = begun(&url);
    first.kill();
    let answer = fetching.join().unwrap();
    assert_eq!((answer.status, answer.code), (200, 0));
    assert!(answer.body.starts_with(&part), "other bytes");
    let clip = Clip::of(&answer.body);
    clip.assert_clean();
    let report = shown(&clip, &[("primary", &primary), ("secondary", &secondary)]);
    assert_eq!(report.sites(), ["primary", "secondary"]);
    report.assert_nothing_lost(Duration::from_secs(1));
    assert_eq!(report.runs[1].last, noon(41.0) - FRAME_MS);

    // Had it been cut: here the rest of the same bytes is to be had, elsewhere the file is another one by now, and given whole.
    let tag = format!("If-Range: {}", answer.header("etag"));
    let rest = ["-H", "Range: bytes=250000-", "-H", &tag];
    let here = curl(&url, &rest);
    assert_eq!((here.status, here.code), (206, 0));
    assert!(here.body == answer.body[250_000..], "other bytes");
    let there = curl(&clip_url(&other, noon(1.52), noon(41.0), ""), &rest);
    assert_eq!((there.status, there.code), (200, 0));
    assert_ne!(there.header("etag"), answer.header("etag"));
    let report = shown(
        &Clip::of(&there.body),
        &[("primary", &primary), ("secondary", &secondary)],
    );
    assert_eq!(report.sites(), ["secondary"]);
    assert_eq!(report.runs[0].last, noon(41.0) - FRAME_MS);
}

#[test]
fn a_body_that_cannot_go_on_is_cut_and_never_ended() {
    let footage = Recipe::default().make();
    let mut only = Setup::default().no_faster_than(4.0).start(&footage);
    let seamline = Config::default()
        .policy("outage_wait", "1s")
        .site("primary", &only)
        .serve();
    let url = clip_url(&seamline, noon(1.52), noon(61.0), "");
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let fetching = thread::spawn({
        let (url, trace) = (url.clone(), trace.display().to_string());
        move || curl(&url, &["--trace-ascii", &trace])
    });
    let part = begun(&url);
    // Before its head it would be told that nobody can be reached.
    let late = monotonic() + SOON;
    while !fs::read_to_string(&trace).is_ok_and(|seen| seen.contains("<= Recv data")) {
        assert!(monotonic() < late, "no body");
        thread::sleep(Duration::from_millis(10));
    }
    only.kill();
    let answer = fetching.join().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(&part), "other bytes");
    // CURLE_PARTIAL_FILE, or CURLE_RECV_ERROR.
    assert!(answer.code == 18 || answer.code == 56, "{}", answer.code);
    assert!(!answer.body.is_empty());
}

/// Bytes on the disk of files below a folder that a program holds open and that have no names.
fn nameless_bytes(seamline: &Seamline, folder: &Path) -> u64 {
    let open = fs::read_dir(format!("/proc/{}/fd", seamline.id())).expect("our own child");
    open.filter_map(|entry| {
        let path = entry.ok()?.path();
        let named = fs::read_link(&path).ok()?;
        let ours = named.starts_with(folder);
        ours.then(|| fs::metadata(&path).map_or(0, |file| 512 * file.blocks()))
    })
    .sum()
}

/// What was made once is there after the configuration was read again, until the camera is another.
#[test]
fn clips_stay_over_a_reload_that_changes_nothing_of_their_camera() {
    let footage = Recipe::default().make();
    let mut recorder = Setup::default().start(&footage);
    let config = Config::default().site("primary", &recorder);
    let seamline = config.serve();
    let url = clip_url(&seamline, noon(1.0), noon(11.0), "");
    let before = finished(&url);
    recorder.kill();
    seamline.reload(&config.another_camera("yard"));
    seamline.await_log(&["configuration read again", "cameras=2"], SOON);
    // Nobody is there who could make it anew.
    let after = fetched(&url);
    assert_eq!(after.header("etag"), before.header("etag"));
    assert!(after.body == before.body);
    // Recorded elsewhere now, where nobody answers either.
    let elsewhere = Config::default().site_at("primary", "rtsp://127.0.0.1:9/{camera}", 0);
    seamline.reload(&elsewhere);
    seamline.await_log(&["configuration read again", "cameras=1"], SOON);
    let gone = curl(&url, &[]);
    assert_eq!(gone.status, 503, "the footage of the camera before");
}

/// Whose clip became another file meanwhile does not get the rest of that one behind what they have of the one before.
#[test]
fn a_resumed_download_is_never_a_mix_of_two_files() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let mut first = Setup::default().start(&primary);
    let second = Setup::default().start(&secondary);
    let seamline = Config::default().site("primary", &first).serve();
    let url = clip_url(&seamline, noon(1.52), noon(11.0), "");
    let before = finished(&url);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resumed.mp4");
    let resume = || {
        let resumed = std::process::Command::new("curl")
            .args(["--silent", "--fail", "-C", "-", "-o"])
            .arg(&file)
            .arg(&url)
            .status()
            .unwrap();
        (resumed.code(), fs::read(&file).unwrap())
    };
    let part = before.body[..before.body.len() / 3].to_vec();
    fs::write(&file, &part).unwrap();
    assert!(resume() == (Some(0), before.body.clone()), "it is the same");

    first.kill();
    seamline.reload(&Config::default().site("secondary", &second));
    seamline.await_log(&["configuration read again"], SOON);
    fs::write(&file, &part).unwrap();
    // However often: curl says that it cannot resume (CURLE_RANGE_ERROR).
    for _ in 0..2 {
        assert!(resume() == (Some(33), part.clone()), "a mix");
    }
    // Who counts from the end, and who names the file, knows what it has.
    let last = curl(&url, &["-H", "Range: bytes=-777"]);
    assert_eq!((last.status, last.body.len()), (206, 777));
    let tag = last.header("etag").to_owned();
    assert_ne!(tag, before.header("etag"));
    let if_range = format!("If-Range: {tag}");
    let named = curl(&url, &["-H", "Range: bytes=100-", "-H", &if_range]);
    assert_eq!((named.status, named.header("etag")), (206, &*tag));
    // A player seeks in what it has begun.
    let player = |range: &str| {
        curl(
            &url,
            &["-A", "player", "-H", &format!("Range: bytes={range}")],
        )
    };
    let unknown = player("100-");
    assert_eq!((unknown.status, unknown.header("etag")), (200, &*tag));
    assert_eq!(player("0-").status, 206);
    let sought = player("100-");
    assert_eq!((sought.status, sought.header("etag")), (206, &*tag));
    assert!(sought.body == unknown.body[100..]);
    // Which is nothing to the download, until that is begun anew.
    assert!(resume() == (Some(33), part.clone()), "a mix");
    let after = fetched(&url);
    fs::write(&file, &after.body[..part.len()]).unwrap();
    assert!(resume() == (Some(0), after.body), "it is the same");
}

/// Three clips that together do not fit into their folder, and are read slowly: what was read gives way to what comes.
#[test]
fn clips_that_do_not_fit_pass_through_their_folder() {
    const ROOM: u64 = 64 << 20;
    let footage = Recipe::default().mjpeg("2").mp4().make();
    let archive = footage.archive_without(&[]);
    let spool = tempfile::tempdir().unwrap();
    let config = Config::default().archive("primary", archive.path());
    let roomy = config.serve();
    let tight = config
        .top(
            "http",
            serde_json::json!({ "spool": { "folder": spool.path(), "max_bytes": ROOM } }),
        )
        .serve();
    let of = |seamline: &Seamline, from: f64| clip_url(seamline, noon(from), noon(29.0), "");
    let starts = [-10.0, -9.0, -8.0];
    let whole = starts.map(|from| fetched(&of(&roomy, from)).body);
    let sum: usize = whole.iter().map(Vec::len).sum();
    assert!(sum as u64 > ROOM + (8 << 20), "{sum} bytes in all");
    // Nobody reads on until the folder has filled: how fast clips are made does not matter.
    let filled = Arc::new(AtomicBool::new(false));
    let reading: Vec<_> = starts
        .iter()
        .map(|from| {
            let (url, filled) = (of(&tight, *from), Arc::clone(&filled));
            let path = url[url.find("/get").unwrap()..].to_owned();
            let mut stream = TcpStream::connect(("127.0.0.1", tight.port())).unwrap();
            thread::spawn(move || {
                write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
                while !filled.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    let (mut most, patience) = (0, monotonic() + SOON);
    while !reading.iter().all(thread::JoinHandle::is_finished) {
        most = most.max(nameless_bytes(&tight, spool.path()));
        if most > ROOM / 2 || monotonic() > patience {
            filled.store(true, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(20));
    }
    for (reading, whole) in reading.into_iter().zip(&whole) {
        let answer = reading.join().unwrap();
        assert!(answer.starts_with(b"HTTP/1.0 200"), "no 200");
        let head = answer
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .unwrap();
        assert!(answer[head + 4..] == *whole, "other bytes");
    }
    println!("{sum} bytes came through {most} on the disk");
    assert!(most > ROOM / 2 && most <= ROOM + (2 << 20), "{most} bytes");
}

/// Who asks for much and reads nothing costs what a socket does.
#[test]
fn readers_that_do_not_read_cost_little() {
    const READERS: usize = 40;
    let footage = Recipe::default().mp4().make();
    let archive = footage.archive_without(&[]);
    let seamline = Config::default().archive("primary", archive.path()).serve();
    let of = |nth: usize| clip_url(&seamline, noon((nth % 4) as f64), noon(60.0), "");
    fetched(&of(0));
    let before = seamline.resident();
    let readers: Vec<TcpStream> = (0..READERS)
        .map(|nth| {
            let url = of(nth);
            let path = &url[url.find("/get").unwrap()..];
            let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for nth in 0..4 {
        let head = curl(&of(nth), &["--head"]);
        assert!(!head.header("content-length").is_empty());
    }
    for mut reader in &readers {
        let mut first = [0; 4096];
        reader.read_exact(&mut first).unwrap();
    }
    let more = seamline.resident().saturating_sub(before);
    println!("{} KB a reader", more / 1024 / READERS as u64);
    assert!(
        more < (READERS as u64) * (256 << 10) + (16 << 20),
        "{more} bytes"
    );
    drop(readers);
    fetched(&of(1));
}

#[test]
fn what_means_nothing_is_told_and_what_is_not_there_too() {
    let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary());
    let seamline = scenario.serve();
    let base = format!("http://127.0.0.1:{}", seamline.port());
    let noon_text = iso(NOON_MS);
    for (query, status) in [
        ("path=gate".to_owned(), 400),
        (format!("path=gate&start={noon_text}"), 400),
        ("path=gate&start=yesterday&duration=1".to_owned(), 400),
        (format!("path=gate&start={noon_text}&duration=-1"), 400),
        (format!("path=gate&start={noon_text}&duration=0"), 400),
        (format!("path=gate&start={noon_text}&duration=NaN"), 400),
        (format!("path=gate&start={noon_text}&duration=inf"), 400),
        (format!("path=gate&start={noon_text}&duration=1e300"), 400),
        (
            format!("path=gate&start={noon_text}&duration=1&format=avi"),
            400,
        ),
        (
            format!("path=gate&start={noon_text}&duration=1&holes=fill"),
            400,
        ),
        (format!("path=gate&start={noon_text}&end={noon_text}"), 400),
        (
            "path=gate&start=9999-12-31T23:59:59Z&duration=1".to_owned(),
            404,
        ),
        (
            "path=gate&start=0000-01-01T00:00:00Z&duration=1".to_owned(),
            404,
        ),
        (
            "path=gate&start=1970-01-01T00:00:00Z&duration=60".to_owned(),
            404,
        ),
        (
            "path=gate&start=2026-01-01T09:00:00%2B01:00&duration=5".to_owned(),
            404,
        ),
        (format!("path=nowhere&start={noon_text}&duration=1"), 404),
        (format!("path=gate%00&start={noon_text}&duration=1"), 404),
        (format!("start={noon_text}&duration=1"), 400),
        (format!("path=gate&start={noon_text}&duration=10d"), 400),
    ] {
        let answer = curl(&format!("{base}/get?{query}"), &[]);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{query}: {body}");
        assert!(body.contains("\"error\""), "{query}: {body}");
    }
}

#[test]
fn lists_are_of_the_camera_and_not_of_a_site() {
    let primary = Recipe::default().mp4().make();
    let secondary = Recipe::secondary().mp4().make();
    // Ten seconds each; nobody has 30 s to 40 s.
    let first = primary.archive_without(&[noon(10.0), noon(30.0)]);
    let second = secondary.archive_without(&[noon(20.0), noon(30.0)]);
    let seamline = Config::default()
        .archive("primary", first.path())
        .archive("secondary", second.path())
        .serve();
    let base = format!("http://127.0.0.1:{}", seamline.port());
    let list = |query: &str| {
        let answer = curl(&format!("{base}/list?path=gate{query}"), &[]);
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, json)
    };
    let (status, all) = list("");
    assert_eq!(status, 200, "{all}");
    let seconds = |entry: &serde_json::Value| entry["duration"].as_f64().unwrap().round() as i64;
    let all = all.as_array().unwrap().clone();
    assert_eq!(
        all.iter().map(seconds).collect::<Vec<_>>(),
        [40, 30],
        "{all:?}"
    );
    // The URL that it names gives what it says, and its parameters are in the order of MediaMTX.
    let url = all[1]["url"].as_str().unwrap();
    let told = format!("{base}/get?duration=30&path=gate&start=2026-01-01T12%3A00%3A40Z");
    assert!(url.starts_with(&told), "{url}");
    // As clients of its older versions ask, by another zone's clock.
    let zone = url.replace("duration=30", "duration=0m30s");
    let zone = zone.replace("12%3A00%3A40Z", "14%3A00%3A40%2B02%3A00");
    assert_eq!(fetched(&zone).body, fetched(url).body);
    let clip = Clip::of(&fetched(url).body);
    clip.assert_clean();
    assert_eq!(clip.packets("v:0").len(), 750);

    let between = format!("&start={}&end={}", iso(noon(5.0)), iso(noon(15.0)));
    let (_, part) = list(&between);
    assert_eq!(part[0]["duration"], 10.0, "{part}");
    let hole = format!("&start={}&end={}", iso(noon(31.0)), iso(noon(39.0)));
    assert_eq!(list(&hole).0, 404);
    assert_eq!(list("&start=now").0, 400);
}
