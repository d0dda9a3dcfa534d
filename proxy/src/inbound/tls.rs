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

/// How often the files are looked at for a renewed certificate.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Plaintext is handed out in pieces of this size.
const PIECE_BYTES: usize = 4096;

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

struct Current(ArcSwap<CertifiedKey>);

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

    /// Reloads whenever the files change; never returns.
    pub async fn follow(&self) {
        let mut seen = self.modified();
        loop {
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

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).ok()?.modified().ok())
    }
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
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(..)")
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
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
    Ok(CertifiedKey::from_der(
        chain,
        key,
        &ring::default_provider(),
    )?)
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
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
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
        pair.cert.first().unwrap().clone()
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
