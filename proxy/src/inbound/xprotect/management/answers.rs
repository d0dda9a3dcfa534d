//! Answers of the primary on their way to the client: what they tell of tokens, users and rights is noted, and they lead here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, HeaderValue, LOCATION,
    SET_COOKIE,
};
use hyper::{HeaderMap, Method, Response, StatusCode};
use seamline_xprotect::asked::{self, Asked};
use seamline_xprotect::configuration::{self, Configuration};
use seamline_xprotect::login::{Access, Refusal, Session};
use seamline_xprotect::rewrite::readdressed;
use seamline_xprotect::rights::Rights;
use seamline_xprotect::soap::{self, SoapError};
use url::form_urlencoded;

use super::super::super::bodies::{Gathered, Watched, gather};
use super::super::super::http::headers;
use super::super::cache::AGE_MAX;
use super::super::passes::{Issuer, Pass, origin_of};
use super::errand::Errand;
use super::leaks::{Look, Scan};
use super::schemes;
use super::who::{self, Verdict};
use super::{Answered, Call, DOWNLOAD_REST_MAX, Refused, STREAM_REST_MAX, Visit};
use crate::clock;

/// A token whose login was not seen, and that the primary accepts, is known for so long.
const SEEN_AGAIN: Duration = Duration::from_secs(3600);

impl Visit {
    /// Gives an answer of the primary to the client.
    pub(super) async fn finish(
        self: &Arc<Self>,
        call: &Call,
        at_hand: Option<&Bytes>,
        answer: Response<Incoming>,
    ) -> Answered {
        let (mut parts, body) = answer.into_parts();
        headers::strip(&mut parts.headers);
        self.lead_here(call, &mut parts.headers);
        self.offer_ntlm(call, parts.status, &mut parts.headers);
        let status = parts.status;
        let bytes_max = call.errand.answer_bytes_max();
        let is_text = is_text(&parts.headers);
        if is_text && parts.headers.contains_key(CONTENT_ENCODING) {
            tracing::warn!(peer = %self.peer, target = call.target, "an encoded answer passes as it is, though none was asked for");
        }
        let has_body = call.method != Method::HEAD
            && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_read = is_text && has_body && !parts.headers.contains_key(CONTENT_ENCODING);
        if bytes_max == 0 || !is_read {
            let body = self.scanned(call, body, is_read);
            return Ok(Response::from_parts(parts, body));
        }
        let gathered = gather(body, bytes_max, DOWNLOAD_REST_MAX).await;
        let gathered =
            gathered.map_err(|broken| Refused(StatusCode::BAD_GATEWAY, broken.to_string()))?;
        let bytes = match gathered {
            (Gathered::Whole(bytes), _) => bytes,
            (Gathered::Longer(body), _) => {
                tracing::warn!(peer = %self.peer, target = call.target, bytes_max, "an answer too long to be read passes as it is");
                let body = self.scanned(call, body, true);
                return Ok(Response::from_parts(parts, body));
            }
        };
        self.proved(call, status);
        self.note(call, at_hand, status, &bytes).await;
        let bytes = self.led_here(call, bytes).await;
        parts.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }

