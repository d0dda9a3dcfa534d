//! How a request is refused: one type, told as a problem (RFC 9457), logged and counted where all answers pass.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request gets no more than this. The detail is for whoever asked: it names nothing that they may not know.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a request gets no more than this (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemItem<'a> {
    /// Always `about:blank`: the status says which kind.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'a str,
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
}

/// What a refused request was told, for the log; a response's extension.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) reason: Cow<'static, str>,
}

impl Problem {
    /// A problem of this status, in words.
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem {
            status,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    /// 400: a parameter that means nothing.
    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: there is no such thing, or no footage there.
    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503: it may be there later; so many seconds later is worth a try.
    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after_s: u64) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after_s)
    }

    /// The same with `Retry-After`.
    #[must_use]
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The same with one more header.
    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem {
            status,
            detail,
            headers,
        } = self;
        let body = ProblemItem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: &detail,
        };
        let mut response = json_response("application/problem+json", &body);
        *response.status_mut() = status;
        for (name, value) in headers {
            response.headers_mut().append(name, value);
        }
        response.extensions_mut().insert(Refused { reason: detail });
        response
    }
}

/// The tag of routes that answer as `MediaMTX`'s playback server does, see [`as_mediamtx`].
pub(super) const MEDIAMTX: &str = "as MediaMTX";

/// Why a request gets no more than this, as `MediaMTX` says it.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorItem<'a> {
    /// Always `error`.
    status: &'static str,
    /// What is wrong with this request.
    error: &'a str,
}

/// Gives a problem the form of `MediaMTX`'s playback server, whose clients read `error`; a layer of such routes.
#[allow(clippy::unused_async, reason = "layers are made of async functions")]
pub(super) async fn as_mediamtx(mut response: Response) -> Response {
    let Some(Refused { reason }) = response.extensions().get::<Refused>() else {
        return response;
    };
    let body = ErrorItem {
        status: "error",
        error: reason,
    };
    let told = json_response("application/json", &body);
    let (kind, length) = (CONTENT_TYPE, CONTENT_LENGTH);
    response.headers_mut().remove(length);
    response
        .headers_mut()
        .insert(kind, HeaderValue::from_static("application/json"));
    *response.body_mut() = told.into_body();
    response
}

fn json_response(kind: &'static str, body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).expect("texts and numbers have a JSON form");
    let mut response = Response::new(Body::from(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 4096).await;
        String::from_utf8(bytes.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_is_told_in_either_form() {
        let problem = Problem::unavailable("the \"gate\" is shut", 7);
        let told = problem.clone().into_response();
        assert_eq!(told.status(), 503);
        assert_eq!(told.headers()["retry-after"], "7");
        assert_eq!(told.headers()["content-type"], "application/problem+json");
        let body: serde_json::Value = serde_json::from_str(&text(told).await).unwrap();
        assert_eq!(body["status"], 503);
        assert_eq!(body["detail"], "the \"gate\" is shut");
        let told = as_mediamtx(problem.into_response()).await;
        assert_eq!(told.status(), 503);
        assert_eq!(told.headers()["content-type"], "application/json");
        let body: serde_json::Value = serde_json::from_str(&text(told).await).unwrap();
        assert_eq!(
            body,
            json!({ "status": "error", "error": "the \"gate\" is shut" })
        );
    }
}
