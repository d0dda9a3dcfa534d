//! Questions that a Windows account asks of a management server. NTLM proves a connection, so each question has one of its own.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, HOST, HeaderName, USER_AGENT, WWW_AUTHENTICATE},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use seamline_xprotect::ntlm::{self, Account, Binding, Challenge, Moment};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{
    clock::Clock,
    http::{AGENT, handshake_failure, whole},
    login::{Login, Secret},
    recorder::ProbeError,
};

/// An account and how its server is reached.
pub(super) struct Windows {
    account: Account,
    password: Secret,
    server: Url,
    tls: Arc<ClientConfig>,
}

/// A question.
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) headers: &'a [(HeaderName, String)],
    pub(super) body: Bytes,
    /// Of the answer.
    pub(super) bytes_max: usize,
}

/// A connection, and what is bound into proofs on it.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    binding: Option<Binding>,
}

impl Windows {
    /// `None` where the user's name is none of Windows.
    pub(super) fn new(login: &Login, server: &Url, tls: &Arc<ClientConfig>) -> Option<Self> {
        Some(Self {
            account: Account::parse(&login.username)?,
            password: login.password.clone(),
            server: server.clone(),
            tls: Arc::clone(tls),
        })
    }

    /// Asks, and proves who asks.
    pub(super) async fn ask(
        &self,
        question: &Question<'_>,
    ) -> Result<(StatusCode, Bytes), ProbeError> {
        let mut offered = String::new();
        for scheme in ["NTLM", "Negotiate"] {
            let mut line = self.connect().await?;
            let hello = ntlm::negotiate();
            // With its body: by that some services know whether they want a proof. It holds no password.
            let answer = self.send(&mut line, question, scheme, &hello).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                let status = answer.status();
                let body = whole(answer.into_body(), question.bytes_max, "XProtect").await?;
                // It wants no proof, or there is nothing at this address.
                return Ok((status, body));
            }
            let Some(challenge) = challenge(&answer, scheme) else {
                offered = schemes(&answer);
                continue;
            };
            whole(answer.into_body(), REFUSAL_BYTES_MAX, "XProtect").await?;
            let challenge = Challenge::parse(&challenge)
                .map_err(|error| ProbeError::protocol(format!("{scheme}: {error}")))?;
            let moment = Moment {
                nonce: rand::random(),
                unix_micros: Clock::System.now().as_micros(),
            };
            let host = self.server.host_str().unwrap_or_default();
            let password = self.password.reveal();
            let proof = challenge.answer(&self.account, password, host, moment, line.binding);
            let answer = self.send(&mut line, question, scheme, &proof).await?;
            let status = answer.status();
            if status == StatusCode::UNAUTHORIZED {
                return Err(ProbeError::Credentials);
            }
            let body = whole(answer.into_body(), question.bytes_max, "XProtect").await?;
            return Ok((status, body));
        }
        Err(ProbeError::protocol(format!(
            "{} takes no Windows account by NTLM: it offers {offered:?}",
            question.path
        )))
    }

    async fn send(
        &self,
        line: &mut Line,
        question: &Question<'_>,
        scheme: &str,
        message: &[u8],
    ) -> Result<Response<Incoming>, ProbeError> {
        let host = match (
            self.server.host_str().unwrap_or_default(),
            self.server.port(),
        ) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let base = self.server.path().trim_end_matches('/');
        let shown = format!("{scheme} {}", BASE64_STANDARD.encode(message));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{base}{}", question.path))
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(AUTHORIZATION, shown);
        for (name, value) in question.headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(question.body.clone()))
            .map_err(|error| ProbeError::protocol(error.to_string()))?;
        let lost = |error: hyper::Error| ProbeError::Unreachable(error.to_string().into());
        line.sender.ready().await.map_err(lost)?;
        line.sender.send_request(request).await.map_err(lost)
    }

    async fn connect(&self) -> Result<Line, ProbeError> {
        let host = self.server.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.server.port_or_known_default().unwrap_or(80);
        let stream = timeout(CONNECT, TcpStream::connect((host, port))).await;
        let stream = stream
            .map_err(|_| ProbeError::Timeout)?
            .map_err(|error| ProbeError::connecting(&error))?;
        let _ = stream.set_nodelay(true);
        if self.server.scheme() != "https" {
            return speak(stream, None).await;
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| ProbeError::protocol(format!("{host}: {error}")))?;
        let secured = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let secured = secured
            .await
            .map_err(|error| ProbeError::Unreachable(handshake_failure(&error).into()))?;
        let shown = secured.get_ref().1.peer_certificates();
        let binding = shown
            .and_then(<[_]>::first)
            .map(|certificate| Binding::of_end_point(&end_point(certificate)));
        speak(secured, binding).await
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    binding: Option<Binding>,
) -> Result<Line, ProbeError> {
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ProbeError::Unreachable(error.to_string().into()))?;
    // Ends with the sender.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection of a Windows account");
        }
    });
    Ok(Line { sender, binding })
}

