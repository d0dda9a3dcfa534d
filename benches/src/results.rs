//! The page of results: every target with what was reached, then each scenario with its table and its plot.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    clock,
    message::to_iso,
    peers::Peer,
    report::{Machine, Outcome, version},
};

/// A scenario that was run, as it was typed.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) line: &'static str,
    pub(crate) outcome: Result<Outcome, String>,
}

impl Done {
    /// Why its figures mean nothing.
    pub(crate) fn failure(&self) -> Option<String> {
        match &self.outcome {
            Ok(outcome) => {
                let why = outcome.failure.as_ref()?;
                Some(format!("{}: {why}", outcome.name))
            }
            Err(why) => Some(format!("{}: {why}", self.line)),
        }
    }
}

/// Where the committed page is.
pub(crate) fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What somebody types to run a scenario.
pub(crate) fn command(line: &str) -> String {
    format!("cargo run --release -p seamline-bench -- {line}")
}

/// All targets, as a table with its heading.
pub(crate) fn targets(done: &[Done]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["what", "target", "reached", "met"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for one in done {
        match &one.outcome {
            Ok(outcome) => {
                for target in &outcome.targets {
                    let met = if target.met { "yes" } else { "**no**" };
                    rows.push(vec![
                        target.what.clone(),
                        target.wanted.clone(),
                        target.reached.clone(),
                        met.to_owned(),
                    ]);
                }
            }
            Err(why) => rows.push(vec![
                one.line.to_owned(),
                "runs".to_owned(),
                why.clone(),
                "**no**".to_owned(),
            ]),
        }
    }
    rows
}

/// Writes `RESULTS.md` and `plots/` into a folder.
pub(crate) fn write(folder: &Path, program: &Path, done: &[Done]) -> anyhow::Result<()> {
    let plots = folder.join("plots");
    fs::create_dir_all(&plots)?;
    let mut page = head(program, done);
    for one in done {
        let Ok(outcome) = &one.outcome else {
            let _ = write!(page, "\n## {}\n\nDid not run: see above.\n", one.line);
            continue;
        };
        let _ = write!(page, "\n## {}\n\n{}\n\n", outcome.name, outcome.what);
        page += &markdown(&outcome.rows);
        if let Some(plot) = &outcome.plot {
            let name = format!("{}.svg", outcome.name);
            plot.write(&plots.join(&name))?;
            let _ = write!(page, "\n![{}](plots/{name})\n", outcome.what);
        }
        if let Some(why) = &outcome.failure {
            let _ = write!(page, "\n**Its figures mean nothing**: {why}\n");
        }
        let _ = write!(page, "\n```sh\n{}\n```\n", command(one.line));
    }
    let file = folder.join("RESULTS.md");
    fs::write(&file, page)?;
    eprintln!("written to {}", file.display());
    Ok(())
}

fn head(program: &Path, done: &[Done]) -> String {
    let machine = Machine::look(Some(program));
    let mut text = format!(
        "# Results of one run\n\n\
         Written by `{}` on {}; [README.md](README.md) says how each figure is measured. Nothing here is edited by hand.\n\n\
         {} cores of {}, Linux {}, {}",
        command("all --write"),
        &to_iso(clock::unix_us())[..10],
        machine.cores,
        machine.processor,
        machine.kernel,
        machine.seamline.as_deref().unwrap_or("?")
    );
    for peer in [Peer::Haproxy, Peer::Nginx] {
        let flag = peer.version_flag().unwrap_or("-v");
        if let Some(version) = peer.installed().and_then(|program| version(&program, flag)) {
            let _ = write!(text, ", {version}");
        }
    }
    text += ". The proxy has one core and the load another; all traffic is on the loopback.\n\n\
             ## Targets\n\n";
    text += &markdown(&targets(done));
    text
}

/// A table whose first row is the heading.
fn markdown(rows: &[Vec<String>]) -> String {
    let Some((heading, rows)) = rows.split_first() else {
        return String::new();
    };
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(heading);
    text.extend(["|", &"---|".repeat(heading.len()), "\n"]);
    for row in rows {
        text += &line(row);
    }
    text
}
