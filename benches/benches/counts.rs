//! What the steps of a relay cost in instructions, and a decision in lines of memory, counted by Valgrind: exact, whatever else
//! the machine does.
//!
//! `cargo bench -p seamline-bench --bench counts` counts each case and compares with `benches/counts.release.txt`; it fails and
//! names every case that got more than 3 % dearer. With `--profile dev`, whose libraries the tests have built anyway, it compares
//! with `benches/counts.dev.txt`. `-- --accept` writes the figures down as the new baseline; `-- --run CASE` runs one case
//! without counting, for `perf` and the like.
//!
//! Another compiler makes other instructions: a baseline names the toolchain that it is of, and with another one the figures are
//! shown but nothing is demanded.

#[path = "counts/cases.rs"]
mod cases;
#[path = "../src/index.rs"]
mod index;
#[path = "counts/stream.rs"]
mod stream;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

use cases::{CASES, Case, What};

/// Beyond this a case got worse.
const WORSE_PERCENT: f64 = 3.0;
/// glibc chooses how to copy memory by the processor it finds: here always the same way, so that counts are those of any machine.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM";
/// A cache for counting cold lines: what is used again stays, what of a camera is used once is in it no more.
const CACHES: [&str; 4] = [
    "--cache-sim=yes",
    "--I1=65536,8,64",
    "--D1=32768,8,64",
    "--LL=262144,16,64",
];
/// Which toolchain a baseline is of.
const TOOLCHAIN: &str = "# toolchain: ";
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
    let written = fs::read_to_string(&baseline_file).unwrap_or_default();
    let baseline = read_baseline(&written);
    let toolchain = toolchain();
    let of = written
        .lines()
        .find_map(|line| line.strip_prefix(TOOLCHAIN));
    let comparable = of == Some(&toolchain);
    let mut lines = format!(
        "# Instructions and lines of memory, counted by benches/counts.rs; written with `--accept`.\n{TOOLCHAIN}{toolchain}\n"
    );
    let mut bad = Vec::new();
    println!(
        "{:<28} {:>12} {:>12} {:>8}",
        "instructions or lines per", "baseline", "now", "change"
    );
    for case in CASES {
        let counted = count(case)? / case.times;
        let before = baseline.get(case.name).copied();
        let change = before.map(|before| (counted as f64 / before as f64 - 1.0) * 100.0);
        let verdict = match change {
            Some(change) if change > WORSE_PERCENT => "WORSE",
            Some(change) if change < -WORSE_PERCENT => "better: accept it",
            Some(_) => "",
            None => "new: accept it",
        };
        if before.is_none() || verdict == "WORSE" {
            bad.push(case.name);
        }
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
    let worse = format!("{} of {} worse or new", bad.len(), CASES.len());
    if !comparable {
        println!(
            "counts: {worse}, but the baseline is of {}, this is {toolchain}: nothing is demanded",
            of.unwrap_or("an unknown toolchain")
        );
        return Ok(true);
    }
    println!("counts: {worse} {}", bad.join(", "));
    Ok(bad.is_empty())
}

/// What made this program, and the library below it.
fn toolchain() -> String {
    let said = |program: &str, asked: &[&str]| {
        let output = Command::new(program).args(asked).output().ok();
        output.map_or_else(
            || "?".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    format!(
        "{}, {}, {}",
        said(&compiler, &["--version"]),
        env::consts::ARCH,
        said("getconf", &["GNU_LIBC_VERSION"])
    )
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
    let caches = match case.what {
        What::Instructions => &[][..],
        What::ColdLines => &CACHES,
    };
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .args(caches)
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args(["--run", case.name])
        .env("GLIBC_TUNABLES", TUNABLES)
        .output()?;
    let text = fs::read_to_string(&profile).unwrap_or_default();
    // A case that cannot be counted leaves an empty profile or none.
    let _ = fs::remove_file(&profile);
    let counted = total(&text, case.what).filter(|counted| *counted > 0);
    counted.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("{}: {said}", case.name))
    })
}

/// The sum of a profile. Behind the last event that there was one of nothing is written.
fn total(profile: &str, what: What) -> Option<u64> {
    let line = |head: &str| profile.lines().find_map(|line| line.strip_prefix(head));
    let sums: BTreeMap<&str, u64> = line("events: ")?
        .split_whitespace()
        .zip(line("totals: ")?.split_whitespace())
        .filter_map(|(event, sum)| Some((event, sum.parse().ok()?)))
        .collect();
    let events: &[&str] = match what {
        What::Instructions => &["Ir"],
        What::ColdLines => &["DLmr", "DLmw"],
    };
    Some(events.iter().filter_map(|event| sums.get(event)).sum())
}
