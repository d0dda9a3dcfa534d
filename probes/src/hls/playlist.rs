//! HLS playlists (RFC 8216): when each segment was taken, and where it is.
//!
//! Read here, line by line: the parser of the registry brings a calendar library along that the house does without.

use std::{sync::Arc, time::Duration};

use seamline_routing::{TimeRange, Timestamp};

/// A playlist.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Playlist {
    /// Of segments.
    Media(Media),
    /// Of other playlists: the address of the one with the most bits a second.
    Variants(String),
}

/// A playlist of segments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    /// By their times; those that nothing dates are left out.
    pub(super) segments: Vec<Segment>,
    /// No more will be added.
    pub(super) ended: bool,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) range: TimeRange,
    pub(super) place: Place,
    /// Its movie header.
    pub(super) header: Option<Arc<Place>>,
    /// There is no footage in it.
    pub(super) gap: bool,
    pub(super) encrypted: bool,
}

/// Where bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// As the playlist has it.
    pub(super) uri: String,
    /// The first of them and how many; all when `None`.
    pub(super) bytes: Option<(u64, u64)>,
}

/// Why a playlist cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaylistError {
    #[error("no playlist")]
    NotM3u,
    #[error("line {line}: {what}")]
    Line { line: usize, what: &'static str },
    #[error("more than {SEGMENTS_MAX} segments")]
    TooLong,
}

/// Reads a playlist.
pub(super) fn parse(text: &[u8]) -> Result<Playlist, PlaylistError> {
    let text = std::str::from_utf8(text).map_err(|_| PlaylistError::NotM3u)?;
    let text = text.trim_start_matches('\u{feff}');
    if !text.starts_with("#EXTM3U") {
        return Err(PlaylistError::NotM3u);
    }
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        let wrong = |what| PlaylistError::Line {
            line: index + 1,
            what,
        };
        reader.line(line.trim()).map_err(wrong)?;
        if reader.listed.len() > SEGMENTS_MAX {
            return Err(PlaylistError::TooLong);
        }
    }
    if let Some((_, uri)) = reader.variant {
        return Ok(Playlist::Variants(uri));
    }
    Ok(Playlist::Media(Media {
        segments: dated(reader.listed),
        ended: reader.ended,
    }))
}

impl Media {
    /// What is recorded, holes shorter than rounding left out.
    pub(super) fn periods(&self) -> Vec<TimeRange> {
        let mut periods: Vec<TimeRange> = Vec::new();
        for segment in self.segments.iter().filter(|segment| !segment.gap) {
            let range = segment.range;
            match periods.last_mut() {
                Some(last) if range.start().since(last.end()) <= ROUNDING => {
                    let end = last.end().max(range.end());
                    *last = TimeRange::new(last.start(), end).unwrap_or(*last);
                }
                _ => periods.push(range),
            }
        }
        periods
    }

    /// The segment that holds an instant, else the first one behind it.
    pub(super) fn at(&self, from: Timestamp) -> Option<&Segment> {
        let held = self.segments.iter().filter(|segment| !segment.gap);
        held.filter(|segment| segment.range.end() > from)
            .min_by_key(|segment| segment.range.start())
    }

    /// Where it ends.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.segments
            .iter()
            .map(|segment| segment.range.end())
            .max()
    }
}

