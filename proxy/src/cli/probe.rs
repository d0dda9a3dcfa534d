//! `seamline check --probe`: every copy is asked for a sign of life, its tracks and what it holds.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use seamline_probes::{ClockOffset, MediaSource, ProbeError, RecorderClient, Slot};
use seamline_routing::{CopyIx, CopyRef, Coverage, Estimate, TimeRange};
use seamline_rtsp::sdp::Description;

use super::clocks;
use super::table::Table;
use crate::cameras::CameraEntry;
use crate::clock;
use crate::house::House;

/// The answers, and whether all are good.
pub(super) async fn probe(house: &House) -> (Table, bool) {
    let mut entries: Vec<_> = house.cameras().iter().cloned().collect();
    entries.sort_by(|a, b| a.id().cmp(b.id()));
    let questions = entries.iter().flat_map(|entry| {
        entry
            .slot
            .camera()
            .copies()
            .filter_map(|(ix, copy)| Some((&*entry.slot, ix, copy, entry.slot.recorder(ix)?)))
    });
    let answers =
        join_all(questions.map(|(slot, ix, copy, recorder)| ask(slot, ix, copy, recorder))).await;
    // Once it is known what each holds.
    let compared = entries
        .iter()
        .map(|entry| async move { (entry, clocks::compare(entry, TimeRange::ALL).await) });
    let clocks: Vec<String> = join_all(compared)
        .await
        .into_iter()
        .flat_map(|(entry, estimates)| clock_cells(entry, &estimates))
        .collect();
    let mut table = Table::new([
        "camera", "site", "recorder", "remote", "answers", "its time", "tracks", "recorded",
        "clock",
    ]);
    let well = answers.iter().all(|answer| answer.well);
    for (answer, clock) in answers.into_iter().zip(clocks) {
        let mut cells = answer.cells;
        if let Some(cell) = cells.last_mut() {
            *cell = clock;
        }
        table.row(cells);
    }
    (table, well)
}

/// For each copy what its clock is ahead of the first one's.
fn clock_cells(entry: &CameraEntry, estimates: &[Option<Estimate>]) -> Vec<String> {
    let cell = |(ix, estimate): (usize, &Option<Estimate>)| match ix {
        0 => "-".to_owned(),
        _ => clocks::words(estimate.as_ref(), entry),
    };
    estimates.iter().enumerate().map(cell).collect()
}

struct Answered {
    /// The last one is filled in when the clocks are known.
    cells: [String; 9],
    well: bool,
}

async fn ask(slot: &Slot, ix: CopyIx, copy: &CopyRef, recorder: &RecorderClient) -> Answered {
    let asked = clock::now();
    let ping = recorder.ping().await;
    let took = clock::now().saturating_duration_since(asked);
    let plays = !matches!(recorder.media(), MediaSource::None);
    let (tracks, listing) = match &ping {
        Ok(()) => {
            let tracks = if plays {
                Some(slot.ask_description(ix).await)
            } else {
                None
            };
            let listing = if recorder.lists_coverage() {
                Some(slot.ask(ix, TimeRange::ALL).await)
            } else {
                None
            };
            (tracks, listing)
        }
        Err(_) => (None, None),
    };
    let offset = match &ping {
        Ok(()) => recorder.clock_offset().await.ok().flatten(),
        Err(_) => None,
    };
    let well = ping.is_ok()
        && tracks.as_ref().is_none_or(Result::is_ok)
        && listing.as_ref().is_none_or(Result::is_ok);
    let coverage = slot.coverage(ix);
    let reached = ping.is_ok();
    let cells = [
        slot.camera().id.to_string(),
        copy.site.to_string(),
        copy.recorder.to_string(),
        copy.remote.to_string(),
        answers(ping, took),
        its_time(offset, copy.clock_offset_us),
        match tracks {
            Some(Ok(description)) => codecs(&description),
            Some(Err(error)) => error.to_string(),
            None if reached => "cannot be played by this version".to_owned(),
            None => "-".to_owned(),
        },
        match listing {
            Some(Ok(())) if !recorder.shows_gaps() => {
                "gaps are not told, learned by playing".to_owned()
            }
            Some(Ok(())) => recorded(&coverage.unwrap_or_else(|| Arc::new(Coverage::unknown()))),
            Some(Err(error)) => error.to_string(),
            None if reached => "cannot be listed, learned by playing".to_owned(),
            None => "-".to_owned(),
        },
        String::new(),
    ];
    Answered { cells, well }
}

fn answers(ping: Result<(), ProbeError>, took: Duration) -> String {
    match ping {
        Ok(()) => format!("in {:.1} ms", took.as_secs_f64() * 1e3),
        Err(error) => error.to_string(),
    }
}

/// How far a recorder's clock is ahead of this machine's, and what the configuration says where that is another.
fn its_time(offset: Option<ClockOffset>, configured_us: i64) -> String {
    let Some(offset) = offset else {
        return "-".to_owned();
    };
    let seconds = offset.micros as f64 / 1e6;
    let within = offset.uncertainty.as_secs_f64();
    let apart = offset.micros.abs_diff(configured_us);
    let configured = if u128::from(apart) > offset.uncertainty.as_micros() {
        format!(", configured {:+.1} s", configured_us as f64 / 1e6)
    } else {
        String::new()
    };
    format!("{seconds:+.1} s (within {within:.1} s){configured}")
}

fn codecs(description: &Description) -> String {
    let names: Vec<String> = description
        .tracks
        .iter()
        .map(|track| track.encoding.to_uppercase())
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn recorded(coverage: &Coverage) -> String {
    match (coverage.first(), coverage.last()) {
        (Some(first), Some(last)) => {
            let goes_on = if coverage.growing() { ", goes on" } else { "" };
            let count = coverage.periods().len();
            format!(
                "{first} .. {last} in {count} period{}{goes_on}",
                if count == 1 { "" } else { "s" }
            )
        }
        _ => "nothing".to_owned(),
    }
}
