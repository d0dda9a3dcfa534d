//! Lying recorders: thousands of scripts of refusals, hangs, resets, wrong footage and lies about coverage, and after each the
//! viewer has every picture that the other copy holds: none lost, none twice, in order.
//!
//! `SEAMLINE_LIARS` is how many random scripts are run, `SEAMLINE_LIAR_SEED` runs some of them by number, and shows the log of a
//! single one; with `SEAMLINE_LIAR_LOG` that of all that are named.
//! `SEAMLINE_LIAR_VIEWERS` is how many are run at a time.

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::monotonic,
    liar::{
        listing::{LIES, Notices},
        pulse::Pulse,
        recorder::Stage,
        relay::{Relay, Way},
        script::{Asked, ENCODERS, Part, Play, Script},
        soap::{self, By, Devices},
        viewer::{Verdict, milliseconds, watch},
    },
    seamline::{Seamline, free_port},
};
use serde_json::json;

/// Random scripts, unless the environment says otherwise.
const SCRIPTS: u64 = 240;
/// Scripts behind one program, each with recorders of its own: what is learned of one is of no use to another.
const SCRIPTS_A_PROGRAM: usize = 120;
/// Pictures for each that may come twice.
const REPEATED_ONE_IN: usize = 2000;
/// The same where recorders are far.
const REPEATED_FAR_ONE_IN: usize = 500;
/// Viewers at a time: they mostly wait.
const VIEWERS: u64 = 16;
/// A script that went wrong while the machine was late is run again, so many times at most.
const AGAIN_MAX: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

/// A program with a camera a script, in front of a stage with both recorders of each.
struct Theatre {
    seamline: Seamline,
    stage: Stage,
    _notices: Notices,
    devices: Devices,
}

impl Theatre {
    fn of(scripts: &[Script], level: &str, way: Option<Way>) -> Self {
        let (stage, notices) = (Stage::default(), Notices::default());
        let devices = Devices::default();
        let relay = way.map(|way| Relay::to(stage.port(), way));
        let port = relay.map_or(stage.port(), |relay| relay.port());
        let url_of = |name: &str| format!("rtsp://127.0.0.1:{port}/{name}");
        let (mut recorders, mut cameras) = (Vec::new(), Vec::new());
        for (nth, script) in scripts.iter().enumerate() {
            let (liar, honest) = (format!("liar-{nth}"), format!("honest-{nth}"));
            stage.play(&liar, script.liar.clone());
            stage.play(&honest, script.honest.clone());
            let sites = if script.liar_first {
                [("primary", &liar), ("secondary", &honest)]
            } else {
                [("primary", &honest), ("secondary", &liar)]
            };
            for (site, name) in sites {
                recorders.push(match script.liar.lists.filter(|_| *name == liar) {
                    None => json!({ "name": name, "site": site, "kind": "rtsp", "url": url_of(name) }),
                    Some((Asked::Onvif(by), lie)) => {
                        devices.post(name, &script.liar.held, by, lie, url_of(name));
                        json!({ "name": name, "site": site, "kind": "onvif", "url": devices.url(name) })
                    }
                    Some((Asked::Whole, lie)) => {
                        notices.post(name, &script.liar.held, lie);
                        json!({ "name": name, "site": site, "kind": "nx", "url": notices.url(), "rtsp": url_of("").trim_end_matches('/') })
                    }
                });
            }
            let copies = sites.map(|(_, name)| json!({ "recorder": name, "remote": name }));
            cameras.push(json!({ "id": format!("cam-{nth}"), "copies": copies }));
        }
        let port = free_port();
        let config = json!({
            "listen": format!("127.0.0.1:{port}"),
            "site": [{ "name": "primary" }, { "name": "secondary" }],
            "recorder": recorders,
            "camera": cameras,
            "policy": {
                // Every hole is worth a seam: by default those of half a second are not.
                "min_gap": "0ms",
                "outage_wait": "2s",
                // A program that has just started greets hundreds of recorders at once.
                "probe_deadline": "8s",
                "failback": "after 2s",
                "reaction": { "connect": "1s", "response": "1s", "first_unit": "1s" },
            },
        });
        Self {
            seamline: Seamline::of(&config, port, level),
            stage,
            _notices: notices,
            devices,
        }
    }