/// A segment as it is listed.
#[derive(Debug)]
struct Listed {
    date: Option<Timestamp>,
    lasts: Duration,
    place: Place,
    header: Option<Arc<Place>>,
    gap: bool,
    encrypted: bool,
    discontinuity: bool,
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "tags that do not depend on each other"
)]
struct Reader {
    listed: Vec<Listed>,
    ended: bool,
    /// The best of the other playlists: bits a second and address.
    variant: Option<(u64, String)>,
    /// What the next address is of.
    bandwidth: Option<u64>,
    lasts: Option<Duration>,
    date: Option<Timestamp>,
    bytes: Option<(u64, Option<u64>)>,
    gap: bool,
    discontinuity: bool,
    /// What is said of all segments from here on.
    header: Option<Arc<Place>>,
    encrypted: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let Some(tag) = line.strip_prefix('#') else {
            return if line.is_empty() {
                Ok(())
            } else {
                self.address(line)
            };
        };
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        match name {
            "EXTINF" => {
                let seconds = value.split(',').next().unwrap_or_default();
                let lasts = seconds.trim().parse().ok();
                let lasts = lasts.and_then(|lasts| Duration::try_from_secs_f64(lasts).ok());
                let lasts = lasts.filter(|lasts| *lasts <= SEGMENT_MAX);
                self.lasts = Some(lasts.ok_or("EXTINF: no duration")?);
            }
            "EXT-X-PROGRAM-DATE-TIME" => {
                let date = Timestamp::parse_iso(value.trim());
                self.date = Some(date.map_err(|_| "EXT-X-PROGRAM-DATE-TIME: no time with a zone")?);
            }
            "EXT-X-BYTERANGE" => {
                self.bytes = Some(byte_range(value).ok_or("EXT-X-BYTERANGE: no range")?);
            }
            "EXT-X-MAP" => {
                let uri = attribute(value, "URI").ok_or("EXT-X-MAP: no URI")?;
                let bytes = attribute(value, "BYTERANGE").map(|range| {
                    let (length, start) = byte_range(range).ok_or("EXT-X-MAP: no range")?;
                    Ok::<_, &'static str>((start.unwrap_or(0), length))
                });
                self.header = Some(Arc::new(Place {
                    uri: uri.to_owned(),
                    bytes: bytes.transpose()?,
                }));
            }
            "EXT-X-KEY" => self.encrypted = attribute(value, "METHOD") != Some("NONE"),
            "EXT-X-GAP" => self.gap = true,
            "EXT-X-DISCONTINUITY" => self.discontinuity = true,
            "EXT-X-ENDLIST" => self.ended = true,
            "EXT-X-STREAM-INF" => {
                let bandwidth = attribute(value, "BANDWIDTH");
                let bandwidth = bandwidth.and_then(|bits| bits.parse().ok());
                self.bandwidth = Some(bandwidth.unwrap_or(0));
            }
            // Comments, and tags that change nothing here.
            _ => {}
        }
        Ok(())
    }

    fn address(&mut self, uri: &str) -> Result<(), &'static str> {
        if let Some(bandwidth) = self.bandwidth.take() {
            if self
                .variant
                .as_ref()
                .is_none_or(|(best, _)| bandwidth > *best)
            {
                self.variant = Some((bandwidth, uri.to_owned()));
            }
            return Ok(());
        }
        let lasts = self.lasts.take().ok_or("a segment without EXTINF")?;
        let bytes = match self.bytes.take() {
            None => None,
            Some((length, Some(start))) => Some((start, length)),
            // Behind the range before it, of the same resource.
            Some((length, None)) => {
                let before = self.listed.last().map(|before| &before.place);
                let before = before.filter(|before| before.uri == uri);
                let (start, taken) = before
                    .and_then(|before| before.bytes)
                    .ok_or("EXT-X-BYTERANGE: behind nothing")?;
                Some((start.saturating_add(taken), length))
            }
        };
        self.listed.push(Listed {
            date: self.date.take(),
            lasts,
            place: Place {
                uri: uri.to_owned(),
                bytes,
            },
            header: self.header.clone(),
            gap: std::mem::take(&mut self.gap),
            encrypted: self.encrypted,
            discontinuity: std::mem::take(&mut self.discontinuity),
        });
        Ok(())
    }
}

