//! What is in a clip: seams, holes, orders of pictures, sites that die while it is made; and what is no clip.

use std::{fs, thread, time::Duration};

use seamline_tests::{
    clock::{FRAME_MS, NOON_MS, iso, monotonic, noon},
    curl::{Clip, curl},
    footage::Recipe,
    recorder::Setup,
    seamline::Config,
};

use crate::{SOON, Scenario, clip_url, fetched, shown};

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
