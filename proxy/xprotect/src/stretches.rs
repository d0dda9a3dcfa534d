//! Stretches of several recorders as those of one: what a worse one adds to a better one, and where a client goes that steps from
//! one stretch to another.

use seamline_routing::{Coverage, Held, HeldBefore, TimeRange, Timestamp};

use crate::{Span, sequences::Entry};

/// Where `nextsequence` goes from an instant: the beginning of the first stretch behind it; `None` where there is none.
pub fn next(held: &Coverage, at: Timestamp) -> Option<Timestamp> {
    let from = match held.held(at) {
        Held::Recorded {
            until: Timestamp::MAX,
        } => return None,
        Held::Recorded { until } => until,
        Held::Gap { .. } | Held::Unknown { .. } => at,
    };
    held.next_start(from)
}

/// Where `previoussequence` goes: the beginning of the stretch that holds the instant or, at its beginning, of the one before.
/// `begin_ms` is how far behind the listed beginning of a stretch its first picture may be.
pub fn previous(held: &Coverage, at: Timestamp, begin_ms: i64) -> Option<Timestamp> {
    let behind = at.shift(1);
    let last = held.previous_end(behind)?;
    let HeldBefore::Recorded { since } = held.held_before(last) else {
        return None;
    };
    if at.micros_since(since) > begin_ms * 1000 {
        return Some(since);
    }
    let before = held.previous_end(since)?;
    match held.held_before(before) {
        HeldBefore::Recorded { since } => Some(since),
        _ => None,
    }
}

/// What is left of a stretch where a better recorder has none of its own: in order, none shorter than nothing.
pub fn outside(stretch: TimeRange, better: &Coverage) -> Vec<TimeRange> {
    let mut left = Vec::new();
    let mut from = stretch.start();
    for period in better.periods() {
        if period.end() <= from {
            continue;
        }
        if period.start() >= stretch.end() {
            break;
        }
        left.extend(TimeRange::new(from, period.start()));
        from = from.max(period.end());
    }
    left.extend(TimeRange::new(from, stretch.end()));
    left
}

/// Entries of sites, the best first, with what each is known to have recorded: those of a worse one are cut to where the better
/// ones recorded nothing. By their beginnings.
pub fn merged(sites: &[(Vec<Entry>, Option<Coverage>)]) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut better: Option<Coverage> = None;
    for (entries, recorded) in sites {
        for entry in entries {
            let range = TimeRange::new(entry.begin, entry.end);
            match (&better, range) {
                (Some(better), Some(range)) => {
                    let left = outside(range, better).into_iter();
                    all.extend(left.map(|left| Entry {
                        begin: left.start(),
                        trigged: entry.trigged.clamp(left.start(), left.end()),
                        end: left.end(),
                    }));
                }
                (Some(better), None) if is_recorded(better, entry.begin) => {}
                _ => all.push(*entry),
            }
        }
        if let Some(recorded) = recorded {
            better = Some(match better {
                Some(better) => better.union(recorded),
                None => recorded.clone(),
            });
        }
    }
    all.sort_by_key(|entry| (entry.begin, entry.end));
    all
}

/// The same of the older listing. Of more than `count` those are left out that are farthest from `center`.
pub fn alarms(
    sites: &[(Vec<Span>, Option<Coverage>)],
    count: Option<usize>,
    center: Option<i64>,
) -> Vec<Span> {
    let at = Timestamp::from_unix_ms;
    let mut all: Vec<Span> = Vec::new();
    let mut better: Option<Coverage> = None;
    for (spans, recorded) in sites {
        for span in spans {
            let range = TimeRange::new(at(span.start_ms), at(span.end_ms));
            match (&better, range) {
                (Some(better), Some(range)) => {
                    all.extend(outside(range, better).into_iter().map(|left| {
                        let (start_ms, end_ms) =
                            (left.start().as_unix_ms(), left.end().as_unix_ms());
                        Span {
                            start_ms,
                            alarm_ms: span.alarm_ms.clamp(start_ms, end_ms),
                            end_ms,
                        }
                    }));
                }
                (Some(better), None) if is_recorded(better, at(span.start_ms)) => {}
                _ => all.push(*span),
            }
        }
        if let Some(recorded) = recorded {
            better = Some(match better {
                Some(better) => better.union(recorded),
                None => recorded.clone(),
            });
        }
    }
    all.sort_by_key(|span| (span.start_ms, span.end_ms));
    if let Some(count) = count
        && all.len() > count
    {
        if let Some(center) = center {
            all.sort_by_key(|span| {
                let near = center.clamp(span.start_ms, span.end_ms.max(span.start_ms));
                (near - center).abs()
            });
        }
        all.truncate(count);
        all.sort_by_key(|span| (span.start_ms, span.end_ms));
    }
    all
}

