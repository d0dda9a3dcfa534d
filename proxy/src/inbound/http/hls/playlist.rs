//! Playlists as text (RFC 8216bis). Written here and not by `m3u8-rs`, which puts `EXT-X-MAP` before the discontinuity it belongs
//! behind, rounds durations to 32-bit floats, and cannot say `EXT-X-GAP` in its place.

use std::fmt::Write;
use std::time::Duration;

use seamline_routing::segments::{Content, LENGTH_MAX};
use seamline_routing::{TimeRange, Timestamp};

use super::formats::Format;
use super::growth::Row;
use super::name::Name;

/// What a media playlist says besides its segments.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether something is in the text"
)]
pub(super) struct Manner<'a> {
    /// It grows, or did.
    pub(super) event: bool,
    /// No segment will follow.
    pub(super) ended: bool,
    /// Whether holes are left out of the time axis, and not listed as gaps.
    pub(super) close_holes: bool,
    /// Whether every segment begins with a random access point.
    pub(super) independent: bool,
    /// Whether the segments have sound.
    pub(super) sound: bool,
    /// What is added to an address: the `?` and what follows, or nothing.
    pub(super) query: &'a dyn Fn(&str) -> String,
}

/// A media playlist.
///
/// Another way of coding begins behind a discontinuity (RFC 8216bis §4.4.4.3), with a head of its own (§4.4.4.5).
pub(super) fn media(rows: impl IntoIterator<Item = Row>, manner: &Manner<'_>) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:8\n");
    let kind = if manner.event { "EVENT" } else { "VOD" };
    let target = LENGTH_MAX.as_secs();
    line(
        &mut text,
        format_args!("#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:0"),
    );
    line(&mut text, format_args!("#EXT-X-PLAYLIST-TYPE:{kind}"));
    if manner.independent {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    // How what came last is encoded, and where it ended.
    let mut before: Option<(Format, Timestamp)> = None;
    for Row { segment, format } in rows {
        let start = segment.range.start();
        match segment.content {
            Content::Nothing if manner.close_holes => continue,
            Content::Nothing => text.push_str("#EXT-X-GAP\n"),
            Content::Footage { copy, .. } => {
                let follows = before.is_some_and(|(_, end)| end == start);
                let alike = before.is_some_and(|(last, _)| last == format);
                if before.is_some() && !(follows && alike) {
                    text.push_str("#EXT-X-DISCONTINUITY\n");
                }
                if !(follows && alike) {
                    let sound = manner.sound;
                    let init = Name::Init {
                        copy,
                        at: start,
                        sound,
                    }
                    .to_string();
                    let query = (manner.query)(&init);
                    line(&mut text, format_args!("#EXT-X-MAP:URI=\"{init}{query}\""));
                    line(&mut text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{start}"));
                }
                before = Some((format, segment.range.end()));
            }
        }
        let seconds = Seconds(segment.range);
        let name = Name::of(&segment, manner.sound).to_string();
        let query = (manner.query)(&name);
        line(&mut text, format_args!("#EXTINF:{seconds},\n{name}{query}"));
    }
    if manner.ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// What a multivariant playlist says of its only variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant {
    /// RFC 6381, such as `avc1.64001f`; empty when not known.
    pub(super) codecs: Vec<String>,
    /// Width and height, in pixels.
    pub(super) size: Option<(u32, u32)>,
    /// Bits a second at the most.
    pub(super) bandwidth: u64,
    /// Bits a second of all of it, where that is known.
    pub(super) average: Option<u64>,
}

/// A multivariant playlist with the one address `uri`.
pub(super) fn multivariant(variant: &Variant, uri: &str) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:8\n");
    let mut attributes = vec![format!("BANDWIDTH={}", variant.bandwidth)];
    if let Some(average) = variant.average {
        attributes.push(format!("AVERAGE-BANDWIDTH={average}"));
    }
    if !variant.codecs.is_empty() {
        attributes.push(format!("CODECS=\"{}\"", variant.codecs.join(",")));
    }
    if let Some((width, height)) = variant.size {
        attributes.push(format!("RESOLUTION={width}x{height}"));
    }
    let attributes = attributes.join(",");
    line(
        &mut text,
        format_args!("#EXT-X-STREAM-INF:{attributes}\n{uri}"),
    );
    text
}

/// Decimal seconds: to the millisecond where that is exact.
struct Seconds(TimeRange);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let long: Duration = self.0.duration();
        let (seconds, micros) = (long.as_secs(), long.subsec_micros());
        if micros % 1_000 == 0 {
            write!(f, "{seconds}.{:03}", micros / 1_000)
        } else {
            write!(f, "{seconds}.{micros:06}")
        }
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words)
        .expect("text can be added to a String");
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use seamline_routing::CopyIx;
    use seamline_routing::segments::{Closing, Opening, Segment};

    use super::*;

    fn piece(from_ms: i64, until_ms: i64, copy: Option<u8>) -> Segment {
        let at = |ms: i64| Timestamp::from_unix_ms(1_767_268_800_000 + ms);
        Segment {
            range: TimeRange::new(at(from_ms), at(until_ms)).expect("it lasts"),
            content: copy.map_or(Content::Nothing, |copy| Content::Footage {
                copy: CopyIx(copy),
                opening: Opening::Continues,
                closing: Closing::Continues,
            }),
        }
    }

    fn manner(close_holes: bool) -> Manner<'static> {
        Manner {
            event: false,
            ended: true,
            close_holes,
            independent: true,
            sound: true,
            query: &|_| String::new(),
        }
    }

    const TIMELINE: [(i64, i64, Option<u8>); 5] = [
        (0, 4_000, Some(0)),
        (4_000, 6_500, Some(0)),
        (6_500, 12_000, Some(1)),
        (12_000, 20_000, None),
        (20_000, 24_000, Some(1)),
    ];

    /// As if both copies were encoded alike.
    fn alike() -> impl Iterator<Item = Row> {
        TIMELINE.into_iter().map(|(from, until, copy)| Row {
            segment: piece(from, until, copy),
            format: Format {
                copy: CopyIx(0),
                since: Timestamp::MIN,
            },
        })
    }

    fn timeline() -> impl Iterator<Item = Row> {
        alike().map(|row| match row.segment.content {
            Content::Footage { copy, .. } => Row {
                format: Format { copy, ..row.format },
                ..row
            },
            Content::Nothing => row,
        })
    }

    #[test]
    fn a_seam_and_a_hole() {
        let text = media(timeline(), &manner(false));
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-TARGETDURATION:12\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
            #EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-MAP:URI=\"0/init-1767268800000000.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:00.000Z\n\
            #EXTINF:4.000,\n0/seg-1767268800000000-1767268804000000.m4s\n\
            #EXTINF:2.500,\n0/seg-1767268804000000-1767268806500000.m4s\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-MAP:URI=\"1/init-1767268806500000.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:06.500Z\n\
            #EXTINF:5.500,\n1/seg-1767268806500000-1767268812000000.m4s\n\
            #EXT-X-GAP\n#EXTINF:8.000,\ngap/seg-1767268812000000-1767268820000000.m4s\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-MAP:URI=\"1/init-1767268820000000.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T12:00:20.000Z\n\
            #EXTINF:4.000,\n1/seg-1767268820000000-1767268824000000.m4s\n\
            #EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn copies_that_are_encoded_alike_have_no_discontinuity_and_closed_holes_no_gap() {
        let text = media(alike(), &manner(true));
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY").count(), 1);
        assert_eq!(text.matches("#EXT-X-MAP").count(), 2);
        assert_eq!(text.matches("GAP").count(), 0);
        assert_eq!(text.matches("#EXTINF").count(), 4);
    }

    #[test]
    fn another_way_of_coding_has_a_head_of_its_own() {
        let changed = Timestamp::from_unix_ms(1_767_268_804_000);
        let rows = alike().map(|mut row| {
            if row.segment.range.start() >= changed {
                row.format.since = changed;
            }
            row
        });
        let text = media(rows.take(3), &manner(false));
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n#EXT-X-MAP").count(), 1);
        assert!(text.contains("#EXT-X-MAP:URI=\"0/init-1767268804000000.mp4\"\n"));
        assert_eq!(text.matches("#EXT-X-MAP").count(), 2);
    }

    #[test]
    fn what_grows_has_no_end_and_every_address_has_the_query() {
        let manner = Manner {
            event: true,
            ended: false,
            independent: false,
            sound: false,
            query: &|name| format!("?{}", name.len()),
            ..manner(false)
        };
        let text = media(timeline(), &manner);
        assert!(text.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n"));
        assert!(!text.contains("ENDLIST") && !text.contains("INDEPENDENT"));
        assert_eq!(text.matches("\n0v/seg-").count(), 2);
        assert!(text.contains("\"0v/init-1767268800000000.mp4?28\""));
        assert!(text.contains("\n0v/seg-1767268800000000-1767268804000000.m4s?44\n"));
    }

    #[test]
    fn durations_are_exact() {
        let micros = |long: i64| {
            let start = Timestamp::EPOCH;
            Seconds(TimeRange::new(start, start.shift(long)).expect("it lasts")).to_string()
        };
        assert_eq!(micros(4_000_000), "4.000");
        assert_eq!(micros(3_719_999), "3.719999");
        assert_eq!(micros(40), "0.000040");
    }

    #[test]
    fn the_variant_says_what_is_known() {
        let mut variant = Variant {
            bandwidth: 2_000_000,
            ..Variant::default()
        };
        let head = "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-STREAM-INF:BANDWIDTH=2000000";
        assert_eq!(multivariant(&variant, "m"), format!("{head}\nm\n"));
        variant.codecs = vec!["avc1.64001f".to_owned(), "mp4a.40.2".to_owned()];
        variant.size = Some((1280, 720));
        variant.average = Some(1_500_000);
        let tail =
            ",AVERAGE-BANDWIDTH=1500000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720\nm\n";
        assert_eq!(multivariant(&variant, "m"), format!("{head}{tail}"));
    }
}
