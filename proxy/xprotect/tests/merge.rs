//! The timeline of several recorders against a naive one: a single recorder that holds the union of their units.

use std::time::Duration;

use proptest::prelude::*;
use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_xprotect::merge::{
    Ask, Facts, GAP_MS, Need, Place, Placed, Seek, SiteFacts, Unit, resolve,
};

/// Start and end of each unit of a site, in order.
type Held = Vec<(i64, i64)>;

/// A recorder, as clients see one.
struct Recorder(Held);

impl Recorder {
    fn unit(&self, index: usize) -> Unit {
        let start = |index: usize| self.0[index].0;
        let last = self.0.len() - 1;
        let (start_ms, end_ms) = self.0[index];
        Unit {
            start_ms,
            end_ms: Some(end_ms),
            prev_ms: start(index.saturating_sub(1)),
            next_ms: start((index + 1).min(last)),
        }
    }

    fn index(&self, seek: Seek) -> Option<usize> {
        let last = self.0.len().checked_sub(1)?;
        Some(match seek {
            Seek::First => 0,
            Seek::Last => last,
            Seek::At(at) => self.0.iter().rposition(|unit| unit.0 <= at).unwrap_or(0),
        })
    }
}

/// Asks until the timeline can answer; with how often.
fn ask(ask: Ask, recorders: &[Recorder], facts: &mut Facts) -> (Option<Placed>, usize) {
    let mut asked = Vec::new();
    loop {
        match resolve(ask, facts) {
            Ok(placed) => return (placed, asked.len()),
            Err(need) => {
                assert!(!asked.contains(&need), "twice {need:?}");
                asked.push(need);
                let Need { site, seek } = need;
                match recorders[site].index(seek) {
                    Some(index) => facts.sites[site].learn(recorders[site].unit(index)),
                    None => facts.sites[site].empty = true,
                }
            }
        }
    }
}

/// What a recorder lists.
fn listed(held: &Held) -> Coverage {
    let at = |ms: i64| Timestamp::from_unix_ms(ms);
    let periods = held
        .iter()
        .filter_map(|(start, end)| TimeRange::new(at(*start), at(*end)));
    Coverage::new(TimeRange::ALL, periods, Timestamp::EPOCH, false).bridge(Duration::from_secs(1))
}

fn fresh(recorders: &[Recorder]) -> Facts {
    let site = |recorder: &Recorder| SiteFacts {
        listed: Some(listed(&recorder.0)),
        ..SiteFacts::default()
    };
    Facts {
        sites: recorders.iter().map(site).collect(),
        growing_ms: i64::MAX,
    }
}

fn reach((start, end): (i64, i64)) -> i64 {
    ((end - start) / 4).min(250)
}

/// All units of `better`, and of `worse` what has a part in its gaps.
fn union(better: &[(i64, i64, usize)], worse: &Held, site: usize) -> Vec<(i64, i64, usize)> {
    let mut all = better.to_vec();
    for &(start, end) in worse {
        let before = better.iter().rev().find(|unit| unit.0 <= start);
        let behind = better.iter().find(|unit| unit.0 > start);
        if before.is_some_and(|unit| unit.0 == start) {
            continue;
        }
        let gap_from = before.map_or(i64::MIN, |unit| unit.1);
        let gap_to = behind.map_or(i64::MAX, |unit| unit.0);
        let is_gap = before.is_none() || behind.is_none() || gap_to - gap_from > GAP_MS;
        let enters = start >= gap_from || end - gap_from > reach((start, end));
        let leaves = behind.is_none() || start < gap_to - reach((start, end));
        if is_gap && enters && leaves {
            all.push((start, end, site));
        }
    }
    all.sort_unstable();
    all
}

fn union_of(recorders: &[Recorder]) -> Vec<(i64, i64, usize)> {
    let mut all = Vec::new();
    for (site, recorder) in recorders.iter().enumerate() {
        all = union(&all, &recorder.0, site);
    }
    all
}

