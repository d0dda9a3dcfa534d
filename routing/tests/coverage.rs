//! Coverage against a naive model: one answer an instant, on a short line of time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use seamline_routing::coverage::{Coverage, Held, HeldBefore};
use seamline_routing::time::{TimeRange, Timestamp};

/// Instants of the model. What is modelled happens before [`BUSY`], so that the last instant stands for all later ones.
const LINE: i64 = 64;
const BUSY: i64 = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Recorded,
    Gap,
    Unknown,
}

/// What a [`Coverage`] means.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    cells: Vec<Cell>,
    /// Up to where a growing tail was seen written.
    written: Option<i64>,
}

impl Model {
    fn new(window: (i64, i64), periods: &[(i64, i64)], growing: bool) -> Self {
        let written = periods
            .iter()
            .map(|period| period.1)
            .max()
            .filter(|_| growing);
        let cells = (0..LINE)
            .map(|at| {
                let recorded = periods
                    .iter()
                    .any(|&(start, end)| (start..end).contains(&at));
                match written {
                    _ if recorded => Cell::Recorded,
                    Some(written) if at >= written => Cell::Recorded,
                    _ if (window.0..window.1).contains(&at) => Cell::Gap,
                    _ => Cell::Unknown,
                }
            })
            .collect();
        Self { cells, written }
    }

    fn of(coverage: &Coverage) -> Self {
        let cells = (0..LINE)
            .map(|at| match coverage.held(us(at)) {
                Held::Recorded { .. } => Cell::Recorded,
                Held::Gap { .. } => Cell::Gap,
                Held::Unknown { .. } => Cell::Unknown,
            })
            .collect();
        let written = coverage
            .last()
            .filter(|_| coverage.growing())
            .map(Timestamp::as_micros);
        Self { cells, written }
    }

    fn zip(&self, other: &Self, rule: impl Fn(Cell, Cell) -> Cell) -> Vec<Cell> {
        self.cells
            .iter()
            .zip(&other.cells)
            .map(|(&a, &b)| rule(a, b))
            .collect()
    }

    /// The first instant from `at` on that differs from it; [`LINE`] when all that follow are alike.
    fn run_end(&self, at: usize) -> i64 {
        let length = self.cells[at..]
            .iter()
            .take_while(|&&cell| cell == self.cells[at])
            .count();
        (at + length) as i64
    }

    fn run_start(&self, at: usize) -> i64 {
        let length = self.cells[..=at]
            .iter()
            .rev()
            .take_while(|&&cell| cell == self.cells[at])
            .count();
        (at + 1 - length) as i64
    }

    /// A gap at the last instant of a tail that was seen written, or later, ends the tail there.
    fn stop(&self, newer: &Self) -> Option<i64> {
        let written = self.written?;
        (written - 1..LINE).find(|&at| newer.cells[at as usize] == Cell::Gap)
    }

    fn merge(&self, newer: &Self) -> Vec<Cell> {
        let stop = self.stop(newer);
        (0..LINE)
            .map(|at| {
                let old = self.cells[at as usize];
                match (newer.cells[at as usize], stop) {
                    (Cell::Unknown, Some(stop)) if at >= stop => Cell::Unknown,
                    (Cell::Unknown, _) => old,
                    (new, _) => new,
                }
            })
            .collect()
    }
}

fn us(at: i64) -> Timestamp {
    Timestamp::from_micros(at)
}

fn range((start, end): (i64, i64)) -> TimeRange {
    TimeRange::new(us(start), us(end)).unwrap()
}

fn span() -> impl Strategy<Value = (i64, i64)> {
    (0..BUSY - 1, 1..20i64).prop_map(|(start, length)| (start, (start + length).min(BUSY)))
}

fn answer() -> impl Strategy<Value = (Coverage, Model)> {
    (
        span(),
        prop::collection::vec(span(), 0..6),
        any::<bool>(),
        0..100i64,
    )
        .prop_map(|(window, periods, growing, learned)| {
            let ranges = periods.iter().copied().map(range);
            let coverage = Coverage::new(range(window), ranges, us(learned), growing);
            (coverage, Model::new(window, &periods, growing))
        })
}

/// One answer, or two about different windows.
fn coverage() -> impl Strategy<Value = (Coverage, Model)> {
    (answer(), prop::option::of(answer())).prop_map(|((first, model), second)| match second {
        Some((second, _)) => {
            let both = first.merge(&second);
            let model = Model::of(&both);
            (both, model)
        }
        None => (first, model),
    })
}