/// The server's message in an answer, of this scheme.
fn challenge(answer: &Response<Incoming>, scheme: &str) -> Option<Vec<u8>> {
    let mut shown = answer.headers().get_all(WWW_AUTHENTICATE).iter();
    shown.find_map(|value| {
        let (kind, message) = value.to_str().ok()?.split_once(' ')?;
        let message = BASE64_STANDARD.decode(message.trim()).ok()?;
        kind.eq_ignore_ascii_case(scheme).then_some(message)
    })
}

/// How a server wants to be shown who asks.
fn schemes(answer: &Response<Incoming>) -> String {
    let shown = answer.headers().get_all(WWW_AUTHENTICATE).iter();
    let kinds = shown.filter_map(|value| value.to_str().ok()?.split([' ', ',']).next());
    kinds.take(SCHEMES_MAX).collect::<Vec<_>>().join(", ")
}

/// The hash of a certificate by the algorithm of its signature; SHA-256 instead of weaker ones (RFC 5929 §4.1).
fn end_point(certificate: &[u8]) -> Vec<u8> {
    let algorithm = signature_algorithm(certificate).unwrap_or_default();
    if SHA_384.contains(&algorithm) {
        Sha384::digest(certificate).to_vec()
    } else if SHA_512.contains(&algorithm) {
        Sha512::digest(certificate).to_vec()
    } else {
        Sha256::digest(certificate).to_vec()
    }
}

/// `Certificate.signatureAlgorithm.algorithm` (RFC 5280 §4.1): behind what is signed, an identifier in a sequence.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate)?;
    let (_, behind) = element(certificate)?;
    let (algorithm, _) = element(behind)?;
    Some(element(algorithm)?.0)
}

/// What a DER element holds, and what follows it.
fn element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = usize::from(*bytes.get(1)?);
    let (length, at) = if first < 0x80 {
        (first, 2)
    } else {
        let count = first & 0x7f;
        let digits = bytes.get(2..2 + count).filter(|_| count <= 4)?;
        let length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, 2 + count)
    };
    let end = at + length;
    Some((bytes.get(at..end)?, bytes.get(end..)?))
}

/// `sha384WithRSAEncryption` and `ecdsa-with-SHA384`.
const SHA_384: [&[u8]; 2] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
];
const SHA_512: [&[u8]; 2] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
];
const CONNECT: Duration = Duration::from_secs(2);
/// What comes with a refusal is not read further.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
const SCHEMES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_hashed_as_they_are_signed() {
        use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
        for (algorithm, bytes) in [(&PKCS_ECDSA_P256_SHA256, 32), (&PKCS_ECDSA_P384_SHA384, 48)] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(end_point(certificate.der()).len(), bytes);
        }
        assert_eq!(end_point(b"\x30\x84").len(), 32);
        assert_eq!(end_point(&[]).len(), 32);
    }
}