/// Units of about a second with gaps between some.
fn held() -> impl Strategy<Value = Held> {
    let unit = (
        prop_oneof![6 => Just(0_i64), 2 => 1_i64..1500, 1 => 2000_i64..20_000],
        prop_oneof![3 => Just(1000_i64), 2 => 40_i64..3000],
    );
    (0_i64..8000, prop::collection::vec(unit, 0..25)).prop_map(|(from, units)| {
        let mut at = 100_000 + from / 40 * 40;
        let mut held = Vec::new();
        for (pause, length) in units {
            let start = at + pause;
            at = start + length;
            held.push((start, at));
        }
        held
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_is_one_recorder_that_holds_the_union(
        sites in prop::collection::vec(held(), 1..4),
        steps in prop::collection::vec((0_u8..6, 95_000_i64..200_000), 1..12),
        keeps in any::<bool>(),
    ) {
        let recorders: Vec<Recorder> = sites.into_iter().map(Recorder).collect();
        let all = union_of(&recorders);
        let starts: Vec<i64> = all.iter().map(|unit| unit.0).collect();
        let mut facts = fresh(&recorders);
        let mut here: Option<usize> = None;
        for (step, at) in steps {
            if !keeps {
                facts = fresh(&recorders);
            }
            let last = starts.len().saturating_sub(1);
            let place = here.map(|index| Place { start_ms: all[index].0, end_ms: Some(all[index].1) });
            let (question, expected) = match (step, place, here) {
                (0, _, _) => (Ask::First, 0),
                (1, _, _) => (Ask::Last, last),
                (2 | 3, Some(place), Some(index)) => (Ask::After(place), (index + 1).min(last)),
                (4, Some(place), Some(index)) => (Ask::Before(place), index.saturating_sub(1)),
                _ => (Ask::At(at), starts.iter().rposition(|start| *start <= at).unwrap_or(0)),
            };
            let (placed, asked) = ask(question, &recorders, &mut facts);
            prop_assert!(asked <= 24, "{asked} questions for {question:?}");
            let Some(&(start, _, site)) = all.get(expected) else {
                prop_assert_eq!(placed, None);
                continue;
            };
            let placed = placed.expect("something is recorded");
            prop_assert_eq!((placed.unit.start_ms, placed.site), (start, site), "{:?} in {:?}", question, all);
            prop_assert_eq!(placed.unit.prev_ms, starts[expected.saturating_sub(1)], "{:?} in {:?}", question, all);
            prop_assert_eq!(placed.unit.next_ms, starts[(expected + 1).min(last)], "{:?} in {:?}", question, all);
            here = Some(expected);
        }
    }

    #[test]
    fn when_the_best_is_lost_the_others_go_on_without_a_step_back(
        sites in (held(), held()),
        at in 95_000_i64..200_000,
    ) {
        let recorders = [Recorder(sites.0), Recorder(sites.1)];
        let mut facts = fresh(&recorders);
        let (Some(sent), _) = ask(Ask::At(at), &recorders, &mut facts) else {
            return Ok(());
        };
        let place = Place { start_ms: sent.unit.start_ms, end_ms: sent.unit.end_ms };
        facts = fresh(&recorders);
        facts.sites[0].down = true;
        let left = &recorders[1].0;
        let (next, _) = ask(Ask::After(place), &recorders, &mut facts);
        let behind = left.iter().find(|unit| {
            let end = place.end_ms.unwrap_or(place.start_ms);
            let new = unit.0 >= end || unit.1 - end > reach(**unit);
            let same = left.iter().any(|same| same.0 == place.start_ms);
            unit.0 > place.start_ms && (new || same)
        });
        match (next, behind) {
            (Some(next), Some(behind)) => prop_assert_eq!(next.unit.start_ms, behind.0),
            (None, _) => prop_assert!(left.is_empty()),
            // Nothing newer is there: what is, is not newer.
            (Some(next), None) => prop_assert_eq!(Some(next.unit.start_ms), left.last().map(|unit| unit.0)),
        }
    }
}

/// One-second groups from one second to another.
fn seconds(ranges: &[(i64, i64)]) -> Recorder {
    let units = ranges.iter().flat_map(|(from, to)| *from..*to);
    Recorder(units.map(|at| (at * 1000, at * 1000 + 1000)).collect())
}

#[test]
fn the_golden_cases() {
    let recorders = [seconds(&[(0, 10), (40, 50)]), seconds(&[(5, 45)])];
    let at = |ms: i64| {
        ask(Ask::At(ms), &recorders, &mut fresh(&recorders))
            .0
            .unwrap()
    };
    let shown = |placed: Placed| {
        let unit = placed.unit;
        (
            placed.site,
            unit.start_ms / 1000,
            unit.prev_ms / 1000,
            unit.next_ms / 1000,
        )
    };
    let next = |placed: Placed| {
        let place = Place {
            start_ms: placed.unit.start_ms,
            end_ms: placed.unit.end_ms,
        };
        ask(Ask::After(place), &recorders, &mut fresh(&recorders))
            .0
            .unwrap()
    };
    assert_eq!(shown(at(3500)), (0, 3, 2, 4));
    assert_eq!(shown(at(9900)), (0, 9, 8, 10));
    assert_eq!(shown(next(at(9900))), (1, 10, 9, 11));
    assert_eq!(shown(at(39_500)), (1, 39, 38, 40));
    assert_eq!(shown(next(at(39_500))), (0, 40, 39, 41));
    assert_eq!(shown(at(60_000)), (0, 49, 48, 49));
    assert_eq!(shown(next(at(60_000))), (0, 49, 48, 49));
    assert_eq!(shown(at(-5)), (0, 0, 0, 1));
}

#[test]
fn inside_a_recording_only_its_own_site_is_asked() {
    let recorders = [seconds(&[(0, 10), (40, 50)]), seconds(&[(5, 45)])];
    let mut facts = fresh(&recorders);
    let (_, asked) = ask(Ask::At(3500), &recorders, &mut facts);
    assert_eq!(asked, 1);
    assert_eq!(facts.sites[1].units, []);
}

#[test]
fn a_recording_that_goes_on_has_no_gap_behind_its_newest_unit() {
    let recorders = [seconds(&[(0, 10)]), seconds(&[(0, 12)])];
    let mut facts = fresh(&recorders);
    facts.growing_ms = 9_000;
    let (placed, asked) = ask(Ask::Last, &recorders, &mut facts);
    assert_eq!((placed.unwrap().unit.start_ms, asked), (9_000, 1));
}
