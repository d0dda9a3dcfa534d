//! What the recorder's responses mean for the session.

use std::collections::VecDeque;

use super::{Pending, QueuedTrack, REDIRECTS_MAX, ReplayClient, Step};
use crate::client::{
    ClientError, ClientEvent, Phase, Playing, SetUpTrack, TrackChoice, TrackStart,
};
use crate::headers::{Lower, RtpInfo, Transport};
use crate::message::{Method, Response};
use crate::sdp::Description;
use crate::url::RtspUrl;

impl ReplayClient {
    /// The request that `response` answers: by `CSeq`, or the oldest where the recorder leaves it out.
    pub(super) fn take_pending(&mut self, response: &Response) -> Option<Pending> {
        let index = match response.cseq() {
            Some(cseq) => self
                .pending
                .iter()
                .position(|pending| pending.cseq == cseq)?,
            None => 0,
        };
        let pending = self.pending.remove(index);
        if self.pending.is_empty() {
            // A session that plays asks twice a minute.
            self.pending = VecDeque::new();
        }
        pending
    }

    pub(super) fn stray_response(&mut self) -> Result<(), ClientError> {
        self.stray_responses += 1;
        if self.stray_responses > STRAY_RESPONSES_MAX {
            Err(ClientError::Protocol("responses to nothing"))
        } else {
            Ok(())
        }
    }

    pub(super) fn answered(
        &mut self,
        pending: Pending,
        response: &Response,
    ) -> Result<(), ClientError> {
        let status = response.status;
        if status == 401 {
            self.answerer.challenged(response, pending.answers)?;
            self.send(pending.step, pending.request, pending.answers);
            return Ok(());
        }
        if pending.answers > 0 && status != 403 {
            self.answerer.accepted();
        }
        if pending.demanding && refuses_demand(&pending.step, status) {
            self.onvif = false;
            self.send(pending.step, pending.request, 0);
            return Ok(());
        }
        match pending.step {
            Step::Describe => self.described(response),
            Step::SetUp(queued, url) => self.track_answered(queued, url, response),
            Step::Play => self.playing(pending.cseq, response),
            Step::Pause => self.paused(response),
            Step::KeepAlive => self.kept_alive(status),
            Step::TearDown => {
                self.phase = Phase::Closed;
                self.emit(ClientEvent::Closed)
            }
        }
    }

    fn described(&mut self, response: &Response) -> Result<(), ClientError> {
        if (300..400).contains(&response.status) {
            return self.redirected(response.headers.get("Location"));
        }
        if !response.is_success() {
            return Err(ClientError::from_status(response.status));
        }
        let mut description = Description::parse(&response.body)?;
        description.range = description
            .range
            .or_else(|| response.headers.range().ok().flatten());
        let mut named = ["Content-Base", "Content-Location"]
            .iter()
            .filter_map(|name| response.headers.get(name));
        self.base = named
            .find_map(|text| RtspUrl::parse(text).ok())
            .unwrap_or_else(|| self.url.clone());
        if let Some(aggregate) = self.base.control(&description.control).into_iter().next() {
            self.aggregate = aggregate;
        }
        self.description = description.clone();
        self.phase = Phase::Described;
        self.emit(ClientEvent::Described(description))?;
        match self.track_choice {
            TrackChoice::All => {
                self.set_up(&(0..self.description.tracks.len()).collect::<Vec<_>>())
            }
            TrackChoice::Named => Ok(()),
        }
    }

    fn redirected(&mut self, location: Option<&str>) -> Result<(), ClientError> {
        let location = location.and_then(|text| RtspUrl::parse(text).ok());
        self.redirects += 1;
        match location {
            Some(location) if location.same_host(&self.url) && self.redirects <= REDIRECTS_MAX => {
                self.url = location;
                self.describe();
                Ok(())
            }
            location => Err(ClientError::Redirect { location }),
        }
    }

    fn track_answered(
        &mut self,
        queued: QueuedTrack,
        url: RtspUrl,
        response: &Response,
    ) -> Result<(), ClientError> {
        let (track, status) = (queued.track, response.status);
        if response.is_success() {
            let channels = self.channels(&queued, response)?;
            self.keep_session(response)?;
            self.tracks.push(SetUpTrack {
                track,
                rtp_channel: channels.0,
                rtcp_channel: channels.1,
                url,
            });
        } else if matches!(status, 400 | 404 | 451 | 455) && !queued.urls.is_empty() {
            self.queued_tracks.push_front(queued);
        } else if matches!(status, 403 | 453 | 454 | 503) || (300..400).contains(&status) {
            return Err(ClientError::from_status(status));
        } else {
            self.first_refusal.get_or_insert(status);
            self.emit(ClientEvent::TrackRefused { track, status })?;
        }
        self.set_up_next()
    }

