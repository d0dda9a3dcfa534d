//! Recorders that say what they say otherwise than most: whatever the accent, every picture comes, forwards and backwards.

use std::{collections::BTreeSet, time::Duration};

use seamline_tests::{
    clock::{FRAME_MS, iso, monotonic, noon},
    footage::Recipe,
    probe::Probe,
    recorder::{Gate, Setup},
    seamline::Config,
    stream::units,
};

const SOON: Duration = Duration::from_secs(20);
/// See `tests/lab/accents.py`.
const ACCENTS: [&str; 11] = [
    "lower-case",
    "bare",
    "relative-info",
    "queries",
    "own-channels",
    "no-sets",
    "no-base",
    "two-videos",
    "loose-lines",
    "no-pause",
    "no-keep-alive",
];

/// The pictures between two instants that do not come, or what is wrong besides.
fn missing(url: &str, from: f64, until: f64) -> Result<(), String> {
    let mut probe = Probe::open(url);
    let scale = if from < until { "1.0" } else { "-1.0" };
    let headers = [("Rate-Control", "no"), ("Scale", scale)];
    let answer = probe.play(noon(from), Some(noon(until)), &headers);
    if answer.status != 200 {
        return Err(format!("{} to PLAY", answer.status));
    }
    probe.receive(SOON, Probe::has_ended);
    let came: BTreeSet<i64> = units(&probe.tracks[0])
        .iter()
        .filter_map(|unit| unit.capture_ms)
        .collect();
    let (first, end) = (noon(from.min(until)), noon(from.max(until)));
    let wanted = (0..(end - first) / FRAME_MS).map(|step| first + step * FRAME_MS);
    let lost: Vec<String> = wanted.filter(|at| !came.contains(at)).map(iso).collect();
    match (lost.is_empty(), probe.has_ended()) {
        (true, true) => Ok(()),
        (true, false) => Err("no end".to_owned()),
        (false, _) => Err(format!("{} lost, from {}", lost.len(), lost[0])),
    }
}

#[test]
fn whatever_the_accent_of_a_recorder_every_picture_comes() {
    let recorder = Setup::default().start(&Recipe::default().make());
    let mut wrong = Vec::new();
    for accent in ACCENTS {
        let began = monotonic();
        let gate = Gate::start(&recorder, &[&format!("--accent={accent}")]);
        let seamline = Config::default()
            .site_at("primary", &gate.template(), 0)
            .serve();
        for (from, until) in [(4.0, 8.0), (12.0, 8.0)] {
            if let Err(what) = missing(&seamline.url(), from, until) {
                wrong.push(format!("{accent}, from {from} s to {until} s: {what}"));
            }
        }
        println!("{accent}: {:?}", monotonic().saturating_sub(began));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
