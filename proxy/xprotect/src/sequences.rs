//! `SequencesGet`: which stretches a recorder holds.

use seamline_routing::{TimeRange, Timestamp};
use seamline_xml::{Element, Markup};

use crate::soap::{self, RECORDER};

/// Stretches of recording, whatever set them off.
pub const RECORDING: &str = "f9c62604-d0c5-4050-ae25-72de51639b14";

/// A question for stretches that overlap a window, in order, so many at most.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The token of a login.
    pub token: &'a str,
    /// The camera's GUID.
    pub device: &'a str,
    /// On the recorder's clock.
    pub window: TimeRange,
    /// Entries in one answer.
    pub count_max: usize,
}

impl Query<'_> {
    /// The operation's name.
    pub const OPERATION: &'static str = "SequencesGet";

    /// The body of the request.
    pub fn write(self) -> Vec<u8> {
        soap::request(
            RECORDER,
            Self::OPERATION,
            [
                Markup::text("token", self.token),
                Markup::text("deviceId", self.device),
                Markup::text("sequenceType", RECORDING),
                Markup::text("minTime", &self.window.start().to_string()),
                Markup::text("maxTime", &self.window.end().to_string()),
                Markup::text("maxCount", &self.count_max.to_string()),
            ],
        )
    }
}

/// One stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// About its first picture.
    pub begin: Timestamp,
    /// What set it off; its beginning where nothing did.
    pub trigged: Timestamp,
    /// About its last; of one that goes on it may lie in the future.
    pub end: Timestamp,
}

impl Entry {
    /// One that nothing in it set off.
    pub const fn plain(begin: Timestamp, end: Timestamp) -> Self {
        Self {
            begin,
            trigged: begin,
            end,
        }
    }

    /// As it is sent.
    pub(crate) fn written(self) -> Markup {
        let [begin, trigged, end] = [self.begin, self.trigged, self.end].map(|at| at.to_string());
        Markup::node(
            "SequenceEntry",
            [
                Markup::text("TimeBegin", &begin),
                Markup::text("TimeTrigged", &trigged),
                Markup::text("TimeEnd", &end),
            ],
        )
    }
}

/// Reads a `SequencesGetResult`; `None` when an entry's times cannot be read.
pub fn entries(result: Option<&Element>) -> Option<Vec<Entry>> {
    let entries = result.into_iter();
    entries
        .flat_map(|result| result.all("SequenceEntry"))
        .map(|entry| {
            let begin = time(entry.text("TimeBegin")?)?;
            Some(Entry {
                begin,
                trigged: entry.text("TimeTrigged").and_then(time).unwrap_or(begin),
                end: time(entry.text("TimeEnd")?)?,
            })
        })
        .collect()
}

/// As it is sent.
pub fn answer(entries: &[Entry]) -> Vec<u8> {
    let result = Markup::node(
        "SequencesGetResult",
        entries.iter().map(|entry| entry.written()),
    );
    soap::envelope(Markup::node_with(
        "SequencesGetResponse",
        &[("xmlns", RECORDER)],
        [result],
    ))
}

/// A `dateTime`: UTC also where it does not say so.
pub fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse_iso(text)
        .or_else(|_| Timestamp::parse_iso(&format!("{text}Z")))
        .ok()
}
