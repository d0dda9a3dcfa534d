//! Players who ask for the same second of a camera have one session at its recorder, through seams and a death; who pauses or falls
//! behind loses nothing.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::{FRAME_MS, noon},
    footage::Recipe,
    player::Player,
    probe::Probe,
    recorder::Setup,
    report::judge,
    seamline::Config,
    stream::{assert_one_stream, units},
};

const SOON: Duration = Duration::from_secs(40);
/// Players that look at packets, beside two that decode.
const PROBES: usize = 18;
/// Sessions at a recorder for all of them, at the most: some may come too late for the first.
const SESSIONS_MAX: usize = 4;
/// How long somebody rests: at a recorder that gives all it has at once the others are at their end meanwhile.
const PAUSED: Duration = Duration::from_secs(1);
/// How long a recorder has no time for us: longer than it may be silent (a second), shorter than an outage.
const BUSY: Duration = Duration::from_millis(1_300);

/// The capture times of the pictures from `from` on, each once: what decoding needs before it, and what is shown again from a key
/// picture on, does not count.
fn captures(probe: &Probe, from: i64) -> Vec<i64> {
    assert_one_stream(&probe.tracks[0]);
    let units = units(&probe.tracks[0]);
    let mut captures: Vec<i64> = units.iter().filter_map(|unit| unit.capture_ms).collect();
    captures.retain(|capture| *capture >= from);
    captures.sort_unstable();
    captures.dedup();
    captures
}

fn all(from: i64, until: i64) -> Vec<i64> {
    (from..until).step_by(FRAME_MS as usize).collect()
}

#[test]
fn twenty_players_share_their_legs_through_a_seam_and_a_death() {
    let footage = [Recipe::default().make(), Recipe::secondary().make()];
    let mut primary = Setup::default()
        .without(noon(4.0), noon(60.0))
        .start(&footage[0]);
    let mut secondary = Setup::default().no_faster_than(1.1).start(&footage[1]);
    let mut third = Setup::default().start(&footage[0]);
    let seamline = Config::default()
        .site("primary", &primary)
        .site("secondary", &secondary)
        .site("third", &third)
        .policy("share_legs", true)
        .serve();
    let (from, until) = (noon(2.0), noon(13.0));
    // The index learns where the primary ends.
    let mut taught = Probe::open(&seamline.url());
    let reply = taught.play(from, Some(until), &[("Rate-Control", "no")]);
    assert_eq!(reply.status, 200);
    taught.receive_to_end(SOON);
    drop(taught);
    let url = seamline.url();
    let together = Arc::new(Barrier::new(PROBES));
    let probes: Vec<_> = (0..PROBES)
        .map(|number| {
            let (url, together) = (url.clone(), Arc::clone(&together));
            thread::spawn(move || {
                let mut probe = Probe::open(&url);
                together.wait();
                assert_eq!(probe.play(from, Some(until), &[]).status, 200);
                if number == 0 {
                    probe.receive_until(noon(3.0), SOON);
                    assert_eq!(probe.request("PAUSE", &[]).status, 200);
                    thread::sleep(PAUSED);
                    assert_eq!(probe.request("PLAY", &[]).status, 200);
                }
                probe.receive_to_end(SOON);
                captures(&probe, from)
            })
        })
        .collect();
    let mut players = [0, 1].map(|_| Player::onvif(&url, from));
    players[0].watch_until(noon(3.4), SOON);
    let at_primary = primary.sessions();
    players[0].watch_until(noon(5.0), SOON);
    let at_secondary = secondary.sessions();
    secondary.kill();
    players[0].watch_until(noon(11.0), SOON);
    let at_third = third.sessions();
    for player in &mut players {
        player.watch_until(noon(12.0), SOON);
        let sites = [("primary", &footage[0]), ("secondary", &footage[1])];
        let report = judge(&player.pictures, &sites);
        println!("{report}");
        report.assert_nothing_lost(Duration::from_secs(2));
        assert_eq!(report.sites(), ["primary", "secondary", "primary"]);
    }
    for probe in probes {
        assert_eq!(probe.join().unwrap(), all(from, until));
    }
    println!(
        "{at_primary} sessions at the primary, {at_secondary} at the secondary, {at_third} at the third"
    );
    for sessions in [at_primary, at_secondary, at_third] {
        assert!((1..=SESSIONS_MAX).contains(&sessions), "{sessions}");
    }
}

#[test]
fn who_falls_behind_goes_on_where_it_was() {
    let footage = Recipe::default().mjpeg("2").mp4().make();
    let archive = footage.archive_without(&[]);
    let seamline = Config::default()
        .archive("primary", archive.path())
        .policy("share_legs", true)
        .serve();
    let (from, until) = (noon(0.0), noon(24.0));
    let mut probes = [0, 1].map(|_| Probe::open(&seamline.url()));
    for probe in &mut probes {
        let reply = probe.play(from, Some(until), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
    }
    let [quick, slow] = &mut probes;
    quick.receive_to_end(SOON);
    slow.receive_to_end(SOON);
    assert_eq!(captures(quick, from), all(from, until));
    assert_eq!(captures(slow, from), all(from, until));
    seamline.await_log(&["goes on in a leg of its own"], Duration::from_secs(1));
}

/// The recorder is busy elsewhere for longer than silence may last: no fault of its footage.
#[test]
fn who_falls_behind_waits_for_a_recorder_that_takes_its_time() {
    let footage = Recipe::default().mjpeg("2").make();
    let [primary, secondary] = [0, 1].map(|_| Setup::default().start(&footage));
    let seamline = Config::default()
        .site("primary", &primary)
        .site("secondary", &secondary)
        .policy("share_legs", true)
        .serve();
    let (from, until) = (noon(0.0), noon(24.0));
    let mut probes = [0, 1].map(|_| Probe::open(&seamline.url()));
    for probe in &mut probes {
        let reply = probe.play(from, Some(until), &[("Rate-Control", "no")]);
        assert_eq!(reply.status, 200);
    }
    let [quick, slow] = &mut probes;
    quick.receive_to_end(SOON);
    primary.stop();
    let busy = thread::spawn(move || {
        thread::sleep(BUSY);
        primary.resume();
        primary
    });
    slow.receive_to_end(SOON);
    drop(busy.join());
    assert_eq!(captures(quick, from), all(from, until));
    assert_eq!(captures(slow, from), all(from, until));
    seamline.await_log(&["goes on in a leg of its own"], Duration::from_secs(1));
    let log = seamline.log();
    let wrong = |line: &&String| line.contains("stalled") || line.contains("to=\"secondary\"");
    assert_eq!(log.iter().find(wrong), None);
}