    /// Runs all scripts, several at a time.
    fn run(&self, scripts: &[Script]) -> Vec<Outcome> {
        let urls: Vec<String> = (0..scripts.len())
            .map(|nth| self.seamline.url_of(&format!("cam-{nth}")))
            .collect();
        let (stage, pulse) = (&self.stage, Pulse::of(&urls[0]));
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(vec![None; scripts.len()]);
        thread::scope(|scope| {
            for _ in 0..number("SEAMLINE_LIAR_VIEWERS").unwrap_or(VIEWERS) {
                scope.spawn(|| {
                    while let nth = next.fetch_add(1, Ordering::Relaxed)
                        && let Some(script) = scripts.get(nth)
                    {
                        let begun = monotonic();
                        let verdict = watch(
                            &urls[nth],
                            &script.wish,
                            script.paced,
                            &script.honest,
                            WITHIN,
                        );
                        let asked = stage.plays(&format!("liar-{nth}")) > 0;
                        let odd = !verdict.is_clean() || !asked;
                        let outcome = Outcome {
                            disturbed: odd && pulse.was_late_since(begun),
                            asked,
                            verdict,
                        };
                        outcomes.lock().expect("no viewer panics while it writes")[nth] =
                            Some(outcome);
                    }
                });
            }
        });
        let outcomes = outcomes.into_inner().expect("all viewers are done");
        outcomes
            .into_iter()
            .map(|outcome| outcome.expect("every script was run"))
            .collect()
    }
}

/// What came of a script.
#[derive(Clone, Debug)]
struct Outcome {
    verdict: Verdict,
    /// Whether the liar was asked to play.
    asked: bool,
    /// It went wrong, or told nothing, and the machine had no time for it.
    disturbed: bool,
}

/// Runs scripts, those that were disturbed again.
fn perform(scripts: &[Script], level: &str, way: Option<Way>) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; scripts.len()];
    let mut due: Vec<usize> = (0..scripts.len()).collect();
    for _ in 0..=AGAIN_MAX {
        for batch in due.chunks(SCRIPTS_A_PROGRAM) {
            let cast: Vec<Script> = batch.iter().map(|nth| scripts[*nth].clone()).collect();
            for (nth, outcome) in batch.iter().zip(Theatre::of(&cast, level, way).run(&cast)) {
                outcomes[*nth] = Some(outcome);
            }
        }
        due.retain(|nth| {
            outcomes[*nth]
                .as_ref()
                .is_some_and(|outcome| outcome.disturbed)
        });
        if due.is_empty() {
            break;
        }
        println!("{} again: the machine was late", due.len());
    }
    let outcomes = outcomes.into_iter();
    outcomes
        .map(|outcome| outcome.expect("every script was run"))
        .collect()
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn after_every_lie_the_viewer_has_what_the_other_copy_holds() {
    let named = env::var("SEAMLINE_LIAR_SEED").ok();
    let seeds: Vec<u64> = match &named {
        Some(seeds) => seeds
            .split(',')
            .filter_map(|seed| seed.parse().ok())
            .collect(),
        None => (0..number("SEAMLINE_LIARS").unwrap_or(SCRIPTS)).collect(),
    };
    let told = named.is_some() && (seeds.len() == 1 || env::var_os("SEAMLINE_LIAR_LOG").is_some());
    let level = if told {
        "info,seamline::playback=debug"
    } else {
        "off"
    };
    let scripts: Vec<Script> = seeds.into_iter().map(Script::of).collect();
    let (mut lost, mut repeated, mut pictures, mut seams, mut asked) = (0, 0, 0, 0, 0);
    let mut bad = Vec::new();
    let outcomes = perform(&scripts, level, None);
    for (nth, (script, outcome)) in scripts.iter().zip(outcomes).enumerate() {
        let verdict = outcome.verdict;
        asked += usize::from(outcome.asked);
        lost += verdict.lost.len();
        repeated += verdict.repeated.len();
        pictures += script.wish.len();
        seams += verdict.runs.len().saturating_sub(1);
        if !verdict.lost.is_empty() || !verdict.wrong.is_empty() {
            bad.push(format!("{script:?}\n  {verdict}"));
        } else if !verdict.is_clean() {
            println!("cam-{nth}: {script:?}\n  {verdict}");
        }
    }
    let figures = format!(
        "{} scripts, {} s of footage, {seams} seams, {asked} liars asked to play: lost {} ms, repeated {} ms, {} not clean",
        scripts.len(),
        milliseconds(pictures) / 1000,
        milliseconds(lost),
        milliseconds(repeated),
        bad.len()
    );
    println!("{figures}");
    assert!(bad.is_empty(), "{figures}\n{}", bad.join("\n"));
    // Where a recorder fails just when it is needed, and what was held back is spent before another try, decoding begins again
    // at a random access point that was passed: those few pictures come twice.
    assert!(repeated * REPEATED_ONE_IN <= pictures, "{figures}");
    assert!(asked * 3 > scripts.len(), "tame: {figures}");
}

