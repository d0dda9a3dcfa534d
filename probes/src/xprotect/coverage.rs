//! What a recorder holds of a camera: `SequencesGet`, page by page.

use std::time::Duration;

use seamline_routing::{Coverage, TimeRange, Timestamp};
use seamline_xprotect::sequences::{self, Entry, Query};

use super::Site;
use crate::{
    recorder::{CoverageQuery, ProbeError},
    xml::Element,
};

pub(super) async fn list(
    site: &Site,
    query: CoverageQuery,
    learned: Timestamp,
) -> Result<Coverage, ProbeError> {
    let place = site.locate(&query.remote).await?;
    let start = query.window.start().max(OLDEST);
    let end = query.window.end().min(learned + AHEAD);
    let (mut from, mut entries, mut there) = (start, Vec::<Entry>::new(), learned);
    for _ in 0..PAGES_MAX {
        let Some(window) = TimeRange::new(from, end) else {
            break;
        };
        let asked = site.recorder_call(&place, Query::OPERATION, |token| {
            let device = &place.device;
            Query {
                token,
                device,
                window,
                count_max: PAGE,
            }
            .write()
        });
        let (result, date) = asked.await?;
        there = date.unwrap_or(there);
        let page = read(result.as_ref())?;
        let Some(last) = page.iter().map(|entry| entry.end).max() else {
            return Ok(covered(&entries, query.window, there, learned));
        };
        entries.extend(page);
        // The next page begins behind the end of this one.
        let next = last + Duration::from_micros(1);
        if next <= from || next >= end {
            return Ok(covered(&entries, query.window, there, learned));
        }
        from = next;
    }
    // What lies behind the last page is not known.
    let known = TimeRange::new(query.window.start(), from).unwrap_or(query.window);
    Ok(covered(&entries, known, there, learned))
}

fn read(result: Option<&Element>) -> Result<Vec<Entry>, ProbeError> {
    sequences::entries(result)
        .ok_or_else(|| ProbeError::protocol("SequencesGet: a time that cannot be read"))
}

/// `there` is the recorder's time of day, to the second.
fn covered(entries: &[Entry], window: TimeRange, there: Timestamp, learned: Timestamp) -> Coverage {
    let last = entries.iter().map(|entry| entry.end).max();
    let growing = last.is_some_and(|last| last > there - GROWING_WITHIN);
    // One that goes on may be told to end later than now.
    let periods = entries
        .iter()
        .filter_map(|entry| TimeRange::new(entry.begin, entry.end.min(there + CLOCK_SLACK)));
    Coverage::new(window, periods, learned, growing).bridge(JOIN)
}

/// Sequences in one answer, as other clients ask.
const PAGE: usize = 1000;
const PAGES_MAX: usize = 50;
/// Sequences are split where recordings are moved: shorter holes are none.
const JOIN: Duration = Duration::from_secs(1);
/// One that ends this close to now is being recorded.
const GROWING_WITHIN: Duration = Duration::from_secs(15);
/// The recorder's time of day is told to the second.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// Clocks of recorders run ahead.
const AHEAD: Duration = Duration::from_secs(86_400);
/// 2000-01-02: nothing was recorded to disk before.
const OLDEST: Timestamp = Timestamp::from_micros(946_771_200_000_000);
