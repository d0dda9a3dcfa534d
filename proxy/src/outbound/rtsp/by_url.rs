//! Legs of recorders that are told the time in the URL: what dates their pictures, and where they must not go on.
//!
//! Such recorders mostly say nothing of the time of what they send. The best of what there is counts: a stamp on the
//! pictures, the answer to PLAY, a sender report in footage time; else the start that was asked for, which a group of
//! pictures may be off. A recorder that runs over a gap would then be dated wrong by the length of the gap: an undated leg
//! ends where the listing says that the recording does.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use seamline_media::{Source, ntp, rtcp};
use seamline_probes::replay::{Ask, ByUrl, Start};
use seamline_routing::director::Failure;
use seamline_routing::time::Timestamp;
use seamline_rtsp::client::PlayRequest;
use seamline_rtsp::headers::{ClockTime, NptTime, Range, RateControl};

use super::RtspLeg;
use super::open::{Place, Refused, start};
use crate::outbound::{LegFailure, Order};

/// A first sender report is waited for so long, in footage of so many bytes.
const HOLD_MAX: Duration = Duration::from_millis(200);
const HOLD_BYTES_MAX: usize = 512 * 1024;
/// A report this close to the asked start is in footage time: recorders start up to a group of pictures before it.
const NEAR_US: u64 = 30_000_000;
/// A report within this of now is on a wall clock, whatever zone that is in.
const WALL_US: u64 = 86_400_000_000;

/// Opens a leg at a recorder that is told the time in the URL, or the name of a recording.
pub(super) async fn open(source: &ByUrl, order: Order) -> Result<RtspLeg, LegFailure> {
    let bound = order.recorded_until;
    let until = [order.until, bound].into_iter().flatten().min();
    let from = order.from;
    open_range(source, order, from, until, bound)
        .await
        .map_err(|refused| refused.failure)
}

/// As [`open`], from one instant to another; a leg that nothing dates ends at `bound`.
pub(super) async fn open_range(
    source: &ByUrl,
    order: Order,
    from: Timestamp,
    until: Option<Timestamp>,
    bound: Option<Timestamp>,
) -> Result<RtspLeg, Refused> {
    let clock = |at: Timestamp| at.shift(order.clock_offset_us);
    let ask = source
        .ask(&order.remote, clock(from), until.map(clock))
        .map_err(|error| {
            use seamline_probes::replay::AskError as E;
            let failure = match error {
                E::Repeated | E::NoRecording => Failure::NoFootage,
                E::Url(_) => Failure::Lost,
                // It may be known in a while; the recorder did nothing wrong.
                E::Zone => Failure::Busy,
            };
            LegFailure::new(failure, error.to_string())
        })?;
    let Ask {
        url,
        start: at,
        onvif,
    } = ask;
    let range = match at {
        Start::Range(from) => Range::Clock {
            start: Some(ClockTime::from_micros(from.as_micros())),
            end: None,
        },
        // The URL says it; what every player sends is what such recorders know.
        Start::Url(_) => Range::Npt {
            start: Some(NptTime::ZERO),
            end: None,
        },
    };
    let by_url = match at {
        Start::Range(_) => None,
        Start::Url(at) => Some(UrlLeg {
            start: at.shift(-order.clock_offset_us),
            local_us: source.zone_offset_us(at),
            bound,
            held: None,
        }),
    };
    let place = Place {
        url,
        credentials: source.credentials().cloned(),
        tls: source.tls().cloned(),
        onvif,
        play: PlayRequest {
            range: Some(range),
            rate_control: Some(RateControl::No),
            ..PlayRequest::default()
        },
        by_url,
    };
    start(place, order).await
}