/// Scripts for each lie of a listing.
const LISTED: u64 = 4;

#[test]
fn whatever_is_listed_the_viewer_has_what_the_other_copy_holds() {
    let scripts = LIES
        .iter()
        .flat_map(|lie| (0..LISTED).map(|seed| Script::listed(seed, Asked::Whole, *lie)));
    let scripts: Vec<Script> = scripts.collect();
    assert_clean(&scripts, &perform(&scripts, "off", None));
}

/// Resident memory beside forty devices, some of which tell as much as they can.
const LISTING_MEMORY_MAX: u64 = 200 << 20;
/// A listing is over after this, whatever comes, but for the last question's own time.
const LISTING_MAX: Duration = Duration::from_secs(30);

#[test]
fn whatever_is_listed_by_soap_the_viewer_has_what_the_other_copy_holds() {
    let ways = [By::Events, By::Segments].map(Asked::Onvif);
    let lies = soap::LIES.iter();
    let told = lies.flat_map(|lie| ways.map(|way| (way, *lie)));
    let scripts: Vec<Script> = told
        .zip(0..)
        .map(|((way, lie), seed)| Script::listed(seed, way, lie))
        .collect();
    let theatre = Theatre::of(&scripts, "off", None);
    let mut outcomes = theatre.run(&scripts);
    // What is asked for without end is so for longer than anybody watches.
    let quiet = Duration::from_secs(6);
    let longest = theatre.devices.longest_listing(quiet, LISTING_MAX);
    let most = theatre.seamline.resident_most();
    println!("longest listing {longest:?}, at most {} MiB", most >> 20);
    drop(theatre);
    // Those that the machine disturbed are run again.
    let odd: Vec<usize> = (0..scripts.len())
        .filter(|nth| outcomes[*nth].disturbed)
        .collect();
    let again: Vec<Script> = odd.iter().map(|nth| scripts[*nth].clone()).collect();
    for (nth, outcome) in odd.into_iter().zip(perform(&again, "off", None)) {
        outcomes[nth] = outcome;
    }
    assert_clean(&scripts, &outcomes);
    assert!(longest.1 < LISTING_MAX, "{longest:?}");
    assert!(most < LISTING_MEMORY_MAX, "{most} bytes");
}

/// Panics unless every picture of the other copies came once, and the liars were asked to play at all.
fn assert_clean(scripts: &[Script], outcomes: &[Outcome]) {
    let asked = outcomes.iter().filter(|outcome| outcome.asked).count();
    let mut bad = Vec::new();
    for (script, Outcome { verdict, .. }) in scripts.iter().zip(outcomes) {
        println!("{:?}: {verdict}", script.liar.lists);
        if !verdict.is_clean() {
            bad.push(format!("{script:?}\n  {verdict}"));
        }
    }
    assert!(
        bad.is_empty(),
        "{} of {}\n{}",
        bad.len(),
        scripts.len(),
        bad.join("\n")
    );
    // Who says that it holds nothing then, or makes no sense, is not asked while the other delivers.
    assert!(asked * 4 > scripts.len(), "tame: {asked} asked to play");
}

