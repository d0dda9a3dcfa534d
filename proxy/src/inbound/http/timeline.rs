//! `/v1/cameras/{camera}/timeline`: what each site holds, and which site will serve what.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use seamline_probes::seamline;
use seamline_routing::plan::{Direction, Reason, Request, Step, plan};
use seamline_routing::skew::Basis;
use seamline_routing::{Camera, CopyIx, Coverage, HealthState, Held, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::cameras::CameraItem;
use super::errors::Problem;
use super::gate::Admitted;
use super::service::Face;
use super::times::{Stretch, Utc, time};
use crate::cameras::CameraEntry;
use crate::clock;

/// Most stretches that are told of one copy, and of the merged timeline.
const STRETCHES_MAX: usize = 10_000;

/// What is shown where only one end is given and nothing is recorded on its other side.
const BESIDE: Duration = Duration::from_secs(86_400);

pub(super) fn routes() -> OpenApiRouter<Arc<Face>> {
    OpenApiRouter::new().routes(routes!(timeline))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Window {
    /// Start (RFC 3339); where the first known recording starts when not given.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<String>,
    /// End (RFC 3339); where the last known recording ends when not given, or now while it goes on.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<String>,
}

/// A camera's timeline.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Timeline {
    camera: CameraItem,
    /// When this was true.
    now: Utc,
    from: Utc,
    to: Utc,
    /// What each copy holds, the preferred one first.
    copies: Vec<CopyItem>,
    /// Which site will serve what, each span where the one before ends. Behind the last one nothing is left.
    merged: Vec<Span>,
    /// There is more than is told.
    truncated: bool,
    /// This Seamline, then those that it may have the footage from: one that finds itself here would ask itself.
    instances: Vec<String>,
}

/// A copy of the camera at one recorder.
#[derive(Debug, Serialize, ToSchema)]
struct CopyItem {
    site: String,
    recorder: String,
    /// The recorder's own name of the camera.
    remote: String,
    health: HealthItem,
    /// The recorder can list what it holds. What one that cannot holds is learned by playing.
    lists: bool,
    /// How long ago its listing was answered, milliseconds; null for never.
    listed_ms_ago: Option<u64>,
    /// It still records.
    growing: bool,
    /// What it is known to hold.
    recorded: Vec<Stretch>,
    /// For when it is known what it holds: in these, what is not recorded is a hole; outside, it is unknown.
    known: Vec<Stretch>,
    /// What its clock is ahead of true time, as configured, microseconds; taken off from all times here.
    clock_offset_us: i64,
    /// What its clock was measured to be ahead of the first copy's besides.
    skew: Option<SkewItem>,
}

/// A measured clock.
#[derive(Debug, Serialize, ToSchema)]
struct SkewItem {
    offset_us: i64,
    within_us: i64,
    /// `pictures` of one stream that both recorded, or what the `clocks` told.
    basis: &'static str,
}

/// Whether a recorder lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum HealthItem {
    /// Not asked yet; it is used.
    Unknown,
    /// It answers.
    Up,
    /// It failed lately; it is used, but not returned to.
    Suspect,
    /// It does not answer; it is not used.
    Down,
}

/// A stretch of the merged timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Span {
    kind: SpanKind,
    from: Utc,
    to: Utc,
    /// The site that will serve it, or will be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorder: Option<String>,
    /// Why this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SpanKind {
    /// Recorded, and served by the site.
    Leg,
    /// Not known to be recorded, nor known not to be: the site will be asked when somebody plays it.
    Unknown,
    /// No site holds it.
    Hole,
    /// Only a site that cannot be reached may hold it.
    Outage,
}

/// What each site holds of a camera, and which site will serve what.
///
/// Recorders are asked where too little is known, for as long as `probe_deadline` says.
#[utoipa::path(
    get,
    path = "/v1/cameras/{camera}/timeline",
    tag = "timeline",
    params(("camera" = String, Path, description = "the camera's id"), Window),
    responses((status = 200, body = Timeline))
)]
async fn timeline(
    Admitted { camera, query, .. }: Admitted<Window>,
) -> Result<Json<Timeline>, Problem> {
    let from = query.from.map(|text| time("from", &text)).transpose()?;
    let to = query.to.map(|text| time("to", &text)).transpose()?;
    camera.look_up(from.unwrap_or_else(clock::wall)).await;
    let asked = TimeRange::new(from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX));
    let asked = asked.ok_or_else(|| Problem::bad_request("to is not after from"))?;
    let window = camera.extent(asked, clock::wall());
    let window = window.or_else(|| beside(from, to)).unwrap_or(asked);
    Ok(Json(Timeline::of(&camera, window)))
}

