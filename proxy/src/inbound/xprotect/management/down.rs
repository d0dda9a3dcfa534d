//! While the primary management server is down: who may come in, and what he is told.
//!
//! Nobody gets in who is not vouched for: by the primary itself, which accepted the very same credentials a short while ago, or by
//! the secondary, for a name that the primary has told before what it may see, and whose password the primary has not refused
//! since. What he is told is the primary's own last answer to him, and his token is one of the house's, of short life: his client
//! logs in again soon, at the primary when it is back.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use seamline_xprotect::asked::{self, Asked};
use seamline_xprotect::configuration::{self, Configuration};
use seamline_xprotect::login::Session;
use seamline_xprotect::rights::Rights;
use seamline_xprotect::soap;

use super::super::super::bodies::{Gathered, gather};
use super::super::super::http::headers;
use super::super::passes::{Issuer, Pass};
use super::super::upstream::Failure;
use super::answers::{Form, kept_as, lasting_as};
use super::errand::Errand;
use super::who::{self, Verdict};
use super::{Answered, Call, DOWNLOAD_REST_MAX, Refused, Visit, failure, soap_answer};
use crate::clock;

/// A token of the house's is good for so long: clients ask for another half a minute before its end.
const TOKEN_LIFE: Duration = Duration::from_secs(600);
/// And is accepted for so much longer.
const TOKEN_GRACE: Duration = Duration::from_secs(60);
/// The secondary's answer to a login.
const LOGIN_BYTES_MAX: usize = 1 << 20;
/// How long it is waited for.
const SECONDARY_MAX: Duration = Duration::from_secs(5);

impl Visit {
    /// Whether there may be another answer than the primary's.
    pub(super) fn is_replaceable(&self, call: &Call) -> bool {
        let settings = &self.face.settings;
        let lets_in = settings.sessions_while_down && self.face.cache.is_some();
        match call.errand {
            Errand::Discovery => self.face.cache.is_some() || settings.secondary.is_some(),
            // Services are described alike everywhere.
            Errand::Description => settings.secondary.is_some(),
            Errand::Token => lets_in && settings.secondary.is_some(),
            Errand::Soap { .. } => {
                let operation = call.asked.as_ref().map(|asked| asked.operation.as_str());
                lets_in && operation.is_some_and(|name| name == "Login" || is_answered(name))
            }
            _ => false,
        }
    }

    /// The answer to who comes with a token of the house's, which no management server knows.
    pub(super) async fn from_house(self: &Arc<Self>, call: &Call) -> Option<Answered> {
        let asked = call.asked.as_ref()?;
        let pass = self
            .face
            .passes
            .pass(asked.token.as_deref()?, clock::now())?;
        let is_ours = pass.issuer == Issuer::House && is_answered(&asked.operation);
        if is_ours {
            Some(self.from_kept(call, asked, &pass).await)
        } else {
            None
        }
    }

