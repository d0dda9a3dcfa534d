//! Clips over HTTP: one file across gaps and sites, the same bytes whoever asks, whenever, and at whichever replica.

mod content;
mod resumes;
mod spool;

use std::time::Duration;

use seamline_tests::{
    clock::{iso, monotonic, noon},
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
