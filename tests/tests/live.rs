//! What a camera sees now: relayed from the best site, and from the other one when that dies.

use std::time::Duration;

use seamline_tests::{
    clock::{monotonic, noon},
    footage::Recipe,
    player::Player,
    recorder::Setup,
    report::judge,
    seamline::Config,
};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_live_picture_outlives_its_site() {
    let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
    // Both play their first minute as if it were now.
    let cameras: Vec<_> = [&primary, &secondary]
        .into_iter()
        .map(|footage| {
            let mut recorder = Setup::default().start(footage);
            recorder.tell("wrong live");
            recorder
        })
        .collect();
    let [mut first, second] = <[_; 2]>::try_from(cameras).expect("two sites");
    let seamline = Config::default()
        .alias("hikvision:101")
        .site("primary", &first)
        .recorder("live", first.template())
        .site("secondary", &second)
        .recorder("live", second.template())
        .serve();
    let url = seamline.url_of("Streaming/Channels/101");
    let mut player = Player::ffmpeg(&url);
    let enough = |player: &Player| player.pictures.len() >= 75;
    assert!(
        player.watch(SOON, enough),
        "{:?} {:?}",
        player.end,
        player.errors
    );
    first.kill();
    let killed = monotonic();
    let shown = player.pictures.len();
    let enough = |player: &Player| player.pictures.len() >= shown + 75;
    assert!(
        player.watch(SOON, enough),
        "{:?} {:?}",
        player.end,
        player.errors
    );
    println!(
        "75 pictures more within {:?}",
        monotonic().saturating_sub(killed)
    );
    let report = judge(
        &player.pictures,
        &[("primary", &primary), ("secondary", &secondary)],
    );
    println!("{report}");
    assert_eq!(report.sites(), ["primary", "secondary"], "{report}");
    assert_eq!(report.damaged, [""; 0], "{report}");
    assert_eq!(player.errors, [""; 0]);
    // A group of pictures of the other site, and what it takes to ask for it.
    assert!(report.stall.0 < Duration::from_secs(3), "{report}");
    assert!(report.runs[0].first < noon(0.0), "{report}");
}
