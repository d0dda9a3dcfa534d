//! What the steps of a relay cost in instructions, counted by Valgrind: exact, whatever else the machine does.
//!
//! `cargo bench -p seamline-bench --bench counts` counts each case and compares with `benches/counts.release.txt`; it fails and
//! names every case that got more than 3 % dearer. With `--profile dev`, whose libraries the tests have built anyway, it compares
//! with `benches/counts.dev.txt`. `-- --accept` writes the figures down as the new baseline; `-- --run CASE` runs one case
//! without counting, for `perf` and the like.

#[path = "counts/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

use cases::{CASES, Case};

/// Beyond this a case got worse. The library that copies memory differs a little from machine to machine.
const WORSE_PERCENT: f64 = 3.0;
/// The baseline of the profile that this was built with.
const BASELINE: &str = if cfg!(debug_assertions) {
    "counts.dev.txt"
} else {
    "counts.release.txt"
};
/// The function of `cases` that is counted, and what it calls.
const COUNTED: &str = "*counted_section*";

fn main() -> ExitCode {
    let asked: Vec<String> = env::args().skip(1).collect();
    let named = asked
        .iter()
        .position(|word| word == "--run")
        .and_then(|at| asked.get(at + 1));
    if let Some(name) = named {
        return match CASES.iter().find(|case| case.name == name) {
            Some(case) => {
                (case.run)();
                ExitCode::SUCCESS
            }
            None => fail(&format!("no case {name}")),
        };
    }
    let accept = asked.iter().any(|word| word == "--accept");
    match compare(accept) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&format!("cannot count: {error} (is valgrind installed?)")),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Counts all cases; false when one got worse.
fn compare(accept: bool) -> io::Result<bool> {
    let baseline_file = Path::new(env!("CARGO_MANIFEST_DIR")).join(BASELINE);
    let baseline = read_baseline(&fs::read_to_string(&baseline_file).unwrap_or_default());
    let mut lines =
        String::from("# Instructions, counted by benches/counts.rs; written with `--accept`.\n");
    let mut fine = true;
    println!(
        "{:<28} {:>12} {:>12} {:>8}",
        "instructions per", "baseline", "now", "change"
    );
    for case in CASES {
        let counted = count(case)? / case.times;
        let before = baseline.get(case.name).copied();
        let change = before.map(|before| (counted as f64 / before as f64 - 1.0) * 100.0);
        let worse = change.is_some_and(|change| change > WORSE_PERCENT);
        fine &= !worse && (before.is_some() || accept);
        let verdict = match change {
            _ if worse => "WORSE",
            Some(change) if change < -WORSE_PERCENT => "better: accept it",
            Some(_) => "",
            None => "new: accept it",
        };
        println!(
            "{:<28} {:>12} {counted:>12} {:>8} {verdict}",
            case.name,
            before.map_or_else(String::new, |before| before.to_string()),
            change.map_or_else(String::new, |change| format!("{change:+.1} %")),
        );
        lines.extend([case.name, " ", &counted.to_string(), "\n"]);
    }
    if accept {
        fs::write(&baseline_file, lines)?;
        return Ok(true);
    }
    Ok(fine)
}

fn read_baseline(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        })
        .collect()
}

/// Instructions of the counted section of a case.
fn count(case: &Case) -> io::Result<u64> {
    let profile: PathBuf = env::temp_dir().join(format!(
        "seamline-counts-{}-{}",
        std::process::id(),
        case.name.replace(' ', "-")
    ));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect"])
        .arg(COUNTED)
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args(["--run", case.name])
        .output()?;
    let text = fs::read_to_string(&profile).unwrap_or_default();
    // A case that cannot be counted leaves an empty profile or none.
    let _ = fs::remove_file(&profile);
    let counted = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
        .filter(|counted| *counted > 0);
    counted.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("{}: {said}", case.name))
    })
}
