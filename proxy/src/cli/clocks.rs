//! The clocks of a camera's copies side by side: a stretch that all hold, picture by picture, and what recorders say.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use seamline_media::Codec;
use seamline_media::identity::{Shown, align};
use seamline_probes::MediaSource;
use seamline_routing::plan::Direction;
use seamline_routing::policy::ClockSkew;
use seamline_routing::skew::Estimate;
use seamline_routing::{CopyIx, Held, TimeRange, Timestamp};
use seamline_rtsp::headers::Frames;
use seamline_rtsp::sdp::{Media, Track};
use tokio::time::timeout;

use crate::cameras::CameraEntry;
use crate::clocks::is_usable;
use crate::outbound::{Arrival, Leg, Order, UNREAD_BYTES_MAX};

/// Footage that is compared of each copy.
const COMPARED_US: i64 = 10_000_000;
/// The same in bytes.
const COMPARED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a recorder may take for it.
const PATIENCE: Duration = Duration::from_secs(8);
/// How much before the end of what a copy lists is compared.
const BEFORE_END_US: i64 = 20_000_000;

/// What is found of each copy's clock against the first copy's.
pub(super) async fn compare(entry: &CameraEntry, window: TimeRange) -> Vec<Option<Estimate>> {
    let slot = &entry.slot;
    let copies: Vec<CopyIx> = slot.camera().copies().map(|(copy, _)| copy).collect();
    if copies.len() < 2 {
        return vec![None; copies.len()];
    }
    entry.clocks.ask_now(slot).await;
    let at = instant(entry, &copies, window);
    if let Some(at) = at
        && let Ok(description) = entry.describe().await
    {
        let tracks: Arc<[Track]> = description.tracks.into();
        let is_video = |track: &Track| track.media == Media::Video;
        let master = tracks.iter().position(is_video).unwrap_or(0);
        let shown = copies
            .iter()
            .map(|copy| show(entry, *copy, at, tracks.clone(), master));
        let shown = join_all(shown).await;
        for (copy, theirs) in copies.iter().zip(&shown).skip(1) {
            let first = shown.first().map_or(&[][..], Vec::as_slice);
            if let Some(found) = align(first, theirs) {
                entry
                    .clocks
                    .measured(*copy, CopyIx(0), at, found.offset_us, found.spread_us);
            }
        }
    }
    let at = at.unwrap_or_else(crate::clock::wall);
    copies
        .iter()
        .map(|copy| entry.clocks.estimate(*copy, at))
        .collect()
}

/// An estimate as people read it.
pub(super) fn words(estimate: Option<&Estimate>, entry: &CameraEntry) -> String {
    let Some(estimate) = estimate else {
        return "not measured".to_owned();
    };
    let policy = &entry.policy;
    let used = match policy.clock_skew {
        ClockSkew::Measured if is_usable(estimate, policy) => "used",
        ClockSkew::Measured if estimate.offset_us.abs() <= estimate.within_us => {
            "no cause to use it"
        }
        ClockSkew::Measured => "not used: beyond max_skew, or too unsure",
        ClockSkew::Configured => "reported only",
    };
    format!("{estimate}, {used}")
}

/// A recent instant that all copies list; the start of the window where some list nothing.
fn instant(entry: &CameraEntry, copies: &[CopyIx], window: TimeRange) -> Option<Timestamp> {
    let coverage = |copy: &CopyIx| entry.slot.coverage(*copy);
    let ends = copies
        .iter()
        .filter_map(|copy| coverage(copy)?.clip(window).last());
    let end = ends.min();
    let bounded = window.start() != Timestamp::MIN;
    let at = match end {
        Some(end) => end.shift(-BEFORE_END_US).max(window.start()),
        None if bounded => window.start(),
        None => return None,
    };
    let denies = |copy: &CopyIx| {
        coverage(copy).is_some_and(|coverage| matches!(coverage.held(at), Held::Gap { .. }))
    };
    (!copies.iter().any(denies)).then_some(at)
}

/// Pictures of one copy from `at` on, by its configured clock; none where it cannot be played.
async fn show(
    entry: &CameraEntry,
    copy: CopyIx,
    at: Timestamp,
    tracks: Arc<[Track]>,
    master: usize,
) -> Vec<Shown> {
    let source = entry.media(copy);
    let encoding = tracks.get(master).map(|track| track.encoding.clone());
    let codec = Codec::from_encoding(&encoding.unwrap_or_default());
    if matches!(source, MediaSource::None) {
        return Vec::new();
    }
    let wanted: Vec<bool> = (0..tracks.len()).map(|track| track == master).collect();
    let order = Order {
        remote: entry.remote(copy),
        from: at,
        clock_offset_us: entry.clock_offset_us(copy),
        direction: Direction::Forward,
        until: None,
        live: false,
        recorded_until: entry.recorded_until(copy, at),
        recorded_from: None,
        rate: 1.0,
        frames: Frames::All,
        tracks,
        wanted: wanted.into(),
        master,
        reaction: entry.policy.reaction,
        unread: UNREAD_BYTES_MAX,
    };
    let Ok(mut leg) = Leg::open(source, order).await else {
        return Vec::new();
    };
    let mut shown: Vec<Shown> = Vec::new();
    let mut bytes = 0;
    let _ = timeout(PATIENCE, async {
        while bytes < COMPARED_BYTES_MAX {
            let unit = match poll_fn(|cx| leg.poll_next(cx)).await {
                Arrival::Unit(unit) => unit,
                Arrival::Alive | Arrival::Group(_) => continue,
                Arrival::Ended | Arrival::Failed(_) => return,
            };
            bytes += unit.packets.len_bytes();
            if unit.track != master || unit.capture_us > at.as_micros() + COMPARED_US {
                if unit.track == master {
                    return;
                }
                continue;
            }
            shown.extend(Shown::of(codec, &unit));
        }
    })
    .await;
    shown
}
