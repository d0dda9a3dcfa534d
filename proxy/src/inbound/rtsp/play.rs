//! What a PLAY asks: Range, Scale, Speed, Rate-Control, read into a request for a playback, and answered.

use seamline_routing::plan::{Direction, Request as PlayRequest};
use seamline_routing::time::Timestamp;
use seamline_rtsp::Headers;
use seamline_rtsp::headers::{ClockTime, HeaderError, NptTime, Range, RateControl, Scale, Speed};

use crate::playback::Delivery;

/// The presentation's own time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Where playback starts when the client expresses no wish; `npt=0`.
    pub(super) start: Timestamp,
    /// Where it ends at the latest.
    pub(super) end: Option<Timestamp>,
    /// The client's URL named it in a vendor's words: at the vendor's recorders no clock range is heard against it.
    pub(super) pinned: bool,
    /// What reverse play does not go beyond.
    pub(super) floor: Option<Timestamp>,
    /// Where a PLAY without a range goes on.
    pub(super) here: Option<Timestamp>,
}

impl Window {
    /// The single instant that the `Range` of a PAUSE names, if it names one.
    pub(super) fn instant(self, headers: &Headers) -> Result<Option<Timestamp>, Refusal> {
        let range = headers.range().map_err(|error| Refusal(error.status()))?;
        let (start, _) = instants(range.filter(|range| *range != Range::NptNow), self)?;
        Ok(start)
    }
}

/// A PLAY, understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Play {
    pub(super) request: PlayRequest,
    pub(super) delivery: Delivery,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Clock,
    Npt,
}

/// Why a PLAY cannot be served: the status to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u16);

/// Footage seconds a second that a paced play is given at the least and at the most; another wish gets the nearest.
const RATE_RANGE: (f64, f64) = (0.25, 32.0);

impl Play {
    /// Reads the headers of a PLAY that names a range or starts anew.
    pub(super) fn read(
        headers: &Headers,
        direction: Direction,
        cseq: u32,
        window: Window,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let status = |error: HeaderError| Refusal(error.status());
        let range = headers.range().map_err(status)?;
        let scale = headers.scale().map_err(status)?.map_or(1.0, Scale::value);
        let speed = headers.speed().map_err(status)?.map_or(1.0, Speed::value);
        let rate_control = headers.rate_control().map_err(status)?;
        let frames = headers.frames().map_err(status)?.unwrap_or_default();
        let unit = if matches!(range, Some(Range::Npt { .. })) {
            Unit::Npt
        } else {
            Unit::Clock
        };
        let unheard = |range: &Range| {
            range.expresses_no_wish() || window.pinned && matches!(range, Range::Clock { .. })
        };
        let range = range.filter(|range| !unheard(range));
        let (start, end) = instants(range, window)?;
        let request = match direction {
            Direction::Reverse => backward(start, end, window, now)?,
            Direction::Forward => forward(start, end, window, now)?,
        };
        let paced = rate_control != Some(RateControl::No);
        let (min, max) = RATE_RANGE;
        Ok(Play {
            request,
            delivery: Delivery {
                // Without rate control only the direction counts (ONVIF Streaming, Scale).
                pacing: paced.then_some(scale.abs().clamp(min, max)),
                speed: speed.clamp(min, max),
                frames,
                discontinuity: headers.immediate() == Some(true),
                onvif: headers.requires_onvif_replay() || rate_control.is_some(),
                cseq: (cseq & 0xff) as u8,
            },
            unit,
        })
    }

    /// Whether the client takes its footage as it does with another PLAY.
    pub(super) fn is_delivered_like(&self, other: &Play) -> bool {
        let of = |play: &Play| {
            (
                play.delivery.pacing,
                play.delivery.speed,
                play.delivery.frames,
            )
        };
        of(self) == of(other) && self.request.direction == other.request.direction
    }

    /// Leaves as it is what a PLAY that goes on does not name (RFC 2326 §10.5).
    pub(super) fn keep_unnamed(&mut self, headers: &Headers, last: &Play) {
        let unnamed = |header| headers.get(header).is_none();
        let (now, before) = (&mut self.delivery, &last.delivery);
        if unnamed("Scale") && unnamed("Rate-Control") {
            now.pacing = before.pacing;
        }
        if unnamed("Speed") {
            now.speed = before.speed;
        }
        if unnamed("Frames") {
            now.frames = before.frames;
        }
        now.onvif |= before.onvif;
    }

    /// The earlier instant of its range, when it goes back in time.
    pub(super) fn floor(&self) -> Option<Timestamp> {
        let until = self.request.until?;
        Some(until.shift(INCLUSIVE_US))
    }

    /// The `Scale` in use.
    pub(super) fn scale(&self) -> Scale {
        let rate = self.delivery.pacing.unwrap_or(1.0);
        let signed = match self.request.direction {
            Direction::Forward => rate,
            Direction::Reverse => -rate,
        };
        Scale::new(signed).unwrap_or(Scale::ONE)
    }