/// Dates each segment by itself, else by the ones before it, else by the ones behind; no date reaches over a discontinuity.
fn dated(mut listed: Vec<Listed>) -> Vec<Segment> {
    let mut next = None;
    for segment in &mut listed {
        if segment.date.is_none() && !segment.discontinuity {
            segment.date = next;
        }
        next = segment.date.map(|date| date + segment.lasts);
    }
    // The date of what follows, unless that begins anew.
    let mut following: Option<Timestamp> = None;
    for segment in listed.iter_mut().rev() {
        if segment.date.is_none() {
            segment.date = following.map(|date| date - segment.lasts);
        }
        following = segment.date.filter(|_| !segment.discontinuity);
    }
    let mut segments: Vec<Segment> = listed
        .into_iter()
        .filter_map(|segment| {
            let start = segment.date?;
            Some(Segment {
                range: TimeRange::new(start, start + segment.lasts)?,
                place: segment.place,
                header: segment.header,
                gap: segment.gap,
                encrypted: segment.encrypted,
            })
        })
        .collect();
    segments.sort_by_key(|segment| segment.range.start());
    segments
}

/// `<length>[@<start>]`
fn byte_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (length, start) = match text.trim().split_once('@') {
        Some((length, start)) => (length, Some(start.parse().ok()?)),
        None => (text.trim(), None),
    };
    let length = length.parse().ok().filter(|length| *length > 0)?;
    Some((length, start))
}

/// The value of a name in an attribute list, without its quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (found, tail) = rest.split_once('=')?;
        let (value, after) = match tail.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.trim_start_matches(','))
            }
            None => tail.split_once(',').unwrap_or((tail, "")),
        };
        if found.trim() == name {
            return Some(value.trim());
        }
        rest = after;
    }
}

