//! Recorders that list by SOAP: seams are exact at first sight, addresses and credentials are the device's own affair.

use std::time::Duration;

use seamline_tests::{
    clock::{FRAME_MS, iso, noon},
    footage::{Footage, Recipe},
    onvif::{Asked, Device, Setup as Soap},
    player::Player,
    recorder::{Recorder, Setup},
    report::judge,
    rtsp::Client,
    seamline::{Config, Seamline},
};

const SOON: Duration = Duration::from_secs(30);
const END: f64 = 11.8;

/// A site: a device with a recorder behind it.
struct Site {
    footage: Footage,
    device: Device,
    recorder: Recorder,
}

fn site(recipe: &Recipe, setup: &Setup, soap: Soap) -> Site {
    let footage = recipe.make();
    let recorder = setup.start(&footage);
    Site {
        footage,
        device: soap.start(&recorder),
        recorder,
    }
}

/// A primary without 4 s to 8 s, which comes back with its next key frame at 9.52 s.
fn primary(soap: Soap) -> Site {
    let setup = Setup::default().without(noon(4.0), noon(8.0));
    site(&Recipe::default(), &setup, soap)
}

/// A secondary without 12 s to 16 s.
fn secondary(soap: Soap) -> Site {
    let setup = Setup::default().without(noon(12.0), noon(16.0));
    site(&Recipe::secondary(), &setup, soap)
}

/// Plays over the primary's gap with a player that cannot wait, as the first one ever; panics unless it saw primary,
/// secondary and primary without a fault.
fn assert_spliced(config: &Config, primary: &Site, secondary: &Site) -> Seamline {
    let seamline = config.serve();
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(END))));
    player.watch_to_end(SOON);
    let sites = [
        ("primary", &primary.footage),
        ("secondary", &secondary.footage),
    ];
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    report.assert_seamless();
    assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
    // The secondary's last key frame before the gap, the primary's first one after it.
    assert_eq!(report.runs[1].first, noon(3.72));
    assert_eq!(report.runs[2].first, noon(9.52));
    assert_eq!(report.runs[2].last, noon(END) - FRAME_MS);
    assert_eq!(player.errors, [""; 0]);
    seamline
}

fn proofs(asked: &[Asked], proof: &str) -> usize {
    asked.iter().filter(|asked| asked.proof == proof).count()
}

#[test]
fn what_is_listed_is_joined_exactly_at_first_sight() {
    // One that names addresses which lead nowhere, pages by one and wants Digest; one that has everything otherwise.
    let soap = Soap::default().quirk("leak").page(1);
    let first = site(
        &Recipe::default(),
        &Setup::default()
            .without(noon(4.0), noon(8.0))
            .user("viewer", "s3cret"),
        soap.user("viewer", "s3cret", "digest"),
    );
    let odd = ["dialect", "descending", "whole-scope", "old"];
    let odd = odd
        .iter()
        .fold(Soap::default(), |soap, quirk| soap.quirk(quirk));
    let second = secondary(odd);
    let config = Config::default()
        .policy("failback", "at-seam")
        .onvif("primary", &first.device)
        .credentials("viewer", "s3cret")
        .onvif("secondary", &second.device);
    assert_spliced(&config, &first, &second);
    let asked = first.device.asked();
    assert!(
        asked
            .iter()
            .any(|asked| asked.operation == "GetEventSearchResults")
    );
    let refused = asked.iter().filter(|asked| asked.status == 401).count();
    assert_eq!(refused, 1, "challenged once: {asked:?}");
    assert_eq!(proofs(&asked, "token"), 0);
}

#[test]
fn segments_and_tokens_and_an_address_of_yesterday() {
    let soap = Soap::default()
        .quirk("segments")
        .page(1)
        .clock_ahead_ms(3_600_000);
    let first = primary(soap.user("viewer", "s3cret", "token"));
    let second = secondary(Soap::default().quirk("stale-uri"));
    let config = Config::default()
        .policy("failback", "at-seam")
        .onvif("primary", &first.device)
        .credentials("viewer", "s3cret")
        .onvif("secondary", &second.device);
    assert_spliced(&config, &first, &second);
    let asked = first.device.asked();
    assert!(
        asked
            .iter()
            .any(|asked| asked.operation == "ListRecordedSegments")
    );
    assert!(!asked.iter().any(|asked| asked.operation == "FindEvents"));
    assert!(proofs(&asked, "token") > 0 && proofs(&asked, "digest") == 0);
}

#[test]
fn a_device_that_shows_no_gaps_is_found_out_by_playing() {
    let first = primary(Soap::default().quirk("synthetic"));
    let second = secondary(Soap::default().quirk("no-search"));
    let config = Config::default()
        .policy("failback", "at-seam")
        .onvif("primary", &first.device)
        .onvif("secondary", &second.device);
    let seamline = config.serve();
    let mut player = Player::onvif_unpaced(&seamline.url(), noon(2.0), None);
    player.watch_until(noon(END), SOON);
    let sites = [("primary", &first.footage), ("secondary", &second.footage)];
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    report.assert_nothing_lost(Duration::from_secs(1));
    assert_eq!(report.sites()[..2], ["primary", "secondary"]);
}