    /// The range that is really played, from its first unit on, in the unit that the client used.
    pub(super) fn answer(&self, first: Timestamp, window: Window) -> Range {
        let until = self
            .request
            .until
            .map(|until| match self.request.direction {
                Direction::Reverse => until.shift(INCLUSIVE_US),
                Direction::Forward => until,
            });
        // The picture of the asked instant belongs to a range that ends there on its way back: see `backward`.
        let first = match self.request.direction {
            Direction::Reverse if first == self.request.at => first.shift(-INCLUSIVE_US),
            _ => first,
        };
        match self.unit {
            Unit::Clock => Range::Clock {
                start: Some(clock_time(first)),
                end: until.map(clock_time),
            },
            Unit::Npt => {
                // The answer starts with the first unit, which may lie before the window: what it names zero moves there.
                let zero = window.start.min(first);
                let npt = |at: Timestamp| NptTime::from_micros(at.micros_since(zero).max(0) as u64);
                Range::Npt {
                    start: Some(npt(first)),
                    end: until.map(npt),
                }
            }
        }
    }
}

/// Reverse play includes the pictures of both its instants: it starts at the random access point at or before the first (ONVIF
/// Streaming, playback), and a [`PlayRequest`] begins behind what it plays and ends before the last instant that it names.
const INCLUSIVE_US: i64 = 1;