/// Segments are stated with their lengths rounded, and so are their dates.
const ROUNDING: Duration = Duration::from_millis(250);
const SEGMENT_MAX: Duration = Duration::from_secs(86_400);
/// Eleven days of segments of five seconds.
const SEGMENTS_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn media(text: &str) -> Media {
        match parse(text.as_bytes()).unwrap() {
            Playlist::Media(media) => media,
            Playlist::Variants(uri) => panic!("{uri}"),
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    fn span(from: &str, to: &str) -> TimeRange {
        TimeRange::new(at(from), at(to)).unwrap()
    }

    /// The example of the house's own reference, with a byte order mark, CRLF, and offsets as FFmpeg writes them.
    const EXAMPLE: &str = "\u{feff}#EXTM3U\r\n#EXT-X-VERSION:8\r\n#EXT-X-TARGETDURATION:6\r\n#EXT-X-PLAYLIST-TYPE:VOD\r\n\
        #EXT-X-MAP:URI=\"init,p1.mp4\",BYTERANGE=\"720@0\"\r\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-01-02T04:04:04.480+0100\r\n#EXTINF:6.000,\r\nseg-1.m4s\r\n\
        #EXTINF:2.02,title, with comma\r\nseg-2.m4s\r\n\
        #EXT-X-DISCONTINUITY\r\n#EXT-X-MAP:URI=\"init-s1.mp4\"\r\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:12.480Z\r\n\
        #EXTINF:5.960,\r\nseg-3.m4s\r\n\
        #EXT-X-GAP\r\n#EXTINF:6.000,\r\ngap.m4s\r\n#EXTINF:1,\r\nseg-4.m4s\r\n\
        #EXT-X-DISCONTINUITY\r\n#EXTINF:1,\r\nundated.m4s\r\n#EXT-X-ENDLIST\r\n";

    #[test]
    fn segments_are_dated_and_gaps_are_holes() {
        let media = media(EXAMPLE);
        assert!(media.ended);
        assert_eq!(
            media.periods(),
            [
                span("2026-01-02T03:04:04.480Z", "2026-01-02T03:04:18.440Z"),
                span("2026-01-02T03:04:24.440Z", "2026-01-02T03:04:25.440Z"),
            ]
        );
        let names: Vec<_> = media
            .segments
            .iter()
            .map(|segment| &*segment.place.uri)
            .collect();
        assert_eq!(
            names,
            [
                "seg-1.m4s",
                "seg-2.m4s",
                "seg-3.m4s",
                "gap.m4s",
                "seg-4.m4s"
            ]
        );
        let header = |index: usize| media.segments[index].header.as_deref().unwrap();
        assert_eq!(header(1).uri, "init,p1.mp4");
        assert_eq!(header(1).bytes, Some((0, 720)));
        assert_eq!(header(2).uri, "init-s1.mp4");
        let held = |text: &str| media.at(at(text)).map(|segment| &*segment.place.uri);
        assert_eq!(held("2026-01-02T03:04:00Z"), Some("seg-1.m4s"));
        assert_eq!(held("2026-01-02T03:04:10.48Z"), Some("seg-2.m4s"));
        assert_eq!(held("2026-01-02T03:04:20Z"), Some("seg-4.m4s"));
        assert_eq!(held("2026-01-02T03:04:26Z"), None);
    }

    #[test]
    fn a_late_date_counts_for_what_is_before_it_but_not_over_a_discontinuity() {
        let media = media(
            "#EXTM3U\n#EXTINF:2,\na\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\nb\n#EXTINF:3,\nc\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-01-02T00:00:10Z\n#EXTINF:1,\nd\n",
        );
        let dates: Vec<_> = media
            .segments
            .iter()
            .map(|segment| (&*segment.place.uri, segment.range.start()))
            .collect();
        assert_eq!(
            dates,
            [
                ("b", at("2026-01-02T00:00:05Z")),
                ("c", at("2026-01-02T00:00:07Z")),
                ("d", at("2026-01-02T00:00:10Z")),
            ]
        );
        assert!(!media.ended);
    }

    #[test]
    fn ranges_of_one_file_follow_each_other() {
        let media = media(
            "#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T00:00:00Z\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:1,\n#EXT-X-BYTERANGE:100@720\nall.mp4\n\
             #EXT-X-KEY:METHOD=NONE\n#EXTINF:1,\n#EXT-X-BYTERANGE:50\nall.mp4\n",
        );
        let bytes: Vec<_> = media
            .segments
            .iter()
            .map(|segment| (segment.place.bytes, segment.encrypted))
            .collect();
        assert_eq!(bytes, [(Some((720, 100)), true), (Some((820, 50)), false)]);
    }

    #[test]
    fn the_best_of_several_is_taken() {
        let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1280000,CODECS=\"avc1.64,mp4a\"\nlow.m3u8\n#EXT-X-STREAM-INF:CODECS=\"a,BANDWIDTH=9\",BANDWIDTH=2560000\nhigh.m3u8\n";
        assert_eq!(
            parse(text.as_bytes()),
            Ok(Playlist::Variants("high.m3u8".to_owned()))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_line() {
        for (text, line) in [
            ("#EXTM3U\nseg.m4s", 2),
            ("#EXTM3U\n#EXTINF:-1,\ns", 2),
            ("#EXTM3U\n#EXTINF:1e300,\ns", 2),
            ("#EXTM3U\n#EXTINF:NaN,\ns", 2),
            ("#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05", 2),
            ("#EXTM3U\n\n#EXT-X-MAP:BYTERANGE=\"5\"", 3),
            ("#EXTM3U\n#EXT-X-BYTERANGE:0@5", 2),
            ("#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:5\ns", 4),
        ] {
            let refused = parse(text.as_bytes());
            assert!(
                matches!(refused, Err(PlaylistError::Line { line: found, .. }) if found == line),
                "{text}: {refused:?}"
            );
        }
        for text in [&b"<html>"[..], b"", b"#EXTM3U\n\xff"] {
            assert_eq!(parse(text), Err(PlaylistError::NotM3u));
        }
    }

    #[test]
    fn a_million_lines_are_too_many() {
        let mut text = "#EXTM3U\n".to_owned();
        for number in 0..500_000 {
            writeln!(text, "#EXTINF:2,\ns{number}").unwrap();
        }
        assert_eq!(parse(text.as_bytes()), Err(PlaylistError::TooLong));
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0_usize..EXAMPLE.len(), damage in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut text = EXAMPLE.as_bytes().to_vec();
            text.splice(at..(at + damage.len() / 2).min(EXAMPLE.len()), damage);
            if let Ok(Playlist::Media(media)) = parse(&text) {
                prop_assert!(media.segments.is_sorted_by_key(|segment| segment.range.start()));
                prop_assert!(media.periods().iter().all(|period| period.start() < period.end()));
            }
        }
    }
}
