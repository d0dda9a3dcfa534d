//! Clients that were set up for a vendor's recorder, of which only the host was changed.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, iso, noon},
    footage::Recipe,
    player::Player,
    recorder::Setup,
    report::judge,
    seamline::Config,
};

const SOON: Duration = Duration::from_secs(30);
const GUID: &str = "1d0e4b0e-9c4f-4f53-8ac0-0123456789ab";

/// `2026-01-01T12:00:02.000Z` as vendors write it: its digits, joined by these.
fn written(ms: i64, separators: [&str; 3], end: &str) -> String {
    let [date, middle, time] = separators;
    let iso = iso(ms);
    let (day, clock) = iso.split_at(10);
    let clock = clock[1..9].replace(':', time);
    format!("{}{middle}{clock}{end}", day.replace('-', date))
}

#[test]
fn ffmpeg_plays_every_vendors_url_over_a_seam() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let first = Setup::default()
        .without(noon(4.0), noon(20.0))
        .start(&primary);
    let second = Setup::default().start(&secondary);
    let seamline = Config::default()
        .site("primary", &first)
        .site("secondary", &second)
        .alias("hikvision:101")
        .alias("dahua:1")
        .alias("tvt:3")
        .alias("vivotek:127.0.0.1")
        .alias(&format!("nx:{GUID}"))
        .alias(&format!("genetec:{GUID}"))
        .camera("zone", "Asia/Shanghai")
        .serve();
    let (start, end) = (noon(2.0), noon(6.0));
    let east = 8 * 3_600_000;
    let compact = |ms| written(ms, ["", "T", ""], "Z");
    let dashed = |ms| written(ms, ["-", "T", ":"], "Z");
    let lined = |ms| written(ms + east, ["_", "_", "_"], "");
    let vivotek = |ms| written(ms, ["", "_", ""], ".000");
    let paths = [
        format!(
            "Streaming/tracks/101?starttime={}&endtime={}",
            compact(start),
            compact(end)
        ),
        format!(
            "cam/playback?channel=1&subtype=0&starttime={}&endtime={}",
            lined(start),
            lined(end)
        ),
        format!(
            "rtsp/playback?channel=3&subtype=0&starttime={}&endtime={}",
            dashed(start),
            dashed(end)
        ),
        format!("mod.sdp?stime={}&length=4&loctime=0", vivotek(start)),
        format!("{GUID}?pos={start}&endPos={end}"),
        format!(
            "{GUID}/playback?range=clock={}-{}",
            compact(start),
            compact(end)
        ),
    ];
    for path in &paths {
        let mut player = Player::ffmpeg(&seamline.url_of(path));
        player.watch_to_end(SOON);
        let report = judge(
            &player.pictures,
            &[("primary", &primary), ("secondary", &secondary)],
        );
        println!("{path}\n{report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary"], "{path}");
        // From the key frame before the start to the picture before the end.
        let (shown, last) = (
            report.runs.first().map(|run| run.first),
            report.runs.last().map(|run| run.last),
        );
        assert_eq!((shown, last), (Some(noon(1.52)), Some(end - FRAME_MS)));
        assert_eq!(player.errors, [""; 0], "{path}");
    }
    // Who asks by `Range` gets what the URL says: it is the vendor's recorder that is spoken to.
    let hour = format!("{GUID}?pos={start}&endPos={end}");
    let mut player = Player::onvif_unpaced(&seamline.url_of(&hour), noon(30.0), None);
    player.watch_to_end(SOON);
    let clocks = player
        .pictures
        .iter()
        .filter_map(|picture| picture.clock_ms);
    assert_eq!(clocks.max(), Some(end - FRAME_MS));
    // Without a time in the URL it is a live one, unless the client names a time: then no other is shown.
    let mut player = Player::onvif_unpaced(&seamline.url_of(GUID), start, Some(end));
    player.watch_to_end(SOON);
    let clocks: Vec<_> = player
        .pictures
        .iter()
        .filter_map(|picture| picture.clock_ms)
        .collect();
    assert_eq!(
        clocks.last(),
        Some(&(end - FRAME_MS)),
        "{:?}",
        player.errors
    );
    assert!(clocks.iter().all(|clock| *clock >= noon(1.52)));
}