/// Scripts that are played over a long and lossy way.
const FAR: u64 = 48;

#[test]
fn over_a_long_and_lossy_way_the_viewer_has_what_the_other_copy_holds() {
    let way = Way {
        delay: Duration::from_millis(60),
        lost_one_in: 40,
        // What a first timeout of TCP costs, and less than a recorder is given.
        again_after: Duration::from_millis(250),
    };
    let scripts: Vec<Script> = (0..FAR).map(Script::of).collect();
    let outcomes = perform(&scripts, "off", Some(way));
    let (mut bad, mut repeated, mut pictures) = (Vec::new(), 0, 0);
    for (script, Outcome { verdict, .. }) in scripts.iter().zip(&outcomes) {
        repeated += verdict.repeated.len();
        pictures += script.wish.len();
        if !verdict.lost.is_empty() || !verdict.wrong.is_empty() {
            bad.push(format!("{script:?}\n  {verdict}"));
        } else if !verdict.is_clean() {
            println!("{script:?}\n  {verdict}");
        }
    }
    println!(
        "{} scripts, repeated {} ms",
        scripts.len(),
        milliseconds(repeated)
    );
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(repeated * REPEATED_FAR_ONE_IN <= pictures, "{repeated}");
}

#[test]
fn a_clock_that_is_set_in_mid_play_is_not_followed() {
    let [primary, secondary] = ENCODERS;
    // By less than the copy's groups are long there is no telling it from another scene.
    let steps = [
        -86_400_000,
        -3_600_000,
        -20_000,
        20_000,
        3_600_000,
        86_400_000,
    ];
    let script = |(nth, by): (usize, i64)| Script {
        seed: nth as u64,
        liar: Part {
            plays: vec![Play::Stepped(40 + 7 * nth as u32, by), Play::Honest],
            rate: Some(300),
            ..Part::honest(primary)
        },
        honest: Part::honest(secondary),
        liar_first: true,
        wish: 100..500,
        paced: false,
    };
    let scripts: Vec<Script> = steps.into_iter().enumerate().map(script).collect();
    let mut bad = Vec::new();
    for (step, Outcome { verdict, asked, .. }) in steps.iter().zip(perform(&scripts, "off", None)) {
        println!("{step} ms: {verdict}");
        assert!(asked, "{step} ms: it was not asked");
        if !verdict.is_clean() {
            bad.push(format!("{step} ms: {verdict}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_reset_at_any_byte_of_a_group_is_not_seen() {
    let [primary, secondary] = ENCODERS;
    let mut group = Vec::new();
    for index in 20..20 + primary.group {
        primary.frames(index, 0, &mut 0, &mut group);
    }
    // What comes before that group in a play that begins ten pictures earlier.
    let mut before = Vec::new();
    for index in 10..20 {
        primary.frames(index, 0, &mut 0, &mut before);
    }
    let script = |byte: usize| Script {
        seed: byte as u64,
        liar: Part {
            plays: vec![Play::Reset(
                (before.len() + byte) as u32,
                Duration::from_millis(byte as u64 % 4),
            )],
            ..Part::honest(primary)
        },
        honest: Part::honest(secondary),
        liar_first: true,
        wish: 12..60,
        paced: false,
    };
    let scripts: Vec<Script> = (0..group.len()).map(script).collect();
    let mut bad = Vec::new();
    for (byte, Outcome { verdict, asked, .. }) in perform(&scripts, "off", None).iter().enumerate()
    {
        if !verdict.is_clean() {
            bad.push(format!("byte {byte}: {verdict}"));
        }
        assert!(*asked, "byte {byte}: it was not asked");
    }
    println!("{} bytes, {} not clean", group.len(), bad.len());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