/// What a leg knows that was told its start in the URL.
#[derive(Debug)]
pub(super) struct UrlLeg {
    /// The start that the URL says, in the camera's timeline.
    pub(super) start: Timestamp,
    /// How far the recorder's local time is ahead of UTC.
    local_us: i64,
    /// Where an undated leg ends.
    bound: Option<Timestamp>,
    /// Frames that wait for a sender report to date them.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    frames: Vec<(u8, BytesMut)>,
    bytes: usize,
    since: Instant,
}

impl UrlLeg {
    /// From now on frames wait until something dates them, or for a moment.
    pub(super) fn hold(&mut self, now: Instant) {
        self.held = Some(Held {
            frames: Vec::new(),
            bytes: 0,
            since: now,
        });
    }

    /// Keeps a frame back, or gives all that were kept when the wait is over. The frame itself where nothing is waited for.
    pub(super) fn keep(
        &mut self,
        number: u8,
        bytes: BytesMut,
        dates: bool,
        now: Instant,
    ) -> Result<Vec<(u8, BytesMut)>, BytesMut> {
        let Some(held) = &mut self.held else {
            return Err(bytes);
        };
        held.bytes += bytes.len();
        held.frames.push((number, bytes));
        let over = dates
            || held.bytes > HOLD_BYTES_MAX
            || now.saturating_duration_since(held.since) >= HOLD_MAX;
        if !over {
            return Ok(Vec::new());
        }
        Ok(self.held.take().map(|held| held.frames).unwrap_or_default())
    }

    /// The footage time of a sender report (NTP) that came at `now`; `None` when it tells none.
    pub(super) fn footage_time(&self, report: u64, offset_us: i64, now: Timestamp) -> Option<u64> {
        let report_us = ntp::to_unix_us(report)?;
        let start_us = self.start.shift(offset_us).as_micros();
        let near = |us: i64, other: i64, within: u64| us.abs_diff(other) < within;
        // What was asked for is about now: both clocks would look the same.
        if near(start_us, now.as_micros(), NEAR_US * 2) {
            return None;
        }
        let local = [0, self.local_us];
        let stamped = local.map(|ahead| report_us.saturating_sub(ahead));
        if let Some(us) = stamped.into_iter().find(|us| near(*us, start_us, NEAR_US)) {
            return Some(ntp::from_unix_us(us));
        }
        // Neither the time that was asked for nor now: footage of another day shows itself.
        let absurd = report_us < OLDEST_US || near(report_us, now.as_micros(), WALL_US);
        (!absurd).then_some(report)
    }

    /// Whether a picture lies where the recording is known to be over, as far as its date can be trusted.
    pub(super) fn is_over(&self, capture_us: i64, source: Option<Source>) -> bool {
        let undated = matches!(source, Some(Source::Elapsed | Source::UrlStart));
        let bound = self.bound.filter(|_| undated);
        bound.is_some_and(|bound| capture_us >= bound.as_micros())
    }
}

/// Whether a frame holds a sender report, or a picture with ONVIF's stamp.
pub(super) fn dates(frame: &[u8], is_rtcp: bool) -> bool {
    let packet = frame.get(4..).unwrap_or_default();
    if is_rtcp {
        return rtcp::parse(packet).sender.is_some();
    }
    let Some(first) = packet.first() else {
        return false;
    };
    let extension_at = 12 + 4 * usize::from(first & 0x0f);
    first & 0x10 != 0 && packet.get(extension_at..extension_at + 2) == Some(&ABAC)
}

/// The replay extension of ONVIF Streaming.
const ABAC: [u8; 2] = [0xAB, 0xAC];
/// 2000-01-01: clocks that were never set are before it.
const OLDEST_US: i64 = 946_684_800_000_000;

