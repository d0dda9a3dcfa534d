//! The recorder's own requests: each is answered, or it stops sending media.

use super::{QUEUED_MAX, ReplayClient};
use crate::client::{ClientError, ClientEvent};
use crate::message::{Method, Request, Response};
use crate::url::RtspUrl;

impl ReplayClient {
    pub(super) fn answer(&mut self, request: &Request) -> Result<(), ClientError> {
        let status = match request.method {
            Method::Options
            | Method::GetParameter
            | Method::SetParameter
            | Method::Announce
            | Method::Redirect => 200,
            _ => 501,
        };
        let mut response = Response::to(request, status);
        if let Some(id) = &self.session_id {
            response.headers.push("Session", id);
        }
        if request.method == Method::Options {
            response.headers.push(
                "Public",
                "OPTIONS, GET_PARAMETER, SET_PARAMETER, ANNOUNCE, REDIRECT",
            );
        }
        if self.outbox.len() >= QUEUED_MAX {
            return Err(ClientError::Protocol("a flood of requests"));
        }
        self.outbox.push_back(response.encode().freeze());
        self.emit(ClientEvent::ServerRequest(request.method.clone()))?;
        match request.method {
            Method::Announce if ends_stream(request) => self.emit(ClientEvent::EndOfStream),
            Method::Redirect => {
                let location = request
                    .headers
                    .get("Location")
                    .and_then(|text| RtspUrl::parse(text).ok());
                Err(ClientError::Redirect { location })
            }
            _ => Ok(()),
        }
    }
}

/// Whether an ANNOUNCE says that the end of the footage is reached (notice 2101 of several recorders).
fn ends_stream(request: &Request) -> bool {
    let notices = ["x-notice", "Notice", "Event-Type"]
        .into_iter()
        .filter_map(|name| request.headers.get(name));
    notices.map(str::trim).any(|notice| {
        let code = notice.split([' ', ';']).next().unwrap_or_default();
        code == "2101" || notice.to_ascii_lowercase().contains("end-of-stream")
    })
}
