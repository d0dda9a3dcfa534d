//! Parts of a clip and the rest of one: ranges, tags, the index; never bytes of one file behind those of another.

use std::{fs, ops::Range, process::Command};

use seamline_tests::{
    clock::{FRAME_MS, noon},
    curl::{Clip, curl},
    footage::Recipe,
    player::Player,
    recorder::Setup,
    seamline::{Config, Seamline},
};

use crate::{SOON, Scenario, clip_url, fetched, finished, shown};

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
        fs::write(&file, &whole.body[..len / 3]).unwrap();
        let resumed = Command::new("curl")
            .args(["--silent", "--fail", "-C", "-", "-o"])
            .arg(&file)
            .arg(of(seamline))
            .status()
            .unwrap();
        assert!(resumed.success());
        assert!(fs::read(&file).unwrap() == whole.body, "other bytes");
    }
}

/// The boxes of a file: where each lies, and its name.
fn boxes(file: &[u8]) -> Vec<(Range<usize>, String)> {
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
fn references(file: &[u8], index: Range<usize>) -> Vec<Range<usize>> {
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
    let output = Command::new("ffmpeg")
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
        let names = |boxes: &[(Range<usize>, String)]| -> Vec<String> {
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
        let resumed = Command::new("curl")
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
