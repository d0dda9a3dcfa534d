//! Questions by SOAP to a site's management server and to its recorders.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method as HttpMethod, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use seamline_routing::Timestamp;
use seamline_xprotect::soap::{self, SoapError};
use url::Url;

use super::{Door, PORT, Place, Site};
use crate::{
    http::{AGENT, date, whole},
    recorder::ProbeError,
    xml::{Element, Limits},
    xprotect::windows::Question,
};

impl Site {
    pub(super) async fn server_call(
        &self,
        door: &Door,
        operation: &str,
        body: Vec<u8>,
        limits: Limits,
    ) -> Result<Option<Element>, ProbeError> {
        let kind = (CONTENT_TYPE, "text/xml; charset=utf-8".to_owned());
        let action = |action: String| (SOAP_ACTION, format!("\"{action}\""));
        let (status, body) = match (door, &self.windows) {
            (Door::Bearer(shown) | Door::Basic(shown), _) => {
                let path = match door {
                    Door::Bearer(_) => soap::SERVER_OAUTH_PATH,
                    _ => soap::SERVER_BASIC_PATH,
                };
                let shown = (AUTHORIZATION, shown.to_string());
                let headers = [kind, action(soap::server_action(operation)), shown];
                let asked = self.ask(HttpMethod::POST, path, &headers, body.into(), limits.bytes);
                asked.await?
            }
            (Door::Older, Some(windows)) => {
                let question = Question {
                    path: soap::SERVER_OLDER_PATH,
                    headers: &[kind, action(soap::older_action(operation))],
                    body: body.into(),
                    bytes_max: limits.bytes,
                };
                windows.ask(&question).await?
            }
            (Door::Older, None) => return Err(ProbeError::Credentials),
        };
        read(status, &body, operation, limits)
    }

    /// Asks the management server.
    pub(super) async fn ask(
        &self,
        method: HttpMethod,
        path: &str,
        headers: &[(hyper::header::HeaderName, String)],
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), ProbeError> {
        let base = self.server.path().trim_end_matches('/');
        let origin = self.server.origin().ascii_serialization();
        let url = format!("{origin}{base}{path}");
        let (status, _, body) = self.send(method, &url, headers, body, bytes_max).await?;
        Ok((status, body))
    }

    async fn send(
        &self,
        method: HttpMethod,
        url: &str,
        headers: &[(hyper::header::HeaderName, String)],
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(StatusCode, Option<Timestamp>, Bytes), ProbeError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(USER_AGENT, AGENT);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| ProbeError::protocol(error.to_string()))?;
        let answer = self.connections.send(request).await;
        let (head, body) = answer
            .map_err(|error| self.by_name(url, error))?
            .into_parts();
        let body = whole(body, bytes_max, "XProtect").await?;
        Ok((head.status, date(&head.headers), body))
    }

    /// An error that says which of the site's servers cannot be reached: recorders are not in the configuration.
    fn by_name(&self, url: &str, error: ProbeError) -> ProbeError {
        let asked = Url::parse(url)
            .ok()
            .filter(|asked| asked.origin() != self.server.origin());
        match (asked, error) {
            (Some(asked), ProbeError::Unreachable(why)) => {
                let host = asked.host_str().unwrap_or_default();
                let port = asked.port_or_known_default().unwrap_or(PORT);
                ProbeError::Unreachable(format!("the recorder at {host}:{port}: {why}").into())
            }
            (_, error) => error,
        }
    }

    /// Passes a request on to one of its recorders, whose absolute address is in it; the answer's body is whole, of so many bytes
    /// at most.
    pub async fn pass_on(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<(hyper::http::response::Parts, Bytes), ProbeError> {
        let (head, body) = self.connections.send(request).await?.into_parts();
        Ok((head, whole(body, bytes_max, "XProtect").await?))
    }

    /// Asks a recorder's SOAP service; with another token where this one is refused. Returns its time of day, too.
    pub(in crate::xprotect) async fn recorder_call(
        &self,
        place: &Place,
        operation: &str,
        body: impl Fn(&str) -> Vec<u8>,
    ) -> Result<(Option<Element>, Option<Timestamp>), ProbeError> {
        let token = self.token().await?;
        let first = self
            .recorder_call_with(place, operation, body(&token.text))
            .await;
        match first {
            Err(ProbeError::Credentials) => {
                let token = self.token_but(Some(&token)).await?;
                self.recorder_call_with(place, operation, body(&token.text))
                    .await
            }
            outcome => outcome,
        }
    }

    pub(super) async fn recorder_call_with(
        &self,
        place: &Place,
        operation: &str,
        body: Vec<u8>,
    ) -> Result<(Option<Element>, Option<Timestamp>), ProbeError> {
        let origin = place.recorder.origin().ascii_serialization();
        let url = format!("{origin}{}", soap::RECORDER_PATH);
        let headers = [
            (CONTENT_TYPE, "text/xml; charset=utf-8".to_owned()),
            (
                SOAP_ACTION,
                format!("\"{}\"", soap::recorder_action(operation)),
            ),
        ];
        let limits = Limits::ANSWER;
        let sent = self.send(HttpMethod::POST, &url, &headers, body.into(), limits.bytes);
        let (status, there, body) = sent.await?;
        Ok((read(status, &body, operation, limits)?, there))
    }
}

/// An answer, or what it means that there is none.
fn read(
    status: StatusCode,
    body: &[u8],
    operation: &str,
    limits: Limits,
) -> Result<Option<Element>, ProbeError> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(ProbeError::Credentials),
        StatusCode::SERVICE_UNAVAILABLE => return Err(ProbeError::Busy),
        _ => {}
    }
    match soap::result(body, operation, limits) {
        Ok(result) => Ok(result),
        Err(SoapError::Fault(fault)) if fault.is_token() => Err(ProbeError::Credentials),
        Err(SoapError::Fault(fault)) => Err(ProbeError::protocol(format!("{operation}: {fault}"))),
        Err(error) if status.is_success() => {
            Err(ProbeError::protocol(format!("{operation}: {error}")))
        }
        Err(_) => Err(ProbeError::protocol(format!("{operation}: {status}"))),
    }
}

const SOAP_ACTION: hyper::header::HeaderName = hyper::header::HeaderName::from_static("soapaction");
