//! Tracks besides H.264, H.265, AAC and G.711 over a planned seam: MJPEG of two encoders, Opus.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, NOON_MS, iso, monotonic, noon},
    footage::{Footage, Recipe},
    player::Player,
    probe::Probe,
    program::{Event, Program, START_WITHIN},
    recorder::{Recorder, Setup},
    report::{Report, judge},
    seamline::{Config, Seamline},
    stream::{assert_one_stream, assert_stamped, uneven_steps, units},
};

/// Late enough that the stay at the primary, from 8 s on, is worth the seam.
const END: i64 = NOON_MS + 11_800;

const SOON: Duration = Duration::from_secs(30);

/// A primary without 4 s to 8 s and a secondary that holds everything, played once so that the gap is known.
struct Scenario {
    footage: [Footage; 2],
    // Dropped, they end.
    _recorders: [Recorder; 2],
    seamline: Seamline,
}

impl Scenario {
    fn new(recipes: [&Recipe; 2], setup: &Setup) -> Self {
        let footage = recipes.map(Recipe::make);
        let first = setup
            .clone()
            .without(noon(4.0), noon(8.0))
            .start(&footage[0]);
        let second = setup.start(&footage[1]);
        let seamline = Config::default()
            .policy("failback", "at-seam")
            .site("primary", &first)
            .site("secondary", &second)
            .serve();
        let scenario = Self {
            footage,
            _recorders: [first, second],
            seamline,
        };
        scenario.probe(1.0);
        scenario
    }

    /// Plays it as fast as it goes, over all tracks.
    fn probe(&self, from: f64) -> Probe {
        let mut probe = Probe::open(&self.seamline.url());
        let reply = probe.play(noon(from), Some(END), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
        probe.receive_to_end(SOON);
        probe
    }

    fn judge(&self, player: &Player) -> Report {
        let sites = [
            ("primary", &self.footage[0]),
            ("secondary", &self.footage[1]),
        ];
        let report = judge(&player.pictures, &sites);
        println!("{report}");
        report.assert_seamless();
        assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
        assert_eq!(player.errors, [""; 0]);
        report
    }
}

#[test]
fn mjpeg_is_cut_at_any_picture_and_decoded_with_its_own_tables() {
    let recipes = [&Recipe::default().mjpeg("4"), &Recipe::default().mjpeg("9")];
    let scenario = Scenario::new(recipes, &Setup::default());
    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    let report = scenario.judge(&player);
    // Every picture is a clean point: the secondary takes over where the primary ends.
    assert!(report.runs[1].first >= noon(4.0) - FRAME_MS, "{report}");
    assert_eq!(report.runs[2].first, noon(8.0));
    assert_eq!(report.runs[2].last, END - FRAME_MS);

    let mut player = Player::gstreamer(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    scenario.judge(&player);

    let mut player = Player::onvif_unpaced(&scenario.seamline.url(), noon(2.0), None);
    player.watch_until(END, SOON);
    scenario.judge(&player);
    for picture in &player.pictures {
        assert_eq!(
            picture.capture_ms.map(|ms| ms.round() as i64),
            picture.clock_ms
        );
    }

    let probe = scenario.probe(2.0);
    assert_one_stream(&probe.tracks[0]);
    assert_stamped(&probe.tracks[0], probe.client.cseq());
    let clean = |unit: &seamline_tests::stream::Unit| {
        unit.onvif
            .is_some_and(seamline_tests::stream::Onvif::clean_point)
    };
    assert!(units(&probe.tracks[0]).iter().all(clean));
}

#[test]
fn mjpeg_of_an_archive_continues_that_of_a_recorder() {
    let (primary, files) = (
        Recipe::default().mjpeg("4"),
        Recipe::default().mjpeg("9").mp4(),
    );
    let (primary, files) = (primary.make(), files.make());
    let first = Setup::default()
        .without(noon(4.0), noon(8.0))
        .start(&primary);
    let folder = files.archive_without(&[]);
    let seamline = Config::default()
        .policy("failback", "at-seam")
        .site("primary", &first)
        .archive("secondary", folder.path())
        .serve();
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), Some(END));
    player.watch_to_end(SOON);
    let report = judge(
        &player.pictures,
        &[("primary", &primary), ("secondary", &files)],
    );
    println!("{report}");
    report.assert_seamless();
    assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
    assert_eq!(player.errors, [""; 0]);
}

