//! TLS towards clients: the certificate, renewed while we run, and one sealed connection.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::{Buf, BytesMut};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use thiserror::Error;
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock;

/// How often the files are looked at for a renewed certificate.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// It is told that a certificate expires when so many days are left; renewal by ACME is due at thirty.
const WARNED_DAYS: [i64; 4] = [1, 3, 7, 21];
const DAY_S: i64 = 86_400;
/// Plaintext is handed out in pieces of this size.
const PIECE_BYTES: usize = 4096;
/// What is encrypted before the socket is asked: all that one turn of a connection brings, so that it goes out as one. What a slow
/// reader does not take waits here instead of in the connection's own queue.
const RECORDS_BYTES_MAX: usize = 128 * 1024;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate file cannot be read, or holds none.
    #[error("certificate {}: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The key file cannot be read, or holds none.
    #[error("key {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not belong together, or are of a kind that is not spoken.
    #[error("certificate and key: {0}")]
    Pair(#[from] rustls::Error),
}

/// A certificate chain and its key in PEM files, read again when they change.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

struct Current(ArcSwap<Pair>);

/// A certificate chain with its key.
struct Pair {
    key: Arc<CertifiedKey>,
    /// When the server's own certificate expires, seconds since 1970.
    expires_s: i64,
}

impl Certificates {
    /// Reads both files: the chain with the server's own certificate first, and the key in PKCS #8, PKCS #1 or SEC 1.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(certificate, key)?)));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        Ok(Certificates {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current,
            config: Arc::new(config),
        })
    }

    /// How connections are answered; follows [`Self::reload`].
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Reads the files again. After an error the certificate stays what it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let pair = read(&self.certificate, &self.key)?;
        self.current.0.store(Arc::new(pair));
        Ok(())
    }

    /// When the certificate expires, seconds since 1970.
    pub fn expires_s(&self) -> i64 {
        self.current.0.load().expires_s
    }

    /// Whether both read the same files.
    pub fn are_from_files_of(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.key == other.key
    }

    /// Reloads whenever the files change, and tells when the certificate comes to expire; never returns.
    pub async fn follow(&self) {
        let mut seen = self.modified();
        let mut told = None;
        loop {
            let warned = (self.expires_s(), Warning::at(self.expires_s(), wall_s()));
            if told != Some(warned) {
                told = Some(warned);
                self.warn(warned.1);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let modified = self.modified();
            if modified == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => {
                    seen = modified;
                    tracing::info!(certificate = %self.certificate.display(), "certificate read again");
                }
                // Perhaps only one of the two is written yet: the next look tells.
                Err(error) => tracing::warn!(%error, "the old certificate stays"),
            }
        }
    }

    fn warn(&self, warning: Option<Warning>) {
        let certificate = self.certificate.display();
        match warning {
            None => {}
            Some(Warning::Days(days)) => {
                tracing::warn!(%certificate, "the certificate expires within {days} days");
            }
            Some(Warning::Expired) => {
                tracing::error!(%certificate, "the certificate has expired: clients that check it do not come in");
            }
        }
    }

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).ok()?.modified().ok())
    }
}

/// What is to be said of a certificate's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warning {
    /// It is within so many days.
    Days(i64),
    Expired,
}

impl Warning {
    /// `None` while there is time.
    fn at(expires_s: i64, now_s: i64) -> Option<Self> {
        let left_s = expires_s.saturating_sub(now_s);
        if left_s <= 0 {
            return Some(Warning::Expired);
        }
        let near = WARNED_DAYS.into_iter().find(|days| left_s <= days * DAY_S);
        near.map(Warning::Days)
    }
}

