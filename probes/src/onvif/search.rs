//! Search sessions (ONVIF Recording Search): started, read page by page within limits, and ended.

use std::time::{Duration, Instant};

use seamline_routing::{TimeRange, Timestamp};
use tokio::time::sleep;

use super::{
    coverage::{Edge, Segment},
    device::{ANSWER, CallError, Device, is_true},
    soap::Service,
    times,
};
use crate::xml::{Element, Markup};
use crate::{clock::monotonic, recorder::ProbeError};

/// A search that is under way at a device.
pub(super) struct Search<'d> {
    device: &'d Device,
    token: String,
    until: Instant,
    pages: usize,
    completed: bool,
}

impl<'d> Search<'d> {
    /// Starts a search that is read for no longer than `within`.
    pub(super) async fn start(
        device: &'d Device,
        operation: &'static str,
        request: Markup,
        within: Duration,
    ) -> Result<Self, CallError> {
        let started = monotonic();
        let answer = device
            .ask(Service::Search, operation, request, ANSWER)
            .await?;
        let token = answer
            .text("SearchToken")
            .ok_or_else(|| ProbeError::protocol(format!("{operation}: no search token")))?;
        Ok(Self {
            device,
            token: token.to_owned(),
            until: started.checked_add(within).unwrap_or(started),
            pages: 0,
            completed: false,
        })
    }

    /// The next page, `None` behind the last one.
    pub(super) async fn next(
        &mut self,
        operation: &'static str,
    ) -> Result<Option<Element>, CallError> {
        if self.completed {
            return Ok(None);
        }
        let left = self.until.saturating_duration_since(monotonic());
        if left.is_zero() || self.pages >= PAGES_MAX {
            return Err(ProbeError::Timeout.into());
        }
        self.pages += 1;
        let name = match operation {
            "GetEventSearchResults" => "tse:GetEventSearchResults",
            _ => "tse:GetRecordingSearchResults",
        };
        let request = Markup::node(
            name,
            [
                Markup::text("tse:SearchToken", &self.token),
                Markup::text("tse:MinResults", "1"),
                Markup::text("tse:MaxResults", PAGE_RESULTS),
                Markup::text("tse:WaitTime", WAIT_TEXT),
            ],
        );
        let patience = (WAIT + ANSWER).min(left + ANSWER);
        let asked = monotonic();
        let answer = self
            .device
            .ask(Service::Search, operation, request, patience)
            .await?;
        let page = answer
            .child("ResultList")
            .cloned()
            .ok_or_else(|| ProbeError::protocol(format!("{operation}: no result list")))?;
        let state = page.text("SearchState").unwrap_or_default();
        self.completed = state.eq_ignore_ascii_case("Completed");
        let empty = page.children().count() <= 1;
        if empty && !self.completed && monotonic().saturating_duration_since(asked) < EMPTY_PAUSE {
            // It did not wait for results, as it should have.
            sleep(EMPTY_PAUSE).await;
        }
        Ok(Some(page))
    }

    /// Ends it where it was not read to its end: devices have few searches.
    pub(super) async fn end(self) {
        if self.completed {
            return;
        }
        let request = Markup::node(
            "tse:EndSearch",
            [Markup::text("tse:SearchToken", &self.token)],
        );
        // It may be over already, which is a fault.
        let _ = self
            .device
            .ask(Service::Search, "EndSearch", request, ANSWER)
            .await;
    }
}

/// What a search for edges found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) edges: Vec<Edge>,
    /// Not, when time or patience ran out before the device was done.
    pub(super) complete: bool,
}