#[test]
fn what_nobody_lists_is_looked_over_ahead_and_joined_exactly_at_first_sight() {
    // It answers no search, and holds a hole; the other one neither.
    let first = primary(Soap::default().quirk("no-search"));
    let second = secondary(Soap::default().quirk("no-search"));
    let config = Config::default()
        .policy("failback", "at-seam")
        .onvif("primary", &first.device)
        .onvif("secondary", &second.device);
    let by_soap = assert_spliced(&config, &first, &second);
    // A recorder without SOAP, where it is wished for.
    let config = Config::default()
        .policy("failback", "at-seam")
        .policy("sweep", "1m")
        .site("primary", &first.recorder)
        .site("secondary", &second.recorder);
    let alone = assert_spliced(&config, &first, &second);
    for seamline in [by_soap, alone] {
        let log = seamline.log();
        let line = |words: &[&str]| {
            let says = |line: &String| words.iter().all(|word| line.contains(word));
            let found = log.iter().position(says);
            found.unwrap_or_else(|| panic!("no line with {words:?}"))
        };
        let from = "from=2026-01-01T12:00:04.000Z to=2026-01-01T12:00:09.520Z";
        let found = line(&["gap found ahead", "primary", from]);
        assert!(found < line(&["route", "to=\"secondary\""]), "{log:?}");
    }
}

#[test]
fn where_the_codec_of_a_recording_changes_is_known_ahead() {
    // It lists all of it, and what comes from 6 s on is no H.264.
    let footage = Recipe::default().make();
    let recorder = Setup::default()
        .without(noon(6.0), noon(70.0))
        .start(&footage);
    let spans = "spans=2026-01-01T11:59:50Z/2026-01-01T12:01:10Z";
    let change = iso(noon(6.0));
    let described = format!("token=REC1,encoding=H264+{change}+H265,{spans}");
    let device = Soap::default().recording(&described).start(&recorder);
    let second = secondary(Soap::default());
    let config = Config::default().onvif("primary", &device);
    let seamline = config.clone().onvif("secondary", &second.device).serve();
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(END))));
    player.watch_to_end(SOON);
    let sites = [("primary", &footage), ("secondary", &second.footage)];
    let report = judge(&player.pictures, &sites);
    println!("{report}");
    report.assert_seamless();
    assert_eq!(report.sites(), ["primary", "secondary"]);
    // The other one's last key frame before the change.
    assert_eq!(report.runs[1].first, noon(5.72));
    // Where nobody has it in the session's codec, that is the end and its reason.
    let seamline = config.serve();
    let mut player = Player::ffmpeg(&seamline.url_from(noon(2.0), Some(noon(END))));
    player.watch_to_end(SOON);
    let report = judge(&player.pictures, &sites);
    assert_eq!(report.sites(), ["primary"]);
    assert_eq!(report.runs[0].last, noon(6.0) - FRAME_MS);
    seamline.await_log(&["ended", "format differs"], SOON);
}

#[test]
fn a_device_that_hangs_or_refuses_leaves_the_other_site_playing() {
    let mut first = primary(Soap::default().user("viewer", "s3cret", "both"));
    let second = secondary(Soap::default());
    let config = Config::default()
        .policy("failback", "at-seam")
        .onvif("primary", &first.device)
        .credentials("viewer", "wrong")
        .onvif("secondary", &second.device);
    for hangs in [false, true] {
        if hangs {
            first.device.stop();
        }
        let seamline = config.serve();
        let url = seamline.url_from(noon(5.0), Some(noon(7.0)));
        let described = Client::connect(&url).request("DESCRIBE", &url, &[]);
        assert_eq!(described.status, 200, "{described:?}");
        let mut player = Player::ffmpeg(&url);
        player.watch_to_end(SOON);
        let report = judge(&player.pictures, &[("secondary", &second.footage)]);
        report.assert_seamless();
        if !hangs {
            let asked = first.device.tell("heal");
            let shown = proofs(&asked, "digest") + proofs(&asked, "token");
            assert_eq!(shown, 1, "a wrong password is shown once: {asked:?}");
            let line = seamline.await_log(&["recorder health", "rec-primary", "Down"], SOON);
            assert!(line.contains("credentials"), "{line}");
        }
    }
}

#[test]
fn recordings_of_two_devices_are_matched_by_what_they_say_of_their_cameras() {
    let spans = "spans=2026-01-01T11:00:00Z/2026-01-01T12:00:00Z";
    let of = |recordings: &[&str]| {
        let described = recordings.iter().map(|text| format!("{text},{spans}"));
        described.fold(Soap::default(), |soap, text| soap.recording(&text))
    };
    let primary = of(&[
        "token=REC1,source=urn:uuid:c0ffee,name=Gate",
        "token=REC2,source=2,name=Yard,address=http://10.0.0.2/",
        "token=REC3,source=3,name=Cellar",
    ])
    .start_alone();
    let secondary = of(&[
        "token=A,source=urn:uuid:c0ffee,name=North,encoding=H265",
        "token=B,source=x,name=yard,address=10.0.0.2",
    ])
    .clock_ahead_ms(3_600_000)
    .start_alone();
    let config = Config::default()
        .onvif("primary", &primary)
        .onvif("secondary", &secondary);
    let page = config.run(&[
        "map",
        "--primary",
        "rec-primary",
        "--secondary",
        "rec-secondary",
    ]);
    println!("{page}");
    let pasted: toml::Table = page.parse().expect("the page is TOML");
    let cameras = pasted["camera"].as_array().expect("there are cameras");
    let copies: Vec<Vec<&str>> = cameras
        .iter()
        .map(|camera| {
            let copies = camera["copies"].as_array().expect("a camera has copies");
            copies
                .iter()
                .filter_map(|copy| copy["remote"].as_str())
                .collect()
        })
        .collect();
    assert_eq!(copies, [["REC1", "A"], ["REC2", "B"]]);
    for line in [
        "Their codecs differ",
        "\"REC3\" (Cellar): nothing at rec-secondary",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    // Told in whole seconds, an hour ahead.
    let clock = page.split("rec-secondary: 2 cameras, clock +").nth(1);
    let clock = clock.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(
        clock.is_some_and(|seconds| (seconds - 3600.0).abs() < 2.0),
        "{page}"
    );
}
