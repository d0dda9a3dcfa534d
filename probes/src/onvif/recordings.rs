//! What a device says of its recordings (ONVIF Recording Control and Recording Search).

use std::{sync::Arc, time::Duration};

use seamline_routing::{TimeRange, Timestamp};

use super::{
    device::{ANSWER, CallError, Device, is_refusal_of_call},
    search::{self, Search},
    soap::Service,
    times,
};
use crate::recorder::{FormatSpan, ProbeError};
use crate::xml::{Element, Markup};

/// A recording: what one source left, in tracks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recording {
    pub(super) token: Arc<str>,
    pub(super) source_id: Option<Arc<str>>,
    pub(super) name: Option<Arc<str>>,
    pub(super) location: Option<Arc<str>>,
    /// Where the camera is, as the device reaches it.
    pub(super) address: Option<Arc<str>>,
}

/// The bounds of a recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Information {
    pub(super) recording: Recording,
    pub(super) earliest: Option<Timestamp>,
    pub(super) latest: Option<Timestamp>,
    pub(super) status: Status,
    pub(super) tracks: Vec<Track>,
}

/// One of a recording's tracks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) token: String,
    pub(super) is_video: bool,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

/// Whether something is being written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Status {
    Recording,
    Stopped,
    #[default]
    Unknown,
}

