//! Figures, on the terminal and as JSON, with the machine they are from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

/// The spread of some values.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
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
            p99: at(0.99),
            max: at(1.0),
            count: values.len(),
        }
    }
}

/// Where figures are from.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    seamline: String,
}

impl Machine {
    /// This machine, and the version of the program that is measured.
    pub(crate) fn look(program: &Path) -> Self {
        let system = rustix::system::uname();
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let version = Command::new(program).arg("--version").output();
        Self {
            processor: model
                .unwrap_or("?")
                .trim_matches([' ', '\t', ':'])
                .to_owned(),
            cores: crate::process::cores(),
            kernel: system.release().to_string_lossy().into_owned(),
            seamline: version.map_or_else(
                |_| "?".into(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ),
        }
    }
}

/// What is written to the file.
#[derive(Debug, Serialize)]
struct Record<'a, F> {
    scenario: &'a str,
    machine: Machine,
    figures: &'a F,
}

/// Writes the figures of a scenario as JSON: to `file`, or beside this program.
pub(crate) fn write(
    scenario: &str,
    figures: &impl Serialize,
    program: &Path,
    file: Option<PathBuf>,
) -> anyhow::Result<()> {
    let file = match file {
        Some(file) => file,
        None => std::env::current_exe()?.with_file_name(format!("bench-{scenario}.json")),
    };
    let record = Record {
        scenario,
        machine: Machine::look(program),
        figures,
    };
    fs::write(&file, serde_json::to_string_pretty(&record)? + "\n")?;
    eprintln!("written to {}", file.display());
    Ok(())
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