#[test]
fn opus_goes_on_over_a_planned_seam() {
    let recipes = [
        &Recipe::default().with_audio("opus"),
        &Recipe::secondary().with_audio("opus"),
    ];
    let scenario = Scenario::new(recipes, &Setup::default());
    let probe = scenario.probe(2.0);
    assert!(
        probe.sdp.to_lowercase().contains("opus/48000/2"),
        "{}",
        probe.sdp
    );
    for track in &probe.tracks {
        assert_one_stream(track);
        assert_stamped(track, probe.client.cseq());
    }
    assert_eq!(uneven_steps(&units(&probe.tracks[0]), FRAME_MS), []);
    let sounds = units(&probe.tracks[1]);
    let captures: Vec<_> = sounds.iter().filter_map(|unit| unit.capture_ms).collect();
    let steps: Vec<_> = captures.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Frames of 20 ms; at a seam two recorders' frames meet as they lie.
    assert!(
        steps.iter().all(|step| (0..=40).contains(step)),
        "{steps:?}"
    );
    let odd = steps.iter().filter(|step| !(19..=21).contains(*step));
    assert!(odd.count() <= 4, "{steps:?}");
    assert!(captures[0] <= noon(2.1) && captures[captures.len() - 1] > END - 60);

    let mut player = Player::ffmpeg(&scenario.seamline.url_from(noon(2.0), Some(END)));
    player.watch_to_end(SOON);
    scenario.judge(&player);
}

/// A recorder of metadata alone.
fn metadata(site: &str, hidden: Option<(i64, i64)>) -> (Program, String) {
    let mut arguments = vec![site.to_owned(), format!("--start={}", iso(noon(-5.0)))];
    arguments.extend(hidden.map(|(from, to)| format!("--hide={},{}", iso(from), iso(to))));
    let program = Program::lab("metadata_recorder.py", &arguments);
    match program.event_until(monotonic() + START_WITHIN) {
        Some(Event::Ready { url, .. }) => (program, url.replace("cam1", "{camera}")),
        other => panic!("the recorder did not start: {other:?}"),
    }
}

#[test]
fn documents_of_metadata_are_never_cut() {
    let (_first, primary) = metadata("primary", Some((noon(4.0), noon(8.0))));
    let (_second, secondary) = metadata("secondary", None);
    let seamline = Config::default()
        .policy("failback", "at-seam")
        .site_at("primary", &primary, 0)
        .site_at("secondary", &secondary, 0)
        .serve();
    // The first play learns of the gap.
    let mut known = false;
    for _ in 0..2 {
        let mut probe = Probe::open(&seamline.url());
        assert!(
            probe.sdp.contains("vnd.onvif.metadata/90000"),
            "{}",
            probe.sdp
        );
        let reply = probe.play(noon(2.0), Some(END), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
        probe.receive_to_end(SOON);
        let track = &probe.tracks[0];
        assert_one_stream(track);
        assert_stamped(track, probe.client.cseq());
        let mut text = String::new();
        let mut documents: Vec<(String, i64)> = Vec::new();
        for packet in track {
            text += std::str::from_utf8(&packet.payload).expect("text");
            if packet.marker {
                let whole = std::mem::take(&mut text);
                assert!(whole.starts_with("<tt:MetadataStream "), "{whole}");
                assert!(whole.ends_with("</tt:MetadataStream>"), "{whole}");
                assert_eq!(whole.matches("<tt:Frame ").count(), 1, "{whole}");
                let site = whole.split("Source=\"").nth(1).expect("a source");
                let site = site.split('"').next().unwrap_or_default().to_owned();
                let capture = packet.onvif.expect("stamped").capture_ms;
                assert!(whole.contains(&iso(capture)), "{whole} at {}", iso(capture));
                documents.push((site, capture));
            }
        }
        assert!(text.is_empty(), "a document without its end: {text}");
        let steps = documents.windows(2).map(|pair| pair[1].1 - pair[0].1);
        let missing = steps.clone().filter(|step| *step > 100).count();
        assert_eq!(missing, 0, "{documents:?}");
        if known {
            assert!(steps.clone().all(|step| step == 100), "{documents:?}");
            let mut sites: Vec<&str> = documents.iter().map(|(site, _)| site.as_str()).collect();
            sites.dedup();
            assert_eq!(sites[..2], ["primary", "secondary"]);
        }
        known = true;
    }
}