    /// A login that renews a token of the house's, as the primary gets it: it does not know that one.
    pub(super) fn as_first_login(&self, call: &Call, bytes: &Bytes) -> Option<Bytes> {
        let asked = call
            .asked
            .as_ref()
            .filter(|asked| asked.operation == "Login")?;
        let pass = self
            .face
            .passes
            .pass(asked.token.as_deref()?, clock::now())?;
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|_| pass.issuer == Issuer::House)?;
        asked::first_login(text).ok().map(Into::into)
    }

    /// What can be answered without the primary.
    pub(super) async fn while_down(
        self: &Arc<Self>,
        call: &Call,
        at_hand: Option<Bytes>,
        why: &Failure,
    ) -> Answered {
        let site = &self.face.settings.primary.site;
        let unavailable = || {
            let what = format!("the management server of {site} cannot be reached");
            failure(StatusCode::SERVICE_UNAVAILABLE, call, &what)
        };
        tracing::debug!(peer = %self.peer, target = call.target, %why, "the primary does not answer");
        if !self.is_replaceable(call) {
            let operation = call.asked.as_ref().map(|asked| asked.operation.as_str());
            tracing::info!(peer = %self.peer, target = call.target, operation, %site, %why, "not answered while the primary is down");
            return match why {
                Failure::Late(_) => {
                    let what = format!("the management server of {site} does not answer");
                    failure(StatusCode::GATEWAY_TIMEOUT, call, &what)
                }
                Failure::Broken(_) => {
                    let what = format!("the management server of {site} broke off");
                    failure(StatusCode::BAD_GATEWAY, call, &what)
                }
                Failure::Unreached(_) => unavailable(),
            };
        }
        match (call.errand, &call.asked) {
            (Errand::Discovery, _) => match self.kept_document(call).await {
                Some(answer) => Ok(answer),
                None => self.secondary_document(call).await,
            },
            (Errand::Description, _) => self.secondary_document(call).await,
            (Errand::Token, _) => {
                self.token_while_down(call, at_hand.unwrap_or_default())
                    .await
            }
            (Errand::Soap { asmx }, Some(asked)) if asked.operation == "Login" => {
                self.login_while_down(call, asmx, at_hand.unwrap_or_default())
                    .await
            }
            (Errand::Soap { .. }, Some(asked)) => {
                let token = asked.token.as_deref();
                let pass = token.and_then(|token| self.face.passes.pass(token, clock::now()));
                match (pass, token) {
                    (Some(pass), _) => self.from_kept(call, asked, &pass).await,
                    (None, None) => match self.lasting(call, asked, "").await {
                        Some(answer) => answer,
                        None => unavailable(),
                    },
                    (None, Some(_)) => unavailable(),
                }
            }
            _ => unavailable(),
        }
    }

    async fn kept_document(self: &Arc<Self>, call: &Call) -> Option<Response<Body>> {
        let cache = self.face.cache.as_ref()?;
        let kept: String = cache
            .kept("document", &call.path().to_ascii_lowercase())
            .await?;
        let bytes = self.led_here(call, kept.into()).await;
        let mut response = Response::new(Body::from(bytes));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(response)
    }

    async fn secondary_document(self: &Arc<Self>, call: &Call) -> Answered {
        let (mut parts, bytes) = self.ask_secondary(call, Bytes::new()).await?;
        parts.headers.remove(CONTENT_LENGTH);
        let bytes = self.led_here(call, bytes).await;
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }

    /// Name and password for an access token of the secondary's.
    async fn token_while_down(&self, call: &Call, form: Bytes) -> Answered {
        let pair = Form::read(&form).pair();
        if pair.is_some_and(|pair| self.is_refused(&pair)) {
            let refusal = r#"{"error":"invalid_grant","error_description":"LockedOrInvalid"}"#;
            let mut response = Response::new(Body::from(refusal));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(response);
        }
        let (mut parts, bytes) = self.ask_secondary(call, form.clone()).await?;
        self.offer_ntlm(call, parts.status, &mut parts.headers);
        self.note_token(
            Some(&form),
            parts.status,
            &bytes,
            Verdict::IssuedBySecondary,
            call,
        );
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }

    async fn login_while_down(self: &Arc<Self>, call: &Call, asmx: bool, body: Bytes) -> Answered {
        let credentials = &self.face.office.credentials;
        let shown = call.shown.as_deref();
        let known = shown.and_then(|shown| credentials.known(&who::shown(shown), clock::now()));
        let user = match known {
            Some(known)
                if matches!(known.verdict, Verdict::Accepted | Verdict::IssuedByPrimary) =>
            {
                Some(known.user)
            }
            _ => {
                if shown
                    .and_then(who::basic_pair)
                    .is_some_and(|pair| self.is_refused(&pair))
                {
                    return Err(Refused(
                        StatusCode::UNAUTHORIZED,
                        "the primary refused this name and password".to_owned(),
                    ));
                }
                let text = String::from_utf8_lossy(&body);
                let first = asked::first_login(&text).map_or_else(|_| body.clone(), Into::into);
                let (mut parts, bytes) = match self.ask_secondary(call, first).await {
                    Ok(answer) => answer,
                    Err(Refused(status, why)) => return failure(status, call, &why),
                };
                self.offer_ntlm(call, parts.status, &mut parts.headers);
                let result = soap::result(&bytes, "Login", soap::ANSWER);
                let is_in = parts.status.is_success()
                    && matches!(&result, Ok(Some(result)) if Session::read(result).is_some());
                if !is_in {
                    return Ok(Response::from_parts(parts, Body::from(bytes)));
                }
                self.user(call)
            }
        };
        let Some(user) = user else {
            let why = "VMO61008: The primary is down, and this login does not show whose it is";
            return Ok(soap_answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                call,
                asked::refusal(why),
            ));
        };
        let Some((_, rights)) = self.kept_answer(&user, asmx).await else {
            tracing::warn!(peer = %self.peer, user, "not let in while the primary is down: it has not told what he may see");
            let why =
                "VMO61008: The primary is down, and has not told before what this user may see";
            return Ok(soap_answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                call,
                asked::refusal(why),
            ));
        };
        let now = clock::now();
        let session = Session {
            token: house_token(rand::random()),
            lives: TOKEN_LIFE,
        };
        tracing::info!(peer = %self.peer, user, cameras = rights.count(), "let in by the house while the primary is down");
        let pass = Pass::new(
            session.token.as_str().into(),
            Some(user.into()),
            Issuer::House,
            now + TOKEN_LIFE + TOKEN_GRACE,
            Some(Arc::new(rights)),
        );
        self.face.passes.note(pass, now);
        let registered = clock::wall().to_string();
        Ok(soap_answer(
            StatusCode::OK,
            call,
            session.write(&registered),
        ))
    }

    fn is_refused(&self, pair: &str) -> bool {
        let known = self.face.office.credentials.known(pair, clock::now());
        known.is_some_and(|known| known.verdict == Verdict::Refused)
    }

    /// The primary's last answer to a user, and what it allows.
    async fn kept_answer(&self, user: &str, asmx: bool) -> Option<(String, Rights)> {
        let cache = self.face.cache.as_ref()?;
        let kept: Option<String> = cache.kept("user", &kept_as(user, asmx)).await;
        let kept = match kept {
            Some(kept) => kept,
            None => cache.kept("user", &kept_as(user, !asmx)).await?,
        };
        let read = tokio::task::spawn_blocking(move || {
            let result =
                soap::result(kept.as_bytes(), "GetConfiguration", configuration::LIMITS).ok()??;
            let rights = Rights::of(&Configuration::read(&result));
            Some((kept, rights))
        });
        read.await.ok().flatten()
    }

    /// An operation out of the primary's last answer to the user.
    async fn from_kept(self: &Arc<Self>, call: &Call, asked: &Asked, pass: &Arc<Pass>) -> Answered {
        let ok = |answer: Vec<u8>| Ok(soap_answer(StatusCode::OK, call, answer));
        match asked.operation.as_str() {
            "Logout" => {
                if let Some(token) = &asked.token {
                    self.face.passes.forget(token);
                }
                return ok(asked::nothing("LogoutResponse", None));
            }
            "RegisterIntegration" => {
                return ok(asked::nothing("RegisterIntegrationResponse", None));
            }
            name if asked::is_lasting(name) => {
                let user = match &asked.token {
                    Some(_) => pass.user.as_deref(),
                    None => Some(""),
                };
                if let Some(user) = user
                    && let Some(answer) = self.lasting(call, asked, user).await
                {
                    return answer;
                }
            }
            _ => {}
        }
        if let Some(nothing) = asked::finds_nothing(&asked.operation) {
            return ok(nothing);
        }
        let site = &self.face.settings.primary.site;
        let unavailable = || {
            let what = format!("the management server of {site} cannot be reached");
            failure(StatusCode::SERVICE_UNAVAILABLE, call, &what)
        };
        if !CONFIGURATIONS.contains(&&*asked.operation) {
            return unavailable();
        }
        let asmx = matches!(call.errand, Errand::Soap { asmx: true });
        let kept = match &pass.user {
            Some(user) => self.kept_answer(user, asmx).await,
            None => None,
        };
        // Never more than he was last told, whatever lies on the disk.
        let kept = kept.filter(|(_, allowed)| {
            let known = pass.rights();
            known.is_none_or(|known| allowed.narrowed_to(&known) == *allowed)
        });
        let Some((whole, _)) = kept else {
            return unavailable();
        };
        let answer = if asked.operation == "GetConfiguration" {
            whole
        } else {
            let part = asked::of_recorders(&whole, &asked.operation, &asked.recorders);
            let part =
                part.map_err(|why| Refused(StatusCode::SERVICE_UNAVAILABLE, why.to_string()))?;
            part.unwrap_or_default()
        };
        let bytes = self.led_here(call, answer.into()).await;
        ok(bytes.to_vec())
    }

    /// What the primary told a user last of what lasts.
    async fn lasting(self: &Arc<Self>, call: &Call, asked: &Asked, user: &str) -> Option<Answered> {
        let cache = self.face.cache.as_ref()?;
        let asmx = matches!(call.errand, Errand::Soap { asmx: true });
        let of = lasting_as(user, call.path(), asmx, asked);
        let kept: String = cache.kept("said", &of).await?;
        let bytes = self.led_here(call, kept.into()).await;
        Some(Ok(soap_answer(StatusCode::OK, call, bytes.to_vec())))
    }

    /// Asks the secondary the same, on the client's own connection to it; the whole answer, which leads nowhere yet.
    async fn ask_secondary(
        &self,
        call: &Call,
        body: Bytes,
    ) -> Result<(hyper::http::response::Parts, Bytes), Refused> {
        let unavailable = |why: String| Refused(StatusCode::SERVICE_UNAVAILABLE, why);
        let (Some(secondary), Some(settings)) = (&self.secondary, &self.face.settings.secondary)
        else {
            return Err(unavailable(
                "the management server cannot be reached".to_owned(),
            ));
        };
        let headers = for_secondary(call, settings.server.server());
        let request = || {
            let mut request = Request::new(Body::from(body.clone()));
            *request.method_mut() = call.method.clone();
            *request.version_mut() = Version::HTTP_11;
            *request.uri_mut() = call.target.parse().unwrap_or_default();
            *request.headers_mut() = headers.clone();
            request
        };
        let site = &settings.site;
        let mut secondary = secondary.lock().await;
        let mut answer = secondary.send(request(), SECONDARY_MAX).await;
        if let Err(Failure::Unreached(_)) = answer {
            answer = secondary.send(request(), SECONDARY_MAX).await;
        }
        let answer: Response<Incoming> = answer.map_err(|why| {
            tracing::warn!(peer = %self.peer, %site, server = %secondary.url(), %why, "neither management server answers");
            unavailable("no management server can be reached".to_owned())
        })?;
        let (mut parts, body) = answer.into_parts();
        headers::strip(&mut parts.headers);
        let gathered = gather(body, LOGIN_BYTES_MAX, DOWNLOAD_REST_MAX).await;
        match gathered {
            Ok((Gathered::Whole(bytes), _)) => {
                if call.method != Method::HEAD {
                    parts.headers.remove(CONTENT_LENGTH);
                }
                Ok((parts, bytes))
            }
            Ok((Gathered::Longer(_), _)) => Err(Refused(
                StatusCode::BAD_GATEWAY,
                "an answer longer than any login has".to_owned(),
            )),
            Err(broken) => Err(Refused(StatusCode::BAD_GATEWAY, broken.to_string())),
        }
    }
}

