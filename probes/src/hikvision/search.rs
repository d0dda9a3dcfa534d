//! `POST /ISAPI/ContentMgmt/search`: what is asked, and what the answer says.

use jiff::civil::DateTime;
use seamline_routing::{TimeRange, Timestamp};

use crate::{
    listing,
    recorder::ProbeError,
    xml::{Element, Markup},
    zone::Zone,
};

/// One page of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    pub(super) page: Page,
}

/// Whether more pages follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    More,
    Last,
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    start: Moment,
    end: Moment,
}

/// A time with an offset, or one that is read by the recorder's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    At(Timestamp),
    Local(DateTime),
}

impl Item {
    pub(super) fn period(self, zone: &Zone) -> Option<TimeRange> {
        match (self.start, self.end) {
            (Moment::Local(start), Moment::Local(end)) => listing::period(start, end, zone),
            (start, end) => TimeRange::new(start.read(zone), end.read(zone)),
        }
    }
}

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix(['Z', 'z']).unwrap_or(text).parse() {
            Ok(local) => Some(Self::Local(local)),
            Err(_) => Timestamp::parse_iso(text).ok().map(Self::At),
        }
    }

    fn read(self, zone: &Zone) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Local(local) => zone.read(local).earliest(),
        }
    }
}

/// An id for a search: a UUID of no version.
pub(super) fn id() -> String {
    let id = format!("{:032X}", rand::random::<u128>());
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

/// The files of `track` that touch `window`, from the one at `position` on.
pub(super) fn request(
    id: &str,
    track: &str,
    window: TimeRange,
    zone: &Zone,
    position: usize,
) -> Vec<u8> {
    let time = |at: Timestamp| zone.local(at).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Markup::node(
        "CMSearchDescription",
        [
            Markup::text("searchID", id),
            Markup::node("trackIDList", [Markup::text("trackID", track)]),
            Markup::node(
                "timeSpanList",
                [Markup::node(
                    "timeSpan",
                    [
                        Markup::text("startTime", &time(window.start())),
                        Markup::text("endTime", &time(window.end())),
                    ],
                )],
            ),
            Markup::text("maxResults", "40"),
            // It is spelt that way.
            Markup::text("searchResultPostion", &position.to_string()),
            Markup::node(
                "metadataList",
                [Markup::text(
                    "metadataDescriptor",
                    "//recordType.meta.std-cgi.com",
                )],
            ),
        ],
    )
    .document()
}

/// Reads an answer. A file whose times cannot be read makes it unusable: what is left out would pass for a gap.
pub(super) fn parse(body: &[u8]) -> Result<Found, ProbeError> {
    let wrong = |what: String| ProbeError::protocol(format!("search: {what}"));
    let result = Element::parse(body).map_err(|error| wrong(error.to_string()))?;
    if result.name() == "ResponseStatus" {
        let said = result.text("subStatusCode").or(result.text("statusString"));
        return Err(wrong(said.unwrap_or("refused").to_owned()));
    }
    let items = result
        .child("matchList")
        .into_iter()
        .flat_map(|list| list.all("searchMatchItem"));
    let items = items.map(|item| {
        let time = |name: &str| Moment::parse(item.at(&["timeSpan", name])?.value()?);
        let item = time("startTime")
            .zip(time("endTime"))
            .map(|(start, end)| Item { start, end });
        item.ok_or_else(|| wrong("a file without its times".to_owned()))
    });
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let status = result.text("responseStatusStrg").unwrap_or_default();
    let page = match status.to_ascii_uppercase().as_str() {
        // A page of nothing would be asked for again and again.
        "MORE" if !items.is_empty() => Page::More,
        "MORE" | "OK" | "NO MATCHES" => Page::Last,
        other => return Err(wrong(format!("status {other:?}"))),
    };
    Ok(Found { items, page })
}