    /// An answer with our addresses, in which no recorder's own are left unseen.
    pub(super) async fn led_here(self: &Arc<Self>, call: &Call, bytes: Bytes) -> Bytes {
        let visit = Arc::clone(self);
        let (errand, authority, path) =
            (call.errand, call.authority.clone(), call.path().to_owned());
        let unchanged = bytes.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let changed = visit.rewritten(errand, &authority, &path, bytes);
            if let Some(mut scan) = visit.scan() {
                scan.piece(&changed);
                visit.face.office.leaks.note(scan.found(), &path);
            }
            changed
        });
        changed.await.unwrap_or(unchanged)
    }

    fn scan(&self) -> Option<Scan> {
        let needles = self.face.office.leaks.needles(&self.face.recorders)?;
        Some(Scan::new(needles))
    }

    fn scanned<B>(&self, call: &Call, body: B, is_read: bool) -> Body
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = Watched::new(body, STREAM_REST_MAX, None);
        let Some(scan) = self.scan().filter(|_| is_read) else {
            return Body::new(body);
        };
        let look = Look {
            scan,
            leaks: Arc::clone(&self.face.office.leaks),
            path: call.path().to_owned(),
        };
        look.through(body)
    }

    /// Headers that would lead a client to the server itself.
    fn lead_here(&self, call: &Call, headers: &mut HeaderMap) {
        let face = &*self.face;
        for name in [LOCATION, CONTENT_LOCATION] {
            let value = headers.get(&name).and_then(|value| value.to_str().ok());
            let changed = value.and_then(|value| {
                readdressed(value, &|scheme, authority| {
                    let neighbour = face.neighbour(scheme, authority)?;
                    Some(neighbour.told(face, &call.authority, self.secure))
                })
            });
            if let Some(value) = changed.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
        if cookies
            .iter()
            .any(|cookie| cookie.to_str().is_ok_and(has_domain))
        {
            headers.remove(SET_COOKIE);
            for cookie in cookies {
                let free = cookie.to_str().ok().map(without_domain);
                headers.append(
                    SET_COOKIE,
                    free.and_then(|free| HeaderValue::try_from(free).ok())
                        .unwrap_or(cookie),
                );
            }
        }
    }

    /// Where a ticket of Kerberos was refused, which was for another name than the server's own: what its client can do besides.
    pub(super) fn offer_ntlm(&self, call: &Call, status: StatusCode, headers: &mut HeaderMap) {
        let shown = call.shown.as_deref().unwrap_or_default();
        if status != StatusCode::UNAUTHORIZED || !schemes::is_kerberos(shown) {
            return;
        }
        let falls_back = schemes::drop_negotiate(headers);
        tracing::warn!(peer = %self.peer, target = call.target, falls_back, "a ticket of Kerberos is refused: it is for the name that this client typed, which is none of the management server's");
    }

    /// A connection that NTLM proved stays so without a word.
    fn proved(&self, call: &Call, status: StatusCode) {
        let shown = call
            .shown
            .as_deref()
            .filter(|_| status != StatusCode::UNAUTHORIZED);
        let is_of_connection = shown.is_some_and(|shown| {
            let scheme = shown.split(' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case("ntlm") || scheme.eq_ignore_ascii_case("negotiate")
        });
        if is_of_connection && let Some(user) = shown.and_then(who::user_of) {
            *self.lock_proved() = Some(user);
        }
    }

    /// Who asks, as far as it is known of credentials that the server has just accepted.
    pub(super) fn user(&self, call: &Call) -> Option<String> {
        let shown = call.shown.as_deref();
        let known = shown.and_then(|shown| {
            self.face
                .office
                .credentials
                .known(&who::shown(shown), clock::now())
        });
        known
            .map(|known| known.user)
            .or_else(|| shown.and_then(who::user_of))
            .or_else(|| self.lock_proved().clone())
    }

    /// Notes what an answer of the primary tells.
    async fn note(&self, call: &Call, at_hand: Option<&Bytes>, status: StatusCode, bytes: &Bytes) {
        match call.errand {
            Errand::Token => {
                self.note_token(at_hand, status, bytes, Verdict::IssuedByPrimary, call);
            }
            Errand::Discovery if status == StatusCode::OK => {
                if let Some(cache) = &self.face.cache
                    && let Ok(text) = std::str::from_utf8(bytes)
                {
                    cache
                        .keep(
                            "document",
                            &call.path().to_ascii_lowercase(),
                            text.to_owned(),
                        )
                        .await;
                }
            }
            Errand::Soap { asmx } => {
                if let Some(asked) = &call.asked {
                    self.note_operation(call, asked, asmx, status, bytes).await;
                }
            }
            _ => {}
        }
    }

    /// Notes whose an access token is, or that name and password were refused.
    pub(super) fn note_token(
        &self,
        at_hand: Option<&Bytes>,
        status: StatusCode,
        bytes: &Bytes,
        by: Verdict,
        call: &Call,
    ) {
        let form = at_hand.map(|form| Form::read(form)).unwrap_or_default();
        let user = form
            .user
            .clone()
            .or_else(|| call.shown.as_deref().and_then(who::user_of));
        let (credentials, now) = (&self.face.office.credentials, clock::now());
        if status.is_success() {
            let access = serde_json::from_slice::<Access>(bytes);
            if let (Ok(access), Some(user)) = (access, user) {
                let life = Duration::from_secs(access.expires_in.into());
                credentials.note(&who::bearer(&access.access_token), &user, by, life, now);
                if let (Some(pair), Verdict::IssuedByPrimary) = (form.pair(), by) {
                    credentials.note(&pair, &user, Verdict::Accepted, AGE_MAX, now);
                }
            }
            return;
        }
        let refusal: Refusal = serde_json::from_slice(bytes).unwrap_or_default();
        if by == Verdict::IssuedByPrimary
            && refusal.error == "invalid_grant"
            && let (Some(pair), Some(user)) = (form.pair(), user)
        {
            credentials.note(&pair, &user, Verdict::Refused, AGE_MAX, now);
        }
    }

    async fn note_operation(
        &self,
        call: &Call,
        asked: &Asked,
        asmx: bool,
        status: StatusCode,
        bytes: &Bytes,
    ) {
        let (face, now) = (&*self.face, clock::now());
        match asked.operation.as_str() {
            "Login" => match soap::result(bytes, "Login", soap::ANSWER) {
                Ok(Some(result)) if status.is_success() => {
                    if let Some(session) = Session::read(&result) {
                        self.note_login(call, asked, &session);
                    }
                }
                // He is known, and may not come in: what he might see before counts no more.
                Err(SoapError::Fault(fault)) if fault.text.contains(NO_PERMISSION) => {
                    if let Some(user) = self.user(call) {
                        self.forget(&user).await;
                    }
                }
                _ => {}
            },
            "GetConfiguration" if status.is_success() => {
                let read = bytes.clone();
                let told = tokio::task::spawn_blocking(move || {
                    let result =
                        soap::result(&read, "GetConfiguration", configuration::LIMITS).ok()??;
                    Some(Configuration::read(&result))
                });
                let (Ok(Some(told)), Some(token)) = (told.await, &asked.token) else {
                    return;
                };
                face.recorders.compare(&told);
                let rights = Arc::new(Rights::of(&told));
                let pass = face.passes.pass(token, now).unwrap_or_else(|| {
                    // Of before this process was started.
                    let user = self.user(call).map(Into::into);
                    let issuer = Issuer::Server(origin_of(&face.settings.primary.server));
                    let pass =
                        Pass::new(token.as_str().into(), user, issuer, now + SEEN_AGAIN, None);
                    face.passes.note(pass, now)
                });
                pass.set_rights(Some(Arc::clone(&rights)));
                if let Some(user) = &pass.user {
                    face.passes.set_rights(user, &rights);
                    if let Some(cache) = &face.cache {
                        let text = String::from_utf8_lossy(bytes).into_owned();
                        cache.keep("user", &kept_as(user, asmx), text).await;
                    }
                }
                tracing::info!(peer = %self.peer, user = pass.user.as_deref().unwrap_or("-"), cameras = rights.count(), "told what he may see");
            }
            "GetConfigurationRecorders" | "QueryRecorderInfo" if status.is_success() => {
                self.note_part(asked, bytes).await;
            }
            "Logout" if status.is_success() => {
                if let Some(token) = &asked.token {
                    face.passes.forget(token);
                }
            }
            name if asked::is_lasting(name) && status == StatusCode::OK => {
                self.keep_lasting(call, asked, asmx, bytes);
            }
            _ => {}
        }
    }

    /// Keeps what may be told again while the primary is down, in the background.
    fn keep_lasting(&self, call: &Call, asked: &Asked, asmx: bool, bytes: &Bytes) {
        let Some(cache) = self.face.cache.clone() else {
            return;
        };
        let pass = asked.token.as_deref();
        let pass = pass.and_then(|token| self.face.passes.pass(token, clock::now()));
        let user = match &asked.token {
            Some(_) => pass.and_then(|pass| pass.user.as_deref().map(str::to_owned)),
            // Everybody is told the same.
            None => Some(String::new()),
        };
        let (Some(user), Ok(text)) = (user, std::str::from_utf8(bytes)) else {
            return;
        };
        // No token is written to disk.
        let shown = call
            .shown
            .as_deref()
            .and_then(|shown| shown.split_once(' '));
        let secrets = [asked.token.as_deref(), shown.map(|(_, shown)| shown)];
        let mut secrets = secrets.into_iter().flatten();
        let is_short = text.len() <= LASTING_BYTES_MAX && asked.rest.len() <= LASTING_REST_MAX;
        if !is_short || secrets.any(|secret| text.contains(secret)) {
            return;
        }
        let (of, text) = (lasting_as(&user, call.path(), asmx, asked), text.to_owned());
        tokio::spawn(async move { cache.keep_news("said", &of, text).await });
    }

    fn note_login(&self, call: &Call, asked: &Asked, session: &Session) {
        let (face, now) = (&*self.face, clock::now());
        let user = self.user(call);
        let before = asked
            .token
            .as_deref()
            .and_then(|token| face.passes.pass(token, now));
        let rights = before.and_then(|before| before.rights());
        if let (Some(shown), Some(user)) = (&call.shown, &user) {
            let life = session.lives.min(AGE_MAX);
            face.office
                .credentials
                .note(&who::shown(shown), user, Verdict::Accepted, life, now);
        }
        let expires = now.checked_add(session.lives).unwrap_or(now + SEEN_AGAIN);
        let issuer = Issuer::Server(origin_of(&face.settings.primary.server));
        tracing::info!(peer = %self.peer, user = user.as_deref().unwrap_or("-"), site = %face.settings.primary.site, lives_s = session.lives.as_secs(), "logged in");
        let pass = Pass::new(
            session.token.as_str().into(),
            user.map(Into::into),
            issuer,
            expires,
            rights,
        );
        face.passes.note(pass, now);
    }

    /// What is told of single recorders takes rights away, and gives none.
    async fn note_part(&self, asked: &Asked, bytes: &Bytes) {
        let face = &*self.face;
        let pass = asked
            .token
            .as_deref()
            .and_then(|token| face.passes.pass(token, clock::now()));
        let Some((pass, known)) = pass.and_then(|pass| Some((Arc::clone(&pass), pass.rights()?)))
        else {
            return;
        };
        let Ok(Some(result)) = soap::result(bytes, &asked.operation, configuration::LIMITS) else {
            return;
        };
        let lowered = known.lowered_by(&Rights::of(&Configuration::of_recorders(&result)));
        if lowered == *known {
            return;
        }
        let lowered = Arc::new(lowered);
        pass.set_rights(Some(Arc::clone(&lowered)));
        if let Some(user) = &pass.user {
            face.passes.set_rights(user, &lowered);
            self.forget(user).await;
        }
    }

    /// What a user was told is no longer true.
    async fn forget(&self, user: &str) {
        if let Some(cache) = &self.face.cache {
            for asmx in [false, true] {
                cache.forget("user", &kept_as(user, asmx)).await;
            }
        }
    }
}

/// The form of the token endpoint.
#[derive(Default)]
pub(super) struct Form {
    pub(super) user: Option<String>,
    password: Option<String>,
}

impl Form {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let value = |name: &str| {
            let mut pairs = form_urlencoded::parse(bytes);
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        Form {
            user: value("username").as_deref().and_then(who::normal),
            password: value("password"),
        }
    }

    /// For [`who::Credentials`].
    pub(super) fn pair(&self) -> Option<String> {
        Some(who::pair(self.user.as_deref()?, self.password.as_deref()?))
    }
}

/// The name under which an answer to a user is kept: older services write theirs in another form.
pub(super) fn kept_as(user: &str, asmx: bool) -> String {
    let form = if asmx { "asmx" } else { "svc" };
    format!("{form} {user}")
}

/// The name under which an answer is kept that lasts.
pub(super) fn lasting_as(user: &str, path: &str, asmx: bool, asked: &Asked) -> String {
    let service = path.rsplit('/').next().unwrap_or_default();
    // One contract has several endpoints.
    let service = match service.to_ascii_lowercase() {
        service if service.starts_with("servercommandservice") => "servercommandservice".to_owned(),
        service => service,
    };
    let operation = &asked.operation;
    format!(
        "{} {service} {operation} {}",
        kept_as(user, asmx),
        asked.rest
    )
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    kind.starts_with("text/") || kind.contains("xml") || kind.contains("json")
}

fn has_domain(cookie: &str) -> bool {
    cookie.split(';').skip(1).any(is_domain)
}

fn is_domain(attribute: &str) -> bool {
    let name = attribute.split('=').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case("domain")
}

/// A cookie of the host that sets it.
fn without_domain(cookie: &str) -> String {
    let parts = cookie.split(';').enumerate();
    let kept = parts.filter(|(at, part)| *at == 0 || !is_domain(part));
    kept.map(|(_, part)| part).collect::<Vec<_>>().join(";")
}

/// Longest answer that is kept for when the primary is down, other than configurations, and the longest question to it.
const LASTING_BYTES_MAX: usize = 1 << 20;
const LASTING_REST_MAX: usize = 4096;
/// What servers say to users who may not log in.
const NO_PERMISSION: &str = "VMO61008";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_of_the_host_that_was_asked() {
        let cookie = "a=b; Domain=vms.example; Path=/; HttpOnly";
        assert!(has_domain(cookie) && !has_domain("domain=x; Path=/"));
        assert_eq!(without_domain(cookie), "a=b; Path=/; HttpOnly");
    }

    #[test]
    fn forms_are_read() {
        let form = Form::read(b"grant_type=password&username=Guard&password=p%26w&client_id=x");
        assert_eq!(form.user.as_deref(), Some("guard"));
        assert_eq!(form.pair().as_deref(), Some("guard\0p&w"));
        assert!(Form::read(b"\xff&&=").pair().is_none());
    }
}