/// The headers of a request as the secondary gets them: documents are for everybody, and who wants one has shown who he is to the
/// primary alone.
fn for_secondary(call: &Call, server: &url::Url) -> HeaderMap {
    let mut headers = Visit::forwarded(call, server);
    headers.remove(CONTENT_LENGTH);
    if matches!(call.errand, Errand::Discovery | Errand::Description) {
        headers.remove(AUTHORIZATION);
        headers.remove(COOKIE);
    }
    headers
}

/// In the form of all tokens.
fn house_token(bits: u128) -> String {
    let digits = format!("{bits:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let guid = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-");
    format!("TOKEN#{guid}#seamline//ServerConnector#")
}

/// Whether there is an answer to an operation without the primary.
fn is_answered(operation: &str) -> bool {
    matches!(operation, "Logout" | "RegisterIntegration")
        || CONFIGURATIONS.contains(&operation)
        || asked::is_lasting(operation)
        || asked::finds_nothing(operation).is_some()
}

/// Operations that are answered out of the user's configuration.
const CONFIGURATIONS: [&str; 3] = [
    "GetConfiguration",
    "GetConfigurationRecorders",
    "QueryRecorderInfo",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_asked_of_the_secondary_without_showing_who_asks() {
        let server: url::Url = "https://b.example/".parse().unwrap();
        let mut headers = HeaderMap::new();
        for name in [AUTHORIZATION, COOKIE, CONTENT_TYPE] {
            headers.insert(name, HeaderValue::from_static("secret"));
        }
        for (errand, shows) in [
            (Errand::Discovery, false),
            (Errand::Description, false),
            (Errand::Token, true),
            (Errand::Soap { asmx: false }, true),
        ] {
            let call = Call {
                errand,
                method: Method::GET,
                target: "/".to_owned(),
                headers: headers.clone(),
                authority: "vms.example".parse().unwrap(),
                asked: None,
                shown: None,
            };
            let sent = for_secondary(&call, &server);
            assert_eq!(sent.contains_key(AUTHORIZATION), shows, "{errand:?}");
            assert_eq!(sent.contains_key(COOKIE), shows, "{errand:?}");
            assert!(sent.contains_key(CONTENT_TYPE));
        }
    }
}
