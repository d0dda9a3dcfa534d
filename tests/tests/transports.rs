//! Every way to carry RTSP and its media: the same pictures, over a seam, to players that this project did not write.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Recorder, Setup},
    report::judge,
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(30);

/// A primary without 4 s to 8 s, and a secondary that holds everything.
struct Scenario {
    primary: Footage,
    secondary: Footage,
    // Dropped, they end.
    _recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new(config: Config) -> Self {
        let (primary, secondary) = (Recipe::default().make(), Recipe::secondary().make());
        let first = Setup::default()
            .without(noon(4.0), noon(8.0))
            .start(&primary);
        let second = Setup::default().start(&secondary);
        let config = config.policy("failback", "never");
        let seamline = config
            .site("primary", &first)
            .site("secondary", &second)
            .serve();
        // Played once, as fast as it goes: afterwards the index knows the gap.
        let mut probe = Probe::open(&seamline.url());
        let reply = probe.play(noon(1.0), Some(noon(7.0)), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
        probe.receive_to_end(SOON);
        Self {
            primary,
            secondary,
            _recorders: [first, second],
            seamline,
        }
    }

    /// The camera from 2 s to 6 s, over the seam.
    fn url(&self, scheme: &str) -> String {
        let url = self.seamline.url_from(noon(2.0), Some(noon(6.0)));
        url.replacen("rtsp:", &format!("{scheme}:"), 1)
    }

    /// Panics unless the player shows every picture of the window once and ends.
    fn assert_plays(&self, name: &str, mut player: Player) {
        player.watch_to_end(SOON);
        let report = judge(
            &player.pictures,
            &[("primary", &self.primary), ("secondary", &self.secondary)],
        );
        println!("{name}\n{report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary"], "{name}");
        assert!(report.runs[0].first <= noon(2.0), "{name}");
        assert_eq!(report.runs[1].last, noon(6.0) - FRAME_MS, "{name}");
        assert_eq!(player.errors, [""; 0], "{name}");
    }
}

#[test]
fn inside_tls_players_see_no_seam() {
    let scenario = Scenario::new(Config::default().tls());
    let url = scenario.url("rtsps");
    scenario.assert_plays("FFmpeg", Player::ffmpeg(&url));
    scenario.assert_plays("GStreamer", Player::gstreamer_over("tcp", &url));
    // The same port still speaks plainly.
    scenario.assert_plays("FFmpeg, plain", Player::ffmpeg(&scenario.url("rtsp")));
}
