//! `seamline coverage`: what each site holds of a camera, and who would serve what.

use std::process::ExitCode;
use std::sync::Arc;

use futures::future::join_all;
use seamline_probes::ProbeError;
use seamline_routing::plan::{Direction, Plan, Request, Step, plan};
use seamline_routing::skew::Basis;
use seamline_routing::{Camera, Coverage, Estimate, TimeRange, Timestamp};
use serde_json::{Value, json};

use super::{CliError, CoverageArgs, PAGE_COLUMNS, clocks, colour, load};
use crate::cameras::CameraEntry;
use crate::chart::Chart;
use crate::clock;
use crate::house::House;
use crate::journal::Journal;

pub(super) async fn coverage(args: &CoverageArgs) -> Result<ExitCode, CliError> {
    let house = House::build(load(&args.config)?, Journal::default());
    let entry = house
        .cameras()
        .get(&args.camera.as_str().into())
        .ok_or_else(|| CliError::NoCamera(args.camera.clone()))?;
    let asked = TimeRange::new(
        args.from.unwrap_or(Timestamp::MIN),
        args.to.unwrap_or(Timestamp::MAX),
    )
    .ok_or(CliError::Window)?;
    let report = Report::ask(&entry, asked).await?;
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text(colour()));
    }
    Ok(if report.rows.iter().any(|row| row.error.is_some()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// What is known of one copy.
struct Row {
    /// Its clock against the first copy's: as people read it, and in numbers.
    clock: String,
    skew: Option<Estimate>,
    site: String,
    recorder: String,
    remote: String,
    lists: bool,
    coverage: Arc<Coverage>,
    error: Option<ProbeError>,
}

struct Report {
    camera: Camera,
    window: TimeRange,
    rows: Vec<Row>,
    merged: Plan,
}

impl Report {
    async fn ask(entry: &CameraEntry, asked: TimeRange) -> Result<Self, CliError> {
        let slot = &entry.slot;
        let camera = slot.camera().clone();
        let rows = camera.copies().map(|(ix, copy)| async move {
            let lists = slot
                .recorder(ix)
                .is_some_and(seamline_probes::RecorderClient::lists_coverage);
            let error = if lists {
                slot.ask(ix, asked).await.err()
            } else {
                None
            };
            Row {
                clock: String::new(),
                skew: None,
                site: copy.site.to_string(),
                recorder: copy.recorder.to_string(),
                remote: copy.remote.to_string(),
                lists,
                coverage: slot
                    .coverage(ix)
                    .unwrap_or_else(|| Arc::new(Coverage::unknown())),
                error,
            }
        });
        let mut rows: Vec<Row> = join_all(rows).await;
        let skews = clocks::compare(entry, asked).await;
        for (row, skew) in rows.iter_mut().zip(skews).skip(1) {
            row.clock = clocks::words(skew.as_ref(), entry);
            row.skew = skew;
        }
        let window = shown(asked, &rows).ok_or(CliError::Window)?;
        let request = Request {
            at: window.start(),
            until: Some(window.end()),
            direction: Direction::Forward,
        };
        let facts = slot.facts(clock::now());
        let merged = plan(&request, &facts.copies(|_| false), &entry.policy);
        Ok(Report {
            camera,
            window,
            rows,
            merged,
        })
    }

    fn text(&self, colour: bool) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.site.chars().count())
            .max()
            .unwrap_or(0)
            .max("merged".len());
        let chart = Chart::new(
            self.window,
            PAGE_COLUMNS - width - 4,
            colour,
            self.rows.iter().map(|row| row.site.clone()),
        );
        let mut lines = vec![
            format!("{}  {}  {}", self.camera.id, self.camera.name, self.window),
            String::new(),
        ];
        lines.push(format!("{:width$}  {}", "", chart.axis()));
        for row in &self.rows {
            lines.push(format!(
                "{}  {}",
                chart.name(&row.site, width),
                chart.coverage(&row.site, &row.coverage)
            ));
        }
        lines.push(format!(
            "{:width$}  {}",
            "merged",
            chart.plan(&self.merged, &self.camera)
        ));
        lines.push(format!("{:width$}  {}", "", chart.legend()));
        lines.push(String::new());
        for row in &self.rows {
            let mut name = format!("{:width$}", row.site);
            for line in row.periods(self.window) {
                lines.push(format!("{name}  {line}"));
                name = " ".repeat(width);
            }
        }
        for row in self.rows.iter().filter(|row| !row.clock.is_empty()) {
            lines.push(format!("{:width$}  clock {}", row.site, row.clock));
        }
        let mut name = format!("{:width$}", "merged");
        for step in &self.merged.steps {
            let (range, what) = self.step(step);
            lines.push(format!("{name}  {range}  {what}"));
            name = " ".repeat(width);
        }
        if self.merged.truncated {
            lines.push(format!("{name}  and more"));
        }
        lines.join("\n") + "\n"
    }

    /// A step's time and what happens in it.
    fn step(&self, step: &Step) -> (String, String) {
        match *step {
            Step::Leg {
                copy,
                from,
                until,
                reason,
            } => {
                let site = self
                    .camera
                    .copy(copy)
                    .map_or("?", |copy| copy.site.as_str());
                (
                    span(from, until),
                    format!("{site} ({})", reason.named(&self.camera)),
                )
            }
            Step::Hole { from, until } => (span(from, until), "no site holds it".to_owned()),
            Step::Outage { from, until } => (
                span(from, until),
                "only a site that cannot be reached may hold it".to_owned(),
            ),
            Step::End => (String::new(), "end".to_owned()),
        }
    }

    fn json(&self) -> Value {
        let copies: Vec<Value> = self.rows.iter().map(|row| row.json(self.window)).collect();
        let merged: Vec<Value> = self
            .merged
            .steps
            .iter()
            .map(|step| self.step_json(step))
            .collect();
        json!({
            "camera": self.camera.id.as_str(),
            "name": &*self.camera.name,
            "from": self.window.start().to_string(),
            "to": self.window.end().to_string(),
            "copies": copies,
            "merged": merged,
            "truncated": self.merged.truncated,
        })
    }

    fn step_json(&self, step: &Step) -> Value {
        let (from, until, kind) = match *step {
            Step::Leg { from, until, .. } => (from, until, "leg"),
            Step::Hole { from, until } => (from, until, "hole"),
            Step::Outage { from, until } => (from, until, "outage"),
            Step::End => return Value::Null,
        };
        let mut value = json!({ "kind": kind, "from": from.to_string(), "to": until.map(|until| until.to_string()) });
        if let Step::Leg { copy, reason, .. } = *step {
            value["site"] = json!(self.camera.copy(copy).map(|copy| copy.site.as_str()));
            value["reason"] = json!(reason.named(&self.camera).to_string());
        }
        value
    }
}