fn is_recorded(coverage: &Coverage, at: Timestamp) -> bool {
    matches!(coverage.held(at), Held::Recorded { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1000)
    }

    fn held(periods: &[(i64, i64)]) -> Coverage {
        let periods = periods
            .iter()
            .filter_map(|(from, to)| TimeRange::new(s(*from), s(*to)));
        Coverage::new(TimeRange::ALL, periods, Timestamp::EPOCH, false)
    }

    fn entries(periods: &[(i64, i64)]) -> Vec<Entry> {
        let entry = |(from, to): &(i64, i64)| Entry::plain(s(*from), s(*to));
        periods.iter().map(entry).collect()
    }

    #[test]
    fn a_worse_recorder_adds_what_lies_in_gaps() {
        let primary = [(0, 10), (40, 50)];
        let secondary = [(5, 45)];
        let sites = [
            (entries(&primary), Some(held(&primary))),
            (entries(&secondary), Some(held(&secondary))),
        ];
        assert_eq!(merged(&sites), entries(&[(0, 10), (10, 40), (40, 50)]));
        // What set one off stays what it was, within what is left of it.
        let trigged = |at: i64| Entry {
            trigged: s(at),
            ..Entry::plain(s(5), s(45))
        };
        for (at, left) in [(12, 12), (7, 10), (44, 40)] {
            let sites = [
                (entries(&primary), Some(held(&primary))),
                (vec![trigged(at)], Some(held(&secondary))),
            ];
            let told = merged(&sites)[1];
            assert_eq!(
                (told.begin, told.trigged, told.end),
                (s(10), s(left), s(40))
            );
        }
        // Of one that is not known to have recorded anything all is taken.
        let sites = [(vec![], None), (entries(&secondary), None)];
        assert_eq!(merged(&sites), entries(&secondary));
    }

    #[test]
    fn alarms_are_cut_likewise_and_no_more_are_told_than_were_asked_for() {
        let span = |start: i64, end: i64| Span {
            start_ms: start * 1000,
            alarm_ms: start * 1000,
            end_ms: end * 1000,
        };
        let primary = [(0, 10), (40, 50)];
        let sites = [
            (vec![span(2, 4), span(41, 42)], Some(held(&primary))),
            (vec![span(3, 4), span(8, 12), span(20, 21)], None),
        ];
        let all = [span(2, 4), span(10, 12), span(20, 21), span(41, 42)];
        assert_eq!(alarms(&sites, None, None), all);
        assert_eq!(alarms(&sites, Some(2), None), all[..2]);
        assert_eq!(alarms(&sites, Some(2), Some(22_000)), all[1..3]);
    }

    #[test]
    fn stretches_are_stepped_through() {
        let held = held(&[(0, 10), (20, 30), (40, 50)]);
        assert_eq!(next(&held, s(3)), Some(s(20)));
        assert_eq!(next(&held, s(15)), Some(s(20)));
        assert_eq!(next(&held, s(29)), Some(s(40)));
        assert_eq!(next(&held, s(45)), None);
        assert_eq!(previous(&held, s(25), 100), Some(s(20)));
        assert_eq!(previous(&held, s(20), 100), Some(s(0)));
        assert_eq!(previous(&held, s(35), 100), Some(s(20)));
        assert_eq!(previous(&held, s(0), 100), None);
    }
}