fn wall_s() -> i64 {
    clock::wall().as_micros().div_euclid(1_000_000)
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(..)")
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Pair, TlsError> {
    let wrong_certificate = |source| TlsError::Certificate {
        path: certificate.to_owned(),
        source,
    };
    let wrong_key = |source| TlsError::Key {
        path: key.to_owned(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(wrong_certificate)?;
    if chain.is_empty() {
        return Err(wrong_certificate(
            rustls::pki_types::pem::Error::NoItemsFound,
        ));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(wrong_key)?;
    let own = chain.first().map(|own| X509Certificate::from_der(own));
    let Some(Ok((_, own))) = own else {
        let malformed = rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        return Err(TlsError::Pair(malformed));
    };
    let expires_s = own.validity().not_after.timestamp();
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
    Ok(Pair {
        key: Arc::new(key),
        expires_s,
    })
}

/// One connection inside TLS.
pub(super) struct Sealed {
    stream: TcpStream,
    tls: ServerConnection,
    /// The client will send no more.
    ended: bool,
    /// The handshake may have brought the client's first bytes along.
    primed: bool,
}

impl Sealed {
    /// Answers a handshake that begins with `ahead`.
    pub(super) async fn accept(
        stream: TcpStream,
        ahead: BytesMut,
        config: Arc<ServerConfig>,
    ) -> io::Result<Self> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(RECORDS_BYTES_MAX));
        let mut sealed = Sealed {
            stream,
            tls,
            ended: false,
            primed: true,
        };
        let mut ahead = ahead.reader();
        while !ahead.get_ref().is_empty() {
            sealed.tls.read_tls(&mut ahead)?;
            sealed.process()?;
        }
        while sealed.tls.is_handshaking() {
            match sealed.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll_fn(|cx| sealed.poll_write_ready(cx)).await?;
                    continue;
                }
                flushed => flushed?,
            }
            if !sealed.tls.is_handshaking() {
                break;
            }
            poll_fn(|cx| sealed.stream.poll_read_ready(cx)).await?;
            match sealed.receive() {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(sealed)
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.primed || self.ended {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// As [`super::link::Link::try_read`]. What was decrypted is handed out whole, so the socket alone says when there is more.
    pub(super) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        self.primed = false;
        loop {
            let taken = self.take_plaintext(into)?;
            if taken > 0 || self.ended {
                return Ok(taken);
            }
            if self.receive()? == 0 {
                self.ended = true;
            }
        }
    }

    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_flush()?;
        let taken = self.tls.writer().write_vectored(slices)?;
        match self.try_flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(taken),
        }
    }

    pub(super) fn holds_back(&self) -> bool {
        self.tls.wants_write()
    }

    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut Socket(&self.stream))?;
        }
        Ok(())
    }

    /// Tells the client that nothing was cut off.
    pub(super) fn say_goodbye(&mut self) {
        self.tls.send_close_notify();
    }

    fn receive(&mut self) -> io::Result<usize> {
        let bytes = self.tls.read_tls(&mut Socket(&self.stream))?;
        self.process()?;
        Ok(bytes)
    }

    fn process(&mut self) -> io::Result<()> {
        match self.tls.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                // The alert that says why; the connection ends whether it gets through or not.
                let _ = self.try_flush();
                Err(io::Error::new(ErrorKind::InvalidData, error))
            }
        }
    }

    fn take_plaintext(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let before = into.len();
        let mut piece = [0; PIECE_BYTES];
        loop {
            match self.tls.reader().read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(bytes) => {
                    into.extend_from_slice(piece.get(..bytes).unwrap_or_default());
                    continue;
                }
                // Cut off without a word, as players do.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.ended = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            return Ok(into.len() - before);
        }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.say_goodbye();
        let _ = self.try_flush();
    }
}

/// The socket as rustls wants it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    fn own(certificates: &Certificates) -> CertificateDer<'static> {
        let pair = certificates.current.0.load_full();
        pair.key.cert.first().unwrap().clone()
    }

    #[test]
    fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path(), "one.test");
        let certificates = Certificates::load(&certificate, &key).unwrap();
        let one = own(&certificates);
        write_pair(folder.path(), "two.test");
        certificates.reload().unwrap();
        let two = own(&certificates);
        assert_ne!(one, two);
        std::fs::write(&certificate, "half a file").unwrap();
        assert!(matches!(
            certificates.reload(),
            Err(TlsError::Certificate { .. })
        ));
        assert_eq!(own(&certificates), two);
    }

    #[test]
    fn the_end_of_a_certificate_is_told_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(["one.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let pair = rcgen::KeyPair::generate().unwrap();
        let (certificate, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        std::fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        let expires_s = Certificates::load(&certificate, &key).unwrap().expires_s();
        assert_eq!(expires_s, 1_893_456_000);
        let at =
            |days: i64, seconds: i64| Warning::at(expires_s, expires_s - days * DAY_S - seconds);
        assert_eq!(at(21, 1), None);
        assert_eq!(at(21, 0), Some(Warning::Days(21)));
        assert_eq!(at(3, 1), Some(Warning::Days(7)));
        assert_eq!(at(0, 1), Some(Warning::Days(1)));
        assert_eq!(at(0, 0), Some(Warning::Expired));
    }

    #[test]
    fn files_that_do_not_belong_together_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path(), "one.test");
        let absent = folder.path().join("absent.pem");
        assert!(matches!(
            Certificates::load(&absent, &key),
            Err(TlsError::Certificate { path, .. }) if path == absent
        ));
        assert!(matches!(
            Certificates::load(&certificate, &certificate),
            Err(TlsError::Key { .. })
        ));
        let other = tempfile::tempdir().unwrap();
        let (_, foreign) = write_pair(other.path(), "two.test");
        assert!(matches!(
            Certificates::load(&certificate, &foreign),
            Err(TlsError::Pair(_))
        ));
    }
}