/// A picture's format and the time for which it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodecSpan {
    /// Such as `H264 1280x720`.
    pub(super) format: String,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Device {
    /// All recordings: from the recording service, else by a search.
    pub(super) async fn recordings(&self) -> Result<Vec<Recording>, CallError> {
        let request = Markup::node("trc:GetRecordings", []);
        let answer = self
            .ask(Service::Recording, "GetRecordings", request, ANSWER)
            .await;
        match answer {
            Ok(answer) => Ok(answer
                .all("RecordingItem")
                .filter_map(|item| {
                    let source = item.at(&["Configuration", "Source"]);
                    Recording::read(item, source)
                })
                .collect()),
            Err(error) if is_refusal_of_call(&error) => self.search_recordings().await,
            Err(error) => Err(error),
        }
    }

    async fn search_recordings(&self) -> Result<Vec<Recording>, CallError> {
        let request = Markup::node(
            "tse:FindRecordings",
            [
                Markup::node("tse:Scope", []),
                Markup::text("tse:KeepAliveTime", search::KEEP_ALIVE),
            ],
        );
        let mut found = Vec::new();
        let within = Duration::from_secs(10);
        let mut search = Search::start(self, "FindRecordings", request, within).await?;
        let outcome = loop {
            match search.next("GetRecordingSearchResults").await {
                Ok(Some(page)) => {
                    let listed = page.all("RecordingInformation");
                    let read = |listed| Recording::read(listed, Element::child(listed, "Source"));
                    found.extend(listed.filter_map(read));
                    if found.len() > RECORDINGS_MAX {
                        break Err(ProbeError::protocol("more recordings than are read").into());
                    }
                }
                Ok(None) => break Ok(found),
                Err(error) => break Err(error),
            }
        };
        search.end().await;
        outcome
    }

    /// The bounds of a recording, and whether it is being written.
    pub(super) async fn information(&self, token: &str) -> Result<Information, CallError> {
        let operation = "GetRecordingInformation";
        let request = Markup::node(
            "tse:GetRecordingInformation",
            [Markup::text("tse:RecordingToken", token)],
        );
        let answer = self
            .ask(Service::Search, operation, request, ANSWER)
            .await?;
        let listed = answer
            .child("RecordingInformation")
            .and_then(Information::read)
            .ok_or_else(|| ProbeError::protocol("GetRecordingInformation: nothing in it"))?;
        Ok(listed)
    }

    /// The picture's format at a time (`GetMediaAttributes`); `None` when the device does not tell.
    pub(super) async fn codec(
        &self,
        token: &str,
        at: Timestamp,
    ) -> Result<Option<CodecSpan>, CallError> {
        let request = Markup::node(
            "tse:GetMediaAttributes",
            [
                Markup::text("tse:RecordingTokens", token),
                Markup::text("tse:Time", &at.to_string()),
            ],
        );
        let answer = self
            .ask(Service::Search, "GetMediaAttributes", request, ANSWER)
            .await;
        match answer {
            Ok(answer) => Ok(answer.all("MediaAttributes").find_map(CodecSpan::read)),
            Err(error) if is_refusal_of_call(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Device {
    /// The encodings of a recording's pictures from one instant to another, span by span; what the device does not tell is
    /// not in them.
    pub(super) async fn formats(
        &self,
        token: &str,
        window: TimeRange,
    ) -> Result<Vec<FormatSpan>, CallError> {
        let mut spans: Vec<FormatSpan> = Vec::new();
        let mut at = window.start();
        for _ in 0..SPANS_MAX {
            let Some(span) = self.codec(token, at).await? else {
                break;
            };
            let Some(until) = span.until else { break };
            let encoding = span.format.split(' ').next().unwrap_or_default();
            let from = span.from.unwrap_or(at);
            spans.extend(TimeRange::new(from, until).map(|range| FormatSpan {
                encoding: encoding.into(),
                range,
            }));
            // Some count a span's last instant to it.
            at = if until > at { until } else { at + SPAN_MIN };
            if at >= window.end() {
                break;
            }
        }
        Ok(spans)
    }
}

/// Recordings of one device that are listed page by page.
const RECORDINGS_MAX: usize = 20_000;
/// Tracks of a recording that are looked at: each event is held against them.
pub(super) const TRACKS_MAX: usize = 64;
/// Formats of one recording that are asked for.
const SPANS_MAX: usize = 64;
const SPAN_MIN: Duration = Duration::from_secs(1);

/// Reads all that any answer of these services may hold; how much there was.
pub(super) fn read_all(answer: &Element) -> usize {
    let bounds = answer.child("RecordingInformation").or(Some(answer));
    let known = bounds.and_then(Information::read);
    let listed = answer
        .all("RecordingItem")
        .filter_map(|item| Recording::read(item, item.at(&["Configuration", "Source"])));
    let codecs = answer.all("MediaAttributes").filter_map(CodecSpan::read);
    let tracks = known.map_or(0, |known| known.picture_tracks().len());
    tracks + listed.count() + codecs.count()
}

impl Recording {
    fn read(listed: &Element, source: Option<&Element>) -> Option<Self> {
        let text = |name: &str| source?.text(name).map(shown);
        Some(Self {
            token: listed.text("RecordingToken")?.into(),
            source_id: text("SourceId"),
            name: text("Name"),
            location: text("Location"),
            address: text("Address"),
        })
    }
}

impl Information {
    fn read(listed: &Element) -> Option<Self> {
        Some(Self {
            recording: Recording::read(listed, listed.child("Source"))?,
            earliest: times::within(listed, "EarliestRecording"),
            latest: times::within(listed, "LatestRecording"),
            status: match listed.text("RecordingStatus") {
                Some("Recording") => Status::Recording,
                Some("Stopped" | "Removing" | "Removed") => Status::Stopped,
                _ => Status::Unknown,
            },
            tracks: listed
                .all("Track")
                .take(TRACKS_MAX)
                .map(Track::read)
                .collect(),
        })
    }

    /// The tracks that say whether there are pictures; all when none is said to hold any.
    pub(super) fn picture_tracks(&self) -> Vec<&Track> {
        let video: Vec<_> = self.tracks.iter().filter(|track| track.is_video).collect();
        if video.is_empty() {
            self.tracks.iter().collect()
        } else {
            video
        }
    }
}

impl Track {
    fn read(listed: &Element) -> Self {
        Self {
            token: listed.text("TrackToken").unwrap_or_default().to_owned(),
            is_video: listed
                .text("TrackType")
                .is_some_and(|kind| kind.eq_ignore_ascii_case("Video")),
            from: times::within(listed, "DataFrom"),
            to: times::within(listed, "DataTo"),
        }
    }
}

impl CodecSpan {
    fn read(attributes: &Element) -> Option<Self> {
        let mut tracks = attributes.all("TrackAttributes");
        let video = tracks.find_map(|track| track.child("VideoAttributes"))?;
        let encoding = video.text("Encoding")?.to_uppercase();
        let size = video.text("Width").zip(video.text("Height"));
        let size = size.map_or_else(String::new, |(width, height)| format!(" {width}x{height}"));
        Some(Self {
            format: shown(&format!("{encoding}{size}")).as_ref().to_owned(),
            from: times::within(attributes, "From"),
            until: times::within(attributes, "Until"),
        })
    }
}

/// Fit for a table and for a configuration.
fn shown(text: &str) -> Arc<str> {
    let kept = text.chars().filter(|character| !character.is_control());
    let kept: String = kept.take(TEXT_CHARS_MAX).collect();
    kept.trim().into()
}

const TEXT_CHARS_MAX: usize = 256;
