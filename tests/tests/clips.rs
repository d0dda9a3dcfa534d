//! Recorders that hand out MP4 over HTTP, beside others: seams, outages in mid body, backwards.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    recorder,
    report::judge,
    seamline::Config,
    vendor::Setup,
};

const SOON: Duration = Duration::from_secs(60);

/// FFmpeg from `from` to `to` seconds after noon; panics unless it shows the sites in this order and nothing is missing, repeated
/// or damaged.
fn assert_seamless(
    config: &Config,
    (from, to): (f64, f64),
    sites: &[(&str, &Footage)],
    order: &[&str],
) {
    let seamline = config.serve();
    let end = noon(to);
    let mut player = Player::ffmpeg(&seamline.url_from(noon(from), Some(end)));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, sites);
    println!("{report}");
    report.assert_seamless();
    assert_eq!(report.sites(), order, "{report}");
    let last = report.runs.last().map(|run| run.last);
    assert_eq!(last, Some(end - FRAME_MS), "{report}");
    assert_eq!(player.errors, [""; 0]);
}

#[test]
fn mediamtx_and_a_replay_recorder_fill_each_others_gaps() {
    let (primary, secondary) = (
        Recipe::default().with_audio("aac").make(),
        Recipe::secondary().with_audio("aac").make(),
    );
    // It ends what it hands out at its gap, without a word.
    let first = Setup::of("mediamtx")
        .with_audio()
        .without(noon(4.0), noon(9.6))
        .user("viewer", "s3cret")
        .start(&primary);
    let second = recorder::Setup::default().start(&secondary);
    let config = Config::default()
        .policy("failback", "at-seam")
        .vendor("primary", &first)
        .credentials("viewer", "s3cret")
        .site("secondary", &second);
    let sites = [("primary", &primary), ("secondary", &secondary)];
    assert_seamless(
        &config,
        (2.4, 15.0),
        &sites,
        &["primary", "secondary", "primary"],
    );
    let asked = first.played();
    assert!(
        asked
            .iter()
            .any(|path| path.starts_with("/get?") && path.contains("520000321Z")),
        "{asked:?}"
    );

    // The other way round: what it has in front of the wanted start has no times of its own.
    let first = recorder::Setup::default()
        .without(noon(4.0), noon(9.6))
        .start(&primary);
    let second = Setup::of("mediamtx").with_audio().start(&secondary);
    let config = Config::default()
        .policy("failback", "at-seam")
        .site("primary", &first)
        .vendor("secondary", &second);
    assert_seamless(
        &config,
        (2.4, 15.0),
        &sites,
        &["primary", "secondary", "primary"],
    );
}

#[test]
fn a_body_that_breaks_off_goes_on_at_the_other_site_with_the_next_picture() {
    // What lies in the kernel's buffers is played on; that much of it is only seconds.
    let rich = Recipe {
        bitrate: 4_000,
        ..Recipe::default()
    };
    let (primary, secondary) = (rich.make(), Recipe::secondary().make());
    for kind in ["mediamtx", "hls"] {
        let mut first = Setup::of(kind).start(&primary);
        let second = recorder::Setup::default().start(&secondary);
        let seamline = Config::default()
            .vendor("primary", &first)
            .site("secondary", &second)
            .serve();
        let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(30.0))));
        player.watch_until(noon(6.0), SOON);
        first.kill();
        player.watch_to_end(SOON);
        let sites = [("primary", &primary), ("secondary", &secondary)];
        let report = judge(&player.pictures, &sites);
        println!("{kind}: {report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary"], "{report}");
        let last = report.runs.last().map(|run| run.last);
        assert_eq!(last, Some(noon(30.0) - FRAME_MS), "{report}");
        assert_eq!(player.errors, [""; 0]);
        seamline.await_log(&["leg failed", "primary"], SOON);
    }
}

#[test]
fn segments_and_a_regional_seamline_fill_each_others_gaps() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    let first = Setup::of("hls")
        .without(noon(4.0), noon(9.6))
        .start(&primary);
    // The region holds the gap, and has a hole of its own that it knows of.
    let second = recorder::Setup::default()
        .without(noon(12.0), noon(14.0))
        .start(&secondary);
    let device = seamline_tests::onvif::Setup::default().start(&second);
    let region = Config::default().onvif("region", &device).serve();
    let config = Config::default()
        .policy("failback", "at-seam")
        .vendor("primary", &first)
        .region("secondary", &region);
    assert_seamless(
        &config,
        (2.4, 18.0),
        &[("primary", &primary), ("secondary", &secondary)],
        &["primary", "secondary", "primary"],
    );
}