fn is_normal(ranges: &[TimeRange]) -> bool {
    ranges
        .windows(2)
        .all(|pair| pair[0].end() < pair[1].start())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn new_means_what_was_answered(
        window in span(),
        periods in prop::collection::vec(span(), 0..6),
        growing: bool,
    ) {
        let coverage = Coverage::new(range(window), periods.iter().copied().map(range), us(0), growing);
        prop_assert_eq!(Model::of(&coverage), Model::new(window, &periods, growing));
    }

    #[test]
    fn sets_are_normal_and_periods_known((coverage, _) in coverage()) {
        prop_assert!(is_normal(coverage.periods()) && is_normal(coverage.windows()));
        for period in coverage.periods() {
            let known = coverage.windows().iter().any(|window| window.intersect(*period) == Some(*period));
            prop_assert!(known);
        }
    }

    #[test]
    fn answers_last_until_another((coverage, model) in coverage(), at in 0..LINE) {
        let end = model.run_end(at as usize);
        let end = if end == LINE { Timestamp::MAX } else { us(end) };
        let wanted = match model.cells[at as usize] {
            Cell::Recorded => Held::Recorded { until: end },
            Cell::Gap => Held::Gap { until: end },
            Cell::Unknown => Held::Unknown { until: end },
        };
        prop_assert_eq!(coverage.held(us(at)), wanted);
    }

    #[test]
    fn answers_looking_back_last_since_another((coverage, model) in coverage(), at in 1..LINE) {
        let before = at as usize - 1;
        let start = model.run_start(before);
        let wanted = match model.cells[before] {
            Cell::Recorded => HeldBefore::Recorded { since: us(start) },
            Cell::Gap => HeldBefore::Gap { since: us(start) },
            Cell::Unknown if start == 0 => HeldBefore::Unknown { since: Timestamp::MIN },
            Cell::Unknown => HeldBefore::Unknown { since: us(start) },
        };
        prop_assert_eq!(coverage.held_before(us(at)), wanted);
    }

    #[test]
    fn next_and_previous((coverage, model) in coverage(), at in 0..LINE) {
        let recorded = |at: &i64| model.cells[*at as usize] == Cell::Recorded;
        prop_assert_eq!(coverage.next_start(us(at)), (at..LINE).find(recorded).map(us));
        let end = (0..at).rev().find(recorded).map(|at| us(at + 1));
        prop_assert_eq!(coverage.previous_end(us(at)), end);
        prop_assert_eq!(coverage.first(), (0..LINE).find(recorded).map(us));
    }

    #[test]
    fn union_is_recorded_where_either_is((a, model_a) in coverage(), (b, model_b) in coverage()) {
        let union = a.union(&b);
        let wanted = model_a.zip(&model_b, |a, b| match (a, b) {
            (Cell::Recorded, _) | (_, Cell::Recorded) => Cell::Recorded,
            (Cell::Gap, Cell::Gap) => Cell::Gap,
            _ => Cell::Unknown,
        });
        prop_assert_eq!(Model::of(&union).cells, wanted);
        prop_assert_eq!(union.growing(), a.growing() || b.growing());
        prop_assert_eq!(union.learned(), a.learned().min(b.learned()));
        prop_assert_eq!(&union, &b.union(&a));
    }

    #[test]
    fn difference_is_what_only_the_first_holds((a, model_a) in coverage(), (b, model_b) in coverage()) {
        let difference = a.difference(&b);
        let wanted = model_a.zip(&model_b, |a, b| match (a, b) {
            (Cell::Recorded, Cell::Gap) => Cell::Recorded,
            (Cell::Gap, _) | (_, Cell::Recorded) => Cell::Gap,
            _ => Cell::Unknown,
        });
        prop_assert_eq!(Model::of(&difference).cells, wanted);
    }

    #[test]
    fn merge_believes_the_newer((old, model_old) in coverage(), (new, model_new) in coverage()) {
        let merged = old.merge(&new);
        prop_assert_eq!(Model::of(&merged).cells, model_old.merge(&model_new));
        prop_assert_eq!(merged.learned(), old.learned().max(new.learned()));
        prop_assert_eq!(&merged.merge(&new), &merged);
        let still = old.growing() && model_old.stop(&model_new).is_none();
        prop_assert_eq!(merged.growing(), new.growing() || still);
        if new.growing() {
            prop_assert_eq!(merged.last(), new.last());
        } else if still {
            prop_assert_eq!(merged.last(), old.last().max(new.last()));
        }
        prop_assert!(is_normal(merged.periods()) && is_normal(merged.windows()));
    }

    #[test]
    fn learned_periods_are_held((mut coverage, model) in coverage(), taught in span()) {
        let learned = coverage.learned();
        coverage.learn_recorded(range(taught));
        let mut wanted = model.cells;
        wanted[taught.0 as usize..taught.1 as usize].fill(Cell::Recorded);
        prop_assert_eq!(Model::of(&coverage).cells, wanted);
        prop_assert_eq!(coverage.learned(), learned);
        if let Some(written) = model.written {
            prop_assert!(coverage.growing());
            prop_assert_eq!(coverage.last(), Some(us(written.max(taught.1))));
        }
    }

    #[test]
    fn learned_gaps_are_not_held((mut coverage, model) in coverage(), taught in span()) {
        coverage.learn_gap(range(taught));
        let mut newer = Model::of(&Coverage::unknown());
        newer.cells[taught.0 as usize..taught.1 as usize].fill(Cell::Gap);
        prop_assert_eq!(Model::of(&coverage).cells, model.merge(&newer));
        prop_assert_eq!(coverage.growing(), model.written.is_some_and(|written| written > taught.1));
    }

    #[test]
    fn bridge_fills_short_gaps((coverage, model) in coverage(), shortest in 0..8i64) {
        let is_bridged = |at: usize| {
            let (start, end) = (model.run_start(at), model.run_end(at));
            let inner = start > 0 && end < LINE && end - start < shortest;
            let recorded = |at: i64| model.cells[at as usize] == Cell::Recorded;
            model.cells[at] == Cell::Gap && inner && recorded(start - 1) && recorded(end)
        };
        let wanted: Vec<_> = (0..LINE as usize)
            .map(|at| if is_bridged(at) { Cell::Recorded } else { model.cells[at] })
            .collect();
        let bridged = coverage.bridge(Duration::from_micros(shortest as u64));
        prop_assert_eq!(Model::of(&bridged).cells, wanted);
        prop_assert_eq!((bridged.growing(), bridged.last()), (coverage.growing(), coverage.last()));
    }

    #[test]
    fn shift_moves_every_answer((coverage, model) in coverage(), by in -1_000i64..1_000) {
        let shifted = coverage.shift(by);
        prop_assert_eq!(&shifted.shift(-by), &coverage);
        for (at, cell) in (0..).zip(&model.cells) {
            let held = match shifted.held(us(at + by)) {
                Held::Recorded { .. } => Cell::Recorded,
                Held::Gap { .. } => Cell::Gap,
                Held::Unknown { .. } => Cell::Unknown,
            };
            prop_assert_eq!(held, *cell);
        }
    }

    #[test]
    fn clip_keeps_the_answers_inside((coverage, model) in coverage(), kept in span()) {
        let clipped = coverage.clip(range(kept));
        let grows = model.written.is_some_and(|written| written < kept.1);
        let wanted: Vec<_> = (0..LINE)
            .map(|at| match model.cells[at as usize] {
                cell if (kept.0..kept.1).contains(&at) => cell,
                _ if grows && at >= kept.1 => Cell::Recorded,
                _ => Cell::Unknown,
            })
            .collect();
        prop_assert_eq!(Model::of(&clipped).cells, wanted);
        prop_assert_eq!(clipped.growing(), grows);
    }
}

