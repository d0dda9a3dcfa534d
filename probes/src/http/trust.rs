//! Whose certificates are accepted of a recorder.

use std::{error::Error, fmt::Write, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};

use super::HttpConfig;
use crate::build_error::BuildError;

/// Whose certificates a recorder's configuration accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trust<'a> {
    /// Where the recorder is, for the log.
    pub(crate) url: &'a str,
    pub(crate) ca_file: Option<&'a Path>,
    pub(crate) pin_sha256: Option<&'a str>,
    pub(crate) insecure: bool,
}

impl Trust<'_> {
    /// The first field of those that say it, of which there is one.
    pub(crate) fn stated(&self) -> Option<&'static str> {
        let ways = [
            ("ca_file", self.ca_file.is_some()),
            ("pin_sha256", self.pin_sha256.is_some()),
            ("insecure", self.insecure),
        ];
        let mut given = ways.into_iter().filter(|(_, given)| *given);
        given.next().map(|(field, _)| field)
    }
}

/// How TLS to a recorder's HTTP service is spoken. Reads the file of authorities.
pub(crate) fn tls(config: &HttpConfig) -> Result<ClientConfig, BuildError> {
    trusting(config.trust())
}

/// How TLS to a recorder is spoken. Reads the file of authorities.
pub(crate) fn trusting(config: Trust<'_>) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Trust("url", error.to_string()))?;
    let pin = match config.pin_sha256 {
        Some(text) => Some(pin(text).ok_or_else(|| {
            let reason = "64 hexadecimal digits are needed";
            BuildError::Trust("pin_sha256", reason.to_owned())
        })?),
        None => None,
    };
    let ways = [
        config.ca_file.is_some(),
        config.pin_sha256.is_some(),
        config.insecure,
    ];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        let reason = "only one of ca_file, pin_sha256 and insecure can be given";
        return Err(BuildError::Trust("insecure", reason.to_owned()));
    }
    if config.insecure {
        tracing::warn!(url = config.url, "insecure: any certificate is accepted");
    }
    if config.insecure || pin.is_some() {
        let known = Known { pin, provider };
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(known))
            .with_no_client_auth());
    }
    let roots = match config.ca_file {
        Some(path) => authorities(path).map_err(|reason| BuildError::Trust("ca_file", reason))?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"no certificate in it"));
    }
    Ok(roots)
}

/// What is wrong with TLS, and what an operator can do about it.
pub(crate) fn refusal(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(wrong) = error else {
        return format!("TLS: {error}");
    };
    let what = match wrong {
        CertificateError::UnknownIssuer => {
            "its authority is not known here, name it in `ca_file`".to_owned()
        }
        CertificateError::NotValidForName => {
            "it is for another name than the one it is asked by".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "it is asked as {}, and its certificate is for {}",
            expected.to_str(),
            presented
                .join(", ")
                .replace("DnsName(", "")
                .replace([')', '"'], "")
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: one of the clocks is wrong".to_owned()
        }
        CertificateError::ApplicationVerificationFailure => {
            "it is another than `pin_sha256` says".to_owned()
        }
        other => other.to_string(),
    };
    format!("TLS: the certificate is refused: {what}")
}

/// As [`refusal`], of what a handshake failed with.
pub fn handshake_failure(error: &std::io::Error) -> String {
    tls_error(error).map_or_else(|| format!("TLS: {error}"), refusal)
}

/// The error of TLS among the causes of another. An I/O error does not tell what it holds as its cause, but what that is caused by.
pub(super) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        let io = cause.downcast_ref::<std::io::Error>();
        next = match io.and_then(std::io::Error::get_ref) {
            Some(held) => Some(held as &(dyn Error + 'static)),
            None => cause.source(),
        };
    }
    None
}

fn pin(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|digit| *digit != ':').collect();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut pin = [0; 32];
    for (byte, at) in pin.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(pin)
}