    /// The channels a SETUP response gives; those that were asked for where it says nothing.
    fn channels(&self, queued: &QueuedTrack, response: &Response) -> Result<(u8, u8), ClientError> {
        let asked = (queued.rtp_channel, queued.rtp_channel + 1);
        let channels = match response.headers.transports().first() {
            // Datagrams, unasked: as good as a refusal of what was asked.
            Some(Transport {
                lower: Lower::Udp, ..
            }) => return Err(ClientError::from_status(461)),
            Some(transport) => transport.interleaved.unwrap_or(asked),
            None => asked,
        };
        let taken = |channel| {
            self.tracks
                .iter()
                .any(|track| track.rtp_channel == channel || track.rtcp_channel == channel)
        };
        if channels.0 == channels.1 || taken(channels.0) || taken(channels.1) {
            return Err(ClientError::Protocol("one channel for two streams"));
        }
        Ok(channels)
    }

    fn keep_session(&mut self, response: &Response) -> Result<(), ClientError> {
        let session = response
            .headers
            .session()
            .map_err(|_| ClientError::Protocol("unreadable session id"))?;
        if let Some(session) = session {
            self.timeout_s = session.timeout_s.unwrap_or(self.timeout_s);
            self.session_id.get_or_insert(session.id);
        }
        if self.session_id.is_some() {
            Ok(())
        } else {
            Err(ClientError::Protocol("no session id"))
        }
    }

    fn playing(&mut self, cseq: u32, response: &Response) -> Result<(), ClientError> {
        if (300..400).contains(&response.status) {
            let location = response
                .headers
                .get("Location")
                .and_then(|text| RtspUrl::parse(text).ok());
            return Err(ClientError::Redirect { location });
        }
        if !response.is_success() {
            return Err(ClientError::from_status(response.status));
        }
        if self.phase == Phase::Starting
            && !self
                .pending
                .iter()
                .any(|pending| matches!(pending.step, Step::Play))
        {
            self.phase = Phase::Playing;
        }
        let headers = &response.headers;
        let playing = Playing {
            cseq,
            range: headers.range().ok().flatten(),
            scale: headers.scale().ok().flatten(),
            rate_control: headers.rate_control().ok().flatten(),
            onvif: self.onvif,
            starts: self.starts(&headers.rtp_info()),
        };
        self.emit(ClientEvent::Playing(playing))
    }

    fn paused(&mut self, response: &Response) -> Result<(), ClientError> {
        let replaced = self
            .pending
            .iter()
            .any(|pending| matches!(pending.step, Step::Play));
        match response.is_success() {
            true if replaced => self.emit(ClientEvent::Paused),
            true => {
                self.phase = Phase::Ready;
                self.emit(ClientEvent::Paused)
            }
            // The PLAY behind it says whether this recorder replaces what plays without a pause.
            false if replaced => Ok(()),
            false => Err(ClientError::from_status(response.status)),
        }
    }

    /// Finds each entry's track: by the URL it was set up with, by its control attribute, or by position.
    fn starts(&self, entries: &[RtpInfo]) -> Vec<TrackStart> {
        let by_position = entries.len() == self.tracks.len();
        let starts = entries.iter().enumerate().filter_map(|(position, entry)| {
            let control = |track: usize| {
                self.description
                    .tracks
                    .get(track)
                    .map_or("", |track| track.control.as_str())
            };
            let named = |set_up: &&SetUpTrack| set_up.url.as_str() == entry.url;
            let ends = |set_up: &&SetUpTrack| {
                let control = control(set_up.track);
                !control.is_empty() && control != "*" && entry.url.ends_with(control)
            };
            let by_name = self
                .tracks
                .iter()
                .find(named)
                .or_else(|| self.tracks.iter().find(ends));
            let set_up = by_name.or_else(|| self.tracks.get(position).filter(|_| by_position))?;
            Some(TrackStart {
                track: set_up.track,
                seq: entry.seq,
                rtptime: entry.rtptime,
            })
        });
        starts.collect()
    }

    fn kept_alive(&mut self, status: u16) -> Result<(), ClientError> {
        match status {
            454 => return Err(ClientError::SessionLost),
            // Not every recorder knows GET_PARAMETER; each knows OPTIONS.
            400 | 405 | 451 | 455 | 501 | 551 => self.keep_alive = Method::Options,
            _ => {}
        }
        Ok(())
    }
}

/// Whether a refusal may be for the demand of ONVIF replay: 551 says so, and DESCRIBE need not know the tag.
fn refuses_demand(step: &Step, status: u16) -> bool {
    let about_something_else = matches!(status, 403 | 404 | 410 | 453 | 454);
    status == 551
        || (matches!(step, Step::Describe) && (400..500).contains(&status) && !about_something_else)
}

/// Most responses without a request, over the session's life.
const STRAY_RESPONSES_MAX: u32 = 64;