#[test]
fn nothing_is_known_at_first() {
    let coverage = Coverage::unknown();
    assert_eq!(
        coverage.held(us(0)),
        Held::Unknown {
            until: Timestamp::MAX
        }
    );
    assert_eq!(
        coverage.held_before(us(0)),
        HeldBefore::Unknown {
            since: Timestamp::MIN
        }
    );
    assert_eq!((coverage.first(), coverage.last()), (None, None));
    assert_eq!(
        (coverage.next_start(us(0)), coverage.previous_end(us(0))),
        (None, None)
    );
    assert!(coverage.age(us(0)) > Duration::from_secs(86_400 * 365 * 1_000));
}

#[test]
fn the_whole_of_time_may_be_asked() {
    let empty = Coverage::new(TimeRange::ALL, [], us(5), true);
    assert_eq!(
        empty.held(Timestamp::MIN),
        Held::Gap {
            until: Timestamp::MAX
        }
    );
    assert_eq!(
        empty.held_before(Timestamp::MAX),
        HeldBefore::Gap {
            since: Timestamp::MIN
        }
    );
    assert!(!empty.growing());
    let full = Coverage::new(TimeRange::ALL, [TimeRange::ALL], us(5), true);
    assert_eq!(
        full.held(Timestamp::MIN),
        Held::Recorded {
            until: Timestamp::MAX
        }
    );
    assert_eq!(full.shift(1_000), full);
    assert_eq!(full.merge(&empty).periods(), []);
    assert_eq!(empty.merge(&full).periods(), full.periods());
}

#[test]
fn a_tail_that_ended_while_nobody_looked_is_a_gap_and_then_unknown() {
    let growing = Coverage::new(range((0, 10)), [range((2, 10))], us(10), true);
    let later = Coverage::new(range((5, 30)), [range((5, 20))], us(30), false);
    let merged = growing.merge(&later);
    assert!(!merged.growing());
    assert_eq!(merged.periods(), [range((2, 20))]);
    assert_eq!(merged.held(us(20)), Held::Gap { until: us(30) });
    assert_eq!(
        merged.held(us(30)),
        Held::Unknown {
            until: Timestamp::MAX
        }
    );
}

#[test]
fn an_answer_about_the_past_leaves_a_tail_growing() {
    let growing = Coverage::new(range((0, 40)), [range((2, 40))], us(40), true);
    let past = Coverage::new(range((0, 20)), [range((5, 20))], us(50), false);
    let merged = growing.merge(&past);
    assert_eq!(merged.periods(), [range((5, 40))]);
    assert_eq!(
        merged.held(us(60)),
        Held::Recorded {
            until: Timestamp::MAX
        }
    );
    assert_eq!(merged.age(us(55)), Duration::from_micros(5));
}
