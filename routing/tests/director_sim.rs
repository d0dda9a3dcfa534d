//! The director against random outages, in simulated time.
//!
//! Each seed is a script. A broken rule names its seed; `SEAMLINE_SIM_SEED=<seed>` plays it again and tells it step by step.

mod sim;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Scripts that every run plays.
const SCRIPTS: u64 = 10_000;
/// Broken scripts that are named.
const SHOWN_MAX: usize = 40;

#[test]
fn random_outages_break_no_rule() {
    if let Some(seed) = setting("SEAMLINE_SIM_SEED") {
        return replay(seed);
    }
    let scripts = setting("SEAMLINE_SIM_SCRIPTS").unwrap_or(SCRIPTS);
    let next = AtomicU64::new(0);
    let (shown, seams) = (AtomicU64::new(0), AtomicU64::new(0));
    let broken = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= scripts {
                        return;
                    }
                    let run = catch_unwind(|| sim::random_world(seed).run(false));
                    let run = run.unwrap_or_else(|_| Err(("panic".into(), String::new())));
                    match run {
                        Ok(figures) => {
                            shown.fetch_add(figures.shown, Ordering::Relaxed);
                            seams.fetch_add(figures.seams.len() as u64, Ordering::Relaxed);
                        }
                        Err((rule, _)) => {
                            broken.lock().expect("no panics here").insert(seed, rule);
                        }
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().expect("no panics here");
    if let Some(seed) = broken.keys().next() {
        for (seed, rule) in broken.iter().take(SHOWN_MAX) {
            eprintln!("seed {seed}: {rule}");
        }
        eprintln!("{} of {scripts} scripts broke a rule", broken.len());
        replay(*seed);
    }
    // Scripts in which nothing happens would prove nothing.
    let (shown, seams) = (shown.into_inner(), seams.into_inner());
    println!("{scripts} scripts: {shown} pictures shown over {seams} seams");
    assert!(shown > 100 * scripts && seams > 2 * scripts);
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

fn replay(seed: u64) {
    let world = sim::random_world(seed);
    if let Err((broken, trace)) = world.run(true) {
        eprintln!("{world:?}\n\n{trace}");
        panic!("seed {seed}: {broken}");
    }
}