impl Device {
    /// Where the tracks of a recording begin and end within `window`, by `FindEvents`.
    pub(super) async fn edges(
        &self,
        token: &str,
        window: TimeRange,
        within: Duration,
    ) -> Result<Found, CallError> {
        let request = find_events(token, window);
        let mut search = Search::start(self, "FindEvents", request, within).await?;
        let mut edges: Vec<Edge> = Vec::new();
        let outcome = loop {
            match search.next("GetEventSearchResults").await {
                Ok(Some(page)) => {
                    let found = page.all("Result").filter_map(|result| edge(result, token));
                    edges.extend(found.take(EDGES_MAX));
                    if edges.len() > EDGES_MAX {
                        break Ok(false);
                    }
                }
                Ok(None) => break Ok(true),
                // What came so far is worth something, in order as it is.
                Err(_) if !edges.is_empty() => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        search.end().await;
        outcome.map(|complete| Found { edges, complete })
    }

    /// The segments of a recording in `window`, by `ListRecordedSegments`; and up to when they are all.
    pub(super) async fn segments(
        &self,
        token: &str,
        window: TimeRange,
        within: Duration,
    ) -> Result<(Vec<Segment>, Timestamp), CallError> {
        let until = monotonic().checked_add(within);
        let mut segments: Vec<Segment> = Vec::new();
        let mut from = window.start();
        for _ in 0..PAGES_MAX {
            let request = list_segments(token, from, window.end());
            let operation = "ListRecordedSegments";
            let answer = self
                .ask(Service::Recording, operation, request, WAIT + ANSWER)
                .await?;
            let results = answer
                .child("Results")
                .ok_or_else(|| ProbeError::protocol("ListRecordedSegments: no results"))?;
            segments.extend(results.all("Segment").filter_map(segment));
            if !results.text("HasMoreResults").is_some_and(is_true) {
                return Ok((segments, window.end()));
            }
            let last = segments.iter().map(|segment| segment.range.end()).max();
            let late = until.is_none_or(|until| monotonic() >= until);
            match last {
                // The next page begins where the last segment ends.
                Some(last) if last > from && !late && segments.len() < EDGES_MAX => from = last,
                _ => break,
            }
        }
        Ok((segments, from))
    }
}

/// Every element in the order of its sequence (ONVIF Recording Search, `FindEvents`).
fn find_events(token: &str, window: TimeRange) -> Markup {
    let topic = Markup::text_with(
        "wsnt:TopicExpression",
        &[("Dialect", CONCRETE_SET)],
        "tns1:RecordingHistory/Track/State",
    );
    Markup::node(
        "tse:FindEvents",
        [
            Markup::text("tse:StartPoint", &window.start().to_string()),
            Markup::text("tse:EndPoint", &window.end().to_string()),
            Markup::node("tse:Scope", [Markup::text("tt:IncludedRecordings", token)]),
            Markup::node("tse:SearchFilter", [topic]),
            Markup::text("tse:IncludeStartState", "true"),
            Markup::text("tse:KeepAliveTime", KEEP_ALIVE),
        ],
    )
}

fn list_segments(token: &str, from: Timestamp, until: Timestamp) -> Markup {
    let time = [
        Markup::text("tt:From", &from.to_string()),
        Markup::text("tt:Until", &until.to_string()),
    ];
    Markup::node(
        "trc:ListRecordedSegments",
        [
            Markup::node("trc:Time", time),
            Markup::text("trc:RecordingToken", token),
            Markup::text("trc:MaxResults", PAGE_RESULTS),
        ],
    )
}

/// The edge that a result tells of, if it does and means this recording.
fn edge(result: &Element, token: &str) -> Option<Edge> {
    let event = result.child("Event")?;
    let topic = event.text("Topic")?;
    // The prefix is the device's own, and so is the dialect.
    if !topic
        .trim_end_matches('/')
        .ends_with("RecordingHistory/Track/State")
    {
        return None;
    }
    let message = event.at(&["Message", "Message"])?;
    let item = |of: &str, names: &[&str]| {
        let items = message.child(of)?.all("SimpleItem");
        let mut named = items.filter(|item| {
            let name = item.attribute("Name").unwrap_or_default();
            names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted))
        });
        named.find_map(|item| item.attribute("Value"))
    };
    let recording = result
        .text("RecordingToken")
        .or_else(|| item("Source", &["RecordingToken", "Recording"]));
    if recording.is_some_and(|recording| recording != token) {
        return None;
    }
    let at = result
        .text("Time")
        .or_else(|| message.attribute("UtcTime"))
        .and_then(times::parse)?;
    let track = result
        .text("TrackToken")
        .or_else(|| item("Source", &["Track", "TrackToken"]));
    Some(Edge {
        track: track.unwrap_or_default().to_owned(),
        at,
        present: is_true(item("Data", &["IsDataPresent"])?),
        start_state: result.text("StartStateEvent").is_some_and(is_true),
    })
}

fn segment(listed: &Element) -> Option<Segment> {
    let (start, end) = (listed.text("StartTime")?, listed.text("EndTime")?);
    let kind = listed.text("MediaType").unwrap_or_default();
    // As RFC 6381 names media: `video/mp4; codecs="avc1.4d002a, mp4a.40.2"`.
    let silent =
        kind.starts_with("audio/") || kind.starts_with("application/") || kind.starts_with("text/");
    let range = TimeRange::new(times::parse(start)?, times::parse(end)?)?;
    (!silent).then_some(Segment { range })
}

/// A device must keep a search for at least ten seconds after a question.
pub(super) const KEEP_ALIVE: &str = "PT30S";
const CONCRETE_SET: &str = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet";
/// How long a page may take to fill.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_TEXT: &str = "PT5S";
const PAGE_RESULTS: &str = "256";
const PAGES_MAX: usize = 1_000;
/// Two for each hole of a recording.
const EDGES_MAX: usize = 200_000;
const EMPTY_PAUSE: Duration = Duration::from_millis(100);