fn hex(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Accepts one certificate, or any.
#[derive(Debug)]
struct Known {
    pin: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown: [u8; 32] = Sha256::digest(certificate).into();
        if self.pin.is_some_and(|pin| pin != shown) {
            // The operator compares it, and pins it or not.
            tracing::warn!(
                sha256 = hex(&shown),
                "another certificate than the pinned one"
            );
            let refusal = CertificateError::ApplicationVerificationFailure;
            return Err(rustls::Error::InvalidCertificate(refusal));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_64_digits() {
        assert_eq!(pin(&"0A".repeat(32)), Some([10; 32]));
        assert_eq!(pin(&["ff"; 32].join(":")), Some([255; 32]));
        for text in ["", "0a", &"0g".repeat(32), &"é".repeat(32), &"0".repeat(66)] {
            assert_eq!(pin(text), None, "{text}");
        }
    }

    #[test]
    fn trust_is_stated_in_one_way() {
        let config = HttpConfig {
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..HttpConfig::default()
        };
        assert!(matches!(tls(&config), Err(BuildError::Trust("ca_file", _))));
        let config = HttpConfig {
            insecure: true,
            ..config
        };
        assert!(matches!(
            tls(&config),
            Err(BuildError::Trust("insecure", _))
        ));
        let config = HttpConfig {
            pin_sha256: Some("12".to_owned()),
            ..HttpConfig::default()
        };
        assert!(matches!(
            tls(&config),
            Err(BuildError::Trust("pin_sha256", _))
        ));
        assert!(tls(&HttpConfig::default()).is_ok());
    }

    mod spoken {
        use rcgen::{CertifiedKey, generate_simple_self_signed};

        use super::*;
        use crate::{
            http::{Basic, Device},
            login::Secret,
            recorder::ProbeError,
            testing::sealed,
        };

        /// What a recorder answers that wants Basic.
        fn guarded(asked: &str) -> String {
            if asked.to_lowercase().contains("authorization: basic dtpw") {
                return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned();
            }
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"nvr\"\r\nContent-Length: 0\r\n\r\n"
                .to_owned()
        }

        #[tokio::test]
        async fn only_a_certificate_that_is_trusted_sees_the_password() {
            let own = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let other = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let file = |name: &str, certificate: &CertifiedKey<rcgen::KeyPair>| {
                let path = folder.path().join(name);
                std::fs::write(&path, certificate.cert.pem()).unwrap();
                path
            };
            let pinned = |certificate: &CertifiedKey<rcgen::KeyPair>| {
                hex(&Sha256::digest(certificate.cert.der()).into())
            };
            let config = HttpConfig {
                url: format!("https://localhost:{}", sealed(&own, guarded).await),
                username: Some("u".to_owned()),
                password: Some(Secret::from("p".to_owned())),
                ..HttpConfig::default()
            };
            let ways: [(&str, HttpConfig, bool); 6] = [
                ("browsers' roots", config.clone(), false),
                (
                    "its authority",
                    HttpConfig {
                        ca_file: Some(file("own.pem", &own)),
                        ..config.clone()
                    },
                    true,
                ),
                (
                    "another authority",
                    HttpConfig {
                        ca_file: Some(file("other.pem", &other)),
                        ..config.clone()
                    },
                    false,
                ),
                (
                    "its pin",
                    HttpConfig {
                        pin_sha256: Some(pinned(&own)),
                        ..config.clone()
                    },
                    true,
                ),
                (
                    "another pin",
                    HttpConfig {
                        pin_sha256: Some(pinned(&other)),
                        ..config.clone()
                    },
                    false,
                ),
                (
                    "anybody",
                    HttpConfig {
                        insecure: true,
                        ..config.clone()
                    },
                    true,
                ),
            ];
            for (way, config, accepted) in ways {
                let answer = Device::new(&config, Basic::Sealed).unwrap().get("/x").await;
                match answer {
                    Ok(reply) => assert!(accepted && reply.body == "ok", "{way}: {reply:?}"),
                    Err(ProbeError::Unreachable(why)) => {
                        assert!(!accepted && why.contains("certificate"), "{way}: {why}");
                    }
                    Err(error) => panic!("{way}: {error:?}"),
                }
            }
        }
    }
}
