//! URLs with times in them.

use jiff::fmt::strtime;
use seamline_routing::Timestamp;
use seamline_rtsp::{RtspUrl, url::UrlError};

use crate::zone::Zone;

/// A URL with places for the camera, the start and the end.
///
/// `{camera}`, `{start:FORMAT}` and `{end:FORMAT}`, where FORMAT is that of strftime, or `ms` or `s` since 1970.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    text: String,
}

/// Why a URL with times cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("{{{0}}} is no {{camera}}, {{start:FORMAT}} or {{end:FORMAT}}")]
    Place(String),
    #[error("times need a date and a time of day; {0:?} has not all of it")]
    Format(String),
    #[error("a time in the URL needs a {{start:FORMAT}}")]
    NoStart,
}

impl Template {
    pub(crate) fn new(text: &str) -> Result<Self, TemplateError> {
        let template = Self {
            text: text.to_owned(),
        };
        let mut has_start = false;
        for place in template.places() {
            let (edge, format) = place.split_once(':').unwrap_or((place, ""));
            match edge {
                "camera" if format.is_empty() => {}
                "start" | "end" => check(format)?,
                _ => return Err(TemplateError::Place(place.to_owned())),
            }
            has_start |= edge == "start";
        }
        if has_start {
            Ok(template)
        } else {
            Err(TemplateError::NoStart)
        }
    }

    /// Whether a URL has a place for a time.
    pub(crate) fn has_times(text: &str) -> bool {
        text.contains("{start") || text.contains("{end")
    }

    /// What stands in braces.
    fn places(&self) -> impl Iterator<Item = &str> {
        let pieces = self.text.split('{').skip(1);
        pieces.filter_map(|piece| piece.split_once('}').map(|(place, _)| place))
    }

    /// Whether it tells the start only to the second.
    fn is_coarse(&self) -> bool {
        let fine = |format: &str| format == "ms" || format.contains('f');
        let mut starts = self
            .places()
            .filter_map(|place| place.strip_prefix("start:"));
        !starts.any(fine)
    }

    /// The start that the URL will say: the asked one, or the second that it is in.
    pub(crate) fn start(&self, from: Timestamp) -> Timestamp {
        let unit = if self.is_coarse() { SECOND_US } else { 1000 };
        Timestamp::from_micros(from.as_micros().div_euclid(unit) * unit)
    }

    /// The URL that plays `camera` from `start` to `end`; `end` is told to the second after it.
    pub(crate) fn fill(
        &self,
        camera: &str,
        start: Timestamp,
        end: Timestamp,
        zone: &Zone,
    ) -> Result<RtspUrl, UrlError> {
        RtspUrl::parse(&self.text(camera, start, end, zone))
    }

    /// As [`Self::fill`], of any scheme.
    pub(crate) fn text(
        &self,
        camera: &str,
        start: Timestamp,
        end: Timestamp,
        zone: &Zone,
    ) -> String {
        let end = Timestamp::from_micros(
            (end.as_micros() + SECOND_US - 1).div_euclid(SECOND_US) * SECOND_US,
        );
        let mut url = String::with_capacity(self.text.len() + 64);
        let mut rest = self.text.as_str();
        while let Some((before, tail)) = rest.split_once('{') {
            let Some((place, after)) = tail.split_once('}') else {
                break;
            };
            url.push_str(before);
            match place.split_once(':') {
                Some(("start", format)) => url.push_str(&write(format, start, zone)),
                Some((_, format)) => url.push_str(&write(format, end, zone)),
                None => url.push_str(camera),
            }
            rest = after;
        }
        url.push_str(rest);
        url
    }

    /// Whether its times are read by a zone, and not counted from 1970.
    pub(crate) fn is_civil(&self) -> bool {
        let mut formats = self.places().filter_map(|place| place.split_once(':'));
        formats.any(|(_, format)| format.contains('%'))
    }
}

/// Whether a format tells all of a time, down to the second.
fn check(format: &str) -> Result<(), TemplateError> {
    if matches!(format, "ms" | "s") {
        return Ok(());
    }
    let wrong = || TemplateError::Format(format.to_owned());
    let told = |at: i64| {
        strtime::format(format, Zone::UTC.local(Timestamp::from_micros(at))).map_err(|_| wrong())
    };
    // Whatever of a time changes must change the text.
    let sample = told(SAMPLE_US)?;
    for step_s in [1, 60, 3600, 86_400, 31 * 86_400, 366 * 86_400] {
        if told(SAMPLE_US + step_s * SECOND_US)? == sample {
            return Err(wrong());
        }
    }
    Ok(())
}

fn write(format: &str, at: Timestamp, zone: &Zone) -> String {
    match format {
        "ms" => at.as_unix_ms().to_string(),
        "s" => at.as_unix_ms().div_euclid(1000).to_string(),
        // It was checked when the template was made.
        format => strtime::format(format, zone.local(at)).unwrap_or_default(),
    }
}

const SECOND_US: i64 = 1_000_000;
/// 2026-01-02T03:04:05Z.
const SAMPLE_US: i64 = 1_767_323_045_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    #[test]
    fn times_are_written_as_the_recorder_reads_them() {
        let (start, end) = (at("2026-01-02T03:04:05.25Z"), at("2026-01-02T04:00:00.1Z"));
        let east: Zone = "Asia/Shanghai".parse().unwrap();
        for (template, zone, expected) in [
            (
                "rtsp://h/Streaming/tracks/{camera}?starttime={start:%Y%m%dT%H%M%SZ}&endtime={end:%Y%m%dT%H%M%SZ}",
                &Zone::UTC,
                "rtsp://h/Streaming/tracks/7?starttime=20260102T030405Z&endtime=20260102T040001Z",
            ),
            (
                "rtsp://h/cam/playback?channel={camera}&starttime={start:%Y_%m_%d_%H_%M_%S}",
                &east,
                "rtsp://h/cam/playback?channel=7&starttime=2026_01_02_11_04_05",
            ),
            (
                "rtsp://h/{camera}?pos={start:ms}",
                &east,
                "rtsp://h/7?pos=1767323045250",
            ),
            (
                "rtsp://h/{camera}/{start:s}/",
                &east,
                "rtsp://h/7/1767323045/",
            ),
            (
                "rtsp://h/{camera}?s={start:%Y%m%d_%H%M%S%.3f}",
                &Zone::UTC,
                "rtsp://h/7?s=20260102_030405.250",
            ),
        ] {
            let template = Template::new(template).unwrap();
            let start = template.start(start);
            let url = template.fill("7", start, end, zone).unwrap();
            assert_eq!(url.as_str(), expected);
            let fraction = start.as_micros() % SECOND_US;
            assert_eq!(fraction == 0, !expected.contains("250"), "{expected}");
        }
    }

    #[test]
    fn a_url_that_does_not_tell_the_time_is_refused() {
        for template in [
            "rtsp://h/{camera}?start={start:%H%M%S}",
            "rtsp://h/{camera}?start={start:%Y%m%d}",
            "rtsp://h/{camera}?start={start:%Y%m%dT%H%M%S%Q}",
            "rtsp://h/{camera}?start={start}",
            "rtsp://h/{camera}?start={begin:%s}",
            "rtsp://h/{camera}?end={end:%Y%m%dT%H%M%S}",
        ] {
            assert!(Template::new(template).is_err(), "{template}");
        }
    }
}
