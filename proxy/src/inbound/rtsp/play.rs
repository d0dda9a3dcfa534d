//! What a PLAY asks: Range, Scale, Speed, Rate-Control, read into a request for a playback, and answered.

use seamline_routing::plan::{Direction, Request as PlayRequest};
use seamline_routing::time::Timestamp;
use seamline_rtsp::Headers;
use seamline_rtsp::headers::{ClockTime, NptTime, Range, RateControl};

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

/// Faster than this is not useful over a paced session.
const RATE_MAX: f64 = 32.0;

impl Play {
    /// Reads the headers of a PLAY that names a range or starts anew.
    pub(super) fn read(
        headers: &Headers,
        cseq: u32,
        window: Window,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let status = |error: seamline_rtsp::headers::HeaderError| Refusal(error.status());
        let range = headers.range().map_err(status)?;
        let scale = headers
            .scale()
            .map_err(status)?
            .map_or(1.0, seamline_rtsp::headers::Scale::value);
        let speed = headers
            .speed()
            .map_err(status)?
            .map_or(1.0, seamline_rtsp::headers::Speed::value);
        let rate_control = headers.rate_control().map_err(status)?;
        headers.frames().map_err(status)?;
        if scale < 0.0 {
            // Reverse play is refused, not faked: forward footage is what nobody asked for.
            return Err(Refusal(501));
        }
        let unit = if matches!(range, Some(Range::Npt { .. })) {
            Unit::Npt
        } else {
            Unit::Clock
        };
        let (at, until) = match range {
            None => (window.start, window.end),
            Some(range) if range.expresses_no_wish() => (window.start, window.end),
            Some(Range::NptNow) => return Err(Refusal(457)),
            Some(Range::Clock { .. }) if window.pinned => (window.start, window.end),
            Some(Range::Clock { start, end }) => {
                let time = |time: ClockTime| Timestamp::from_micros(time.as_micros());
                (
                    start.map_or(window.start, time),
                    end.map(time).or(window.end),
                )
            }
            Some(Range::Npt { start, end }) => {
                let time = |npt: NptTime| window.start.shift(npt.as_micros() as i64);
                (
                    start.map_or(window.start, time),
                    end.map(time).or(window.end),
                )
            }
        };
        if until.is_some_and(|until| until <= at) || at > now {
            return Err(Refusal(457));
        }
        let paced = rate_control != Some(RateControl::No);
        let rate = if scale > 0.0 {
            scale.min(RATE_MAX)
        } else {
            1.0
        };
        let onvif = headers.requires_onvif_replay() || rate_control.is_some();
        Ok(Play {
            request: PlayRequest {
                at,
                until,
                direction: Direction::Forward,
            },
            delivery: Delivery {
                pacing: paced.then_some(rate),
                speed: if speed > 0.0 {
                    speed.min(RATE_MAX)
                } else {
                    1.0
                },
                onvif,
                cseq: (cseq & 0xff) as u8,
            },
            unit,
        })
    }

    /// The range that is really played, from its first unit on, in the unit that the client used.
    pub(super) fn answer(&self, first: Timestamp, window: Window) -> Range {
        let until = self.request.until;
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
        }
    }

    fn read(headers: &[(&'static str, &str)]) -> Result<Play, Refusal> {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push(*name, *value);
        }
        Play::read(&all, 300, window(), at("2026-11-22T00:00:00Z"))
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
        let play = Play::read(&headers, 1, pinned, now).unwrap();
        assert_eq!(
            (play.request.at, play.request.until),
            (window().start, window().end)
        );
        let play = Play::read(&headers, 1, window(), now).unwrap();
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
        assert_eq!(read(&[("Scale", "-1.0")]), Err(Refusal(501)));
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
}