/// The two instants of a range, as they stand in it.
fn instants(
    range: Option<Range>,
    window: Window,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Refusal> {
    match range {
        None => Ok((window.here, None)),
        Some(Range::NptNow) => Err(Refusal(457)),
        Some(Range::Clock { start, end }) => {
            let time = |time: ClockTime| Timestamp::from_micros(time.as_micros());
            Ok((start.map(time), end.map(time)))
        }
        Some(Range::Npt { start, end }) => {
            let time = |npt: NptTime| window.start.shift(npt.as_micros() as i64);
            Ok((start.map(time), end.map(time)))
        }
    }
}

fn forward(
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    window: Window,
    now: Timestamp,
) -> Result<PlayRequest, Refusal> {
    let (at, until) = (start.unwrap_or(window.start), end.or(window.end));
    if until.is_some_and(|until| until <= at) || at > now {
        return Err(Refusal(457));
    }
    Ok(PlayRequest {
        at,
        until,
        direction: Direction::Forward,
    })
}

/// The first instant of a range is where play starts, also backwards. GStreamer leaves it out of an open range and names it
/// behind the dash: `clock=-T`.
fn backward(
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    window: Window,
    now: Timestamp,
) -> Result<PlayRequest, Refusal> {
    let (start, until) = match (start, end) {
        (None, end) => (end, None),
        bounded => bounded,
    };
    let asked = start.or(window.end).unwrap_or(now).min(now);
    let until = until.or(window.floor);
    if until.is_some_and(|until| until >= asked) {
        return Err(Refusal(457));
    }
    Ok(PlayRequest {
        at: asked.shift(INCLUSIVE_US),
        until: until.map(|until| until.shift(-INCLUSIVE_US)),
        direction: Direction::Reverse,
    })
}

/// A time of ours as a header has it.
pub(super) fn clock_time(at: Timestamp) -> ClockTime {
    ClockTime::from_micros(at.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    fn window() -> Window {
        Window {
            start: at("2026-01-01T12:00:00Z"),
            end: Some(at("2026-01-01T13:00:00Z")),
            pinned: false,
            floor: None,
            here: None,
        }
    }

    fn read(headers: &[(&'static str, &str)]) -> Result<Play, Refusal> {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push(*name, *value);
        }
        let reverse = all.scale().ok().flatten().is_some_and(Scale::is_reverse);
        let direction = if reverse {
            Direction::Reverse
        } else {
            Direction::Forward
        };
        let now = at("2026-11-22T00:00:00Z");
        Play::read(&all, direction, 300, window(), now)
    }

    #[test]
    fn no_wish_means_the_start_of_the_window() {
        for range in ["npt=0.000-", "npt=0-", "clock=19000101T000000Z-"] {
            let play = read(&[("Range", range)]).unwrap();
            assert_eq!(
                (play.request.at, play.request.until),
                (window().start, window().end),
                "{range}"
            );
        }
        assert_eq!(read(&[]).unwrap().request.at, window().start);
    }

    #[test]
    fn a_window_in_a_vendors_words_beats_the_range() {
        let mut headers = Headers::default();
        headers.push("Range", "clock=20260101T123000Z-");
        let pinned = Window {
            pinned: true,
            ..window()
        };
        let now = at("2026-11-22T00:00:00Z");
        let play = Play::read(&headers, Direction::Forward, 1, pinned, now).unwrap();
        assert_eq!(
            (play.request.at, play.request.until),
            (window().start, window().end)
        );
        let play = Play::read(&headers, Direction::Forward, 1, window(), now).unwrap();
        assert_eq!(play.request.at, at("2026-01-01T12:30:00Z"));
    }

    #[test]
    fn npt_counts_from_the_window_and_is_answered_in_npt() {
        let play = read(&[("Range", "npt=12.5-30")]).unwrap();
        assert_eq!(play.request.at, at("2026-01-01T12:00:12.5Z"));
        assert_eq!(play.request.until, Some(at("2026-01-01T12:00:30Z")));
        assert_eq!(
            play.answer(at("2026-01-01T12:00:12Z"), window())
                .to_string(),
            "npt=12.000-30.000"
        );
        let play = read(&[("Range", "npt=0-30")]).unwrap();
        let key_frame = at("2026-01-01T11:59:58.5Z");
        assert_eq!(
            play.answer(key_frame, window()).to_string(),
            "npt=0.000-31.500"
        );
    }

    #[test]
    fn ranges_that_mean_nothing_are_refused() {
        for range in [
            "clock=20260101T120010Z-20260101T120010Z",
            "clock=20260101T120010Z-20260101T120000Z",
            "clock=20990101T000000Z-",
            "npt=now-",
        ] {
            assert_eq!(read(&[("Range", range)]), Err(Refusal(457)), "{range}");
        }
        assert_eq!(read(&[("Range", "smpte=0:00:01-")]), Err(Refusal(501)));
        assert_eq!(read(&[("Range", "clock=noon-")]), Err(Refusal(400)));
        assert_eq!(read(&[("Frames", "some")]), Err(Refusal(400)));
        for nonsense in ["0", "NaN", "1e308", "-0.0", "fast", ""] {
            assert_eq!(
                read(&[("Scale", nonsense)]),
                Err(Refusal(400)),
                "{nonsense}"
            );
            assert_eq!(
                read(&[("Speed", nonsense)]),
                Err(Refusal(400)),
                "{nonsense}"
            );
        }
    }

    #[test]
    fn rate_control_decides_who_paces() {
        let free = read(&[("Require", "onvif-replay"), ("Rate-Control", "no")])
            .unwrap()
            .delivery;
        assert_eq!((free.pacing, free.onvif, free.cseq), (None, true, 0x2c));
        let paced = read(&[("Scale", "2.0")]).unwrap().delivery;
        assert_eq!((paced.pacing, paced.onvif), (Some(2.0), false));
    }

    #[test]
    fn what_is_out_of_reach_gets_the_nearest() {
        for (asked, used) in [
            ("0.01", 0.25),
            ("1000", 32.0),
            ("-500", -32.0),
            ("-0.1", -0.25),
            ("-1", -1.0),
        ] {
            let play = read(&[("Scale", asked)]).unwrap();
            assert_eq!(Some(play.scale()), Scale::new(used), "{asked}");
        }
        for (asked, used) in [("4", 1.0), ("-8.0", -1.0)] {
            let play = read(&[("Scale", asked), ("Rate-Control", "no")]).unwrap();
            assert_eq!(Some(play.scale()), Scale::new(used), "{asked}");
        }
        let fast = read(&[("Speed", "64")]).unwrap().delivery;
        assert!((fast.speed - 32.0).abs() < f64::EPSILON);
    }

    #[test]
    fn reverse_starts_at_the_first_instant_and_includes_it() {
        let back = |range: &str| read(&[("Range", range), ("Scale", "-1.0")]);
        let (later, earlier) = (at("2026-01-01T12:00:20Z"), at("2026-01-01T12:00:10Z"));
        for (range, until) in [
            ("clock=20260101T120020Z-20260101T120010Z", Some(earlier)),
            ("clock=20260101T120020Z-", None),
            ("clock=-20260101T120020Z", None),
            ("npt=20-10", Some(earlier)),
        ] {
            let play = back(range).unwrap();
            let expected = PlayRequest {
                at: later.shift(1),
                until: until.map(|until: Timestamp| until.shift(-1)),
                direction: Direction::Reverse,
            };
            assert_eq!(play.request, expected, "{range}");
        }
        let play = back("clock=20260101T120020Z-20260101T120010Z").unwrap();
        assert_eq!(
            play.answer(later.shift(1), window()).to_string(),
            "clock=20260101T120020Z-20260101T120010Z"
        );
        assert_eq!(
            back("npt=0-").unwrap().request.at,
            window().end.unwrap().shift(1)
        );
        for range in [
            "clock=20260101T120010Z-20260101T120020Z",
            "clock=20260101T120010Z-20260101T120010Z",
        ] {
            assert_eq!(back(range), Err(Refusal(457)), "{range}");
        }
        let future = back("clock=20990101T000000Z-").unwrap();
        assert_eq!(future.request.at, at("2026-11-22T00:00:00Z").shift(1));
    }
}
