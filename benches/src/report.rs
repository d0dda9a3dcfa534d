//! Figures: on the terminal, as JSON and as a plot, with the machine they are from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;
use serde_json::Value;

use crate::{checker::Verdict, plot::Plot};

/// The spread of some values.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
}

impl Spread {
    /// Of at least one value; all zero without any.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let last = values.len().saturating_sub(1) as f64;
            values
                .get((last * part).round() as usize)
                .copied()
                .unwrap_or_default()
        };
        Self {
            min: at(0.0),
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
            count: values.len(),
        }
    }

    /// `min / median / max` with so many decimals.
    pub(crate) fn three(&self, decimals: usize) -> String {
        format!(
            "{:.decimals$} / {:.decimals$} / {:.decimals$}",
            self.min, self.median, self.max
        )
    }

    /// `median / p90 / p99` with so many decimals.
    pub(crate) fn high(&self, decimals: usize) -> String {
        format!(
            "{:.decimals$} / {:.decimals$} / {:.decimals$}",
            self.median, self.p90, self.p99
        )
    }
}

/// A figure that was wished for, and what was reached.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) reached: String,
    pub(crate) met: bool,
}

impl Target {
    pub(crate) fn new(
        what: impl Into<String>,
        wanted: impl Into<String>,
        reached: impl Into<String>,
        met: bool,
    ) -> Self {
        Self {
            what: what.into(),
            wanted: wanted.into(),
            reached: reached.into(),
            met,
        }
    }
}

/// What a scenario came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// What was done, in a line or two.
    pub(crate) what: String,
    /// A table, its first row the heading.
    #[serde(skip)]
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) figures: Value,
    #[serde(skip)]
    pub(crate) plot: Option<Plot>,
    pub(crate) targets: Vec<Target>,
    /// Why the figures mean nothing, or which demand was not met.
    pub(crate) failure: Option<String>,
}

impl Outcome {
    /// With nothing but its figures.
    pub(crate) fn new(
        name: &'static str,
        what: impl Into<String>,
        figures: &impl Serialize,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            name,
            what: what.into(),
            rows: Vec::new(),
            figures: serde_json::to_value(figures)?,
            plot: None,
            targets: Vec::new(),
            failure: None,
        })
    }

    /// Any fault fails the run: figures of a fast wrong answer mean nothing.
    pub(crate) fn demand_clean(&mut self, verdict: &Verdict) {
        if verdict.faults > 0 && self.failure.is_none() {
            let first = verdict.first_fault.as_deref().unwrap_or_default();
            self.failure = Some(format!(
                "{} faults in what was received; the first: {first}",
                verdict.faults
            ));
        }
    }

    /// Prints it, and writes JSON and plot; an error when it failed.
    pub(crate) fn publish(&self, files: &Files) -> anyhow::Result<()> {
        println!("{}", self.what);
        table(&self.rows);
        for target in &self.targets {
            let verdict = if target.met { "met" } else { "NOT MET" };
            println!(
                "{}: wanted {}, reached {}: {verdict}",
                target.what, target.wanted, target.reached
            );
        }
        self.write(files)?;
        match &self.failure {
            Some(why) => Err(anyhow::anyhow!("{}: {why}", self.name)),
            None => Ok(()),
        }
    }

    /// Writes JSON and plot.
    pub(crate) fn write(&self, files: &Files) -> anyhow::Result<()> {
        let json = files.json(self.name)?;
        let record = Record {
            machine: Machine::look(files.program.as_deref()),
            outcome: self,
        };
        fs::write(&json, serde_json::to_string_pretty(&record)? + "\n")?;
        eprintln!("written to {}", json.display());
        if let Some(plot) = &self.plot {
            let file = files.plot(self.name)?;
            plot.write(&file)?;
            eprintln!("written to {}", file.display());
        }
        Ok(())
    }
}

/// Where figures go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// By default beside this program.
    pub(crate) json: Option<PathBuf>,
    /// By default beside the JSON.
    pub(crate) plot: Option<PathBuf>,
    /// What was measured.
    pub(crate) program: Option<PathBuf>,
}

impl Files {
    fn json(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(match &self.json {
            Some(file) => file.clone(),
            None => std::env::current_exe()?.with_file_name(format!("bench-{name}.json")),
        })
    }

    fn plot(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(match &self.plot {
            Some(file) => file.clone(),
            None => self.json(name)?.with_extension("svg"),
        })
    }
}

/// Where figures are from.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Whose figures they are; none where a running server was asked.
    pub(crate) seamline: Option<String>,
}

impl Machine {
    /// This machine, and the version of the program that is measured.
    pub(crate) fn look(program: Option<&Path>) -> Self {
        let system = rustix::system::uname();
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        Self {
            processor: model
                .unwrap_or("?")
                .trim_matches([' ', '\t', ':'])
                .to_owned(),
            cores: crate::process::cores(),
            kernel: system.release().to_string_lossy().into_owned(),
            seamline: program.and_then(|program| version(program, "--version")),
        }
    }
}

/// The first line of what a program says of its version, on either output.
pub(crate) fn version(program: &Path, asked: &str) -> Option<String> {
    let output = Command::new(program).arg(asked).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&said)
        .lines()
        .next()?
        .trim()
        .to_owned();
    (!line.is_empty()).then_some(line)
}

/// What is written to the file.
#[derive(Debug, Serialize)]
struct Record<'a> {
    machine: Machine,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// Prints rows with their columns under each other: the first to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
