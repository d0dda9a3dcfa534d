//! What the demo shows.

use std::time::{Duration, Instant};

use seamline_routing::plan::{Direction, Plan, Reason, Request, Step, plan};
use seamline_routing::{Camera, TimeRange, Timestamp};

use super::DemoError;
use super::clips::CAMERA;
use super::stage::SITES;
use crate::cameras::CameraEntry;
use crate::chart::Chart;
use crate::cli::{PAGE_COLUMNS, colour};
use crate::clock;
use crate::house::House;
use crate::journal::{Decision, What};

/// Columns of the names before the bars.
const NAME_COLUMNS: usize = 10;
const INDENT: usize = 2;
/// `12:00:00.000`
const CLOCK_COLUMNS: usize = 12;
/// `primary → secondary`
const ROUTE_COLUMNS: usize = 20;
/// How long listing the demo's own files may take.
const LIST_WITHIN: Duration = Duration::from_secs(5);

/// The charts of one window.
pub(super) struct Screen {
    chart: Chart,
    colour: bool,
    began: Instant,
}

impl Screen {
    pub(super) fn new(window: TimeRange) -> Self {
        let columns = PAGE_COLUMNS - 2 * INDENT - NAME_COLUMNS - 1;
        let chart = Chart::new(window, columns, colour(), SITES.map(str::to_owned));
        Screen {
            chart,
            colour: colour(),
            began: clock::now(),
        }
    }

    /// A line in bold.
    pub(super) fn title(&self, text: &str) -> String {
        if self.colour {
            format!("\n{:INDENT$}\x1b[1m{text}\x1b[0m\n", "")
        } else {
            format!("\n{:INDENT$}{text}\n", "")
        }
    }

    /// What the sites hold of `window`, and who would serve what.
    pub(super) async fn coverage(
        &self,
        house: &House,
        window: TimeRange,
    ) -> Result<String, DemoError> {
        let entry = house
            .cameras()
            .get(&CAMERA.into())
            .ok_or(DemoError::Recorder)?;
        entry.slot.refresh(LIST_WITHIN).await;
        let mut lines = vec![self.line("", &self.chart.axis())];
        for (ix, copy) in entry.slot.camera().copies() {
            let site = copy.site.as_str();
            let coverage = entry.slot.coverage(ix).ok_or(DemoError::Recorder)?;
            lines.push(self.line(site, &self.chart.coverage(site, &coverage)));
        }
        lines.push(
            self.line(
                "merged",
                &self
                    .chart
                    .plan(&plan_of(&entry, window), entry.slot.camera()),
            ),
        );
        lines.push(self.line("", &self.chart.legend()));
        Ok(lines.join("\n"))
    }

    /// Who served what, by the decisions that were made.
    pub(super) fn played(
        &self,
        decisions: &[Decision],
        camera: &Camera,
        until: Timestamp,
    ) -> String {
        let mut steps: Vec<Step> = Vec::new();
        for decision in decisions {
            let What::Switch { at, to, .. } = &decision.what else {
                continue;
            };
            if let Some(Step::Leg { until, .. }) = steps.last_mut() {
                *until = Some(*at);
            }
            if let Some((copy, _)) = camera.copies().find(|(_, copy)| copy.site.as_str() == to) {
                steps.push(Step::Leg {
                    copy,
                    from: *at,
                    until: Some(until),
                    reason: Reason::PRIORITY,
                });
            }
        }
        self.line(
            "played",
            &self.chart.plan(
                &Plan {
                    steps,
                    truncated: false,
                },
                camera,
            ),
        )
    }

    /// A routing decision, or what was done to the recorders.
    pub(super) fn event(&self, what: &str) -> String {
        let since = clock::now().saturating_duration_since(self.began);
        format!("{:INDENT$}{:>7.3} s  {what}", "", since.as_secs_f64())
    }

    /// A routing decision: capture time, what happens, why.
    pub(super) fn decision(&self, decision: &Decision) -> String {
        let site = |name: &str| self.chart.name(name, 0);
        match &decision.what {
            What::Switch {
                at,
                from,
                to,
                reason,
                took,
            } => {
                let before = from.as_deref().map_or(0, |from| from.chars().count() + 1);
                let pad = ROUTE_COLUMNS.saturating_sub(before + to.chars().count() + 2);
                let from = from
                    .as_deref()
                    .map(|from| site(from) + " ")
                    .unwrap_or_default();
                format!(
                    "{}  {from}→ {}{:pad$}  {reason}, took {} ms",
                    clock_of(*at),
                    site(to),
                    "",
                    took.as_millis()
                )
            }
            What::Hole { range, reason, .. } => format!(
                "{}  {reason} until {}",
                clock_of(range.start()),
                clock_of(range.end())
            ),
            What::Waiting(at) => format!("{}  waits for a site that may hold it", clock_of(*at)),
            What::LegFailed { site: name, why } => {
                format!("{:CLOCK_COLUMNS$}  {} failed: {why}", "", site(name))
            }
            What::Ended { at, why } => format!("{}  {why}", clock_of(*at)),
        }
    }

    fn line(&self, name: &str, row: &str) -> String {
        let name = if SITES.contains(&name) {
            self.chart.name(name, NAME_COLUMNS)
        } else {
            format!("{name:<NAME_COLUMNS$}")
        };
        format!("{:INDENT$}{name} {row}", "")
    }
}

/// The time of day.
fn clock_of(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..11 + CLOCK_COLUMNS).unwrap_or(&text).to_owned()
}

fn plan_of(entry: &CameraEntry, window: TimeRange) -> Plan {
    let request = Request {
        at: window.start(),
        until: Some(window.end()),
        direction: Direction::Forward,
    };
    let facts = entry.slot.facts(clock::now());
    plan(&request, &facts.copies(|_| false), &entry.policy)
}