impl Row {
    fn periods(&self, window: TimeRange) -> Vec<String> {
        if let Some(error) = &self.error {
            return vec![error.to_string()];
        }
        if !self.lists {
            return vec!["cannot be listed, learned by playing".to_owned()];
        }
        let clipped = self.coverage.clip(window);
        let mut lines: Vec<String> = clipped
            .periods()
            .iter()
            .map(|period| {
                format!(
                    "{}  {:.3} s",
                    span(period.start(), Some(period.end())),
                    period.duration().as_secs_f64()
                )
            })
            .collect();
        if lines.is_empty() && clipped.windows() == [window] {
            lines.push("nothing".to_owned());
        } else if lines.is_empty() {
            lines.push("not told, learned by playing".to_owned());
        }
        if self.coverage.growing() {
            lines.push("goes on".to_owned());
        }
        lines
    }

    fn json(&self, window: TimeRange) -> Value {
        let ranges = |ranges: &[TimeRange]| -> Vec<Value> {
            let clipped = ranges.iter().filter_map(|range| range.intersect(window));
            clipped.map(|range| json!({ "from": range.start().to_string(), "to": range.end().to_string() })).collect()
        };
        json!({
            "site": self.site,
            "recorder": self.recorder,
            "remote": self.remote,
            "lists": self.lists,
            "skew": self.skew.map(|skew| json!({
                "offset_ms": skew.offset_us as f64 / 1e3,
                "within_ms": skew.within_us as f64 / 1e3,
                "basis": match skew.basis { Basis::Pictures(_) => "pictures", Basis::Clocks => "clocks" },
            })),
            "error": self.error.as_ref().map(ToString::to_string),
            "recorded": ranges(self.coverage.periods()),
            "known": ranges(self.coverage.windows()),
            "growing": self.coverage.growing(),
        })
    }
}

/// The asked window with its open ends drawn in to what is recorded.
fn shown(asked: TimeRange, rows: &[Row]) -> Option<TimeRange> {
    let first = rows.iter().filter_map(|row| row.coverage.first()).min();
    let last = rows.iter().filter_map(|row| row.coverage.last()).max();
    let start = if asked.start() == Timestamp::MIN {
        first.unwrap_or(Timestamp::EPOCH)
    } else {
        asked.start()
    };
    let end = if asked.end() == Timestamp::MAX {
        last.unwrap_or_else(clock::wall)
    } else {
        asked.end()
    };
    TimeRange::new(start, end)
}

fn span(from: Timestamp, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!("{from} .. {until}"),
        None => format!("{from} .."),
    }
}