/// A window on the side of one end where nothing is recorded.
fn beside(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<TimeRange> {
    match (from, to) {
        (Some(from), None) => TimeRange::new(from, from + BESIDE),
        (None, Some(to)) => TimeRange::new(to - BESIDE, to),
        _ => None,
    }
}

impl Timeline {
    fn of(entry: &CameraEntry, window: TimeRange) -> Self {
        let camera = entry.slot.camera();
        let now = clock::now();
        let facts = entry.slot.facts(now);
        let facts = facts.copies(|_| false);
        let request = Request {
            at: window.start(),
            until: Some(window.end()),
            direction: Direction::Forward,
        };
        let plan = plan(&request, &facts, &entry.policy);
        let mut truncated = plan.truncated;
        let coverages: Vec<&Coverage> = facts.iter().map(|facts| facts.coverage).collect();
        let mut merged = spans(&plan.steps, window, camera, &coverages);
        truncated |= merged.len() > STRETCHES_MAX;
        merged.truncate(STRETCHES_MAX);
        let mut copies = Vec::with_capacity(camera.copies.len());
        for ((ix, copy), facts) in camera.copies().zip(&facts) {
            let recorded = stretches(facts.coverage.periods(), window, &mut truncated);
            let known = stretches(facts.coverage.windows(), window, &mut truncated);
            let skew = entry.clocks.estimate(ix, window.start());
            copies.push(CopyItem {
                site: copy.site.to_string(),
                recorder: copy.recorder.to_string(),
                remote: copy.remote.to_string(),
                health: facts.health.into(),
                lists: facts.lists,
                listed_ms_ago: entry.slot.age(ix, now).map(|age| age.as_millis() as u64),
                growing: facts.coverage.growing(),
                recorded,
                known,
                clock_offset_us: copy.clock_offset_us,
                skew: skew.map(|skew| SkewItem {
                    offset_us: skew.offset_us,
                    within_us: skew.within_us,
                    basis: match skew.basis {
                        Basis::Pictures(_) => "pictures",
                        Basis::Clocks => "clocks",
                    },
                }),
            });
        }
        Timeline {
            camera: CameraItem::of(entry),
            now: Utc(clock::wall()),
            from: Utc(window.start()),
            to: Utc(window.end()),
            copies,
            merged,
            truncated,
            instances: instances(entry),
        }
    }
}

fn instances(entry: &CameraEntry) -> Vec<String> {
    let copies = entry.slot.camera().copies();
    let behind =
        copies.filter_map(|(ix, copy)| Some(entry.slot.recorder(ix)?.behind(&copy.remote)));
    let all = std::iter::once(seamline::instance()).chain(behind.flatten());
    all.map(|instance| instance.to_string()).collect()
}

fn stretches(ranges: &[TimeRange], window: TimeRange, truncated: &mut bool) -> Vec<Stretch> {
    let mut inside = ranges.iter().filter_map(|range| range.intersect(window));
    let told = inside
        .by_ref()
        .take(STRETCHES_MAX)
        .map(Stretch::from)
        .collect();
    *truncated |= inside.next().is_some();
    told
}

/// The steps of a plan within a window. A leg is told apart into what is recorded and what is only hoped for.
fn spans(steps: &[Step], window: TimeRange, camera: &Camera, coverages: &[&Coverage]) -> Vec<Span> {
    let mut spans = Vec::new();
    for step in steps {
        let (kind, from, until) = match *step {
            Step::Leg { from, until, .. } => (SpanKind::Leg, from, until),
            Step::Hole { from, until } => (SpanKind::Hole, from, until),
            Step::Outage { from, until } => (SpanKind::Outage, from, until),
            Step::End => break,
        };
        let range = TimeRange::new(from, until.unwrap_or(Timestamp::MAX));
        let Some(range) = range.and_then(|range| range.intersect(window)) else {
            continue;
        };
        match *step {
            Step::Leg { copy, reason, .. } => {
                let coverage = coverages.get(copy.index()).copied();
                for (kind, range) in pieces(coverage, range) {
                    spans.push(Span::leg(kind, range, camera, copy, reason));
                }
            }
            _ => spans.push(Span::bare(kind, range)),
        }
        if spans.len() > STRETCHES_MAX {
            break;
        }
    }
    spans
}

/// What of a leg is recorded and what is unknown. Gaps inside it are played over, and count as what is before them.
fn pieces(coverage: Option<&Coverage>, range: TimeRange) -> Vec<(SpanKind, TimeRange)> {
    let mut pieces: Vec<(SpanKind, TimeRange)> = Vec::new();
    let mut at = range.start();
    while at < range.end() && pieces.len() <= STRETCHES_MAX {
        let held = coverage.map_or(
            Held::Unknown {
                until: Timestamp::MAX,
            },
            |coverage| coverage.held(at),
        );
        let (kind, until) = match held {
            Held::Recorded { until } => (Some(SpanKind::Leg), until),
            Held::Unknown { until } => (Some(SpanKind::Unknown), until),
            Held::Gap { until } => (None, until),
        };
        let kind = kind
            .or(pieces.last().map(|(kind, _)| *kind))
            .unwrap_or(SpanKind::Leg);
        let until = until.min(range.end());
        let Some(piece) = TimeRange::new(at, until) else {
            break;
        };
        match pieces.last_mut() {
            Some((last, before)) if *last == kind => {
                *before = TimeRange::new(before.start(), until).unwrap_or(piece);
            }
            _ => pieces.push((kind, piece)),
        }
        at = until;
    }
    pieces
}

impl Span {
    fn bare(kind: SpanKind, range: TimeRange) -> Self {
        Span {
            kind,
            from: Utc(range.start()),
            to: Utc(range.end()),
            site: None,
            recorder: None,
            reason: None,
        }
    }

    fn leg(
        kind: SpanKind,
        range: TimeRange,
        camera: &Camera,
        copy: CopyIx,
        reason: Reason,
    ) -> Self {
        let named = camera.copy(copy);
        Span {
            site: named.map(|copy| copy.site.to_string()),
            recorder: named.map(|copy| copy.recorder.to_string()),
            reason: Some(reason.named(camera).to_string()),
            ..Span::bare(kind, range)
        }
    }
}

impl From<HealthState> for HealthItem {
    fn from(state: HealthState) -> Self {
        match state {
            HealthState::Unknown => HealthItem::Unknown,
            HealthState::Up => HealthItem::Up,
            HealthState::Suspect => HealthItem::Suspect,
            HealthState::Down => HealthItem::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn range(from: i64, until: i64) -> TimeRange {
        TimeRange::new(at(from), at(until)).unwrap()
    }

    #[test]
    fn a_leg_into_the_unknown_is_told_as_two() {
        let coverage = Coverage::new(range(0, 50), [range(0, 20), range(21, 50)], at(50), false);
        let told = pieces(Some(&coverage), range(10, 60));
        assert_eq!(
            told,
            [
                (SpanKind::Leg, range(10, 50)),
                (SpanKind::Unknown, range(50, 60))
            ]
        );
        assert_eq!(
            pieces(None, range(0, 1)),
            [(SpanKind::Unknown, range(0, 1))]
        );
    }

    proptest! {
        #[test]
        fn pieces_tile_their_leg_and_call_nothing_recorded_that_is_unknown(
            starts in proptest::collection::vec((0i64..100, 1i64..20), 0..6),
            window in (0i64..60, 1i64..60),
            leg in (0i64..100, 1i64..50),
        ) {
            let window = range(window.0, window.0 + window.1);
            let periods = starts.iter().map(|(from, length)| range(*from, from + length));
            let coverage = Coverage::new(window, periods, at(200), false);
            let leg = range(leg.0, leg.0 + leg.1);
            let told = pieces(Some(&coverage), leg);
            let mut next = leg.start();
            for (kind, piece) in &told {
                prop_assert_eq!(piece.start(), next);
                next = piece.end();
                let unknown = matches!(coverage.held(piece.start()), Held::Unknown { .. });
                prop_assert_eq!(*kind == SpanKind::Unknown, unknown);
            }
            prop_assert_eq!(next, leg.end());
            for (one, other) in told.iter().zip(told.iter().skip(1)) {
                prop_assert_ne!(one.0, other.0);
            }
        }
    }
}
