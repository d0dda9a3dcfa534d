//! Sites whose recordings differ: another codec, another sound, sound at one of them only.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, NOON_MS, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    recorder::{Recorder, Setup},
    report::judge,
    seamline::{Config, Seamline},
    stream::{Onvif, assert_one_stream, uneven_steps, units},
};

/// Late enough that the stay at the primary, from 9.52 s on, is worth the seam.
const END: i64 = NOON_MS + 11_800;

const SOON: Duration = Duration::from_secs(30);

/// A primary without 4 s to 8 s, which comes back with its key frame at 9.52 s, and a secondary that holds everything.
struct Scenario {
    footage: [Footage; 2],
    // Dropped, they end.
    _recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new(primary: &Recipe, secondary: &Recipe, config: Config) -> Self {
        let footage = [primary.make(), secondary.make()];
        let first = Setup::default()
            .without(noon(4.0), noon(8.0))
            .start(&footage[0]);
        let second = Setup::default().start(&footage[1]);
        let config = config.policy("failback", "at-seam");
        let seamline = config
            .site("primary", &first)
            .site("secondary", &second)
            .serve();
        Self {
            footage,
            _recorders: [first, second],
            seamline,
        }
    }

    /// Plays it as fast as it goes, over all tracks.
    fn probe(&self, from: f64) -> Probe {
        let mut probe = Probe::open(&self.seamline.url());
        let reply = probe.play(noon(from), Some(END), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
        probe.receive_to_end(SOON);
        probe
    }

    fn sites(&self) -> [(&'static str, &Footage); 2] {
        [
            ("primary", &self.footage[0]),
            ("secondary", &self.footage[1]),
        ]
    }
}

#[test]
fn another_codec_ends_playback_or_is_passed_over() {
    for (policy, ended) in [("end", true), ("skip", false)] {
        let config = Config::default().policy("mismatch", policy);
        let scenario = Scenario::new(&Recipe::default(), &Recipe::secondary().h265(), config);
        let mut player =
            Player::onvif_unpaced(&scenario.seamline.url(), noon(2.0), Some(noon(12.0)));
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, &scenario.sites());
        println!("{report}");
        report.assert_whole_and_forward();
        assert_eq!(report.sites(), ["primary"], "{policy}");
        let refusal = scenario
            .seamline
            .await_log(&["leg failed", "secondary"], SOON);
        assert!(refusal.contains("H265 there, H264 here"), "{refusal}");
        if ended {
            assert_eq!(report.runs[0].last, noon(4.0) - FRAME_MS, "{report}");
            scenario
                .seamline
                .await_log(&["ended", "format differs"], SOON);
        } else {
            assert_eq!(
                report.skips,
                [(noon(4.0) - FRAME_MS, noon(9.52))],
                "{report}"
            );
        }
    }
}

#[test]
fn aac_goes_on_over_a_planned_seam() {
    let scenario = Scenario::new(
        &Recipe::default().with_audio("aac"),
        &Recipe::secondary().with_audio("aac"),
        Config::default(),
    );
    // The first play learns of the gap.
    scenario.probe(1.0);
    let probe = scenario.probe(2.0);
    for track in &probe.tracks {
        assert_one_stream(track);
    }
    assert_eq!(uneven_steps(&units(&probe.tracks[0]), FRAME_MS), []);
    let captures: Vec<_> = units(&probe.tracks[1])
        .iter()
        .filter_map(|unit| unit.capture_ms)
        .collect();
    // 1024 samples at 16 kHz; at a seam two recorders' frames meet as they lie.
    let steps: Vec<_> = captures.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        steps.iter().all(|step| (1..=128).contains(step)),
        "{steps:?}"
    );
    let odd = steps
        .iter()
        .filter(|step| !(63..=65).contains(*step))
        .count();
    assert!(odd <= 2, "{odd} uneven steps for two seams");
    assert!(captures[0] <= noon(2.0) && captures[captures.len() - 1] > END - 130);

    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &scenario.sites());
    report.assert_seamless();
    assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
    assert_eq!(player.errors, [""; 0]);
}

#[test]
fn sound_that_only_the_primary_has_goes_silent_and_comes_back() {
    // None at all, and one of another codec.
    for audio in ["none", "aac"] {
        let scenario = Scenario::new(
            &Recipe::default().with_audio("g711"),
            &Recipe::secondary().with_audio(audio),
            Config::default(),
        );
        scenario.probe(1.0);
        let probe = scenario.probe(2.0);
        for track in &probe.tracks {
            assert_one_stream(track);
        }
        assert_eq!(
            uneven_steps(&units(&probe.tracks[0]), FRAME_MS),
            [],
            "{audio}"
        );
        let sounds = units(&probe.tracks[1]);
        let captures: Vec<_> = sounds.iter().filter_map(|unit| unit.capture_ms).collect();
        let silences: Vec<_> = captures
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 100)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        assert_eq!(silences.len(), 1, "{audio}: {silences:?}");
        let (last, next) = silences[0];
        // The seam is at 3.72 s. The recorder sends its sound up to two seconds behind the picture it belongs to.
        let expected = (noon(1.52) / 20..=noon(3.7) / 20).map(|n| n * 20);
        let missing: Vec<_> = expected.filter(|at| !captures.contains(at)).collect();
        assert_eq!((last, missing), (noon(3.7), vec![]), "{audio}");
        assert!(
            (noon(9.5)..noon(9.62)).contains(&next),
            "{audio}: back at {next}"
        );
        // The picture goes on: no T on the sound, and the first sound behind the silence starts a talk spurt.
        let terminal = sounds
            .iter()
            .filter(|unit| unit.onvif.is_some_and(Onvif::terminal));
        assert!(terminal.count() <= 1);
        let back = probe.tracks[1]
            .iter()
            .find(|packet| packet.onvif.is_some_and(|onvif| onvif.capture_ms == next))
            .expect("the packet behind the silence");
        assert!(back.marker, "no marker behind the silence");
        // Paced, the clocks of both tracks keep together: the silence lasts as long on the wire as in the footage.
        let mut paced = Probe::open(&scenario.seamline.url());
        assert_eq!(paced.play(noon(3.0), Some(END), &[]).status, 200);
        paced.receive_to_end(SOON);
        let sounds = units(&paced.tracks[1]);
        let pair = sounds
            .windows(2)
            .find(|pair| pair[1].capture_ms > pair[0].capture_ms.map(|at| at + 100))
            .expect("the silence");
        let ticks = pair[1].rtp_time.wrapping_sub(pair[0].rtp_time);
        let footage = pair[1]
            .capture_ms
            .zip(pair[0].capture_ms)
            .map(|(b, a)| b - a);
        assert!(
            footage.is_some_and(|ms| (ms * 8).abs_diff(i64::from(ticks)) < 400),
            "{footage:?} ms are {ticks} ticks"
        );
    }
}

#[test]
fn sound_that_only_the_secondary_has_is_left_out() {
    let scenario = Scenario::new(
        &Recipe::default(),
        &Recipe::secondary().with_audio("g711"),
        Config::default(),
    );
    let probe = scenario.probe(2.0);
    assert_eq!(probe.tracks.len(), 1);
    assert_eq!(
        probe.tracks[0][0].payload_type,
        probe.tracks[0][probe.tracks[0].len() - 1].payload_type
    );
    assert_one_stream(&probe.tracks[0]);
}
