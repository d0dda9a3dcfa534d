//! What a comparison must show: the figures that are wished for, no peer ahead, and no less than was stored.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    comparison::{Does, Done, Figures, SEAMLINE},
    report::{Spread, Target},
    work::Run,
};

/// Of the efficiency of a plain copy.
const WANTED: [(Does, f64); 5] = [
    (Does::Paced, 0.95),
    (Does::Clocked, 0.95),
    (Does::Bulk, 0.95),
    (Does::Tls, 0.60),
    (Does::Http, 0.80),
];
/// Of a peer's efficiency.
const WANTED_OF_PEERS: [(&str, f64); 2] = [("haproxy", 1.0), ("mediamtx", 4.0)];
const WANTED_CALLS: f64 = 2.1;

/// A ratio that was reached, and how much pairs differed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stored {
    median: f64,
    noise: f64,
}

/// Half of what lies between the lowest and the highest pair.
fn noise(spread: &Spread) -> f64 {
    (spread.max - spread.min) / 2.0
}

pub(crate) fn targets(figures: &Figures) -> Vec<Target> {
    let mut targets = Vec::new();
    for done in &figures.ways {
        let name = done.does.name();
        let Some(own) = done.program(SEAMLINE) else {
            continue;
        };
        let wanted = WANTED.iter().find(|(does, _)| *does == done.does);
        if let (Some((_, wanted)), Some(ratio)) = (wanted, own.to_copy) {
            targets.push(Target::new(
                format!("{name}: bytes per CPU second, of a plain copy"),
                format!(">= {wanted:.2}"),
                format!("{:.2} (median of {} pairs)", ratio.median, ratio.count),
                ratio.median >= *wanted,
            ));
        }
        if matches!(done.does, Does::Paced | Does::Clocked | Does::Bulk) {
            targets.extend(of_peers(done));
        }
        if let Some(calls) = &own.calls {
            targets.push(Target::new(
                format!("{name}: I/O calls per 20 kB"),
                format!("<= {WANTED_CALLS}"),
                format!("{:.2}", calls.io()),
                calls.io() <= WANTED_CALLS,
            ));
        }
    }
    targets
}

fn of_peers(done: &Done) -> impl Iterator<Item = Target> {
    WANTED_OF_PEERS.iter().filter_map(|(peer, wanted)| {
        let peers = done.program(peer)?;
        // What a peer costs for what nobody got is no merit of ours.
        let whole = |run: &Run| run.received.faults == 0 && run.received.dropped == 0;
        let ratio = peers
            .seamline_to_it
            .filter(|_| peers.runs.iter().all(whole))?;
        Some(Target::new(
            format!("{}: bytes per CPU second, of {peer}", done.does.name()),
            format!(">= {wanted:.2}"),
            format!("{:.2} (median of {} pairs)", ratio.median, ratio.count),
            ratio.median >= *wanted,
        ))
    })
}

/// What is not as it must be: below `at_least` of the copy, or, where that is asked for, below a peer or the stored ratio by more
/// than the noise of the pairs.
pub(crate) fn broken(
    figures: &Figures,
    at_least: Option<f64>,
    stored: bool,
) -> anyhow::Result<Option<String>> {
    let mut broken = Vec::new();
    let known = if stored {
        read(&file())?
    } else {
        BTreeMap::new()
    };
    for done in &figures.ways {
        let name = done.does.name();
        let Some(ratio) = done.program(SEAMLINE).and_then(|own| own.to_copy) else {
            continue;
        };
        if let Some(at_least) = at_least.filter(|least| ratio.median < *least) {
            broken.push(format!(
                "{name}: {:.2} of the copy, less than {at_least:.2}",
                ratio.median
            ));
        }
        if let Some(known) = known.get(name)
            && ratio.median < known.median - noise(&ratio).max(known.noise)
        {
            broken.push(format!(
                "{name}: {:.2} of the copy, where {:.2} is stored",
                ratio.median, known.median
            ));
        }
        if !stored {
            continue;
        }
        for program in &done.programs {
            // The copy is the limit, and no peer.
            let peer = crate::peers::Peer::ALL
                .iter()
                .any(|peer| peer.name() == program.name);
            if let Some(to_it) = program.seamline_to_it.filter(|_| peer)
                && to_it.median + noise(&to_it) < 1.0
            {
                broken.push(format!("{name}: {:.2} of {}", to_it.median, program.name));
            }
        }
    }
    Ok((!broken.is_empty()).then(|| broken.join("; ")))
}

/// Stores the ratios to the copy.
pub(crate) fn store(figures: &Figures) -> anyhow::Result<()> {
    let mut known = read(&file())?;
    for done in &figures.ways {
        if let Some(ratio) = done.program(SEAMLINE).and_then(|own| own.to_copy) {
            let stored = Stored {
                median: (ratio.median * 1e3).round() / 1e3,
                noise: (noise(&ratio) * 1e3).round() / 1e3,
            };
            known.insert(done.does.name().to_owned(), stored);
        }
    }
    let text = serde_json::to_string_pretty(&known)? + "\n";
    fs::write(file(), text).with_context(|| file().display().to_string())
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ratios.json")
}

fn read(file: &Path) -> anyhow::Result<BTreeMap<String, Stored>> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| file.display().to_string()),
        Err(_) => Ok(BTreeMap::new()),
    }
}