impl RtspLeg {
    /// Frames of a leg that nothing dates yet wait a moment for what does.
    pub(super) fn frame_by_url(&mut self, number: u8, bytes: BytesMut) {
        let is_rtcp = self.channels.iter().any(|channel| channel.rtcp == number);
        let dates = dates(&bytes, is_rtcp);
        let now = crate::clock::now();
        let kept = match &mut self.by_url {
            Some(leg) => leg.keep(number, bytes, dates, now),
            None => Err(bytes),
        };
        match kept {
            Err(bytes) => self.take_frame(number, bytes),
            Ok(frames) => {
                // Reports first: they date what they overtook.
                let is_report =
                    |number: u8| self.channels.iter().any(|channel| channel.rtcp == number);
                let (reports, media): (Vec<_>, Vec<_>) = frames
                    .into_iter()
                    .partition(|(number, _)| is_report(*number));
                for (number, bytes) in reports.into_iter().chain(media) {
                    self.take_frame(number, bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    fn leg(local_us: i64) -> UrlLeg {
        UrlLeg {
            start: at("2026-01-01T12:00:00Z"),
            local_us,
            bound: Some(at("2026-01-01T12:10:00Z")),
            held: None,
        }
    }

    fn report(leg: &UrlLeg, stamp: &str, now: &str) -> Option<Timestamp> {
        let stamp = ntp::from_unix_us(at(stamp).as_micros());
        let told = leg.footage_time(stamp, 0, at(now))?;
        ntp::to_unix_us(told).map(Timestamp::from_micros)
    }

    #[test]
    fn a_report_counts_where_it_is_in_footage_time() {
        let now = "2026-03-01T08:00:00Z";
        let east = leg(8 * 3_600_000_000);
        for (stamp, told) in [
            ("2026-01-01T11:59:58.5Z", Some("2026-01-01T11:59:58.5Z")),
            ("2026-01-01T19:59:58.5Z", Some("2026-01-01T11:59:58.5Z")),
            ("2026-03-01T08:00:00Z", None),
            ("2026-03-01T16:00:00Z", None),
            ("1970-01-01T00:00:07Z", None),
            ("2026-01-05T12:00:00Z", Some("2026-01-05T12:00:00Z")),
        ] {
            assert_eq!(report(&east, stamp, now), told.map(at), "{stamp}");
        }
        assert_eq!(
            report(&leg(0), "2026-01-01T12:00:00Z", "2026-01-01T12:00:20Z"),
            None
        );
    }

    #[test]
    fn an_undated_leg_ends_with_its_recording() {
        let leg = leg(0);
        let (before, behind) = (at("2026-01-01T12:09:59.9Z"), at("2026-01-01T12:10:00Z"));
        for (capture, source, over) in [
            (before, Source::Elapsed, false),
            (behind, Source::Elapsed, true),
            (behind, Source::UrlStart, true),
            (behind, Source::Extension, false),
            (behind, Source::SenderReport, false),
        ] {
            assert_eq!(
                leg.is_over(capture.as_micros(), Some(source)),
                over,
                "{source:?}"
            );
        }
    }

    #[test]
    fn frames_wait_for_what_dates_them_but_not_for_long() {
        let now = crate::clock::now();
        let mut leg = leg(0);
        assert!(leg.keep(0, BytesMut::from("x"), false, now).is_err());
        leg.hold(now);
        assert_eq!(leg.keep(0, BytesMut::from("x"), false, now), Ok(Vec::new()));
        assert_eq!(
            leg.keep(1, BytesMut::from("y"), true, now)
                .map(|frames| frames.len()),
            Ok(2)
        );
        assert!(leg.keep(0, BytesMut::from("x"), false, now).is_err());
        leg.hold(now);
        let later = now + HOLD_MAX;
        assert_eq!(
            leg.keep(0, BytesMut::from("x"), false, later)
                .map(|frames| frames.len()),
            Ok(1)
        );
    }

    #[test]
    fn stamps_and_reports_are_seen_in_their_frames() {
        let mut stamped = vec![b'$', 0, 0, 28, 0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        assert!(!dates(&stamped, false));
        stamped.extend([0xAB, 0xAC, 0, 3]);
        assert!(dates(&stamped, false));
        assert!(!dates(b"$\0\0\0", false) && !dates(b"", true));
    }
}
