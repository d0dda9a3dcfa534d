//! What the routes say of themselves: the `OpenAPI` description at `/openapi.json`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};

use super::errors::{ErrorItem, MEDIAMTX, ProblemItem};
use super::service::Face;

/// The description's head. Each route file adds its own paths and schemas.
#[derive(utoipa::OpenApi)]
#[openapi(
    components(schemas(ErrorItem, ProblemItem)),
    info(
        title = "Seamline",
        description = "Recorded video of cameras that several sites record, as one timeline.\n\n\
                   Times are RFC 3339 in UTC with microseconds, on the timeline's clock: a copy's configured clock offset is \
                   taken off. A camera's id stands percent-encoded in a path (`yard%2Fnorth`). Refusals are problems \
                   (RFC 9457)."
    )
)]
struct Head;

/// What is said before any path.
pub(super) fn head() -> OpenApi {
    let mut head = <Head as utoipa::OpenApi>::openapi();
    let schemes = head.components.get_or_insert_default();
    for (name, scheme) in [
        ("basic", HttpAuthScheme::Basic),
        ("digest", HttpAuthScheme::Digest),
        ("bearer", HttpAuthScheme::Bearer),
    ] {
        schemes.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
    }
    // One of them, or none where no users are configured.
    let none: [&str; 0] = [];
    let one = |name| SecurityRequirement::new(name, none);
    head.security = Some(vec![
        one("basic"),
        one("digest"),
        one("bearer"),
        SecurityRequirement::default(),
    ]);
    head
}

/// What any operation may refuse.
const REFUSALS: [(&str, &str); 7] = [
    ("400", "a parameter that means nothing"),
    ("401", "who asks?"),
    ("403", "not this user's"),
    ("404", "there is no such thing"),
    ("414", "a path and query that are too long"),
    ("429", "too many wrong answers came from this address"),
    ("503", "not now: `Retry-After`"),
];

/// Adds to every operation what all of them may answer, and the form of refusals.
fn with_refusals(mut openapi: OpenApi) -> OpenApi {
    for item in openapi.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.head,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let mut tags = operation.tags.iter().flatten();
            let (kind, schema) = if tags.any(|tag| tag == MEDIAMTX) {
                ("application/json", "Error")
            } else {
                ("application/problem+json", "Problem")
            };
            let responses = &mut operation.responses.responses;
            for (status, description) in REFUSALS {
                let refusal = || ResponseBuilder::new().description(description).into();
                responses.entry(status.to_owned()).or_insert_with(refusal);
            }
            let refusals = responses
                .iter_mut()
                .filter(|(status, _)| status.starts_with(['4', '5']));
            for (_, refusal) in refusals {
                if let RefOr::T(refusal) = refusal {
                    let content = ContentBuilder::new()
                        .schema(Some(Ref::from_schema_name(schema)))
                        .build();
                    refusal.content.insert(kind.to_owned(), RefOr::T(content));
                }
            }
        }
    }
    openapi
}

/// `/openapi.json`: the description of everything that was merged.
pub(super) fn routes(openapi: OpenApi) -> Router<Arc<Face>> {
    let text = with_refusals(openapi)
        .to_json()
        .expect("a description is made of texts, which all have a JSON form");
    let text = Bytes::from(text);
    let answer = move || async move {
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-cache"),
        ];
        (headers, text)
    };
    Router::new().route("/openapi.json", get(answer))
}
